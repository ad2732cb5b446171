//! Random messages for the tests of this room: any request and any Response this program can write, each valid by the schema.
//! Texts hold what needs escapes; values of closed lists are drawn from the schema's.

use proptest::{collection::vec, option, prelude::*, sample::select};

mod alert;
mod inventory;

pub use inventory::inventory_device_of;

use self::{
    alert::{firmware_alert, other_alert},
    inventory::inventory_device,
};
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
        vec(inventory_device().boxed(), 1..=MAX_INVENTORY_DEVICES).prop_map(|devices| ("8.2", Content::Inventory(devices))),
        vec(any::<u8>(), 0..100).prop_map(|bytes| ("11.2", Content::GbcsPayload(bytes))),
        (0..1_000u32).prop_map(|n| ("5.1", Content::Other(unknown("DSPScheduleID", &n.to_string())))),
    ]
}

/// Any Response this room can write.
pub fn response() -> BoxedStrategy<Response> {
    let alert_codes = words(&["AD1", "N1", "N55", "N57", "N999"]);
    let body = prop_oneof![
        2 => content().boxed().prop_map(|(reference, content)| Body::Message {
            service_reference: reference.into(),
            service_reference_variant: reference.into(),
            content,
        }),
        5 => (alert_codes, throttled(), prop_oneof![firmware_alert().boxed(), other_alert().boxed()]).prop_map(
            |(alert_code, throttled, alert)| Body::Alert { alert_code, throttled, alert, unknown: Vec::new() },
        ),
        1 => (hex_code(), throttled(), vec(any::<u8>(), 0..100))
            .prop_map(|(alert_code, throttled, gbcs_payload)| Body::DeviceAlert { alert_code, throttled, gbcs_payload }),
        1 => smets1().boxed().prop_map(Body::Smets1),
    ];
    let codes = words(&["I0", "I99", "E4", "E1004", "W110101", "W110401"]);
    let versions = words(&["3.0", "3.1", "5.4"]);
    (versions, option::of(request_id()), option::of(request_id()), codes, time(), body)
        .prop_map(|(schema_version, request_id, response_id, code, at, body)| Response {
            schema_version,
            request_id,
            response_id,
            code,
            at,
            body,
        })
        .boxed()
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
pub fn request() -> BoxedStrategy<OwnedRequest> {
    let distinct = prop::collection::hash_set(eui(), 1..400).prop_map(|set| set.into_iter().collect());
    let kinds = select(&RequestKind::ALL).prop_flat_map(|kind| {
        let versions: Vec<DuisVersion> = DuisVersion::KNOWN.into_iter().filter(|v| *v >= kind.since()).collect();
        (Just(kind), select(versions))
    });
    (kinds, request_id(), eui(), vec(any::<u8>(), 1..10_000), version(), distinct)
        .prop_map(|((kind, duis_version), id, device, image, firmware_version, devices)| OwnedRequest {
            id,
            duis_version,
            kind,
            device,
            image,
            firmware_version,
            devices,
        })
        .boxed()
}
