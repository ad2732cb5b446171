//! How every noun prints: an aligned table for people, JSON or CSV for programs, on stdout and nothing else there.
//! Not a layout engine: plain text, one line a row. Promises: a reader that stops early (`| head`) is no error, no cell of
//! hostile text can move a terminal's cursor, and a listing of any length is printed in constant memory.
//!
//! ```text
//! table::line(&id)?;                                                  // a command that creates
//! table::print(ctx.output(), &["id", "state"], &rows, &json_rows)?;   // a list; JSON is an array
//! table::object(ctx.output(), &[("id", id.to_string())], &json)?;     // one thing; JSON is an object
//! let mut listing = Listing::stdout(ctx.output(), &["id", "state"])?; // a list too long to hold
//! listing.row(&cells, &json_row)?; listing.finish()?;
//! ```

use std::io::{self, BufWriter, Write};

use serde::Serialize;

use super::Output;
use crate::failure::{Failure, Outcome};

/// Rows looked at before the widths of a table's columns are settled: a screenful and some, and little memory.
const WIDTH_ROWS: usize = 200;
/// A wider cell does not widen its column for everybody.
const CELL_WIDTH_CHARS: usize = 64;

/// A list that is printed row by row.
pub struct Listing<W: Write> {
    out: W,
    output: Output,
    headers: Vec<String>,
    /// Table rows that wait until the widths are settled.
    waiting: Vec<Vec<String>>,
    widths: Option<Vec<usize>>,
    rows: u64,
    /// Nobody reads any more (a closed pipe): say nothing further.
    closed: bool,
}

impl Listing<BufWriter<io::StdoutLock<'static>>> {
    pub fn stdout(output: Output, headers: &[&str]) -> Outcome<Self> {
        Listing::new(BufWriter::new(io::stdout().lock()), output, headers)
    }
}

impl<W: Write> Listing<W> {
    pub fn new(out: W, output: Output, headers: &[&str]) -> Outcome<Self> {
        let headers: Vec<String> = headers.iter().map(|h| h.to_string()).collect();
        let mut listing = Listing { out, output, headers, waiting: Vec::new(), widths: None, rows: 0, closed: false };
        if output == Output::Csv {
            let text = csv_line(&listing.headers)?;
            listing.write(&text)?;
        }
        Ok(listing)
    }

    /// One row: `cells` for the table and CSV (as many as there are headers), `json` for JSON.
    pub fn row(&mut self, cells: &[String], json: &impl Serialize) -> Outcome {
        assert_eq!(cells.len(), self.headers.len(), "a row has a cell for every header");
        self.rows += 1;
        match self.output {
            Output::Csv => {
                let text = csv_line(cells)?;
                self.write(&text)
            }
            Output::Json => {
                let before: &[u8] = if self.rows == 1 { b"[\n  " } else { b",\n  " };
                let mut text = before.to_vec();
                serde_json::to_writer(&mut text, json).map_err(not_json)?;
                self.write(&text)
            }
            Output::Table if self.widths.is_some() => self.table_line(cells),
            Output::Table => {
                self.waiting.push(cells.to_vec());
                if self.waiting.len() < WIDTH_ROWS { Ok(()) } else { self.settle() }
            }
        }
    }

    /// Writes what is still held back. Without it the list is cut short.
    pub fn finish(mut self) -> Outcome {
        match self.output {
            Output::Csv => {}
            Output::Json => self.write(if self.rows == 0 { b"[]\n" } else { b"\n]\n" })?,
            Output::Table if self.widths.is_none() => self.settle()?,
            Output::Table => {}
        }
        let flushed = self.out.flush();
        self.outcome(flushed)
    }

    fn settle(&mut self) -> Outcome {
        let headers: Vec<String> = self.headers.iter().map(|h| h.to_uppercase().replace('_', " ")).collect();
        let waiting = std::mem::take(&mut self.waiting);
        let mut widths = vec![0; headers.len()];
        for row in waiting.iter().chain([&headers]) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(shown(cell).chars().count().min(CELL_WIDTH_CHARS));
            }
        }
        self.widths = Some(widths);
        self.table_line(&headers)?;
        waiting.iter().try_for_each(|row| self.table_line(row))
    }

    fn table_line(&mut self, cells: &[String]) -> Outcome {
        let widths = self.widths.as_ref().expect("the widths are settled before a line is written");
        let mut text = String::new();
        for (cell, width) in cells.iter().zip(widths) {
            text.push_str(&format!("{:<width$}  ", shown(cell)));
        }
        let line = format!("{}\n", text.trim_end());
        self.write(line.as_bytes())
    }

    fn write(&mut self, bytes: &[u8]) -> Outcome {
        if self.closed {
            return Ok(());
        }
        let written = self.out.write_all(bytes);
        self.outcome(written)
    }

    fn outcome(&mut self, written: io::Result<()>) -> Outcome {
        match written {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            Err(e) => Err(Failure::failed(format!("the output cannot be written: {e}"))),
            Ok(()) => Ok(()),
        }
    }
}

/// A whole list at once: `json` is its rows.
pub fn print<T: Serialize>(output: Output, headers: &[&str], rows: &[Vec<String>], json: &[T]) -> Outcome {
    assert_eq!(rows.len(), json.len(), "every row is there for people and for programs");
    let mut listing = Listing::stdout(output, headers)?;
    rows.iter().zip(json).try_for_each(|(cells, json)| listing.row(cells, json))?;
    listing.finish()
}

/// One thing: `name  value` lines; in CSV one row under its header; in JSON an object.
pub fn object(output: Output, fields: &[(&str, String)], json: &impl Serialize) -> Outcome {
    match output {
        Output::Json => line(serde_json::to_string_pretty(json).map_err(not_json)?),
        Output::Csv => {
            let headers: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
            let cells: Vec<String> = fields.iter().map(|(_, value)| value.clone()).collect();
            let mut listing = Listing::stdout(output, &headers)?;
            listing.row(&cells, &())?;
            listing.finish()
        }
        Output::Table => {
            let width = fields.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
            fields
                .iter()
                .try_for_each(|(name, value)| line(format!("{:<width$}  {}", name.replace('_', " "), shown(value)).trim_end()))
        }
    }
}

/// One line on stdout, such as the id of what was created.
pub fn line(text: impl std::fmt::Display) -> Outcome {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Failure::failed(format!("the output cannot be written: {e}"))),
        _ => Ok(()),
    }
}

/// A line with its control characters spelled out.
pub fn plain(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    shown(text)
}

/// As a person may see it: control characters spelled out, nothing as `-`.
fn shown(cell: &str) -> String {
    if cell.is_empty() {
        return "-".to_string();
    }
    cell.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

fn csv_line(cells: &[String]) -> Outcome<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(cells).map_err(|e| Failure::failed(format!("a row cannot be written as CSV: {e}")))?;
    writer.into_inner().map_err(|e| Failure::failed(format!("a row cannot be written as CSV: {e}")))
}

fn not_json(e: serde_json::Error) -> Failure {
    Failure::failed(format!("a row cannot be written as JSON: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(output: Output, rows: &[[&str; 2]]) -> String {
        let mut out = Vec::new();
        let mut listing = Listing::new(&mut out, output, &["image_id", "state"]).unwrap();
        for [a, b] in rows {
            listing.row(&[a.to_string(), b.to_string()], &serde_json::json!({"image_id": a, "state": b})).unwrap();
        }
        listing.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_same_rows_as_table_csv_and_json() {
        let rows = [["abc", "one, two"], ["d", ""]];
        assert_eq!(printed(Output::Table, &rows), "IMAGE ID  STATE\nabc       one, two\nd         -\n");
        assert_eq!(printed(Output::Csv, &rows), "image_id,state\nabc,\"one, two\"\nd,\n");
        let json: serde_json::Value = serde_json::from_str(&printed(Output::Json, &rows)).unwrap();
        assert_eq!(json[0]["state"], "one, two");
        assert_eq!(json.as_array().unwrap().len(), 2);
    }

    #[test]
    fn an_empty_list_is_still_a_list() {
        assert_eq!(printed(Output::Table, &[]), "IMAGE ID  STATE\n");
        assert_eq!(printed(Output::Csv, &[]), "image_id,state\n");
        assert_eq!(printed(Output::Json, &[]), "[]\n");
    }

    #[test]
    fn no_row_is_lost_past_the_rows_that_settle_the_widths() {
        let rows = vec![["x", "y"]; WIDTH_ROWS * 2 + 7];
        assert_eq!(printed(Output::Table, &rows).lines().count(), rows.len() + 1);
        assert_eq!(printed(Output::Csv, &rows).lines().count(), rows.len() + 1);
    }

    #[test]
    fn control_characters_are_spelled_out_for_people() {
        assert!(!printed(Output::Table, &[["\u{1b}[2J", "a\nb"]]).contains('\u{1b}'));
        assert_eq!(printed(Output::Table, &[["\u{1b}[2J", "a\nb"]]).lines().count(), 2);
    }

    /// A reader that went away.
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    #[test]
    fn a_reader_that_stops_early_is_no_error() {
        let mut listing = Listing::new(Gone, Output::Csv, &["a"]).unwrap();
        listing.row(&["1".into()], &1).unwrap();
        listing.finish().unwrap();
    }
}
