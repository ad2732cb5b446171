//! Adding and revoking: the two changes an image sees. Not the checks themselves: those are `check`.
//! Promise: no row without verified bytes in the vault, and none of either for a file that failed a check.

use super::StoredImage;
use crate::{
    clock::Time,
    db::{Db, DbError},
    failure::Failure,
    ids::ImageId,
    image::{
        CheckError, Envelope, SharedVault, Trust, VaultError,
        check::{self, Verified},
        ota, vault,
    },
};

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
    if let Some(stored) = super::get(&mut db.read().await?, id).await? {
        joined(&stored, &verified)?;
    }
    let stored_as = vault::store_bytes(vault, file).await?;
    assert_eq!(stored_as, id, "the vault names bytes by the hash that was checked");

    let mut tx = db.begin().await?;
    let text = String::from_utf8_lossy(envelope);
    if !super::insert(&mut tx, id, &text, &verified.manifest, now, by).await? {
        let stored = super::get(&mut tx, id).await?.ok_or(ImageError::Stale { id })?;
        if let Some(joined) = joined(&stored, &verified)?
            && !super::replace_envelope(&mut tx, id, &stored.envelope_text, &joined.to_json()).await?
        {
            return Err(ImageError::Stale { id });
        }
    }
    tx.commit().await?;
    Ok(id)
}

/// The stored envelope with the counting signatures that only the `added` one has; `None` where there are none.
fn joined(stored: &StoredImage, added: &Verified) -> Result<Option<Envelope>, ImageError> {
    let id = stored.id;
    if let Some(revoked) = &stored.revoked {
        return Err(ImageError::Revoked { id, at: revoked.at, reason: revoked.reason.clone() });
    }
    if stored.envelope.payload != added.envelope.payload {
        return Err(ImageError::OtherManifest { id });
    }
    let mut all = stored.envelope.clone();
    let counts = |keyid: &str| added.trusted_by.keys.iter().any(|k| keyid.parse() == Ok(k.keyid));
    for signature in added.envelope.signatures.iter().filter(|s| counts(&s.keyid)) {
        if !all.signatures.contains(signature) {
            all.signatures.push(signature.clone());
        }
    }
    all.within_bounds().map_err(CheckError::from)?;
    Ok((all.signatures.len() > stored.envelope.signatures.len()).then_some(all))
}

/// Revokes an image: campaigns with it halt before their next batch. Revoking it again changes nothing.
pub async fn revoke_image(db: &Db, id: ImageId, now: Time, by: &str, reason: &str) -> Result<(), ImageError> {
    let mut tx = db.begin().await?;
    if !super::revoke(&mut tx, id, now, by, reason).await? && super::get(&mut tx, id).await?.is_none() {
        return Err(ImageError::NotStored { id });
    }
    Ok(tx.commit().await?)
}
