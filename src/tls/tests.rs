//! Handshakes over a pair of sockets in memory, with certificates made on the spot: who gets in, who does not, and what either
//! side is told.

use std::{os::unix::fs::PermissionsExt, path::Path};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::TlsConnector;

use super::*;
use crate::{
    clock::Time,
    failure::Failure,
    sim::{
        authority::{Authority, Purpose, Wanted},
        pki::KeyAndCertificate,
    },
};

const DAY_MILLIS: i64 = 86_400_000;
const HANDSHAKE: Duration = Duration::from_secs(20);

fn now() -> Time {
    "2026-11-24T12:00:00Z".parse().unwrap()
}

/// Two authorities, of which only the first is trusted, and a folder for files.
struct Lab {
    folder: tempfile::TempDir,
    issuer: Authority,
    stranger: Authority,
}

impl Lab {
    fn new() -> Lab {
        let folder = tempfile::tempdir().unwrap();
        let root = Authority::root("Root", now()).unwrap();
        let stranger = Authority::root("Stranger", now()).unwrap();
        std::fs::write(folder.path().join("ca.pem"), &root.certificate_pem).unwrap();
        std::fs::write(folder.path().join("other-ca.pem"), &stranger.certificate_pem).unwrap();
        Lab { issuer: root.intermediate("Issuer", now()).unwrap(), stranger, folder }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Writes an identity under a name of its own; it trusts `ca`.
    fn files(&self, name: &str, ca: &str, made: &KeyAndCertificate) -> TlsFiles {
        let (key, certificate) = (format!("{name}.key.pem"), format!("{name}.pem"));
        made.write_to(self.folder.path(), &key, &certificate).unwrap();
        TlsFiles { ca: self.path(ca), certificate: self.path(&certificate), key: self.path(&key) }
    }
}

fn wanted(purpose: Purpose) -> Wanted<'static> {
    Wanted::new("somebody", &["dcc.test", "127.0.0.1"], purpose, now())
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
    let lab = Lab::new();
    let clock = Clock::manual(now());
    let issue = |wanted: &Wanted<'_>| lab.issuer.issue(wanted).unwrap();
    let expired = |purpose| Wanted { until: now().plus_millis(-DAY_MILLIS / 2), ..wanted(purpose) };
    let future = |purpose| Wanted { from: now().plus_millis(DAY_MILLIS), ..wanted(purpose) };
    let elsewhere = Wanted { hosts: &["other.test"], ..wanted(Purpose::Server) };
    let strange = |purpose| lab.stranger.issue(&wanted(purpose)).unwrap();
    let servers = [
        ("good", issue(&wanted(Purpose::Server))),
        ("both ways", issue(&wanted(Purpose::Both))),
        ("a stranger", strange(Purpose::Server)),
        ("expired", issue(&expired(Purpose::Server))),
        ("not valid yet", issue(&future(Purpose::Server))),
        ("another name", issue(&elsewhere)),
        ("a client's", issue(&wanted(Purpose::Client))),
    ];
    let clients = [
        ("good", issue(&wanted(Purpose::Client))),
        ("both ways", issue(&wanted(Purpose::Both))),
        ("a stranger", strange(Purpose::Client)),
        ("expired", issue(&expired(Purpose::Client))),
        ("not valid yet", issue(&future(Purpose::Client))),
        ("a server's", issue(&wanted(Purpose::Server))),
    ];
    let good_client = client_config(&lab.files("our client", "ca.pem", &clients[0].1), &clock).unwrap();
    let good_server = server_config(&lab.files("our server", "ca.pem", &servers[0].1), &clock).unwrap();
    let mut story = String::new();
    for (n, (what, made)) in servers.iter().enumerate() {
        let server = server_config(&lab.files(&format!("server-{n}"), "ca.pem", made), &clock).unwrap();
        let (client, told) = meet(good_client.clone(), server, "dcc.test").await;
        story += &format!("a server, {what}\n  we: {client:?}\n  it: {told:?}\n");
    }
    for (n, (what, made)) in clients.iter().enumerate() {
        let client = client_config(&lab.files(&format!("client-{n}"), "ca.pem", made), &clock).unwrap();
        let (client, told) = meet(client, good_server.clone(), "127.0.0.1").await;
        story += &format!("a client, {what}\n  it: {client:?}\n  we: {told:?}\n");
    }
    let nobody = trust_nobody(&clock).unwrap();
    story += &format!("who trusts nobody: {:?}\n", meet(nobody, good_server.clone(), "dcc.test").await.0);
    let anonymous = anonymous(&lab, &clock);
    let (client, told) = meet(anonymous, good_server, "dcc.test").await;
    story += &format!("a client without a certificate\n  it: {client:?}\n  we: {told:?}\n");
    insta::assert_snapshot!(story);
}

/// Trusts the authority, shows nothing.
fn anonymous(lab: &Lab, clock: &Clock) -> Arc<ClientConfig> {
    let files = lab.files("unused", "ca.pem", &lab.issuer.issue(&wanted(Purpose::Client)).unwrap());
    let roots = pem::load(&files).unwrap().roots;
    let builder = ClientConfig::builder_with_details(provider(), Arc::new(Now(clock.clone())));
    let builder = builder.with_protocol_versions(VERSIONS).unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

#[tokio::test]
async fn both_versions_of_tls_are_spoken_and_a_certificate_is_asked_for_in_each() {
    let lab = Lab::new();
    let clock = Clock::manual(now());
    let client =
        client_config(&lab.files("client", "ca.pem", &lab.issuer.issue(&wanted(Purpose::Client)).unwrap()), &clock).unwrap();
    let server =
        server_config(&lab.files("server", "ca.pem", &lab.issuer.issue(&wanted(Purpose::Server)).unwrap()), &clock).unwrap();
    let files = lab.files("again", "ca.pem", &lab.issuer.issue(&wanted(Purpose::Client)).unwrap());
    let loaded = pem::load(&files).unwrap();
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
    let lab = Lab::new();
    let clock = Clock::manual(now());
    let short = Wanted { until: now().plus_millis(1_000), ..wanted(Purpose::Client) };
    let client = client_config(&lab.files("client", "ca.pem", &lab.issuer.issue(&short).unwrap()), &clock).unwrap();
    let server =
        server_config(&lab.files("server", "ca.pem", &lab.issuer.issue(&wanted(Purpose::Server)).unwrap()), &clock).unwrap();
    assert!(meet(client.clone(), server.clone(), "dcc.test").await.0.is_ok());
    clock.advance(10_000);
    assert_eq!(
        meet(client, server, "dcc.test").await.0.unwrap_err(),
        "the far side ended the TLS handshake: our certificate has expired, or is not valid yet"
    );
}

#[tokio::test]
async fn what_is_not_tls_is_named_and_silence_ends() {
    let lab = Lab::new();
    let clock = Clock::manual(now());
    let server =
        server_config(&lab.files("server", "ca.pem", &lab.issuer.issue(&wanted(Purpose::Server)).unwrap()), &clock).unwrap();
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
    let lab = Lab::new();
    let clock = Clock::manual(now());
    let made = lab.issuer.issue(&wanted(Purpose::Both)).unwrap();
    let other = lab.issuer.issue(&wanted(Purpose::Both)).unwrap();
    let good = lab.files("good", "ca.pem", &made);
    let other = lab.files("other", "ca.pem", &other);
    let text = |name: &str, text: &str, mode: u32| {
        let path = lab.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let bad_ca = text("bad-ca.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 0o644);
    let broken = text("broken.pem", "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n", 0o644);
    let empty = text("empty.pem", "nothing here\n", 0o600);
    let open = text("open.key.pem", &made.key_pem, 0o644);
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
    let folder = format!("{}/", Path::new(lab.folder.path()).display());
    let mut story = String::new();
    for files in &wrong {
        let failure = Failure::from(client_config(files, &clock).unwrap_err());
        assert_eq!(failure.message, Failure::from(server_config(files, &clock).unwrap_err()).message);
        story += &format!("{}\n  {}\n", failure.message, failure.help.join("\n  ")).replace(&folder, "");
    }
    insta::assert_snapshot!(story);
}
