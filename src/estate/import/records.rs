//! Reads RFC 4180 records one at a time: where each begins, its original text, and its fields without their quotes.
//! Not the `csv` crate's reader, which keeps a record of any length whole and cannot say that a quote is never closed.
//! Promise: memory is one record of at most [`RECORD_BYTES`], whatever the input.

use std::{
    io::{self, BufRead, Read},
    ops::Range,
};

/// Longest record that is read: fifty times the longest honest one. A longer one is a lost quote or no CSV.
pub const RECORD_BYTES: usize = 64 * 1024;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("the file cannot be read to its end")]
    Read(#[source] io::Error),
    #[error("the quote opened in the record of line {line} is never closed")]
    OpenQuote { line: u64 },
}

/// One record. Reused from call to call.
#[derive(Debug, Default)]
pub struct Record {
    /// Line of the file on which it begins; the first line is 1.
    pub line: u64,
    /// Byte of the file at which it begins.
    pub offset: u64,
    /// Its original text without the line end, cut at [`RECORD_BYTES`].
    pub raw: Vec<u8>,
    /// Field whose text lies outside its quotes (`"a"b`), where there is one.
    pub stray: Option<usize>,
    /// Whether it was longer than [`RECORD_BYTES`]; then the last field is the one that was cut.
    pub too_long: bool,
    fields: Vec<Range<usize>>,
    /// Fields that had quotes, unquoted; where nothing is quoted the fields are pieces of `raw`.
    unquoted: Vec<u8>,
    quoted: bool,
}

impl Record {
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// The field without its quotes; `None` past the last.
    pub fn field(&self, i: usize) -> Option<&[u8]> {
        let range = self.fields.get(i)?.clone();
        Some(if self.quoted { &self.unquoted[range] } else { &self.raw[range] })
    }
}

/// A file of records.
pub struct Records<R> {
    input: io::Chain<io::Cursor<Vec<u8>>, R>,
    line: u64,
    offset: u64,
}

/// Where the scanner stands in a record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    FieldStart,
    Plain,
    Quoted,
    /// After a quote inside quotes: the end of the field or the first half of a doubled quote.
    QuoteInQuoted,
}

impl<R: BufRead> Records<R> {
    /// Passes over a byte-order mark.
    pub fn new(mut input: R) -> Result<Records<R>, RecordError> {
        let mut head = Vec::with_capacity(BYTE_ORDER_MARK.len());
        (&mut input).take(BYTE_ORDER_MARK.len() as u64).read_to_end(&mut head).map_err(RecordError::Read)?;
        let mut offset = 0;
        if head == BYTE_ORDER_MARK {
            offset = BYTE_ORDER_MARK.len() as u64;
            head.clear();
        }
        let input = io::Cursor::new(head).chain(input);
        Ok(Records { input, line: 1, offset })
    }

    /// Bytes read so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads the next record that is not a blank line; `false` at the end of the file.
    pub fn next(&mut self, record: &mut Record) -> Result<bool, RecordError> {
        loop {
            record.raw.clear();
            record.line = self.line;
            record.offset = self.offset;
            record.too_long = false;
            record.quoted = false;
            if !self.gather(record)? {
                return Ok(false);
            }
            if !record.raw.is_empty() {
                record.split();
                return Ok(true);
            }
        }
    }

    /// Reads to the end of the record. `false` where the file ended before it began.
    fn gather(&mut self, record: &mut Record) -> Result<bool, RecordError> {
        let mut at = At::FieldStart;
        let mut any = false;
        loop {
            let buffer = self.input.fill_buf().map_err(RecordError::Read)?;
            if buffer.is_empty() {
                if at == At::Quoted {
                    return Err(RecordError::OpenQuote { line: record.line });
                }
                record.end_of_line();
                return Ok(any);
            }
            any = true;
            // Most lines have no quote and lie whole in the buffer: no need to look at each byte's place.
            if record.raw.is_empty() && at == At::FieldStart {
                let stop = buffer.iter().take(RECORD_BYTES).position(|b| *b == b'\n' || *b == b'"');
                if let Some(end) = stop.filter(|end| buffer[*end] == b'\n') {
                    record.raw.extend_from_slice(&buffer[..end]);
                    self.passed(end + 1, 1);
                    record.end_of_line();
                    return Ok(true);
                }
            }
            let (mut used, mut lines, mut done) = (0, 0, false);
            for byte in buffer {
                used += 1;
                lines += u64::from(*byte == b'\n');
                record.quoted |= *byte == b'"';
                at = match (at, *byte) {
                    (At::Quoted, b'"') => At::QuoteInQuoted,
                    (At::Quoted, _) => At::Quoted,
                    (At::FieldStart | At::QuoteInQuoted, b'"') => At::Quoted,
                    (_, b'\n') => {
                        done = true;
                        break;
                    }
                    (_, b',') => At::FieldStart,
                    _ => At::Plain,
                };
                if record.raw.len() < RECORD_BYTES {
                    record.raw.push(*byte);
                } else {
                    record.too_long = true;
                }
            }
            self.passed(used, lines);
            if done {
                record.end_of_line();
                return Ok(true);
            }
        }
    }

    fn passed(&mut self, bytes: usize, lines: u64) {
        self.input.consume(bytes);
        self.offset += bytes as u64;
        self.line += lines;
    }
}

impl Record {
    fn end_of_line(&mut self) {
        if !self.too_long && self.raw.last() == Some(&b'\r') {
            self.raw.pop();
        }
    }

    fn split(&mut self) {
        self.fields.clear();
        self.unquoted.clear();
        self.stray = None;
        if !self.quoted {
            let mut start = 0;
            for (i, byte) in self.raw.iter().enumerate() {
                if *byte == b',' {
                    self.fields.push(start..i);
                    start = i + 1;
                }
            }
            self.fields.push(start..self.raw.len());
            return;
        }
        let (mut at, mut start, mut had_quotes) = (At::FieldStart, 0, false);
        for byte in &self.raw {
            at = match (at, *byte) {
                (At::Quoted, b'"') => At::QuoteInQuoted,
                (At::FieldStart, b'"') => {
                    had_quotes = true;
                    At::Quoted
                }
                (At::QuoteInQuoted, b'"') => {
                    self.unquoted.push(b'"');
                    At::Quoted
                }
                (At::Quoted, other) => {
                    self.unquoted.push(other);
                    At::Quoted
                }
                (_, b',') => {
                    self.fields.push(start..self.unquoted.len());
                    start = self.unquoted.len();
                    had_quotes = false;
                    At::FieldStart
                }
                (_, other) => {
                    if had_quotes || other == b'"' {
                        self.stray.get_or_insert(self.fields.len());
                    }
                    self.unquoted.push(other);
                    At::Plain
                }
            };
        }
        self.fields.push(start..self.unquoted.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &[u8]) -> Result<Vec<(u64, Vec<String>)>, RecordError> {
        // A buffer of 2 bytes: every record crosses its edge.
        let mut records = Records::new(io::BufReader::with_capacity(2, input))?;
        let (mut record, mut all) = (Record::default(), Vec::new());
        while records.next(&mut record)? {
            let fields = (0..record.len()).map(|i| String::from_utf8_lossy(record.field(i).unwrap()).into_owned());
            all.push((record.line, fields.collect()));
        }
        Ok(all)
    }

    #[test]
    fn records_are_cut_as_rfc_4180_says() {
        type Case = (&'static [u8], &'static [(u64, &'static [&'static str])]);
        let cases: &[Case] = &[
            (b"", &[]),
            (b"\xEF\xBB\xBFa,b\r\n1,2\r\n", &[(1, &["a", "b"]), (2, &["1", "2"])]),
            (b"a,b\n\n\r\n1,2", &[(1, &["a", "b"]), (4, &["1", "2"])]),
            (b"\"a,\"\"b\",c\n", &[(1, &["a,\"b", "c"])]),
            (b"\"two\r\nlines\",x\ny,z\n", &[(1, &["two\r\nlines", "x"]), (3, &["y", "z"])]),
            (b",,\n", &[(1, &["", "", ""])]),
            (b"\"\",\"\"\n", &[(1, &["", ""])]),
            (b"5\" pipe,x\nnext,y\n", &[(1, &["5\" pipe", "x"]), (2, &["next", "y"])]),
            (b"x,\"closed at the end\"", &[(1, &["x", "closed at the end"])]),
        ];
        for (input, wanted) in cases {
            let wanted: Vec<(u64, Vec<String>)> =
                wanted.iter().map(|(line, fields)| (*line, fields.iter().map(|f| f.to_string()).collect())).collect();
            assert_eq!(read(input).unwrap(), wanted, "{:?}", String::from_utf8_lossy(input));
        }
    }

    #[test]
    fn a_quote_that_is_never_closed_is_an_error_with_its_line() {
        let error = read(b"a,b\n1,\"2\n3,4\n").unwrap_err();
        assert!(matches!(error, RecordError::OpenQuote { line: 2 }));
    }

    #[test]
    fn text_outside_the_quotes_of_a_field_is_noticed() {
        for (input, field) in [("a,\"b\"c,d\n", 1), ("\"a\"b\n", 0), ("a,b\"\"c\n", 1)] {
            let mut records = Records::new(input.as_bytes()).unwrap();
            let mut record = Record::default();
            assert!(records.next(&mut record).unwrap());
            assert_eq!(record.stray, Some(field), "{input}");
        }
    }

    #[test]
    fn an_enormous_record_is_cut_and_the_next_one_is_whole() {
        for middle in ["x".repeat(3 * RECORD_BYTES), format!("\"{}\"", "y\n".repeat(RECORD_BYTES))] {
            let input = format!("a,{middle},b\nc,d\n");
            let mut records = Records::new(io::BufReader::new(input.as_bytes())).unwrap();
            let mut record = Record::default();
            assert!(records.next(&mut record).unwrap());
            assert!(record.too_long);
            assert_eq!((record.raw.len(), record.len()), (RECORD_BYTES, 2));
            assert!(records.next(&mut record).unwrap());
            assert!(!record.too_long);
            assert_eq!(record.field(1), Some(&b"d"[..]));
            assert!(!records.next(&mut record).unwrap());
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_the_same_at_any_buffer_size(input: Vec<u8>, size in 1usize..40) {
            let whole = read_with(&input, 4096);
            proptest::prop_assert_eq!(read_with(&input, size), whole);
        }

        #[test]
        fn what_the_csv_crate_writes_is_read_back(rows in proptest::collection::vec(proptest::collection::vec("[a-c,\"\r\n ]{0,6}", 2..5), 1..6)) {
            let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
            rows.iter().for_each(|row| writer.write_record(row).unwrap());
            let text = writer.into_inner().unwrap();
            let back: Vec<Vec<String>> = read(&text).unwrap().into_iter().map(|(_, fields)| fields).collect();
            proptest::prop_assert_eq!(back, rows);
        }
    }

    type Seen = Result<Vec<(u64, u64, Vec<u8>, usize)>, String>;

    fn read_with(input: &[u8], size: usize) -> Seen {
        let mut records = Records::new(io::BufReader::with_capacity(size, input)).map_err(|e| e.to_string())?;
        let (mut record, mut all) = (Record::default(), Vec::new());
        while records.next(&mut record).map_err(|e| e.to_string())? {
            all.push((record.line, record.offset, record.raw.clone(), record.len()));
        }
        Ok(all)
    }
}
