//! Writes the alert inside a `DCCAlert`, each element in the schema's order.

use super::{BuildError, smets1::s1sp_alert};
use crate::{
    clock::Time,
    duis::{Alert, ChangeOfSupplier, DeviceStatusChange, MeterMpxns, Signer, UnknownElement, Withheld, seal::Writer},
    ids::DeviceId,
};

/// `unknown` elements are not written: where in the alert they stood is not kept.
pub(super) fn alert(w: &mut Writer, alert: &Alert, unknown: &[UnknownElement], schema_version: &str, signer: &dyn Signer) {
    if let Some(element) = unknown.first() {
        w.fail(BuildError::Unwritable(format!("{}/{}", alert.element(), element.name)));
    }
    if let Alert::Other(whole) = alert {
        return w.kept(whole);
    }
    w.element(alert.element(), |w| match alert {
        Alert::S1spAlert { .. } => s1sp_alert(w, alert, schema_version, signer),
        of_dcc => fields(w, of_dcc),
    });
}

fn fields(w: &mut Writer, alert: &Alert) {
    match alert {
        Alert::Smets1FirmwareNotification { device, firmware_version, status } => {
            w.leaf("DeviceID", device);
            w.leaf("FirmwareVersion", firmware_version);
            w.leaf("FirmwareVersionUpdateStatus", status);
        }
        Alert::Ppmid { device, device_alert_code, at } => ppmid(w, *device, device_alert_code, *at),
        Alert::PpmidFirmwareUpgrade { device, device_alert_code, firmware_version, success, at } => {
            ppmid(w, *device, device_alert_code, *at);
            w.element("PPMIDFirmwareUpgradeAlert", |w| {
                w.leaf("FirmwareVersion", firmware_version);
                w.leaf("ActivateImageResultCode", if *success { "ActivationSuccess" } else { "ActivationFailure" });
            });
        }
        Alert::FirmwareDistributionFailure { request_id, devices } => {
            w.leaf("UpdateFirmwareRequestID", request_id);
            w.devices("MeterIDs", devices);
        }
        Alert::CspFirmwareDeliveryStatus { request_id, comms_hub, device, firmware_version, at, success } => {
            w.leaf("UpdateFirmwareRequestID", request_id);
            w.leaf("CommsHubDeviceID", comms_hub);
            w.leaf("TargetDeviceID", device);
            w.leaf("FirmwareVersion", firmware_version);
            w.leaf("TimeStamp", at);
            w.leaf("CommsHubTransferStatus", if *success { "Success" } else { "Failure" });
        }
        Alert::CommsHub { comms_hub, alert_code, at } => comms_hub_alert(w, *comms_hub, alert_code, *at),
        Alert::FirmwareTransfer { comms_hub, alert_code, at, request_id, device, firmware_version, result } => {
            comms_hub_alert(w, *comms_hub, alert_code, *at);
            w.element("FirmwareTransferAlert", |w| {
                w.leaf_if("UpdateFirmwareRequestID", *request_id);
                w.leaf("OtherDeviceID", device);
                w.leaf("FirmwareVersion", firmware_version);
                w.leaf("TransferResponseCode", result);
            });
        }
        Alert::FirmwareVersionMismatch { device, device_type, version_in_inventory, version_on_device } => {
            w.leaf("DeviceID", device);
            w.leaf("DeviceType", device_type);
            w.leaf("FirmwareVersionSMI", version_in_inventory);
            w.leaf("FirmwareVersionDevice", version_on_device);
        }
        Alert::ChangeOfSupplier(change) => change_of_supplier(w, change),
        Alert::DeviceStatusChange { device, change } => {
            w.leaf("DeviceID", device);
            w.element("DeviceStatusChange", |w| status_change(w, change));
        }
        Alert::PpmidRemoval { device, comms_hub } => {
            w.leaf("PPMIDDeviceID", device);
            w.leaf("CHFDeviceID", comms_hub);
        }
        Alert::QuarantinedRequest { request_id, quarantine_event_ref, breach } => w.element(breach.as_str(), |w| {
            w.leaf("RequestID", request_id);
            w.leaf("QuarantineEventRef", quarantine_event_ref);
        }),
        Alert::DuisVersionMismatch { withheld: what, our_version } => {
            withheld(w, what);
            w.leaf("ServiceUserDUISVersion", our_version);
        }
        Alert::CommandFailure { request_id, device } => {
            w.leaf("CommandRequestID", request_id);
            w.leaf("DeviceID", device);
        }
        Alert::FirmwareUpgradeRequested { device_type, firmware_version, devices } => {
            w.leaf("DeviceType", device_type);
            w.leaf("FirmwareVersion", firmware_version);
            w.devices("DeviceList", devices);
        }
        Alert::S1spAlert { .. } | Alert::Other(_) => unreachable!("written whole, by the caller"),
    }
}

fn ppmid(w: &mut Writer, device: DeviceId, code: &str, at: Option<Time>) {
    w.leaf("DeviceID", device);
    w.leaf("DeviceAlertCode", code);
    w.leaf_if("Timestamp", at);
}

fn comms_hub_alert(w: &mut Writer, comms_hub: DeviceId, code: &str, at: Option<Time>) {
    w.leaf("CommsHubDeviceID", comms_hub);
    w.leaf("AlertCode", code);
    w.leaf_if("TimeStamp", at);
}

fn change_of_supplier(w: &mut Writer, change: &ChangeOfSupplier) {
    match change {
        ChangeOfSupplier::Request { request_id, ecos_error_code } => {
            w.leaf("ChangeOfSupplierServiceRequestID", request_id);
            w.leaf_if("ECoSErrorCode", ecos_error_code.as_ref());
        }
        ChangeOfSupplier::Device { device, device_type, mpxns } => w.element("DeviceChangeOfSupplier", |w| {
            w.leaf("DeviceID", device);
            w.leaf("DeviceType", device_type);
            w.element("MPxNs", |w| meter_mpxns(w, mpxns));
        }),
    }
}

fn status_change(w: &mut Writer, change: &DeviceStatusChange) {
    use DeviceStatusChange as C;
    if let C::Other(whole) = change {
        return w.kept(whole);
    }
    w.element(change.element(), |w| match change {
        C::MeterIdentity { mpxns, esme_variant } => {
            w.element("MeterMPxNs", |w| meter_mpxns(w, mpxns));
            w.leaf_if("ESMEVariant", esme_variant.as_ref());
        }
        C::MeterDecommissioningOrWithdrawal { mpxns, associated } => {
            w.element("MeterDecommissionOrWithdrawal", |w| meter_mpxns(w, mpxns));
            for (device, device_type) in associated {
                w.element("AssociatedType1Device", |w| {
                    w.leaf("DeviceID", device);
                    w.leaf("DeviceType", device_type);
                });
            }
        }
        C::RecoveryCompleteAcbCredentials { supplier, network_operator } => {
            supplier.iter().for_each(|kind| w.leaf("SupplierCertificateType", kind));
            network_operator.iter().for_each(|kind| w.leaf("NetworkOperatorCertificateType", kind));
        }
        C::DeviceRemovedFromInventory | C::ChfDecommissioning | C::DeviceSuspended | C::DeviceRestored | C::RecoveryComplete => {}
        C::Other(_) => unreachable!("written whole, above"),
    });
}

fn meter_mpxns(w: &mut Writer, mpxns: &MeterMpxns) {
    w.leaf("ImportMPxN", &mpxns.import_mpxn);
    w.leaf_if("SecondaryImportMPAN", mpxns.secondary_import_mpan.as_ref());
    w.leaf_if("ExportMPAN", mpxns.export_mpan.as_ref());
}

fn withheld(w: &mut Writer, what: &Withheld) {
    match what {
        Withheld::Alert { alert_code, device, request_id } => w.element("DCCAlertVersionMismatch", |w| {
            w.leaf("DCCAlertCode", alert_code);
            w.leaf_if("DeviceID", *device);
            w.leaf_if("RequestID", *request_id);
        }),
        Withheld::Response { request_id, service_reference, service_reference_variant, request_version } => {
            w.element("ServiceResponseVersionMismatch", |w| {
                w.leaf("RequestID", request_id);
                w.leaf("ServiceReference", service_reference);
                w.leaf("ServiceReferenceVariant", service_reference_variant);
                w.leaf("ServiceRequestDUISVersion", request_version);
            });
        }
    }
}
