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
