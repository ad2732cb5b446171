//! What DCC says: early, late, twice, contradicting itself, or to somebody else.

use super::*;
use crate::estate;

async fn version_of(lab: &Lab, n: u64) -> String {
    estate::store::find_site(&mut lab.app.db.read().await.unwrap(), device(n)).await.unwrap().unwrap().firmware_version
}

#[tokio::test]
async fn alerts_before_the_acknowledgement_and_twice_end_the_same() {
    for lab in labs(1).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.post(campaign).await;
        lab.hears(&activated(Some(id), 1, 1)).await;
        lab.hears(&firmware(Some(id), 2, 1, FIRMWARE, Smets1FirmwareStatus::UpdateRequested)).await;
        lab.hears(&activated(Some(id), 1, 1)).await;
        lab.reply(id, "I99").await;
        assert_eq!(lab.state(campaign, 1).await, TargetState::Activated);
        assert_eq!((lab.batch(campaign).await.as_str(), version_of(&lab, 1).await.as_str()), ("accepted", FIRMWARE));
    }
}

#[tokio::test]
async fn a_late_success_wins_over_our_time_out_and_over_a_second_request() {
    for lab in labs(2).await {
        let campaign = lab.started("spring", 10).await;
        let first = lab.send(campaign).await;
        lab.app.clock.advance(80 * 3_600_000);
        assert_eq!(lab.app.expire_silent().await.unwrap(), 2);
        lab.app.finish_campaigns().await.unwrap();
        lab.hears(&activated(Some(first), 1, 1)).await;
        assert_eq!(lab.state(campaign, 1).await, TargetState::Activated);
        lab.app.retry_campaign("spring", OPERATOR).await.unwrap();
        // The second request never leaves; the first one's success comes then.
        let second = lab.post(campaign).await;
        lab.nothing_left(second).await;
        assert_eq!(lab.hears(&activated(Some(first), 2, 2)).await, InboxState::Settled);
        assert_eq!(lab.state(campaign, 2).await, TargetState::Activated);
    }
}

#[tokio::test]
async fn news_of_an_earlier_request_says_nothing_against_the_one_that_is_out() {
    for lab in labs(1).await {
        let campaign = lab.started("spring", 10).await;
        let first = lab.send(campaign).await;
        lab.hears(&s1sp(Some(first), 1, Some(1), "S1VE2", testing::now())).await;
        lab.app.retry_campaign("spring", OPERATOR).await.unwrap();
        let second = lab.send(campaign).await;
        lab.hears(&s1sp(Some(first), 2, Some(1), "S1VE2", testing::now())).await;
        assert_eq!(lab.state(campaign, 1).await, TargetState::Accepted);
        lab.hears(&s1sp(Some(second), 3, Some(1), "S1VE2", testing::now())).await;
        assert_eq!((lab.state(campaign, 1).await, lab.target(campaign, 1).await.attempts), (TargetState::Failed, 2));
    }
}

#[tokio::test]
async fn a_warning_drops_the_devices_it_lists_whenever_it_comes() {
    for lab in labs(6).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.post(campaign).await;
        let lists = UpdateFirmwareWarning {
            invalid: vec![device(1)],
            not_commissioned: vec![device(2), device(2)],
            not_applicable_firmware: vec![device(3)],
            other_request_in_progress: vec![device(4), device(77)],
            invalid_gbcs_version: vec![device(5)],
        };
        assert_eq!(lab.hears(&warning(id, 1, lists.clone())).await, InboxState::Settled);
        lab.reply(id, "I99").await;
        assert_eq!(lab.hears(&warning(id, 2, lists)).await, InboxState::Settled, "the same again under another ResponseID");
        for n in 1..=5 {
            let target = lab.target(campaign, n).await;
            assert_eq!(target.state, TargetState::Failed);
            assert!(target.detail.unwrap().starts_with("W110101: dropped by DCC"));
        }
        assert_eq!((lab.state(campaign, 6).await, lab.batch(campaign).await.as_str()), (TargetState::Accepted, "accepted"));
        lab.hears(&activated(Some(id), 3, 1)).await;
        assert_eq!(lab.state(campaign, 1).await, TargetState::Activated, "the device knows best");
    }
}

#[tokio::test]
async fn an_alert_of_a_provider_that_fits_nothing_waits_for_an_operator() {
    for lab in labs(1).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.send(campaign).await;
        assert_eq!(lab.hears(&s1sp(Some(id), 1, Some(1), "S9", testing::now())).await, InboxState::Unmatched);
        assert_eq!(lab.hears(&s1sp(None, 2, None, "S1VE1", testing::now())).await, InboxState::Unmatched);
        assert_eq!(lab.hears(&s1sp(None, 3, Some(1), "S1VE2", testing::now())).await, InboxState::Unmatched);
        assert_eq!(lab.state(campaign, 1).await, TargetState::Accepted);
    }
}

#[tokio::test]
async fn what_is_about_somebody_elses_request_settles_nothing() {
    for lab in labs(1).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.send(campaign).await;
        let foreign = [
            RequestId { counter: id.counter + 1, ..id },
            RequestId { originator: Eui(5), ..id },
            RequestId { target: Eui(5), ..id },
            RequestId { counter: u64::MAX, ..id },
        ];
        for (n, other) in foreign.into_iter().enumerate() {
            let n = n as u64 * 3;
            assert_eq!(lab.hears(&activated(Some(other), n + 1, 1)).await, InboxState::Ignored);
            assert_eq!(lab.hears(&no_key(Some(other), n + 2, 1)).await, InboxState::Ignored);
            assert_eq!(lab.hears(&later(other, n + 3, "E1")).await, InboxState::Ignored);
        }
        assert_eq!((lab.state(campaign, 1).await, version_of(&lab, 1).await.as_str()), (TargetState::Accepted, "00020100"));
    }
}

#[tokio::test]
async fn an_answer_to_what_was_never_posted_is_not_ours() {
    for lab in labs(1).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.app.prepare_batch(campaign).await.unwrap().unwrap();
        assert_eq!(lab.hears(&later(id, 1, "I0")).await, InboxState::Ignored);
        assert_eq!((lab.state(campaign, 1).await, lab.outbox_state(id).await.as_str()), (TargetState::Submitted, "prepared"));
        lab.begin(id).await;
        lab.reply(id, "I99").await;
        assert_eq!(lab.state(campaign, 1).await, TargetState::Accepted);
    }
}

#[tokio::test]
async fn an_alert_without_a_request_settles_by_its_version_alone() {
    for lab in labs(2).await {
        let campaign = lab.started("spring", 10).await;
        lab.send(campaign).await;
        let other = firmware(None, 1, 1, "00020150", Smets1FirmwareStatus::ActivationSuccessful);
        assert_eq!(lab.hears(&other).await, InboxState::Settled, "nobody needs to look at it");
        assert_eq!((lab.state(campaign, 1).await, version_of(&lab, 1).await.as_str()), (TargetState::Accepted, "00020150"));
        let asked = firmware(None, 2, 1, "00020150", Smets1FirmwareStatus::UpdateRequested);
        assert_eq!(lab.hears(&asked).await, InboxState::Ignored, "another system's upgrade");
        lab.hears(&activated(None, 3, 2)).await;
        assert_eq!(lab.state(campaign, 2).await, TargetState::Activated);
    }
}

#[tokio::test]
async fn seen_already_is_no_yes_to_a_first_attempt_however_often_it_is_said() {
    for lab in labs(1).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.post(campaign).await;
        assert_eq!(lab.reply(id, "E62").await, Posted::Held);
        lab.hears(&later(id, 1, "E62")).await;
        lab.hears(&later(id, 2, "E62")).await;
        assert_eq!((lab.batch(campaign).await.as_str(), lab.state(campaign, 1).await), ("held", TargetState::Submitted));
    }
    for lab in labs(1).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.post(campaign).await;
        lab.no_reply(id).await;
        lab.hears(&later(id, 1, "E62")).await;
        assert_eq!((lab.batch(campaign).await.as_str(), lab.state(campaign, 1).await), ("held", TargetState::Submitted));
    }
}

#[tokio::test]
async fn an_unlisted_refusal_after_the_acknowledgement_holds_the_batch_for_a_person() {
    for lab in labs(1).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.send(campaign).await;
        assert_eq!(lab.hears(&later(id, 1, "E110101")).await, InboxState::Unmatched);
        assert_eq!((lab.batch(campaign).await.as_str(), lab.state(campaign, 1).await), ("held", TargetState::Accepted));
        assert_eq!(lab.app.campaign_status("spring").await.unwrap().held_batches.len(), 1);
        lab.hears(&activated(Some(id), 2, 1)).await;
        assert_eq!(lab.state(campaign, 1).await, TargetState::Activated, "its members are followed as if sent");
    }
}

#[tokio::test]
async fn an_acknowledgement_recorded_after_the_refusal_does_not_undo_it() {
    for code in ["E110101", "E1"] {
        for lab in labs(1).await {
            let campaign = lab.started("spring", 10).await;
            let id = lab.post(campaign).await;
            lab.hears(&later(id, 1, code)).await;
            let before = lab.batch(campaign).await;
            lab.reply(id, "I99").await;
            assert_eq!(lab.batch(campaign).await, before, "{code}");
        }
    }
}

#[tokio::test]
async fn a_passing_refusal_said_twice_gives_the_members_back_once() {
    for lab in labs(2).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.post(campaign).await;
        assert_eq!(lab.reply(id, "E20").await, Posted::NotSent);
        assert_eq!(lab.hears(&later(id, 1, "E20")).await, InboxState::Settled);
        assert_eq!(lab.batch(campaign).await, "", "the batch is dissolved and stays so");
        lab.send(campaign).await;
        let status = lab.app.campaign_status("spring").await.unwrap();
        assert_eq!((status.duplicate_submissions, status.requests_sent, status.batches), (0, 2, 1));
        assert_eq!(lab.target(campaign, 1).await.attempts, 1);
    }
}

#[tokio::test]
async fn the_reply_and_messages_about_the_same_batch_are_settled_at_the_same_moment() {
    for lab in labs(60).await {
        let campaign = lab.started("spring", 6).await;
        let other = lab.second().await;
        for round in 0..10 {
            let id = lab.post(campaign).await;
            let first = round * 6 + 1;
            let lists = UpdateFirmwareWarning { invalid: vec![device(first)], ..Default::default() };
            let n = 100 * (round + 1);
            lab.receives(testing::signed(&activated(Some(id), n, first + 1), &lab.dcc)).await;
            lab.receives(testing::signed(&warning(id, n + 1, lists), &lab.dcc)).await;
            lab.receives(testing::signed(&no_key(Some(id), n + 2, first + 2), &lab.dcc)).await;
            let outcome = PostOutcome::Answered(answer(id, "I99"));
            let pinned = lab.pinned.current();
            let (settled, recorded) = tokio::join!(other.app.settle_some(&pinned), lab.record(id, outcome));
            assert_eq!((settled.unwrap(), recorded), (3, Posted::Settled));
            let mut states = Vec::new();
            for n in first..first + 4 {
                states.push(lab.state(campaign, n).await);
            }
            use TargetState::*;
            assert_eq!(states, [Failed, Activated, Held, Accepted]);
        }
    }
}
