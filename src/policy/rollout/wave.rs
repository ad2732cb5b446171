//! A wave as `rollout.toml` has it: its name, how much of a campaign it is, and what must be seen of it before the next may begin.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toml::de::DeValue;

use super::super::{
    Period, Share,
    document::{Read, Section, parsed, text, whole},
};
use crate::ids::IdError;

/// Most waves of a preset: more than people can tell apart.
const WAVES_MAX: usize = 20;
/// Longest name of a wave or a cause, in characters.
const NAME_CHARS: usize = 40;
/// Answers that are needed before a wave is judged, where the file does not say.
const MINIMUM_SAMPLE: i64 = 20;
/// A cause: the device was silent past its deadline.
pub const SILENT: &str = "silent";

/// How much of a campaign a wave is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaveSize {
    /// Of the sites that are eligible when the plan is made.
    Share(Share),
    /// So many sites.
    Count(i64),
    /// All that no wave before it has.
    Rest,
}

impl WaveSize {
    pub const WANTED: &'static str = "a share such as \"0.1%\", a number of sites from 1, or \"rest\"";

    /// As the file has it: a text, or a whole number.
    pub(in crate::policy) fn of(value: &DeValue<'_>) -> Option<WaveSize> {
        parsed(value).or_else(|| whole(1, i64::MAX)(value).map(WaveSize::Count))
    }
}

impl FromStr for WaveSize {
    type Err = IdError;

    fn from_str(s: &str) -> Result<WaveSize, IdError> {
        let wrong = || IdError::new(s, Self::WANTED);
        match s {
            "rest" => Ok(WaveSize::Rest),
            _ if s.ends_with('%') => s.parse().map(WaveSize::Share).map_err(|_| wrong()),
            _ if s.bytes().all(|b| b.is_ascii_digit()) => {
                s.parse().ok().filter(|n| *n > 0).map(WaveSize::Count).ok_or_else(wrong)
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for WaveSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WaveSize::Share(share) => write!(f, "{share}"),
            WaveSize::Count(n) => write!(f, "{n}"),
            WaveSize::Rest => f.write_str("rest"),
        }
    }
}

impl Serialize for WaveSize {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WaveSize {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<WaveSize, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What must be seen of a wave before the next may begin, and what stops the campaign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// How long it is watched after the last of it was sent.
    pub soak: Period,
    /// Fewer answers say nothing. A wave that has fewer devices than these wants the answers of them all.
    pub minimum_sample: i64,
    /// Strictly more of the answers than this, and the campaign is halted. `None`: however many fail.
    pub max_failures: Option<Share>,
    /// So much of what was sent must have succeeded. `None`: nothing is asked.
    pub least_success: Option<Share>,
    /// Not gone on by then, counted from when it began: a person is asked. `None`: never.
    pub deadline: Option<Period>,
    /// Failures of these causes count neither way: codes, or `silent`.
    pub exclude: Vec<String>,
}

impl Default for Watch {
    fn default() -> Watch {
        Watch {
            soak: Period::ZERO,
            minimum_sample: MINIMUM_SAMPLE,
            max_failures: None,
            least_success: None,
            deadline: None,
            exclude: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    pub name: String,
    pub size: WaveSize,
    #[serde(flatten)]
    pub watch: Watch,
}

/// The keys of a watch that are in this table; the others are as in `default`.
pub(super) fn read_watch(table: &mut Section<'_, '_>, default: &Watch) -> Read<Watch> {
    let cause = |v: &DeValue<'_>| text(v).filter(|t| t.len() <= NAME_CHARS && !t.contains(char::is_whitespace));
    let watch = Watch {
        soak: table.optional("soak", Period::WANTED, parsed::<Period>)?.unwrap_or(default.soak),
        minimum_sample: table
            .optional("minimum_sample", "a number of devices, 1 or more", whole(1, i64::MAX))?
            .unwrap_or(default.minimum_sample),
        max_failures: table.optional("max_failures", Share::WANTED, parsed::<Share>)?.or(default.max_failures),
        least_success: table.optional("least_success", Share::WANTED, parsed::<Share>)?.or(default.least_success),
        deadline: table.optional("deadline", Period::WANTED, parsed::<Period>)?.or(default.deadline),
        exclude: table
            .list("exclude", "a cause of failures, such as \"silent\" or \"E21\"", cause)?
            .unwrap_or_else(|| default.exclude.clone()),
    };
    if watch.deadline.is_some_and(|deadline| deadline <= watch.soak) {
        let wanted = format!("longer than the soak, {}", watch.soak);
        return Err(table.conflict(
            "deadline",
            "a wave that soaks longer than its deadline waits for a person each time",
            &wanted,
        ));
    }
    Ok(watch)
}

pub(super) fn read_wave(mut table: Section<'_, '_>, default: &Watch) -> Read<Wave> {
    let name = |v: &DeValue<'_>| text(v).filter(|t| is_name(t));
    let wave = Wave {
        name: table.required("name", "a name of small letters, digits and hyphens", name)?,
        size: table.required("size", WaveSize::WANTED, WaveSize::of)?,
        watch: read_watch(&mut table, default)?,
    };
    table.finish()?;
    Ok(wave)
}

fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    text.len() <= NAME_CHARS && text.bytes().all(plain)
}

/// What is wrong with these waves together, and what is wanted; every site must be in exactly one.
pub(super) fn fault(waves: &[Wave]) -> Option<(String, String)> {
    let mut names = BTreeSet::new();
    if waves.is_empty() || waves.len() > WAVES_MAX {
        return Some((format!("{} waves", waves.len()), format!("1 to {WAVES_MAX} waves")));
    }
    if let Some(twice) = waves.iter().find(|w| !names.insert(&w.name)) {
        return Some((format!("two waves are called {}", twice.name), "a name for each".into()));
    }
    let (last, before) = waves.split_last()?;
    let share = |w: &Wave| if let WaveSize::Share(share) = w.size { share.hundredths() } else { 0 };
    let shares: i64 = waves.iter().map(share).sum();
    if let Some(early) = before.iter().find(|w| w.size == WaveSize::Rest) {
        return Some((format!("{} takes the rest, and waves follow it", early.name), "\"rest\" for the last wave alone".into()));
    }
    let whole = Share::ALL.hundredths();
    let only_shares = waves.iter().all(|w| matches!(w.size, WaveSize::Share(_)));
    match last.size {
        WaveSize::Rest if shares <= whole => None,
        WaveSize::Rest => Some(("the shares are more than 100% together".into(), "at most 100%".into())),
        _ if only_shares && shares == whole => None,
        _ => Some((
            format!("sites are left that no wave has, or may be: the last is {}", last.size),
            "\"rest\" for the last wave, or shares alone that are 100% together".into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waves(sizes: &[&str]) -> Vec<Wave> {
        let wave =
            |(n, size): (usize, &&str)| Wave { name: format!("w{n}"), size: size.parse().unwrap(), watch: Watch::default() };
        sizes.iter().enumerate().map(wave).collect()
    }

    #[test]
    fn sizes_as_they_are_written() {
        for good in ["0.1%", "100%", "50", "rest"] {
            assert_eq!(good.parse::<WaveSize>().unwrap().to_string(), good);
        }
        for bad in ["", "0", "-5", "Rest", "5 %", "many", "0.001%", "99999999999999999999"] {
            assert!(bad.parse::<WaveSize>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_site_must_be_in_one_wave() {
        for good in [&["100%"][..], &["rest"], &["0.1%", "1%", "10%", "rest"], &["50", "10%", "rest"], &["40%", "60%"]] {
            assert_eq!(fault(&waves(good)), None, "{good:?}");
        }
        for bad in [&[][..], &["50%"], &["rest", "1%"], &["60%", "60%", "rest"], &["40%", "60"], &["50"], &["rest", "rest"]] {
            assert!(fault(&waves(bad)).is_some(), "{bad:?}");
        }
        let mut same = waves(&["1%", "rest"]);
        same[1].name = "w0".into();
        assert!(fault(&same).is_some());
    }
}
