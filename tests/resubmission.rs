//! A site whose key is missing is sent again by the program itself (`resubmit = true`), over the wire: DCC says that it still needs its key,
//! then the key comes, and nobody had to import anything. Also when the program is killed meanwhile.

use serde_json::{Value, json};

use crate::lab::{self, Engine, Lab, PATIENCE, Site, http, on_both_engines, until};

on_both_engines!(never_killed, killed_when_its_batch_was_committed, killed_when_it_was_posted);

/// The site whose key is missing, at DCC and by the tool's results.
const WITHOUT: u64 = 2;

async fn never_killed(engine: Engine) {
    story(engine, None).await;
}

async fn killed_when_its_batch_was_committed(engine: Engine) {
    story(engine, Some("after-outbox-commit:2")).await;
}

async fn killed_when_it_was_posted(engine: Engine) {
    story(engine, Some("after-post:2")).await;
}

/// The shipped timetable, in seconds.
fn quick_timetable() -> String {
    let mut text = include_str!("../policies/retry.toml").to_string();
    for (piece, instead) in [
        ("resubmit = false", "resubmit = true"),
        ("first_delay = \"24h\"", "first_delay = \"1s\""),
        ("first_delay = \"48h\"", "first_delay = \"1s\""),
        ("cap = \"7d\"", "cap = \"2s\""),
        ("cap = \"14d\"", "cap = \"2s\""),
        ("most_attempts = 12", "most_attempts = 1000"),
        ("most_attempts = 8", "most_attempts = 1000"),
    ] {
        assert!(text.contains(piece), "{piece}");
        text = text.replace(piece, instead);
    }
    text
}

fn tried(lab: &Lab) -> Vec<String> {
    let shown = lab.json(&["keys", "show", &Site::device(WITHOUT)]);
    let word = |v: &Value| v.as_str().unwrap_or_default().to_string();
    shown["attempts"].as_array().unwrap().iter().map(|a| format!("{} {}", word(&a["kind"]), word(&a["outcome"]))).collect()
}

async fn story(engine: Engine, killed_at: Option<&str>) {
    if killed_at.is_some() && lab::without_crash_points() {
        return;
    }
    let Some(lab) = Lab::new(engine).await else { return };
    let image = lab.load_eligible(3);
    lab.write_keys("failed.csv", "2020-11-12T08:00:00Z", &[(WITHOUT, "failed")]);
    lab.done(&["import", "keys", "failed.csv"]);
    lab.folder.write("policies/retry.toml", quick_timetable());
    lab.done(&["policy", "check"]);
    let missing =
        format!("[population]\nkey_missing = {{ devices = [\"{}\"], good_on_rerun = \"100%\" }}\n", Site::device(WITHOUT));
    let delays = "[delays]\nupdate_requested_ms = [1, 20]\nactivated_ms = [1, 50]\nkey_missing_ms = [1, 20]\n";
    let dcc = lab.simulator(&format!("{missing}{delays}")).await;
    lab.start_campaign("spring", &image, 10);
    assert_eq!(lab.targets("spring")[WITHOUT as usize - 1][1..3], ["held", "KEYS_MISSING"].map(String::from));
    if let Some(point) = killed_at {
        lab.serve_until_it_dies_at(point);
    }
    let serve = lab.serve();
    until("DCC's word that it still needs its key", PATIENCE, || {
        tried(&lab).contains(&"message failed".to_string()).then_some(())
    });
    let so_far = tried(&lab);
    assert_eq!(so_far[..3], ["result failed", "resubmission sent", "message failed"], "one attempt, and its answer");

    // The key comes to DCC, and nobody tells us.
    http(lab.dcc_port, "POST", "/sim/rerun-keys");
    until("the campaign's end", PATIENCE, || (lab.status("spring")["state"] == "finished").then_some(()));
    let targets = lab.targets("spring");
    assert!(targets.iter().all(|t| t[1] == "activated" && t[2] == "ELIGIBLE"), "{targets:?}");
    let [first, without, third] = &targets[..] else { panic!("{targets:?}") };
    assert!(first[3] == third[3] && without[3] != first[3], "in a batch of its own: {targets:?}");
    let status = lab.status("spring");
    assert_eq!(status["key_cases"], json!({"retrying": 0, "investigating": 0, "resolved": 1, "closed": 0}));
    assert_eq!((&status["duplicate_submissions"], dcc.stats().duplicate_submissions), (&json!(0), 0));
    let sent = tried(&lab).iter().filter(|t| *t == "resubmission sent").count();
    assert_eq!(without[4], sent.to_string(), "each time it was sent is an attempt of its case");
    assert_eq!(status["requests_sent"].as_u64(), Some(1 + sent as u64));
    assert_eq!(status["requests_sent"].as_u64(), Some(dcc.stats().requests.accepted as u64));
    let shown = lab.done(&["keys", "show", &Site::device(WITHOUT)]);
    for words in ["without its key, in batch", ": failed", ": activated"] {
        assert!(shown.contains(words), "{words} is not in\n{shown}");
    }
    let explained = lab.done(&["site", "explain", &Site::device(WITHOUT), "--campaign", "spring"]);
    assert!(explained.contains("failed; sent all the same: resubmit = true in retry.toml"), "{explained}");
    assert!(lab.run(&["keys", "request", "--dry-run"]).err.contains("nothing is due"));
    lab.done(&["audit", "verify"]);
    serve.terminate();
}
