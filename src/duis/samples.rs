//! What the tests of this room share: the files of the shared folder, a signer made on the spot. Random messages are in
//! [`super::random`].

use std::path::PathBuf;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::*;
use crate::clock::Time;

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
