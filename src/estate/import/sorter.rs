//! Sorts any number of byte rows in constant memory: full buffers are sorted and written to unnamed temporary files, then merged.
//! The files are gone when the process ends, however it ends.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fs::File,
    io::{self, BufReader, BufWriter, Read, Seek, Write},
    path::{Path, PathBuf},
};

/// Buffer of each open run while merging.
const RUN_READ_BYTES: usize = 128 * 1024;

/// Collects rows of a key and a body; [`Sorter::finish`] gives them back by key.
pub struct Sorter {
    folder: PathBuf,
    capacity: usize,
    bytes: Vec<u8>,
    rows: Vec<Slot>,
    runs: Vec<File>,
    count: u64,
    size: u64,
}

/// A row in the buffer; `prefix` is the beginning of its key, which decides most comparisons.
struct Slot {
    prefix: u64,
    start: usize,
    key: u32,
    body: u32,
}

impl Slot {
    fn key<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.start..self.start + self.key as usize]
    }

    fn body<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let start = self.start + self.key as usize;
        &bytes[start..start + self.body as usize]
    }
}

impl Sorter {
    /// `folder` takes the temporary files, `capacity` is the memory in bytes before one is needed.
    pub fn new(folder: &Path, capacity: usize) -> Sorter {
        Sorter {
            folder: folder.to_path_buf(),
            capacity,
            bytes: Vec::new(),
            rows: Vec::new(),
            runs: Vec::new(),
            count: 0,
            size: 0,
        }
    }

    /// Rows pushed.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Bytes pushed.
    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn push(&mut self, key: &[u8], body: &[u8]) -> io::Result<()> {
        let wanted = self.bytes.len() + key.len() + body.len() + (self.rows.len() + 1) * size_of::<Slot>();
        if wanted > self.capacity && !self.rows.is_empty() {
            self.spill()?;
        }
        let mut prefix = [0; 8];
        let shown = key.len().min(prefix.len());
        prefix[..shown].copy_from_slice(&key[..shown]);
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(body);
        let slot = Slot { prefix: u64::from_be_bytes(prefix), start, key: key.len() as u32, body: body.len() as u32 };
        self.rows.push(slot);
        self.count += 1;
        self.size += (key.len() + body.len()) as u64;
        Ok(())
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        self.rows.sort_unstable_by(|a, b| a.prefix.cmp(&b.prefix).then_with(|| a.key(bytes).cmp(b.key(bytes))));
    }

    fn spill(&mut self) -> io::Result<()> {
        self.sort();
        let mut out = BufWriter::with_capacity(1 << 20, tempfile::tempfile_in(&self.folder)?);
        for slot in &self.rows {
            out.write_all(&slot.key.to_le_bytes())?;
            out.write_all(&slot.body.to_le_bytes())?;
            out.write_all(slot.key(&self.bytes))?;
            out.write_all(slot.body(&self.bytes))?;
        }
        let mut file = out.into_inner().map_err(|e| e.into_error())?;
        file.rewind()?;
        self.runs.push(file);
        self.bytes.clear();
        self.rows.clear();
        Ok(())
    }

    /// The rows by key. Rows of equal keys come in no particular order: make keys unique.
    pub fn finish(mut self) -> io::Result<Sorted> {
        self.sort();
        let mut sources: Vec<Source> = Vec::new();
        for file in self.runs {
            sources.push(Source::File(BufReader::with_capacity(RUN_READ_BYTES, file)));
        }
        sources.push(Source::Memory { bytes: self.bytes, rows: self.rows.into_iter() });
        let mut sorted = Sorted { heap: BinaryHeap::with_capacity(sources.len()), bodies: Vec::new(), sources, last: None };
        for i in 0..sorted.sources.len() {
            sorted.bodies.push(Vec::new());
            sorted.refill(i, Vec::new())?;
        }
        Ok(sorted)
    }
}

enum Source {
    File(BufReader<File>),
    Memory { bytes: Vec<u8>, rows: std::vec::IntoIter<Slot> },
}

impl Source {
    /// Reads the next row into the buffers; `false` at the end.
    fn next(&mut self, key: &mut Vec<u8>, body: &mut Vec<u8>) -> io::Result<bool> {
        key.clear();
        body.clear();
        match self {
            Source::Memory { bytes, rows } => {
                let Some(slot) = rows.next() else { return Ok(false) };
                key.extend_from_slice(slot.key(bytes));
                body.extend_from_slice(slot.body(bytes));
            }
            Source::File(file) => {
                use io::BufRead;
                if file.fill_buf()?.is_empty() {
                    return Ok(false);
                }
                let mut lengths = [0; 8];
                file.read_exact(&mut lengths)?;
                let length = |half: &[u8]| u32::from_le_bytes(half.try_into().expect("four bytes")) as usize;
                key.resize(length(&lengths[..4]), 0);
                file.read_exact(key)?;
                body.resize(length(&lengths[4..]), 0);
                file.read_exact(body)?;
            }
        }
        Ok(true)
    }
}

/// Rows in the order of their keys.
pub struct Sorted {
    sources: Vec<Source>,
    heap: BinaryHeap<Reverse<(Vec<u8>, usize)>>,
    bodies: Vec<Vec<u8>>,
    last: Option<(Vec<u8>, usize)>,
}

impl Sorted {
    /// The next key and body; `None` at the end.
    pub fn next(&mut self) -> io::Result<Option<(&[u8], &[u8])>> {
        if let Some((key, source)) = self.last.take() {
            self.refill(source, key)?;
        }
        let Some(Reverse(head)) = self.heap.pop() else { return Ok(None) };
        let (key, source) = self.last.insert(head);
        Ok(Some((key.as_slice(), self.bodies[*source].as_slice())))
    }

    fn refill(&mut self, source: usize, mut key: Vec<u8>) -> io::Result<()> {
        if self.sources[source].next(&mut key, &mut self.bodies[source])? {
            self.heap.push(Reverse((key, source)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn rows_come_back_by_key_whatever_the_memory(mut keys: std::collections::HashSet<Vec<u8>>, capacity in 1usize..400) {
            let folder = tempfile::tempdir().unwrap();
            let mut sorter = Sorter::new(folder.path(), capacity);
            keys.insert(vec![0; 9]);
            for key in &keys {
                sorter.push(key, &[key.len() as u8]).unwrap();
            }
            proptest::prop_assert_eq!(sorter.len(), keys.len() as u64);
            let mut sorted = sorter.finish().unwrap();
            let mut wanted: Vec<_> = keys.into_iter().collect();
            wanted.sort();
            for key in wanted {
                let (found, body) = sorted.next().unwrap().unwrap();
                proptest::prop_assert_eq!((found, body), (key.as_slice(), &[key.len() as u8][..]));
            }
            proptest::prop_assert!(sorted.next().unwrap().is_none());
        }
    }
}
