//! Who is told, who never is, and what is not in it.

use super::*;
use crate::{
    failure::Exit,
    notify::{CaseNews, Notification},
};

const CASES: &str = "[\"case-opened\", \"case-escalated\", \"case-resolved\"]";

impl Lab {
    async fn tell_of(&self, news: &[(CaseNews, u64)]) {
        let of = |(news, n): &(CaseNews, u64)| {
            let sentence = format!("no key for {} at MPAN {} (mpan:{})", device(*n), mpan(*n), mpan(*n));
            Notification::of_case(*news, device(*n), sentence, "look".into(), vec![("attempts", 3)])
        };
        let mut tx = self.app.db.begin().await.unwrap();
        self.app.tell(&mut tx, &news.iter().map(of).collect::<Vec<_>>()).await.unwrap();
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_case_is_told_to_the_mpid_that_holds_the_site_and_to_nobody_else() {
    for mut lab in labs(4).await {
        lab.with_settings(|s| s.organisation.mpids = vec!["EELC".parse().unwrap(), "EELD".parse().unwrap()]);
        // 2 is our other licence's, 3 another supplier's, 4 ours only from next year on.
        let head = "mpan,supplier_mpid,effective_from,effective_to\n";
        let moved = format!("{head}{},EELD,2015-01-01,\n{},OTHR,2015-01-01,\n{},EELC,2099-01-01,\n", mpan(2), mpan(3), mpan(4));
        lab.import(Kind::Registrations, moved).await;
        let (c, d) = (Receiver::start().await, Receiver::start().await);
        lab.teams(&[("of-c", "EELC", c.port, CASES), ("of-d", "EELD", d.port, CASES)]);
        lab.tell_of(&[
            (CaseNews::Opened, 1),
            (CaseNews::Escalated, 2),
            (CaseNews::Resolved, 3),
            (CaseNews::Opened, 4),
            (CaseNews::Opened, 99),
            (CaseNews::Resolved, 1),
        ])
        .await;
        lab.tells().await;
        let of = |r: &Receiver| -> Vec<(String, String)> {
            r.kept().iter().map(|t| (t["kind"].as_str().unwrap().into(), t["subject"].as_str().unwrap().into())).collect()
        };
        let told = |kind: &str, n| (kind.to_string(), device(n).to_string());
        assert_eq!((of(&c), of(&d)), (vec![told("case-opened", 1), told("case-resolved", 1)], vec![told("case-escalated", 2)]));
        assert_eq!((&d.kept()[0]["mpid"], &d.kept()[0]["numbers"]["attempts"]), (&"EELD".into(), &3.into()));
        let all: String = c.got().iter().chain(&d.got()).map(|g| g.body.as_str()).collect();
        assert!((1..=4).all(|n| !all.contains(&mpan(n).to_string())), "no MPAN: {all}");
        assert!(all.contains(&device(1).to_string()) && !all.contains(&device(3).to_string()));
        assert_eq!(lab.counts().await, [0, 3, 0]);
    }
}

#[tokio::test]
async fn an_alarm_names_no_device_and_no_mpan() {
    for lab in labs(1).await {
        let receiver = Receiver::start().await;
        lab.teams(&[("incident", "EELC", receiver.port, "[\"alarm\"]")]);
        lab.alarm(&format!("device {} at {}", device(1), mpan(1))).await;
        lab.tells().await;
        let told = receiver.got().pop().unwrap().body;
        assert!(!told.contains(&device(1).to_string()) && !told.contains(&mpan(1).to_string()), "{told}");
        assert!(told.contains("device **-**"), "{told}");
    }
}

#[tokio::test]
async fn a_team_of_a_foreign_mpid_is_refused_and_what_happened_waits() {
    for mut lab in labs(1).await {
        let receiver = Receiver::start().await;
        lab.teams(&[("incident", "OTHR", receiver.port, "[\"alarm\"]")]);
        lab.alarm("campaign 7").await;
        for refused in [lab.app.teams().err(), lab.app.spread_notifications().await.err()] {
            let refused = refused.unwrap();
            assert!(
                refused.message.contains("team incident is of MPID OTHR, which is not one of organisation.mpids (EELC)"),
                "{refused}"
            );
        }
        assert!(lab.app.test_team(&lab.webhooks(), "incident", OPERATOR).await.is_err());
        assert!(receiver.got().is_empty());
        // Put right, by either file.
        lab.teams(&[("incident", "EELC", receiver.port, "[\"alarm\"]")]);
        lab.tells().await;
        assert_eq!(receiver.kept_subjects(), ["campaign 7"]);
        lab.with_settings(|s| s.organisation.mpids = vec!["OTHR".parse().unwrap()]);
        assert!(lab.app.teams().is_err());
    }
}

#[tokio::test]
async fn a_gas_supplier_is_told_nothing() {
    for mut lab in labs(1).await {
        lab.with_settings(|s| s.organisation.role = "GS".into());
        let receiver = Receiver::start().await;
        lab.teams(&[("incident", "EELC", receiver.port, "[\"alarm\", \"case-opened\"]")]);
        lab.alarm("campaign 7").await;
        lab.tell_of(&[(CaseNews::Opened, 1)]).await;
        lab.tells().await;
        let refused = lab.app.test_team(&lab.webhooks(), "incident", OPERATOR).await.unwrap_err();
        assert_eq!((refused.exit, refused.message.contains("ROLE_NOT_PERMITTED")), (Exit::Refused, true));
        assert_eq!((receiver.got().len(), lab.counts().await), (0, [0, 0, 0]));
    }
}

#[tokio::test]
async fn what_waits_for_a_team_that_was_taken_out_or_changed_hands_is_given_up() {
    for mut lab in labs(1).await {
        lab.with_settings(|s| s.organisation.mpids = vec!["EELC".parse().unwrap(), "EELD".parse().unwrap()]);
        let (gone, kept) = (Receiver::start().await, Receiver::start().await);
        gone.will(&[Does::Answer(503)]);
        kept.will(&[Does::Answer(503)]);
        lab.teams(&[("gone", "EELC", gone.port, "[\"alarm\"]"), ("kept", "EELC", kept.port, "[\"alarm\"]")]);
        lab.alarm("campaign 7").await;
        lab.tells().await;
        lab.teams(&[("kept", "EELD", kept.port, "[\"alarm\"]")]);
        lab.tells_for(HOUR).await;
        assert_eq!((gone.got().len(), kept.got().len(), lab.counts().await), (1, 1, [0, 0, 2]));
        let given_up = lab.in_delivery(DeliveryState::GivenUp).await;
        assert!(given_up[0].last_error.as_ref().unwrap().contains("no such team of this MPID"), "{given_up:?}");
    }
}

#[tokio::test]
async fn addresses_and_secrets_that_may_not_be_used_are_refused() {
    for mut lab in labs(1).await {
        let file = |lab: &Lab| lab.app.settings.policies_dir.join("notify.toml");
        let edit = |lab: &Lab, piece: &str, instead: &str| {
            lab.teams(&[("incident", "EELC", 9, "[\"alarm\"]")]);
            let text = std::fs::read_to_string(file(lab)).unwrap();
            assert!(text.contains(piece));
            std::fs::write(file(lab), text.replace(piece, instead)).unwrap();
            lab.app.teams().map(|_| ()).map_err(|e| e.message)
        };
        assert_eq!(edit(&lab, "version = 2", "version = 3"), Ok(()));
        let says = |told: Result<(), String>, words: &str| {
            let told = told.unwrap_err();
            assert!(told.contains(words), "{told}");
        };
        let there = "http://127.0.0.1:9/told\"";
        says(
            edit(&lab, there, "http://hooks.example/told\""),
            "while organisation.mpids is the default, a test identity, it must be",
        );
        says(edit(&lab, there, "https://hooks.example/told\"\nca = \"file:ca.pem\""), "a test identity, it must be a loopback");
        says(edit(&lab, there, "http://a@127.0.0.1/\""), "no address that can be posted to");
        says(edit(&lab, "notify.secret", "other.secret"), "secret of team incident");
        let secret = lab.app.settings.policies_dir.join("short.secret");
        std::fs::write(&secret, "too short").unwrap();
        says(edit(&lab, "notify.secret", "short.secret"), "open to others");
        lab.with_settings(|s| {
            s.organisation.mpids = vec!["EELC".parse().unwrap(), "EELD".parse().unwrap()];
            s.organisation.user_id = Eui(1);
            s.gateway.dcc_id = Eui(2);
        });
        says(edit(&lab, there, "http://hooks.example/told\""), "over plain http it must be");
        assert_eq!(edit(&lab, there, "https://hooks.example/told\"\nca = \"file:ca.pem\""), Ok(()));
    }
}

#[tokio::test]
async fn a_test_says_what_came_back_and_is_on_the_record() {
    for lab in labs(1).await {
        let receiver = Receiver::start().await;
        receiver.will(&[Does::Take, Does::Answer(401)]);
        lab.teams(&[("incident", "EELC", receiver.port, "[\"alarm\"]")]);
        let tested = lab.app.test_team(&lab.webhooks(), "incident", OPERATOR).await.unwrap();
        assert_eq!((tested.heard, receiver.kept()[0]["kind"].clone()), (Heard::Taken, "test".into()));
        let tested = lab.app.test_team(&lab.webhooks(), "incident", OPERATOR).await.unwrap();
        assert!(matches!(tested.heard, Heard::NotNow { why, .. } if why.contains("401")));
        let unknown = lab.app.test_team(&lab.webhooks(), "nobody", OPERATOR).await.unwrap_err();
        assert!(unknown.help[0].contains("it names incident"), "{unknown:?}");
        assert_eq!(lab.counts().await, [0, 0, 0], "it is no delivery");
    }
}
