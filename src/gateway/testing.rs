//! What the tests of this room share: a signer made on the spot, responses it signs, the samples of the shared folder.

use std::path::PathBuf;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{
    clock::{Clock, Time},
    duis::{
        Alert, Body, Certificate, CertificateSet, Content, DuisVersion, FileSigner, Pinned, Response, Smets1FirmwareStatus,
        Throttled, write_response,
    },
    ids::{DeviceId, Eui, RequestId, Sha256Hash},
};

/// When the tests take place: the samples' certificates are valid.
pub fn now() -> Time {
    "2026-11-24T12:00:00Z".parse().unwrap()
}

pub fn clock() -> Clock {
    Clock::manual(now())
}

pub fn us() -> Eui {
    "90-B3-D5-1F-30-01-00-00".parse().unwrap()
}

pub fn id(counter: u64) -> RequestId {
    RequestId { originator: us(), target: dcc(), counter }
}

fn dcc() -> Eui {
    "90-B3-D5-1F-30-00-00-02".parse().unwrap()
}

/// A DCC of our own making: its signer, and the set that pins it.
pub fn dcc_signer() -> (FileSigner, Pinned) {
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
    let certificate = Certificate {
        issuer: "CN=Z1,OU=07".into(),
        serial: "7".into(),
        public_key: key.public_key().as_ref().to_vec(),
        not_before: Time(0),
        // Longer than any simulation.
        not_after: now().plus_millis(1_000 * 86_400_000),
        subject_eui: None,
    };
    let encoded = STANDARD.encode(pkcs8.as_ref());
    let lines: Vec<&str> = encoded.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
    let signer = FileSigner::from_pem(pem.as_bytes(), certificate.clone()).unwrap();
    (signer, Pinned::new(CertificateSet(vec![certificate])))
}

/// An acknowledgement of our request number `counter`.
pub fn acknowledgement(counter: u64, code: &str) -> Response {
    Response {
        schema_version: "3.1".into(),
        request_id: Some(id(counter)),
        response_id: None,
        code: code.into(),
        at: now(),
        body: Body::Message {
            service_reference: "11.1".into(),
            service_reference_variant: "11.1".into(),
            content: Content::None,
        },
    }
}

/// DCC's alert number `n`: the device `n` is activated.
pub fn alert(n: u64) -> Response {
    Response {
        schema_version: "3.1".into(),
        request_id: None,
        response_id: Some(RequestId { originator: dcc(), target: us(), counter: n }),
        code: "I0".into(),
        at: now(),
        body: Body::Alert {
            alert_code: "N57".into(),
            throttled: Throttled::default(),
            alert: Alert::Smets1FirmwareNotification {
                device: DeviceId::from_db(n as i64),
                firmware_version: "00000001".into(),
                status: Smets1FirmwareStatus::ActivationSuccessful,
            },
            unknown: Vec::new(),
        },
    }
}

pub fn signed(response: &Response, signer: &FileSigner) -> Vec<u8> {
    write_response(response, signer).unwrap().bytes
}

pub fn digest(byte: u8) -> Sha256Hash {
    crate::ids::ImageId([byte; 32])
}

pub fn version() -> DuisVersion {
    DuisVersion { major: 3, minor: 1 }
}

/// A sample of the shared folder with the certificates DCC has signed under, or `None`, said loudly.
pub fn sample(name: &str) -> Option<(Vec<u8>, Pinned)> {
    let root = std::env::var_os("PPMID_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared")), PathBuf::from);
    let folder = root.join("duis");
    if !folder.is_dir() {
        eprintln!("SKIPPED: {} is missing; set PPMID_SHARED to the folder of shared material", folder.display());
        return None;
    }
    let certificates = ["Z1-accessControlBroker-dSPXmlSign.pem", "dsp-xml-sign-90B3D51F30000002-ds.pem"];
    let set = CertificateSet::from_pem_files(&certificates.map(|c| folder.join("certs").join(c))).unwrap();
    Some((std::fs::read(folder.join("samples").join(name)).unwrap(), Pinned::new(set)))
}
