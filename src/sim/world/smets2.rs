//! The way of an image to a SMETS2+ PPMID (11.4), alert by alert: distribution, delivery to the hub, transfer to the device,
//! activation. Each stage may end it, by the scenario's chances.

use super::{Kind, Millis, Outcome, World};
use crate::{ids::DeviceId, sim::population::Condition};

impl World {
    /// Queues the alerts of one SMETS2+ device that goes on; gives what will become of it, and when.
    pub(super) fn plan_smets2(&mut self, device: DeviceId, condition: Condition, index: u32, at: Millis) -> (Outcome, Millis) {
        let (dice, rules) = (self.dice, self.scenario.smets2.clone());
        let subject = self.subject(device, index);
        let mut now = at + self.between(self.scenario.delays.update_requested_ms, "distributed after", subject);
        if dice.hits(rules.distribution_fails, "distribution fails", subject) {
            self.accepted[index as usize].not_distributed.push(device);
            return (Outcome::Failed, now);
        }
        if dice.hits(rules.delivery_status, "delivery status", subject) {
            if dice.hits(rules.delivery_fails, "delivery fails", subject) {
                self.alert(Kind::DeliveryFailed, device, index, now);
                return (Outcome::Failed, now);
            }
            self.alert(Kind::Delivered, device, index, now);
        }
        now += self.between(self.scenario.delays.update_requested_ms, "transferred after", subject);
        if dice.hits(rules.transfer_alert, "transfer alert", subject) {
            if dice.hits(rules.transfer_fails, "transfer fails", subject) {
                self.alert(Kind::TransferFailed, device, index, now);
                return (Outcome::Failed, now);
            }
            self.alert(Kind::Transferred, device, index, now);
        }
        let settled = now + self.between(self.scenario.delays.activated_ms, "activated after", subject);
        let (outcome, end) = match condition {
            Condition::ActivationFails => (Outcome::Failed, Some(Kind::PpmidFailed)),
            Condition::Silent => (Outcome::Silent, None),
            _ => (Outcome::Activated, Some(Kind::PpmidActivated)),
        };
        if let Some(kind) = end {
            self.alert(kind, device, index, settled);
        }
        (outcome, settled)
    }

    /// One alert names all devices of a request to which the image could not be distributed.
    pub(super) fn say_what_was_not_distributed(&mut self, index: u32, at: Millis) {
        if !self.request(index).not_distributed.is_empty() {
            let nobody = DeviceId::from_db(0);
            let subject = self.subject(nobody, index);
            let due = at + self.between(self.scenario.delays.update_requested_ms, "not distributed after", subject);
            self.alert(Kind::NotDistributed, nobody, index, due);
        }
    }
}
