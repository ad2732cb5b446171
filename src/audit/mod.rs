//! What was done, by whom and when, in a hash chain: each event's hash covers the one before it, so that nothing in the middle
//! can be changed, dropped or slipped in without [`verify`] saying where. Not a log of what the program does (that is telemetry).
//! Promise: events are numbered 1, 2, 3 ... without a gap, in the order in which their transactions committed.
//!
//! A chain cut short at its end still fits together: keep the head that `ppmid audit verify` prints, and give it back later.

mod store;

use sha2::{Digest, Sha256};

use crate::{
    clock::Time,
    db::DbError,
    failure::Failure,
    ids::{ImageId, Sha256Hash},
};

pub use store::{append, links, list, verify};

/// Something done, as the room that did it tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub at: Time,
    /// A person, or `system` for what the program does by itself.
    pub who: String,
    /// Noun and verb with a dot, e.g. `campaign.approve`.
    pub action: String,
    /// What it was done to, e.g. `campaign 7`.
    pub subject: String,
    pub detail: serde_json::Value,
}

/// An event with its place in the chain.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Recorded {
    pub seq: i64,
    pub at: Time,
    pub who: String,
    pub action: String,
    pub subject: String,
    pub detail: serde_json::Value,
    pub hash: String,
}

/// An event with everything that its hash covers, texts as they are stored: by it the hash can be computed again.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Link {
    pub seq: i64,
    pub at: Time,
    /// The same in milliseconds since 1970, as it is hashed.
    pub at_ms: i64,
    pub who: String,
    pub action: String,
    pub subject: String,
    /// JSON, as text.
    pub detail: String,
    pub prev_hash: String,
    pub hash: String,
}

/// A chain that fits together.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Verified {
    pub events: i64,
    /// The hash of the last event; of an empty chain 64 zeros.
    pub head: String,
}

#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("the audit trail is broken at event {seq}: {why}")]
    Broken { seq: i64, why: Breach },
    #[error("no event of the audit trail has the hash {head}: the trail was cut short or replaced")]
    HeadLost { head: Sha256Hash },
    #[error(transparent)]
    Db(#[from] DbError),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    #[error("the event after {after} should be {expected}: events are missing")]
    Gap { after: i64, expected: i64 },
    #[error("it does not follow from the event before it")]
    Unlinked,
    #[error("it is not what was recorded")]
    Altered,
}

impl From<AuditError> for Failure {
    fn from(e: AuditError) -> Failure {
        match e {
            AuditError::Db(e) => e.into(),
            broken => Failure::untrusted(broken.to_string())
                .help("keep the database as it is, and compare it with a backup: somebody changed it past this program"),
        }
    }
}

/// The hash before the first event.
const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Begins what is hashed: no other hash of ours starts with it.
const DOMAIN: &[u8] = b"ppmid audit event 1\n";

/// A row of the chain; everything but `hash` is what the hash is over.
struct Row {
    seq: i64,
    at: i64,
    who: String,
    action: String,
    subject: String,
    /// JSON as stored: the text itself is hashed, so that no reader's spelling matters.
    detail: String,
    prev_hash: String,
    hash: String,
}

impl Row {
    /// SHA-256 over the domain, then each field as its length (u64, big-endian) and its bytes, numbers as 8 bytes big-endian:
    /// no two different events have the same bytes.
    fn computed_hash(&self) -> String {
        let (seq, at) = (self.seq.to_be_bytes(), self.at.to_be_bytes());
        let texts = [&self.who, &self.action, &self.subject, &self.detail].map(|t| t.as_bytes());
        let fields = [self.prev_hash.as_bytes(), &seq, &at].into_iter().chain(texts);
        let mut hasher = Sha256::new_with_prefix(DOMAIN);
        for field in fields {
            hasher.update((field.len() as u64).to_be_bytes());
            hasher.update(field);
        }
        ImageId(hasher.finalize().into()).to_string()
    }
}

/// What a chain must do as it is read from its start, event by event.
struct Walk {
    events: i64,
    head: String,
}

impl Walk {
    fn new() -> Walk {
        Walk { events: 0, head: GENESIS.to_string() }
    }

    fn step(&mut self, row: &Row) -> Result<(), AuditError> {
        let broken = |why| Err(AuditError::Broken { seq: row.seq, why });
        if row.seq != self.events + 1 {
            return broken(Breach::Gap { after: self.events, expected: self.events + 1 });
        }
        if row.prev_hash != self.head {
            return broken(Breach::Unlinked);
        }
        if row.hash != row.computed_hash() {
            return broken(Breach::Altered);
        }
        self.events = row.seq;
        self.head.clone_from(&row.hash);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
