//! A CSV that the simulator is given: columns by name, and a mistake named with its file and line. Not the product's import:
//! the first mistake ends it.

use std::{fmt::Display, fs::File, path::Path, str::FromStr};

use super::SimError;

pub struct Table {
    path: String,
    reader: csv::Reader<File>,
    columns: Vec<String>,
    row: csv::StringRecord,
}

impl Table {
    /// Opens a file that must have these columns.
    pub fn open(path: &Path, needed: &[&str]) -> Result<Table, SimError> {
        let name = path.display().to_string();
        let wrong = |why: String| SimError::Table { path: name.clone(), why };
        let mut reader = csv::Reader::from_path(path).map_err(|e| wrong(e.to_string()))?;
        let headers = reader.headers().map_err(|e| wrong(e.to_string()))?;
        let columns: Vec<String> = headers.iter().map(|h| h.trim_start_matches('\u{feff}').to_string()).collect();
        if let Some(missing) = needed.iter().find(|n| !columns.iter().any(|c| c == *n)) {
            return Err(wrong(format!("it has no {missing} column")));
        }
        Ok(Table { path: name, reader, columns, row: csv::StringRecord::new() })
    }

    /// Goes to the next row; false after the last.
    pub fn next(&mut self) -> Result<bool, SimError> {
        let read = self.reader.read_record(&mut self.row);
        read.map_err(|e| SimError::Table { path: self.path.clone(), why: e.to_string() })
    }

    /// Empty where the file has no such column.
    pub fn text(&self, column: &str) -> &str {
        let at = self.columns.iter().position(|c| c == column);
        at.and_then(|at| self.row.get(at)).unwrap_or_default()
    }

    /// A text that the schema lets be so long; nothing where the cell is empty.
    pub fn text_within(&self, column: &str, most_chars: usize) -> Result<Option<&str>, SimError> {
        let text = self.text(column);
        if text.chars().count() > most_chars || text.contains(char::is_control) {
            return Err(self.wrong(column, format!("{text:?} is not a text of at most {most_chars} characters")));
        }
        Ok((!text.is_empty()).then_some(text))
    }

    pub fn value<T: FromStr<Err: Display>>(&self, column: &str) -> Result<T, SimError> {
        self.text(column).parse().map_err(|e: T::Err| self.wrong(column, e.to_string()))
    }

    fn wrong(&self, column: &str, why: String) -> SimError {
        let line = self.row.position().map_or(0, csv::Position::line);
        SimError::Table { path: self.path.clone(), why: format!("line {line}, {column}: {why}") }
    }

    /// Nothing where the cell is empty or the column missing.
    pub fn value_if<T: FromStr<Err: Display>>(&self, column: &str) -> Result<Option<T>, SimError> {
        if self.text(column).is_empty() { Ok(None) } else { self.value(column).map(Some) }
    }
}
