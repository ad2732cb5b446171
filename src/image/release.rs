//! Making a manifest for an image file and signing it: what `ppmid image sign` and the demonstration do. Pure.
//! Promise: the manifest describes the file given, and would pass every check of it but the signers' standing.

use ed25519_dalek::SigningKey;

use super::{
    Envelope, Manifest, UpgradePaths,
    check::{self, CheckError},
    manifest::ManifestError,
    ota,
};
use crate::{clock::Time, failure::Failure};

/// What the signer states; the rest of the manifest follows from the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    pub manufacturer: String,
    pub models: Vec<String>,
    pub firmware_version: String,
    /// `None`: the OTA header's own.
    pub hardware_min: Option<u16>,
    pub hardware_max: Option<u16>,
    pub upgrade_from: UpgradePaths,
    pub released_at: Time,
    pub expires_at: Time,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    #[error(transparent)]
    Image(CheckError),
    #[error("the image has {found} bytes; at most {} can be sent", ota::MAX_IMAGE_BYTES)]
    TooLarge { found: usize },
    #[error("the image's header states no hardware versions")]
    HardwareNotStated,
    #[error(transparent)]
    Stated(ManifestError),
}

impl From<ReleaseError> for Failure {
    fn from(e: ReleaseError) -> Failure {
        let message = e.to_string();
        match e {
            ReleaseError::Image(e) => e.into(),
            ReleaseError::TooLarge { .. } => Failure::untrusted(message).help("check that it is the file you meant"),
            ReleaseError::HardwareNotStated => Failure::usage(message).help("give --hardware-min and --hardware-max"),
            ReleaseError::Stated(_) => Failure::usage(message).help("`ppmid image sign --help` lists the options"),
        }
    }
}

/// The manifest of `file`, a whole Zigbee OTA file.
pub fn describe(file: &[u8], release: Release) -> Result<Manifest, ReleaseError> {
    if file.len() as u64 > ota::MAX_IMAGE_BYTES {
        return Err(ReleaseError::TooLarge { found: file.len() });
    }
    let read = ota::parse(file).map_err(|e| ReleaseError::Image(e.into()))?;
    let own = read.header.hardware;
    let manifest = Manifest {
        manufacturer: release.manufacturer,
        models: release.models,
        hardware_min: release.hardware_min.or(own.map(|h| h.0)).ok_or(ReleaseError::HardwareNotStated)?,
        hardware_max: release.hardware_max.or(own.map(|h| h.1)).ok_or(ReleaseError::HardwareNotStated)?,
        firmware_version: release.firmware_version,
        upgrade_from: release.upgrade_from,
        image_sha256: super::sha256(file),
        image_size: file.len() as u64,
        manufacturer_image_sha256: read.manufacturer_image_sha256(),
        released_at: release.released_at,
        expires_at: release.expires_at,
    }
    .checked()
    .map_err(ReleaseError::Stated)?;
    check::header(&manifest, file).map_err(ReleaseError::Image)?;
    Ok(manifest)
}

/// An envelope with the manifest, signed by each key.
pub fn sign(manifest: &Manifest, keys: &[SigningKey]) -> Envelope {
    let mut envelope = Envelope::new(manifest.to_json().into_bytes());
    keys.iter().for_each(|key| envelope.sign(key));
    envelope
}

/// Adds signatures to an envelope that somebody else made, if it is for `file`: nobody signs what they have not got.
pub fn cosign(envelope: &mut Envelope, file: &[u8], keys: &[SigningKey]) -> Result<Manifest, CheckError> {
    let manifest = Manifest::from_json(&envelope.payload)?;
    check::same_file(&manifest, file)?;
    check::manufacturer_image(&manifest, &check::header(&manifest, file)?)?;
    keys.iter().for_each(|key| envelope.sign(key));
    envelope.within_bounds()?;
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release() -> Release {
        Release {
            manufacturer: "106C".into(),
            models: vec!["433100AC".into()],
            firmware_version: "0002012F".into(),
            hardware_min: None,
            hardware_max: None,
            upgrade_from: UpgradePaths::Any,
            released_at: Time(0),
            expires_at: Time(1),
        }
    }

    fn file(hardware: Option<(u16, u16)>) -> Vec<u8> {
        let spec = ota::OtaSpec { manufacturer_code: 1, image_type: 2, file_version: 3, text: "", hardware };
        ota::build(&spec, b"firmware")
    }

    #[test]
    fn hardware_versions_come_from_the_header_unless_stated() {
        let bounded = file(Some((0x1111, 0x1211)));
        let manifest = describe(&bounded, release()).unwrap();
        assert_eq!((manifest.hardware_min, manifest.hardware_max), (0x1111, 0x1211));
        let narrower = describe(&bounded, Release { hardware_max: Some(0x1111), ..release() }).unwrap();
        assert_eq!((narrower.hardware_min, narrower.hardware_max), (0x1111, 0x1111));
        let wider = describe(&bounded, Release { hardware_max: Some(0x1212), ..release() });
        assert!(matches!(wider, Err(ReleaseError::Image(CheckError::Hardware { .. }))));
        assert_eq!(describe(&file(None), release()), Err(ReleaseError::HardwareNotStated));
        let stated = Release { hardware_min: Some(1), hardware_max: Some(2), ..release() };
        assert!(describe(&file(None), stated).is_ok());
    }

    #[test]
    fn a_second_signer_signs_the_same_payload_and_only_with_the_file_in_hand() {
        let file = file(Some((1, 2)));
        let keys = [SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32])];
        let mut envelope = sign(&describe(&file, release()).unwrap(), &keys[..1]);
        let payload = envelope.payload.clone();
        assert!(matches!(cosign(&mut envelope, &file[1..], &keys[1..]), Err(CheckError::Size { .. })));
        assert_eq!(envelope.signatures.len(), 1);
        cosign(&mut envelope, &file, &keys[1..]).unwrap();
        assert_eq!((envelope.signatures.len(), &envelope.payload), (2, &payload));
    }
}
