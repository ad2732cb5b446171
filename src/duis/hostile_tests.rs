//! What must be refused. Forged messages are signed with a good, pinned key wherever the point is that even then they are
//! not of the profile.

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD};

use super::{random::OwnedRequest, samples::*, signature::*, *};

/// A signed acknowledgement, as text, and the set that verifies it.
fn signed() -> (String, CertificateSet, FileSigner) {
    let (signer, _) = signer("4711");
    let text = String::from_utf8(write_response(&acknowledgement("I99"), &signer).unwrap().bytes).unwrap();
    (text, pinned(&signer), signer)
}

fn refusal(text: &str, set: &CertificateSet) -> SignatureError {
    read_response(text.as_bytes(), set, sample_time()).expect_err(text)
}

/// Signs anything: `document` is the whole message with `@` where the signature goes; `edit` may change SignedInfo first.
fn forge(signer: &FileSigner, document: &str, edit: impl Fn(String) -> String) -> String {
    let text = document.replace('@', "");
    let canonical = canonical::inclusive(&roxmltree::Document::parse(&text).unwrap(), None);
    let digest = STANDARD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()));
    let info = edit(format!(
        "<ds:SignedInfo xmlns:ds=\"{DS}\"><ds:CanonicalizationMethod Algorithm=\"{EXCLUSIVE_C14N}\"></ds:CanonicalizationMethod>\
         <ds:SignatureMethod Algorithm=\"{ECDSA_SHA256}\"></ds:SignatureMethod><ds:Reference URI=\"\"><ds:Transforms>\
         <ds:Transform Algorithm=\"{ENVELOPED}\"></ds:Transform></ds:Transforms><ds:DigestMethod Algorithm=\"{SHA256}\">\
         </ds:DigestMethod><ds:DigestValue>{digest}</ds:DigestValue></ds:Reference></ds:SignedInfo>"
    ));
    let info = canonical::exclusive(roxmltree::Document::parse(&info).unwrap().root_element());
    let value = STANDARD.encode(signer.sign(info.as_bytes()).unwrap());
    let signature = format!(
        "<ds:Signature xmlns:ds=\"{DS}\">{info}<ds:SignatureValue>{value}</ds:SignatureValue><ds:KeyInfo><ds:X509Data>\
         <ds:X509IssuerSerial><ds:X509IssuerName>{}</ds:X509IssuerName><ds:X509SerialNumber>{}</ds:X509SerialNumber>\
         </ds:X509IssuerSerial></ds:X509Data></ds:KeyInfo></ds:Signature>",
        signer.certificate().issuer,
        signer.certificate().serial
    );
    document.replace('@', &signature)
}

/// The acknowledgement with `@` in place of its signature.
fn unsigned_template(text: &str) -> String {
    let (start, end) = (text.find("<ds:Signature ").unwrap(), text.find("</sr:Response>").unwrap());
    format!("{}@{}", &text[..start], &text[end..])
}

#[test]
fn what_was_altered_is_refused() {
    let (text, set, _) = signed();
    assert!(read_response(text.as_bytes(), &set, sample_time()).is_ok());
    let altered = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        refusal(&text.replacen(from, to, 1), &set)
    };
    assert_eq!(altered(">I99<", ">I0<"), SignatureError::Digest);
    assert_eq!(altered("<sr:Body>", "<sr:Body> "), SignatureError::Digest);
    assert_eq!(altered(" schemaVersion=", " xmlns:unused=\"urn:x\" schemaVersion="), SignatureError::Digest);
    assert!(matches!(altered(">4711<", ">4712<"), SignatureError::UnknownCertificate { .. }));
    assert!(matches!(altered(">4711<", ">04711<"), SignatureError::UnknownCertificate { .. }));
    assert!(matches!(altered(">4711<", ">0x1267<"), SignatureError::Profile(_)));
    assert!(matches!(altered(">CN=Z1,OU=07<", ">CN=Z1, OU=07<"), SignatureError::UnknownCertificate { .. }));
    let digest = text.find("<ds:DigestValue>").unwrap() + 16;
    let other = if text.as_bytes()[digest] == b'A' { "B" } else { "A" };
    assert_eq!(refusal(&format!("{}{other}{}", &text[..digest], &text[digest + 1..]), &set), SignatureError::Signature);
}

#[test]
fn signatures_outside_the_profile_are_refused_though_the_key_is_good() {
    let (text, set, signer) = signed();
    let template = unsigned_template(&text);
    assert!(read_response(forge(&signer, &template, |i| i).as_bytes(), &set, sample_time()).is_ok());
    let inclusive_c14n = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315";
    let second = format!("<ds:Transform Algorithm=\"{EXCLUSIVE_C14N}\"></ds:Transform></ds:Transforms>");
    let xpath = "<ds:Transform Algorithm=\"http://www.w3.org/TR/1999/REC-xpath-19991116\"><ds:XPath>1</ds:XPath></ds:Transform></ds:Transforms>";
    let twice = |i: &str| {
        let (a, b) = (i.find("<ds:Reference").unwrap(), i.find("</ds:SignedInfo>").unwrap());
        format!("{}{}{}", &i[..b], &i[a..b], &i[b..])
    };
    let edits: Vec<Box<dyn Fn(String) -> String>> = vec![
        Box::new(|i| i.replace("</ds:Transforms>", &second)),
        Box::new(|i| i.replace("</ds:Transforms>", xpath)),
        Box::new(|i| i.replace(ENVELOPED, EXCLUSIVE_C14N)),
        Box::new(|i| {
            i.replace(
                "<ds:CanonicalizationMethod Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\">",
                &format!("<ds:CanonicalizationMethod Algorithm=\"{inclusive_c14n}\">"),
            )
        }),
        Box::new(|i| i.replace("ecdsa-sha256", "hmac-sha256")),
        Box::new(|i| i.replace("ecdsa-sha256", "rsa-sha256")),
        Box::new(|i| i.replace(SHA256, "http://www.w3.org/2000/09/xmldsig#sha1")),
        Box::new(|i| i.replace("URI=\"\"", "URI=\"#body\"")),
        Box::new(|i| i.replace(" URI=\"\"", "")),
        Box::new(|i| i.replace("URI=\"\"", "URI=\"\" Type=\"urn:x\"")),
        Box::new(|i| i.replace("URI=\"\"", "Id=\"r\" URI=\"\"")),
        Box::new(|i| i.replace("<ds:Transforms>", "text<ds:Transforms>")),
        Box::new(|i| i.replace("</ds:SignatureMethod>", "<ds:HMACOutputLength>0</ds:HMACOutputLength></ds:SignatureMethod>")),
        Box::new(|i| i.replace("</ds:CanonicalizationMethod>", "<x xmlns=\"urn:x\"></x></ds:CanonicalizationMethod>")),
        Box::new(move |i| twice(&i)),
    ];
    for (n, edit) in edits.iter().enumerate() {
        let forged = forge(&signer, &template, edit);
        assert!(matches!(refusal(&forged, &set), SignatureError::Profile(_)), "edit {n}: {forged}");
    }
}

#[test]
fn anything_extra_in_the_signature_is_refused() {
    let (text, set, _) = signed();
    let extra = [
        ("</ds:KeyInfo>", "</ds:KeyInfo><ds:Object>x</ds:Object>"),
        ("<ds:X509Data>", "<ds:KeyName>x</ds:KeyName><ds:X509Data>"),
        ("</ds:X509Data>", "</ds:X509Data><ds:X509Data></ds:X509Data>"),
        ("</ds:X509IssuerSerial>", "</ds:X509IssuerSerial><ds:X509Certificate>AAAA</ds:X509Certificate>"),
        ("</ds:X509Data>", "<x xmlns=\"urn:x\"/></ds:X509Data>"),
        ("<ds:KeyInfo>", "<ds:KeyInfo Id=\"k\">"),
        ("<ds:SignatureValue>", "<ds:SignatureValue Id=\"v\">"),
        ("<ds:Signature ", "<ds:Signature Id=\"s\" "),
        ("<ds:SignatureValue>", "<ds:SignatureValue>AAAA"),
        ("</ds:SignatureValue>", "</ds:SignatureValue>text"),
        ("</ds:SignatureValue>", "<b/></ds:SignatureValue>"),
    ];
    for (from, to) in extra {
        assert!(text.contains(from));
        let error = refusal(&text.replacen(from, to, 1), &set);
        assert!(matches!(error, SignatureError::Profile(_) | SignatureError::Malformed(_)), "{to}: {error}");
    }
    let no_key = format!("{}{}", &text[..text.find("<ds:KeyInfo>").unwrap()], &text[text.find("</ds:Signature>").unwrap()..]);
    assert!(matches!(refusal(&no_key, &set), SignatureError::Profile(_)));
}

#[test]
fn wrapped_and_moved_signatures_are_refused() {
    let (text, set, _) = signed();
    let (start, end) = (text.find("<ds:Signature ").unwrap(), text.find("</sr:Response>").unwrap());
    let signature = &text[start..end];
    let plain = format!("{}{}", &text[..start], &text[end..]);
    let evil = plain.replace(">I99<", ">I0<");
    let moved = [
        // The signed message inside another root, its signature still beside what it signed.
        format!("{}{text}</sr:Response>", &evil[..evil.len() - "</sr:Response>".len()]),
        // The signature first, in the middle, in the Body, twice.
        plain.replacen("<sr:Header>", &format!("{signature}<sr:Header>"), 1),
        plain.replacen("<sr:Body>", &format!("{signature}<sr:Body>"), 1),
        plain.replacen("</sr:Body>", &format!("{signature}</sr:Body>"), 1),
        plain.replacen("</sr:Response>", &format!("{signature}{signature}</sr:Response>"), 1),
        // The signed original hidden in an Object of the signature.
        evil.replacen(
            "</sr:Response>",
            &signature.replacen("</ds:Signature>", &format!("<ds:Object>{plain}</ds:Object></ds:Signature>"), 1),
            1,
        ) + "</sr:Response>",
        // As if it were a SMETS1 provider's, with no other.
        plain.replacen("</sr:Body>", &format!("<sr:S1SPAlert>{signature}</sr:S1SPAlert></sr:Body>"), 1),
        // A second Header or Body after the signature, or before it.
        text.replacen("</sr:Response>", "<sr:Body/></sr:Response>", 1),
        text.replacen("<ds:Signature ", "<sr:Body/><ds:Signature ", 1),
        text.replacen("<sr:Header>", "<sr:Header/><sr:Header>", 1),
    ];
    for forged in moved {
        let error = refusal(&forged, &set);
        assert!(!matches!(error, SignatureError::Content(_)), "{error}: {forged}");
    }
}

#[test]
fn messages_that_say_two_things_are_not_understood_though_the_signature_is_good() {
    let (text, set, signer) = signed();
    let template = unsigned_template(&text);
    let doubled = [
        ("</sr:Body>", "</sr:Body><sr:Body><sr:DeviceAlertMessage/></sr:Body>"),
        ("</sr:ResponseMessage>", "</sr:ResponseMessage><sr:DCCAlertMessage/>"),
        ("<sr:ResponseCode>", "<sr:ResponseCode>I0</sr:ResponseCode><sr:ResponseCode>"),
        ("<sr:Header>", "<sr:Extra/><sr:Header>"),
        ("</sr:ResponseMessage>", "<sr:DSPInventory/><sr:DSPOptIn/></sr:ResponseMessage>"),
        (">I99<", "><sr:x/>I99<"),
        (">I99<", "> <"),
        (":1000<", ":01000<"),
    ];
    for (from, to) in doubled {
        assert!(template.contains(from), "{from}");
        let forged = forge(&signer, &template.replacen(from, to, 1), |i| i);
        assert!(matches!(refusal(&forged, &set), SignatureError::Content(_)), "{to}");
    }
}

#[test]
fn a_requests_white_space_between_elements_is_refused() {
    let (signer, _) = signer("4711");
    let id = "90-B3-D5-1F-30-01-00-00:90-B3-D5-1F-30-00-00-02:1000".parse().unwrap();
    let request = OwnedRequest { id, ..OwnedRequest::update_firmware() };
    let text = String::from_utf8(build_request(&request.as_request(), &signer).unwrap().bytes).unwrap();
    let start = text.find("<ds:Signature ").unwrap();
    let template = format!("{}@</sr:Request>", &text[..start]);
    assert!(read_request(forge(&signer, &template, |i| i).as_bytes(), &pinned(&signer), sample_time()).is_ok());
    let pretty = forge(&signer, &template.replace("><sr:", ">\n  <sr:"), |i| i);
    let error = read_request(pretty.as_bytes(), &pinned(&signer), sample_time()).unwrap_err();
    assert!(matches!(error, SignatureError::Profile(_)), "{error}");
}

#[test]
fn base64_of_a_signature_may_hold_line_breaks() {
    let (text, set, _) = signed();
    let at = text.find("<ds:SignatureValue>").unwrap() + 19 + 40;
    let broken = format!("{}&#13;\n {}", &text[..at], &text[at..]);
    assert!(read_response(broken.as_bytes(), &set, sample_time()).is_ok());
}

#[test]
fn hostile_xml_is_refused_before_it_is_parsed() {
    let (text, set, _) = signed();
    let deep = text.replacen("<sr:Body>", &format!("<sr:Body>{}{}", "<a>".repeat(200_000), "</a>".repeat(200_000)), 1);
    let many: String = (0..100_000).map(|n| format!(" a{n}=\"\"")).collect();
    let wide = text.replacen("<sr:Body>", &format!("<sr:Body{many}>"), 1);
    let declarations: String = (0..65).map(|n| format!("<a xmlns:n{n}=\"u\"/>")).collect();
    let declared = text.replacen("<sr:Body>", &format!("<sr:Body>{declarations}"), 1);
    let comment = text.replacen("I99", "I<!-- -->99", 1);
    let dtd = format!("<!DOCTYPE r [<!ENTITY e \"x\">]>{text}");
    let cdata = text.replacen("I99", "<![CDATA[I99]]>", 1);
    let instruction = text.replacen("<sr:Body>", "<?x y?><sr:Body>", 1);
    let entity = text.replacen("I99", "&e;", 1);
    for bad in [deep, wide, declared, comment, dtd, cdata, instruction, entity] {
        assert!(matches!(refusal(&bad, &set), SignatureError::Malformed(_)), "{}", &bad[..80]);
        assert!(message_kind(bad.as_bytes()).is_err() && read_unsigned_refusal(bad.as_bytes()).is_err());
    }
    let utf16: Vec<u8> = format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_be_bytes).collect();
    assert!(read_response(&utf16, &set, sample_time()).is_err());
    let huge = vec![b' '; MAX_MESSAGE_BYTES + 1];
    assert_eq!(read_response(&huge, &set, sample_time()).unwrap_err(), SignatureError::TooLarge(MAX_MESSAGE_BYTES));
}

#[test]
fn a_signature_written_with_a_default_namespace_is_as_good() {
    let (text, set, signer) = signed();
    let plain = |t: String| t.replace("<ds:", "<").replace("</ds:", "</").replace("xmlns:ds=", "xmlns=");
    let forged = plain(forge(&signer, &unsigned_template(&text), plain));
    assert!(forged.contains("<SignedInfo") && !forged.contains("ds:"));
    read_response(forged.as_bytes(), &set, sample_time()).unwrap();
    let elsewhere = forged.replacen("xmlns=\"http://www.w3.org/2000/09/xmldsig#\"", "xmlns=\"urn:x\"", 1);
    assert_eq!(refusal(&elsewhere, &set), SignatureError::Unsigned);
}

#[test]
fn a_kept_message_is_read_by_its_digest_alone_and_only_by_its_own() {
    let (text, set, signer) = signed();
    let (response, digest) = verify_and_read_response(text.as_bytes(), &set, sample_time()).unwrap();
    assert_eq!(read_kept_response(text.as_bytes(), digest).unwrap(), response);
    assert_eq!(verify_message(text.as_bytes(), &set, sample_time()).unwrap().digest, digest);
    let altered = text.replace(">I99<", ">I0<");
    assert_eq!(read_kept_response(altered.as_bytes(), digest).unwrap_err(), SignatureError::Digest);
    let (_, other) =
        verify_and_read_response(&write_response(&acknowledgement("I0"), &signer).unwrap().bytes, &set, sample_time()).unwrap();
    assert_eq!(read_kept_response(text.as_bytes(), other).unwrap_err(), SignatureError::Digest);
    let unsigned = unsigned_template(&text).replace('@', "");
    assert_eq!(read_kept_response(unsigned.as_bytes(), digest).unwrap_err(), SignatureError::Unsigned);
}
