//! What a plan's report says beside its counts: which image would go first where the wanted one is not allowed directly, and how many
//! versions look like a slip of the lists. Sites are counted by product and version while they are decided, so that a million of them
//! cost one search for each of a few groups. Pure.

use std::collections::BTreeMap;

use foldhash::HashMap;

use serde::{Deserialize, Serialize};

use crate::{
    estate::Site,
    ids::ImageId,
    policy::{
        Decision, Reason,
        pathway::{Device, Pathways, Step},
    },
};

/// Most groups that are counted: an estate has a few dozen, and a file of nonsense must not fill the memory.
const GROUPS_MAX: usize = 20_000;

/// How many sites would need an image first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstImage {
    pub image: ImageId,
    pub firmware_version: String,
    pub sites: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlanReport {
    /// Most sites first.
    pub pathways: Vec<FirstImage>,
    /// Sites whose version differs only by case or leading zeros from one that the image or the lists name. Never treated as equal.
    pub versions_spelt_differently: i64,
}

/// Sites of one manufacturer, hardware and version of a model.
#[derive(Debug)]
struct Group {
    manufacturer: String,
    hardware_version: u16,
    sites: i64,
    /// Those that are out because the direct step is not allowed.
    without_path: i64,
}

/// The sites of a plan by product and version.
#[derive(Debug, Default)]
pub struct Groups {
    /// By model, then version.
    found: HashMap<String, HashMap<String, Vec<Group>>>,
    groups: usize,
}

impl Groups {
    /// Counts a site. Nothing is allocated for one of a group that is known.
    pub fn add(&mut self, site: &Site, reason: Reason) {
        if self.found.get(&site.model).and_then(|m| m.get(&site.firmware_version)).is_none() {
            if self.groups >= GROUPS_MAX {
                return;
            }
            self.found.entry(site.model.clone()).or_default().insert(site.firmware_version.clone(), Vec::new());
        }
        let Some(group) = self.found.get_mut(&site.model).and_then(|m| m.get_mut(&site.firmware_version)) else { return };
        let same = |g: &Group| g.hardware_version == site.hardware_version && g.manufacturer == site.manufacturer;
        let place = match group.iter().position(same) {
            Some(place) => place,
            None if self.groups >= GROUPS_MAX => return,
            None => {
                let (manufacturer, hardware_version) = (site.manufacturer.clone(), site.hardware_version);
                group.push(Group { manufacturer, hardware_version, sites: 0, without_path: 0 });
                self.groups += 1;
                group.len() - 1
            }
        };
        group[place].sites += 1;
        group[place].without_path += i64::from(reason == Reason::UpgradePathNotAllowed);
    }

    /// Whether any site is out because the direct step is not allowed.
    pub fn any_without_path(&self) -> bool {
        self.devices().iter().any(|(_, group)| group.without_path > 0)
    }

    /// `pathways` is `None` where nobody needs one.
    pub fn report(&self, decision: &Decision, pathways: Option<&Pathways>) -> PlanReport {
        let mut first: BTreeMap<Step, i64> = BTreeMap::new();
        let mut report = PlanReport::default();
        for (device, group) in self.devices() {
            if decision.is_spelt_differently(&device) {
                report.versions_spelt_differently += group.sites;
            }
            let way = pathways.filter(|_| group.without_path > 0).and_then(|p| p.before(&device));
            if let Some(step) = way.and_then(|way| way.into_iter().next()) {
                *first.entry(step).or_default() += group.without_path;
            }
        }
        report.pathways = first
            .into_iter()
            .map(|(step, sites)| FirstImage { image: step.image, firmware_version: step.firmware_version, sites })
            .collect();
        report.pathways.sort_by_key(|first| -first.sites);
        report
    }

    fn devices(&self) -> Vec<(Device, &Group)> {
        let each = self.found.iter().flat_map(|(model, versions)| {
            versions.iter().flat_map(move |(version, groups)| groups.iter().map(move |g| (model, version, g)))
        });
        each.map(|(model, version, group)| {
            let device = Device {
                manufacturer: group.manufacturer.clone(),
                model: model.clone(),
                hardware_version: group.hardware_version,
                firmware_version: version.clone(),
            };
            (device, group)
        })
        .collect()
    }
}
