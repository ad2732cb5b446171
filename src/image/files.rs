//! Files as they come from outside: read up to a limit, written whole or not at all. Not the firmware store: that is `vault`.
//! Promise: a file of any length, a device or a pipe costs no more memory than the limit.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use crate::failure::Failure;

/// Private and public keys in PEM: a few hundred bytes; this leaves room for comments around them.
const MAX_KEY_BYTES: u64 = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{what} {} cannot be read: {source}", path.display())]
    Read { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{what} {} is larger than the {max_bytes} bytes that are allowed", path.display())]
    TooLarge { what: &'static str, path: PathBuf, max_bytes: u64 },
    #[error("{what} {} cannot be written: {source}", path.display())]
    Write { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{what} {} is there already", path.display())]
    Exists { what: &'static str, path: PathBuf },
}

impl FileError {
    pub fn is_not_found(&self) -> bool {
        matches!(self, FileError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

impl From<FileError> for Failure {
    fn from(e: FileError) -> Failure {
        match &e {
            FileError::Read { .. } => Failure::failed(e.to_string()).help("check the name and that you may read it"),
            FileError::TooLarge { .. } => Failure::untrusted(e.to_string()).help("check that it is the file you meant"),
            FileError::Write { .. } => {
                Failure::failed(e.to_string()).help("check that the folder exists, has room, and that you may write in it")
            }
            FileError::Exists { .. } => Failure::failed(e.to_string()).help("a key is never overwritten: choose another name"),
        }
    }
}

/// The whole file, of at most `max_bytes` bytes. `what` names it in messages, e.g. "the image".
pub fn read_up_to(path: &Path, max_bytes: u64, what: &'static str) -> Result<Vec<u8>, FileError> {
    let read = |source| FileError::Read { what, path: path.to_path_buf(), source };
    let file = File::open(path).map_err(read)?;
    let too_large = || FileError::TooLarge { what, path: path.to_path_buf(), max_bytes };
    if file.metadata().map_err(read)?.len() > max_bytes {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    file.take(max_bytes + 1).read_to_end(&mut bytes).map_err(read)?;
    if bytes.len() as u64 > max_bytes { Err(too_large()) } else { Ok(bytes) }
}

/// A key file's text and whether others than its owner may read it.
pub fn read_key(path: &Path) -> Result<(Vec<u8>, bool), FileError> {
    const WHAT: &str = "the key";
    let bytes = read_up_to(path, MAX_KEY_BYTES, WHAT)?;
    let metadata = std::fs::metadata(path).map_err(|source| FileError::Read { what: WHAT, path: path.to_path_buf(), source })?;
    Ok((bytes, readable_by_others(&metadata)))
}

#[cfg(unix)]
fn readable_by_others(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o077 != 0
}

#[cfg(not(unix))]
fn readable_by_others(_: &std::fs::Metadata) -> bool {
    false
}

/// Replaces the file as a whole: a reader sees the old one or the new one.
pub fn replace(path: &Path, bytes: &[u8], what: &'static str) -> Result<(), FileError> {
    let error = |source| FileError::Write { what, path: path.to_path_buf(), source };
    let mut file = temporary(path, 0o644).map_err(error)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(error)?;
    file.persist(path).map_err(|e| error(e.error))?;
    Ok(())
}

/// Makes a file that must not be there yet; `private`: only its owner may read it, from the first byte on.
pub fn create_new(path: &Path, bytes: &[u8], private: bool, what: &'static str) -> Result<(), FileError> {
    let error = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => FileError::Exists { what, path: path.to_path_buf() },
        _ => FileError::Write { what, path: path.to_path_buf(), source },
    };
    let mut file = temporary(path, if private { 0o600 } else { 0o644 }).map_err(error)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(error)?;
    file.persist_noclobber(path).map_err(|e| error(e.error))?;
    Ok(())
}

/// A temporary file beside `path`, gone again unless it is renamed.
fn temporary(path: &Path, mode: u32) -> io::Result<tempfile::NamedTempFile> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".ppmid-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    #[cfg(not(unix))]
    let _ = mode;
    builder.tempfile_in(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_over_the_limit_is_refused_and_one_at_the_limit_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, [1; 11]).unwrap();
        assert_eq!(read_up_to(&path, 11, "it").unwrap().len(), 11);
        assert!(matches!(read_up_to(&path, 10, "it"), Err(FileError::TooLarge { max_bytes: 10, .. })));
        assert!(read_up_to(&dir.path().join("absent"), 10, "it").unwrap_err().is_not_found());
        assert!(matches!(read_up_to(dir.path(), 1 << 30, "it"), Err(FileError::Read { .. })));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_endless_file_is_refused() {
        assert!(matches!(read_up_to(Path::new("/dev/zero"), 10, "it"), Err(FileError::TooLarge { .. })));
    }

    #[test]
    fn a_new_file_never_takes_the_place_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        create_new(&path, b"one", true, "the key").unwrap();
        assert!(matches!(create_new(&path, b"two", true, "the key"), Err(FileError::Exists { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        replace(&path, b"three", "the key").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"three");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing temporary is left");
    }
}
