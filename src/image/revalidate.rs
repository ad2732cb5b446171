//! What was verified once, verified again: a stored image against today's `trust.toml`, and all of it for an operator.
//! Promise: a refusal is about the image alone; a database or a disk that does not answer is an error, never a refusal, so that
//! no campaign halts for it.

use super::{
    SharedVault, StoredImage, Trust,
    check::{self, CheckError},
    trust::TrustedBy,
    vault,
};
use crate::{clock::Time, failure::Failure, ids::ImageId};

/// Why a campaign may not use an image: the contract's `IMAGE_NOT_TRUSTED`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageRefusal {
    #[error("image {id} is not in the firmware store")]
    NotStored { id: ImageId },
    #[error("image {id} was revoked at {at}: {reason}")]
    Revoked { id: ImageId, at: Time, reason: String },
    #[error("image {id}: {why}")]
    Check { id: ImageId, why: CheckError },
}

impl ImageRefusal {
    /// The contract's reason for every refusal of an image.
    pub const CODE: &'static str = "IMAGE_NOT_TRUSTED";
}

/// As a campaign's refusal: exit 3.
impl From<ImageRefusal> for Failure {
    fn from(refusal: ImageRefusal) -> Failure {
        let help = match &refusal {
            ImageRefusal::NotStored { .. } => "add it: `ppmid image add FILE --manifest M.json`",
            ImageRefusal::Revoked { .. } => "make a campaign with another image",
            ImageRefusal::Check { .. } => "`ppmid image verify` shows each check; see also policies/trust.toml",
        };
        Failure::refused(ImageRefusal::CODE, &refusal).help(help)
    }
}

/// A stored image that may be used, and who vouches for it today.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedImage {
    pub image: StoredImage,
    pub trusted_by: TrustedBy,
}

/// Whether a campaign may use a stored image as of `now`, its row read already. Pure. A revoked image stays refused whatever `now` is:
/// clocks of two nodes may differ, and the brake must hold.
pub fn check_trusted(image: &StoredImage, trust: &Trust, now: Time) -> Result<TrustedBy, ImageRefusal> {
    let id = image.id;
    if let Some(revoked) = &image.revoked {
        return Err(ImageRefusal::Revoked { id, at: revoked.at, reason: revoked.reason.clone() });
    }
    let refused = |why| ImageRefusal::Check { id, why };
    let trusted_by = trust.check(&image.envelope, now).map_err(|e| refused(e.into()))?;
    check::in_date(&image.manifest, now).map_err(refused)?;
    if image.manifest.image_sha256 != id {
        return Err(refused(CheckError::Hash { stated: image.manifest.image_sha256, found: id }));
    }
    Ok(trusted_by)
}

/// Every check of a stored image, each with its result.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[must_use]
pub struct VerifyReport {
    pub image_id: ImageId,
    pub ok: bool,
    pub checks: Vec<VerifyStep>,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct VerifyStep {
    pub check: &'static str,
    pub ok: bool,
    pub detail: String,
}

/// Runs every check again, on the stored manifest and the bytes as they are now.
pub async fn verify_image(vault: &SharedVault, trust: &Trust, image: &StoredImage, now: Time) -> VerifyReport {
    let mut checks = Vec::new();
    let mut step = |check, result: Result<String, String>| {
        let ok = result.is_ok();
        checks.push(VerifyStep { check, ok, detail: result.unwrap_or_else(|e| e) });
        ok
    };
    let manifest = &image.manifest;
    let said = |e: CheckError| e.to_string();
    step("signatures", trust.check(&image.envelope, now).map(|by| signers(&by)).map_err(|e| e.to_string()));
    step("dates", check::in_date(manifest, now).map(|()| format!("expires at {}", manifest.expires_at)).map_err(said));
    step(
        "revocation",
        match &image.revoked {
            Some(r) => Err(format!("revoked at {} by {}: {}", r.at, r.by, r.reason)),
            None => Ok("not revoked".to_string()),
        },
    );
    match vault::fetch_bytes(vault, image.id).await {
        Err(e) => {
            step("bytes", Err(e.to_string()));
        }
        Ok(file) => {
            step("bytes", check::same_file(manifest, &file).map(|()| format!("{} bytes", file.len())).map_err(said));
            let ota = check::header(manifest, &file).map_err(said);
            step("header", ota.as_ref().map(|_| "a whole Zigbee OTA file".to_string()).map_err(String::clone));
            if let Ok(ota) = ota {
                let same = check::manufacturer_image(manifest, &ota);
                step("manufacturer_image", same.map(|()| manifest.manufacturer_image_sha256.to_string()).map_err(said));
            }
        }
    }
    VerifyReport { image_id: image.id, ok: checks.iter().all(|c| c.ok), checks }
}

fn signers(by: &TrustedBy) -> String {
    by.keys.iter().map(|s| format!("{} {}", s.role, s.keyid)).collect::<Vec<_>>().join(", ")
}
