//! Teams are told by real HTTP on loopback: by receivers that are up, down, slow, failing, gone, or die with the news in their hands.
//! Nothing is lost and nothing is told twice.

mod cases;
mod lost_and_found;
mod receiver;
mod whom;

use std::collections::HashSet;

use receiver::{Does, Receiver, SECRET};

use super::*;
use crate::{
    alarm::{AlarmKind, NewAlarm},
    config::Settings,
    gateway::{Heard, http::HttpWebhooks},
    notify::{Delivery, DeliveryState},
};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

impl Lab {
    /// A secret, and `notify.toml` with these teams: name, MPID, port, events.
    fn teams(&self, teams: &[(&str, &str, u16, &str)]) {
        use std::os::unix::fs::PermissionsExt;
        let dir = &self.app.settings.policies_dir;
        let secret = dir.join("notify.secret");
        std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        let head = "version = 2\neffective_from = \"2020-11-24\"\ntimeout = \"150ms\"\ngive_up_after = \"24h\"\n".to_string();
        let text = teams.iter().fold(head, |text, (name, mpid, port, events)| {
            text + &format!(
                "[[team]]\nname = \"{name}\"\nmpid = \"{mpid}\"\nurl = \"http://127.0.0.1:{port}/told\"\nsecret = \"file:notify.secret\"\nevents = {events}\n"
            )
        });
        std::fs::write(dir.join("notify.toml"), text).unwrap();
    }

    fn with_settings(&mut self, change: impl FnOnce(&mut Settings)) {
        let mut settings = Settings::clone(&self.app.settings);
        change(&mut settings);
        self.app.settings = Arc::new(settings);
    }

    fn webhooks(&self) -> HttpWebhooks {
        HttpWebhooks::new(self.app.clock.clone()).unwrap()
    }

    async fn alarm(&self, subject: &str) {
        let alarm = NewAlarm {
            kind: AlarmKind::CampaignHalted,
            subject: subject.into(),
            campaign: Some(7),
            sentence: "halted".into(),
            remedy: "look".into(),
        };
        let mut tx = self.app.db.begin().await.unwrap();
        assert!(self.app.raise_alarm(&mut tx, &alarm).await.unwrap(), "{subject}");
        tx.commit().await.unwrap();
    }

    /// One look of the loop: each team that has something due is posted it once.
    async fn look(&self, to: &HttpWebhooks) -> Vec<(String, Heard)> {
        self.app.spread_notifications().await.unwrap();
        let mut heard = Vec::new();
        for due in self.app.deliveries_due(&HashSet::new()).await.unwrap() {
            heard.push((due.team.team.name.clone(), self.app.deliver(to, &due).await.unwrap()));
        }
        heard
    }

    /// Looks until nothing is due.
    async fn tells(&self) {
        let to = self.webhooks();
        while !self.look(&to).await.is_empty() {}
    }

    /// Looks and lets time pass until nothing more is due before the time is over.
    async fn tells_for(&self, millis: i64) {
        let end = self.app.now().plus_millis(millis);
        loop {
            self.tells().await;
            let now = self.app.now();
            let ahead = self.in_delivery(DeliveryState::Pending).await.into_iter().filter_map(|d| d.next_attempt);
            let Some(next) = ahead.filter(|next| *next > now && *next <= end).min() else { return };
            self.app.clock.advance(next.0 - now.0);
        }
    }

    async fn in_delivery(&self, state: DeliveryState) -> Vec<Delivery> {
        self.app.deliveries(Some(state), None, 0, 1_000).await.unwrap()
    }

    async fn counts(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for (n, state) in DeliveryState::ALL.iter().enumerate() {
            counts[n] = self.in_delivery(*state).await.len();
        }
        counts
    }
}

#[tokio::test]
async fn as_shipped_nobody_is_told() {
    for lab in labs(1).await {
        lab.alarm("campaign 7").await;
        assert_eq!(lab.app.spread_notifications().await.unwrap(), 0);
        assert_eq!((lab.app.notifications_waiting().await.unwrap(), lab.counts().await), (0, [0, 0, 0]));
        // A team that comes later is not told what is old.
        let receiver = Receiver::start().await;
        lab.teams(&[("incident", "EELC", receiver.port, "[\"alarm\"]")]);
        lab.tells().await;
        assert!(receiver.got().is_empty());
    }
}

#[tokio::test]
async fn an_alarm_is_told_once_signed_and_in_order() {
    for lab in labs(1).await {
        let (one, other) = (Receiver::start().await, Receiver::start().await);
        lab.teams(&[
            ("incident", "EELC", one.port, "[\"alarm\"]"),
            ("desk", "EELC", other.port, "[\"alarm\", \"campaign-waits\"]"),
            ("cases", "EELC", other.port, "[\"case-opened\"]"),
        ]);
        for n in 1..=3 {
            lab.alarm(&format!("campaign {n}")).await;
        }
        lab.tells().await;
        let subjects = ["campaign 1", "campaign 2", "campaign 3"];
        assert_eq!(
            (one.kept_subjects(), other.kept_subjects()),
            (subjects.map(String::from).to_vec(), subjects.map(String::from).to_vec())
        );
        assert_eq!((one.got().len(), other.got().len()), (3, 3), "once");
        assert!(one.signed_at().iter().all(|t| *t == lab.app.now().0));
        let told = &one.kept()[0];
        assert_eq!(
            (&told["kind"], &told["schema"], &told["mpid"], &told["team"], &told["numbers"]["campaign"]),
            (&"alarm".into(), &1.into(), &"EELC".into(), &"incident".into(), &7.into()),
            "{told}"
        );
        assert_ne!(one.kept()[0]["id"], other.kept()[0]["id"], "each delivery has a key of its own");
        lab.app.clock.advance(100 * HOUR);
        lab.tells().await;
        assert_eq!((one.got().len(), lab.counts().await), (3, [0, 6, 0]), "never again");
    }
}

#[tokio::test]
async fn what_is_not_committed_is_not_told() {
    for lab in labs(1).await {
        let receiver = Receiver::start().await;
        lab.teams(&[("incident", "EELC", receiver.port, "[\"alarm\"]")]);
        let mut tx = lab.app.db.begin().await.unwrap();
        let alarm = NewAlarm {
            kind: AlarmKind::ApprovalVoid,
            subject: "campaign 1".into(),
            campaign: None,
            sentence: "x".into(),
            remedy: "y".into(),
        };
        assert!(lab.app.raise_alarm(&mut tx, &alarm).await.unwrap());
        drop(tx);
        lab.tells().await;
        assert!(receiver.got().is_empty());
    }
}

#[tokio::test]
async fn a_campaign_that_waits_for_a_person_is_told() {
    for lab in labs(2).await {
        let receiver = Receiver::start().await;
        lab.teams(&[("desk", "EELC", receiver.port, "[\"campaign-waits\"]")]);
        let campaign = lab.started("spring", 10).await;
        lab.app.plan_campaign("spring", None, OPERATOR, &mut |_| {}).await.unwrap_err();
        let id = lab.post(campaign).await;
        lab.reply(id, "E999").await;
        lab.tells().await;
        let told = receiver.kept();
        let numbers = &told[0]["numbers"];
        assert_eq!((&numbers["sites"], &numbers["eligible"], &numbers["held"]), (&2.into(), &2.into(), &0.into()), "{told:?}");
        let sentences: Vec<&str> = told.iter().map(|t| t["sentence"].as_str().unwrap()).collect();
        insta::allow_duplicates! { insta::assert_debug_snapshot!(sentences) };
    }
}

#[tokio::test]
async fn a_finished_campaign_is_told() {
    for lab in labs(1).await {
        let receiver = Receiver::start().await;
        lab.teams(&[("desk", "EELC", receiver.port, "[\"campaign-waits\"]")]);
        let campaign = lab.started("spring", 10).await;
        let id = lab.send(campaign).await;
        lab.hears(&activated(Some(id), 1, 1)).await;
        lab.app.finish_campaigns().await.unwrap();
        lab.app.finish_campaigns().await.unwrap();
        lab.tells().await;
        let last = receiver.kept().pop().unwrap();
        assert_eq!(receiver.kept().len(), 2);
        assert!(last["sentence"].as_str().unwrap().contains("campaign spring has finished"), "{last}");
    }
}
