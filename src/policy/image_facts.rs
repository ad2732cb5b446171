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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_that_names_no_version_allows_none() {
        let manifest = crate::image::manifest::tests::example();
        let facts = ImageFacts::from(&manifest);
        assert_eq!((facts.hardware_min, facts.hardware_max), (0x1111, 0x1211));
        assert_eq!(facts.upgrade_from, UpgradeFrom::Versions(vec!["00000000".into()]));
        let paths = |upgrade_from| ImageFacts::from(&Manifest { upgrade_from, ..manifest.clone() }).upgrade_from;
        assert_eq!(paths(UpgradePaths::Any), UpgradeFrom::Any);
        assert_eq!(paths(UpgradePaths::Versions(vec![])), UpgradeFrom::None);
    }
}
