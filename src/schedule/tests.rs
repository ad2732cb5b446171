//! Firings across both changes of the clocks, what is missed, what is refused, and what a schedule can be told to do.

use super::*;
use crate::failure::{Exit, Failure};

fn expression(text: &str) -> Expression {
    Expression::parse(text).unwrap()
}

fn london() -> Zone {
    "Europe/London".parse().unwrap()
}

fn time(text: &str) -> Time {
    text.parse().unwrap()
}

/// As `schedule next` prints them.
fn next(cron: &str, after: &str, count: usize) -> String {
    let (cron, zone) = (expression(cron), london());
    let line = |f: Firing| {
        format!("{}  {}  {}", f.at, zone.local(f.at), f.remark(&zone).map_or(String::new(), |r| format!("{}: {r}", f.wall)))
    };
    firings(&cron, &zone, time(after)).take(count).map(line).map(|l| l.trim_end().to_string()).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_week_in_which_the_clocks_go_forward() {
    insta::assert_snapshot!(next("0 30 1 * * *", "2026-03-27T00:00:00Z", 4));
    insta::assert_snapshot!(next("0 0,30 0-3 29 3 *", "2026-03-28T12:00:00Z", 8));
}

#[test]
fn the_week_in_which_they_go_back() {
    insta::assert_snapshot!(next("0 30 1 * * *", "2026-10-23T12:00:00Z", 4));
    insta::assert_snapshot!(next("0 0,30 0-2 25 10 *", "2026-10-24T12:00:00Z", 7));
    assert_eq!(
        next("0 30 1 * * *", "2026-10-25T00:30:00Z", 1),
        "2026-10-26T01:30:00Z  2026-10-26T01:30:00+00:00",
        "not again when 01:30 comes again"
    );
}

#[test]
fn working_days_by_name() {
    let days = next("0 30 2 * * MON-FRI", "2026-12-03T12:00:00Z", 3);
    assert_eq!(
        days.lines().map(|l| &l[..10]).collect::<Vec<_>>(),
        ["2026-12-04", "2026-12-07", "2026-12-08"],
        "a Friday, then Monday"
    );
}

#[test]
fn what_never_fires_is_found_out_at_once() {
    for never in ["0 0 0 30 2 *", "0 0 0 31 4,6,9,11 *", "0 0 0 29 2 * 2027", "0 0 0 * * * 1999", "0 0 0 30 2 SUN-SAT 2027-2099"]
    {
        assert_eq!(next_after(&expression(never), &london(), time("2026-12-01T00:00:00Z")), None, "{never}");
    }
    let leap = next("0 0 0 29 2 *", "2026-12-01T00:00:00Z", 1);
    assert!(leap.starts_with("2028-02-29T00:00:00Z"), "{leap}");
}

#[test]
fn a_bad_expression_is_refused_and_its_field_named() {
    let bad = [
        "",
        "30 2 * * MON-FRI",
        "0 30 2 * * MON-FRI 2027 x",
        "60 * * * * *",
        "0 61 * * * *",
        "0 0 24 * * *",
        "0 0 0 32 * *",
        "0 0 0 0 * *",
        "0 0 0 * FEBRUARY-ish *",
        "0 0 0 * 13 *",
        "0 0 0 * * 1-5",
        "0 0 0 * * MON-FRY",
        "0 0 0 * * SAT-SUN",
        "0 0 0 * * * 1969",
        "0 */0 * * * *",
        "0 5-1 * * * *",
        "@reboot",
        "\u{1b}[2J 0 0 0 * *",
    ];
    let mut told = String::new();
    for text in bad {
        let failure: Failure = Expression::parse(text).unwrap_err().into();
        assert_eq!((failure.exit, failure.help.len()), (Exit::Usage, 1), "{text}");
        told += &format!("{text:?}\n  {}\n  help: {}\n", failure.message, failure.help[0]);
    }
    insta::assert_snapshot!(told);
    let long: Failure = Expression::parse(&"9".repeat(100_000)).unwrap_err().into();
    assert_eq!(long.message, format!("the cron expression has 100000 characters, more than {EXPRESSION_CHARS}"));
}

#[test]
fn white_space_and_names_for_common_ones() {
    assert_eq!(expression("  0  30\t2 * *   MON-FRI ").to_string(), "0 30 2 * * MON-FRI");
    assert_eq!(next("@daily", "2026-12-01T00:00:00Z", 1), "2026-12-02T00:00:00Z  2026-12-02T00:00:00+00:00");
}

fn planned(at: &str, missed: i64, from: Option<&str>) -> Planned {
    Planned { at: time(at), missed, missed_from: from.map(time), or_more: false }
}

fn due_at(cron: &str, missed: Missed, done_until: &str, now: &str) -> Due {
    due(&expression(cron), &london(), missed, time(done_until), time(now))
}

#[test]
fn missed_firings_become_one_run_or_none() {
    let daily = "0 30 2 * * *";
    let nothing = Due::default();
    for policy in [Missed::Coalesce, Missed::Skip] {
        let due = |done, now| due_at(daily, policy, done, now);
        assert_eq!(due("2026-12-01T02:30:00Z", "2026-12-02T02:29:59.999Z"), nothing);
        let on_time = Due { skipped: None, run: Some(planned("2026-12-02T02:30:00Z", 0, None)) };
        assert_eq!(due("2026-12-01T02:30:00Z", "2026-12-02T02:30:00Z"), on_time);
        assert_eq!(due("2026-12-01T02:30:00Z", "2026-12-02T02:31:00Z"), on_time, "a minute is no delay");
        assert_eq!(due("2026-12-02T02:31:00Z", "2026-12-02T02:31:00.500Z"), nothing, "it was dealt with");
        assert_eq!(due("2026-12-09T00:00:00Z", "2026-12-02T02:30:00Z"), nothing, "a clock that was set back");
    }
    // Away from the first of December at night to the third at noon.
    let (away, back) = ("2026-12-01T12:00:00Z", "2026-12-03T12:00:00Z");
    let both = planned("2026-12-03T02:30:00Z", 1, Some("2026-12-02T02:30:00Z"));
    assert_eq!(due_at(daily, Missed::Coalesce, away, back), Due { skipped: None, run: Some(both) });
    assert_eq!(due_at(daily, Missed::Skip, away, back), Due { skipped: Some(both), run: None });
    // Back just in time for one of them.
    let in_time = "2026-12-03T02:30:10Z";
    assert_eq!(due_at(daily, Missed::Coalesce, away, in_time), Due { skipped: None, run: Some(both) });
    let alone = planned("2026-12-03T02:30:00Z", 0, None);
    let before = planned("2026-12-02T02:30:00Z", 0, None);
    assert_eq!(due_at(daily, Missed::Skip, away, in_time), Due { skipped: Some(before), run: Some(alone) });
}

#[test]
fn what_fires_every_second_is_counted_as_far_as_it_is_worth() {
    let due = due_at("* * * * * *", Missed::Coalesce, "2026-12-01T00:00:00Z", "2026-12-03T00:00:00Z");
    let run = due.run.unwrap();
    assert_eq!((run.at, run.missed, run.or_more), (time("2026-12-03T00:00:00Z"), MISSED_COUNTED, true));
    let due = due_at("* * * * * *", Missed::Skip, "2026-12-01T00:00:00Z", "2026-12-01T00:00:05Z");
    assert_eq!(due.skipped.unwrap(), planned("2026-12-01T00:00:04Z", 3, Some("2026-12-01T00:00:01Z")));
    assert_eq!(due.run.unwrap(), planned("2026-12-01T00:00:05Z", 0, None));
}

#[test]
fn actions_are_parsed_once_and_cannot_be_wrong() {
    let asked = |text: &str| text.parse::<Asked>().map(|a| (a.verb, a.campaign)).map_err(|e| e.to_string());
    assert_eq!(asked("plan spring"), Ok((Verb::Plan, Some("spring".into()))));
    assert_eq!(asked(" start  Spring 2027 "), Ok((Verb::Start, Some("Spring 2027".into()))));
    assert_eq!(asked("top-up 7"), Ok((Verb::TopUp, Some("7".into()))));
    assert_eq!(asked("top up 7"), Ok((Verb::TopUp, Some("7".into()))));
    for (text, verb) in
        [("recheck keys", Verb::RecheckKeys), ("recheck-keys", Verb::RecheckKeys), ("inventory sweep", Verb::InventorySweep)]
    {
        assert_eq!(asked(text), Ok((verb, None)));
    }
    assert_eq!(asked("plan"), Err("plan is done for a campaign, and none is named".into()));
    assert_eq!(asked("report spring"), Err("report is not done for one campaign, and \"spring\" follows it".into()));
    for bad in ["", "halt spring", "rm -rf /", "recheck", "Plan spring"] {
        assert!(asked(bad).unwrap_err().ends_with("is nothing a schedule can do"), "{bad}");
    }
    for verb in Verb::ALL {
        let campaign = verb.takes_campaign().then_some(3);
        let action = Action::of(*verb, campaign).unwrap();
        assert_eq!((action.verb(), action.campaign()), (*verb, campaign));
        assert_eq!(Action::of(*verb, if campaign.is_some() { None } else { Some(3) }), None);
    }
}
