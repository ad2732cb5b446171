//! Missing keys and time: results that come late or out of order, lines that lapse, and reports of days gone by.

use super::*;
use crate::{
    app::{CaseAction, Meant, Swept},
    keys::{KeyCaseState, store::Reconciled},
};

const DAY: i64 = 86_400_000;

#[tokio::test]
async fn a_line_that_lapsed_leaves_its_case_as_the_timetable_says() {
    for lab in labs(1).await {
        lab.result_now(1, "failed").await;
        let due = lab.case(1).await.next_attempt;
        lab.app.clock.advance(3 * DAY);
        assert_eq!(lab.ask().await, [device(1)]);
        lab.app.clock.advance(15 * DAY);
        assert_eq!(lab.app.sweep_key_cases().await.unwrap(), Swept { given_up: 0, lapsed: 1 });
        let case = lab.case(1).await;
        assert_eq!(case.next_attempt, due, "as if it had not been asked for: of those that are due it is among the first");
        assert_eq!(lab.app.reconcile_key_cases().await.unwrap(), Reconciled::default(), "a restart has nothing to put right");
        assert_eq!(lab.case(1).await, case);
    }
}

#[tokio::test]
async fn an_earlier_failure_that_is_heard_of_later_is_when_the_case_was_first_seen() {
    for lab in labs(1).await {
        let first = lab.app.now();
        lab.app.clock.advance(3 * DAY);
        lab.result_now(1, "failed").await;
        let report = async |at| lab.app.key_report(at, None).await.unwrap();
        assert_eq!((report(first).await.all.failed, report(lab.app.now()).await.all.failed), (0, 1));
        lab.keys(&first.to_string(), &[(1, "failed")]).await;
        let case = lab.case(1).await;
        assert_eq!((case.first_seen, case.attempts, case.last_attempt), (first, 2, Some(lab.app.now())));
        let then = report(first).await;
        assert_eq!((then.all.retrying, then.oldest[0].first_seen), (1, first), "results count by their own dates");
    }
}

#[tokio::test]
async fn a_relapse_that_the_same_file_tells_of_is_a_case_of_its_own() {
    for lab in labs(1).await {
        let day = |n: i64| testing::now().plus_millis(n * DAY);
        lab.result_now(1, "failed").await;
        lab.app.clock.advance(4 * DAY);
        let row = |at: i64, status: &str| format!("{},{status},{}\n", device(1), day(at));
        let head = "device_id,status,attempted_at\n";
        lab.import(Kind::Keys, format!("{head}{}{}{}", row(3, "failed"), row(1, "updated"), row(2, "failed"))).await;
        let cases = lab.cases().await;
        let shown: Vec<_> = cases.iter().map(|c| (c.state, c.attempts, c.first_seen, c.ended_at)).collect();
        assert_eq!(
            shown,
            [(KeyCaseState::Resolved, 2, day(0), Some(day(1))), (KeyCaseState::Retrying, 2, day(2), None)],
            "as if each result had come in a file of its own"
        );
        assert_eq!(cases[1].previous, Some(cases[0].id));
        let story = lab.app.key_case_story(device(1)).await.unwrap();
        let attempts: Vec<_> = story.attempts.iter().map(|a| (a.case, a.outcome.as_str())).collect();
        let (one, two) = (cases[0].id, cases[1].id);
        assert_eq!(attempts, [(one, "failed"), (one, "updated"), (two, "failed"), (two, "failed")]);
        assert_eq!(lab.app.reconcile_key_cases().await.unwrap(), Reconciled::default());
    }
}

#[tokio::test]
async fn an_old_report_names_no_incident_of_later() {
    for lab in labs(1).await {
        lab.result_now(1, "failed").await;
        let then = lab.app.now();
        let before = lab.app.key_report(then, None).await.unwrap();
        assert_eq!(before.oldest[0].incident, None);
        lab.app.clock.advance(DAY);
        let action = CaseAction::Escalate { incident: "INC1".into(), team: "metering".into() };
        lab.act(&[1], action, Meant::Confirmed(None)).await;
        assert_eq!(lab.app.key_report(then, None).await.unwrap(), before);
        let now = lab.app.key_report(lab.app.now(), None).await.unwrap();
        assert_eq!(now.oldest[0].incident.as_deref(), Some("INC1"));
        lab.app.clock.advance(DAY);
        lab.act(&[1], CaseAction::Close { reason: "HAN errors".into() }, Meant::Confirmed(None)).await;
        lab.app.clock.advance(DAY);
        lab.act(&[1], CaseAction::Reopen, Meant::Confirmed(None)).await;
        let reopened = lab.app.key_report(lab.app.now(), None).await.unwrap();
        assert_eq!(reopened.oldest[0].incident.as_deref(), Some("INC1"), "the case that is opened again takes it over");
        lab.app.clock.advance(DAY);
        lab.result_now(1, "updated").await;
        lab.app.clock.advance(DAY);
        lab.result_now(1, "failed").await;
        let relapsed = lab.app.key_report(lab.app.now(), None).await.unwrap();
        assert_eq!(relapsed.oldest[0].incident, None, "a relapse is nobody's yet");
        let then = lab.app.now();
        lab.app.clock.advance(DAY);
        let action = CaseAction::Escalate { incident: "INC2".into(), team: "metering".into() };
        lab.act(&[1], action, Meant::Confirmed(None)).await;
        assert_eq!(lab.app.key_report(then, None).await.unwrap(), relapsed);
    }
}

impl Lab {
    /// Cases by device, as far as they do not tell when they were taken up.
    async fn chains(&self) -> Vec<(u64, KeyCaseState, i64, crate::clock::Time, Option<crate::clock::Time>, bool, Vec<String>)> {
        let mut all = Vec::new();
        for case in self.cases().await {
            let story = self.app.key_case_story(case.device_id).await.unwrap();
            let attempts =
                story.attempts.iter().filter(|a| a.case == case.id).map(|a| format!("{} {}", a.at, a.outcome)).collect();
            let before = case.previous.and_then(|id| story.cases.iter().find(|c| c.id == id));
            let linked = before.is_some_and(|b| b.ended_at < Some(case.first_seen));
            let n = case.device_id.0 - device(0).0;
            all.push((n, case.state, case.attempts, case.first_seen, case.ended_at, linked, attempts));
        }
        all.sort_by_key(|c| (c.0, c.3));
        all
    }
}

#[tokio::test]
async fn it_does_not_matter_how_the_history_of_the_tool_was_cut_into_files() {
    for (one, two) in labs(10).await.into_iter().zip(labs(10).await) {
        let head = "device_id,status,attempted_at\n";
        let day = |n: i64| testing::now().plus_millis((n - 9) * DAY);
        let rows = |sites: std::ops::RangeInclusive<u64>, status: &str, at: i64| -> String {
            sites.map(|n| format!("{},{status},{}\n", device(n), day(at))).collect()
        };
        let files = [
            rows(1..=10, "failed", 1),
            rows(1..=6, "updated", 2),
            rows(6..=6, "failed", 3),
            rows(6..=6, "updated", 4),
            rows(5..=5, "failed", 5),
        ];
        one.import(Kind::Keys, format!("{head}{}", files.concat())).await;
        for file in &files {
            two.import(Kind::Keys, format!("{head}{file}")).await;
        }
        assert_eq!(one.chains().await, two.chains().await);
        let now = one.app.now();
        let report = one.app.key_report(now, None).await.unwrap();
        assert_eq!(report, two.app.key_report(now, None).await.unwrap());
        assert_eq!(
            (report.all.failed, report.all.retrying, report.all.resolved),
            (10, 5, 5),
            "5 of the 6 that came good failed again"
        );
        assert_eq!((one.app.key_report(day(2), None).await.unwrap().all.resolved, one.cases().await.len()), (6, 12));
        assert_eq!(one.app.reconcile_key_cases().await.unwrap(), Reconciled::default(), "a restart has nothing to put right");
        let told = crate::notify::store::count_to_spread(&mut one.app.db.read().await.unwrap()).await.unwrap();
        assert_eq!(told, 5, "of what was over before anybody heard of it nobody is told");
    }
}

#[tokio::test]
async fn a_case_opened_before_its_site_was_known_ends_where_its_cohort_needs_no_key() {
    for lab in labs(1).await {
        lab.result_now(2, "failed").await;
        lab.result_now(3, "failed").await;
        lab.app.clock.advance(1_000);
        // The third was reopened: a person said so.
        lab.act(&[3], CaseAction::Close { reason: "HAN errors".into() }, Meant::Confirmed(None)).await;
        lab.act(&[3], CaseAction::Reopen, Meant::Confirmed(None)).await;
        lab.act(&[2], CaseAction::Note { text: "who is that?".into() }, Meant::Confirmed(None)).await;
        lab.sites(&[(2, "SECURE"), (3, "SECURE")]).await;
        lab.registered(&[1, 2, 3], "").await;
        let case = lab.case(2).await;
        let why = "its cohort needs no key from the tool";
        assert_eq!((case.state, case.closed_reason.as_deref()), (KeyCaseState::Closed, Some(why)));
        assert_eq!(lab.case(3).await.state, KeyCaseState::Retrying);
        lab.app.clock.advance(3 * DAY);
        assert_eq!(lab.ask().await, [device(3)]);
        let story = lab.app.key_case_story(device(2)).await.unwrap();
        let last = story.events.last().unwrap();
        assert_eq!((last.verb, last.who.as_str(), last.text.as_str()), (crate::keys::CaseVerb::Close, "engine", why));
        let trail = crate::audit::list(&mut lab.app.db.read().await.unwrap(), 0, 1_000).await.unwrap();
        assert!(trail.iter().any(|e| e.action == "keys.close" && e.who == "engine"));
        let waiting = crate::notify::store::without_holder(&mut lab.app.db.read().await.unwrap(), 0, 10).await.unwrap();
        assert!(waiting.is_empty(), "{waiting:?}");
        lab.app.clock.advance(DAY);
        lab.result_now(2, "failed").await;
        assert_eq!(lab.case(2).await.id, case.id, "nor does it get another");
        // The file of sites was wrong: what the tool said counts again.
        lab.sites(&[(2, "IOC")]).await;
        let again = lab.case(2).await;
        assert_eq!((again.state, again.attempts, again.previous), (KeyCaseState::Retrying, 2, Some(case.id)));
        assert_eq!(again.first_seen, case.first_seen);
    }
}

#[tokio::test]
async fn why_a_case_was_reopened_is_not_what_the_tool_met() {
    for lab in labs(1).await {
        let text = format!("device_id,status,attempted_at,detail\n{},failed,{},no WAN\n", device(1), lab.app.now());
        lab.import(Kind::Keys, text).await;
        lab.app.clock.advance(DAY);
        lab.act(&[1], CaseAction::Close { reason: "HAN errors".into() }, Meant::Confirmed(None)).await;
        lab.app.clock.advance(DAY);
        lab.act(&[1], CaseAction::Reopen, Meant::Confirmed(None)).await;
        assert_eq!(lab.case(1).await.last_error.as_deref(), Some("no WAN"));
        assert_eq!(lab.app.reconcile_key_cases().await.unwrap(), Reconciled::default());
        let report = lab.app.key_report(lab.app.now(), None).await.unwrap();
        assert_eq!(report.open_by_error, [("no WAN".to_string(), 1)].into());
        lab.app.clock.advance(DAY);
        lab.act(&[1], CaseAction::Resolve, Meant::Confirmed(None)).await;
        let story = lab.app.key_case_story(device(1)).await.unwrap();
        assert!(
            story.attempts.iter().all(|a| (a.kind == crate::keys::AttemptKind::Hand) == (a.who.as_deref() == Some(OPERATOR)))
        );
    }
}

#[tokio::test]
async fn a_key_that_a_file_brings_releases_its_site_at_once_also_where_no_case_stands_open() {
    for lab in labs(2).await {
        lab.sites(&[(3, "IOC")]).await;
        lab.registered(&[1, 2, 3], "").await;
        lab.result_now(1, "failed").await;
        let campaign = lab.started("spring", 10).await;
        lab.act(&[1], CaseAction::Close { reason: "HAN errors".into() }, Meant::Confirmed(None)).await;
        let reasons = [lab.target(campaign, 1).await.reason, lab.target(campaign, 3).await.reason];
        assert_eq!(reasons, [crate::policy::Reason::KeysMissing, crate::policy::Reason::KeysUnknown]);
        lab.app.clock.advance(1_000);
        lab.keys(&lab.app.now().to_string(), &[(1, "updated"), (3, "updated")]).await;
        for n in [1, 3] {
            assert_eq!(lab.state(campaign, n).await, TargetState::Queued, "{n}: it waits for no loop");
        }
    }
}

#[tokio::test]
async fn the_forecast_of_a_young_ledger_goes_by_the_days_there_are() {
    for lab in labs(3).await {
        for n in 1..=3 {
            lab.result_now(n, "failed").await;
        }
        lab.app.clock.advance(3 * DAY);
        lab.result_now(1, "updated").await;
        let stats = lab.app.key_stats().await.unwrap();
        assert_eq!((stats.resolved_per_day, stats.forecast_days), (0.33, Some(6)));
        lab.app.clock.advance(21 * DAY);
        let stats = lab.app.key_stats().await.unwrap();
        assert_eq!((stats.resolved_per_day, stats.forecast_days), (0.04, Some(48)));
    }
}
