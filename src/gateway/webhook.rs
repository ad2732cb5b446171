//! The way to a team's webhook: one POST of JSON, and what its answer says. Not what is posted, to whom, or when again (`app`).

use std::{path::PathBuf, time::Duration};

use super::BoxFuture;

/// One POST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookPost {
    pub url: String,
    /// With https: the PEM file of the authority that issued the receiver's certificate.
    pub ca: Option<PathBuf>,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
    /// From the first byte to the answer.
    pub timeout: Duration,
}

/// What is certain after one POST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// 2xx: it has it.
    Taken,
    /// 410: nobody will ever take it there.
    Gone { why: String },
    /// It says no to this body (400, 413, 415, 422); the next may pass.
    Refused { why: String },
    /// It is not there, not well, or does not know us. It may have it all the same.
    NotNow { why: String, retry_after: Option<Duration> },
}

/// Whoever posts.
pub trait Webhooks: Send + Sync {
    fn post(&self, post: WebhookPost) -> BoxFuture<'_, Heard>;
}
