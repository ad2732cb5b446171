//! The brakes: after `halt`, `pause` and `abort` nothing leaves any more, resends included; `resume` sends the same request
//! again; `abort` cancels what was not sent and nothing else.

use std::collections::BTreeSet;

use ppmid_orchestrator::{clock::Clock, gateway::outbox::OutboxState, ids::RequestId};

use crate::lab::{Behaviour, Engine, Lab, PATIENCE, RawDcc, Site, day, on_both_engines, until};

on_both_engines!(
    a_halt_stops_resends,
    a_pause_stops_resends,
    an_abort_cancels_what_was_not_sent,
    a_halt_of_all_is_heard_at_the_next_start,
    a_request_with_a_lost_site_is_not_sent_again,
    a_site_that_needs_a_key_is_not_sent_again_and_again,
);

const SITES: u64 = 30;
const BATCH: u64 = 10;

/// A daemon with unanswered requests: at least one has timed out once.
async fn unanswered(engine: Engine) -> Option<(Lab, RawDcc, crate::lab::Daemon)> {
    let lab = Lab::new(engine).await?;
    lab.configure("request_timeout_seconds = 1\n");
    let image = lab.load_eligible(SITES);
    lab.start_campaign("spring", &image, BATCH);
    let dcc = RawDcc::start(lab.dcc_port, Behaviour::Mute, lab.dcc_signer()).await;
    let serve = lab.serve();
    until("a POST", PATIENCE, || (!dcc.posts().is_empty()).then_some(()));
    Some((lab, dcc, serve))
}

fn ids(dcc: &RawDcc) -> BTreeSet<RequestId> {
    dcc.posts().iter().map(|p| p.request_id()).collect()
}

/// Waits until the daemon has come to its open requests `times` times and left them alone, since the campaign is `state`.
async fn left_alone(lab: &Lab, state: &str, times: usize) {
    let why = format!("the campaign is {state}");
    let mut seen = BTreeSet::new();
    let end = std::time::Instant::now() + PATIENCE;
    while seen.len() < times {
        assert!(std::time::Instant::now() < end, "never put off: {:?}", lab.outbox().await);
        let open: Vec<_> = lab.outbox().await.into_iter().filter(|r| r.answered_at.is_none() && r.posts > 0).collect();
        if open.iter().all(|r| r.last_error.as_deref() == Some(&why)) {
            seen.extend(open.iter().map(|r| r.next_attempt_at));
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// Waits until every request that was posted and has no answer is held, since its campaign is over.
async fn held_back(lab: &Lab) {
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        let open: Vec<_> = lab.outbox().await.into_iter().filter(|r| r.answered_at.is_none() && r.posts > 0).collect();
        if open.iter().all(|r| r.state == OutboxState::Held && r.last_error.as_deref().is_some_and(|e| e.contains("aborted"))) {
            return;
        }
        assert!(std::time::Instant::now() < end, "never held: {open:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

async fn stopped_and_resumed(engine: Engine, stop: &[&str], state: &str) {
    let Some((lab, dcc, serve)) = unanswered(engine).await else { return };
    lab.done(stop);
    // A POST that was on its way when the brake was pulled may still arrive; from the first time the daemon leaves its open
    // requests alone, none does.
    left_alone(&lab, state, 1).await;
    let posts = dcc.posts().len();
    let sent = ids(&dcc);
    let status = lab.status("spring");
    assert_eq!((status["state"].as_str(), status["requests_sent"].as_u64()), (Some(state), Some(sent.len() as u64)), "{status}");
    left_alone(&lab, state, 3).await;
    assert_eq!(dcc.posts().len(), posts, "nothing leaves any more");

    dcc.behave(Behaviour::Accepts);
    lab.done(&["campaign", "resume", "spring"]);
    let all = || lab.status("spring")["by_state"]["accepted"].as_u64() == Some(SITES);
    until("everything accepted", PATIENCE, || all().then_some(()));
    assert!(ids(&dcc).is_superset(&sent));
    assert_eq!(ids(&dcc).len() as u64, SITES / BATCH, "no device is in a second request");
    let again: BTreeSet<RequestId> = dcc.posts()[posts..].iter().map(|p| p.request_id()).collect();
    assert!(again.is_superset(&sent), "what was unanswered is sent again as it was");
    serve.terminate();
}

async fn a_halt_stops_resends(engine: Engine) {
    stopped_and_resumed(engine, &["halt", "spring", "--reason", "displays go dark"], "halted").await;
}

async fn a_pause_stops_resends(engine: Engine) {
    stopped_and_resumed(engine, &["campaign", "pause", "spring"], "paused").await;
}

async fn an_abort_cancels_what_was_not_sent(engine: Engine) {
    let Some((lab, dcc, serve)) = unanswered(engine).await else { return };
    lab.done(&["campaign", "abort", "spring"]);
    held_back(&lab).await;
    let posts = dcc.posts().len();
    let sent = ids(&dcc).len() as u64 * BATCH;
    let status = lab.status("spring");
    let states = &status["by_state"];
    assert_eq!((states["submitted"].as_u64(), states["cancelled"].as_u64().unwrap_or(0)), (Some(sent), SITES - sent), "{status}");
    assert_eq!(status["state"], "aborted");
    assert_eq!(
        lab.targets("spring").iter().filter(|t| t[1] == "cancelled" && t[3].is_empty() && t[4] == "0").count() as u64,
        SITES - sent
    );
    serve.terminate();
    let serve = lab.serve();
    held_back(&lab).await;
    serve.terminate();
    assert_eq!(dcc.posts().len(), posts, "not after a restart either");
}

/// One person, at once: also while no daemon runs.
async fn a_halt_of_all_is_heard_at_the_next_start(engine: Engine) {
    let Some((lab, dcc, serve)) = unanswered(engine).await else { return };
    serve.kill();
    lab.done(&["halt", "--all", "--reason", "wrong image"]);
    let posts = dcc.posts().len();
    let serve = lab.serve();
    left_alone(&lab, "halted", 2).await;
    assert_eq!(dcc.posts().len(), posts);
    let status = lab.status("spring");
    assert_eq!((status["stopped_code"].as_str(), status["stopped_reason"].as_str()), (Some("OPERATOR"), Some("wrong image")));
    serve.terminate();
}

/// A request whose fate is unknown names a site that has left us: it waits for a person, and its devices are followed.
async fn a_request_with_a_lost_site_is_not_sent_again(engine: Engine) {
    let Some((lab, dcc, serve)) = unanswered(engine).await else { return };
    lab.write_registrations(&[(1, "OTHR", Some(day(0)), None)]);
    lab.done(&["import", "registrations", "registrations.csv"]);
    let held = || Some(lab.status("spring")).filter(|s| s["held_batches"].as_array().is_some_and(|b| !b.is_empty()));
    let status = until("the batch held for a person", PATIENCE, held);
    assert_eq!(status["held_batches"].as_array().unwrap().len(), 1, "{status}");
    assert!(status["held_batches"][0].as_str().unwrap().contains("no longer ours"), "{status}");
    let request = lab.outbox().await.into_iter().find(|r| r.state == OutboxState::Held).expect("a held request");
    assert_eq!(lab.targets("spring")[0][1], "submitted", "followed as if sent");
    dcc.behave(Behaviour::Accepts);
    let rest = || lab.status("spring")["by_state"]["accepted"].as_u64() == Some(SITES - BATCH);
    until("the other batches accepted", PATIENCE, || rest().then_some(()));
    let posts_of = |posts: &[crate::lab::Post]| posts.iter().filter(|p| p.request_id() == request.id).count() as u32;
    assert_eq!(posts_of(&dcc.posts()), request.posts, "never sent again");
    serve.terminate();
}

/// A SECURE site needs no key from the tool; if DCC says all the same that the key is missing, it is not asked again forever.
async fn a_site_that_needs_a_key_is_not_sent_again_and_again(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    let image = lab.load_eligible(4);
    lab.write_sites(&[Site { cohort: "SECURE", ..Site::new(1) }]);
    lab.done(&["import", "sites", "sites.csv"]);
    lab.write_keys("failed.csv", "2020-11-12T08:00:00Z", &[(3, "failed"), (4, "failed")]);
    lab.done(&["import", "keys", "failed.csv"]);
    lab.done(&["policy", "init"]);
    let path = lab.folder.path().join("policies/eligibility.toml");
    let shipped = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, shipped.replace("recheck_every = \"60s\"", "recheck_every = \"1s\"")).unwrap();
    lab.start_campaign("spring", &image, 50);
    let scenario = format!(
        "[population]\nkey_missing = {{ devices = [\"{}\"], good_on_rerun = \"100%\" }}\n[delays]\nkey_missing_ms = [1, 9]\n",
        Site::device(1)
    );
    let dcc = lab.simulator(&scenario).await;
    let serve = lab.serve();
    until("the answer about the key", PATIENCE, || (lab.targets("spring")[0][2] == "KEYS_MISSING").then_some(()));
    // The held have been decided again, more than once, when two imports have been taken up, each of which releases a site.
    for n in [3, 4] {
        until("the site is released", PATIENCE, || {
            lab.write_keys("released.csv", &format!("2020-11-1{n}T08:00:00Z"), &[(n, "updated")]);
            lab.done(&["import", "keys", "released.csv"]);
            (lab.targets("spring")[n as usize - 1][1] == "activated").then_some(())
        });
    }
    assert_eq!((lab.targets("spring")[0][1].as_str(), lab.targets("spring")[0][4].as_str()), ("held", "1"));
    assert_eq!(dcc.stats().requests.accepted, 3, "one for sites 1 and 2, one for each that was released");

    lab.folder.write("rerun.csv", dcc.rerun_transitional_tool(Clock::System.now()));
    lab.done(&["import", "keys", "rerun.csv"]);
    until("the upgrade with its key", PATIENCE, || (lab.targets("spring")[0][1] == "activated").then_some(()));
    serve.terminate();
}
