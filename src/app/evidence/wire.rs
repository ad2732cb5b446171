//! What was sent and what came back: batches, requests, every posting with its signature, and the messages that settled something.
//! Digests and signatures, no bodies. Read after the stories, so that whatever they name is there.

use std::path::Path;

use super::{
    super::App,
    table::{Table, cell},
};
use crate::{
    campaign::{self, store::KeptBatch},
    clock::Time,
    duis,
    evidence::Pack,
    failure::Outcome,
    gateway::{
        inbox::store as inbox,
        outbox::{
            OutboxRequest,
            store::{self as outbox, OutboxFilter},
        },
    },
    ids::hex,
    image,
};

const PAGE_REQUESTS: u32 = 500;
const PAGE_MESSAGES: usize = 1_000;

/// The wire's part of the summary.
#[derive(Default)]
pub(super) struct Sent {
    pub batches: Vec<KeptBatch>,
    /// Oldest first.
    pub requests: Vec<OutboxRequest>,
    pub postings: u64,
    pub messages: u64,
    /// Named, but no longer kept.
    pub messages_gone: u64,
}

/// `messages` are ids of the inbox, with repeats.
pub(super) async fn gather(app: &App, campaign: i64, messages: Vec<i64>, pack: &mut Pack, folder: &Path) -> Outcome<Sent> {
    let mut sent = Sent { batches: batches(app, campaign, pack, folder).await?, ..Sent::default() };
    sent.requests = requests(app, campaign, pack, folder).await?;
    let replies = postings(app, &mut sent, pack, folder).await?;
    let mut messages = messages;
    messages.extend(replies);
    messages.sort_unstable();
    messages.dedup();
    proofs(app, &messages, &mut sent, pack, folder).await?;
    Ok(sent)
}

async fn batches(app: &App, campaign: i64, pack: &mut Pack, folder: &Path) -> Outcome<Vec<KeptBatch>> {
    let mut table =
        Table::new(folder, &["batch", "number", "devices", "state", "created_at", "updated_at", "note", "resubmission"])?;
    let batches = campaign::store::kept_batches(&mut app.db.read().await?, campaign).await?;
    for b in &batches {
        let (id, number, size) = (b.id.to_string(), b.number.to_string(), b.size.to_string());
        let (created, updated) = (b.created_at.to_string(), b.updated_at.to_string());
        let (note, resubmission) = (b.note.as_deref().unwrap_or_default(), b.resubmission.to_string());
        table.row([&id, &number, &size, b.state.as_str(), &created, &updated, note, &resubmission])?;
    }
    pack.add("batches.csv", table.finish()?);
    Ok(batches)
}

async fn requests(app: &App, campaign: i64, pack: &mut Pack, folder: &Path) -> Outcome<Vec<OutboxRequest>> {
    let filter = OutboxFilter { campaign: Some(campaign), ..OutboxFilter::default() };
    let (mut all, mut before) = (Vec::new(), None);
    loop {
        let page = outbox::search(&mut app.db.read().await?, &filter, before, PAGE_REQUESTS).await?;
        let Some(last) = page.last() else { break };
        before = Some(last.id.counter);
        all.extend(page);
    }
    all.reverse();
    let columns = [
        "request_id",
        "service_reference",
        "batch",
        "duis_version",
        "body_digest",
        "state",
        "attempts",
        "posts",
        "created_at",
        "first_posted_at",
        "last_posted_at",
        "answered_at",
        "response_code",
        "last_error",
    ];
    let mut table = Table::new(folder, &columns)?;
    for r in &all {
        table.row([
            &r.id.to_string(),
            &r.service_reference,
            &cell(r.batch_id),
            &r.duis_version.to_string(),
            &r.body_digest.to_string(),
            r.state.as_str(),
            &r.attempts.to_string(),
            &r.posts.to_string(),
            &r.created_at.to_string(),
            &cell(r.first_posted_at),
            &cell(r.last_posted_at),
            &cell(r.answered_at),
            r.response_code.as_deref().unwrap_or_default(),
            r.last_error.as_deref().unwrap_or_default(),
        ])?;
    }
    pack.add("requests.csv", table.finish()?);
    Ok(all)
}

/// Every attempt whose record is still kept. Gives the ids of the replies.
async fn postings(app: &App, sent: &mut Sent, pack: &mut Pack, folder: &Path) -> Outcome<Vec<i64>> {
    let columns =
        ["request_id", "attempt", "posted_at", "bytes", "sha256", "signature_value", "outcome", "ended_at", "reply", "note"];
    let (mut table, mut replies) = (Table::new(folder, &columns)?, Vec::new());
    for request in &sent.requests {
        let mut tx = app.db.read().await?;
        for p in outbox::postings(&mut tx, request.id).await? {
            let bytes = outbox::posted_bytes(&mut tx, request.id, Some(p.attempt)).await?;
            let digest = bytes.as_deref().map(image::sha256);
            let signature = bytes.as_deref().and_then(duis::claimed_signature_value);
            replies.extend(p.reply);
            table.row([
                &request.id.to_string(),
                &p.attempt.to_string(),
                &p.posted_at.to_string(),
                &p.size.to_string(),
                &cell(digest),
                &cell(signature),
                p.outcome.map_or("", |o| o.as_str()),
                &cell(p.ended_at),
                &cell(p.reply),
                p.note.as_deref().unwrap_or_default(),
            ])?;
        }
    }
    sent.postings = table.rows;
    pack.add("postings.csv", table.finish()?);
    Ok(replies)
}

async fn proofs(app: &App, ids: &[i64], sent: &mut Sent, pack: &mut Pack, folder: &Path) -> Outcome {
    let columns = [
        "message",
        "received_at",
        "source",
        "kind",
        "response_code",
        "request_id",
        "state",
        "settled_at",
        "bytes",
        "verified_digest",
    ];
    let mut table = Table::new(folder, &columns)?;
    for group in ids.chunks(PAGE_MESSAGES) {
        for m in inbox::proofs(&mut app.db.read().await?, group).await? {
            table.row([
                &m.id.to_string(),
                &m.received_at.to_string(),
                &m.source,
                &m.kind,
                &m.response_code,
                m.request_id.as_deref().unwrap_or_default(),
                &m.state,
                &cell(m.settled_at),
                &cell(m.size),
                &m.digest.as_deref().map(hex).unwrap_or_default(),
            ])?;
        }
    }
    sent.messages = table.rows;
    sent.messages_gone = ids.len() as u64 - table.rows;
    pack.add("messages.csv", table.finish()?);
    Ok(())
}

/// When the first request left and when the last one did.
pub(super) fn first_and_last_post(requests: &[OutboxRequest]) -> (Option<Time>, Option<Time>) {
    let first = requests.iter().filter_map(|r| r.first_posted_at).min();
    (first, requests.iter().filter_map(|r| r.last_posted_at).max())
}
