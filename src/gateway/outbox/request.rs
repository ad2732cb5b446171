//! What the outbox keeps of a request. Types only; how they change is in the outbox itself.

use crate::{
    clock::Time,
    duis::DuisVersion,
    ids::{RequestId, Sha256Hash},
};

/// A request about to be committed. Its state becomes `prepared`, due at once.
#[derive(Debug, Clone)]
pub struct NewRequest<'a> {
    pub id: RequestId,
    /// `11.1`, `8.2` ...
    pub service_reference: &'a str,
    /// `batches.id`, for a request that carries a batch.
    pub batch_id: Option<i64>,
    pub duis_version: DuisVersion,
    pub body_digest: Sha256Hash,
    pub now: Time,
}

crate::spelled! {
    OutboxState, "a state of a request: prepared, posting, unknown, answered, abandoned, held or deleted" {
        /// Committed; certain that it never left.
        Prepared = "prepared",
        /// Being posted by somebody, until `next_attempt_at` at the latest.
        Posting = "posting",
        /// It left or may have left; no answer yet.
        Unknown = "unknown",
        Answered = "answered",
        /// It never left and never will.
        Abandoned = "abandoned",
        /// Waits for an operator; `last_error` says why.
        Held = "held",
        /// DCC held it in quarantine and deleted it there: it reached no device, and is never posted again.
        Deleted = "deleted",
    }
}

/// A stored request.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct OutboxRequest {
    pub id: RequestId,
    pub service_reference: String,
    pub batch_id: Option<i64>,
    #[serde(serialize_with = "as_text")]
    pub duis_version: DuisVersion,
    pub body_digest: Sha256Hash,
    pub state: OutboxState,
    /// Attempts begun.
    pub attempts: u32,
    /// Attempts that left or may have left, the one being posted included.
    pub posts: u32,
    pub created_at: Time,
    pub first_posted_at: Option<Time>,
    pub last_posted_at: Option<Time>,
    pub next_attempt_at: Time,
    pub answered_at: Option<Time>,
    pub response_code: Option<String>,
    pub last_error: Option<String>,
}

fn as_text<S: serde::Serializer>(value: &DuisVersion, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
