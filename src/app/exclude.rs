//! A person takes devices out of a campaign for good. What waits is cancelled; what is in a batch that was never posted comes out of it;
//! what was sent is beyond recall, is followed, and is not sent again. Not an exclusion of the estate, which ends by its dates. Promise:
//! no edit of what was approved; a page a transaction, so a process that dies leaves nothing that the same command does not complete.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::Serialize;
use serde_json::json;

use super::{
    App,
    control::{check_name, check_reason},
    decide::sites,
    find_campaign, record,
};
use crate::{
    campaign::{self, Campaign, store::excluded},
    db::Tx,
    failure::Outcome,
    gateway::outbox,
    ids::DeviceId,
    policy::Reason,
    target::{
        Event, TargetState,
        store::{self as targets, Because, Cause, Change, Target},
    },
};

/// Devices in one transaction.
const PAGE_DEVICES: usize = 2_000;

crate::spelled! {
    /// What becomes of a device that is to be taken out.
    ExcludedAs, "what an exclusion does" {
        /// It waited, or was in a batch that was never posted: it is cancelled.
        TakenOut = "taken-out",
        /// It was taken out before.
        Already = "already",
        /// It was sent, and its end is not known: followed, and not sent again.
        BeyondRecall = "beyond-recall",
        /// It has come to its end: no retry sends it again.
        Ended = "ended",
        /// No member: no plan and no top-up takes it in.
        ShutOut = "shut-out",
        /// No site has this Device ID.
        Unknown = "unknown",
    }
}

/// What an exclusion did, or would do.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Excluded {
    pub campaign: i64,
    pub dry_run: bool,
    /// Devices by what became of them; what none is left out.
    pub counts: BTreeMap<ExcludedAs, i64>,
    /// Batches that were prepared and never posted, and are decided anew without these devices.
    pub batches_dissolved: i64,
    /// Every device named, in order.
    #[serde(serialize_with = "by_name")]
    pub devices: Vec<(DeviceId, ExcludedAs)>,
}

fn by_name<S: serde::Serializer>(devices: &[(DeviceId, ExcludedAs)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(devices.iter().map(|(device, what)| json!({"device_id": device, "result": what})))
}

impl Excluded {
    pub fn count(&self, of: ExcludedAs) -> i64 {
        self.counts.get(&of).copied().unwrap_or(0)
    }

    pub fn named(&self, of: ExcludedAs) -> impl Iterator<Item = DeviceId> {
        self.devices.iter().filter(move |(_, what)| *what == of).map(|(device, _)| *device)
    }
}

/// What an exclusion does to a device: whether its site is known, where it stands in the plan, whether its batch was never posted, and
/// whether it was taken out before.
fn becomes(is_known: bool, state: Option<TargetState>, is_unposted: bool, was_out: bool) -> ExcludedAs {
    use TargetState as S;
    match state {
        None if !is_known => ExcludedAs::Unknown,
        Some(S::Held | S::Queued) => ExcludedAs::TakenOut,
        Some(S::Submitted | S::Accepted | S::Delivered) if is_unposted => ExcludedAs::TakenOut,
        Some(S::Submitted | S::Accepted | S::Delivered) => ExcludedAs::BeyondRecall,
        None | Some(S::Ineligible | S::Cancelled) if was_out => ExcludedAs::Already,
        None | Some(S::Ineligible) => ExcludedAs::ShutOut,
        Some(S::Activated | S::Verified | S::Failed | S::Expired | S::Cancelled) => ExcludedAs::Ended,
    }
}

/// A page, as it stands.
struct Page {
    devices: Vec<(DeviceId, ExcludedAs)>,
    targets: HashMap<DeviceId, Target>,
    was_out: HashSet<DeviceId>,
}

impl App {
    /// Takes devices out of a campaign for good, or says what that would do. One person is enough.
    pub async fn exclude_devices(
        &self,
        id_or_name: &str,
        devices: &[DeviceId],
        reason: &str,
        who: &str,
        dry_run: bool,
    ) -> Outcome<Excluded> {
        check_reason(reason)?;
        check_name(who)?;
        let mut devices = devices.to_vec();
        devices.sort_unstable();
        devices.dedup();
        let campaign = self.campaign(id_or_name).await?;
        let mut done = Excluded { campaign: campaign.id, dry_run, ..Excluded::default() };
        for some in devices.chunks(PAGE_DEVICES) {
            let page = match dry_run {
                true => {
                    let mut look = self.db.read().await?;
                    let campaign = find_campaign(&mut look, id_or_name).await?;
                    let unposted = outbox::unposted_batches(&mut look, campaign.id).await?;
                    self.look_at(&mut look, &campaign, some, &unposted).await?
                }
                false => self.exclude_page(campaign.id, some, reason, who, &mut done.batches_dissolved).await?,
            };
            for (_, what) in &page.devices {
                *done.counts.entry(*what).or_default() += 1;
            }
            done.devices.extend(page.devices);
        }
        Ok(done)
    }

    async fn exclude_page(&self, id: i64, devices: &[DeviceId], reason: &str, who: &str, dissolved: &mut i64) -> Outcome<Page> {
        let mut tx = self.db.begin().await?;
        let campaign = campaign::store::lock(&mut tx, id).await?;
        let unposted = outbox::unposted_batches(&mut tx, id).await?;
        let mut page = self.look_at(&mut tx, &campaign, devices, &unposted).await?;
        let in_unposted: BTreeSet<i64> = page
            .targets
            .values()
            .filter(|t| t.state.is_in_flight())
            .filter_map(|t| t.batch_id.filter(|b| unposted.contains(b)))
            .collect();
        for batch in &in_unposted {
            if let Some(request) = outbox::open_for_batch(&mut tx, *batch).await? {
                self.dissolve(&mut tx, &request, "a member was taken out by a person, and it was never posted").await?;
            }
        }
        if !in_unposted.is_empty() {
            // Its members are queued or held again: read them once more before they move.
            page.targets = targets_of(&mut tx, &campaign, devices).await?;
        }
        let now = self.now();
        let detail = format!("excluded by {who}: {reason}");
        let changes: Vec<Change> = page.targets.values().filter_map(|t| cancelled(t, &detail)).collect();
        let taken = targets::apply(&mut tx, &changes, now).await?;
        let known: Vec<DeviceId> =
            page.devices.iter().filter(|(_, what)| *what != ExcludedAs::Unknown).map(|(device, _)| *device).collect();
        let new = excluded::add(&mut tx, id, &known, reason, who, now).await?;
        if new > 0 || taken > 0 {
            let mut counts = BTreeMap::<&str, i64>::new();
            for (device, what) in &page.devices {
                if !page.was_out.contains(device) && *what != ExcludedAs::Unknown {
                    *counts.entry(what.as_str()).or_default() += 1;
                }
            }
            let devices: Vec<DeviceId> = known.into_iter().filter(|d| !page.was_out.contains(d)).collect();
            let detail = json!({"reason": reason, "counts": counts, "batches_dissolved": in_unposted.len(), "devices": devices});
            record(&mut tx, now, who, "campaign.exclude", campaign.subject(), detail).await?;
        }
        tx.commit().await?;
        crate::crash::point("exclude-half-done");
        *dissolved += in_unposted.len() as i64;
        Ok(page)
    }

    async fn look_at(&self, tx: &mut Tx, campaign: &Campaign, devices: &[DeviceId], unposted: &[i64]) -> Outcome<Page> {
        let targets = targets_of(tx, campaign, devices).await?;
        let rows = sites(tx, devices, &self.settings.organisation.mpids, self.now()).await?;
        let known: HashSet<DeviceId> = rows.iter().map(|r| r.site.device_id).collect();
        let was_out: HashSet<DeviceId> = excluded::among(tx, campaign.id, devices).await?.into_keys().collect();
        let what = |device: &DeviceId| {
            let target = targets.get(device);
            let is_unposted = target.and_then(|t| t.batch_id).is_some_and(|b| unposted.contains(&b));
            becomes(known.contains(device), target.map(|t| t.state), is_unposted, was_out.contains(device))
        };
        let devices = devices.iter().map(|device| (*device, what(device))).collect();
        Ok(Page { devices, targets, was_out })
    }
}

async fn targets_of(tx: &mut Tx, campaign: &Campaign, devices: &[DeviceId]) -> Outcome<HashMap<DeviceId, Target>> {
    let Some(plan) = campaign.plan_id else { return Ok(HashMap::new()) };
    Ok(targets::find(tx, &[plan], devices).await?.into_iter().map(|t| (t.device, t)).collect())
}

/// The change that takes a target out, where it waits.
fn cancelled(target: &Target, detail: &str) -> Option<Change> {
    let waits = matches!(target.state, TargetState::Held | TargetState::Queued);
    let state = target.state.on(Event::Cancelled).ok().filter(|_| waits)?;
    Some(Change {
        plan_id: target.plan_id,
        device: target.device,
        version: target.version,
        state,
        reason: Reason::ExcludedByOperator,
        answer_by: None,
        detail: Some(detail.to_string()),
        because: Because::of(Cause::Operator),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn only_what_never_left_is_taken_out(known: bool, state in prop::option::of(prop::sample::select(TargetState::ALL)), unposted: bool, was_out: bool) {
            let what = becomes(known, state, unposted, was_out);
            let waits = state.is_some_and(|s| matches!(s, TargetState::Held | TargetState::Queued) || (s.is_in_flight() && unposted));
            prop_assert_eq!(what == ExcludedAs::TakenOut, waits);
            prop_assert_eq!(what == ExcludedAs::BeyondRecall, state.is_some_and(TargetState::is_in_flight) && !unposted);
            prop_assert_eq!(what == ExcludedAs::Unknown, state.is_none() && !known);
            // The same command, again: nothing is taken out, and what was is said.
            if what == ExcludedAs::TakenOut {
                prop_assert_eq!(becomes(known, Some(TargetState::Cancelled), false, true), ExcludedAs::Already);
            }
        }
    }
}
