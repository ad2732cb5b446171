//! Reads a Response: its header, and what is in its body, dispatched on the body's element.

use roxmltree::Node;

use super::{
    alert::alert,
    inventory::inventory,
    smets1::smets1_response,
    tree::{Fields, Read, base64, content, kept, only_element},
};
use crate::duis::{Body, Content, Response, SR, Throttled, UpdateFirmwareWarning};

/// Longest response code that is taken for one.
const MAX_CODE_CHARS: usize = 32;

/// `header` and `body` are the children of a Response's root.
pub(super) fn response(schema_version: String, header: Node<'_, '_>, body: Node<'_, '_>) -> Read<Response> {
    let mut header = Fields::of(header);
    Ok(Response {
        schema_version,
        request_id: header.value_if("RequestID")?,
        response_id: header.value_if("ResponseID")?,
        code: word(header.text("ResponseCode")?.trim_ascii(), "ResponseCode")?,
        at: header.time("ResponseDateTime")?,
        body: response_body(only_element(body)?)?,
    })
}

/// A short text without spaces.
pub(super) fn word(text: &str, name: &str) -> Read<String> {
    let fits =
        !text.is_empty() && text.chars().count() <= MAX_CODE_CHARS && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    if fits { Ok(text.to_owned()) } else { Err(content(format!("{name} is not a short word"))) }
}

fn response_body(body: Node<'_, '_>) -> Read<Body> {
    let mut of = Fields::of(body);
    match body.tag_name().name() {
        "ResponseMessage" => response_message(of),
        "DCCAlertMessage" => {
            let (alert_code, throttled) = (of.text("DCCAlertCode")?, throttled(&mut of)?);
            let (alert, mut unknown) = alert(only_element(of.need("DCCAlert")?)?)?;
            unknown.extend(of.left().into_iter().map(kept));
            Ok(Body::Alert { alert_code, throttled, alert, unknown })
        }
        "DeviceAlertMessage" => Ok(Body::DeviceAlert {
            alert_code: of.collapsed("AlertCode")?,
            throttled: throttled(&mut of)?,
            gbcs_payload: of.base64("GBCSPayload")?,
        }),
        "SMETS1ResponseMessage" => Ok(Body::Smets1(smets1_response(of)?)),
        _ => Ok(Body::Other(kept(body))),
    }
}

pub(super) fn throttled(of: &mut Fields<'_, '_>) -> Read<Throttled> {
    Ok(Throttled { sequence_id: of.value_if("ThrottledAlertSequenceId")?, count: of.value_if("ThrottledAlertCount")? })
}

fn response_message(mut of: Fields<'_, '_>) -> Read<Body> {
    let (service_reference, service_reference_variant) = (of.text("ServiceReference")?, of.text("ServiceReferenceVariant")?);
    let content = match of.left()[..] {
        [] => Content::None,
        [one] => message_content(one)?,
        _ => return Err(content("ResponseMessage holds more than one answer")),
    };
    Ok(Body::Message { service_reference, service_reference_variant, content })
}

fn message_content(one: Node<'_, '_>) -> Read<Content> {
    if one.tag_name().namespace() != Some(SR) {
        return Ok(Content::Other(kept(one)));
    }
    Ok(match one.tag_name().name() {
        "DSPUpdateFirmwareWarning" | "DSPUpdatePPMIDFirmwareWarning" => Content::UpdateFirmwareWarning(warning(one)?),
        "DSPInventory" => Content::Inventory(inventory(one)?),
        "GBCSPayload" => Content::GbcsPayload(base64(one)?),
        _ => Content::Other(kept(one)),
    })
}

fn warning(lists: Node<'_, '_>) -> Read<UpdateFirmwareWarning> {
    let mut of = Fields::of(lists);
    Ok(UpdateFirmwareWarning {
        invalid: of.devices_if("InvalidDeviceIDList")?,
        not_commissioned: of.devices_if("NotCommissionedDeviceIDList")?,
        not_applicable_firmware: of.devices_if("NotApplicableFirmwareDeviceIDList")?,
        other_request_in_progress: of.devices_if("OtherRequestInProgressList")?,
        invalid_gbcs_version: of.devices_if("InvalidGBCSVersionList")?,
    })
}
