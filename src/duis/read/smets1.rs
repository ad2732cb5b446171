//! Reads a `SMETS1ResponseMessage`: what a SMETS1 device says, in a document that its service provider signed.

use roxmltree::Node;

use super::{
    response::throttled,
    tree::{Fields, Read, content, kept, text},
};
use crate::duis::{RA, Smets1Content, Smets1Response};

pub(super) fn smets1_response(mut message: Fields<'_, '_>) -> Read<Smets1Response> {
    let service_reference = message.text_if("ServiceReference")?;
    let service_reference_variant = message.text_if("ServiceReferenceVariant")?;
    let throttled = throttled(&mut message)?;
    let mut signed = Fields::of(message.need("SMETS1SignedResponse")?);
    let mut response = Fields::of(signed.need("SMETS1Response")?);
    let mut header = Fields::in_namespace(response.need("Header")?, RA);
    Ok(Smets1Response {
        service_reference,
        service_reference_variant,
        throttled,
        device: header.value("BusinessOriginatorID")?,
        target: header.value("BusinessTargetID")?,
        counter: header.value("OriginatorCounter")?,
        content: smets1_content(Fields::of(response.need("Body")?).only()?)?,
    })
}

fn smets1_content(said: Node<'_, '_>) -> Read<Smets1Content> {
    let data = Fields::in_namespace(said, RA).take("SMETSData")?;
    let answer = data.map(|data| Fields::in_namespace(data, RA).take("ReadFirmwareVersionRsp")).transpose()?.flatten();
    let Some(answer) = answer.filter(|_| said.tag_name().name() == "ResponseMessage") else {
        return Ok(Smets1Content::Other(kept(said)));
    };
    let success = match answer.attribute("MessageSuccess").map(str::trim_ascii) {
        None => None,
        Some("true" | "1") => Some(true),
        Some("false" | "0") => Some(false),
        Some(_) => return Err(content("MessageSuccess is neither true nor false")),
    };
    let version = Fields::in_namespace(answer, RA).take("FirmwareVersion")?;
    let firmware_version = version.map(|v| text(v).map(str::to_owned)).transpose()?;
    Ok(Smets1Content::FirmwareVersion { success, firmware_version })
}
