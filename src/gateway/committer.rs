//! Makes verified messages durable in groups: one transaction for whatever has gathered while the last one was committed.
//! Not the receiver's HTTP. Promise: a waiter hears `Stored` only after its message is committed.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::{Duration, Instant, timeout_at},
};

use super::{
    GatewayError,
    inbox::{NewMessage, insert_many},
};
use crate::db::Db;

/// Most messages in one transaction: beyond some hundreds a larger group is no faster, and the first one waits longer.
const GROUP_MESSAGES: usize = 500;
/// How long a group waits for messages known to be on their way: about the time of one fsync.
const GATHER_MILLIS: u64 = 2;

/// A message is in the database (perhaps since an earlier time it came).
pub struct Stored;

/// A verified message and who waits for it.
pub struct Waiting {
    pub message: NewMessage,
    pub stored: oneshot::Sender<Stored>,
}

/// What the committer did.
#[derive(Default)]
pub struct CommitCounts {
    pub stored: AtomicU64,
    pub duplicates: AtomicU64,
    pub groups: AtomicU64,
}

/// Commits groups until every sender is gone. `arriving` is how many messages somebody is about to hand over or waits for.
pub async fn commit_groups(
    db: Db,
    mut queue: mpsc::Receiver<Waiting>,
    arriving: Arc<AtomicUsize>,
    nudge: Arc<Notify>,
    counts: Arc<CommitCounts>,
) {
    let mut failing = false;
    while let Some(first) = queue.recv().await {
        let group = gather(first, &mut queue, &arriving).await;
        let (messages, waiters): (Vec<_>, Vec<_>) = group.into_iter().map(|w| (w.message, w.stored)).unzip();
        match store(&db, &messages).await {
            Ok(inserted) => {
                counts.stored.fetch_add(inserted, Ordering::Relaxed);
                counts.duplicates.fetch_add(messages.len() as u64 - inserted, Ordering::Relaxed);
                counts.groups.fetch_add(1, Ordering::Relaxed);
                for waiter in waiters {
                    // Whoever gave up waiting answered 503; the message is kept and its repetition is a duplicate.
                    let _ = waiter.send(Stored);
                }
                nudge.notify_one();
                if failing {
                    tracing::info!("inbound messages can be stored again");
                }
                failing = false;
            }
            Err(error) => {
                // The waiters are dropped unanswered: each says 503, and DCC sends again.
                if !failing {
                    tracing::error!(%error, messages = messages.len(), "inbound messages cannot be stored; DCC is told to send again");
                }
                failing = true;
            }
        }
    }
}

/// What has gathered: everything queued, and what arrives within a moment where more is known to come.
async fn gather(first: Waiting, queue: &mut mpsc::Receiver<Waiting>, arriving: &AtomicUsize) -> Vec<Waiting> {
    let mut group = vec![first];
    let until = Instant::now() + Duration::from_millis(GATHER_MILLIS);
    while group.len() < GROUP_MESSAGES {
        let next = match queue.try_recv() {
            Ok(next) => Some(next),
            Err(_) if group.len() >= arriving.load(Ordering::Relaxed) => None,
            Err(_) => timeout_at(until, queue.recv()).await.ok().flatten(),
        };
        match next {
            Some(next) => group.push(next),
            None => break,
        }
    }
    group
}

async fn store(db: &Db, messages: &[NewMessage]) -> Result<u64, GatewayError> {
    let mut tx = db.begin().await?;
    let inserted = insert_many(&mut tx, messages).await?;
    crate::crash::point("inbox-half-written");
    tx.commit().await?;
    Ok(inserted)
}
