//! Pauses, halts, aborts and retries, while a request is out.

use super::*;
use crate::campaign::CampaignState;

#[tokio::test]
async fn what_never_left_when_its_campaign_was_aborted_is_cancelled() {
    for lab in labs(2).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.post(campaign).await;
        lab.app.abort_campaign("spring", OPERATOR).await.unwrap();
        lab.nothing_left(id).await;
        assert_eq!(lab.state(campaign, 1).await, TargetState::Cancelled);
    }
}

#[tokio::test]
async fn a_passing_refusal_after_an_abort_cancels_too() {
    for lab in labs(2).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.post(campaign).await;
        lab.app.abort_campaign("spring", OPERATOR).await.unwrap();
        lab.reply(id, "E20").await;
        assert_eq!(lab.state(campaign, 1).await, TargetState::Cancelled);
    }
}

#[tokio::test]
async fn a_prepared_request_whose_campaign_was_aborted_meanwhile_does_not_leave() {
    for lab in labs(2).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.app.prepare_batch(campaign).await.unwrap().unwrap();
        lab.app.abort_campaign("spring", OPERATOR).await.unwrap();
        assert!(lab.app.begin_post(id, &lab.dcc).await.unwrap().is_none());
        assert_eq!((lab.state(campaign, 1).await, lab.outbox_state(id).await.as_str()), (TargetState::Cancelled, "abandoned"));
    }
}

#[tokio::test]
async fn a_halted_campaign_sends_nothing_again_until_it_is_resumed() {
    for lab in labs(2).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.post(campaign).await;
        lab.no_reply(id).await;
        lab.app.halt_campaign("spring", "smoke", OPERATOR).await.unwrap();
        lab.app.clock.advance(60_000);
        assert_eq!(lab.app.due_requests(10).await.unwrap().batches, vec![id]);
        assert!(lab.app.begin_post(id, &lab.dcc).await.unwrap().is_none());
        lab.app.resume_campaign("spring", OPERATOR).await.unwrap();
        lab.app.clock.advance(60_000);
        lab.begin(id).await;
        assert_eq!(lab.reply(id, "E62").await, Posted::Settled, "seen already answers a resend: yes");
        assert_eq!(lab.state(campaign, 1).await, TargetState::Accepted);
    }
}

#[tokio::test]
async fn what_may_still_be_sent_again_is_not_retried_in_another_request() {
    for lab in labs(2).await {
        let campaign = lab.started("spring", 1).await;
        let open = lab.post(campaign).await;
        lab.no_reply(open).await;
        let done = lab.send(campaign).await;
        lab.app.clock.advance(80 * 3_600_000);
        assert_eq!(lab.app.expire_silent().await.unwrap(), 2);
        let (_, queued) = lab.app.retry_campaign("spring", OPERATOR).await.unwrap();
        assert_eq!(queued, 1, "the outcome of the other is unknown: its own request goes on");
        assert_eq!((lab.state(campaign, 1).await, lab.state(campaign, 2).await), (TargetState::Expired, TargetState::Queued));
        lab.begin(open).await;
        lab.reply(open, "I99").await;
        let (_, queued) = lab.app.retry_campaign("spring", OPERATOR).await.unwrap();
        assert_eq!((queued, done == open), (1, false));
    }
}

#[tokio::test]
async fn an_outcome_that_comes_after_the_answer_changes_nothing() {
    for lab in labs(2).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.post(campaign).await;
        assert_eq!(lab.hears(&later(id, 1, "I0")).await, InboxState::Settled);
        let late = [
            PostOutcome::Unknown(Trouble::new(Fault::NoAnswer, "no answer in time")),
            PostOutcome::NotSent(Trouble::new(Fault::NoConnection, "connection refused")),
            PostOutcome::Rejected(Trouble::new(Fault::Rejected, "HTTP 400: no")),
        ];
        for outcome in late {
            lab.record(id, outcome).await;
            assert_eq!((lab.outbox_state(id).await.as_str(), lab.batch(campaign).await.as_str()), ("answered", "accepted"));
            assert_eq!(lab.state(campaign, 1).await, TargetState::Accepted);
        }
    }
}

#[tokio::test]
async fn a_refusal_that_comes_to_apply_halts_with_its_code_and_nothing_is_sent() {
    for lab in labs(2).await {
        let campaign = lab.started("spring", 10).await;
        std::fs::write(lab.app.settings.policies_dir.join("trust.toml"), crate::policy::PolicyName::Trust.shipped()).unwrap();
        assert_eq!(lab.app.prepare_batch(campaign).await.unwrap(), None);
        let halted = lab.app.campaign("spring").await.unwrap();
        assert_eq!((halted.state, halted.stopped_code.as_deref()), (CampaignState::Halted, Some("IMAGE_NOT_TRUSTED")));
        assert_eq!(lab.state(campaign, 1).await, TargetState::Queued);
        let alarms = lab.app.alarms(true, Some(campaign), 0, 10).await.unwrap();
        assert_eq!(alarms.len(), 1, "one alarm, however often it is looked at");
        assert!(alarms[0].sentence.contains("IMAGE_NOT_TRUSTED"), "{}", alarms[0].sentence);
        lab.app.abort_campaign("spring", OPERATOR).await.unwrap();
        assert_eq!(lab.app.alarms(true, None, 0, 10).await.unwrap(), [], "it ended with the campaign");
    }
}

#[tokio::test]
async fn a_broken_policy_file_stops_the_sending_and_loses_nothing() {
    for lab in labs(2).await {
        let campaign = lab.started("spring", 1).await;
        let id = lab.send(campaign).await;
        let file = lab.app.settings.policies_dir.join("eligibility.toml");
        std::fs::write(&file, "guard_days = \"five\"").unwrap();
        lab.app.prepare_batch(campaign).await.unwrap_err();
        assert_eq!(lab.app.campaign("spring").await.unwrap().state, CampaignState::Started);
        lab.receives(testing::signed(&activated(Some(id), 1, 1), &lab.dcc)).await;
        lab.app.settle_some(&lab.pinned.current()).await.unwrap_err();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(lab.app.settle_some(&lab.pinned.current()).await.unwrap(), 1);
        assert_eq!(lab.state(campaign, 1).await, TargetState::Activated);
        lab.send(campaign).await;
    }
}

#[tokio::test]
async fn a_withdrawn_version_stops_what_is_unsent_at_once_and_says_so_once() {
    for lab in labs(3).await {
        let campaign = lab.started("spring", 2).await;
        let sent = lab.send(campaign).await;
        let prepared = lab.app.prepare_batch(campaign).await.unwrap().expect("a second batch");
        assert_eq!(lab.app.judge_started().await.unwrap(), 0, "nothing stands against it");
        let list = std::fs::read_to_string(lab.folder.path().join("cpl.csv")).unwrap();
        lab.import(Kind::Cpl, list.replace("Active", "Withdrawn")).await;
        assert_eq!(lab.app.judge_started().await.unwrap(), 1);
        assert_eq!(lab.app.judge_started().await.unwrap(), 0, "it is stopped already");
        let halted = lab.app.campaign("spring").await.unwrap();
        assert_eq!((halted.state, halted.stopped_code.as_deref()), (CampaignState::Halted, Some("CPL_NOT_ACTIVE")));
        assert_eq!(lab.outbox_state(prepared).await, "abandoned", "it never left and never will");
        assert_eq!(lab.outbox_state(sent).await, "answered");
        assert_eq!(lab.state(campaign, 3).await, TargetState::Queued);
        assert_eq!(lab.state(campaign, 1).await, TargetState::Accepted, "what was sent is followed");
        assert_eq!(lab.app.alarms(false, None, 0, 10).await.unwrap().len(), 1);
    }
}
