//! Brings a database's schema to this program's version: `migrations/`, compiled in, one text for both engines.

use std::borrow::Cow;

use sqlx::{
    SqlSafeStr,
    migrate::{Migration, MigrationType, Migrator},
};

use super::{
    Db, DbError, DbResult,
    dialect::{Engine, expand},
};

/// The steps, oldest first: number, name, text. A step that has been released is never edited.
const STEPS: &[(i64, &str, &str)] = &[
    (1, "first", include_str!("../../migrations/0001_first.sql")),
    (2, "wire", include_str!("../../migrations/0002_wire.sql")),
    (3, "archive", include_str!("../../migrations/0003_archive.sql")),
    (4, "alarms", include_str!("../../migrations/0004_alarms.sql")),
    (5, "history", include_str!("../../migrations/0005_history.sql")),
    (6, "supply", include_str!("../../migrations/0006_supply.sql")),
    (7, "pathways", include_str!("../../migrations/0007_pathways.sql")),
    (8, "thresholds", include_str!("../../migrations/0008_thresholds.sql")),
    (9, "reads", include_str!("../../migrations/0009_reads.sql")),
    (11, "pinned", include_str!("../../migrations/0011_pinned.sql")),
    (12, "keys", include_str!("../../migrations/0012_keys.sql")),
    (13, "notifications", include_str!("../../migrations/0013_notifications.sql")),
    (14, "resubmissions", include_str!("../../migrations/0014_resubmissions.sql")),
    (16, "schedules", include_str!("../../migrations/0016_schedules.sql")),
    (17, "silence", include_str!("../../migrations/0017_silence.sql")),
    (18, "proof", include_str!("../../migrations/0018_proof.sql")),
    (19, "waves", include_str!("../../migrations/0019_waves.sql")),
    (20, "control", include_str!("../../migrations/0020_control.sql")),
    (21, "key_facts", include_str!("../../migrations/0021_key_facts.sql")),
    (22, "marks", include_str!("../../migrations/0022_marks.sql")),
    (23, "key_orders", include_str!("../../migrations/0023_key_orders.sql")),
];

/// One step of the schema and whether this database has it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct MigrationStatus {
    pub step: i64,
    pub name: String,
    pub state: MigrationState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MigrationState {
    Applied,
    Pending,
    /// Made by a newer program.
    Unknown,
}

/// Of the steps up to `last`.
fn migrator(engine: Engine, last: i64) -> Migrator {
    let migrations = STEPS
        .iter()
        .filter(|(number, ..)| *number <= last)
        .map(|(number, name, text)| {
            let sql = sqlx::AssertSqlSafe(expand(text, engine)).into_sql_str();
            Migration::new(*number, Cow::Borrowed(*name), MigrationType::Simple, sql, false)
        })
        .collect::<Vec<_>>();
    Migrator::with_migrations(migrations)
}

/// Every step this program knows, as a database that does not exist yet has them.
pub fn pending_steps() -> Vec<MigrationStatus> {
    let pending = |(step, name, _): &(i64, &str, &str)| MigrationStatus {
        step: *step,
        name: name.to_string(),
        state: MigrationState::Pending,
    };
    STEPS.iter().map(pending).collect()
}

impl Db {
    /// Applies every step that is missing; each is one transaction.
    pub async fn migrate(&self) -> DbResult<()> {
        let known = STEPS.last().map_or(0, |s| s.0);
        let applied = self.applied_steps().await?;
        if let Some(found) = applied.iter().copied().find(|n| *n > known) {
            return Err(DbError::Newer { found, known });
        }
        // Most commands find everything in place, and then need not ask for the writer's lock.
        if STEPS.iter().all(|s| applied.contains(&s.0)) {
            return Ok(());
        }
        self.migrate_to(known).await
    }

    /// As a program was that knew no later step than `last`.
    pub(super) async fn migrate_to(&self, last: i64) -> DbResult<()> {
        let result = match self {
            Db::Sqlite { write, .. } => migrator(Engine::Sqlite, last).run(write).await,
            Db::Postgres(pool) => migrator(Engine::Postgres, last).run(pool).await,
        };
        result.map_err(|source| match source {
            sqlx::migrate::MigrateError::Execute(e) => match DbError::from(e) {
                DbError::Query { source } => DbError::Migrate { source: sqlx::migrate::MigrateError::Execute(source) },
                other => other,
            },
            source => DbError::Migrate { source },
        })
    }

    /// Every step this program or this database knows.
    pub async fn migration_status(&self) -> DbResult<Vec<MigrationStatus>> {
        let applied = self.applied_steps().await?;
        let status = |step: i64, name: &str, state| MigrationStatus { step, name: name.to_string(), state };
        let mut all: Vec<MigrationStatus> = STEPS
            .iter()
            .map(|(n, name, _)| {
                status(*n, name, if applied.contains(n) { MigrationState::Applied } else { MigrationState::Pending })
            })
            .collect();
        for n in applied {
            if STEPS.iter().all(|s| s.0 != n) {
                all.push(status(n, "made by a newer version", MigrationState::Unknown));
            }
        }
        Ok(all)
    }

    async fn applied_steps(&self) -> DbResult<Vec<i64>> {
        let mut tx = self.read().await?;
        let table: i64 = match &mut tx {
            super::Tx::Sqlite(t) => {
                sqlx::query_scalar("select count(*) from sqlite_master where name = '_sqlx_migrations'")
                    .fetch_one(&mut **t)
                    .await?
            }
            super::Tx::Postgres(t) => {
                sqlx::query_scalar("select count(*) from pg_class where oid = to_regclass('_sqlx_migrations')")
                    .fetch_one(&mut **t)
                    .await?
            }
        };
        if table == 0 {
            return Ok(Vec::new());
        }
        Ok(
            crate::sql!(&mut tx, c => sqlx::query_scalar("select version from _sqlx_migrations order by version").fetch_all(c).await)?,
        )
    }
}
