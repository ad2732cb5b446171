//! The decision about one site. Pure: no clock, no SQL.
//! Promise: [`evaluate`] gives the first rule of which [`explain`] says that it applies, for they ask the same functions.

use super::{Decision, Outcome, Reason, rules::RULES};
use crate::{
    clock::Day,
    estate::{KeyStatus, Registration, Site, UpgradeFrom},
    ids::{Mpid, Sha256Hash},
};

/// What the decision needs to know about one site.
#[derive(Debug, Clone, Copy)]
pub struct SiteFacts<'a> {
    pub site: &'a Site,
    /// Rows of the site's MPAN whose supplier is one of our own MPIDs, any dates, by `effective_from`.
    pub own_registrations: &'a [Registration],
    /// The latest key result not later than the moment decided about.
    pub key: Option<KeyStatus>,
    /// The reason of an exclusion that covers the day.
    pub exclusion: Option<&'a str>,
    /// The device is queued, submitted, accepted or delivered in another started campaign.
    pub in_other_campaign: bool,
}

/// What the decision needs to know about the image, from its verified manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFacts {
    pub manufacturer: String,
    pub models: Vec<String>,
    pub hardware_min: u16,
    pub hardware_max: u16,
    pub firmware_version: String,
    pub upgrade_from: UpgradeFrom,
    pub manufacturer_image_sha256: Sha256Hash,
}

/// The decision about a site and the registration row that justified it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub reason: Reason,
    /// The own registration that covers the day, or else begins soonest after it.
    pub registration: Option<(Mpid, Day)>,
    /// The place among [`Decision::cpl_entries`] of the Active entry that covers the site.
    pub cpl_entry: Option<usize>,
}

/// One rule, asked about one site.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// From 1, in the contract's order.
    pub rule: usize,
    pub reason: Reason,
    /// It stands against the site: the first rule that applies decides.
    pub applies: bool,
    /// False for a rule about the image when none was named.
    pub judged: bool,
    /// What the site would be if this rule decided.
    pub outcome: Outcome,
    /// The facts it went by, in words.
    pub what: String,
    /// Where the rule comes from.
    pub source: String,
}

/// Decides about one site: the first rule of the contract's table that applies.
pub fn evaluate(decision: &Decision, facts: &SiteFacts<'_>) -> Verdict {
    let first = RULES.iter().find(|rule| (rule.applies)(decision, facts) && !decision.leaves_out(rule.reason));
    let registration = facts.covering(decision.day).or_else(|| facts.upcoming(decision.day));
    Verdict {
        reason: first.map_or(Reason::Eligible, |rule| rule.reason),
        registration: registration.map(|r| (r.supplier_mpid, r.effective_from)),
        cpl_entry: decision.product(facts.site).map(|product| product.place_for(&facts.site.firmware_version)),
    }
}

/// Of a resubmission: the rule about keys that stands against the site and was left out; `None`: none does.
pub fn left_out(decision: &Decision, facts: &SiteFacts<'_>) -> Option<Reason> {
    let stands = |rule: &&super::rules::Rule| decision.leaves_out(rule.reason) && (rule.applies)(decision, facts);
    decision.resubmits().then(|| RULES.iter().find(stands).map(|rule| rule.reason)).flatten()
}

/// What the rule behind `reason` went by, where it stands against the site and no registration says it: short, for the record.
pub fn fact_against(facts: &SiteFacts<'_>, day: Day, reason: Reason) -> Option<String> {
    let site = facts.site;
    match reason {
        Reason::Eligible | Reason::SupplyLost | Reason::OtherCampaignInProgress | Reason::SupplyNotStarted => None,
        Reason::NotResponsibleSupplier => {
            let ended = facts.own_registrations.iter().filter_map(|r| r.effective_to).max();
            ended.map(|to| format!("supply ended on {to}"))
        }
        Reason::DeviceNotCommissioned => Some(site.device_status.clone()),
        Reason::CohortNotLive => Some(site.cohort.to_string()),
        Reason::CombinationNotEligible => Some(site.dmc.clone()),
        Reason::ModelNotCovered => Some(format!("{} {} {:04X}", site.manufacturer, site.model, site.hardware_version)),
        Reason::AlreadyAtVersion | Reason::UpgradePathNotAllowed => Some(site.firmware_version.clone()),
        Reason::SupplyChangePending => facts.covering(day).and_then(|r| r.effective_to).map(|to| format!("supply ends on {to}")),
        Reason::KeysMissing => facts.key.map(|status| status.to_string()),
        Reason::KeysUnknown => Some(site.migrated_on.map_or("no day of migration".into(), |day| format!("migrated on {day}"))),
        Reason::ExcludedByOperator => facts.exclusion.map(str::to_string),
    }
}

/// Every rule in order, with the facts it went by.
pub fn explain(decision: &Decision, facts: &SiteFacts<'_>) -> Vec<Finding> {
    let finding = |(n, rule): (usize, &super::rules::Rule)| {
        let judged = decision.image.is_some() || !rule.about_image;
        let left_out = decision.leaves_out(rule.reason);
        let mut what = if judged { (rule.what)(decision, facts) } else { "not judged: no image was named".to_string() };
        if left_out {
            what += "; left out of a resubmission";
        }
        Finding {
            rule: n + 1,
            reason: rule.reason,
            applies: (rule.applies)(decision, facts) && !left_out,
            judged,
            outcome: rule.reason.outcome(),
            what,
            source: source(decision, facts, rule.reason),
        }
    };
    RULES.iter().enumerate().map(finding).collect()
}

fn source(decision: &Decision, facts: &SiteFacts<'_>, reason: Reason) -> String {
    let eligibility = &decision.eligibility;
    let cohorts_own =
        (reason == Reason::CohortNotLive).then(|| eligibility.cohort(facts.site.cohort).clause.as_deref()).flatten();
    cohorts_own.or_else(|| eligibility.source(reason.as_str())).unwrap_or("eligibility.toml").to_string()
}

impl<'a> SiteFacts<'a> {
    /// The own registration that covers the day.
    pub fn covering(&self, day: Day) -> Option<&'a Registration> {
        self.own_registrations.iter().find(|r| r.covers(day))
    }

    /// The own registration that begins soonest after the day.
    pub fn upcoming(&self, day: Day) -> Option<&'a Registration> {
        self.own_registrations.iter().filter(|r| r.effective_from > day).min_by_key(|r| r.effective_from)
    }
}
