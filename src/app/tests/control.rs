//! The hand on a campaign: devices taken out, retries by cause, a clone, an abort in pages, and an approval that ends.

use super::*;
use crate::{
    alarm::AlarmKind,
    app::{Excluded, ExcludedAs, NotRetried, RetryFilter},
    campaign::{self, CampaignState},
    policy::Reason,
};

const WHY: &str = "open complaint";
const DAY_MILLIS: i64 = 86_400_000;

impl Lab {
    async fn exclude(&self, numbers: &[u64], dry_run: bool) -> Excluded {
        let devices: Vec<DeviceId> = numbers.iter().map(|n| device(*n)).collect();
        self.app.exclude_devices("spring", &devices, WHY, OPERATOR, dry_run).await.unwrap()
    }

    /// As a process leaves it that dies after the first commit of an abort.
    async fn dies_while_aborting(&self, campaign: i64) {
        let mut tx = self.app.db.begin().await.unwrap();
        let read = campaign::store::lock(&mut tx, campaign).await.unwrap();
        let aborted = campaign::Campaign { state: CampaignState::Aborted, ..read };
        assert!(campaign::store::save(&mut tx, &aborted, CampaignState::Started).await.unwrap());
        tx.commit().await.unwrap();
    }

    async fn stands(&self, kind: AlarmKind) -> usize {
        self.app.alarms(true, None, 0, 99).await.unwrap().iter().filter(|a| a.kind == kind).count()
    }
}

#[tokio::test]
async fn who_is_taken_out_is_never_sent_and_the_rest_goes_on_under_the_same_approval() {
    for lab in labs(4).await {
        let campaign = lab.started("spring", 1).await;
        lab.send(campaign).await;
        let look = lab.exclude(&[1, 2, 3, 99], true).await;
        assert_eq!(lab.state(campaign, 2).await, TargetState::Queued, "a look changes nothing");
        let done = lab.exclude(&[1, 2, 3, 99], false).await;
        assert_eq!(look.devices, done.devices);
        let wanted = [
            (device(1), ExcludedAs::BeyondRecall),
            (device(2), ExcludedAs::TakenOut),
            (device(3), ExcludedAs::TakenOut),
            (device(99), ExcludedAs::Unknown),
        ];
        assert_eq!(done.devices, wanted);
        let out = lab.target(campaign, 2).await;
        assert_eq!((out.state, out.reason), (TargetState::Cancelled, Reason::ExcludedByOperator));
        assert!(out.detail.unwrap().contains(WHY));
        let again = lab.exclude(&[2, 3], false).await;
        assert_eq!((again.count(ExcludedAs::Already), again.count(ExcludedAs::TakenOut)), (2, 0));
        assert_eq!(lab.events("campaign.exclude").await, 1, "the second time nothing was done");
        lab.app.recheck_held().await.unwrap();
        assert_eq!(lab.app.top_up_campaign("spring", OPERATOR, false).await.unwrap().found, 0);
        lab.send(campaign).await;
        assert_eq!(lab.state(campaign, 4).await, TargetState::Accepted, "no edit of what was approved");
        assert_eq!(lab.stands(AlarmKind::ApprovalVoid).await, 0);
        assert_eq!(lab.app.prepare_batch(campaign).await.unwrap(), None);
        assert_eq!(lab.app.campaign_status("spring").await.unwrap().excluded, 3);
        let explained = lab.app.explain_site(device(2), Some("spring"), None, lab.app.now()).await.unwrap();
        assert_eq!(explained.verdict.reason, Reason::ExcludedByOperator);
        let free = lab.app.explain_site(device(2), None, Some(lab.image), lab.app.now()).await.unwrap();
        assert_eq!(free.verdict.reason, Reason::Eligible, "of this campaign alone");
    }
}

#[tokio::test]
async fn a_batch_that_never_left_is_made_anew_without_who_was_taken_out() {
    for lab in labs(3).await {
        let campaign = lab.started("spring", 3).await;
        let prepared = lab.app.prepare_batch(campaign).await.unwrap().unwrap();
        let done = lab.exclude(&[2], false).await;
        assert_eq!((done.batches_dissolved, done.count(ExcludedAs::TakenOut)), (1, 1));
        assert!(lab.app.begin_post(prepared, &lab.dcc).await.unwrap().is_none());
        lab.send(campaign).await;
        let states = [lab.state(campaign, 1).await, lab.state(campaign, 2).await, lab.state(campaign, 3).await];
        assert_eq!(states, [TargetState::Accepted, TargetState::Cancelled, TargetState::Accepted]);
    }
}

#[tokio::test]
async fn what_comes_back_after_it_was_taken_out_is_not_sent_again() {
    for lab in labs(2).await {
        let campaign = lab.started("spring", 2).await;
        let id = lab.post(campaign).await;
        assert_eq!(lab.exclude(&[1], false).await.count(ExcludedAs::BeyondRecall), 1);
        lab.nothing_left(id).await;
        lab.send(campaign).await;
        assert_eq!((lab.state(campaign, 1).await, lab.state(campaign, 2).await), (TargetState::Cancelled, TargetState::Accepted));
    }
}

#[tokio::test]
async fn a_late_success_of_who_was_taken_out_still_counts() {
    for lab in labs(1).await {
        let campaign = lab.started("spring", 1).await;
        let id = lab.send(campaign).await;
        lab.exclude(&[1], false).await;
        lab.hears(&activated(Some(id), 1, 1)).await;
        assert_eq!(lab.state(campaign, 1).await, TargetState::Activated);
    }
}

#[tokio::test]
async fn a_plan_made_afterwards_leaves_them_out() {
    for lab in labs(2).await {
        let campaign = lab.planned("spring", 10).await;
        lab.exclude(&[1], false).await;
        let plan = lab.app.plan_campaign("spring", None, OPERATOR, &mut |_| {}).await.unwrap();
        assert_eq!((plan.eligible, plan.by_reason[&Reason::ExcludedByOperator]), (1, 1));
        lab.start("spring").await;
        lab.send(campaign).await;
        assert_eq!((lab.state(campaign, 1).await, lab.state(campaign, 2).await), (TargetState::Cancelled, TargetState::Accepted));
    }
}

#[tokio::test]
async fn a_retry_is_of_a_cause_and_says_what_it_could_not() {
    for lab in labs(4).await {
        let campaign = lab.started("spring", 4).await;
        let id = lab.send(campaign).await;
        for n in 1..=2 {
            lab.hears(&firmware(Some(id), n, n, "00020100", Smets1FirmwareStatus::UpdateRequested)).await;
        }
        lab.app.clock.advance(80 * 3_600_000);
        lab.app.expire_silent().await.unwrap();
        lab.exclude(&[4], false).await;
        let only = |cause: &str| RetryFilter { causes: vec![cause.to_string()], ..RetryFilter::default() };
        let none = lab.app.retry_some("spring", &only("E11"), OPERATOR, false).await.unwrap();
        assert_eq!((none.queued, none.unknown_causes), (0, vec!["E11".to_string()]));
        assert_eq!(lab.state(campaign, 3).await, TargetState::Expired);
        let look = lab.app.retry_some("spring", &only("Silent"), OPERATOR, true).await.unwrap();
        assert_eq!((look.meant, look.queued, look.not_retried[&NotRetried::Excluded]), (4, 3, 1));
        assert_eq!(lab.state(campaign, 3).await, TargetState::Expired, "a look changes nothing");
        let done = lab.app.retry_some("spring", &only("silent"), OPERATOR, false).await.unwrap();
        assert_eq!((done.queued, done.by_cause["silent"]), (3, 4));
        assert_eq!((lab.state(campaign, 3).await, lab.state(campaign, 4).await), (TargetState::Queued, TargetState::Expired));
        for again in [only("silent"), RetryFilter::default()] {
            assert_eq!(lab.app.retry_some("spring", &again, OPERATOR, false).await.unwrap().queued, 0, "once");
        }
        assert_eq!(lab.events("campaign.retry").await, 1);
    }
}

#[tokio::test]
async fn a_clone_has_the_settings_and_neither_plan_nor_approval() {
    for lab in labs(2).await {
        lab.started("spring", 7).await;
        lab.exclude(&[1], false).await;
        let made = lab.app.clone_campaign("spring", "summer", None, OPERATOR).await.unwrap();
        let (old, new) = (lab.app.campaign("spring").await.unwrap(), lab.app.campaign("summer").await.unwrap());
        assert_eq!((new.id, new.batch_size, &new.rollout, new.image_id), (made.id, 7, &old.rollout, old.image_id));
        assert_eq!((new.state, new.plan_id, new.approved_hash), (CampaignState::Draft, None, None));
        lab.app.clone_campaign("spring", "summer", None, OPERATOR).await.unwrap_err();
    }
}

#[tokio::test]
async fn an_abort_is_done_once_and_completes_what_a_dead_process_left() {
    for lab in labs(3).await {
        let campaign = lab.started("spring", 1).await;
        lab.send(campaign).await;
        lab.dies_while_aborting(campaign).await;
        assert_eq!(lab.app.prepare_batch(campaign).await.unwrap(), None, "nothing of it is sent");
        lab.app.abort_campaign("spring", OPERATOR).await.unwrap();
        let states = [lab.state(campaign, 1).await, lab.state(campaign, 2).await, lab.state(campaign, 3).await];
        assert_eq!(states, [TargetState::Accepted, TargetState::Cancelled, TargetState::Cancelled]);
        let events = lab.events("campaign.cancel").await;
        lab.app.abort_campaign("spring", OPERATOR).await.unwrap();
        assert_eq!((events, lab.events("campaign.cancel").await), (1, 1));
    }
}

#[tokio::test]
async fn the_engine_completes_an_abort() {
    for lab in labs(3).await {
        let campaign = lab.started("spring", 1).await;
        lab.send(campaign).await;
        lab.dies_while_aborting(campaign).await;
        assert_eq!((lab.app.complete_aborts().await.unwrap(), lab.app.complete_aborts().await.unwrap()), (2, 0));
        let states = [lab.state(campaign, 1).await, lab.state(campaign, 2).await, lab.state(campaign, 3).await];
        assert_eq!(states, [TargetState::Accepted, TargetState::Cancelled, TargetState::Cancelled]);
        assert_eq!(lab.events("campaign.cancel").await, 1);
    }
}

#[tokio::test]
async fn an_approval_ends_and_another_lets_the_campaign_go_on() {
    for lab in labs(2).await {
        let text = crate::policy::PolicyName::Rollout.shipped().replace("approval_valid = \"90d\"", "approval_valid = \"2d\"");
        std::fs::write(lab.app.settings.policies_dir.join("rollout.toml"), text).unwrap();
        let campaign = lab.started("spring", 1).await;
        let sent = lab.send(campaign).await;
        let until = lab.app.campaign_status("spring").await.unwrap().approved_until.unwrap();
        assert_eq!(until, lab.app.campaign("spring").await.unwrap().approved_at.unwrap().plus_millis(2 * DAY_MILLIS));
        lab.app.clock.advance(2 * DAY_MILLIS);
        assert_eq!(lab.app.prepare_batch(campaign).await.unwrap(), None);
        assert_eq!(lab.app.prepare_batch(campaign).await.unwrap(), None);
        assert_eq!(lab.stands(AlarmKind::ApprovalExpired).await, 1);
        assert_eq!(lab.app.campaign("spring").await.unwrap().state, CampaignState::Started);
        lab.hears(&activated(Some(sent), 1, 1)).await;
        assert_eq!(lab.state(campaign, 1).await, TargetState::Activated, "what is out is followed");
        lab.app.pause_campaign("spring", OPERATOR).await.unwrap();
        let refused = lab.app.resume_campaign("spring", OPERATOR).await.unwrap_err();
        assert!(refused.message.starts_with("APPROVAL_EXPIRED"), "{refused:?}");
        lab.app.halt_campaign("spring", "one person is enough", OPERATOR).await.unwrap();
        lab.app.approve_campaign("spring", APPROVER, OPERATOR).await.unwrap();
        lab.app.resume_campaign("spring", OPERATOR).await.unwrap();
        assert_eq!(lab.stands(AlarmKind::ApprovalExpired).await, 0);
        lab.send(campaign).await;
    }
}

#[tokio::test]
async fn an_approval_that_has_ended_starts_nothing_and_a_prepared_batch_does_not_leave() {
    for lab in labs(1).await {
        lab.planned("spring", 1).await;
        lab.app.approve_campaign("spring", APPROVER, OPERATOR).await.unwrap();
        lab.app.clock.advance(90 * DAY_MILLIS);
        let refused = lab.app.start_campaign("spring", OPERATOR).await.unwrap_err();
        assert!(refused.message.starts_with("APPROVAL_EXPIRED"), "{refused:?}");
        lab.start("spring").await;
        let campaign = lab.app.campaign("spring").await.unwrap().id;
        let prepared = lab.app.prepare_batch(campaign).await.unwrap().unwrap();
        lab.app.clock.advance(90 * DAY_MILLIS);
        assert!(lab.app.begin_post(prepared, &lab.dcc).await.unwrap().is_none());
        assert_eq!(lab.state(campaign, 1).await, TargetState::Queued);
    }
}

#[tokio::test]
async fn an_approval_of_hours_that_has_ended_is_given_again_at_once() {
    for lab in labs(2).await {
        let text = crate::policy::PolicyName::Rollout.shipped().replace("approval_valid = \"90d\"", "approval_valid = \"2h\"");
        std::fs::write(lab.app.settings.policies_dir.join("rollout.toml"), text).unwrap();
        let campaign = lab.started("spring", 1).await;
        lab.app.clock.advance(3 * 3_600_000);
        assert_eq!(lab.app.prepare_batch(campaign).await.unwrap(), None);
        lab.app.approve_campaign("spring", APPROVER, OPERATOR).await.unwrap();
        let until = lab.app.campaign("spring").await.unwrap().approved_until.unwrap();
        assert_eq!(until, lab.app.now().plus_millis(2 * 3_600_000));
        lab.send(campaign).await;
    }
}
