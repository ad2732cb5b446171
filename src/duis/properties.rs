//! What must hold of this room for any bytes at all. The fuzz targets and the property tests assert it; nothing else calls it.

use std::hint::black_box;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    profile::{DS, ECDSA_SHA256, ENVELOPED, EXCLUSIVE_C14N, SHA256},
    verify::sha256,
    *,
};
use crate::clock::Time;

/// How much longer canonical XML may be than the XML it is of: `&quot;` for a quote within quotes of the other kind.
const CANONICAL_GROWTH: usize = 6;
/// What exclusive canonical form may declare at each place where a name stands: a prefix and a namespace.
const DECLARATION_BYTES: usize = 2 * prescan::MAX_NAME_BYTES + 10;

/// A signer, and the set that pins it.
pub struct Identity {
    pub signer: FileSigner,
    pub pinned: CertificateSet,
    pub at: Time,
}

/// What the prescan lets through is XML to the parser or is none, within the parser's limits; it has a canonical form, which is its
/// own canonical form and not much longer.
pub fn prescanned(bytes: &[u8]) {
    let Ok(text) = prescan::prescan(bytes, MAX_MESSAGE_BYTES) else { return };
    assert!(!text.contains('\r') && text.len() <= bytes.len());
    let document = match verify::parse(&text) {
        Ok(document) => document,
        Err(SignatureError::Malformed(why)) => return assert!(!why.contains("limit"), "{why}"),
        Err(other) => panic!("parsing says: {other}"),
    };
    let (elements, attributes) = document
        .descendants()
        .filter(|n| n.is_element())
        .fold((0, 0), |(elements, attributes), n| (elements + 1, attributes + n.attributes().len()));
    assert!(elements <= prescan::MAX_ELEMENTS && attributes <= prescan::MAX_ATTRIBUTES);
    assert!(document.descendants().all(|n| n.ancestors().count() <= prescan::MAX_DEPTH_ELEMENTS + 2));

    let canonical = canonical::inclusive(&document, None);
    assert!(canonical.len() <= CANONICAL_GROWTH * text.len());
    assert!(!canonical.contains('\r'));
    let again = prescan::prescan(canonical.as_bytes(), CANONICAL_GROWTH * MAX_MESSAGE_BYTES).expect("canonical XML passes");
    let again = verify::parse(&again).expect("canonical XML is XML");
    assert_eq!(canonical::inclusive(&again, None), canonical);

    let exclusive = canonical::exclusive(document.root_element());
    assert!(exclusive.len() <= CANONICAL_GROWTH * text.len() + DECLARATION_BYTES * (elements + attributes));
    let again = verify::parse(&exclusive).expect("canonical XML is XML");
    assert_eq!(canonical::exclusive(again.root_element()), exclusive);
    assert_eq!(canonical::inclusive(&again, None), exclusive, "it declares nothing that is not used");
}

/// No reader panics, and none believes what nobody signed. A document is read as a message kept with its digest, so that no key is
/// needed; what can be written again reads the same.
pub fn read(bytes: &[u8], identity: &Identity) {
    let Identity { signer, pinned, at } = identity;
    assert!(read_response(bytes, &CertificateSet::default(), *at).is_err());
    if let Ok(refusal) = read_unsigned_refusal(bytes) {
        assert!(refusal.code.starts_with('E') && refusal.request_id.is_some());
    }
    let _ = message_kind(bytes);
    let Some((canonical, start)) = sealable(bytes) else { return };
    let placeholder = format!(
        "<ds:Signature xmlns:ds=\"{DS}\"><ds:SignedInfo/><ds:SignatureValue/><ds:KeyInfo/></ds:Signature>{}",
        &canonical[start..]
    );
    let kept = format!("{}{placeholder}", &canonical[..start]);
    let Ok(response) = read_kept_response(kept.as_bytes(), sha256(canonical.as_bytes())) else { return };
    let _ = response.kind();
    let Ok(written) = write_response(&response, signer) else { return };
    let (read, digest) = verify_and_read_response(&written.bytes, pinned, *at).expect("what we write we read");
    assert_eq!((read, digest), (response, written.body_digest));
}

/// Any document that passes, sealed, verifies: what comes out is its canonical form, and every reader agrees about it.
pub fn sealed(bytes: &[u8], identity: &Identity) {
    let Identity { signer, pinned, at } = identity;
    let Some((canonical, start)) = sealable(bytes) else { return };
    let digest = sha256(canonical.as_bytes());
    let message = format!("{}{}{}", &canonical[..start], signature(&STANDARD.encode(digest.0), signer), &canonical[start..]);
    // The signature's own elements may be one too many.
    if prescan::prescan(message.as_bytes(), MAX_MESSAGE_BYTES).is_err() {
        return;
    }
    let verified = verify::verify(message.as_bytes(), MAX_MESSAGE_BYTES, pinned, *at).expect("it is sealed");
    assert_eq!((verified.canonical, verified.digest), (canonical, digest));
    let known = verify_message(message.as_bytes(), pinned, *at).expect("it is sealed");
    assert_eq!(known.digest, digest);
    match verify_and_read_response(message.as_bytes(), pinned, *at) {
        Ok((response, of)) => {
            assert_eq!((of, known.kind), (digest, Some(MessageKind::Response)));
            assert_eq!(read_kept_response(message.as_bytes(), digest).expect("it was read"), response);
        }
        Err(SignatureError::Content(_)) => assert!(read_kept_response(message.as_bytes(), digest).is_err()),
        Err(other) => panic!("it is sealed: {other}"),
    }
    match read_request(message.as_bytes(), pinned, *at) {
        Ok(request) => assert_eq!((request.body_digest, known.kind), (digest, Some(MessageKind::Request))),
        Err(SignatureError::Content(_) | SignatureError::Profile(_)) => {}
        Err(other) => panic!("it is sealed: {other}"),
    }
    assert!(read_response(message.as_bytes(), &CertificateSet::default(), *at).is_err());
}

/// The steps of verifying and reading a message, one by one, to be measured: `measure` is given each with its name.
pub fn steps(message: &[u8], mut measure: impl FnMut(&'static str, &dyn Fn())) {
    let text = prescan::prescan(message, MAX_MESSAGE_BYTES).expect("a good message");
    measure("prescan", &|| drop(black_box(prescan::prescan(black_box(message), MAX_MESSAGE_BYTES))));
    let document = verify::parse(&text).expect("a good message");
    measure("parsing", &|| drop(black_box(verify::parse(black_box(&text)))));
    let signature = document.root_element().last_element_child().expect("a signed message");
    let info = signature.first_element_child().expect("a signed message");
    measure("canonical form of SignedInfo", &|| drop(black_box(canonical::exclusive(black_box(info)))));
    let signed_info = canonical::exclusive(info);
    measure("parsing of that", &|| drop(black_box(verify::parse(black_box(&signed_info)))));
    let canonical = canonical::inclusive(&document, Some(signature));
    measure("canonical form of the message", &|| drop(black_box(canonical::inclusive(black_box(&document), Some(signature)))));
    measure("digest", &|| {
        black_box(sha256(black_box(canonical.as_bytes())));
    });
    measure("parsing of the canonical form", &|| drop(black_box(verify::parse(black_box(&canonical)))));
}

/// The canonical form of a document without any signature, and where its root's end tag starts.
fn sealable(bytes: &[u8]) -> Option<(String, usize)> {
    let text = prescan::prescan(bytes, MAX_MESSAGE_BYTES).ok()?;
    let document = verify::parse(&text).ok()?;
    if document.descendants().any(|n| n.has_tag_name((DS, "Signature"))) {
        return None;
    }
    let canonical = canonical::inclusive(&document, None);
    let start = canonical.rfind("</")?;
    Some((canonical, start))
}

fn signature(digest_value: &str, signer: &FileSigner) -> String {
    let info = |namespaces: &str| {
        format!(
            "<ds:SignedInfo{namespaces}><ds:CanonicalizationMethod Algorithm=\"{EXCLUSIVE_C14N}\"></ds:CanonicalizationMethod>\
             <ds:SignatureMethod Algorithm=\"{ECDSA_SHA256}\"></ds:SignatureMethod><ds:Reference URI=\"\"><ds:Transforms>\
             <ds:Transform Algorithm=\"{ENVELOPED}\"></ds:Transform></ds:Transforms><ds:DigestMethod Algorithm=\"{SHA256}\">\
             </ds:DigestMethod><ds:DigestValue>{digest_value}</ds:DigestValue></ds:Reference></ds:SignedInfo>"
        )
    };
    let value = signer.sign(info(&format!(" xmlns:ds=\"{DS}\"")).as_bytes()).expect("a key in memory signs");
    let Certificate { issuer, serial, .. } = signer.certificate();
    format!(
        "<ds:Signature xmlns:ds=\"{DS}\">{}<ds:SignatureValue>{}</ds:SignatureValue><ds:KeyInfo><ds:X509Data><ds:X509IssuerSerial>\
         <ds:X509IssuerName>{issuer}</ds:X509IssuerName><ds:X509SerialNumber>{serial}</ds:X509SerialNumber></ds:X509IssuerSerial>\
         </ds:X509Data></ds:KeyInfo></ds:Signature>",
        info(""),
        STANDARD.encode(value),
    )
}
