//! Targets that are fetched for a group of messages while the one before it is written, outside of any transaction that writes. Promise: what
//! is decided by them takes effect only if each of them still is as it was read then, also those that did not move.

use std::collections::BTreeSet;

use super::{Gathered, Moving};
use crate::{
    campaign,
    db::Tx,
    failure::Outcome,
    ids::DeviceId,
    target::store::{self as targets, Movable},
};

/// Of these devices in these plans, every target there was.
#[derive(Default)]
pub struct Ahead {
    plans: Vec<i64>,
    devices: Vec<DeviceId>,
    targets: Vec<Movable>,
}

impl Ahead {
    pub async fn fetch(tx: &mut Tx, devices: Vec<DeviceId>) -> Outcome<Ahead> {
        let plans: Vec<i64> = campaign::store::followed(tx).await?.iter().map(|f| f.plan_id).collect();
        let mut found = Ahead { plans, ..Ahead::default() };
        for group in devices.chunks(targets::GROUP_ROWS) {
            found.targets.extend(targets::movable(tx, &found.plans, group).await?);
        }
        found.devices = devices;
        Ok(found)
    }
}

impl Gathered {
    /// Takes over what was fetched ahead, where it is of the plans that are followed now; leaves the devices that are still to be fetched.
    pub fn go_by(&mut self, ahead: &Ahead, plans: &[i64], devices: &mut BTreeSet<DeviceId>) {
        if ahead.plans != plans {
            return;
        }
        for device in &ahead.devices {
            devices.remove(device);
        }
        let moving = |t: &Movable| ((t.plan_id, t.device), Moving { before: t.clone(), after: t.clone(), message: 0 });
        self.targets.extend(ahead.targets.iter().map(moving));
        self.is_ahead = true;
    }

    /// Whether what did not move is as it was read. (What moved is saved from the version that was read, or not at all.)
    pub async fn still_stands(&self, tx: &mut Tx) -> Outcome<bool> {
        if !self.is_ahead {
            return Ok(true);
        }
        let unmoved = self.targets.values().filter(|m| m.before == m.after);
        let unmoved: Vec<_> = unmoved.map(|m| (m.before.plan_id, m.before.device, m.before.version)).collect();
        Ok(targets::count_unchanged(tx, &unmoved).await? == unmoved.len())
    }
}
