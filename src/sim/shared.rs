//! What the parts of a running simulator share: its state behind one lock, its identity, and the nudges between its tasks.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, RwLock},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::{
    dice::Dice,
    ledger::Ledger,
    orders::{Order, OrderError},
    quarantine::{EventError, Quarantine},
    scenario::{Delays, Faults},
    stats::{DeliveryStats, RequestStats, Stats},
    world::{Millis, World},
};
use crate::{
    clock::{Clock, Time},
    duis::{CertificateSet, DuisVersion, Signer},
    ids::UserId,
    tls::ClientConfig,
};

/// ResponseIDs of one simulator follow each other; those of one started a millisecond later begin this much higher.
const RESPONSE_IDS_PER_MS: u64 = 1_000_000;

pub struct Shared {
    state: Mutex<State>,
    pub signer: Arc<dyn Signer>,
    /// Of the SMETS1 service providers: what they say inside is signed by this.
    pub provider: Arc<dyn Signer>,
    /// The certificates of each user: one user's key never signs for another.
    pub users: BTreeMap<UserId, CertificateSet>,
    pub dcc_id: UserId,
    pub clock: Clock,
    pub faults: Faults,
    pub delays: Delays,
    pub dice: Dice,
    /// The `schemaVersion` of answers to what has none.
    pub speaks: DuisVersion,
    pub connections: usize,
    /// For a receiver at an https address.
    pub client_tls: Option<Arc<ClientConfig>>,
    pub deliver_to: RwLock<hyper::Uri>,
    /// The queue changed: the dispatcher should look.
    pub nudge: Notify,
    /// Something was finished: whoever waits for idleness should look.
    pub finished: Notify,
    started: Instant,
    started_at: Time,
}

pub struct State {
    pub world: World,
    pub ledger: Ledger,
    pub quarantine: Quarantine,
    pub requests: RequestStats,
    pub deliveries: DeliveryStats,
    /// Posts seen of each RequestID claimed: so that a fault need not strike a resend too.
    pub posts: std::collections::HashMap<u64, u64>,
    /// Requests being answered.
    pub handling: usize,
    /// Messages on their way to the receiver.
    pub in_flight: usize,
}

pub struct Identity {
    pub signer: Arc<dyn Signer>,
    pub provider: Arc<dyn Signer>,
    pub users: BTreeMap<UserId, CertificateSet>,
    pub dcc_id: UserId,
    pub deliver_to: hyper::Uri,
    pub client_tls: Option<Arc<ClientConfig>>,
}

impl Shared {
    pub fn new(scenario: &super::Scenario, world: World, identity: Identity, clock: Clock) -> Shared {
        let state = State {
            world,
            ledger: Ledger::default(),
            quarantine: Quarantine::new(scenario),
            requests: RequestStats::default(),
            deliveries: DeliveryStats::default(),
            posts: Default::default(),
            handling: 0,
            in_flight: 0,
        };
        Shared {
            state: Mutex::new(state),
            signer: identity.signer,
            provider: identity.provider,
            users: identity.users,
            dcc_id: identity.dcc_id,
            faults: scenario.faults.clone(),
            delays: scenario.delays.clone(),
            dice: scenario.dice(),
            speaks: scenario.answers.speaks,
            client_tls: identity.client_tls,
            connections: scenario.deliveries.connections,
            deliver_to: RwLock::new(identity.deliver_to),
            nudge: Notify::new(),
            finished: Notify::new(),
            started: Instant::now(),
            started_at: clock.now(),
            clock,
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no task panics while it holds the simulator's state")
    }

    pub fn now(&self) -> Millis {
        u64::try_from(self.started.elapsed().as_millis()).expect("simulators do not run for 500 million years")
    }

    pub fn instant(&self, at: Millis) -> Instant {
        self.started + Duration::from_millis(at)
    }

    /// The date and time that a message made at `made` carries. A manual clock stands still between its moves.
    pub fn time(&self, made: Millis) -> Time {
        match &self.clock {
            Clock::System => self.started_at.plus_millis(i64::try_from(made).unwrap_or(i64::MAX)),
            manual => manual.now(),
        }
    }

    pub fn first_response_counter(&self) -> u64 {
        u64::try_from(self.started_at.0).unwrap_or(0) * RESPONSE_IDS_PER_MS
    }

    /// Queues an alert that was ordered; from now on it is owed.
    pub fn order(&self, order: &Order) -> Result<(), OrderError> {
        let now = self.now();
        let first_user = *self.users.keys().next().expect("a simulator without users does not start");
        self.lock().world.order(order, first_user, self.time(now), now)?;
        self.nudge.notify_one();
        Ok(())
    }

    /// What the files outside DUIS would say of a quarantined request: it goes on now, or it never was.
    pub fn end_quarantine(&self, reference: u64, process: bool) -> Result<(), EventError> {
        let now = self.now();
        let mut state = self.lock();
        if process {
            let work = state.quarantine.process(reference)?;
            state.world.perform(&work, now, false);
        } else {
            state.quarantine.delete(reference)?;
        }
        drop(state);
        self.nudge.notify_one();
        Ok(())
    }

    pub fn stats(&self) -> Stats {
        let now = self.now();
        let state = self.lock();
        let tally = &state.world.tally;
        Stats {
            requests: state.requests.clone(),
            quarantine_held: state.quarantine.held(),
            devices_submitted: state.world.devices_submitted(),
            duplicate_submissions: tally.duplicate_submissions,
            outcomes: state.world.outcomes(now),
            deliveries: DeliveryStats {
                pending: state.world.pending() + state.in_flight,
                lost: tally.lost,
                duplicated: tally.duplicated,
                reordered: tally.reordered,
                withheld: tally.withheld,
                ..state.deliveries.clone()
            },
            keys_that_came: state.world.keys_that_came(),
        }
    }

    /// Nothing is being answered, no message is owed, and every outcome is settled.
    pub fn idle(&self) -> bool {
        let now = self.now();
        let state = self.lock();
        state.nothing_owed() && state.world.horizon() <= now
    }

    /// Waits for [`Shared::idle`].
    pub async fn until_idle(&self) {
        loop {
            let finished = self.finished.notified();
            tokio::pin!(finished);
            finished.as_mut().enable();
            let horizon = {
                let state = self.lock();
                state.nothing_owed().then(|| state.world.horizon())
            };
            match horizon {
                Some(at) if at <= self.now() => return,
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(self.instant(at)) => {}
                    () = finished => {}
                },
                None => finished.await,
            }
        }
    }
}

impl State {
    fn nothing_owed(&self) -> bool {
        self.handling == 0 && self.in_flight == 0 && self.world.pending() == 0
    }
}
