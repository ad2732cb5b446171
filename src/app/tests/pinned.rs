//! Policies that change while a campaign runs: what it was approved with is pinned, and nothing new is sent under others.

use super::*;
use crate::{alarm::AlarmKind, policy::PolicyName};

impl Lab {
    /// eligibility.toml as it ships, with one piece replaced.
    fn edit_eligibility(&self, piece: &str, instead: &str) {
        let shipped = PolicyName::Eligibility.shipped();
        assert_eq!(shipped.matches(piece).count(), 1, "{piece}");
        std::fs::write(self.app.settings.policies_dir.join("eligibility.toml"), shipped.replace(piece, instead)).unwrap();
    }

    fn put_eligibility_back(&self) {
        std::fs::remove_file(self.app.settings.policies_dir.join("eligibility.toml")).unwrap();
    }

    /// The kinds of alarm that stand.
    async fn standing(&self) -> Vec<AlarmKind> {
        self.app.alarms(true, None, 0, 10).await.unwrap().iter().map(|a| a.kind).collect()
    }
}

#[tokio::test]
async fn nothing_new_is_sent_under_policies_nobody_approved_until_somebody_does() {
    for lab in labs(4).await {
        let id = lab.started("spring", 2).await;
        let open = lab.post(id).await;
        lab.no_reply(open).await;
        lab.edit_eligibility("guard_days = 5", "guard_days = 9");
        assert_eq!(lab.app.prepare_batch(id).await.unwrap(), None);
        assert_eq!(lab.app.prepare_batch(id).await.unwrap(), None, "and again, with the alarm standing");
        assert_eq!(lab.standing().await, [AlarmKind::ApprovalVoid]);
        let alarm = lab.app.alarms(true, Some(id), 0, 10).await.unwrap().remove(0);
        assert!(alarm.sentence.ends_with("eligibility.toml guard_days: 5 -> 9"), "{}", alarm.sentence);
        // What is out goes on: the same request again, and its answer counts.
        lab.begin(open).await;
        assert_eq!(lab.reply(open, "I99").await, Posted::Settled);
        assert_eq!(lab.state(id, 1).await, TargetState::Accepted);

        let creator = lab.app.approve_campaign("spring", "ann", OPERATOR).await.unwrap_err();
        assert!(creator.message.starts_with("SECOND_PERSON_REQUIRED"), "{creator:?}");
        let approved = lab.app.approve_campaign("spring", "third.person", OPERATOR).await.unwrap();
        assert!(approved.approved_by.unwrap().starts_with("third.person"));
        assert_eq!(lab.app.pinned_policies(&lab.app.campaign("spring").await.unwrap()).await.unwrap().eligibility.guard_days, 9);
        assert_eq!(lab.standing().await, []);
        assert!(lab.app.prepare_batch(id).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn putting_the_files_back_is_enough() {
    for lab in labs(2).await {
        let id = lab.started("spring", 2).await;
        lab.edit_eligibility("guard_days = 5", "guard_days = 9");
        assert_eq!(lab.app.judge_started().await.unwrap(), 1);
        assert_eq!(lab.standing().await, [AlarmKind::ApprovalVoid]);
        lab.put_eligibility_back();
        assert!(lab.app.prepare_batch(id).await.unwrap().is_some());
        assert_eq!(lab.standing().await, []);
    }
}

#[tokio::test]
async fn what_was_prepared_and_never_posted_is_taken_apart() {
    for lab in labs(2).await {
        let id = lab.started("spring", 2).await;
        let prepared = lab.app.prepare_batch(id).await.unwrap().unwrap();
        lab.edit_eligibility("guard_days = 5", "guard_days = 9");
        lab.app.judge_started().await.unwrap();
        assert!(lab.app.begin_post(prepared, &lab.dcc).await.unwrap().is_none());
        assert_eq!((lab.state(id, 1).await, lab.state(id, 2).await), (TargetState::Queued, TargetState::Queued));
    }
}

#[tokio::test]
async fn the_held_are_not_decided_by_policies_nobody_approved() {
    for lab in labs(2).await {
        lab.keys("2020-11-12T08:00:00Z", &[(2, "failed")]).await;
        let id = lab.started("spring", 2).await;
        let live = "[cohort.IOC]\nlive_from = \"2020-11-24\"";
        lab.edit_eligibility(live, "[cohort.IOC]");
        lab.app.recheck_held().await.unwrap();
        assert_eq!(lab.state(id, 2).await, TargetState::Held, "{}: not ruled out for good by a slip", lab.url);
        lab.put_eligibility_back();
        lab.keys("2020-11-13T08:00:00Z", &[(2, "updated")]).await;
        assert_eq!(lab.state(id, 2).await, TargetState::Queued, "with the import");
    }
}

#[tokio::test]
async fn a_remark_or_a_response_code_voids_nothing() {
    for lab in labs(2).await {
        let id = lab.planned("spring", 2).await;
        lab.app.approve_campaign("spring", APPROVER, OPERATOR).await.unwrap();
        lab.edit_eligibility("guard_days = 5", "# as agreed in November\nguard_days = 5");
        lab.app.start_campaign("spring", OPERATOR).await.unwrap();
        let codes = PolicyName::ResponseCodes.shipped().replacen("disposition = \"unknown\"", "disposition = \"drop_device\"", 1);
        std::fs::write(lab.app.settings.policies_dir.join("response-codes.toml"), codes).unwrap();
        assert!(lab.app.prepare_batch(id).await.unwrap().is_some());
        assert_eq!(lab.standing().await, []);
        let again = lab.app.approve_campaign("spring", "third.person", OPERATOR).await.unwrap();
        assert!(again.approved_by.unwrap().starts_with(APPROVER), "nothing had to be approved");
    }
}

#[tokio::test]
async fn a_pause_does_not_outlast_an_approval() {
    for lab in labs(2).await {
        let id = lab.started("spring", 2).await;
        lab.app.pause_campaign("spring", OPERATOR).await.unwrap();
        lab.edit_eligibility("guard_days = 5", "guard_days = 9");
        let refused = lab.app.resume_campaign("spring", OPERATOR).await.unwrap_err();
        assert!(refused.message.starts_with("APPROVAL_VOID"), "{refused:?}");
        lab.app.approve_campaign("spring", "third.person", OPERATOR).await.unwrap();
        lab.app.resume_campaign("spring", OPERATOR).await.unwrap();
        assert!(lab.app.prepare_batch(id).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn an_edition_that_begins_asks_for_a_new_approval_on_its_day() {
    for lab in labs(2).await {
        let id = lab.started("spring", 2).await;
        let tomorrow = lab.app.now().london_day().plus(1);
        let edition = PolicyName::Eligibility
            .shipped()
            .replace("effective_from = \"2020-11-24\"", &format!("effective_from = \"{tomorrow}\""))
            .replace("guard_days = 5", "guard_days = 9");
        std::fs::write(lab.app.settings.policies_dir.join(format!("eligibility.{tomorrow}.toml")), edition).unwrap();
        assert_eq!(lab.app.judge_started().await.unwrap(), 0, "it has not begun");
        lab.app.clock.advance(tomorrow.start().0 - lab.app.now().0);
        assert_eq!(lab.app.judge_started().await.unwrap(), 1);
        assert_eq!(lab.app.prepare_batch(id).await.unwrap(), None);
        assert_eq!(lab.standing().await, [AlarmKind::ApprovalVoid]);
    }
}
