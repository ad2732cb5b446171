//! The end of a simulated rollout: DCC is well again, people do what they are asked and nothing else, and everything must come to its end,
//! each with its reason. Held against the histories as well: no device took a step that the diagram does not have.

use std::collections::BTreeMap;

use super::{HOUR, Whole, counts::Counts, dcc::site, ledger::Quarantine, node::Turn, people::QUIET_STEP};
use crate::{app::App, campaign::CampaignState, db::death, sql, target::TargetState};

/// Steps after which a rollout that still goes on, slowly, is aborted: a small threshold may ask for months.
const STEPS_MAX: usize = 160;
/// Nothing waits longer for time alone: a change of supply casts its shadow five days ahead.
const STUCK_AFTER: i64 = 6 * 24 * HOUR;

impl Whole {
    pub(super) async fn calms_down(&mut self) {
        death::cancel();
        self.calm = true;
        self.seen.moved_at = self.now().0;
        {
            let mut world = self.front.world();
            let weather = &mut world.rules.weather;
            weather.outages.clear();
            for bad in [
                &mut weather.refused,
                &mut weather.request_lost,
                &mut weather.reply_lost,
                &mut weather.says_no,
                &mut weather.says_nonsense,
                &mut weather.http_no,
                &mut weather.quarantines,
                &mut weather.webhook_fails,
            ] {
                *bad = 0;
            }
            world.rules.deaths = 0;
        }
        self.windows_change().await;
        for step in 0..2 * STEPS_MAX {
            self.clock.advance(QUIET_STEP);
            self.mail_comes().await;
            if step % 4 == 0 {
                self.keys_come(true).await;
                self.goes_well().await;
            }
            for turn in
                [Turn::Lease, Turn::Settle, Turn::Recheck, Turn::Watch, Turn::Waves, Turn::Keys, Turn::Dispatch, Turn::Settle]
            {
                self.live(turn).await;
            }
            self.live(Turn::Watch).await;
            self.live(Turn::Tell).await;
            self.check().await;
            if self.is_over().await {
                return;
            }
            let quiet = self.now().0 - self.seen.moved_at;
            assert!(quiet < STUCK_AFTER, "nothing moves since {} h: {}", quiet / HOUR, self.what_is_left().await);
            if step == STEPS_MAX {
                for name in self.campaigns.keys().cloned().collect::<Vec<_>>() {
                    self.abort(&name).await;
                }
            }
        }
        panic!("it does not end: {}", self.what_is_left().await);
    }

    /// People do what they are asked for.
    async fn goes_well(&mut self) {
        self.decide_what_waits(false).await;
        self.approve_again().await;
        for name in self.campaigns.keys().cloned().collect::<Vec<_>>() {
            self.go_on(&name).await;
        }
    }

    async fn is_over(&self) -> bool {
        for name in self.campaigns.keys() {
            if !matches!(self.campaign(name).await.state, CampaignState::Finished | CampaignState::Aborted) {
                return false;
            }
        }
        let out = self.all_targets().await.iter().any(|(_, t)| !t.state.is_final());
        !out && !self.front.world().has_mail() && open(self.app()).await.is_empty()
    }

    async fn what_is_left(&self) -> String {
        let mut left = Vec::new();
        for name in self.campaigns.keys() {
            let status = self.app().campaign_status(name).await.unwrap();
            let waves: Vec<_> = status.waves.iter().map(|w| format!("{} {} {:?}", w.name, w.state, w.verdict)).collect();
            left.push(format!(
                "{name} is {} {:?} {:?}, {:?}, waits for {:?}, {waves:?}, {:?}, {:?}",
                status.state,
                status.stopped_code,
                status.stopped_reason,
                status.by_state,
                status.waits_for,
                status.adt,
                status.alarms
            ));
        }
        for (_, t) in self.all_targets().await.into_iter().filter(|(_, t)| !t.state.is_final()).take(3) {
            left.push(format!("{t:?}"));
        }
        left.extend(open(self.app()).await);
        left.join("\n")
    }

    pub(super) async fn end(self) -> Counts {
        let all = self.all_targets().await;
        self.counts_add_up(&all).await;
        for (_, t) in &all {
            let n = site(t.device);
            assert!(!t.reason.as_str().is_empty(), "site {n} has no reason: {t:?}");
            let told = !matches!(t.state, TargetState::Failed | TargetState::Expired) || t.detail.is_some();
            assert!(told, "nobody can say why site {n} is {}", t.state);
        }
        self.nobody_is_forgotten().await;
        self.every_step_is_one().await;
        self.all_is_told().await;
        {
            let mut look = self.app().db.read().await.unwrap();
            crate::audit::verify(&mut look, None).await.unwrap();
            let standing: i64 = sql!(&mut look, c => sqlx::query_scalar("select count(*) from quarantines where state = 'standing' order by 1")
                .fetch_one(c).await.unwrap());
            assert_eq!(standing, 0);
            let passed: i64 = sql!(&mut look, c => sqlx::query_scalar("select count(*) from waves where passed_at is not null order by 1")
                .fetch_one(c).await.unwrap());
            let halts: i64 = sql!(&mut look, c => sqlx::query_scalar("select count(*) from wave_verdicts where verdict = 'halt' order by 1")
                .fetch_one(c).await.unwrap());
            let mut world = self.front.world();
            (world.counts.waves_passed, world.counts.halts_by_wave) = (passed as u64, halts as u64);
            let in_state = |state| all.iter().filter(|(_, t)| t.state == state).count() as u64;
            world.counts.activated = in_state(TargetState::Activated);
            world.counts.verified = in_state(TargetState::Verified);
            world.counts.expired = in_state(TargetState::Expired);
        }
        self.app().db.close().await;
        self.clock.advance(1);
        self.front.world().counts
    }

    /// A campaign that finished sent everybody who was ours all along and whom nobody took out.
    async fn nobody_is_forgotten(&self) {
        let is_back = |q: Quarantine| matches!(q, Quarantine::Untold | Quarantine::Standing);
        let held_back = self.front.world().requests.values().any(|s| is_back(s.quarantine));
        assert!(!held_back, "DCC still holds something back");
        let only = self.campaigns.len() == 1;
        for (campaign, t) in self.all_targets().await.into_iter().filter(|_| only) {
            let state = self.campaign(&campaign.to_string()).await.state;
            let n = site(t.device);
            let (ours, out) = {
                let (world, word) = (self.front.world(), self.front.word());
                (world.sites[n as usize - 1].holders.len() == 1, word.excluded.contains(&(campaign, n)))
            };
            if state == CampaignState::Finished && ours && !out {
                use TargetState as S;
                assert!(matches!(t.state, S::Activated | S::Verified | S::Failed | S::Expired), "site {n} was forgotten: {t:?}");
            }
        }
    }

    /// Each version of each target follows from the one before it by a step of the diagram (ARCHITECTURE.md, "A device's state").
    async fn every_step_is_one(&self) {
        let mut look = self.app().db.read().await.unwrap();
        let rows: Vec<(i64, i64, i64, String)> = sql!(&mut look, c => sqlx::query_as(
            "select plan_id, device_id, version, state from target_history
             union all select plan_id, device_id, version, state from targets order by 1, 2, 3").fetch_all(c).await.unwrap());
        for pair in rows.windows(2) {
            let [(plan, device, version, from), (next_plan, next_device, next_version, to)] = pair else { continue };
            if (plan, device) != (next_plan, next_device) {
                continue;
            }
            let n = site(crate::ids::DeviceId::from_db(*device));
            assert_eq!(version + 1, *next_version, "a version of site {n} is lost");
            assert!(is_a_step(from, to), "site {n} went from {from} to {to} in version {next_version}");
        }
    }

    /// Whoever is to be told was told, once.
    async fn all_is_told(&self) {
        let mut look = self.app().db.read().await.unwrap();
        let waiting: Vec<(i64, String)> = sql!(&mut look, c => sqlx::query_as(
            "select id, sentence from notifications where spread_at is null and (audience <> 'holder' or mpid is not null)
             union all select id, body from deliveries where state <> 'delivered' order by 1").fetch_all(c).await.unwrap());
        assert!(waiting.is_empty(), "not told: {waiting:?}");
        let keys: Vec<String> =
            sql!(&mut look, c => sqlx::query_scalar("select key from deliveries order by key").fetch_all(c).await.unwrap());
        let told: Vec<String> = self.front.word().told.keys().cloned().collect();
        assert_eq!(keys, told, "what was told is what was to be told");
        let twice: Vec<(String, String)> = sql!(&mut look, c => sqlx::query_as(
            "select subject, sentence from notifications group by kind, subject, sentence, happened_at having count(*) > 1 order by 1, 2")
            .fetch_all(c).await.unwrap());
        assert!(twice.is_empty(), "told twice: {twice:?}");
    }
}

/// Requests, messages, reads and deliveries that have not ended.
async fn open(app: &App) -> Vec<String> {
    let mut look = app.db.read().await.unwrap();
    let rows: Vec<(String, i64, String)> = sql!(&mut look, c => sqlx::query_as(
        "select 'request', counter, state from outbox where state in ('prepared', 'posting', 'unknown')
         union all select 'message', id, state from inbox_marks where state in ('new', 'failed')
         union all select 'read', device_id, state || ', ' || coalesce(note, '') from reads where state in ('waiting', 'asked', 'accepted')
         union all select 'delivery', id, state from deliveries where state = 'pending' order by 1, 2")
        .fetch_all(c).await.unwrap());
    rows.into_iter().map(|(what, id, state)| format!("{what} {id} is {state}")).collect()
}

fn is_a_step(from: &str, to: &str) -> bool {
    let steps: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("held", &["queued", "ineligible", "submitted", "cancelled"][..]),
        ("queued", &["held", "ineligible", "submitted", "cancelled"]),
        ("ineligible", &["queued", "held"]),
        ("submitted", &["accepted", "delivered", "queued", "held", "failed", "expired"]),
        ("accepted", &["delivered", "queued", "held", "failed", "expired"]),
        ("delivered", &["queued", "held", "failed", "expired"]),
        ("failed", &["queued"]),
        ("expired", &["queued", "held", "failed"]),
        ("cancelled", &[]),
        ("activated", &[]),
        ("verified", &[]),
    ]);
    let done = to == "verified" || (to == "activated" && from != "verified");
    from == to || done || steps[from].contains(&to)
}
