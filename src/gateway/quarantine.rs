//! What DCC's anomaly detection holds back, as it told us and as a person decided about it by DCC's own files. Not what follows for a
//! batch (`app::quarantine`). Promise: an event that was told of twice is one; a decision is recorded once and is not changed.

pub mod store;

use serde::Serialize;

use crate::{clock::Time, duis::Breach, ids::RequestId};

crate::spelled! {
    /// What became of a quarantine event.
    QuarantineState, "standing, processed, deleted or foreign" {
        /// A person must decide.
        Standing = "standing",
        /// DCC was told to let the request go on.
        Processed = "processed",
        /// DCC was told to delete it: it reached no device and never will.
        Deleted = "deleted",
        /// Of a request that this program did not send: another system's under the same User ID. Listed only.
        Foreign = "foreign",
    }
}

crate::spelled! {
    /// What a person told DCC to do with what it holds back.
    Decision, "process or delete" {
        Process = "process",
        Delete = "delete",
    }
}

impl Decision {
    /// The state of an event about which it was taken.
    pub fn state(self) -> QuarantineState {
        match self {
            Decision::Process => QuarantineState::Processed,
            Decision::Delete => QuarantineState::Deleted,
        }
    }
}

/// A quarantine event that came to be known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    pub request: RequestId,
    /// `QuarantineEventRef`.
    pub event: String,
    pub breach: Breach,
    /// What is known of the request; `None`: it is not ours.
    pub ours: Option<OurRequest>,
    /// The message of the inbox that told of it.
    pub message: i64,
    pub told_at: Time,
}

/// A request of the outbox, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OurRequest {
    pub service_reference: String,
    pub batch: Option<i64>,
}

/// A quarantine event as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Quarantined {
    pub id: i64,
    pub request_id: RequestId,
    pub event: String,
    pub breach: Breach,
    pub state: QuarantineState,
    /// Null where the request is not ours.
    pub service_reference: Option<String>,
    pub batch_id: Option<i64>,
    pub message: i64,
    pub told_at: Time,
    pub decided_at: Option<Time>,
    pub decided_by: Option<String>,
    pub reason: Option<String>,
}
