//! Devices are read after their upgrade as the steps of their models say, over real HTTP, under a DCC that loses replies, answers 500
//! and doubles its messages, with devices that never answer, and with a kill around the posts of the reads: whose version could be
//! read ends `verified`, who is not read or stays silent `activated`, and no read is put under a second RequestID while it is not
//! known what became of the first.

use std::collections::BTreeMap;

use ppmid_orchestrator::{
    db::Db,
    gateway::outbox::{OutboxRequest, OutboxState},
    ids::DeviceId,
    target::store::reads,
};

use crate::lab::{self, Engine, Lab, PATIENCE, Site, on_both_engines, until};

on_both_engines!(
    each_model_ends_as_its_steps_say,
    killed_with_a_read_committed,
    killed_with_a_read_posted,
    killed_with_a_read_answered,
);

/// The models: of 106C, what follows the update, and how it ends. Eight sites each.
const MODELS: [(&str, &str, &str); 4] = [
    ("BYLIST", "read-inventory", "verified"),
    ("BYSELF", "read-version", "verified"),
    ("PLAIN", "", "activated"),
    ("MUTE", "read-version", "activated"),
];
const EACH: u64 = 8;

fn model_of(n: u64) -> (&'static str, &'static str, &'static str) {
    MODELS[((n - 1) / EACH) as usize]
}

fn steps() -> String {
    let head = "version = 1\neffective_from = \"2020-11-24\"\nreads_per_minute = 6000\n".to_string();
    MODELS.iter().filter(|m| !m.1.is_empty()).fold(head, |text, (model, read, _)| {
        // Long enough for whatever is retried; what never answers is soon given up.
        let within = if *model == "MUTE" { "4s" } else { "80s" };
        text + &format!("[[model]]\nmanufacturer = \"106C\"\nmodel = \"{model}\"\nsteps = [\"update\", \"{read}\"]\nread_within = \"{within}\"\n")
    })
}

/// A lost reply to an 8.2 is lost for good, and a device is asked four times: few enough are lost that no device is unlucky in all four.
fn scenario() -> String {
    let mute: Vec<String> =
        (1..=EACH * 4).filter(|n| model_of(*n).0 == "MUTE").map(|n| format!("\"{}\"", Site::device(n))).collect();
    format!(
        "seed = 5\n[delays]\nwarning_ms = 10\nupdate_requested_ms = [5, 50]\nactivated_ms = [5, 100]\n\
         [faults]\nserver_error = \"10%\"\nreply_lost = \"5%\"\n[deliveries]\nduplicated = \"20%\"\nreordered = \"5%\"\n\
         [reads]\nsilent = {{ devices = [{}] }}\n",
        mute.join(", ")
    )
}

fn load(lab: &Lab) {
    lab.write_image();
    let cpl = std::fs::read_to_string(lab.folder.path().join("cpl.csv")).unwrap();
    let entry = cpl.lines().nth(1).unwrap();
    let rows = MODELS
        .iter()
        .enumerate()
        .map(|(i, (model, ..))| format!("{}\n", entry.replace("CPL-1", &format!("CPL-{i}")).replace("433100AC", model)));
    lab.folder.write("cpl.csv", format!("{}\n{}", cpl.lines().next().unwrap(), rows.collect::<String>()));
    let models = MODELS.iter().flat_map(|(model, ..)| ["--model", *model]);
    let sign = [
        "image",
        "sign",
        "firmware.ota",
        "--key",
        "manufacturer.pem",
        "--manifest-out",
        "models.dsse.json",
        "--manufacturer",
        "106C",
    ];
    let version = ["--firmware-version", crate::lab::FIRMWARE, "--upgrade-from", "00020100"];
    lab.done(&sign.into_iter().chain(models).chain(version).collect::<Vec<_>>());
    let all: Vec<u64> = (1..=EACH * 4).collect();
    lab.write_sites(&all.iter().map(|n| Site { model: model_of(*n).0, ..Site::new(*n) }).collect::<Vec<_>>());
    lab.write_registrations(&all.iter().map(|n| (*n, "EELC", None, None)).collect::<Vec<_>>());
    lab.write_keys("keys.csv", "2020-11-10T08:00:00Z", &all.iter().map(|n| (*n, "updated")).collect::<Vec<_>>());
    for kind in ["registrations", "sites", "keys", "cpl", "epcl"] {
        lab.done(&["import", kind, &format!("{kind}.csv"), "--strict"]);
    }
    let image = lab.done(&["image", "add", "firmware.ota", "--manifest", "models.dsse.json"]);
    lab.folder.write("policies/steps.toml", steps());
    lab.start_campaign("spring", image.trim(), EACH * 4);
}

async fn each_model_ends_as_its_steps_say(engine: Engine) {
    told(engine, None).await;
}

async fn killed_with_a_read_committed(engine: Engine) {
    told(engine, Some("after-read-commit:2")).await;
}

/// The first posts are the batch's.
async fn killed_with_a_read_posted(engine: Engine) {
    told(engine, Some("after-post:12")).await;
}

async fn killed_with_a_read_answered(engine: Engine) {
    told(engine, Some("after-acknowledgement:12")).await;
}

async fn told(engine: Engine, crash: Option<&str>) {
    if crash.is_some() && lab::without_crash_points() {
        return;
    }
    let Some(lab) = Lab::new(engine).await else { return };
    lab.configure("request_timeout_seconds = 5\n");
    load(&lab);
    let dcc = lab.simulator(&scenario()).await;
    if let Some(point) = crash {
        lab.serve_until_it_dies_at(point);
    }
    let serve = lab.serve();
    until("the end of the campaign", PATIENCE * 3, || (lab.status("spring")["state"] == "finished").then_some(()));
    let status = lab.status("spring");
    for (n, target) in (1..).zip(lab.targets("spring")) {
        if target[1] != model_of(n).2 {
            let reads = lab.json(&["site", "show", &Site::device(n)])["reads"].clone();
            let requests: Vec<String> =
                lab.outbox().await.into_iter().filter(|r| r.batch_id.is_none()).map(|r| format!("{r:?}")).collect();
            panic!("{n}: {target:?}\n{reads}\n{}\n{status}", requests.join("\n"));
        }
    }
    let reads = &status["reads"];
    let wanted = [("asked", 24), ("answered", 16), ("differs", 0), ("given_up", 8), ("waiting", 0), ("out", 0)];
    assert!(wanted.iter().all(|(key, n)| reads[*key] == *n), "{reads}");
    assert_eq!(dcc.stats().duplicate_submissions, 0);
    no_read_was_doubled_while_its_outcome_was_unknown(&lab).await;
    let listed = lab.done(&["campaign", "reads", "spring", "--state", "given-up", "--output", "csv"]);
    assert_eq!(listed.lines().count(), 1 + EACH as usize, "{listed}");
    let explained = lab.json(&["site", "explain", &Site::device(1), "--campaign", "spring"]);
    assert_eq!(explained["steps"]["from"], "steps.toml, model 106C BYLIST", "{explained}");
    let shown = lab.json(&["site", "show", &Site::device(1)]);
    assert_eq!(
        (&shown["reads"][0]["state"], &shown["firmware_version"]),
        (&"agrees".into(), &crate::lab::FIRMWARE.into()),
        "{shown}"
    );
    serve.terminate();
    assert_eq!(lab.run(&["audit", "verify"]).code, 0);
}

/// Of each device's requests, in the order in which they were made: the next was made only when DCC had answered the one before, or
/// it certainly never left.
async fn no_read_was_doubled_while_its_outcome_was_unknown(lab: &Lab) {
    let requests: BTreeMap<_, OutboxRequest> = lab.outbox().await.into_iter().map(|r| (r.id, r)).collect();
    let db = Db::connect(&lab.database_url).await.unwrap();
    let mut tx = db.read().await.unwrap();
    let mut made = 0;
    for n in 1..=EACH * 4 {
        let device: DeviceId = Site::device(n).parse().unwrap();
        for read in reads::of_device(&mut tx, device).await.unwrap() {
            let ids = reads::requests_of(&mut tx, read.plan_id, device).await.unwrap();
            made += ids.len();
            for pair in ids.windows(2) {
                let (before, next) = (&requests[&pair[0]], &requests[&pair[1]]);
                let known = before.state == OutboxState::Abandoned && before.posts == 0
                    || before.answered_at.is_some_and(|at| at <= next.created_at);
                assert!(known, "{n}: {before:?}\n{next:?}");
            }
        }
    }
    drop(tx);
    db.close().await;
    assert_eq!(requests.values().filter(|r| r.batch_id.is_none()).count(), made, "every read's request is somebody's");
}
