//! Where the bytes of images lie, named by their SHA-256. Not who vouches for them: rows and trust are `store` and `trust`.
//! Promises: a name is there with all its bytes or not at all, whatever happens half way; bytes are hashed again on every
//! read; a failure leaves nothing behind.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{files, ota::MAX_IMAGE_BYTES};
use crate::{failure::Failure, ids::ImageId};

/// Begins the name of a file that is still being written.
const TEMPORARY_PREFIX: &str = ".incoming-";
/// A temporary file this much older than one made now belongs to a process that died: writing 10 MB takes seconds.
const ABANDONED_AFTER_SECONDS: u64 = 3600;

#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("the firmware store {} cannot be written: {}", folder.display(), said(source))]
    Write { folder: PathBuf, source: io::Error },
    #[error("image {id} cannot be read from the firmware store {}: {source}", folder.display())]
    Read { id: ImageId, folder: PathBuf, source: io::Error },
    #[error("the firmware store {} does not hold the bytes of image {id}", folder.display())]
    Missing { id: ImageId, folder: PathBuf },
    #[error("the bytes of image {id} in the firmware store have changed: their SHA-256 is now {found}")]
    Changed { id: ImageId, found: ImageId },
    #[error("the bytes of image {id} in the firmware store have changed: there are more than {MAX_IMAGE_BYTES}")]
    Grown { id: ImageId },
}

fn said(e: &io::Error) -> String {
    if e.kind() == io::ErrorKind::StorageFull { "the disk is full".to_string() } else { e.to_string() }
}

impl From<VaultError> for Failure {
    fn from(e: VaultError) -> Failure {
        let message = e.to_string();
        match e {
            VaultError::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Failure::failed(message).help("make room and run the command again; nothing was half done")
            }
            VaultError::Write { .. } | VaultError::Read { .. } => {
                Failure::failed(message).help("check [firmware_store] url in the configuration, and who may use that folder")
            }
            VaultError::Missing { .. } | VaultError::Changed { .. } | VaultError::Grown { .. } => {
                Failure::untrusted(message).help("add the image again from its file and manifest: that puts the right bytes back")
            }
        }
    }
}

/// A store of bytes by their SHA-256. Its functions block: async callers go through [`fetch_bytes`] or a blocking thread.
pub trait Vault: Send + Sync {
    /// Keeps `bytes` and gives their name. Keeping them again changes nothing, but mends a copy that has changed.
    fn put(&self, bytes: &[u8]) -> Result<ImageId, VaultError>;

    /// The bytes, hashed again: they are the ones that were put.
    fn get(&self, id: ImageId) -> Result<Vec<u8>, VaultError>;

    /// Whether there is something of this name; says nothing of its bytes.
    fn contains(&self, id: ImageId) -> Result<bool, VaultError>;
}

pub type SharedVault = Arc<dyn Vault>;

/// The bytes of an image, hashed again, read on a blocking thread. For every use of them outside the store.
pub async fn fetch_bytes(vault: &SharedVault, id: ImageId) -> Result<Vec<u8>, VaultError> {
    let vault = vault.clone();
    tokio::task::spawn_blocking(move || vault.get(id)).await.expect("reading an image does not panic")
}

/// [`Vault::put`] on a blocking thread.
pub async fn store_bytes(vault: &SharedVault, bytes: Vec<u8>) -> Result<ImageId, VaultError> {
    let vault = vault.clone();
    tokio::task::spawn_blocking(move || vault.put(&bytes)).await.expect("writing an image does not panic")
}

/// One file an image, in one folder.
#[derive(Debug, Clone)]
pub struct FolderVault {
    folder: PathBuf,
}

impl FolderVault {
    /// The folder is made when something is first put into it.
    pub fn new(folder: impl Into<PathBuf>) -> FolderVault {
        FolderVault { folder: folder.into() }
    }

    pub fn shared(folder: impl Into<PathBuf>) -> SharedVault {
        Arc::new(FolderVault::new(folder))
    }

    fn path(&self, id: ImageId) -> PathBuf {
        self.folder.join(id.to_string())
    }

    /// Temporary name, all bytes, fsync, rename, fsync of the folder; `write` is the operation that may run out of room.
    fn put_with(&self, bytes: &[u8], write: impl FnOnce(&mut File, &[u8]) -> io::Result<()>) -> Result<ImageId, VaultError> {
        let id = super::sha256(bytes);
        let path = self.path(id);
        if path.exists() && self.get(id).is_ok() {
            return Ok(id);
        }
        let error = |source| VaultError::Write { folder: self.folder.clone(), source };
        std::fs::create_dir_all(&self.folder).map_err(error)?;
        let mut temporary = self.temporary().map_err(error)?;
        self.sweep(&temporary);
        write(temporary.as_file_mut(), bytes).and_then(|()| temporary.as_file().sync_all()).map_err(error)?;
        temporary.persist(&path).map_err(|e| error(e.error))?;
        sync_folder(&self.folder).map_err(error)?;
        Ok(id)
    }

    fn temporary(&self) -> io::Result<tempfile::NamedTempFile> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(TEMPORARY_PREFIX);
        // Firmware is no secret, and several users' processes may share the folder.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
        builder.tempfile_in(&self.folder)
    }

    /// Removes what a killed process left half written. Ages are by the file system's own clock: against `fresh`, just made.
    fn sweep(&self, fresh: &tempfile::NamedTempFile) {
        let Ok(now) = fresh.as_file().metadata().and_then(|m| m.modified()) else { return };
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let age = entry.metadata().and_then(|m| m.modified()).ok().and_then(|made| now.duration_since(made).ok());
            let abandoned = age.is_some_and(|age| age > Duration::from_secs(ABANDONED_AFTER_SECONDS));
            if abandoned && entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

impl Vault for FolderVault {
    fn put(&self, bytes: &[u8]) -> Result<ImageId, VaultError> {
        self.put_with(bytes, |file, bytes| file.write_all(bytes))
    }

    fn get(&self, id: ImageId) -> Result<Vec<u8>, VaultError> {
        let bytes = files::read_up_to(&self.path(id), MAX_IMAGE_BYTES, "the image").map_err(|e| match e {
            files::FileError::TooLarge { .. } => VaultError::Grown { id },
            files::FileError::Read { source, .. } if source.kind() != io::ErrorKind::NotFound => {
                VaultError::Read { id, folder: self.folder.clone(), source }
            }
            _ => VaultError::Missing { id, folder: self.folder.clone() },
        })?;
        let found = super::sha256(&bytes);
        if found == id { Ok(bytes) } else { Err(VaultError::Changed { id, found }) }
    }

    fn contains(&self, id: ImageId) -> Result<bool, VaultError> {
        self.path(id).try_exists().map_err(|source| VaultError::Read { id, folder: self.folder.clone(), source })
    }
}

/// Makes a rename last through a power cut.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault() -> (tempfile::TempDir, FolderVault) {
        let dir = tempfile::tempdir().unwrap();
        let vault = FolderVault::new(dir.path().join("store"));
        (dir, vault)
    }

    fn names(vault: &FolderVault) -> Vec<String> {
        let entries = std::fs::read_dir(&vault.folder).into_iter().flatten();
        entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn bytes_are_kept_once_under_their_hash_and_read_back() {
        let (_dir, vault) = vault();
        let id = vault.put(b"firmware").unwrap();
        assert_eq!(vault.put(b"firmware").unwrap(), id);
        assert_eq!(names(&vault), [id.to_string()]);
        assert_eq!(vault.get(id).unwrap(), b"firmware");
        assert!(vault.contains(id).unwrap());
        let other = crate::image::sha256(b"other");
        assert!(!vault.contains(other).unwrap());
        assert!(matches!(vault.get(other), Err(VaultError::Missing { .. })));
    }

    #[test]
    fn changed_bytes_never_leave_the_store_and_are_mended_by_putting_them_again() {
        let (_dir, vault) = vault();
        let id = vault.put(b"firmware").unwrap();
        for wrong in [b"firmwarf".to_vec(), b"".to_vec(), vec![0; MAX_IMAGE_BYTES as usize + 1]] {
            std::fs::write(vault.path(id), &wrong).unwrap();
            let failure = Failure::from(vault.get(id).unwrap_err());
            assert_eq!(failure.exit.code(), 4, "{failure}");
            vault.put(b"firmware").unwrap();
            assert_eq!(vault.get(id).unwrap(), b"firmware");
        }
    }

    #[test]
    fn a_full_disk_leaves_nothing_behind() {
        let (_dir, vault) = vault();
        let e = vault
            .put_with(b"firmware", |file, bytes| {
                file.write_all(&bytes[..4])?;
                Err(io::ErrorKind::StorageFull.into())
            })
            .unwrap_err();
        assert!(e.to_string().ends_with("the disk is full"), "{e}");
        assert_eq!(Failure::from(e).exit.code(), 1);
        assert!(names(&vault).is_empty());
    }

    #[test]
    fn what_a_killed_process_left_is_swept_and_what_is_being_written_is_not() {
        let (_dir, vault) = vault();
        std::fs::create_dir_all(&vault.folder).unwrap();
        let (old, young) = (vault.folder.join(".incoming-old"), vault.folder.join(".incoming-young"));
        std::fs::write(&young, b"x").unwrap();
        let file = File::create(&old).unwrap();
        let made = file.metadata().unwrap().modified().unwrap();
        file.set_modified(made - Duration::from_secs(2 * ABANDONED_AFTER_SECONDS)).unwrap();
        vault.put(b"firmware").unwrap();
        assert!(!old.exists() && young.exists());
    }

    #[test]
    fn a_folder_that_cannot_be_is_a_clear_error() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), b"").unwrap();
        let vault = FolderVault::new(dir.path().join("file/store"));
        assert_eq!(Failure::from(vault.put(b"firmware").unwrap_err()).exit.code(), 1);
    }
}
