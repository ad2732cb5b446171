//! The way to another adapter of the same user (`receiver.forward_to`): what answers no request of ours is posted there as it was
//! received. Not which messages, nor when they are tried again (`app::forward`).

use super::BoxFuture;

/// What is certain after one POST of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forwarded {
    /// 2xx: it has it.
    Taken,
    /// It is not there, or says that it is busy: nothing else need be tried either.
    NotNow { why: String },
    /// It failed (HTTP 5xx): it may be down, or this message may be more than it can take.
    Failed { why: String },
    /// It says no to this message; the next may pass.
    Refused { why: String },
}

/// The other adapter.
pub trait Forward: Send + Sync {
    fn forward(&self, bytes: Vec<u8>) -> BoxFuture<'_, Forwarded>;
}
