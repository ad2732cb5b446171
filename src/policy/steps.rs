//! `steps.toml`: which steps a device model's upgrade takes, and how long each may stay silent (DMVES v5.0, with S1SR v5.0).
//! Not when a read leaves, nor what follows from its answer. Promise: for every device there is exactly one answer, and it says which
//! row gave it.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::{
    Period,
    document::{Place, Read, Section, parsed, read_document, text, whole},
    files::{Head, read_head},
};
use crate::estate::{Cohort, Site};

/// A read that brought nothing within two days brings nothing: what keeps a device silent (no WAN, no power) is mended by then or is
/// a case of its own.
const READ_WITHIN: &str = "48h";
/// A minute's reads beyond this would be a load test of DCC.
const READS_PER_MINUTE_MAX: i64 = 6_000;
const READS_PER_MINUTE: i64 = 60;
/// A model that is silent after so many updates is a case for a person.
pub const RETRIES_MAX: i64 = 5;
/// Where nothing says it: the night after, when what kept the device away may be over.
const RETRY_AFTER: &str = "24h";
/// The answer to an 8.2 is DCC's own and comes at once or not at all: a campaign that is read by a DCC that answers none ends little later.
const ASK_SHARE: i64 = 8;
/// Each is a row that is looked at again and again.
const READS_IN_FLIGHT_MAX: i64 = 10_000;
const READS_IN_FLIGHT: i64 = 200;

crate::spelled! {
    /// One step of an upgrade.
    UpgradeStep, "a step: update, read-inventory or read-version" {
        /// 11.1 UpdateFirmware.
        Update = "update",
        /// 8.2 ReadInventory: what DCC's inventory says the device runs.
        ReadInventory = "read-inventory",
        /// 11.2 ReadFirmwareVersion: what the device itself says.
        ReadVersion = "read-version",
    }
}

crate::spelled! {
    /// How a device's version is read after its upgrade.
    ReadStep, "a read: read-inventory or read-version" { ReadInventory = "read-inventory", ReadVersion = "read-version" }
}

/// What one row of the file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Row {
    steps: Vec<UpgradeStep>,
    answer_within: Option<Period>,
    read_within: Option<Period>,
    // What a file does not state is not written: what was approved under it stays approved.
    #[serde(skip_serializing_if = "Option::is_none")]
    silent: Option<Vec<ReadStep>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ask_within: Option<Period>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retries: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<Period>,
}

/// Which devices a row for a model is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelKey {
    pub manufacturer: String,
    pub model: String,
    /// `None`: every hardware version that has no row of its own.
    pub hardware_version: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct ModelRow {
    key: ModelKey,
    row: Row,
}

/// The file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Steps {
    pub reads_per_minute: i64,
    pub reads_in_flight: i64,
    #[serde(rename = "default")]
    defaults: BTreeMap<Cohort, Row>,
    #[serde(rename = "model", serialize_with = "by_name")]
    models: Vec<ModelRow>,
}

impl fmt::Display for ModelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.manufacturer, self.model)?;
        self.hardware_version.map_or(Ok(()), |hardware| write!(f, " hardware {hardware:04X}"))
    }
}

/// Where the steps of a device come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepsFrom {
    Model(ModelKey),
    /// The default of its cohort.
    Default(Cohort),
    /// The file says nothing of its cohort.
    Absent(Cohort),
}

impl fmt::Display for StepsFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StepsFrom::Model(key) => write!(f, "steps.toml, model {key}"),
            StepsFrom::Default(cohort) => write!(f, "steps.toml, default.{cohort}"),
            StepsFrom::Absent(cohort) => write!(f, "steps.toml, which has no default.{cohort}"),
        }
    }
}

impl Serialize for StepsFrom {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// What a device's upgrade takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceSteps {
    pub steps: Vec<UpgradeStep>,
    /// Of the update; `None`: `answer_within` of eligibility.toml.
    pub answer_within: Option<Period>,
    /// Of the read, from when the device was first asked.
    pub read_within: Period,
    /// What is asked, in this order, where the update stays silent past `answer_within`.
    pub silent: Vec<ReadStep>,
    /// Of each of those; `None`: an eighth of what `answer_within` comes to.
    pub ask_within: Option<Period>,
    /// How often the update is sent again to a device that was silent and runs what it ran.
    pub retries: i64,
    /// How long after the first such answer; each time twice as long.
    pub retry_after: Period,
    pub from: StepsFrom,
}

impl DeviceSteps {
    /// The read that follows its activation, if one does.
    pub fn read(&self) -> Option<ReadStep> {
        self.steps.iter().find_map(|step| match step {
            UpgradeStep::Update => None,
            UpgradeStep::ReadInventory => Some(ReadStep::ReadInventory),
            UpgradeStep::ReadVersion => Some(ReadStep::ReadVersion),
        })
    }

    /// How long a silent device may be asked, with each kind of question, where `usual` is answer_within of eligibility.toml.
    pub fn ask_within(&self, usual: Period) -> Period {
        let share = || Period::from_millis((self.answer_within.unwrap_or(usual).millis() / ASK_SHARE).max(1));
        self.ask_within.unwrap_or_else(share)
    }
}

/// The devices that a deadline of the update stage is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadlineFor<'a> {
    Cohort(Cohort),
    Model(&'a ModelKey),
}

impl Steps {
    /// The steps of a device, and the row they come from: its model's with its hardware version, its model's, its cohort's.
    pub fn steps_of(&self, cohort: Cohort, manufacturer: &str, model: &str, hardware_version: u16) -> DeviceSteps {
        let row = |hardware: Option<u16>| {
            let is = |k: &ModelKey| k.manufacturer == manufacturer && k.model == model && k.hardware_version == hardware;
            self.models.iter().find(|m| is(&m.key))
        };
        let (exact, any, default) = (row(Some(hardware_version)), row(None), self.defaults.get(&cohort));
        let from = match (exact.or(any), default) {
            (Some(m), _) => StepsFrom::Model(m.key.clone()),
            (None, Some(_)) => StepsFrom::Default(cohort),
            (None, None) => StepsFrom::Absent(cohort),
        };
        // From the row that says most to the one that says least.
        let rows: Vec<&Row> = [exact.map(|m| &m.row), any.map(|m| &m.row), default].into_iter().flatten().collect();
        DeviceSteps {
            steps: rows.first().map_or_else(|| vec![UpgradeStep::Update], |r| r.steps.clone()),
            answer_within: rows.iter().find_map(|r| r.answer_within),
            read_within: rows.iter().find_map(|r| r.read_within).unwrap_or_else(read_within),
            silent: rows.iter().find_map(|r| r.silent.clone()).unwrap_or_default(),
            ask_within: rows.iter().find_map(|r| r.ask_within),
            retries: rows.iter().find_map(|r| r.retries).unwrap_or(0),
            retry_after: rows.iter().find_map(|r| r.retry_after).unwrap_or_else(retry_after),
            from,
        }
    }

    pub fn of_site(&self, site: &Site) -> DeviceSteps {
        self.steps_of(site.cohort, &site.manufacturer, &site.model, site.hardware_version)
    }

    /// Whether any device at all is read: as shipped none is.
    pub fn reads_any(&self) -> bool {
        self.rows().any(|row| row.steps.len() > 1)
    }

    /// Whether any device at all is asked once it is silent past its deadline.
    pub fn asks_any(&self) -> bool {
        self.rows().any(|row| row.silent.as_ref().is_some_and(|asks| !asks.is_empty()))
    }

    /// The deadlines of the update stage that the file states, those that say least first: each counts but for what a later one
    /// is for.
    pub fn deadlines(&self) -> Vec<(DeadlineFor<'_>, Period)> {
        let defaults = self.defaults.iter().filter_map(|(c, row)| Some((DeadlineFor::Cohort(*c), row.answer_within?)));
        let of = |exact: bool| {
            let these = self.models.iter().filter(move |m| m.key.hardware_version.is_some() == exact);
            these.filter_map(|m| Some((DeadlineFor::Model(&m.key), m.row.answer_within?)))
        };
        defaults.chain(of(false)).chain(of(true)).collect()
    }

    /// The shortest time that anything may stay silent by this file: how often silence is worth a look.
    pub fn shortest(&self) -> Option<Period> {
        let stated = self.rows().flat_map(|row| [row.answer_within, row.read_within, row.ask_within]).flatten();
        stated.chain(self.reads_any().then(read_within)).min()
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.defaults.values().chain(self.models.iter().map(|m| &m.row))
    }
}

fn read_within() -> Period {
    READ_WITHIN.parse().expect("a length of time")
}

fn retry_after() -> Period {
    RETRY_AFTER.parse().expect("a length of time")
}

/// By the names of the models: the order of the rows means nothing.
fn by_name<S: serde::Serializer>(models: &[ModelRow], s: S) -> Result<S::Ok, S::Error> {
    let rows: BTreeMap<String, &Row> = models.iter().map(|m| (m.key.to_string(), &m.row)).collect();
    rows.serialize(s)
}

/// Reads the file.
pub(super) fn read_steps(place: Place<'_>) -> Read<(Head, Steps)> {
    read_document(place, |file| {
        let head = read_head(file)?;
        let count = |file: &mut Section<'_, '_>, key, most: i64, default: i64| -> Read<i64> {
            Ok(file.optional(key, &format!("a whole number from 1 to {most}"), whole(1, most))?.unwrap_or(default))
        };
        let reads_per_minute = count(file, "reads_per_minute", READS_PER_MINUTE_MAX, READS_PER_MINUTE)?;
        let reads_in_flight = count(file, "reads_in_flight", READS_IN_FLIGHT_MAX, READS_IN_FLIGHT)?;
        let (defaults, models) = (read_defaults(file)?, read_models(file)?);
        Ok((head, Steps { reads_per_minute, reads_in_flight, defaults, models }))
    })
}

fn read_defaults(file: &mut Section<'_, '_>) -> Read<BTreeMap<Cohort, Row>> {
    const WANTED: &str = "a table with steps, and as needed times and what follows from silence";
    let mut defaults = BTreeMap::new();
    let Some(mut all) = file.table("default", "tables [default.COHORT]")? else { return Ok(defaults) };
    for cohort in Cohort::ALL {
        let Some(mut table) = all.table(cohort.as_str(), WANTED)? else { continue };
        defaults.insert(*cohort, read_row(&mut table)?);
        table.finish()?;
    }
    all.finish()?;
    Ok(defaults)
}

fn read_models(file: &mut Section<'_, '_>) -> Read<Vec<ModelRow>> {
    let mut models: Vec<ModelRow> = Vec::new();
    for mut table in file.tables("model", "tables [[model]]")? {
        let key = ModelKey {
            manufacturer: table.required("manufacturer", "a text, as the lists write it, such as \"106C\"", text)?,
            model: table.required("model", "a text, as the lists write it, such as \"433100AC\"", text)?,
            hardware_version: table.optional("hardware_version", "4 hexadecimal digits in quotation marks", hardware)?,
        };
        let row = read_row(&mut table)?;
        table.finish()?;
        if row.steps.len() == 1 && row.read_within.is_some() {
            return Err(table.conflict("read_within", "its steps read nothing", "read_within only with a read"));
        }
        if models.iter().any(|m| m.key == key) {
            let shown = StepsFrom::Model(key);
            return Err(table.conflict("model", format!("there is a row for this already ({shown})"), "each model once"));
        }
        models.push(ModelRow { key, row });
    }
    Ok(models)
}

fn read_row(table: &mut Section<'_, '_>) -> Read<Row> {
    const WANTED: &str = "[\"update\"], [\"update\", \"read-inventory\"] or [\"update\", \"read-version\"]";
    let steps = table.list("steps", "a step: update, read-inventory or read-version", parsed::<UpgradeStep>)?;
    let steps = steps.ok_or_else(|| table.missing("steps", WANTED))?;
    let problem = match steps[..] {
        [] => Some("the list is empty"),
        [UpgradeStep::Update] | [UpgradeStep::Update, UpgradeStep::ReadInventory | UpgradeStep::ReadVersion] => None,
        [UpgradeStep::Update, UpgradeStep::Update, ..] => Some("`update` is there twice"),
        [UpgradeStep::Update, ..] => Some("there is more than one read"),
        [UpgradeStep::ReadInventory | UpgradeStep::ReadVersion, ..] => Some("`update` is not the first"),
    };
    if let Some(problem) = problem {
        return Err(table.conflict("steps", problem, WANTED));
    }
    let silent = table.list("silent", "a read: read-inventory or read-version", parsed::<ReadStep>)?;
    if let Some([_, _, ..]) = silent.as_deref()
        && silent.as_deref() != Some(&[ReadStep::ReadInventory, ReadStep::ReadVersion])
    {
        let wanted = "[], [\"read-inventory\"], [\"read-version\"] or [\"read-inventory\", \"read-version\"]";
        return Err(table.conflict("silent", "that is not an order to ask in: DCC first, then the device", wanted));
    }
    let retries = table.optional("retries", &format!("a whole number from 0 to {RETRIES_MAX}"), whole(0, RETRIES_MAX))?;
    if silent.as_ref().is_some_and(Vec::is_empty) && retries.is_some_and(|n| n > 0) {
        return Err(table.conflict(
            "retries",
            "nothing is asked, so nothing is known to be unchanged",
            "retries only with a read in silent",
        ));
    }
    let mut wait = |key| {
        let wanted = format!("{}, more than nothing", Period::WANTED);
        table.optional(key, &wanted, |value| parsed::<Period>(value).filter(|p| *p > Period::ZERO))
    };
    let (answer_within, read_within) = (wait("answer_within")?, wait("read_within")?);
    let (ask_within, retry_after) = (wait("ask_within")?, wait("retry_after")?);
    Ok(Row { steps, answer_within, read_within, silent, ask_within, retries, retry_after })
}

/// As the site file writes it: 4 hexadecimal digits.
fn hardware(value: &toml::de::DeValue<'_>) -> Option<u16> {
    let text = value.as_str().filter(|t| t.len() == 4 && t.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u16::from_str_radix(text, 16).ok()
}
