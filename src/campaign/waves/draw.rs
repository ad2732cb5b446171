//! Who is in which wave: drawn by a seeded hash, from each cohort, device model and region in proportion, so that a canary looks like the
//! whole. Pure: the same seed and sites give the same waves, in whatever order the sites come. Promise: each wave has exactly its size;
//! of each stratum, each model of a cohort and each cohort it has its proportional share to within one site.

use foldhash::{HashMap, HashMapExt};
use sha2::{Digest, Sha256};

use super::{PlannedWave, Waves, sizes};
use crate::{
    estate::{Cohort, Site},
    ids::DeviceId,
    policy::{Outcome, Reason, Wave, WaveSize},
};

/// Sites that are alike: cohort, device model, region.
type Stratum = (Cohort, String, Option<String>);

/// The members of a plan that is being made, by stratum. Some 16 bytes a site.
#[derive(Debug)]
pub struct Drawing {
    seed: i64,
    waves: Vec<Wave>,
    places: HashMap<Cohort, HashMap<String, HashMap<Option<String>, u32>>>,
    strata: Vec<Stratum>,
    members: Vec<(u32, bool, DeviceId)>,
}

/// The waves of a plan, and who is in all but the last: the last has whoever is named nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawn {
    pub waves: Waves,
    /// By Device ID.
    pub members: Vec<(DeviceId, i64)>,
}

impl Drawing {
    pub fn new(seed: i64, waves: Vec<Wave>) -> Drawing {
        Drawing { seed, waves, places: HashMap::new(), strata: Vec::new(), members: Vec::new() }
    }

    /// Notes a site that was decided about. Nothing is allocated for one of a stratum that is known.
    pub fn add(&mut self, site: &Site, reason: Reason) {
        let held = match reason.outcome() {
            Outcome::Eligible => false,
            Outcome::Held => true,
            Outcome::Ineligible => return,
        };
        let known = self.places.get(&site.cohort).and_then(|m| m.get(&site.model)).and_then(|r| r.get(&site.region));
        let place = match known {
            Some(place) => *place,
            None => {
                let place = self.strata.len() as u32;
                self.strata.push((site.cohort, site.model.clone(), site.region.clone()));
                let of_model = self.places.entry(site.cohort).or_default().entry(site.model.clone()).or_default();
                of_model.insert(site.region.clone(), place);
                place
            }
        };
        self.members.push((place, held, site.device_id));
    }

    /// Draws. The sizes are of the eligible; the held are divided in the same proportions, and go when they pass.
    pub fn end(self) -> Drawn {
        let mut order: Vec<usize> = (0..self.strata.len()).collect();
        order.sort_by(|a, b| self.strata[*a].cmp(&self.strata[*b]));
        let mut rank = vec![0; order.len()];
        order.iter().enumerate().for_each(|(n, place)| rank[*place] = n);
        let mut by_stratum = [vec![Vec::new(); rank.len()], vec![Vec::new(); rank.len()]];
        for (place, held, device) in &self.members {
            by_stratum[usize::from(*held)][rank[*place as usize]].push(*device);
        }
        let [eligible, held] = by_stratum;
        let count = |strata: &[Vec<DeviceId>]| strata.iter().map(Vec::len).sum::<usize>() as i64;
        let wanted: Vec<WaveSize> = self.waves.iter().map(|w| w.size).collect();
        let of_eligible = sizes(&wanted, count(&eligible));
        let of_held = in_proportion(&of_eligible, &wanted, count(&held));
        let mut members: Vec<(DeviceId, i64)> = draw(self.seed, eligible, &of_eligible);
        // Another draw, so that who is held does not follow who is not.
        members.extend(draw(self.seed ^ 1, held, &of_held));
        members.sort_unstable_by_key(|(device, _)| device.0);
        let wave = |((wave, eligible), held)| PlannedWave { wave, eligible, held };
        let waves = self.waves.into_iter().zip(of_eligible).zip(of_held).map(wave).collect();
        Drawn { waves: Waves { seed: self.seed, waves }, members }
    }
}

/// So many sites in the proportions of others; by the sizes as they are written where there are no others.
fn in_proportion(others: &[i64], wanted: &[WaveSize], sites: i64) -> Vec<i64> {
    let all: i64 = others.iter().sum();
    if all == 0 {
        return sizes(wanted, sites);
    }
    let (mut before, mut taken) = (0, 0);
    let mut each = Vec::with_capacity(others.len());
    for n in others {
        before += n;
        let until = ((i128::from(before) * i128::from(sites) * 2 + i128::from(all)) / (2 * i128::from(all))) as i64;
        each.push(until - taken);
        taken = until;
    }
    each
}

/// Draws waves of these sizes from strata, which lie in their order. Gives the wave, from 1, of all but those of the last.
///
/// The strata are laid one after the other, and every so-and-so-many-th site is counted off, beginning at a random place: whatever
/// stretch of them one looks at has its share to within one. Within a stratum those with the least hash are taken.
pub fn draw(seed: i64, mut strata: Vec<Vec<DeviceId>>, sizes: &[i64]) -> Vec<(DeviceId, i64)> {
    for stratum in &mut strata {
        stratum.sort_by_cached_key(|device| (hash(seed, "device", device.0), device.0));
    }
    let mut next = vec![0; strata.len()];
    let mut drawn = Vec::new();
    let (_, but_the_last) = sizes.split_last().map_or((&0, &[][..]), |(last, before)| (last, before));
    for (wave, size) in but_the_last.iter().enumerate() {
        let number = wave as i64 + 1;
        let left: Vec<u64> = strata.iter().zip(&next).map(|(s, next)| (s.len() - next) as u64).collect();
        for (n, share) in shares(&left, *size as u64, hash(seed, "wave", number as u64)).into_iter().enumerate() {
            let taken = &strata[n][next[n]..next[n] + share as usize];
            drawn.extend(taken.iter().map(|device| (*device, number)));
            next[n] += share as usize;
        }
    }
    drawn
}

/// How many of `size` each stratum gives. Exact in all, and within one of the share of any stretch of strata.
fn shares(left: &[u64], size: u64, offset: u64) -> Vec<u64> {
    let all: u128 = left.iter().map(|n| u128::from(*n)).sum();
    if all == 0 {
        return vec![0; left.len()];
    }
    let offset = u128::from(offset) % all;
    let (mut before, mut given) = (0_u128, 0_u128);
    let each = left.iter().map(|n| {
        before += u128::from(*n);
        let until = (before * u128::from(size) + offset) / all;
        let share = until - given;
        given = until;
        share as u64
    });
    each.collect()
}

fn hash(seed: i64, what: &str, n: u64) -> u64 {
    let mut hash = Sha256::new();
    hash.update(seed.to_be_bytes());
    hash.update(what);
    hash.update(n.to_be_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    u64::from_be_bytes(digest[..8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::ids::Eui;

    /// Strata of so many sites.
    fn strata(counts: &[usize]) -> Vec<Vec<DeviceId>> {
        let mut n = 0;
        let mut stratum = |count: &usize| {
            (0..*count)
                .map(|_| {
                    n += 1;
                    Eui(n)
                })
                .collect()
        };
        counts.iter().map(&mut stratum).collect()
    }

    proptest! {
        #[test]
        fn a_wave_has_its_size_and_of_every_stretch_of_strata_its_share(
            counts in prop::collection::vec(0_usize..60, 1..30), parts in prop::collection::vec(0_i64..200, 1..4), seed: i64,
        ) {
            let all: i64 = counts.iter().sum::<usize>() as i64;
            let mut left = all;
            let mut wanted: Vec<i64> = parts.iter().map(|p| { let n = (*p).min(left); left -= n; n }).collect();
            wanted.push(left);
            let sites = strata(&counts);
            let drawn = draw(seed, sites.clone(), &wanted);
            let distinct: BTreeSet<u64> = drawn.iter().map(|(d, _)| d.0).collect();
            prop_assert_eq!(distinct.len(), drawn.len(), "nobody is in two waves");
            let mut remaining: Vec<i64> = counts.iter().map(|n| *n as i64).collect();
            for (wave, size) in wanted[..wanted.len() - 1].iter().enumerate() {
                let of_wave: BTreeSet<u64> = drawn.iter().filter(|(_, w)| *w == wave as i64 + 1).map(|(d, _)| d.0).collect();
                prop_assert_eq!(of_wave.len() as i64, *size, "the total is exact");
                let each: Vec<i64> = sites.iter().map(|s| s.iter().filter(|d| of_wave.contains(&d.0)).count() as i64).collect();
                let before: i64 = remaining.iter().sum();
                for from in 0..each.len() {
                    for to in from..each.len() {
                        let (got, of) = (each[from..=to].iter().sum::<i64>(), remaining[from..=to].iter().sum::<i64>());
                        // |got - size * of / before| < 1
                        prop_assert!((got * before - size * of).abs() < before.max(1), "{from}..={to}: {got} of {of}");
                    }
                }
                remaining.iter_mut().zip(&each).for_each(|(left, taken)| *left -= taken);
            }
        }

        #[test]
        fn the_order_of_the_sites_changes_nothing_and_the_seed_does(counts in prop::collection::vec(5_usize..40, 2..6), seed: i64) {
            let wanted = [10, strata(&counts).concat().len() as i64 - 10];
            let drawn = |seed, backwards: bool| {
                let mut sites = strata(&counts);
                if backwards {
                    sites.iter_mut().for_each(|s| s.reverse());
                }
                draw(seed, sites, &wanted).into_iter().map(|(d, w)| (d.0, w)).collect::<BTreeMap<_, _>>()
            };
            prop_assert_eq!(drawn(seed, false), drawn(seed, true));
            let others: BTreeSet<_> = (1..=5).map(|n| drawn(seed.wrapping_add(n), false)).collect();
            prop_assert!(others.len() > 1 || counts.iter().sum::<usize>() == 10);
        }

        #[test]
        fn the_held_are_divided_as_the_eligible_are(others in prop::collection::vec(0_i64..10_000, 1..6), sites in 0_i64..100_000) {
            let wanted = vec![WaveSize::Rest; others.len()];
            let each = in_proportion(&others, &wanted, sites);
            prop_assert_eq!(each.iter().sum::<i64>(), sites);
            prop_assert!(each.iter().all(|n| *n >= 0));
            let all: i64 = others.iter().sum();
            for (n, other) in each.iter().zip(&others) {
                prop_assert!(all == 0 || (n * all - sites * other).abs() <= all);
            }
        }
    }

    fn site(n: u64) -> Site {
        Site {
            device_id: Eui(n),
            mpan: crate::ids::Mpan::from_first_twelve(190_003_300_000 + n),
            // A tenth is SECURE; of each cohort a quarter is the second model; five regions and none.
            cohort: if n.is_multiple_of(10) { Cohort::Secure } else { Cohort::Ioc },
            manufacturer: "106C".into(),
            model: if n.is_multiple_of(4) { "B" } else { "A" }.into(),
            hardware_version: 0x0101,
            firmware_version: "1".into(),
            device_status: "Commissioned".into(),
            dmc: "D".into(),
            chf_device_id: None,
            gsme_device_id: None,
            region: (!n.is_multiple_of(6)).then(|| format!("R{}", n % 6)),
            migrated_on: None,
            as_at: None,
        }
    }

    #[test]
    fn a_canary_looks_like_the_whole() {
        let wave = |name: &str, size: &str| Wave { name: name.into(), size: size.parse().unwrap(), watch: Default::default() };
        let mut drawing = Drawing::new(42, vec![wave("canary", "1%"), wave("rest", "rest")]);
        for n in 1..=12_000 {
            let reason = match n % 3 {
                0 => Reason::KeysMissing,
                _ if n % 1_000 == 1 => Reason::CohortNotLive,
                _ => Reason::Eligible,
            };
            drawing.add(&site(n), reason);
        }
        let drawn = drawing.end();
        let planned: Vec<(i64, i64)> = drawn.waves.waves.iter().map(|w| (w.eligible, w.held)).collect();
        assert_eq!(planned, [(80, 40), (7_912, 3_960)], "the size is of the eligible, and the held go beside them");
        let canary: Vec<Site> = drawn.members.iter().map(|(d, _)| site(d.0)).collect();
        let count = |of: &dyn Fn(&Site) -> bool| canary.iter().filter(|s| of(s)).count();
        assert_eq!((canary.len(), drawn.members.iter().all(|(_, wave)| *wave == 1)), (120, true));
        assert!((10..=14).contains(&count(&|s| s.cohort == Cohort::Secure)), "a tenth");
        assert!((26..=34).contains(&count(&|s| s.model == "B")), "a quarter");
        for region in [None, Some("R1"), Some("R2"), Some("R3"), Some("R4"), Some("R5")] {
            let n = count(&|s| s.region.as_deref() == region);
            assert!((12..=28).contains(&n), "a sixth: {region:?} {n}");
        }
    }

    #[test]
    fn every_site_is_as_likely_as_any_other_to_be_in_the_canary() {
        let mut often = BTreeMap::new();
        for seed in 0..2_000 {
            for (device, _) in draw(seed, strata(&[30, 10, 60]), &[10, 90]) {
                *often.entry(device.0).or_insert(0) += 1;
            }
        }
        // Each 200 times of 2,000 but for chance: five deviations are 67.
        assert_eq!(often.len(), 100);
        assert!(often.values().all(|n| (130..=270).contains(n)), "{often:?}");
    }
}
