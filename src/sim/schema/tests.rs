//! The check against the schema itself: what `xmllint` says of the same text, for good requests and for thousands of altered ones.

use std::process::Command;

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

use super::*;
use crate::duis::samples::shared;

const ID: &str = "90-B3-D5-1F-30-01-00-00:90-B3-D5-1F-30-00-00-02:1000";
const BODIES: [(&str, &str, &str); 7] = [
    ("8.2", "8", "<sr:ReadInventory><sr:DeviceID>00-DB-12-34-56-78-90-A2</sr:DeviceID></sr:ReadInventory>"),
    ("8.2", "8", "<sr:ReadInventory><sr:UPRN>123456789012</sr:UPRN></sr:ReadInventory>"),
    (
        "8.2",
        "8",
        "<sr:ReadInventory><sr:PropertyFilter><sr:PostCode>ZZ99 9ZZ</sr:PostCode><sr:AddressIdentifier>1</sr:AddressIdentifier></sr:PropertyFilter></sr:ReadInventory>",
    ),
    (
        "11.1",
        "8",
        "<sr:UpdateFirmware><sr:FirmwareImage>aW1hZ2Uh</sr:FirmwareImage><sr:FirmwareVersion>0002012F</sr:FirmwareVersion><sr:DeviceIDList>00-DB-12-34-56-78-90-A0,00-DB-12-34-56-78-90-A1</sr:DeviceIDList></sr:UpdateFirmware>",
    ),
    (
        "11.4",
        "8",
        "<sr:UpdatePPMIDFirmware><sr:FirmwareImage>aW1hZ2U=</sr:FirmwareImage><sr:FirmwareVersion>1</sr:FirmwareVersion><sr:DeviceIDList>00-DB-12-34-56-78-90-A0</sr:DeviceIDList></sr:UpdatePPMIDFirmware>",
    ),
    ("11.2", "1", "<sr:ReadFirmwareVersion></sr:ReadFirmwareVersion>"),
    (
        "11.2",
        "1",
        "<sr:ReadFirmwareVersion><sr:ExecutionDateTime>2026-11-24T12:00:00Z</sr:ExecutionDateTime></sr:ReadFirmwareVersion>",
    ),
];
/// A text that is in a request, and what is put in its place. Some leave it valid; `xmllint` says which.
const CHANGES: &[(&str, &str)] = &[
    ("<sr:RequestID>", "<sr:RequestID> "),
    ("1000</sr:RequestID>", "01000</sr:RequestID>"),
    ("1000</sr:RequestID>", "18446744073709551615\n</sr:RequestID>"),
    ("1000</sr:RequestID>", "18446744073709551616</sr:RequestID>"),
    ("1000</sr:RequestID>", "1000</sr:RequestID><sr:FirstInSequence>true</sr:FirstInSequence>"),
    ("1000</sr:RequestID>", "1000</sr:RequestID><sr:FirstInSequence>TRUE</sr:FirstInSequence>"),
    ("1000</sr:RequestID>", "1000</sr:RequestID><sr:FirstInSequence> 0 </sr:FirstInSequence>"),
    ("<sr:CommandVariant>", "<sr:PrecedingServiceRequestID>x</sr:PrecedingServiceRequestID><sr:CommandVariant>"),
    ("</sr:CommandVariant>", "</sr:CommandVariant><sr:FirstInSequence>1</sr:FirstInSequence>"),
    ("<sr:CommandVariant>", "<sr:CommandVariant> +0"),
    ("<sr:CommandVariant>", "<sr:CommandVariant>1"),
    ("<sr:CommandVariant>", "<sr:CommandVariant>-"),
    ("<sr:CommandVariant>8", "<sr:CommandVariant>0"),
    ("<sr:CommandVariant>8</sr:CommandVariant>", ""),
    ("<sr:ServiceReference>", "<sr:ServiceReference> "),
    ("</sr:ServiceReference>", "</sr:ServiceReference><sr:ServiceReference>11.1</sr:ServiceReference>"),
    ("<sr:ServiceReferenceVariant>", "<sr:ServiceReferenceVariant>1"),
    ("<sr:ServiceReferenceVariant>8.2", "<sr:ServiceReferenceVariant>6.2.10"),
    ("<sr:ServiceReference>8.2", "<sr:ServiceReference>6.1"),
    ("schemaVersion=\"5.4\"", "schemaVersion=\" +5. \""),
    ("schemaVersion=\"5.4\"", "schemaVersion=\"5.4a\""),
    ("schemaVersion=\"5.4\"", "schemaVersion=\".\""),
    ("schemaVersion=\"5.4\"", ""),
    ("schemaVersion=\"5.4\"", "schemaVersion=\"5.4\" extra=\"1\""),
    ("schemaVersion=\"5.4\"", "schemaVersion=\"5.4\" xsi:schemaLocation=\"a b\""),
    ("<sr:Header>", "<sr:Header id=\"1\">"),
    ("<sr:Header>", "text<sr:Header>"),
    ("<sr:Header>", "\n <sr:Header>"),
    ("<sr:Body>", "<sr:Body><sr:Extra/>"),
    ("<sr:Body>", "<sr:Body/><sr:Body>"),
    ("</sr:Body>", "</sr:Body><sr:Body/>"),
    ("<sr:DeviceID>", "<sr:DeviceID> \n"),
    ("<sr:DeviceID>", "<sr:DeviceID>0"),
    ("</sr:DeviceID>", "</sr:DeviceID><sr:UPRN>1</sr:UPRN>"),
    ("<sr:UPRN>", "<sr:UPRN>3"),
    ("<sr:UPRN>1", "<sr:UPRN>0"),
    ("<sr:UPRN>123456789012", "<sr:UPRN>0"),
    ("<sr:UPRN>123456789012", "<sr:UPRN> 0001 "),
    ("<sr:UPRN>123456789012</sr:UPRN>", "<sr:MPxN>12345678901234</sr:MPxN>"),
    ("<sr:UPRN>123456789012</sr:UPRN>", "<sr:MPxN>1</sr:MPxN>"),
    ("<sr:UPRN>123456789012</sr:UPRN>", "<sr:MPxN></sr:MPxN>"),
    ("<sr:UPRN>123456789012</sr:UPRN>", ""),
    ("ZZ99 9ZZ", "ZZ99"),
    ("ZZ99 9ZZ", "ZZ99 9ZZZ"),
    ("<sr:AddressIdentifier>1", "<sr:AddressIdentifier>1234567890123456789012345678901"),
    ("<sr:AddressIdentifier>1", "<sr:AddressIdentifier>"),
    ("aW1h", "aW1"),
    ("aW1h", " aW\n1h "),
    ("aW1h", "aW*h"),
    ("aW1h", "="),
    ("aW1hZ2U=", "aW1hZ2V="),
    ("aW1hZ2U=", "aW1hZ2=="),
    ("aW1hZ2U=", "aW1hZw=="),
    ("aW1hZ2U=", ""),
    ("<sr:FirmwareVersion>", "<sr:FirmwareVersion> 1234567"),
    ("<sr:FirmwareVersion>0002012F", "<sr:FirmwareVersion>"),
    ("<sr:FirmwareVersion>1", "<sr:FirmwareVersion>é€\u{1D11E}45678"),
    ("<sr:FirmwareVersion>", "<sr:FirmwareVersion a=\"\">"),
    ("<sr:DeviceIDList>", "<sr:DeviceIDList> "),
    ("A0</sr:DeviceIDList>", "A0,</sr:DeviceIDList>"),
    ("00-DB-12-34-56-78-90-A0", "00-db-12-34-56-78-90-a0"),
    ("00-DB-12-34-56-78-90-A0", "00-DG-12-34-56-78-90-A0"),
    ("00-DB-12-34-56-78-90-A0,", "00-DB-12-34-56-78-90-A0, "),
    ("<sr:DeviceIDList>00-DB-12-34-56-78-90-A0</sr:DeviceIDList>", "<sr:DeviceIDList></sr:DeviceIDList>"),
    ("</sr:DeviceIDList>", "</sr:DeviceIDList><sr:DeviceIDList>00-DB-12-34-56-78-90-A0</sr:DeviceIDList>"),
    ("<sr:FirmwareVersion>1</sr:FirmwareVersion>", ""),
    ("<sr:ReadFirmwareVersion></sr:", "<sr:ReadFirmwareVersion>\n</sr:"),
    ("<sr:ReadFirmwareVersion></sr:", "<sr:ReadFirmwareVersion>x</sr:"),
    ("12:00:00Z", "12:00:00"),
    ("12:00:00Z", "12:00:00.25+01:00"),
    ("12:00:00Z", "12:00Z"),
    ("12:00:00Z", "12:00:00.Z"),
    ("12:00:00Z", "25:00:00Z"),
    ("2026-11-24T", "2026-11-24 "),
    ("2026-11-24T", " 2026-02-30T"),
];

fn request((reference, variant, body): (&str, &str, &str)) -> String {
    format!(
        "<sr:Request xmlns:sr=\"{SR}\" xmlns:xsi=\"{XSI}\" schemaVersion=\"5.4\"><sr:Header><sr:RequestID>{ID}</sr:RequestID>\
         <sr:CommandVariant>{variant}</sr:CommandVariant><sr:ServiceReference>{reference}</sr:ServiceReference>\
         <sr:ServiceReferenceVariant>{reference}</sr:ServiceReferenceVariant></sr:Header><sr:Body>{body}</sr:Body></sr:Request>"
    )
}

#[test]
fn the_good_ones_pass_and_the_reason_is_said_of_the_bad() {
    for body in BODIES {
        assert_eq!(check_request(request(body).as_bytes()), Ok(()), "{body:?}");
    }
    let altered = |from: &str, to: &str| check_request(request(BODIES[3]).replacen(from, to, 1).as_bytes()).unwrap_err().0;
    insta::assert_snapshot!(
        [
            altered("<sr:CommandVariant>8</sr:CommandVariant>", ""),
            altered("0002012F", "000200130"),
            altered(",00-", ", 00-"),
            altered("<sr:Header>", "<sr:Header>x"),
            altered("<sr:Body>", "<sr:Body lang=\"en\">"),
            altered("aW1hZ2Uh", "aW1h*2Uh"),
        ]
        .join("\n"),
        @r"
    Header must have CommandVariant here
    FirmwareVersion has 9 characters, not 1 to 8
    DeviceIDList is not 1 to 50000 Device IDs with commas between them
    Header holds text beside its elements
    Body must not have the attribute lang
    FirmwareImage is not base64
    "
    );
}

#[test]
fn the_lists_of_service_references_are_the_schemas() {
    let Some(folder) = shared("schema") else { return };
    let schema = std::fs::read_to_string(folder.join("duis.xsd")).unwrap();
    for (name, known) in [
        ("ServiceReference", is_service_reference as fn(&str) -> bool),
        ("ServiceReferenceVariant", is_service_reference_variant),
    ] {
        let at = schema.find(&format!("<xs:simpleType name=\"{name}\">")).unwrap();
        let list = &schema[at..at + schema[at..].find("</xs:simpleType>").unwrap()];
        let words: Vec<&str> = list.split("value=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        let ours = if name == "ServiceReference" { &SERVICE_REFERENCES } else { &SERVICE_REFERENCE_VARIANTS };
        assert_eq!(words.len(), ours.iter().map(|(_, members)| members.split(' ').count()).sum::<usize>());
        assert!(words.iter().all(|word| known(word)), "{name}");
    }
    assert!(
        !is_service_reference("11")
            && !is_service_reference("11.5")
            && !is_service_reference("")
            && !is_service_reference("1.1.1")
    );
}

/// Each change alone, and random handfuls of changes.
fn altered_requests() -> Vec<String> {
    /// Random handfuls put to `xmllint` in one call, beside every single change.
    const HANDFULS: usize = 1_500;
    let mut texts: Vec<String> = Vec::new();
    for body in BODIES {
        let good = request(body);
        texts.extend(CHANGES.iter().filter(|(from, _)| good.contains(from)).map(|(from, to)| good.replacen(from, to, 1)));
        texts.push(good);
    }
    let handful = (0..BODIES.len(), proptest::collection::vec(0..CHANGES.len(), 1..5));
    let mut runner = TestRunner::deterministic();
    for _ in 0..HANDFULS {
        let (body, changes) = handful.new_tree(&mut runner).unwrap().current();
        let changed = changes.iter().fold(request(BODIES[body]), |text, n| text.replacen(CHANGES[*n].0, CHANGES[*n].1, 1));
        texts.push(changed);
    }
    texts
}

#[test]
fn xmllint_is_of_the_same_opinion() {
    let Some(schema) = shared("schema") else { return };
    if Command::new("xmllint").arg("--version").output().is_err() {
        assert!(std::env::var("PPMID_REQUIRE_TOOLS").is_err(), "xmllint is missing and PPMID_REQUIRE_TOOLS is set");
        return eprintln!("SKIPPED: xmllint is not installed (package libxml2-utils)");
    }
    let folder = tempfile::tempdir().unwrap();
    let texts = altered_requests();
    let files: Vec<_> = (0..texts.len()).map(|n| folder.path().join(format!("{n}.xml"))).collect();
    for (file, text) in files.iter().zip(&texts) {
        std::fs::write(file, text).unwrap();
    }
    let output = Command::new("xmllint")
        .args(["--nonet", "--noout", "--schema"])
        .arg(schema.join("duis.xsd"))
        .args(&files)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let valid: std::collections::HashSet<&str> = said.lines().filter_map(|line| line.strip_suffix(" validates")).collect();
    let mut counts = [0, 0];
    for (file, text) in files.iter().zip(&texts) {
        let theirs = valid.contains(file.to_str().unwrap());
        let ours = check_request(text.as_bytes());
        assert_eq!(
            ours.is_ok(),
            theirs,
            "{ours:?}\n{text}\n{}",
            said.lines().filter(|l| l.starts_with(file.to_str().unwrap())).collect::<Vec<_>>().join("\n")
        );
        counts[usize::from(theirs)] += 1;
    }
    assert!(counts.iter().all(|n| *n > 100), "{counts:?}");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text: String, from in 0..CHANGES.len(), body in 0..BODIES.len()) {
        let _ = check_request(text.as_bytes());
        let _ = check_request(request(BODIES[body]).replacen(CHANGES[from].0, &text, 1).as_bytes());
    }
}
