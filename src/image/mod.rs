//! Firmware images: the Zigbee OTA header, the signed manifest, the trust policy, and the content-addressed store.
//! Promise: nothing unverified is ever stored, and bytes are hashed again each time they leave the store.
//!
//! An image is checked three times: whole when it is added ([`add_image`]); its manifest against today's `trust.toml`
//! whenever a campaign is planned, started or about to send a batch ([`check_stored`]); its bytes when they are
//! fetched to be sent ([`fetch_bytes`]). [`verify_image`] does all of it again for an operator.

pub mod check;
pub mod dsse;
pub mod files;
pub mod key;
pub mod manifest;
pub mod ota;
mod revalidate;
pub mod store;
pub mod trust;
mod trust_file;
pub mod vault;

use sha2::{Digest, Sha256};

pub use check::CheckError;
pub use dsse::{Envelope, KeyId};
pub use manifest::{Manifest, UpgradePaths};
pub use revalidate::{CheckedImage, ImageRefusal, VerifyReport, VerifyStep, check_trusted, verify_image};
pub use store::{ImageError, StoredImage, add_image, check_stored, revoke_image};
pub use trust::{Role, Trust};
pub use trust_file::{TrustFileError, key_clause};
pub use vault::{FolderVault, SharedVault, Vault, VaultError, fetch_bytes};

use crate::ids::{ImageId, Sha256Hash};

/// The hash that everything here is named by.
pub fn sha256(bytes: &[u8]) -> Sha256Hash {
    ImageId(Sha256::digest(bytes).into())
}

#[cfg(test)]
mod tests;
