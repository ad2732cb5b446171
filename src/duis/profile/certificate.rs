//! Pinned X.509 certificates: who may have signed, found by issuer and serial as `X509IssuerSerial` names them.
//! It builds no chains and trusts no authority: a certificate counts because an operator put its file into the configuration.

use std::path::{Path, PathBuf};

use x509_cert::der::{Decode, asn1::BitString, oid::ObjectIdentifier, pem};

use crate::{clock::Time, failure::Failure, ids::Eui};

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const PRIME256V1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
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
    #[error("its key is not ECDSA P-256")]
    KeyType,
    #[error("the certificate file {} cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the certificate file {} cannot be used: {cause}", path.display())]
    InFile { path: PathBuf, cause: Box<CertificateError> },
}

impl From<CertificateError> for Failure {
    fn from(error: CertificateError) -> Failure {
        let failure = Failure::failed(error.to_string());
        match error {
            CertificateError::Read { .. } => failure.help("check the path in the configuration and that the file may be read"),
            _ => failure.help("give one or more PEM certificates (BEGIN CERTIFICATE) of ECDSA P-256 keys"),
        }
    }
}

/// Certificates pinned for one role (DCC's, or ours); a message of the other role never verifies against it.
#[derive(Debug, Clone, Default)]
pub struct CertificateSet(pub Vec<Certificate>);

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
        let certificate = x509_cert::Certificate::from_der(der).map_err(|e| CertificateError::NotPem(e.to_string()))?;
        let tbs = certificate.tbs_certificate();
        let key = tbs.subject_public_key_info();
        let curve = key.algorithm.parameters.as_ref().and_then(|p| p.decode_as::<ObjectIdentifier>().ok());
        let point = key.subject_public_key.as_bytes().unwrap_or_default();
        if key.algorithm.oid != EC_PUBLIC_KEY || curve != Some(PRIME256V1) || point.len() != 65 || point[0] != 4 {
            return Err(CertificateError::KeyType);
        }
        let unique = tbs.subject().iter().find(|a| a.oid == X500_UNIQUE_IDENTIFIER);
        let eui = unique.and_then(|a| a.value.decode_as::<BitString>().ok());
        let eui = eui.and_then(|bits| <[u8; 8]>::try_from(bits.as_bytes()?).ok());
        let time =
            |t: x509_cert::time::Time| Time(i64::try_from(t.to_unix_duration().as_millis()).expect("ASN.1 years end at 9999"));
        Ok(Certificate {
            issuer: tbs.issuer().to_string(),
            serial: decimal(tbs.serial_number().as_bytes()),
            public_key: point.to_vec(),
            not_before: time(tbs.validity().not_before),
            not_after: time(tbs.validity().not_after),
            subject_eui: eui.map(|bytes| Eui(u64::from_be_bytes(bytes))),
        })
    }

    /// Whether `at` lies within its validity, both ends included.
    pub fn is_valid_at(&self, at: Time) -> bool {
        // notAfter names a whole second.
        self.not_before <= at && at < self.not_after.plus_millis(1000)
    }
}

impl CertificateSet {
    /// Reads every certificate of every file.
    pub fn from_pem_files(paths: &[PathBuf]) -> Result<CertificateSet, CertificateError> {
        let mut all = Vec::new();
        for path in paths {
            all.extend(certificates_in(path)?);
        }
        Ok(CertificateSet(all))
    }

    /// The pinned certificate of this issuer (RFC 2253) and serial (decimal).
    pub fn find(&self, issuer: &str, serial: &str) -> Option<&Certificate> {
        self.0.iter().find(|c| c.issuer == issuer && c.serial == serial)
    }
}

fn certificates_in(path: &Path) -> Result<Vec<Certificate>, CertificateError> {
    let pem = std::fs::read(path).map_err(|source| CertificateError::Read { path: path.to_owned(), source })?;
    Certificate::all_from_pem(&pem).map_err(|cause| CertificateError::InFile { path: path.to_owned(), cause: Box::new(cause) })
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

    #[test]
    fn one_file_may_hold_several_and_says_what_is_wrong_with_it() {
        let Some(dir) = shared("certs") else { return };
        let one = std::fs::read(dir.join("dsp-xml-sign-90B3D51F30000002-ds.pem")).unwrap();
        let two = [b"Certificate:\n  Data:\n".as_slice(), &one, b"\r\n\n", &one].concat();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("two.pem");
        std::fs::write(&path, &two).unwrap();
        assert_eq!(CertificateSet::from_pem_files(std::slice::from_ref(&path)).unwrap().0.len(), 2);
        assert!(matches!(Certificate::from_pem(&two), Err(CertificateError::NotPem(_))));
        for bad in [&two[..two.len() - 20], b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &[0xff, 0xfe]]
        {
            std::fs::write(&path, bad).unwrap();
            let error = CertificateSet::from_pem_files(std::slice::from_ref(&path)).unwrap_err();
            assert!(error.to_string().contains("two.pem"), "{error}");
        }
        let missing = CertificateSet::from_pem_files(&[folder.path().join("none.pem")]).unwrap_err();
        assert!(matches!(missing, CertificateError::Read { .. }));
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
