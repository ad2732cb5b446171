//! Delivers what DCC owes to the user's receiver: when due, over a few connections kept open, and again until it is taken.
//! Promise: a message is signed only when it is due, and is given up only when the receiver answers 400.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    header::{CONTENT_TYPE, HeaderValue},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{queue::Delivery, shared::Shared, world::Moment};
use crate::{
    duis::write_response_as,
    tls::{ClientConfig, TlsError, trust_nobody},
};

/// A receiver that has not answered within this is taken for gone.
const ANSWER_WAIT_SECONDS: u64 = 30;
/// Between two attempts: doubled each time, from the first to the second.
const AGAIN_FIRST_MS: u32 = 100;
const AGAIN_LAST_MS: u32 = 5_000;
/// While nothing listens at the receiver's address, nobody is sent there for at most this long.
const CLOSED_LAST_MS: u32 = 1_000;

pub type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// How one attempt ended.
enum Attempt {
    Taken,
    /// 400: it will never be taken.
    Refused,
    /// An answer that is neither, or none in time.
    Failed,
    /// Nobody listens.
    Closed,
}

/// A client that keeps its connections open; over TLS it shows its certificate, and without a configuration trusts nobody.
pub fn client(shared: &Shared) -> Result<HttpClient, TlsError> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.enforce_http(false);
    let tls = match &shared.client_tls {
        Some(config) => Arc::clone(config),
        None => trust_nobody(&shared.clock)?,
    };
    let tls = ClientConfig::clone(&tls);
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(connector);
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(shared.connections)
        .build(connector))
}

/// Sends what falls due until the task is ended.
pub async fn dispatch(shared: Arc<Shared>, client: HttpClient) -> Infallible {
    let free = Arc::new(Semaphore::new(shared.connections));
    let door = Arc::new(Door::default());
    let mut attempts = JoinSet::new();
    loop {
        while attempts.try_join_next().is_some() {}
        let connection = Arc::clone(&free).acquire_owned().await.expect("the semaphore is never closed");
        door.opens(&shared).await;
        let delivery = next(&shared).await;
        let (shared, client, door) = (Arc::clone(&shared), client.clone(), Arc::clone(&door));
        attempts.spawn(async move {
            attempt(&shared, &client, &door, delivery).await;
            drop(connection);
        });
    }
}

/// Waits until a message is due, and takes it.
async fn next(shared: &Shared) -> Delivery {
    loop {
        let due = {
            let mut state = shared.lock();
            if let Some(delivery) = state.world.take_due(shared.now()) {
                state.in_flight += 1;
                return delivery;
            }
            state.world.next_due()
        };
        match due {
            Some(due) => {
                tokio::select! {
                    () = tokio::time::sleep_until(shared.instant(due)) => {}
                    () = shared.nudge.notified() => {}
                }
            }
            None => shared.nudge.notified().await,
        }
    }
}

async fn attempt(shared: &Shared, client: &HttpClient, door: &Door, delivery: Delivery) {
    let outcome = match message(shared, &delivery) {
        Ok(bytes) => post(shared, client, bytes).await,
        Err(error) => {
            tracing::error!(%error, "the simulator cannot write a message");
            Attempt::Refused
        }
    };
    let now = shared.now();
    let mut state = shared.lock();
    state.in_flight -= 1;
    match outcome {
        Attempt::Taken => state.deliveries.done += 1,
        Attempt::Refused => state.deliveries.refused += 1,
        Attempt::Failed | Attempt::Closed => {
            state.deliveries.retried += 1;
            let wait = match outcome {
                // The door keeps everybody waiting; this one need not wait longer than the rest.
                Attempt::Closed => 0,
                _ => backoff(u32::from(delivery.attempts), AGAIN_LAST_MS),
            };
            state.world.put_back(delivery.again(now, wait));
            shared.nudge.notify_one();
        }
    }
    drop(state);
    match outcome {
        Attempt::Closed => door.closed(now),
        Attempt::Taken | Attempt::Refused | Attempt::Failed => door.open(),
    }
    shared.finished.notify_waiters();
}

fn message(shared: &Shared, delivery: &Delivery) -> Result<Vec<u8>, crate::duis::BuildError> {
    let response = {
        let state = shared.lock();
        let moment = Moment { first_counter: shared.first_response_counter(), at: shared.time(delivery.made()) };
        state.world.message(delivery, moment)
    };
    write_response_as(&response, &*shared.signer, &*shared.provider).map(|signed| signed.bytes)
}

async fn post(shared: &Shared, client: &HttpClient, bytes: Vec<u8>) -> Attempt {
    let mut request = Request::post(shared.deliver_to.read().expect("nobody panics while writing it").clone())
        .body(Full::new(Bytes::from(bytes)))
        .expect("the address was checked at the start");
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    let exchange = async {
        let reply = client.request(request).await?;
        let status = reply.status();
        // Read to the end, or the connection cannot be used again.
        let _ = reply.into_body().collect().await;
        Ok::<_, hyper_util::client::legacy::Error>(status)
    };
    match tokio::time::timeout(Duration::from_secs(ANSWER_WAIT_SECONDS), exchange).await {
        Ok(Ok(status)) if status.is_success() => Attempt::Taken,
        Ok(Ok(StatusCode::BAD_REQUEST)) => Attempt::Refused,
        Ok(Err(error)) if error.is_connect() => Attempt::Closed,
        Ok(Ok(_) | Err(_)) | Err(_) => Attempt::Failed,
    }
}

fn backoff(attempts: u32, last: u32) -> u32 {
    AGAIN_FIRST_MS.saturating_mul(1 << attempts.min(10)).min(last)
}

/// Keeps everybody back for a moment while nothing listens at the receiver's address.
#[derive(Default)]
struct Door {
    state: std::sync::Mutex<Closed>,
}

#[derive(Default, Clone, Copy)]
struct Closed {
    until: u64,
    times: u32,
}

impl Door {
    async fn opens(&self, shared: &Shared) {
        let until = self.lock().until;
        if until > shared.now() {
            tokio::time::sleep_until(shared.instant(until)).await;
        }
    }

    /// Several connections find it closed at once: that counts once.
    fn closed(&self, now: u64) {
        let mut closed = self.lock();
        if now >= closed.until {
            closed.until = now + u64::from(backoff(closed.times, CLOSED_LAST_MS));
            closed.times += 1;
        }
    }

    fn open(&self) {
        *self.lock() = Closed::default();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Closed> {
        self.state.lock().expect("nobody panics while holding it")
    }
}
