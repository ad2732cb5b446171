//! A rollout in waves over real HTTP, against a simulated DCC: an image of which 30% fail to activate is stopped in its canary by the program
//! itself, and stays so; one that is good goes through every wave by itself.

use crate::lab::{Engine, Lab, PATIENCE, Site, on_both_engines, until};

on_both_engines!(a_bad_image_is_stopped_in_the_canary, a_good_image_goes_through_every_wave);

const ALL: u64 = 120;

const ROLLOUT: &str = "version = 1\neffective_from = \"2020-11-24\"\ndefault = \"direct\"\n[preset.direct]\nwaves = [\"100%\"]\n\
    [preset.careful]\nsoak = \"1s\"\nminimum_sample = 10\nmax_failures = \"5%\"\nleast_success = \"60%\"\ndeadline = \"14d\"\n\
    [[preset.careful.wave]]\nname = \"canary\"\nsize = \"10%\"\n[[preset.careful.wave]]\nname = \"wide\"\nsize = \"30%\"\n\
    [[preset.careful.wave]]\nname = \"rest\"\nsize = \"rest\"\n";

async fn started(engine: Engine, failing: &str) -> Option<(Lab, ppmid_orchestrator::sim::Simulator)> {
    let lab = Lab::new(engine).await?;
    let image = lab.load_eligible(ALL);
    lab.folder.write("policies/rollout.toml", ROLLOUT);
    let create = ["campaign", "create", "--name", "spring", "--image", &image, "--batch-size", "20", "--rollout", "careful"];
    lab.done(&[&create[..], &["--wave", "canary=20"]].concat());
    let planned = lab.json(&["campaign", "plan", "spring"]);
    let sizes: Vec<(&str, u64)> = planned["waves"]
        .as_array()
        .unwrap()
        .iter()
        .map(|w| (w["name"].as_str().unwrap(), w["eligible"].as_u64().unwrap()))
        .collect();
    assert_eq!(sizes, [("canary", 20), ("wide", 36), ("rest", 64)]);
    lab.done(&["campaign", "approve", "spring", "--by", "somebody.else"]);
    lab.done(&["campaign", "start", "spring"]);
    let dcc = lab
        .simulator(&format!(
            "seed = 7\n[delays]\nupdate_requested_ms = [1, 5]\nactivated_ms = [5, 50]\n[population]\n\
             devices_file = {:?}\nactivation_fails = {{ {failing} }}\n",
            lab.folder.path().join("sites.csv"),
        ))
        .await;
    Some((lab, dcc))
}

async fn a_bad_image_is_stopped_in_the_canary(engine: Engine) {
    let Some((lab, dcc)) = started(engine, "share = \"30%\"").await else { return };
    let serve = lab.serve();
    let status = until("the halt", PATIENCE, || Some(lab.status("spring")).filter(|s| s["state"] == "halted"));
    assert_eq!(status["stopped_code"], "WAVE_FAILED", "{status}");
    assert_eq!(status["waves"][0]["verdict"], "halt", "{status}");
    assert_eq!(status["alarms"][0]["kind"], "campaign-halted", "{status}");
    // A restart changes nothing.
    serve.terminate();
    let serve = lab.serve();
    until("the canary's last answer", PATIENCE, || (lab.status("spring")["waves"][0]["numbers"]["answered"] == 20).then_some(()));
    let (requests, canary) = (dcc.stats().requests.accepted, lab.listed(&["--wave", "canary"]));
    assert_eq!((requests, canary.len()), (1, 20), "one batch, and nothing after it");
    assert!(lab.listed(&["--state", "queued"]).len() as u64 == ALL - 20);
    let refused = lab.run(&["campaign", "resume", "spring"]);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.err.contains("WAVE_FAILED") && refused.err.contains("go-on"), "{refused:?}");
    let go_on = ["campaign", "go-on", "spring", "--wave", "canary", "--by", "jane.doe", "--reason", "a known fault"];
    assert!(lab.done(&go_on).contains("goes on"));
    assert!(lab.done(&["campaign", "status", "spring"]).contains("wave 2"));
    until("the next halt, in the next wave", PATIENCE, || {
        let status = lab.status("spring");
        (status["state"] == "halted" && status["waves"][1]["verdict"] == "halt").then_some(())
    });
    serve.terminate();
    assert_eq!(lab.run(&["audit", "verify"]).code, 0);
}

async fn a_good_image_goes_through_every_wave(engine: Engine) {
    let Some((lab, dcc)) = started(engine, "share = \"0%\"").await else { return };
    let serve = lab.serve();
    until("the end of the campaign", PATIENCE * 2, || (lab.status("spring")["state"] == "finished").then_some(()));
    let status = lab.status("spring");
    assert_eq!(status["by_state"]["activated"], ALL, "{status}\n{}", serve.log());
    let opened: Vec<&str> = (0..3).map(|n| status["waves"][n]["opened_at"].as_str().unwrap()).collect();
    assert!(opened[0] < opened[1] && opened[1] < opened[2], "{opened:?}");
    assert_eq!(dcc.stats().duplicate_submissions, 0);
    let explained = lab.json(&["site", "explain", &Site::device(1), "--campaign", "spring"]);
    assert_eq!((&explained["wave"]["of"], &explained["wave"]["state"]), (&3.into(), &"passed".into()), "{explained}");
    serve.terminate();
}

impl Lab {
    /// The targets of the campaign that these options list.
    fn listed(&self, options: &[&str]) -> Vec<String> {
        let text = self.done(&[&["campaign", "targets", "spring", "--output", "csv"], options].concat());
        text.lines().skip(1).map(str::to_string).collect()
    }
}
