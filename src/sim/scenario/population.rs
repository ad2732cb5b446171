//! The part of a scenario that says which device is in what condition.

use std::{collections::HashSet, path::PathBuf};

use serde::Deserialize;

use super::devices;
use crate::{ids::DeviceId, sim::dice::Share};

/// Which device is in what condition. A device is in the first group that lists it, else in the first whose share hits it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PopulationRules {
    /// What a device is that no list names.
    pub default: Unlisted,
    /// A CSV with a `device_id` column (`sites.csv` will do): devices that DCC knows. Relative to the scenario file. What else
    /// it says of a device (`mpan`, `firmware_version`, `device_status`, `manufacturer`, `model`, `chf_device_id`,
    /// `gsme_device_id`) is taken too.
    pub devices_file: Option<PathBuf>,
    pub unknown: Group,
    pub not_commissioned: Group,
    pub suspended: Group,
    pub decommissioned: Group,
    pub busy: Group,
    pub not_applicable: Group,
    pub key_missing: KeyGroup,
    /// Fails with an S1SP alert; a SMETS2+ device with a PPMID alert.
    pub activation_fails: Group,
    /// Fails and nobody says so.
    pub silent: Group,
    /// Of the second generation: for 11.4, not for 11.1. Beside the conditions above, not one of them.
    pub smets2: Group,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unlisted {
    /// Known to DCC.
    #[default]
    Any,
    /// Not known to DCC.
    Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Group {
    pub share: Share,
    #[serde(deserialize_with = "devices")]
    pub devices: HashSet<DeviceId>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeyGroup {
    pub share: Share,
    #[serde(deserialize_with = "devices")]
    pub devices: HashSet<DeviceId>,
    /// Of them, how many get their key when the transitional tool is run again (the letter, paragraph 13: about two thirds).
    pub good_on_rerun: Share,
}

impl Default for KeyGroup {
    fn default() -> KeyGroup {
        let two_thirds = "66.67%".parse().expect("it is a percentage");
        KeyGroup { share: Share::NONE, devices: HashSet::new(), good_on_rerun: two_thirds }
    }
}
