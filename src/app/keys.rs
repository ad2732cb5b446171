//! Key results become key cases, here and nowhere else.

use super::App;
use crate::{
    failure::Outcome,
    ids::DeviceId,
    keys::{self, store::Reconciled},
    policy::PolicySet,
};

/// Cases brought into line in one transaction.
const PAGE_CASES: usize = 1_000;

impl App {
    /// Brings every key case into line with the results: after an import of keys. Doing it twice changes nothing.
    pub async fn reconcile_key_cases(&self) -> Outcome<Reconciled> {
        let cohorts = tool_cohorts(&self.policies()?);
        let candidates = keys::store::candidates(&mut self.db.read().await?).await?;
        let mut total = Reconciled::default();
        for page in candidates.chunks(PAGE_CASES) {
            let mut tx = self.db.begin().await?;
            let done = keys::store::reconcile(&mut tx, page, &cohorts).await?;
            tx.commit().await?;
            total = Reconciled {
                opened: total.opened + done.opened,
                resolved: total.resolved + done.resolved,
                updated: total.updated + done.updated,
            };
        }
        Ok(total)
    }

    /// The same for a few devices, within the caller's transaction.
    pub(super) async fn reconcile_devices(&self, tx: &mut crate::db::Tx, devices: &[DeviceId], policies: &PolicySet) -> Outcome {
        keys::store::reconcile(tx, devices, &tool_cohorts(policies)).await?;
        Ok(())
    }
}

/// The cohorts whose sites need a key from the transitional tool (L§12).
fn tool_cohorts(policies: &PolicySet) -> Vec<crate::estate::Cohort> {
    crate::estate::Cohort::ALL.iter().copied().filter(|c| policies.eligibility.cohort(*c).needs_tool_key).collect()
}
