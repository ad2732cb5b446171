//! What is written here, held against implementations that share no code with it: `xmllint` (canonical form, schema) and
//! `xmlsec1` (signatures). Skipped, loudly, where a tool is missing; with PPMID_REQUIRE_TOOLS=1 that is a failure.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use proptest::{collection::vec, prelude::*, strategy::ValueTree, test_runner::TestRunner};

use super::{
    random::{OwnedRequest, request, response},
    samples::*,
    *,
};

/// Random messages of each kind put to the tools.
const MESSAGES: usize = 40;

/// The tool, if this machine has it.
fn tool(name: &str) -> Option<&str> {
    let asks = if name == "openssl" { "version" } else { "--version" };
    if Command::new(name).arg(asks).output().is_ok() {
        return Some(name);
    }
    let required = std::env::var("PPMID_REQUIRE_TOOLS").is_ok_and(|v| v == "1");
    assert!(!required, "{name} is missing and PPMID_REQUIRE_TOOLS=1 (packages xmlsec1, libxml2-utils, openssl)");
    eprintln!(
        "SKIPPED: {name} is missing (packages xmlsec1, libxml2-utils, openssl); PPMID_REQUIRE_TOOLS=1 makes this a failure"
    );
    None
}

fn said(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Every file validates against DUIS Schema V5.4.
fn assert_schema(files: &[PathBuf]) {
    let (Some(xmllint), Some(schema)) = (tool("xmllint"), shared("schema")) else { return };
    let output =
        Command::new(xmllint).args(["--nonet", "--noout", "--schema"]).arg(schema.join("duis.xsd")).args(files).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

/// The signature of every file's root verifies with the public key in `pem`. The key is given, not looked up by KeyInfo; the
/// XPath picks the root's own signature, since an S1SP alert has an inner one first.
fn xmlsec_accepts(pem: &Path, files: &[PathBuf]) -> Result<(), String> {
    let Some(xmlsec1) = tool("xmlsec1") else { return Ok(()) };
    let mut command = Command::new(xmlsec1);
    command.args(["--verify", "--node-xpath", "/*/*[local-name()='Signature']", "--pubkey-pem"]).arg(pem).args(files);
    let output = command.output().unwrap();
    let good = said(&output).lines().filter(|l| *l == "OK").count();
    if output.status.success() && good == files.len() { Ok(()) } else { Err(said(&output)) }
}

/// Random values of a strategy, the same on every run.
fn examples<S: Strategy>(strategy: S, count: usize) -> Vec<S::Value> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

fn write_all(folder: &Path, messages: &[Vec<u8>]) -> Vec<PathBuf> {
    let write = |(n, bytes): (usize, &Vec<u8>)| {
        let path = folder.join(format!("{n}.xml"));
        std::fs::write(&path, bytes).unwrap();
        path
    };
    messages.iter().enumerate().map(write).collect()
}

#[test]
fn messages_written_here_are_valid_and_verify_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let (signer, public) = signer("167048897159233642262001557408276884033");
    let key = folder.path().join("public.pem");
    std::fs::write(&key, public).unwrap();
    let mut messages: Vec<Vec<u8>> = Vec::new();
    for response in examples(response(), MESSAGES) {
        messages.push(write_response(&response, &signer).unwrap().bytes);
    }
    for request in examples(request(), MESSAGES) {
        messages.push(build_request(&request.as_request(), &signer).unwrap().bytes);
    }
    let files = write_all(folder.path(), &messages);
    assert_schema(&files);
    xmlsec_accepts(&key, &files).unwrap();
    // And the check itself can fail.
    let altered = String::from_utf8(messages.pop().unwrap()).unwrap().replacen("sr:RequestID>", "sr:RequestID> ", 1);
    let files = write_all(folder.path(), &[altered.into_bytes()]);
    if tool("xmlsec1").is_some() {
        assert!(xmlsec_accepts(&key, &files).is_err());
    }
}

#[test]
fn unsigned_refusals_written_here_are_valid() {
    let folder = tempfile::tempdir().unwrap();
    let refusals: Vec<Vec<u8>> = examples(response(), 5).iter().map(write_unsigned_refusal).collect();
    assert_schema(&write_all(folder.path(), &refusals));
}

#[test]
fn the_largest_request_is_valid_and_verifies_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let (signer, public) = signer("1");
    let key = folder.path().join("public.pem");
    std::fs::write(&key, public).unwrap();
    let request = OwnedRequest {
        id: "90-B3-D5-1F-30-01-00-00:90-B3-D5-1F-30-00-00-02:18446744073709551615".parse().unwrap(),
        image: (0..750 * 1024u32).map(|n| n as u8).collect(),
        firmware_version: "0002012F".into(),
        devices: (0..MAX_DEVICES_PER_REQUEST as u64).map(crate::ids::Eui).collect(),
        ..OwnedRequest::update_firmware()
    };
    let files = write_all(folder.path(), &[build_request(&request.as_request(), &signer).unwrap().bytes]);
    assert_schema(&files);
    xmlsec_accepts(&key, &files).unwrap();
}

#[test]
fn the_samples_verify_elsewhere_with_the_keys_we_read_from_their_certificates() {
    let (Some(samples), Some(_)) = (shared("samples"), shared("certs")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("public.pem");
    let cases = [
        ("request-11.1-signed-by-reference-tool.xml", supplier_set(), "27572613927499351639968579586655397031"),
        ("real-8.2-read-inventory-response.xml", dcc_set(), "20315062944123339095836004026371736578"),
        ("made-alert-s1sp.xml", dcc_set(), "167048897159233642262001557408276884033"),
    ];
    for (name, set, serial) in cases {
        std::fs::write(&key, spki_pem(&set.find("CN=Z1,OU=07", serial).unwrap().public_key)).unwrap();
        xmlsec_accepts(&key, &[samples.join(name)]).unwrap();
        assert_schema(&[samples.join(name)]);
    }
}

#[test]
fn a_key_and_certificate_made_by_openssl_are_loaded_and_sign() {
    let Some(openssl) = tool("openssl") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (key, certificate, public) =
        (folder.path().join("key.pem"), folder.path().join("cert.pem"), folder.path().join("public.pem"));
    let mut make = Command::new(openssl);
    make.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1000"]);
    make.args(["-subj", "/OU=07/CN=Z1, a \"test\"", "-set_serial", "0xFF000000000000000000000000000001"]);
    let output = make.arg("-keyout").arg(&key).arg("-out").arg(&certificate).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let signer = FileSigner::load(&key, &certificate).unwrap();
    assert_eq!(signer.certificate().issuer, "CN=Z1\\, a \\\"test\\\",OU=07");
    assert_eq!(signer.certificate().serial, 0xFF00_0000_0000_0000_0000_0000_0000_0001_u128.to_string());
    std::fs::write(&public, spki_pem(&signer.certificate().public_key)).unwrap();
    let message = write_response(&acknowledgement("I99"), &signer).unwrap().bytes;
    assert_eq!(read_response(&message, &pinned(&signer), signer.certificate().not_before).unwrap(), acknowledgement("I99"));
    xmlsec_accepts(&public, &write_all(folder.path(), &[message])).unwrap();
}

/// An element to be rendered: name, namespace declarations, attributes, children; numbers choose from small sets.
#[derive(Debug, Clone)]
struct Element {
    prefix: usize,
    declarations: Vec<(usize, usize)>,
    attributes: Vec<(usize, usize, String)>,
    children: Vec<Child>,
}

#[derive(Debug, Clone)]
enum Child {
    Text(String),
    Element(Element),
}

const PREFIXES: [&str; 4] = ["", "a", "b", "sr"];
/// No &: xmllint writes it unescaped in a namespace declaration, which is not well formed.
const URIS: [&str; 4] = ["urn:a", "urn:b", "http://example.com/x?y='1'", "urn:z"];
const NAMES: [&str; 4] = ["n", "id", "a-b", "Z"];

/// Text as it may be written: references, line ends, quotes, letters beyond ASCII.
fn written_text() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "x",
        " ",
        "\n",
        "\t",
        "\r\n",
        "\r",
        "&amp;",
        "&lt;",
        "&gt;",
        ">",
        "'",
        "&quot;",
        "&#13;",
        "&#x9;",
        "&#10;",
        "é",
        "€",
        "&#x1D11E;",
        "] ",
    ]);
    vec(piece, 0..6).prop_map(|p| p.concat())
}

fn element() -> impl Strategy<Value = Element> {
    let tag = || (0..4usize, vec((0..4usize, 0..5usize), 0..3), vec((0..4usize, 0..4usize, written_text()), 0..4));
    let leaf =
        tag().prop_map(|(prefix, declarations, attributes)| Element { prefix, declarations, attributes, children: vec![] });
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let child = prop_oneof![written_text().prop_map(Child::Text), inner.prop_map(Child::Element)];
        (tag(), vec(child, 0..4)).prop_map(|((prefix, declarations, attributes), children)| Element {
            prefix,
            declarations,
            attributes,
            children,
        })
    })
}

/// Writes the element so that it is well formed: prefixes that are not bound in `scope` are left out, doubles too.
fn render(element: &Element, scope: &[Option<usize>; 4], out: &mut String) {
    let mut scope = *scope;
    let mut tag = String::new();
    let mut declared = [false; 4];
    for (prefix, uri) in &element.declarations {
        // Four stands for no namespace, which only the default can be.
        if std::mem::replace(&mut declared[*prefix], true) || (*uri == 4 && *prefix != 0) {
            continue;
        }
        let colon = if *prefix == 0 { "" } else { ":" };
        tag += &format!("  xmlns{colon}{}=\"{}\"", PREFIXES[*prefix], URIS.get(*uri).unwrap_or(&""));
        scope[*prefix] = URIS.get(*uri).map(|_| *uri);
    }
    let mut used: Vec<(Option<usize>, usize)> = Vec::new();
    for (prefix, name, value) in &element.attributes {
        let uri = if *prefix == 0 { None } else { scope[*prefix] };
        if (*prefix != 0 && uri.is_none()) || used.contains(&(uri, *name)) {
            continue;
        }
        used.push((uri, *name));
        let colon = if *prefix == 0 { "" } else { ":" };
        tag += &format!("\n{}{colon}{} = \"{}\"", PREFIXES[*prefix], NAMES[*name], value);
    }
    let prefix = if scope[element.prefix].is_some() { PREFIXES[element.prefix] } else { "" };
    let name = format!("{prefix}{}e", if prefix.is_empty() { "" } else { ":" });
    if element.children.is_empty() {
        *out += &format!("<{name}{tag} />");
        return;
    }
    *out += &format!("<{name}{tag}>");
    for child in &element.children {
        match child {
            Child::Text(text) => *out += text,
            Child::Element(element) => render(element, &scope, out),
        }
    }
    *out += &format!("</{name}\n>");
}

#[test]
fn canonical_forms_agree_with_xmllint_on_random_documents() {
    let Some(xmllint) = tool("xmllint") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("random.xml");
    let documents: usize = std::env::var("PPMID_C14N_DOCUMENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    for element in examples(element(), documents) {
        let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
        render(&element, &[None; 4], &mut text);
        text += "\n";
        std::fs::write(&path, &text).unwrap();
        let theirs = |how: &str| {
            let output = Command::new(xmllint).args(["--nonet", how]).arg(&path).output().unwrap();
            assert!(output.status.success(), "{text}\n{}", said(&output));
            String::from_utf8(output.stdout).unwrap()
        };
        let scanned = prescan::prescan(text.as_bytes(), MAX_MESSAGE_BYTES).expect(&text);
        let document = verify::parse(&scanned).expect(&text);
        assert_eq!(canonical::inclusive(&document, None), theirs("--c14n"), "{text}");
        assert_eq!(canonical::exclusive(document.root_element()), theirs("--exc-c14n"), "{text}");
    }
}
