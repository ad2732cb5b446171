//! The policy files: their names, how each ships, and one file read whole. What a file means is in the module named after it;
//! which file of a folder counts on which day is `folder`'s, what they are together is `set`'s.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use super::{
    Eligibility, Notify, PolicySet, ResponseCodes, Retry, Rollout, Steps, Thresholds,
    document::{Place, Read, Section, day, read_document, text, whole},
    eligibility::{DAY_WANTED, read_eligibility},
    notify::read_notify,
    response_codes::read_response_codes,
    retry::read_retry,
    rollout::read_rollout,
    steps::read_steps,
    thresholds::read_thresholds,
    windows::{Windows, read_windows},
};
use crate::clock::Day;

const VERSION_MAX: i64 = 1_000_000_000;

crate::spelled! {
    /// The files of this version, in the order in which they are hashed.
    PolicyName, "a policy file: eligibility.toml, notify.toml, response-codes.toml, retry.toml, rollout.toml, steps.toml, thresholds.toml, trust.toml or windows.toml" {
        Eligibility = "eligibility.toml",
        Notify = "notify.toml",
        ResponseCodes = "response-codes.toml",
        Rollout = "rollout.toml",
        Retry = "retry.toml",
        Steps = "steps.toml",
        Thresholds = "thresholds.toml",
        /// Whose signatures count. Read by the image room, which also judges it; here for the hash and the head.
        Trust = "trust.toml",
        Windows = "windows.toml",
    }
}

impl PolicyName {
    /// The file as it ships: what `ppmid policy init` writes and what an absent file means.
    pub fn shipped(self) -> &'static str {
        match self {
            PolicyName::Eligibility => include_str!("../../policies/eligibility.toml"),
            PolicyName::Notify => include_str!("../../policies/notify.toml"),
            PolicyName::ResponseCodes => include_str!("../../policies/response-codes.toml"),
            PolicyName::Rollout => include_str!("../../policies/rollout.toml"),
            PolicyName::Retry => include_str!("../../policies/retry.toml"),
            PolicyName::Steps => include_str!("../../policies/steps.toml"),
            PolicyName::Thresholds => include_str!("../../policies/thresholds.toml"),
            PolicyName::Trust => include_str!("../../policies/trust.toml"),
            PolicyName::Windows => include_str!("../../policies/windows.toml"),
        }
    }
}

/// What every policy file begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub version: i64,
    /// The first day it applies; before it, an earlier edition or the compiled-in file does.
    pub effective_from: Day,
    /// The paragraphs it comes from.
    pub clauses: Vec<String>,
}

/// Where a file's text came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Folder(PathBuf),
    CompiledIn,
    /// Kept with what it decided; where it came from then.
    Kept(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Folder(path) => write!(f, "{}", path.display()),
            Origin::CompiledIn => f.write_str("compiled in"),
            Origin::Kept(from) => write!(f, "as it was kept, from {from}"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Eligibility(Box<Eligibility>),
    Notify(Box<Notify>),
    ResponseCodes(Box<ResponseCodes>),
    Rollout(Box<Rollout>),
    Retry(Box<Retry>),
    Steps(Box<Steps>),
    Thresholds(Box<Thresholds>),
    Trust,
    Windows(Box<Windows>),
}

/// One checked file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    pub name: PolicyName,
    pub origin: Origin,
    pub head: Head,
    pub content: Content,
    pub text: String,
}

impl PolicyFile {
    /// Where it lies in the policies folder, and its text; `None`: it is not from there.
    pub(super) fn in_folder(&self) -> Option<(&Path, &str)> {
        match &self.origin {
            Origin::Folder(path) => Some((path, &self.text)),
            Origin::CompiledIn | Origin::Kept(_) => None,
        }
    }
}

/// The keys that every file may have, `version` and `effective_from` required.
pub(super) fn read_head(file: &mut Section<'_, '_>) -> Read<Head> {
    Ok(Head {
        version: file.required("version", "a whole number from 1, raised with each change", whole(1, VERSION_MAX))?,
        effective_from: file.required("effective_from", DAY_WANTED, day)?,
        clauses: file.list("clauses", "a text such as \"L§12\"", text)?.unwrap_or_default(),
    })
}

/// Of `trust.toml` the head alone: its keys and roles are the image room's to judge, and were.
fn read_trust_head(place: Place<'_>) -> Read<Head> {
    read_document(place, |file| {
        file.leave_the_rest();
        read_head(file)
    })
}

/// The file as it ships, read once: what ships cannot change, and is asked for whenever a file is absent.
pub(super) fn compiled_file(name: PolicyName) -> PolicyFile {
    static SHIPPED: LazyLock<Vec<PolicyFile>> = LazyLock::new(|| {
        let read = |name: &PolicyName| parse_file(*name, name.shipped().to_string(), Origin::CompiledIn);
        PolicyName::ALL.iter().map(|name| read(name).expect("the shipped policy files are checked by a test")).collect()
    });
    SHIPPED.iter().find(|f| f.name == name).expect("each has one").clone()
}

/// Reads one file whole. `trust.toml` of a folder is judged by the image room too, before.
pub(super) fn parse_file(name: PolicyName, text: String, origin: Origin) -> Read<PolicyFile> {
    let shown = match &origin {
        Origin::Folder(_) => origin.to_string(),
        Origin::CompiledIn | Origin::Kept(_) => format!("{name} ({origin})"),
    };
    let place = Place { file: &shown, text: &text };
    let (head, content) = match name {
        PolicyName::Eligibility => {
            let default = match &origin {
                Origin::CompiledIn => None,
                Origin::Folder(_) | Origin::Kept(_) => Some(PolicySet::compiled().eligibility),
            };
            let (head, eligibility) = read_eligibility(place, default.as_ref())?;
            (head, Content::Eligibility(Box::new(eligibility)))
        }
        PolicyName::Notify => {
            let (head, notify) = read_notify(place)?;
            (head, Content::Notify(Box::new(notify)))
        }
        PolicyName::ResponseCodes => {
            let (head, codes) = read_response_codes(place)?;
            (head, Content::ResponseCodes(Box::new(codes)))
        }
        PolicyName::Rollout => {
            let (head, rollout) = read_rollout(place)?;
            (head, Content::Rollout(Box::new(rollout)))
        }
        PolicyName::Retry => {
            let (head, retry) = read_retry(place)?;
            (head, Content::Retry(Box::new(retry)))
        }
        PolicyName::Steps => {
            let (head, steps) = read_steps(place)?;
            (head, Content::Steps(Box::new(steps)))
        }
        PolicyName::Thresholds => {
            let (head, thresholds) = read_thresholds(place)?;
            (head, Content::Thresholds(Box::new(thresholds)))
        }
        PolicyName::Trust => (read_trust_head(place)?, Content::Trust),
        PolicyName::Windows => {
            let (head, windows) = read_windows(place)?;
            (head, Content::Windows(Box::new(windows)))
        }
    };
    Ok(PolicyFile { name, origin, head, content, text })
}
