//! The policies folder: which files are there, each checked whole, which edition is in force on a day, and the compiled-in file
//! where none is. Of this room the only file that touches a disk.
//! Promise: a folder that loads has no file that is ignored, also none that begins only later.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    path::Path,
};

use super::{
    Origin, PolicyError, PolicyFile, PolicyName, PolicySet,
    document::Read,
    files::{compiled_file, parse_file},
};
use crate::{
    clock::Day,
    failure::{Exit, Failure},
    image::Trust,
};

/// A policy file is a page or two; anything longer is not one.
const POLICY_FILE_MAX_BYTES: u64 = 1 << 20;
const ENDING: &str = ".toml";

/// Every file of a policies folder. Beside `eligibility.toml` there may be editions of it that begin on a later day, each named
/// after that day: `eligibility.2027-01-15.toml`.
#[derive(Debug, Clone)]
pub struct PolicyFolder {
    files: Vec<PolicyFile>,
}

impl PolicyFolder {
    /// The folder's files, each checked whole, those that begin later too. An absent folder has none.
    pub fn load(dir: &Path) -> Result<PolicyFolder, PolicyError> {
        let files: Vec<PolicyFile> = check_files(dir).into_iter().map(|(_, file)| file).collect::<Read<_>>()?;
        Ok(PolicyFolder { files })
    }

    /// Whether the folder still has the same files with the same texts: then loading it again would give the same.
    pub fn is_current(&self, dir: &Path) -> bool {
        let Ok(listed) = listed(dir) else { return false };
        let written: Vec<(&Path, &str)> = self.files.iter().filter_map(PolicyFile::in_folder).collect();
        let same = |(path, text): &(&Path, &str)| {
            listed.iter().any(|l| path.file_name().is_some_and(|name| *name == *l.file))
                && read_text(path).is_ok_and(|now| now == *text)
        };
        listed.len() == written.len() && written.iter().all(same)
    }

    /// The set in force on a day: of each name the edition that began last, the compiled-in file where none has begun.
    pub fn as_of(&self, day: Day) -> PolicySet {
        let file = |name: &PolicyName| self.in_force(*name, day).cloned().unwrap_or_else(|| compiled_file(*name));
        PolicySet::of(PolicyName::ALL.iter().map(file).collect())
    }

    /// The file of the folder that is in force, if any is.
    pub fn in_force(&self, name: PolicyName, day: Day) -> Option<&PolicyFile> {
        let begun = |f: &&PolicyFile| f.name == name && f.head.effective_from <= day && f.origin != Origin::CompiledIn;
        self.files.iter().filter(begun).max_by_key(|f| f.head.effective_from)
    }

    /// Those that begin after a day, soonest first.
    pub fn after(&self, day: Day) -> Vec<&PolicyFile> {
        let mut later: Vec<&PolicyFile> = self.files.iter().filter(|f| f.head.effective_from > day).collect();
        later.sort_by_key(|f| (f.head.effective_from, f.name));
        later
    }
}

/// A name in the folder that ends in `.toml`.
struct Listed {
    file: String,
    /// Which policy, and the day in the name; `None`: no policy file.
    policy: Option<(PolicyName, Option<Day>)>,
}

/// Every file of the folder with its own result, the compiled-in one for a name that is absent, for `ppmid policy check`: in the
/// order of [`PolicyName`], then by name; a file that is no policy file comes last, as an error of its own.
pub fn check_files(dir: &Path) -> Vec<(String, Result<PolicyFile, PolicyError>)> {
    let listed = match listed(dir) {
        Ok(listed) => listed,
        Err(error) => return vec![(dir.display().to_string(), Err(error))],
    };
    let mut all = Vec::new();
    for name in PolicyName::ALL {
        let mut of_name: Vec<&Listed> = listed.iter().filter(|l| l.policy.is_some_and(|(n, _)| n == *name)).collect();
        of_name.sort_by_key(|l| l.policy);
        if of_name.first().is_none_or(|l| l.file != name.as_str()) {
            all.push((name.to_string(), Ok(compiled_file(*name))));
        }
        let mut editions: Vec<(String, Read<PolicyFile>)> = Vec::new();
        for found in of_name {
            let file = load_file(dir, found, *name).and_then(|file| only_one_a_day(file, &editions));
            editions.push((found.file.clone(), file));
        }
        all.extend(editions);
    }
    let strangers = listed.iter().filter(|l| l.policy.is_none());
    all.extend(strangers.map(|l| (l.file.clone(), Err(unknown_file(dir, &l.file)))));
    all
}

fn only_one_a_day(file: PolicyFile, others: &[(String, Read<PolicyFile>)]) -> Read<PolicyFile> {
    let day = file.head.effective_from;
    let same = |(name, other): &(String, Read<PolicyFile>)| {
        other.as_ref().is_ok_and(|o| o.head.effective_from == day).then(|| name.clone())
    };
    match others.iter().find_map(same) {
        Some(other) => Err(PolicyError::SameDay { file: file.origin.to_string(), other, day }),
        None => Ok(file),
    }
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

fn load_file(dir: &Path, found: &Listed, name: PolicyName) -> Read<PolicyFile> {
    let path = dir.join(&found.file);
    let shown = || path.display().to_string();
    let named = found.policy.and_then(|(_, day)| day);
    if name == PolicyName::Trust && named.is_some() {
        return Err(PolicyError::NoEditions { file: shown() });
    }
    let text = read_text(&path)?;
    if name == PolicyName::Trust {
        Trust::load(dir)?;
    }
    let file = parse_file(name, text, Origin::Folder(path.clone()))?;
    match named {
        Some(named) if named != file.head.effective_from => {
            Err(PolicyError::EditionDate { file: shown(), named, says: file.head.effective_from })
        }
        _ => Ok(file),
    }
}

/// Not UTF-8 is told with the line where it stops being.
fn read_text(path: &Path) -> Read<String> {
    let name = || path.display().to_string();
    let failed = |cause| PolicyError::Read { file: name(), cause };
    let file = fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(POLICY_FILE_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > POLICY_FILE_MAX_BYTES {
        return Err(PolicyError::TooLong { file: name(), at_most: POLICY_FILE_MAX_BYTES });
    }
    String::from_utf8(bytes).map_err(|e| {
        let good = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|b| **b == b'\n').count();
        PolicyError::Syntax { file: name(), line, problem: "the text is not UTF-8".to_string() }
    })
}

/// A misspelt or future file must not be ignored in silence: a freeze that nobody honours is worse than an error.
fn unknown_file(dir: &Path, name: &str) -> PolicyError {
    let known = PolicyName::ALL.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(", ");
    PolicyError::UnknownFile { file: dir.join(name).display().to_string(), known }
}

/// Names in the folder that end in `.toml`, sorted.
fn listed(dir: &Path) -> Read<Vec<Listed>> {
    let failed = |cause| PolicyError::Read { file: dir.display().to_string(), cause };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut all = Vec::new();
    for entry in entries {
        let file = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if !file.starts_with('.') && file.ends_with(ENDING) {
            all.push(Listed { policy: policy_of(&file), file });
        }
    }
    all.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(all)
}

/// `eligibility.toml`, or `eligibility.2027-01-15.toml`.
fn policy_of(file: &str) -> Option<(PolicyName, Option<Day>)> {
    if let Ok(name) = file.parse::<PolicyName>() {
        return Some((name, None));
    }
    let (name, day) = file.strip_suffix(ENDING)?.rsplit_once('.')?;
    Some((format!("{name}{ENDING}").parse().ok()?, Some(day.parse().ok()?)))
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
            PolicyError::EditionDate { .. } | PolicyError::SameDay { .. } => failure
                .help("an edition is named after its first day, eligibility.2027-01-15.toml, and one day has one edition")
                .help("`ppmid policy check` lists every file with the day it begins"),
            PolicyError::NoEditions { .. } => {
                failure.help("change trust.toml itself: not_before, not_after and revoked_at date its keys")
            }
            PolicyError::UnknownFile { .. } => failure.help("rename it, or move it out of the policies folder"),
            PolicyError::TooLong { .. } => failure.help("is it the right file? `ppmid policy init --dir DIR` writes what ships"),
            PolicyError::Read { .. } => failure.help("check that it is a file (the folder: a folder) that this user may read"),
            PolicyError::Write { .. } => failure.help("check that the folder may be written to and that the disk is not full"),
        }
    }
}
