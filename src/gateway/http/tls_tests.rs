//! The client over https: whom it posts to, whom it does not, and what is certain in each case.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{
    gateway::testing::{acknowledgement, clock, dcc_signer, id, signed},
    tls::{
        ServerConfig,
        tests::lab::{Flaw, TlsLab},
    },
};

/// The first byte a TLS client sends; to an HTTP server it is a bad request.
const TLS_HANDSHAKE: u8 = 0x16;
const PATIENCE: Duration = Duration::from_secs(20);

/// A peer that answers every request of every connection with `reply`; how many connections and requests came.
struct Peer {
    port: u16,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

async fn peer(config: Option<Arc<ServerConfig>>, reply: Vec<u8>) -> Peer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (seen, asked) = (connections.clone(), requests.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            seen.fetch_add(1, Ordering::SeqCst);
            let (config, reply, asked) = (config.clone(), reply.clone(), asked.clone());
            tokio::spawn(async move {
                match config {
                    None => converse(stream, &reply, &asked).await,
                    Some(config) => {
                        let Ok(stream) = TlsAcceptor::from(config).accept(stream).await else { return };
                        converse(stream, &reply, &asked).await;
                    }
                }
            });
        }
    });
    Peer { port, connections, requests }
}

async fn converse(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, reply: &[u8], asked: &AtomicUsize) {
    let mut bytes = Vec::new();
    while let Ok(n) = stream.read_buf(&mut bytes).await {
        if n == 0 {
            return;
        }
        if bytes[0] == TLS_HANDSHAKE {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            return;
        }
        if bytes.ends_with(b"<request/>") {
            asked.fetch_add(1, Ordering::SeqCst);
            bytes.clear();
            let _ = stream.write_all(reply).await;
            let _ = stream.flush().await;
        }
    }
}

/// DCC's signed I99 to our request 1000, and DCC's certificate.
fn accepted() -> (Vec<u8>, Pinned) {
    let (signer, pinned) = dcc_signer();
    let body = signed(&acknowledgement(1000, "I99"), &signer);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    ([head.as_bytes(), &body].concat(), pinned)
}

fn https(base_url: String, tls: Arc<ClientConfig>, pinned: Pinned, timeout: Duration) -> HttpGateway {
    let settings = HttpSettings::new(&base_url, timeout, pinned, clock());
    HttpGateway::new(HttpSettings { tls: Some(tls), ..settings }).unwrap()
}

async fn post(gateway: &HttpGateway) -> PostOutcome {
    gateway.post(Service::NonDevice, b"<request/>".to_vec(), id(1000)).await
}

/// What it comes to, in a line.
fn line(outcome: &PostOutcome) -> String {
    match outcome {
        PostOutcome::Answered(response) => format!("Answered {}", response.code),
        PostOutcome::Refused(response) => format!("Refused {}", response.code),
        PostOutcome::NotSent(t) => format!("NotSent, {:?}: {}", t.fault, t.why),
        PostOutcome::Unknown(t) => format!("Unknown, {:?}: {}", t.fault, t.why),
        PostOutcome::Rejected(t) => format!("Rejected, {:?}: {}", t.fault, t.why),
    }
}

#[tokio::test]
async fn two_posts_go_over_one_connection_and_a_replaced_identity_makes_a_new_one() {
    let lab = TlsLab::new(&clock());
    let (reply, pinned) = accepted();
    let peer = peer(Some(lab.server(Flaw::None)), reply).await;
    let gateway = https(format!("https://localhost:{}", peer.port), lab.client(Flaw::None), pinned, PATIENCE);
    for _ in 0..2 {
        assert_eq!(line(&post(&gateway).await), "Answered I99");
    }
    let seen = || (peer.connections.load(Ordering::SeqCst), peer.requests.load(Ordering::SeqCst));
    assert_eq!(seen(), (1, 2));
    gateway.replace_tls(lab.client(Flaw::None)).unwrap();
    assert_eq!(line(&post(&gateway).await), "Answered I99");
    assert_eq!(seen(), (2, 3));
}

#[tokio::test]
async fn whatever_is_wrong_with_a_certificate_is_named_and_not_sent_is_said_only_where_it_is_certain() {
    let lab = TlsLab::new(&clock());
    let mut story = String::new();
    for (what, server, client) in [
        ("all is well", Some(Flaw::None), Flaw::None),
        ("DCC's is a stranger's", Some(Flaw::Stranger), Flaw::None),
        ("DCC's has expired", Some(Flaw::Expired), Flaw::None),
        ("DCC's is for another name", Some(Flaw::OtherName), Flaw::None),
        ("ours is a stranger's", Some(Flaw::None), Flaw::Stranger),
        ("ours has expired", Some(Flaw::None), Flaw::Expired),
        ("DCC speaks plain http", None, Flaw::None),
    ] {
        let (reply, pinned) = accepted();
        let peer = peer(server.map(|flaw| lab.server(flaw)), reply).await;
        let gateway = https(format!("https://127.0.0.1:{}", peer.port), lab.client(client), pinned, PATIENCE);
        let outcome = post(&gateway).await;
        let arrived = peer.requests.load(Ordering::SeqCst);
        assert!(arrived == 0 || matches!(outcome, PostOutcome::Answered(_)), "{what}");
        story += &format!("{what}\n  {}\n", line(&outcome));
        assert!(outcome.trouble().is_none_or(|t| t.fault == Fault::Tls), "{what}");
    }
    insta::assert_snapshot!(story);
}

/// A far side that refuses us closes while we are still sending, and its reason may be lost with that. What is certain is not.
#[tokio::test]
async fn a_large_request_that_is_refused_half_way_is_unknown() {
    let lab = TlsLab::new(&clock());
    let (reply, pinned) = accepted();
    let peer = peer(Some(lab.server(Flaw::None)), reply).await;
    let gateway = https(format!("https://127.0.0.1:{}", peer.port), lab.client(Flaw::Stranger), pinned, PATIENCE);
    let outcome = gateway.post(Service::NonDevice, vec![b'x'; 12_000_000], id(1000)).await;
    let PostOutcome::Unknown(trouble) = outcome else { panic!("{outcome:?}") };
    assert!([Fault::Tls, Fault::BrokeOff].contains(&trouble.fault) && trouble.why.contains("our certificate"), "{trouble:?}");
}

#[tokio::test]
async fn plain_http_to_a_tls_port_is_unknown_since_the_request_went_out_and_says_what_to_look_at() {
    let lab = TlsLab::new(&clock());
    let (reply, pinned) = accepted();
    let peer = peer(Some(lab.server(Flaw::None)), reply).await;
    let settings = HttpSettings::new(&format!("http://127.0.0.1:{}", peer.port), PATIENCE, pinned, clock());
    let outcome = post(&HttpGateway::new(settings).unwrap()).await;
    assert_eq!(outcome.remedy(), Some(Fault::WrongAddress.remedy()), "{outcome:?}");
    assert!(matches!(&outcome, PostOutcome::Unknown(t) if t.why.contains("is it https there?")), "{outcome:?}");
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let lab = TlsLab::new(&clock());
    let settings = HttpSettings::new(&format!("https://127.0.0.1:{port}"), PATIENCE, accepted().1, clock());
    let settings = HttpSettings { tls: Some(lab.client(Flaw::None)), connect_timeout: Duration::from_millis(200), ..settings };
    // Connected by the system, and then nobody says a word.
    let silent = tokio::spawn(async move {
        let held: Vec<TcpStream> = vec![listener.accept().await.unwrap().0];
        std::future::pending::<()>().await;
        drop(held);
    });
    let outcome = post(&HttpGateway::new(settings).unwrap()).await;
    assert_eq!(line(&outcome), "NotSent, NoConnection: no connection in time");
    silent.abort();
}

#[test]
fn https_needs_an_identity() {
    let settings = HttpSettings::new("https://127.0.0.1:1", PATIENCE, accepted().1, clock());
    assert!(matches!(HttpGateway::new(settings), Err(GatewayError::BaseUrl { .. })));
}
