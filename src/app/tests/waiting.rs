//! Members that wait, and what lets them go.

use super::*;
use crate::{keys, keys::KeyCaseState, policy::Reason};

async fn cases(lab: &Lab) -> Vec<(KeyCaseState, i64)> {
    let counts = keys::store::count_by_state(&mut lab.app.db.read().await.unwrap(), None).await.unwrap();
    counts.into_iter().filter(|(_, n)| *n > 0).collect()
}

#[tokio::test]
async fn a_held_member_joins_when_its_key_comes() {
    for lab in labs(2).await {
        lab.keys("2020-11-12T08:00:00Z", &[(2, "failed")]).await;
        let campaign = lab.started("spring", 10).await;
        assert_eq!(lab.target(campaign, 2).await.reason, Reason::KeysMissing);
        lab.send(campaign).await;
        assert_eq!(lab.app.recheck_held().await.unwrap().released, 0);
        lab.keys("2020-11-13T08:00:00Z", &[(2, "updated")]).await;
        assert_eq!(lab.state(campaign, 2).await, TargetState::Queued, "with the import");
        assert_eq!(lab.app.recheck_held().await.unwrap().released, 0);
        lab.send(campaign).await;
        assert_eq!(lab.state(campaign, 2).await, TargetState::Accepted);
        assert_eq!(cases(&lab).await, vec![(KeyCaseState::Resolved, 1)]);
    }
}

#[tokio::test]
async fn a_member_that_was_lost_before_its_batch_leaves() {
    for lab in labs(2).await {
        let campaign = lab.started("spring", 10).await;
        lab.registered(&[1], "2020-12-01").await;
        lab.registered(&[2], "2026-11-26").await;
        assert_eq!(lab.app.prepare_batch(campaign).await.unwrap(), None);
        assert_eq!(lab.target(campaign, 1).await.reason, Reason::NotResponsibleSupplier);
        assert_eq!(lab.target(campaign, 2).await.reason, Reason::SupplyChangePending);
    }
}

#[tokio::test]
async fn a_secure_device_without_its_key_waits_and_is_not_sent_again_and_again() {
    for lab in labs(0).await {
        lab.sites(&[(1, "SECURE")]).await;
        lab.registered(&[1], "").await;
        let campaign = lab.started("spring", 10).await;
        let id = lab.send(campaign).await;
        assert_eq!(lab.hears(&no_key(Some(id), 1, 1)).await, InboxState::Settled);
        assert_eq!(
            (lab.state(campaign, 1).await, lab.target(campaign, 1).await.reason),
            (TargetState::Held, Reason::KeysMissing)
        );
        assert_eq!(cases(&lab).await, vec![(KeyCaseState::Retrying, 1)], "DCC said so: somebody must see to it");
        // Whatever else holds it in between.
        let subject = format!("device_id,mpan,reason,effective_from,effective_to\n{},,visit,2026-11-20,2026-11-26\n", device(1));
        lab.import(Kind::Exclusions, subject).await;
        for _ in 0..4 {
            lab.app.recheck_held().await.unwrap();
            assert_eq!(lab.app.prepare_batch(campaign).await.unwrap(), None);
            lab.app.clock.advance(86_400_000);
        }
        lab.keys("2026-11-27T08:00:00Z", &[(1, "updated")]).await;
        lab.app.recheck_held().await.unwrap();
        let id = lab.send(campaign).await;
        lab.hears(&activated(Some(id), 2, 1)).await;
        assert_eq!(lab.state(campaign, 1).await, TargetState::Activated);
        assert_eq!(cases(&lab).await, vec![(KeyCaseState::Resolved, 1)]);
    }
}

#[tokio::test]
async fn a_display_that_was_activated_needs_no_key_any_more() {
    for lab in labs(2).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.send(campaign).await;
        lab.hears(&no_key(Some(id), 1, 1)).await;
        assert_eq!(cases(&lab).await, vec![(KeyCaseState::Retrying, 1)]);
        lab.app.clock.advance(1_000);
        lab.hears(&activated(Some(id), 2, 1)).await;
        let target = lab.target(campaign, 1).await;
        assert_eq!((target.state, target.reason), (TargetState::Activated, Reason::Eligible));
        assert_eq!(cases(&lab).await, vec![(KeyCaseState::Resolved, 1)]);
        lab.app.reconcile_key_cases().await.unwrap();
        assert_eq!(cases(&lab).await, vec![(KeyCaseState::Resolved, 1)], "the same failure opens no second case");
        // Out of order: the complaint comes after the success.
        lab.hears(&activated(Some(id), 3, 2)).await;
        lab.app.clock.advance(1_000);
        lab.hears(&no_key(Some(id), 4, 2)).await;
        assert_eq!(lab.state(campaign, 2).await, TargetState::Activated);
        assert_eq!(cases(&lab).await, vec![(KeyCaseState::Resolved, 1)]);
    }
}

#[tokio::test]
async fn nothing_is_decided_while_a_file_is_half_applied() {
    for lab in labs(2).await {
        let campaign = lab.started("spring", 1).await;
        let id = lab.post(campaign).await;
        lab.no_reply(id).await;
        lab.app.clock.advance(60_000);
        // A file whose first half took the registrations away, and whose second half brings them back.
        lab.registered(&[1, 2], "2020-12-01").await;
        let mut tx = lab.app.db.begin().await.unwrap();
        let import = crate::estate::store::tests_begin_applying(&mut tx, None, lab.app.now()).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(lab.app.prepare_batch(campaign).await.unwrap(), None);
        assert!(lab.app.begin_post(id, &lab.dcc).await.unwrap().is_none());
        assert_eq!(lab.outbox_state(id).await, "unknown", "put off, not given to a person");
        assert_eq!(lab.state(campaign, 2).await, TargetState::Queued);
        let mut tx = lab.app.db.begin().await.unwrap();
        crate::estate::store::tests_end_applying(&mut tx, import, lab.app.now()).await.unwrap();
        tx.commit().await.unwrap();
        assert!(lab.app.begin_post(id, &lab.dcc).await.unwrap().is_none());
        assert_eq!(lab.outbox_state(id).await, "held", "now it is known: not ours any more");
    }
}

#[tokio::test]
async fn a_key_that_comes_after_the_campaign_ended_opens_it_again() {
    for lab in labs(1).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.send(campaign).await;
        lab.app.clock.advance(80 * 3_600_000);
        lab.app.expire_silent().await.unwrap();
        assert_eq!(lab.app.finish_campaigns().await.unwrap(), 1);
        lab.hears(&no_key(Some(id), 1, 1)).await;
        assert_eq!(lab.state(campaign, 1).await, TargetState::Held, "not failed: it waits");
        lab.app.recheck_held().await.unwrap();
        assert_eq!(lab.app.campaign("spring").await.unwrap().state, crate::campaign::CampaignState::Finished);
        lab.app.clock.advance(1_000);
        let at = lab.app.now().to_string();
        lab.keys(&at, &[(1, "updated")]).await;
        assert_eq!(lab.state(campaign, 1).await, TargetState::Queued, "with the import");
        assert_eq!(lab.app.campaign("spring").await.unwrap().state, crate::campaign::CampaignState::Started);
        lab.send(campaign).await;
    }
}

#[tokio::test]
async fn a_site_lost_after_it_was_sent_is_followed_and_said_to_be_lost() {
    for lab in labs(4).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.send(campaign).await;
        let changes = lab.app.mark_lost_supply().await.unwrap();
        assert_eq!((changes.lost, changes.regained), (0, 0), "all of them are ours");
        lab.registered(&[1, 2], "2026-11-20").await;
        lab.registered(&[3], "2026-11-26").await;
        let changes = lab.app.mark_lost_supply().await.unwrap();
        assert_eq!((changes.lost, changes.regained), (2, 0), "the third is ours until the 26th");
        assert_eq!(lab.app.mark_lost_supply().await.unwrap(), Default::default(), "once");
        let (state, reason) = (lab.target(campaign, 1).await.state, lab.target(campaign, 1).await.reason);
        assert_eq!((state, reason), (TargetState::Accepted, Reason::SupplyLost), "the state is what DCC's messages made it");
        lab.hears(&activated(Some(id), 1, 1)).await;
        let target = lab.target(campaign, 1).await;
        assert_eq!(
            (target.state, target.reason),
            (TargetState::Activated, Reason::SupplyLost),
            "it is followed, and not counted"
        );
        lab.registered(&[2], "").await;
        lab.app.clock.advance(3 * 86_400_000);
        let changes = lab.app.mark_lost_supply().await.unwrap();
        assert_eq!((changes.lost, changes.regained), (1, 1), "a correction gives one back, a new day takes another");
        assert_eq!(lab.app.campaign_status("spring").await.unwrap().supply_lost, 2);
    }
}
