//! A scenario: what the simulated DCC knows, how long things take, and what goes wrong. TOML, seeded; every key has a
//! default and the defaults are a DCC without faults. Promise: an unknown key or a value out of range does not load.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::dice::{Dice, Share};
use crate::ids::DeviceId;

/// A delay longer than this is a mistake: it is 30 days, and rollouts in a trial take minutes.
const MAX_DELAY_MS: u32 = 2_592_000_000;
/// More connections than a receiver could want; each is a task and a socket.
const MAX_CONNECTIONS: usize = 256;

#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{origin}, line {line}: {why}")]
    Parse { origin: String, line: usize, why: String },
    #[error("{origin}: {key} {why}")]
    Value { origin: String, key: String, why: String },
}

/// The file as written, with the defaults in the gaps.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// Two runs with one seed and the same requests make the same choices.
    pub seed: u64,
    pub population: PopulationRules,
    pub delays: Delays,
    pub faults: Faults,
    pub deliveries: Deliveries,
}

/// Which device is in what condition. A device is in the first group that lists it, else in the first whose share hits it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PopulationRules {
    /// What a device is that no list names.
    pub default: Unlisted,
    /// A CSV with a `device_id` column (`sites.csv` will do): devices that DCC knows. Relative to the scenario file.
    pub devices_file: Option<PathBuf>,
    pub unknown: Group,
    pub not_commissioned: Group,
    pub busy: Group,
    pub not_applicable: Group,
    pub key_missing: KeyGroup,
    /// Fails with an S1SP alert.
    pub activation_fails: Group,
    /// Fails and nobody says so.
    pub silent: Group,
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

/// How long things take, in milliseconds; where there are two numbers, anything from the first to the second.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Delays {
    /// From a request to the reply on its own connection.
    pub acknowledge_ms: u32,
    /// From the acknowledgement to the 11.1 response that warns.
    pub warning_ms: u32,
    /// From the acknowledgement to `UpdateRequested`.
    pub update_requested_ms: [u32; 2],
    /// From `UpdateRequested` to `ActivationSuccessful`, or to the S1SP alert of one that fails.
    pub activated_ms: [u32; 2],
    /// From the acknowledgement to the S1SP alert of a device whose key is missing.
    pub key_missing_ms: [u32; 2],
}

impl Default for Delays {
    fn default() -> Delays {
        Delays {
            acknowledge_ms: 0,
            warning_ms: 50,
            update_requested_ms: [20, 500],
            activated_ms: [100, 2_000],
            key_missing_ms: [20, 1_000],
        }
    }
}

/// What goes wrong with requests, as shares of the posts received.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// The connection is dropped before the request is looked at.
    pub dropped: Share,
    /// Answered 500, the request not looked at.
    pub server_error: Share,
    /// Processed, and the connection dropped without a reply.
    pub reply_lost: Share,
    /// Processed, and answered only after `late_reply_ms`.
    pub late_reply: Share,
    pub late_reply_ms: u32,
    /// Refusals that are sent without a signature (duis/README.md, rule 9).
    pub unsigned_refusals: Share,
}

impl Default for Faults {
    fn default() -> Faults {
        let none = Share::NONE;
        Faults {
            dropped: none,
            server_error: none,
            reply_lost: none,
            late_reply: none,
            late_reply_ms: 2_000,
            unsigned_refusals: none,
        }
    }
}

/// How alerts and responses reach the user's receiver.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deliveries {
    /// Connections kept open to the receiver.
    pub connections: usize,
    /// Alerts never sent.
    pub lost: Share,
    /// Messages sent twice, under one ResponseID.
    pub duplicated: Share,
    /// Devices whose two alerts come in the wrong order.
    pub reordered: Share,
}

impl Default for Deliveries {
    fn default() -> Deliveries {
        Deliveries { connections: 32, lost: Share::NONE, duplicated: Share::NONE, reordered: Share::NONE }
    }
}

fn devices<'de, D: serde::Deserializer<'de>>(d: D) -> Result<HashSet<DeviceId>, D::Error> {
    let texts = Vec::<String>::deserialize(d)?;
    texts.iter().map(|t| t.parse().map_err(serde::de::Error::custom)).collect()
}

impl Scenario {
    /// Reads a file; `devices_file` becomes a path that can be opened from here.
    pub fn load(path: &Path) -> Result<Scenario, ScenarioError> {
        let text = std::fs::read_to_string(path).map_err(|source| ScenarioError::Read { path: path.to_owned(), source })?;
        let mut scenario = Scenario::parse(&text, &path.display().to_string())?;
        let base = path.parent().unwrap_or(Path::new(""));
        scenario.population.devices_file = scenario.population.devices_file.map(|file| base.join(file));
        Ok(scenario)
    }

    /// `origin` is the name that errors give to the text.
    pub fn parse(text: &str, origin: &str) -> Result<Scenario, ScenarioError> {
        let scenario: Scenario = toml::from_str(text).map_err(|e| {
            let at = e.span().map_or(0, |span| span.start.min(text.len()));
            let line = text.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1;
            ScenarioError::Parse { origin: origin.to_string(), line, why: e.message().replace('\n', " ") }
        })?;
        scenario.check().map_err(|(key, why)| ScenarioError::Value { origin: origin.to_string(), key: key.to_string(), why })?;
        Ok(scenario)
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        let delays = &self.delays;
        let spans = [
            ("delays.acknowledge_ms", [0, delays.acknowledge_ms]),
            ("delays.warning_ms", [0, delays.warning_ms]),
            ("delays.update_requested_ms", delays.update_requested_ms),
            ("delays.activated_ms", delays.activated_ms),
            ("delays.key_missing_ms", delays.key_missing_ms),
            ("faults.late_reply_ms", [0, self.faults.late_reply_ms]),
        ];
        for (key, [low, high]) in spans {
            if low > high {
                return Err((key, format!("is [{low}, {high}]: the first number must not be the greater")));
            }
            if high > MAX_DELAY_MS {
                return Err((key, format!("is {high}: at most {MAX_DELAY_MS} (30 days)")));
            }
        }
        match self.deliveries.connections {
            1..=MAX_CONNECTIONS => Ok(()),
            n => Err(("deliveries.connections", format!("is {n}: from 1 to {MAX_CONNECTIONS}"))),
        }
    }

    pub fn dice(&self) -> Dice {
        Dice::new(self.seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Scenario::parse(text, "s.toml").unwrap_err().to_string()
    }

    #[test]
    fn the_empty_scenario_has_no_faults() {
        let s = Scenario::parse("", "s.toml").unwrap();
        assert_eq!((s.population.default, s.faults.reply_lost, s.deliveries.lost), (Unlisted::Any, Share::NONE, Share::NONE));
    }

    #[test]
    fn every_key_is_read() {
        let s = Scenario::parse(
            r#"
            seed = 7
            [population]
            default = "unknown"
            devices_file = "sites.csv"
            unknown = { share = "1%" }
            key_missing = { share = "0.3%", devices = ["00-db-12-34-56-78-90-a4"], good_on_rerun = "50%" }
            [delays]
            update_requested_ms = [1, 2]
            [faults]
            reply_lost = "5%"
            late_reply_ms = 10
            [deliveries]
            connections = 4
            duplicated = "10%"
            "#,
            "s.toml",
        )
        .unwrap();
        assert_eq!(s.seed, 7);
        assert_eq!(s.population.default, Unlisted::Unknown);
        assert!(s.population.key_missing.devices.contains(&DeviceId::from_db(0x00DB_1234_5678_90A4)));
        assert_eq!(s.population.key_missing.good_on_rerun, "50%".parse().unwrap());
        assert_eq!((s.delays.update_requested_ms, s.delays.warning_ms), ([1, 2], 50));
        assert_eq!((s.deliveries.connections, s.deliveries.duplicated), (4, "10%".parse().unwrap()));
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (text, wanted) in [
            ("seed = 1\n[faults]\nreply_loss = \"5%\"\n", "s.toml, line 3: unknown field `reply_loss`, expected one of"),
            ("[faults]\nreply_lost = 5\n", "s.toml, line 2: invalid type: integer `5`, expected a string"),
            ("[faults]\nreply_lost = \"5\"\n", "s.toml, line 2: \"5\" is not a share"),
            ("\n[population.unknown]\ndevices = [\"00-DB\"]\n", "s.toml, line 3: \"00-DB\" is not an EUI-64"),
            ("[population]\ndefault = \"none\"\n", "s.toml, line 2: unknown variant `none`"),
            ("[delays]\nactivated_ms = [10, 5]\n", "s.toml: delays.activated_ms is [10, 5]: the first number must not be"),
            ("[delays]\nwarning_ms = 4000000000\n", "s.toml: delays.warning_ms is 4000000000: at most 2592000000 (30 days)"),
            ("[deliveries]\nconnections = 0\n", "s.toml: deliveries.connections is 0: from 1 to 256"),
            ("seed = \n", "s.toml, line 1: "),
        ] {
            assert!(error(text).starts_with(wanted), "{}", error(text));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = Scenario::parse(&text, "s.toml");
        }
    }
}
