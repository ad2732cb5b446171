//! Forgeries of the signature itself: a changed message, a changed key, algorithms and shapes outside the profile. Where the point
//! is that the profile forbids it, the pinned key itself has signed.

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    super::{profile::*, samples::signer, *},
    forge::*,
};

pub fn rows(f: &Forger) -> Vec<Row> {
    [contents(f), keys(f), algorithms(f), references(f), shapes(f), places(f), values(f)].concat()
}

/// What was signed says one thing, the message another.
fn contents(f: &Forger) -> Vec<Row> {
    let evil = replaced(&f.unsigned(), ">I99<", ">I0<");
    let both = replaced(&replaced(&f.good, ">I99<", ">I0<"), f.digest_base64(), &digest_of(&evil));
    vec![
        ("another response code", f.altered(">I99<", ">I0<")),
        ("another response code, and its digest", both.into_bytes()),
        ("another digest", f.altered(f.digest_base64(), &digest_of(&evil))),
        ("another RequestID", f.altered(":1000<", ":1001<")),
        ("another schemaVersion", f.altered("schemaVersion=\"3.1\"", "schemaVersion=\"5.4\"")),
        ("white space between elements", f.altered("<sr:Body>", "<sr:Body> ")),
        ("white space in a tag's text", f.altered(">I99<", ">I99 <")),
        ("a namespace that nothing uses", f.altered(" schemaVersion=", " xmlns:unused=\"urn:x\" schemaVersion=")),
        ("xml:base on the root", f.altered(" schemaVersion=", " xml:base=\"urn:x\" schemaVersion=")),
        ("xml:space on the Body", f.altered("<sr:Body>", "<sr:Body xml:space=\"preserve\">")),
        ("xml:id on the Body", f.altered("<sr:Body>", "<sr:Body xml:id=\"b\">")),
        ("Id on the Body", f.altered("<sr:Body>", "<sr:Body Id=\"b\">")),
        ("Body before Header", {
            let header = format!("<sr:Header>{}</sr:Header>", between(&f.good, "<sr:Header>", "</sr:Header>"));
            replaced(&f.good.replace(&header, ""), "</sr:Body>", &format!("</sr:Body>{header}")).into_bytes()
        }),
        ("a second Body", f.altered("<ds:Signature ", "<sr:Body/><ds:Signature ")),
        ("a second Header", f.altered("<sr:Header>", "<sr:Header/><sr:Header>")),
        ("a Body after the signature", f.altered("</sr:Response>", "<sr:Body/></sr:Response>")),
    ]
}

fn keys(f: &Forger) -> Vec<Row> {
    let (other, _) = signer("4712");
    let (same_name, _) = signer("4711");
    let serial = |to: &str| f.altered(">4711<", &format!(">{to}<"));
    let issuer = |to: &str| f.altered(">CN=Z1,OU=07<", &format!(">{to}<"));
    vec![
        ("signed by the supplier, whose certificate is not DCC's", sign(&other, &f.template, |i| i).into_bytes()),
        ("signed by another key under the pinned name", sign(&same_name, &f.template, |i| i).into_bytes()),
        ("another serial", serial("4712")),
        ("another serial, with the pinned one in it", serial("14711")),
        ("a serial of 2^160 and the pinned one", serial("1461501637330902918203684832716283019655932547687")),
        ("a serial of 50 digits", serial(&"9".repeat(50))),
        ("a hexadecimal serial", serial("0x1267")),
        ("a negative serial", serial("-4711")),
        ("no serial", serial("")),
        ("a serial in other digits", serial("٤٧١١")),
        ("another issuer", issuer("CN=Z2,OU=07")),
        ("the issuer's parts the other way round", issuer("OU=07,CN=Z1")),
        ("the issuer within another's value", issuer("CN=\"Z1,OU=07\"")),
        ("the issuer with a part more", issuer("CN=Z1,OU=07,O=DCC")),
        ("the issuer in lower case", issuer("cn=z1,ou=07")),
        ("an issuer that ends a line of a log", issuer("x&#10;&#x9b;31m&#x202e;CN=Z1,OU=07")),
        ("an issuer of a megabyte", issuer(&"CN=Z1,".repeat(170_000))),
        ("no issuer", issuer("")),
    ]
}

fn algorithms(f: &Forger) -> Vec<Row> {
    let method = |to: &str| {
        f.signed_info(
            &format!("CanonicalizationMethod Algorithm=\"{EXCLUSIVE_C14N}"),
            &format!("CanonicalizationMethod Algorithm=\"{to}"),
        )
    };
    let signature = |to: &str| f.signed_info(ECDSA_SHA256, to);
    let digest = |to: &str| f.signed_info(SHA256, to);
    let inclusive = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315";
    vec![
        ("CanonicalizationMethod: inclusive", method(inclusive)),
        ("CanonicalizationMethod: inclusive, with comments", method(&format!("{inclusive}#WithComments"))),
        ("CanonicalizationMethod: inclusive 1.1", method("http://www.w3.org/2006/12/xml-c14n11")),
        ("CanonicalizationMethod: exclusive, with comments", method(&format!("{EXCLUSIVE_C14N}WithComments"))),
        ("CanonicalizationMethod: an XSLT", method("http://www.w3.org/TR/1999/REC-xslt-19991116")),
        ("CanonicalizationMethod: none", method("")),
        ("CanonicalizationMethod with a list of prefixes", {
            let list = format!("<x:InclusiveNamespaces xmlns:x=\"{EXCLUSIVE_C14N}\" PrefixList=\"sr\"></x:InclusiveNamespaces>");
            f.signed_info("</ds:CanonicalizationMethod>", &format!("{list}</ds:CanonicalizationMethod>"))
        }),
        ("SignatureMethod: HMAC, keyed with the public key", {
            let hmac_name = "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256";
            let text = String::from_utf8(signature(hmac_name)).unwrap();
            let info = format!("<ds:SignedInfo{}</ds:SignedInfo>", between(&text, "<ds:SignedInfo", "</ds:SignedInfo>"));
            let key = hmac::Key::new(hmac::HMAC_SHA256, &f.signer.certificate().public_key);
            let value = STANDARD.encode(hmac::sign(&key, info.as_bytes()).as_ref());
            replaced(&text, between(&text, "<ds:SignatureValue>", "</ds:SignatureValue>"), &value).into_bytes()
        }),
        ("SignatureMethod: HMAC, the value ECDSA's", signature("http://www.w3.org/2000/09/xmldsig#hmac-sha1")),
        (
            "SignatureMethod: an HMAC of no bits",
            f.signed_info("</ds:SignatureMethod>", "<ds:HMACOutputLength>0</ds:HMACOutputLength></ds:SignatureMethod>"),
        ),
        ("SignatureMethod: RSA", signature("http://www.w3.org/2001/04/xmldsig-more#rsa-sha256")),
        ("SignatureMethod: ECDSA with SHA-1", signature("http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha1")),
        ("SignatureMethod: ECDSA with SHA-384", signature("http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384")),
        ("SignatureMethod: DSA", signature("http://www.w3.org/2000/09/xmldsig#dsa-sha1")),
        ("DigestMethod: SHA-1", digest("http://www.w3.org/2000/09/xmldsig#sha1")),
        ("DigestMethod: SHA-512", digest("http://www.w3.org/2001/04/xmlenc#sha512")),
        ("DigestMethod: MD5", digest("http://www.w3.org/2001/04/xmldsig-more#md5")),
        ("an algorithm with a space", signature(&format!("{ECDSA_SHA256} "))),
        ("an algorithm in a namespace", f.signed_info("SignatureMethod Algorithm", "SignatureMethod ds:Algorithm")),
        ("an algorithm and another attribute", f.signed_info("SignatureMethod Algorithm", "SignatureMethod a=\"\" Algorithm")),
    ]
}

fn references(f: &Forger) -> Vec<Row> {
    let uri = |to: &str| f.signed_info("URI=\"\"", to);
    let transforms = |to: String| f.signed_info(&format!("<ds:Transform Algorithm=\"{ENVELOPED}\"></ds:Transform>"), &to);
    let transform = |algorithm: &str| format!("<ds:Transform Algorithm=\"{algorithm}\"></ds:Transform>");
    let twice = f.sign(&f.template, |info| {
        let reference = format!("<ds:Reference{}</ds:Reference>", between(&info, "<ds:Reference", "</ds:Reference>"));
        replaced(&info, "</ds:SignedInfo>", &format!("{reference}</ds:SignedInfo>"))
    });
    vec![
        ("Reference to a part: #body", uri("URI=\"#body\"")),
        ("Reference to a part: xpointer", uri("URI=\"#xpointer(/)\"")),
        ("Reference to a file", uri("URI=\"file:///etc/passwd\"")),
        ("Reference to a web page", uri("URI=\"http://example.com/\"")),
        ("Reference without URI", f.signed_info(" URI=\"\"", "")),
        ("Reference with a Type", uri("URI=\"\" Type=\"http://www.w3.org/2000/09/xmldsig#Manifest\"")),
        ("Reference with an Id", uri("Id=\"r\" URI=\"\"")),
        ("two References", twice),
        (
            "no Reference",
            f.sign(&f.template, |info| {
                let reference = format!("<ds:Reference{}</ds:Reference>", between(&info, "<ds:Reference", "</ds:Reference>"));
                replaced(&info, &reference, "")
            }),
        ),
        ("Transform: exclusive C14N after the enveloped one", transforms(transform(ENVELOPED) + &transform(EXCLUSIVE_C14N))),
        ("Transform: exclusive C14N before it", transforms(transform(EXCLUSIVE_C14N) + &transform(ENVELOPED))),
        ("Transform: exclusive C14N alone", transforms(transform(EXCLUSIVE_C14N))),
        ("Transform: enveloped, twice", transforms(transform(ENVELOPED).repeat(2))),
        (
            "Transform: XPath",
            transforms(
                transform(ENVELOPED)
                    + "<ds:Transform Algorithm=\"http://www.w3.org/TR/1999/REC-xpath-19991116\"><ds:XPath>1</ds:XPath></ds:Transform>",
            ),
        ),
        (
            "Transform: XPath within the enveloped one",
            transforms(format!("<ds:Transform Algorithm=\"{ENVELOPED}\"><ds:XPath>1</ds:XPath></ds:Transform>")),
        ),
        ("Transform: XSLT", transforms(transform(ENVELOPED) + &transform("http://www.w3.org/TR/1999/REC-xslt-19991116"))),
        ("Transform: base64", transforms(transform("http://www.w3.org/2000/09/xmldsig#base64"))),
        ("no Transform", transforms(String::new())),
        ("a DigestValue of SHA-1's length", f.signed_info(f.digest_base64(), &STANDARD.encode([1; 20]))),
        ("a DigestValue of 33 bytes", f.signed_info(f.digest_base64(), &STANDARD.encode([1; 33]))),
        ("an empty DigestValue", f.signed_info(f.digest_base64(), "")),
        ("a DigestValue with stray bits", f.signed_info("=</ds:DigestValue>", "</ds:DigestValue>")),
        ("a DigestValue and more", f.signed_info("</ds:DigestValue>", "</ds:DigestValue><ds:DigestValue></ds:DigestValue>")),
    ]
}

/// Anything the profile does not name, in the signature.
fn shapes(f: &Forger) -> Vec<Row> {
    let extra = |from: &str, to: &str| f.altered(from, &format!("{to}{from}"));
    let attribute = |element: &str| f.altered(&format!("<ds:{element}>"), &format!("<ds:{element} Id=\"x\">"));
    let key_info = format!("<ds:KeyInfo>{}</ds:KeyInfo>", between(&f.good, "<ds:KeyInfo>", "</ds:KeyInfo>"));
    let data = between(&key_info, "<ds:KeyInfo>", "</ds:KeyInfo>").to_owned();
    let value = format!("<ds:SignatureValue>{}</ds:SignatureValue>", f.signature_base64());
    vec![
        ("ds:Object, empty", extra("</ds:Signature>", "<ds:Object></ds:Object>")),
        ("ds:Object with a document", extra("</ds:Signature>", &format!("<ds:Object>{}</ds:Object>", f.unsigned()))),
        ("KeyName", extra("<ds:X509Data>", "<ds:KeyName>CN=Z1</ds:KeyName>")),
        ("KeyValue", extra("<ds:X509Data>", "<ds:KeyValue><ds:ECKeyValue/></ds:KeyValue>")),
        ("RetrievalMethod", extra("<ds:X509Data>", "<ds:RetrievalMethod URI=\"http://example.com/key\"/>")),
        (
            "X509Certificate",
            f.altered("</ds:X509IssuerSerial>", "</ds:X509IssuerSerial><ds:X509Certificate>AAAA</ds:X509Certificate>"),
        ),
        ("X509Certificate alone", f.altered(&data, "<ds:X509Data><ds:X509Certificate>AAAA</ds:X509Certificate></ds:X509Data>")),
        ("X509SKI", extra("<ds:X509IssuerSerial>", "<ds:X509SKI>AAAA</ds:X509SKI>")),
        ("two X509Data", extra("<ds:X509Data>", &data)),
        (
            "two X509IssuerSerial",
            f.altered(
                &data,
                &replaced(
                    &data,
                    "</ds:X509Data>",
                    &format!("{}</ds:X509Data>", between(&data, "<ds:X509Data>", "</ds:X509Data>")),
                ),
            ),
        ),
        ("an element of nobody's in KeyInfo", extra("</ds:X509Data>", "<x xmlns=\"urn:x\"/>")),
        ("text in KeyInfo", extra("<ds:X509Data>", "x")),
        ("no KeyInfo", f.altered(&key_info, "")),
        ("two KeyInfo", f.altered(&key_info, &key_info.repeat(2))),
        ("two SignatureValue", f.altered(&value, &value.repeat(2))),
        ("SignatureValue after KeyInfo", f.altered(&format!("{value}{key_info}"), &format!("{key_info}{value}"))),
        ("an element in SignatureValue", extra("</ds:SignatureValue>", "<b/>")),
        ("text after SignatureValue", f.altered("</ds:SignatureValue>", "</ds:SignatureValue>text")),
        ("an Id on Signature", f.altered("<ds:Signature ", "<ds:Signature Id=\"x\" ")),
        ("an Id on SignatureValue", attribute("SignatureValue")),
        ("an Id on KeyInfo", attribute("KeyInfo")),
        ("an Id on X509Data", attribute("X509Data")),
        ("an Id on X509IssuerSerial", attribute("X509IssuerSerial")),
        ("an Id on SignedInfo", f.signed_info("<ds:SignedInfo", "<ds:SignedInfo Id=\"x\"")),
        ("xml:lang on Transforms", f.signed_info("<ds:Transforms>", "<ds:Transforms xml:lang=\"en\">")),
        ("text in SignedInfo", f.signed_info("<ds:Reference", "text<ds:Reference")),
        ("an element of nobody's in SignedInfo", f.signed_info("</ds:SignedInfo>", "<x xmlns=\"urn:x\"></x></ds:SignedInfo>")),
        ("SignedInfo of another namespace", f.altered("<ds:SignedInfo>", "<ds:SignedInfo xmlns:ds=\"urn:x\">")),
        (
            "SignedInfo signed by hand: the digest in an attribute",
            f.signed_info("<ds:DigestValue>", "<ds:DigestValue ds:x=\"\">"),
        ),
    ]
}

/// Signatures doubled, moved and wrapped.
fn places(f: &Forger) -> Vec<Row> {
    let (signature, plain) = (f.signature(), f.unsigned());
    let evil = replaced(&plain, ">I99<", ">I0<");
    let put = |from: &str, to: String| replaced(&plain, from, &to).into_bytes();
    let end = "</sr:Response>";
    let renamed = signature.replace("<ds:", "<d2:").replace("</ds:", "</d2:").replace("xmlns:ds", "xmlns:d2");
    let default = signature.replace("<ds:", "<").replace("</ds:", "</").replace("xmlns:ds", "xmlns");
    vec![
        ("the signed message in another root", format!("{}{}{end}", evil.strip_suffix(end).unwrap(), f.good).into_bytes()),
        ("the signed message in the Body", replaced(&evil, "</sr:Body>", &format!("{}</sr:Body>", f.good)).into_bytes()),
        ("the signed message in an Object", {
            let object = replaced(signature, "</ds:Signature>", &format!("<ds:Object>{plain}</ds:Object></ds:Signature>"));
            replaced(&evil, end, &format!("{object}{end}")).into_bytes()
        }),
        ("the signature before the Header", put("<sr:Header>", format!("{signature}<sr:Header>"))),
        ("the signature after the Header", put("<sr:Body>", format!("{signature}<sr:Body>"))),
        ("the signature in the Header", put("</sr:Header>", format!("{signature}</sr:Header>"))),
        ("the signature in the Body", put("</sr:Body>", format!("{signature}</sr:Body>"))),
        ("the signature twice", put(end, format!("{signature}{signature}{end}"))),
        ("a second signature by another prefix", put(end, format!("{renamed}{signature}{end}"))),
        ("a second signature by the default namespace", put(end, format!("{default}{signature}{end}"))),
        ("a second signature without content", put(end, format!("<ds:Signature xmlns:ds=\"{DS}\"/>{signature}{end}"))),
        ("a SMETS1 provider's signature alone", put("</sr:Body>", format!("<sr:S1SPAlert>{signature}</sr:S1SPAlert></sr:Body>"))),
        (
            "a SMETS1 provider's place in the signature",
            f.altered("</ds:Signature>", &format!("<sr:S1SPAlert>{signature}</sr:S1SPAlert></ds:Signature>")),
        ),
        ("the root is the signature", signature.as_bytes().to_vec()),
        ("an S1SPAlert as the root", {
            let root = |t: &str| t.replace("sr:Response ", "sr:S1SPAlert ").replace("</sr:Response>", "</sr:S1SPAlert>");
            root(&replaced(&f.good, "<ds:Signature ", &format!("{signature}<ds:Signature "))).into_bytes()
        }),
        ("a signature of another namespace", f.altered(&format!("xmlns:ds=\"{DS}\""), "xmlns:ds=\"urn:x\"")),
        ("a signature of XML-DSig 1.1's namespace", f.altered(DS, "http://www.w3.org/2009/xmldsig11#")),
        (
            "Signature in lower case",
            f.good.replace("ds:Signature>", "ds:signature>").replace("ds:Signature ", "ds:signature ").into_bytes(),
        ),
        ("unsigned acceptance", plain.clone().into_bytes()),
        ("unsigned success", evil.into_bytes()),
        ("unsigned refusal, sent to the receiver", replaced(&plain, ">I99<", ">E4<").into_bytes()),
    ]
}

/// Values that are no signature, or of another encoding.
fn values(f: &Forger) -> Vec<Row> {
    let raw = f.raw_signature();
    let (r, s) = raw.split_at(32);
    let (zero, order) = ([0; 32], ORDER);
    let integer = |n: &[u8]| {
        let n = [&[0], n].concat();
        let start = n.windows(2).position(|w| w[0] != 0 || w[1] & 0x80 != 0).unwrap_or(32);
        [&[2, (n.len() - start) as u8], &n[start..]].concat()
    };
    let numbers = [integer(r), integer(s)].concat();
    let der = [&[0x30, numbers.len() as u8], &numbers[..]].concat();
    let text = |t: String| f.altered(&f.signature_base64(), &t);
    let base64 = f.signature_base64();
    // 64 bytes end with one character that has four bits to spare.
    let spare = base64.strip_suffix("==").unwrap();
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let last = alphabet.iter().position(|b| *b == spare.as_bytes()[spare.len() - 1]).unwrap();
    let stray = format!("{}{}==", &spare[..spare.len() - 1], char::from(alphabet[last + 1]));
    vec![
        ("r and s zero", f.signature_value(&[0; 64])),
        ("r zero", f.signature_value(&[&zero, s].concat())),
        ("s zero", f.signature_value(&[r, &zero].concat())),
        ("r the order of the curve", f.signature_value(&[&order, s].concat())),
        ("s the order of the curve", f.signature_value(&[r, &order].concat())),
        ("all bits set", f.signature_value(&[0xff; 64])),
        ("r and s swapped", f.signature_value(&[s, r].concat())),
        ("one bit changed", f.signature_value(&[&raw[..63], &[raw[63] ^ 1]].concat())),
        ("DER", f.signature_value(&der)),
        ("63 bytes", f.signature_value(&raw[..63])),
        ("65 bytes", f.signature_value(&[&raw[..], &[0]].concat())),
        ("no bytes", f.signature_value(&[])),
        ("a megabyte", f.signature_value(&[1; 1 << 20])),
        ("base64 with stray bits", text(stray)),
        ("base64 without its padding", text(spare.to_owned())),
        ("base64 with more after its padding", text(format!("{base64}AAAA"))),
        ("base64 of the other alphabet", text(format!("-_{}", &base64[2..]))),
        ("base64 with a no-break space", text(format!("{}\u{a0}{}", &base64[..40], &base64[40..]))),
        ("hexadecimal", text(raw.iter().map(|b| format!("{b:02x}")).collect())),
    ]
}

/// The order of P-256's group, big-endian.
pub const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7,
    0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];
