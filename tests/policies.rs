//! Policies as an operator changes them: by editing files and giving dates, with no release of the program.

use serde_json::Value;

use crate::{
    harness::assert_polite,
    lab::{Engine, Lab, Site, day, on_both_engines},
};

on_both_engines!(a_cohort_goes_live_by_a_date, a_started_campaign_waits_for_a_new_approval);

fn shipped(lab: &Lab, name: &str) -> String {
    lab.done(&["policy", "init"]);
    let path = lab.folder.path().join("policies").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// L§5: FOC is excluded until the Joint Implementation Plan adds it. Then a date is added to a file.
async fn a_cohort_goes_live_by_a_date(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    let image = lab.load_eligible(3);
    let mut sites: Vec<Site> = (1..=3).map(Site::new).collect();
    sites[2].cohort = "FOC";
    lab.write_sites(&sites);
    lab.done(&["import", "sites", "sites.csv"]);
    let campaign = lab.done(&["campaign", "create", "--name", "spring", "--image", &image]);
    let campaign = campaign.trim();
    let reasons = |args: &[&str]| lab.json(&[&["campaign", "plan", campaign], args].concat())["by_reason"].clone();
    assert_eq!(reasons(&[]), serde_json::json!({"ELIGIBLE": 2, "COHORT_NOT_LIVE": 1}));

    let (before, live) = (day(0).to_string(), day(7).to_string());
    let edition = shipped(&lab, "eligibility.toml")
        .replace("effective_from = \"2020-11-24\"", &format!("effective_from = \"{before}\""))
        .replace("[cohort.FOC]\n", &format!("[cohort.FOC]\nlive_from = \"{live}\"\n"));
    lab.folder.write(&format!("policies/eligibility.{before}.toml"), edition);
    let listed = lab.json(&["policy", "check"]);
    let in_force: Vec<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .filter(|f| f["in_force"] == true)
        .filter_map(|f| f["file"].as_str())
        .filter(|f| f.starts_with("eligibility"))
        .collect();
    assert_eq!(in_force, [format!("eligibility.{before}.toml")]);
    assert_eq!(reasons(&[]), serde_json::json!({"ELIGIBLE": 2, "COHORT_NOT_LIVE": 1}), "its day has not come");
    let (eve, that_day) = (day(6).to_string(), day(7).to_string());
    assert_eq!(reasons(&["--as-of", &eve])["COHORT_NOT_LIVE"], 1);
    assert_eq!(reasons(&["--as-of", &that_day]), serde_json::json!({"ELIGIBLE": 3}));
    let diff = lab.json(&["policy", "diff"]);
    let live_from = diff.as_array().unwrap().iter().find(|c| c["key"] == "cohort.FOC.live_from").expect("it differs");
    assert_eq!((live_from["after"].as_str(), &live_from["matters"]), (Some(live.as_str()), &Value::Bool(true)));
}

async fn a_started_campaign_waits_for_a_new_approval(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    let image = lab.load_eligible(2);
    lab.start_campaign("spring", &image, 10);
    assert_eq!(lab.json(&["policy", "diff", "--campaign", "spring"]), serde_json::json!([]));
    lab.done(&["campaign", "pause", "spring"]);
    let edited = shipped(&lab, "eligibility.toml").replace("guard_days = 5", "guard_days = 9");
    lab.folder.write("policies/eligibility.toml", edited);
    let diff = lab.done(&["policy", "diff", "--campaign", "spring"]);
    insta::assert_snapshot!("the_change_of_a_campaign", diff);
    let refused = lab.run(&["campaign", "resume", "spring"]);
    assert_eq!(refused.code, 3, "{}", refused.err);
    assert!(refused.err.contains("APPROVAL_VOID") && refused.err.contains("ppmid policy diff --campaign"), "{}", refused.err);
    assert_polite(&refused);
    let own = lab.run(&["policy", "diff", "--campaign", "spring", "--since", "2026-01-01"]);
    assert_eq!(own.code, 2, "{}", own.err);
    lab.done(&["campaign", "approve", "spring", "--by", "third.person"]);
    lab.done(&["campaign", "resume", "spring"]);
    assert_eq!(lab.json(&["policy", "diff", "--campaign", "spring"]), serde_json::json!([]));
}
