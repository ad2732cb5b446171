//! Reads the three files of a TLS identity. Promise: an error names the file and what is wanted of it; a private key that
//! others can read is not used.

use std::path::{Path, PathBuf};

use rustls::{
    RootCertStore,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{Error, PemObject},
    },
};

use super::{TlsFiles, reason::words};
use crate::{failure::Failure, keyfile::read_private_key};

/// A bundle of authorities has some hundred kilobytes; more is another file named by mistake.
const FILE_MAX_BYTES: u64 = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the certificate file {} cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the certificate file {} is too long", path.display())]
    TooLong { path: PathBuf },
    #[error("the certificate file {} holds no PEM certificate", path.display())]
    NoCertificate { path: PathBuf },
    #[error("the certificate file {} cannot be used: {why}", path.display())]
    Pem { path: PathBuf, why: String },
    #[error("the certificate authority {} cannot be used: {why}", path.display())]
    Authority { path: PathBuf, why: String },
    /// Absent, open to others, or no file.
    #[error(transparent)]
    KeyFile(#[from] Failure),
    #[error("the private key {} cannot be used: {why}", path.display())]
    Key { path: PathBuf, why: String },
    #[error("the certificate {} and the private key {} cannot be used together: {why}", certificate.display(), key.display())]
    Identity { certificate: PathBuf, key: PathBuf, why: String },
    #[error("TLS cannot be set up: {source}")]
    Setup { source: rustls::Error },
}

impl From<TlsError> for Failure {
    fn from(error: TlsError) -> Failure {
        let failure = Failure::failed(error.to_string());
        match error {
            TlsError::KeyFile(failure) => failure,
            TlsError::Read { .. } => failure.help("check the path in the configuration, and that you may read the file"),
            TlsError::TooLong { .. } | TlsError::NoCertificate { .. } | TlsError::Pem { .. } => {
                failure.help("wanted: PEM certificates (BEGIN CERTIFICATE); our own first, then its intermediates")
            }
            TlsError::Authority { .. } => failure.help("wanted: the PEM certificate of the authority that issued the far side's"),
            TlsError::Key { .. } => failure.help("wanted: a PEM private key, PKCS#8 (BEGIN PRIVATE KEY), without a password"),
            TlsError::Identity { .. } => failure.help("the key must be the one the certificate was issued for"),
            TlsError::Setup { .. } => failure.help("this is a fault of the program; run the command again with -v"),
        }
    }
}

pub(super) struct Loaded {
    pub roots: RootCertStore,
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

pub(super) fn load(files: &TlsFiles) -> Result<Loaded, TlsError> {
    let roots = authorities(&files.ca)?;
    let chain = certificates(&files.certificate)?;
    let key = read_private_key(&files.key)?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|e| match e {
        Error::NoItemsFound => "it holds no private key".to_string(),
        other => other.to_string(),
    });
    let key = key.map_err(|why| TlsError::Key { path: files.key.clone(), why })?;
    Ok(Loaded { roots, chain, key })
}

/// Those under whom a far side is trusted.
pub(super) fn authorities(ca: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(ca)? {
        roots.add(authority).map_err(|_| TlsError::Pem { path: ca.to_owned(), why: "it is no X.509 certificate".into() })?;
    }
    Ok(roots)
}

/// Certificate and key do not go together, or one of them is not what it should be.
pub(super) fn identity(files: &TlsFiles, source: &rustls::Error) -> TlsError {
    let why = match source {
        rustls::Error::InvalidCertificate(_) => "the first is no X.509 certificate".into(),
        other => words(other),
    };
    TlsError::Identity { certificate: files.certificate.clone(), key: files.key.clone(), why }
}

/// Every certificate of a file, at least one; text around them is skipped.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = |source| TlsError::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(read)?.len() > FILE_MAX_BYTES {
        return Err(TlsError::TooLong { path: path.to_owned() });
    }
    let pem = std::fs::read(path).map_err(read)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let all = all.map_err(|e| TlsError::Pem { path: path.to_owned(), why: e.to_string() })?;
    if all.is_empty() { Err(TlsError::NoCertificate { path: path.to_owned() }) } else { Ok(all) }
}
