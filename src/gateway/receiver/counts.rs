//! What came in and what was refused since the start, and how much of that is said: a flood of refusals must not fill the log.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{super::committer::CommitCounts, Refusal};
use crate::tls::HandshakeRefused;

/// What came in since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct ReceiverCounts {
    pub stored: u64,
    /// Messages that came again.
    pub duplicates: u64,
    /// Transactions that stored them.
    pub groups: u64,
    /// Requests not answered 204, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Refused messages that were too many, or too large, to be kept.
    pub refused_not_kept: u64,
}

#[derive(Default)]
pub(super) struct Counts {
    pub commits: Arc<CommitCounts>,
    pub not_kept: Arc<AtomicU64>,
    refused: Mutex<BTreeMap<&'static str, u64>>,
}

impl Counts {
    /// Counts a refusal. Gives how many there were, where that is to be said: ever more rarely, so that a flood of them does
    /// not fill the log.
    fn count(&self, reason: &'static str) -> Option<u64> {
        let mut refused = self.refused.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let times = refused.entry(reason).or_default();
        *times += 1;
        times.is_power_of_two().then_some(*times)
    }

    pub fn refuse(&self, refusal: &Refusal) {
        if let Some(times) = self.count(refusal.reason) {
            let status = refusal.status.as_u16();
            tracing::warn!(reason = refusal.reason, status, times, "an inbound message was refused");
        }
    }

    pub fn refuse_handshake(&self, peer: SocketAddr, refused: HandshakeRefused) {
        let (reason, why) = match refused {
            HandshakeRefused::Tls(why) => ("tls", why),
            HandshakeRefused::TooSlow => ("tls-too-slow", "it did not finish the handshake in time".to_string()),
            HandshakeRefused::Left(why) => {
                // A network's health check does this every few seconds.
                self.count("tls-left");
                return tracing::debug!(%peer, %why, "a sender left before the end of its TLS handshake");
            }
        };
        if let Some(times) = self.count(reason) {
            tracing::warn!(%peer, %why, times, "a sender was refused in the TLS handshake");
        }
    }

    pub fn read(&self) -> ReceiverCounts {
        ReceiverCounts {
            stored: self.commits.stored.load(Ordering::Relaxed),
            duplicates: self.commits.duplicates.load(Ordering::Relaxed),
            groups: self.commits.groups.load(Ordering::Relaxed),
            refused: self.refused.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone(),
            refused_not_kept: self.not_kept.load(Ordering::Relaxed),
        }
    }
}
