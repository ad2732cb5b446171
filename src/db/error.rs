//! Database errors as a person meets them: what could not be done and what to do, never a raw SQL message.

use crate::failure::Failure;

#[derive(Debug, thiserror::Error)]
pub enum DbError {
    #[error("the database URL {url} cannot be read")]
    Url { url: String, source: sqlx::Error },
    #[error("the database URL {url} is of no kind known here")]
    UnknownScheme { url: String },
    #[error("the database at {url} cannot be opened")]
    Connect { url: String, source: sqlx::Error },
    #[error("the database was made by a newer version of ppmid (its schema has step {found}, this program knows up to {known})")]
    Newer { found: i64, known: i64 },
    #[error("the database schema cannot be brought up to date")]
    Migrate { source: sqlx::migrate::MigrateError },
    #[error("the disk that holds the database is full")]
    DiskFull,
    #[error("another process keeps the database locked")]
    Busy,
    #[error("the connection to the database was lost")]
    Lost { source: sqlx::Error },
    #[error("the database file is damaged or is not a ppmid database")]
    Damaged,
    #[error("{table}, {key}: {column} holds {found:?}")]
    BadRow { table: &'static str, key: String, column: &'static str, found: String },
    #[error("the database refused an operation")]
    Query { source: sqlx::Error },
}

impl DbError {
    /// A stored value that our own types refuse: named, never replaced by a default.
    pub fn bad_row(table: &'static str, key: impl ToString, column: &'static str, found: impl ToString) -> DbError {
        DbError::BadRow { table, key: key.to_string(), column, found: found.to_string() }
    }

    /// Whether the same operation may work if it is tried again a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            DbError::Busy | DbError::Lost { .. } | DbError::DiskFull => true,
            DbError::Query { source } => is_serialization(source),
            _ => false,
        }
    }

    /// Whether a unique key said no.
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, DbError::Query { source: sqlx::Error::Database(e) } if e.is_unique_violation())
    }
}

fn is_serialization(e: &sqlx::Error) -> bool {
    matches!(e, sqlx::Error::Database(d) if matches!(d.code().as_deref(), Some("40001" | "40P01")))
}

/// SQLite primary result codes (the low byte of an extended code).
const SQLITE_BUSY: u32 = 5;
const SQLITE_LOCKED: u32 = 6;
const SQLITE_CORRUPT: u32 = 11;
const SQLITE_FULL: u32 = 13;
const SQLITE_NOTADB: u32 = 26;

impl From<sqlx::Error> for DbError {
    fn from(e: sqlx::Error) -> DbError {
        if let sqlx::Error::Database(d) = &e {
            let code = d.code().unwrap_or_default().to_string();
            if d.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
                match code.parse::<u32>().unwrap_or(0) & 0xff {
                    SQLITE_BUSY | SQLITE_LOCKED => return DbError::Busy,
                    SQLITE_CORRUPT | SQLITE_NOTADB => return DbError::Damaged,
                    SQLITE_FULL => return DbError::DiskFull,
                    _ => {}
                }
            } else {
                match code.as_str() {
                    "53100" => return DbError::DiskFull,
                    "57P01" | "57P02" | "57P03" => return DbError::Lost { source: e },
                    _ => {}
                }
            }
        }
        match e {
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
                DbError::Lost { source: e }
            }
            _ => DbError::Query { source: e },
        }
    }
}

impl From<DbError> for Failure {
    fn from(e: DbError) -> Failure {
        let failure = Failure::failed(e.to_string());
        match &e {
            DbError::Url { .. } | DbError::UnknownScheme { .. } => {
                failure.help("use --database-url sqlite://FILE or --database-url postgres://USER@HOST/DATABASE")
            }
            DbError::Connect { url, source } => {
                let damaged = matches!(source, sqlx::Error::Database(d) if matches!(d.code().as_deref(), Some("26" | "11")));
                if url.starts_with("sqlite") && damaged {
                    failure.help("the file is not a SQLite database; name another with --database-url")
                } else if url.starts_with("sqlite") {
                    failure.help("check that the folder exists and that you may write in it")
                } else {
                    failure.help("check that the server runs and that the user, password and database name are right")
                }
            }
            DbError::Newer { .. } => failure.help("use the newer ppmid that made it, or a backup taken before it was upgraded"),
            DbError::Migrate { .. } => failure.help("run `ppmid db status` to see which step is wanted; nothing was half done"),
            DbError::DiskFull => failure.help("make room and run the command again; nothing was half done"),
            DbError::Busy => failure.help("wait for the other ppmid command to end and try again"),
            DbError::Lost { .. } => failure.help("check that the database runs, then try again; nothing was half done"),
            DbError::Damaged => failure.help("restore it from a backup, or name another database with --database-url"),
            DbError::BadRow { .. } => failure.help("the row was not written by this program; correct it or restore a backup"),
            DbError::Query { source } => {
                tracing::debug!(%source, "a statement failed");
                failure.help("run the command again with -v for the details; if it persists, report it")
            }
        }
    }
}
