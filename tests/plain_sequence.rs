//! The contract's plain sequence, from an empty folder to activated displays: files written by hand, every one of the
//! thirteen reasons, the simulated DCC as a process of its own, and only the `ppmid` program in between.

use serde_json::{Value, json};

use crate::{
    harness::assert_polite,
    lab::{Daemon, Engine, Lab, PATIENCE, Site, day, http, on_both_engines, until},
};

on_both_engines!(from_csv_files_to_activated_displays);

/// Site 5: DCC, not our files, knows that its key is missing.
const KEY_MISSING_AT_DCC: u64 = 5;
const KEY_FAILED: u64 = 16;
const IN_PILOT: u64 = 19;
const KEY_INVESTIGATED: u64 = 20;

/// Site by site: its reason in the plan.
const REASONS: [&str; 20] = [
    "ELIGIBLE",
    "ELIGIBLE",
    "ELIGIBLE",
    "ELIGIBLE",
    "ELIGIBLE",
    "NOT_RESPONSIBLE_SUPPLIER",
    "NOT_RESPONSIBLE_SUPPLIER",
    "DEVICE_NOT_COMMISSIONED",
    "COHORT_NOT_LIVE",
    "COMBINATION_NOT_ELIGIBLE",
    "MODEL_NOT_COVERED",
    "ALREADY_AT_VERSION",
    "UPGRADE_PATH_NOT_ALLOWED",
    "SUPPLY_NOT_STARTED",
    "SUPPLY_CHANGE_PENDING",
    "KEYS_MISSING",
    "KEYS_UNKNOWN",
    "EXCLUDED_BY_OPERATOR",
    "OTHER_CAMPAIGN_IN_PROGRESS",
    "KEYS_MISSING",
];

fn write_estate(lab: &Lab) {
    let mut sites: Vec<Site> = (1..=20).map(Site::new).collect();
    let mut site = |n: usize, change: fn(&mut Site)| change(&mut sites[n - 1]);
    site(2, |s| s.cohort = "MDS");
    site(3, |s| s.cohort = "SECURE");
    site(4, |s| s.migrated_on = "2020-11-24");
    site(8, |s| s.status = "Suspended");
    site(9, |s| s.cohort = "FOC");
    site(10, |s| s.dmc = "DMC-2");
    site(11, |s| s.model = "OTHER");
    site(12, |s| s.version = crate::lab::FIRMWARE);
    // On the Central Products List as a version to upgrade from, but not in the manifest.
    site(13, |s| s.version = "00020101");
    lab.write_sites(&sites);
    let own = (1..=20).filter(|n| ![6, 7, 14, 15].contains(n)).map(|n| (n, "EELC", None, None));
    let others = [
        (6, "OTHR", None, None),
        (7, "EELC", None, Some(day(-10))),
        (7, "OTHR", Some(day(-10)), None),
        (14, "OTHR", None, Some(day(30))),
        (14, "EELC", Some(day(30)), None),
        (15, "EELC", None, Some(day(3))),
        (15, "OTHR", Some(day(3)), None),
    ];
    lab.write_registrations(&own.chain(others).collect::<Vec<_>>());
    // Not 3 (SECURE needs none), 4 (brought its own) and 17 (unknown).
    let keyed = (1..=20).filter(|n| ![3, 4, 17].contains(n)).map(|n| match n {
        KEY_FAILED => (n, "failed"),
        KEY_INVESTIGATED => (n, "investigating"),
        n => (n, "updated"),
    });
    lab.write_keys("keys.csv", "2020-11-10T08:00:00Z", &keyed.collect::<Vec<_>>());
    let exclusion = format!("device_id,mpan,reason,effective_from,effective_to\n,{},booked visit,{},\n", Site::mpan(18), day(-1));
    lab.folder.write("exclusions.csv", exclusion);
    lab.folder.write("pilot.txt", format!("{}\n", Site::device(IN_PILOT)));
}

async fn from_csv_files_to_activated_displays(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    let dcc = start_dcc(&lab);
    write_estate(&lab);
    lab.write_image();

    for kind in ["registrations", "sites", "keys", "cpl", "epcl", "exclusions"] {
        let line = lab.done(&["import", kind, &format!("{kind}.csv")]);
        assert!(line.starts_with(kind) && line.contains(" 0 rejected") && line.lines().count() == 1, "{line}");
    }
    let image = lab.done(&["image", "add", "firmware.ota", "--manifest", "firmware.dsse.json"]);
    let image = alone(&image);
    assert!(image.len() == 64 && image.bytes().all(|b| b.is_ascii_hexdigit()), "{image}");

    lab.done(&["campaign", "create", "--name", "pilot", "--image", image, "--devices", "pilot.txt"]);
    approve_and_start(&lab, "pilot");
    let created = lab.done(&["campaign", "create", "--name", "spring", "--image", image]);
    let campaign = alone(&created);
    assert!(campaign.parse::<u64>().is_ok(), "{campaign}");
    plan(&lab, campaign);
    approve_and_start(&lab, campaign);

    let serve = lab.serve();
    send_and_follow(&lab, campaign);
    release_by_key_files(&lab, campaign);
    let (before, targets) = (lasting(lab.status(campaign)), lab.targets(campaign));
    check_the_end(&lab, campaign, &before);
    serve.terminate();
    assert_eq!((lasting(lab.status(campaign)), lab.targets(campaign)), (before.clone(), targets.clone()));

    // The restarted daemon has looked at everything when it has taken up an import; nothing else has moved.
    let posted = stats(&lab)["requests"]["posted"].clone();
    let serve = lab.serve();
    lab.write_keys("keys-3.csv", "2020-11-12T08:00:00Z", &[(KEY_INVESTIGATED, "failed")]);
    lab.done(&["import", "keys", "keys-3.csv"]);
    let attempts = || lab.done(&["keys", "list", "--output", "csv"]).contains(",investigating,2,");
    until("the second attempt on record", PATIENCE, || attempts().then_some(()));
    assert_eq!(lasting(lab.status(campaign)), before);
    assert_eq!(lab.targets(campaign), targets);
    assert_eq!(stats(&lab)["requests"]["posted"], posted);
    serve.terminate();
    dcc.terminate();
    assert_eq!(lab.run(&["audit", "verify"]).code, 0);
}

/// `ppmid dcc-sim`, which also makes the certificates.
fn start_dcc(lab: &Lab) -> Daemon {
    for file in ["dcc.key.pem", "dcc.pem", "supplier.key.pem", "supplier.pem"] {
        std::fs::remove_file(lab.folder.path().join(file)).unwrap();
    }
    let device = Site::device(KEY_MISSING_AT_DCC);
    let scenario = format!(
        "seed = 4\n[population]\nkey_missing = {{ devices = [\"{device}\"], good_on_rerun = \"100%\" }}\n\
         [delays]\nupdate_requested_ms = [1, 50]\nactivated_ms = [1, 100]\nkey_missing_ms = [1, 50]\n\
         [deliveries]\nduplicated = \"20%\"\nreordered = \"20%\"\n"
    );
    lab.folder.write("dcc.toml", scenario);
    let listen = format!("127.0.0.1:{}", lab.dcc_port);
    let deliver_to = lab.deliver_to();
    let args =
        ["dcc-sim", "--listen", &listen, "--deliver-to", &deliver_to, "--scenario", "dcc.toml", "--make-certificates", "."];
    let dcc = Daemon::start(&mut lab.folder.command(&args), lab.folder.path().join("dcc.log"));
    dcc.until_it_says("DCC simulator at");
    dcc
}

/// An id printed alone on its line.
fn alone(out: &str) -> &str {
    let line = out.strip_suffix('\n').expect("a line ends");
    assert!(!line.is_empty() && !line.contains(char::is_whitespace), "{out:?}");
    line
}

fn plan(lab: &Lab, campaign: &str) {
    let unplanned = lab.run(&["campaign", "approve", campaign, "--by", "somebody.else"]);
    assert_eq!((unplanned.code, unplanned.out.as_str()), (1, ""));
    assert_polite(&unplanned);
    let plan = lab.json(&["campaign", "plan", campaign]);
    let mut by_reason = serde_json::Map::new();
    for reason in REASONS {
        let n = by_reason.get(reason).and_then(Value::as_i64).unwrap_or(0);
        by_reason.insert(reason.into(), json!(n + 1));
    }
    let five = ["sites", "eligible", "held", "ineligible", "by_reason"].map(|key| plan[key].clone());
    assert_eq!(five, [json!(20), json!(5), json!(7), json!(8), Value::Object(by_reason)]);
    for (row, reason) in lab.targets(campaign).iter().zip(REASONS) {
        let state = match reason {
            "ELIGIBLE" => "queued",
            "SUPPLY_NOT_STARTED" | "SUPPLY_CHANGE_PENDING" | "KEYS_MISSING" | "KEYS_UNKNOWN" => "held",
            "EXCLUDED_BY_OPERATOR" | "OTHER_CAMPAIGN_IN_PROGRESS" => "held",
            _ => "ineligible",
        };
        assert_eq!((row[1].as_str(), row[2].as_str(), row[3].as_str(), row[4].as_str()), (state, reason, "", "0"), "{row:?}");
    }
    let explained = lab.done(&["site", "explain", &Site::device(15), "--campaign", campaign]);
    assert!(REASONS[5..].iter().all(|reason| explained.contains(reason)), "{explained}");

    let early = lab.run(&["campaign", "start", campaign]);
    assert!(early.code != 0 && early.err.contains("approv"), "{early:?}");
    assert_polite(&early);
    let campaigns = lab.json(&["campaign", "list"]);
    let creator = campaigns.as_array().unwrap().iter().find(|c| c["name"] == "spring").unwrap()["created_by"].as_str().unwrap();
    let creator = creator.to_string();
    for by in [creator.as_str(), creator.split('@').next().unwrap()] {
        let refused = lab.run(&["campaign", "approve", campaign, "--by", by]);
        assert_eq!((refused.code, refused.out.as_str()), (3, ""), "{by}");
        assert!(refused.err.contains("SECOND_PERSON_REQUIRED"), "{}", refused.err);
        assert_polite(&refused);
    }
    let what_if = lab.json(&["campaign", "plan", campaign, "--as-of", &day(40).to_string()]);
    assert_eq!(what_if["by_reason"]["SUPPLY_NOT_STARTED"], Value::Null, "{what_if}");
    let refused = lab.run(&["campaign", "approve", campaign, "--by", "somebody.else"]);
    assert_eq!(refused.code, 3, "a what-if cannot be approved: {refused:?}");
    lab.done(&["campaign", "plan", campaign]);
}

fn approve_and_start(lab: &Lab, campaign: &str) {
    if campaign == "pilot" {
        lab.done(&["campaign", "plan", campaign]);
    }
    let approved = lab.done(&["campaign", "approve", campaign, "--by", "somebody.else"]);
    assert!(approved.contains("somebody.else") && approved.contains("asserted by"), "{approved}");
    lab.done(&["campaign", "start", campaign]);
}

/// Everything eligible is activated, but for the site whose key DCC misses: that one is held, not failed.
fn send_and_follow(lab: &Lab, campaign: &str) {
    // The site that is in the pilot waits for that, and then needs nothing: it may have left already.
    let count = |s: &Value, state: &str| s["by_state"][state].as_i64().unwrap_or(0);
    let done = |s: &Value| count(s, "activated") == 4 && count(s, "held") + count(s, "ineligible") == 16;
    until("four activated, one held for its key", PATIENCE, || done(&lab.status(campaign)).then_some(()));
    let targets = lab.targets(campaign);
    let key_missing = &targets[KEY_MISSING_AT_DCC as usize - 1];
    assert_eq!([&key_missing[1], &key_missing[2], &key_missing[4]], ["held", "KEYS_MISSING", "1"]);
    until("the pilot's end", PATIENCE, || (lab.status("pilot")["state"] == "finished").then_some(()));
    // Away from a terminal it is one line for each change, and it ends with the campaign.
    let watched = lab.done(&["campaign", "watch", "pilot"]);
    assert!(watched.lines().count() == 1 && watched.contains(" pilot (finished): 1 activated"), "{watched}");
    let watched: Value = serde_json::from_str(&lab.done(&["campaign", "watch", "pilot", "--output", "json"])).unwrap();
    assert_eq!(watched["state"], "finished");
    assert_eq!(lab.run(&["campaign", "watch", "pilot", "--output", "csv"]).code, 2);
}

/// The tool's results come as files: one from DCC's desk, one from a re-run asked of DCC.
fn release_by_key_files(lab: &Lab, campaign: &str) {
    lab.write_keys("keys-2.csv", "2020-11-11T08:00:00Z", &[(KEY_FAILED, "updated")]);
    lab.done(&["import", "keys", "keys-2.csv"]);
    until("the released site's activation", PATIENCE, || (lab.status(campaign)["by_state"]["activated"] == 5).then_some(()));
    let rerun = http(lab.dcc_port, "POST", "/sim/rerun-keys");
    assert!(rerun.starts_with("device_id,status,attempted_at"), "{rerun}");
    lab.folder.write("rerun.csv", rerun);
    lab.done(&["import", "keys", "rerun.csv"]);
    until("the last activation", PATIENCE, || (lab.status(campaign)["by_state"]["activated"] == 6).then_some(()));
    // What the pilot upgraded needs no second upgrade.
    let left_for_the_pilot = || lab.targets(campaign)[IN_PILOT as usize - 1][2] == "ALREADY_AT_VERSION";
    until("the pilot's site leaves", PATIENCE, || left_for_the_pilot().then_some(()));
}

fn check_the_end(lab: &Lab, campaign: &str, status: &Value) {
    let targets = lab.targets(campaign);
    assert_eq!(targets.len(), 20);
    assert!(targets.is_sorted());
    assert!(targets.iter().map(|t| t[0].clone()).eq((1..=20).map(Site::device)));
    for n in [1, 2, 3, 4, KEY_MISSING_AT_DCC, KEY_FAILED] {
        assert_eq!((targets[n as usize - 1][1].as_str(), targets[n as usize - 1][2].as_str()), ("activated", "ELIGIBLE"), "{n}");
    }
    assert_eq!(targets[KEY_MISSING_AT_DCC as usize - 1][4], "2");
    assert_eq!(status["by_state"], json!({"held": 5, "ineligible": 9, "activated": 6}));
    for (key, wanted) in [("sites", 20), ("eligible", 5), ("held", 7), ("ineligible", 8)] {
        assert_eq!(status[key], wanted, "{key}: the plan's numbers stay");
    }
    assert_eq!(status["by_reason"].as_object().unwrap().values().map(|n| n.as_i64().unwrap()).sum::<i64>(), 20);
    assert_eq!(
        (&status["batches"], &status["requests_sent"], &status["duplicate_submissions"]),
        (&json!(3), &json!(3), &json!(0))
    );
    assert_eq!(status["key_cases"], json!({"retrying": 0, "investigating": 1, "resolved": 2, "closed": 0}));
    assert_eq!(stats(lab)["duplicate_submissions"], 0);
    let keys = lab.done(&["keys", "list", "--output", "csv"]);
    let mut lines = keys.lines();
    let columns = "device_id,mpan,cohort,state,attempts,first_seen,last_attempt,next_attempt,last_error,incident";
    assert_eq!(lines.next(), Some(columns));
    assert_eq!(lines.count(), 3, "{keys}");
    assert!(keys.contains(&format!("{},{},IOC,investigating", Site::device(KEY_INVESTIGATED), Site::mpan(KEY_INVESTIGATED))));
}

/// A status without what only the clock changes.
fn lasting(mut status: Value) -> Value {
    let object = status.as_object_mut().unwrap();
    assert!(object.remove("elapsed_ms").is_some_and(|ms| ms.as_i64().is_some()));
    // How the way to DCC is, is a matter of the running daemon, and a new one has not tried it yet.
    assert!(object.remove("dcc_link").is_some());
    status
}

fn stats(lab: &Lab) -> Value {
    serde_json::from_str(&http(lab.dcc_port, "GET", "/sim/stats")).unwrap()
}
