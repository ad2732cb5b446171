//! Random alerts of every kind.

use proptest::{collection::vec, option, prelude::*, sample::select};

use super::{device_type, devices, eui, free_text, hex_code, request_id, time, unknown, version, words};
use crate::duis::*;

fn mpxns() -> impl Strategy<Value = MeterMpxns> {
    ("[0-9]{1,13}", option::of("[0-9]{13}"), option::of("[0-9]{13}")).prop_map(
        |(import_mpxn, secondary_import_mpan, export_mpan)| MeterMpxns { import_mpxn, secondary_import_mpan, export_mpan },
    )
}

fn status_change() -> impl Strategy<Value = DeviceStatusChange> {
    use DeviceStatusChange as C;
    let certificates = || words(&["DigitalSigning", "KeyAgreement"]);
    prop_oneof![
        (mpxns(), option::of(words(&["A", "CDE"]))).prop_map(|(mpxns, esme_variant)| C::MeterIdentity { mpxns, esme_variant }),
        (mpxns(), vec((eui(), device_type()), 0..8))
            .prop_map(|(mpxns, associated)| C::MeterDecommissioningOrWithdrawal { mpxns, associated }),
        Just(C::DeviceRemovedFromInventory),
        Just(C::ChfDecommissioning),
        Just(C::DeviceSuspended),
        Just(C::DeviceRestored),
        (vec(certificates(), 1..4), vec(certificates(), 0..3))
            .prop_map(|(supplier, network_operator)| C::RecoveryCompleteAcbCredentials { supplier, network_operator }),
        Just(C::RecoveryComplete),
    ]
}

/// Alerts about firmware.
pub fn firmware_alert() -> impl Strategy<Value = Alert> {
    let results = select(FirmwareTransferResult::ALL);
    let statuses = select(Smets1FirmwareStatus::ALL);
    prop_oneof![
        (eui(), version(), statuses).prop_map(|(device, firmware_version, status)| Alert::Smets1FirmwareNotification {
            device,
            firmware_version,
            status
        }),
        (option::of(request_id()), option::of(eui()), free_text(), option::of(free_text()), time()).prop_map(
            |(request_id, device, code, information, at)| Alert::S1spAlert { request_id, device, code, information, at }
        ),
        (eui(), hex_code(), version(), any::<bool>(), option::of(time())).prop_map(
            |(device, device_alert_code, firmware_version, success, at)| Alert::PpmidFirmwareUpgrade {
                device,
                device_alert_code,
                firmware_version,
                success,
                at
            }
        ),
        (request_id(), devices()).prop_map(|(request_id, devices)| Alert::FirmwareDistributionFailure { request_id, devices }),
        (request_id(), eui(), eui(), version(), time(), any::<bool>()).prop_map(
            |(request_id, comms_hub, device, firmware_version, at, success)| Alert::CspFirmwareDeliveryStatus {
                request_id,
                comms_hub,
                device,
                firmware_version,
                at,
                success
            }
        ),
        (eui(), hex_code(), option::of(time()), option::of(request_id()), eui(), version(), results).prop_map(
            |(comms_hub, alert_code, at, request_id, device, firmware_version, result)| Alert::FirmwareTransfer {
                comms_hub,
                alert_code,
                at,
                request_id,
                device,
                firmware_version,
                result
            }
        ),
        (eui(), device_type(), version(), version()).prop_map(
            |(device, device_type, version_in_inventory, version_on_device)| Alert::FirmwareVersionMismatch {
                device,
                device_type,
                version_in_inventory,
                version_on_device
            }
        ),
        (device_type(), version(), devices()).prop_map(|(device_type, firmware_version, devices)| {
            Alert::FirmwareUpgradeRequested { device_type, firmware_version, devices }
        }),
    ]
}

/// Alerts about the estate and about requests.
pub fn other_alert() -> impl Strategy<Value = Alert> {
    let withheld =
        prop_oneof![
            (free_text(), option::of(eui()), option::of(request_id()))
                .prop_map(|(alert_code, device, request_id)| Withheld::Alert { alert_code, device, request_id }),
            (request_id(), free_text(), free_text(), free_text()).prop_map(
                |(request_id, service_reference, service_reference_variant, request_version)| Withheld::Response {
                    request_id,
                    service_reference,
                    service_reference_variant,
                    request_version
                }
            ),
        ];
    let change_of_supplier = prop_oneof![
        (request_id(), option::of("[A-Z0-9]{3}"))
            .prop_map(|(request_id, ecos_error_code)| ChangeOfSupplier::Request { request_id, ecos_error_code }),
        (eui(), device_type(), mpxns()).prop_map(|(device, device_type, mpxns)| ChangeOfSupplier::Device {
            device,
            device_type,
            mpxns
        }),
    ];
    prop_oneof![
        (eui(), hex_code(), option::of(time())).prop_map(|(device, device_alert_code, at)| Alert::Ppmid {
            device,
            device_alert_code,
            at
        }),
        (eui(), hex_code(), option::of(time())).prop_map(|(comms_hub, alert_code, at)| Alert::CommsHub {
            comms_hub,
            alert_code,
            at
        }),
        change_of_supplier.prop_map(Alert::ChangeOfSupplier),
        (eui(), status_change()).prop_map(|(device, change)| Alert::DeviceStatusChange { device, change }),
        (eui(), eui()).prop_map(|(device, comms_hub)| Alert::PpmidRemoval { device, comms_hub }),
        (request_id(), any::<u64>(), select(Breach::ALL)).prop_map(|(request_id, n, breach)| Alert::QuarantinedRequest {
            request_id,
            quarantine_event_ref: n.to_string(),
            breach
        }),
        (withheld, free_text()).prop_map(|(withheld, our_version)| Alert::DuisVersionMismatch { withheld, our_version }),
        (request_id(), eui()).prop_map(|(request_id, device)| Alert::CommandFailure { request_id, device }),
        ("[0-9]{1,13}", eui()).prop_map(|(mpxn, hub)| {
            let inside = format!(
                "<sr:CommsHubDeviceID>{hub}</sr:CommsHubDeviceID><sr:StartDateTime>2026-11-24T12:00:00Z</sr:StartDateTime>\
                 <sr:MPxN>{mpxn}</sr:MPxN>"
            );
            Alert::Other(unknown("PowerOutageEvent", &inside))
        }),
    ]
}
