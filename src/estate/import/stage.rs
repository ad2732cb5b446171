//! The part of an import that touches no database: reads a file, makes rows, sorts them, drops second lines with the same key,
//! and cuts what is left into batches. Runs on threads of its own. Promise: constant memory for any file.

use std::{
    io::{self, BufRead},
    path::Path,
};

use tokio::sync::mpsc;

use super::{
    Progress, Watch,
    block::Block,
    cells,
    error::ImportError,
    input::{Input, Text},
    kinds::{HeaderFault, Kind, Layout, Row, Spec},
    records::{RECORD_BYTES, Record, RecordError, Records},
    registrations::Line,
    rejects::{Place, Rejects},
    sorter::{Sorted, Sorter},
};
use crate::{
    clock::{Day, Time},
    db::bulk::Value,
    ids::{Mpan, Mpid},
};

/// Memory for rows before they go to a temporary file.
const SORT_BYTES: usize = 40 << 20;
/// Bytes of the file between two reports of progress.
const REPORT_BYTES: u64 = 1 << 20;
/// Registration lines judged together: a batch is one read of the stored rows. (All lines of an MPAN are in one.)
const BATCH_LINES: usize = 8_192;

/// A file that was read.
pub struct Staged {
    pub read: u64,
    pub rows: Sorter,
    pub rejects: Rejects,
    pub text: Text,
}

/// Reads the file to its end.
pub fn read(input: Input, spec: &'static Spec, scratch: &Path, watch: &Watch, now: Time) -> Result<Staged, ImportError> {
    let file = input.name.clone();
    let on_scratch = |source| ImportError::Scratch { file: file.clone(), folder: scratch.to_path_buf(), source };
    let on_record = |source| ImportError::Read { file: file.clone(), source };
    let (reader, text) = input.split(scratch).map_err(on_scratch)?;
    let mut records = Records::new(reader).map_err(on_record)?;
    let mut record = Record::default();
    let (layout, unknown) = header(&mut records, &mut record, spec, &file)?;
    let layout = layout.read_at(now);
    if !unknown.is_empty() {
        watch(Progress::Warning(ignored(&unknown, &file)));
    }
    let mut staged = Staged { read: 0, rows: Sorter::new(scratch, SORT_BYTES), rejects: Rejects::new(scratch), text };
    let (mut row, mut body, mut reported) = (Row::default(), Vec::new(), 0);
    while records.next(&mut record).map_err(on_record)? {
        staged.read += 1;
        let length = (records.offset() - record.offset).min(record.raw.len() as u64);
        let place = Place { line: record.line, offset: record.offset, length: length as u32 };
        let kept = match layout.row(&record, &mut row) {
            Ok(()) => true,
            Err(reason) => {
                staged.rejects.push(place, &reason).map_err(on_scratch)?;
                layout.broken_row(&record, &mut row)
            }
        };
        if kept {
            row.key.extend_from_slice(&place.line.to_be_bytes());
            body.clear();
            body.extend_from_slice(&place.offset.to_le_bytes());
            body.extend_from_slice(&place.length.to_le_bytes());
            body.extend_from_slice(&row.cells);
            staged.rows.push(&row.key, &body).map_err(on_scratch)?;
        }
        if records.offset() - reported >= REPORT_BYTES {
            reported = records.offset();
            watch(Progress::Read { bytes: reported, rows: staged.read });
        }
    }
    watch(Progress::Read { bytes: records.offset(), rows: staged.read });
    Ok(staged)
}

fn header<R: BufRead>(
    records: &mut Records<R>,
    record: &mut Record,
    spec: &'static Spec,
    file: &str,
) -> Result<(Layout, Vec<String>), ImportError> {
    let file = file.to_string();
    match records.next(record) {
        Ok(true) => {}
        Ok(false) => return Err(ImportError::Empty { file }),
        Err(source @ RecordError::Read(_)) => return Err(ImportError::Read { file, source }),
        Err(source @ RecordError::OpenQuote { .. }) => return Err(ImportError::Read { file, source }),
    }
    if record.too_long || record.raw.len() >= RECORD_BYTES {
        return Err(ImportError::NotText { file });
    }
    Layout::of(spec, record).map_err(|fault| match fault {
        HeaderFault::NotText => ImportError::NotText { file },
        HeaderFault::Twice(column) => ImportError::ColumnTwice { file, column },
        HeaderFault::Missing(columns) => ImportError::ColumnsMissing { file, columns, kind: spec.kind },
    })
}

/// Names shown of columns that are ignored.
const SHOWN_NAMES: usize = 8;
const SHOWN_NAME_CHARS: usize = 40;

fn ignored(unknown: &[String], file: &str) -> String {
    let name = |n: &String| format!("{:?}", n.chars().take(SHOWN_NAME_CHARS).collect::<String>());
    let names: Vec<String> = unknown.iter().take(SHOWN_NAMES).map(name).collect();
    let more = if unknown.len() > SHOWN_NAMES { format!(" and {} more", unknown.len() - SHOWN_NAMES) } else { String::new() };
    let columns = if unknown.len() == 1 { "column" } else { "columns" };
    format!("{file}: unknown {columns} {}{more} ignored", names.join(", "))
}

/// A registration line and where it stands.
#[derive(Debug, Clone, Copy)]
pub struct RegistrationLine {
    pub mpan: Mpan,
    /// `None`: it was refused, and all that is known of it is its MPAN.
    pub line: Option<Line>,
    pub place: Place,
}

/// Sorted rows on their way: a block ready to keep, or registration lines to be judged.
#[derive(Default)]
pub struct Batch {
    pub block: Block,
    pub lines: Vec<RegistrationLine>,
    pub duplicates: Vec<Place>,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.block.is_full() || self.lines.len() >= BATCH_LINES || self.duplicates.len() >= BATCH_LINES
    }
}

/// Merges the sorted rows and sends them in batches, until the end or until nobody listens.
pub fn merge(rows: Sorter, spec: &'static Spec, out: &mpsc::Sender<Batch>) -> io::Result<()> {
    let mut rows: Sorted = rows.finish()?;
    let mut batch = Batch::default();
    let mut last: Vec<u8> = Vec::new();
    let mut first = true;
    while let Some((key, mut body)) = rows.next()? {
        let broken = || io::Error::from(io::ErrorKind::InvalidData);
        let (group, line) = key.split_last_chunk::<8>().ok_or_else(broken)?;
        let same = !first && group == last.as_slice();
        if batch.is_full()
            && !(same && spec.kind == Kind::Registrations)
            && out.blocking_send(std::mem::take(&mut batch)).is_err()
        {
            return Ok(());
        }
        if !same {
            last.clear();
            last.extend_from_slice(group);
            first = false;
        }
        let offset = u64::from_le_bytes(cells::take_array(&mut body).ok_or_else(broken)?);
        let length = u32::from_le_bytes(cells::take_array(&mut body).ok_or_else(broken)?);
        let place = Place { line: u64::from_be_bytes(*line), offset, length };
        if spec.kind == Kind::Registrations {
            batch.lines.push(registration(body, place).ok_or_else(broken)?);
        } else if same {
            batch.duplicates.push(place);
        } else {
            batch.block.put(body);
        }
    }
    // Nobody listening is no error here: the listener has one of its own.
    let _ = out.blocking_send(batch);
    Ok(())
}

fn registration(mut cells: &[u8], place: Place) -> Option<RegistrationLine> {
    let Value::Int(mpan) = cells::take(&mut cells)? else { return None };
    let mpan = Mpan::from_db(mpan);
    let from = match cells::take(&mut cells)? {
        Value::Int(from) => from,
        Value::Null => return Some(RegistrationLine { mpan, line: None, place }),
        _ => return None,
    };
    let Value::Text(supplier) = cells::take(&mut cells)? else { return None };
    let to = match cells::take(&mut cells)? {
        Value::Int(to) => Some(Day(to)),
        Value::Null => None,
        _ => return None,
    };
    let supplier: Mpid = supplier.parse().ok()?;
    Some(RegistrationLine { mpan, line: Some(Line { from: Day(from), supplier, to }), place })
}
