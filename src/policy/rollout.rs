//! `rollout.toml`: how a campaign is cut into waves and what must be seen of each, by name; and how many devices may be out at once.

mod wave;

use serde::Serialize;

use super::{
    Period, Share,
    document::{Place, Read, Section, parsed, read_document, text, whole},
    files::{Head, read_head},
};

pub use wave::{SILENT, Watch, Wave, WaveSize};

/// The name of the only wave of a preset whose waves have none.
pub const ONLY_WAVE: &str = "all";

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
    /// The sizes of the waves, in their order.
    #[serde(rename = "waves")]
    pub sizes: Vec<WaveSize>,
    /// How long a wave that says nothing else is watched before the next.
    pub soak: Period,
    pub top_up: TopUps,
    /// How many sites the approved plan lets join without another approval.
    pub top_up_sites: i64,
    /// Most devices of a campaign that are out at once. `None`: however many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<i64>,
    /// The waves, each with all that is said of it; left out where nothing is, so that what binds an approval is what it always was.
    #[serde(rename = "wave", skip_serializing_if = "are_plain")]
    pub waves: Vec<Wave>,
}

/// Everything at once, and nothing is asked of it.
fn are_plain(waves: &[Wave]) -> bool {
    waves.len() == 1 && waves[0].watch == Watch::default()
}

impl Preset {
    /// A campaign with this preset goes at once, and nothing is asked of it.
    pub fn is_plain(&self) -> bool {
        are_plain(&self.waves)
    }

    /// Its waves with other sizes for some, by name. What is wrong, and what is wanted, where they do not go together.
    pub fn waves_with(&self, sizes: &[(String, WaveSize)]) -> Result<Vec<Wave>, (String, String)> {
        let mut waves = self.waves.clone();
        for (name, size) in sizes {
            let Some(wave) = waves.iter_mut().find(|w| w.name == *name) else {
                let names: Vec<&str> = self.waves.iter().map(|w| w.name.as_str()).collect();
                let problem = format!("the rollout {:?} has no wave {name:?}", self.name);
                return Err((problem, format!("one of {}", names.join(", "))));
            };
            wave.size = *size;
        }
        wave::fault(&waves).map_or(Ok(waves), Err)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rollout {
    /// The preset of a campaign that names none; always one of `presets`.
    pub default: String,
    /// Most devices of all campaigns that are out at once. `None`: however many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight_in_all: Option<i64>,
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
        let in_flight_in_all = file.optional("in_flight_in_all", IN_FLIGHT_WANTED, whole(1, i64::MAX))?;
        let approval_valid = file
            .optional("approval_valid", "a length of time of at least 1h and at most 366d, such as 90d", |v| {
                parsed::<Period>(v).filter(|p| p.millis() >= APPROVAL_LEAST_MILLIS)
            })?
            .unwrap_or(Period::from_millis(APPROVAL_DAYS * 24 * 3_600_000));
        let presets = match file.table("preset", PRESET_WANTED)? {
            Some(table) => table.named(read_preset, "a table with description, waves and soak")?,
            None => return Err(file.missing("preset", PRESET_WANTED)),
        };
        let rollout = Rollout { default, approval_valid, in_flight_in_all, presets };
        if rollout.preset(&rollout.default).is_none() {
            return Err(file.conflict("default", "no preset has this name", &format!("one of {}", rollout.names())));
        }
        Ok((head, rollout))
    })
}

const IN_FLIGHT_WANTED: &str = "a number of devices, 1 or more; left out, there is no cap";

fn read_preset(name: &str, mut table: Section<'_, '_>) -> Read<Preset> {
    let sizes = table.list("waves", WaveSize::WANTED, WaveSize::of)?;
    let tables = table.tables("wave", "tables [[preset.NAME.wave]] with name and size")?;
    let watch = wave::read_watch(&mut table, &Watch::default())?;
    let key = if tables.is_empty() { "waves" } else { "wave" };
    if sizes.is_some() && !tables.is_empty() {
        return Err(table.conflict("waves", "there are tables [[wave]] as well", "one of the two"));
    }
    let waves: Vec<Wave> = match (tables.is_empty(), sizes) {
        (false, _) => tables.into_iter().map(|t| wave::read_wave(t, &watch)).collect::<Read<_>>()?,
        (true, Some(sizes)) => {
            let only = sizes.len() == 1;
            let name = |n: usize| if only { ONLY_WAVE.to_string() } else { format!("wave-{}", n + 1) };
            let wave = |(n, size)| Wave { name: name(n), size, watch: watch.clone() };
            sizes.into_iter().enumerate().map(wave).collect()
        }
        (true, None) => vec![Wave { name: ONLY_WAVE.into(), size: WaveSize::Share(Share::ALL), watch: watch.clone() }],
    };
    if let Some((problem, wanted)) = wave::fault(&waves) {
        return Err(table.conflict(key, problem, &wanted));
    }
    let preset = Preset {
        name: name.to_string(),
        description: table.optional("description", "a text", text)?,
        sizes: waves.iter().map(|w| w.size).collect(),
        soak: watch.soak,
        top_up: table.optional("top_up", "\"never\", \"asked\" or \"by-itself\"", parsed::<TopUps>)?.unwrap_or(TopUps::Asked),
        top_up_sites: table.optional("top_up_sites", "a number of sites, 0 or more", whole(0, i64::MAX))?.unwrap_or(0),
        in_flight: table.optional("in_flight", IN_FLIGHT_WANTED, whole(1, i64::MAX))?,
        waves,
    };
    table.finish()?;
    Ok(preset)
}
