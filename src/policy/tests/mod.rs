//! Tests of the room, and the site, image and lists they share.

mod every_rule;
mod explanations;
mod naive;
mod notify;
mod policy_files;
mod refusals;
mod steps;
mod thresholds;

use super::*;
use crate::{
    clock::{Day, Time},
    estate::*,
    ids::{Mpan, Sha256Hash},
};

const HASH: Sha256Hash = crate::ids::ImageId([7; 32]);
const OTHER_HASH: Sha256Hash = crate::ids::ImageId([8; 32]);

fn day(text: &str) -> Day {
    text.parse().unwrap()
}

/// As [`PolicySet::compiled`], parsed once for all tests.
fn compiled() -> PolicySet {
    static COMPILED: std::sync::LazyLock<PolicySet> = std::sync::LazyLock::new(PolicySet::compiled);
    COMPILED.clone()
}

/// Noon in London's winter, so that the day is the one written.
fn noon(text: &str) -> Time {
    format!("{text}T12:00:00Z").parse().unwrap()
}

/// A site that passes every rule of [`Case::new`].
fn site() -> Site {
    Site {
        device_id: "00-DB-12-34-56-78-90-A4".parse().unwrap(),
        mpan: mpan(),
        cohort: Cohort::Ioc,
        manufacturer: "106C".to_string(),
        model: "433100AC".to_string(),
        hardware_version: 0x1111,
        firmware_version: "0001".to_string(),
        device_status: "Commissioned".to_string(),
        dmc: "DMC-1".to_string(),
        chf_device_id: None,
        gsme_device_id: None,
        region: None,
        migrated_on: Some(day("2020-06-01")),
        as_at: None,
    }
}

fn mpan() -> Mpan {
    "2298132107763".parse().unwrap()
}

fn image() -> ImageFacts {
    ImageFacts {
        manufacturer: "106C".to_string(),
        models: vec!["433100AC".to_string(), "433100AD".to_string()],
        hardware_min: 0x1111,
        hardware_max: 0x1211,
        firmware_version: "0002".to_string(),
        upgrade_from: UpgradeFrom::parse("0001;0000"),
        manufacturer_image_sha256: HASH,
    }
}

fn cpl_entry(id: &str, hardware_version: u16, upgrade_from: &str) -> CplEntry {
    CplEntry {
        cpl_entry_id: id.to_string(),
        device_type: "PPMID".to_string(),
        manufacturer: "106C".to_string(),
        model: "433100AC".to_string(),
        hardware_version,
        firmware_version: "0002".to_string(),
        manufacturer_image_hash: HASH,
        status: CplStatus::Active,
        upgrade_from: UpgradeFrom::parse(upgrade_from),
    }
}

fn epcl_row(dmc: &str, from: &str, to: Option<&str>) -> EpclEntry {
    EpclEntry { dmc: dmc.to_string(), effective_from: day(from), effective_to: to.map(day) }
}

fn own(mpid: &str, from: &str, to: Option<&str>) -> Registration {
    Registration { mpan: mpan(), supplier_mpid: mpid.parse().unwrap(), effective_from: day(from), effective_to: to.map(day) }
}

/// A question to `evaluate`, all of it owned, to be spoilt in one place by a test.
#[derive(Debug, Clone)]
struct Case {
    policies: PolicySet,
    image: ImageFacts,
    cpl: Vec<CplEntry>,
    epcl: Vec<EpclEntry>,
    at: Time,
    site: Site,
    own: Vec<Registration>,
    key: Option<KeyStatus>,
    exclusion: Option<String>,
    in_other_campaign: bool,
}

impl Case {
    /// Eligible on 2021-01-15.
    fn new() -> Case {
        Case {
            policies: compiled(),
            image: image(),
            cpl: vec![cpl_entry("CPL-1", 0x1111, "0001")],
            epcl: vec![epcl_row("DMC-1", "2020-01-01", None)],
            at: noon("2021-01-15"),
            site: site(),
            own: vec![own("EELC", "2019-04-01", None)],
            key: Some(KeyStatus::Updated),
            exclusion: None,
            in_other_campaign: false,
        }
    }

    fn but(change: impl FnOnce(&mut Case)) -> Case {
        let mut case = Case::new();
        change(&mut case);
        case
    }

    fn decision(&self) -> Decision {
        Decision::new(&self.policies, self.image.clone(), &self.cpl, &self.epcl, self.at)
    }

    fn facts(&self) -> SiteFacts<'_> {
        SiteFacts {
            site: &self.site,
            own_registrations: &self.own,
            key: self.key,
            exclusion: self.exclusion.as_deref(),
            in_other_campaign: self.in_other_campaign,
        }
    }

    fn verdict(&self) -> Verdict {
        evaluate(&self.decision(), &self.facts())
    }

    fn reason(&self) -> Reason {
        self.verdict().reason
    }

    fn explain(&self) -> Vec<Finding> {
        explain(&self.decision(), &self.facts())
    }
}
