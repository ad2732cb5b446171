//! Pinned X.509 certificates: who may have signed, found by issuer and serial as `X509IssuerSerial` names them.

use crate::{clock::Time, ids::Eui};

/// A certificate of a P-256 signing key, as pinned in a file.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// RFC 2253, no space: `CN=Z1,OU=07`.
    pub issuer: String,
    /// Decimal, up to 128 bits (kept as text).
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
}

/// Certificates pinned for one role (DCC's, or ours); a message of the other role never verifies against it.
#[derive(Debug, Clone, Default)]
pub struct CertificateSet(pub Vec<Certificate>);

impl Certificate {
    pub fn from_pem(_pem: &[u8]) -> Result<Certificate, CertificateError> {
        unimplemented!()
    }
}

impl CertificateSet {
    pub fn find(&self, issuer: &str, serial: &str) -> Option<&Certificate> {
        self.0.iter().find(|c| c.issuer == issuer && c.serial == serial)
    }
}
