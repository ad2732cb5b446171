//! DCC's anomaly detection over the wire: with thresholds below DCC's own nothing is ever quarantined; without, what is quarantined waits
//! for a person, and ends activated whichever way that one decides.

use serde_json::Value;

use crate::{
    harness::assert_polite,
    lab::{Engine, Lab, PATIENCE, on_both_engines, until},
};

on_both_engines!(
    below_the_thresholds_nothing_is_quarantined,
    cut_to_the_devices_there_is_room_for,
    what_was_quarantined_is_decided_by_a_person
);

const SITES: u64 = 12;
const QUICK: &str = "[delays]\nupdate_requested_ms = [1, 20]\nactivated_ms = [1, 50]\nquarantine_ms = [1, 20]\n";

fn dcc_allows(at_most: u64, period_ms: u64, counts: &str) -> String {
    format!("{QUICK}[[thresholds]]\nrequest = \"11.1\"\nat_most = {at_most}\nperiod_ms = {period_ms}\ncounts = \"{counts}\"\n")
}

fn thresholds(lab: &Lab, counts: &str, period: &str, quarantine: u64, reserve: u64) {
    lab.folder.write(
        "policies/thresholds.toml",
        format!(
            "version = 1\neffective_from = \"2020-11-24\"\ncounts = \"{counts}\"\nmargin = \"100ms\"\n\
             [[threshold]]\nrequest = \"11.1\"\nperiod = \"{period}\"\nquarantine = {quarantine}\nreserve = {reserve}\n"
        ),
    );
    lab.done(&["policy", "check"]);
}

fn activated(status: &Value) -> u64 {
    status["by_state"]["activated"].as_u64().unwrap_or(0)
}

/// Waits for the end of the campaign; gives what `adt.sentence` said meanwhile.
fn to_the_end(lab: &Lab) -> Vec<String> {
    let mut said = Vec::new();
    until("everything activated", PATIENCE, || {
        let status = lab.status("spring");
        said.extend(status["adt"]["sentence"].as_str().map(str::to_string));
        (activated(&status) == SITES && status["state"] == "finished").then_some(())
    });
    said
}

/// Twelve requests where DCC lets three through in two seconds: none is quarantined, also none of those sent after a kill.
async fn below_the_thresholds_nothing_is_quarantined(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    let image = lab.load_eligible(SITES);
    thresholds(&lab, "requests", "2s", 3, 0);
    let dcc = lab.simulator(&dcc_allows(3, 2_000, "requests")).await;
    lab.start_campaign("spring", &image, 1);
    let serve = lab.serve();
    until("the first three", PATIENCE, || (dcc.stats().requests.accepted >= 3).then_some(()));
    serve.kill();
    let serve = lab.serve();
    let said = to_the_end(&lab);
    assert!(said.iter().any(|s| s.starts_with("waits: 3 of 3 requests 11.1 in 2s are used; the next may go at ")), "{said:?}");
    let stats = dcc.stats();
    assert_eq!((stats.requests.quarantined, stats.requests.accepted, stats.duplicate_submissions), (0, SITES as usize, 0));
    let ended = || lab.json(&["alarm", "list"]).as_array().is_some_and(|all| all.is_empty());
    until("the alarms' end", PATIENCE, || ended().then_some(()));
    let alarms = lab.done(&["alarm", "list", "--all", "--output", "csv"]);
    assert!(alarms.contains("threshold-near,requests 11.1 in 2s") && alarms.contains("threshold-reached"), "{alarms}");
    serve.terminate();
}

/// Another system uses what is in reserve; ours is counted in devices, and its batches are cut.
async fn cut_to_the_devices_there_is_room_for(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    let image = lab.load_eligible(SITES);
    thresholds(&lab, "devices", "1s", 7, 2);
    let dcc = lab.simulator(&dcc_allows(5, 1_000, "devices")).await;
    lab.start_campaign("spring", &image, 50);
    let serve = lab.serve();
    to_the_end(&lab);
    let stats = dcc.stats();
    assert_eq!((stats.requests.quarantined, stats.requests.accepted, stats.duplicate_submissions), (0, 3, 0));
    serve.terminate();
}

async fn what_was_quarantined_is_decided_by_a_person(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    let image = lab.load_eligible(SITES);
    let dcc = lab.simulator(&dcc_allows(1, 3_000, "requests")).await;
    lab.start_campaign("spring", &image, 4);
    let serve = lab.serve();
    let decided = |how: &str, id: &str| lab.run(&["outbox", "quarantine", how, id, "--by", "jane", "--reason", "DCC file 17"]);
    // The first goes on; whatever else left before DCC's word came is quarantined, and then nothing more leaves.
    let listed = || lab.json(&["outbox", "quarantine", "list"]).as_array().cloned().unwrap_or_default();
    let mut ways = ["delete", "process"].iter().cycle();
    let mut seen = Vec::new();
    until("everything activated, whatever was quarantined", PATIENCE * 2, || {
        for event in listed() {
            let id = event["request_id"].as_str().unwrap().to_string();
            let status = lab.status("spring");
            assert!(status["held_batches"].as_array().is_some_and(|held| !held.is_empty()), "{status}");
            assert!(status["by_state"]["failed"].is_null() && status["alarms"].to_string().contains(&id), "{status}");
            let number: u64 = event["event"].as_str().unwrap().parse().unwrap();
            let way = *ways.next().unwrap();
            dcc.end_quarantine(number, way == "process").unwrap();
            let done = decided(way, &id);
            assert_eq!(done.code, 0, "{done:?}");
            assert_eq!(decided(way, &id).code, 0, "again");
            let other = decided(if way == "process" { "delete" } else { "process" }, &id);
            assert_eq!((other.code, other.out.as_str()), (1, ""));
            assert!(other.err.contains("was recorded as"), "{other:?}");
            assert_polite(&other);
            seen.push((way, id));
        }
        let status = lab.status("spring");
        (activated(&status) == SITES && status["state"] == "finished").then_some(())
    });
    assert!(seen.iter().any(|(way, _)| *way == "delete"), "{seen:?}");
    let requests = lab.outbox().await;
    for (way, id) in &seen {
        let request = requests.iter().find(|r| r.id.to_string() == *id).unwrap();
        assert_eq!(request.state.as_str(), if *way == "delete" { "deleted" } else { "answered" }, "{request:?}");
        assert_eq!(request.posts, 1, "never posted again");
    }
    let stats = dcc.stats();
    assert_eq!((stats.requests.quarantined, stats.quarantine_held), (seen.len(), 0));
    assert_eq!((lab.status("spring")["duplicate_submissions"].as_u64(), stats.duplicate_submissions), (Some(0), 0));
    serve.terminate();
    assert_eq!(lab.run(&["audit", "verify"]).code, 0);
    let trail = lab.done(&["audit", "list", "--output", "csv"]);
    assert!(trail.contains("quarantine.delete") && trail.contains("jane, asserted by "), "{trail}");
}
