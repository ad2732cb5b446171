//! Random messages for the tests of this room: any request and any Response this program can write, each valid by the schema.
//! Texts hold what needs escapes; values of closed lists are drawn from the schema's.

use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;
use crate::{
    clock::Time,
    ids::{DeviceId, Eui, RequestId},
};

pub fn eui() -> impl Strategy<Value = Eui> + Clone {
    any::<u64>().prop_map(Eui)
}

pub fn request_id() -> impl Strategy<Value = RequestId> + Clone {
    (eui(), eui(), any::<u64>()).prop_map(|(originator, target, counter)| RequestId { originator, target, counter })
}

fn time() -> impl Strategy<Value = Time> {
    (0i64..4_000_000_000_000).prop_map(Time)
}

/// 1 to 8 characters, with those that need escapes.
fn version() -> impl Strategy<Value = String> {
    "[0-9A-Za-z&<>\"' é]{1,8}"
}

fn free_text() -> impl Strategy<Value = String> {
    "[ -~\t\n\ré€𝄞]{0,40}"
}

fn hex_code() -> impl Strategy<Value = String> {
    "[0-9A-F]{4}"
}

fn words(list: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(list).prop_map(str::to_owned)
}

fn device_type() -> impl Strategy<Value = String> {
    words(&["ESME", "GSME", "GPF", "CHF", "HCALCS", "PPMID", "IHD", "CAD"])
}

fn devices() -> impl Strategy<Value = Vec<DeviceId>> {
    vec(eui(), 1..4)
}

fn throttled() -> impl Strategy<Value = Throttled> {
    (option::of(any::<u32>()), option::of(any::<u32>())).prop_map(|(sequence_id, count)| Throttled { sequence_id, count })
}

/// An element as exclusive canonical XML has it; `inside` is canonical already.
pub fn unknown(name: &str, inside: &str) -> UnknownElement {
    UnknownElement { name: name.into(), xml: format!("<sr:{name} xmlns:sr=\"{SR}\">{inside}</sr:{name}>") }
}

fn warning() -> impl Strategy<Value = UpdateFirmwareWarning> {
    let list = || vec(eui(), 0..4);
    [list(), list(), list(), list(), list()].prop_map(|[a, b, c, d, e]| UpdateFirmwareWarning {
        invalid: a,
        not_commissioned: b,
        not_applicable_firmware: c,
        other_request_in_progress: d,
        invalid_gbcs_version: e,
    })
}

fn inventory_device() -> impl Strategy<Value = InventoryDevice> {
    let statuses = words(&["Active", "Cancelled", "Expired", "Withdrawn"]);
    let of_device = (
        eui(),
        device_type(),
        option::of(words(&["Pending", "Whitelisted", "InstalledNotCommissioned", "Commissioned", "Suspended", "Recovered"])),
        "[ -~é]{0,30}",
        "[ -~é]{0,30}",
        option::of("[A-Z .0-9]{1,20}"),
        option::of(version()),
        option::of(statuses),
        option::of(words(&["2025-12-28Z", "2020-02-29", "2019-01-01+01:00"])),
    );
    let of_site = (
        option::of("[0-9]{1,13}"),
        option::of("[0-9]{13}"),
        option::of("[0-9]{13}"),
        option::of(words(&["A", "BD", "ADEF", "AEG"])),
        option::of("[1-9][0-9]{0,11}"),
        option::of(("[A-Z0-9 ]{6,8}", "[ -~é]{0,30}")),
    );
    let of_network = (
        option::of(words(&["North", "4G Central", "Unknown", "SMETS1"])),
        option::of(free_text()),
        option::of(free_text()),
        option::of(free_text()),
        option::of(words(&["Cellular", "Virtual"])),
        option::of(words(&["Active", "Cancelled", "Expired", "Withdrawn"])),
    );
    (of_device, of_site, of_network).prop_map(|(d, s, n)| InventoryDevice {
        device_id: d.0,
        device_type: d.1,
        device_status: d.2,
        manufacturer: d.3,
        model: d.4,
        smets_chts_version: d.5,
        firmware_version: d.6,
        firmware_version_status: d.7,
        cpl_status: n.5,
        date_commissioned: d.8,
        import_mpxn: s.0,
        secondary_import_mpan: s.1,
        export_mpan: s.2,
        esme_variant: s.3,
        uprn: s.4,
        property_filter: s.5.map(|(post_code, address_identifier)| PropertyFilter { post_code, address_identifier }),
        csp_region: n.0,
        gbcs_version: n.1,
        han_variant: n.2,
        s1sp: n.3,
        connectivity: n.4,
    })
}

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
fn firmware_alert() -> impl Strategy<Value = Alert> {
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
fn other_alert() -> impl Strategy<Value = Alert> {
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

/// A `DSPScheduleID` is the one element that the schema allows after a known alert and that has no field.
fn alert() -> impl Strategy<Value = (Alert, Vec<UnknownElement>)> {
    (prop_oneof![firmware_alert(), other_alert()], 0..1_000u32).prop_map(|(alert, n)| {
        let has_more = n % 2 == 0 && matches!(alert, Alert::S1spAlert { .. });
        let unknown = has_more.then(|| unknown("DSPScheduleID", &n.to_string())).into_iter().collect();
        (alert, unknown)
    })
}

fn smets1() -> impl Strategy<Value = Smets1Response> {
    let other = "[ -~é]{0,40}".prop_map(|text: String| {
        let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let inside = format!(
            "<ra:DeviceAlertContent xmlns:ra=\"{RA}\"><ra:GBCSHexAlertCode>8F72</ra:GBCSHexAlertCode>\
             <ra:AlertDescription>{escaped}</ra:AlertDescription><ra:Timestamp>2026-11-24T12:00:00Z</ra:Timestamp>\
             </ra:DeviceAlertContent>"
        );
        Smets1Content::Other(unknown("DeviceAlertMessage", &inside))
    });
    let content = prop_oneof![
        (option::of(any::<bool>()), option::of(free_text()))
            .prop_map(|(success, firmware_version)| Smets1Content::FirmwareVersion { success, firmware_version }),
        other,
    ];
    let reference = || option::of(Just("11.2".to_owned()));
    (reference(), reference(), throttled(), eui(), eui(), any::<u64>(), content).prop_map(
        |(service_reference, service_reference_variant, throttled, device, target, counter, content)| Smets1Response {
            service_reference,
            service_reference_variant,
            throttled,
            device,
            target,
            counter,
            content,
        },
    )
}

fn content() -> impl Strategy<Value = (&'static str, Content)> {
    prop_oneof![
        select(&["8.2", "11.1", "11.2", "11.4"]).prop_map(|reference| (reference, Content::None)),
        (select(&["11.1", "11.4"]), warning())
            .prop_map(|(reference, warning)| (reference, Content::UpdateFirmwareWarning(warning))),
        vec(inventory_device(), 1..=MAX_INVENTORY_DEVICES).prop_map(|devices| ("8.2", Content::Inventory(devices))),
        vec(any::<u8>(), 0..100).prop_map(|bytes| ("11.2", Content::GbcsPayload(bytes))),
        (0..1_000u32).prop_map(|n| ("5.1", Content::Other(unknown("DSPScheduleID", &n.to_string())))),
    ]
}

/// Any Response this room can write.
pub fn response() -> impl Strategy<Value = Response> {
    let alert_codes = words(&["AD1", "N1", "N55", "N57", "N999"]);
    let body = prop_oneof![
        2 => content().prop_map(|(reference, content)| Body::Message {
            service_reference: reference.into(),
            service_reference_variant: reference.into(),
            content,
        }),
        5 => (alert_codes, throttled(), alert())
            .prop_map(|(alert_code, throttled, (alert, unknown))| Body::Alert { alert_code, throttled, alert, unknown }),
        1 => (hex_code(), throttled(), vec(any::<u8>(), 0..100))
            .prop_map(|(alert_code, throttled, gbcs_payload)| Body::DeviceAlert { alert_code, throttled, gbcs_payload }),
        1 => smets1().prop_map(Body::Smets1),
    ];
    let codes = words(&["I0", "I99", "E4", "E1004", "W110101", "W110401"]);
    let versions = words(&["3.0", "3.1", "5.4"]);
    (versions, option::of(request_id()), option::of(request_id()), codes, time(), body).prop_map(
        |(schema_version, request_id, response_id, code, at, body)| Response {
            schema_version,
            request_id,
            response_id,
            code,
            at,
            body,
        },
    )
}

/// The parts of any request.
#[derive(Debug, Clone)]
pub struct OwnedRequest {
    pub id: RequestId,
    pub duis_version: DuisVersion,
    pub kind: RequestKind,
    /// Of an 8.2.
    pub device: DeviceId,
    pub image: Vec<u8>,
    pub firmware_version: String,
    pub devices: Vec<DeviceId>,
}

impl OwnedRequest {
    /// The plainest 11.1.
    pub fn update_firmware() -> OwnedRequest {
        OwnedRequest {
            id: "90-B3-D5-1F-30-01-00-00:90-B3-D5-1F-30-00-00-02:1000".parse().unwrap(),
            duis_version: DuisVersion { major: 3, minor: 1 },
            kind: RequestKind::UpdateFirmware,
            device: Eui(1),
            image: vec![1; 10],
            firmware_version: "00000001".into(),
            devices: vec![Eui(1)],
        }
    }

    pub fn as_request(&self) -> ServiceRequest<'_> {
        let firmware = Firmware { image: &self.image, firmware_version: &self.firmware_version, devices: &self.devices };
        let asks = match self.kind {
            RequestKind::ReadInventory => Asks::ReadInventory { device: self.device },
            RequestKind::UpdateFirmware => Asks::UpdateFirmware(firmware),
            RequestKind::ReadFirmwareVersion => Asks::ReadFirmwareVersion,
            RequestKind::UpdatePpmidFirmware => Asks::UpdatePpmidFirmware(firmware),
        };
        ServiceRequest { id: self.id, duis_version: self.duis_version, asks }
    }

    /// What its receiver must read.
    pub fn body(&self) -> RequestBody {
        let OwnedRequest { image, firmware_version, devices, .. } = self.clone();
        let firmware = FirmwareUpdate { image, firmware_version, devices };
        match self.kind {
            RequestKind::ReadInventory => RequestBody::ReadInventory { device: self.device },
            RequestKind::UpdateFirmware => RequestBody::UpdateFirmware(firmware),
            RequestKind::ReadFirmwareVersion => RequestBody::ReadFirmwareVersion,
            RequestKind::UpdatePpmidFirmware => RequestBody::UpdatePpmidFirmware(firmware),
        }
    }
}

/// Any request this room can write, in any version that has it.
pub fn request() -> impl Strategy<Value = OwnedRequest> {
    let distinct = prop::collection::hash_set(eui(), 1..400).prop_map(|set| set.into_iter().collect());
    let kinds = select(&RequestKind::ALL).prop_flat_map(|kind| {
        let versions: Vec<DuisVersion> = DuisVersion::KNOWN.into_iter().filter(|v| *v >= kind.since()).collect();
        (Just(kind), select(versions))
    });
    (kinds, request_id(), eui(), vec(any::<u8>(), 1..10_000), version(), distinct).prop_map(
        |((kind, duis_version), id, device, image, firmware_version, devices)| OwnedRequest {
            id,
            duis_version,
            kind,
            device,
            image,
            firmware_version,
            devices,
        },
    )
}
