//! More keys are missing than chance explains: an alarm, and with `hold_campaign` a cohort that waits.

use super::*;
use crate::app::{Look, NextBatch};

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
            alarms[0].sentence.starts_with("20 of 1200 IOC sites have no key, 1.67%, where 0.3% is expected"),
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

#[tokio::test]
async fn a_standing_alarm_keeps_its_numbers_and_ends_with_the_keys_and_so_does_what_it_held() {
    for lab in labs(SITES).await {
        let standing = async || lab.app.alarms(true, None, 0, 10).await.unwrap();
        let some = |from: u64, to: u64, status| -> Vec<(u64, &str)> { (from..=to).map(|n| (n, status)).collect() };
        let campaign = lab.started("spring", 10).await;
        lab.policy("hold_campaign = false", "hold_campaign = true");
        let alarm = lab.too_many_missing().await;
        assert!(matches!(lab.app.next_batch(campaign).await.unwrap(), NextBatch::Closed { .. }));
        lab.app.clock.advance(1_000);
        lab.keys(&lab.app.now().to_string(), &some(21, 25, "failed")).await;
        let now = standing().await;
        assert_eq!((now.len(), now[0].id), (1, alarm), "it is still the same");
        assert!(now[0].sentence.starts_with("25 of 1200 IOC sites have no key"), "{}", now[0].sentence);
        lab.app.clock.advance(1_000);
        lab.keys(&lab.app.now().to_string(), &some(1, 22, "updated")).await;
        assert!(standing().await.is_empty(), "three are missing, where 3.6 are expected");
        lab.app.clock.advance(60_000);
        let batch = lab.app.next_batch(campaign).await.unwrap();
        assert!(matches!(batch, NextBatch::Prepared(_)), "{batch:?}");
        lab.app.clock.advance(1_000);
        lab.keys(&lab.app.now().to_string(), &some(1, 20, "failed")).await;
        assert_eq!(standing().await.len(), 1, "a relapse is a missing key");
        lab.act_on(&(1..=20).collect::<Vec<_>>()).await;
        assert!(standing().await.is_empty(), "nor does it wait for a file where a person says that the keys are there");
    }
}

impl Lab {
    /// A person says that these sites' keys are there.
    async fn act_on(&self, sites: &[u64]) {
        let meant = crate::app::Meant::Confirmed(Some(sites.len() as u64));
        self.act(sites, crate::app::CaseAction::Resolve, meant).await;
    }
}

#[tokio::test]
async fn an_alarm_that_a_person_ended_waits_for_a_file_and_one_that_a_death_cost_does_not() {
    for lab in labs(SITES).await {
        let standing = async || lab.app.alarms(true, None, 0, 10).await.unwrap().len();
        let alarm = lab.too_many_missing().await;
        lab.app.clock.advance(1_000);
        lab.app.dismiss_alarm(alarm, "DCC knows", OPERATOR).await.unwrap();
        lab.app.watch_key_share(Look::Again).await.unwrap();
        assert_eq!(standing().await, 0);
        // A file takes effect, and then the program dies.
        lab.app.clock.advance(1_000);
        let path = lab.folder.path().join("keys.csv");
        std::fs::write(&path, format!("device_id,status,attempted_at\n{},failed,{}\n", device(30), lab.app.now())).unwrap();
        let input = Input::open(&path).unwrap();
        let options = Options::default();
        let done = crate::estate::import::import(&lab.app.db, &lab.app.clock, Kind::Keys, input, options, Arc::new(|_| {}));
        assert_eq!(done.await.unwrap().inserted, 1);
        lab.app.reconcile_key_cases().await.unwrap();
        lab.app.watch_key_share(Look::Again).await.unwrap();
        assert_eq!(standing().await, 1);
    }
}

#[tokio::test]
async fn a_cohort_that_needs_no_key_from_the_tool_raises_no_alarm() {
    for lab in labs(SITES).await {
        lab.sites(&(1..=SITES).map(|n| (n, "SECURE")).collect::<Vec<_>>()).await;
        let failed: Vec<(u64, &str)> = (1..=TOO_MANY as u64).map(|n| (n, "failed")).collect();
        lab.keys(&lab.app.now().to_string(), &failed).await;
        assert!(lab.app.alarms(true, None, 0, 10).await.unwrap().is_empty());
    }
}
