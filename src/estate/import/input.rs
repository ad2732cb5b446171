//! Where a file's bytes come from, and how the text of a rejected row is found again: at its place in the file, or, for what
//! can be read only once (standard input, a pipe), in a temporary copy made while reading.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use super::{error::ImportError, records::RECORD_BYTES};

/// Read buffer of the file.
const READ_BYTES: usize = 256 * 1024;

/// A file to import.
pub struct Input {
    /// As the user named it; `-` for standard input.
    pub name: String,
    /// Where its rejected rows go.
    pub rejects: PathBuf,
    /// Its length in bytes, where it has one before it is read.
    pub length: Option<u64>,
    /// Who brings it, for the audit trail of whoever calls; `None`: nobody keeps one.
    pub brought_by: Option<String>,
    reader: Box<dyn Read + Send>,
    file: Option<File>,
}

impl Input {
    /// The file at `path`; `-` is standard input.
    pub fn open(path: &Path) -> Result<Input, ImportError> {
        if path.as_os_str() == "-" {
            let rejects = PathBuf::from("stdin.rejects.csv");
            return Ok(Input::from_reader("-".to_string(), rejects, Box::new(io::stdin())));
        }
        let failed = |source| ImportError::Open { path: path.to_path_buf(), source };
        let file = File::open(path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if meta.is_dir() {
            return Err(failed(io::Error::from(io::ErrorKind::IsADirectory)));
        }
        let mut rejects = path.as_os_str().to_owned();
        rejects.push(".rejects.csv");
        let name = path.display().to_string();
        if !meta.is_file() {
            return Ok(Input::from_reader(name, PathBuf::from(rejects), Box::new(file)));
        }
        let reader = Box::new(file.try_clone().map_err(failed)?);
        Ok(Input { name, rejects: PathBuf::from(rejects), length: Some(meta.len()), brought_by: None, reader, file: Some(file) })
    }

    /// Bytes that can be read once.
    pub fn from_reader(name: String, rejects: PathBuf, reader: Box<dyn Read + Send>) -> Input {
        Input { name, rejects, length: None, brought_by: None, reader, file: None }
    }

    /// The bytes to read, and the file in which a row's text will be found afterwards.
    pub(super) fn split(self, scratch: &Path) -> io::Result<(BufReader<Tee>, Text)> {
        let (copy, text) = match self.file {
            Some(file) => (None, file),
            None => {
                let copy = tempfile::tempfile_in(scratch)?;
                (Some(BufWriter::with_capacity(READ_BYTES, copy.try_clone()?)), copy)
            }
        };
        Ok((BufReader::with_capacity(READ_BYTES, Tee { reader: self.reader, copy }), Text(text)))
    }
}

/// Reads, and keeps a copy of what it read where one is wanted.
pub struct Tee {
    reader: Box<dyn Read + Send>,
    copy: Option<BufWriter<File>>,
}

impl Read for Tee {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        if let Some(copy) = &mut self.copy {
            copy.write_all(&buffer[..n])?;
            if n == 0 {
                copy.flush()?;
            }
        }
        Ok(n)
    }
}

/// The file's text, by place.
pub struct Text(File);

impl Text {
    /// The record at a place, as it was written; bytes that are no UTF-8 are replaced.
    pub fn record(&mut self, offset: u64, length: u32) -> io::Result<String> {
        let mut bytes = vec![0; (length as usize).min(RECORD_BYTES)];
        self.0.seek(SeekFrom::Start(offset))?;
        self.0.read_exact(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}
