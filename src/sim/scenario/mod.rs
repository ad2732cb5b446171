//! A scenario: what the simulated DCC knows, how long things take, and what goes wrong. TOML, seeded; every key has a
//! default and the defaults are a DCC without faults. Promise: an unknown key or a value out of range does not load.

mod answers;
mod population;
mod users;
mod wire;

use std::{
    collections::HashSet,
    fmt::Display,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Deserializer};

pub use answers::{Answers, Counters, InventoryRules, LostDevices, NeedsVersion, OtherAlerts, Reads, Smets2Rules, When};
pub use population::{Group, KeyGroup, PopulationRules, Unlisted};
pub use users::{Counts, DataValues, RegistrationRules, Roles, SetBy, Threshold, UnlistedSupply, UserRules, kind, own_mpids};
pub use wire::{Delays, Deliveries, Faults};

use super::{dice::Dice, orders::Order};
use crate::{duis::DuisVersion, ids::DeviceId};

/// A scenario with every key, and what each means: `ppmid dcc-sim --print-scenario`.
pub const EXAMPLE: &str = include_str!("example.toml");
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
    pub answers: Answers,
    pub inventory: InventoryRules,
    pub reads: Reads,
    pub smets2: Smets2Rules,
    pub other_alerts: OtherAlerts,
    pub delays: Delays,
    pub faults: Faults,
    pub deliveries: Deliveries,
    pub roles: Roles,
    pub users: Vec<UserRules>,
    pub registrations: RegistrationRules,
    pub thresholds: Vec<Threshold>,
    pub data_values: DataValues,
    pub needs_version: NeedsVersion,
    /// Alerts by the clock: each `after_ms` from the start.
    pub alerts: Vec<Order>,
}

fn devices<'de, D: Deserializer<'de>>(d: D) -> Result<HashSet<DeviceId>, D::Error> {
    Ok(parsed_list(d)?.into_iter().collect())
}

/// A text that is read as the type's own spelling.
pub(super) fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(d: D) -> Result<T, D::Error> {
    String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
}

pub(super) fn parsed_if<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(d: D) -> Result<Option<T>, D::Error> {
    parsed(d).map(Some)
}

pub(super) fn parsed_list<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(d: D) -> Result<Vec<T>, D::Error> {
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
        scenario.registrations.file = scenario.registrations.file.map(|file| base.join(file));
        Ok(scenario)
    }

    /// `origin` is the name that errors give to the text.
    pub fn parse(text: &str, origin: &str) -> Result<Scenario, ScenarioError> {
        let scenario: Scenario = toml::from_str(text).map_err(|e| {
            let at = e.span().map_or(0, |span| span.start.min(text.len()));
            let line = text.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1;
            ScenarioError::Parse { origin: origin.to_string(), line, why: e.message().replace('\n', " ") }
        })?;
        scenario.check().map_err(|(key, why)| ScenarioError::Value { origin: origin.to_string(), key, why })?;
        Ok(scenario)
    }

    /// The key that is wrong, and why.
    fn check(&self) -> Result<(), (String, String)> {
        let late_reply = ("faults.late_reply_ms", [0, self.faults.late_reply_ms]);
        for (key, [low, high]) in self.delays.spans().into_iter().chain([late_reply]) {
            if low > high {
                return Err((key.into(), format!("is [{low}, {high}]: the first number must not be the greater")));
            }
            if high > MAX_DELAY_MS {
                return Err((key.into(), format!("is {high}: at most {MAX_DELAY_MS} (30 days)")));
            }
        }
        if !(1..=MAX_CONNECTIONS).contains(&self.deliveries.connections) {
            let why = format!("is {}: from 1 to {MAX_CONNECTIONS}", self.deliveries.connections);
            return Err(("deliveries.connections".into(), why));
        }
        self.check_users()?;
        if self.registrations.file.is_some() && self.population.devices_file.is_none() {
            return Err(("registrations.file".into(), "needs population.devices_file, which says each device's mpan".into()));
        }
        for (element, version) in &self.needs_version {
            let key = || format!("needs_version.{element}");
            if !super::world::KINDS.contains(&element.as_str()) {
                return Err((key(), format!("is no message of the simulator: they are {}", super::world::KINDS.join(", "))));
            }
            version.parse::<DuisVersion>().map_err(|e| (key(), format!("is wrong: {e}")))?;
        }
        for (n, order) in self.alerts.iter().enumerate() {
            order.check().map_err(|e| (format!("alerts, entry {}:", n + 1), e.to_string()))?;
        }
        Ok(())
    }

    fn check_users(&self) -> Result<(), (String, String)> {
        if let Some(wrong) = self.roles.wrong() {
            return Err(wrong);
        }
        for (n, user) in self.users.iter().enumerate() {
            if self.roles.may(&user.role).is_none() {
                return Err((format!("users, entry {}:", n + 1), format!("the role {:?} is not in [roles]", user.role)));
            }
            if self.users[..n].iter().any(|other| other.id == user.id) {
                return Err((format!("users, entry {}:", n + 1), format!("{} is listed twice", user.id)));
            }
        }
        for (n, threshold) in self.thresholds.iter().enumerate() {
            if kind(&threshold.request).is_none() {
                let why = format!("request is {:?}: 8.2, 11.1, 11.2 and 11.4 are served", threshold.request);
                return Err((format!("thresholds, entry {}:", n + 1), why));
            }
        }
        Ok(())
    }

    pub fn dice(&self) -> Dice {
        Dice::new(self.seed)
    }
}

#[cfg(test)]
mod tests;
