//! The hand on a campaign, as an operator meets it: devices taken out, a clone, a retry, and what an exclusion leaves that was killed.

use serde_json::json;

use crate::lab::{self, Engine, Lab, on_both_engines};

on_both_engines!(devices_are_taken_out_and_said, an_exclusion_that_was_killed_is_completed, a_clone_and_a_retry);

async fn devices_are_taken_out_and_said(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    let image = lab.load_eligible(4);
    lab.start_campaign("spring", &image, 10);
    let targets = lab.targets("spring");
    let (one, two) = (targets[0][0].as_str(), targets[1][0].as_str());
    let devices = format!("{one},{two},00-00-00-00-00-00-00-99");
    let exclude = ["campaign", "exclude", "spring", "--device", &devices, "--reason", "open complaints"];
    let look = lab.json(&[&exclude[..], &["--dry-run"]].concat());
    assert_eq!(look["counts"], json!({"taken-out": 2, "unknown": 1}), "{look}");
    assert_eq!(lab.targets("spring")[0][1], "queued", "a look changes nothing");
    let said = lab.done(&[&exclude[..], &["--by", "jane.doe"]].concat());
    assert!(said.contains("2 of 3 devices taken out for good") && said.contains("00-00-00-00-00-00-00-99"), "{said}");
    let out = &lab.targets("spring")[0];
    assert_eq!((out[1].as_str(), out[2].as_str()), ("cancelled", "EXCLUDED_BY_OPERATOR"));
    let csv = lab.done(&[&exclude[..], &["--output", "csv"]].concat());
    assert!(csv.starts_with("device_id,result\n") && csv.contains(&format!("{one},already")), "{csv}");
    assert_eq!(lab.status("spring")["excluded"], 2);
    assert!(lab.done(&["campaign", "status", "spring"]).contains("holds until"));
    assert!(lab.done(&["site", "explain", one, "--campaign", "spring"]).contains("open complaints"));
    assert!(lab.done(&["audit", "list"]).contains("campaign.exclude"));
}

/// 2,000 devices are one transaction: of 2,100 the first page is out when the process dies.
async fn an_exclusion_that_was_killed_is_completed(engine: Engine) {
    if lab::without_crash_points() {
        return;
    }
    let Some(lab) = Lab::new(engine).await else { return };
    let image = lab.load_eligible(2_200);
    lab.start_campaign("spring", &image, 50);
    let named: Vec<String> = lab.targets("spring").into_iter().take(2_100).map(|t| t[0].clone()).collect();
    let devices = named.join(",");
    let exclude = ["campaign", "exclude", "spring", "--device", &devices, "--reason", "open complaints"];
    lab.dies_at("exclude-half-done", &exclude);
    assert_eq!(lab.status("spring")["by_state"], json!({"queued": 200, "cancelled": 2_000}));
    let done = lab.json(&exclude);
    assert_eq!(done["counts"], json!({"taken-out": 100, "already": 2_000}), "{}", done["counts"]);
    assert_eq!(lab.status("spring")["by_state"], json!({"queued": 100, "cancelled": 2_100}));
}

async fn a_clone_and_a_retry(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    let image = lab.load_eligible(2);
    lab.start_campaign("spring", &image, 7);
    let id = lab.done(&["campaign", "clone", "spring", "--name", "summer"]);
    assert!(id.trim().parse::<i64>().is_ok(), "the id alone: {id:?}");
    assert_eq!(lab.status("summer")["state"], "draft");
    assert_eq!(lab.json(&["campaign", "retry", "spring", "--dry-run"])["queued"], 0);
    assert!(lab.done(&["campaign", "retry", "spring", "--cause", "E11"]).contains("E11: nothing failed for it"));
    let wrong = lab.run(&["campaign", "retry", "spring", "--state", "queued"]);
    assert!(wrong.err.contains("only failed and expired"), "{}", wrong.err);
    assert!(lab.done(&["campaign", "pause", "spring"]).contains("2 devices wait, 0 are out"));
    assert!(lab.done(&["campaign", "abort", "spring"]).contains("2 devices cancelled"));
    lab.done(&["campaign", "abort", "spring"]);
}
