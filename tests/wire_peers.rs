//! What really goes over the wire, as the daemon posts it and as the simulator answers and delivers, held against tools that
//! share no code with either: `xmllint` with the DUIS schema, and `xmlsec1`.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ppmid_orchestrator::duis::Certificate;

use crate::lab::{Behaviour, Engine, Lab, PATIENCE, RawDcc, free_port, on_both_engines, until};

on_both_engines!(requests_and_messages_pass_other_implementations);

const SITES: u64 = 60;
/// SubjectPublicKeyInfo of a P-256 key up to the point itself (RFC 5480).
const P256_SPKI_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03,
    0x01, 0x07, 0x03, 0x42, 0x00,
];

async fn requests_and_messages_pass_other_implementations(engine: Engine) {
    let Some(mut lab) = Lab::new(engine).await else { return };
    let image = lab.load_eligible(SITES);
    lab.start_campaign("spring", &image, 50_000);
    let dcc = RawDcc::start(lab.dcc_port, Behaviour::Accepts, lab.dcc_signer()).await;
    let serve = lab.serve();
    until("the request accepted", PATIENCE, || (lab.status("spring")["by_state"]["accepted"] == SITES).then_some(()));
    serve.terminate();

    let posts = dcc.posts();
    let [post] = posts.as_slice() else { panic!("{} POSTs for one batch", posts.len()) };
    assert_eq!(post.head.lines().next(), Some("POST /api/v1/serviceD HTTP/1.1"));
    assert_eq!(post.header("content-type"), Some("application/xml"));
    assert_eq!(post.header("content-length"), Some(post.body.len().to_string().as_str()));
    assert_eq!((post.header("transfer-encoding"), post.header("content-encoding"), post.header("expect")), (None, None, None));
    let text = std::str::from_utf8(&post.body).unwrap();
    assert!(!text.contains(">\n") && text.contains("schemaVersion=\"3.1\""), "no white space between elements");
    assert_eq!(text.matches("00-DB-12-34-").count() as u64, SITES);
    assert_accepted_elsewhere(&lab, "supplier.pem", std::slice::from_ref(&post.body));

    // The same bytes, taken to a simulated DCC: its answer, and what it delivers.
    let receiver = RawDcc::start(lab.receiver_port, Behaviour::Takes, lab.dcc_signer()).await;
    lab.dcc_port = free_port();
    let simulator = lab
        .simulator(
            "seed = 3\n[population]\nkey_missing = { share = \"20%\" }\nactivation_fails = { share = \"20%\" }\n\
             not_commissioned = { share = \"20%\" }\n[delays]\nupdate_requested_ms = [1, 9]\nactivated_ms = [1, 9]\nkey_missing_ms = [1, 9]\n",
        )
        .await;
    let answer = tokio::task::block_in_place(|| posted_by_hand(lab.dcc_port, &post.body));
    assert!(String::from_utf8_lossy(&answer).contains(">I99<"), "{}", String::from_utf8_lossy(&answer));
    simulator.until_idle().await;
    let mut messages: Vec<Vec<u8>> = receiver.posts().into_iter().map(|p| p.body).collect();
    let all = messages.iter().map(|m| String::from_utf8_lossy(m).into_owned()).collect::<String>();
    for said in ["DSPUpdateFirmwareWarning", "UpdateRequested", "ActivationSuccessful", "S1SPAlertDSP"] {
        assert!(all.contains(said), "no {said} among {} messages", messages.len());
    }
    messages.push(answer);
    assert_accepted_elsewhere(&lab, "dcc.pem", &messages);
    assert_refused_where_altered(&lab, &post.body);
}

/// One POST on a socket of our own; gives the body of the reply.
fn posted_by_hand(port: u16, body: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = "POST /api/v1/serviceD HTTP/1.1\r\nHost: dcc\r\nConnection: close\r\nContent-Type: application/xml\r\n";
    write!(stream, "{head}Content-Length: {}\r\n\r\n", body.len()).unwrap();
    stream.write_all(body).unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).unwrap();
    let head_end = reply.windows(4).position(|w| w == b"\r\n\r\n").expect("a reply has a head");
    reply.split_off(head_end + 4)
}

fn assert_accepted_elsewhere(lab: &Lab, certificate: &str, messages: &[Vec<u8>]) {
    let files = written(lab, messages);
    if let (Some(schema), true) = (schema(), has("xmllint")) {
        let output = Command::new("xmllint").args(["--nonet", "--noout", "--schema"]).arg(schema).args(&files).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    if has("xmlsec1") {
        let said = xmlsec1(lab, certificate, &files);
        assert_eq!(said.lines().filter(|l| *l == "OK").count(), files.len(), "{said}");
    }
}

/// The check itself can fail.
fn assert_refused_where_altered(lab: &Lab, message: &[u8]) {
    if has("xmlsec1") {
        let text = String::from_utf8(message.to_vec()).unwrap();
        let altered = text.replacen("00-DB-12-34-00-00-00-01", "00-DB-12-34-00-00-00-FF", 1);
        assert_ne!(altered, text);
        let said = xmlsec1(lab, "supplier.pem", &written(lab, &[altered.into_bytes()]));
        assert!(!said.lines().any(|l| l == "OK"), "{said}");
    }
}

/// The root's own signature: an S1SP alert has an inner one first.
fn xmlsec1(lab: &Lab, certificate: &str, files: &[PathBuf]) -> String {
    let pem = std::fs::read(lab.folder.path().join(certificate)).unwrap();
    let spki = [&P256_SPKI_HEAD[..], &Certificate::from_pem(&pem).unwrap().public_key].concat();
    let encoded = STANDARD.encode(spki);
    let lines: Vec<&str> = encoded.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    lab.folder.write("public.pem", format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n")));
    let mut command = Command::new("xmlsec1");
    command.args(["--verify", "--node-xpath", "/*/*[local-name()='Signature']", "--pubkey-pem"]);
    let output = command.arg(lab.folder.path().join("public.pem")).args(files).output().unwrap();
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn written(lab: &Lab, messages: &[Vec<u8>]) -> Vec<PathBuf> {
    let distinct: BTreeSet<&Vec<u8>> = messages.iter().collect();
    let write = |(n, bytes): (usize, &&Vec<u8>)| {
        let name = format!("message-{n}.xml");
        lab.folder.write(&name, bytes);
        lab.folder.path().join(name)
    };
    distinct.iter().enumerate().map(write).collect()
}

fn required() -> bool {
    std::env::var_os("PPMID_REQUIRE_TOOLS").is_some()
}

fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    assert!(found || !required(), "{tool} is missing, and PPMID_REQUIRE_TOOLS says it must be there");
    if !found {
        eprintln!("SKIPPED: {tool} is not installed (packages libxml2-utils, xmlsec1)");
    }
    found
}

/// The DUIS schema, in the folder of shared material.
fn schema() -> Option<PathBuf> {
    let shared = std::env::var_os("PPMID_SHARED")
        .map_or_else(|| Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared")).to_path_buf(), PathBuf::from);
    let schema = shared.join("duis/schema/duis.xsd");
    if !schema.exists() {
        eprintln!("SKIPPED: {} is missing; set PPMID_SHARED to the folder of shared material", schema.display());
        return None;
    }
    Some(schema)
}
