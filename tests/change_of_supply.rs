//! Sites lost and gained while a campaign runs, through the program: a switch that arrives by a registrations file after the request was
//! sent, a switch that DCC's own alert tells of, and a top-up that a second person lets in.

use serde_json::json;

use crate::{
    harness::assert_polite,
    lab::{Engine, Lab, PATIENCE, Site, day, on_both_engines, until},
};

on_both_engines!(lost_after_sending_and_gained_by_a_top_up, lost_by_an_alert_alone);

fn import(lab: &Lab, kind: &str) {
    lab.done(&["import", kind, &format!("{kind}.csv")]);
}

async fn lost_after_sending_and_gained_by_a_top_up(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    let image = lab.load_eligible(3);
    // Nothing comes but DCC's yes: what was sent stays out.
    let _dcc =
        lab.simulator("seed = 3\n[delays]\nupdate_requested_ms = [600000, 600000]\nactivated_ms = [600000, 600000]\n").await;
    lab.start_campaign("spring", &image, 10);
    let serve = lab.serve();
    until("all are accepted", PATIENCE, || (lab.status("spring")["by_state"]["accepted"] == 3).then_some(()));

    lab.write_registrations(&[(2, "OTHR", Some(day(0)), None)]);
    import(&lab, "registrations");
    until("the mark", PATIENCE, || (lab.status("spring")["supply_lost"] == 1).then_some(()));
    let status = lab.status("spring");
    assert_eq!((&status["by_state"]["accepted"], &status["shares"]["counted"]), (&json!(3), &json!(2)), "{status}");
    let listed = lab.done(&["campaign", "targets", "spring", "--reason", "SUPPLY_LOST", "--output", "csv"]);
    assert!(listed.lines().count() == 2 && listed.contains(&Site::device(2)), "{listed}");

    lab.write_sites(&(1..=5).map(Site::new).collect::<Vec<_>>());
    lab.write_registrations(&[(4, "EELC", Some(day(-1)), None), (5, "EELC", None, None)]);
    lab.write_keys("keys.csv", "2020-11-10T08:00:00Z", &[(4, "updated"), (5, "failed")]);
    ["sites", "registrations", "keys"].iter().for_each(|kind| import(&lab, kind));
    let found = lab.json(&["campaign", "top-up", "spring", "--dry-run"]);
    assert_eq!(found["found"], 2, "{found}");
    let asked = lab.json(&["campaign", "top-up", "spring", "--by", "jane.doe"]);
    assert_eq!(asked["top_up"]["state"], "proposed", "{asked}");
    assert_eq!(lab.targets("spring").len(), 3, "none has joined");
    let own = lab.run(&["campaign", "approve", "spring", "--by", "jane.doe"]);
    assert_eq!(own.code, 3, "who asked does not approve: {own:?}");
    assert_polite(&own);
    lab.done(&["campaign", "approve", "spring", "--by", "john.roe"]);
    let joined = until("they joined", PATIENCE, || Some(lab.targets("spring")).filter(|t| t.len() == 5));
    assert_eq!(joined[4][2], "KEYS_MISSING", "{joined:?}");
    until("the fourth is accepted", PATIENCE, || (lab.targets("spring")[3][1] == "accepted").then_some(()));
    let status = lab.status("spring");
    assert_eq!((&status["topped_up"], &status["sites"]), (&json!(2), &json!(3)), "the plan's figures stay: {status}");
    serve.terminate();
}

/// The alert has no date and gives nothing: it takes a site from the day it came on.
async fn lost_by_an_alert_alone(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    let image = lab.load_eligible(2);
    let scenario = "seed = 3\n[delays]\nupdate_requested_ms = [600000, 600000]\nactivated_ms = [600000, 600000]\n\
                    [other_alerts]\nchange_of_supplier = \"100%\"\n";
    let _dcc = lab.simulator(scenario).await;
    lab.start_campaign("spring", &image, 10);
    let serve = lab.serve();
    until("both are marked", PATIENCE, || (lab.status("spring")["supply_lost"] == 2).then_some(()));
    let shown = lab.json(&["site", "show", &Site::device(1)]);
    assert_eq!(shown["supply_notices"].as_array().map(Vec::len), Some(1), "{shown}");
    let explained = lab.json(&["site", "explain", &Site::device(1), "--image", &image]);
    assert_eq!(explained["reason"], "NOT_RESPONSIBLE_SUPPLIER", "{explained}");

    // The registration service says otherwise, and is believed.
    lab.write_registrations(&[(1, "EELC", None, None)]);
    lab.done(&["import", "registrations", "registrations.csv", "--replace"]);
    until("one mark is gone", PATIENCE, || (lab.status("spring")["supply_lost"] == 1).then_some(()));
    serve.terminate();
}
