//! The forger's workshop: a good message to alter, and the pinned key itself, to sign what the profile does not allow.

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD};

use super::super::{profile::*, samples::*, *};

/// A forgery: what was done, and the bytes.
pub type Row = (&'static str, Vec<u8>);

pub struct Forger {
    pub signer: FileSigner,
    pub pinned: CertificateSet,
    /// A signed acknowledgement, as written here.
    pub good: String,
    /// The same with `@` in place of its signature.
    pub template: String,
}

impl Forger {
    pub fn new() -> Forger {
        let (signer, _) = signer("4711");
        let good = String::from_utf8(write_response(&acknowledgement("I99"), &signer).unwrap().bytes).unwrap();
        let (start, end) = (good.find("<ds:Signature ").unwrap(), good.find("</sr:Response>").unwrap());
        let template = format!("{}@{}", &good[..start], &good[end..]);
        Forger { pinned: pinned(&signer), signer, good, template }
    }

    pub fn signature(&self) -> &str {
        &self.good[self.good.find("<ds:Signature ").unwrap()..self.good.find("</sr:Response>").unwrap()]
    }

    pub fn unsigned(&self) -> String {
        self.template.replace('@', "")
    }

    /// The good message with one text in place of another; nothing is signed again.
    pub fn altered(&self, from: &str, to: &str) -> Vec<u8> {
        replaced(&self.good, from, to).into_bytes()
    }

    /// Another document, signed with the pinned key: it says what it says, but somebody we trust said it.
    pub fn resigned(&self, from: &str, to: &str) -> Vec<u8> {
        self.sign(&replaced(&self.template, from, to), |i| i)
    }

    /// The same document, with a changed SignedInfo that the pinned key has signed.
    pub fn signed_info(&self, from: &str, to: &str) -> Vec<u8> {
        self.sign(&self.template, |info| replaced(&info, from, to))
    }

    /// Signs anything: `document` is the whole message with `@` where the signature goes; `edit` may change SignedInfo first.
    pub fn sign(&self, document: &str, edit: impl Fn(String) -> String) -> Vec<u8> {
        sign(&self.signer, document, edit).into_bytes()
    }

    /// The good message with this in its SignatureValue.
    pub fn signature_value(&self, value: &[u8]) -> Vec<u8> {
        self.altered(&self.signature_base64(), &STANDARD.encode(value))
    }

    pub fn signature_base64(&self) -> String {
        between(&self.good, "<ds:SignatureValue>", "</ds:SignatureValue>").to_owned()
    }

    pub fn raw_signature(&self) -> Vec<u8> {
        STANDARD.decode(self.signature_base64()).unwrap()
    }

    pub fn digest_base64(&self) -> &str {
        between(&self.good, "<ds:DigestValue>", "</ds:DigestValue>")
    }
}

pub fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let from = text.find(start).unwrap() + start.len();
    &text[from..from + text[from..].find(end).unwrap()]
}

/// The first `from` made into `to`; a forgery that changes nothing is a fault of the table.
pub fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} is not in {text}");
    text.replacen(from, to, 1)
}

pub fn digest_of(document: &str) -> String {
    let canonical = canonical::inclusive(&roxmltree::Document::parse(document).unwrap(), None);
    STANDARD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()))
}

pub fn sign(signer: &FileSigner, document: &str, edit: impl Fn(String) -> String) -> String {
    let digest = digest_of(&document.replace('@', ""));
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
