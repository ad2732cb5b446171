//! `eligibility.toml`: cohorts and their dates, and the numbers the rules and the engine go by. Types and their reading.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    Period, Reason, RefusalCode,
    document::{Place, Read, Section, day, parsed, read_document, text, whole, yes_no},
    files::{Head, read_head},
};
use crate::{clock::Day, estate::Cohort};

/// Most Device IDs in one 11.1 request (DUIS `UpdateFirmware`, domain.md).
pub const DEVICES_PER_REQUEST_MAX: i64 = 50_000;
/// A guard longer than a year would hold every site whose registration has an end.
const GUARD_DAYS_MAX: i64 = 365;

crate::spelled! {
    /// What a CPL entry that states no upgrade path allows.
    NotStatedMeans, "none or any" { None = "none", Any = "any" }
}

/// What the policy says of one cohort.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CohortPolicy {
    /// The first day on which its PPMIDs may be upgraded; `None`: not live.
    pub live_from: Option<Day>,
    /// A site migrated before `tool_until` needs a result of the transitional tool (L§12).
    pub needs_tool_key: bool,
    /// Where that is written.
    pub clause: Option<String>,
}

/// One policy a cohort: none can be left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cohorts {
    #[serde(rename = "IOC")]
    pub ioc: CohortPolicy,
    #[serde(rename = "MDS")]
    pub mds: CohortPolicy,
    #[serde(rename = "SECURE")]
    pub secure: CohortPolicy,
    #[serde(rename = "FOC")]
    pub foc: CohortPolicy,
}

/// The file as it is in force: what it leaves out has the default that is compiled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Eligibility {
    /// DUIS versions with the SMETS1 PPMID firmware function (L§4, L§7), as `schemaVersion` writes them.
    pub duis_versions: Vec<String>,
    pub guard_days: i64,
    /// Sites migrated on this day or later bring their key with them (L§12).
    pub tool_until: Day,
    pub cpl_upgrade_from_not_stated: NotStatedMeans,
    /// Devices in one request: 1 to [`DEVICES_PER_REQUEST_MAX`].
    pub batch_size: i64,
    /// Silence after which an accepted device is `expired`.
    pub answer_within: Period,
    /// How often held sites are decided again.
    pub recheck_every: Period,
    #[serde(rename = "cohort")]
    pub cohorts: Cohorts,
    /// Where each rule and refusal comes from, by reason code.
    pub sources: BTreeMap<String, String>,
}

impl Eligibility {
    pub fn cohort(&self, cohort: Cohort) -> &CohortPolicy {
        match cohort {
            Cohort::Ioc => &self.cohorts.ioc,
            Cohort::Mds => &self.cohorts.mds,
            Cohort::Secure => &self.cohorts.secure,
            Cohort::Foc => &self.cohorts.foc,
        }
    }

    /// Where a rule comes from; a site's cohort has its own clause for `COHORT_NOT_LIVE`.
    pub fn source(&self, code: &str) -> Option<&str> {
        self.sources.get(code).map(String::as_str)
    }
}

const DUIS_VERSIONS_WANTED: &str = "a list of DUIS versions such as [\"3.0\", \"3.1\"], at least one";
const COHORT_WANTED: &str = "a table with needs_tool_key, and as needed live_from and clause";
pub(super) const DAY_WANTED: &str = "a date such as \"2020-11-24\"";

/// Reads the file. `default` gives what it leaves out; `None` only for the compiled-in file itself, which leaves out nothing.
pub(super) fn read_eligibility(place: Place<'_>, default: Option<&Eligibility>) -> Read<(Head, Eligibility)> {
    read_document(place, |file| {
        let head = read_head(file)?;
        let guard_wanted = format!("a whole number of days, 0 to {GUARD_DAYS_MAX}");
        let batch_wanted = format!("a whole number of devices, 1 to {DEVICES_PER_REQUEST_MAX}");
        let eligibility = Eligibility {
            duis_versions: read_duis_versions(file, default)?,
            guard_days: file.or(default.map(|d| d.guard_days), "guard_days", &guard_wanted, whole(0, GUARD_DAYS_MAX))?,
            tool_until: file.or(default.map(|d| d.tool_until), "tool_until", DAY_WANTED, day)?,
            cpl_upgrade_from_not_stated: file.or(
                default.map(|d| d.cpl_upgrade_from_not_stated),
                "cpl_upgrade_from_not_stated",
                "\"none\" or \"any\"",
                parsed,
            )?,
            batch_size: file.or(default.map(|d| d.batch_size), "batch_size", &batch_wanted, whole(1, DEVICES_PER_REQUEST_MAX))?,
            answer_within: read_wait(file, "answer_within", default.map(|d| d.answer_within))?,
            recheck_every: read_wait(file, "recheck_every", default.map(|d| d.recheck_every))?,
            cohorts: read_cohorts(file)?,
            sources: read_sources(file, default)?,
        };
        Ok((head, eligibility))
    })
}

/// A period of at least a millisecond: a wait of nothing would never wait.
fn read_wait(file: &mut Section<'_, '_>, key: &'static str, default: Option<Period>) -> Read<Period> {
    let wanted = format!("{}, more than nothing", Period::WANTED);
    file.or(default, key, &wanted, |value| parsed::<Period>(value).filter(|p| *p > Period::ZERO))
}

fn read_duis_versions(file: &mut Section<'_, '_>, default: Option<&Eligibility>) -> Read<Vec<String>> {
    let version = |value: &toml::de::DeValue<'_>| {
        let text = value.as_str()?;
        let digits = matches!(text.as_bytes(), [major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit());
        digits.then(|| text.to_string())
    };
    let written = file.list("duis_versions", "a DUIS version in quotation marks, such as \"3.1\"", version)?;
    match written.or_else(|| default.map(|d| d.duis_versions.clone())) {
        Some(versions) if versions.is_empty() => {
            Err(file.conflict("duis_versions", "the list is empty, so no campaign could ever start", DUIS_VERSIONS_WANTED))
        }
        Some(versions) => Ok(versions),
        None => Err(file.missing("duis_versions", DUIS_VERSIONS_WANTED)),
    }
}

/// All four must be there: a cohort that is left out must not become live by a default.
fn read_cohorts(file: &mut Section<'_, '_>) -> Read<Cohorts> {
    const WANTED: &str = "the tables [cohort.IOC], [cohort.MDS], [cohort.SECURE] and [cohort.FOC]";
    let mut all = file.table("cohort", WANTED)?.ok_or_else(|| file.missing("cohort", WANTED))?;
    all.names_among(Cohort::ALL.iter().map(|c| c.as_str()))?;
    let mut one = |name| -> Read<CohortPolicy> {
        let mut table = all.table(name, COHORT_WANTED)?.ok_or_else(|| all.missing(name, COHORT_WANTED))?;
        let cohort = CohortPolicy {
            live_from: table.optional("live_from", DAY_WANTED, day)?,
            needs_tool_key: table.required("needs_tool_key", "true or false", yes_no)?,
            clause: table.optional("clause", "a text such as \"L§12\"", text)?,
        };
        table.finish()?;
        Ok(cohort)
    };
    let cohorts = Cohorts { ioc: one("IOC")?, mds: one("MDS")?, secure: one("SECURE")?, foc: one("FOC")? };
    all.finish()?;
    Ok(cohorts)
}

fn read_sources(file: &mut Section<'_, '_>, default: Option<&Eligibility>) -> Read<BTreeMap<String, String>> {
    let mut sources = default.map(|d| d.sources.clone()).unwrap_or_default();
    if let Some(table) = file.table("sources", "a table of reason codes, each with a text")? {
        let known = |code: &str| code.parse::<Reason>().is_ok() || code.parse::<RefusalCode>().is_ok();
        sources.extend(table.texts(known, "a reason code such as KEYS_MISSING, or a refusal's such as CPL_NOT_ACTIVE")?);
    }
    Ok(sources)
}
