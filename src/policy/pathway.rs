//! Upgrade pathways: where a site may not go to the wanted version directly, which stored image would go first. A search over
//! versions, breadth first. Pure; decides about no site: that is `evaluate`. Promise: a pathway that is given is a shortest one, each
//! of its steps is allowed by the image's manifest and by an Active entry of the product list, and of equals it is the first by version.

use std::collections::HashSet;

use super::{Decision, ImageFacts, PolicySet};
use crate::{clock::Time, estate::CplEntry, ids::ImageId};

/// Most images before the wanted one: a longer way is no way a person would go, and the search stays small whatever the lists say.
pub const STEPS_MAX: usize = 6;

/// What a pathway begins with: all that rules 5 to 7 compare of a site.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Device {
    pub manufacturer: String,
    pub model: String,
    pub hardware_version: u16,
    pub firmware_version: String,
}

/// One image on the way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Step {
    pub firmware_version: String,
    pub image: ImageId,
}

/// The images that may be used, and the wanted one, each with the entries of the product list that are its own.
#[derive(Debug, Clone)]
pub struct Pathways {
    wanted: Decision,
    /// By version, then id.
    others: Vec<(Step, Decision)>,
}

impl Pathways {
    /// `wanted` was made for the campaign's image; `images` are the stored ones that may be used (trusted, in date), the wanted among them
    /// or not; `cpl` is the whole list.
    pub fn new(
        policies: &PolicySet,
        wanted: &Decision,
        images: Vec<(ImageId, ImageFacts)>,
        cpl: &[CplEntry],
        at: Time,
    ) -> Pathways {
        let version = wanted.image.as_ref().map(|image| image.firmware_version.clone());
        let mut others: Vec<(Step, Decision)> = images
            .into_iter()
            .filter(|(_, facts)| Some(&facts.firmware_version) != version.as_ref())
            .map(|(image, facts)| {
                let step = Step { firmware_version: facts.firmware_version.clone(), image };
                (step, Decision::new(policies, facts, cpl, &[], at))
            })
            .collect();
        others.sort_by(|a, b| a.0.cmp(&b.0));
        Pathways { wanted: wanted.clone(), others }
    }

    /// The images that would go before the wanted one, in order. `None`: the direct step is allowed (or the device is there), or no
    /// way of at most [`STEPS_MAX`] images leads there.
    pub fn before(&self, device: &Device) -> Option<Vec<Step>> {
        let allows = |decision: &Decision, version: &str| decision.allows_step(device, version);
        if self.wanted.image.as_ref().is_none_or(|image| image.firmware_version == device.firmware_version)
            || allows(&self.wanted, &device.firmware_version)
        {
            return None;
        }
        let mut seen = HashSet::from([device.firmware_version.as_str()]);
        let mut level: Vec<Vec<&Step>> = vec![Vec::new()];
        for _ in 0..STEPS_MAX {
            let mut next = Vec::new();
            // In the order of the ways: the first to reach a version is the least of those that do.
            for way in level {
                let from = way.last().map_or(device.firmware_version.as_str(), |step| &step.firmware_version);
                for (step, decision) in &self.others {
                    if !seen.contains(step.firmware_version.as_str()) && allows(decision, from) {
                        seen.insert(&step.firmware_version);
                        next.push([way.as_slice(), &[step]].concat());
                    }
                }
            }
            let there = next.iter().find(|way| way.last().is_some_and(|step| allows(&self.wanted, &step.firmware_version)));
            if let Some(way) = there {
                return Some(way.iter().map(|step| (*step).clone()).collect());
            }
            level = next;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        estate::{CplStatus, UpgradeFrom},
        policy::NotStatedMeans,
    };

    const VERSIONS: [&str; 7] = ["a", "b", "c", "d", "e", "f", "z"];

    /// An image of the little world, with the entries of the list that name its version.
    #[derive(Debug, Clone)]
    struct Known {
        image: u8,
        facts: ImageFacts,
        entries: Vec<CplEntry>,
    }

    fn versions() -> impl Strategy<Value = UpgradeFrom> {
        prop_oneof![
            1 => Just(UpgradeFrom::Any),
            1 => Just(UpgradeFrom::None),
            1 => Just(UpgradeFrom::NotStated),
            8 => prop::collection::btree_set(0..VERSIONS.len(), 1..3)
                .prop_map(|v: BTreeSet<usize>| UpgradeFrom::Versions(v.into_iter().map(|i| VERSIONS[i].to_string()).collect())),
        ]
    }

    fn known(image: u8) -> impl Strategy<Value = Known> {
        let entry = (versions(), 0..10u8, 0..10u8, 0..10u8);
        (0..VERSIONS.len(), versions(), 0..10u8, prop::collection::vec(entry, 0..3)).prop_map(
            move |(version, upgrade_from, odd, rows)| {
                let facts = ImageFacts {
                    manufacturer: if odd == 0 { "other" } else { "106C" }.to_string(),
                    models: vec![if odd == 1 { "other" } else { "model" }.to_string()],
                    hardware_min: if odd == 2 { 0x0200 } else { 0x0100 },
                    hardware_max: 0x01FF + if odd == 2 { 0x0100 } else { 0 },
                    firmware_version: VERSIONS[version].to_string(),
                    upgrade_from,
                    manufacturer_image_sha256: crate::ids::ImageId([image; 32]),
                };
                let entries = rows.into_iter().enumerate().map(|(n, (from, status, hash, hardware))| CplEntry {
                    cpl_entry_id: format!("{image}-{n}"),
                    device_type: "PPMID".into(),
                    manufacturer: "106C".into(),
                    model: "model".into(),
                    hardware_version: if hardware == 0 { 0x0102 } else { 0x0101 },
                    firmware_version: VERSIONS[version].into(),
                    manufacturer_image_hash: crate::ids::ImageId([if hash == 0 { 99 } else { image }; 32]),
                    status: if status == 0 { CplStatus::Withdrawn } else { CplStatus::Active },
                    upgrade_from: from,
                });
                Known { image, entries: entries.collect(), facts }
            },
        )
    }

    fn world() -> impl Strategy<Value = (Vec<Known>, usize, bool)> {
        let images: Vec<_> = (0..8).map(known).collect();
        (images, 0..VERSIONS.len(), any::<bool>())
    }

    fn device(version: usize) -> Device {
        Device {
            manufacturer: "106C".into(),
            model: "model".into(),
            hardware_version: 0x0101,
            firmware_version: VERSIONS[version].into(),
        }
    }

    /// The rule in the contract's words, over plain lists.
    fn may(known: &Known, all: &[Known], from: &str, not_stated: NotStatedMeans) -> bool {
        let says = |list: &UpgradeFrom, not_stated: bool| match list {
            UpgradeFrom::Any => true,
            UpgradeFrom::None => false,
            UpgradeFrom::NotStated => not_stated,
            UpgradeFrom::Versions(v) => v.iter().any(|v| v == from),
        };
        let facts = &known.facts;
        let covered = facts.manufacturer == "106C"
            && facts.models.iter().any(|m| m == "model")
            && facts.hardware_min <= 0x0101
            && 0x0101 <= facts.hardware_max;
        let listed = all.iter().flat_map(|k| &k.entries).any(|e| {
            e.status == CplStatus::Active
                && e.hardware_version == 0x0101
                && e.firmware_version == facts.firmware_version
                && e.manufacturer_image_hash == facts.manufacturer_image_sha256
                && says(&e.upgrade_from, not_stated == NotStatedMeans::Any)
        });
        covered && listed && says(&facts.upgrade_from, false)
    }

    /// Every way of at most `left` images, each version at most once.
    fn ways(all: &[Known], from: &str, been: &[&str], wanted: &Known, left: usize, not_stated: NotStatedMeans) -> Vec<Vec<Step>> {
        let mut found = Vec::new();
        for next in all.iter().filter(|k| k.facts.firmware_version != wanted.facts.firmware_version) {
            let version = next.facts.firmware_version.as_str();
            if left == 0 || been.contains(&version) || !may(next, all, from, not_stated) {
                continue;
            }
            let step = Step { firmware_version: version.to_string(), image: crate::ids::ImageId([next.image; 32]) };
            if may(wanted, all, version, not_stated) {
                found.push(vec![step.clone()]);
            }
            let been = [been, &[version]].concat();
            found.extend(ways(all, version, &been, wanted, left - 1, not_stated).into_iter().map(|mut rest| {
                rest.insert(0, step.clone());
                rest
            }));
        }
        found
    }

    fn searched(all: &[Known], from: usize, not_stated: NotStatedMeans) -> Option<Vec<Step>> {
        let mut policies = PolicySet::compiled();
        policies.eligibility.cpl_upgrade_from_not_stated = not_stated;
        let cpl: Vec<CplEntry> = all.iter().flat_map(|k| k.entries.clone()).collect();
        let wanted = Decision::new(&policies, all[0].facts.clone(), &cpl, &[], Time(0));
        let images = all.iter().map(|k| (crate::ids::ImageId([k.image; 32]), k.facts.clone())).collect();
        Pathways::new(&policies, &wanted, images, &cpl, Time(0)).before(&device(from))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn the_way_is_the_least_of_all_the_shortest((all, from, any) in world()) {
            let not_stated = if any { NotStatedMeans::Any } else { NotStatedMeans::None };
            let here = VERSIONS[from];
            let direct = all[0].facts.firmware_version == here || may(&all[0], &all, here, not_stated);
            let naive = match direct {
                true => None,
                false => ways(&all, here, &[here], &all[0], STEPS_MAX, not_stated)
                    .into_iter()
                    .min_by(|a, b| (a.len(), a).cmp(&(b.len(), b))),
            };
            prop_assert_eq!(searched(&all, from, not_stated), naive);
        }
    }

    fn chain(steps: &[(u8, usize, usize)]) -> Vec<Known> {
        let one = |(image, version, from): &(u8, usize, usize)| {
            let upgrade_from = UpgradeFrom::Versions(vec![VERSIONS[*from].to_string()]);
            let hash = crate::ids::ImageId([*image; 32]);
            Known {
                image: *image,
                facts: ImageFacts {
                    manufacturer: "106C".into(),
                    models: vec!["model".into()],
                    hardware_min: 0,
                    hardware_max: 0xFFFF,
                    firmware_version: VERSIONS[*version].into(),
                    upgrade_from: upgrade_from.clone(),
                    manufacturer_image_sha256: hash,
                },
                entries: vec![CplEntry {
                    cpl_entry_id: format!("{image}"),
                    device_type: "PPMID".into(),
                    manufacturer: "106C".into(),
                    model: "model".into(),
                    hardware_version: 0x0101,
                    firmware_version: VERSIONS[*version].into(),
                    manufacturer_image_hash: hash,
                    status: CplStatus::Active,
                    upgrade_from,
                }],
            }
        };
        steps.iter().map(one).collect()
    }

    #[test]
    fn a_chain_is_followed_to_its_end_and_a_ring_ends() {
        let all = chain(&[(0, 6, 3), (1, 1, 0), (2, 2, 1), (3, 3, 2), (4, 0, 3)]);
        let way = searched(&all, 0, NotStatedMeans::None).unwrap();
        assert_eq!(way.iter().map(|s| s.firmware_version.as_str()).collect::<Vec<_>>(), ["b", "c", "d"]);
        assert_eq!(searched(&all[..3], 0, NotStatedMeans::None), None, "nothing leads on from c");
        assert_eq!(searched(&all, 3, NotStatedMeans::None), None, "the direct step is allowed");
    }
}
