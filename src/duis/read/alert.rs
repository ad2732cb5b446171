//! Reads the alert inside a `DCCAlert`. Dispatch is on its element; elements inside a known alert that have no field here are
//! kept beside it, an alert that is not known is kept whole.

use roxmltree::Node;

use super::tree::{Fields, Read, content, kept, text};
use crate::duis::{Alert, Breach, ChangeOfSupplier, DeviceStatusChange, MeterMpxns, UnknownElement, Withheld};

/// The alert, and the elements in it that have no field.
pub(super) fn alert(alert: Node<'_, '_>) -> Read<(Alert, Vec<UnknownElement>)> {
    let mut unknown = Vec::new();
    let read = inside(alert, &mut unknown, |of, unknown| known_alert(alert.tag_name().name(), of, unknown))?;
    match read {
        Some(read) => Ok((read, unknown)),
        None => Ok((Alert::Other(kept(alert)), Vec::new())),
    }
}

/// Reads an element; what `read` does not take of it is kept.
fn inside<'a, 'i, T>(
    element: Node<'a, 'i>,
    unknown: &mut Vec<UnknownElement>,
    read: impl FnOnce(&mut Fields<'a, 'i>, &mut Vec<UnknownElement>) -> Read<T>,
) -> Read<T> {
    let mut of = Fields::of(element);
    let what = read(&mut of, unknown)?;
    unknown.extend(of.left().into_iter().map(kept));
    Ok(what)
}

fn known_alert(name: &str, of: &mut Fields<'_, '_>, unknown: &mut Vec<UnknownElement>) -> Read<Option<Alert>> {
    Ok(Some(match name {
        "SMETS1CHFirmwareNotification" => Alert::Smets1FirmwareNotification {
            device: of.value("DeviceID")?,
            firmware_version: of.text("FirmwareVersion")?,
            status: of.word("FirmwareVersionUpdateStatus")?,
        },
        "S1SPAlertDSP" => inside(of.need("S1SPAlert")?, unknown, |of, _| s1sp_alert(of))?,
        "PPMIDAlert" => ppmid_alert(of, unknown)?,
        "FirmwareDistributionFailure" => Alert::FirmwareDistributionFailure {
            request_id: of.value("UpdateFirmwareRequestID")?,
            devices: of.devices("MeterIDs")?,
        },
        "CSPFirmwareDeliveryStatus" => Alert::CspFirmwareDeliveryStatus {
            request_id: of.value("UpdateFirmwareRequestID")?,
            comms_hub: of.value("CommsHubDeviceID")?,
            device: of.value("TargetDeviceID")?,
            firmware_version: of.text("FirmwareVersion")?,
            at: of.time("TimeStamp")?,
            success: of.either("CommsHubTransferStatus", "Success", "Failure")?,
        },
        "CommsHubAlert" => comms_hub_alert(of, unknown)?,
        "FirmwareVersionMismatch" => Alert::FirmwareVersionMismatch {
            device: of.value("DeviceID")?,
            device_type: of.text("DeviceType")?,
            version_in_inventory: of.text("FirmwareVersionSMI")?,
            version_on_device: of.text("FirmwareVersionDevice")?,
        },
        "ChangeOfSupplier" => Alert::ChangeOfSupplier(change_of_supplier(of, unknown)?),
        "DeviceStatusChangeEvent" => {
            let (device, change) = (of.value("DeviceID")?, Fields::of(of.need("DeviceStatusChange")?).only()?);
            let (name, mut rest) = (change.tag_name().name(), Vec::new());
            let read = inside(change, &mut rest, |of, unknown| status_change(name, of, unknown))?;
            let change = match read {
                Some(read) => read,
                None => DeviceStatusChange::Other(kept(change)),
            };
            unknown.extend(rest.into_iter().filter(|_| !matches!(change, DeviceStatusChange::Other(_))));
            Alert::DeviceStatusChange { device, change }
        }
        "PPMIDRemoval" => Alert::PpmidRemoval { device: of.value("PPMIDDeviceID")?, comms_hub: of.value("CHFDeviceID")? },
        "QuarantinedRequest" => quarantined(of, unknown)?,
        "DUISVersionMismatch" => {
            Alert::DuisVersionMismatch { withheld: withheld(of, unknown)?, our_version: of.text("ServiceUserDUISVersion")? }
        }
        "CommandFailure" => Alert::CommandFailure { request_id: of.value("CommandRequestID")?, device: of.value("DeviceID")? },
        "FirmwareUpgradeRequested" => Alert::FirmwareUpgradeRequested {
            device_type: of.text("DeviceType")?,
            firmware_version: of.text("FirmwareVersion")?,
            devices: of.devices("DeviceList")?,
        },
        _ => return Ok(None),
    }))
}

fn s1sp_alert(of: &mut Fields<'_, '_>) -> Read<Alert> {
    of.pass_over_signature();
    Ok(Alert::S1spAlert {
        request_id: of.value_if("RequestID")?,
        device: of.value_if("DeviceID")?,
        code: of.text("S1SPAlertCode")?,
        information: of.text_if("AdditionalInformation")?,
        at: of.time("DateTime")?,
    })
}

fn ppmid_alert(of: &mut Fields<'_, '_>, unknown: &mut Vec<UnknownElement>) -> Read<Alert> {
    let (device, device_alert_code) = (of.value("DeviceID")?, of.collapsed("DeviceAlertCode")?);
    let at = of.time_if("Timestamp")?;
    let Some(upgrade) = of.take("PPMIDFirmwareUpgradeAlert")? else {
        return Ok(Alert::Ppmid { device, device_alert_code, at });
    };
    inside(upgrade, unknown, |of, _| {
        Ok(Alert::PpmidFirmwareUpgrade {
            device,
            device_alert_code,
            firmware_version: of.text("FirmwareVersion")?,
            success: of.either("ActivateImageResultCode", "ActivationSuccess", "ActivationFailure")?,
            at,
        })
    })
}

fn comms_hub_alert(of: &mut Fields<'_, '_>, unknown: &mut Vec<UnknownElement>) -> Read<Alert> {
    let (comms_hub, alert_code) = (of.value("CommsHubDeviceID")?, of.collapsed("AlertCode")?);
    let at = of.time_if("TimeStamp")?;
    let Some(transfer) = of.take("FirmwareTransferAlert")? else {
        return Ok(Alert::CommsHub { comms_hub, alert_code, at });
    };
    inside(transfer, unknown, |of, _| {
        Ok(Alert::FirmwareTransfer {
            comms_hub,
            alert_code,
            at,
            request_id: of.value_if("UpdateFirmwareRequestID")?,
            device: of.value("OtherDeviceID")?,
            firmware_version: of.text("FirmwareVersion")?,
            result: of.word("TransferResponseCode")?,
        })
    })
}

fn change_of_supplier(of: &mut Fields<'_, '_>, unknown: &mut Vec<UnknownElement>) -> Read<ChangeOfSupplier> {
    let Some(device) = of.take("DeviceChangeOfSupplier")? else {
        let request_id = of.value("ChangeOfSupplierServiceRequestID")?;
        return Ok(ChangeOfSupplier::Request { request_id, ecos_error_code: of.text_if("ECoSErrorCode")? });
    };
    inside(device, unknown, |of, unknown| {
        Ok(ChangeOfSupplier::Device {
            device: of.value("DeviceID")?,
            device_type: of.text("DeviceType")?,
            mpxns: inside(of.need("MPxNs")?, unknown, |of, _| meter_mpxns(of))?,
        })
    })
}

fn status_change(name: &str, of: &mut Fields<'_, '_>, unknown: &mut Vec<UnknownElement>) -> Read<Option<DeviceStatusChange>> {
    use DeviceStatusChange as C;
    Ok(Some(match name {
        "MeterIdentity" => C::MeterIdentity {
            mpxns: inside(of.need("MeterMPxNs")?, unknown, |of, _| meter_mpxns(of))?,
            esme_variant: of.text_if("ESMEVariant")?,
        },
        "MeterDecommissioningOrWithdrawal" => {
            let mpxns = inside(of.need("MeterDecommissionOrWithdrawal")?, unknown, |of, _| meter_mpxns(of))?;
            let mut associated = Vec::new();
            for device in of.all("AssociatedType1Device") {
                associated.push(inside(device, unknown, |of, _| Ok((of.value("DeviceID")?, of.text("DeviceType")?)))?);
            }
            C::MeterDecommissioningOrWithdrawal { mpxns, associated }
        }
        "DeviceRemovedFromInventory" => C::DeviceRemovedFromInventory,
        "CHFDecommissioning" => C::ChfDecommissioning,
        "DeviceSuspended" => C::DeviceSuspended,
        "DeviceRestored" => C::DeviceRestored,
        "RecoveryCompleteACBCredentials" => {
            let mut texts = |name| of.all(name).into_iter().map(|n| text(n).map(str::to_owned)).collect::<Read<Vec<_>>>();
            C::RecoveryCompleteAcbCredentials {
                supplier: texts("SupplierCertificateType")?,
                network_operator: texts("NetworkOperatorCertificateType")?,
            }
        }
        "RecoveryComplete" => C::RecoveryComplete,
        _ => return Ok(None),
    }))
}

fn meter_mpxns(of: &mut Fields<'_, '_>) -> Read<MeterMpxns> {
    Ok(MeterMpxns {
        import_mpxn: of.text("ImportMPxN")?,
        secondary_import_mpan: of.text_if("SecondaryImportMPAN")?,
        export_mpan: of.text_if("ExportMPAN")?,
    })
}

fn quarantined(of: &mut Fields<'_, '_>, unknown: &mut Vec<UnknownElement>) -> Read<Alert> {
    for breach in Breach::ALL {
        let Some(element) = of.take(breach.as_str())? else { continue };
        return inside(element, unknown, |of, _| {
            Ok(Alert::QuarantinedRequest {
                request_id: of.value("RequestID")?,
                quarantine_event_ref: of.collapsed("QuarantineEventRef")?,
                breach: *breach,
            })
        });
    }
    Err(content("QuarantinedRequest names no breach of the schema"))
}

fn withheld(of: &mut Fields<'_, '_>, unknown: &mut Vec<UnknownElement>) -> Read<Withheld> {
    if let Some(alert) = of.take("DCCAlertVersionMismatch")? {
        return inside(alert, unknown, |of, _| {
            Ok(Withheld::Alert {
                alert_code: of.text("DCCAlertCode")?,
                device: of.value_if("DeviceID")?,
                request_id: of.value_if("RequestID")?,
            })
        });
    }
    inside(of.need("ServiceResponseVersionMismatch")?, unknown, |of, _| {
        Ok(Withheld::Response {
            request_id: of.value("RequestID")?,
            service_reference: of.text("ServiceReference")?,
            service_reference_variant: of.text("ServiceReferenceVariant")?,
            request_version: of.text("ServiceRequestDUISVersion")?,
        })
    })
}
