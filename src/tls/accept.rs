//! An accepted connection whose TLS handshake happens when it is first read, in the task that serves it: a slow handshake keeps
//! nobody else waiting, and what was accepted counts as a connection before it has shown a certificate. Plain where no TLS is
//! configured. Promise: no byte is handed on before the handshake is done; past its time the connection ends.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};
use tokio_rustls::{Accept, TlsAcceptor, server::TlsStream};

use super::reason;

/// Why a handshake came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandshakeRefused {
    /// It took longer than it may.
    TooSlow,
    /// The far side left without finishing it: a port scan, or a health check of the network's.
    Left(String),
    /// No certificate, a wrong one, or no TLS at all.
    Tls(String),
}

type Report = Box<dyn FnOnce(HandshakeRefused) + Send>;

/// A connection as the server reads and writes it.
pub struct Accepted<IO> {
    stage: Stage<IO>,
}

enum Stage<IO> {
    Plain(IO),
    Handshake(Box<Handshake<IO>>),
    Open(Box<TlsStream<IO>>),
    Refused,
}

struct Handshake<IO> {
    accept: Accept<IO>,
    deadline: Pin<Box<Sleep>>,
    report: Option<Report>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Accepted<IO> {
    pub fn plain(io: IO) -> Accepted<IO> {
        Accepted { stage: Stage::Plain(io) }
    }

    /// `report` hears of a handshake that came to nothing.
    pub fn tls(
        io: IO,
        config: Arc<ServerConfig>,
        handshake_time: Duration,
        report: impl FnOnce(HandshakeRefused) + Send + 'static,
    ) -> Accepted<IO> {
        let accept = TlsAcceptor::from(config).accept(io);
        let handshake = Handshake { accept, deadline: Box::pin(sleep(handshake_time)), report: Some(Box::new(report)) };
        Accepted { stage: Stage::Handshake(Box::new(handshake)) }
    }

    /// Ready when bytes may pass.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let handshake = match &mut self.stage {
            Stage::Plain(_) | Stage::Open(_) => return Poll::Ready(Ok(())),
            Stage::Refused => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            Stage::Handshake(handshake) => handshake,
        };
        let (refused, error) = match Pin::new(&mut handshake.accept).poll(cx) {
            Poll::Ready(Ok(stream)) => {
                self.stage = Stage::Open(Box::new(stream));
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(Err(error)) => (refusal(&error), error),
            Poll::Pending => {
                ready!(handshake.deadline.as_mut().poll(cx));
                (HandshakeRefused::TooSlow, io::ErrorKind::TimedOut.into())
            }
        };
        if let Some(report) = handshake.report.take() {
            report(refused);
        }
        self.stage = Stage::Refused;
        Poll::Ready(Err(error))
    }
}

fn refusal(error: &io::Error) -> HandshakeRefused {
    match reason(error) {
        Some(why) => HandshakeRefused::Tls(why),
        None if error.kind() == io::ErrorKind::TimedOut => HandshakeRefused::TooSlow,
        None => HandshakeRefused::Left(error.to_string()),
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Accepted<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_open(cx))?;
        match &mut self.stage {
            Stage::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Stage::Open(stream) => Pin::new(stream).poll_read(cx, buf),
            Stage::Handshake(_) | Stage::Refused => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Accepted<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(cx))?;
        match &mut self.stage {
            Stage::Plain(io) => Pin::new(io).poll_write(cx, bytes),
            Stage::Open(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stage::Handshake(_) | Stage::Refused => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(cx))?;
        match &mut self.stage {
            Stage::Plain(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Stage::Open(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stage::Handshake(_) | Stage::Refused => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stage {
            Stage::Plain(io) => io.is_write_vectored(),
            Stage::Open(stream) => stream.is_write_vectored(),
            Stage::Handshake(_) | Stage::Refused => false,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stage {
            Stage::Plain(io) => Pin::new(io).poll_flush(cx),
            Stage::Open(stream) => Pin::new(stream).poll_flush(cx),
            // Nothing was written yet.
            Stage::Handshake(_) | Stage::Refused => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stage {
            Stage::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Stage::Open(stream) => Pin::new(stream).poll_shutdown(cx),
            Stage::Handshake(_) | Stage::Refused => Poll::Ready(Ok(())),
        }
    }
}
