//! Signs a request that somebody else wrote (support work): a template, pretty-printed, perhaps with a placeholder for a signature.
//! Not the way requests of ours are made: those are canonical from the start ([`super::write`]). Promise: what comes out is canonical
//! XML without white space between its elements (signature profile, rule 2), and carries one signature: ours.

use std::ops::Range;

use roxmltree::{Document, Node};

use super::{
    MAX_MESSAGE_BYTES, SR, SignError, SignatureError, SignedMessage, Signer,
    profile::{
        DS, canonical,
        prescan::prescan,
        verify::{parse, sha256},
    },
    seal::push_signature,
};
use crate::failure::Failure;

#[derive(Debug, thiserror::Error)]
pub enum ResignError {
    #[error(transparent)]
    Message(#[from] SignatureError),
    #[error("a comment does not end")]
    OpenComment,
    #[error("it is a {0}, and only a Request is ours to sign")]
    NotARequest(String),
    #[error("it has a signature already")]
    Signed,
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl From<ResignError> for Failure {
    fn from(error: ResignError) -> Failure {
        let failure = Failure::failed(format!("the message cannot be signed: {error}"));
        match error {
            ResignError::Sign(e) => e.into(),
            ResignError::Message(_) | ResignError::OpenComment => failure.help("give one DUIS Request in UTF-8, without a DTD"),
            ResignError::NotARequest(_) => failure.help("Responses and alerts are DCC's to sign"),
            ResignError::Signed => failure.help("--replace-signature takes it off and signs anew"),
        }
    }
}

/// Signs a Request given as text. Comments and white space between elements are taken out. A signature that is there is an error,
/// or is taken out too where `replace` says so.
pub fn sign_request(bytes: &[u8], replace: bool, signer: &dyn Signer) -> Result<SignedMessage, ResignError> {
    let text = without_comments(&prescannable(bytes)?)?;
    let text = prescan(text.as_bytes(), MAX_MESSAGE_BYTES)?;
    let document = parse(&text)?;
    let root = document.root_element();
    if !root.has_tag_name((SR, "Request")) {
        return Err(ResignError::NotARequest(root.tag_name().name().to_owned()));
    }
    let signatures: Vec<Range<usize>> =
        root.children().filter(|n| n.has_tag_name((DS, "Signature"))).map(|n| n.range()).collect();
    if !signatures.is_empty() && !replace {
        return Err(ResignError::Signed);
    }
    let bare = without(&text, signatures.into_iter().chain(layout(&document)));
    let mut out = canonical::inclusive(&parse(&bare)?, None);
    let body_digest = sha256(out.as_bytes());
    let end_tag = out.rfind("</").map(|at| out.split_off(at)).unwrap_or_default();
    push_signature(&mut out, body_digest, signer)?;
    out.push_str(&end_tag);
    Ok(SignedMessage { bytes: out.into_bytes(), body_digest })
}

/// The text, within the size of a message.
fn prescannable(bytes: &[u8]) -> Result<String, SignatureError> {
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(SignatureError::TooLarge(MAX_MESSAGE_BYTES));
    }
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| SignatureError::Malformed("it is not UTF-8".into()))
}

/// Comments are no part of a message, and the prescan refuses them.
fn without_comments(text: &str) -> Result<String, ResignError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("<!--") {
        let (_, after) = after.split_once("-->").ok_or(ResignError::OpenComment)?;
        out.push_str(before);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// Where there is nothing but white space between elements.
fn layout<'a>(document: &'a Document<'_>) -> impl Iterator<Item = Range<usize>> + 'a {
    let is_layout = |n: &Node<'_, '_>| {
        n.is_text()
            && n.text().unwrap_or_default().trim_ascii().is_empty()
            && n.parent().is_some_and(|p| p.children().any(|c| c.is_element()))
    };
    document.descendants().filter(is_layout).map(|n| n.range())
}

fn without(text: &str, cut: impl Iterator<Item = Range<usize>>) -> String {
    let mut cut: Vec<Range<usize>> = cut.collect();
    cut.sort_by_key(|r| r.start);
    let (mut out, mut from) = (String::with_capacity(text.len()), 0);
    for range in cut.into_iter().filter(|r| !r.is_empty()) {
        // White space inside a signature that is cut out as a whole.
        if range.start >= from {
            out.push_str(&text[from..range.start]);
        }
        from = from.max(range.end);
    }
    out.push_str(&text[from..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::duis::{RequestBody, read_request, samples};

    #[test]
    fn the_industrys_templates_are_signed_and_read() {
        for name in [
            "template-8.2-read-inventory.xml",
            "template-11.1-update-firmware.xml",
            "template-11.2-read-firmware-version.xml",
            "template-11.4-update-ppmid-firmware.xml",
        ] {
            let Some(template) = samples::sample(name) else { return };
            let (signer, _) = samples::signer("4711");
            assert!(matches!(sign_request(&template, false, &signer), Err(ResignError::Signed)));
            let signed = sign_request(&template, true, &signer).unwrap();
            let read = read_request(&signed.bytes, &samples::pinned(&signer), samples::sample_time()).unwrap();
            assert_eq!((read.schema_version.as_str(), read.body_digest), ("5.4", signed.body_digest), "{name}");
            assert!(!matches!(read.body, RequestBody::Other(_)), "{name}");
            let again = sign_request(&signed.bytes, true, &signer).unwrap();
            assert_eq!(again.body_digest, signed.body_digest, "signing again changes nothing but the signature");
        }
    }

    #[test]
    fn what_is_no_request_of_ours_is_not_signed() {
        let (signer, _) = samples::signer("4711");
        let sign = |text: &str| sign_request(text.as_bytes(), true, &signer).unwrap_err().to_string();
        let response = format!("<sr:Response xmlns:sr=\"{SR}\"/>");
        assert!(sign(&response).contains("Response"), "{}", sign(&response));
        assert!(sign("<Request/>").contains("only a Request"));
        assert!(sign("<a><!-- </a>").contains("comment"));
        assert!(sign("<!DOCTYPE a><a/>").contains("not XML of the kind"));
        assert!(matches!(sign_request(b"\xff", true, &signer), Err(ResignError::Message(SignatureError::Malformed(_)))));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(text in "[<>/!&;'\"= a:xmlnsr-]{0,80}") {
            let (signer, _) = samples::signer("4711");
            let _ = sign_request(text.as_bytes(), true, &signer);
        }
    }
}
