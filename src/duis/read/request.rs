//! Reads the body of a Service Request, as DCC does: for the simulator, support work and the tests.

use roxmltree::Node;

use super::tree::{Fields, Read, content};
use crate::duis::{FirmwareUpdate, MAX_DEVICES_PER_REQUEST, MAX_IMAGE_BYTES, Request, RequestBody};
use crate::ids::Sha256Hash;

/// `header` and `body` are the children of a Request's root.
pub(super) fn request(
    schema_version: String,
    header: Node<'_, '_>,
    body: Node<'_, '_>,
    body_digest: Sha256Hash,
) -> Read<Request> {
    let mut header = Fields::of(header);
    Ok(Request {
        schema_version,
        id: header.value("RequestID")?,
        command_variant: header.value("CommandVariant")?,
        service_reference: header.text("ServiceReference")?,
        service_reference_variant: header.text("ServiceReferenceVariant")?,
        body: request_body(Fields::of(body).only()?)?,
        body_digest,
    })
}

fn request_body(body: Node<'_, '_>) -> Read<RequestBody> {
    let name = body.tag_name().name();
    let mut of = Fields::of(body);
    Ok(match name {
        "UpdateFirmware" => RequestBody::UpdateFirmware(firmware_update(of)?),
        "UpdatePPMIDFirmware" => RequestBody::UpdatePpmidFirmware(firmware_update(of)?),
        "ReadInventory" => match of.value_if("DeviceID")? {
            Some(device) => RequestBody::ReadInventory { device },
            None => RequestBody::Other(name.to_owned()),
        },
        // With an ExecutionDateTime it is another request: one for later.
        "ReadFirmwareVersion" if of.left().is_empty() => RequestBody::ReadFirmwareVersion,
        other => RequestBody::Other(other.to_owned()),
    })
}

fn firmware_update(mut of: Fields<'_, '_>) -> Read<FirmwareUpdate> {
    let image = of.base64("FirmwareImage")?;
    if image.len() > MAX_IMAGE_BYTES {
        return Err(content(format!("FirmwareImage has more than {MAX_IMAGE_BYTES} bytes")));
    }
    let firmware_version = of.text("FirmwareVersion")?;
    let devices = of.devices("DeviceIDList")?;
    if devices.len() > MAX_DEVICES_PER_REQUEST {
        return Err(content(format!("DeviceIDList names more than {MAX_DEVICES_PER_REQUEST} devices")));
    }
    Ok(FirmwareUpdate { image, firmware_version, devices })
}
