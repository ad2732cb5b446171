//! What the simulated DCC has been asked and owes: devices taken, and the queue of messages still to be sent.
//! No I/O and no clock: time comes in as milliseconds since the simulator started. Promise: what becomes of a device
//! depends on the scenario, its id and the request, never on the order or the speed of things.

mod beside;
mod letters;
mod messages;
mod owed;
mod smets2;
mod submit;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
};

use serde::Serialize;

use super::{
    codes::Code,
    dice::{Dice, turn},
    inventory::SiteView,
    population::Population,
    queue::{Delivery, Kind},
    scenario::{Scenario, When},
    users::{Registrations, Standing, Users},
    work::{What, Work},
};
use crate::{
    clock::Day,
    duis::{Content, RequestKind, UpdateFirmwareWarning},
    ids::{DeviceId, RequestId, UserId},
};
pub use letters::Letter;
pub use messages::{KINDS, Moment};

/// Milliseconds since the simulator started.
pub type Millis = u64;

/// What became of a device in the last request that took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    InProgress,
    Activated,
    /// Named in the 11.1 response that warns.
    Dropped,
    KeyMissing,
    Failed,
    /// Failed without a word.
    Silent,
}

/// An 11.1 or 11.4 that was answered I99.
#[derive(Debug)]
pub struct AcceptedRequest {
    pub id: RequestId,
    pub kind: RequestKind,
    pub schema_version: String,
    pub firmware_version: String,
    pub warning: UpdateFirmwareWarning,
    /// Named in a `FirmwareDistributionFailure`.
    pub not_distributed: Vec<DeviceId>,
}

/// The last submission of a device.
#[derive(Debug, Clone, Copy)]
struct Submission {
    /// Index into `accepted`.
    request: u32,
    outcome: Outcome,
    /// When the outcome is a fact and the supplier was told, had nothing been lost; before it the device is in progress.
    settled: Millis,
    /// Named in two requests, neither of which had failed it.
    doubled: bool,
    /// The request whose firmware it ran before this one.
    ran_before: Option<u32>,
}

/// Counters of the world; those of the wire are in `Stats`.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub duplicate_submissions: usize,
    pub lost: usize,
    pub duplicated: usize,
    pub reordered: usize,
    pub withheld: usize,
}

/// What the reply on the request's own connection says.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    pub code: Code,
    pub content: Content,
}

impl Reply {
    pub fn of(code: Code) -> Reply {
        Reply { code, content: Content::None }
    }
}

pub struct World {
    scenario: Scenario,
    users: Users,
    registrations: Registrations,
    dcc_id: UserId,
    dice: Dice,
    population: Population,
    accepted: Vec<AcceptedRequest>,
    letters: Vec<Letter>,
    submissions: HashMap<DeviceId, Submission>,
    queue: BinaryHeap<Reverse<Delivery>>,
    next_serial: u32,
    /// When the last outcome is settled.
    horizon: Millis,
    pub tally: Tally,
}

impl World {
    pub fn new(scenario: Scenario, population: Population, registrations: Registrations, dcc_id: UserId) -> World {
        World {
            dice: scenario.dice(),
            users: Users::new(&scenario),
            scenario,
            registrations,
            dcc_id,
            population,
            accepted: Vec::new(),
            letters: Vec::new(),
            submissions: HashMap::new(),
            queue: BinaryHeap::new(),
            next_serial: 0,
            horizon: 0,
            tally: Tally::default(),
        }
    }

    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    pub fn users(&self) -> &Users {
        &self.users
    }

    pub fn population(&self) -> &Population {
        &self.population
    }

    /// Whether the device is one of this user's on this day.
    pub fn is_held(&self, device: DeviceId, standing: &Standing, day: Day) -> bool {
        let mpan = self.population.facts(device).and_then(|facts| facts.mpan);
        self.registrations.is_held(device, mpan, &standing.mpids, day)
    }

    pub fn request(&self, index: u32) -> &AcceptedRequest {
        &self.accepted[index as usize]
    }

    /// Does what a request asks for. `reply` is whether the requester waits on its connection: after a quarantine nobody does.
    pub fn perform(&mut self, work: &Work, at: Millis, replies: bool) -> Reply {
        match &work.what {
            What::ReadInventory { device } => {
                let ppmid = self.population.ppmid_of(*device);
                let inventory = Content::Inventory(self.site(ppmid, at).devices());
                let waits = replies && self.scenario.answers.inventory == When::AtOnce;
                if waits && !self.is_withheld("DSPInventory", work.id.originator) {
                    return Reply { code: Code::Done, content: inventory };
                }
                self.answer_inventory(work, inventory, at);
                Reply::of(Code::Accepted)
            }
            What::ReadFirmwareVersion => {
                self.answer_read(work, at);
                Reply::of(Code::Accepted)
            }
            What::Update { .. } => {
                let index = self.accept(work, at);
                let warning = self.request(index).warning.clone();
                let waits = replies && self.scenario.answers.warnings == When::AtOnce;
                match warning == UpdateFirmwareWarning::default() {
                    true => Reply::of(Code::Accepted),
                    false if waits && !self.is_withheld(Kind::Warning.element_of(work.kind()), work.id.originator) => {
                        Reply { code: messages::warning_code(work.kind()), content: Content::UpdateFirmwareWarning(warning) }
                    }
                    false => {
                        let due = at + u64::from(self.scenario.delays.warning_ms);
                        self.send(Kind::Warning, DeviceId::from_db(0), index, due);
                        Reply::of(Code::Accepted)
                    }
                }
            }
        }
    }

    /// What there is to say of a PPMID and its site now.
    pub fn site(&self, device: DeviceId, at: Millis) -> SiteView<'_> {
        SiteView {
            dice: self.dice,
            rules: &self.scenario.inventory,
            device,
            condition: self.population.condition(device),
            generation: self.population.generation(device),
            facts: self.population.facts(device),
            upgraded_to: self.upgraded_to(device, at),
        }
    }

    /// The version that the last successful upgrade brought.
    fn upgraded_to(&self, device: DeviceId, at: Millis) -> Option<&str> {
        let last = self.submissions.get(&device)?;
        Some(&self.request(last.runs(at)?).firmware_version)
    }

    /// What chance is asked about: this device in this request.
    fn subject(&self, device: DeviceId, request: u32) -> u64 {
        device.0 ^ turn(self.request(request).id.counter)
    }

    fn between(&self, [low, high]: [u32; 2], word: &str, subject: u64) -> Millis {
        self.dice.between(u64::from(low), u64::from(high), word, subject)
    }

    /// When the last outcome is settled: one that fails in silence leaves no message in the queue.
    pub fn horizon(&self) -> Millis {
        self.horizon
    }

    /// Runs the transitional tool again for every device whose key is missing, of those listed and those seen in a
    /// request. Gives each with whether its key came; from then on DCC holds it.
    pub fn rerun_transitional_tool(&mut self) -> Vec<(DeviceId, bool)> {
        self.population.rerun_transitional_tool(self.submissions.keys().copied())
    }

    /// What became of a device, if a request took it.
    pub fn outcome(&self, device: DeviceId, at: Millis) -> Option<Outcome> {
        self.submissions.get(&device).map(|s| s.outcome_at(at))
    }

    /// How many devices have which outcome: a scan.
    pub fn outcomes(&self, at: Millis) -> BTreeMap<Outcome, usize> {
        let mut counts = BTreeMap::new();
        for submission in self.submissions.values() {
            *counts.entry(submission.outcome_at(at)).or_default() += 1;
        }
        counts
    }

    pub fn keys_that_came(&self) -> usize {
        self.population.keys_that_came()
    }

    pub fn devices_submitted(&self) -> usize {
        self.submissions.len()
    }
}

impl Submission {
    fn outcome_at(&self, at: Millis) -> Outcome {
        if at < self.settled { Outcome::InProgress } else { self.outcome }
    }

    /// The request whose firmware the device runs.
    fn runs(&self, at: Millis) -> Option<u32> {
        if self.outcome_at(at) == Outcome::Activated { Some(self.request) } else { self.ran_before }
    }
}
