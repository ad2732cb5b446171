//! The checks that stand between a file and the firmware store, one function each (contract, Images). Pure.
//! Promise: [`all`] runs them in the contract's order and stops at the first that fails.

use super::{
    dsse::{DsseError, Envelope},
    manifest::{Manifest, ManifestError},
    ota::{self, OtaError, OtaFile},
    trust::{Trust, TrustError, TrustedBy},
};
use crate::{clock::Time, failure::Failure, ids::Sha256Hash};

/// A check that failed. Exit 4.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    #[error(transparent)]
    Envelope(#[from] DsseError),
    #[error("the manifest is not trusted: {0}")]
    Untrusted(#[from] TrustError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("the image is not released before {released_at}")]
    NotYetReleased { released_at: Time },
    #[error("the manifest expired at {expires_at}")]
    Expired { expires_at: Time },
    #[error("the manifest is for another image: it names a file of {stated} bytes, this one has {found}")]
    Size { stated: u64, found: usize },
    #[error("the manifest is for another image: it names SHA-256 {stated}, this file's is {found}")]
    Hash { stated: Sha256Hash, found: Sha256Hash },
    #[error(transparent)]
    Ota(#[from] OtaError),
    #[error(
        "the manifest's hardware versions {:04X} to {:04X} are not within the image's own, {:04X} to {:04X}",
        stated.0, stated.1, found.0, found.1
    )]
    Hardware { stated: (u16, u16), found: (u16, u16) },
    #[error("the manifest names manufacturer image {stated}, this file's is {found}")]
    ManufacturerImage { stated: Sha256Hash, found: Sha256Hash },
}

impl CheckError {
    fn remedy(&self) -> &'static str {
        match self {
            CheckError::Envelope(_) | CheckError::Manifest(_) => "ask the signer for a manifest made by `ppmid image sign`",
            CheckError::Untrusted(_) => {
                "check the keys, roles and threshold in policies/trust.toml, or have more signers add theirs: `ppmid image sign --manifest`"
            }
            CheckError::NotYetReleased { .. } => "wait for that moment, or ask the signer for another manifest",
            CheckError::Expired { .. } => "ask the signer for an image with a manifest that is still good",
            CheckError::Size { .. } | CheckError::Hash { .. } | CheckError::ManufacturerImage { .. } => {
                "check that the file is whole and that image and manifest belong together"
            }
            CheckError::Ota(_) => "check that the file is a Zigbee OTA image and was copied whole",
            CheckError::Hardware { .. } => "ask the signer for a manifest within the image's hardware versions",
        }
    }
}

impl From<CheckError> for Failure {
    fn from(e: CheckError) -> Failure {
        Failure::untrusted(e.to_string()).help(e.remedy())
    }
}

/// What the checks learned of a file and its manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub envelope: Envelope,
    pub manifest: Manifest,
    pub trusted_by: TrustedBy,
}

/// Every check, in the contract's order.
pub fn all(trust: &Trust, envelope: &[u8], file: &[u8], now: Time) -> Result<Verified, CheckError> {
    let envelope = Envelope::from_json(envelope)?;
    let trusted_by = trust.check(&envelope, now)?;
    let manifest = Manifest::from_json(&envelope.payload)?;
    in_date(&manifest, now)?;
    same_file(&manifest, file)?;
    let ota = header(&manifest, file)?;
    manufacturer_image(&manifest, &ota)?;
    Ok(Verified { envelope, manifest, trusted_by })
}

/// `released_at` <= now < `expires_at`.
pub fn in_date(manifest: &Manifest, now: Time) -> Result<(), CheckError> {
    if now < manifest.released_at {
        return Err(CheckError::NotYetReleased { released_at: manifest.released_at });
    }
    if manifest.expires_at <= now {
        return Err(CheckError::Expired { expires_at: manifest.expires_at });
    }
    Ok(())
}

/// The file's size and SHA-256 are the manifest's.
pub fn same_file(manifest: &Manifest, file: &[u8]) -> Result<(), CheckError> {
    if manifest.image_size != file.len() as u64 {
        return Err(CheckError::Size { stated: manifest.image_size, found: file.len() });
    }
    let found = super::sha256(file);
    if manifest.image_sha256 != found {
        return Err(CheckError::Hash { stated: manifest.image_sha256, found });
    }
    Ok(())
}

/// A good OTA header whose hardware versions contain the manifest's. One that sets no limit contains all.
pub fn header<'a>(manifest: &Manifest, file: &'a [u8]) -> Result<OtaFile<'a>, CheckError> {
    let ota = ota::parse(file)?;
    let stated = (manifest.hardware_min, manifest.hardware_max);
    match ota.header.hardware {
        Some(found) if !ota.header.hardware_contains(stated.0, stated.1) => Err(CheckError::Hardware { stated, found }),
        _ => Ok(ota),
    }
}

/// The SHA-256 of what follows the header is the manifest's.
pub fn manufacturer_image(manifest: &Manifest, ota: &OtaFile<'_>) -> Result<(), CheckError> {
    let (stated, found) = (manifest.manufacturer_image_sha256, ota.manufacturer_image_sha256());
    if stated == found { Ok(()) } else { Err(CheckError::ManufacturerImage { stated, found }) }
}
