//! The simulator's HTTP side: DCC's three service addresses, over plain or mutual TLS, and the simulator's own under `/sim/`.
//! Faults of the connection happen here. Not `axum`: a dropped connection is an answer too, and only the server below can give it.

mod own;

use std::{convert::Infallible, sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{
    dice,
    front::{self, Service},
    ledger::Heights,
    shared::Shared,
};
use crate::{
    duis::{MAX_MESSAGE_BYTES, write_response_as, write_unsigned_refusal},
    tls::{Accepted, ServerConfig},
};

/// A peer that sends no header within this is gone.
const HEADER_WAIT_SECONDS: u64 = 30;
/// A handshake that has not come to its end by then never will.
const HANDSHAKE_WAIT_SECONDS: u64 = 10;
/// Before the next try when the system is out of sockets.
const ACCEPT_AGAIN_MS: u64 = 50;

type Reply = Response<Full<Bytes>>;

/// The connection is closed without a reply.
#[derive(Debug, thiserror::Error)]
#[error("the scenario drops this connection")]
struct Drop;

/// Accepts connections until the task is ended.
pub async fn serve(shared: Arc<Shared>, listener: TcpListener, tls: Option<Arc<ServerConfig>>) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                let stream = match &tls {
                    None => Accepted::plain(stream),
                    Some(config) => {
                        let wait = Duration::from_secs(HANDSHAKE_WAIT_SECONDS);
                        Accepted::tls(stream, Arc::clone(config), wait, |why| {
                            tracing::info!(reason = ?why, "the simulator refuses a connection");
                        })
                    }
                };
                connections.spawn(connection(Arc::clone(&shared), stream));
            }
            Err(error) => {
                tracing::warn!(%error, "the simulator cannot take a connection");
                tokio::time::sleep(Duration::from_millis(ACCEPT_AGAIN_MS)).await;
            }
        }
    }
}

async fn connection(shared: Arc<Shared>, stream: Accepted<TcpStream>) {
    let service = service_fn(move |request| answer(Arc::clone(&shared), request));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(HEADER_WAIT_SECONDS))
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the simulator ended early");
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Reply, Drop> {
    let path = request.uri().path().to_string();
    if let Some(service) = Service::at(&path) {
        return match *request.method() {
            Method::POST => service_request(shared, service, request).await,
            _ => Ok(plain(StatusCode::METHOD_NOT_ALLOWED, "POST a signed DUIS request")),
        };
    }
    Ok(own::answer(&shared, &path, request).await)
}

/// Counts a request as being answered for as long as it lives.
struct Handling(Arc<Shared>);

impl Handling {
    /// Gives the heights of the counters too, as they are before a byte of the body was read.
    fn begin(shared: &Arc<Shared>) -> (Handling, Heights) {
        let mut state = shared.lock();
        state.handling += 1;
        (Handling(Arc::clone(shared)), state.ledger.heights())
    }
}

impl std::ops::Drop for Handling {
    fn drop(&mut self) {
        self.0.lock().handling -= 1;
        self.0.finished.notify_waiters();
    }
}

/// What the scenario does to one post.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    Dropped,
    ServerError,
    ReplyLost,
    LateReply,
}

async fn service_request(shared: Arc<Shared>, service: Service, request: Request<Incoming>) -> Result<Reply, Drop> {
    let (_handling, before) = Handling::begin(&shared);
    let bytes = match body(request).await {
        Ok(bytes) => bytes,
        Err(reply) => return Ok(reply),
    };
    let fault = next_fault(&shared, &bytes);
    match fault {
        Fault::Dropped => return Err(Drop),
        Fault::ServerError => return Ok(plain(StatusCode::INTERNAL_SERVER_ERROR, "the scenario answers 500")),
        Fault::None | Fault::ReplyLost | Fault::LateReply => {}
    }
    let processed = {
        let shared = Arc::clone(&shared);
        // Verifying a request of 15 MB takes long enough to hold up the alerts.
        tokio::task::spawn_blocking(move || processed(&shared, service, &bytes, &before)).await
    };
    shared.nudge.notify_one();
    let wait = u64::from(shared.delays.acknowledge_ms)
        + if fault == Fault::LateReply { u64::from(shared.faults.late_reply_ms) } else { 0 };
    if wait > 0 {
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }
    match (fault, processed) {
        (Fault::ReplyLost, _) => Err(Drop),
        (_, Ok(Ok(xml))) => Ok(reply(StatusCode::OK, "application/xml", xml)),
        (_, Ok(Err(error))) => Ok(plain(StatusCode::INTERNAL_SERVER_ERROR, &error)),
        (_, Err(error)) => Ok(plain(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string())),
    }
}

/// Decides on a request and writes the answer: signed, unless it is one of the refusals that are not.
fn processed(shared: &Shared, service: Service, bytes: &[u8], before: &Heights) -> Result<Vec<u8>, String> {
    let response = front::answer(shared, service, bytes, before);
    let subject = response.request_id.map_or(0, |id| id.counter);
    if front::is_refusal(&response) && shared.dice.hits(shared.faults.unsigned_refusals, "unsigned refusal", subject) {
        return Ok(write_unsigned_refusal(&response));
    }
    write_response_as(&response, &*shared.signer, &*shared.provider).map(|signed| signed.bytes).map_err(|e| e.to_string())
}

/// Reads a body of known length within the bound.
async fn body(request: Request<Incoming>) -> Result<Bytes, Reply> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if kind.split(';').next().map(str::trim) != Some("application/xml") {
        return Err(plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "a DUIS request is application/xml"));
    }
    if !request.headers().contains_key(CONTENT_LENGTH) {
        return Err(plain(StatusCode::LENGTH_REQUIRED, "a DUIS request carries Content-Length"));
    }
    match Limited::new(request.into_body(), MAX_MESSAGE_BYTES).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(plain(StatusCode::PAYLOAD_TOO_LARGE, "no DUIS request is that large"))
        }
        Err(error) => Err(plain(StatusCode::BAD_REQUEST, &error.to_string())),
    }
}

/// Chooses by the RequestID and how often it was posted, so that a resend has a chance of its own.
fn next_fault(shared: &Shared, bytes: &[u8]) -> Fault {
    let claimed = front::claimed_request_id(bytes);
    let counter = claimed.map_or(0, |id| id.counter);
    let mut state = shared.lock();
    let posts = state.posts.entry(counter).or_default();
    *posts += 1;
    let subject = counter ^ dice::turn(*posts);
    let faults = &shared.faults;
    let hits = |share, word| shared.dice.hits(share, word, subject);
    let (dropped, server_error) = (hits(faults.dropped, "dropped"), hits(faults.server_error, "server error"));
    if let Some(id) = claimed.filter(|_| dropped || server_error) {
        state.ledger.keep_back(id);
    }
    let requests = &mut state.requests;
    requests.posted += 1;
    if dropped {
        requests.dropped += 1;
        Fault::Dropped
    } else if server_error {
        requests.server_errors += 1;
        Fault::ServerError
    } else if hits(faults.reply_lost, "reply lost") {
        requests.replies_lost += 1;
        Fault::ReplyLost
    } else if hits(faults.late_reply, "late reply") {
        requests.replies_late += 1;
        Fault::LateReply
    } else {
        Fault::None
    }
}

fn plain(status: StatusCode, text: &str) -> Reply {
    reply(status, "text/plain; charset=utf-8", format!("{text}\n"))
}

fn reply(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    reply
}
