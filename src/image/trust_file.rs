//! `policies/trust.toml` as an operator writes it, turned into a `TrustPolicy`. Pure: bytes in, policy or error out.
//! Promise: it loads whole or not at all, and an error names the file, the line, the key and what is wanted.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::Deserialize;
use toml::Spanned;

use super::{
    dsse::KeyId,
    files::FileError,
    key,
    trust::{Role, TrustPolicy, TrustedKey},
};
use crate::{clock::Time, failure::Failure, ids::IdError};

#[derive(Debug, thiserror::Error)]
pub enum TrustFileError {
    #[error(transparent)]
    File(FileError),
    #[error("{}, line {line}: {key}{problem}", path.display(), key = Named(.key))]
    Value { path: PathBuf, line: usize, key: Option<String>, problem: String },
}

/// `` `keyid`: `` where a key is at fault, and nothing otherwise.
struct Named<'a>(&'a Option<String>);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |key| write!(f, "`{key}`: "))
    }
}

impl From<TrustFileError> for Failure {
    fn from(e: TrustFileError) -> Failure {
        Failure::failed(e.to_string()).help("correct the file; until it loads, no image is added and no batch is sent")
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: Spanned<u32>,
    effective_from: Spanned<String>,
    /// Which paragraphs it follows: for its readers, as in every policy file.
    #[serde(default, rename = "clauses")]
    _clauses: Vec<String>,
    threshold: Spanned<i64>,
    required_roles: Vec<Spanned<String>>,
    #[serde(default)]
    key: Vec<WrittenKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenKey {
    keyid: Spanned<String>,
    public_key: Spanned<String>,
    role: Spanned<String>,
    not_before: Option<Spanned<String>>,
    not_after: Option<Spanned<String>>,
    revoked_at: Option<Spanned<String>>,
}

/// The file's text, for saying where something is wrong.
struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn wrong(&self, at: usize, key: Option<&str>, problem: impl Into<String>) -> TrustFileError {
        let before = self.text.as_bytes().iter().take(at);
        TrustFileError::Value {
            path: self.path.to_path_buf(),
            line: before.filter(|b| **b == b'\n').count() + 1,
            key: key.map(str::to_string),
            problem: problem.into(),
        }
    }

    fn parsed<T: FromStr<Err = IdError>>(&self, key: &str, value: &Spanned<String>) -> Result<T, TrustFileError> {
        value.get_ref().parse().map_err(|e: IdError| self.wrong(value.span().start, Some(key), e.to_string()))
    }

    fn time(&self, key: &str, value: &Option<Spanned<String>>) -> Result<Option<Time>, TrustFileError> {
        value.as_ref().map(|value| self.parsed(key, value)).transpose()
    }

    /// What `toml` refused. The key is what stands before `=` on the line it points at.
    fn refused(&self, e: &toml::de::Error) -> TrustFileError {
        let at = e.span().map_or(0, |span| span.start).min(self.text.len());
        let start = self.text.as_bytes().iter().take(at).rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
        let line = self.text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
        let key = line.split_once('=').map(|(key, _)| key.trim()).filter(|key| !key.is_empty() && !key.starts_with('#'));
        self.wrong(at, key, e.message().replace('\n', " "))
    }
}

pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<TrustPolicy, TrustFileError> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => {
            let before = String::from_utf8_lossy(&bytes[..e.valid_up_to()]);
            return Err(Source { path, text: &before }.wrong(before.len(), None, "the text is not UTF-8"));
        }
    };
    let source = Source { path, text };
    let written: Written = toml::from_str(text).map_err(|e| source.refused(&e))?;
    if *written.version.get_ref() == 0 {
        return Err(source.wrong(written.version.span().start, Some("version"), "0 is not a version: 1 or more is wanted"));
    }
    let threshold = match usize::try_from(*written.threshold.get_ref()) {
        Ok(threshold) if threshold >= 1 => threshold,
        _ => {
            let problem =
                format!("{} is not a threshold: a whole number of keys, at least 1, is wanted", written.threshold.get_ref());
            return Err(source.wrong(written.threshold.span().start, Some("threshold"), problem));
        }
    };
    let mut keys: Vec<TrustedKey> = Vec::with_capacity(written.key.len());
    for written in &written.key {
        let key = trusted_key(&source, written)?;
        if keys.iter().any(|k| k.keyid == key.keyid) {
            return Err(source.wrong(written.keyid.span().start, Some("keyid"), format!("{} is listed twice", key.keyid)));
        }
        keys.push(key);
    }
    Ok(TrustPolicy {
        version: *written.version.get_ref(),
        effective_from: source.parsed("effective_from", &written.effective_from)?,
        threshold,
        required_roles: written.required_roles.iter().map(|r| source.parsed("required_roles", r)).collect::<Result<_, _>>()?,
        keys,
    })
}

fn trusted_key(source: &Source<'_>, written: &WrittenKey) -> Result<TrustedKey, TrustFileError> {
    let keyid: KeyId = source.parsed("keyid", &written.keyid)?;
    let at = written.public_key.span().start;
    let public_key = key::parse_public_base64(written.public_key.get_ref().trim())
        .filter(|key| !key.is_weak())
        .ok_or_else(|| source.wrong(at, Some("public_key"), "not the base64 of an Ed25519 public key (SPKI DER)"))?;
    let wanted = KeyId::of(&public_key);
    if wanted != keyid {
        return Err(source.wrong(written.keyid.span().start, Some("keyid"), format!("this public_key's keyid is {wanted}")));
    }
    let key = TrustedKey {
        keyid,
        public_key,
        role: source.parsed::<Role>("role", &written.role)?,
        not_before: source.time("not_before", &written.not_before)?,
        not_after: source.time("not_after", &written.not_after)?,
        revoked_at: source.time("revoked_at", &written.revoked_at)?,
    };
    if let (Some(from), Some(until), Some(value)) = (key.not_before, key.not_after, &written.not_after)
        && until <= from
    {
        let problem = format!("{until} is not after not_before, {from}");
        return Err(source.wrong(value.span().start, Some("not_after"), problem));
    }
    Ok(key)
}

/// What an operator adds to the file for a new key.
pub fn key_clause(key: &ed25519_dalek::VerifyingKey, role: Role) -> String {
    format!("[[key]]\nkeyid = \"{}\"\npublic_key = \"{}\"\nrole = \"{role}\"\n", KeyId::of(key), key::public_base64(key))
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;

    const HEAD: &str = "version = 1\neffective_from = \"2020-11-24\"\nthreshold = 1\nrequired_roles = [\"manufacturer\"]\n";

    fn clause(seed: u8) -> String {
        key_clause(&SigningKey::from_bytes(&[seed; 32]).verifying_key(), Role::Manufacturer)
    }

    fn read(text: &str) -> Result<TrustPolicy, String> {
        parse(Path::new("policies/trust.toml"), text.as_bytes()).map_err(|e| e.to_string())
    }

    #[test]
    fn the_contract_s_file_is_read() {
        let text = format!(
            "{HEAD}{}not_before = \"2020-01-01T00:00:00Z\"\nrevoked_at = \"2026-01-01T00:00:00Z\"\n{}",
            clause(1),
            clause(2).replace("manufacturer", "release")
        );
        let policy = read(&text.replace("threshold", "clauses = [\"L§6\"]\nthreshold")).unwrap();
        assert_eq!((policy.version, policy.threshold, policy.keys.len()), (1, 1, 2));
        assert_eq!(policy.keys[1].role, Role::Release);
        assert!(policy.keys[0].revoked_at.is_some() && policy.keys[0].not_after.is_none());
        assert!(read(HEAD).unwrap().keys.is_empty());
    }

    #[test]
    fn the_file_that_ships_loads_and_trusts_no_key() {
        let shipped = include_str!("../../policies/trust.toml");
        assert!(read(shipped).unwrap().keys.is_empty());
    }

    #[test]
    fn an_error_names_file_line_key_and_what_is_wanted() {
        let one = clause(1);
        let cases = [
            (HEAD.replace("threshold = 1", "threshold = 0"), "line 3: `threshold`: 0 is not a threshold"),
            (HEAD.replace("threshold = 1", "threshold = -1"), "line 3: `threshold`: -1 is not"),
            (HEAD.replace("threshold = 1", "threshold = \"two\""), "line 3: `threshold`: invalid type"),
            (HEAD.replace("threshold = 1\n", ""), "missing field `threshold`"),
            (HEAD.replace("threshold", "treshold"), "line 3: `treshold`: unknown field `treshold`"),
            (HEAD.replace("2020-11-24", "24/11/2020"), "line 2: `effective_from`: \"24/11/2020\" is not a date"),
            (HEAD.replace("[\"manufacturer\"]", "[\"boss\"]"), "line 4: `required_roles`: \"boss\" is not a role"),
            (HEAD.replace("version = 1", "version = 0"), "line 1: `version`: 0 is not"),
            (format!("{HEAD}[[key]\n"), "line 5:"),
            (
                format!("{HEAD}{one}{one}"),
                "line 10: `keyid`: 34750f98bd59fcfc946da45aaabe933be154a4b5094e1c4abf42866505f3c97e is listed twice",
            ),
            (format!("{HEAD}{one}owner = \"x\"\n"), "line 9: `owner`: unknown field `owner`"),
            (format!("{HEAD}{}", one.replace("34750f", "34750e")), "line 6: `keyid`: this public_key's keyid is 34750f"),
            (format!("{HEAD}{}", one.replace("34750f", "34750")), "line 6: `keyid`: "),
            (format!("{HEAD}{}", one.replace("MCow", "MCox")), "line 7: `public_key`: not the base64"),
            (format!("{HEAD}{}", one.replace("manufacturer", "maker")), "line 8: `role`: \"maker\" is not a role"),
            (format!("{HEAD}{one}not_after = \"2026-01-01\"\n"), "line 9: `not_after`: \"2026-01-01\" is not an RFC 3339 time"),
            (format!("{HEAD}[[key]]\nrole = \"release\"\n"), "missing field `keyid`"),
        ];
        for (text, wanted) in cases {
            let message = read(&text).unwrap_err();
            assert!(message.starts_with("policies/trust.toml, line ") && message.contains(wanted), "{message}\nwanted: {wanted}");
        }
    }

    #[test]
    fn text_that_is_not_utf_8_is_an_error_with_a_line() {
        let e = parse(Path::new("t"), b"version = 1\n\xFF").unwrap_err();
        assert_eq!(e.to_string(), "t, line 2: the text is not UTF-8");
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = read(&text);
            let _ = read(&format!("{HEAD}{text}"));
        }
    }
}
