//! Key results become key cases, here and nowhere else; whose key came is released from where it waits in the same transaction.

use serde_json::json;

use super::{App, record};
use crate::{
    db::Tx,
    failure::Outcome,
    ids::DeviceId,
    keys::{self, store::Reconciled},
    notify,
    policy::PolicySet,
};

/// Cases brought into line in one transaction.
const PAGE_CASES: usize = 1_000;

impl App {
    /// Brings every key case into line with the results and the timetable: after an import of keys, and when policies changed.
    /// Doing it twice changes nothing.
    pub async fn reconcile_key_cases(&self) -> Outcome<Reconciled> {
        let policies = self.policies()?;
        let candidates = keys::store::candidates(&mut self.db.read().await?).await?;
        let mut total = Reconciled::default();
        for page in candidates.chunks(PAGE_CASES) {
            let mut tx = self.db.begin().await?;
            // Campaigns are locked before cases, here and wherever both are.
            self.lock_where_held(&mut tx, page).await?;
            let done = self.reconcile_devices(&mut tx, page, &policies).await?;
            self.release_keyed(&mut tx, &done.resolved).await?;
            tx.commit().await?;
            total.opened.extend(done.opened);
            total.investigated.extend(done.investigated);
            total.updated += done.updated;
            total.past += done.past;
            total.needless.extend(done.needless);
            total.resolved.extend(done.resolved);
        }
        Ok(total)
    }

    /// The same for a few devices, within the caller's transaction, which tells whom it concerns; nobody is released.
    pub(super) async fn reconcile_devices(&self, tx: &mut Tx, devices: &[DeviceId], policies: &PolicySet) -> Outcome<Reconciled> {
        let done = keys::store::reconcile(tx, devices, policies, self.now()).await?;
        if done != Reconciled::default() {
            let (opened, resolved) = (done.opened.len(), done.resolved.len());
            tracing::info!(opened, resolved, investigated = done.investigated.len(), updated = done.updated, "key cases moved");
            self.tell_reconciled(tx, &done).await?;
            if !done.needless.is_empty() {
                let detail = json!({"what": "their cohorts need no key from the tool", "cases": done.needless.len(), "devices": done.needless});
                record(tx, self.now(), "engine", "keys.close", "key cases".into(), detail).await?;
                // That they were opened was a mistake, which nobody needs to hear of once their sites are known.
                let subjects: Vec<String> = done.needless.iter().map(|device| device.to_string()).collect();
                notify::store::tell_nobody(tx, &subjects, self.now()).await?;
            }
        }
        Ok(done)
    }

    /// Firmware was activated on these devices: their open cases are resolved.
    pub(super) async fn resolve_activated(&self, tx: &mut Tx, devices: &[DeviceId]) -> Outcome {
        let resolved = keys::store::resolve_activated(tx, devices, self.now()).await?;
        self.tell_activated(tx, &resolved).await
    }
}
