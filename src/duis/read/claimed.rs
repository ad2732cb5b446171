//! Reads what a message claims, whoever wrote it: for people who look at one. Nothing may be done because of it.
//! Promise: only what [`read_unverified`] is called for sees it; no other reader here takes an unverified message.

use super::{open_root, parse, prescan, read_as_response, request::request};
use crate::duis::{
    MAX_MESSAGE_BYTES, Request, Response, SignatureError,
    profile::{DS, canonical, verify::sha256},
};

/// A message that nobody may act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    Request(Request),
    Response(Response),
}

/// What a message says, signed or not, by whomever.
pub fn read_unverified(bytes: &[u8]) -> Result<Claimed, SignatureError> {
    let text = prescan(bytes, MAX_MESSAGE_BYTES)?;
    let document = parse(&text)?;
    let signature = document.root_element().children().find(|n| n.has_tag_name((DS, "Signature")));
    let bare = canonical::inclusive(&document, signature);
    let document = parse(&bare)?;
    if document.root_element().tag_name().name() == "Request" {
        let (schema_version, header, body) = open_root(document.root_element(), "Request")?;
        return Ok(Claimed::Request(request(schema_version, header, body, sha256(bare.as_bytes()))?));
    }
    Ok(Claimed::Response(read_as_response(&document)?))
}

/// The SignatureValue that a document carries, in base64 without white space; nobody has verified it.
pub fn claimed_signature_value(bytes: &[u8]) -> Option<String> {
    let text = prescan(bytes, MAX_MESSAGE_BYTES).ok()?;
    let document = parse(&text).ok()?;
    let signature = document.root_element().children().find(|n| n.has_tag_name((DS, "Signature")))?;
    let value = signature.children().find(|n| n.has_tag_name((DS, "SignatureValue")))?;
    Some(value.text()?.split_ascii_whitespace().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::duis::samples;

    #[test]
    fn samples_are_read_whoever_signed_them() {
        for (name, is_request) in [
            ("request-11.1-signed-by-reference-tool.xml", true),
            ("real-8.2-read-inventory-response.xml", false),
            ("real-acknowledgement-error-unsigned.xml", false),
            ("made-alert-s1sp.xml", false),
        ] {
            let Some(bytes) = samples::sample(name) else { return };
            let claimed = read_unverified(&bytes).unwrap();
            assert_eq!(claimed_signature_value(&bytes).is_some_and(|v| v.len() == 88), !name.ends_with("unsigned.xml"), "{name}");
            assert_eq!(matches!(claimed, Claimed::Request(_)), is_request, "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(text in "[<>/!&;'\"= a:xmlnsrReqponst-]{0,80}") {
            let _ = read_unverified(text.as_bytes());
        }
    }
}
