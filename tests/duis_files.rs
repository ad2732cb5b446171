//! `ppmid duis`: messages in files, built, signed, verified and shown, as support work does; and what other tools say of them.

use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use ppmid_orchestrator::{
    clock::Clock,
    sim::pki::{self, Holder},
};

use crate::harness::{Folder, Ran, assert_polite};

const DEVICE: &str = "00-DB-12-34-56-78-90-A0";
const ID: &str = "90-B3-D5-1F-30-01-00-00:90-B3-D5-1F-30-00-00-02:1000";

/// A folder with our key and certificate, and DCC's.
fn folder() -> Folder {
    let folder = Folder::new();
    let now = Clock::System.now();
    let make = |eui: &str, holder, key: &str, certificate: &str| {
        pki::make(eui.parse().unwrap(), holder, now).unwrap().write_to(folder.path(), key, certificate).unwrap();
    };
    make("90-B3-D5-1F-30-01-00-00", Holder::User, "supplier.key.pem", "supplier.pem");
    make("90-B3-D5-1F-30-00-00-02", Holder::Dcc, "dcc.key.pem", "dcc.pem");
    folder
}

/// The shared DUIS material, or `None`, said loudly.
fn shared(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("PPMID_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared")), PathBuf::from);
    let path = root.join("duis").join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("SKIPPED: {} is missing; set PPMID_SHARED to the folder of shared material", path.display());
    None
}

fn piped(folder: &Folder, args: &[&str], input: &[u8]) -> Ran {
    let mut child =
        folder.command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    child.stdin.take().expect("a pipe").write_all(input).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ran { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// Checked by the schema with `xmllint`; `None` where the tool or the schema is missing.
fn is_valid_elsewhere(file: &std::path::Path) -> Option<bool> {
    let schema = shared("schema/duis.xsd")?;
    let done = Command::new("xmllint").args(["--nonet", "--noout", "--schema"]).arg(schema).arg(file).output();
    let Ok(done) = done else {
        assert!(std::env::var_os("PPMID_REQUIRE_TOOLS").is_none(), "xmllint is missing");
        eprintln!("SKIPPED: xmllint is not installed");
        return None;
    };
    Some(done.status.success())
}

#[test]
fn every_kind_of_request_is_built_signed_verified_and_shown() {
    let folder = folder();
    folder.write("firmware.ota", [7u8; 300]);
    let update = format!(r#""devices": ["{DEVICE}"], "firmware_version": "0002012F", "image_file": "firmware.ota""#);
    let read = format!(r#""devices": ["{DEVICE}"]"#);
    let own = format!("90-B3-D5-1F-30-01-00-00:{DEVICE}:1000");
    for (reference, rest, id) in [("8.2", &read, ID), ("11.1", &update, ID), ("11.2", &read, own.as_str()), ("11.4", &update, ID)]
    {
        let text = format!(r#"{{"service_reference": "{reference}", "request_id": "{id}", "schema_version": "5.4", {rest}}}"#);
        folder.write("request.json", &text);
        folder.done(&["duis", "build", "request.json", "--out", "bare.xml"]);
        let unsigned = folder.run(&["duis", "verify", "bare.xml"]);
        assert_eq!((unsigned.code, unsigned.err.contains("no signature")), (4, true), "{}", unsigned.err);
        folder.done(&["duis", "sign", "bare.xml", "--out", "signed.xml"]);
        assert!(is_valid_elsewhere(&folder.path().join("signed.xml")).unwrap_or(true), "{reference} is not valid elsewhere");
        let verdict = json(&folder.done(&["--output", "json", "duis", "verify", "signed.xml"]));
        assert_eq!(
            (&verdict["verified"], &verdict["kind"], &verdict["request_id"]),
            (&true.into(), &"Request".into(), &id.into())
        );
        let shown = json(&folder.done(&["--output", "json", "duis", "show", "signed.xml"]));
        assert_eq!((&shown["service_reference"], &shown["devices"][0]), (&reference.into(), &DEVICE.into()), "{shown}");
        assert_eq!((&shown["signature"], &shown["schema_version"]), (&"good".into(), &"5.4".into()));
        // Built and signed in one go it says the same: the digest is equal. And through pipes.
        folder.write("request.json", &text);
        let whole = folder.done(&["duis", "build", "request.json", "--sign"]);
        let piped_through = piped(&folder, &["--output", "json", "duis", "verify", "-"], whole.as_bytes());
        assert_eq!(json(&piped_through.out)["body_digest"], verdict["body_digest"], "{}", piped_through.err);
    }
    folder.done(&["duis", "show", "signed.xml", "--image-out", "back.ota"]);
    assert_eq!(std::fs::read(folder.path().join("back.ota")).unwrap(), [7u8; 300]);
}

#[test]
fn a_request_without_a_number_takes_the_next_of_the_database() {
    let folder = folder();
    let text = format!(r#"{{"service_reference": "8.2", "devices": ["{DEVICE}"]}}"#);
    let numbers: Vec<u64> = (0..3)
        .map(|_| {
            let built = piped(&folder, &["duis", "build", "-"], text.as_bytes());
            let shown = json(&piped(&folder, &["--output", "json", "duis", "show", "-"], built.out.as_bytes()).out);
            assert_eq!(shown["schema_version"], "3.1", "as configured");
            shown["request_id"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap()
        })
        .collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
}

#[test]
fn what_cannot_be_built_or_signed_says_why() {
    let folder = folder();
    let build = |text: &str| {
        folder.write("request.json", text);
        let refused = folder.run(&["duis", "build", "request.json", "--sign"]);
        assert_eq!((refused.code, refused.out.as_str()), (1, ""), "{text}: {}", refused.err);
        assert_polite(&refused);
        refused.err
    };
    let said =
        |reference: &str, rest: &str| build(&format!(r#"{{"service_reference": "{reference}", "request_id": "{ID}", {rest}}}"#));
    let device = format!(r#""devices": ["{DEVICE}"]"#);
    assert!(said("11.3", &device).contains("no request that this program builds"));
    assert!(said("8.2", r#""devices": []"#).contains("no device"));
    assert!(said("8.2", r#""devices": ["x"]"#).contains("devices"));
    assert!(said("8.2", &format!(r#""devices": ["{DEVICE}", "{DEVICE}"]"#)).contains("one device"));
    assert!(said("11.1", &device).contains("carries an image"));
    assert!(said("8.2", &format!(r#"{device}, "schema_version": "4.0""#)).contains("4.0"));
    folder.write("firmware.ota", "x");
    let update = format!(r#"{device}, "firmware_version": "1", "image_file": "firmware.ota""#);
    assert!(said("11.4", &format!(r#"{update}, "schema_version": "3.1""#)).contains("5.0"));
    assert!(build("not JSON").contains("not the description"));
    folder.write("response.xml", r#"<sr:Response xmlns:sr="http://www.dccinterface.co.uk/ServiceUserGateway"/>"#);
    let refused = folder.run(&["duis", "sign", "response.xml"]);
    assert_eq!((refused.code, refused.err.contains("only a Request is ours to sign")), (1, true), "{}", refused.err);
    let missing = folder.run(&["duis", "verify", "none.xml"]);
    assert_eq!(missing.code, 1);
    assert_polite(&missing);
}

#[test]
fn any_file_that_can_be_read_is_verified_or_not() {
    let folder = folder();
    let large = vec![b' '; 17 << 20];
    for (name, bytes) in [
        ("empty", &b""[..]),
        ("garbage", b"\xff\xfe\x00garbage"),
        ("html", b"<html><body>not here</body></html>"),
        ("deep", "<a>".repeat(200_000).as_bytes()),
        ("dtd", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"),
        ("large", &large),
    ] {
        folder.write(name, bytes);
        let refused = folder.run(&["duis", "verify", name]);
        assert_eq!((refused.code, refused.out.as_str()), (4, ""), "{name}: {}", refused.err);
        assert_polite(&refused);
        let refused = folder.run(&["--output", "json", "duis", "verify", name]);
        assert_eq!((refused.code, &json(&refused.out)["verified"]), (4, &false.into()), "{name}");
    }
}

#[test]
fn the_industrys_samples_are_verified_by_their_certificates_and_shown_without_addresses() {
    let folder = folder();
    let (Some(samples), Some(certificates)) = (shared("samples"), shared("certs")) else { return };
    let certificate = |name: &str| certificates.join(name).display().to_string();
    folder.write(
        "ppmid.toml",
        format!(
            "[gateway]\nsigning_certificate = {:?}\ndcc_certificates = [{:?}, {:?}, {:?}]\n",
            certificate("xml-sign-90B3D51F30010000-ds.pem"),
            certificate("Z1-accessControlBroker-dSPXmlSign.pem"),
            certificate("dsp-xml-sign-90B3D51F30000002-ds-pre-1.4.1.pem"),
            certificate("dsp-xml-sign-90B3D51F30000002-ds.pem"),
        ),
    );
    let sample = |name: &str| samples.join(name).display().to_string();
    for (name, code) in [
        ("request-11.1-signed-by-reference-tool.xml", 0),
        ("real-8.2-read-inventory-response.xml", 0),
        ("made-11.1-response-warning.xml", 0),
        ("made-alert-s1sp.xml", 0),
        ("made-alert-smets1-firmware-notification.xml", 0),
        ("real-acknowledgement-error-unsigned.xml", 4),
        ("template-8.2-read-inventory.xml", 4),
    ] {
        let ran = folder.run(&["duis", "verify", &sample(name)]);
        assert_eq!(ran.code, code, "{name}: {}", ran.err);
    }
    let shown = folder.done(&["--output", "json", "duis", "show", &sample("real-8.2-read-inventory-response.xml")]);
    let inventory = json(&shown);
    assert_eq!((&inventory["kind"], &inventory["signature"]), (&"DSPInventory".into(), &"good".into()));
    assert!(inventory["inventory"].as_array().unwrap().len() > 2 && inventory["inventory"][0]["device_type"] == "CHF");
    for address in ["1111-111", "12334", "123456789012", "UPRN", "uprn", "PostCode"] {
        assert!(!shown.contains(address), "{address} is shown");
    }
    let refusal = folder.done(&["duis", "show", &sample("real-acknowledgement-error-unsigned.xml")]);
    assert!(refusal.contains("NOT VERIFIED") && refusal.contains("E65"), "{refusal}");
}
