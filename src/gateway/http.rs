//! The HTTP client that posts requests to DCC. One POST a call: no redirect followed, no proxy, no retry, no compression; over
//! https nobody is trusted but who the configured authority vouches for.
//! Promise: `NotSent` only where no connection was made, or where its TLS handshake failed before a byte of the request went
//! out; whatever else fails may have reached DCC and is `Unknown`.

use std::{
    error::Error,
    io,
    sync::{Arc, RwLock},
    time::Duration,
};

use reqwest::{
    StatusCode, Url,
    header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, RETRY_AFTER},
};

use super::{BoxFuture, Exchange, Fault, Forward, Forwarded, Gateway, GatewayError, PostOutcome, Reply, Service, Trouble};
use crate::{
    clock::{Clock, Time},
    duis::{
        Body, CertificateSet, MAX_MESSAGE_BYTES, Pinned, Response, SignatureError, read_unsigned_refusal,
        verify_and_read_response,
    },
    ids::{RequestId, Sha256Hash},
    tls::{self, ClientConfig},
};

/// Making a connection, handshake included, inside the country takes milliseconds; ten seconds is a peer that is not there.
const CONNECT_SECONDS: u64 = 10;
/// An idle connection is dropped before a peer's usual keep-alive ends: a POST on one the peer just closed is `Unknown`.
const POOL_IDLE_SECONDS: u64 = 4;
/// A reply up to this size is verified where it is read (60 us for 2 KB); a larger one would hold up other tasks.
const VERIFY_INLINE_BYTES: usize = 64 * 1024;

/// How the client is set up.
#[derive(Clone)]
pub struct HttpSettings {
    /// `http://HOST:PORT`, perhaps with a path, or the same with https. Whether it must be loopback is the configuration's to say.
    pub base_url: String,
    /// Whom we trust and who we are over https.
    pub tls: Option<Arc<ClientConfig>>,
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
            tls: None,
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
    /// Replaced as a whole when the TLS files changed.
    client: RwLock<reqwest::Client>,
    settings: HttpSettings,
}

impl HttpGateway {
    pub fn new(settings: HttpSettings) -> Result<HttpGateway, GatewayError> {
        let wrong = |why: &str| GatewayError::BaseUrl { url: settings.base_url.clone(), why: why.to_string() };
        let base_url = settings.base_url.trim_end_matches('/').to_string();
        let url = Url::parse(&base_url).map_err(|e| wrong(&e.to_string()))?;
        match (url.scheme(), &settings.tls) {
            ("http", _) | ("https", Some(_)) => {}
            ("https", None) => return Err(wrong("https needs [gateway.tls]")),
            _ => return Err(wrong("only http:// and https:// are known here")),
        }
        if url.host().is_none() || url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
            return Err(wrong("wanted is http://HOST:PORT, perhaps with a path"));
        }
        let settings = HttpSettings { base_url, ..settings };
        Ok(HttpGateway { client: RwLock::new(client(&settings)?), settings })
    }

    /// From the next post on, connections are made with this; one in progress ends as it began.
    pub fn replace_tls(&self, tls: Arc<ClientConfig>) -> Result<(), GatewayError> {
        let new = client(&HttpSettings { tls: Some(tls), ..self.settings.clone() })?;
        *self.client.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = new;
        Ok(())
    }

    fn client(&self) -> reqwest::Client {
        self.client.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    async fn post_once(&self, service: Service, bytes: Vec<u8>, id: RequestId) -> Exchange {
        let HttpSettings { base_url, pinned, clock, reply_limit_bytes, .. } = &self.settings;
        let url = format!("{base_url}{}", service.path());
        let post = self.client().post(url).header(CONTENT_TYPE, "application/xml").header(ACCEPT, "application/xml").body(bytes);
        let mut reply = match post.send().await {
            Ok(reply) => reply,
            Err(e) => return failed(&e, self.settings.tls.is_some()).into(),
        };
        let status = reply.status();
        if let Some(fault) = passing(status) {
            let retry_after = retry_after(reply.headers(), clock.now());
            return PostOutcome::Unknown(Trouble { retry_after, ..Trouble::new(fault, format!("HTTP {status}")) }).into();
        }
        if !status.is_success() && !status.is_client_error() {
            return unknown(Fault::WrongAddress, format!("HTTP {status}, which is not followed")).into();
        }
        let body = match read_body(&mut reply, *reply_limit_bytes).await {
            Ok(body) => body,
            Err(Unread::BrokeOff(why)) => {
                return unknown(Fault::BrokeOff, format!("HTTP {status}, but the reply broke off: {why}")).into();
            }
            Err(Unread::Refused(why)) => return unusable(status, Fault::Unusable, why).into(),
        };
        let at = clock.now();
        if body.len() <= VERIFY_INLINE_BYTES {
            return judge(body, &pinned.current(), at, status, id);
        }
        let pinned = pinned.current();
        let judged = tokio::task::spawn_blocking(move || judge(body, &pinned, at, status, id)).await;
        judged.unwrap_or_else(|e| unknown(Fault::Unusable, format!("the reply could not be read: {e}")).into())
    }
}

fn client(settings: &HttpSettings) -> Result<reqwest::Client, GatewayError> {
    let made = |source: Box<dyn Error + Send + Sync>| GatewayError::Client { source };
    let tls = match &settings.tls {
        Some(tls) => tls.clone(),
        // Without one the library looks for the system's authorities, which are nobody's business here.
        None => tls::trust_nobody(&settings.clock).map_err(|e| made(e.into()))?,
    };
    reqwest::Client::builder()
        .http1_only()
        // Either case is right; some gateways know only this one.
        .http1_title_case_headers()
        .tls_backend_preconfigured(ClientConfig::clone(&tls))
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(settings.connect_timeout)
        .timeout(settings.request_timeout)
        .pool_idle_timeout(Duration::from_secs(POOL_IDLE_SECONDS))
        .tcp_nodelay(true)
        .build()
        .map_err(|e| made(e.into()))
}

/// What an HTTP status says that passes by itself.
fn passing(status: StatusCode) -> Option<Fault> {
    let busy =
        [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
    if busy.contains(&status) { Some(Fault::Busy) } else { status.is_server_error().then_some(Fault::ServerError) }
}

/// No reply came. What failed while connecting sent nothing; the handshake of TLS is part of that, but a far side that takes TLS
/// 1.3 as far as our certificate tells only later what it thinks of it, and may hang up on a long request before we read that.
fn failed(error: &reqwest::Error, https: bool) -> PostOutcome {
    let tls = tls::reason(error);
    let why = tls.clone().unwrap_or_else(|| root_cause(error));
    if error.is_connect() || error.is_builder() {
        let fault = if tls.is_some() { Fault::Tls } else { Fault::NoConnection };
        return PostOutcome::NotSent(Trouble::new(fault, why));
    }
    if tls.is_some() {
        return unknown(Fault::Tls, why);
    }
    if error.is_timeout() {
        return unknown(Fault::NoAnswer, why);
    }
    if cause::<hyper::Error>(error).is_some_and(hyper::Error::is_parse) {
        return unknown(Fault::WrongAddress, format!("what came back is not HTTP ({why}); is it https there?"));
    }
    let hung_up = [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];
    if https && cause::<io::Error>(error).is_some_and(|e| hung_up.contains(&e.kind())) {
        let why = format!("the far side hung up while the request was sent ({why}): perhaps it does not accept our certificate");
        return unknown(Fault::BrokeOff, why);
    }
    unknown(Fault::BrokeOff, why)
}

impl Gateway for HttpGateway {
    fn exchange(&self, service: Service, bytes: Vec<u8>, id: RequestId) -> BoxFuture<'_, Exchange> {
        Box::pin(self.post_once(service, bytes, id))
    }
}

fn unknown(fault: Fault, why: String) -> PostOutcome {
    PostOutcome::Unknown(Trouble::new(fault, why))
}

/// No readable Response: a 4xx says no all the same, anything else says nothing.
fn unusable(status: StatusCode, fault: Fault, why: String) -> PostOutcome {
    let why = format!("HTTP {status}: {why}");
    if status.is_client_error() { PostOutcome::Rejected(Trouble::new(Fault::Rejected, why)) } else { unknown(fault, why) }
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

fn judge(body: Vec<u8>, pinned: &CertificateSet, at: Time, status: StatusCode, id: RequestId) -> Exchange {
    let mut digest = None;
    let outcome = meaning(&body, pinned, at, status, id, &mut digest);
    Exchange { outcome, reply: Some(Reply { bytes: body, digest }) }
}

/// What a complete reply means: only a signed Response for the RequestID just posted is an answer (profile, rule 10).
fn meaning(
    body: &[u8],
    pinned: &CertificateSet,
    at: Time,
    status: StatusCode,
    id: RequestId,
    digest: &mut Option<Sha256Hash>,
) -> PostOutcome {
    if body.is_empty() {
        return unusable(status, Fault::Unusable, "the reply is empty".into());
    }
    let (response, outcome): (Response, fn(Response) -> PostOutcome) = match verify_and_read_response(body, pinned, at) {
        Ok((response, verified)) => {
            *digest = Some(verified);
            (response, PostOutcome::Answered)
        }
        Err(SignatureError::Unsigned) => match read_unsigned_refusal(body) {
            Ok(response) => (response, PostOutcome::Refused),
            Err(e) => return unusable(status, Fault::Unsigned, format!("the reply cannot be used: {e}")),
        },
        // Signed by DCC, and not understood.
        Err(e @ SignatureError::Content(_)) => {
            return unusable(status, Fault::Unusable, format!("the reply cannot be used: {e}"));
        }
        Err(e) => return unusable(status, Fault::Unsigned, format!("the reply cannot be used: {e}")),
    };
    if response.request_id != Some(id) {
        let other = response.request_id.map_or("no request".to_string(), |other| other.to_string());
        return unknown(Fault::Unusable, format!("the reply answers {other}, not {id}"));
    }
    if !matches!(response.body, Body::Message { .. }) {
        return unknown(Fault::Unusable, format!("the reply is no answer but {}", response.kind()));
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

/// The first error of this type on the way to the innermost.
fn cause<E: Error + 'static>(error: &reqwest::Error) -> Option<&E> {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// Another adapter over HTTP, on this machine.
pub struct HttpForwarder {
    client: reqwest::Client,
    url: String,
}

impl HttpForwarder {
    pub fn new(url: &str, timeout: Duration, clock: Clock) -> Result<HttpForwarder, GatewayError> {
        let nobody = Pinned::new(CertificateSet::default());
        Ok(HttpForwarder { client: client(&HttpSettings::new(url, timeout, nobody, clock))?, url: url.to_string() })
    }

    async fn forward_once(&self, bytes: Vec<u8>) -> Forwarded {
        let post = self.client.post(&self.url).header(CONTENT_TYPE, "application/xml").body(bytes);
        match post.send().await.map(|answer| answer.status()) {
            Ok(status) if status.is_success() => Forwarded::Taken,
            Ok(status) => {
                let why = format!("HTTP {status}");
                match passing(status) {
                    Some(Fault::Busy) => Forwarded::NotNow { why },
                    Some(_) => Forwarded::Failed { why },
                    None => Forwarded::Refused { why },
                }
            }
            Err(e) => Forwarded::NotNow { why: root_cause(&e) },
        }
    }
}

impl Forward for HttpForwarder {
    fn forward(&self, bytes: Vec<u8>) -> BoxFuture<'_, Forwarded> {
        Box::pin(self.forward_once(bytes))
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;
mod webhook;

pub use webhook::HttpWebhooks;
