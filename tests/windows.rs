//! Through the program: while a freeze stands nothing is posted and the status says what is waited for; a product list that takes
//! effect meanwhile takes its devices out at once; and the rest leaves when the freeze is lifted and a second person agrees, with no restart.

use crate::lab::{Behaviour, Engine, Lab, PATIENCE, RawDcc, Site, day, on_both_engines, until};

on_both_engines!(a_freeze_holds_everything_back_until_it_is_lifted);

const HEAD: &str = "version = 1\neffective_from = \"2020-11-24\"\n";

async fn a_freeze_holds_everything_back_until_it_is_lifted(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    lab.write_image();
    let sites: Vec<Site> = (1..=5).map(|n| Site { dmc: if n > 3 { "DMC-2" } else { "DMC-1" }, ..Site::new(n) }).collect();
    lab.write_sites(&sites);
    lab.write_registrations(&(1..=5).map(|n| (n, "EELC", None, None)).collect::<Vec<_>>());
    lab.write_keys("keys.csv", "2020-11-10T08:00:00Z", &(1..=5).map(|n| (n, "updated")).collect::<Vec<_>>());
    lab.folder.write("epcl.csv", "dmc,cohort,effective_from,effective_to\nDMC-1,IOC,2020-01-01,\nDMC-2,IOC,2020-01-01,\n");
    for kind in ["registrations", "sites", "keys", "cpl", "epcl"] {
        lab.done(&["import", kind, &format!("{kind}.csv"), "--strict"]);
    }
    let image = lab.done(&["image", "add", "firmware.ota", "--manifest", "firmware.dsse.json"]).trim().to_string();
    // Whatever the clock does while this runs, both days are within the freeze.
    let (from, to) = (day(-1), day(2));
    let freeze = format!("[[freeze]]\nfrom = \"{from}\"\nto = \"{to}\"\nreason = \"stocktaking\"\n");
    lab.folder.write("policies/windows.toml", format!("{HEAD}{freeze}"));
    lab.start_campaign("spring", &image, 50);
    let shown = lab.json(&["policy", "show", "windows"]);
    assert_eq!(shown["files"]["windows.toml"]["freeze"][0]["reason"], "stocktaking", "{shown}");
    let dcc = RawDcc::start(lab.dcc_port, Behaviour::Accepts, lab.dcc_signer()).await;
    let serve = lab.serve();

    let waits = until("it waits", PATIENCE, || lab.status("spring")["waits_for"].get(0).cloned());
    assert_eq!((waits["cohort"].as_str(), waits["sites"].as_u64()), (Some("IOC"), Some(5)), "{waits}");
    let why = format!("the end of the freeze on {to}: stocktaking (windows.toml)");
    assert_eq!((waits["why"].as_str(), waits["until"].as_str()), (Some(why.as_str()), Some(to.start().to_string().as_str())));
    let table = lab.done(&["campaign", "status", "spring"]);
    assert!(table.contains(&format!("waits for {why}, {}: 5 queued devices of IOC", to.start())), "{table}");
    let explained = lab.done(&["site", "explain", &Site::device(1), "--campaign", "spring"]);
    assert!(explained.contains(&format!("closed: waits for {why}")), "{explained}");

    // The second combination leaves the list today: its devices are out, though no batch of theirs is near.
    let ended = format!("dmc,cohort,effective_from,effective_to\nDMC-2,IOC,2020-01-01,{}\n", day(-1));
    lab.folder.write("ended.csv", &ended);
    lab.done(&["import", "epcl", "ended.csv", "--strict"]);
    until("two are out", PATIENCE, || (lab.status("spring")["by_state"]["ineligible"] == 2).then_some(()));
    let alarm = until("an alarm", PATIENCE, || {
        lab.json(&["alarm", "list"]).as_array()?.iter().find(|a| a["kind"] == "product-lists-changed").cloned()
    });
    assert!(alarm["sentence"].as_str().unwrap().ends_with("2 COMBINATION_NOT_ELIGIBLE"), "{alarm}");
    assert_eq!(lab.status("spring")["by_state"]["queued"], 3, "the others wait on");
    assert!(dcc.posts().is_empty(), "nothing leaves in a freeze");

    lab.folder.write("policies/windows.toml", HEAD);
    let void = || lab.json(&["alarm", "list"]).as_array()?.iter().find(|a| a["kind"] == "approval-void").cloned();
    let void = until("it asks for a second person", PATIENCE, void);
    assert!(void["sentence"].as_str().unwrap().contains("windows.toml freeze[0].from"), "{void}");
    assert!(dcc.posts().is_empty(), "it was approved with a freeze");
    lab.done(&["campaign", "approve", "spring", "--by", "third.person"]);
    until("the rest is accepted", PATIENCE, || (lab.status("spring")["by_state"]["accepted"] == 3).then_some(()));
    assert_eq!((dcc.posts().len(), lab.status("spring")["waits_for"].as_array().map(Vec::len)), (1, Some(0)));
    serve.terminate();
}
