//! The parts of a scenario that say how DCC answers where its documents leave a choice, or where they are not public.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Group, parsed, parsed_list};
use crate::{duis::DuisVersion, sim::dice::Share};

/// How DCC answers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Answers {
    /// 8.2: the schema's note on command variant 8 says that the answer comes on the request's own connection.
    pub inventory: When,
    /// The warning that some devices of an 11.1 or 11.4 were dropped: `domain.md` (pipeline 4) has it come later.
    pub warnings: When,
    /// A device of an 11.1 or 11.4 that is not the user's on that day: E4 for the request (what `domain.md` says a lost site
    /// gives), or among the invalid ones of the warning.
    pub lost_devices: LostDevices,
    /// Whether a counter below one accepted before is refused, or only a RequestID seen before.
    pub counters: Counters,
    /// Every `schemaVersion` that is served.
    #[serde(deserialize_with = "parsed_list")]
    pub versions: Vec<DuisVersion>,
    /// The first version that has 11.4.
    #[serde(deserialize_with = "parsed")]
    pub ppmid_firmware_from: DuisVersion,
    /// The first version in which 11.2 may be put to a suspended device.
    #[serde(deserialize_with = "parsed")]
    pub suspended_read_from: DuisVersion,
    /// The `schemaVersion` of messages that answer nothing, where the user's own is not listed.
    #[serde(deserialize_with = "parsed")]
    pub speaks: DuisVersion,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// As the reply on the request's own connection.
    AtOnce,
    /// I99, and a message to the receiver.
    Later,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LostDevices {
    Refuse,
    List,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counters {
    Rising,
    Unseen,
}

impl Default for Answers {
    fn default() -> Answers {
        let version = |major, minor| DuisVersion { major, minor };
        Answers {
            inventory: When::AtOnce,
            warnings: When::Later,
            lost_devices: LostDevices::Refuse,
            counters: Counters::Rising,
            versions: vec![
                version(3, 0),
                version(3, 1),
                version(5, 0),
                version(5, 1),
                version(5, 2),
                version(5, 3),
                version(5, 4),
            ],
            ppmid_firmware_from: version(5, 0),
            suspended_read_from: version(5, 0),
            speaks: version(3, 1),
        }
    }
}

/// What an inventory says where the schema lets it be silent, as shares of the devices.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InventoryRules {
    pub device_status: Share,
    pub firmware_version: Share,
    /// Each of the other optional elements.
    pub other_fields: Share,
    /// Sites with a gas meter, where `devices_file` does not say.
    pub gas: Share,
}

impl Default for InventoryRules {
    fn default() -> InventoryRules {
        let share = |text: &str| text.parse().expect("it is a percentage");
        InventoryRules { device_status: Share::ALL, firmware_version: Share::ALL, other_fields: share("80%"), gas: share("70%") }
    }
}

/// What becomes of an 11.2: a device is in the first group that lists it, else in the first whose share hits it; the rest answer.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reads {
    /// DCC cannot establish communication: E20, later.
    pub unreachable: Group,
    /// The device does not answer: E21, later.
    pub no_answer: Group,
    /// Nothing more comes.
    pub silent: Group,
    /// The device answers that it could not.
    pub fails: Group,
}

/// What happens to an image on its way to a SMETS2+ device, as shares of the devices of an 11.4.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Smets2Rules {
    /// Named in a `FirmwareDistributionFailure`, and nothing more.
    pub distribution_fails: Share,
    /// Told by a `CSPFirmwareDeliveryStatus`.
    pub delivery_status: Share,
    /// Of them, `Failure`, and nothing more.
    pub delivery_fails: Share,
    /// Told by a `CommsHubAlert/FirmwareTransferAlert`.
    pub transfer_alert: Share,
    /// Of them, another result than `FileTransferSuccess`, and nothing more.
    pub transfer_fails: Share,
}

impl Default for Smets2Rules {
    fn default() -> Smets2Rules {
        Smets2Rules {
            distribution_fails: Share::NONE,
            delivery_status: Share::ALL,
            delivery_fails: Share::NONE,
            transfer_alert: Share::ALL,
            transfer_fails: Share::NONE,
        }
    }
}

/// Alerts that come beside those of the upgrade: shares of the devices that a request took.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OtherAlerts {
    pub change_of_supplier: Share,
    pub suspended: Share,
    pub removed: Share,
    pub version_mismatch: Share,
    /// An S1SP alert that names neither device nor request.
    pub nameless_s1sp: Share,
    /// An S1SP alert that stands for several.
    pub throttled: Share,
    /// Of a kind that a user of firmware alone has never heard of.
    pub unknown: Share,
    /// A device alert with a GBCS payload.
    pub device_alert: Share,
}

/// Messages that only users of this DUIS version or a later one get: the innermost element that says what kind it is.
pub type NeedsVersion = BTreeMap<String, String>;
