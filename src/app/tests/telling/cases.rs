//! Key cases are told as they open, become somebody's and come good: each once, in the transaction of what happened.

use super::*;
use crate::app::{CaseAction, Meant, tests::keys::ONE};

const DAY: i64 = 24 * HOUR;
const CASES: &str = "[\"case-opened\", \"case-escalated\", \"case-resolved\", \"rerun-requested\"]";

/// What a receiver has, a line each: kind, device or subject, sentence.
fn told(receiver: &Receiver) -> Vec<String> {
    let line = |told: serde_json::Value| {
        let text = |key: &str| told[key].as_str().unwrap().to_string();
        format!("{} {}: {}", text("kind"), text("subject"), text("sentence"))
    };
    receiver.kept().into_iter().map(line).collect()
}

#[tokio::test]
async fn a_case_is_told_from_its_first_failure_to_its_key() {
    let mut texts = Vec::new();
    for lab in labs(3).await {
        let receiver = Receiver::start().await;
        lab.teams(&[("incident", "EELC", receiver.port, CASES)]);
        lab.policy("most_attempts = 8", "most_attempts = 2");
        lab.keys("2020-11-20T08:00:00Z", &[(1, "failed"), (2, "investigating"), (3, "updated")]).await;
        lab.app.reconcile_key_cases().await.unwrap();
        lab.app.clock.advance(3 * DAY);
        assert_eq!(lab.ask().await, [device(1)]);
        lab.app.clock.advance(DAY);
        lab.result_now(1, "failed").await;
        for _ in 0..2 {
            lab.app.sweep_key_cases().await.unwrap();
        }
        let to = CaseAction::Escalate { incident: "INC7".into(), team: "metering".into() };
        lab.act(&[1, 2], to, Meant::Confirmed(Some(2))).await;
        lab.app.clock.advance(DAY);
        lab.result_now(1, "updated").await;
        lab.act(&[2], CaseAction::Resolve, ONE).await;
        lab.tells().await;
        texts.push(told(&receiver).join("\n"));
        assert_eq!(lab.counts().await, [0, 8, 0]);
    }
    assert_eq!(texts[0], texts[texts.len() - 1], "the same on both engines");
    insta::assert_snapshot!(texts[0]);
}

#[tokio::test]
async fn what_dcc_says_in_messages_is_told_once_however_often_it_comes() {
    for lab in labs(2).await {
        let receiver = Receiver::start().await;
        lab.teams(&[("incident", "EELC", receiver.port, CASES)]);
        let campaign = lab.started("spring", 10).await;
        let id = lab.send(campaign).await;
        lab.hears(&no_key(Some(id), 1, 1)).await;
        lab.hears(&no_key(Some(id), 2, 1)).await;
        lab.hears(&activated(Some(id), 3, 2)).await;
        lab.hears(&activated(Some(id), 4, 1)).await;
        lab.hears(&activated(Some(id), 5, 1)).await;
        lab.tells().await;
        let kinds: Vec<String> = told(&receiver).iter().map(|t| t.split(':').next().unwrap().to_string()).collect();
        let of = |kind: &str| format!("{kind} {}", device(1));
        assert_eq!(kinds, [of("case-opened"), of("case-resolved")]);
    }
}

#[tokio::test]
async fn a_case_of_a_site_that_is_another_suppliers_is_told_to_nobody() {
    for lab in labs(2).await {
        let receiver = Receiver::start().await;
        lab.teams(&[("incident", "EELC", receiver.port, CASES)]);
        lab.registered(&[1], "2020-11-20").await;
        lab.result_now(1, "failed").await;
        lab.result_now(2, "failed").await;
        lab.tells().await;
        let all = told(&receiver);
        assert!(all.len() == 1 && all[0].starts_with(&format!("case-opened {}", device(2))), "{all:?}");
        // Nor is it when the site comes to us long after.
        lab.app.clock.advance(32 * DAY);
        lab.app.find_holders().await.unwrap();
        lab.registered(&[1, 2], "").await;
        lab.tells().await;
        assert_eq!(told(&receiver).len(), 1);
    }
}

#[tokio::test]
async fn a_case_opened_before_its_site_was_loaded_is_told_when_it_is() {
    for lab in labs(2).await {
        let receiver = Receiver::start().await;
        lab.teams(&[("incident", "EELC", receiver.port, CASES)]);
        lab.result_now(3, "failed").await;
        lab.result_now(4, "failed").await;
        lab.tells().await;
        assert_eq!((told(&receiver).len(), lab.counts().await), (0, [0, 0, 0]), "nobody is known to hold them");
        lab.app.clock.advance(10 * DAY);
        lab.sites(&[(3, "IOC"), (4, "IOC")]).await;
        lab.tells().await;
        assert_eq!(told(&receiver).len(), 0, "loaded, and not yet anybody's");
        lab.registered(&[1, 2, 3], "").await;
        lab.tells().await;
        let all = told(&receiver);
        assert!(all.len() == 1 && all[0].starts_with(&format!("case-opened {}", device(3))), "{all:?}");
        lab.registered(&[1, 2, 3], "").await;
        lab.tells().await;
        assert_eq!(told(&receiver).len(), 1, "once");
    }
}
