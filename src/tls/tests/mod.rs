//! Handshakes over a pair of sockets in memory, with certificates made on the spot: who gets in, who does not, and what either
//! side is told.

pub mod lab;

use std::os::unix::fs::PermissionsExt;

use lab::{Flaw, TlsLab};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::TlsConnector;

use super::*;
use crate::{clock::Time, failure::Failure, sim::authority::Purpose};

const HANDSHAKE: Duration = Duration::from_secs(20);

fn now() -> Time {
    "2026-11-24T12:00:00Z".parse().unwrap()
}

/// What either side comes to: the far side's protocol, or why not.
async fn meet(
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    name: &str,
) -> (Result<String, String>, Option<HandshakeRefused>) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let refused = Arc::new(std::sync::Mutex::new(None));
    let told = refused.clone();
    let mut accepted = Accepted::tls(far, server, HANDSHAKE, move |why| *told.lock().unwrap() = Some(why));
    let serving = tokio::spawn(async move {
        let mut said = [0; 5];
        let read = accepted.read_exact(&mut said).await;
        if read.is_ok() && &said == b"hello" {
            let _ = accepted.write_all(b"world").await;
            let _ = accepted.flush().await;
        }
    });
    let outcome = talk(client, near, name).await;
    serving.await.unwrap();
    let refused = refused.lock().unwrap().clone();
    (outcome, refused)
}

async fn talk(client: Arc<ClientConfig>, near: DuplexStream, name: &str) -> Result<String, String> {
    let why = |e: std::io::Error| reason(&e).unwrap_or_else(|| format!("not TLS: {e}"));
    let name = rustls::pki_types::ServerName::try_from(name.to_string()).unwrap();
    let mut stream = TlsConnector::from(client).connect(name, near).await.map_err(why)?;
    stream.write_all(b"hello").await.map_err(why)?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await.map_err(why)?;
    assert_eq!(&answer, b"world");
    Ok(format!("{:?}", stream.get_ref().1.protocol_version().unwrap()))
}

#[tokio::test]
async fn only_the_right_certificates_meet_and_each_side_is_told_why_not() {
    let clock = Clock::manual(now());
    let lab = TlsLab::new(&clock);
    let (good_client, good_server) = (lab.client(Flaw::None), lab.server(Flaw::None));
    let server = |purpose, flaw| server_config(&lab.files(purpose, flaw), &clock).unwrap();
    let client = |purpose, flaw| client_config(&lab.files(purpose, flaw), &clock).unwrap();
    let mut story = String::new();
    for (what, purpose, flaw) in [
        ("good", Purpose::Server, Flaw::None),
        ("good for both ways", Purpose::Both, Flaw::None),
        ("a stranger's", Purpose::Server, Flaw::Stranger),
        ("expired", Purpose::Server, Flaw::Expired),
        ("not valid yet", Purpose::Server, Flaw::NotValidYet),
        ("for another name", Purpose::Server, Flaw::OtherName),
        ("a client's", Purpose::Client, Flaw::None),
    ] {
        let (us, told) = meet(good_client.clone(), server(purpose, flaw), "dcc.test").await;
        story += &format!("a server's certificate, {what}\n  we: {us:?}\n  it: {told:?}\n");
    }
    for (what, purpose, flaw) in [
        ("good", Purpose::Client, Flaw::None),
        ("good for both ways", Purpose::Both, Flaw::None),
        ("a stranger's", Purpose::Client, Flaw::Stranger),
        ("expired", Purpose::Client, Flaw::Expired),
        ("not valid yet", Purpose::Client, Flaw::NotValidYet),
        ("a server's", Purpose::Server, Flaw::None),
    ] {
        let (it, told) = meet(client(purpose, flaw), good_server.clone(), "127.0.0.1").await;
        story += &format!("a client's certificate, {what}\n  it: {it:?}\n  we: {told:?}\n");
    }
    let nobody = trust_nobody(&clock).unwrap();
    story += &format!("who trusts nobody: {:?}\n", meet(nobody, good_server.clone(), "dcc.test").await.0);
    let (it, told) = meet(anonymous(&lab, &clock), good_server, "dcc.test").await;
    story += &format!("a client without a certificate\n  it: {it:?}\n  we: {told:?}\n");
    insta::assert_snapshot!(story);
}

/// Trusts the authority, shows nothing.
pub fn anonymous(lab: &TlsLab, clock: &Clock) -> Arc<ClientConfig> {
    let roots = pem::load(&lab.files(Purpose::Client, Flaw::None)).unwrap().roots;
    let builder = ClientConfig::builder_with_details(provider(), Arc::new(Now(clock.clone())));
    let builder = builder.with_protocol_versions(VERSIONS).unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

#[tokio::test]
async fn both_versions_of_tls_are_spoken_and_a_certificate_is_asked_for_in_each() {
    let clock = Clock::manual(now());
    let lab = TlsLab::new(&clock);
    let (client, server) = (lab.client(Flaw::None), lab.server(Flaw::None));
    let loaded = pem::load(&lab.files(Purpose::Client, Flaw::None)).unwrap();
    let old = |roots: RootCertStore| {
        let builder = ClientConfig::builder_with_details(provider(), Arc::new(Now(clock.clone())));
        builder.with_protocol_versions(&[&TLS12]).unwrap().with_root_certificates(roots)
    };
    let twelve = Arc::new(old(loaded.roots.clone()).with_client_auth_cert(loaded.chain, loaded.key).unwrap());
    let anonymous = Arc::new(old(loaded.roots).with_no_client_auth());
    assert_eq!(meet(client, server.clone(), "dcc.test").await.0.unwrap(), "TLSv1_3");
    assert_eq!(meet(twelve, server.clone(), "dcc.test").await.0.unwrap(), "TLSv1_2");
    let (client, told) = meet(anonymous, server, "dcc.test").await;
    assert!(client.unwrap_err().contains("certificate of ours"));
    assert_eq!(told, Some(HandshakeRefused::Tls("the far side showed no certificate".into())));
}

#[tokio::test]
async fn a_certificate_that_expires_between_two_handshakes_is_refused_in_the_second() {
    let clock = Clock::manual(now());
    let lab = TlsLab::new(&clock);
    let (client, server) = (lab.client(Flaw::ExpiresSoon), lab.server(Flaw::None));
    assert!(meet(client.clone(), server.clone(), "dcc.test").await.0.is_ok());
    clock.advance(10_000);
    assert_eq!(
        meet(client, server, "dcc.test").await.0.unwrap_err(),
        "the far side ended the TLS handshake: our certificate has expired, or is not valid yet"
    );
}

#[tokio::test]
async fn what_is_not_tls_is_named_and_silence_ends() {
    let clock = Clock::manual(now());
    let lab = TlsLab::new(&clock);
    let server = lab.server(Flaw::None);
    for (bytes, wanted) in [
        (&b"POST / HTTP/1.1\r\nHost: us\r\n\r\n"[..], Some(HandshakeRefused::Tls("the far side does not speak TLS".into()))),
        (b"", None),
    ] {
        let (mut near, far) = tokio::io::duplex(4096);
        let (tell, told) = std::sync::mpsc::channel();
        let mut accepted = Accepted::tls(far, server.clone(), HANDSHAKE, move |why| tell.send(why).unwrap());
        near.write_all(bytes).await.unwrap();
        near.shutdown().await.unwrap();
        assert!(accepted.read_u8().await.is_err());
        assert!(accepted.read_u8().await.is_err(), "once refused, for ever refused");
        let told = told.try_recv().unwrap();
        match wanted {
            Some(wanted) => assert_eq!(told, wanted),
            None => assert!(matches!(told, HandshakeRefused::Left(_)), "{told:?}"),
        }
    }
    let (_silent, far) = tokio::io::duplex(4096);
    let (tell, told) = std::sync::mpsc::channel();
    let mut accepted = Accepted::tls(far, server, Duration::from_millis(50), move |why| tell.send(why).unwrap());
    assert_eq!(accepted.read_u8().await.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    assert_eq!(told.try_recv().unwrap(), HandshakeRefused::TooSlow);
}

#[test]
fn files_that_cannot_be_used_say_which_and_why() {
    let clock = Clock::manual(now());
    let lab = TlsLab::new(&clock);
    let (good, other) = (lab.files(Purpose::Both, Flaw::None), lab.files(Purpose::Both, Flaw::None));
    let key_pem = std::fs::read_to_string(&good.key).unwrap();
    let text = |name: &str, text: &str, mode: u32| {
        let path = lab.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let bad_ca = text("bad-ca.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 0o644);
    let broken = text("broken.pem", "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n", 0o644);
    let empty = text("empty.pem", "nothing here\n", 0o600);
    let open = text("open.key.pem", &key_pem, 0o644);
    let wrong = [
        TlsFiles { ca: lab.path("none.pem"), ..good.clone() },
        TlsFiles { ca: empty.clone(), ..good.clone() },
        TlsFiles { ca: bad_ca, ..good.clone() },
        TlsFiles { certificate: broken, ..good.clone() },
        TlsFiles { key: open, ..good.clone() },
        TlsFiles { key: empty, ..good.clone() },
        TlsFiles { key: lab.path("none.pem"), ..good.clone() },
        TlsFiles { key: other.key, ..good.clone() },
    ];
    let folder = lab.path("").display().to_string();
    let mut story = String::new();
    for files in &wrong {
        let failure = Failure::from(client_config(files, &clock).unwrap_err());
        assert_eq!(failure.message, Failure::from(server_config(files, &clock).unwrap_err()).message);
        story += &format!("{}\n  {}\n", failure.message, failure.help.join("\n  ")).replace(&folder, "");
    }
    insta::assert_snapshot!(story);
}
