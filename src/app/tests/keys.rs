//! Missing keys from the first failure to the end: the timetable, re-run requests, the incident team's verbs, and the release.

mod resubmit;

use super::*;
use crate::{
    app::{CaseAction, Meant, Swept},
    keys::{self, CaseFilter, CaseOrder, CaseVerb, KeyCase, KeyCaseState},
    policy::Reason,
};

const DAY: i64 = 86_400_000;
/// Within everything the policies of these stories say.
pub(super) const ONE: Meant = Meant::Confirmed(None);

fn of(sites: &[u64]) -> CaseFilter {
    CaseFilter { devices: sites.iter().map(|n| device(*n)).collect(), ..CaseFilter::default() }
}

impl Lab {
    /// Every case, oldest first.
    pub(super) async fn cases(&self) -> Vec<KeyCase> {
        let (all, _) = keys::store::list(
            &mut self.app.db.read().await.unwrap(),
            &CaseFilter::default(),
            (CaseOrder::Case, false),
            self.app.now().london_day(),
            None,
            1_000,
        )
        .await
        .unwrap();
        all
    }

    pub(super) async fn case(&self, n: u64) -> KeyCase {
        self.cases().await.into_iter().rfind(|c| c.device_id == device(n)).expect("it has a case")
    }

    pub(super) async fn ask(&self) -> Vec<DeviceId> {
        let request = self.app.request_reruns(Some(&mut |_| Ok(())), OPERATOR).await.unwrap();
        request.lines.iter().map(|l| l.device_id).collect()
    }

    pub(super) async fn act(&self, sites: &[u64], action: CaseAction, meant: Meant) -> crate::app::Acted {
        self.app.act_on_cases(of(sites), &action, Some("because"), meant, OPERATOR).await.unwrap()
    }

    /// A result of the tool, dated now.
    pub(super) async fn result_now(&self, n: u64, status: &str) {
        self.keys(&self.app.now().to_string(), &[(n, status)]).await;
    }

    pub(super) fn policy(&self, piece: &str, instead: &str) {
        let shipped = include_str!("../../../policies/retry.toml");
        assert!(shipped.contains(piece), "{piece}");
        std::fs::write(self.folder.path().join("policies/retry.toml"), shipped.replace(piece, instead)).unwrap();
    }
}

#[tokio::test]
async fn a_case_keeps_its_timetable_and_ends_with_a_person() {
    for lab in labs(2).await {
        lab.policy("most_attempts = 8", "most_attempts = 3");
        lab.result_now(1, "failed").await;
        let case = lab.case(1).await;
        let wait = case.next_attempt.unwrap().0 - lab.app.now().0;
        assert!((2 * DAY..=2 * DAY + DAY / 5 + DAY / 50).contains(&wait), "two days and up to a tenth: {wait}");
        assert_eq!(lab.ask().await, [], "not due yet");
        lab.app.clock.advance(3 * DAY);
        assert_eq!(lab.ask().await, [device(1)]);
        assert_eq!(lab.ask().await, [], "never twice on an open request");
        assert!(lab.case(1).await.next_attempt.unwrap().0 - lab.app.now().0 >= 14 * DAY);
        lab.app.clock.advance(DAY);
        lab.result_now(1, "failed").await;
        let again = lab.case(1).await;
        assert_eq!((again.state, again.attempts), (KeyCaseState::Retrying, 2));
        let wait = again.next_attempt.unwrap().0 - lab.app.now().0;
        assert!((4 * DAY..5 * DAY).contains(&wait), "answered, and twice as long as before: {wait}");
        assert_eq!(lab.app.sweep_key_cases().await.unwrap(), Swept::default());
        lab.app.clock.advance(DAY);
        lab.result_now(1, "failed").await;
        assert_eq!(lab.case(1).await.next_attempt, None, "its attempts are used up");
        assert_eq!(lab.app.sweep_key_cases().await.unwrap(), Swept { given_up: 1, lapsed: 0 });
        assert_eq!(lab.app.sweep_key_cases().await.unwrap(), Swept::default(), "once");
        let case = lab.case(1).await;
        assert_eq!((case.state, case.attempts), (KeyCaseState::Investigating, 3));
        let alarms = lab.app.alarms(true, None, 0, 10).await.unwrap();
        assert_eq!(alarms.iter().map(|a| a.kind.as_str()).collect::<Vec<_>>(), ["keys-given-up"]);
        let to = CaseAction::Escalate { incident: "INC1".into(), team: "metering".into() };
        lab.act(&[1], to, ONE).await;
        lab.app.sweep_key_cases().await.unwrap();
        assert!(lab.app.alarms(true, None, 0, 10).await.unwrap().is_empty(), "somebody sees to it");
        lab.app.clock.advance(DAY);
        lab.result_now(1, "updated").await;
        let case = lab.case(1).await;
        assert_eq!(
            (case.state, case.incident.as_deref(), case.ended_at),
            (KeyCaseState::Resolved, Some("INC1"), case.last_attempt)
        );
        let story = lab.app.key_case_story(device(1)).await.unwrap();
        let attempts: Vec<String> = story.attempts.iter().map(|a| format!("{} {}", a.kind, a.outcome)).collect();
        assert_eq!(attempts, ["result failed", "requested asked", "result failed", "result failed", "result updated"]);
        assert_eq!(story.requests[0].outcome.as_deref(), Some("failed"));
        assert_eq!(story.events.iter().map(|e| e.verb).collect::<Vec<_>>(), [CaseVerb::GiveUp, CaseVerb::Escalate]);
    }
}

#[tokio::test]
async fn a_case_that_is_too_old_and_a_request_that_nobody_answers() {
    for lab in labs(1).await {
        lab.result_now(1, "failed").await;
        lab.app.clock.advance(3 * DAY);
        assert_eq!(lab.ask().await, [device(1)]);
        lab.app.clock.advance(14 * DAY);
        assert_eq!(lab.ask().await, [], "its line is open until it has lapsed");
        assert_eq!(lab.app.sweep_key_cases().await.unwrap(), Swept { given_up: 0, lapsed: 1 });
        assert_eq!(lab.ask().await, [device(1)], "it is due again");
        lab.app.clock.advance(80 * DAY);
        assert_eq!(lab.app.sweep_key_cases().await.unwrap(), Swept { given_up: 1, lapsed: 1 });
        assert_eq!(lab.case(1).await.state, KeyCaseState::Investigating);
        let why = lab.app.key_case_story(device(1)).await.unwrap().events.last().unwrap().text.clone();
        assert_eq!(why, "too old");
    }
}

#[tokio::test]
async fn a_budget_an_hour_is_never_exceeded_and_a_site_of_another_supplier_is_not_asked_for() {
    for lab in labs(5).await {
        lab.policy("budget_per_hour = 2000", "budget_per_hour = 2");
        for n in 1..=5 {
            lab.result_now(n, "failed").await;
        }
        lab.registered(&[5], "2026-11-20").await;
        lab.app.clock.advance(3 * DAY);
        let first = lab.app.request_reruns(None, OPERATOR).await.unwrap();
        assert_eq!((first.lines.len(), first.more_due), (2, true), "a dry run asks for nothing");
        let mut failed = |_: &[keys::store::RequestLine]| Err(crate::failure::Failure::failed("the disk is full"));
        assert!(lab.app.request_reruns(Some(&mut failed), OPERATOR).await.is_err());
        let first = lab.ask().await;
        assert_eq!(first.len(), 2, "what could not be written was not asked for");
        assert!(lab.ask().await.is_empty(), "the budget of this hour is used up");
        lab.app.clock.advance(3_600_001);
        let second = lab.ask().await;
        let mut all = [first, second].concat();
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3, 4].map(device));
        lab.app.clock.advance(3_600_001);
        assert!(lab.ask().await.is_empty(), "the fifth is another supplier's now");
        assert_eq!(lab.app.request_reruns(None, OPERATOR).await.unwrap().not_ours, 1, "which is said");
        let refused = lab.act(&[5], CaseAction::Retry, ONE).await;
        assert_eq!((refused.done.len(), refused.left[0].0), (0, device(5)), "{refused:?}");
        assert_eq!(lab.app.request_again(1).await.unwrap().lines.len(), 2);
        let came = lab.app.request_again(1).await.unwrap().lines[0].device_id;
        lab.app
            .act_on_cases(CaseFilter { devices: vec![came], ..CaseFilter::default() }, &CaseAction::Resolve, None, ONE, OPERATOR)
            .await
            .unwrap();
        let again = lab.app.request_again(1).await.unwrap();
        assert_eq!((again.lines.len(), again.ended), (1, 1), "its key has come since");
    }
}

#[tokio::test]
async fn resolving_by_hand_counts_as_a_result_and_releases_the_member_at_once() {
    for lab in labs(3).await {
        lab.result_now(2, "failed").await;
        lab.result_now(3, "failed").await;
        let campaign = lab.started("spring", 10).await;
        lab.send(campaign).await;
        assert_eq!(lab.target(campaign, 2).await.reason, Reason::KeysMissing);
        lab.app.clock.advance(1_000);
        let acted = lab.act(&[2], CaseAction::Resolve, ONE).await;
        assert_eq!((acted.done.len(), acted.released), (1, 1));
        assert_eq!(lab.state(campaign, 2).await, TargetState::Queued, "in the same transaction");
        let case = lab.case(2).await;
        assert_eq!((case.state, case.attempts, case.next_attempt), (KeyCaseState::Resolved, 2, None));
        // The other's key comes with a file: it waits for no loop either.
        lab.app.clock.advance(1_000);
        lab.result_now(3, "updated").await;
        assert_eq!(lab.state(campaign, 3).await, TargetState::Queued);
        let id = lab.send(campaign).await;
        lab.hears(&activated(Some(id), 1, 2)).await;
        assert_eq!(lab.state(campaign, 2).await, TargetState::Activated);
        let again = lab.act(&[2], CaseAction::Resolve, ONE).await;
        assert_eq!((again.done.len(), again.left.len()), (0, 1), "it has ended");
    }
}

#[tokio::test]
async fn a_key_that_comes_for_a_site_that_something_else_holds_waits_for_that() {
    for lab in labs(1).await {
        lab.result_now(1, "failed").await;
        let campaign = lab.started("spring", 10).await;
        let head = "device_id,mpan,reason,effective_from,effective_to\n";
        lab.import(Kind::Exclusions, format!("{head}{},,visit,2020-11-20,\n", device(1))).await;
        lab.app.clock.advance(1_000);
        let acted = lab.act(&[1], CaseAction::Resolve, ONE).await;
        assert_eq!(acted.released, 0, "it is decided again first");
        let target = lab.target(campaign, 1).await;
        assert_eq!((target.state, target.reason), (TargetState::Held, Reason::ExcludedByOperator));
    }
}

#[tokio::test]
async fn a_relapse_is_a_new_case_linked_to_the_last() {
    for lab in labs(1).await {
        lab.result_now(1, "failed").await;
        lab.app.clock.advance(DAY);
        lab.result_now(1, "updated").await;
        lab.app.clock.advance(DAY);
        lab.result_now(1, "failed").await;
        let cases = lab.cases().await;
        assert_eq!(
            cases.iter().map(|c| (c.state, c.attempts)).collect::<Vec<_>>(),
            [(KeyCaseState::Resolved, 2), (KeyCaseState::Retrying, 1)]
        );
        assert_eq!(cases[1].previous, Some(cases[0].id));
        // A file that is imported again changes nothing.
        let before = lab.cases().await;
        lab.app.reconcile_key_cases().await.unwrap();
        assert_eq!(lab.cases().await, before);
    }
}

#[tokio::test]
async fn a_closed_case_stays_closed_until_something_new_is_said() {
    for lab in labs(1).await {
        lab.result_now(1, "failed").await;
        let close = CaseAction::Close { reason: "replaced device".into() };
        let wrong = CaseAction::Close { reason: "no idea".into() };
        let refused = lab.app.act_on_cases(of(&[1]), &wrong, None, ONE, OPERATOR).await.unwrap_err();
        assert_eq!((refused.exit.code(), refused.help[0].contains("HAN errors")), (2, true));
        lab.app.clock.advance(DAY);
        lab.act(&[1], close, ONE).await;
        assert_eq!(
            (lab.case(1).await.state, lab.case(1).await.closed_reason.as_deref()),
            (KeyCaseState::Closed, Some("replaced device"))
        );
        lab.app.reconcile_key_cases().await.unwrap();
        lab.app.clock.advance(200 * DAY);
        assert_eq!(lab.app.sweep_key_cases().await.unwrap(), Swept::default());
        assert_eq!((lab.cases().await.len(), lab.ask().await), (1, vec![]), "none is retried after its end");
        lab.act(&[1], CaseAction::Reopen, ONE).await;
        let cases = lab.cases().await;
        assert_eq!((cases.len(), cases[1].state, cases[1].previous), (2, KeyCaseState::Retrying, Some(cases[0].id)));
        assert_eq!((cases[1].attempts, cases[1].last_error.as_deref()), (1, None));
        let story = lab.app.key_case_story(device(1)).await.unwrap();
        let attempt = story.attempts.last().unwrap();
        assert_eq!((attempt.kind, attempt.who.as_deref()), (keys::AttemptKind::Hand, Some(OPERATOR)));
    }
}

#[tokio::test]
async fn a_reopened_case_holds_its_site_again_and_a_first_one_can_be_opened_by_hand() {
    for lab in labs(2).await {
        let campaign = lab.planned("spring", 10).await;
        let acted = lab.act(&[1], CaseAction::Reopen, ONE).await;
        assert_eq!((acted.new, acted.done.len()), (vec![device(1)], 0));
        assert_eq!(lab.case(1).await.state, KeyCaseState::Retrying);
        let story = lab.app.key_case_story(device(1)).await.unwrap();
        let opened: Vec<_> = story.events.iter().map(|e| (e.verb, e.who.as_str(), e.text.as_str())).collect();
        assert_eq!(opened, [(CaseVerb::Reopen, OPERATOR, "because")]);
        lab.app.plan_campaign("spring", None, OPERATOR, &mut |_| {}).await.unwrap();
        assert_eq!(lab.target(campaign, 1).await.reason, Reason::KeysMissing);
        lab.act(&[1], CaseAction::Resolve, ONE).await;
        assert_eq!(lab.case(1).await.state, KeyCaseState::Resolved, "also at the same moment");
        let nobody = lab.act(&[2], CaseAction::Retry, ONE).await;
        assert_eq!(nobody.left, [(device(2), "it has no case".to_string())]);
    }
}

#[tokio::test]
async fn more_than_one_case_wants_a_count() {
    for lab in labs(3).await {
        for n in 1..=3 {
            lab.result_now(n, "failed").await;
        }
        let note = CaseAction::Note { text: "asked DCC".into() };
        let act = async |meant| lab.app.act_on_cases(CaseFilter::default(), &note, None, meant, OPERATOR).await;
        let refused = act(Meant::Confirmed(None)).await.unwrap_err();
        assert_eq!((refused.exit.code(), refused.help[0].as_str()), (2, "to do it to all of them: --yes 3"));
        assert_eq!(act(Meant::Confirmed(Some(2))).await.unwrap_err().exit.code(), 2);
        assert_eq!(act(Meant::DryRun).await.unwrap().done.len(), 3);
        assert!(lab.app.key_case_story(device(1)).await.unwrap().events.is_empty(), "nothing happened yet");
        assert_eq!(act(Meant::Confirmed(Some(3))).await.unwrap().done.len(), 3);
        let event = lab.app.key_case_story(device(1)).await.unwrap().events.remove(0);
        assert_eq!((event.verb, event.text.as_str(), event.who.as_str()), (CaseVerb::Note, "asked DCC", OPERATOR));
        let trail = crate::audit::list(&mut lab.app.db.read().await.unwrap(), 0, 1_000).await.unwrap();
        assert!(trail.iter().any(|e| e.action == "keys.note" && e.who == OPERATOR));
    }
}

#[tokio::test]
async fn a_retry_now_goes_on_the_next_request_whatever_the_state() {
    for lab in labs(2).await {
        lab.result_now(1, "failed").await;
        lab.result_now(2, "investigating").await;
        assert_eq!(lab.ask().await, []);
        for n in 1..=2 {
            lab.act(&[n], CaseAction::Retry, ONE).await;
        }
        lab.app.reconcile_key_cases().await.unwrap();
        assert_eq!(lab.ask().await, [1, 2].map(device));
        let again = lab.act(&[1], CaseAction::Retry, ONE).await;
        assert_eq!(again.left.len(), 1, "a re-run is asked for already");
        assert_eq!(lab.case(2).await.state, KeyCaseState::Investigating, "an investigation goes on until the key comes");
    }
}

#[tokio::test]
async fn a_message_from_dcc_is_an_attempt_that_names_it() {
    for lab in labs(1).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.send(campaign).await;
        lab.hears(&no_key(Some(id), 1, 1)).await;
        let story = lab.app.key_case_story(device(1)).await.unwrap();
        let attempt = &story.attempts[0];
        assert_eq!((attempt.kind, attempt.outcome.as_str()), (keys::AttemptKind::Message, "failed"));
        assert!(attempt.message.is_some(), "{attempt:?}");
    }
}

#[tokio::test]
async fn filters_narrow_and_pages_follow_each_other() {
    for lab in labs(6).await {
        lab.sites(&[(6, "MDS")]).await;
        for n in 1..=6 {
            lab.result_now(n, if n % 2 == 0 { "failed" } else { "investigating" }).await;
            lab.app.clock.advance(DAY);
        }
        lab.act(&[1], CaseAction::Escalate { incident: "INC_1".into(), team: "metering".into() }, ONE).await;
        lab.act(&[2], CaseAction::Assign { assignee: Some("jane".into()) }, ONE).await;
        lab.act(&[3], CaseAction::Note { text: "100% sure".into() }, ONE).await;
        let campaign = lab.planned("spring", 10).await;
        let plan = lab.app.campaign(&campaign.to_string()).await.unwrap().plan_id;
        let found = async |filter: CaseFilter| {
            let day = lab.app.now().london_day();
            let mut all = Vec::new();
            let mut after = None;
            loop {
                let order = (CaseOrder::NextAttempt, true);
                let mut tx = lab.app.db.read().await.unwrap();
                let (page, next) = keys::store::list(&mut tx, &filter, order, day, after, 2).await.unwrap();
                all.extend(page.iter().map(|c| c.device_id.0 - device(0).0));
                match next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
            all.sort_unstable();
            all
        };
        let any = CaseFilter::default;
        let text = |t: &str| Some(t.to_string());
        let now = lab.app.now();
        for (filter, wanted) in [
            (any(), vec![1, 2, 3, 4, 5, 6]),
            (CaseFilter { state: Some(KeyCaseState::Investigating), ..any() }, vec![1, 3, 5]),
            (CaseFilter { cohort: Some(crate::estate::Cohort::Mds), ..any() }, vec![6]),
            (CaseFilter { model: text("433100AC"), ..any() }, vec![1, 2, 3, 4, 5, 6]),
            (CaseFilter { region: text("North"), ..any() }, vec![]),
            (CaseFilter { mpid: Some("EELC".parse().unwrap()), ..any() }, vec![1, 2, 3, 4, 5, 6]),
            (CaseFilter { mpid: Some("OTHR".parse().unwrap()), ..any() }, vec![]),
            (CaseFilter { incident: text("INC_1"), ..any() }, vec![1]),
            (CaseFilter { team: text("metering"), ..any() }, vec![1]),
            (CaseFilter { team: text(""), ..any() }, vec![2, 3, 4, 5, 6]),
            (CaseFilter { unescalated: true, ..any() }, vec![2, 3, 4, 5, 6]),
            (CaseFilter { assignee: text("jane"), ..any() }, vec![2]),
            (CaseFilter { assignee: text(""), ..any() }, vec![1, 3, 4, 5, 6]),
            (CaseFilter { text: text("100%"), ..any() }, vec![3]),
            (CaseFilter { text: text("inc_"), ..any() }, vec![1]),
            (CaseFilter { text: text("incX"), ..any() }, vec![]),
            (CaseFilter { first_seen_by: Some(now.plus_millis(-5 * DAY)), ..any() }, vec![1, 2]),
            (CaseFilter { due_by: Some(now), ..any() }, vec![2]),
            (CaseFilter { attempts_from: Some(2), ..any() }, vec![]),
            (CaseFilter { plan, ..any() }, vec![1, 2, 3, 4, 5, 6]),
            (CaseFilter { plan: Some(0), ..any() }, vec![]),
            (of(&[2, 4]), vec![2, 4]),
        ] {
            let found = found(filter.clone()).await;
            if filter.due_by.is_some() {
                assert!(found.contains(&2) && found.iter().all(|n| n % 2 == 0), "{found:?}");
            } else {
                assert_eq!(found, wanted, "{filter:?}");
            }
        }
    }
}
