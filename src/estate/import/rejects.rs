//! The file of rejected rows: `line,reason,row`, in the order of the lines. Written whole or not at all.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    cells,
    input::Text,
    kinds::Reason,
    sorter::{Sorted, Sorter},
};

/// Memory before rejected rows go to a temporary file.
const SORT_BYTES: usize = 4 << 20;

/// Where a row is in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub line: u64,
    pub offset: u64,
    pub length: u32,
}

/// Collects rejected rows in any order, in constant memory.
pub struct Rejects {
    sorter: Sorter,
    body: Vec<u8>,
}

impl Rejects {
    pub fn new(scratch: &Path) -> Rejects {
        Rejects { sorter: Sorter::new(scratch, SORT_BYTES), body: Vec::new() }
    }

    pub fn len(&self) -> u64 {
        self.sorter.len()
    }

    pub fn push(&mut self, place: Place, reason: &Reason) -> io::Result<()> {
        self.body.clear();
        self.body.extend_from_slice(&place.offset.to_le_bytes());
        self.body.extend_from_slice(&place.length.to_le_bytes());
        self.body.extend_from_slice(reason.to_string().as_bytes());
        self.sorter.push(&place.line.to_be_bytes(), &self.body)
    }

    /// Writes the file, or removes that of an earlier run where there is nothing to reject.
    pub fn write(self, text: &mut Text, path: &Path) -> io::Result<()> {
        if self.len() == 0 {
            return match fs::remove_file(path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
                _ => Ok(()),
            };
        }
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let written = write_rows(self.sorter.finish()?, text, &partial).and_then(|()| fs::rename(&partial, path));
        if written.is_err() {
            let _ = fs::remove_file(&partial);
        }
        written
    }
}

fn write_rows(mut rows: Sorted, text: &mut Text, path: &Path) -> io::Result<()> {
    let mut out = csv::Writer::from_path(path)?;
    out.write_record(["line", "reason", "row"])?;
    while let Some((key, mut body)) = rows.next()? {
        let broken = || io::Error::from(io::ErrorKind::InvalidData);
        let line = u64::from_be_bytes(key.try_into().map_err(|_| broken())?);
        let offset = u64::from_le_bytes(cells::take_array(&mut body).ok_or_else(broken)?);
        let length = u32::from_le_bytes(cells::take_array(&mut body).ok_or_else(broken)?);
        let reason = std::str::from_utf8(body).map_err(|_| broken())?;
        out.write_record([line.to_string().as_str(), reason, text.record(offset, length)?.as_str()])?;
    }
    out.flush()
}
