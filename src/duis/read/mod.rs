//! Reads messages from the bytes that were verified, and from nothing else: the canonical form whose digest was signed is parsed
//! again, the message as it came is not looked at any more.

mod alert;
mod claimed;
mod inventory;
mod request;
mod response;
mod smets1;
mod time;
mod tree;

pub use claimed::{Claimed, claimed_signature_value, read_unverified};
use roxmltree::{Document, Node};

use self::{
    request::request,
    response::{response, word},
    tree::{Fields, Read, content},
};
use super::{
    Body, CertificateSet, Content, MAX_MESSAGE_BYTES, Request, Response, SR, SignatureError,
    profile::{
        DS,
        prescan::prescan,
        verify::{open_kept, parse, verify},
    },
};
use crate::{
    clock::Time,
    ids::{RequestId, Sha256Hash},
};

/// The two kinds of message that are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    Request,
    Response,
}

/// Verifies a signed Response against the pinned set and reads it. `at` is when the certificate must be valid.
///
/// An error of the kind [`SignatureError::Content`] says that the signature is good and the message is not understood.
pub fn read_response(bytes: &[u8], pinned: &CertificateSet, at: Time) -> Result<Response, SignatureError> {
    verify_and_read_response(bytes, pinned, at).map(|(response, _)| response)
}

/// The same, with the digest that was signed: whoever keeps the message keeps it too, for [`read_kept_response`].
pub fn verify_and_read_response(
    bytes: &[u8],
    pinned: &CertificateSet,
    at: Time,
) -> Result<(Response, Sha256Hash), SignatureError> {
    let verified = verify(bytes, MAX_MESSAGE_BYTES, pinned, at)?;
    Ok((read_as_response(&parse(&verified.canonical)?)?, verified.digest))
}

/// Reads a Response that was verified when it came and kept with its digest. Its signature is not checked again: a pin that was
/// taken away since, or a certificate that has expired, does not make it unreadable.
pub fn read_kept_response(bytes: &[u8], digest: Sha256Hash) -> Result<Response, SignatureError> {
    let kept = open_kept(bytes, MAX_MESSAGE_BYTES, digest)?;
    read_as_response(&parse(&kept.canonical)?)
}

/// Verifies a signed Request against the pinned set and reads it. White space between elements is refused here, though the
/// signature may cover it: the industry's tools do not digest it (signature profile, rule 2).
pub fn read_request(bytes: &[u8], pinned: &CertificateSet, at: Time) -> Result<Request, SignatureError> {
    let verified = verify(bytes, MAX_MESSAGE_BYTES, pinned, at)?;
    let document = parse(&verified.canonical)?;
    let mixed = |n: &Node<'_, '_>| n.children().any(|c| c.is_element()) && n.children().any(|c| c.is_text());
    if document.descendants().any(|n| n.is_element() && mixed(&n)) {
        return Err(SignatureError::Profile("there is white space between its elements".into()));
    }
    let (schema_version, header, body) = open_root(document.root_element(), "Request")?;
    request(schema_version, header, body, verified.digest)
}

/// Reads an unsigned acknowledgement of an error: only for the synchronous reply on our own connection, only a refusal
/// (signature profile, rule 9). A success is never read without a signature, nor a message that has one.
pub fn read_unsigned_refusal(bytes: &[u8]) -> Result<Response, SignatureError> {
    let text = prescan(bytes, MAX_MESSAGE_BYTES)?;
    let document = parse(&text)?;
    if document.descendants().any(|n| n.tag_name().namespace() == Some(DS)) {
        return Err(SignatureError::Profile("it has a signature, so it must be verified".into()));
    }
    // Content is the word for what somebody we trust said; nobody is known to have said this.
    let response = read_as_response(&document).map_err(|e| match e {
        SignatureError::Content(what) => SignatureError::malformed(what),
        other => other,
    })?;
    let says_nothing_more = matches!(response.body, Body::Message { content: Content::None, .. });
    let is_refusal = response.code.starts_with('E') && response.request_id.is_some() && says_nothing_more;
    if is_refusal { Ok(response) } else { Err(SignatureError::Unsigned) }
}

/// Which kind of message this claims to be: to choose the certificates to check it against. Nothing is verified.
pub fn message_kind(bytes: &[u8]) -> Result<MessageKind, SignatureError> {
    let text = prescan(bytes, MAX_MESSAGE_BYTES)?;
    let document = parse(&text)?;
    kind_of(&document).ok_or_else(|| SignatureError::Malformed("it is neither a Request nor a Response of DUIS".into()))
}

/// What is known of a message whose signature is good, whatever it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifiedMessage {
    /// `None`: it is neither a Request nor a Response of DUIS.
    pub kind: Option<MessageKind>,
    /// Where it has one that can be read.
    pub request_id: Option<RequestId>,
    /// SHA-256 of its canonical form without its signature: the digest that was signed.
    pub digest: Sha256Hash,
}

/// Verifies a message of either kind, without understanding it: no error here is a [`SignatureError::Content`].
pub fn verify_message(bytes: &[u8], pinned: &CertificateSet, at: Time) -> Result<VerifiedMessage, SignatureError> {
    let verified = verify(bytes, MAX_MESSAGE_BYTES, pinned, at)?;
    let document = parse(&verified.canonical)?;
    let header = Fields::of(document.root_element()).need("Header");
    let request_id = header.and_then(|h| Fields::of(h).value_if("RequestID")).ok().flatten();
    Ok(VerifiedMessage { kind: kind_of(&document), request_id, digest: verified.digest })
}

fn kind_of(document: &Document<'_>) -> Option<MessageKind> {
    let root = document.root_element();
    match root.tag_name().name() {
        _ if root.tag_name().namespace() != Some(SR) => None,
        "Request" => Some(MessageKind::Request),
        "Response" => Some(MessageKind::Response),
        _ => None,
    }
}

/// The root must be of this name and hold a Header and a Body, in this order, and nothing else; gives them after `schemaVersion`.
fn open_root<'a, 'i>(root: Node<'a, 'i>, name: &str) -> Read<(String, Node<'a, 'i>, Node<'a, 'i>)> {
    if !root.has_tag_name((SR, name)) {
        return Err(content(format!("it is a {}, not a {name}", root.tag_name().name())));
    }
    let elements: Vec<Node<'_, '_>> = root.children().filter(Node::is_element).collect();
    let version = word(root.attribute("schemaVersion").unwrap_or("").trim_ascii(), "schemaVersion")?;
    match elements[..] {
        [header, body] if header.has_tag_name((SR, "Header")) && body.has_tag_name((SR, "Body")) => Ok((version, header, body)),
        _ => Err(content(format!("a {name} holds one Header and one Body"))),
    }
}

fn read_as_response(document: &Document<'_>) -> Read<Response> {
    let (schema_version, header, body) = open_root(document.root_element(), "Response")?;
    response(schema_version, header, body)
}
