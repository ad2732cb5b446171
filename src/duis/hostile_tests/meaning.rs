//! Messages whose signature is good: those that say two things at once, and those that were altered without saying another thing.

use super::{
    super::profile::DS,
    forge::{Forger, Row, sign},
    signed::ORDER,
};

/// Signed with the pinned key, and contradictory or not of the schema.
pub fn rows(f: &Forger) -> Vec<Row> {
    vec![
        ("two Bodies", f.resigned("</sr:Body>", "</sr:Body><sr:Body><sr:DeviceAlertMessage/></sr:Body>")),
        ("two Headers", f.resigned("<sr:Header>", "<sr:Header></sr:Header><sr:Header>")),
        ("an element more beside Header and Body", f.resigned("<sr:Header>", "<sr:Extra/><sr:Header>")),
        ("a Body of another namespace", f.resigned("<sr:Body>", "<x:Body xmlns:x=\"urn:x\"/><sr:Body>")),
        ("two messages in one Body", f.resigned("</sr:ResponseMessage>", "</sr:ResponseMessage><sr:DCCAlertMessage/>")),
        (
            "two answers in one message",
            f.resigned("</sr:ResponseMessage>", "<sr:DSPInventory/><sr:DSPOptIn/></sr:ResponseMessage>"),
        ),
        ("two response codes", f.resigned("<sr:ResponseCode>", "<sr:ResponseCode>I0</sr:ResponseCode><sr:ResponseCode>")),
        ("a response code with an element in it", f.resigned(">I99<", "><sr:x/>I99<")),
        ("no response code", f.resigned(">I99<", "> <")),
        ("a response code of two words", f.resigned(">I99<", ">I99 I0<")),
        ("a counter with a leading zero", f.resigned(":1000<", ":01000<")),
        ("a counter of 2^64", f.resigned(":1000<", ":18446744073709551616<")),
        ("a RequestID of full-width digits", f.resigned(":1000<", ":１000<")),
        ("a time that never was", f.resigned("2026-11-24T12:00:00Z", "2026-11-31T12:00:00Z")),
        ("a Request", signed_as(f, "Request").into_bytes()),
        ("a root of another name", signed_as(f, "Respons").into_bytes()),
        ("a root of another namespace", f.resigned("http://www.dccinterface.co.uk/ServiceUserGateway", "urn:x")),
    ]
}

fn signed_as(f: &Forger, root: &str) -> String {
    let template = f.template.replace("sr:Response ", &format!("sr:{root} ")).replace("</sr:Response>", &format!("</sr:{root}>"));
    sign(&f.signer, &template, |i| i)
}

/// Altered, accepted, and without effect: what is read, and its digest, are those of the good message. Messages are told apart by
/// ResponseID or RequestID, never by their bytes or SignatureValue (profile, rule 8), so none of these counts twice.
pub fn harmless(f: &Forger) -> Vec<Row> {
    let with = |head: &str, tail: &str| format!("{head}{}{tail}", f.good).into_bytes();
    let value = f.signature_base64();
    let plain = |t: String| t.replace("<ds:", "<").replace("</ds:", "</").replace("xmlns:ds=", "xmlns=");
    vec![
        ("a replay", f.good.clone().into_bytes()),
        ("a byte-order mark", with("\u{feff}", "")),
        ("an XML declaration", with("<?xml version='1.0' encoding=\"utf-8\" standalone='no'?>\n", "\n")),
        ("white space around the root", with(" \n\t", " \n")),
        ("line ends of another system around the root", with("\r\n", "\r\n")),
        ("a character written as a reference", f.altered(">I99<", ">&#73;&#x39;9<")),
        ("quotes of the other kind", f.altered("schemaVersion=\"3.1\"", "schemaVersion='3.1'")),
        ("space in a tag", f.altered("<sr:Body>", "<sr:Body\n >")),
        ("space in an end tag", f.altered("</sr:Body>", "</sr:Body >")),
        (
            "a namespace declared again",
            f.altered("<sr:Body>", "<sr:Body xmlns:sr=\"http://www.dccinterface.co.uk/ServiceUserGateway\">"),
        ),
        ("s at the other end (malleability of ECDSA)", f.signature_value(&mirrored(&f.raw_signature()))),
        ("line breaks in the SignatureValue", f.altered(&value, &format!("{}&#13;\n {}", &value[..40], &value[40..]))),
        ("white space between the parts of the signature", f.altered("<ds:KeyInfo>", "\n  <ds:KeyInfo>\n    ")),
        ("a namespace that only the signature declares", f.altered("<ds:KeyInfo>", "<ds:KeyInfo xmlns:x=\"urn:x\">")),
        (
            "an unused namespace in SignedInfo, which exclusive C14N leaves out",
            f.altered("<ds:SignedInfo>", "<ds:SignedInfo xmlns:x=\"urn:x\">"),
        ),
        ("leading zeros of the serial", f.altered(">4711<", ">000000000000000000000000000000000000000000000000000000004711<")),
        ("white space around the serial", f.altered(">4711<", "> 4711\n<")),
        ("the issuer with a space", f.altered(">CN=Z1,OU=07<", ">CN=Z1, OU=07<")),
        ("the issuer by its numbers", f.altered(">CN=Z1,OU=07<", ">2.5.4.3=Z1,2.5.4.11=#0c023037<")),
        ("the signature by another prefix", signed_by_prefix(f)),
        ("the signature by the default namespace", plain(sign(&f.signer, &f.template, plain)).into_bytes()),
    ]
}

fn signed_by_prefix(f: &Forger) -> Vec<u8> {
    let other = |t: String| t.replace("<ds:", "<x:").replace("</ds:", "</x:").replace("xmlns:ds=", "xmlns:x=");
    let message = other(sign(&f.signer, &f.template, other));
    assert!(message.contains(&format!("<x:Signature xmlns:x=\"{DS}\"><x:SignedInfo")));
    message.into_bytes()
}

/// r and n - s: as good a signature.
fn mirrored(raw: &[u8]) -> Vec<u8> {
    let mut mirrored = raw.to_vec();
    let mut borrow = 0i16;
    for at in (0..32).rev() {
        let difference = i16::from(ORDER[at]) - i16::from(raw[32 + at]) - borrow;
        borrow = i16::from(difference < 0);
        mirrored[32 + at] = difference.rem_euclid(256) as u8;
    }
    mirrored
}
