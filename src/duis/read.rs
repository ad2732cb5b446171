//! Reads messages from the bytes that were verified, and from nothing else: the canonical form whose digest was signed is parsed
//! again, the message as it came is not looked at any more.

use base64::{Engine, engine::general_purpose::STANDARD};
use roxmltree::{Document, Node};

use super::{
    Body, CertificateSet, Content, FirmwareUpdate, MAX_DEVICES_PER_REQUEST, MAX_IMAGE_BYTES, Request, RequestBody, Response,
    SignatureError, UnknownElement, UpdateFirmwareWarning, canonical,
    prescan::{MAX_MESSAGE_BYTES, prescan},
    read_alert::alert,
    signature::{DS, SR},
    tree::{Read, child, content, devices_if, need, only_element, text, text_of, time, value_if, value_of},
    verify::{open_kept, parse, verify},
};
use crate::{
    clock::Time,
    ids::{RequestId, Sha256Hash},
};

/// Longest response code and schema version that are taken for one.
const MAX_CODE_CHARS: usize = 32;

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
    Ok((response(&parse(&verified.canonical)?)?, verified.digest))
}

/// Reads a Response that was verified when it came and kept with its digest. Its signature is not checked again: a pin that was
/// taken away since, or a certificate that has expired, does not make it unreadable.
pub fn read_kept_response(bytes: &[u8], digest: Sha256Hash) -> Result<Response, SignatureError> {
    let kept = open_kept(bytes, MAX_MESSAGE_BYTES, digest)?;
    response(&parse(&kept.canonical)?)
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
    let root = document.root_element();
    let schema_version = check_root(root, "Request")?;
    let header = need(root, "Header")?;
    Ok(Request {
        schema_version,
        id: value_of(header, "RequestID")?,
        command_variant: value_of(header, "CommandVariant")?,
        service_reference: text_of(header, "ServiceReference")?.to_owned(),
        service_reference_variant: text_of(header, "ServiceReferenceVariant")?.to_owned(),
        body: request_body(only_element(need(root, "Body")?)?)?,
        body_digest: verified.digest,
    })
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
    let response = response(&document).map_err(|e| match e {
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
    let header = need(document.root_element(), "Header");
    let request_id = header.and_then(|h| value_if(h, "RequestID")).ok().flatten();
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

/// The root must be of this name and hold a Header and a Body, in this order, and nothing else; gives `schemaVersion`.
fn check_root(root: Node<'_, '_>, name: &str) -> Read<String> {
    if !root.has_tag_name((SR, name)) {
        return Err(content(format!("it is a {}, not a {name}", root.tag_name().name())));
    }
    let elements: Vec<Node<'_, '_>> = root.children().filter(Node::is_element).collect();
    match elements[..] {
        [header, body] if header.has_tag_name((SR, "Header")) && body.has_tag_name((SR, "Body")) => {}
        _ => return Err(content(format!("a {name} holds one Header and one Body"))),
    }
    let version = root.attribute("schemaVersion").unwrap_or("").trim_ascii();
    word(version, "schemaVersion")
}

/// A short text without spaces.
fn word(text: &str, name: &str) -> Read<String> {
    let fits =
        !text.is_empty() && text.chars().count() <= MAX_CODE_CHARS && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    if fits { Ok(text.to_owned()) } else { Err(content(format!("{name} is not a short word"))) }
}

fn request_body(body: Node<'_, '_>) -> Read<RequestBody> {
    Ok(match body.tag_name().name() {
        "UpdateFirmware" => RequestBody::UpdateFirmware(firmware_update(body)?),
        "UpdatePPMIDFirmware" => RequestBody::UpdatePpmidFirmware(firmware_update(body)?),
        other => RequestBody::Other(other.to_owned()),
    })
}

fn firmware_update(body: Node<'_, '_>) -> Read<FirmwareUpdate> {
    let mut encoded = text_of(body, "FirmwareImage")?.as_bytes().to_vec();
    encoded.retain(|b| !b.is_ascii_whitespace());
    let image = STANDARD.decode(encoded).map_err(|_| content("FirmwareImage is not base64"))?;
    if image.len() > MAX_IMAGE_BYTES {
        return Err(content(format!("FirmwareImage has more than {MAX_IMAGE_BYTES} bytes")));
    }
    need(body, "DeviceIDList")?;
    let devices = devices_if(body, "DeviceIDList")?;
    if devices.len() > MAX_DEVICES_PER_REQUEST {
        return Err(content(format!("DeviceIDList names more than {MAX_DEVICES_PER_REQUEST} devices")));
    }
    Ok(FirmwareUpdate { image, firmware_version: text_of(body, "FirmwareVersion")?.to_owned(), devices })
}

fn response(document: &Document<'_>) -> Read<Response> {
    let root = document.root_element();
    let schema_version = check_root(root, "Response")?;
    let header = need(root, "Header")?;
    Ok(Response {
        schema_version,
        request_id: value_if(header, "RequestID")?,
        response_id: value_if(header, "ResponseID")?,
        code: word(text_of(header, "ResponseCode")?.trim_ascii(), "ResponseCode")?,
        at: time(need(header, "ResponseDateTime")?)?,
        body: response_body(only_element(need(root, "Body")?)?)?,
    })
}

fn response_body(body: Node<'_, '_>) -> Read<Body> {
    match body.tag_name().name() {
        "ResponseMessage" => response_message(body),
        "DCCAlertMessage" => Ok(Body::Alert {
            alert_code: text_of(body, "DCCAlertCode")?.to_owned(),
            throttled_alert_count: value_if(body, "ThrottledAlertCount")?,
            alert: alert(only_element(need(body, "DCCAlert")?)?)?,
            unknown: Vec::new(),
        }),
        _ => Ok(Body::Other(unknown(body))),
    }
}

fn response_message(message: Node<'_, '_>) -> Read<Body> {
    let reference = need(message, "ServiceReference")?;
    let variant = need(message, "ServiceReferenceVariant")?;
    let mut rest = message.children().filter(|n| n.is_element() && *n != reference && *n != variant);
    let what = match (rest.next(), rest.next()) {
        (None, _) => Content::None,
        (Some(one), None) if one.has_tag_name((SR, "DSPUpdateFirmwareWarning")) => Content::UpdateFirmwareWarning(warning(one)?),
        (Some(one), None) => Content::Other(unknown(one)),
        (Some(_), Some(_)) => return Err(content("ResponseMessage holds more than one answer")),
    };
    Ok(Body::Message {
        service_reference: text(reference)?.to_owned(),
        service_reference_variant: text(variant)?.to_owned(),
        content: what,
    })
}

fn warning(lists: Node<'_, '_>) -> Read<UpdateFirmwareWarning> {
    Ok(UpdateFirmwareWarning {
        invalid: devices_if(lists, "InvalidDeviceIDList")?,
        not_commissioned: devices_if(lists, "NotCommissionedDeviceIDList")?,
        not_applicable_firmware: devices_if(lists, "NotApplicableFirmwareDeviceIDList")?,
        other_request_in_progress: devices_if(lists, "OtherRequestInProgressList")?,
        invalid_gbcs_version: devices_if(lists, "InvalidGBCSVersionList")?,
    })
}

/// An element kept as it is.
pub(super) fn unknown(element: Node<'_, '_>) -> UnknownElement {
    UnknownElement { name: element.tag_name().name().to_owned(), xml: canonical::exclusive(element) }
}

/// A text that is not there or is there once.
pub(super) fn text_if(of: Node<'_, '_>, name: &str) -> Read<Option<String>> {
    child(of, name)?.map(|leaf| text(leaf).map(str::to_owned)).transpose()
}
