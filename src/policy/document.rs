//! Reads one policy file, key by key, and says of everything that is wrong: which file, line and key, and what is wanted.
//! Knows TOML and no policy. Promise: a key nobody asked for is an error, never ignored.

use std::{fmt::Display, str::FromStr};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{clock::Day, image::TrustFileError};

/// Longest piece of a bad value that is repeated in a message (hostile input stays readable).
const SHOWN_CHARS: usize = 60;

/// Why a policy file is not used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("{file}, line {line}: {key} = {found} is not {wanted}")]
    Value { file: String, line: usize, key: String, found: String, wanted: String },
    #[error("{file}, line {line}: {key} is not a key of this file; wanted: {wanted}")]
    UnknownKey { file: String, line: usize, key: String, wanted: String },
    #[error("{file}, line {line}: {key} is missing; wanted: {wanted}")]
    MissingKey { file: String, line: usize, key: String, wanted: String },
    #[error("{file}, line {line}: {key}: {problem}; wanted: {wanted}")]
    Conflict { file: String, line: usize, key: String, problem: String, wanted: String },
    #[error("{file}, line {line}: not TOML: {problem}")]
    Syntax { file: String, line: usize, problem: String },
    #[error("{file} is longer than a policy file can be, {at_most} bytes")]
    TooLong { file: String, at_most: u64 },
    #[error("{file} is no policy file of this version; those are {known}")]
    UnknownFile { file: String, known: String },
    #[error("{file} is named after {named} and says effective_from = {says}")]
    EditionDate { file: String, named: Day, says: Day },
    #[error("{file} begins on {day}, as {other} does")]
    SameDay { file: String, other: String, day: Day },
    #[error("{file}: trust.toml has no editions, since its keys carry dates of their own")]
    NoEditions { file: String },
    #[error(transparent)]
    Trust(#[from] TrustFileError),
    #[error("cannot read {file}")]
    Read {
        file: String,
        #[source]
        cause: std::io::Error,
    },
    #[error("cannot write {file}")]
    Write {
        file: String,
        #[source]
        cause: std::io::Error,
    },
}

pub(super) type Read<T> = Result<T, PolicyError>;

/// A file's name and text: what an error needs to say where.
#[derive(Clone, Copy)]
pub(super) struct Place<'i> {
    pub file: &'i str,
    pub text: &'i str,
}

impl Place<'_> {
    /// Line number, from 1, of a byte offset.
    fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset).unwrap_or(self.text.as_bytes());
        1 + before.iter().filter(|b| **b == b'\n').count()
    }
}

/// A table of a policy file. Ask for each key, then [`Section::finish`].
pub(super) struct Section<'a, 'i> {
    place: Place<'i>,
    /// `cohort.IOC.` or empty: goes before each key in a message.
    prefix: String,
    /// Where the table begins.
    offset: usize,
    table: &'a DeTable<'i>,
    asked: Vec<&'static str>,
    left: bool,
}

/// Parses the text and hands its top table to `read`, which must ask for every key that may be there.
pub(super) fn read_document<T>(place: Place<'_>, read: impl FnOnce(&mut Section<'_, '_>) -> Read<T>) -> Read<T> {
    let table = DeTable::parse(place.text).map_err(|e| PolicyError::Syntax {
        file: place.file.to_string(),
        line: place.line(e.span().map_or(0, |s| s.start)),
        problem: e.message().lines().collect::<Vec<_>>().join("; "),
    })?;
    let mut section = Section {
        place,
        prefix: String::new(),
        offset: table.span().start,
        table: table.get_ref(),
        asked: Vec::new(),
        left: false,
    };
    let value = read(&mut section)?;
    section.finish()?;
    Ok(value)
}

impl<'a, 'i> Section<'a, 'i> {
    /// The value of `key` as `parse` reads it; `None` where it is not written. `wanted` says what a good value looks like.
    pub fn optional<T>(
        &mut self,
        key: &'static str,
        wanted: &str,
        parse: impl FnOnce(&DeValue<'i>) -> Option<T>,
    ) -> Read<Option<T>> {
        self.asked.push(key);
        let Some(value) = self.table.get(key) else { return Ok(None) };
        match parse(value.get_ref()) {
            Some(parsed) => Ok(Some(parsed)),
            None => Err(self.bad(key, value, wanted)),
        }
    }

    /// As [`Section::optional`], but the key must be there.
    pub fn required<T>(&mut self, key: &'static str, wanted: &str, parse: impl FnOnce(&DeValue<'i>) -> Option<T>) -> Read<T> {
        self.optional(key, wanted, parse)?.ok_or_else(|| self.missing(key, wanted))
    }

    /// As [`Section::optional`], with what stands where it is not written; `None` makes it required.
    pub fn or<T>(
        &mut self,
        default: Option<T>,
        key: &'static str,
        wanted: &str,
        parse: impl FnOnce(&DeValue<'i>) -> Option<T>,
    ) -> Read<T> {
        self.optional(key, wanted, parse)?.or(default).ok_or_else(|| self.missing(key, wanted))
    }

    /// A list of which each element is read by `parse`; an error names the line of the element.
    pub fn list<T>(
        &mut self,
        key: &'static str,
        wanted: &str,
        mut parse: impl FnMut(&DeValue<'i>) -> Option<T>,
    ) -> Read<Option<Vec<T>>> {
        self.asked.push(key);
        let Some(value) = self.table.get(key) else { return Ok(None) };
        let Some(array) = value.get_ref().as_array() else { return Err(self.bad(key, value, &format!("a list, each {wanted}"))) };
        let each = |(n, item): (usize, &Spanned<DeValue<'i>>)| {
            parse(item.get_ref()).ok_or_else(|| self.bad(&format!("{key}[{n}]"), item, wanted))
        };
        array.iter().enumerate().map(each).collect::<Read<Vec<T>>>().map(Some)
    }

    /// The table under `key`.
    pub fn table(&mut self, key: &'static str, wanted: &str) -> Read<Option<Section<'a, 'i>>> {
        self.asked.push(key);
        let Some(value) = self.table.get(key) else { return Ok(None) };
        self.sub(key, value, wanted).map(Some)
    }

    /// Every table of an array of tables (`[[key]]`), in the order of the file; none where it is not written.
    pub fn tables(&mut self, key: &'static str, wanted: &str) -> Read<Vec<Section<'a, 'i>>> {
        self.asked.push(key);
        let Some(value) = self.table.get(key) else { return Ok(Vec::new()) };
        let Some(array) = value.get_ref().as_array() else { return Err(self.bad(key, value, wanted)) };
        array.iter().enumerate().map(|(n, item)| self.sub(&format!("{key}[{n}]"), item, wanted)).collect()
    }

    /// Every key of this table as it is written, in place of asking for each: for tables whose keys are names.
    pub fn named<T>(&self, mut read: impl FnMut(&str, Section<'a, 'i>) -> Read<T>, wanted: &str) -> Read<Vec<T>> {
        self.keys().into_iter().map(|(key, value)| read(key, self.sub(key, value, wanted)?)).collect()
    }

    /// Every key with its text, for tables whose keys are names. `known` says whether a name is one.
    pub fn texts(&self, known: impl Fn(&str) -> bool, names: &str) -> Read<Vec<(String, String)>> {
        let one = |(key, value): (&'a str, &'a Spanned<DeValue<'i>>)| {
            if !known(key) {
                return Err(self.unknown(key, names));
            }
            text(value.get_ref()).map(|t| (key.to_string(), t)).ok_or_else(|| self.bad(key, value, "a text that is not empty"))
        };
        self.keys().into_iter().map(one).collect()
    }

    /// Refuses the first key that is none of these: for a table all of whose keys are required, so that a misspelt one is told first.
    pub fn names_among(&self, names: impl Iterator<Item = &'static str>) -> Read<()> {
        let names: Vec<&str> = names.collect();
        match self.keys().into_iter().find(|(key, _)| !names.contains(key)) {
            Some((key, _)) => Err(self.unknown(key, &names.join(", "))),
            None => Ok(()),
        }
    }

    /// Leaves every other key to another reader.
    pub fn leave_the_rest(&mut self) {
        self.left = true;
    }

    /// Refuses the first key that nobody asked for.
    pub fn finish(&self) -> Read<()> {
        match self.keys().into_iter().find(|(key, _)| !self.left && !self.asked.contains(key)) {
            Some((key, _)) => Err(self.unknown(key, &self.asked.join(", "))),
            None => Ok(()),
        }
    }

    /// The key is not there, and must be.
    pub fn missing(&self, key: &str, wanted: &str) -> PolicyError {
        PolicyError::MissingKey {
            file: self.place.file.to_string(),
            line: self.place.line(self.offset),
            key: format!("{}{key}", self.prefix),
            wanted: wanted.to_string(),
        }
    }

    /// Each value can be read, but they do not go together. The line is that of `key`, or of the table where it is not written.
    pub fn conflict(&self, key: &str, problem: impl Display, wanted: &str) -> PolicyError {
        let offset = self.table.get(key).map_or(self.offset, |v| v.span().start);
        PolicyError::Conflict {
            file: self.place.file.to_string(),
            line: self.place.line(offset),
            key: format!("{}{key}", self.prefix),
            problem: problem.to_string(),
            wanted: wanted.to_string(),
        }
    }

    /// The key as written is none of `names`.
    pub fn unknown(&self, key: &str, names: &str) -> PolicyError {
        let offset = self.keys().into_iter().find(|(k, _)| *k == key).map_or(self.offset, |_| self.key_offset(key));
        PolicyError::UnknownKey {
            file: self.place.file.to_string(),
            line: self.place.line(offset),
            key: format!("{}{}", self.prefix, shown(key)),
            wanted: names.to_string(),
        }
    }

    fn bad(&self, key: &str, value: &Spanned<DeValue<'i>>, wanted: &str) -> PolicyError {
        let span = value.span();
        PolicyError::Value {
            file: self.place.file.to_string(),
            line: self.place.line(span.start),
            key: format!("{}{key}", self.prefix),
            found: shown(self.place.text.get(span).unwrap_or("what is written")),
            wanted: wanted.to_string(),
        }
    }

    fn sub(&self, key: &str, value: &'a Spanned<DeValue<'i>>, wanted: &str) -> Read<Section<'a, 'i>> {
        let table = value.get_ref().as_table().ok_or_else(|| self.bad(key, value, wanted))?;
        let prefix = format!("{}{key}.", self.prefix);
        Ok(Section { place: self.place, prefix, offset: value.span().start, table, asked: Vec::new(), left: false })
    }

    /// In the order of the file, so that the first error is the first a reader meets.
    fn keys(&self) -> Vec<(&'a str, &'a Spanned<DeValue<'i>>)> {
        let mut keys: Vec<_> = self.table.iter().collect();
        keys.sort_by_key(|(key, _)| key.span().start);
        keys.into_iter().map(|(key, value)| (key.get_ref().as_ref(), value)).collect()
    }

    fn key_offset(&self, key: &str) -> usize {
        self.table.iter().find(|(k, _)| k.get_ref() == key).map_or(self.offset, |(k, _)| k.span().start)
    }
}

/// A text that is not empty.
pub(super) fn text(value: &DeValue<'_>) -> Option<String> {
    value.as_str().filter(|t| !t.trim().is_empty()).map(str::to_string)
}

/// A text that `T` reads.
pub(super) fn parsed<T: FromStr>(value: &DeValue<'_>) -> Option<T> {
    value.as_str()?.parse().ok()
}

pub(super) fn yes_no(value: &DeValue<'_>) -> Option<bool> {
    value.as_bool()
}

/// A date, in quotation marks or without.
pub(super) fn day(value: &DeValue<'_>) -> Option<Day> {
    match value.as_datetime() {
        Some(date) => date.to_string().parse().ok(),
        None => parsed(value),
    }
}

/// A whole number from `least` to `most`.
pub(super) fn whole(least: i64, most: i64) -> impl Fn(&DeValue<'_>) -> Option<i64> {
    move |value| {
        let number = value.as_integer()?;
        i64::from_str_radix(number.as_str(), number.radix()).ok().filter(|n| (least..=most).contains(n))
    }
}

/// One line, cut to what can be read at a glance.
fn shown(found: &str) -> String {
    let line = found.lines().next().unwrap_or("");
    let cut: String = line.chars().take(SHOWN_CHARS).collect();
    let more = cut.len() < found.trim_end().len();
    if more { format!("{cut}...") } else { cut }
}
