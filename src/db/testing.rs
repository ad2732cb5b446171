//! A fresh database on each engine for a test. Compiled into the library so that unit and integration tests share it;
//! nothing in the product calls it.

use super::Db;

/// Names the throw-away PostgreSQL server of the tests, e.g. `postgres://ppmid@127.0.0.1:5433/postgres`.
pub const POSTGRES_ENV: &str = "PPMID_TEST_POSTGRES";
/// Set where a missing PostgreSQL is a failure (CI, `tests/run`), not a reason to skip.
pub const REQUIRE_ENV: &str = "PPMID_REQUIRE_TOOLS";

/// A database that goes away with the test.
pub struct TestDb {
    pub db: Db,
    pub url: String,
    pub engine: &'static str,
    _dir: Option<tempfile::TempDir>,
}

/// One empty, migrated database per engine. Where no PostgreSQL is named, says so loudly and gives SQLite alone.
pub async fn databases() -> Vec<TestDb> {
    let mut all = vec![sqlite().await];
    all.extend(postgres().await);
    all
}

pub async fn sqlite() -> TestDb {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let url = format!("sqlite://{}", dir.path().join("test.db").display());
    TestDb { db: Db::open(&url).await.expect("a fresh SQLite database"), url, engine: "sqlite", _dir: Some(dir) }
}

pub async fn postgres() -> Option<TestDb> {
    let Ok(server) = std::env::var(POSTGRES_ENV) else {
        assert!(std::env::var_os(REQUIRE_ENV).is_none(), "{POSTGRES_ENV} is not set, and {REQUIRE_ENV} says it must be");
        eprintln!("SKIPPED ON POSTGRESQL: {POSTGRES_ENV} names no server (tests/run starts one)");
        return None;
    };
    let url = fresh_postgres_url(&server).await;
    Some(TestDb { db: Db::open(&url).await.expect("a fresh PostgreSQL database"), url, engine: "postgres", _dir: None })
}

impl TestDb {
    /// A backup: a second database as this one is now. Both are opened anew.
    pub async fn copied(self) -> (TestDb, TestDb) {
        self.db.close().await;
        let copy = self.copy_of_closed().await;
        let again = Db::open(&self.url).await.expect("the database opens again");
        let opened = Db::open(&copy.0).await.expect("the copy opens");
        (
            TestDb { db: again, url: self.url, engine: self.engine, _dir: self._dir },
            TestDb { db: opened, url: copy.0, engine: self.engine, _dir: copy.1 },
        )
    }

    /// A copy of a database that nobody has open: its URL, and what keeps it.
    pub async fn copy_of_closed(&self) -> (String, Option<tempfile::TempDir>) {
        match &self._dir {
            Some(_) => {
                let dir = tempfile::tempdir().expect("a temporary folder");
                let file = dir.path().join("test.db");
                std::fs::copy(super::sqlite_path(&self.url).expect("a file"), &file).expect("a closed database is one file");
                (format!("sqlite://{}", file.display()), Some(dir))
            }
            None => {
                let server = std::env::var(POSTGRES_ENV).expect("it is there");
                let name = self.url.rsplit('/').next().expect("a URL has a path");
                (postgres_database(&server, &format!("template {name}")).await, None)
            }
        }
    }

    /// The databases as a program left them that knew no later step than `last`, connected and not brought up to date.
    pub async fn at_step(last: i64) -> Vec<TestDb> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut urls = vec![("sqlite", format!("sqlite://{}", dir.path().join("test.db").display()), Some(dir))];
        if let Ok(server) = std::env::var(POSTGRES_ENV) {
            urls.push(("postgres", fresh_postgres_url(&server).await, None));
        }
        let mut all = Vec::new();
        for (engine, url, dir) in urls {
            let db = Db::connect(&url).await.expect("an empty database");
            db.migrate_to(last).await.expect("the early steps");
            all.push(TestDb { db, url, engine, _dir: dir });
        }
        all
    }
}

/// Creates an empty database on the server and gives its URL.
pub async fn fresh_postgres_url(server: &str) -> String {
    postgres_database(server, "").await
}

/// Removes a database of the server that nobody has open, for whoever makes thousands. A SQLite file goes with its folder.
pub async fn remove(url: &str) {
    let (Ok(server), Some(name)) = (std::env::var(POSTGRES_ENV), url.rsplit('/').next()) else { return };
    if !url.starts_with("postgres") {
        return;
    }
    let Db::Postgres(pool) = Db::connect(&server).await.expect("the test server answers") else { return };
    let drop = sqlx::AssertSqlSafe(format!("drop database if exists {name} with (force)"));
    sqlx::raw_sql(drop).execute(&pool).await.expect("a database is removed");
    pool.close().await;
}

async fn postgres_database(server: &str, options: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    #[allow(clippy::disallowed_methods, reason = "a name that no earlier run used, not a time")]
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_nanos();
    let name = format!("t_{}_{}_{nanos}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let Db::Postgres(pool) = Db::connect(server).await.expect("the test server answers") else {
        panic!("{POSTGRES_ENV} must name a PostgreSQL server");
    };
    let create = sqlx::AssertSqlSafe(format!("create database {name} {options}"));
    sqlx::raw_sql(create).execute(&pool).await.expect("a database is created");
    pool.close().await;
    let cut = server.rfind('/').expect("a URL has a path");
    format!("{}/{name}", &server[..cut])
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn a_postgresql_server_compiles_none_of_our_statements() {
        let Some(t) = super::postgres().await else { return };
        let mut tx = t.db.read().await.unwrap();
        let jit: String = crate::sql!(&mut tx, c => sqlx::query_scalar("show jit").fetch_one(c).await).unwrap();
        assert_eq!(jit, "off");
    }

    #[tokio::test]
    async fn both_engines_migrate_once_and_again() {
        for t in super::databases().await {
            t.db.migrate().await.unwrap();
            let status = t.db.migration_status().await.unwrap();
            assert!(status.iter().all(|s| s.state == crate::db::MigrationState::Applied), "{}", t.engine);
            t.db.close().await;
        }
    }
}
