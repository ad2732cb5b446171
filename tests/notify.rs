//! Teams are told while `ppmid serve` runs: of an alarm at once, and of what happened while their receiver was down or this program was
//! killed, once.

use std::{collections::BTreeMap, os::unix::fs::PermissionsExt};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    harness::assert_polite,
    lab::{Behaviour, Engine, Lab, PATIENCE, Post, RawDcc, free_port, on_both_engines, until},
};

on_both_engines!(
    an_alarm_reaches_the_team_also_after_an_outage_and_a_restart,
    killed_after_the_post_the_same_goes_again,
    what_notify_toml_may_not_name
);

const SECRET: &str = "fedcba9876543210fedcba9876543210";

fn teams(lab: &Lab, teams: &[(&str, &str, u16)]) {
    lab.folder.write("policies/notify.secret", format!("{SECRET}\n"));
    let secret = lab.folder.path().join("policies/notify.secret");
    std::fs::set_permissions(secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let head = "version = 2\neffective_from = \"2020-11-24\"\ntimeout = \"1s\"\n".to_string();
    let text = teams.iter().fold(head, |text, (name, mpid, port)| {
        text + &format!(
            "[[team]]\nname = \"{name}\"\nmpid = \"{mpid}\"\nurl = \"http://127.0.0.1:{port}/hook\"\nsecret = \"file:notify.secret\"\nevents = [\"alarm\", \"campaign-waits\"]\n"
        )
    });
    lab.folder.write("policies/notify.toml", text);
}

/// What a receiver has that drops doubles, by kind and sentence, each with a good signature.
fn kept(receiver: &RawDcc) -> Vec<(String, String)> {
    let mut by_key: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut kept = Vec::new();
    for post in receiver.posts() {
        check_signature(&post);
        let body: Value = serde_json::from_slice(&post.body).unwrap();
        let key = post.header("idempotency-key").unwrap().to_string();
        assert_eq!(body["id"], key.as_str());
        match by_key.get(&key) {
            Some(before) => assert_eq!(*before, post.body, "the same key, the same bytes"),
            None => {
                kept.push((body["kind"].as_str().unwrap().into(), body["sentence"].as_str().unwrap().into()));
                by_key.insert(key, post.body);
            }
        }
    }
    kept
}

/// RFC 2104 by hand.
fn check_signature(post: &Post) {
    let (t, v1) = post.header("x-ppmid-signature").unwrap().strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let mut block = [0u8; 64];
    block[..SECRET.len()].copy_from_slice(SECRET.as_bytes());
    let pad = |with: u8| block.map(|b| b ^ with);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(t).chain_update(".").chain_update(&post.body).finalize();
    let outer = Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize();
    assert_eq!(v1, outer.iter().map(|b| format!("{b:02x}")).collect::<String>());
}

fn withdraw(lab: &Lab, campaign: &str) {
    let cpl = std::fs::read_to_string(lab.folder.path().join("cpl.csv")).unwrap();
    lab.folder.write("withdrawn.csv", cpl.replace("Active", "Withdrawn"));
    lab.done(&["import", "cpl", "withdrawn.csv"]);
    until("the halt", PATIENCE, || (lab.status(campaign)["state"] == "halted").then_some(()));
}

fn until_kept(receiver: &RawDcc, what: &str) {
    until(what, PATIENCE, || kept(receiver).iter().any(|(_, sentence)| sentence.contains(what)).then_some(()));
}

async fn an_alarm_reaches_the_team_also_after_an_outage_and_a_restart(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    let image = lab.load_eligible(4);
    let (port, dead) = (free_port(), free_port());
    teams(&lab, &[("incident", "EELC", port), ("dead", "EELC", dead)]);
    lab.start_campaign("spring", &image, 2);
    let _dcc = RawDcc::start(lab.dcc_port, Behaviour::Accepts, lab.dcc_signer()).await;
    let receiver = RawDcc::start(port, Behaviour::Takes, lab.dcc_signer()).await;
    let serve = lab.serve();
    until_kept(&receiver, "campaign spring is planned and waits for its approval");
    withdraw(&lab, "spring");
    until_kept(&receiver, "campaign spring was halted: CPL_NOT_ACTIVE");
    let told = kept(&receiver);
    assert_eq!(told.iter().map(|(kind, _)| kind.as_str()).collect::<Vec<_>>(), ["campaign-waits", "alarm"]);
    serve.until_it_says("a team was not told");

    // The receiver goes down, another campaign is planned and halted, this program is killed; then both come back.
    receiver.behave(Behaviour::Unavailable);
    lab.done(&["import", "cpl", "cpl.csv"]);
    lab.done(&["campaign", "resume", "spring"]);
    withdraw(&lab, "spring");
    let pending = || lab.json(&["notify", "list", "--state", "pending", "--team", "incident"]);
    until("a failed attempt", PATIENCE, || (pending()[0]["attempts"].as_u64()? > 0).then_some(()));
    serve.kill();
    receiver.behave(Behaviour::Takes);
    let serve = lab.serve();
    until("nothing pending", PATIENCE, || (pending() == serde_json::json!([])).then_some(()));
    let kinds: Vec<String> = kept(&receiver).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["campaign-waits", "alarm", "alarm"], "once each");
    let delivered = lab.json(&["notify", "list", "--state", "delivered"]);
    assert_eq!(delivered.as_array().unwrap().len(), 3, "{delivered}");
    let waiting = lab.json(&["notify", "list", "--team", "dead"]);
    assert!(waiting.as_array().unwrap().iter().all(|d| d["state"] == "pending"), "{waiting}");

    let id = delivered[0]["id"].to_string();
    let shown = lab.json(&["notify", "show", &id]);
    assert_eq!((&shown["body"]["id"], &shown["state"]), (&shown["key"], &"delivered".into()), "{shown}");
    let again = lab.run(&["notify", "retry", &id]);
    assert_eq!(again.code, 1);
    assert_polite(&again);
    lab.done(&["notify", "retry", &waiting[0]["id"].to_string()]);
    assert!(lab.done(&["notify", "test", "incident"]).contains("taken"));
    let unheard = lab.run(&["notify", "test", "dead"]);
    assert_eq!(unheard.code, 1);
    assert_polite(&unheard);
    let trail = lab.done(&["audit", "list", "--output", "csv"]);
    assert!(trail.contains("notify.retry") && trail.contains("notify.test"), "{trail}");
    serve.terminate();
}

/// Between the receiver's yes and our note of it.
#[cfg(feature = "crash-points")]
async fn killed_after_the_post_the_same_goes_again(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    let image = lab.load_eligible(1);
    let port = free_port();
    teams(&lab, &[("incident", "EELC", port)]);
    lab.done(&["campaign", "create", "--name", "spring", "--image", &image]);
    lab.done(&["campaign", "plan", "spring"]);
    let receiver = RawDcc::start(port, Behaviour::Takes, lab.dcc_signer()).await;
    let mut serve = lab.start_serving(&[("PPMID_CRASH_AT", "after-notification")]);
    serve.until_it_ends();
    assert_eq!((receiver.posts().len(), lab.json(&["notify", "list"])[0]["state"].clone()), (1, "pending".into()));
    let serve = lab.serve();
    until("delivered", PATIENCE, || (lab.json(&["notify", "list"])[0]["state"] == "delivered").then_some(()));
    assert_eq!((receiver.posts().len(), kept(&receiver).len()), (2, 1), "sent twice, and known to be the same");
    serve.terminate();
}

#[cfg(not(feature = "crash-points"))]
async fn killed_after_the_post_the_same_goes_again(_: Engine) {}

async fn what_notify_toml_may_not_name(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    std::fs::create_dir_all(lab.folder.path().join("policies")).unwrap();
    teams(&lab, &[("incident", "OTHR", 9)]);
    for args in [&["serve"][..], &["policy", "check"], &["notify", "test", "incident"]] {
        let refused = lab.run(args);
        assert_eq!(refused.code, 1, "{args:?}: {refused:?}");
        assert!(refused.err.contains("team incident is of MPID OTHR, which is not one of organisation.mpids"), "{}", refused.err);
        assert_polite(&refused);
    }
    teams(&lab, &[("incident", "EELC", 9)]);
    lab.done(&["policy", "check"]);
    let toml = std::fs::read_to_string(lab.folder.path().join("policies/notify.toml")).unwrap();
    lab.folder.write("policies/notify.toml", toml.replace("127.0.0.1:9", "hooks.example"));
    let refused = lab.run(&["policy", "check"]);
    assert!(refused.code == 1 && refused.err.contains("must be a loopback address"), "{}", refused.err);
    lab.folder.write("policies/notify.toml", &toml);
    let role =
        format!("{}\n[organisation]\nrole = \"GS\"\n", std::fs::read_to_string(lab.folder.path().join("ppmid.toml")).unwrap());
    lab.folder.write("ppmid.toml", role);
    let refused = lab.run(&["notify", "test", "incident"]);
    assert!(refused.code == 3 && refused.err.contains("ROLE_NOT_PERMITTED"), "{}", refused.err);
}
