//! Writes Responses, as DCC does: for the simulator and the tests. Every element in the schema's order. Where the schema wants a
//! value that [`super::messages`] does not keep, a fixed one is written; each is a constant here.

use super::{
    Alert, Body, BuildError, Content, FirmwareTransferResult, Response, SignedMessage, Signer, Smets1FirmwareStatus,
    UpdateFirmwareWarning, seal::Writer, write::push_devices,
};
use crate::ids::DeviceId;

/// `DeviceAlertCode` and `AlertCode`: hexadecimal; dispatch is on elements, so any will do.
const ALERT_CODE: &str = "0000";
/// `DeviceType` where an alert says what the device is.
const DEVICE_TYPE: &str = "PPMID";
/// `ImportMPxN` of change-of-supplier alerts: a number no site has.
const IMPORT_MPXN: &str = "0000000000000";
/// `DeviceStatusChange`: the children of it that hold nothing.
const EMPTY_STATUS_CHANGES: [&str; 5] =
    ["DeviceRemovedFromInventory", "CHFDecommissioning", "DeviceSuspended", "DeviceRestored", "RecoveryComplete"];
/// The children of `QuarantinedRequest`.
const BREACHES: [&str; 3] = ["ADUserThresholdBreach", "ADDCCThresholdBreach", "ADAttributeLimitsBreach"];
/// What surrounds the lists of a response, rounded up.
const FRAME_BYTES: usize = 2_048;

/// Writes and signs a Response (the DCC side: simulator and tests).
pub fn write_response(response: &Response, signer: &dyn Signer) -> Result<SignedMessage, BuildError> {
    let mut writer = start(response);
    let mut outcome = Ok(());
    writer.element("Body", |w| outcome = body(w, response, signer));
    outcome?;
    if let Some(bad) = writer.unwritable() {
        return Err(BuildError::Unwritable(format!("the character {bad:?}")));
    }
    let (sealed, body_digest) = writer.seal(signer)?;
    Ok(SignedMessage { bytes: sealed.into_bytes(), body_digest })
}

/// Writes a refusal without a signature, as DCC sometimes does in its synchronous reply (signature profile, rule 9). Only the
/// service reference of the body is written.
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
    writer.close().into_bytes()
}

fn start(response: &Response) -> Writer {
    let mut writer = Writer::new("Response", &response.schema_version, FRAME_BYTES);
    writer.element("Header", |w| {
        w.leaf_if("RequestID", response.request_id);
        w.leaf_if("ResponseID", response.response_id);
        w.leaf("ResponseCode", &response.code);
        w.leaf("ResponseDateTime", response.at);
    });
    writer
}

fn body(w: &mut Writer, response: &Response, signer: &dyn Signer) -> Result<(), BuildError> {
    match &response.body {
        Body::Other(unknown) | Body::Message { content: Content::Other(unknown), .. } => {
            Err(BuildError::Unwritable(unknown.name.clone()))
        }
        Body::DeviceAlert { .. }
        | Body::Smets1(_)
        | Body::Message { content: Content::Inventory(_) | Content::GbcsPayload(_), .. } => {
            Err(BuildError::Unwritable(response.kind().to_owned()))
        }
        Body::Message { service_reference, service_reference_variant, content } => {
            w.element("ResponseMessage", |w| {
                w.leaf("ServiceReference", service_reference);
                w.leaf("ServiceReferenceVariant", service_reference_variant);
                if let Content::UpdateFirmwareWarning(lists) = content {
                    w.element("DSPUpdateFirmwareWarning", |w| warning(w, lists));
                }
            });
            Ok(())
        }
        Body::Alert { alert_code, throttled_alert_count, alert, .. } => {
            let mut outcome = Ok(());
            w.element("DCCAlertMessage", |w| {
                w.leaf("DCCAlertCode", alert_code);
                w.leaf_if("ThrottledAlertCount", *throttled_alert_count);
                w.element("DCCAlert", |w| {
                    w.element(alert.element(), |w| outcome = alert_content(w, alert, alert_code, response, signer));
                });
            });
            outcome
        }
    }
}

fn warning(w: &mut Writer, lists: &UpdateFirmwareWarning) {
    let UpdateFirmwareWarning {
        invalid,
        not_commissioned,
        not_applicable_firmware,
        other_request_in_progress,
        invalid_gbcs_version,
    } = lists;
    for (name, devices) in [
        ("InvalidDeviceIDList", invalid),
        ("NotCommissionedDeviceIDList", not_commissioned),
        ("NotApplicableFirmwareDeviceIDList", not_applicable_firmware),
        ("OtherRequestInProgressList", other_request_in_progress),
        ("InvalidGBCSVersionList", invalid_gbcs_version),
    ] {
        if !devices.is_empty() {
            device_list(w, name, devices);
        }
    }
}

fn device_list(w: &mut Writer, name: &str, devices: &[DeviceId]) {
    w.plain_leaf(name, |out| push_devices(out, devices));
}

/// What is inside the alert's element.
fn alert_content(
    w: &mut Writer,
    alert: &Alert,
    alert_code: &str,
    response: &Response,
    signer: &dyn Signer,
) -> Result<(), BuildError> {
    match alert {
        Alert::Smets1FirmwareNotification { device, firmware_version, status } => {
            w.leaf("DeviceID", device);
            w.leaf("FirmwareVersion", firmware_version);
            w.leaf("FirmwareVersionUpdateStatus", smets1_status(*status));
        }
        Alert::S1spAlert { .. } => s1sp_alert(w, alert, &response.schema_version, signer)?,
        Alert::PpmidFirmwareUpgrade { device, firmware_version, success, at } => {
            w.leaf("DeviceID", device);
            w.leaf("DeviceAlertCode", ALERT_CODE);
            w.leaf_if("Timestamp", *at);
            w.element("PPMIDFirmwareUpgradeAlert", |w| {
                w.leaf("FirmwareVersion", firmware_version);
                w.leaf("ActivateImageResultCode", if *success { "ActivationSuccess" } else { "ActivationFailure" });
            });
        }
        Alert::Ppmid { device } => {
            w.leaf("DeviceID", device);
            w.leaf("DeviceAlertCode", ALERT_CODE);
        }
        Alert::FirmwareDistributionFailure { request_id, devices } => {
            if devices.is_empty() {
                return Err(BuildError::Devices(0));
            }
            w.leaf("UpdateFirmwareRequestID", request_id);
            device_list(w, "MeterIDs", devices);
        }
        Alert::CspFirmwareDeliveryStatus { request_id, comms_hub, device, firmware_version, success } => {
            w.leaf("UpdateFirmwareRequestID", request_id);
            w.leaf("CommsHubDeviceID", comms_hub);
            w.leaf("TargetDeviceID", device);
            w.leaf("FirmwareVersion", firmware_version);
            w.leaf("TimeStamp", response.at);
            w.leaf("CommsHubTransferStatus", if *success { "Success" } else { "Failure" });
        }
        Alert::FirmwareTransfer { request_id, device, firmware_version, result } => {
            w.leaf("CommsHubDeviceID", device);
            w.leaf("AlertCode", ALERT_CODE);
            w.element("FirmwareTransferAlert", |w| {
                w.leaf_if("UpdateFirmwareRequestID", *request_id);
                w.leaf("OtherDeviceID", device);
                w.leaf("FirmwareVersion", firmware_version);
                w.leaf("TransferResponseCode", transfer_result(*result));
            });
        }
        Alert::FirmwareVersionMismatch { device, version_in_inventory, version_on_device } => {
            w.leaf("DeviceID", device);
            w.leaf("DeviceType", DEVICE_TYPE);
            w.leaf("FirmwareVersionSMI", version_in_inventory);
            w.leaf("FirmwareVersionDevice", version_on_device);
        }
        other => rarer_alert(w, other, alert_code, response)?,
    }
    Ok(())
}

/// The alerts that are about the estate, not about a firmware image.
fn rarer_alert(w: &mut Writer, alert: &Alert, alert_code: &str, response: &Response) -> Result<(), BuildError> {
    match alert {
        Alert::ChangeOfSupplier { device: Some(device) } => w.element("DeviceChangeOfSupplier", |w| {
            w.leaf("DeviceID", device);
            w.leaf("DeviceType", DEVICE_TYPE);
            w.element("MPxNs", |w| w.leaf("ImportMPxN", IMPORT_MPXN));
        }),
        Alert::ChangeOfSupplier { device: None } => {
            let missing = || BuildError::Unwritable("a ChangeOfSupplier of no device and no request".into());
            w.leaf("ChangeOfSupplierServiceRequestID", response.request_id.ok_or_else(missing)?);
        }
        Alert::DeviceStatusChange { device, change } => {
            if !EMPTY_STATUS_CHANGES.contains(&change.as_str()) {
                return Err(BuildError::Unwritable(format!("DeviceStatusChange/{change}")));
            }
            w.leaf("DeviceID", device);
            w.element("DeviceStatusChange", |w| w.element(change, |_| {}));
        }
        Alert::PpmidRemoval { device, comms_hub } => {
            w.leaf("PPMIDDeviceID", device);
            w.leaf("CHFDeviceID", comms_hub);
        }
        Alert::QuarantinedRequest { request_id, quarantine_event_ref, breach } => {
            if !BREACHES.contains(&breach.as_str()) {
                return Err(BuildError::Unwritable(format!("QuarantinedRequest/{breach}")));
            }
            w.element(breach, |w| {
                w.leaf("RequestID", request_id);
                w.leaf("QuarantineEventRef", quarantine_event_ref);
            });
        }
        Alert::DuisVersionMismatch { request_id, device, our_version } => {
            w.element("DCCAlertVersionMismatch", |w| {
                w.leaf("DCCAlertCode", alert_code);
                w.leaf_if("DeviceID", *device);
                w.leaf_if("RequestID", *request_id);
            });
            w.leaf("ServiceUserDUISVersion", our_version);
        }
        other => return Err(BuildError::Unwritable(other.element().to_owned())),
    }
    Ok(())
}

/// A SMETS1 service provider's alert: a document of its own, signed by itself, inside DCC's.
fn s1sp_alert(w: &mut Writer, alert: &Alert, schema_version: &str, signer: &dyn Signer) -> Result<(), BuildError> {
    let Alert::S1spAlert { request_id, device, code, information, at } = alert else {
        unreachable!("called for S1SP alerts only");
    };
    let mut document = Writer::new("S1SPAlert", schema_version, FRAME_BYTES);
    document.leaf_if("RequestID", *request_id);
    document.leaf_if("DeviceID", *device);
    document.leaf("S1SPAlertCode", code);
    document.leaf_if("AdditionalInformation", information.as_ref());
    document.leaf("DateTime", at);
    Ok(w.embed(document, signer)?)
}

fn smets1_status(status: Smets1FirmwareStatus) -> &'static str {
    match status {
        Smets1FirmwareStatus::UpdateRequested => "UpdateRequested",
        Smets1FirmwareStatus::ActivationSuccessful => "ActivationSuccessful",
    }
}

fn transfer_result(result: FirmwareTransferResult) -> &'static str {
    match result {
        FirmwareTransferResult::FileTransferSuccess => "FileTransferSuccess",
        FirmwareTransferResult::FirmwareImageDiscarded => "FirmwareImageDiscarded",
        FirmwareTransferResult::HardwareVersionMismatch => "HardwareVersionMismatch",
        FirmwareTransferResult::FileTransferFailure => "FileTransferFailure",
    }
}
