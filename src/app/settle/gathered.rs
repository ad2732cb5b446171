//! What a group of messages comes to, gathered in memory: targets as they were read and as they are to be, and what was learned. Not the
//! reading of messages. Promise: it is written whole or not at all, each target only from the version that was read.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{
    App,
    heard::{KnownAt, Reads},
    news::{DeviceNews, Fact},
};
use crate::{
    campaign::{
        self,
        store::{Followed, OfBatch, latencies},
    },
    clock::Time,
    db::Tx,
    estate::{self, KeyResult, KeyStatus, store::SupplyNotice},
    failure::Outcome,
    gateway::inbox::{Arrived, InboxState},
    ids::DeviceId,
    keys,
    policy::{PolicySet, Reason},
    target::{
        Event, TargetState,
        store::{self as targets, Because, Cause, Change, Movable, Moved, Which},
    },
};

/// What a group of messages has gathered before it is written.
#[derive(Default)]
pub(in crate::app) struct Gathered {
    pub targets: BTreeMap<(i64, DeviceId), Moving>,
    pub reads: Reads,
    pub learned: Vec<(DeviceId, String, Time)>,
    pub statuses: Vec<(DeviceId, String, Time)>,
    /// With the message each came in.
    pub key_results: Vec<(KeyResult, i64)>,
    pub notices: Vec<SupplyNotice>,
    pub activated: BTreeSet<DeviceId>,
    /// Some targets were fetched before the transaction began.
    pub is_ahead: bool,
}

/// A target as it was read, as it is to be, and the message that moved it last.
pub(in crate::app) struct Moving {
    pub before: Movable,
    pub after: Movable,
    /// 0: the reply to a read.
    pub message: i64,
}

impl Gathered {
    pub fn learn(&mut self, fact: &Fact, at: KnownAt<'_>) {
        self.learned.extend(fact.version.iter().map(|v| (fact.device, v.clone(), at.of(v))));
        self.statuses.extend(fact.status.iter().map(|s| (fact.device, s.clone(), at.received)));
    }

    /// What a message says of devices makes their targets move, as far as it is theirs. Gives how it ends.
    pub fn settle_devices(
        &mut self,
        message: Arrived,
        news: &[DeviceNews],
        at: KnownAt<'_>,
        asked: Option<OfBatch>,
        followed: &[Followed],
        answer_by: Time,
    ) -> (InboxState, Option<String>) {
        let (mut matched, mut learned) = (false, false);
        for item in news {
            let success = matches!(item.event, Event::Activated | Event::Verified);
            if success && let Some(version) = &item.version {
                self.learned.push((item.device, version.clone(), at.of(version)));
                learned = true;
            }
            // Device truth beats a complaint about the very request that upgraded it, which comes late.
            let done = asked.and_then(|batch| self.targets.get(&(batch.plan_id, item.device)));
            let done = done.is_some_and(|m| matches!(m.after.state, TargetState::Activated | TargetState::Verified));
            if item.event == Event::NeedsKeys && !done {
                let detail = Some(item.detail.clone());
                let (device_id, status) = (item.device, KeyStatus::Failed);
                self.key_results.push((KeyResult { device_id, attempted_at: at.received, status, detail }, message.id));
                matched = true;
            }
            let plans: Vec<i64> = match asked {
                Some(batch) => vec![batch.plan_id],
                // Rule 10: without a RequestID it settles a device only if its version is the image's. A missing key has
                // no version: it is a fact about the device, whoever asked.
                None => followed
                    .iter()
                    .filter(|f| item.event == Event::NeedsKeys || item.version.as_deref() == Some(&f.firmware_version))
                    .map(|f| f.plan_id)
                    .collect(),
            };
            for plan in plans {
                let Some(Moving { after: target, message: moved_by, .. }) = self.targets.get_mut(&(plan, item.device)) else {
                    continue;
                };
                // Its last batch is gone where that never left; an earlier one may still have its success.
                if target.batch_id.is_none() && target.attempts == 0 {
                    continue;
                }
                // What an earlier request came to says nothing against the one that is out now.
                if !success && asked.is_some_and(|b| Some(b.id) != target.batch_id) {
                    matched = true;
                    continue;
                }
                matched = true;
                // What left the portfolio is followed to its end, and waits for no key of ours.
                if item.event == Event::NeedsKeys && target.reason == Reason::SupplyLost {
                    continue;
                }
                let Ok(next) = target.state.on(item.event) else { continue };
                if next != target.state {
                    *moved_by = message.id;
                    target.state = next;
                    target.detail = Some(item.detail.clone());
                    target.answer_by = (!next.is_final() && next.is_in_flight()).then_some(answer_by);
                    match item.event {
                        Event::NeedsKeys => target.reason = Reason::KeysMissing,
                        // What left the portfolio meanwhile stays out of every share.
                        Event::Activated | Event::Verified if target.reason != Reason::SupplyLost => {
                            target.reason = Reason::Eligible;
                        }
                        _ => {}
                    }
                }
                if success {
                    self.activated.insert(item.device);
                }
            }
        }
        // Rule 10: an alert about another version, from whoever asked for that, is no alarm.
        let other_version = asked.is_none()
            && news.iter().all(|n| n.version.as_ref().is_some_and(|v| followed.iter().all(|f| f.firmware_version != *v)));
        match (matched, other_version, learned) {
            (true, ..) => (InboxState::Settled, None),
            (false, true, true) => {
                (InboxState::Settled, Some("no campaign brings this version; what the device runs was noted".into()))
            }
            (false, true, false) => (InboxState::Ignored, Some("no campaign brings this version".into())),
            (false, false, _) => {
                (InboxState::Unmatched, Some("it names no device of a campaign with this request or version".into()))
            }
        }
    }
}

impl App {
    /// What was in flight when its campaign was aborted, and now turns out to lack its key, is not sent again: nothing of it waits.
    async fn cancel_what_waits_for_nothing(&self, tx: &mut Tx, changes: &[Change]) -> Outcome {
        let mut held: BTreeMap<i64, Vec<DeviceId>> = BTreeMap::new();
        for change in changes.iter().filter(|c| c.state == TargetState::Held) {
            held.entry(change.plan_id).or_default().push(change.device);
        }
        if held.is_empty() {
            return Ok(());
        }
        for over in campaign::store::aborted(tx).await? {
            let Some((plan, devices)) = over.plan_id.and_then(|plan| held.remove_entry(&plan)) else { continue };
            let aborted = Moved::because(Because::of(Cause::Operator));
            targets::move_all(tx, plan, Which::Among(&devices), Event::Cancelled, aborted, self.now()).await?;
        }
        Ok(())
    }

    /// Writes what was gathered: transitions, then what was learned of the devices and their keys. `false`: a device was moved
    /// by another loop or node since it was read, so nothing of this transaction may be kept.
    pub(in crate::app) async fn write(&self, tx: &mut Tx, gathered: Gathered, policies: &PolicySet) -> Outcome<bool> {
        if !gathered.still_stands(tx).await? {
            return Ok(false);
        }
        let newly = |m: &&Moving| m.after.state == TargetState::Activated && m.before.state != TargetState::Activated;
        let activated: Vec<(i64, DeviceId)> =
            gathered.targets.values().filter(newly).map(|m| (m.after.plan_id, m.after.device)).collect();
        let counted = self.stages(tx, gathered.targets.values()).await?;
        let changes: Vec<Change> = gathered
            .targets
            .into_values()
            .filter(|m| m.before != m.after)
            .map(|Moving { before, after, message }| Change {
                plan_id: after.plan_id,
                device: after.device,
                version: before.version,
                state: after.state,
                reason: after.reason,
                answer_by: after.answer_by,
                detail: after.detail,
                because: if message == 0 { Because::of(Cause::Read) } else { Because::by(Cause::Message, message) },
            })
            .collect();
        let applied = targets::apply(tx, &changes, self.now()).await?;
        if applied != changes.len() as u64 || !self.save_reads(tx, gathered.reads).await? {
            return Ok(false);
        }
        self.cancel_what_waits_for_nothing(tx, &changes).await?;
        latencies::count(tx, &counted).await?;
        self.follow_steps(tx, &changes, &activated, policies).await?;
        estate::store::learn_firmware(tx, &gathered.learned).await?;
        estate::store::learn_status(tx, &gathered.statuses).await?;
        estate::store::add_supply_notices(tx, &gathered.notices).await?;
        if !gathered.key_results.is_empty() {
            let keyed: Vec<DeviceId> = gathered.key_results.iter().map(|(k, _)| k.device_id).collect();
            for (result, _) in &gathered.key_results {
                estate::store::add_key_result(tx, result, estate::store::KeySource::Message).await?;
            }
            self.reconcile_devices(tx, &keyed, policies).await?;
            let came: Vec<_> = gathered.key_results.iter().map(|(k, message)| (k.device_id, k.attempted_at, *message)).collect();
            keys::store::came_in(tx, &came).await?;
        }
        if !gathered.activated.is_empty() {
            let devices: Vec<DeviceId> = gathered.activated.into_iter().collect();
            self.resolve_activated(tx, &devices).await?;
        }
        Ok(true)
    }
}
