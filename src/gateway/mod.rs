//! Messages out to DCC and in from it: durable before they are sent ([`outbox`]), durable before they are answered
//! ([`receiver`], [`inbox`]). Not the loops that decide what is sent and what an answer means: those are the engine's.
//! Promise: a [`PostOutcome`] never says more than is certain; what may have left is `Unknown`.

pub mod archive;
pub mod authenticate;
mod backoff;
mod committer;
mod connection;
mod dedupe;
mod error;
pub mod http;
pub mod inbox;
pub mod outbox;
pub mod receiver;
mod refusals;
#[cfg(test)]
pub(crate) mod testing;

use std::{pin::Pin, time::Duration};

pub use backoff::backoff;
pub use error::GatewayError;

use crate::{duis::Response, ids::RequestId};

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
    /// No byte of the request left: the connection was refused, timed out or its name is not known.
    NotSent { why: String },
    /// It was sent, or may have been, and there is no usable answer: resend the same RequestID, never a new one.
    Unknown { why: String, retry_after: Option<Duration> },
    /// The far side's HTTP said no (4xx other than 408, 425 and 429) without a readable Response: a person must look.
    Rejected { status: u16, why: String },
}

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The way to DCC.
pub trait Gateway: Send + Sync {
    /// Posts one signed request once, with no retry of its own. `id` is the RequestID inside `bytes`.
    fn post(&self, service: Service, bytes: Vec<u8>, id: RequestId) -> BoxFuture<'_, PostOutcome>;
}
