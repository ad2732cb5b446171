//! What the tests of this room share: the files of the shared folder, a signer made on the spot, random messages.

use std::path::PathBuf;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::{
    clock::Time,
    ids::{DeviceId, Eui, RequestId},
};

/// A folder of the shared DUIS material, or `None`, said loudly.
pub fn shared(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("PPMID_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared")), PathBuf::from);
    let folder = root.join("duis").join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: {} is missing; set PPMID_SHARED to the folder of shared material", folder.display());
    None
}

pub fn sample(name: &str) -> Option<Vec<u8>> {
    Some(std::fs::read(shared("samples")?.join(name)).unwrap())
}

fn set(names: &[&str]) -> CertificateSet {
    let folder = shared("certs").expect("asked for after a sample was found");
    CertificateSet::from_pem_files(&names.iter().map(|n| folder.join(n)).collect::<Vec<_>>()).unwrap()
}

/// The three certificates under which DCC has signed.
pub fn dcc_set() -> CertificateSet {
    set(&[
        "Z1-accessControlBroker-dSPXmlSign.pem",
        "dsp-xml-sign-90B3D51F30000002-ds-pre-1.4.1.pem",
        "dsp-xml-sign-90B3D51F30000002-ds.pem",
    ])
}

pub fn supplier_set() -> CertificateSet {
    set(&["xml-sign-90B3D51F30010000-ds.pem"])
}

/// When the samples' certificates are valid.
pub fn sample_time() -> Time {
    "2026-11-24T12:00:00Z".parse().unwrap()
}

/// A P-256 key made on the spot, as PKCS#8 PEM.
pub fn fresh_key_pem() -> String {
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    pem("PRIVATE KEY", pkcs8.as_ref())
}

/// A fresh key with a certificate record of the given serial, and the SPKI PEM of its public key.
pub fn signer(serial: &str) -> (FileSigner, String) {
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
    let public_key = key.public_key().as_ref().to_vec();
    let certificate = Certificate {
        issuer: "CN=Z1,OU=07".into(),
        serial: serial.into(),
        public_key: public_key.clone(),
        not_before: Time(0),
        not_after: sample_time().plus_millis(1_000_000_000),
        subject_eui: None,
    };
    let signer = FileSigner::from_pem(pem("PRIVATE KEY", pkcs8.as_ref()).as_bytes(), certificate).unwrap();
    (signer, spki_pem(&public_key))
}

/// The PEM of a P-256 point as OpenSSL reads it.
pub fn spki_pem(point: &[u8]) -> String {
    /// SubjectPublicKeyInfo of a P-256 key up to the point itself (RFC 5480).
    const SPKI_HEAD: [u8; 26] = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d,
        0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ];
    pem("PUBLIC KEY", &[SPKI_HEAD.as_slice(), point].concat())
}

pub fn pinned(signer: &FileSigner) -> CertificateSet {
    CertificateSet(vec![signer.certificate().clone()])
}

pub fn pem(label: &str, der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let lines: Vec<&str> = encoded.as_bytes().chunks(64).map(|c| std::str::from_utf8(c).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// The plainest Response, with this code.
pub fn acknowledgement(code: &str) -> Response {
    Response {
        schema_version: "3.1".into(),
        request_id: Some("90-B3-D5-1F-30-01-00-00:90-B3-D5-1F-30-00-00-02:1000".parse().unwrap()),
        response_id: None,
        code: code.into(),
        at: sample_time(),
        body: Body::Message {
            service_reference: "11.1".into(),
            service_reference_variant: "11.1".into(),
            content: Content::None,
        },
    }
}

fn eui() -> impl Strategy<Value = Eui> {
    any::<u64>().prop_map(Eui)
}

fn request_id() -> impl Strategy<Value = RequestId> {
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

fn devices() -> impl Strategy<Value = Vec<DeviceId>> {
    vec(eui(), 0..4)
}

fn warning() -> impl Strategy<Value = UpdateFirmwareWarning> {
    [devices(), devices(), devices(), devices(), devices()].prop_map(|[a, b, c, d, e]| UpdateFirmwareWarning {
        invalid: a,
        not_commissioned: b,
        not_applicable_firmware: c,
        other_request_in_progress: d,
        invalid_gbcs_version: e,
    })
}

fn alert() -> impl Strategy<Value = Alert> {
    use FirmwareTransferResult as R;
    let results = prop::sample::select(vec![
        R::FileTransferSuccess,
        R::FirmwareImageDiscarded,
        R::HardwareVersionMismatch,
        R::FileTransferFailure,
    ]);
    let statuses = prop::sample::select(vec![Smets1FirmwareStatus::UpdateRequested, Smets1FirmwareStatus::ActivationSuccessful]);
    let changes =
        prop::sample::select(vec!["DeviceSuspended", "DeviceRestored", "DeviceRemovedFromInventory", "RecoveryComplete"]);
    let breaches = prop::sample::select(vec!["ADUserThresholdBreach", "ADDCCThresholdBreach", "ADAttributeLimitsBreach"]);
    prop_oneof![
        (eui(), version(), statuses).prop_map(|(device, firmware_version, status)| Alert::Smets1FirmwareNotification {
            device,
            firmware_version,
            status
        }),
        (option::of(request_id()), option::of(eui()), free_text(), option::of(free_text()), time()).prop_map(
            |(request_id, device, code, information, at)| Alert::S1spAlert { request_id, device, code, information, at }
        ),
        (eui(), version(), any::<bool>(), option::of(time())).prop_map(|(device, firmware_version, success, at)| {
            Alert::PpmidFirmwareUpgrade { device, firmware_version, success, at }
        }),
        eui().prop_map(|device| Alert::Ppmid { device }),
        (request_id(), vec(eui(), 1..4))
            .prop_map(|(request_id, devices)| Alert::FirmwareDistributionFailure { request_id, devices }),
        (request_id(), eui(), version(), any::<bool>()).prop_map(|(request_id, comms_hub, firmware_version, success)| {
            Alert::CspFirmwareDeliveryStatus { request_id, comms_hub, device: comms_hub, firmware_version, success }
        }),
        (option::of(request_id()), eui(), version(), results).prop_map(|(request_id, device, firmware_version, result)| {
            Alert::FirmwareTransfer { request_id, device, firmware_version, result }
        }),
        (eui(), version(), version()).prop_map(|(device, version_in_inventory, version_on_device)| {
            Alert::FirmwareVersionMismatch { device, version_in_inventory, version_on_device }
        }),
        eui().prop_map(|device| Alert::ChangeOfSupplier { device: Some(device) }),
        (eui(), changes).prop_map(|(device, change)| Alert::DeviceStatusChange { device, change: change.into() }),
        (eui(), eui()).prop_map(|(device, comms_hub)| Alert::PpmidRemoval { device, comms_hub }),
        (request_id(), any::<u64>(), breaches).prop_map(|(request_id, n, breach)| Alert::QuarantinedRequest {
            request_id,
            quarantine_event_ref: n.to_string(),
            breach: breach.into()
        }),
        (option::of(request_id()), option::of(eui())).prop_map(|(request_id, device)| Alert::DuisVersionMismatch {
            request_id,
            device,
            our_version: "3.1".into()
        }),
    ]
}

/// Any Response this room can write.
pub fn response() -> impl Strategy<Value = Response> {
    let body = prop_oneof![
        1 => Just(Body::Message { service_reference: "11.1".into(), service_reference_variant: "11.1".into(), content: Content::None }),
        1 => warning().prop_map(|w| Body::Message {
            service_reference: "11.1".into(),
            service_reference_variant: "11.1".into(),
            content: Content::UpdateFirmwareWarning(w),
        }),
        5 => (prop::sample::select(vec!["N1", "N55", "N57", "N999"]), option::of(any::<u32>()), alert())
            .prop_map(|(code, throttled_alert_count, alert)| Body::Alert { alert_code: code.into(), throttled_alert_count, alert, unknown: Vec::new() }),
    ];
    let codes = prop::sample::select(vec!["I0", "I99", "E4", "E1004", "W110101"]);
    let versions = prop::sample::select(vec!["3.0", "3.1", "5.4"]);
    (versions, option::of(request_id()), option::of(request_id()), codes, time(), body).prop_map(
        |(schema_version, request_id, response_id, code, at, body)| Response {
            schema_version: schema_version.into(),
            request_id,
            response_id,
            code: code.into(),
            at,
            body,
        },
    )
}

/// The parts of an 11.1 request.
#[derive(Debug, Clone)]
pub struct OwnedRequest {
    pub id: RequestId,
    pub image: Vec<u8>,
    pub firmware_version: String,
    pub devices: Vec<DeviceId>,
}

impl OwnedRequest {
    pub fn as_request(&self) -> UpdateFirmwareRequest<'_> {
        UpdateFirmwareRequest {
            id: self.id,
            duis_version: DuisVersion { major: 3, minor: 1 },
            image: &self.image,
            firmware_version: &self.firmware_version,
            devices: &self.devices,
        }
    }
}

pub fn request() -> impl Strategy<Value = OwnedRequest> {
    (request_id(), vec(any::<u8>(), 1..300), version(), vec(eui(), 1..6))
        .prop_map(|(id, image, firmware_version, devices)| OwnedRequest { id, image, firmware_version, devices })
}
