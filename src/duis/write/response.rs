//! Writes Responses, as DCC does: for the simulator and the tests. Values are written as they are given: whether a code or a
//! status is one the schema lists is its writer's business, and the tests'.

use super::{BuildError, SignedMessage, alert::alert, smets1::smets1_response};
use crate::duis::{
    Body, Content, InventoryDevice, MAX_INVENTORY_DEVICES, Response, Signer, Throttled, UpdateFirmwareWarning,
    seal::{DEVICE_BYTES, Writer},
};

/// What surrounds the lists of a response, rounded up.
const FRAME_BYTES: usize = 2_048;

/// Writes and signs a Response (the DCC side: simulator and tests). What SMETS1 service providers sign inside is signed by the
/// same signer.
pub fn write_response(response: &Response, signer: &dyn Signer) -> Result<SignedMessage, BuildError> {
    write_response_as(response, signer, signer)
}

/// The same, where what a SMETS1 service provider says inside has its own signer.
pub fn write_response_as(response: &Response, signer: &dyn Signer, provider: &dyn Signer) -> Result<SignedMessage, BuildError> {
    let mut writer = start(response);
    writer.element("Body", |w| body(w, response, provider));
    let (sealed, body_digest) = writer.seal(signer)?;
    Ok(SignedMessage { bytes: sealed.into_bytes(), body_digest })
}

/// Writes a refusal without a signature, as DCC sometimes does in its synchronous reply (signature profile, rule 9). Only the
/// service reference of the body is written. Empty where a text holds what XML cannot carry.
pub fn write_unsigned_refusal(response: &Response) -> Vec<u8> {
    let mut writer = start(response);
    let (reference, variant) = match &response.body {
        Body::Message { service_reference, service_reference_variant, .. } => {
            (service_reference.as_str(), service_reference_variant.as_str())
        }
        Body::Alert { .. } | Body::DeviceAlert { .. } | Body::Smets1(_) | Body::Other(_) => ("11.1", "11.1"),
    };
    writer.element("Body", |w| {
        w.element("ResponseMessage", |w| {
            w.leaf("ServiceReference", reference);
            w.leaf("ServiceReferenceVariant", variant);
        });
    });
    writer.close().unwrap_or_default().into_bytes()
}

fn start(response: &Response) -> Writer {
    let lists = match &response.body {
        Body::Message { content: Content::UpdateFirmwareWarning(warning), .. } => {
            warning.lists().iter().map(|(_, devices)| devices.len() * DEVICE_BYTES).sum()
        }
        _ => 0,
    };
    let mut writer = Writer::new("Response", &response.schema_version, lists + FRAME_BYTES);
    writer.element("Header", |w| {
        w.leaf_if("RequestID", response.request_id);
        w.leaf_if("ResponseID", response.response_id);
        w.leaf("ResponseCode", &response.code);
        w.leaf("ResponseDateTime", response.at);
    });
    writer
}

fn body(w: &mut Writer, response: &Response, signer: &dyn Signer) {
    match &response.body {
        Body::Message { service_reference, service_reference_variant, content } => w.element("ResponseMessage", |w| {
            w.leaf("ServiceReference", service_reference);
            w.leaf("ServiceReferenceVariant", service_reference_variant);
            message_content(w, content, service_reference);
        }),
        Body::Alert { alert_code, throttled, alert: said, unknown } => w.element("DCCAlertMessage", |w| {
            w.leaf("DCCAlertCode", alert_code);
            counts(w, *throttled);
            w.element("DCCAlert", |w| alert(w, said, unknown, &response.schema_version, signer));
        }),
        Body::DeviceAlert { alert_code, throttled, gbcs_payload } => w.element("DeviceAlertMessage", |w| {
            w.leaf("AlertCode", alert_code);
            counts(w, *throttled);
            w.base64("GBCSPayload", gbcs_payload);
        }),
        Body::Smets1(smets1) => {
            w.element("SMETS1ResponseMessage", |w| smets1_response(w, smets1, &response.schema_version, signer));
        }
        Body::Other(unknown) => w.kept(unknown),
    }
}

fn counts(w: &mut Writer, throttled: Throttled) {
    w.leaf_if("ThrottledAlertSequenceId", throttled.sequence_id);
    w.leaf_if("ThrottledAlertCount", throttled.count);
}

fn message_content(w: &mut Writer, content: &Content, service_reference: &str) {
    match content {
        Content::None => {}
        Content::UpdateFirmwareWarning(lists) => {
            w.element(Content::warning_element(service_reference), |w| warning(w, lists));
        }
        Content::Inventory(devices) => {
            if devices.len() > MAX_INVENTORY_DEVICES {
                w.fail(BuildError::Unwritable(format!("an inventory of {} devices", devices.len())));
            }
            w.element("DSPInventory", |w| devices.iter().for_each(|d| w.element("Device", |w| inventory_device(w, d))));
        }
        Content::GbcsPayload(bytes) => w.base64("GBCSPayload", bytes),
        Content::Other(unknown) => w.kept(unknown),
    }
}

fn warning(w: &mut Writer, lists: &UpdateFirmwareWarning) {
    for (name, devices) in lists.lists() {
        if !devices.is_empty() {
            w.devices(name, devices);
        }
    }
}

fn inventory_device(w: &mut Writer, device: &InventoryDevice) {
    w.leaf("DeviceID", device.device_id);
    w.leaf("DeviceType", &device.device_type);
    w.leaf_if("DeviceStatus", device.device_status.as_ref());
    w.leaf("DeviceManufacturer", &device.manufacturer);
    w.leaf("DeviceModel", &device.model);
    w.leaf_if("SMETSCHTSVersion", device.smets_chts_version.as_ref());
    w.leaf_if("DeviceFirmwareVersion", device.firmware_version.as_ref());
    w.leaf_if("DeviceFirmwareVersionStatus", device.firmware_version_status.as_ref());
    w.leaf_if("CPLStatus", device.cpl_status.as_ref());
    w.leaf_if("DateCommissioned", device.date_commissioned.as_ref());
    w.leaf_if("ImportMPxN", device.import_mpxn.as_ref());
    w.leaf_if("SecondaryImportMPAN", device.secondary_import_mpan.as_ref());
    w.leaf_if("ExportMPAN", device.export_mpan.as_ref());
    w.leaf_if("ESMEVariant", device.esme_variant.as_ref());
    w.leaf_if("UPRN", device.uprn.as_ref());
    if let Some(address) = &device.property_filter {
        w.element("PropertyFilter", |w| {
            w.leaf("PostCode", &address.post_code);
            w.leaf("AddressIdentifier", &address.address_identifier);
        });
    }
    w.leaf_if("CSPRegion", device.csp_region.as_ref());
    w.leaf_if("DeviceGBCSVersion", device.gbcs_version.as_ref());
    w.leaf_if("HANVariant", device.han_variant.as_ref());
    w.leaf_if("S1SP", device.s1sp.as_ref());
    w.leaf_if("Connectivity", device.connectivity.as_ref());
}
