//! Checks a message against the signature profile of DUIS. Promise: what it returns is the canonical form whose digest was
//! signed with a pinned key, and nothing of the input besides.

use aws_lc_rs::{
    digest,
    signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey},
};
use roxmltree::{Document, Node, ParsingOptions};

use super::{
    super::SR,
    Certificate, CertificateSet, DS, SignatureError, canonical,
    error::shown,
    prescan::{MAX_ELEMENTS, MAX_MESSAGE_BYTES, prescan},
    shape::{KeyName, SignatureParts, signed_digest},
};
use crate::{
    clock::Time,
    ids::{ImageId, Sha256Hash},
};

/// Nodes a parsed message may have: each element with a text before and inside it, and the root.
const MAX_NODES: u32 = 3 * MAX_ELEMENTS as u32;

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
    Document::parse_with_options(text, options).map_err(|e| SignatureError::malformed(e.to_string()))
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
    let certificate = pinned_certificate(&parts.key, pinned, at)?;
    // What SignedInfo says is read from its canonical bytes too: they are what the signature is over.
    let signed_info = canonical::exclusive(parts.signed_info);
    let wanted = signed_digest(parse(&signed_info)?.root_element())?;
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &certificate.public_key)
        .verify(signed_info.as_bytes(), &parts.signature_value)
        .map_err(|_| SignatureError::Signature)?;
    digested(&document, signature, wanted)
}

/// Issuer and serial of the certificate that a message names as its signer's, for people to read. Nothing is verified.
pub fn named_signer(bytes: &[u8]) -> Option<(String, String)> {
    let text = prescan(bytes, MAX_MESSAGE_BYTES).ok()?;
    let document = parse(&text).ok()?;
    let key = SignatureParts::read(find_signature(&document).ok()?).ok()?.key;
    Some((shown(&key.issuer), key.serial))
}

/// Opens a message that was verified when it came and kept with the digest of its canonical form: the digest alone is compared.
pub(in crate::duis) fn open_kept(bytes: &[u8], max_bytes: usize, digest: Sha256Hash) -> Result<Verified, SignatureError> {
    let text = prescan(bytes, max_bytes)?;
    let document = parse(&text)?;
    digested(&document, find_signature(&document)?, digest)
}

/// The canonical form of the document without its signature, if it has this digest.
fn digested(document: &Document<'_>, signature: Node<'_, '_>, wanted: Sha256Hash) -> Result<Verified, SignatureError> {
    let canonical = canonical::inclusive(document, Some(signature));
    let digest = sha256(canonical.as_bytes());
    if digest == wanted { Ok(Verified { canonical, digest }) } else { Err(SignatureError::Digest) }
}

pub(in crate::duis) fn sha256(bytes: &[u8]) -> Sha256Hash {
    hash_of(digest::digest(&digest::SHA256, bytes))
}

pub(in crate::duis) fn hash_of(sha256: digest::Digest) -> Sha256Hash {
    ImageId(sha256.as_ref().try_into().expect("SHA-256 gives 32 bytes"))
}

/// The signature that counts: the only one among the root's children, and the last of them. The signatures of SMETS1 service
/// providers, inside what they signed, are evidence and do not count; one anywhere else was moved there.
fn find_signature<'a, 'input>(document: &'a Document<'input>) -> Result<Node<'a, 'input>, SignatureError> {
    let root = document.root_element();
    let is_signature = |n: &Node<'_, '_>| n.has_tag_name((DS, "Signature"));
    let mut direct = root.children().filter(is_signature);
    let signature = direct.next();
    if direct.next().is_some() {
        return Err(SignatureError::profile("it has two signatures"));
    }
    for nested in root.descendants().filter(|n| is_signature(n) && Some(*n) != signature) {
        let of_smets1 = nested.parent_element().is_some_and(|home| {
            home != root && (home.has_tag_name((SR, "S1SPAlert")) || home.has_tag_name((SR, "SMETS1SignedResponse")))
        });
        if !of_smets1 || signature.is_some_and(|s| nested.ancestors().any(|a| a == s)) {
            return Err(SignatureError::profile("a signature is where none may be"));
        }
    }
    let signature = signature.ok_or(SignatureError::Unsigned)?;
    if root.last_element_child() != Some(signature) {
        return Err(SignatureError::profile("the signature is not the last child of the root"));
    }
    Ok(signature)
}

fn pinned_certificate<'a>(key: &KeyName, pinned: &'a CertificateSet, at: Time) -> Result<&'a Certificate, SignatureError> {
    let certificate = pinned.find(&key.issuer, &key.serial).ok_or_else(|| SignatureError::unknown_certificate(key))?;
    if certificate.is_valid_at(at) { Ok(certificate) } else { Err(SignatureError::CertificateNotValid) }
}
