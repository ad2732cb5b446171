//! Canonical bytes from the start: an XML writer that can only write canonical XML, and the sealing of what it wrote with an
//! enveloped signature as the root's last child. No white space between elements (signature profile, rule 2).

use aws_lc_rs::digest::{Context, SHA256 as SHA256_ALGORITHM};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    SignError, Signer,
    canonical::{push_attribute_value, push_text},
    signature::{DS, ECDSA_SHA256, ENVELOPED, EXCLUSIVE_C14N, SHA256, SR},
    verify::hash_of,
};
use crate::ids::Sha256Hash;

/// Bytes a signature adds, roughly: room is reserved so that a message with an image is not moved when it is signed.
const SIGNATURE_BYTES: usize = 1_400;

/// A message being written: everything but the root's end tag.
pub(super) struct Writer {
    out: String,
    root: &'static str,
    unwritable: Option<char>,
}

impl Writer {
    /// Opens `<sr:root xmlns:sr="..." schemaVersion="...">`; `capacity` is in bytes, beside the signature's.
    pub fn new(root: &'static str, schema_version: &str, capacity: usize) -> Writer {
        let mut writer = Writer { out: String::with_capacity(capacity + SIGNATURE_BYTES), root, unwritable: None };
        for piece in ["<sr:", root, " xmlns:sr=\"", SR, "\" schemaVersion=\""] {
            writer.out.push_str(piece);
        }
        let version = writer.checked(schema_version);
        push_attribute_value(&mut writer.out, &version);
        writer.out.push_str("\">");
        writer
    }

    /// `<sr:name>`, what `inside` writes, `</sr:name>`.
    pub fn element(&mut self, name: &str, inside: impl FnOnce(&mut Writer)) {
        self.tag("<sr:", name);
        inside(self);
        self.tag("</sr:", name);
    }

    /// An element that holds a text.
    pub fn leaf(&mut self, name: &str, text: impl ToString) {
        let text = self.checked(&text.to_string());
        self.element(name, |w| push_text(&mut w.out, &text));
    }

    pub fn leaf_if(&mut self, name: &str, text: Option<impl ToString>) {
        if let Some(text) = text {
            self.leaf(name, text);
        }
    }

    /// Text that needs no escapes, written in place by `write` (base64, lists of Device IDs).
    pub fn plain_leaf(&mut self, name: &str, write: impl FnOnce(&mut String)) {
        self.element(name, |w| write(&mut w.out));
    }

    /// A document of its own, sealed, as a child: its root's namespace declaration, which is in scope here, is left out.
    pub fn embed(&mut self, document: Writer, signer: &dyn Signer) -> Result<(), SignError> {
        self.unwritable = self.unwritable.or(document.unwritable);
        let (sealed, _) = document.seal(signer)?;
        self.out.push_str(&sealed.replacen(&format!(" xmlns:sr=\"{SR}\""), "", 1));
        Ok(())
    }

    /// The first character that XML cannot carry, if one was to be written (U+FFFD stands in its place).
    pub fn unwritable(&self) -> Option<char> {
        self.unwritable
    }

    /// SHA-256 of the canonical form of the finished, unsigned document.
    pub fn digest(&self) -> Sha256Hash {
        let mut context = Context::new(&SHA256_ALGORITHM);
        context.update(self.out.as_bytes());
        for piece in ["</sr:", self.root, ">"] {
            context.update(piece.as_bytes());
        }
        hash_of(context.finish())
    }

    /// Signs and closes; the digest is that of the document without its signature.
    pub fn seal(mut self, signer: &dyn Signer) -> Result<(String, Sha256Hash), SignError> {
        let digest = self.digest();
        push_signature(&mut self.out, digest, signer)?;
        Ok((self.close(), digest))
    }

    /// Closes without a signature.
    pub fn close(mut self) -> String {
        let root = self.root;
        self.tag("</sr:", root);
        self.out
    }

    fn tag(&mut self, opening: &str, name: &str) {
        self.out.push_str(opening);
        self.out.push_str(name);
        self.out.push('>');
    }

    fn checked(&mut self, text: &str) -> String {
        let is_xml = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
        match text.chars().find(|c| !is_xml(*c)) {
            None => text.to_owned(),
            Some(bad) => {
                self.unwritable = self.unwritable.or(Some(bad));
                text.chars().map(|c| if is_xml(c) { c } else { '\u{fffd}' }).collect()
            }
        }
    }
}

/// Appends `ds:Signature` over a document of this digest.
pub(super) fn push_signature(out: &mut String, digest: Sha256Hash, signer: &dyn Signer) -> Result<(), SignError> {
    let digest_value = STANDARD.encode(digest.0);
    // The canonical form of SignedInfo alone declares the namespace that it inherits in the document.
    let to_sign = signed_info(&digest_value, &format!(" xmlns:ds=\"{DS}\""));
    let signature = signer.sign(to_sign.as_bytes())?;
    for piece in ["<ds:Signature xmlns:ds=\"", DS, "\">", &signed_info(&digest_value, ""), "<ds:SignatureValue>"] {
        out.push_str(piece);
    }
    STANDARD.encode_string(signature, out);
    out.push_str("</ds:SignatureValue><ds:KeyInfo><ds:X509Data><ds:X509IssuerSerial><ds:X509IssuerName>");
    push_text(out, &signer.certificate().issuer);
    out.push_str("</ds:X509IssuerName><ds:X509SerialNumber>");
    push_text(out, &signer.certificate().serial);
    out.push_str("</ds:X509SerialNumber></ds:X509IssuerSerial></ds:X509Data></ds:KeyInfo></ds:Signature>");
    Ok(())
}

/// `ds:SignedInfo` in canonical form, with `namespaces` in its start tag.
fn signed_info(digest_value: &str, namespaces: &str) -> String {
    format!(
        "<ds:SignedInfo{namespaces}>\
         <ds:CanonicalizationMethod Algorithm=\"{EXCLUSIVE_C14N}\"></ds:CanonicalizationMethod>\
         <ds:SignatureMethod Algorithm=\"{ECDSA_SHA256}\"></ds:SignatureMethod>\
         <ds:Reference URI=\"\"><ds:Transforms><ds:Transform Algorithm=\"{ENVELOPED}\"></ds:Transform></ds:Transforms>\
         <ds:DigestMethod Algorithm=\"{SHA256}\"></ds:DigestMethod>\
         <ds:DigestValue>{digest_value}</ds:DigestValue></ds:Reference></ds:SignedInfo>"
    )
}
