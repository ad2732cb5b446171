//! The receiver over TLS: who gets as far as to be heard, and what a handshake may cost.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{tests::*, *};
use crate::{
    db::testing,
    gateway::testing::{alert, clock, dcc_signer, signed},
    tls::{
        ClientConfig,
        tests::lab::{Flaw, TlsLab},
    },
};

/// A receiver over TLS on SQLite, and who signs for DCC.
async fn lab(tls: &TlsLab, limits: Limits) -> (Lab, Current<ServerConfig>) {
    let test = testing::sqlite().await;
    let (signer, pinned) = dcc_signer();
    let nudge = Arc::new(Notify::new());
    let current = Current::new(tls.server(Flaw::None));
    let setup = Setup { tls: Some(current.clone()), ..setup(&test, pinned, nudge.clone(), limits) };
    (Lab { receiver: start(setup).await.unwrap(), test, signer, nudge }, current)
}

async fn connect(lab: &Lab, config: Arc<ClientConfig>) -> io::Result<TlsStream<tokio::net::TcpStream>> {
    let name = "localhost".to_string().try_into().unwrap();
    TlsConnector::from(config).connect(name, lab.connect().await).await
}

/// The status of the answer to one message, or 0 where there was none.
async fn send(stream: &mut TlsStream<tokio::net::TcpStream>, request: &[u8]) -> u16 {
    if stream.write_all(request).await.is_err() || stream.flush().await.is_err() {
        return 0;
    }
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|w| w == b"\r\n\r\n") {
        match stream.read_buf(&mut bytes).await {
            Ok(0) | Err(_) => return 0,
            Ok(_) => {}
        }
    }
    String::from_utf8(bytes).unwrap()[9..12].parse().unwrap()
}

/// Waits until the receiver has counted this many refusals for the reason.
async fn counted(lab: &Lab, reason: &'static str, times: u64) {
    let counted = async {
        while lab.receiver.counts().refused.get(reason) != Some(&times) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), counted).await;
    assert!(in_time.is_ok(), "{reason} {times}: {:?}", lab.receiver.counts());
}

#[tokio::test]
async fn two_messages_come_over_one_connection() {
    let tls = TlsLab::new(&clock());
    let (lab, _) = lab(&tls, Limits::default()).await;
    let mut stream = connect(&lab, tls.client(Flaw::None)).await.unwrap();
    for n in 1..=2 {
        assert_eq!(send(&mut stream, &xml(&signed(&alert(n), &lab.signer))).await, 204);
    }
    assert_eq!(send(&mut stream, &xml(b"hello")).await, 400, "who may connect may not say everything");
    assert_eq!(lab.stored().await, 2);
    lab.receiver.stop().await;
}

#[tokio::test]
async fn who_has_no_good_certificate_is_not_heard() {
    let tls = TlsLab::new(&clock());
    let (lab, _) = lab(&tls, Limits::default()).await;
    let message = xml(&signed(&alert(1), &lab.signer));
    for (n, flaw) in [Flaw::Stranger, Flaw::Expired].into_iter().enumerate() {
        // With TLS 1.3 the handshake is over for a client before the server has looked at its certificate.
        if let Ok(mut stream) = connect(&lab, tls.client(flaw)).await {
            assert_eq!(send(&mut stream, &message).await, 0, "{flaw:?}");
        }
        counted(&lab, "tls", n as u64 + 1).await;
    }
    let anonymous = crate::tls::tests::anonymous(&tls, &clock());
    if let Ok(mut stream) = connect(&lab, anonymous).await {
        assert_eq!(send(&mut stream, &message).await, 0);
    }
    counted(&lab, "tls", 3).await;
    assert_eq!(lab.send(&message).await, 0, "plain HTTP");
    counted(&lab, "tls", 4).await;
    assert_eq!((lab.stored().await, lab.receiver.counts().refused.len()), (0, 1), "nothing of it was read as HTTP");
    let mut good = connect(&lab, tls.client(Flaw::None)).await.unwrap();
    assert_eq!(send(&mut good, &message).await, 204);
}

#[tokio::test]
async fn a_connection_that_never_shakes_hands_gives_its_place_back_soon() {
    let tls = TlsLab::new(&clock());
    let limits = Limits { connections: 2, handshake_time: Duration::from_millis(200), ..Limits::default() };
    let (lab, _) = lab(&tls, limits).await;
    // Both places are taken by clients that say nothing, or only the beginning of a handshake.
    let silent = lab.connect().await;
    let mut slow = lab.connect().await;
    slow.write_all(&[0x16, 0x03, 0x01]).await.unwrap();
    let mut stream = connect(&lab, tls.client(Flaw::None)).await.unwrap();
    assert_eq!(send(&mut stream, &xml(&signed(&alert(1), &lab.signer))).await, 204);
    counted(&lab, "tls-too-slow", 2).await;
    drop((silent, slow));
}

#[tokio::test]
async fn plain_tls_bytes_at_a_plain_receiver_are_a_bad_request() {
    let tls = TlsLab::new(&clock());
    let lab = labs(Limits::default()).await.remove(0);
    let error = connect(&lab, tls.client(Flaw::None)).await.unwrap_err();
    assert_eq!(crate::tls::reason(&error).unwrap(), "the far side does not speak TLS");
    assert_eq!(lab.send(&xml(&signed(&alert(1), &lab.signer))).await, 204);
}

#[tokio::test]
async fn a_replaced_configuration_counts_from_the_next_handshake() {
    let tls = TlsLab::new(&clock());
    let strangers = TlsLab::new(&clock());
    let (lab, current) = lab(&tls, Limits::default()).await;
    let mut early = connect(&lab, tls.client(Flaw::None)).await.unwrap();
    assert_eq!(send(&mut early, &xml(&signed(&alert(1), &lab.signer))).await, 204);
    current.replace(strangers.server(Flaw::None));
    assert!(connect(&lab, tls.client(Flaw::None)).await.is_err(), "another authority now");
    let mut late = connect(&lab, strangers.client(Flaw::None)).await.unwrap();
    assert_eq!(send(&mut late, &xml(&signed(&alert(2), &lab.signer))).await, 204);
    assert_eq!(send(&mut early, &xml(&signed(&alert(3), &lab.signer))).await, 204, "what was open stays open");
}
