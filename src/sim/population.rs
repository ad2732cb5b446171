//! The devices that the simulated DCC knows, the condition each is in, and the keys it holds. No I/O.
//! Promise: the condition of a device follows from the scenario and its id alone, until a re-run brings its key.

use std::collections::{BTreeSet, HashMap, HashSet, hash_map::Entry};

use super::{
    dice::Dice,
    scenario::{PopulationRules, Scenario, Unlisted},
};
use crate::{clock::Time, ids::DeviceId};

/// What DCC knows of a device, and so what becomes of it in an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    Ready,
    Unknown,
    NotCommissioned,
    /// Another party's request is in progress.
    Busy,
    NotApplicable,
    KeyMissing {
        good_on_rerun: bool,
    },
    /// Fails with an S1SP alert.
    ActivationFails,
    /// Fails and nobody says so.
    Silent,
}

/// Who is known, and how it is with them.
pub struct Population {
    rules: PopulationRules,
    dice: Dice,
    listed: HashMap<DeviceId, Condition>,
    /// Devices whose key came with a re-run of the transitional tool.
    keys_that_came: HashSet<DeviceId>,
}

impl Population {
    pub fn new(scenario: &Scenario, listed: impl IntoIterator<Item = (DeviceId, Condition)>) -> Population {
        let rules = scenario.population.clone();
        Population { rules, dice: scenario.dice(), listed: listed.into_iter().collect(), keys_that_came: HashSet::new() }
    }

    /// Adds a device that DCC knows; one that is listed already stays as it is.
    pub fn list(&mut self, device: DeviceId, condition: Condition) {
        if let Entry::Vacant(vacant) = self.listed.entry(device) {
            vacant.insert(condition);
        }
    }

    /// What DCC knows of a device now.
    pub fn condition(&self, device: DeviceId) -> Condition {
        match self.first_condition(device) {
            Condition::KeyMissing { .. } if self.keys_that_came.contains(&device) => Condition::Ready,
            condition => condition,
        }
    }

    /// What it knew when the simulator started.
    fn first_condition(&self, device: DeviceId) -> Condition {
        let rules = &self.rules;
        let good_on_rerun = self.dice.hits(rules.key_missing.good_on_rerun, "good on rerun", device.0);
        let groups = [
            (&rules.unknown.devices, rules.unknown.share, "unknown", Condition::Unknown),
            (&rules.not_commissioned.devices, rules.not_commissioned.share, "not commissioned", Condition::NotCommissioned),
            (&rules.busy.devices, rules.busy.share, "busy", Condition::Busy),
            (&rules.not_applicable.devices, rules.not_applicable.share, "not applicable", Condition::NotApplicable),
            (&rules.key_missing.devices, rules.key_missing.share, "key missing", Condition::KeyMissing { good_on_rerun }),
            (&rules.activation_fails.devices, rules.activation_fails.share, "activation fails", Condition::ActivationFails),
            (&rules.silent.devices, rules.silent.share, "silent", Condition::Silent),
        ];
        if let Some((.., condition)) = groups.iter().find(|(devices, ..)| devices.contains(&device)) {
            return *condition;
        }
        match self.listed.get(&device) {
            Some(Condition::Ready) => {}
            Some(condition) => return *condition,
            None if rules.default == Unlisted::Unknown => return Condition::Unknown,
            None => {}
        }
        let hit = groups.iter().find(|(_, share, word, _)| self.dice.hits(*share, word, device.0));
        hit.map_or(Condition::Ready, |(.., condition)| *condition)
    }

    /// Runs the transitional tool again for every device whose key is missing: of those listed, and of those `seen`. Gives
    /// each with whether its key came; from then on DCC holds it.
    pub fn rerun_transitional_tool(&mut self, seen: impl Iterator<Item = DeviceId>) -> Vec<(DeviceId, bool)> {
        let listed = self.listed.keys().chain(&self.rules.key_missing.devices);
        let candidates: BTreeSet<DeviceId> = listed.copied().chain(seen).collect();
        let results: Vec<(DeviceId, bool)> = candidates
            .into_iter()
            .filter_map(|device| match self.condition(device) {
                Condition::KeyMissing { good_on_rerun } => Some((device, good_on_rerun)),
                _ => None,
            })
            .collect();
        self.keys_that_came.extend(results.iter().filter(|(_, good)| *good).map(|(device, _)| *device));
        results
    }

    pub fn keys_that_came(&self) -> usize {
        self.keys_that_came.len()
    }
}

/// The tool's results as the keys CSV of the contract.
pub fn keys_csv(results: &[(DeviceId, bool)], attempted_at: Time) -> String {
    let mut text = String::from("device_id,status,attempted_at,detail\n");
    for (device, good) in results {
        let (status, detail) = match good {
            true => ("updated", "key written on a re-run"),
            false => ("investigating", "re-run failed: incident management"),
        };
        text.push_str(&format!("{device},{status},{attempted_at},{detail}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(n: u64) -> DeviceId {
        DeviceId::from_db(n as i64)
    }

    #[test]
    fn a_list_beats_what_was_handed_in_which_beats_a_share() {
        let text = "[population]\ndefault = \"unknown\"\nsilent = { share = \"100%\" }\n[population.busy]\ndevices = [\"00-00-00-00-00-00-00-01\"]";
        let scenario = Scenario::parse(text, "s.toml").unwrap();
        let handed_in = [(device(1), Condition::Unknown), (device(2), Condition::NotCommissioned), (device(3), Condition::Ready)];
        let population = Population::new(&scenario, handed_in);
        let conditions = [1, 2, 3, 4].map(|n| population.condition(device(n)));
        assert_eq!(conditions, [Condition::Busy, Condition::NotCommissioned, Condition::Silent, Condition::Unknown]);
    }

    #[test]
    fn a_rerun_brings_a_key_once() {
        let mut population =
            Population::new(&Scenario::default(), [1, 2].map(|n| (device(n), Condition::KeyMissing { good_on_rerun: n == 1 })));
        assert_eq!(population.rerun_transitional_tool([].into_iter()), [(device(1), true), (device(2), false)]);
        assert_eq!((population.condition(device(1)), population.keys_that_came()), (Condition::Ready, 1));
        assert_eq!(population.rerun_transitional_tool([device(1)].into_iter()), [(device(2), false)]);
    }
}
