//! A file taken in: the estate's import, then what follows from it in other rooms, then the audit trail.

use serde_json::json;

use super::{App, record};
use crate::{
    db::Tx,
    estate,
    estate::import::{self, ImportReport, Input, Kind, Options, Watch},
    failure::Outcome,
};

/// Which state of the estate a decision is made on; `None` while a file is half applied. Whoever decides and then writes asks
/// again before it commits, since on PostgreSQL each statement sees what was committed before it: another answer means that
/// the decision is of neither estate.
pub(super) async fn whole_facts(tx: &mut Tx) -> Outcome<Option<i64>> {
    if estate::store::applying(tx).await? {
        return Ok(None);
    }
    Ok(Some(estate::store::estate_version(tx).await?))
}

impl App {
    /// Imports a file and brings the key cases into line with it. What waits in campaigns is decided again by the daemon.
    pub async fn import_file(
        &self,
        kind: Kind,
        input: Input,
        options: Options,
        watch: Watch,
        who: &str,
    ) -> Outcome<ImportReport> {
        let name = input.name.clone();
        let report = import::import(&self.db, &self.clock, kind, input, options, watch).await?;
        if matches!(kind, Kind::Keys | Kind::Sites) {
            self.reconcile_key_cases().await?;
            self.watch_key_share().await?;
        }
        let mut tx = self.db.begin().await?;
        let detail = json!({
            "file": name, "read": report.read, "inserted": report.inserted, "updated": report.updated, "ended": report.ended,
            "removed": report.removed, "rejected": report.rejected, "replace": options.replace,
        });
        record(&mut tx, self.now(), who, &format!("import.{kind}"), format!("import {}", report.import_id), detail).await?;
        tx.commit().await?;
        Ok(report)
    }
}
