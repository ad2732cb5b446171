//! More keys are missing than chance explains: an alarm, and with `hold_campaign` a cohort that waits.

use super::*;
use crate::app::NextBatch;

const SITES: u64 = 1_200;
const TOO_MANY: usize = 20;

impl Lab {
    /// So many keys of IOC are missing that the alarm stands.
    async fn too_many_missing(&self) -> i64 {
        let failed: Vec<(u64, &str)> = (1..=TOO_MANY as u64).map(|n| (n, "failed")).collect();
        self.keys(&self.app.now().to_string(), &failed).await;
        let standing = self.app.alarms(true, None, 0, 10).await.unwrap();
        standing.iter().find(|a| a.kind.as_str() == "keys-share").expect("an alarm stands").id
    }

    async fn queued(&self, campaign: i64) -> u64 {
        let mut tx = self.app.db.read().await.unwrap();
        let plan = self.app.campaign(&campaign.to_string()).await.unwrap().plan_id.unwrap();
        targets::in_state(&mut tx, plan, TargetState::Queued, None, 5_000).await.unwrap().len() as u64
    }
}

#[tokio::test]
async fn more_missing_keys_than_chance_explains_raise_an_alarm_that_ends() {
    for lab in labs(SITES).await {
        let failed: Vec<(u64, &str)> = (1..=TOO_MANY as u64).map(|n| (n, "failed")).collect();
        lab.keys(&lab.app.now().to_string(), &failed[..6]).await;
        assert!(lab.app.alarms(true, None, 0, 10).await.unwrap().is_empty(), "six of 1,200, where 3.6 are expected");
        lab.app.clock.advance(1_000);
        lab.keys(&lab.app.now().to_string(), &failed).await;
        let alarms = lab.app.alarms(true, None, 0, 10).await.unwrap();
        assert_eq!(alarms.len(), 1);
        assert_eq!((alarms[0].kind.as_str(), alarms[0].subject.as_str()), ("keys-share", "missing keys of IOC"));
        assert!(
            alarms[0].sentence.starts_with("20 of 1200 IOC sites had no key, 1.67%, where 0.3% is expected"),
            "{}",
            alarms[0].sentence
        );
        lab.policy("expected_share = \"0.3%\"", "expected_share = \"2%\"");
        lab.keys("2020-11-10T09:00:00Z", &[(1, "updated")]).await;
        assert!(lab.app.alarms(true, None, 0, 10).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_campaign_holds_a_cohort_only_where_the_policy_says_so() {
    for lab in labs(SITES).await {
        lab.sites(&[(SITES + 1, "SECURE")]).await;
        lab.registered(&[SITES + 1], "").await;
        let campaign = lab.started("spring", 10).await;
        let out = lab.send(campaign).await;
        let unknown = lab.post(campaign).await;
        lab.no_reply(unknown).await;
        let alarm = lab.too_many_missing().await;
        let batch = lab.app.next_batch(campaign).await.unwrap();
        assert!(matches!(batch, NextBatch::Prepared(_)), "as shipped it holds nothing: {batch:?}");
        let NextBatch::Prepared(never_left) = batch else { unreachable!() };

        lab.policy("hold_campaign = false", "hold_campaign = true");
        assert!(lab.app.begin_post(never_left, &lab.dcc).await.unwrap().is_none(), "what was made does not leave");
        assert_eq!(lab.outbox_state(never_left).await, "abandoned");
        lab.app.clock.advance(60_000);
        assert!(lab.app.begin_post(unknown, &lab.dcc).await.unwrap().is_none(), "nor does a resend");
        assert_eq!(lab.outbox_state(unknown).await, "unknown", "which needs no operator");
        let secure = lab.send(campaign).await;
        assert_eq!(lab.state(campaign, SITES + 1).await, TargetState::Accepted, "another cohort goes on");
        assert!(matches!(lab.app.next_batch(campaign).await.unwrap(), NextBatch::Closed { .. }));
        let status = lab.app.campaign_status("spring").await.unwrap();
        let waits: Vec<_> = status.waits_for.iter().map(|w| (w.cohort.as_str(), w.sites as u64, w.why.as_str())).collect();
        let why = "the end of the alarm keys-share (retry.toml, hold_campaign)";
        assert_eq!(waits, [("IOC", lab.queued(campaign).await, why)]);
        for (id, site, n) in [(out, 5, 1), (secure, SITES + 1, 2)] {
            lab.hears(&activated(Some(id), n, site)).await;
            assert_eq!(lab.state(campaign, site).await, TargetState::Activated, "what is out is followed");
        }

        lab.app.dismiss_alarm(alarm, "DCC knows", OPERATOR).await.unwrap();
        lab.begin(unknown).await;
        lab.send(campaign).await;
    }
}
