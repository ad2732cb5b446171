//! Messages out to DCC and in from it: durable before they are sent ([`outbox`]), durable before they are answered
//! ([`receiver`], [`inbox`]). Not the loops that decide what is sent and what an answer means: those are the engine's.
//! Promise: a [`PostOutcome`] never says more than is certain; what may have left is `Unknown`.

pub mod archive;
pub mod authenticate;
mod backoff;
pub mod circuit;
mod committer;
mod connection;
mod dedupe;
mod error;
mod forward;
pub mod http;
pub mod inbox;
pub mod link;
pub mod outbox;
pub mod quarantine;
pub mod receiver;
mod refusals;
mod remedy;
#[cfg(test)]
pub(crate) mod testing;
mod webhook;

use std::pin::Pin;

pub use backoff::{backoff, doubling};
pub use error::GatewayError;
pub use forward::{Forward, Forwarded};
pub use remedy::{Fault, Pace, Remedy, Trouble};
pub use webhook::{Heard, WebhookPost, Webhooks};

use crate::{
    duis::Response,
    ids::{RequestId, Sha256Hash},
};

/// DCC's three services for Service Requests (domain.md, pipeline 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// Non-Device: 8.2, 11.1, 11.4.
    NonDevice,
    /// Send Command: 11.2.
    SendCommand,
    /// Transform: critical requests such as 11.3.
    Transform,
}

impl Service {
    /// Its path below the base URL.
    pub fn path(self) -> &'static str {
        match self {
            Service::NonDevice => "/api/v1/serviceD",
            Service::SendCommand => "/api/v1/serviceS",
            Service::Transform => "/api/v1/serviceT",
        }
    }
}

/// What is certain after one POST of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PostOutcome {
    /// Signed by DCC, verified, and for the very RequestID that was posted. The code may still be a refusal.
    Answered(Response),
    /// An unsigned acknowledgement of an error for this RequestID (signature profile, rule 9). Never a success.
    Refused(Response),
    /// No byte of the request left: there was no connection, or its TLS handshake failed on our side.
    NotSent(Trouble),
    /// It was sent, or may have been, and there is no usable answer: resend the same RequestID, never a new one.
    Unknown(Trouble),
    /// The far side's HTTP said no (4xx other than 408, 425 and 429) without a readable Response: a person must look.
    Rejected(Trouble),
}

impl PostOutcome {
    /// What went wrong, unless DCC answered.
    pub fn trouble(&self) -> Option<&Trouble> {
        match self {
            PostOutcome::Answered(_) | PostOutcome::Refused(_) => None,
            PostOutcome::NotSent(trouble) | PostOutcome::Unknown(trouble) | PostOutcome::Rejected(trouble) => Some(trouble),
        }
    }

    /// What is to be done about it, unless DCC answered.
    pub fn remedy(&self) -> Option<Remedy> {
        self.trouble().map(|trouble| trouble.fault.remedy())
    }
}

/// A reply as it was read, for the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub bytes: Vec<u8>,
    /// Of what was verified, where DCC signed it.
    pub digest: Option<Sha256Hash>,
}

/// What came of one POST, and the reply, if one was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    pub outcome: PostOutcome,
    pub reply: Option<Reply>,
}

impl From<PostOutcome> for Exchange {
    fn from(outcome: PostOutcome) -> Exchange {
        Exchange { outcome, reply: None }
    }
}

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The way to DCC.
pub trait Gateway: Send + Sync {
    /// Posts one signed request once, with no retry of its own. `id` is the RequestID inside `bytes`.
    fn exchange(&self, service: Service, bytes: Vec<u8>, id: RequestId) -> BoxFuture<'_, Exchange>;

    /// The same, for whoever keeps no reply.
    fn post(&self, service: Service, bytes: Vec<u8>, id: RequestId) -> BoxFuture<'_, PostOutcome> {
        let exchange = self.exchange(service, bytes, id);
        Box::pin(async move { exchange.await.outcome })
    }
}
