//! The signature profile of DUIS.

pub(super) mod canonical;
mod certificate;
mod error;
mod pinned;
pub(super) mod prescan;
pub(super) mod verify;

pub use certificate::{Certificate, CertificateError, CertificateSet};
pub use error::SignatureError;
pub use pinned::Pinned;
pub use prescan::MAX_MESSAGE_BYTES;

pub(in crate::duis) const DS: &str = "http://www.w3.org/2000/09/xmldsig#";
pub(in crate::duis) const EXCLUSIVE_C14N: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
pub(in crate::duis) const ECDSA_SHA256: &str = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256";
pub(in crate::duis) const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
pub(in crate::duis) const SHA256: &str = "http://www.w3.org/2001/04/xmlenc#sha256";
