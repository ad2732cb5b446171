//! The policy set: the files of the policies folder, each checked whole, and the compiled-in file where one is absent.
//! What a file means is in the module named after it; here is which file counts, from which day, and the hash of them all.
//! Promise: a set that loads has no key that is ignored and no file that is.

use std::{
    fmt, fs,
    io::{ErrorKind, Read as _, Write as _},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{
    Eligibility, PolicyError, ResponseCodes, Rollout,
    document::{Place, Read, Section, day, read_document, text, whole},
    eligibility::{DAY_WANTED, read_eligibility},
    response_codes::read_response_codes,
    rollout::read_rollout,
};
use crate::{
    clock::Day,
    failure::{Exit, Failure},
    ids::Sha256Hash,
    image::Trust,
};

/// A policy file is a page or two; anything longer is not one.
const POLICY_FILE_MAX_BYTES: u64 = 1 << 20;
const VERSION_MAX: i64 = 1_000_000_000;

crate::spelled! {
    /// The files of this version, in the order in which they are hashed.
    PolicyName, "a policy file: eligibility.toml, response-codes.toml, rollout.toml or trust.toml" {
        Eligibility = "eligibility.toml",
        ResponseCodes = "response-codes.toml",
        Rollout = "rollout.toml",
        /// Whose signatures count. Read by the image room, which also judges it; here for the hash and the head.
        Trust = "trust.toml",
    }
}

impl PolicyName {
    /// The file as it ships: what `ppmid policy init` writes and what an absent file means.
    pub fn shipped(self) -> &'static str {
        match self {
            PolicyName::Eligibility => include_str!("../../policies/eligibility.toml"),
            PolicyName::ResponseCodes => include_str!("../../policies/response-codes.toml"),
            PolicyName::Rollout => include_str!("../../policies/rollout.toml"),
            PolicyName::Trust => include_str!("../../policies/trust.toml"),
        }
    }
}

/// What every policy file begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub version: i64,
    /// The first day it applies; before it, the compiled-in file does.
    pub effective_from: Day,
    /// The paragraphs it comes from.
    pub clauses: Vec<String>,
}

/// Where a file's text came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Folder(PathBuf),
    CompiledIn,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Folder(path) => write!(f, "{}", path.display()),
            Origin::CompiledIn => f.write_str("compiled in"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Eligibility(Box<Eligibility>),
    ResponseCodes(Box<ResponseCodes>),
    Rollout(Box<Rollout>),
    Trust,
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

/// Every policy in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySet {
    pub eligibility: Eligibility,
    pub rollout: Rollout,
    pub response_codes: ResponseCodes,
    files: Vec<PolicyFile>,
}

impl PolicySet {
    /// The folder's files, and the compiled-in one for each that is absent; an absent folder is all of those.
    /// Whatever their dates: see [`PolicySet::as_of`].
    pub fn load(dir: &Path) -> Result<PolicySet, PolicyError> {
        refuse_unknown_files(dir)?;
        let files: Vec<PolicyFile> = PolicyName::ALL.iter().map(|name| load_file(dir, *name)).collect::<Read<_>>()?;
        Ok(PolicySet::of(files))
    }

    /// The files as they ship.
    pub fn compiled() -> PolicySet {
        PolicySet::of(PolicyName::ALL.iter().map(|name| compiled_file(*name)).collect())
    }

    /// The set as it is in force on a day: a file that begins later gives way to the compiled-in one.
    pub fn as_of(self, day: Day) -> PolicySet {
        let in_force = |file: PolicyFile| if file.head.effective_from <= day { file } else { compiled_file(file.name) };
        PolicySet::of(self.files.into_iter().map(in_force).collect())
    }

    pub fn files(&self) -> &[PolicyFile] {
        &self.files
    }

    /// SHA-256 over each file's name and text, lengths first, in the order of [`PolicyName`]; lower-case hexadecimal.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        for file in &self.files {
            for part in [file.name.as_str(), &file.text] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        }
        Sha256Hash { 0: hash.finalize().into() }.to_string()
    }

    fn of(files: Vec<PolicyFile>) -> PolicySet {
        let (mut eligibility, mut rollout, mut response_codes) = (None, None, None);
        for file in &files {
            match &file.content {
                Content::Eligibility(e) => eligibility = Some((**e).clone()),
                Content::Rollout(r) => rollout = Some((**r).clone()),
                Content::ResponseCodes(c) => response_codes = Some((**c).clone()),
                Content::Trust => {}
            }
        }
        let whole = "a set has one file of each name";
        PolicySet {
            eligibility: eligibility.expect(whole),
            rollout: rollout.expect(whole),
            response_codes: response_codes.expect(whole),
            files,
        }
    }
}

/// Every file of the folder with its own result, for `ppmid policy check`; a file that is no policy file comes as an error of its own.
pub fn check_files(dir: &Path) -> Vec<(String, Result<PolicyFile, PolicyError>)> {
    let mut all: Vec<_> = PolicyName::ALL.iter().map(|n| (n.to_string(), load_file(dir, *n))).collect();
    match unknown_files(dir) {
        Ok(strangers) => all.extend(strangers.into_iter().map(|name| (name.clone(), Err(unknown_file(dir, &name))))),
        Err(error) => all.push((dir.display().to_string(), Err(error))),
    }
    all
}

/// Writes the shipped files that are absent, never over one that is there; gives each name and whether it was written.
pub fn init(dir: &Path) -> Result<Vec<(PolicyName, bool)>, PolicyError> {
    let failed = |path: &Path, cause| PolicyError::Write { file: path.display().to_string(), cause };
    fs::create_dir_all(dir).map_err(|e| failed(dir, e))?;
    let mut written = Vec::new();
    for name in PolicyName::ALL {
        let path = dir.join(name.as_str());
        match fs::OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(mut file) => {
                file.write_all(name.shipped().as_bytes()).and_then(|()| file.sync_all()).map_err(|e| failed(&path, e))?;
                written.push((*name, true));
            }
            Err(e) if e.kind() == ErrorKind::AlreadyExists => written.push((*name, false)),
            Err(e) => return Err(failed(&path, e)),
        }
    }
    Ok(written)
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

fn load_file(dir: &Path, name: PolicyName) -> Read<PolicyFile> {
    let path = dir.join(name.as_str());
    match read_text(&path)? {
        Some(text) => {
            if name == PolicyName::Trust {
                Trust::load(dir)?;
            }
            parse_file(name, text, Origin::Folder(path))
        }
        None => Ok(compiled_file(name)),
    }
}

fn compiled_file(name: PolicyName) -> PolicyFile {
    parse_file(name, name.shipped().to_string(), Origin::CompiledIn).expect("the shipped policy files are checked by a test")
}

fn parse_file(name: PolicyName, text: String, origin: Origin) -> Read<PolicyFile> {
    let shown = match &origin {
        Origin::Folder(_) => origin.to_string(),
        Origin::CompiledIn => format!("{name} ({origin})"),
    };
    let place = Place { file: &shown, text: &text };
    let (head, content) = match name {
        PolicyName::Eligibility => {
            let default = match &origin {
                Origin::CompiledIn => None,
                Origin::Folder(_) => Some(PolicySet::compiled().eligibility),
            };
            let (head, eligibility) = read_eligibility(place, default.as_ref())?;
            (head, Content::Eligibility(Box::new(eligibility)))
        }
        PolicyName::ResponseCodes => {
            let (head, codes) = read_response_codes(place)?;
            (head, Content::ResponseCodes(Box::new(codes)))
        }
        PolicyName::Rollout => {
            let (head, rollout) = read_rollout(place)?;
            (head, Content::Rollout(Box::new(rollout)))
        }
        PolicyName::Trust => (read_trust_head(place)?, Content::Trust),
    };
    Ok(PolicyFile { name, origin, head, content, text })
}

/// `None` where there is no such file. Not UTF-8 is told with the line where it stops being.
fn read_text(path: &Path) -> Read<Option<String>> {
    let name = || path.display().to_string();
    let failed = |cause| PolicyError::Read { file: name(), cause };
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(e)),
    };
    let mut bytes = Vec::new();
    file.take(POLICY_FILE_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > POLICY_FILE_MAX_BYTES {
        return Err(PolicyError::TooLong { file: name(), at_most: POLICY_FILE_MAX_BYTES });
    }
    String::from_utf8(bytes).map(Some).map_err(|e| {
        let good = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|b| **b == b'\n').count();
        PolicyError::Syntax { file: name(), line, problem: "the text is not UTF-8".to_string() }
    })
}

/// A misspelt or future file must not be ignored in silence: a freeze that nobody honours is worse than an error.
fn refuse_unknown_files(dir: &Path) -> Read<()> {
    match unknown_files(dir)?.first() {
        Some(name) => Err(unknown_file(dir, name)),
        None => Ok(()),
    }
}

fn unknown_file(dir: &Path, name: &str) -> PolicyError {
    let known = PolicyName::ALL.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(", ");
    PolicyError::UnknownFile { file: dir.join(name).display().to_string(), known }
}

/// Names in the folder that end in `.toml` and are none of ours, sorted.
fn unknown_files(dir: &Path) -> Read<Vec<String>> {
    let failed = |cause| PolicyError::Read { file: dir.display().to_string(), cause };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut strangers = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        let hidden = name.starts_with('.');
        if !hidden && name.ends_with(".toml") && name.parse::<PolicyName>().is_err() {
            strangers.push(name);
        }
    }
    strangers.sort();
    Ok(strangers)
}

impl From<PolicyError> for Failure {
    fn from(error: PolicyError) -> Failure {
        let cause = std::error::Error::source(&error).map(|c| format!(": {c}")).unwrap_or_default();
        let failure = Failure::new(Exit::Failed, format!("{error}{cause}"));
        match error {
            PolicyError::Trust(error) => error.into(),
            PolicyError::Value { .. }
            | PolicyError::UnknownKey { .. }
            | PolicyError::MissingKey { .. }
            | PolicyError::Conflict { .. }
            | PolicyError::Syntax { .. } => failure
                .help("correct that line, then run `ppmid policy check`")
                .help("`ppmid policy init --dir DIR` writes the files as they ship, to compare with"),
            PolicyError::UnknownFile { .. } => failure.help("rename it, or move it out of the policies folder"),
            PolicyError::TooLong { .. } => failure.help("is it the right file? `ppmid policy init --dir DIR` writes what ships"),
            PolicyError::Read { .. } => failure.help("check that it is a file (the folder: a folder) that this user may read"),
            PolicyError::Write { .. } => failure.help("check that the folder may be written to and that the disk is not full"),
        }
    }
}
