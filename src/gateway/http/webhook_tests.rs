//! Webhooks over https: trusted under the named authority alone, without a certificate of ours.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs::default_provider,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use super::*;
use crate::{
    gateway::testing::clock,
    sim::authority::Purpose,
    tls::tests::lab::{Flaw, TlsLab},
};

/// A receiver that asks for no certificate and answers 204; gives its port.
async fn receiver(lab: &TlsLab, flaw: Flaw) -> u16 {
    let files = lab.files(Purpose::Server, flaw);
    let chain: Vec<_> = CertificateDer::pem_file_iter(&files.certificate).unwrap().collect::<Result<_, _>>().unwrap();
    let builder = ServerConfig::builder_with_provider(default_provider().into()).with_safe_default_protocol_versions().unwrap();
    let config =
        builder.with_no_client_auth().with_single_cert(chain, PrivateKeyDer::from_pem_file(&files.key).unwrap()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = TlsAcceptor::from(std::sync::Arc::new(config.clone())).accept(stream).await else { continue };
            let mut read = Vec::new();
            while !read.ends_with(b"{}") && stream.read_buf(&mut read).await.is_ok_and(|n| n > 0) {}
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
            let _ = stream.flush().await;
        }
    });
    port
}

async fn posted(lab: &TlsLab, flaw: Flaw, ca: &str) -> Heard {
    let post = WebhookPost {
        url: format!("https://localhost:{}/told", receiver(lab, flaw).await),
        ca: Some(lab.path(ca)),
        headers: vec![("Idempotency-Key", "1".into())],
        body: "{}".into(),
        timeout: Duration::from_secs(20),
    };
    HttpWebhooks::new(clock()).unwrap().post(post).await
}

#[tokio::test]
async fn only_what_the_named_authority_vouches_for_is_told() {
    let lab = TlsLab::new(&clock());
    assert_eq!(posted(&lab, Flaw::None, "ca.pem").await, Heard::Taken);
    for (flaw, ca, words) in [
        (Flaw::Stranger, "ca.pem", "not issued under the configured ca"),
        (Flaw::OtherName, "ca.pem", "certificate is not accepted"),
        (Flaw::Expired, "ca.pem", "certificate is not accepted"),
        (Flaw::None, "absent.pem", "cannot be read"),
    ] {
        match posted(&lab, flaw, ca).await {
            Heard::NotNow { why, .. } => assert!(why.contains(words), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_each_status_says() {
    let kind = |status: u16| match said(StatusCode::from_u16(status).unwrap(), None) {
        Heard::Taken => "taken",
        Heard::Gone { .. } => "gone",
        Heard::Refused { .. } => "refused",
        Heard::NotNow { .. } => "not now",
    };
    for (statuses, expected) in [
        (&[200, 201, 202, 204][..], "taken"),
        (&[410], "gone"),
        (&[400, 413, 415, 422], "refused"),
        (&[301, 307, 401, 403, 404, 405, 408, 409, 425, 429, 500, 502, 503, 504], "not now"),
    ] {
        assert!(statuses.iter().all(|s| kind(*s) == expected), "{expected}");
    }
}
