//! The pinned certificates as they are now: one handle that everybody who verifies shares, so that a new set takes effect without
//! a restart. Not who reads the files, nor when. Promise: a set is replaced as a whole; a check uses one set from start to end.

use std::sync::{Arc, RwLock};

use super::CertificateSet;

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
