//! What the steps of a device's model (`policies/steps.toml`) make follow when it moved: its own deadline while it is out, and the read
//! after its activation. Not the read itself, which `ask` makes. Promise: set-based; as shipped it costs nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{App, decide::sites};
use crate::{
    db::Tx,
    failure::Outcome,
    ids::DeviceId,
    policy::{DeviceSteps, PolicySet},
    target::{
        ReadCause,
        store::{
            Change, deadline,
            reads::{self, NewRead},
        },
    },
};

impl App {
    /// After targets moved: those that are out get the deadlines of their models, and those that were activated are to be read where
    /// their steps say so.
    pub(super) async fn follow_steps(
        &self,
        tx: &mut Tx,
        moved: &[Change],
        activated: &[(i64, DeviceId)],
        policies: &PolicySet,
    ) -> Outcome {
        let (now, steps) = (self.now(), &policies.steps);
        if !steps.deadlines().is_empty() {
            let mut by_plan: BTreeMap<i64, Vec<DeviceId>> = BTreeMap::new();
            for change in moved.iter().filter(|c| c.answer_by.is_some()) {
                by_plan.entry(change.plan_id).or_default().push(change.device);
            }
            for (plan, devices) in &by_plan {
                deadline::set_deadlines(tx, *plan, deadline::Moved::Devices(devices), steps, now).await?;
            }
        }
        if activated.is_empty() || !steps.reads_any() {
            return Ok(());
        }
        let devices: BTreeSet<DeviceId> = activated.iter().map(|(_, device)| *device).collect();
        let devices: Vec<DeviceId> = devices.into_iter().collect();
        let rows = sites(tx, &devices, &self.settings.organisation.mpids, now).await?;
        let steps: HashMap<DeviceId, DeviceSteps> = rows.iter().map(|r| (r.site.device_id, steps.of_site(&r.site))).collect();
        let new: Vec<NewRead> = activated
            .iter()
            .filter_map(|(plan_id, device)| {
                let steps = steps.get(device)?;
                let within_millis = steps.read_within.millis();
                let cause = ReadCause::Activation;
                steps.read().map(|kind| NewRead { plan_id: *plan_id, device: *device, kind, cause, within_millis })
            })
            .collect();
        reads::plan_reads(tx, &new, now).await?;
        Ok(())
    }
}
