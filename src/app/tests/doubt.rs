//! A no to an attempt after one whose answer was lost: the lost one may have been a yes, so nobody's device goes out twice.

use super::*;
use crate::campaign::CampaignState;

/// Past every back-off.
const LATER_MILLIS: i64 = 120_000;

/// A request whose first answer was lost, posted again.
async fn resent(lab: &Lab, campaign: i64) -> RequestId {
    let id = lab.post(campaign).await;
    lab.no_reply(id).await;
    lab.app.clock.advance(LATER_MILLIS);
    lab.begin(id).await;
    id
}

#[tokio::test]
async fn a_refusal_of_a_resend_gives_no_device_to_another_request() {
    for (code, halts) in [("E3", true), ("E110103", false)] {
        for lab in labs(2).await {
            let campaign = lab.started("spring", 10).await;
            let id = resent(&lab, campaign).await;
            assert_eq!(lab.reply(id, code).await, Posted::Held, "{code}");
            assert_eq!((lab.batch(campaign).await.as_str(), lab.outbox_state(id).await.as_str()), ("held", "held"));
            assert_eq!(lab.state(campaign, 1).await, TargetState::Submitted, "it is followed as if sent");
            let state = lab.app.campaign("spring").await.unwrap().state;
            assert_eq!(state == CampaignState::Halted, halts, "{code}: {state}");
            if halts {
                lab.app.resume_campaign("spring", OPERATOR).await.unwrap();
            }
            assert_eq!(lab.app.prepare_batch(campaign).await.unwrap(), None, "nothing is left to send");
            // Its first attempt had been taken, as an alert shows.
            lab.hears(&activated(Some(id), 1, 1)).await;
            assert_eq!(lab.state(campaign, 1).await, TargetState::Activated);
        }
    }
}

#[tokio::test]
async fn a_resend_that_is_put_off_is_sent_again_as_it_was() {
    for lab in labs(1).await {
        let campaign = lab.started("spring", 10).await;
        let id = resent(&lab, campaign).await;
        assert_eq!(lab.reply(id, "E20").await, Posted::Unknown);
        assert_eq!((lab.batch(campaign).await.as_str(), lab.outbox_state(id).await.as_str()), ("unknown", "unknown"));
        assert_eq!(lab.app.prepare_batch(campaign).await.unwrap(), None);
        lab.app.clock.advance(LATER_MILLIS);
        assert_eq!(lab.app.due_requests(9).await.unwrap().batches, [id]);
        lab.begin(id).await;
        lab.reply(id, "E62").await;
        assert_eq!(lab.outbox_state(id).await, "held", "DCC has answered an attempt: which one it has seen is not known");
    }
}

#[tokio::test]
async fn seen_already_after_a_refusal_is_no_yes() {
    for lab in labs(1).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.post(campaign).await;
        assert_eq!(lab.reply(id, "E4").await, Posted::Held);
        lab.app.release_request(id, "the registrations were corrected", OPERATOR).await.unwrap();
        lab.begin(id).await;
        assert_eq!(lab.reply(id, "E62").await, Posted::Held, "what DCC has seen is the attempt it refused");
        assert_eq!(lab.state(campaign, 1).await, TargetState::Submitted);
    }
}

#[tokio::test]
async fn an_old_refusal_replayed_moves_nothing_that_was_accepted_since() {
    for lab in labs(1).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.post(campaign).await;
        assert_eq!(lab.reply(id, "E4").await, Posted::Held);
        let refusal = inbox::list(&mut lab.app.db.read().await.unwrap(), None, None, 1).await.unwrap()[0].id;
        lab.app.clock.advance(LATER_MILLIS);
        lab.app.release_request(id, "the registrations were corrected", OPERATOR).await.unwrap();
        lab.begin(id).await;
        assert_eq!(lab.reply(id, "I99").await, Posted::Settled);
        lab.app.replay_messages(&[refusal], &lab.pinned.current(), OPERATOR).await.unwrap();
        while lab.app.settle_some(&lab.pinned.current()).await.unwrap() > 0 {}
        assert_eq!((lab.batch(campaign).await.as_str(), lab.outbox_state(id).await.as_str()), ("accepted", "answered"));
        assert_eq!(lab.state(campaign, 1).await, TargetState::Accepted);
    }
}
