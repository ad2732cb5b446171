//! What must hold of reading CSV for any bytes at all. The fuzz target and the property tests assert it; nothing else calls it.

use std::io::BufReader;

use super::{
    Kind, RECORD_BYTES, cells,
    kinds::{Layout, Row},
    records::{Record, Records},
};

/// A record as it was read.
#[derive(Debug, PartialEq, Eq)]
struct Flat {
    line: u64,
    offset: u64,
    raw: Vec<u8>,
    fields: Vec<Vec<u8>>,
    stray: Option<usize>,
    too_long: bool,
}

fn flat(record: &Record) -> Flat {
    Flat {
        line: record.line,
        offset: record.offset,
        raw: record.raw.clone(),
        fields: (0..record.len()).map(|i| record.field(i).expect("it has so many").to_vec()).collect(),
        stray: record.stray,
        too_long: record.too_long,
    }
}

/// The records, and whether the file could be read to its end.
fn records(bytes: &[u8], buffer: usize) -> (Vec<Flat>, bool) {
    let Ok(mut records) = Records::new(BufReader::with_capacity(buffer, bytes)) else { return (Vec::new(), false) };
    let (mut record, mut all) = (Record::default(), Vec::new());
    loop {
        match records.next(&mut record) {
            Ok(true) => all.push(flat(&record)),
            Ok(false) => return (all, true),
            Err(_) => return (all, false),
        }
    }
}

/// Records are the same however the bytes arrive, bounded, in their place in the file, and read again as they were written. Every
/// kind of file judges them without a panic, and a row that is taken has all its cells. The first byte sets the buffer's size.
pub fn read(bytes: &[u8]) {
    let Some((buffer, bytes)) = bytes.split_first() else { return };
    let (all, whole) = records(bytes, 1 + usize::from(*buffer));
    let (again, whole_again) = records(bytes, 64 * 1024);
    assert_eq!((&all, whole), (&again, whole_again));
    let mut end = 0;
    for record in &all {
        assert!(record.offset >= end && record.raw.len() <= RECORD_BYTES && !record.raw.is_empty());
        let start = usize::try_from(record.offset).expect("it is in memory");
        assert_eq!(&bytes[start..start + record.raw.len()], record.raw);
        end = record.offset + record.raw.len() as u64;
        assert!(!record.fields.is_empty() && record.fields.iter().map(Vec::len).sum::<usize>() <= record.raw.len());
        assert!(record.stray.is_none_or(|place| place < record.fields.len()));
        written_again(record);
    }
    for kind in Kind::ALL {
        rows(*kind, bytes);
    }
}

/// Each field in quotes.
fn written_again(record: &Flat) {
    let mut line = Vec::with_capacity(2 * record.raw.len());
    for (place, field) in record.fields.iter().enumerate() {
        line.extend_from_slice(if place == 0 { b"\"" } else { b",\"" });
        for byte in field {
            line.extend_from_slice(if *byte == b'"' { b"\"\"" } else { std::slice::from_ref(byte) });
        }
        line.push(b'"');
    }
    if line.len() <= RECORD_BYTES {
        let (again, whole) = records(&line, 16);
        assert!(whole && again.len() == 1 && again[0].stray.is_none());
        assert_eq!(again[0].fields, record.fields);
    }
}

/// As `stage` reads a file, without its temporary files.
fn rows(kind: Kind, bytes: &[u8]) {
    let spec = kind.spec();
    let Ok(mut records) = Records::new(bytes) else { return };
    let mut record = Record::default();
    if !matches!(records.next(&mut record), Ok(true)) || record.too_long {
        return;
    }
    let Ok((layout, _)) = Layout::of(spec, &record) else { return };
    let mut row = Row::default();
    while let Ok(true) = records.next(&mut record) {
        match layout.row(&record, &mut row) {
            Ok(()) => {
                let (mut cells, mut count) = (row.cells.as_slice(), 0);
                while !cells.is_empty() {
                    assert!(cells::take(&mut cells).is_some(), "a cell of ours");
                    count += 1;
                }
                assert!((spec.key..=spec.columns.len()).contains(&count), "{kind}: {count} cells");
                assert!(!row.key.is_empty());
            }
            Err(reason) => assert!(!reason.to_string().is_empty()),
        }
    }
}
