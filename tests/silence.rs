//! Devices of which nothing is heard, over real HTTP: DCC delivers no message at all, so that each is silent past its deadline and asked
//! about by 8.2. Who was upgraded all the same ends `verified`; who was not is sent again once, in a request of its own, and ends
//! `expired`; and a kill while silence is followed changes none of it.

use crate::lab::{self, Engine, Lab, PATIENCE, Site, on_both_engines, until};

on_both_engines!(who_is_silent_is_asked_and_sent_again, killed_before_the_first_is_asked, killed_before_they_are_queued_again);

/// The first of them fail, and nobody says so.
const FAIL: u64 = 6;
const ALL: u64 = 16;

const STEPS: &str = "version = 1\neffective_from = \"2020-11-24\"\nreads_per_minute = 6000\n\
    [default.IOC]\nsteps = [\"update\"]\nanswer_within = \"3s\"\n\
    silent = [\"read-inventory\"]\nask_within = \"60s\"\nretries = 1\nretry_after = \"1s\"\n";

async fn who_is_silent_is_asked_and_sent_again(engine: Engine) {
    told(engine, None).await;
}

/// A page was half done, and nothing of it is kept.
async fn killed_before_the_first_is_asked(engine: Engine) {
    told(engine, Some("silence-half-done")).await;
}

async fn killed_before_they_are_queued_again(engine: Engine) {
    told(engine, Some("silence-half-done:2")).await;
}

async fn told(engine: Engine, crash: Option<&str>) {
    if crash.is_some() && lab::without_crash_points() {
        return;
    }
    let Some(lab) = Lab::new(engine).await else { return };
    lab.configure("request_timeout_seconds = 5\n");
    let image = lab.load_eligible(ALL);
    lab.folder.write("policies/steps.toml", STEPS);
    lab.start_campaign("spring", &image, ALL);
    let failing: Vec<String> = (1..=FAIL).map(|n| format!("\"{}\"", Site::device(n))).collect();
    let dcc = lab
        .simulator(&format!(
            "seed = 7\n[delays]\nupdate_requested_ms = [1, 5]\nactivated_ms = [5, 50]\n[deliveries]\nlost = \"100%\"\n\
             [population]\ndevices_file = {:?}\nsilent = {{ devices = [{}] }}\n",
            lab.folder.path().join("sites.csv"),
            failing.join(", ")
        ))
        .await;
    if let Some(point) = crash {
        lab.serve_until_it_dies_at(point);
    }
    let serve = lab.serve();
    until("the end of the campaign", PATIENCE * 3, || (lab.status("spring")["state"] == "finished").then_some(()));
    for (n, target) in (1..).zip(lab.targets("spring")) {
        let wanted = if n <= FAIL { ("expired", "2") } else { ("verified", "1") };
        assert_eq!((target[1].as_str(), target[4].as_str()), wanted, "{n}: {target:?}\n{}", serve.log());
    }
    let status = lab.status("spring");
    assert_eq!(status["silence"], serde_json::json!({"asking": 0, "waiting_to_retry": 0, "retries": FAIL}), "{status}");
    assert_eq!((&status["duplicate_submissions"], dcc.stats().duplicate_submissions), (&0.into(), 0));
    assert_eq!(status["latencies"]["accepted"]["devices"], ALL + FAIL, "{status}");
    let explained = lab.json(&["site", "explain", &Site::device(1), "--campaign", "spring"]);
    assert_eq!(explained["steps"]["silent"], serde_json::json!(["read-inventory"]));
    let told = explained["decisions"].to_string();
    assert!(told.contains("sent again, not before") && told.contains("after it was sent 2 times"), "{told}");
    serve.terminate();
    assert_eq!(lab.run(&["audit", "verify"]).code, 0);
}
