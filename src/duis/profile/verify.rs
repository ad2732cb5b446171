//! Checks a message against the signature profile of DUIS and refuses everything else: other algorithms, other references,
//! moved or doubled signatures, keys that are not pinned. Promise: what it returns is the canonical form whose digest was
//! signed, and nothing of the input besides.

use aws_lc_rs::{
    digest,
    signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use roxmltree::{Document, Node, ParsingOptions};

use super::{
    super::SR,
    Certificate, CertificateSet, DS, ECDSA_SHA256, ENVELOPED, EXCLUSIVE_C14N, SHA256, SignatureError, canonical,
    prescan::{MAX_ELEMENTS, prescan},
};
use crate::{
    clock::Time,
    ids::{ImageId, Sha256Hash},
};

/// Nodes a parsed message may have: each element with a text before and inside it, and the root.
const MAX_NODES: u32 = 3 * MAX_ELEMENTS as u32;
/// Longest decimal serial number: 160 bits (RFC 5280, 4.1.2.2).
const MAX_SERIAL_DIGITS: usize = 49;

/// A message whose signature is good.
#[derive(Debug)]
pub(in crate::duis) struct Verified {
    /// Canonical XML of the document without its signature: the bytes that were digested.
    pub canonical: String,
    pub digest: Sha256Hash,
}

/// Parses text that passed the prescan.
pub(in crate::duis) fn parse(text: &str) -> Result<Document<'_>, SignatureError> {
    let options = ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, entity_resolver: None };
    Document::parse_with_options(text, options).map_err(|e| SignatureError::Malformed(e.to_string()))
}

/// Verifies `bytes` by a certificate of `pinned` that is valid at `at`.
pub(in crate::duis) fn verify(
    bytes: &[u8],
    max_bytes: usize,
    pinned: &CertificateSet,
    at: Time,
) -> Result<Verified, SignatureError> {
    let text = prescan(bytes, max_bytes)?;
    let document = parse(&text)?;
    let signature = find_signature(&document)?;
    let parts = SignatureParts::read(signature)?;
    let certificate = pinned_certificate(&parts, pinned)?;
    if !certificate.is_valid_at(at) {
        return Err(SignatureError::CertificateNotValid);
    }
    let signed_info = canonical::exclusive(parts.signed_info);
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &certificate.public_key)
        .verify(signed_info.as_bytes(), &parts.signature_value)
        .map_err(|_| SignatureError::Signature)?;
    let canonical = canonical::inclusive(&document, Some(signature));
    let digest = sha256(canonical.as_bytes());
    if digest.0 != parts.digest_value {
        return Err(SignatureError::Digest);
    }
    Ok(Verified { canonical, digest })
}

/// Opens a message that was verified when it came and kept with the digest of its canonical form: the digest alone is compared.
pub(in crate::duis) fn open_kept(bytes: &[u8], max_bytes: usize, digest: Sha256Hash) -> Result<Verified, SignatureError> {
    let text = prescan(bytes, max_bytes)?;
    let document = parse(&text)?;
    let canonical = canonical::inclusive(&document, Some(find_signature(&document)?));
    if sha256(canonical.as_bytes()) != digest {
        return Err(SignatureError::Digest);
    }
    Ok(Verified { canonical, digest })
}

pub(in crate::duis) fn sha256(bytes: &[u8]) -> Sha256Hash {
    hash_of(digest::digest(&digest::SHA256, bytes))
}

pub(in crate::duis) fn hash_of(sha256: digest::Digest) -> Sha256Hash {
    ImageId(sha256.as_ref().try_into().expect("SHA-256 gives 32 bytes"))
}

fn profile(what: impl Into<String>) -> SignatureError {
    SignatureError::Profile(what.into())
}

/// The signature that counts: the only one among the root's children, and the last of them. The signatures of SMETS1 service
/// providers, inside what they signed, are evidence and do not count; one anywhere else was moved there.
fn find_signature<'a, 'input>(document: &'a Document<'input>) -> Result<Node<'a, 'input>, SignatureError> {
    let root = document.root_element();
    let is_signature = |n: &Node<'_, '_>| n.has_tag_name((DS, "Signature"));
    let mut direct = root.children().filter(is_signature);
    let signature = direct.next();
    if direct.next().is_some() {
        return Err(profile("it has two signatures"));
    }
    for nested in root.descendants().filter(|n| is_signature(n) && Some(*n) != signature) {
        let home = nested.parent_element().expect("the root is no signature's descendant");
        let of_smets1 = home.has_tag_name((SR, "S1SPAlert")) || home.has_tag_name((SR, "SMETS1SignedResponse"));
        if !of_smets1 || home == root || signature.is_some_and(|s| nested.ancestors().any(|a| a == s)) {
            return Err(profile("a signature is where none may be"));
        }
    }
    let signature = signature.ok_or(SignatureError::Unsigned)?;
    if root.last_element_child() != Some(signature) {
        return Err(profile("the signature is not the last child of the root"));
    }
    Ok(signature)
}

struct SignatureParts<'a, 'input> {
    signed_info: Node<'a, 'input>,
    digest_value: [u8; 32],
    signature_value: [u8; 64],
    issuer: String,
    serial: String,
}

impl<'a, 'input> SignatureParts<'a, 'input> {
    /// Takes a `ds:Signature` apart; every element and attribute must be one the profile names, in its order.
    fn read(signature: Node<'a, 'input>) -> Result<Self, SignatureError> {
        attributes(signature, &[])?;
        let [signed_info, signature_value, key_info] = children(signature, ["SignedInfo", "SignatureValue", "KeyInfo"])?;
        attributes(signed_info, &[])?;
        let [method, algorithm, reference] = children(signed_info, ["CanonicalizationMethod", "SignatureMethod", "Reference"])?;
        empty_with_algorithm(method, EXCLUSIVE_C14N)?;
        empty_with_algorithm(algorithm, ECDSA_SHA256)?;
        attributes(reference, &[("URI", "")])?;
        let [transforms, digest_method, digest_value] = children(reference, ["Transforms", "DigestMethod", "DigestValue"])?;
        attributes(transforms, &[])?;
        let [transform] = children(transforms, ["Transform"])?;
        empty_with_algorithm(transform, ENVELOPED)?;
        empty_with_algorithm(digest_method, SHA256)?;
        attributes(key_info, &[])?;
        let [data] = children(key_info, ["X509Data"])?;
        attributes(data, &[])?;
        let [issuer_serial] = children(data, ["X509IssuerSerial"])?;
        attributes(issuer_serial, &[])?;
        let [issuer, serial] = children(issuer_serial, ["X509IssuerName", "X509SerialNumber"])?;
        let serial = text(serial)?.trim().to_owned();
        if serial.is_empty() || serial.len() > MAX_SERIAL_DIGITS || !serial.bytes().all(|b| b.is_ascii_digit()) {
            return Err(profile("X509SerialNumber is not a decimal number of up to 160 bits"));
        }
        Ok(SignatureParts {
            signed_info,
            digest_value: base64(digest_value)?,
            signature_value: base64(signature_value)?,
            issuer: text(issuer)?.trim().to_owned(),
            serial,
        })
    }
}

fn pinned_certificate<'a>(parts: &SignatureParts<'_, '_>, pinned: &'a CertificateSet) -> Result<&'a Certificate, SignatureError> {
    let unknown = || {
        /// Longest issuer repeated in an error (hostile input stays readable).
        const SHOWN_CHARS: usize = 80;
        let issuer = parts.issuer.chars().take(SHOWN_CHARS).collect();
        SignatureError::UnknownCertificate { issuer, serial: parts.serial.clone() }
    };
    pinned.find(&parts.issuer, &parts.serial).ok_or_else(unknown)
}

/// The children of an element of the signature: exactly these, in this order, nothing but white space between them.
fn children<'a, 'input, const N: usize>(of: Node<'a, 'input>, names: [&str; N]) -> Result<[Node<'a, 'input>; N], SignatureError> {
    let wanted = || profile(format!("{} must hold {}", of.tag_name().name(), names.join(", ")));
    let mut found = Vec::with_capacity(N);
    for child in of.children() {
        if child.is_element() {
            let name = names.get(found.len()).ok_or_else(wanted)?;
            if !child.has_tag_name((DS, *name)) {
                return Err(wanted());
            }
            found.push(child);
        } else if !child.text().unwrap_or("").trim_ascii().is_empty() {
            return Err(wanted());
        }
    }
    found.try_into().map_err(|_| wanted())
}

/// Exactly these attributes, none of them in a namespace.
fn attributes(of: Node<'_, '_>, wanted: &[(&str, &str)]) -> Result<(), SignatureError> {
    let same = of.attributes().len() == wanted.len()
        && of.attributes().all(|a| a.namespace().is_none() && wanted.contains(&(a.name(), a.value())));
    if same { Ok(()) } else { Err(profile(format!("the attributes of {} are not those allowed", of.tag_name().name()))) }
}

fn empty_with_algorithm(of: Node<'_, '_>, algorithm: &str) -> Result<(), SignatureError> {
    if of.attribute("Algorithm") != Some(algorithm) {
        return Err(profile(format!("the algorithm of {} is not {algorithm}", of.tag_name().name())));
    }
    attributes(of, &[("Algorithm", algorithm)])?;
    children(of, []).map(|[]| ())
}

/// The text of an element that has neither attributes nor children.
fn text<'a>(of: Node<'a, '_>) -> Result<&'a str, SignatureError> {
    attributes(of, &[])?;
    if of.children().any(|c| c.is_element()) {
        return Err(profile(format!("{} must be a text", of.tag_name().name())));
    }
    Ok(of.text().unwrap_or(""))
}

/// Base64 of exactly `N` bytes, white space (also `&#13;`) apart.
fn base64<const N: usize>(of: Node<'_, '_>) -> Result<[u8; N], SignatureError> {
    let stripped: Vec<u8> = text(of)?.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let decoded = STANDARD.decode(stripped).ok().and_then(|d| <[u8; N]>::try_from(d).ok());
    decoded.ok_or_else(|| profile(format!("{} is not {N} bytes of base64", of.tag_name().name())))
}
