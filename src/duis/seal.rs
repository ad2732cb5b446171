//! Canonical bytes from the start: an XML writer that can only write canonical XML, and the sealing of what it wrote with an
//! enveloped signature as the root's last child. No white space between elements (signature profile, rule 2). The digest is
//! taken of each piece while it is still in the processor's cache: one pass over one buffer, which is never moved.

use aws_lc_rs::digest::{Context, SHA256 as SHA256_ALGORITHM};
use base64::{Engine, engine::general_purpose::STANDARD};
use roxmltree::Node;

use super::{
    BuildError, SignError, Signer, UnknownElement,
    canonical::{self, push_attribute_value, push_text},
    prescan::{MAX_MESSAGE_BYTES, prescan},
    signature::{DS, ECDSA_SHA256, ENVELOPED, EXCLUSIVE_C14N, SHA256, SR},
    verify::{hash_of, parse},
};
use crate::ids::{DeviceId, Sha256Hash};

/// Bytes a signature adds, roughly: room is reserved so that a message with an image is not moved when it is signed.
const SIGNATURE_BYTES: usize = 1_400;
/// What is written between two steps of the digest: it stays in the first cache.
const DIGEST_STEP_BYTES: usize = 16_384;
/// Bytes of base64 made at once, from three quarters of them.
const BASE64_STEP_BYTES: usize = 4_096;
/// A Device ID and the comma after it.
pub(super) const DEVICE_BYTES: usize = 24;
/// Device IDs written at once.
const DEVICES_STEP: usize = 128;

/// A message being written: everything but the root's end tag.
pub(super) struct Writer {
    out: String,
    root: &'static str,
    /// The root's namespace declarations, in scope everywhere below it.
    namespaces: String,
    context: Context,
    /// How much of `out` the digest has seen.
    digested: usize,
    failed: Option<BuildError>,
}

impl Writer {
    /// Opens `<sr:root xmlns:sr="..." schemaVersion="...">`; `capacity` is in bytes, beside the signature's.
    pub fn new(root: &'static str, schema_version: &str, capacity: usize) -> Writer {
        Writer::with_namespaces(root, &[], schema_version, capacity)
    }

    /// The same with more namespaces, in the order of their prefixes, all before `sr`.
    pub fn with_namespaces(root: &'static str, namespaces: &[(&str, &str)], schema_version: &str, capacity: usize) -> Writer {
        let declared = namespaces.iter().chain([&("sr", SR)]).map(|(prefix, uri)| format!(" xmlns:{prefix}=\"{uri}\"")).collect();
        let mut writer = Writer {
            out: String::with_capacity(capacity + SIGNATURE_BYTES),
            root,
            namespaces: declared,
            context: Context::new(&SHA256_ALGORITHM),
            digested: 0,
            failed: None,
        };
        writer.out.push_str(&format!("<sr:{root}{}", writer.namespaces));
        writer.attribute("schemaVersion", schema_version);
        writer.out.push('>');
        writer
    }

    /// `<sr:name>`, what `inside` writes, `</sr:name>`.
    pub fn element(&mut self, name: &str, inside: impl FnOnce(&mut Writer)) {
        self.element_of("sr", name, None, inside);
    }

    /// An element of any prefix in scope, with at most one attribute.
    pub fn element_of(&mut self, prefix: &str, name: &str, attribute: Option<(&str, &str)>, inside: impl FnOnce(&mut Writer)) {
        self.push(&["<", prefix, ":", name]);
        if let Some((name, value)) = attribute {
            self.attribute(name, value);
        }
        self.out.push('>');
        inside(self);
        self.push(&["</", prefix, ":", name, ">"]);
    }

    /// An element that holds a text.
    pub fn leaf(&mut self, name: &str, text: impl ToString) {
        self.element(name, |w| w.text(&text.to_string()));
    }

    pub fn leaf_if(&mut self, name: &str, text: Option<impl ToString>) {
        if let Some(text) = text {
            self.leaf(name, text);
        }
    }

    pub fn text(&mut self, text: &str) {
        let text = self.checked(text);
        push_text(&mut self.out, &text);
    }

    /// An element that holds these bytes as base64.
    pub fn base64(&mut self, name: &str, bytes: &[u8]) {
        self.element(name, |w| {
            let mut step = [0; BASE64_STEP_BYTES];
            for piece in bytes.chunks(BASE64_STEP_BYTES / 4 * 3) {
                let written = STANDARD.encode_slice(piece, &mut step).expect("the step has room for its three quarters");
                w.push_ascii(&step[..written]);
            }
        });
    }

    /// An element that holds Device IDs, comma between them (schema `DeviceIDList`).
    pub fn devices(&mut self, name: &str, devices: &[DeviceId]) {
        if devices.is_empty() {
            self.fail(BuildError::Unwritable(format!("{name} of no devices")));
        }
        self.element(name, |w| {
            let mut step = [b','; DEVICES_STEP * DEVICE_BYTES];
            for (n, piece) in devices.chunks(DEVICES_STEP).enumerate() {
                for (device, place) in piece.iter().zip(step.chunks_exact_mut(DEVICE_BYTES)) {
                    place[..DEVICE_BYTES - 1].copy_from_slice(&device.to_ascii());
                }
                let is_last = (n + 1) * DEVICES_STEP >= devices.len();
                w.push_ascii(&step[..piece.len() * DEVICE_BYTES - usize::from(is_last)]);
            }
        });
    }

    /// A document of its own, sealed, as a child: its root's declaration of `sr`, which is in scope here, is left out.
    pub fn embed(&mut self, document: Writer, signer: &dyn Signer) {
        match document.seal(signer) {
            Ok((sealed, _)) => self.out.push_str(&sealed.replacen(&format!(" xmlns:sr=\"{SR}\""), "", 1)),
            Err(e) => self.fail(e),
        }
    }

    /// An element kept whole, as the canonical form has it in this place.
    pub fn kept(&mut self, element: &UnknownElement) {
        let around = format!("<sr:x{}>{}</sr:x>", self.namespaces, element.xml);
        let written = prescan(around.as_bytes(), MAX_MESSAGE_BYTES).and_then(|text| {
            let document = parse(&text)?;
            let is_whole = |e: &Node<'_, '_>| e.range().len() == element.xml.len() && e.tag_name().name() == element.name;
            let found = document.root_element().first_element_child().is_some_and(|e| is_whole(&e));
            Ok(if found { canonical::inclusive(&document, None) } else { String::new() })
        });
        let written = written.unwrap_or_default();
        match (written.find('>'), written.rfind("</")) {
            (Some(from), Some(to)) => self.out.push_str(&written[from + 1..to]),
            _ => self.fail(BuildError::Unwritable(format!("{} as it was kept", element.name))),
        }
    }

    /// The first thing that cannot be written is what [`Writer::seal`] says.
    pub fn fail(&mut self, error: BuildError) {
        self.failed.get_or_insert(error);
    }

    /// SHA-256 of the canonical form of the finished, unsigned document.
    pub fn digest(mut self) -> Result<Sha256Hash, BuildError> {
        self.finish_digest()
    }

    /// Signs and closes; the digest is that of the document without its signature.
    pub fn seal(mut self, signer: &dyn Signer) -> Result<(String, Sha256Hash), BuildError> {
        let digest = self.finish_digest()?;
        push_signature(&mut self.out, digest, signer)?;
        self.push(&["</sr:", self.root, ">"]);
        Ok((self.out, digest))
    }

    /// Closes without a signature.
    pub fn close(mut self) -> Result<String, BuildError> {
        self.push(&["</sr:", self.root, ">"]);
        self.failed.map_or(Ok(self.out), Err)
    }

    fn finish_digest(&mut self) -> Result<Sha256Hash, BuildError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.context.update(&self.out.as_bytes()[self.digested..]);
        for piece in ["</sr:", self.root, ">"] {
            self.context.update(piece.as_bytes());
        }
        Ok(hash_of(self.context.clone().finish()))
    }

    fn push(&mut self, pieces: &[&str]) {
        pieces.iter().for_each(|piece| self.out.push_str(piece));
    }

    fn push_ascii(&mut self, bytes: &[u8]) {
        self.out.push_str(std::str::from_utf8(bytes).expect("base64 and Device IDs are ASCII"));
        if self.out.len() - self.digested >= DIGEST_STEP_BYTES {
            self.context.update(&self.out.as_bytes()[self.digested..]);
            self.digested = self.out.len();
        }
    }

    fn attribute(&mut self, name: &str, value: &str) {
        let value = self.checked(value);
        self.push(&[" ", name, "=\""]);
        push_attribute_value(&mut self.out, &value);
        self.out.push('"');
    }

    fn checked<'a>(&mut self, text: &'a str) -> std::borrow::Cow<'a, str> {
        match text.chars().find(|c| !is_xml(*c)) {
            None => text.into(),
            Some(bad) => {
                self.fail(BuildError::Unwritable(format!("the character {bad:?}")));
                "".into()
            }
        }
    }
}

/// Whether XML 1.0 can carry the character.
pub(super) fn is_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
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
