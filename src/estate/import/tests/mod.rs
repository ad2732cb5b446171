//! Every sentence of contract.md's "Input files", on both engines.

mod files;
mod learned;
mod long;
mod model;
mod switches;

use super::*;
use crate::{
    clock::Time,
    db::testing::{TestDb, databases},
    failure::Failure,
    sql,
};

/// The header of a sites file and a row of it; `$` in a row is replaced by nothing special: rows are written out.
const SITES: &str = "device_id,mpan,cohort,manufacturer,model,hardware_version,firmware_version,device_status,dmc,chf_device_id,\
                     gsme_device_id,region,migrated_on,as_at\n";

/// One database and a folder for rejects.
struct Desk {
    test: TestDb,
    clock: Clock,
    folder: tempfile::TempDir,
}

/// What an import said: its report or its failure, the text of its rejects file, its warnings.
struct Said {
    result: Result<ImportReport, Failure>,
    rejects: Option<String>,
    warnings: Vec<String>,
}

async fn desks() -> Vec<Desk> {
    let desk =
        |test| Desk { test, clock: Clock::manual("2030-01-01T00:00:00Z".parse().unwrap()), folder: tempfile::tempdir().unwrap() };
    databases().await.into_iter().map(desk).collect()
}

impl Desk {
    async fn import_with(&self, kind: Kind, csv: impl Into<Vec<u8>>, options: Options) -> Said {
        let rejects = self.folder.path().join("file.csv.rejects.csv");
        let input = Input::from_reader("file.csv".into(), rejects.clone(), Box::new(std::io::Cursor::new(csv.into())));
        let warnings: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
        let heard = warnings.clone();
        let watch: Watch = Arc::new(move |p| {
            if let Progress::Warning(text) = p {
                heard.lock().unwrap().push(text);
            }
        });
        let result = import(&self.test.db, &self.clock, kind, input, options, watch).await.map_err(Failure::from);
        let warnings = warnings.lock().unwrap().clone();
        Said { result, rejects: std::fs::read_to_string(rejects).ok(), warnings }
    }

    async fn import(&self, kind: Kind, csv: impl Into<Vec<u8>>) -> Said {
        self.import_with(kind, csv, Options::default()).await
    }

    /// Every row of a table as text, by its first column on.
    async fn table(&self, columns: &str, table: &str) -> Vec<String> {
        let packed: Vec<String> = columns.split(", ").map(|c| format!("coalesce(cast({c} as text), '-')")).collect();
        let text = format!("select {} from {table} order by {columns}", packed.join(" || ' ' || "));
        let mut tx = self.test.db.read().await.unwrap();
        sql!(&mut tx, c => sqlx::query_scalar(sqlx::AssertSqlSafe(text)).fetch_all(c).await).unwrap()
    }

    /// Registrations as `MPAN SUPPLIER from to`, `!` after a row that a switch ended.
    async fn registrations(&self) -> Vec<String> {
        let mut tx = self.test.db.read().await.unwrap();
        let text = "select mpan, supplier_mpid, effective_from, effective_to, ended_by_switch from registrations order by mpan, effective_from";
        type Columns = (i64, String, i64, Option<i64>, bool);
        let rows: Vec<Columns> = sql!(&mut tx, c => sqlx::query_as(text).fetch_all(c).await).unwrap();
        let shown = |(_, supplier, from, to, ended): Columns| {
            let to = to.map_or("open".to_string(), |d| crate::clock::Day(d).to_string());
            format!("{supplier} {} {to}{}", crate::clock::Day(from), if ended { " !" } else { "" })
        };
        rows.into_iter().map(shown).collect()
    }
}

impl Said {
    /// `read inserted updated unchanged ended removed rejected`.
    fn counts(&self) -> [u64; 7] {
        let r = self.result.as_ref().expect("the import was done");
        assert_eq!(r.inserted + r.updated + r.unchanged + r.rejected, r.read, "{r:?}");
        [r.read, r.inserted, r.updated, r.unchanged, r.ended, r.removed, r.rejected]
    }

    /// `line reason` of each rejected row.
    fn reasons(&self) -> Vec<String> {
        let Some(text) = &self.rejects else { return Vec::new() };
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        assert_eq!(reader.headers().unwrap(), vec!["line", "reason", "row"]);
        reader.records().map(|r| r.map(|r| format!("{} {}", &r[0], &r[1])).unwrap()).collect()
    }

    fn failure(&self) -> &Failure {
        self.result.as_ref().expect_err("the import failed")
    }
}
