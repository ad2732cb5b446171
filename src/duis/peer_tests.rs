//! What is written here, held against implementations that share no code with it: `xmllint` (schema; the canonical form is in
//! `canonical_tests`) and `xmlsec1` (signatures). Skipped, loudly, where a tool is missing; with PPMID_REQUIRE_TOOLS=1 that is a failure.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

use super::{
    random::{OwnedRequest, request, response},
    samples::*,
    *,
};

/// Random Responses put to the tools, and a tenth as many requests: enough for each form to come up.
/// PPMID_DUIS_MESSAGES sets another number.
const MESSAGES: usize = 2_000;

/// The tool, if this machine has it.
pub fn tool(name: &str) -> Option<&str> {
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

/// What `openssl` prints with these arguments; it must succeed. `None` where it is missing.
pub fn openssl(arguments: &[&str]) -> Option<String> {
    let output = Command::new(tool("openssl")?).args(arguments).output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}: {}", said(&output));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

pub fn said(output: &Output) -> String {
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
pub fn examples<S: Strategy>(strategy: S, count: usize) -> Vec<S::Value> {
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

/// What a Response is, to the last alternative of the schema.
fn form(response: &Response) -> String {
    let kind = response.kind();
    match &response.body {
        Body::Alert { alert: Alert::DeviceStatusChange { change, .. }, .. } => format!("{kind}/{}", change.element()),
        Body::Alert { alert: Alert::QuarantinedRequest { breach, .. }, .. } => format!("{kind}/{breach}"),
        Body::Alert { alert: Alert::ChangeOfSupplier(ChangeOfSupplier::Device { .. }), .. } => format!("{kind}/device"),
        Body::Alert { alert: Alert::DuisVersionMismatch { withheld: Withheld::Response { .. }, .. }, .. } => {
            format!("{kind}/response")
        }
        Body::Alert { alert: Alert::PpmidFirmwareUpgrade { .. }, .. } => format!("{kind}/upgrade"),
        Body::Alert { alert: Alert::FirmwareTransfer { result, .. }, .. } => format!("{kind}/{result}"),
        _ => kind.to_owned(),
    }
}

const FORMS: [&str; 40] = [
    "CSPFirmwareDeliveryStatus",
    "ChangeOfSupplier",
    "ChangeOfSupplier/device",
    "CommandFailure",
    "CommsHubAlert",
    "CommsHubAlert/FileTransferFailure",
    "CommsHubAlert/FileTransferSuccess",
    "CommsHubAlert/FirmwareImageDiscarded",
    "CommsHubAlert/HardwareVersionMismatch",
    "DSPInventory",
    "DSPScheduleID",
    "DSPUpdateFirmwareWarning",
    "DSPUpdatePPMIDFirmwareWarning",
    "DUISVersionMismatch",
    "DUISVersionMismatch/response",
    "DeviceAlertMessage",
    "DeviceStatusChangeEvent/CHFDecommissioning",
    "DeviceStatusChangeEvent/DeviceRemovedFromInventory",
    "DeviceStatusChangeEvent/DeviceRestored",
    "DeviceStatusChangeEvent/DeviceSuspended",
    "DeviceStatusChangeEvent/MeterDecommissioningOrWithdrawal",
    "DeviceStatusChangeEvent/MeterIdentity",
    "DeviceStatusChangeEvent/RecoveryComplete",
    "DeviceStatusChangeEvent/RecoveryCompleteACBCredentials",
    "FirmwareDistributionFailure",
    "FirmwareUpgradeRequested",
    "FirmwareVersionMismatch",
    "GBCSPayload",
    "PPMIDAlert",
    "PPMIDAlert/upgrade",
    "PPMIDRemoval",
    "PowerOutageEvent",
    "QuarantinedRequest/ADAttributeLimitsBreach",
    "QuarantinedRequest/ADDCCThresholdBreach",
    "QuarantinedRequest/ADUserThresholdBreach",
    "ReadFirmwareVersionRsp",
    "ResponseMessage",
    "S1SPAlertDSP",
    "SMETS1CHFirmwareNotification",
    "SMETS1ResponseMessage",
];

#[test]
fn messages_written_here_are_valid_and_verify_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let (signer, public) = signer("167048897159233642262001557408276884033");
    let key = folder.path().join("public.pem");
    std::fs::write(&key, public).unwrap();
    let count = std::env::var("PPMID_DUIS_MESSAGES").ok().and_then(|n| n.parse().ok()).unwrap_or(MESSAGES);
    let (responses, requests) = (examples(response(), count), examples(request(), count / 10));
    let forms: BTreeSet<String> = responses.iter().map(form).collect();
    assert_eq!(forms, FORMS.map(str::to_owned).into(), "every form, and none that is not listed");
    let kinds: BTreeSet<_> = requests.iter().map(|r| (r.kind, r.duis_version)).collect();
    assert_eq!(kinds.len(), 3 * 7 + 5, "every kind of request in every version that has it");

    let mut messages: Vec<Vec<u8>> = responses.iter().map(|r| write_response(r, &signer).unwrap().bytes).collect();
    messages.extend(requests.iter().map(|r| build_request(&r.as_request(), &signer).unwrap().bytes));
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

/// What SMETS1 service providers sign is a document of its own: taken out, with the declaration it inherited, it is valid and
/// verifies.
#[test]
fn what_is_signed_inside_is_valid_and_verifies_when_it_is_taken_out() {
    let folder = tempfile::tempdir().unwrap();
    let (signer, public) = signer("4711");
    let key = folder.path().join("public.pem");
    std::fs::write(&key, public).unwrap();
    let mut inner = Vec::new();
    for response in examples(response(), MESSAGES / 4) {
        let text = String::from_utf8(write_response(&response, &signer).unwrap().bytes).unwrap();
        for name in ["S1SPAlert", "SMETS1SignedResponse"] {
            let (start, end) = (text.find(&format!("<sr:{name} ")), format!("</sr:{name}>"));
            let Some(start) = start else { continue };
            let document = &text[start..text.find(&end).unwrap() + end.len()];
            inner.push(document.replacen(' ', &format!(" xmlns:sr=\"{SR}\" "), 1).into_bytes());
        }
    }
    assert!(inner.len() > 10, "both kinds come up");
    let files = write_all(folder.path(), &inner);
    assert_schema(&files);
    xmlsec_accepts(&key, &files).unwrap();
}

/// Texts of the shape of `xs:dateTime`, right and wrong, of which the schema takes some: those are read.
#[test]
fn every_time_that_the_schema_takes_is_read() {
    let (Some(xmllint), Some(schema)) = (tool("xmllint"), shared("schema")) else { return };
    let number = |wrong: u32, most: u32| prop_oneof![8 => 0..=most, 1 => Just(wrong)].prop_map(|n| format!("{n:02}"));
    let zone = prop_oneof![Just(String::new()), Just("Z".to_owned()), "[-+](0[0-9]|1[0-5]):(00|30|59|60)"];
    let fraction = prop_oneof![3 => Just(String::new()), 1 => "\\.[0-9]{0,12}"];
    let time = (1900..2100u32, number(13, 12), number(32, 31), number(25, 24), number(60, 59), number(60, 59), fraction, zone);
    let texts: Vec<String> = examples(time, 400)
        .into_iter()
        .map(|(year, month, day, hour, minute, second, fraction, zone)| {
            format!("{year}-{month}-{day}T{hour}:{minute}:{second}{fraction}{zone}")
        })
        .chain(["2026-12-31T24:00:00Z".into(), "2026-12-31T24:00:00.0+14:00".into(), "2026-02-29T00:00:00".into()])
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let plain = String::from_utf8(write_unsigned_refusal(&acknowledgement("E4"))).unwrap();
    let (before, after) = plain.split_once(&sample_time().to_string()).unwrap();
    let documents: Vec<Vec<u8>> = texts.iter().map(|t| format!("{before}{t}{after}").into_bytes()).collect();
    let mut check = Command::new(xmllint);
    check.args(["--nonet", "--noout", "--schema"]).arg(schema.join("duis.xsd")).args(write_all(folder.path(), &documents));
    let said = said(&check.output().unwrap());
    let (mut taken, mut refused) = (0, 0);
    for (n, (text, document)) in texts.iter().zip(&documents).enumerate() {
        let valid = said.contains(&format!("/{n}.xml validates"));
        assert_eq!(read_unsigned_refusal(document).is_ok(), valid, "{text}");
        if valid { taken += 1 } else { refused += 1 }
    }
    assert!(taken > 50 && refused > 50, "{taken} and {refused}");
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
