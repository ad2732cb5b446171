//! What the decision takes from a verified manifest. Not the verification: that is `image::check_stored`.

use super::ImageFacts;
use crate::{
    estate::UpgradeFrom,
    image::{Manifest, UpgradePaths},
};

impl From<&Manifest> for ImageFacts {
    fn from(manifest: &Manifest) -> ImageFacts {
        ImageFacts {
            manufacturer: manifest.manufacturer.clone(),
            models: manifest.models.clone(),
            hardware_min: manifest.hardware_min,
            hardware_max: manifest.hardware_max,
            firmware_version: manifest.firmware_version.clone(),
            upgrade_from: match &manifest.upgrade_from {
                UpgradePaths::Any => UpgradeFrom::Any,
                UpgradePaths::Versions(versions) if versions.is_empty() => UpgradeFrom::None,
                UpgradePaths::Versions(versions) => UpgradeFrom::Versions(versions.clone()),
            },
            manufacturer_image_sha256: manifest.manufacturer_image_sha256,
        }
    }
}
