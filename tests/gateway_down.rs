//! Nobody listens at `base_url`: the daemon stays up and says so, the targets stay queued, and when DCC appears everything
//! goes, once.

use std::time::Duration;

use crate::lab::{Behaviour, Engine, Lab, PATIENCE, RawDcc, on_both_engines, until};

on_both_engines!(what_cannot_be_sent_waits, a_dcc_that_is_down_is_not_hammered_and_an_operator_sees_it);

const SITES: u64 = 60;

async fn what_cannot_be_sent_waits(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    let image = lab.load_eligible(SITES);
    lab.start_campaign("spring", &image, 20);
    let serve = lab.serve();
    serve.until_it_says("DCC is down");
    let queued = || {
        let status = lab.status("spring");
        (status["by_state"]["queued"] == SITES && status["requests_sent"] == 0).then_some(status)
    };
    let status = until("everything back in the queue", PATIENCE, queued);
    assert_eq!((status["state"].as_str(), status["duplicate_submissions"].as_u64()), (Some("started"), Some(0)));
    assert!(serve.is_running());

    let dcc = lab.simulator("[delays]\nupdate_requested_ms = [1, 50]\nactivated_ms = [1, 50]\n").await;
    let activated = || lab.status("spring")["by_state"]["activated"] == SITES;
    until("every activation", PATIENCE, || activated().then_some(()));
    serve.until_it_says("DCC answers again");
    assert_eq!(lab.status("spring")["dcc_link"]["state"], "up");
    assert!(lab.targets("spring").iter().all(|t| t[1] == "activated"));
    let seen = dcc.stats();
    assert_eq!((seen.requests.accepted, seen.devices_submitted as u64, seen.duplicate_submissions), (3, SITES, 0), "{seen:?}");
    // Not only at the next look for silence, which may be a minute away.
    until("the campaign's end", Duration::from_secs(15), || (lab.status("spring")["state"] == "finished").then_some(()));
    serve.terminate();
}

/// Twelve batches wait, and everything is answered 503: after three of them it is left at one now and then.
async fn a_dcc_that_is_down_is_not_hammered_and_an_operator_sees_it(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    let image = lab.load_eligible(SITES);
    lab.start_campaign("spring", &image, 5);
    assert_eq!(lab.status("spring")["dcc_link"], serde_json::Value::Null, "nobody has served yet");
    let dcc = RawDcc::start(lab.dcc_port, Behaviour::Unavailable, lab.dcc_signer()).await;
    let serve = lab.serve();
    serve.until_it_says("DCC is down");
    let link = || lab.status("spring")["dcc_link"].clone();
    // The fourth failure is the first probe's.
    let down = until("a probe that failed", PATIENCE, || Some(link()).filter(|l| l["failures"].as_u64() >= Some(4)));
    assert_eq!(down["state"], "down", "{down}");
    assert!(down["last_error"].as_str().unwrap().contains("HTTP 503"), "{down}");
    assert!(down["next_try_at"].is_string() && down["since"].is_string(), "{down}");
    assert!(dcc.posts().len() <= link()["failures"].as_u64().unwrap() as usize + 1, "{} posts", dcc.posts().len());
    let text = lab.done(&["campaign", "status", "spring"]);
    assert!(text.lines().any(|l| l.trim_start().starts_with("DCC        DOWN since ")), "{text}");

    dcc.behave(Behaviour::Accepts);
    until("every batch accepted", PATIENCE, || (lab.status("spring")["by_state"]["accepted"] == SITES).then_some(()));
    serve.until_it_says("DCC answers again");
    let up = until("the row", PATIENCE, || Some(link()).filter(|l| l["state"] == "up"));
    assert_eq!((up["failures"].as_u64(), &up["next_try_at"]), (Some(0), &serde_json::Value::Null), "{up}");
    assert_eq!(serve.log().matches("DCC is down").count(), 1, "{}", serve.log());
    assert_eq!(lab.status("spring")["duplicate_submissions"], 0);
    // A restart forgets it all.
    serve.terminate();
    let serve = lab.serve();
    until("the row of a new process", PATIENCE, || (link()["state"] == "untried").then_some(()));
    serve.terminate();
}

/// The only open request always times out, so that DCC looks down; a new campaign's is tried all the same after a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_request_that_is_never_answered_does_not_keep_the_others_back_for_ever() {
    let Some(lab) = Lab::new(Engine::Sqlite).await else { return };
    lab.configure("request_timeout_seconds = 1\n");
    let image = lab.load_eligible(SITES);
    lab.folder.write("first.csv", format!("device_id\n{}\n", crate::lab::Site::device(1)));
    lab.done(&["campaign", "create", "--name", "stuck", "--image", &image, "--devices", "first.csv"]);
    lab.done(&["campaign", "plan", "stuck"]);
    lab.done(&["campaign", "approve", "stuck", "--by", "somebody.else"]);
    lab.done(&["campaign", "start", "stuck"]);
    let dcc = RawDcc::start(lab.dcc_port, Behaviour::Mute, lab.dcc_signer()).await;
    let serve = lab.serve();
    serve.until_it_says("DCC is down");
    let stuck = dcc.posts()[0].request_id();
    dcc.behave(Behaviour::DeafTo(stuck.counter));
    lab.start_campaign("others", &image, 20);
    let accepted = || lab.status("others")["by_state"]["accepted"].as_u64() == Some(SITES - 1);
    until("the other campaign's batches accepted", PATIENCE, || accepted().then_some(()));
    serve.until_it_says("DCC answers again");
    assert_eq!(lab.status("stuck")["by_state"]["submitted"], 1);
    serve.terminate();
}
