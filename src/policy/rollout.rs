//! `rollout.toml`: how a campaign is cut into waves, by name. This version sends one wave and refuses a preset that asks for more.

use serde::Serialize;

use super::{
    Period,
    document::{Place, Read, Section, parsed, read_document, text, whole},
    files::{Head, read_head},
};

crate::spelled! {
    /// How a campaign takes sites in after its plan.
    TopUps, "never, asked or by-itself" {
        Never = "never",
        /// When a person asks for it.
        Asked = "asked",
        /// Also when facts change, without anybody asking.
        ByItself = "by-itself",
    }
}

/// One way of cutting a campaign into waves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Preset {
    #[serde(skip)]
    pub name: String,
    pub description: Option<String>,
    /// The share of the eligible sites in each wave, as written: only `100%`, once.
    pub waves: Vec<String>,
    /// How long a wave is watched before the next.
    pub soak: Period,
    pub top_up: TopUps,
    /// How many sites the approved plan lets join without another approval.
    pub top_up_sites: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rollout {
    /// The preset of a campaign that names none; always one of `presets`.
    pub default: String,
    /// How long an approval lets new things be sent.
    pub approval_valid: Period,
    #[serde(rename = "preset", serialize_with = "by_name")]
    pub presets: Vec<Preset>,
}

impl Rollout {
    pub fn preset(&self, name: &str) -> Option<&Preset> {
        self.presets.iter().find(|p| p.name == name)
    }

    /// `direct, ...`: for the message that refuses an unknown name.
    pub fn names(&self) -> String {
        self.presets.iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// As the file has them: a table for each name.
fn by_name<S: serde::Serializer>(presets: &[Preset], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(presets.iter().map(|p| (&p.name, p)))
}

/// How long an approval holds where the file does not say: longer than a rollout takes, shorter than people remember why.
const APPROVAL_DAYS: i64 = 90;
/// The least that can be asked for: below it nothing would get from approval to start.
const APPROVAL_LEAST_MILLIS: i64 = 3_600_000;

/// Reads the file. What it leaves out of a preset is one wave and no soak.
pub(super) fn read_rollout(place: Place<'_>) -> Read<(Head, Rollout)> {
    const PRESET_WANTED: &str = "at least one table [preset.NAME]";
    read_document(place, |file| {
        let head = read_head(file)?;
        let default = file.required("default", "the name of a preset, such as \"direct\"", text)?;
        let approval_valid = file
            .optional("approval_valid", "a length of time of at least 1h and at most 366d, such as 90d", |v| {
                parsed::<Period>(v).filter(|p| p.millis() >= APPROVAL_LEAST_MILLIS)
            })?
            .unwrap_or(Period::from_millis(APPROVAL_DAYS * 24 * 3_600_000));
        let presets = match file.table("preset", PRESET_WANTED)? {
            Some(table) => table.named(read_preset, "a table with description, waves and soak")?,
            None => return Err(file.missing("preset", PRESET_WANTED)),
        };
        let rollout = Rollout { default, approval_valid, presets };
        if rollout.preset(&rollout.default).is_none() {
            return Err(file.conflict("default", "no preset has this name", &format!("one of {}", rollout.names())));
        }
        Ok((head, rollout))
    })
}

fn read_preset(name: &str, mut table: Section<'_, '_>) -> Read<Preset> {
    const ONE_WAVE: &str = "[\"100%\"]: this version sends one wave";
    let waves = table.list("waves", "\"100%\": this version sends one wave", |v| text(v).filter(|share| share == "100%"))?;
    let preset = Preset {
        name: name.to_string(),
        description: table.optional("description", "a text", text)?,
        waves: waves.unwrap_or_else(|| vec!["100%".to_string()]),
        soak: table
            .optional("soak", "\"0s\": with one wave there is nothing to soak before", |v| {
                parsed::<Period>(v).filter(|p| *p == Period::ZERO)
            })?
            .unwrap_or(Period::ZERO),
        top_up: table.optional("top_up", "\"never\", \"asked\" or \"by-itself\"", parsed::<TopUps>)?.unwrap_or(TopUps::Asked),
        top_up_sites: table.optional("top_up_sites", "a number of sites, 0 or more", whole(0, i64::MAX))?.unwrap_or(0),
    };
    if preset.waves.len() != 1 {
        return Err(table.conflict("waves", format!("{} waves", preset.waves.len()), ONE_WAVE));
    }
    table.finish()?;
    Ok(preset)
}
