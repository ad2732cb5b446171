//! The policies of one day together: one file of each name, and the hash of their texts.

use sha2::{Digest, Sha256};

use super::{
    Content, Eligibility, Notify, PolicyError, PolicyFile, PolicyName, ResponseCodes, Retry, Rollout, Steps, Thresholds,
    files::{Origin, compiled_file, parse_file},
    windows::Windows,
};
use crate::ids::Sha256Hash;

/// Every policy in force on a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySet {
    pub eligibility: Eligibility,
    pub rollout: Rollout,
    pub response_codes: ResponseCodes,
    pub retry: Retry,
    pub windows: Windows,
    pub steps: Steps,
    pub thresholds: Thresholds,
    pub notify: Notify,
    files: Vec<PolicyFile>,
}

impl PolicySet {
    /// The files as they ship.
    pub fn compiled() -> PolicySet {
        PolicySet::of(PolicyName::ALL.iter().map(|name| compiled_file(*name)).collect())
    }

    /// A set that was kept: each file's name, its text then, and where it came from then. A file that did not exist then is the
    /// compiled-in one.
    pub fn kept<'f>(files: impl IntoIterator<Item = (&'f str, &'f str, &'f str)>) -> Result<PolicySet, PolicyError> {
        let mut all: Vec<PolicyFile> = PolicyName::ALL.iter().map(|name| compiled_file(*name)).collect();
        for (name, text, from) in files {
            // A file of a later version of the program has no place in this one.
            let Some(place) = all.iter_mut().find(|f| f.name.as_str() == name) else { continue };
            *place = parse_file(place.name, text.to_string(), Origin::Kept(from.to_string()))?;
        }
        Ok(PolicySet::of(all))
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

    /// One file of each name, in the order of [`PolicyName`].
    pub(super) fn of(files: Vec<PolicyFile>) -> PolicySet {
        let (mut eligibility, mut rollout, mut response_codes) = (None, None, None);
        let (mut retry, mut steps, mut thresholds, mut windows, mut notify) = (None, None, None, None, None);
        for file in &files {
            match &file.content {
                Content::Eligibility(e) => eligibility = Some((**e).clone()),
                Content::Rollout(r) => rollout = Some((**r).clone()),
                Content::ResponseCodes(c) => response_codes = Some((**c).clone()),
                Content::Retry(r) => retry = Some((**r).clone()),
                Content::Steps(s) => steps = Some((**s).clone()),
                Content::Thresholds(t) => thresholds = Some((**t).clone()),
                Content::Notify(n) => notify = Some((**n).clone()),
                Content::Trust => {}
                Content::Windows(w) => windows = Some((**w).clone()),
            }
        }
        let whole = "a set has one file of each name";
        PolicySet {
            eligibility: eligibility.expect(whole),
            rollout: rollout.expect(whole),
            response_codes: response_codes.expect(whole),
            retry: retry.expect(whole),
            windows: windows.expect(whole),
            steps: steps.expect(whole),
            thresholds: thresholds.expect(whole),
            notify: notify.expect(whole),
            files,
        }
    }
}
