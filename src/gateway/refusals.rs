//! Refused messages on their way into the inbox, beside the way of those that are DCC's: bounded in memory, written now and then
//! in one transaction, and dropped (counted, not kept) when more come than that. Promise: nothing here makes a sender, a message
//! of DCC's or the disk wait for junk.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use tokio::{
    sync::mpsc,
    time::{Duration, Instant, sleep_until, timeout_at},
};

use super::{
    GatewayError,
    inbox::store::{LARGEST_REFUSED_BYTES, RefusedMessage, keep_refused},
};
use crate::db::Db;

/// Refused messages that may wait in memory, and their bytes together.
const WAITING_MESSAGES: usize = 256;
const WAITING_BYTES: usize = 16 * 1024 * 1024;
/// Between two writes: a flood of junk costs the database's one writer a commit a second.
const WRITE_PERIOD: Duration = Duration::from_secs(1);

/// Where the receiver leaves what it refused.
#[derive(Clone)]
pub struct Refusals {
    queue: mpsc::Sender<RefusedMessage>,
    shared: Arc<Shared>,
}

struct Shared {
    waiting_bytes: AtomicUsize,
    /// Counts those that are not kept.
    dropped: Arc<AtomicU64>,
}

/// Writes them until every [`Refusals`] is gone.
pub struct Keeper {
    queue: mpsc::Receiver<RefusedMessage>,
    shared: Arc<Shared>,
    db: Db,
}

impl Refusals {
    /// `dropped` counts those that are not kept.
    pub fn new(db: Db, dropped: Arc<AtomicU64>) -> (Refusals, Keeper) {
        let (sender, queue) = mpsc::channel(WAITING_MESSAGES);
        let shared = Arc::new(Shared { waiting_bytes: AtomicUsize::new(0), dropped });
        (Refusals { queue: sender, shared: shared.clone() }, Keeper { queue, shared, db })
    }

    /// Leaves one to be kept, if there is room; it never waits.
    pub fn leave(&self, message: RefusedMessage) {
        let size = message.bytes.len();
        let waiting = self.shared.waiting_bytes.fetch_add(size, Ordering::Relaxed);
        let fits = size <= LARGEST_REFUSED_BYTES && waiting + size <= WAITING_BYTES;
        if !fits || self.queue.try_send(message).is_err() {
            self.shared.waiting_bytes.fetch_sub(size, Ordering::Relaxed);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Keeper {
    pub async fn run(mut self) {
        let mut failing = false;
        while let Some(first) = self.queue.recv().await {
            let messages = self.gather(first).await;
            let bytes: usize = messages.iter().map(|m| m.bytes.len()).sum();
            let kept = self.keep(&messages).await;
            self.shared.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            if let Err(error) = &kept {
                self.shared.dropped.fetch_add(messages.len() as u64, Ordering::Relaxed);
                if !failing {
                    tracing::warn!(%error, messages = messages.len(), "refused messages cannot be kept; they are only counted");
                }
            }
            failing = kept.is_err();
        }
    }

    /// What comes within the period, as far as there is room.
    async fn gather(&mut self, first: RefusedMessage) -> Vec<RefusedMessage> {
        let until = Instant::now() + WRITE_PERIOD;
        let mut messages = vec![first];
        while messages.len() < WAITING_MESSAGES {
            match timeout_at(until, self.queue.recv()).await {
                Ok(Some(next)) => messages.push(next),
                // Nobody leaves anything any more, or the time is up.
                Ok(None) | Err(_) => return messages,
            }
        }
        sleep_until(until).await;
        messages
    }

    async fn keep(&self, messages: &[RefusedMessage]) -> Result<u64, GatewayError> {
        let mut tx = self.db.begin().await?;
        let kept = keep_refused(&mut tx, messages).await?;
        tx.commit().await?;
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        db::testing,
        gateway::{inbox::store::Quota, testing::now},
    };

    fn junk(n: usize, size: usize) -> RefusedMessage {
        let mut bytes = n.to_be_bytes().to_vec();
        bytes.resize(size.max(8), b'x');
        RefusedMessage { received_at: now(), reason: "malformed", quota: Quota::Junk, detail: String::new(), bytes }
    }

    #[tokio::test]
    async fn a_flood_is_counted_and_takes_no_more_memory_than_is_set_aside() {
        let t = testing::sqlite().await;
        let dropped = Arc::new(AtomicU64::new(0));
        let dropped_now = || dropped.load(Ordering::Relaxed);
        let (refusals, keeper) = Refusals::new(t.db.clone(), dropped.clone());
        refusals.leave(junk(0, LARGEST_REFUSED_BYTES + 1));
        assert_eq!(dropped_now(), 1, "too large to be kept");
        (0..100).for_each(|n| refusals.leave(junk(n, LARGEST_REFUSED_BYTES)));
        assert_eq!(dropped_now(), 93, "eight of them are all that memory has room for");
        assert_eq!(refusals.shared.waiting_bytes.load(Ordering::Relaxed), WAITING_BYTES);
        let waiting = refusals.shared.clone();
        drop(refusals);
        // Nobody leaves anything any more: what waits is written, and the keeper ends.
        keeper.run().await;
        assert_eq!((waiting.waiting_bytes.load(Ordering::Relaxed), dropped_now()), (0, 93));

        let (refusals, keeper) = Refusals::new(t.db.clone(), dropped.clone());
        (0..WAITING_MESSAGES + 10).for_each(|n| refusals.leave(junk(n, 8)));
        assert_eq!(dropped_now(), 103);
        drop(refusals);
        t.db.close().await;
        keeper.run().await;
        assert_eq!(dropped_now(), 103 + WAITING_MESSAGES as u64, "what cannot be written is counted");
    }
}
