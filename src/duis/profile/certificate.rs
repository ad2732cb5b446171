//! One X.509 certificate of a signing key, read from PEM. It builds no chains and trusts no authority: a certificate counts
//! because an operator put its file into the configuration. Promise: one that is read holds a P-256 key that may sign.

use std::path::PathBuf;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use x509_cert::{
    der::{
        Any, Decode, Tag, Tagged,
        asn1::{BitString, ObjectIdentifier},
        pem,
    },
    ext::pkix::KeyUsage,
    spki::SubjectPublicKeyInfoOwned,
};

use crate::{clock::Time, failure::Failure, ids::Eui};

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const PRIME256V1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
/// Kinds of key that are met in certificates, for the message that refuses them.
const OTHER_KEYS: [(&str, &str); 5] = [
    ("1.2.840.113549.1.1.1", "RSA"),
    ("1.3.101.112", "Ed25519"),
    ("1.3.132.0.34", "ECDSA P-384"),
    ("1.3.132.0.35", "ECDSA P-521"),
    ("1.3.132.0.10", "ECDSA secp256k1"),
];
const X500_UNIQUE_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.45");
const PEM_BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const PEM_END: &str = "-----END CERTIFICATE-----";

/// A certificate of a P-256 signing key, as pinned in a file.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// RFC 2253, no space: `CN=Z1,OU=07`.
    pub issuer: String,
    /// Decimal, up to 160 bits (kept as text).
    pub serial: String,
    /// SEC1, uncompressed: 65 bytes.
    pub public_key: Vec<u8>,
    pub not_before: Time,
    pub not_after: Time,
    /// From the subject's x500UniqueIdentifier, where it has one.
    pub subject_eui: Option<Eui>,
}

#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("it is not a PEM certificate: {0}")]
    NotPem(String),
    #[error("its key is {0}, and an ECDSA P-256 key (prime256v1, uncompressed) is wanted")]
    KeyType(String),
    #[error("its key usage does not include digitalSignature")]
    KeyUsage,
    #[error("its serial number is negative")]
    Serial,
    #[error("it is the certificate of {found}, and that of {wanted} is wanted")]
    Holder { found: Eui, wanted: Eui },
    #[error("two certificates have the issuer {issuer}, the serial {serial} and different keys")]
    Ambiguous { issuer: String, serial: String },
    #[error("it holds our own signing key: what we signed would pass for DCC's")]
    OwnKey,
    #[error("the certificate file {} cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the certificate file {} cannot be used: {cause}", path.display())]
    InFile { path: PathBuf, cause: Box<CertificateError> },
}

impl CertificateError {
    fn help(&self) -> &'static str {
        match self {
            CertificateError::Read { .. } => "check the path in the configuration and that the file may be read",
            CertificateError::NotPem(_) | CertificateError::KeyType(_) | CertificateError::KeyUsage => {
                "give one or more PEM certificates (BEGIN CERTIFICATE) of ECDSA P-256 keys that may sign"
            }
            CertificateError::Serial => "ask whoever issued it for a certificate of RFC 5280",
            CertificateError::Holder { .. } => {
                "gateway.dcc_certificates must be those of gateway.dcc_id, gateway.signing_certificate that of organisation.user_id"
            }
            CertificateError::Ambiguous { .. } => "keep the one with which DCC signs",
            CertificateError::OwnKey => "take it out of gateway.dcc_certificates: only DCC's belong there",
            CertificateError::InFile { cause, .. } => cause.help(),
        }
    }
}

impl From<CertificateError> for Failure {
    fn from(error: CertificateError) -> Failure {
        Failure::failed(error.to_string()).help(error.help())
    }
}

impl Certificate {
    /// The one certificate of a PEM text.
    pub fn from_pem(pem: &[u8]) -> Result<Certificate, CertificateError> {
        let mut all = Certificate::all_from_pem(pem)?;
        match all.len() {
            1 => Ok(all.remove(0)),
            n => Err(CertificateError::NotPem(format!("it holds {n} certificates where one is wanted"))),
        }
    }

    /// Every certificate of a PEM text, at least one; text around them (`openssl x509 -text`) is skipped.
    pub fn all_from_pem(pem: &[u8]) -> Result<Vec<Certificate>, CertificateError> {
        let text = std::str::from_utf8(pem).map_err(|_| CertificateError::NotPem("it is not text".into()))?;
        let mut certificates = Vec::new();
        let mut rest = text;
        while let Some(begin) = rest.find(PEM_BEGIN) {
            let end = rest[begin..].find(PEM_END).ok_or_else(|| CertificateError::NotPem(format!("{PEM_END} is missing")))?;
            let end = begin + end + PEM_END.len();
            let (_, der) = pem::decode_vec(&rest.as_bytes()[begin..end]).map_err(|e| CertificateError::NotPem(e.to_string()))?;
            certificates.push(Certificate::from_der(&der)?);
            rest = &rest[end..];
        }
        if certificates.is_empty() {
            return Err(CertificateError::NotPem(format!("{PEM_BEGIN} is missing")));
        }
        Ok(certificates)
    }

    fn from_der(der: &[u8]) -> Result<Certificate, CertificateError> {
        let not_pem = |e: x509_cert::der::Error| CertificateError::NotPem(e.to_string());
        let certificate = x509_cert::Certificate::from_der(der).map_err(not_pem)?;
        let tbs = certificate.tbs_certificate();
        let serial = tbs.serial_number().as_bytes();
        if serial.first().is_some_and(|b| b & 0x80 != 0) {
            return Err(CertificateError::Serial);
        }
        if let Some((_, usage)) = tbs.get_extension::<KeyUsage>().map_err(not_pem)?
            && !usage.digital_signature()
        {
            return Err(CertificateError::KeyUsage);
        }
        let unique = tbs.subject().iter().find(|a| a.oid == X500_UNIQUE_IDENTIFIER);
        let time =
            |t: x509_cert::time::Time| Time(i64::try_from(t.to_unix_duration().as_millis()).expect("ASN.1 years end at 9999"));
        Ok(Certificate {
            issuer: tbs.issuer().to_string(),
            serial: decimal(serial),
            public_key: p256_point(tbs.subject_public_key_info())?,
            not_before: time(tbs.validity().not_before),
            not_after: time(tbs.validity().not_after),
            subject_eui: unique.and_then(|a| eui(&a.value)),
        })
    }

    /// Refuses a certificate that names somebody else; one that names nobody passes.
    pub fn check_holder(&self, wanted: Eui) -> Result<(), CertificateError> {
        match self.subject_eui {
            Some(found) if found != wanted => Err(CertificateError::Holder { found, wanted }),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether `at` lies within its validity, both ends included.
    pub fn is_valid_at(&self, at: Time) -> bool {
        // notAfter names a whole second.
        self.not_before <= at && at < self.not_after.plus_millis(1000)
    }
}

/// The point of a P-256 key, uncompressed and on the curve.
fn p256_point(key: &SubjectPublicKeyInfoOwned) -> Result<Vec<u8>, CertificateError> {
    let curve = key.algorithm.parameters.as_ref().and_then(|p| p.decode_as::<ObjectIdentifier>().ok());
    if key.algorithm.oid != EC_PUBLIC_KEY || curve != Some(PRIME256V1) {
        let oid = curve.filter(|_| key.algorithm.oid == EC_PUBLIC_KEY).unwrap_or(key.algorithm.oid).to_string();
        let known = OTHER_KEYS.iter().find(|(other, _)| *other == oid);
        return Err(CertificateError::KeyType(known.map_or(format!("of the kind {oid}"), |(_, name)| (*name).to_owned())));
    }
    let point = key.subject_public_key.as_bytes().unwrap_or_default();
    if point.len() != 65 || point[0] != 4 {
        return Err(CertificateError::KeyType("a compressed point".into()));
    }
    ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
        .map_err(|_| CertificateError::KeyType("no point of its curve".into()))?;
    Ok(point.to_vec())
}

/// The EUI that an x500UniqueIdentifier holds: eight bytes, as DCC's certificates have it, or a text.
fn eui(value: &Any) -> Option<Eui> {
    match value.tag() {
        Tag::BitString => {
            let bits = value.decode_as::<BitString>().ok()?;
            Some(Eui(u64::from_be_bytes(bits.as_bytes()?.try_into().ok()?)))
        }
        Tag::Utf8String | Tag::PrintableString => {
            let text = std::str::from_utf8(value.value()).ok()?;
            text.parse().ok().or_else(|| u64::from_str_radix(text, 16).ok().filter(|_| text.len() == 16).map(Eui))
        }
        _ => None,
    }
}

/// A big-endian number (at most 20 bytes in a certificate) in decimal, by long division.
fn decimal(big_endian: &[u8]) -> String {
    let mut number = big_endian.to_vec();
    let mut digits = Vec::new();
    while number.iter().any(|b| *b != 0) {
        let mut remainder = 0u16;
        for byte in &mut number {
            let value = remainder << 8 | u16::from(*byte);
            *byte = (value / 10) as u8;
            remainder = value % 10;
        }
        digits.push(b'0' + remainder as u8);
    }
    if digits.is_empty() {
        digits.push(b'0');
    }
    digits.iter().rev().map(|d| char::from(*d)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::samples::{self, shared};
    use super::*;

    #[test]
    fn the_test_certificates_read_as_openssl_reads_them() {
        let Some(dir) = shared("certs") else { return };
        let certificate = |name: &str| Certificate::from_pem(&std::fs::read(dir.join(name)).unwrap()).unwrap();
        let dcc = certificate("Z1-accessControlBroker-dSPXmlSign.pem");
        assert_eq!((dcc.issuer.as_str(), dcc.serial.as_str()), ("CN=Z1,OU=07", "20315062944123339095836004026371736578"));
        assert_eq!(
            (dcc.not_before.to_string(), dcc.not_after.to_string()),
            ("2025-09-01T00:00:00Z".into(), "2035-09-01T23:59:59Z".into())
        );
        assert!(dcc.is_valid_at(dcc.not_after) && !dcc.is_valid_at(dcc.not_after.plus_millis(1000)));
        assert!(dcc.is_valid_at(dcc.not_before) && !dcc.is_valid_at(dcc.not_before.plus_millis(-1)));
        let ours = certificate("xml-sign-90B3D51F30010000-ds.pem");
        assert_eq!(ours.subject_eui.unwrap().to_string(), "90-B3-D5-1F-30-01-00-00");
        assert_eq!(ours.serial, "27572613927499351639968579586655397031");
        assert_eq!(samples::dcc_set().0.len(), 3);
    }

    proptest::proptest! {
        #[test]
        fn decimal_agrees_with_the_machine(n: u128) {
            proptest::prop_assert_eq!(decimal(&n.to_be_bytes()), n.to_string());
        }
    }

    #[test]
    fn decimal_of_160_bits() {
        assert_eq!(decimal(&[0xff; 20]), "1461501637330902918203684832716283019655932542975");
        assert_eq!(decimal(&[]), "0");
    }
}
