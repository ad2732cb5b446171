//! Schedules through the program: added, shown, refused; fired by `ppmid serve`, by one node of two; cut short by a kill, by SIGTERM.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use ppmid_orchestrator::{
    clock::Clock,
    db::Db,
    schedule::{Action, Expression, Missed, store},
    sql,
};
use serde_json::Value;

use crate::{
    harness::{Folder, assert_polite, ran},
    lab::{self, Engine, Lab, PATIENCE, free_port, on_both_engines, until},
};

on_both_engines!(
    one_node_of_two_fires_and_the_other_takes_over,
    killed_with_a_run_claimed,
    killed_with_a_run_done,
    sigterm_while_a_run_is_under_way,
    a_start_is_refused_as_a_person_is,
);

const EVERY_SECOND: &str = "* * * * * *";

fn runs(lab: &Lab, schedule: &str) -> Vec<Value> {
    lab.json(&["schedule", "show", schedule, "--runs", "1000"])["runs"].as_array().unwrap().clone()
}

fn in_state(lab: &Lab, schedule: &str, state: &str) -> usize {
    runs(lab, schedule).iter().filter(|run| run["state"] == state).count()
}

fn alarms(lab: &Lab) -> Vec<String> {
    let text = lab.done(&["alarm", "list", "--output", "json"]);
    let all: Vec<Value> = serde_json::from_str(&text).unwrap();
    all.iter().map(|a| a["kind"].as_str().unwrap().to_string()).collect()
}

async fn one_node_of_two_fires_and_the_other_takes_over(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    let first = lab.serve();
    first.until_it_says("this node does the work");
    let address = format!("127.0.0.1:{}", free_port());
    let second = lab.start_serving(&[("PPMID_RECEIVER__LISTEN", &address)]);
    second.until_it_says("serving");
    lab.done(&["schedule", "add", "--name", "ticks", "--cron", EVERY_SECOND, "--do", "report"]);
    until("three runs", PATIENCE, || (in_state(&lab, "ticks", "succeeded") >= 3).then_some(()));
    assert!(!second.log().contains("a schedule fires"), "{}", second.log());
    first.kill();
    second.until_it_says("a schedule fires");
    let before = in_state(&lab, "ticks", "succeeded");
    until("runs of the other node", PATIENCE, || (in_state(&lab, "ticks", "succeeded") >= before + 2).then_some(()));
    lab.done(&["schedule", "pause", "ticks"]);
    let all = runs(&lab, "ticks");
    let planned: BTreeSet<&str> = all.iter().map(|run| run["planned_for"].as_str().unwrap()).collect();
    assert_eq!(planned.len(), all.len(), "no firing was run twice: {all:?}");
    second.terminate();
    let trail = lab.done(&["audit", "verify"]);
    assert!(trail.starts_with("events"), "{trail}");
}

async fn killed_with_a_run_claimed(engine: Engine) {
    killed_at("after-schedule-claim:2", engine).await;
}

async fn killed_with_a_run_done(engine: Engine) {
    killed_at("before-schedule-end:2", engine).await;
}

async fn killed_at(point: &str, engine: Engine) {
    if lab::without_crash_points() {
        return;
    }
    let Some(lab) = Lab::new(engine).await else { return };
    lab.done(&["schedule", "add", "--name", "ticks", "--cron", EVERY_SECOND, "--do", "recheck", "keys"]);
    lab.serve_until_it_dies_at(point);
    assert_eq!((in_state(&lab, "ticks", "succeeded"), in_state(&lab, "ticks", "running")), (1, 1), "{:?}", runs(&lab, "ticks"));
    let again = lab.serve();
    again.until_it_says("runs of schedules died with their process");
    until("a run that succeeds", PATIENCE, || (in_state(&lab, "ticks", "succeeded") >= 2).then_some(()));
    again.terminate();
    let all = runs(&lab, "ticks");
    let interrupted: Vec<&Value> = all.iter().filter(|run| run["state"] == "interrupted").collect();
    assert_eq!(interrupted.len(), 1, "{all:?}");
    assert!(interrupted[0]["result"].as_str().unwrap().contains("it is not run again by itself"), "{all:?}");
    let same = all.iter().filter(|run| run["planned_for"] == interrupted[0]["planned_for"]).count();
    assert_eq!(same, 1, "that firing was not run again");
    let told = lab.done(&["alarm", "list", "--all", "--output", "csv"]);
    assert!(told.contains("schedule-failed") && alarms(&lab).is_empty(), "raised, and ended by the run that succeeded: {told}");
}

async fn sigterm_while_a_run_is_under_way(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    let image = lab.load_eligible(3);
    let campaign: i64 = lab.done(&["campaign", "create", "--name", "spring", "--image", &image]).trim().parse().unwrap();
    let serve = lab.serve();
    serve.until_it_says("this node does the work");
    // A plan waits for an import that is half applied, as this one is for ever. Commands would finish it, so all is written here.
    let db = Db::connect(&lab.database_url).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    let half = "insert into imports (kind, state, file, replace_all, started_at, read_rows, inserted, updated, unchanged, ended, removed,
                  rejected, cursor) values ('sites', 'applying', 'sites.csv', $1, 0, 0, 0, 0, 0, 0, 0, 0, 0)";
    sql!(&mut tx, c => sqlx::query(half).bind(false).execute(c).await.map(|_| ())).unwrap();
    let (cron, zone) = (Expression::parse(EVERY_SECOND).unwrap(), "UTC".parse().unwrap());
    let new = store::NewSchedule {
        name: "plans",
        cron: &cron,
        zone: &zone,
        action: Action::Plan(campaign),
        said: "plan spring",
        missed: Missed::Coalesce,
        created_by: "ann",
        now: Clock::System.now(),
    };
    store::insert(&mut tx, &new).await.unwrap();
    tx.commit().await.unwrap();
    let end = Instant::now() + PATIENCE;
    while store::running(&mut db.read().await.unwrap()).await.unwrap().is_empty() {
        assert!(Instant::now() < end, "it never fired:\n{}", serve.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    serve.terminate();
    let running = store::running(&mut db.read().await.unwrap()).await.unwrap();
    db.close().await;
    assert!(running.is_empty(), "it said so before it ended");
    lab.done(&["schedule", "pause", "plans"]);
    let all = runs(&lab, "plans");
    assert_eq!((all.len(), all[0]["state"].as_str()), (1, Some("interrupted")), "{all:?}");
    assert!(all[0]["result"].as_str().unwrap().starts_with("the program was stopped while it ran"), "{all:?}");
    assert_eq!(alarms(&lab), ["schedule-failed"]);
}

async fn a_start_is_refused_as_a_person_is(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    let image = lab.load_eligible(3);
    lab.done(&["campaign", "create", "--name", "spring", "--image", &image]);
    lab.done(&["campaign", "plan", "spring"]);
    let id = lab.done(&["schedule", "add", "--cron", "0 0 9 * * MON-FRI", "--do", "start", "spring"]);
    assert_eq!(id, "1\n", "the id alone");
    let refused = lab.run(&["schedule", "run", "start-spring"]);
    let person = lab.run(&["campaign", "start", "spring"]);
    // What the alarm logs goes before it.
    assert_eq!(refused.err.split_once("error: ").unwrap().1, person.err.split_once("error: ").unwrap().1, "word for word");
    assert_eq!(refused.code, person.code);
    assert_polite(&refused);
    assert_eq!(alarms(&lab), ["schedule-failed"]);
    lab.done(&["campaign", "approve", "spring", "--by", "somebody.else"]);
    // Approved under other policies than those in force: the reason code, and exit 3.
    lab.done(&["policy", "init"]);
    let shipped = std::fs::read_to_string(lab.folder.path().join("policies/eligibility.toml")).unwrap();
    lab.folder.write("policies/eligibility.toml", shipped.replace("guard_days = 5", "guard_days = 6"));
    let refused = lab.run(&["schedule", "run", "start-spring"]);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.err.starts_with("error: APPROVAL_VOID"), "{refused:?}");
    lab.folder.write("policies/eligibility.toml", shipped);
    let done = lab.done(&["schedule", "run", "start-spring"]);
    assert_eq!(done, "schedule 1 (start-spring): campaign spring is started\n");
    assert!(alarms(&lab).is_empty());
    assert_eq!(lab.status("spring")["state"], "started");
    let trail = lab.done(&["audit", "list", "--output", "csv"]);
    assert!(trail.contains(",schedule start-spring,campaign.start,campaign 1,"), "{trail}");
}

#[test]
fn schedules_are_added_looked_at_and_taken_away() {
    let folder = Folder::new();
    let done = |args: &[&str]| folder.done(args);
    assert_eq!(done(&["schedule", "list"]).lines().count(), 1);
    assert_eq!(done(&["schedule", "list", "--output", "json"]), "[]\n");
    let add = |rest: &[&str]| folder.run(&[&["schedule", "add"], rest].concat());
    let first = add(&["--name", "nightly", "--cron", "0 30 1 * * *", "--tz", "europe/london", "--do", "recheck keys"]);
    assert_eq!((first.code, first.out.as_str()), (0, "1\n"), "{first:?}");
    let second = add(&["--cron", " 0 0   7 * * MON ", "--do", "report", "--missed", "skip"]);
    assert_eq!((second.code, second.out.as_str()), (0, "2\n"), "{second:?}");
    let list: Vec<Value> = serde_json::from_str(&done(&["schedule", "list", "--output", "json"])).unwrap();
    let told = |v: &Value| ["name", "state", "cron", "zone", "action", "missed"].map(|k| v[k].as_str().unwrap().to_string());
    assert_eq!(told(&list[0]), ["nightly", "active", "0 30 1 * * *", "Europe/London", "recheck-keys", "coalesce"]);
    assert_eq!(told(&list[1]), ["report", "active", "0 0 7 * * MON", "Europe/London", "report", "skip"]);
    assert!(list[0]["next_at"].is_string() && list[0]["last_run"].is_null());

    // Across the change of the clocks, as of a day; the same in each form.
    let next = ["schedule", "next", "nightly", "--count", "4", "--as-of", "2027-03-26"];
    insta::assert_snapshot!("next", done(&next));
    insta::assert_snapshot!("next_csv", done(&[&next[..], &["--output", "csv"]].concat()));
    let json: Vec<Value> = serde_json::from_str(&done(&[&next[..], &["--output", "json"]].concat())).unwrap();
    assert_eq!((json.len(), json[1]["local"].as_str()), (4, Some("2027-03-28T02:00:00+01:00")));
    let all = done(&["schedule", "next", "--count", "5", "--as-of", "2027-10-30T22:00:00Z", "--output", "csv"]);
    insta::assert_snapshot!("next_of_all", all);
    assert_eq!(done(&["schedule", "next", "--output", "csv"]).lines().count(), 11, "ten where nothing is said");

    // Paused, it is left out; looked at alone, it says so.
    let paused = done(&["schedule", "pause", "report"]);
    assert_eq!(paused, "schedule 2 (report): paused; it fires no more until it is resumed\n");
    assert!(!done(&["schedule", "next"]).contains("report"));
    let alone = folder.run(&["schedule", "next", "2"]);
    assert!(alone.code == 0 && alone.err.starts_with("note: schedule report is paused"), "{alone:?}");
    let run = folder.run(&["schedule", "run", "2"]);
    assert!(run.code == 0 && run.out.starts_with("schedule 2 (report): Missing PPMID keys as of "), "{run:?}");
    let run: Value = serde_json::from_str(&done(&["schedule", "run", "nightly", "--output", "json"])).unwrap();
    assert_eq!((run["state"].as_str(), run["origin"].as_str()), (Some("succeeded"), Some("hand")));
    let shown = done(&["schedule", "show", "nightly"]);
    assert!(shown.starts_with("schedule 1 (nightly): active\n  does    recheck-keys\n"), "{shown}");
    assert!(shown.contains("\n  0 members that wait were decided again, 0 released\n    key cases: 0 opened"), "{shown}");
    let rows = done(&["schedule", "show", "nightly", "--output", "csv"]);
    assert!(
        rows.starts_with("id,origin,asked_by,state,planned_for,missed,missed_from,started_at,ended_at,result,log\n2,hand,"),
        "{rows}"
    );
    done(&["schedule", "resume", "report"]);
    done(&["schedule", "remove", "nightly"]);
    assert_eq!(done(&["schedule", "list", "--output", "csv"]).lines().count(), 2);
    assert!(done(&["audit", "list", "--output", "csv"]).contains(",schedule.remove,schedule 1,"));
    insta::assert_snapshot!("list_header", done(&["schedule", "list", "--output", "csv"]).lines().next().unwrap());
}

#[test]
fn what_cannot_be_scheduled_is_refused_with_what_to_do() {
    let folder = Folder::new();
    let mut told = String::new();
    let hostile = "0,".repeat(40_000);
    for (cron, rest) in [
        ("0 0 0 30 2 *", &["--do", "report"][..]),
        ("0 0 0 1 1 * 2020", &["--do", "report"]),
        ("30 2 * * MON-FRI", &["--do", "report"]),
        ("0 61 2 * * *", &["--do", "report"]),
        ("0 0 0 * * 1-5", &["--do", "report"]),
        (&hostile, &["--do", "report"]),
        ("0 30 2 * * *", &["--do", "report", "--tz", "Europe/Londn"]),
        ("0 30 2 * * *", &["--do", "halt", "spring"]),
        ("0 30 2 * * *", &["--do", "plan"]),
        ("0 30 2 * * *", &["--do", "plan", "spring"]),
        ("0 30 2 * * *", &["--do", "report", "--name", "7"]),
    ] {
        let refused = folder.run(&[&["schedule", "add", "--cron", cron], rest].concat());
        assert_polite(&refused);
        let text = refused.err.split(" after 20").next().unwrap();
        let shown: String = cron.chars().take(30).collect();
        told += &format!("{shown:?} {rest:?}: exit {}\n{}\n", refused.code, text.trim_end());
    }
    insta::assert_snapshot!("refused", told);
    assert_eq!(folder.done(&["schedule", "list", "--output", "json"]), "[]\n", "nothing is kept");
    for args in [
        &["schedule", "show", "nobody"][..],
        &["schedule", "run", "nobody"],
        &["schedule", "next", "nobody"],
        &["schedule", "remove", "9"],
    ] {
        let refused = folder.run(args);
        assert_eq!(refused.code, 1, "{refused:?}");
        assert_polite(&refused);
    }
    for args in [
        &["schedule", "add", "--cron", "0 0 0 * * *"][..],
        &["schedule", "next", "--count", "0"],
        &["schedule", "list", "--as-of", "2027-01-01"],
    ] {
        assert_eq!(folder.run(args).code, 2, "{args:?}");
    }
}

#[test]
fn the_help_says_how_times_and_actions_are_written() {
    let folder = Folder::new();
    let help = |args: &[&str]| ran(folder.command(args).env("COLUMNS", "140")).out;
    insta::assert_snapshot!("help", help(&["schedule", "--help"]));
    insta::assert_snapshot!("help_add", help(&["schedule", "add", "--help"]));
}
