//! The daemon over mutual TLS: it posts to an https DCC, and takes DCC's messages from `openssl s_client`, which shares no line
//! with us. Who shows no certificate, or one of a stranger's, or speaks an old TLS, does not get as far as HTTP. The
//! receiver's certificate is exchanged while it runs.

use std::{
    io::{Read, Write},
    path::PathBuf,
    process::{Command, Stdio},
};

use ppmid_orchestrator::{
    clock::Clock,
    sim::authority::{Authority, Purpose, Wanted},
    tls::{TlsFiles, server_config},
};

use crate::{
    certificate_reload::alert,
    lab::{Behaviour, Engine, Lab, PATIENCE, RawDcc, on_both_engines, until},
};

on_both_engines!(requests_and_messages_go_over_mutual_tls);

const SITES: u64 = 12;

/// Writes an identity of `authority` into the lab's folder; whoever holds it trusts `ca.pem`.
fn identity(lab: &Lab, authority: &Authority, name: &str, purpose: Purpose) -> TlsFiles {
    let path = |file: &str| -> PathBuf { lab.folder.path().join(file) };
    let (key, certificate) = (format!("{name}.key.pem"), format!("{name}.pem"));
    for old in [&key, &certificate] {
        let _ = std::fs::remove_file(path(old));
    }
    let wanted = Wanted::new(name, &["localhost", "127.0.0.1"], purpose, Clock::System.now());
    authority.issue(&wanted).unwrap().write_to(lab.folder.path(), &key, &certificate).unwrap();
    TlsFiles { ca: path("ca.pem"), certificate: path(&certificate), key: path(&key) }
}

/// What `openssl s_client` says and gets when it posts `message` to the receiver; `None` where there is no openssl.
fn posted_by_openssl(lab: &Lab, options: &[&str], message: &[u8]) -> Option<String> {
    let address = format!("127.0.0.1:{}", lab.receiver_port);
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address, "-CAfile", "ca.pem", "-verify_return_error", "-ign_eof"]).args(options);
    command.current_dir(lab.folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        assert!(std::env::var_os("PPMID_REQUIRE_TOOLS").is_none(), "openssl is missing");
        eprintln!("SKIPPED: openssl is not installed");
        return None;
    };
    let head = format!(
        "POST /duis/receive HTTP/1.1\r\nHost: us\r\nConnection: close\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n",
        message.len()
    );
    let mut stdin = child.stdin.take().unwrap();
    // It may have been turned away before it could send.
    let _ = stdin.write_all(&[head.as_bytes(), message].concat());
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    drop(stdin);
    child.wait().unwrap();
    Some(said + &errors)
}

async fn requests_and_messages_go_over_mutual_tls(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    let now = Clock::System.now();
    let root = Authority::root("Root", now).unwrap();
    let issuer = root.intermediate("Issuer", now).unwrap();
    let stranger = Authority::root("Stranger", now).unwrap();
    lab.folder.write("ca.pem", &root.certificate_pem);
    let dcc_server = identity(&lab, &issuer, "dcc-server", Purpose::Server);
    identity(&lab, &issuer, "our-client", Purpose::Client);
    identity(&lab, &issuer, "our-server", Purpose::Server);
    identity(&lab, &issuer, "dcc-client", Purpose::Client);
    identity(&lab, &stranger, "strange", Purpose::Client);

    let image = lab.load_eligible(SITES);
    lab.start_campaign("spring", &image, 50);
    let tls = server_config(&dcc_server, &Clock::System).unwrap();
    let dcc = RawDcc::start_over(lab.dcc_port, Some(tls), Behaviour::Accepts, lab.dcc_signer()).await;
    let base_url = format!("https://localhost:{}", lab.dcc_port);
    let environment = [
        ("PPMID_GATEWAY__BASE_URL", base_url.as_str()),
        ("PPMID_GATEWAY__TLS__CA", "ca.pem"),
        ("PPMID_GATEWAY__TLS__CERTIFICATE", "our-client.pem"),
        ("PPMID_GATEWAY__TLS__KEY", "our-client.key.pem"),
        ("PPMID_RECEIVER__TLS__CA", "ca.pem"),
        ("PPMID_RECEIVER__TLS__CERTIFICATE", "our-server.pem"),
        ("PPMID_RECEIVER__TLS__KEY", "our-server.key.pem"),
    ];
    let serve = lab.start_serving(&environment);
    serve.until_it_says("serving");
    until("the request accepted", PATIENCE, || (lab.status("spring")["by_state"]["accepted"] == SITES).then_some(()));
    assert_eq!(dcc.posts().len(), 1);

    let signer = lab.dcc_signer();
    let good = ["-cert", "dcc-client.pem", "-cert_chain", "dcc-client.pem", "-key", "dcc-client.key.pem"];
    let with = |more: &[&'static str]| [&good[..], more].concat();
    for (n, version) in [(1, "-tls1_3"), (2, "-tls1_2")] {
        let Some(said) = posted_by_openssl(&lab, &with(&[version]), &alert(n, &signer)) else { return };
        assert!(said.contains("HTTP/1.1 204") && said.contains("Verify return code: 0"), "{version}: {said}");
    }
    let strange = ["-cert", "strange.pem", "-key", "strange.key.pem"];
    for (what, options) in [
        ("no certificate", vec!["-tls1_3"]),
        ("no certificate", vec!["-tls1_2"]),
        ("a stranger's", strange.to_vec()),
        ("an old TLS", with(&["-tls1_1"])),
    ] {
        let said = posted_by_openssl(&lab, &options, &alert(3, &signer)).unwrap();
        assert!(!said.contains("HTTP/1.1") && said.contains("alert"), "{what}: {said}");
    }
    serve.until_it_says("the far side showed no certificate");

    let serial = |said: &str| said.split("-----BEGIN CERTIFICATE-----").nth(1).map(|c| c[..200].to_string());
    let before = serial(&posted_by_openssl(&lab, &with(&["-tls1_3"]), &alert(4, &signer)).unwrap());
    identity(&lab, &issuer, "our-server", Purpose::Server);
    serve.hang_up();
    serve.until_it_says("new certificates are in force");
    let said = posted_by_openssl(&lab, &with(&["-tls1_3"]), &alert(5, &signer)).unwrap();
    assert!(said.contains("HTTP/1.1 204"), "{said}");
    assert_ne!(before.unwrap(), serial(&said).unwrap());
    serve.terminate();
}

#[tokio::test]
async fn tls_files_that_cannot_be_used_keep_the_daemon_from_starting_and_say_why() {
    let Some(lab) = Lab::new(Engine::Sqlite).await else { return };
    let root = Authority::root("Root", Clock::System.now()).unwrap();
    lab.folder.write("ca.pem", &root.certificate_pem);
    let ours = identity(&lab, &root, "ours", Purpose::Both);
    identity(&lab, &root, "other", Purpose::Both);
    let receiver = |certificate: &str, key: &str| {
        format!("[receiver.tls]\nca = \"ca.pem\"\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n")
    };
    let https = "base_url = \"https://127.0.0.1:1\"\n";
    for (gateway, wanted) in [
        (receiver("ours.pem", "other.key.pem"), "the key is not the certificate's"),
        (receiver("none.pem", "ours.key.pem"), "none.pem cannot be read"),
        (receiver("ours.pem", "open.key.pem"), "is open to others (mode 0644)"),
        (https.to_string(), "there is no [gateway.tls]"),
        ("[http.tls]\ncertificate = \"ours.pem\"\nkey = \"ours.key.pem\"\n".to_string(), "[http.tls] belongs to"),
    ] {
        lab.folder.write("open.key.pem", std::fs::read(&ours.key).unwrap());
        let text = format!("[database]\nurl = \"{}\"\n[gateway]\n{gateway}", lab.database_url);
        lab.folder.write("ppmid.toml", text);
        let ran = lab.run(&["serve"]);
        assert_eq!(ran.code, 1, "{gateway}: {ran:?}");
        crate::harness::assert_polite(&ran);
        assert!(ran.err.contains(wanted), "{gateway}: {}", ran.err);
    }
}
