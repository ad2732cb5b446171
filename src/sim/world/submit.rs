//! An 11.1 or 11.4 that is accepted: which of its devices are dropped, and what becomes of the others.

use super::{AcceptedRequest, Kind, Millis, Outcome, Submission, World};
use crate::{
    duis::{RequestKind, UpdateFirmwareWarning},
    ids::DeviceId,
    sim::{
        population::{Condition, Generation},
        work::{What, Work},
    },
};

impl World {
    /// Takes a firmware request in: decides for each device and queues what will be said of it. Gives its index.
    pub(super) fn accept(&mut self, work: &Work, at: Millis) -> u32 {
        let What::Update { kind, firmware_version, devices, not_theirs, .. } = &work.what else {
            unreachable!("called for firmware requests only");
        };
        let index = u32::try_from(self.accepted.len()).expect("fewer than 2^32 requests");
        self.accepted.push(AcceptedRequest {
            id: work.id,
            kind: *kind,
            schema_version: work.schema_version.clone(),
            firmware_version: firmware_version.clone(),
            warning: UpdateFirmwareWarning::default(),
            not_distributed: Vec::new(),
        });
        let not_theirs: std::collections::HashSet<DeviceId> = not_theirs.iter().copied().collect();
        let mut warning = UpdateFirmwareWarning::default();
        for device in devices {
            self.submit(*device, index, at, not_theirs.contains(device), &mut warning);
        }
        self.accepted[index as usize].warning = warning;
        self.say_what_was_not_distributed(index, at);
        index
    }

    fn submit(&mut self, device: DeviceId, index: u32, at: Millis, not_theirs: bool, warning: &mut UpdateFirmwareWarning) {
        let before = self.submissions.get(&device).copied();
        if before.is_some_and(|b| b.request == index) {
            // Listed twice in one request: once is enough.
            return;
        }
        let running = before.is_some_and(|b| at < b.settled);
        if let Some(before) = before {
            let at_version = before.outcome == Outcome::Activated
                && self.request(before.request).firmware_version == self.request(index).firmware_version;
            if (running || at_version) && !before.doubled {
                self.tally.duplicate_submissions += 1;
                self.submissions.insert(device, Submission { doubled: true, ..before });
            }
        }
        let condition = self.population.condition(device);
        let generation = self.population.generation(device);
        let list = match condition {
            _ if not_theirs => &mut warning.invalid,
            Condition::Unknown => &mut warning.invalid,
            Condition::NotCommissioned | Condition::Suspended | Condition::Decommissioned => &mut warning.not_commissioned,
            Condition::NotApplicable => &mut warning.not_applicable_firmware,
            _ if generation != served_by(self.request(index).kind) => &mut warning.not_applicable_firmware,
            Condition::Busy => &mut warning.other_request_in_progress,
            _ if running => &mut warning.other_request_in_progress,
            _ => {
                let (outcome, settled) = match generation {
                    Generation::Smets1 => self.plan(device, condition, index, at),
                    Generation::Smets2 => self.plan_smets2(device, condition, index, at),
                };
                self.record(device, index, outcome, settled, at);
                self.alerts_beside(device, index, at);
                return;
            }
        };
        list.push(device);
        if !running {
            let told = at + u64::from(self.scenario.delays.warning_ms);
            self.record(device, index, Outcome::Dropped, told, at);
        }
    }

    fn record(&mut self, device: DeviceId, request: u32, outcome: Outcome, settled: Millis, at: Millis) {
        let before = self.submissions.get(&device);
        let doubled = before.is_some_and(|b| b.doubled);
        let ran_before = before.and_then(|b| b.runs(at));
        self.horizon = self.horizon.max(settled);
        self.submissions.insert(device, Submission { request, outcome, settled, doubled, ran_before });
    }

    /// Queues the alerts of one SMETS1 device that goes on; gives what will become of it, and when.
    fn plan(&mut self, device: DeviceId, condition: Condition, index: u32, at: Millis) -> (Outcome, Millis) {
        let dice = self.dice;
        let subject = self.subject(device, index);
        if let Condition::KeyMissing { .. } = condition {
            let due = at + self.between(self.scenario.delays.key_missing_ms, "key missing after", subject);
            self.alert(Kind::KeyMissing, device, index, due);
            return (Outcome::KeyMissing, due);
        }
        let mut requested = at + self.between(self.scenario.delays.update_requested_ms, "requested after", subject);
        let settled = requested + self.between(self.scenario.delays.activated_ms, "activated after", subject);
        let mut last = settled;
        let (outcome, end) = match condition {
            Condition::ActivationFails => (Outcome::Failed, Some(Kind::ActivationFailed)),
            Condition::Silent => (Outcome::Silent, None),
            _ => (Outcome::Activated, Some(Kind::Activated)),
        };
        if end.is_some() && dice.hits(self.scenario.deliveries.reordered, "reordered", subject) {
            self.tally.reordered += 1;
            (requested, last) = (last, requested);
        }
        self.alert(Kind::UpdateRequested, device, index, requested);
        if let Some(kind) = end {
            self.alert(kind, device, index, last);
        }
        (outcome, settled)
    }
}

/// 11.1 is for SMETS1, always; 11.4 for SMETS2+.
fn served_by(kind: RequestKind) -> Generation {
    match kind {
        RequestKind::UpdatePpmidFirmware => Generation::Smets2,
        RequestKind::UpdateFirmware | RequestKind::ReadInventory | RequestKind::ReadFirmwareVersion => Generation::Smets1,
    }
}
