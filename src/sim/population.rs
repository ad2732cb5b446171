//! The devices that the simulated DCC knows, the condition each is in, what is known of its site, and the keys DCC holds.
//! Promise: the condition of a device follows from the scenario and its id alone, until a re-run brings its key or an event
//! changes its status.

use std::{
    collections::{BTreeSet, HashMap, HashSet, hash_map::Entry},
    path::Path,
    sync::Arc,
};

use super::{
    SimError,
    dice::Dice,
    inventory,
    scenario::{PopulationRules, Reads, Scenario, Unlisted},
    table::Table,
};
use crate::{
    clock::Time,
    ids::{DeviceId, Mpan},
};

/// `FirmwareVersion`, and `DeviceManufacturer` and `DeviceModel`: the schema's maxLength.
const MAX_VERSION_CHARS: usize = 8;
const MAX_NAME_CHARS: usize = 30;

/// What DCC knows of a device, and so what becomes of it in an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    Ready,
    Unknown,
    NotCommissioned,
    Suspended,
    Decommissioned,
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

/// Which generation of smart metering a device belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    Smets1,
    Smets2,
}

/// What becomes of an 11.2 to a device that can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    Answers,
    Fails,
    Unreachable,
    NoAnswer,
    Silent,
}

/// What `devices_file` says of a device beside its id. Texts that many share are kept once.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub mpan: Option<Mpan>,
    pub firmware_version: Option<Arc<str>>,
    pub manufacturer: Option<Arc<str>>,
    pub model: Option<Arc<str>>,
    pub hub: Option<DeviceId>,
    pub gas_meter: Option<DeviceId>,
}

/// Who is known, and how it is with them.
pub struct Population {
    rules: PopulationRules,
    reads: Reads,
    dice: Dice,
    listed: HashMap<DeviceId, Condition>,
    facts: HashMap<DeviceId, Facts>,
    /// The PPMID beside each hub and gas meter that `devices_file` names.
    site_of: HashMap<DeviceId, DeviceId>,
    /// Devices whose status an event has changed since the start.
    changed: HashMap<DeviceId, Condition>,
    /// Devices whose key came with a re-run of the transitional tool.
    keys_that_came: HashSet<DeviceId>,
}

impl Population {
    pub fn new(scenario: &Scenario, listed: impl IntoIterator<Item = (DeviceId, Condition)>) -> Population {
        Population {
            rules: scenario.population.clone(),
            reads: scenario.reads.clone(),
            dice: scenario.dice(),
            listed: listed.into_iter().collect(),
            facts: HashMap::new(),
            site_of: HashMap::new(),
            changed: HashMap::new(),
            keys_that_came: HashSet::new(),
        }
    }

    /// Adds the devices of a CSV, with what it says of them.
    pub fn read(&mut self, path: &Path) -> Result<(), SimError> {
        let mut table = Table::open(path, &["device_id"])?;
        let mut texts: HashSet<Arc<str>> = HashSet::new();
        while table.next()? {
            let device = table.value("device_id")?;
            let condition = match table.text("device_status") {
                "" | "Commissioned" => Condition::Ready,
                "Suspended" => Condition::Suspended,
                "Decommissioned" | "Withdrawn" => Condition::Decommissioned,
                _ => Condition::NotCommissioned,
            };
            self.list(device, condition);
            let mut shared = |column: &str, most_chars: usize| {
                let Some(text) = table.text_within(column, most_chars)? else { return Ok(None) };
                if let Some(known) = texts.get(text) {
                    return Ok(Some(Arc::clone(known)));
                }
                let new: Arc<str> = text.into();
                texts.insert(Arc::clone(&new));
                Ok::<_, SimError>(Some(new))
            };
            let facts = Facts {
                firmware_version: shared("firmware_version", MAX_VERSION_CHARS)?,
                manufacturer: shared("manufacturer", MAX_NAME_CHARS)?,
                model: shared("model", MAX_NAME_CHARS)?,
                mpan: table.value_if("mpan")?,
                hub: table.value_if("chf_device_id")?,
                gas_meter: table.value_if("gsme_device_id")?,
            };
            self.site_of.extend([facts.hub, facts.gas_meter].into_iter().flatten().map(|other| (other, device)));
            self.facts.insert(device, facts);
        }
        Ok(())
    }

    /// The PPMID of the site that a device belongs to, where that is known; else the device is taken for one itself.
    pub fn ppmid_of(&self, device: DeviceId) -> DeviceId {
        if self.listed.contains_key(&device) {
            return device;
        }
        let listed = |ppmid: &DeviceId| self.listed.contains_key(ppmid);
        self.site_of.get(&device).copied().or_else(|| inventory::possible_ppmids(device).find(listed)).unwrap_or(device)
    }

    pub fn facts(&self, device: DeviceId) -> Option<&Facts> {
        self.facts.get(&device)
    }

    /// Not by its condition: both generations have devices of each.
    pub fn generation(&self, device: DeviceId) -> Generation {
        let group = &self.rules.smets2;
        match group.devices.contains(&device) || self.dice.hits(group.share, "second generation", device.0) {
            true => Generation::Smets2,
            false => Generation::Smets1,
        }
    }

    pub fn reading(&self, device: DeviceId) -> Reading {
        let groups = [
            (&self.reads.unreachable, "unreachable", Reading::Unreachable),
            (&self.reads.no_answer, "no answer", Reading::NoAnswer),
            (&self.reads.silent, "silent when read", Reading::Silent),
            (&self.reads.fails, "read fails", Reading::Fails),
        ];
        let listed = groups.iter().find(|(group, ..)| group.devices.contains(&device));
        let hit = || groups.iter().find(|(group, word, _)| self.dice.hits(group.share, word, device.0));
        listed.or_else(hit).map_or(Reading::Answers, |(.., reading)| *reading)
    }

    /// An event changed the device's status; [`Condition::Ready`] gives it back the one it had.
    pub fn change(&mut self, device: DeviceId, condition: Condition) {
        match condition {
            Condition::Ready => self.changed.remove(&device),
            condition => self.changed.insert(device, condition),
        };
    }

    /// Adds a device that DCC knows; one that is listed already stays as it is.
    pub fn list(&mut self, device: DeviceId, condition: Condition) {
        if let Entry::Vacant(vacant) = self.listed.entry(device) {
            vacant.insert(condition);
        }
    }

    /// What DCC knows of a device now.
    pub fn condition(&self, device: DeviceId) -> Condition {
        if let Some(changed) = self.changed.get(&device) {
            return *changed;
        }
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
            (&rules.suspended.devices, rules.suspended.share, "suspended", Condition::Suspended),
            (&rules.decommissioned.devices, rules.decommissioned.share, "decommissioned", Condition::Decommissioned),
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

    #[test]
    fn a_devices_file_says_what_it_knows_and_where_it_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sites.csv");
        let write = |rows: &str| std::fs::write(&path, format!("\u{feff}mpan,device_id,device_status,model\n{rows}")).unwrap();
        let scenario = Scenario::parse("[population]\ndefault = \"unknown\"", "s.toml").unwrap();
        let mut population = Population::new(&scenario, []);
        write("2298132107763,00-00-00-00-00-00-00-01,Commissioned,A1\n,00-00-00-00-00-00-00-02,Suspended,A1\n");
        population.read(&path).unwrap();
        let facts = [1, 2].map(|n| population.facts(device(n)).unwrap().clone());
        assert!(facts[0].mpan.is_some() && facts[1].mpan.is_none() && facts[0].firmware_version.is_none());
        assert!(Arc::ptr_eq(facts[0].model.as_ref().unwrap(), facts[1].model.as_ref().unwrap()));
        let conditions = [1, 2, 3].map(|n| population.condition(device(n)));
        assert_eq!(conditions, [Condition::Ready, Condition::Suspended, Condition::Unknown]);
        write("2298132107763,00-00-00-00-00-00-00-01,,\n,00-00,,\n");
        let error = population.read(&path).unwrap_err().to_string();
        assert!(error.contains("sites.csv: line 3, device_id: \"00-00\" is not"), "{error}");
    }

    #[test]
    fn an_event_changes_a_status_and_another_gives_it_back() {
        let mut population = Population::new(&Scenario::default(), [(device(1), Condition::Busy)]);
        population.change(device(1), Condition::Suspended);
        assert_eq!(population.condition(device(1)), Condition::Suspended);
        population.change(device(1), Condition::Ready);
        assert_eq!(population.condition(device(1)), Condition::Busy);
    }
}
