//! What a `ds:Signature` may hold: exactly the elements, attributes and algorithms of the profile, in its order. White space between
//! them is let through, since some signers put it there; everything else is refused. No cryptography.

use base64::{Engine, engine::general_purpose::STANDARD};
use roxmltree::Node;

use super::{DS, ECDSA_SHA256, ENVELOPED, EXCLUSIVE_C14N, SHA256, SignatureError};
use crate::ids::{ImageId, Sha256Hash};

/// Longest serial number: 160 bits in decimal (RFC 5280, 4.1.2.2).
const MAX_SERIAL_DIGITS: usize = 49;
/// Longest issuer that is looked at; the real one has 11 bytes.
const MAX_ISSUER_BYTES: usize = 1_024;

/// `X509IssuerSerial`: the name of the key that is said to have signed.
pub(super) struct KeyName {
    /// As written, in some spelling of RFC 2253.
    pub issuer: String,
    /// Decimal, without leading zeros.
    pub serial: String,
}

/// The three parts of a signature. What [`signed_digest`] says is not among them: it must be read from the bytes that were signed.
pub(super) struct SignatureParts<'a, 'input> {
    pub signed_info: Node<'a, 'input>,
    /// Raw r||s.
    pub signature_value: [u8; 64],
    pub key: KeyName,
}

impl<'a, 'input> SignatureParts<'a, 'input> {
    /// `SignedInfo, SignatureValue, KeyInfo/X509Data/X509IssuerSerial`, and nothing beside: no Object, no certificate, no Id.
    pub fn read(signature: Node<'a, 'input>) -> Result<Self, SignatureError> {
        attributes(signature, &[])?;
        let [signed_info, signature_value, key_info] = children(signature, ["SignedInfo", "SignatureValue", "KeyInfo"])?;
        // Nothing else is brought into canonical form before the signature is checked: it could be made to grow.
        signed_digest(signed_info)?;
        attributes(key_info, &[])?;
        let [data] = children(key_info, ["X509Data"])?;
        attributes(data, &[])?;
        let [issuer_serial] = children(data, ["X509IssuerSerial"])?;
        attributes(issuer_serial, &[])?;
        let [issuer, serial] = children(issuer_serial, ["X509IssuerName", "X509SerialNumber"])?;
        let key = KeyName { issuer: issuer_name(issuer)?, serial: serial_number(serial)? };
        Ok(SignatureParts { signed_info, signature_value: base64(signature_value)?, key })
    }
}

/// The digest that a `SignedInfo` vouches for: of one Reference, to the whole document, with the enveloped-signature transform alone.
pub(super) fn signed_digest(signed_info: Node<'_, '_>) -> Result<Sha256Hash, SignatureError> {
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
    Ok(ImageId(base64(digest_value)?))
}

fn issuer_name(of: Node<'_, '_>) -> Result<String, SignatureError> {
    let issuer = text(of)?.trim_ascii();
    if issuer.len() > MAX_ISSUER_BYTES {
        return Err(SignatureError::profile(format!("X509IssuerName has more than {MAX_ISSUER_BYTES} bytes")));
    }
    Ok(issuer.to_owned())
}

fn serial_number(of: Node<'_, '_>) -> Result<String, SignatureError> {
    let written = text(of)?.trim_ascii();
    let digits = written.trim_start_matches('0');
    if written.is_empty() || digits.len() > MAX_SERIAL_DIGITS || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(SignatureError::profile("X509SerialNumber is not a decimal number of up to 160 bits"));
    }
    Ok(if digits.is_empty() { "0" } else { digits }.to_owned())
}

/// The children of an element of the signature: exactly these, in this order, nothing but white space between them.
fn children<'a, 'input, const N: usize>(of: Node<'a, 'input>, names: [&str; N]) -> Result<[Node<'a, 'input>; N], SignatureError> {
    let wanted = || {
        let what = if N == 0 { "nothing".to_owned() } else { names.join(", ") };
        SignatureError::profile(format!("{} must hold {what}", of.tag_name().name()))
    };
    let mut found = [of; N];
    let mut count = 0;
    for child in of.children() {
        if child.is_element() {
            let name = names.get(count).ok_or_else(wanted)?;
            if !child.has_tag_name((DS, *name)) {
                return Err(wanted());
            }
            found[count] = child;
            count += 1;
        } else if !child.text().unwrap_or("").trim_ascii().is_empty() {
            return Err(wanted());
        }
    }
    if count == N { Ok(found) } else { Err(wanted()) }
}

/// Exactly these attributes, none of them in a namespace.
fn attributes(of: Node<'_, '_>, wanted: &[(&str, &str)]) -> Result<(), SignatureError> {
    let same = of.attributes().len() == wanted.len()
        && of.attributes().all(|a| a.namespace().is_none() && wanted.contains(&(a.name(), a.value())));
    if same {
        Ok(())
    } else {
        Err(SignatureError::profile(format!("the attributes of {} are not those allowed", of.tag_name().name())))
    }
}

fn empty_with_algorithm(of: Node<'_, '_>, algorithm: &str) -> Result<(), SignatureError> {
    if of.attribute("Algorithm") != Some(algorithm) {
        return Err(SignatureError::profile(format!("the algorithm of {} is not {algorithm}", of.tag_name().name())));
    }
    attributes(of, &[("Algorithm", algorithm)])?;
    children(of, []).map(|[]| ())
}

/// The text of an element that has neither attributes nor children.
fn text<'a>(of: Node<'a, '_>) -> Result<&'a str, SignatureError> {
    attributes(of, &[])?;
    if of.children().any(|c| c.is_element()) {
        return Err(SignatureError::profile(format!("{} must be a text", of.tag_name().name())));
    }
    Ok(of.text().unwrap_or(""))
}

/// Base64 of exactly `N` bytes, white space (also `&#13;`) apart.
fn base64<const N: usize>(of: Node<'_, '_>) -> Result<[u8; N], SignatureError> {
    let stripped: Vec<u8> = text(of)?.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let decoded = STANDARD.decode(stripped).ok().and_then(|d| <[u8; N]>::try_from(d).ok());
    decoded.ok_or_else(|| SignatureError::profile(format!("{} is not {N} bytes of base64", of.tag_name().name())))
}
