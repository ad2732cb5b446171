//! The bytes of the archive around the entries' contents: a ZIP of which every byte is decided by names, sizes and checksums. Not a
//! ZIP reader: what any other program packed is refused, and so is a pack of ours with one byte changed or added. Always ZIP64, so
//! that there is one form for every size. Promises: pure; two different archives never have the same entries.
//!
//! ```text
//! local header, contents     for every entry, in order, nothing between them
//! directory record           for every entry
//! ZIP64 end, its locator, end of directory: 98 bytes, without a comment
//! ```

/// Of what is written after the directory.
pub const TRAILER_BYTES: u64 = 98;
/// A pack has some twenty entries and nine for each set of policies.
pub const MAX_ENTRIES: u64 = 10_000;
/// `policies/`, a hash, the name of a file: below 100.
const MAX_NAME_BYTES: usize = 200;

const LOCAL: u32 = 0x0403_4B50;
const RECORD: u32 = 0x0201_4B50;
const END_64: u32 = 0x0606_4B50;
const LOCATOR: u32 = 0x0706_4B50;
const END: u32 = 0x0605_4B50;
/// 4.5: ZIP64.
const VERSION_NEEDED: u16 = 45;
/// Unix, 4.5.
const MADE_BY: u16 = 0x032D;
/// 1980-01-01, the first day there is: when the pack was made is in evidence.json.
const DATE: u16 = 0x0021;
/// A regular file, rw-r--r--.
const ATTRIBUTES: u32 = 0o100_644 << 16;
const ZIP64: u16 = 1;
const RECORD_FIXED_BYTES: usize = 46;

/// How an entry's bytes are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Stored,
    Deflated,
}

impl Method {
    fn number(self) -> u16 {
        match self {
            Method::Stored => 0,
            Method::Deflated => 8,
        }
    }
}

/// What the archive says of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub name: String,
    pub method: Method,
    pub crc: u32,
    /// Bytes in the archive.
    pub packed: u64,
    /// Bytes of the content.
    pub size: u64,
    /// Where its local header begins.
    pub offset: u64,
}

impl Record {
    pub fn local_header(&self) -> Vec<u8> {
        let mut out = Bytes::default();
        out.u32(LOCAL).u16(VERSION_NEEDED).u16(0).u16(self.method.number()).u16(0).u16(DATE).u32(self.crc);
        out.u32(u32::MAX).u32(u32::MAX).u16(self.name.len() as u16).u16(20);
        out.0.extend(self.name.as_bytes());
        out.u16(ZIP64).u16(16).u64(self.size).u64(self.packed);
        out.0
    }

    /// Where its content ends; `None` where no file is that long.
    pub fn end(&self) -> Option<u64> {
        (self.offset.checked_add(self.local_header().len() as u64)?).checked_add(self.packed)
    }

    fn directory_record(&self) -> Vec<u8> {
        let mut out = Bytes::default();
        out.u32(RECORD).u16(MADE_BY).u16(VERSION_NEEDED).u16(0).u16(self.method.number()).u16(0).u16(DATE).u32(self.crc);
        out.u32(u32::MAX).u32(u32::MAX).u16(self.name.len() as u16).u16(28).u16(0).u16(0).u16(0);
        out.u32(ATTRIBUTES).u32(u32::MAX);
        out.0.extend(self.name.as_bytes());
        out.u16(ZIP64).u16(24).u64(self.size).u64(self.packed).u64(self.offset);
        out.0
    }

    /// The record at the beginning of these bytes, and how long it is. `None` unless it is byte for byte one that we write.
    fn read(bytes: &[u8]) -> Option<(Record, usize)> {
        let number = |at: usize, n: usize| -> Option<u64> {
            Some(bytes.get(at..at + n)?.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
        };
        let name_bytes = number(28, 2)? as usize;
        let name = bytes.get(RECORD_FIXED_BYTES..RECORD_FIXED_BYTES + name_bytes)?;
        let name = std::str::from_utf8(name).ok().filter(|name| is_name(name))?.to_string();
        let method = match number(10, 2)? {
            0 => Method::Stored,
            8 => Method::Deflated,
            _ => return None,
        };
        let extra = RECORD_FIXED_BYTES + name_bytes + 4;
        let (size, packed, offset) = (number(extra, 8)?, number(extra + 8, 8)?, number(extra + 16, 8)?);
        let record = Record { name, method, crc: number(16, 4)? as u32, packed, size, offset };
        let written = record.directory_record();
        bytes.starts_with(&written).then_some((record, written.len()))
    }
}

/// The directory and the trailer behind entries that end at `end`.
pub fn directory(records: &[Record], end: u64) -> Vec<u8> {
    let mut out = Bytes(records.iter().flat_map(Record::directory_record).collect());
    let size = out.0.len() as u64;
    let n = records.len() as u64;
    out.u32(END_64).u64(44).u16(MADE_BY).u16(VERSION_NEEDED).u32(0).u32(0).u64(n).u64(n).u64(size).u64(end);
    out.u32(LOCATOR).u32(0).u64(end + size).u32(1);
    out.u32(END).u16(0).u16(0).u16(u16::MAX).u16(u16::MAX).u32(u32::MAX).u32(u32::MAX).u16(0);
    out.0
}

/// Where the directory begins and how long it is with the trailer, by the last [`TRAILER_BYTES`] of a file of `length` bytes. Only a
/// claim, but one that fits the file and the bounds.
pub fn locate(trailer: &[u8], length: u64) -> Option<(u64, u64)> {
    let number = |at: usize| trailer.get(at..at + 8).map(|b| u64::from_le_bytes(b.try_into().expect("eight bytes")));
    let (entries, size, start) = (number(32)?, number(40)?, number(48)?);
    let whole = start.checked_add(size)?.checked_add(TRAILER_BYTES)?;
    let fits = entries <= MAX_ENTRIES && size <= entries * (RECORD_FIXED_BYTES + MAX_NAME_BYTES + 28) as u64;
    (whole == length && fits).then_some((start, size + TRAILER_BYTES))
}

/// The records of a directory that begins at `start`, trailer included. `None` unless every byte is as we write it, the names are
/// different, and the entries lie one behind the other from the first byte of the file to the directory.
pub fn read_directory(bytes: &[u8], start: u64) -> Option<Vec<Record>> {
    let mut records: Vec<Record> = Vec::new();
    let mut rest = bytes;
    while rest.len() as u64 > TRAILER_BYTES {
        let (record, length) = Record::read(rest)?;
        let expected = records.last().map_or(Some(0), Record::end)?;
        if record.offset != expected || record.packed > start || records.len() as u64 >= MAX_ENTRIES {
            return None;
        }
        records.push(record);
        rest = &rest[length..];
    }
    let mut names: Vec<String> = records.iter().map(|r| r.name.to_ascii_lowercase()).collect();
    names.sort();
    let apart = names.windows(2).all(|pair| pair[0] != pair[1]);
    let end = records.last().map_or(Some(0), Record::end)?;
    (apart && end == start && directory(&records, start) == bytes).then_some(records)
}

/// A name that is a plain path below the folder it is unpacked in, on any system.
pub fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    let piece = |p: &str| !p.is_empty() && !p.starts_with('.') && !p.ends_with('.') && p.bytes().all(plain);
    name.len() <= MAX_NAME_BYTES && name.split('/').all(piece)
}

#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn u16(&mut self, n: u16) -> &mut Bytes {
        self.0.extend(n.to_le_bytes());
        self
    }

    fn u32(&mut self, n: u32) -> &mut Bytes {
        self.0.extend(n.to_le_bytes());
        self
    }

    fn u64(&mut self, n: u64) -> &mut Bytes {
        self.0.extend(n.to_le_bytes());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_below_the_folder_are_names() {
        for good in ["a", "evidence.json", "policies/0f/retry.toml", "Images/x-1_2.json"] {
            assert!(is_name(good), "{good}");
        }
        let long = "a".repeat(MAX_NAME_BYTES + 1);
        for bad in ["", "/a", "a/", "a//b", "..", "a/../b", "./a", ".a", "a.", "a\\b", "C:a", "a b", "a\0", "é", &long] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_directory_is_read_back_and_only_as_it_was_written() {
        let mut records = vec![];
        let mut offset = 0;
        for (name, packed) in [("a.csv", 5), ("b/c.toml", 0), ("z", 1_000_000)] {
            let r = Record { name: name.into(), method: Method::Deflated, crc: 7, packed, size: packed * 3, offset };
            offset = r.end().unwrap();
            records.push(r);
        }
        let bytes = directory(&records, offset);
        assert_eq!(read_directory(&bytes, offset), Some(records.clone()));
        let trailer = &bytes[bytes.len() - TRAILER_BYTES as usize..];
        assert_eq!(locate(trailer, offset + bytes.len() as u64), Some((offset, bytes.len() as u64)));
        assert_eq!(locate(trailer, offset + bytes.len() as u64 + 1), None);
        for gap in [offset - 1, offset + 1, 0, u64::MAX] {
            assert_eq!(read_directory(&bytes, gap), None, "{gap}");
        }
        let mut twice = records.clone();
        twice[1].name = "A.csv".into();
        let end = twice.iter().fold(0, |at, r| at + r.local_header().len() as u64 + r.packed);
        assert_eq!(read_directory(&directory(&twice, end), end), None, "two names that are one where case does not count");
        let mut overlapping = records;
        overlapping[2].offset = 0;
        assert_eq!(read_directory(&directory(&overlapping, offset), offset), None);
    }
}
