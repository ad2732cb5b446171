//! What must hold after every tick, asked of the program's tables and held against what was so a tick before and against the world's ledger.

use std::collections::{BTreeMap, BTreeSet};

use super::{Whole, dcc::site};
use crate::{
    ids::DeviceId,
    sql,
    target::{
        TargetState,
        store::{self as targets, Target},
    },
};

/// How often a whole status is asked for: it is counted from everything.
const STATUS_EVERY_TICKS: u64 = 12;

/// As it was a tick before.
#[derive(Default)]
pub struct Seen {
    targets: BTreeMap<(i64, DeviceId), (TargetState, i64)>,
    /// When any target moved last.
    pub moved_at: i64,
}

impl Whole {
    pub(super) async fn check(&mut self) {
        let all = self.all_targets().await;
        self.moves_forward(&all);
        self.one_request_a_device(&all).await;
        self.caps_hold(&all);
        self.successes_count(&all);
        let ticks = self.front.world().counts.ticks;
        if ticks.is_multiple_of(STATUS_EVERY_TICKS) {
            self.counts_add_up(&all).await;
        }
    }

    /// With the campaign each is of.
    pub(super) async fn all_targets(&self) -> Vec<(i64, Target)> {
        let mut look = self.app().db.read().await.unwrap();
        let mut all = Vec::new();
        for campaign in self.campaigns.values() {
            let found = crate::campaign::store::get(&mut look, *campaign).await.unwrap().unwrap();
            // Not planned yet.
            let Some(plan) = found.plan_id else { continue };
            let page = targets::page(&mut look, plan, None, 10_000).await.unwrap();
            all.extend(page.into_iter().map(|t| (*campaign, t)));
        }
        all
    }

    fn moves_forward(&mut self, all: &[(i64, Target)]) {
        let now = self.now();
        for (_, t) in all {
            let key = (t.plan_id, t.device);
            let before = self.seen.targets.insert(key, (t.state, t.version));
            let Some((state, version)) = before else { continue };
            let n = site(t.device);
            assert!(t.version >= version, "site {n} at {now}: version {version}, then {}", t.version);
            assert!(t.version > version || t.state == state, "site {n} at {now}: {state}, then {}, in one version", t.state);
            let forward = match state {
                TargetState::Verified => t.state == TargetState::Verified,
                TargetState::Activated => matches!(t.state, TargetState::Activated | TargetState::Verified),
                _ => true,
            };
            assert!(forward, "site {n} was {state} and is {} at {now}", t.state);
            if t.version > version {
                self.seen.moved_at = now.0;
            }
        }
    }

    /// No device is out in two requests, whichever table is asked.
    async fn one_request_a_device(&self, all: &[(i64, Target)]) {
        let now = self.now();
        let mut out = BTreeMap::new();
        for (campaign, t) in all.iter().filter(|(_, t)| t.state.is_in_flight()) {
            let other = out.insert(t.device, *campaign);
            assert_eq!(other, None, "site {} is in flight in two campaigns at {now}", site(t.device));
        }
        let mut look = self.app().db.read().await.unwrap();
        let open: Vec<(i64, Vec<u8>)> = sql!(&mut look, c => sqlx::query_as(
            "select o.counter, b.members from outbox o join batches b on b.id = o.batch_id
             where o.state in ('prepared', 'posting', 'unknown') order by o.counter").fetch_all(c).await.unwrap());
        let mut named: BTreeMap<u64, i64> = BTreeMap::new();
        for (counter, members) in open {
            for device in members.chunks(8) {
                let n = site(DeviceId::from_db(i64::from_be_bytes(device.try_into().unwrap())));
                let other = named.insert(n, counter);
                assert_eq!(other, None, "site {n} is in two open requests at {now}, the other is {counter}");
            }
        }
    }

    fn caps_hold(&self, all: &[(i64, Target)]) {
        let (rules, now) = (self.rules(), self.now());
        let out =
            |of: Option<i64>| all.iter().filter(|(c, t)| of.is_none_or(|of| *c == of) && t.state.is_in_flight()).count() as i64;
        if let Some(cap) = rules.cap_in_all {
            assert!(out(None) <= cap, "{} are out at {now}, and {cap} may be", out(None));
        }
        if let Some(cap) = rules.cap {
            for (name, campaign) in &self.campaigns {
                let out = out(Some(*campaign));
                assert!(out <= cap, "{out} of {name} are out at {now}, and {cap} may be");
            }
        }
    }

    /// What the program has settled as a success stays one.
    fn successes_count(&self, all: &[(i64, Target)]) {
        let (world, now) = (self.front.world(), self.now());
        let states: BTreeMap<(i64, u64), &Target> = all.iter().map(|(c, t)| ((*c, site(t.device)), t)).collect();
        for (n, about) in &world.succeeded {
            let campaign = match about {
                Some(id) => world.requests[id].campaign,
                // Of nobody's request: the version says whose it is, where one campaign alone brings it.
                None if self.campaigns.len() == 1 => *self.campaigns.values().next().unwrap(),
                None => continue,
            };
            let t = states[&(campaign, *n)];
            assert!(
                matches!(t.state, TargetState::Activated | TargetState::Verified),
                "site {n} runs the image, DCC said so of {about:?}, and at {now} it is {t:?}"
            );
        }
    }

    pub(super) async fn counts_add_up(&self, all: &[(i64, Target)]) {
        for (name, campaign) in &self.campaigns {
            let status = self.app().campaign_status(name).await.unwrap();
            let own: Vec<&Target> = all.iter().filter(|(c, _)| c == campaign).map(|(_, t)| t).collect();
            let mut by_state = BTreeMap::new();
            own.iter().for_each(|t| *by_state.entry(t.state).or_insert(0) += 1);
            assert_eq!(status.by_state, by_state, "{name}");
            assert_eq!(status.duplicate_submissions, 0, "{name} at {}", self.now());
            let posted: BTreeSet<_> = {
                let world = self.front.world();
                let own = world.requests.iter().filter(|(_, s)| !s.is_read && s.campaign == *campaign);
                own.filter(|(_, s)| s.attempts.iter().any(|a| *a != super::ledger::Attempt::NotSent)).map(|(id, _)| *id).collect()
            };
            assert!(status.requests_sent >= posted.len() as u64, "{name}: {} and {}", status.requests_sent, posted.len());
            let in_waves: i64 = status.waves.iter().filter_map(|w| w.numbers.as_ref()).map(|n| n.counted + n.left_out).sum();
            assert!(in_waves <= own.len() as i64, "{name}");
        }
    }
}
