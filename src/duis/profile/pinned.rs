//! The certificates that count for one role, DCC's or ours: found by issuer and serial as `X509IssuerSerial` names them. A
//! message of the other role never verifies against them. [`Pinned`] is the set as it is now, shared by everybody who verifies,
//! so that a new one takes effect without a restart. Not who reads the files, nor when.
//! Promise: a set is replaced as a whole; a check uses one set from start to end.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
};

use super::{Certificate, CertificateError, name};
use crate::{clock::Time, ids::Eui};

/// How long before its end a certificate is spoken of: DCC's processes for a new one take weeks.
const EXPIRY_WARNING_DAYS: i64 = 30;
const DAY_MILLIS: i64 = 86_400_000;

/// Certificates pinned for one role (DCC's, or ours).
#[derive(Debug, Clone, Default)]
pub struct CertificateSet(pub Vec<Certificate>);

impl CertificateSet {
    /// Reads every certificate of every file.
    pub fn from_pem_files(paths: &[PathBuf]) -> Result<CertificateSet, CertificateError> {
        CertificateSet::read(paths, |_, _| Ok(()))
    }

    /// Reads the certificates of one holder: a certificate whose subject is somebody else is refused. One whose subject has no EUI
    /// passes with a warning, since the operator named its file; DCC's own always have one.
    pub fn of_holder(paths: &[PathBuf], holder: Eui) -> Result<CertificateSet, CertificateError> {
        CertificateSet::read(paths, |path, certificate| check_holder(path, certificate, holder))
    }

    /// Reads DCC's certificates, to check what it sends. Our own key among them is refused: what we sign is not DCC's.
    pub fn of_dcc(paths: &[PathBuf], dcc: Eui, ours: &Certificate) -> Result<CertificateSet, CertificateError> {
        CertificateSet::read(paths, |path, certificate| match certificate.public_key == ours.public_key {
            true => Err(CertificateError::OwnKey),
            false => check_holder(path, certificate, dcc),
        })
    }

    /// Says which of them do not count at `at`, or will not for much longer. None of that is an error: others of the set may do.
    pub fn warn_of_dates(&self, at: Time) {
        for Certificate { issuer, serial, not_before, not_after, .. } in &self.0 {
            if at < *not_before {
                tracing::warn!(%issuer, %serial, %not_before, "a certificate is not valid yet: what it signs is refused");
            } else if at > *not_after {
                tracing::warn!(%issuer, %serial, %not_after, "a certificate is not valid any more: what it signs is refused");
            } else if at.plus_millis(EXPIRY_WARNING_DAYS * DAY_MILLIS) > *not_after {
                tracing::warn!(%issuer, %serial, %not_after, "a certificate ends within {EXPIRY_WARNING_DAYS} days");
            }
        }
    }

    /// The pinned certificate of this issuer (RFC 2253) and serial (decimal, without leading zeros).
    pub fn find(&self, issuer: &str, serial: &str) -> Option<&Certificate> {
        self.0.iter().find(|c| c.serial == serial && name::same(&c.issuer, issuer))
    }

    fn read(
        paths: &[PathBuf],
        check: impl Fn(&Path, &Certificate) -> Result<(), CertificateError>,
    ) -> Result<CertificateSet, CertificateError> {
        let mut set = CertificateSet::default();
        for path in paths {
            let in_file = |cause| CertificateError::InFile { path: path.clone(), cause: Box::new(cause) };
            let pem = std::fs::read(path).map_err(|source| CertificateError::Read { path: path.clone(), source })?;
            for certificate in Certificate::all_from_pem(&pem).map_err(in_file)? {
                check(path, &certificate).and_then(|()| set.add(certificate)).map_err(in_file)?;
            }
        }
        Ok(set)
    }

    /// Issuer and serial must lead to one key.
    fn add(&mut self, certificate: Certificate) -> Result<(), CertificateError> {
        match self.find(&certificate.issuer, &certificate.serial) {
            Some(twin) if twin.public_key != certificate.public_key => {
                Err(CertificateError::Ambiguous { issuer: certificate.issuer, serial: certificate.serial })
            }
            Some(_) | None => {
                self.0.push(certificate);
                Ok(())
            }
        }
    }
}

fn check_holder(path: &Path, certificate: &Certificate, holder: Eui) -> Result<(), CertificateError> {
    if certificate.subject_eui.is_none() {
        let path = path.display();
        tracing::warn!(%path, %holder, "the certificate's subject names no EUI: that it is the holder's is taken on trust");
    }
    certificate.check_holder(holder)
}

/// The set that counts now. Clones share it.
#[derive(Debug, Clone)]
pub struct Pinned(Arc<RwLock<Arc<CertificateSet>>>);

impl Pinned {
    pub fn new(set: CertificateSet) -> Pinned {
        Pinned(Arc::new(RwLock::new(Arc::new(set))))
    }

    pub fn current(&self) -> Arc<CertificateSet> {
        Arc::clone(&self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    pub fn replace(&self, set: CertificateSet) {
        *self.0.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = Arc::new(set);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::samples::shared;
    use super::*;

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
}
