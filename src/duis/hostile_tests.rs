//! The table of forgeries: each with the reason it is refused, as a snapshot beside this file. And the other table: what is altered
//! and accepted, since it says the same, to the last byte of what was signed. New rows go where their kind is.

mod forge;
mod meaning;
mod signed;
mod xml;

use std::fmt::Write;

use forge::{Forger, Row, replaced};

use super::{random::OwnedRequest, samples::*, *};
use crate::clock::Time;

/// The table as text: name, then reason. Lines with nothing but a name are headings.
fn table(sections: &[(&str, Vec<Row>)], verdict: impl Fn(&str, &[u8]) -> String) -> String {
    let mut table = String::new();
    for (heading, rows) in sections {
        writeln!(table, "\n{heading}").unwrap();
        for (name, bytes) in rows {
            writeln!(table, "  {name:<56} {}", verdict(name, bytes)).unwrap();
        }
    }
    table
}

#[test]
fn forgeries_are_refused_each_for_its_reason() {
    let f = Forger::new();
    let (response, digest) = verify_and_read_response(f.good.as_bytes(), &f.pinned, sample_time()).unwrap();
    /// Bytes: what is larger takes seconds in this unoptimised build, and goes one way in alone.
    const LARGE: usize = 200_000;
    let refused = |name: &str, bytes: &[u8]| {
        let error = read_response(bytes, &f.pinned, sample_time()).expect_err(name);
        assert!(!matches!(error, SignatureError::Content(_)), "{error}");
        if bytes.len() > LARGE {
            return error.to_string();
        }
        assert!(
            read_request(bytes, &f.pinned, sample_time()).is_err() && verify_message(bytes, &f.pinned, sample_time()).is_err()
        );
        // Nor by the other ways in: as a kept message it is what was kept, or nothing.
        assert!(
            read_kept_response(bytes, digest).is_ok_and(|kept| kept == response) || read_kept_response(bytes, digest).is_err()
        );
        let unsigned = read_unsigned_refusal(bytes);
        assert!(unsigned.as_ref().is_err() || unsigned.is_ok_and(|r| r.code == "E4"));
        // Who it says it is from, as a person may be shown it.
        let named = named_signer(bytes).map(|(issuer, _)| issuer).unwrap_or_default();
        assert!(!named.chars().any(|c| c.is_control() || c == '\u{202e}') && named.len() < 600, "{named:?}");
        error.to_string()
    };
    let sections = [("XML that is not allowed", xml::rows(&f)), ("Signatures that are not DCC's", signed::rows(&f))];
    let table = table(&sections, refused);
    assert!(table.lines().all(|line| line.len() < 300), "no forger fills the log");
    insta::assert_snapshot!(table);
}

#[test]
fn what_is_signed_and_says_two_things_is_not_understood() {
    let f = Forger::new();
    let verdict = |name: &str, bytes: &[u8]| {
        let error = read_response(bytes, &f.pinned, sample_time()).expect_err(name);
        assert!(matches!(error, SignatureError::Content(_)), "{error}");
        assert!(verify_message(bytes, &f.pinned, sample_time()).is_ok(), "it is DCC's, and kept");
        error.to_string()
    };
    insta::assert_snapshot!(table(&[("Good signatures over bad sense", meaning::rows(&f))], verdict));
}

#[test]
fn what_is_altered_and_accepted_says_the_same() {
    let f = Forger::new();
    let (response, digest) = verify_and_read_response(f.good.as_bytes(), &f.pinned, sample_time()).unwrap();
    for (name, bytes) in meaning::harmless(&f) {
        let (read, its_digest) = verify_and_read_response(&bytes, &f.pinned, sample_time()).expect(name);
        assert_eq!((&read, its_digest), (&response, digest), "{name}");
        assert_eq!(read_kept_response(&bytes, digest).unwrap(), response, "{name}");
    }
}

#[test]
fn a_certificate_counts_between_its_dates_and_while_it_is_pinned() {
    let f = Forger::new();
    let at = |at: Time| read_response(f.good.as_bytes(), &f.pinned, at);
    let certificate = f.signer.certificate();
    assert!(at(certificate.not_before).is_ok() && at(certificate.not_after).is_ok());
    assert_eq!(at(certificate.not_before.plus_millis(-1)).unwrap_err(), SignatureError::CertificateNotValid);
    assert_eq!(at(certificate.not_after.plus_millis(1000)).unwrap_err(), SignatureError::CertificateNotValid);
    let unpinned = read_response(f.good.as_bytes(), &CertificateSet::default(), sample_time()).unwrap_err();
    assert!(matches!(unpinned, SignatureError::UnknownCertificate { .. }));
    // The supplier's set is another: a message of ours is not DCC's, nor DCC's ours.
    let ours = Forger::new();
    let theirs = CertificateSet(vec![Certificate { serial: "12".into(), ..f.signer.certificate().clone() }]);
    assert!(matches!(
        read_response(ours.good.as_bytes(), &theirs, sample_time()).unwrap_err(),
        SignatureError::UnknownCertificate { .. }
    ));
}

#[test]
fn a_kept_message_is_read_by_its_digest_alone_and_only_by_its_own() {
    let f = Forger::new();
    let (response, digest) = verify_and_read_response(f.good.as_bytes(), &f.pinned, sample_time()).unwrap();
    assert_eq!(read_kept_response(f.good.as_bytes(), digest).unwrap(), response);
    assert_eq!(verify_message(f.good.as_bytes(), &f.pinned, sample_time()).unwrap().digest, digest);
    assert_eq!(read_kept_response(&f.altered(">I99<", ">I0<"), digest).unwrap_err(), SignatureError::Digest);
    let other = f.resigned(">I99<", ">I0<");
    let (_, of_other) = verify_and_read_response(&other, &f.pinned, sample_time()).unwrap();
    assert_eq!(read_kept_response(f.good.as_bytes(), of_other).unwrap_err(), SignatureError::Digest);
    assert_eq!(read_kept_response(f.unsigned().as_bytes(), digest).unwrap_err(), SignatureError::Unsigned);
}

#[test]
fn a_requests_white_space_between_elements_is_refused() {
    let f = Forger::new();
    let id = "90-B3-D5-1F-30-01-00-00:90-B3-D5-1F-30-00-00-02:1000".parse().unwrap();
    let request = OwnedRequest { id, ..OwnedRequest::update_firmware() };
    let text = String::from_utf8(build_request(&request.as_request(), &f.signer).unwrap().bytes).unwrap();
    let template = format!("{}@</sr:Request>", &text[..text.find("<ds:Signature ").unwrap()]);
    assert!(read_request(&f.sign(&template, |i| i), &f.pinned, sample_time()).is_ok());
    let pretty = f.sign(&template.replace("><sr:", ">\n  <sr:"), |i| i);
    let error = read_request(&pretty, &f.pinned, sample_time()).unwrap_err();
    assert!(matches!(error, SignatureError::Profile(_)), "{error}");
}

#[test]
fn unknown_alerts_keep_their_name_and_unknown_elements_of_known_ones_are_passed_over() {
    let f = Forger::new();
    let (start, end) = (f.template.find("<sr:ResponseMessage>").unwrap(), f.template.find("</sr:Body>").unwrap());
    let read = |body: &str| {
        let document = format!("{}{body}{}", &f.template[..start], &f.template[end..]);
        read_response(&f.sign(&document, |i| i), &f.pinned, sample_time()).unwrap().body
    };
    let wrap = |alert: &str| {
        format!(
            "<sr:DCCAlertMessage><sr:DCCAlertCode>N99</sr:DCCAlertCode><sr:DCCAlert>{alert}</sr:DCCAlert></sr:DCCAlertMessage>"
        )
    };
    let Body::Alert { alert, .. } = read(&wrap("<sr:NewAlert><sr:DeviceID>x</sr:DeviceID></sr:NewAlert>")) else {
        panic!("an alert")
    };
    assert!(matches!(alert, Alert::Other(unknown) if unknown.name == "NewAlert" && unknown.xml.contains(">x<")));
    let removal = "<sr:PPMIDRemoval><sr:New/><sr:PPMIDDeviceID> 00-db-12-34-56-78-90-a0 </sr:PPMIDDeviceID>\
                   <sr:CHFDeviceID>00-DB-12-34-56-78-90-A1</sr:CHFDeviceID><x xmlns=\"urn:x\"/></sr:PPMIDRemoval>";
    let Body::Alert { alert, .. } = read(&wrap(removal)) else { panic!("an alert") };
    assert_eq!(alert.element(), "PPMIDRemoval");
}

#[test]
fn long_messages_of_any_stuff_are_refused_in_linear_time() {
    /// Bytes: 16 MiB take 64 times as long, and this is the unoptimised build.
    const LONG: usize = 1 << 18;
    // No clock: what is checked is that nothing here is quadratic, which would take minutes.
    let f = Forger::new();
    for (piece, most) in [
        ("x", usize::MAX),
        ("&amp;", usize::MAX),
        ("&#xD;", usize::MAX),
        ("\r", usize::MAX),
        ("]", usize::MAX),
        ("é", usize::MAX),
        ("<a/>", 99_000),
        ("<axmlns>x</axmlns>", 99_000),
        ("<sr:DeviceIDList/>", 99_000),
        ("<a b='xmlns' c='&quot;'/>", 4_000),
    ] {
        let stuff = piece.repeat((LONG / piece.len()).min(most));
        for (from, to) in [("<sr:Body>", format!("<sr:Body>{stuff}")), (">I99<", format!(">I99{stuff}<"))] {
            let bytes = f.altered(from, &to);
            assert!(
                read_response(&bytes, &f.pinned, sample_time()).is_err() && read_unsigned_refusal(&bytes).is_err(),
                "{piece}"
            );
        }
        let bytes = f.altered("schemaVersion=\"3.1\"", &format!("schemaVersion=\"{}\"", stuff.replace(['<', '"'], "")));
        assert!(read_response(&bytes, &f.pinned, sample_time()).is_err(), "{piece}");
    }
}

#[test]
fn the_table_changes_what_it_says_it_changes() {
    let f = Forger::new();
    let mut seen: Vec<(&str, Vec<u8>)> = vec![("the good message", f.good.clone().into_bytes())];
    for (name, bytes) in xml::rows(&f).into_iter().chain(signed::rows(&f)).filter(|(_, b)| b.len() < 100_000) {
        let twin = seen.iter().find(|(n, b)| *n == name || *b == bytes);
        assert!(twin.is_none(), "{name} is {}", twin.unwrap().0);
        seen.push((name, bytes));
    }
    assert!(replaced("ab", "a", "b") == "bb");
}
