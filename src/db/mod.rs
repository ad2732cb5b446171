//! The database: one type over two native engines, SQLite (embedded, the default) and PostgreSQL (several nodes).
//! Not an ORM and not `sqlx::Any`: SQL is written once, with `$1` parameters, and [`sql!`](crate::sql) expands it for each driver.
//! Promise: a write transaction on SQLite starts as a writer (BEGIN IMMEDIATE), so it never fails half way for want of the lock.

pub mod bulk;
#[cfg(test)]
pub(crate) mod death;
pub mod dialect;
mod error;
pub mod given;
mod migrate;
pub mod rows;
pub mod testing;

use std::{path::PathBuf, str::FromStr, time::Duration};

use sqlx::{
    ConnectOptions, Postgres, Sqlite, Transaction,
    postgres::{PgConnectOptions, PgPool, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous},
};

pub use error::DbError;
pub use migrate::{MigrationState, MigrationStatus, pending_steps};

pub type DbResult<T> = Result<T, DbError>;

/// How long a SQLite writer of another process may keep us waiting before we give up.
const SQLITE_BUSY_SECONDS: u64 = 60;
/// Read-only connections of a SQLite database (measured in design.md).
const SQLITE_READERS: u32 = 4;
/// Pages in the write-ahead log before it is folded back: 40 MB, so that bulk loads do not stop for it (measured in design.md).
const SQLITE_WAL_PAGES: &str = "10000";
/// Rows that a SQLite connection's thread fetches before it waits for whoever reads them: each wait is two changes of threads.
const SQLITE_ROWS_AHEAD: usize = 1_024;
const POSTGRES_CONNECTIONS: u32 = 10;
/// A server that has not answered by then is not there, or its network is not.
const POSTGRES_CONNECT_SECONDS: u64 = 10;
/// A pool that cannot give a connection for this long means the database is gone.
const ACQUIRE_SECONDS: u64 = 90;

/// An open database. Cheap to clone.
#[derive(Clone)]
pub enum Db {
    Sqlite { read: SqlitePool, write: SqlitePool },
    Postgres(PgPool),
}

/// A transaction on either engine, for reading or writing. Dropped without [`Tx::commit`], it leaves no trace.
pub enum Tx {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

/// Runs `$body` with `$c` bound to the driver's own connection, whichever engine `$tx` (a `&mut Tx`) is on.
/// The body is compiled twice, so what it returns must not name the engine.
#[macro_export]
macro_rules! sql {
    ($tx:expr, $c:ident => $body:expr) => {
        match $tx {
            $crate::db::Tx::Sqlite(t) => {
                let $c = &mut **t;
                $body
            }
            $crate::db::Tx::Postgres(t) => {
                let $c = &mut **t;
                $body
            }
        }
    };
}

impl Db {
    /// Opens the database at `url` (`sqlite://file` or `postgres://...`), creating a SQLite file that is absent,
    /// and brings its schema up to date.
    pub async fn open(url: &str) -> DbResult<Db> {
        let db = Db::connect(url).await?;
        db.migrate().await?;
        Ok(db)
    }

    /// Opens the database as it is.
    pub async fn connect(url: &str) -> DbResult<Db> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let options = PgConnectOptions::from_str(url).map_err(|e| DbError::Url { url: masked(url), source: e })?;
            // A pool would try a server that is not there until its patience ends; a person wants to know now.
            let wait = Duration::from_secs(POSTGRES_CONNECT_SECONDS);
            let first = tokio::time::timeout(wait, options.connect()).await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
            drop(first.map_err(|e| DbError::Connect { url: masked(url), source: e })?);
            let pool = PgPoolOptions::new()
                .max_connections(POSTGRES_CONNECTIONS)
                .acquire_timeout(Duration::from_secs(ACQUIRE_SECONDS))
                // Our statements are short, and many look a site up row by row: the server then estimates more than there is to do, and
                // compiles for longer than it runs. A server that knows no such setting goes on without.
                .after_connect(|connection, _| {
                    Box::pin(async move {
                        drop(sqlx::raw_sql("set jit = off").execute(connection).await);
                        Ok(())
                    })
                })
                .connect_with(options)
                .await
                .map_err(|e| DbError::Connect { url: masked(url), source: e })?;
            return Ok(Db::Postgres(pool));
        }
        let Some(path) = sqlite_path(url) else {
            return Err(DbError::UnknownScheme { url: masked(url) });
        };
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(SQLITE_BUSY_SECONDS))
            .row_buffer_size(SQLITE_ROWS_AHEAD)
            .pragma("wal_autocheckpoint", SQLITE_WAL_PAGES)
            .pragma("mmap_size", "0")
            .pragma("cache_size", "-32000")
            .pragma("temp_store", "file");
        let connect = |source| DbError::Connect { url: url.to_string(), source };
        let pool = SqlitePoolOptions::new().acquire_timeout(Duration::from_secs(ACQUIRE_SECONDS));
        let write = pool.clone().max_connections(1).connect_with(options.clone()).await.map_err(connect)?;
        let read = pool.max_connections(SQLITE_READERS).connect_with(options.read_only(true)).await.map_err(connect)?;
        Ok(Db::Sqlite { read, write })
    }

    /// A transaction that only reads, on one consistent state. Keep it short: never across slow work.
    pub async fn read(&self) -> DbResult<Tx> {
        Ok(match self {
            Db::Sqlite { read, .. } => Tx::Sqlite(read.begin().await?),
            Db::Postgres(pool) => Tx::Postgres(pool.begin_with("begin isolation level repeatable read read only").await?),
        })
    }

    /// A transaction that writes.
    pub async fn begin(&self) -> DbResult<Tx> {
        Ok(match self {
            Db::Sqlite { write, .. } => Tx::Sqlite(write.begin_with("begin immediate").await?),
            Db::Postgres(pool) => Tx::Postgres(pool.begin().await?),
        })
    }

    /// Closes every connection; a SQLite file is left as one file.
    pub async fn close(&self) {
        match self {
            Db::Sqlite { read, write } => {
                read.close().await;
                write.close().await;
            }
            Db::Postgres(pool) => pool.close().await,
        }
    }
}

impl Tx {
    pub async fn commit(self) -> DbResult<()> {
        #[cfg(test)]
        let dies = death::at_commit();
        #[cfg(test)]
        if dies == Some(death::When::Before) {
            death::now().await;
        }
        match self {
            Tx::Sqlite(t) => t.commit().await?,
            Tx::Postgres(t) => t.commit().await?,
        }
        #[cfg(test)]
        if dies == Some(death::When::After) {
            death::now().await;
        }
        Ok(())
    }

    pub fn is_sqlite(&self) -> bool {
        matches!(self, Tx::Sqlite(_))
    }
}

/// The file of a `sqlite://FILE` URL; nothing for another engine's.
pub fn sqlite_path(url: &str) -> Option<PathBuf> {
    let rest = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:"))?;
    (!rest.is_empty()).then(|| PathBuf::from(rest))
}

/// A URL that may be shown: its password is not, and of its parameters only the names are. Where a URL is malformed it
/// hides rather too much.
pub fn masked(url: &str) -> String {
    let Some(start) = url.find("://").map(|scheme| scheme + 3) else { return url.to_string() };
    if url.starts_with("sqlite") {
        return url.to_string();
    }
    let (scheme, rest) = url.split_at(start);
    let (user, rest) = match rest.rsplit_once('@') {
        None => (String::new(), rest),
        Some((info, rest)) => {
            let name = info.split([':', '/', '?']).next().unwrap_or_default();
            (format!("{name}{}@", if name.len() < info.len() { ":***" } else { "" }), rest)
        }
    };
    let (address, parameters) = rest.split_once('?').map_or((rest, None), |(a, p)| (a, Some(p)));
    let names = parameters.map_or(String::new(), |p| {
        let hidden = |p: &str| p.split_once('=').map_or("***".to_string(), |(name, _)| format!("{name}=***"));
        format!("?{}", p.split('&').map(hidden).collect::<Vec<_>>().join("&"))
    });
    format!("{scheme}{user}{address}{names}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(super::masked("postgres://u:secret@h/db"), "postgres://u:***@h/db");
        assert_eq!(super::masked("postgres://u@h/db"), "postgres://u@h/db");
        assert_eq!(super::masked("sqlite://a.db"), "sqlite://a.db");
        assert_eq!(
            super::masked("postgres://u@h/db?password=secret&sslmode=require"),
            "postgres://u@h/db?password=***&sslmode=***"
        );
        assert_eq!(super::masked("postgres://u:se?cret@h/db"), "postgres://u:***@h/db");
        assert_eq!(super::masked("postgres://h/db?password=sec@ret"), "postgres://h:***@ret");
    }
}
