//! The synthetic supplier's portfolio: sites that look like the letter's world, in the six files of the contract, and what
//! DCC knows of the same devices. Every site is a function of the seed and its number, so a million of them need no memory.
//! Promise: the same seed, size and day give the same bytes; exactly as many sites lack their key as the numbers say.

mod files;
mod site;

use std::collections::{BTreeMap, BinaryHeap};

use super::{dice::Dice, population::Condition};
use crate::{
    clock::{Day, Time},
    ids::{DeviceId, Mpid},
};
pub use site::Story;
use site::{Site, Sites};

/// Our own market participant id: the default of `organisation.mpids`.
const OWN_MPID: &str = "EELC";
/// The letter, paragraph 13: keys of 0.3% of sites failed.
const KEYS_MISSING_PER_THOUSAND: usize = 3;
/// However small the portfolio, so that two come good and one does not.
const KEYS_MISSING_AT_LEAST: usize = 3;
/// Per hundred thousand sites, rounded up: what DCC does with sites that looked well to the supplier.
const DROPPED_AS_UNKNOWN: usize = 20;
const DROPPED_AS_NOT_COMMISSIONED: usize = 20;
const ACTIVATION_FAILS: usize = 400;
const SILENT: usize = 200;

/// What the image of the demo must say, so that the portfolio's product lists cover it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirmwareParameters {
    pub manufacturer: &'static str,
    pub models: Vec<&'static str>,
    pub hardware_min: u16,
    pub hardware_max: u16,
    pub firmware_version: &'static str,
    pub upgrade_from: Vec<&'static str>,
}

/// A portfolio of so many sites. Holds only what is exceptional.
pub struct Portfolio {
    sites: Sites,
    /// By number of site: whether its key comes good on a re-run.
    keys_missing: BTreeMap<usize, bool>,
    /// By number of site: what becomes of it at DCC, where that is not `Ready` and not a missing key.
    troubles: BTreeMap<usize, Condition>,
}

impl Portfolio {
    /// `today` is the day in Europe/London at `now`: registrations that change hands do so from it on.
    pub fn generate(sites: usize, seed: u64, today: Day, now: Time) -> Portfolio {
        let sites = Sites { count: sites, dice: Dice::new(seed), today, now };
        let wanted = keys_missing(sites.count);
        let missing = smallest(wanted, &sites, "key missing", |n| sites.may_lack_key(n));
        let good = two_thirds(missing.len());
        let keys_missing: BTreeMap<usize, bool> = missing.into_iter().enumerate().map(|(rank, n)| (n, rank < good)).collect();
        let count = |per_hundred_thousand: usize| (sites.count * per_hundred_thousand).div_ceil(100_000);
        let groups = [
            (Condition::Unknown, count(DROPPED_AS_UNKNOWN)),
            (Condition::NotCommissioned, count(DROPPED_AS_NOT_COMMISSIONED)),
            (Condition::ActivationFails, count(ACTIVATION_FAILS)),
            (Condition::Silent, count(SILENT)),
        ];
        let conditions = groups.iter().flat_map(|(condition, count)| std::iter::repeat_n(*condition, *count));
        let total = groups.iter().map(|(_, count)| count).sum();
        let chosen =
            smallest(total, &sites, "trouble at DCC", |n| sites.story(n).is_eligible() && !keys_missing.contains_key(&n));
        let troubles = chosen.into_iter().zip(conditions).collect();
        Portfolio { sites, keys_missing, troubles }
    }

    pub fn own_mpid() -> Mpid {
        OWN_MPID.parse().expect("it is four capital letters")
    }

    /// What the image to be signed must say.
    pub fn firmware() -> FirmwareParameters {
        FirmwareParameters {
            manufacturer: site::MANUFACTURER,
            models: site::MODELS.to_vec(),
            hardware_min: site::HARDWARE_MIN,
            hardware_max: site::HARDWARE_MAX,
            firmware_version: site::NEW_VERSION,
            upgrade_from: site::OLD_VERSIONS.to_vec(),
        }
    }

    pub fn sites(&self) -> usize {
        self.sites.count
    }

    /// How many sites are without their key: 0.3%, rounded up, at least 3.
    pub fn keys_missing(&self) -> usize {
        self.keys_missing.len()
    }

    /// How many of them come good when the transitional tool is run again: two thirds.
    pub fn good_on_rerun(&self) -> usize {
        self.keys_missing.values().filter(|good| **good).count()
    }

    /// Every device with what DCC knows of it, for the simulator.
    pub fn devices(&self) -> impl Iterator<Item = (DeviceId, Condition)> + '_ {
        (0..self.sites.count).map(|n| (self.sites.device(n), self.condition(n)))
    }

    /// What DCC knows of the site with this number.
    fn condition(&self, n: usize) -> Condition {
        if let Some(good_on_rerun) = self.keys_missing.get(&n) {
            return Condition::KeyMissing { good_on_rerun: *good_on_rerun };
        }
        match (self.troubles.get(&n), self.sites.story(n)) {
            (Some(trouble), _) => *trouble,
            (None, Story::NotCommissioned) => Condition::NotCommissioned,
            (None, Story::OtherModel | Story::HardwareOutOfRange) => Condition::NotApplicable,
            (None, _) => Condition::Ready,
        }
    }

    /// How many sites should have which primary reason on the portfolio's day, by the way they were made: a check on the
    /// policy that shares no line with it.
    pub fn expected_reasons(&self) -> BTreeMap<&'static str, usize> {
        let mut reasons = BTreeMap::new();
        for n in 0..self.sites.count {
            let reason = if self.keys_missing.contains_key(&n) { "KEYS_MISSING" } else { self.sites.story(n).reason() };
            *reasons.entry(reason).or_default() += 1;
        }
        reasons
    }

    fn all(&self) -> impl Iterator<Item = Site> + '_ {
        (0..self.sites.count).map(|n| self.sites.site(n))
    }
}

/// 0.3% rounded up, at least 3, at most all.
fn keys_missing(sites: usize) -> usize {
    (sites * KEYS_MISSING_PER_THOUSAND).div_ceil(1_000).max(KEYS_MISSING_AT_LEAST).min(sites)
}

/// Two thirds, rounded to the nearest whole number.
fn two_thirds(count: usize) -> usize {
    (4 * count + 3) / 6
}

/// The `wanted` sites that chance ranks first among those that `may` be chosen, in its order.
fn smallest(wanted: usize, sites: &Sites, purpose: &str, may: impl Fn(usize) -> bool) -> Vec<usize> {
    let mut heap = BinaryHeap::with_capacity(wanted + 1);
    for n in (0..sites.count).filter(|n| may(*n)) {
        heap.push((sites.dice.bits(purpose, n as u64), n));
        if heap.len() > wanted {
            heap.pop();
        }
    }
    heap.into_sorted_vec().into_iter().map(|(_, n)| n).collect()
}

#[cfg(test)]
mod tests;
