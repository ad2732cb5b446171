//! The HTTP client that posts requests to DCC. One POST a call: no redirect followed, no proxy, no retry, no compression.
//! Promise: `NotSent` only where no connection was made; whatever else fails may have reached DCC and is `Unknown`.

use std::{error::Error, time::Duration};

use reqwest::{
    StatusCode, Url,
    header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, RETRY_AFTER},
};

use super::{BoxFuture, Gateway, GatewayError, PostOutcome, Service};
use crate::{
    clock::{Clock, Time},
    duis::{Body, CertificateSet, MAX_MESSAGE_BYTES, Pinned, Response, SignatureError, read_response, read_unsigned_refusal},
    ids::RequestId,
};

/// Making a connection inside the country takes milliseconds; ten seconds is a peer that is not there.
const CONNECT_SECONDS: u64 = 10;
/// An idle connection is dropped before a peer's usual keep-alive ends: a POST on one the peer just closed is `Unknown`.
const POOL_IDLE_SECONDS: u64 = 4;
/// A reply up to this size is verified where it is read (60 us for 2 KB); a larger one would hold up other tasks.
const VERIFY_INLINE_BYTES: usize = 64 * 1024;

/// How the client is set up.
#[derive(Clone)]
pub struct HttpSettings {
    /// `http://HOST:PORT`, perhaps with a path. Whether it must be loopback is the configuration's to say.
    pub base_url: String,
    pub connect_timeout: Duration,
    /// From the start of the POST to the last byte of the reply.
    pub request_timeout: Duration,
    /// The largest reply that is read.
    pub reply_limit_bytes: usize,
    /// DCC's certificates.
    pub pinned: Pinned,
    pub clock: Clock,
}

impl HttpSettings {
    pub fn new(base_url: &str, request_timeout: Duration, pinned: Pinned, clock: Clock) -> HttpSettings {
        HttpSettings {
            base_url: base_url.to_string(),
            connect_timeout: Duration::from_secs(CONNECT_SECONDS).min(request_timeout),
            request_timeout,
            reply_limit_bytes: MAX_MESSAGE_BYTES,
            pinned,
            clock,
        }
    }
}

/// DCC over HTTP.
pub struct HttpGateway {
    client: reqwest::Client,
    base_url: String,
    reply_limit_bytes: usize,
    pinned: Pinned,
    clock: Clock,
}

impl HttpGateway {
    pub fn new(settings: HttpSettings) -> Result<HttpGateway, GatewayError> {
        let base_url = settings.base_url.trim_end_matches('/').to_string();
        let wrong = |why: String| GatewayError::BaseUrl { url: settings.base_url.clone(), why };
        let url = Url::parse(&base_url).map_err(|e| wrong(e.to_string()))?;
        if url.scheme() != "http" {
            return Err(wrong("only http:// is known here".into()));
        }
        if url.host().is_none() || url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
            return Err(wrong("wanted is http://HOST:PORT, perhaps with a path".into()));
        }
        let client = reqwest::Client::builder()
            .http1_only()
            // Either case is right; some gateways know only this one.
            .http1_title_case_headers()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(settings.connect_timeout)
            .timeout(settings.request_timeout)
            .pool_idle_timeout(Duration::from_secs(POOL_IDLE_SECONDS))
            .tcp_nodelay(true)
            .build()
            .map_err(|e| GatewayError::Client { source: e.into() })?;
        let HttpSettings { reply_limit_bytes, pinned, clock, .. } = settings;
        Ok(HttpGateway { client, base_url, reply_limit_bytes, pinned, clock })
    }

    async fn post_once(&self, service: Service, bytes: Vec<u8>, id: RequestId) -> PostOutcome {
        let url = format!("{}{}", self.base_url, service.path());
        let post = self.client.post(url).header(CONTENT_TYPE, "application/xml").header(ACCEPT, "application/xml").body(bytes);
        let mut reply = match post.send().await {
            Ok(reply) => reply,
            Err(e) if e.is_connect() || e.is_builder() => return PostOutcome::NotSent { why: root_cause(&e) },
            Err(e) => return unknown(root_cause(&e)),
        };
        let status = reply.status();
        let temporary = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
        if status.is_server_error() || temporary.contains(&status) {
            let retry_after = retry_after(reply.headers(), self.clock.now());
            return PostOutcome::Unknown { why: format!("HTTP {status}"), retry_after };
        }
        if !status.is_success() && !status.is_client_error() {
            return unknown(format!("HTTP {status}, which is not followed: gateway.base_url must be DCC's own address"));
        }
        let body = match read_body(&mut reply, self.reply_limit_bytes).await {
            Ok(body) => body,
            Err(Unread::BrokeOff(why)) => return unknown(format!("HTTP {status}, but the reply broke off: {why}")),
            Err(Unread::Refused(why)) => return unusable(status, why),
        };
        let at = self.clock.now();
        if body.len() <= VERIFY_INLINE_BYTES {
            return judge(&body, &self.pinned.current(), at, status, id);
        }
        let pinned = self.pinned.current();
        let judged = tokio::task::spawn_blocking(move || judge(&body, &pinned, at, status, id)).await;
        judged.unwrap_or_else(|e| unknown(format!("the reply could not be read: {e}")))
    }
}

impl Gateway for HttpGateway {
    fn post(&self, service: Service, bytes: Vec<u8>, id: RequestId) -> BoxFuture<'_, PostOutcome> {
        Box::pin(self.post_once(service, bytes, id))
    }
}

fn unknown(why: String) -> PostOutcome {
    PostOutcome::Unknown { why, retry_after: None }
}

/// No readable Response: a 4xx says no all the same, anything else says nothing.
fn unusable(status: StatusCode, why: String) -> PostOutcome {
    let why = format!("HTTP {status}: {why}");
    if status.is_client_error() { PostOutcome::Rejected { status: status.as_u16(), why } } else { unknown(why) }
}

/// Why a reply's body was not read.
enum Unread {
    BrokeOff(String),
    Refused(String),
}

/// The whole body, if it is plain and within the limit.
async fn read_body(reply: &mut reqwest::Response, limit_bytes: usize) -> Result<Vec<u8>, Unread> {
    if let Some(coding) = reply.headers().get(CONTENT_ENCODING)
        && coding != "identity"
    {
        return Err(Unread::Refused("the reply is compressed, which was not asked for".into()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = reply.chunk().await.map_err(|e| Unread::BrokeOff(root_cause(&e)))? {
        if body.len() + chunk.len() > limit_bytes {
            return Err(Unread::Refused(format!("the reply is larger than {limit_bytes} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// What a complete reply means: only a signed Response for the RequestID just posted is an answer (profile, rule 10).
fn judge(body: &[u8], pinned: &CertificateSet, at: Time, status: StatusCode, id: RequestId) -> PostOutcome {
    if body.is_empty() {
        return unusable(status, "the reply is empty".into());
    }
    let (response, outcome): (Response, fn(Response) -> PostOutcome) = match read_response(body, pinned, at) {
        Ok(response) => (response, PostOutcome::Answered),
        Err(SignatureError::Unsigned) => match read_unsigned_refusal(body) {
            Ok(response) => (response, PostOutcome::Refused),
            Err(e) => return unusable(status, format!("the reply cannot be used: {e}")),
        },
        Err(e) => return unusable(status, format!("the reply cannot be used: {e}")),
    };
    if response.request_id != Some(id) {
        let other = response.request_id.map_or("no request".to_string(), |other| other.to_string());
        return unknown(format!("the reply answers {other}, not {id}"));
    }
    if !matches!(response.body, Body::Message { .. }) {
        return unknown(format!("the reply is no answer but {}", response.kind()));
    }
    outcome(response)
}

/// `Retry-After` in seconds or as an HTTP date.
fn retry_after(headers: &HeaderMap, now: Time) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_millisecond();
    Some(Duration::from_millis(u64::try_from(at - now.0).unwrap_or(0)))
}

/// The innermost cause of an HTTP error: it says most, and names no URL.
fn root_cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return if error.is_connect() { "no connection in time".into() } else { "no answer in time".into() };
    }
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests;
