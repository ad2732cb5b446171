//! A file taken in: the estate's import, then what follows from it in other rooms, then the audit trail.

use serde_json::json;

use super::{App, keys_share::Look, record};
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
        let mut input = input;
        input.brought_by = Some(who.to_string());
        let report = import::import(&self.db, &self.clock, kind, input, options, watch).await?;
        self.audit_imports().await?;
        if matches!(kind, Kind::Keys | Kind::Sites) {
            self.reconcile_key_cases().await?;
            if kind == Kind::Keys {
                self.release_held_with_keys().await?;
            }
            self.watch_key_share(Look::Anew).await?;
        }
        self.copy_case_facts().await?;
        if matches!(kind, Kind::Sites | Kind::Registrations) {
            self.find_holders().await?;
        }
        Ok(report)
    }

    /// Puts each import that took effect into the audit trail, those included that a dead process left to be finished by another.
    pub(super) async fn audit_imports(&self) -> Outcome {
        for import in estate::store::unaudited(&mut self.db.read().await?).await? {
            let mut tx = self.db.begin().await?;
            if !estate::store::audited(&mut tx, import.id).await? {
                continue;
            }
            let counts = import.counts;
            let detail = json!({
                "file": import.file, "read": counts.read, "inserted": counts.inserted, "updated": counts.updated, "ended": counts.ended,
                "removed": counts.removed, "rejected": counts.rejected, "replace": import.replace,
            });
            let (action, subject) = (format!("import.{}", import.kind), format!("import {}", import.id));
            record(&mut tx, self.now(), &import.by, &action, subject, detail).await?;
            tx.commit().await?;
        }
        Ok(())
    }
}
