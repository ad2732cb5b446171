//! The six kinds of file (contract.md, "Input files"): their columns, their keys, and how a record becomes a row of its table.
//! Judges one record at a time; what records mean together (duplicates, overlaps) is decided after sorting.

use std::{fmt, str::FromStr};

use super::{cells, columns, records::Record};
use crate::{
    clock::{Day, Time},
    db::bulk::Value,
    ids::Mpan,
};

crate::spelled! {
    /// What a file holds.
    Kind, "a kind of file: sites, registrations, keys, cpl, epcl or exclusions" {
        Sites = "sites",
        Registrations = "registrations",
        Keys = "keys",
        Cpl = "cpl",
        Epcl = "epcl",
        Exclusions = "exclusions",
    }
}

/// Why a row is not loaded; `Display` gives the contract's spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    BadValue(String),
    Missing(String),
    Duplicate,
    Overlap,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::BadValue(column) => write!(f, "bad-value:{column}"),
            Reason::Missing(column) => write!(f, "missing:{column}"),
            Reason::Duplicate => f.write_str("duplicate"),
            Reason::Overlap => f.write_str("overlap"),
        }
    }
}

/// How a kind lies in its file and in its table.
pub struct Spec {
    pub kind: Kind,
    pub table: &'static str,
    /// The temporary table that takes a slice of rows on the way into `table`.
    pub slice: &'static str,
    /// Columns of the table in the order of a row's cells; the key's come first.
    pub columns: &'static [&'static str],
    /// How many of them are the key.
    pub key: usize,
    /// How many of them rows are sorted by: the key, but for registrations the MPAN, whose lines are judged together.
    pub sorted_by: usize,
    /// Columns of the file, in the contract's order; the optional ones are false.
    pub file: &'static [(&'static str, bool)],
    /// Makes the cells of a row, in the order of `columns`.
    pub row: fn(&Fields<'_>, &mut Row) -> Result<(), Reason>,
}

impl Kind {
    pub fn spec(self) -> &'static Spec {
        match self {
            Kind::Sites => &columns::SITES,
            Kind::Registrations => &columns::REGISTRATIONS,
            Kind::Keys => &columns::KEYS,
            Kind::Cpl => &columns::CPL,
            Kind::Epcl => &columns::EPCL,
            Kind::Exclusions => &columns::EXCLUSIONS,
        }
    }
}

/// A row being made: the bytes it is sorted by, and its cells.
#[derive(Debug, Default)]
pub struct Row {
    pub key: Vec<u8>,
    pub cells: Vec<u8>,
    sorted_by: usize,
    count: usize,
}

impl Row {
    fn clear(&mut self, sorted_by: usize) {
        self.key.clear();
        self.cells.clear();
        self.sorted_by = sorted_by;
        self.count = 0;
    }

    pub fn push<'a>(&mut self, value: impl Into<Value<'a>>) {
        let value = value.into();
        if self.count < self.sorted_by {
            cells::put_key(&mut self.key, value);
        }
        self.count += 1;
        cells::put(&mut self.cells, value);
    }
}

/// Where each column of a kind is in a file at hand.
pub struct Layout {
    spec: &'static Spec,
    places: Vec<Option<usize>>,
    /// Names in the file's own order, for what can only be said of a place.
    header: Vec<String>,
    /// What is dated later than this cannot have happened: a slip of the pen, or of somebody's clock.
    latest: Time,
}

/// Why a header will not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderFault {
    NotText,
    Twice(String),
    Missing(Vec<&'static str>),
}

impl Layout {
    /// Reads the header; also gives the names that are ignored.
    pub fn of(spec: &'static Spec, header: &Record) -> Result<(Layout, Vec<String>), HeaderFault> {
        let mut names = Vec::new();
        for i in 0..header.len() {
            let text = header.field(i).and_then(|f| std::str::from_utf8(f).ok()).ok_or(HeaderFault::NotText)?;
            if text.contains('\0') {
                return Err(HeaderFault::NotText);
            }
            names.push(text.trim().to_string());
        }
        for (i, name) in names.iter().enumerate() {
            if !name.is_empty() && names[..i].contains(name) {
                return Err(HeaderFault::Twice(name.clone()));
            }
        }
        let places: Vec<Option<usize>> = spec.file.iter().map(|(c, _)| names.iter().position(|n| n == c)).collect();
        let absent = |(_, at): &(&(&str, bool), &Option<usize>)| at.is_none();
        let mut missing: Vec<&'static str> =
            spec.file.iter().zip(&places).filter(|c| c.0.1).filter(absent).map(|(c, _)| c.0).collect();
        if spec.kind == Kind::Exclusions && places[0].is_none() && places[1].is_none() {
            missing.splice(0..0, ["device_id", "mpan"]);
        }
        if !missing.is_empty() {
            return Err(HeaderFault::Missing(missing));
        }
        let unknown = names.iter().filter(|n| spec.file.iter().all(|(c, _)| c != n)).cloned().collect();
        Ok((Layout { spec, places, header: names, latest: Time(i64::MAX) }, unknown))
    }

    /// The same for a file that is read now: of what has happened, nothing did more than a day ahead.
    pub fn read_at(self, now: Time) -> Layout {
        Layout { latest: now.plus_millis(AHEAD_MILLIS), ..self }
    }

    /// Makes the row of a record, or says why not.
    pub fn row(&self, record: &Record, out: &mut Row) -> Result<(), Reason> {
        out.clear(self.spec.sorted_by);
        if record.too_long {
            return Err(Reason::BadValue(self.name_at(record.len() - 1)));
        }
        let surplus = (self.header.len()..record.len()).any(|i| record.field(i).is_some_and(|f| !f.is_empty()));
        if surplus {
            return Err(Reason::BadValue(self.name_at(usize::MAX)));
        }
        (self.spec.row)(&Fields { layout: self, record }, out)
    }

    /// Of a refused record of registrations, a row that says that something of its MPAN is not known; `false` where even the MPAN is not.
    pub fn broken_row(&self, record: &Record, out: &mut Row) -> bool {
        out.clear(self.spec.sorted_by);
        let mpan = (self.spec.kind == Kind::Registrations).then(|| Fields { layout: self, record }.parsed::<Mpan>(0).ok());
        let Some(mpan) = mpan.flatten() else { return false };
        out.push(mpan.to_db());
        out.push(None::<i64>);
        true
    }

    fn name_at(&self, place: usize) -> String {
        self.header[place.min(self.header.len() - 1)].clone()
    }
}

/// The fields of one record, by the kind's own column numbers.
pub struct Fields<'a> {
    layout: &'a Layout,
    record: &'a Record,
}

impl<'a> Fields<'a> {
    pub fn bad(&self, column: usize) -> Reason {
        Reason::BadValue(self.layout.spec.file[column].0.to_string())
    }

    pub fn missing(&self, column: usize) -> Reason {
        Reason::Missing(self.layout.spec.file[column].0.to_string())
    }

    /// Whether the file has the column at all.
    pub fn has(&self, column: usize) -> bool {
        self.layout.places[column].is_some()
    }

    /// The text of a column; `None` where it is empty or the file has no such column. A record that ends before the column
    /// is `missing`, even where the column may be empty: the rest of the line is lost, and lost is not empty.
    pub fn text(&self, column: usize) -> Result<Option<&'a str>, Reason> {
        let Some(place) = self.layout.places[column] else { return Ok(None) };
        let bytes = self.record.field(place).ok_or_else(|| self.missing(column))?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let control = |b: &u8| *b < b' ' && !matches!(b, b'\t' | b'\n' | b'\r');
        if self.record.stray == Some(place) || bytes.iter().any(control) {
            return Err(self.bad(column));
        }
        std::str::from_utf8(bytes).map(Some).map_err(|_| self.bad(column))
    }

    pub fn needed(&self, column: usize) -> Result<&'a str, Reason> {
        self.text(column)?.ok_or_else(|| self.missing(column))
    }

    pub fn parsed<T: FromStr>(&self, column: usize) -> Result<T, Reason> {
        self.needed(column)?.parse().map_err(|_| self.bad(column))
    }

    pub fn maybe<T: FromStr>(&self, column: usize) -> Result<Option<T>, Reason> {
        self.text(column)?.map(|text| text.parse().map_err(|_| self.bad(column))).transpose()
    }

    /// `effective_from` and `[effective_to]`, two columns side by side; a row of no length says nothing and is refused.
    pub fn period(&self, from_column: usize) -> Result<(Day, Option<Day>), Reason> {
        let from: Day = self.parsed(from_column)?;
        let to: Option<Day> = self.maybe(from_column + 1)?;
        if to.is_some_and(|to| to <= from) {
            return Err(self.bad(from_column + 1));
        }
        Ok((from, to))
    }

    /// A text that is part of a key.
    pub fn name(&self, column: usize) -> Result<&'a str, Reason> {
        let text = self.needed(column)?;
        if text.len() > NAME_BYTES { Err(self.bad(column)) } else { Ok(text) }
    }

    pub fn hardware_version(&self, column: usize) -> Result<i64, Reason> {
        let text = self.needed(column)?;
        let shape = text.len() == HARDWARE_DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit());
        if !shape {
            return Err(self.bad(column));
        }
        i64::from_str_radix(text, 16).map_err(|_| self.bad(column))
    }

    pub fn firmware_version(&self, column: usize) -> Result<&'a str, Reason> {
        let text = self.needed(column)?;
        if text.chars().count() > FIRMWARE_CHARS { Err(self.bad(column)) } else { Ok(text) }
    }

    /// A moment at which something happened.
    pub fn past(&self, column: usize) -> Result<Time, Reason> {
        let at: Time = self.parsed(column)?;
        if at > self.layout.latest { Err(self.bad(column)) } else { Ok(at) }
    }

    /// A moment, or a date: then the beginning of that London day, the earliest the row can speak for.
    pub fn moment(&self, column: usize) -> Result<Option<Time>, Reason> {
        let Some(text) = self.text(column)? else { return Ok(None) };
        let day = || text.parse::<Day>().ok().filter(|d| d.0 < LAST_DAY).map(Day::start);
        text.parse::<Time>().ok().or_else(day).map(Some).ok_or_else(|| self.bad(column))
    }
}

/// Whoever wrote a file may have a clock, or a time zone, that is not ours.
const AHEAD_MILLIS: i64 = 86_400_000;
/// Longest text that is part of a key: no honest one comes near it, and PostgreSQL indexes at most 2,700 bytes.
const NAME_BYTES: usize = 1_000;
/// A date from this one on (in the year 9909) has no moments that the time library can tell.
const LAST_DAY: i64 = 2_900_000;
/// contract.md: "hardware_version (4 hex digits)".
const HARDWARE_DIGITS: usize = 4;
/// contract.md and the schema: "firmware_version (1-8 characters)".
pub const FIRMWARE_CHARS: usize = 8;
