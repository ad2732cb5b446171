//! The thirteen rules of the contract's table, in its order: when each applies, and the facts it went by in words.
//! First what only a change of facts can cure, then what passes. Pure.

use std::fmt::Write as _;

use super::{Decision, Reason, SiteFacts, refusal::differs_in_spelling};
use crate::{
    clock::Day,
    estate::{KeyStatus, Registration},
};

/// The one device status that may be upgraded (DUIS `DeviceStatus`).
const COMMISSIONED: &str = "Commissioned";
/// Rows named in an explanation; more would not be read.
const NAMED_ROWS: usize = 5;

/// A rule: both functions look at the same facts.
pub(super) struct Rule {
    pub reason: Reason,
    /// It cannot be judged without an image.
    pub about_image: bool,
    pub applies: fn(&Decision, &SiteFacts<'_>) -> bool,
    pub what: fn(&Decision, &SiteFacts<'_>) -> String,
}

macro_rules! rule {
    ($reason:ident, $module:ident) => {
        Rule { reason: Reason::$reason, about_image: false, applies: $module::applies, what: $module::what }
    };
    ($reason:ident, $module:ident, about image) => {
        Rule { about_image: true, ..rule!($reason, $module) }
    };
}

pub(super) const RULES: [Rule; 13] = [
    rule!(NotResponsibleSupplier, not_responsible_supplier),
    rule!(DeviceNotCommissioned, device_not_commissioned),
    rule!(CohortNotLive, cohort_not_live),
    rule!(CombinationNotEligible, combination_not_eligible),
    rule!(ModelNotCovered, model_not_covered, about image),
    rule!(AlreadyAtVersion, already_at_version, about image),
    rule!(UpgradePathNotAllowed, upgrade_path_not_allowed, about image),
    rule!(SupplyNotStarted, supply_not_started),
    rule!(SupplyChangePending, supply_change_pending),
    rule!(KeysMissing, keys_missing),
    rule!(KeysUnknown, keys_unknown),
    rule!(ExcludedByOperator, excluded_by_operator),
    rule!(OtherCampaignInProgress, other_campaign_in_progress),
];

/// 1. No own registration covers the day or begins after it.
mod not_responsible_supplier {
    use super::*;

    pub fn applies(d: &Decision, f: &SiteFacts<'_>) -> bool {
        f.covering(d.day).is_none() && f.upcoming(d.day).is_none()
    }

    pub fn what(d: &Decision, f: &SiteFacts<'_>) -> String {
        if let Some(row) = f.covering(d.day) {
            return format!("own registration {} covers {}", registration(row), d.day);
        }
        if let Some(row) = f.upcoming(d.day) {
            return format!("own registration {} begins after {}", registration(row), d.day);
        }
        let ended: Vec<String> = f.own_registrations.iter().rev().take(NAMED_ROWS).map(registration).collect();
        let known = if ended.is_empty() { "there is none at all".to_string() } else { format!("ended: {}", ended.join(", ")) };
        format!("no own registration covers {} or begins after it; {known}", d.day)
    }
}

/// 2. `device_status` is not `Commissioned`.
mod device_not_commissioned {
    use super::*;

    pub fn applies(_: &Decision, f: &SiteFacts<'_>) -> bool {
        f.site.device_status != COMMISSIONED
    }

    pub fn what(_: &Decision, f: &SiteFacts<'_>) -> String {
        format!("device status is {}", f.site.device_status)
    }
}

/// 3. The cohort has no `live_from` on or before the day.
mod cohort_not_live {
    use super::*;

    pub fn applies(d: &Decision, f: &SiteFacts<'_>) -> bool {
        d.cohort(f.site).live_from.is_none_or(|from| from > d.day)
    }

    pub fn what(d: &Decision, f: &SiteFacts<'_>) -> String {
        match d.cohort(f.site).live_from {
            Some(from) if from > d.day => format!("cohort {} is live only from {from}", f.site.cohort),
            Some(from) => format!("cohort {} is live from {from}", f.site.cohort),
            None => format!("cohort {} has no date from which it is live", f.site.cohort),
        }
    }
}

/// 4. The DMC is on no EPCL row covering the day.
mod combination_not_eligible {
    use super::*;
    use crate::estate::EpclEntry;

    fn covers(row: &EpclEntry, day: Day) -> bool {
        row.effective_from <= day && row.effective_to.is_none_or(|to| day < to)
    }

    pub fn applies(d: &Decision, f: &SiteFacts<'_>) -> bool {
        !d.epcl_rows(&f.site.dmc).iter().any(|row| covers(row, d.day))
    }

    pub fn what(d: &Decision, f: &SiteFacts<'_>) -> String {
        let (dmc, rows) = (&f.site.dmc, d.epcl_rows(&f.site.dmc));
        let span = |row: &EpclEntry| dates(row.effective_from, row.effective_to);
        if let Some(row) = rows.iter().find(|row| covers(row, d.day)) {
            return format!("combination {dmc} is on the EPCL, {}", span(row));
        }
        if rows.is_empty() {
            return format!("combination {dmc} is not on the EPCL");
        }
        let known: Vec<String> = rows.iter().take(NAMED_ROWS).map(span).collect();
        format!("combination {dmc} is not on the EPCL on {}, only {}", d.day, known.join(", "))
    }
}

/// 5. Manufacturer, model or hardware version outside the manifest, or no Active CPL entry has the site's manufacturer, model and
///    hardware version with the image's version and hash.
mod model_not_covered {
    use super::*;

    pub fn applies(d: &Decision, f: &SiteFacts<'_>) -> bool {
        d.image.as_ref().is_some_and(|image| !image.covers(f.site) || d.product(f.site).is_none())
    }

    pub fn what(d: &Decision, f: &SiteFacts<'_>) -> String {
        let Some(image) = &d.image else { return String::new() };
        let site = f.site;
        let product = format!("manufacturer {}, model {}, hardware {:04X}", site.manufacturer, site.model, site.hardware_version);
        if !image.covers(site) {
            let (models, least, most) = (image.models.join(" or "), image.hardware_min, image.hardware_max);
            return format!(
                "{product}; the manifest covers manufacturer {}, model {models}, hardware {least:04X} to {most:04X}",
                image.manufacturer
            );
        }
        match d.product(site) {
            Some(found) => format!("{product}; within the manifest and on the CPL as {}", ids(&found.entries)),
            None => format!(
                "{product}; within the manifest, but no Active CPL entry has them with version {} and the image's hash",
                image.firmware_version
            ),
        }
    }

    fn ids(entries: &[crate::estate::CplEntry]) -> String {
        let named: Vec<&str> = entries.iter().take(NAMED_ROWS).map(|e| e.cpl_entry_id.as_str()).collect();
        named.join(", ")
    }
}

/// 6. The device runs the image's version (exact string).
mod already_at_version {
    use super::*;

    pub fn applies(d: &Decision, f: &SiteFacts<'_>) -> bool {
        d.image.as_ref().is_some_and(|image| f.site.firmware_version == image.firmware_version)
    }

    pub fn what(d: &Decision, f: &SiteFacts<'_>) -> String {
        let Some(image) = &d.image else { return String::new() };
        let note = differs_in_spelling(&f.site.firmware_version, &image.firmware_version).unwrap_or_default();
        format!("runs version {}; the image is {}{note}", f.site.firmware_version, image.firmware_version)
    }
}

/// 7. Its version is in `upgrade_from` of none of those Active entries, or not in the manifest's.
mod upgrade_path_not_allowed {
    use super::*;
    use crate::estate::UpgradeFrom;

    fn by_list(d: &Decision, f: &SiteFacts<'_>) -> bool {
        d.product(f.site).is_some_and(|product| product.allows(&f.site.firmware_version))
    }

    pub fn applies(d: &Decision, f: &SiteFacts<'_>) -> bool {
        d.image.as_ref().is_some_and(|image| !by_list(d, f) || !image.allows(&f.site.firmware_version))
    }

    pub fn what(d: &Decision, f: &SiteFacts<'_>) -> String {
        let Some(image) = &d.image else { return String::new() };
        let version = &f.site.firmware_version;
        let yes_no = |yes| if yes { "allows it" } else { "does not allow it" };
        let mut what = format!("upgrade from version {version}: the manifest {}", yes_no(image.allows(version)));
        let entries = d.product(f.site).map_or(&[][..], |product| &product.entries);
        if entries.is_empty() {
            what.push_str("; no Active CPL entry is for this product");
        }
        for entry in entries.iter().take(NAMED_ROWS) {
            let _ = write!(what, "; CPL entry {} allows {}", entry.cpl_entry_id, stated(&entry.upgrade_from));
        }
        if entries.iter().any(|e| e.upgrade_from == UpgradeFrom::NotStated) {
            let _ = write!(what, " (policy: not stated means {})", d.eligibility.cpl_upgrade_from_not_stated);
        }
        let lists = entries.iter().map(|e| &e.upgrade_from).chain([&image.upgrade_from]);
        let versions = lists.filter_map(|list| if let UpgradeFrom::Versions(v) = list { Some(v) } else { None }).flatten();
        what + versions.filter_map(|v| differs_in_spelling(v, version)).next().unwrap_or_default()
    }

    fn stated(from: &UpgradeFrom) -> String {
        match from {
            UpgradeFrom::Any => "any version".to_string(),
            UpgradeFrom::None => "none".to_string(),
            UpgradeFrom::NotStated => "(not stated)".to_string(),
            UpgradeFrom::Versions(versions) => versions.join(", "),
        }
    }
}

/// 8. An own registration begins after the day, and none covers it.
mod supply_not_started {
    use super::*;

    pub fn applies(d: &Decision, f: &SiteFacts<'_>) -> bool {
        f.covering(d.day).is_none() && f.upcoming(d.day).is_some()
    }

    pub fn what(d: &Decision, f: &SiteFacts<'_>) -> String {
        match (f.covering(d.day), f.upcoming(d.day)) {
            (Some(row), _) => format!("supply by {} began on {}", row.supplier_mpid, row.effective_from),
            (None, Some(row)) => format!("own registration {} begins after {}", registration(row), d.day),
            (None, None) => format!("no own registration begins after {}", d.day),
        }
    }
}

/// 9. The covering own registration's `effective_to` is <= day + `guard_days`, and no own registration begins on that date.
mod supply_change_pending {
    use super::*;

    fn continued<'a>(f: &SiteFacts<'a>, from: Day) -> Option<&'a Registration> {
        f.own_registrations.iter().find(|r| r.effective_from == from)
    }

    pub fn applies(d: &Decision, f: &SiteFacts<'_>) -> bool {
        let guarded = d.day.plus(d.eligibility.guard_days);
        let end = f.covering(d.day).and_then(|r| r.effective_to).filter(|to| *to <= guarded);
        end.is_some_and(|to| continued(f, to).is_none())
    }

    pub fn what(d: &Decision, f: &SiteFacts<'_>) -> String {
        let Some(row) = f.covering(d.day) else { return format!("no own registration covers {}", d.day) };
        let Some(to) = row.effective_to else { return format!("own registration {} has no end", registration(row)) };
        let next = match continued(f, to) {
            Some(next) => format!("own registration {} follows at once", registration(next)),
            None => "no own registration begins on that day".to_string(),
        };
        let guard = d.eligibility.guard_days;
        format!("own registration {} ends on {to}, guard days are {guard}: to {}; {next}", registration(row), d.day.plus(guard))
    }
}

/// 10. The cohort needs the tool's key and the latest result is `failed` or `investigating`.
mod keys_missing {
    use super::*;

    pub fn applies(d: &Decision, f: &SiteFacts<'_>) -> bool {
        d.cohort(f.site).needs_tool_key && matches!(f.key, Some(KeyStatus::Failed | KeyStatus::Investigating))
    }

    pub fn what(d: &Decision, f: &SiteFacts<'_>) -> String {
        key_facts(d, f)
    }
}

/// 11. The cohort needs it, there is no result, and `migrated_on` is empty or before `tool_until`.
mod keys_unknown {
    use super::*;

    pub fn applies(d: &Decision, f: &SiteFacts<'_>) -> bool {
        let before_the_service = f.site.migrated_on.is_none_or(|day| day < d.eligibility.tool_until);
        d.cohort(f.site).needs_tool_key && f.key.is_none() && before_the_service
    }

    pub fn what(d: &Decision, f: &SiteFacts<'_>) -> String {
        let migrated = f.site.migrated_on.map_or("migrated on an unknown day".to_string(), |day| format!("migrated on {day}"));
        let until = d.eligibility.tool_until;
        format!("{}; {migrated}, sites migrated from {until} on bring their key", key_facts(d, f))
    }
}

/// 12. An exclusion covers the day.
mod excluded_by_operator {
    use super::*;

    pub fn applies(_: &Decision, f: &SiteFacts<'_>) -> bool {
        f.exclusion.is_some()
    }

    pub fn what(d: &Decision, f: &SiteFacts<'_>) -> String {
        match f.exclusion {
            Some(reason) => format!("excluded on {}: {reason}", d.day),
            None => format!("no exclusion covers {}", d.day),
        }
    }
}

/// 13. The device is queued, submitted, accepted or delivered in another started campaign.
mod other_campaign_in_progress {
    use super::*;

    pub fn applies(_: &Decision, f: &SiteFacts<'_>) -> bool {
        f.in_other_campaign
    }

    pub fn what(_: &Decision, f: &SiteFacts<'_>) -> String {
        let text =
            if f.in_other_campaign { "another started campaign is upgrading it" } else { "in progress in no other campaign" };
        text.to_string()
    }
}

fn key_facts(d: &Decision, f: &SiteFacts<'_>) -> String {
    let cohort = f.site.cohort;
    let needs = if d.cohort(f.site).needs_tool_key { "needs" } else { "does not need" };
    let result = f.key.map_or("there is no result".to_string(), |status| format!("the latest result is {status}"));
    format!("cohort {cohort} {needs} the transitional tool's key; {result}")
}

fn registration(row: &Registration) -> String {
    format!("{} {}", row.supplier_mpid, dates(row.effective_from, row.effective_to))
}

/// Half-open, as the files are: `to` is the first day that no longer counts.
fn dates(from: Day, to: Option<Day>) -> String {
    match to {
        Some(to) => format!("from {from} until {to}"),
        None => format!("from {from}"),
    }
}
