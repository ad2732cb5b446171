//! The loops themselves. Each does one verb until there is nothing left to do, then sleeps until its period or a nudge.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};

use super::{archive, dispatch::dispatch, keys, lease::Lease, notify, schedules, waves};
use crate::{
    app::{App, Look, SupplyChanges},
    campaign::{self, CampaignState},
    clock::{Day, Time},
    duis::{Pinned, Signer},
    estate,
    failure::{Failure, Outcome},
    gateway::{Forward, Gateway, Webhooks},
};

/// The receiver nudges; this is for what another node received.
const SETTLE_PERIOD: Duration = Duration::from_millis(500);
/// Messages may have ended a campaign: looked at when none waits, but not more often, since it may mean reading a million targets.
const FINISH_PERIOD_MILLIS: i64 = 2_000;
/// How often the estate is asked whether an import changed it.
const FACTS_PERIOD: Duration = Duration::from_millis(500);
const LEASE_PERIOD: Duration = Duration::from_secs(1);
/// Silence is looked for this many times within the time allowed, but neither hectically nor idly.
const SILENCE_CHECKS: i64 = 20;
const SILENCE_PERIOD_MILLIS: std::ops::RangeInclusive<i64> = 250..=60_000;
/// After a fault (a database that is away, a policy file that does not parse) a loop waits this long.
const FAULT_PAUSE: Duration = Duration::from_secs(1);

/// Wakes the loops: something came in, or something changed.
#[derive(Clone, Default)]
pub struct Nudge {
    pub inbox: Arc<Notify>,
    pub dispatch: Arc<Notify>,
    pub recheck: Arc<Notify>,
}

/// The running loops.
pub struct Engine {
    app: App,
    lease: Lease,
    stop: watch::Sender<bool>,
    loops: JoinSet<()>,
    shared: Shared,
}

/// What every loop has.
#[derive(Clone)]
pub(super) struct Shared {
    pub app: App,
    pub nudge: Nudge,
    pub gateway: Arc<dyn Gateway>,
    pub signer: Arc<dyn Signer>,
    pub lease: Lease,
    stop: watch::Receiver<bool>,
    pinned: Pinned,
}

impl Engine {
    pub fn start(app: App, gateway: Arc<dyn Gateway>, signer: Arc<dyn Signer>, pinned: Pinned, nudge: Nudge) -> Engine {
        let (shared, stop) = Shared::new(app.clone(), gateway, signer, pinned, nudge);
        let lease = shared.lease.clone();
        let mut loops = JoinSet::new();
        loops.spawn(keep_lease(shared.clone()));
        loops.spawn(dispatch(shared.clone()));
        loops.spawn(settle(shared.clone()));
        loops.spawn(recheck(shared.clone()));
        loops.spawn(watch_silence(shared.clone()));
        loops.spawn(archive::prune(shared.clone()));
        loops.spawn(keys::sweep(shared.clone()));
        loops.spawn(schedules::fire(shared.clone()));
        loops.spawn(waves::judge(shared.clone()));
        Engine { app, lease, stop, loops, shared }
    }

    /// From now on, what answers no request of ours goes on.
    pub fn forward_to(&mut self, adapter: Arc<dyn Forward>) {
        self.loops.spawn(archive::forward(self.shared.clone(), adapter));
    }

    /// From now on, the teams of notify.toml are told.
    pub fn tell_by(&mut self, webhooks: Arc<dyn Webhooks>) {
        self.loops.spawn(notify::tell(self.shared.clone(), webhooks));
    }

    /// Ends the loops. A post in flight is given up: its outcome is unknown and is taken up at the next start.
    pub async fn stop(mut self, within: Duration) {
        let _ = self.stop.send(true);
        let all = async { while self.loops.join_next().await.is_some() {} };
        if tokio::time::timeout(within, all).await.is_err() {
            self.loops.abort_all();
        }
        if let Err(e) = self.lease.give_back(&self.app).await {
            tracing::warn!(reason = %e, "the lease could not be given back; it runs out by itself");
        }
    }
}

impl Shared {
    /// Of a node that is not running yet, and what stops it.
    pub(super) fn new(
        app: App,
        gateway: Arc<dyn Gateway>,
        signer: Arc<dyn Signer>,
        pinned: Pinned,
        nudge: Nudge,
    ) -> (Shared, watch::Sender<bool>) {
        let (stop, stopped) = watch::channel(false);
        let lease = Lease::new(&app);
        (Shared { app, nudge, gateway, signer, lease, stop: stopped, pinned }, stop)
    }

    pub(super) fn stopping(&self) -> bool {
        *self.stop.borrow()
    }

    pub(super) fn may_act(&self) -> bool {
        !self.stopping() && self.lease.is_held(self.app.now())
    }

    /// Sleeps until the period is over, a nudge comes or the engine stops.
    pub(super) async fn rest(&mut self, period: Duration, nudge: Option<&Notify>) {
        let nudged = async {
            match nudge {
                Some(n) => n.notified().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = tokio::time::sleep(period) => {}
            _ = nudged => {}
            _ = self.stop.changed() => {}
        }
    }

    /// Waits for `work` unless the engine stops first.
    pub(super) async fn unless_stopped<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            _ = async { while !*self.stop.borrow() { if self.stop.changed().await.is_err() { break } } } => None,
        }
    }

    /// How long, in milliseconds, to leave alone what took since `began`, so that it has one part in so many of the time.
    pub(super) fn part_of_time(&self, began: Time, parts: i64) -> i64 {
        (self.app.now().0 - began.0).max(0) * parts
    }

    pub(super) async fn fault(&mut self, what: &str, failure: &Failure) {
        tracing::error!(reason = %failure, help = failure.help.join("; "), "{what}");
        self.rest(FAULT_PAUSE, None).await;
    }
}

async fn keep_lease(mut shared: Shared) {
    let mut to_take_up = false;
    while !shared.stopping() {
        if let Err(e) = renew_lease(&shared, &mut to_take_up).await {
            shared.fault("the lease could not be renewed, or what was left open not be taken up", &e).await;
        }
        shared.rest(LEASE_PERIOD, None).await;
    }
}

/// One turn of the lease. `to_take_up`: the work has come to this node, and what was left open is not taken up yet.
pub(super) async fn renew_lease(shared: &Shared, to_take_up: &mut bool) -> Outcome {
    *to_take_up |= shared.lease.renew(&shared.app).await?;
    if *to_take_up && shared.may_act() {
        tracing::info!("this node does the work");
        let requests = shared.app.take_up_requests().await?;
        *to_take_up = false;
        if requests > 0 {
            tracing::info!(requests, "requests left open are taken up again");
        }
        shared.nudge.dispatch.notify_one();
        shared.nudge.inbox.notify_one();
        shared.nudge.recheck.notify_one();
    }
    Ok(())
}

async fn settle(mut shared: Shared) {
    let nudge = shared.nudge.inbox.clone();
    let mut settling = Settling::new(shared.app.now());
    while !shared.stopping() {
        if shared.may_act() {
            match settling.turn(&shared).await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(e) => shared.fault("messages could not be settled; they are kept and tried again", &e).await,
            }
        }
        shared.rest(SETTLE_PERIOD, Some(&nudge)).await;
    }
}

/// Between the turns of settling: whether anything was settled since it was last looked whether a campaign has ended, and when that may
/// be looked at again.
pub(super) struct Settling {
    settled: bool,
    next_look: Time,
}

impl Settling {
    pub(super) fn new(now: Time) -> Settling {
        Settling { settled: false, next_look: now }
    }

    /// One turn. Gives whether messages were settled, so that more may wait.
    pub(super) async fn turn(&mut self, shared: &Shared) -> Outcome<bool> {
        if shared.app.settle_some(&shared.pinned.current()).await? > 0 {
            self.settled = true;
            return Ok(true);
        }
        let now = shared.app.now();
        if self.settled && now >= self.next_look {
            self.next_look = now.plus_millis(FINISH_PERIOD_MILLIS);
            shared.app.finish_campaigns().await?;
            self.settled = false;
        }
        Ok(false)
    }
}

/// What the decisions about the held rest on, as cheaply as it can be asked for.
#[derive(PartialEq, Eq)]
pub(super) struct Facts {
    estate_version: i64,
    /// Of the product lists alone: what waits to be sent is gone through only for these, and for the day.
    lists: i64,
    day: Day,
    /// The hash of the policies in force.
    policies: String,
    /// A campaign that ends frees the devices that others wait for.
    campaigns: Vec<(i64, CampaignState)>,
}

/// Decides again about the held when an import took effect, when a day began or the policies changed, when a campaign started or ended, and every so
/// often.
async fn recheck(mut shared: Shared) {
    let nudge = shared.nudge.recheck.clone();
    let mut seen: Option<Facts> = None;
    let mut next = shared.app.now();
    while !shared.stopping() {
        if shared.may_act() {
            match recheck_once(&shared, &mut seen, &mut next).await {
                Ok(released) if released > 0 => shared.nudge.dispatch.notify_one(),
                Ok(_) => {}
                Err(e) => shared.fault("the held could not be decided again", &e).await,
            }
        }
        shared.rest(FACTS_PERIOD, Some(&nudge)).await;
    }
}

/// One turn. `seen`: what the last decision rested on; `next`: when it is due again whatever changed.
pub(super) async fn recheck_once(shared: &Shared, seen: &mut Option<Facts>, next: &mut Time) -> Outcome<u64> {
    let now = shared.app.now();
    let mut tx = shared.app.db.read().await?;
    let facts = Facts {
        estate_version: estate::store::estate_version(&mut tx).await?,
        lists: estate::store::lists_version(&mut tx).await?.0,
        day: now.london_day(),
        policies: shared.app.policies()?.hash(),
        campaigns: campaign::store::once_started(&mut tx).await?,
    };
    drop(tx);
    if seen.as_ref() == Some(&facts) && now < *next {
        return Ok(0);
    }
    let same = |s: &Facts| (s.estate_version, s.day, &s.policies) == (facts.estate_version, facts.day, &facts.policies);
    let changed = !seen.as_ref().is_some_and(same);
    if seen.as_ref().is_none_or(|s| s.campaigns != facts.campaigns) {
        let cancelled = shared.app.complete_aborts().await?;
        if cancelled > 0 {
            tracing::info!(devices = cancelled, "an abort that was cut short is completed");
        }
    }
    if changed {
        shared.app.judge_started().await?;
        if seen.as_ref().is_none_or(|s| (s.lists, s.day) != (facts.lists, facts.day)) {
            let left = shared.app.recheck_unsent().await?;
            if left > 0 {
                tracing::warn!(members = left, "members that waited to be sent no longer pass");
            }
        }
        shared.app.reconcile_key_cases().await?;
        shared.app.watch_key_share(Look::Again).await?;
        shared.app.copy_case_facts().await?;
        shared.app.find_holders().await?;
        let changes = shared.app.mark_lost_supply().await?;
        if changes != SupplyChanges::default() {
            tracing::warn!(lost = changes.lost, regained = changes.regained, "devices that were sent changed hands");
        }
    }
    let mut joined = shared.app.take_in_top_ups(None).await?;
    if changed {
        joined += u64::try_from(shared.app.top_up_by_policy().await?).unwrap_or(0);
    }
    let done = shared.app.recheck_held().await?;
    *seen = Some(facts);
    *next = now.plus_millis(shared.app.policies()?.eligibility.recheck_every.millis());
    if done.changed > 0 {
        tracing::info!(members = done.members, released = done.released, "held members were decided again");
    }
    if joined > 0 {
        tracing::info!(sites = joined, "sites joined by top-ups");
    }
    Ok(done.released + joined)
}

async fn watch_silence(mut shared: Shared) {
    let mut period = Duration::from_millis(*SILENCE_PERIOD_MILLIS.start() as u64);
    while !shared.stopping() {
        if shared.may_act() {
            match watch_once(&shared).await {
                Ok(p) => period = p,
                Err(e) => shared.fault("silence could not be looked for", &e).await,
            }
        }
        shared.rest(period, None).await;
    }
}

/// One turn. Gives how long until the next.
pub(super) async fn watch_once(shared: &Shared) -> Outcome<Duration> {
    let given_up = shared.app.end_reads().await?;
    if given_up > 0 {
        tracing::warn!(devices = given_up, "their version could not be read; they stay as they are");
    }
    let silent = shared.app.follow_silence().await?;
    if silent.expired > 0 {
        tracing::warn!(devices = silent.expired, "no news within the time allowed");
    }
    if silent.asked + silent.queued > 0 {
        tracing::info!(asked = silent.asked, queued = silent.queued, "silent devices are asked, or sent again");
    }
    shared.app.finish_campaigns().await?;
    let policies = shared.app.policies()?;
    let stated = policies.steps.shortest().map_or(i64::MAX, |period| period.millis());
    let allowed = policies.eligibility.answer_within.millis().min(stated);
    let period = (allowed / SILENCE_CHECKS).clamp(*SILENCE_PERIOD_MILLIS.start(), *SILENCE_PERIOD_MILLIS.end());
    Ok(Duration::from_millis(period as u64))
}
