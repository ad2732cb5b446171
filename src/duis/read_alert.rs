//! Reads the alert inside a `DCCAlert`. Dispatch is on its element; elements that are not known inside a known alert are passed
//! over, an alert that is not known keeps its name.

use roxmltree::Node;

use super::{
    Alert, FirmwareTransferResult, Smets1FirmwareStatus,
    read::{text_if, unknown},
    tree::{Read, child, content, devices_if, either, need, only_element, text_of, time, value_if, value_of},
};

pub(super) fn alert(alert: Node<'_, '_>) -> Read<Alert> {
    let of = alert;
    Ok(match alert.tag_name().name() {
        "SMETS1CHFirmwareNotification" => Alert::Smets1FirmwareNotification {
            device: value_of(of, "DeviceID")?,
            firmware_version: text_of(of, "FirmwareVersion")?.to_owned(),
            status: smets1_status(text_of(of, "FirmwareVersionUpdateStatus")?)?,
        },
        "S1SPAlertDSP" => s1sp_alert(need(of, "S1SPAlert")?)?,
        "PPMIDAlert" => ppmid_alert(of)?,
        "FirmwareDistributionFailure" => {
            need(of, "MeterIDs")?;
            Alert::FirmwareDistributionFailure {
                request_id: value_of(of, "UpdateFirmwareRequestID")?,
                devices: devices_if(of, "MeterIDs")?,
            }
        }
        "CSPFirmwareDeliveryStatus" => Alert::CspFirmwareDeliveryStatus {
            request_id: value_of(of, "UpdateFirmwareRequestID")?,
            comms_hub: value_of(of, "CommsHubDeviceID")?,
            device: value_of(of, "TargetDeviceID")?,
            firmware_version: text_of(of, "FirmwareVersion")?.to_owned(),
            success: either(need(of, "CommsHubTransferStatus")?, "Success", "Failure")?,
        },
        "CommsHubAlert" => comms_hub_alert(of)?,
        "FirmwareVersionMismatch" => Alert::FirmwareVersionMismatch {
            device: value_of(of, "DeviceID")?,
            version_in_inventory: text_of(of, "FirmwareVersionSMI")?.to_owned(),
            version_on_device: text_of(of, "FirmwareVersionDevice")?.to_owned(),
        },
        "ChangeOfSupplier" => {
            Alert::ChangeOfSupplier { device: child(of, "DeviceChangeOfSupplier")?.map(|d| value_of(d, "DeviceID")).transpose()? }
        }
        "DeviceStatusChangeEvent" => Alert::DeviceStatusChange {
            device: value_of(of, "DeviceID")?,
            change: only_element(need(of, "DeviceStatusChange")?)?.tag_name().name().to_owned(),
        },
        "PPMIDRemoval" => Alert::PpmidRemoval { device: value_of(of, "PPMIDDeviceID")?, comms_hub: value_of(of, "CHFDeviceID")? },
        "QuarantinedRequest" => {
            let breach = only_element(of)?;
            Alert::QuarantinedRequest {
                request_id: value_of(breach, "RequestID")?,
                quarantine_event_ref: text_of(breach, "QuarantineEventRef")?.trim_ascii().to_owned(),
                breach: breach.tag_name().name().to_owned(),
            }
        }
        "DUISVersionMismatch" => version_mismatch(of)?,
        _ => Alert::Other(unknown(of)),
    })
}

/// The provider's own signature, inside, is evidence: the message keeps it, nothing here reads it.
fn s1sp_alert(of: Node<'_, '_>) -> Read<Alert> {
    Ok(Alert::S1spAlert {
        request_id: value_if(of, "RequestID")?,
        device: value_if(of, "DeviceID")?,
        code: text_of(of, "S1SPAlertCode")?.to_owned(),
        information: text_if(of, "AdditionalInformation")?,
        at: time(need(of, "DateTime")?)?,
    })
}

fn ppmid_alert(of: Node<'_, '_>) -> Read<Alert> {
    let device = value_of(of, "DeviceID")?;
    let Some(upgrade) = child(of, "PPMIDFirmwareUpgradeAlert")? else {
        return Ok(Alert::Ppmid { device });
    };
    Ok(Alert::PpmidFirmwareUpgrade {
        device,
        firmware_version: text_of(upgrade, "FirmwareVersion")?.to_owned(),
        success: either(need(upgrade, "ActivateImageResultCode")?, "ActivationSuccess", "ActivationFailure")?,
        at: child(of, "Timestamp")?.map(time).transpose()?,
    })
}

fn comms_hub_alert(of: Node<'_, '_>) -> Read<Alert> {
    let Some(transfer) = child(of, "FirmwareTransferAlert")? else {
        return Ok(Alert::Other(unknown(of)));
    };
    use FirmwareTransferResult as R;
    Ok(Alert::FirmwareTransfer {
        request_id: value_if(transfer, "UpdateFirmwareRequestID")?,
        device: value_of(transfer, "OtherDeviceID")?,
        firmware_version: text_of(transfer, "FirmwareVersion")?.to_owned(),
        result: match text_of(transfer, "TransferResponseCode")? {
            "FileTransferSuccess" => R::FileTransferSuccess,
            "FirmwareImageDiscarded" => R::FirmwareImageDiscarded,
            "HardwareVersionMismatch" => R::HardwareVersionMismatch,
            "FileTransferFailure" => R::FileTransferFailure,
            _ => return Err(content("TransferResponseCode is not one of the schema's")),
        },
    })
}

fn version_mismatch(of: Node<'_, '_>) -> Read<Alert> {
    let withheld = match (child(of, "DCCAlertVersionMismatch")?, child(of, "ServiceResponseVersionMismatch")?) {
        (Some(one), None) | (None, Some(one)) => one,
        _ => return Err(content("DUISVersionMismatch must say which message was withheld")),
    };
    Ok(Alert::DuisVersionMismatch {
        request_id: value_if(withheld, "RequestID")?,
        device: value_if(withheld, "DeviceID")?,
        our_version: text_of(of, "ServiceUserDUISVersion")?.trim_ascii().to_owned(),
    })
}

fn smets1_status(text: &str) -> Read<Smets1FirmwareStatus> {
    match text {
        "UpdateRequested" => Ok(Smets1FirmwareStatus::UpdateRequested),
        "ActivationSuccessful" => Ok(Smets1FirmwareStatus::ActivationSuccessful),
        _ => Err(content("FirmwareVersionUpdateStatus is not one of the schema's")),
    }
}
