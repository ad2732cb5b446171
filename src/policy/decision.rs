//! Everything that is the same for every site of one decision, prepared once: policies, image, product lists and the day.
//! Promise: what a rule asks about a site is then a handful of comparisons and two look-ups, with no allocation.

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};

use super::{
    CohortPolicy, Eligibility, ImageFacts, NotStatedMeans, PolicySet, Reason,
    pathway::Device,
    refusal::{differs_in_spelling, is_of_image},
};
use crate::{
    clock::{Day, Time},
    estate::{CplEntry, CplStatus, EpclEntry, Site, UpgradeFrom},
};

/// The rules that a resubmission leaves out (retry.toml, `resubmit`), and no other.
const LEFT_OUT: [Reason; 2] = [Reason::KeysMissing, Reason::KeysUnknown];

/// Built by [`Decision::new`], then asked for each site.
#[derive(Debug, Clone)]
pub struct Decision {
    pub(super) eligibility: Eligibility,
    policy_hash: String,
    pub(super) at: Time,
    pub(super) day: Day,
    /// `None`: no image was named, and the rules about one are not judged.
    pub(super) image: Option<ImageFacts>,
    /// By model, then hardware version, the Active entries with the image's version and hash, one product a manufacturer.
    products: HashMap<String, HashMap<u16, Vec<Product>>>,
    epcl: HashMap<String, Vec<EpclEntry>>,
    /// The Active entries of the image, in the order given.
    cpl: Vec<CplEntry>,
    /// It is about sending a site again though its key is missing.
    resubmits: bool,
}

/// The Active CPL entries of the image for one manufacturer, model and hardware version.
#[derive(Debug, Clone)]
pub(super) struct Product {
    manufacturer: String,
    /// At least one.
    pub entries: Vec<CplEntry>,
    /// Where each is among all of the image, and what it allows by itself.
    places: Vec<(usize, Pathways)>,
    from: Pathways,
}

/// Versions that may be upgraded from, as the entries say together.
#[derive(Debug, Clone)]
enum Pathways {
    Any,
    Versions(HashSet<String>),
}

impl Decision {
    /// `cpl` is the whole list, or at least every entry with the image's firmware version. The day is that of `at` in Europe/London.
    pub fn new(policies: &PolicySet, image: ImageFacts, cpl: &[CplEntry], epcl: &[EpclEntry], at: Time) -> Decision {
        let not_stated = policies.eligibility.cpl_upgrade_from_not_stated;
        let mut products: HashMap<String, HashMap<u16, Vec<Product>>> = HashMap::new();
        let cpl: Vec<CplEntry> =
            cpl.iter().filter(|e| e.status == CplStatus::Active && is_of_image(&image, e)).cloned().collect();
        for (place, entry) in cpl.iter().enumerate() {
            let by_hardware = products.entry(entry.model.clone()).or_default();
            let makers = by_hardware.entry(entry.hardware_version).or_default();
            match makers.iter_mut().find(|p| p.manufacturer == entry.manufacturer) {
                Some(product) => product.add(entry, place, not_stated),
                None => makers.push(Product::of(entry, place, not_stated)),
            }
        }
        Decision { image: Some(image), products, cpl, ..Decision::without_image(policies, epcl, at) }
    }

    /// For `explain` when no image is named: the rules about an image do not apply, and their findings say that they were not judged.
    pub fn without_image(policies: &PolicySet, epcl: &[EpclEntry], at: Time) -> Decision {
        let mut rows: HashMap<String, Vec<EpclEntry>> = HashMap::new();
        for row in epcl {
            rows.entry(row.dmc.clone()).or_default().push(row.clone());
        }
        let (eligibility, policy_hash) = (policies.eligibility.clone(), policies.hash());
        Decision {
            eligibility,
            policy_hash,
            at,
            day: at.london_day(),
            image: None,
            products: HashMap::new(),
            epcl: rows,
            cpl: Vec::new(),
            resubmits: false,
        }
    }

    /// The same, of whether a site may be sent again though its key is missing: `KEYS_MISSING` and `KEYS_UNKNOWN` are left out, and
    /// everything else is as it was.
    pub fn resubmitting(self) -> Decision {
        Decision { resubmits: true, ..self }
    }

    pub fn resubmits(&self) -> bool {
        self.resubmits
    }

    /// Whether the rule with this reason decides nothing here.
    pub(super) fn leaves_out(&self, reason: Reason) -> bool {
        self.resubmits && LEFT_OUT.contains(&reason)
    }

    /// The moment decided about.
    pub fn at(&self) -> Time {
        self.at
    }

    /// Its date in Europe/London.
    pub fn day(&self) -> Day {
        self.day
    }

    /// The Active entries of the image's version and hash: what [`super::Verdict::cpl_entry`] is a place in.
    pub fn cpl_entries(&self) -> &[CplEntry] {
        &self.cpl
    }

    /// Of the policy set it was made with: see [`PolicySet::hash`].
    pub fn policy_hash(&self) -> &str {
        &self.policy_hash
    }

    pub(super) fn cohort(&self, site: &Site) -> &CohortPolicy {
        self.eligibility.cohort(site.cohort)
    }

    /// The EPCL rows of a DMC, whatever their dates.
    pub(super) fn epcl_rows(&self, dmc: &str) -> &[EpclEntry] {
        self.epcl.get(dmc).map_or(&[], Vec::as_slice)
    }

    /// The Active entries for the site's manufacturer, model and hardware version with the image's version and hash.
    pub(super) fn product(&self, site: &Site) -> Option<&Product> {
        self.product_of(&site.manufacturer, &site.model, site.hardware_version)
    }

    fn product_of(&self, manufacturer: &str, model: &str, hardware_version: u16) -> Option<&Product> {
        self.products.get(model)?.get(&hardware_version)?.iter().find(|p| p.manufacturer == manufacturer)
    }

    /// Rules 5 and 7 alone: the image is for this device, and manifest and product list allow it after `version`.
    pub(super) fn allows_step(&self, device: &Device, version: &str) -> bool {
        let Device { manufacturer, model, hardware_version, .. } = device;
        let product = self.product_of(manufacturer, model, *hardware_version);
        self.image
            .as_ref()
            .is_some_and(|image| image.covers_product(manufacturer, model, *hardware_version) && image.allows(version))
            && product.is_some_and(|product| product.allows(version))
    }

    /// The version differs only by case or leading zeros from the image's, or from one that manifest or product list name as one to be
    /// upgraded from (a known quality problem of the lists).
    pub fn is_spelt_differently(&self, device: &Device) -> bool {
        let Some(image) = &self.image else { return false };
        let version = device.firmware_version.as_str();
        let entries =
            self.product_of(&device.manufacturer, &device.model, device.hardware_version).map_or(&[][..], |p| &p.entries);
        let lists = entries.iter().map(|e| &e.upgrade_from).chain([&image.upgrade_from]);
        let stated = lists.filter_map(|list| if let UpgradeFrom::Versions(v) = list { Some(v) } else { None }).flatten();
        stated.chain([&image.firmware_version]).any(|other| differs_in_spelling(version, other).is_some())
    }
}

impl Product {
    fn of(entry: &CplEntry, place: usize, not_stated: NotStatedMeans) -> Product {
        let (manufacturer, from) = (entry.manufacturer.clone(), Pathways::Versions(HashSet::new()));
        let mut product = Product { manufacturer, entries: Vec::new(), places: Vec::new(), from };
        product.add(entry, place, not_stated);
        product
    }

    fn add(&mut self, entry: &CplEntry, place: usize, not_stated: NotStatedMeans) {
        let allows = Pathways::of(entry, not_stated);
        match (&allows, &mut self.from) {
            (Pathways::Any, from) => *from = Pathways::Any,
            (Pathways::Versions(more), Pathways::Versions(versions)) => versions.extend(more.iter().cloned()),
            (Pathways::Versions(_), Pathways::Any) => {}
        }
        self.entries.push(entry.clone());
        self.places.push((place, allows));
    }

    /// At least one of the entries allows the upgrade from this version.
    pub(super) fn allows(&self, version: &str) -> bool {
        self.from.allow(version)
    }

    /// The place of the first entry that allows it; where none does, of the first.
    pub(super) fn place_for(&self, version: &str) -> usize {
        self.places.iter().find(|(_, from)| from.allow(version)).unwrap_or(&self.places[0]).0
    }
}

impl Pathways {
    fn of(entry: &CplEntry, not_stated: NotStatedMeans) -> Pathways {
        match (&entry.upgrade_from, not_stated) {
            (UpgradeFrom::Any, _) | (UpgradeFrom::NotStated, NotStatedMeans::Any) => Pathways::Any,
            (UpgradeFrom::None, _) | (UpgradeFrom::NotStated, NotStatedMeans::None) => Pathways::Versions(HashSet::new()),
            (UpgradeFrom::Versions(versions), _) => Pathways::Versions(versions.iter().cloned().collect()),
        }
    }

    fn allow(&self, version: &str) -> bool {
        match self {
            Pathways::Any => true,
            Pathways::Versions(versions) => versions.contains(version),
        }
    }
}

impl ImageFacts {
    /// Manufacturer, model and hardware version lie within the manifest (both ends of the range included).
    pub(super) fn covers(&self, site: &Site) -> bool {
        self.covers_product(&site.manufacturer, &site.model, site.hardware_version)
    }

    fn covers_product(&self, manufacturer: &str, model: &str, hardware_version: u16) -> bool {
        manufacturer == self.manufacturer
            && (self.hardware_min..=self.hardware_max).contains(&hardware_version)
            && self.models.iter().any(|m| m == model)
    }

    /// The manifest's own list; it must state one (the contract has a list or `*`).
    pub(super) fn allows(&self, version: &str) -> bool {
        match &self.upgrade_from {
            UpgradeFrom::Any => true,
            UpgradeFrom::None | UpgradeFrom::NotStated => false,
            UpgradeFrom::Versions(versions) => versions.iter().any(|v| v == version),
        }
    }
}
