//! Who may sign images: `policies/trust.toml` (contract, Images) and the question whether an envelope is signed well enough.
//! Promises: the file loads whole or not at all; without it nothing is trusted; a key counts only while it is valid and not
//! revoked at the moment asked about, and once, however often it signed. [`Trust::check`] is pure.

use std::{collections::BTreeSet, fmt, path::Path, str::FromStr};

use ed25519_dalek::VerifyingKey;

use super::{
    dsse::{Envelope, KeyId},
    files::{self, FileError},
    trust_file::{self, TrustFileError},
};
use crate::{
    clock::{Day, Time},
    ids::IdError,
};

pub const FILE_NAME: &str = "trust.toml";
/// Far more than a policy with hundreds of keys.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// What a signer answers for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The maker of the display.
    Manufacturer,
    /// The supplier's own release manager.
    Release,
}

impl FromStr for Role {
    type Err = IdError;

    fn from_str(s: &str) -> Result<Role, IdError> {
        match s {
            "manufacturer" => Ok(Role::Manufacturer),
            "release" => Ok(Role::Release),
            _ => Err(IdError::new(s, "a role: manufacturer or release")),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Manufacturer => "manufacturer",
            Role::Release => "release",
        })
    }
}

/// The policy in force, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust(Option<TrustPolicy>);

/// `trust.toml`, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustPolicy {
    pub version: u32,
    /// Before this London day the file trusts nothing.
    pub effective_from: Day,
    /// How many different, valid keys must have signed: at least 1.
    pub threshold: usize,
    /// Each must be among them.
    pub required_roles: BTreeSet<Role>,
    pub keys: Vec<TrustedKey>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey {
    pub keyid: KeyId,
    pub public_key: VerifyingKey,
    pub role: Role,
    /// Valid while `not_before <= now < not_after`.
    pub not_before: Option<Time>,
    pub not_after: Option<Time>,
    pub revoked_at: Option<Time>,
}

impl TrustedKey {
    fn rejected(&self, now: Time) -> Option<Rejection> {
        if let Some(at) = self.revoked_at.filter(|at| *at <= now) {
            return Some(Rejection::Revoked { at });
        }
        if let Some(not_before) = self.not_before.filter(|from| now < *from) {
            return Some(Rejection::NotYetValid { not_before });
        }
        self.not_after.filter(|until| *until <= now).map(|not_after| Rejection::NoLongerValid { not_after })
    }
}

/// The keys that count.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TrustedBy {
    pub keys: Vec<Signer>,
    /// Signatures that count for nothing, though enough others do.
    pub rejected: Vec<RejectedSignature>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Signer {
    pub keyid: KeyId,
    pub role: Role,
}

/// A signature that counts for nothing, and why.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RejectedSignature {
    /// As written in the envelope, cut to a readable length.
    pub keyid: String,
    #[serde(serialize_with = "as_text")]
    pub why: Rejection,
}

fn as_text<S: serde::Serializer>(why: &Rejection, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(why)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("trust.toml has no such key")]
    UnknownKey,
    #[error("its signature is wrong")]
    WrongSignature,
    #[error("it was revoked at {at}")]
    Revoked { at: Time },
    #[error("it is not valid before {not_before}")]
    NotYetValid { not_before: Time },
    #[error("it is not valid since {not_after}")]
    NoLongerValid { not_after: Time },
    #[error("it has signed already")]
    Repeated,
}

/// Why an envelope is not trusted: every key that was turned away, and what is still wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustError {
    pub wanting: Wanting,
    pub rejected: Vec<RejectedSignature>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wanting {
    #[error("there is no policies/trust.toml, so nothing is trusted")]
    Policy,
    #[error("policies/trust.toml is in force only from {effective_from}, so nothing is trusted")]
    InForce { effective_from: Day },
    #[error("{valid} of the {threshold} different valid keys wanted have signed")]
    Threshold { valid: usize, threshold: usize },
    #[error("no valid key of the role {0} has signed")]
    Role(Role),
}

impl fmt::Display for TrustError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.wanting)?;
        self.rejected.iter().try_for_each(|r| write!(f, "; key {:?}: {}", r.keyid, r.why))
    }
}

impl std::error::Error for TrustError {}

impl Trust {
    /// Trusts nothing.
    pub fn nothing() -> Trust {
        Trust(None)
    }

    pub fn policy(policy: TrustPolicy) -> Trust {
        Trust(Some(policy))
    }

    /// Reads `trust.toml` in the policies' folder; where it is absent, nothing is trusted. Cheap: read it again each time it is asked.
    pub fn load(policies_dir: &Path) -> Result<Trust, TrustFileError> {
        let path = policies_dir.join(FILE_NAME);
        match files::read_up_to(&path, MAX_FILE_BYTES, "the policy file") {
            Ok(bytes) => Ok(Trust(Some(trust_file::parse(&path, &bytes)?))),
            Err(e @ FileError::Read { .. }) if e.is_not_found() => Ok(Trust(None)),
            Err(e) => Err(TrustFileError::File(e)),
        }
    }

    /// Whether enough of the right keys have signed, as of `now`.
    pub fn check(&self, envelope: &Envelope, now: Time) -> Result<TrustedBy, TrustError> {
        let wanting = |wanting, rejected| Err(TrustError { wanting, rejected });
        let Some(policy) = &self.0 else { return wanting(Wanting::Policy, Vec::new()) };
        if now.london_day() < policy.effective_from {
            return wanting(Wanting::InForce { effective_from: policy.effective_from }, Vec::new());
        }
        let (mut keys, mut rejected) = (Vec::<Signer>::new(), Vec::new());
        for signature in &envelope.signatures {
            let known = signature.keyid.parse::<KeyId>().ok().and_then(|id| policy.keys.iter().find(|k| k.keyid == id));
            let why = match known {
                None => Some(Rejection::UnknownKey),
                Some(key) if keys.iter().any(|s| s.keyid == key.keyid) => Some(Rejection::Repeated),
                Some(key) if !envelope.is_signed_by(&key.public_key, signature) => Some(Rejection::WrongSignature),
                Some(key) => key.rejected(now),
            };
            match (why, known) {
                (None, Some(key)) => keys.push(Signer { keyid: key.keyid, role: key.role }),
                (why, _) => rejected.push(RejectedSignature {
                    keyid: signature.keyid.chars().take(64).collect(),
                    why: why.unwrap_or(Rejection::UnknownKey),
                }),
            }
        }
        if keys.len() < policy.threshold {
            return wanting(Wanting::Threshold { valid: keys.len(), threshold: policy.threshold }, rejected);
        }
        if let Some(role) = policy.required_roles.iter().find(|role| keys.iter().all(|s| s.role != **role)) {
            return wanting(Wanting::Role(*role), rejected);
        }
        Ok(TrustedBy { keys, rejected })
    }
}
