//! Sites that are sent again without their keys (`resubmit = true`): which and when, in batches of their own, and how each ends.

mod brakes;

use super::*;
use crate::{
    app::{CaseStory, Told},
    campaign::batch::Batch,
    keys::AttemptKind,
    target::store::Cause,
};

const HOUR: i64 = DAY / 24;

impl Lab {
    /// The shipped timetable but for these pieces, and with resubmissions.
    fn resubmitting(&self, edits: &[(&str, &str)]) {
        let mut text = include_str!("../../../../policies/retry.toml").to_string();
        for (piece, instead) in [("resubmit = false", "resubmit = true")].iter().chain(edits) {
            assert!(text.contains(piece), "{piece}");
            text = text.replace(piece, instead);
        }
        std::fs::write(self.folder.path().join("policies/retry.toml"), text).unwrap();
    }

    async fn resubmit(&self, campaign: i64) -> Option<RequestId> {
        self.app.next_resubmission(campaign).await.unwrap()
    }

    /// The same, taken by DCC.
    async fn sent_again(&self, campaign: i64) -> RequestId {
        let id = self.resubmit(campaign).await.expect("something is due");
        self.begin(id).await;
        assert_eq!(self.reply(id, "I99").await, Posted::Settled);
        id
    }

    async fn batch_of(&self, id: RequestId) -> Batch {
        let mut tx = self.app.db.read().await.unwrap();
        let request = outbox::find_by_request_id(&mut tx, id).await.unwrap().unwrap();
        crate::campaign::store::get_batch(&mut tx, request.batch_id.unwrap()).await.unwrap().unwrap()
    }

    async fn tale(&self, n: u64) -> CaseStory {
        self.app.key_case_story(device(n)).await.unwrap()
    }

    /// Every attempt of a site's cases.
    async fn tried(&self, n: u64) -> Vec<String> {
        self.tale(n).await.attempts.iter().map(|a| format!("{} {}", a.kind, a.outcome)).collect()
    }

    /// What its lines came to.
    async fn came_to(&self, n: u64) -> Vec<Option<String>> {
        self.tale(n).await.requests.into_iter().map(|r| r.outcome).collect()
    }

    async fn decisions(&self, n: u64) -> Vec<Told> {
        self.app.explain_site(device(n), Some("spring"), None, self.app.now()).await.unwrap().decisions
    }

    async fn is_held_without_key(&self, campaign: i64, n: u64) {
        let target = self.target(campaign, n).await;
        assert_eq!((target.state, target.reason), (TargetState::Held, Reason::KeysMissing));
    }
}

/// One site whose key is missing, in a started campaign, and due.
async fn due(lab: &Lab, edits: &[(&str, &str)]) -> i64 {
    lab.resubmitting(edits);
    lab.result_now(1, "failed").await;
    let campaign = lab.started("spring", 10).await;
    lab.app.clock.advance(3 * DAY);
    campaign
}

#[tokio::test]
async fn as_shipped_nothing_is_sent_without_its_key() {
    for lab in labs(2).await {
        lab.result_now(1, "failed").await;
        let campaign = lab.started("spring", 10).await;
        lab.send(campaign).await;
        lab.app.clock.advance(30 * DAY);
        assert_eq!(lab.resubmit(campaign).await, None);
        lab.is_held_without_key(campaign, 1).await;
        assert_eq!(lab.ask().await, [device(1)]);
    }
}

#[tokio::test]
async fn what_is_due_goes_in_a_batch_of_its_own_and_on_no_request() {
    for lab in labs(4).await {
        lab.resubmitting(&[]);
        lab.result_now(1, "failed").await;
        lab.result_now(2, "failed").await;
        let campaign = lab.started("spring", 10).await;
        lab.app.clock.advance(DAY);
        lab.result_now(3, "failed").await;
        lab.app.recheck_held().await.unwrap();
        assert_eq!(lab.resubmit(campaign).await, None, "nothing is due");
        lab.app.clock.advance(3 * DAY / 2);
        let dry = lab.app.request_reruns(None, OPERATOR).await.unwrap();
        assert_eq!((dry.lines.len(), dry.left_to_the_engine), (0, 2), "the engine sees to them");

        let ordinary = lab.post(campaign).await;
        let again = lab.resubmit(campaign).await.unwrap();
        assert_eq!(lab.resubmit(campaign).await, None, "once");
        let (ordinary, again_batch) = (lab.batch_of(ordinary).await, lab.batch_of(again).await);
        assert_eq!((ordinary.resubmission, ordinary.members), (false, vec![device(4)]), "site 3 failed before it was sent");
        assert_eq!((again_batch.resubmission, again_batch.members), (true, vec![device(1), device(2)]));
        let target = lab.target(campaign, 1).await;
        assert_eq!(
            (target.state, target.reason, target.attempts),
            (TargetState::Submitted, Reason::KeysMissing, 1),
            "sent as what it is"
        );

        let tale = lab.tale(1).await;
        let attempt = tale.attempts.last().unwrap();
        assert_eq!(
            (attempt.kind, attempt.outcome.as_str(), attempt.who.as_deref(), attempt.batch),
            (AttemptKind::Resubmission, "sent", Some("engine"), Some(again_batch.id))
        );
        assert!(attempt.detail.as_ref().unwrap().ends_with(&format!("request {again}")), "{attempt:?}");
        let line = tale.requests.last().unwrap();
        assert_eq!((line.request, line.batch, line.rule.as_str()), (None, Some(again_batch.id), "other"));
        assert_eq!(tale.cases[0].attempts, 1, "it counts when it is over");
        assert!(tale.cases[0].next_attempt.unwrap().0 >= lab.app.now().0 + 2 * DAY, "and is due by the timetable again");
        assert_eq!(lab.ask().await, [], "nobody asks for a re-run as well");
        let retried = lab.act(&[1], CaseAction::Retry, ONE).await;
        assert_eq!(retried.left.len(), 1, "it is out");
        lab.app.clock.advance(20 * DAY);
        assert_eq!((lab.ask().await, lab.app.sweep_key_cases().await.unwrap()), (vec![], Swept::default()), "still out");

        let told = lab.decisions(1).await;
        let told = told.last().unwrap();
        assert_eq!((told.step.cause, told.step.cause_ref), (Some(Cause::Resubmit), Some(again_batch.id)));
        assert_eq!(told.step.fact.as_deref(), Some("failed; sent all the same: resubmit = true in retry.toml"));
        assert!(told.policy_hash.is_some() && told.step.key_result_at.is_some() && told.cpl_entry.is_some(), "{told:?}");
    }
}

#[tokio::test]
async fn every_other_rule_still_holds_and_those_it_holds_go_on_a_request() {
    for lab in labs(3).await {
        lab.resubmitting(&[]);
        for n in 1..=3 {
            lab.result_now(n, "failed").await;
        }
        let campaign = lab.started("spring", 10).await;
        let head = "device_id,mpan,reason,effective_from,effective_to\n";
        lab.import(Kind::Exclusions, format!("{head}{},,visit,2020-11-20,\n", device(1))).await;
        lab.registered(&[2], "2026-11-20").await;
        lab.app.clock.advance(3 * DAY);
        let id = lab.resubmit(campaign).await.unwrap();
        assert_eq!(lab.batch_of(id).await.members, [device(3)]);
        lab.is_held_without_key(campaign, 1).await;
        lab.is_held_without_key(campaign, 2).await;
        assert_eq!(lab.ask().await, [device(1)], "the other is another supplier's");
        lab.app.recheck_held().await.unwrap();
        assert_eq!(lab.state(campaign, 2).await, TargetState::Ineligible);
        assert_eq!(lab.state(campaign, 3).await, TargetState::Submitted, "nobody decides about what was sent");
    }
}

#[tokio::test]
async fn one_budget_for_requests_and_resubmissions() {
    for lab in labs(4).await {
        lab.resubmitting(&[("budget_per_hour = 2000", "budget_per_hour = 3")]);
        for n in 1..=3 {
            lab.result_now(n, "failed").await;
            lab.app.clock.advance(1_000);
        }
        let campaign = lab.started("spring", 10).await;
        lab.send(campaign).await;
        // A site of no campaign.
        lab.sites(&[(9, "IOC")]).await;
        lab.registered(&[9], "").await;
        lab.result_now(9, "failed").await;
        lab.app.clock.advance(3 * DAY);
        assert_eq!(lab.ask().await, [device(9)], "a member of no started campaign is asked for");
        let first = lab.sent_again(campaign).await;
        assert_eq!(lab.batch_of(first).await.members.len(), 2);
        assert_eq!(lab.resubmit(campaign).await, None, "the budget of this hour is used up");
        lab.app.clock.advance(HOUR + 1);
        let second = lab.sent_again(campaign).await;
        let mut all = [lab.batch_of(first).await.members, lab.batch_of(second).await.members].concat();
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3].map(device));
    }
}

#[tokio::test]
async fn dcc_says_again_that_it_needs_its_key_and_the_case_waits_for_its_delay() {
    for lab in labs(1).await {
        let campaign = due(&lab, &[]).await;
        let first = lab.sent_again(campaign).await;
        assert_eq!(lab.state(campaign, 1).await, TargetState::Accepted);
        let shares = lab.app.campaign_status("spring").await.unwrap().shares;
        assert_eq!((shares.counted, shares.left_out_keys_missing), (0, 1), "a missing key is no failure");
        lab.app.clock.advance(HOUR);
        assert_eq!(lab.hears(&no_key(Some(first), 1, 1)).await, InboxState::Settled);
        lab.is_held_without_key(campaign, 1).await;
        assert_eq!(lab.tried(1).await, ["result failed", "resubmission sent", "message failed"]);
        assert_eq!(lab.came_to(1).await, [Some("failed".to_string())]);
        let case = lab.case(1).await;
        assert_eq!((case.state, case.attempts), (KeyCaseState::Retrying, 2), "asked and answered: one attempt");
        let wait = case.next_attempt.unwrap().0 - lab.app.now().0;
        assert!((4 * DAY..5 * DAY).contains(&wait), "twice as long as before, from the answer: {wait}");
        lab.app.recheck_held().await.unwrap();
        assert_eq!((lab.resubmit(campaign).await, lab.app.end_resubmissions().await.unwrap()), (None, 0));

        lab.app.clock.advance(5 * DAY);
        let second = lab.sent_again(campaign).await;
        assert_ne!(first, second, "a request of its own");
        lab.app.clock.advance(HOUR);
        lab.hears(&activated(Some(second), 2, 1)).await;
        let (target, case) = (lab.target(campaign, 1).await, lab.case(1).await);
        assert_eq!((target.state, target.reason, target.attempts), (TargetState::Activated, Reason::Eligible, 2));
        assert_eq!((case.state, case.next_attempt), (KeyCaseState::Resolved, None));
        assert_eq!(lab.came_to(1).await, [Some("failed".to_string()), Some("activated".to_string())]);
        let status = lab.app.campaign_status("spring").await.unwrap();
        assert_eq!((status.shares.counted, status.shares.succeeded, status.shares.left_out_keys_missing), (1, 1, 0));
        assert_eq!((status.batches, status.requests_sent, status.duplicate_submissions), (2, 2, 0));
        lab.app.clock.advance(100 * DAY);
        assert_eq!((lab.resubmit(campaign).await, lab.ask().await), (None, vec![]), "none is retried after its end");
        assert_eq!(lab.app.finish_campaigns().await.unwrap(), 1);
    }
}

#[tokio::test]
async fn attempts_that_are_used_up_end_with_a_person() {
    for lab in labs(1).await {
        let campaign = due(&lab, &[("most_attempts = 8", "most_attempts = 3")]).await;
        for n in 1..=2 {
            let id = lab.sent_again(campaign).await;
            assert_eq!(lab.app.sweep_key_cases().await.unwrap(), Swept::default(), "the last one is waited for");
            lab.app.clock.advance(HOUR);
            lab.hears(&no_key(Some(id), n, 1)).await;
            lab.app.clock.advance(5 * DAY);
        }
        let case = lab.case(1).await;
        assert_eq!((case.attempts, case.next_attempt), (3, None));
        assert_eq!(lab.app.sweep_key_cases().await.unwrap(), Swept { given_up: 1, lapsed: 0 });
        lab.app.clock.advance(10 * DAY);
        lab.app.reconcile_key_cases().await.unwrap();
        assert_eq!((lab.case(1).await.state, lab.resubmit(campaign).await), (KeyCaseState::Investigating, None));
        // A person may all the same.
        lab.act(&[1], CaseAction::Retry, ONE).await;
        let id = lab.sent_again(campaign).await;
        assert_eq!(lab.resubmit(campaign).await, None);
        lab.app.clock.advance(HOUR);
        lab.hears(&no_key(Some(id), 3, 1)).await;
        lab.app.clock.advance(60 * DAY);
        assert_eq!((lab.case(1).await.state, lab.resubmit(campaign).await), (KeyCaseState::Investigating, None), "once");
    }
}

#[tokio::test]
async fn silence_is_an_attempt_too_and_a_late_answer_is_the_same_one() {
    for lab in labs(1).await {
        let campaign = due(&lab, &[]).await;
        let sent_at = lab.app.now();
        let id = lab.sent_again(campaign).await;
        assert_eq!(lab.app.end_resubmissions().await.unwrap(), 0, "it is out");
        lab.app.clock.advance(3 * DAY + 1);
        assert_eq!(lab.app.expire_silent().await.unwrap(), 1);
        let shares = lab.app.campaign_status("spring").await.unwrap().shares;
        assert_eq!((shares.counted, shares.silent, shares.left_out_keys_missing), (0, 0, 1));
        assert_eq!((lab.app.end_resubmissions().await.unwrap(), lab.app.end_resubmissions().await.unwrap()), (1, 0));
        let case = lab.case(1).await;
        assert_eq!((case.state, case.attempts, case.last_attempt), (KeyCaseState::Retrying, 2, Some(sent_at)));
        assert_eq!(lab.came_to(1).await, [Some("silent".to_string())]);
        assert_eq!(lab.resubmit(campaign).await, None, "it does not wait here any more");
        lab.app.clock.advance(2 * DAY);
        assert_eq!(lab.ask().await, [device(1)], "so it is asked for");
        lab.app.clock.advance(HOUR);
        lab.hears(&no_key(Some(id), 1, 1)).await;
        lab.is_held_without_key(campaign, 1).await;
        assert_eq!(lab.case(1).await.attempts, 2, "one attempt, answered late");
    }
}
