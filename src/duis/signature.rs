//! Signing in our name: ECDSA P-256 with SHA-256 by a key in a file. What a signature must look like, and the checking of one,
//! is in [`super::profile`].

use std::path::Path;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use x509_cert::der::pem;
use zeroize::Zeroizing;

use super::{Certificate, CertificateError};
pub(super) use super::{
    SR,
    profile::{DS, ECDSA_SHA256, ENVELOPED, EXCLUSIVE_C14N, SHA256},
};
use crate::failure::Failure;

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
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("the key and the certificate do not belong together")]
    Mismatch,
    #[error("signing failed")]
    Failed,
}

impl From<SignError> for Failure {
    fn from(error: SignError) -> Failure {
        match error {
            SignError::Certificate(e) => e.into(),
            SignError::Key { .. } => Failure::failed(error.to_string())
                .help("give a PKCS#8 PEM file (BEGIN PRIVATE KEY) of an ECDSA P-256 key as gateway.signing_key")
                .help("openssl pkcs8 -topk8 -nocrypt -in OLD.pem -out KEY.pem converts an older form"),
            SignError::Mismatch => Failure::failed(error.to_string())
                .help("gateway.signing_certificate must be the certificate of gateway.signing_key"),
            SignError::Failed => Failure::failed(error.to_string()).help("check that the signing key's device is reachable"),
        }
    }
}

/// A PKCS#8 P-256 key in a file, with its certificate.
pub struct FileSigner {
    key: EcdsaKeyPair,
    random: SystemRandom,
    certificate: Certificate,
}

impl FileSigner {
    /// Reads the key (PKCS#8 PEM) and its certificate (PEM). Whether others may read the key file is `config`'s to check.
    pub fn load(key: &Path, certificate: &Path) -> Result<FileSigner, SignError> {
        let at = |why: String| SignError::Key { path: key.display().to_string(), why };
        let pem = Zeroizing::new(std::fs::read(key).map_err(|e| at(e.to_string()))?);
        let found = super::CertificateSet::from_pem_files(&[certificate.to_owned()])?.0;
        let Ok([certificate]) = <[Certificate; 1]>::try_from(found) else {
            let cause = Box::new(CertificateError::NotPem("it holds several certificates where one is wanted".into()));
            return Err(CertificateError::InFile { path: certificate.to_owned(), cause }.into());
        };
        FileSigner::from_pem(&pem, certificate).map_err(|e| match e {
            SignError::Key { why, .. } => at(why),
            other => other,
        })
    }

    /// The same from memory.
    pub fn from_pem(key_pem: &[u8], certificate: Certificate) -> Result<FileSigner, SignError> {
        let wrong = |why: &str| SignError::Key { path: "(PEM)".into(), why: why.into() };
        let (label, der) = pem::decode_vec(key_pem.trim_ascii()).map_err(|_| wrong("it is not PEM"))?;
        let der = Zeroizing::new(der);
        if label != "PRIVATE KEY" {
            return Err(wrong(&format!("it is a {label}, not a PKCS#8 PRIVATE KEY")));
        }
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der)
            .map_err(|_| wrong("it is not an ECDSA P-256 key"))?;
        if key.public_key().as_ref() != certificate.public_key.as_slice() {
            return Err(SignError::Mismatch);
        }
        Ok(FileSigner { key, random: SystemRandom::new(), certificate })
    }
}

impl std::fmt::Debug for FileSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileSigner").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Signer for FileSigner {
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        let signature = self.key.sign(&self.random, message).map_err(|_| SignError::Failed)?;
        signature.as_ref().try_into().map_err(|_| SignError::Failed)
    }

    fn certificate(&self) -> &Certificate {
        &self.certificate
    }
}
