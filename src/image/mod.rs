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
pub use revalidate::{CheckedImage, ImageRefusal, VerifyReport, VerifyStep, check_stored, check_trusted, verify_image};
pub use store::StoredImage;
pub use trust::{Role, Trust};
pub use trust_file::{TrustFileError, key_clause};
pub use vault::{FolderVault, SharedVault, Vault, VaultError, fetch_bytes};

use crate::{
    clock::Time,
    db::{Db, DbError},
    failure::Failure,
    ids::{ImageId, Sha256Hash},
};

pub fn sha256(bytes: &[u8]) -> Sha256Hash {
    ImageId(Sha256::digest(bytes).into())
}

/// Why an image was not added or revoked.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error(transparent)]
    Check(#[from] CheckError),
    #[error("the image has {found} bytes; at most {} can be sent", ota::MAX_IMAGE_BYTES)]
    TooLarge { found: usize },
    #[error("image {id} is stored with another manifest")]
    OtherManifest { id: ImageId },
    #[error("image {id} was revoked at {at}: {reason}")]
    Revoked { id: ImageId, at: Time, reason: String },
    #[error("there is no image {id}")]
    NotStored { id: ImageId },
    #[error("image {id} is being changed by somebody else")]
    Stale { id: ImageId },
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Database(#[from] DbError),
}

impl From<ImageError> for Failure {
    fn from(e: ImageError) -> Failure {
        let message = e.to_string();
        match e {
            ImageError::Check(e) => e.into(),
            ImageError::TooLarge { .. } => Failure::untrusted(message).help("check that it is the file you meant"),
            ImageError::OtherManifest { .. } => Failure::failed(message)
                .help("plans and approvals rest on the manifest that is stored, so it is not replaced; signatures may be added to it: `ppmid image sign --manifest`")
                .help("to change what it says, have a new image made"),
            ImageError::Revoked { .. } => Failure::failed(message).help("a revoked image stays revoked; have a new image made"),
            ImageError::NotStored { .. } => Failure::failed(message).help("`ppmid image list` shows those there are"),
            ImageError::Stale { .. } => Failure::failed(message).help("run the command again"),
            ImageError::Vault(e) => e.into(),
            ImageError::Database(e) => e.into(),
        }
    }
}

/// Checks a file and its manifest, then stores the bytes and the row. On a failed check nothing is stored.
///
/// Adding it again gives the same id. With the same payload signed by others too, their signatures join those stored (so that
/// a raised threshold can be met); with any other payload it is refused, since plans and approvals rest on the one stored.
/// Bytes go in before the row, so that no row lacks them; a crash in between leaves verified bytes that the next try takes up.
pub async fn add_image(
    db: &Db,
    vault: &SharedVault,
    trust: &Trust,
    file: Vec<u8>,
    envelope: &[u8],
    now: Time,
    by: &str,
) -> Result<ImageId, ImageError> {
    if file.len() as u64 > ota::MAX_IMAGE_BYTES {
        return Err(ImageError::TooLarge { found: file.len() });
    }
    let verified = check::all(trust, envelope, &file, now)?;
    let id = verified.manifest.image_sha256;
    if let Some(stored) = store::get(&mut db.read().await?, id).await? {
        joined(&stored, &verified.envelope)?;
    }
    let stored_as = vault::store_bytes(vault, file).await?;
    assert_eq!(stored_as, id, "the vault names bytes by the hash that was checked");

    let mut tx = db.begin().await?;
    let text = String::from_utf8_lossy(envelope);
    if !store::insert(&mut tx, id, &text, &verified.manifest, now, by).await? {
        let stored = store::get(&mut tx, id).await?.ok_or(ImageError::Stale { id })?;
        if let Some(joined) = joined(&stored, &verified.envelope)?
            && !store::replace_envelope(&mut tx, id, &stored.envelope_text, &joined.to_json()).await?
        {
            return Err(ImageError::Stale { id });
        }
    }
    tx.commit().await?;
    Ok(id)
}

/// The stored envelope with the signatures that only the `added` one has; `None` where there are none.
fn joined(stored: &StoredImage, added: &Envelope) -> Result<Option<Envelope>, ImageError> {
    let id = stored.id;
    if let Some(revoked) = &stored.revoked {
        return Err(ImageError::Revoked { id, at: revoked.at, reason: revoked.reason.clone() });
    }
    if stored.envelope.payload != added.payload {
        return Err(ImageError::OtherManifest { id });
    }
    let mut all = stored.envelope.clone();
    for signature in &added.signatures {
        if !all.signatures.contains(signature) {
            all.signatures.push(signature.clone());
        }
    }
    Ok((all.signatures.len() > stored.envelope.signatures.len()).then_some(all))
}

/// Revokes an image: campaigns with it halt before their next batch. Revoking it again changes nothing.
pub async fn revoke_image(db: &Db, id: ImageId, now: Time, by: &str, reason: &str) -> Result<(), ImageError> {
    let mut tx = db.begin().await?;
    if !store::revoke(&mut tx, id, now, by, reason).await? && store::get(&mut tx, id).await?.is_none() {
        return Err(ImageError::NotStored { id });
    }
    Ok(tx.commit().await?)
}

#[cfg(test)]
mod tests;
