//! Where DCC posts responses and alerts. A message is authenticated, then durable, then answered 204; interpreting it is the
//! engine's. Promise: the answer is 204 only after the commit, 400 to what DCC did not sign, 503 where storing must wait; a
//! sender that is slow, huge or silent costs a bounded share of memory and connections.
//!
//! A message that DCC signed but nobody here can read is stored too (`unreadable`): keep before you understand.

mod counts;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode,
        header::{ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use tokio::{
    net::TcpListener,
    sync::{Notify, Semaphore, mpsc, oneshot, watch},
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

use counts::Counts;
pub use counts::ReceiverCounts;

use super::{
    GatewayError,
    authenticate::authenticate,
    committer::{Waiting, commit_groups},
    connection::{BoundedListener, Connection, ListenerTls},
    inbox::store::RefusedMessage,
    refusals::Refusals,
};
use crate::{
    clock::Clock,
    db::Db,
    duis::{MAX_MESSAGE_BYTES, Pinned},
    tls::{Current, ServerConfig},
};

/// A message up to this size is verified where it is read (60 us for 2 KB) and counts as small.
const SMALL_BYTES: usize = 64 * 1024;
/// Messages larger than that which may be in memory at once: 4 of 16 MiB.
const LARGE_MESSAGES: usize = 4;
/// Verified messages that may wait for the committer: two full groups.
const QUEUE_MESSAGES: usize = 1_000;

/// The receiver's bounds; tests use smaller ones.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest message. A warning that lists 50,000 devices has 1.2 MB.
    pub body_bytes: usize,
    /// From the connection to the end of its TLS handshake.
    pub handshake_time: Duration,
    /// From the headers to the last byte of the body.
    pub body_time: Duration,
    /// From the first byte of a request to its answer.
    pub request_time: Duration,
    /// How long a connection may be idle.
    pub idle_time: Duration,
    /// How long a verified message may wait to be durable before its sender is told to come again.
    pub store_time: Duration,
    pub connections: usize,
    /// How long `stop` lets requests in progress finish, and then the last commit; together within the 5 s of a clean stop.
    pub finish_time: Duration,
    pub last_commit_time: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body_bytes: MAX_MESSAGE_BYTES,
            handshake_time: Duration::from_secs(10),
            body_time: Duration::from_secs(30),
            request_time: Duration::from_secs(60),
            idle_time: Duration::from_secs(90),
            store_time: Duration::from_secs(10),
            connections: 512,
            finish_time: Duration::from_secs(3),
            last_commit_time: Duration::from_millis(1_500),
        }
    }
}

/// What the receiver stands on.
pub struct Setup {
    pub listen: SocketAddr,
    /// Mutual TLS; without it the receiver is plain, and must be loopback (the configuration sees to that).
    pub tls: Option<Current<ServerConfig>>,
    /// The one path that takes messages.
    pub path: String,
    /// DCC's certificates, and nobody else's.
    pub pinned: Pinned,
    pub db: Db,
    pub clock: Clock,
    /// Notified after each commit.
    pub nudge: Arc<Notify>,
    pub limits: Limits,
}

/// A running receiver. Dropped, it ends at once; [`Receiver::stop`] ends it cleanly.
pub struct Receiver {
    local_addr: SocketAddr,
    counts: Arc<Counts>,
    limits: Limits,
    /// True: accept nothing more, finish what is in progress.
    stopping: watch::Sender<bool>,
    /// True: connections end now.
    ended: watch::Sender<bool>,
    server: JoinHandle<()>,
    committer: JoinHandle<()>,
    /// Of what was refused.
    keeper: JoinHandle<()>,
}

/// What the handlers share.
struct Shared {
    path: String,
    pinned: Pinned,
    clock: Clock,
    limits: Limits,
    large: Arc<Semaphore>,
    queue: mpsc::Sender<Waiting>,
    refusals: Refusals,
    /// Requests being handled.
    arriving: Arc<AtomicUsize>,
    counts: Arc<Counts>,
}

impl axum::serve::Listener for BoundedListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        self.next().await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Binds the address and begins to receive.
pub async fn start(setup: Setup) -> Result<Receiver, GatewayError> {
    let Setup { listen, tls, path, pinned, db, clock, nudge, limits } = setup;
    let listening = |source| GatewayError::Listen { address: listen, source };
    let listener = TcpListener::bind(listen).await.map_err(listening)?;
    let local_addr = listener.local_addr().map_err(listening)?;
    let (stopping, mut stop_asked) = watch::channel(false);
    let (ended, end_seen) = watch::channel(false);
    let (queue, queued) = mpsc::channel(QUEUE_MESSAGES);
    let arriving = Arc::new(AtomicUsize::new(0));
    let counts = Arc::new(Counts::default());
    let (refusals, keeper) = Refusals::new(db.clone(), counts.not_kept.clone());
    let keeper = tokio::spawn(keeper.run());
    let committer = tokio::spawn(commit_groups(db, queued, arriving.clone(), nudge, counts.commits.clone()));
    let tls = tls.map(|config| {
        let counts = counts.clone();
        let refused = Arc::new(move |peer, why| counts.refuse_handshake(peer, why));
        ListenerTls { config, handshake_time: limits.handshake_time, refused }
    });
    let bounded = BoundedListener {
        listener,
        tls,
        slots: Arc::new(Semaphore::new(limits.connections)),
        request_time: limits.request_time,
        idle_time: limits.idle_time,
        ended: end_seen,
    };
    let large = Arc::new(Semaphore::new(LARGE_MESSAGES));
    let shared = Arc::new(Shared { path, pinned, clock, limits, large, queue, refusals, arriving, counts: counts.clone() });
    let router = Router::new().fallback(receive).with_state(shared);
    let server = tokio::spawn(async move {
        let asked = async move {
            let _ = stop_asked.wait_for(|stop| *stop).await;
        };
        // It returns only after `asked`; axum's serve has no other error.
        let _ = axum::serve(bounded, router).with_graceful_shutdown(asked).await;
    });
    Ok(Receiver { local_addr, counts, limits, stopping, ended, server, committer, keeper })
}

impl Receiver {
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    pub fn counts(&self) -> ReceiverCounts {
        self.counts.read()
    }

    /// Accepts nothing more, answers what was read, commits it and ends, within the limits' `finish_time` and `last_commit_time`.
    pub async fn stop(mut self) {
        self.stopping.send_replace(true);
        if timeout(self.limits.finish_time, &mut self.server).await.is_err() {
            tracing::warn!("some senders were cut off: they did not finish in time");
        }
        self.ended.send_replace(true);
        self.server.abort();
        // The committer ends with its last sender, after its last commit; so does the keeper of what was refused.
        let last = self.limits.last_commit_time;
        let (committed, kept) = futures_util::join!(timeout(last, &mut self.committer), timeout(last, &mut self.keeper));
        if committed.is_err() {
            tracing::warn!("the last inbound messages were not stored in time; DCC was not told that they were");
            self.committer.abort();
        }
        if kept.is_err() {
            self.keeper.abort();
        }
    }
}

/// Why a request is not answered 204: the status, and the reason it is counted under.
struct Refusal {
    status: StatusCode,
    reason: &'static str,
}

const fn refused(reason: &'static str) -> Refusal {
    Refusal { status: StatusCode::BAD_REQUEST, reason }
}

const fn later(reason: &'static str) -> Refusal {
    Refusal { status: StatusCode::SERVICE_UNAVAILABLE, reason }
}

/// Counts a request for as long as it is handled, however that ends.
struct Arriving(Arc<AtomicUsize>);

impl Arriving {
    fn new(count: &Arc<AtomicUsize>) -> Arriving {
        count.fetch_add(1, Ordering::Relaxed);
        Arriving(count.clone())
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn receive(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let outcome = if request.uri().path() != shared.path {
        Err(Refusal { status: StatusCode::NOT_FOUND, reason: "path" })
    } else if request.method() != Method::POST {
        Err(Refusal { status: StatusCode::METHOD_NOT_ALLOWED, reason: "method" })
    } else {
        accept(&shared, request).await
    };
    let Err(refusal) = outcome else { return StatusCode::NO_CONTENT.into_response() };
    shared.counts.refuse(&refusal);
    let mut answer = refusal.status.into_response();
    if refusal.status == StatusCode::METHOD_NOT_ALLOWED {
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    }
    answer
}

/// Reads, verifies and stores one message.
async fn accept(shared: &Arc<Shared>, request: Request) -> Result<(), Refusal> {
    let (parts, body) = request.into_parts();
    let declared = check_headers(&parts.headers, shared.limits.body_bytes)?;
    let arriving = Arriving::new(&shared.arriving);
    let until = Instant::now() + shared.limits.body_time;
    let mut reader = Reader { shared, until, large: None };
    let bytes = reader.read(body, declared).await?;
    let now = shared.clock.now();
    let message = if bytes.len() <= SMALL_BYTES {
        authenticate(bytes, &shared.pinned.current(), now)
    } else {
        let pinned = shared.pinned.current();
        let verified = tokio::task::spawn_blocking(move || authenticate(bytes, &pinned, now)).await;
        verified.map_err(|_| later("not-verified"))?
    };
    let message = message.map_err(|not_known| keep_and_refuse(shared, not_known))?;
    let (stored, answer) = oneshot::channel();
    let durable = async {
        shared.queue.send(Waiting { message, stored }).await.map_err(|_| later("stopping"))?;
        answer.await.map_err(|_| later("not-stored"))
    };
    let outcome = timeout(shared.limits.store_time, durable).await.unwrap_or(Err(later("store-time")));
    drop(arriving);
    outcome.map(|_stored| ())
}

/// What is not known to be DCC's is kept as evidence, and refused.
fn keep_and_refuse(shared: &Shared, message: RefusedMessage) -> Refusal {
    let refusal = refused(message.reason);
    shared.refusals.leave(message);
    refusal
}

/// What the headers already rule out; gives the declared length.
fn check_headers(headers: &HeaderMap, limit_bytes: usize) -> Result<usize, Refusal> {
    let media_type = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    if !["application/xml", "text/xml"].iter().any(|known| media_type.eq_ignore_ascii_case(known)) {
        return Err(refused("content-type"));
    }
    if headers.get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(refused("content-encoding"));
    }
    let declared = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok()).unwrap_or(0);
    if declared > limit_bytes { Err(refused("too-large")) } else { Ok(declared) }
}

/// Reads a body within its bounds of time and memory.
struct Reader<'a> {
    shared: &'a Shared,
    until: Instant,
    /// Held, while the message is handled, by one that is not small.
    large: Option<tokio::sync::OwnedSemaphorePermit>,
}

impl Reader<'_> {
    async fn read(&mut self, body: Body, declared: usize) -> Result<Vec<u8>, Refusal> {
        self.reserve(declared).await?;
        let mut bytes = Vec::with_capacity(declared);
        let mut stream = body.into_data_stream();
        loop {
            let chunk = match timeout_at(self.until, stream.next()).await {
                Err(_) => return Err(refused("too-slow")),
                Ok(None) => return Ok(bytes),
                Ok(Some(Err(_))) => return Err(refused("broke-off")),
                Ok(Some(Ok(chunk))) => chunk,
            };
            let size = bytes.len() + chunk.len();
            if size > self.shared.limits.body_bytes {
                return Err(refused("too-large"));
            }
            self.reserve(size).await?;
            bytes.extend_from_slice(&chunk);
        }
    }

    /// A body beyond the small size needs one of few places.
    async fn reserve(&mut self, size: usize) -> Result<(), Refusal> {
        if size > SMALL_BYTES && self.large.is_none() {
            let place = timeout_at(self.until, self.shared.large.clone().acquire_owned()).await;
            self.large = Some(place.map_err(|_| later("busy"))?.map_err(|_| later("stopping"))?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;
