//! The settings as written: the file (TOML, with lines), then the environment over it. Every key that exists is in [`KEYS`].

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    io::Read,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use serde_json::Value as Json;
use toml::de::{DeTable, DeValue};

use super::{ConfigError, Shown};
use crate::db::masked;

/// A configuration is a page of text; more is another file named by mistake.
const FILE_MAX_BYTES: u64 = 1 << 20;
/// Longest piece of a bad value that a message repeats.
const SHOWN_CHARS: usize = 60;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    List,
    Integer,
}

/// Every key there is, what it holds, and what is wanted of it.
const KEYS: &[(&str, Kind, &str)] = &[
    ("organisation.mpids", Kind::List, "market participant ids of four capital letters, at least one, such as [\"EELC\"]"),
    ("organisation.role", Kind::Text, "a DUIS user role such as IS"),
    ("organisation.user_id", Kind::Text, "an EUI-64 such as 90-B3-D5-1F-30-01-00-00"),
    ("database.url", Kind::Text, "sqlite://FILE or postgres://USER@HOST/DATABASE"),
    ("firmware_store.url", Kind::Text, "a folder (s3:// is to come)"),
    ("policies.dir", Kind::Text, "a folder"),
    ("gateway.base_url", Kind::Text, "http://HOST[:PORT][/PATH] or the same with https, without user, query or fragment"),
    ("gateway.dcc_id", Kind::Text, "an EUI-64 such as 90-B3-D5-1F-30-00-00-02"),
    ("gateway.duis_version", Kind::Text, "a DUIS version in quotation marks, such as \"3.1\""),
    ("gateway.signing_key", Kind::Text, "a PEM file, as a path or file:PATH (pkcs11: is reserved for a later version)"),
    ("gateway.signing_certificate", Kind::Text, "a PEM file"),
    ("gateway.dcc_certificates", Kind::List, "PEM files, at least one, such as [\"dcc.pem\"]"),
    ("gateway.request_timeout_seconds", Kind::Integer, "whole seconds from 1 to 600"),
    ("gateway.tls.ca", Kind::Text, "a PEM file"),
    ("gateway.tls.certificate", Kind::Text, "a PEM file"),
    ("gateway.tls.key", Kind::Text, "a PEM file"),
    ("receiver.listen", Kind::Text, "an address and port such as 127.0.0.1:8081"),
    ("receiver.path", Kind::Text, "a path of letters, digits and -._~ such as /duis/receive"),
    ("receiver.forward_to", Kind::Text, "http://HOST[:PORT][/PATH] or the same with https, without user, query or fragment"),
    ("receiver.tls.ca", Kind::Text, "a PEM file"),
    ("receiver.tls.certificate", Kind::Text, "a PEM file"),
    ("receiver.tls.key", Kind::Text, "a PEM file"),
    ("http.listen", Kind::Text, "an address and port such as 127.0.0.1:8080"),
    ("http.tls.certificate", Kind::Text, "a PEM file"),
    ("http.tls.key", Kind::Text, "a PEM file"),
    ("archive.keep_months", Kind::Integer, "whole months from 1 to 240"),
    ("audit.signing_key", Kind::Text, "a PEM file, as a path or file:PATH (pkcs11: is reserved for a later version)"),
];

/// Where a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    File { file: PathBuf, line: usize },
    Environment { name: String },
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { file, line } => write!(f, "{}, line {line}", file.display()),
            Origin::Environment { name } => write!(f, "environment, {name}"),
            Origin::CommandLine => f.write_str("command line"),
        }
    }
}

/// A value as written, before anything is made of it: text, a list of texts, or an integer's digits.
struct Written {
    texts: Vec<String>,
    origin: Origin,
}

/// File and environment merged, and what has been made of them so far.
pub(super) struct Layers {
    folder: PathBuf,
    written: BTreeMap<&'static str, Written>,
    /// Sections that the file opens, with their place: an empty `[gateway.tls]` counts.
    sections: BTreeMap<String, Origin>,
    pub shown: Vec<Shown>,
}

impl Layers {
    pub fn read(file: &Path, environment: impl Iterator<Item = (OsString, OsString)>) -> Result<Layers, ConfigError> {
        let folder = file.parent().unwrap_or(Path::new("")).to_path_buf();
        let mut layers = Layers { folder, written: BTreeMap::new(), sections: BTreeMap::new(), shown: Vec::new() };
        if let Some(text) = read_text(file)? {
            let place = |offset: usize| Origin::File { file: file.to_path_buf(), line: line_of(&text, offset) };
            let document = DeTable::parse(&text).map_err(|e| ConfigError::Syntax {
                place: place(e.span().map_or(0, |s| s.start)),
                reason: e.message().lines().next().unwrap_or_default().to_string(),
            })?;
            layers.add_table("", document.get_ref(), &place)?;
        }
        let mut variables: Vec<_> = environment.collect();
        variables.sort();
        for (name, value) in variables {
            layers.add_variable(name, value)?;
        }
        Ok(layers)
    }

    fn add_table(&mut self, prefix: &str, table: &DeTable<'_>, place: &dyn Fn(usize) -> Origin) -> Result<(), ConfigError> {
        for (name, value) in table {
            let key = if prefix.is_empty() { name.get_ref().to_string() } else { format!("{prefix}.{}", name.get_ref()) };
            let origin = place(name.span().start);
            if let Some((key, kind, wanted)) = KEYS.iter().find(|k| k.0 == key) {
                let texts = texts_of(value.get_ref(), *kind).ok_or_else(|| ConfigError::BadValue {
                    place: origin.clone(),
                    key: key.to_string(),
                    found: describe(value.get_ref()),
                    wanted: wanted.to_string(),
                })?;
                self.written.insert(key, Written { texts, origin });
            } else if is_section(&key) {
                let DeValue::Table(inner) = value.get_ref() else {
                    let wanted = format!("a section, written [{key}]");
                    return Err(ConfigError::BadValue { place: origin, key, found: describe(value.get_ref()), wanted });
                };
                self.sections.insert(key.clone(), origin);
                self.add_table(&key, inner, place)?;
            } else {
                return Err(unknown(origin, key, prefix));
            }
        }
        Ok(())
    }

    /// `PPMID_GATEWAY__BASE_URL`, `PPMID_GATEWAY__TLS__CA`. What has no `__`, or names no section of ours, is not a setting.
    fn add_variable(&mut self, name: OsString, value: OsString) -> Result<(), ConfigError> {
        let Some(name) = name.to_str() else { return Ok(()) };
        let Some((section, _)) = name.strip_prefix("PPMID_").and_then(|n| n.split_once("__")) else { return Ok(()) };
        if !is_section(&section.to_ascii_lowercase()) {
            return Ok(());
        }
        let key = name["PPMID_".len()..].to_ascii_lowercase().replace("__", ".");
        let origin = Origin::Environment { name: name.to_string() };
        let Some((key, kind, wanted)) = KEYS.iter().find(|k| k.0 == key) else {
            return Err(unknown(origin, key, &section.to_ascii_lowercase()));
        };
        let Some(value) = value.to_str() else {
            let (key, wanted) = (key.to_string(), wanted.to_string());
            return Err(ConfigError::BadValue { place: origin, key, found: "not UTF-8 text".into(), wanted });
        };
        let texts = match kind {
            Kind::List => list_of(value),
            Kind::Text | Kind::Integer => vec![value.trim().to_string()],
        };
        self.written.insert(key, Written { texts, origin });
        Ok(())
    }

    fn show(&mut self, key: &'static str, value: Json, origin: Origin) {
        self.shown.push(Shown { key, value, origin });
    }

    fn one(&mut self, key: &'static str) -> Option<(String, Origin)> {
        let written = self.written.remove(key)?;
        Some((written.texts.into_iter().next().unwrap_or_default(), written.origin))
    }

    /// A text that `parse` must accept.
    pub fn text<T>(&mut self, key: &'static str, default: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, ConfigError> {
        let (text, origin) = self.one(key).unwrap_or((default.to_string(), Origin::Default));
        let value = parse(&text).ok_or_else(|| bad(&origin, key, &text))?;
        self.show(key, Json::from(text), origin);
        Ok(value)
    }

    pub fn optional<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, ConfigError> {
        if self.written.contains_key(key) { self.text(key, "", parse).map(Some) } else { Ok(None) }
    }

    /// A list of at least one text, each of which `parse` must accept.
    pub fn list<T>(
        &mut self,
        key: &'static str,
        default: &[&str],
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, ConfigError> {
        let default = || Written { texts: default.iter().map(|s| s.to_string()).collect(), origin: Origin::Default };
        let Written { texts, origin } = self.written.remove(key).unwrap_or_else(default);
        if texts.is_empty() {
            return Err(bad(&origin, key, ""));
        }
        let values = texts.iter().map(|t| parse(t).ok_or_else(|| bad(&origin, key, t))).collect::<Result<_, _>>()?;
        self.show(key, Json::from(texts), origin);
        Ok(values)
    }

    pub fn integer(&mut self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> Result<u64, ConfigError> {
        let (text, origin) = self.one(key).unwrap_or((default.to_string(), Origin::Default));
        let value = text.parse().ok().filter(|n| range.contains(n)).ok_or_else(|| bad(&origin, key, &text))?;
        self.show(key, Json::from(value), origin);
        Ok(value)
    }

    /// A file, relative to the configuration file.
    pub fn file(&mut self, key: &'static str, default: &str) -> Result<PathBuf, ConfigError> {
        self.path(key, default, |s| Some(s))
    }

    /// A file that holds a private key: also `file:PATH`; `pkcs11:` is reserved.
    pub fn key_file(&mut self, key: &'static str, default: &str) -> Result<PathBuf, ConfigError> {
        self.path(key, default, |s| match s.strip_prefix("file:") {
            Some(path) => Some(path.strip_prefix("//").filter(|p| p.starts_with('/')).unwrap_or(path)),
            None => (!s.starts_with("pkcs11:")).then_some(s),
        })
    }

    pub fn folder(&mut self, key: &'static str, default: &str) -> Result<PathBuf, ConfigError> {
        self.path(key, default, |s| (!s.contains("://")).then_some(s))
    }

    fn path(&mut self, key: &'static str, default: &str, parse: impl Fn(&str) -> Option<&str>) -> Result<PathBuf, ConfigError> {
        let folder = self.folder.clone();
        let path = self.text(key, default, |s| parse(s).filter(|s| !s.is_empty()).map(|s| folder.join(s)))?;
        self.reshow(Json::from(path.display().to_string()));
        Ok(path)
    }

    pub fn files(&mut self, key: &'static str, default: &[&str]) -> Result<Vec<PathBuf>, ConfigError> {
        let folder = self.folder.clone();
        let paths: Vec<PathBuf> = self.list(key, default, |s| (!s.is_empty()).then(|| folder.join(s)))?;
        self.reshow(paths.iter().map(|p| p.display().to_string()).collect());
        Ok(paths)
    }

    /// The files of a section that may be left out, but only as a whole.
    pub fn files_of<const N: usize>(
        &mut self,
        section: &'static str,
        keys: &[&'static str; N],
    ) -> Result<Option<[PathBuf; N]>, ConfigError> {
        let first = keys.iter().find_map(|k| self.written.get(k)).map(|w| w.origin.clone());
        let Some(place) = first.or_else(|| self.sections.get(section).cloned()) else { return Ok(None) };
        let mut files = Vec::with_capacity(N);
        for key in keys {
            if !self.written.contains_key(key) {
                let name = key.rsplit('.').next().unwrap_or(key);
                return Err(ConfigError::Missing { place, section, key: name, wanted: wanted_of(key) });
            }
            files.push(self.file(key, "")?);
        }
        Ok(files.try_into().ok())
    }

    /// A database URL. A SQLite file named in the configuration is relative to it; the default, and what the command line
    /// names, is relative to the current folder.
    pub fn database_url(&mut self, key: &'static str, default: &str, command_line: Option<&str>) -> Result<String, ConfigError> {
        let (url, origin) = match (command_line, self.one(key)) {
            (Some(url), _) => (url.to_string(), Origin::CommandLine),
            (None, Some((url, origin))) => {
                let url = self.joined_database_url(&url).ok_or_else(|| bad(&origin, key, &url))?;
                (url, origin)
            }
            (None, None) => (default.to_string(), Origin::Default),
        };
        self.show(key, Json::from(masked(&url)), origin);
        Ok(url)
    }

    fn joined_database_url(&self, url: &str) -> Option<String> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Some(url.to_string());
        }
        let file = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")).filter(|f| !f.is_empty())?;
        Some(format!("sqlite://{}", self.folder.join(file).display()))
    }

    /// Replaces what is shown of the setting just read: the path as joined.
    fn reshow(&mut self, value: Json) {
        if let Some(last) = self.shown.last_mut() {
            last.value = value;
        }
    }
}

fn read_text(file: &Path) -> Result<Option<String>, ConfigError> {
    let failed = |source| ConfigError::Read { file: file.to_path_buf(), source };
    let opened = match std::fs::File::open(file) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    let mut bytes = Vec::new();
    opened.take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_MAX_BYTES {
        return Err(ConfigError::TooLong { file: file.to_path_buf(), limit: FILE_MAX_BYTES });
    }
    let text = String::from_utf8(bytes).map_err(|_| ConfigError::NotText { file: file.to_path_buf() })?;
    Ok(Some(text.strip_prefix('\u{feff}').map(str::to_string).unwrap_or(text)))
}

/// A list in a variable: `A, B`, or written as in the file, `["A", "B"]`.
fn list_of(value: &str) -> Vec<String> {
    let as_in_file = DeValue::parse(value).ok().and_then(|v| texts_of(v.get_ref(), Kind::List));
    as_in_file.unwrap_or_else(|| value.split(',').map(|s| s.trim().to_string()).filter(|s| !s.is_empty()).collect())
}

/// The line, from 1, that the byte at `offset` is on.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|b| *b == b'\n').count()
}

fn texts_of(value: &DeValue<'_>, kind: Kind) -> Option<Vec<String>> {
    match (kind, value) {
        (Kind::Text, DeValue::String(s)) => Some(vec![s.to_string()]),
        (Kind::Integer, DeValue::Integer(n)) => u64::from_str_radix(n.as_str(), n.radix()).ok().map(|n| vec![n.to_string()]),
        (Kind::List, DeValue::Array(items)) => {
            items.iter().map(|i| i.get_ref().as_str().map(str::to_string)).collect::<Option<Vec<_>>>()
        }
        _ => None,
    }
}

fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(s) => quoted(s),
        DeValue::Integer(n) => n.to_string(),
        DeValue::Float(n) => n.to_string(),
        DeValue::Boolean(b) => b.to_string(),
        DeValue::Datetime(d) => d.to_string(),
        DeValue::Array(_) => "a list".to_string(),
        DeValue::Table(_) => "a section".to_string(),
    }
}

/// As a message repeats it: cut, and without the password of a URL.
fn quoted(text: &str) -> String {
    if text.is_empty() {
        return "empty".to_string();
    }
    format!("{:?}", masked(text).chars().take(SHOWN_CHARS).collect::<String>())
}

fn wanted_of(key: &str) -> &'static str {
    KEYS.iter().find(|k| k.0 == key).map(|k| k.2).expect("every setting that is read is in KEYS")
}

fn bad(origin: &Origin, key: &'static str, found: &str) -> ConfigError {
    ConfigError::BadValue {
        place: origin.clone(),
        key: key.to_string(),
        found: quoted(found),
        wanted: wanted_of(key).to_string(),
    }
}

fn is_section(name: &str) -> bool {
    KEYS.iter().any(|(key, ..)| key.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

fn unknown(place: Origin, key: String, section: &str) -> ConfigError {
    let skip = if section.is_empty() { 0 } else { section.len() + 1 };
    let inside = KEYS.iter().filter(|(k, ..)| section.is_empty() || k.strip_prefix(section).is_some_and(|r| r.starts_with('.')));
    let mut names: Vec<&str> = inside.map(|(k, ..)| k[skip..].split('.').next().unwrap_or_default()).collect();
    names.dedup();
    let what = if section.is_empty() { "one of the sections" } else { "one of" };
    ConfigError::UnknownKey { place, key, wanted: format!("{what} {}", names.join(", ")) }
}
