//! The signature profile of DUIS: enveloped XML-DSig, ECDSA P-256 with SHA-256, everything else refused.

use std::path::Path;

use super::Certificate;

/// Signs in our name: a key in a file today, an HSM tomorrow.
pub trait Signer: Send + Sync {
    /// ECDSA P-256 with SHA-256 over `message`: raw r||s.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError>;
    fn certificate(&self) -> &Certificate;
}

#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error("the signing key {path} cannot be used: {why}")]
    Key { path: String, why: String },
    #[error("the key and the certificate do not belong together")]
    Mismatch,
    #[error("signing failed")]
    Failed,
}

/// Why a message is not what somebody we trust signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("it is larger than {0} bytes")]
    TooLarge(usize),
    #[error("it is not XML of the kind allowed: {0}")]
    Malformed(String),
    #[error("it has no signature")]
    Unsigned,
    #[error("its signature is not of the profile: {0}")]
    Profile(String),
    #[error("its digest does not match what it says")]
    Digest,
    #[error("it is signed with a certificate that is not pinned: {issuer}, serial {serial}")]
    UnknownCertificate { issuer: String, serial: String },
    #[error("the certificate it is signed with is not valid at this time")]
    CertificateNotValid,
    #[error("its signature is false")]
    Signature,
    #[error("it does not say what its kind must: {0}")]
    Content(String),
}

/// A PKCS#8 P-256 key in a file, with its certificate.
pub struct FileSigner;

impl FileSigner {
    pub fn load(_key: &Path, _certificate: &Path) -> Result<FileSigner, SignError> {
        unimplemented!()
    }

    pub fn from_pem(_key_pem: &[u8], _certificate: Certificate) -> Result<FileSigner, SignError> {
        unimplemented!()
    }
}

impl Signer for FileSigner {
    fn sign(&self, _message: &[u8]) -> Result<[u8; 64], SignError> {
        unimplemented!()
    }

    fn certificate(&self) -> &Certificate {
        unimplemented!()
    }
}
