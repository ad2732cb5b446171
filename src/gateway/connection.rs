//! Inbound connections with bounds: how many, how long a TLS handshake may take, how long a request, how long one may idle. Not
//! HTTP: it sees only bytes going in and out (what TLS makes of them). Promise: no connection outlives its bounds or the
//! server's end; one counts from the moment it is accepted, handshake or not.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, Sleep, sleep},
};

use crate::tls::{Accepted, Current, HandshakeRefused, ServerConfig};

/// Wait after a failed accept (out of file descriptors, usually): long enough for some to be closed.
const ACCEPT_RETRY_MILLIS: u64 = 200;

/// Who hears of handshakes that came to nothing.
pub type RefusedHandshakes = Arc<dyn Fn(SocketAddr, HandshakeRefused) + Send + Sync>;

/// Mutual TLS for a listener.
pub struct ListenerTls {
    pub config: Current<ServerConfig>,
    pub handshake_time: Duration,
    pub refused: RefusedHandshakes,
}

/// A TCP listener that hands out [`Connection`]s.
pub struct BoundedListener {
    pub listener: TcpListener,
    /// Without it, plain.
    pub tls: Option<ListenerTls>,
    pub slots: Arc<Semaphore>,
    /// From the first byte of a request to its answer.
    pub request_time: Duration,
    /// From an answer (or the start) to the first byte of the next request.
    pub idle_time: Duration,
    /// Connections end when this becomes true or its sender is gone.
    pub ended: watch::Receiver<bool>,
}

impl BoundedListener {
    /// The next connection, once one of the slots is free. A failed accept is logged and tried again.
    pub async fn next(&self) -> (Connection, SocketAddr) {
        let slot = self.slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        let (stream, peer) = loop {
            match self.listener.accept().await {
                Ok(accepted) => break accepted,
                Err(error) => {
                    tracing::warn!(%error, "the receiver could not accept a connection");
                    sleep(Duration::from_millis(ACCEPT_RETRY_MILLIS)).await;
                }
            }
        };
        // Without it an answer may wait for the peer's acknowledgement; a failure costs only time.
        let _ = stream.set_nodelay(true);
        let stream = match &self.tls {
            None => Accepted::plain(stream),
            Some(tls) => {
                let refused = tls.refused.clone();
                Accepted::tls(stream, tls.config.get(), tls.handshake_time, move |why| refused(peer, why))
            }
        };
        let mut ended = self.ended.clone();
        let connection = Connection {
            stream,
            in_request: false,
            deadline: Box::pin(sleep(self.idle_time)),
            request_time: self.request_time,
            idle_time: self.idle_time,
            ended: Box::pin(async move {
                let _ = ended.wait_for(|ended| *ended).await;
            }),
            _slot: slot,
        };
        (connection, peer)
    }
}

/// A stream that fails with `TimedOut` past its deadline and with `ConnectionAborted` at the server's end.
pub struct Connection {
    stream: Accepted<TcpStream>,
    /// Bytes came in since the last ones went out.
    in_request: bool,
    deadline: Pin<Box<Sleep>>,
    request_time: Duration,
    idle_time: Duration,
    ended: Pin<Box<dyn Future<Output = ()> + Send>>,
    _slot: OwnedSemaphorePermit,
}

impl Connection {
    fn poll_bounds(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.ended.as_mut().poll(cx).is_ready() {
            // A future that is ready must not be polled again.
            self.ended = Box::pin(std::future::ready(()));
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        match self.deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }

    /// Moves the deadline where the connection turns from idle to a request or back.
    fn turn(&mut self, in_request: bool) {
        if self.in_request != in_request {
            self.in_request = in_request;
            let time = if in_request { self.request_time } else { self.idle_time };
            self.deadline.as_mut().reset(Instant::now() + time);
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_bounds(cx)?;
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.turn(true);
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(cx, written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Connection {
    fn wrote(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(_) => self.turn(false),
            Poll::Pending => self.poll_bounds(cx)?,
        }
        written
    }
}
