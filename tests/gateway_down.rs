//! Nobody listens at `base_url`: the daemon stays up and says so, the targets stay queued, and when DCC appears everything
//! goes, once.

use std::time::Duration;

use crate::lab::{Engine, Lab, PATIENCE, on_both_engines, until};

on_both_engines!(what_cannot_be_sent_waits);

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
    assert!(lab.targets("spring").iter().all(|t| t[1] == "activated"));
    let seen = dcc.stats();
    assert_eq!((seen.requests.accepted, seen.devices_submitted as u64, seen.duplicate_submissions), (3, SITES, 0), "{seen:?}");
    // Not only at the next look for silence, which may be a minute away.
    until("the campaign's end", Duration::from_secs(15), || (lab.status("spring")["state"] == "finished").then_some(()));
    serve.terminate();
}
