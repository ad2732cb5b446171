//! A request whose fate is unknown is taken up by the next process: the same RequestID and the same body, within five seconds,
//! whatever lease or back-off the dead one left.

use std::time::{Duration, Instant};

use ppmid_orchestrator::{clock::Clock, db::Db, gateway::outbox};

use crate::lab::{Behaviour, Engine, Lab, PATIENCE, Post, RawDcc, on_both_engines, until};

on_both_engines!(after_sigkill_in_a_post, after_sigterm_in_a_post, whatever_back_off_was_left);

/// The contract's five seconds, from the start of the new process.
const TAKEN_UP_WITHIN: Duration = Duration::from_secs(5);
const SITES: u64 = 12;

/// A daemon whose only request lies at a DCC that does not answer.
async fn posted_and_unanswered(engine: Engine, gateway: &str) -> Option<(Lab, RawDcc, crate::lab::Daemon)> {
    let lab = Lab::new(engine).await?;
    lab.configure(gateway);
    let image = lab.load_eligible(SITES);
    lab.start_campaign("spring", &image, 50);
    let dcc = RawDcc::start(lab.dcc_port, Behaviour::Mute, lab.dcc_signer()).await;
    let serve = lab.serve();
    until("the first POST", PATIENCE, || (dcc.posts().len() == 1).then_some(()));
    Some((lab, dcc, serve))
}

/// Starts a new process and holds it to its five seconds; then the request is answered and nothing else was ever sent.
async fn taken_up(lab: &Lab, dcc: &RawDcc) {
    let posts_before = dcc.posts().len();
    dcc.behave(Behaviour::Accepts);
    let started = Instant::now();
    let serve = lab.start_serving(&[]);
    until("the request posted again", PATIENCE, || (dcc.posts().len() > posts_before).then_some(()));
    let took = started.elapsed();
    assert!(took < TAKEN_UP_WITHIN, "taken up after {took:?}\n{}", serve.log());
    let accepted = || lab.status("spring")["by_state"]["accepted"].as_u64() == Some(SITES);
    until("the answer settled", PATIENCE, || accepted().then_some(()));
    let requests = lab.outbox().await;
    let [request] = requests.as_slice() else { panic!("one request, not {requests:?}") };
    let posts = dcc.posts();
    assert_eq!(posts.len(), posts_before + 1);
    assert!(posts.iter().all(|p| p.request_id() == request.id));
    assert!(posts.iter().all(|p| digest(p) == digest(&posts[0])), "the same request, signed anew");
    assert_eq!((request.posts as usize, request.response_code.as_deref()), (posts.len(), Some("I99")));
    let status = lab.status("spring");
    assert_eq!((status["batches"].as_u64(), status["requests_sent"].as_u64()), (Some(1), Some(1)), "{status}");
    serve.terminate();
}

/// What was signed: the digest of the document without its signature.
fn digest(post: &Post) -> String {
    let text = String::from_utf8_lossy(&post.body).into_owned();
    let (_, rest) = text.split_once("DigestValue>").expect("a signed request");
    rest.split_once('<').unwrap().0.to_string()
}

async fn after_sigkill_in_a_post(engine: Engine) {
    let Some((lab, dcc, serve)) = posted_and_unanswered(engine, "").await else { return };
    serve.kill();
    taken_up(&lab, &dcc).await;
}

async fn after_sigterm_in_a_post(engine: Engine) {
    let Some((lab, dcc, serve)) = posted_and_unanswered(engine, "").await else { return };
    serve.terminate();
    taken_up(&lab, &dcc).await;
}

async fn whatever_back_off_was_left(engine: Engine) {
    let Some((lab, dcc, serve)) = posted_and_unanswered(engine, "request_timeout_seconds = 1\n").await else { return };
    until("the time-out", PATIENCE, || (lab.status("spring")["requests_sent"] == 1).then_some(()));
    serve.kill();
    let id = lab.outbox().await[0].id;
    let db = Db::open(&lab.database_url).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    // As a process that was already trying once a minute.
    outbox::release_backoff(&mut tx, Clock::System.now()).await.unwrap();
    outbox::put_off(&mut tx, id, "no answer in time", Clock::System.now().plus_millis(60_000)).await.unwrap();
    tx.commit().await.unwrap();
    db.close().await;
    taken_up(&lab, &dcc).await;
}
