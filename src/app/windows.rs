//! Windows and freezes at work: which members may be sent now, whether a batch that was made may leave, and what waits for what. When
//! anything is open is `policy::windows`'s to say. Promise: no request leaves while one of its devices is in a closed group.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::App;
use crate::{
    campaign::batch::Batch,
    clock::Time,
    db::Tx,
    estate::{self, Cohort, SiteRow},
    failure::Outcome,
    ids::DeviceId,
    policy::windows::{Closed, Closures, Group, Why, Windows},
    target::store as targets,
};

/// Members whose cohorts and regions are fetched in one step.
const PAGE_MEMBERS: usize = 5_000;
/// While everything is closed, how soon the policies are looked at again: they may be edited.
const LOOK_AGAIN_MILLIS: i64 = 2_000;
/// While something is closed and nothing was found that may leave: looking means going through the queue.
const SEARCH_AGAIN_MILLIS: i64 = 15_000;

/// Queued devices that wait for a window, or for the end of a freeze.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WaitsFor {
    pub cohort: Cohort,
    /// One that windows.toml names; null: all others.
    pub region: Option<String>,
    pub sites: i64,
    /// `the window of Mon 22:00 (windows.toml)`.
    pub why: String,
    /// Null where nothing in windows.toml opens it again.
    pub until: Option<Time>,
}

/// Whether a batch that was made may leave.
pub(super) enum MayLeave {
    Yes,
    /// All its devices are open from then on.
    At {
        until: Time,
        why: String,
    },
    /// There is no such moment in sight.
    Never {
        why: String,
    },
}

impl App {
    /// windows.toml, and what `hold_campaign` of retry.toml closes beside it.
    pub(super) async fn windows(&self, tx: &mut Tx, at: Time) -> Outcome<Windows> {
        let policies = self.policies_at(at)?;
        let held = if policies.retry.hold_campaign { self.cohorts_with_share_alarm(tx).await? } else { Vec::new() };
        Ok(policies.windows.holding(held))
    }

    /// What is closed at this moment.
    pub(super) async fn closures(&self, tx: &mut Tx, now: Time) -> Outcome<Closures> {
        Ok(self.windows(tx, now).await?.closures(now))
    }

    /// Whether every device of a batch is open now.
    pub(super) async fn may_leave(&self, tx: &mut Tx, batch: &Batch, now: Time) -> Outcome<MayLeave> {
        let windows = self.windows(tx, now).await?;
        let closures = windows.closures(now);
        if closures.none() {
            return Ok(MayLeave::Yes);
        }
        let groups = groups_of(tx, &windows, &batch.members).await?;
        let Some((_, closed)) = closures.closed.iter().find(|(group, _)| groups.contains(group)) else {
            return Ok(MayLeave::Yes);
        };
        let groups: Vec<Group> = groups.into_iter().collect();
        if closed.why == Why::KeysMissing {
            // An alarm ends as it came, by the facts or by a person: no operator is needed for the request as well.
            return Ok(MayLeave::At { until: now.plus_millis(LOOK_AGAIN_MILLIS), why: format!("waits for {closed}") });
        }
        Ok(match windows.next_open_together(now, &groups) {
            Some(until) => MayLeave::At { until, why: format!("waits for {closed}") },
            None => MayLeave::Never { why: format!("waits for {closed}, and its devices are never open all at once") },
        })
    }

    /// What of a plan's queue waits for which window.
    pub(super) async fn waits_for(&self, tx: &mut Tx, plan: i64, now: Time) -> Outcome<Vec<WaitsFor>> {
        let windows = self.windows(tx, now).await?;
        let closures = windows.closures(now);
        if closures.none() {
            return Ok(Vec::new());
        }
        let mut queued: BTreeMap<Group, i64> = BTreeMap::new();
        for (cohort, region, sites) in targets::queued_by_group(tx, plan, now).await? {
            *queued.entry(windows.group(cohort, region.as_deref())).or_default() += sites;
        }
        let waiting = |(group, closed): (Group, Closed)| {
            let sites = queued.get(&group).copied().filter(|n| *n > 0)?;
            Some(WaitsFor { cohort: group.cohort, region: group.region, sites, why: closed.to_string(), until: closed.until })
        };
        Ok(closures.closed.into_iter().filter_map(waiting).collect())
    }

    /// What one site would wait for; `None`: it is open.
    pub(super) async fn site_waits_for(&self, tx: &mut Tx, row: &SiteRow, at: Time) -> Outcome<Option<Closed>> {
        use crate::policy::windows::Gate;
        Ok(match self.windows(tx, at).await?.open(at, row.site.cohort, row.site.region.as_deref()) {
            Gate::Open => None,
            Gate::Closed(closed) => Some(closed),
        })
    }
}

/// When to look again, where something is closed and nothing could be sent.
pub(super) fn look_again(closures: &Closures, now: Time) -> Time {
    let soon = now.plus_millis(if closures.all { LOOK_AGAIN_MILLIS } else { SEARCH_AGAIN_MILLIS });
    closures.next_opening().map_or(soon, |opens| opens.min(soon))
}

async fn groups_of(tx: &mut Tx, windows: &Windows, members: &[DeviceId]) -> Outcome<BTreeSet<Group>> {
    let mut groups = BTreeSet::new();
    for page in members.chunks(PAGE_MEMBERS) {
        for (cohort, region) in estate::store::cohorts_and_regions(tx, page).await? {
            groups.insert(windows.group(cohort, region.as_deref()));
        }
    }
    Ok(groups)
}
