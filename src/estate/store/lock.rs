//! One import at a time: an advisory lock on PostgreSQL, a locked file beside the database on SQLite.
//! Promise: it is let go when its holder dies, however it dies; so whoever gets it knows that no import is running.

use std::{fs::File, io, path::PathBuf};

use sqlx::{Postgres, pool::PoolConnection};

use crate::db::{Db, DbResult};

/// Names the lock among the advisory locks of a PostgreSQL database: "PPMIDIMP" in ASCII.
const ADVISORY_LOCK: i64 = 0x5050_4D49_4449_4D50;

/// Held while an import stages and applies.
pub enum ImportLock {
    File(File),
    /// The lock belongs to this session, which is closed with the value.
    Postgres(Option<PoolConnection<Postgres>>),
}

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("the file {path} cannot be opened or locked")]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Db(#[from] crate::db::DbError),
}

impl ImportLock {
    /// Lets the lock go at once. (Dropped instead, PostgreSQL lets it go when it notices that the session is gone.)
    pub async fn release(mut self) -> DbResult<()> {
        if let ImportLock::Postgres(connection) = &mut self
            && let Some(mut connection) = connection.take()
        {
            let unlock = sqlx::query("select pg_advisory_unlock($1)").bind(ADVISORY_LOCK).execute(&mut *connection).await;
            if let Err(e) = unlock {
                drop(connection.detach());
                return Err(e.into());
            }
        }
        Ok(())
    }
}

impl Drop for ImportLock {
    fn drop(&mut self) {
        match self {
            ImportLock::File(file) => drop(file.unlock()),
            // Closing the session is what surely ends its lock; the pool opens another when it needs one.
            ImportLock::Postgres(connection) => {
                if let Some(connection) = connection.take() {
                    drop(connection.detach());
                }
            }
        }
    }
}

/// Takes the lock; `None` where somebody alive holds it.
pub async fn try_lock(db: &Db) -> Result<Option<ImportLock>, LockError> {
    match db {
        Db::Sqlite { write, .. } => {
            let mut path = write.connect_options().get_filename().as_os_str().to_owned();
            path.push("-import-lock");
            let path = PathBuf::from(path);
            let failed = |source| LockError::File { path: path.clone(), source };
            let file = File::options().create(true).append(true).open(&path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) => Ok(Some(ImportLock::File(file))),
                Err(std::fs::TryLockError::WouldBlock) => Ok(None),
                Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
            }
        }
        Db::Postgres(pool) => {
            let mut connection = pool.acquire().await.map_err(crate::db::DbError::from)?;
            let ours = take(&mut connection).await?;
            Ok(ours.then_some(ImportLock::Postgres(Some(connection))))
        }
    }
}

async fn take(connection: &mut PoolConnection<Postgres>) -> DbResult<bool> {
    Ok(sqlx::query_scalar("select pg_try_advisory_lock($1)").bind(ADVISORY_LOCK).fetch_one(&mut **connection).await?)
}

/// Folder for the temporary files of a sort: beside a SQLite database (the system's own may be memory), else the system's.
pub fn scratch_folder(db: &Db) -> PathBuf {
    match db {
        Db::Sqlite { write, .. } => match write.connect_options().get_filename().parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
            _ => PathBuf::from("."),
        },
        Db::Postgres(_) => std::env::temp_dir(),
    }
}
