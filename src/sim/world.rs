//! What the simulated DCC has been asked and owes: requests seen, devices taken, and the queue of messages still to be sent.
//! No I/O and no clock: time comes in as milliseconds since the simulator started. Promise: what becomes of a device
//! depends on the scenario, its id and the request, never on the order or the speed of things.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
};

use serde::Serialize;

use super::{
    dice::{Dice, turn},
    population::{Condition, Population},
    queue::{Delivery, Kind},
    scenario::Scenario,
};
use crate::{
    duis::UpdateFirmwareWarning,
    ids::{DeviceId, RequestId, Sha256Hash},
};

/// Milliseconds since the simulator started.
pub type Millis = u64;

/// A second copy of a message follows the first within this time.
const DUPLICATE_WITHIN_MS: u64 = 200;

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

/// An 11.1 that was answered I99.
#[derive(Debug)]
pub struct AcceptedRequest {
    pub id: RequestId,
    pub schema_version: String,
    pub firmware_version: String,
    pub warning: UpdateFirmwareWarning,
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
}

/// Counters of the world; those of the wire are in `Stats`.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub duplicate_submissions: usize,
    pub lost: usize,
    pub duplicated: usize,
    pub reordered: usize,
}

pub struct World {
    scenario: Scenario,
    dice: Dice,
    population: Population,
    requests: HashMap<RequestId, Sha256Hash>,
    accepted: Vec<AcceptedRequest>,
    submissions: HashMap<DeviceId, Submission>,
    queue: BinaryHeap<Reverse<Delivery>>,
    next_serial: u32,
    /// When the last outcome is settled.
    horizon: Millis,
    pub tally: Tally,
}

impl World {
    pub fn new(scenario: Scenario, population: Population) -> World {
        World {
            dice: scenario.dice(),
            scenario,
            population,
            requests: HashMap::new(),
            accepted: Vec::new(),
            submissions: HashMap::new(),
            queue: BinaryHeap::new(),
            next_serial: 0,
            horizon: 0,
            tally: Tally::default(),
        }
    }

    /// Whether a request with this id was accepted before, whatever it said.
    pub fn has_seen(&self, id: &RequestId) -> bool {
        self.requests.contains_key(id)
    }

    pub fn request(&self, index: u32) -> &AcceptedRequest {
        &self.accepted[index as usize]
    }

    /// Takes an 11.1 in: decides for each device and queues what will be said of it. The id must not have been seen.
    pub fn accept(&mut self, request: AcceptedRequest, digest: Sha256Hash, devices: &[DeviceId], at: Millis) {
        let before = self.requests.insert(request.id, digest);
        assert!(before.is_none(), "a RequestID is accepted once");
        let index = u32::try_from(self.accepted.len()).expect("fewer than 2^32 requests");
        self.accepted.push(request);
        let mut warning = UpdateFirmwareWarning::default();
        for device in devices {
            self.submit(*device, index, at, &mut warning);
        }
        if warning != UpdateFirmwareWarning::default() {
            self.accepted[index as usize].warning = warning;
            let due = at + u64::from(self.scenario.delays.warning_ms);
            self.send(Kind::Warning, DeviceId::from_db(0), index, due);
        }
    }

    fn submit(&mut self, device: DeviceId, index: u32, at: Millis, warning: &mut UpdateFirmwareWarning) {
        let before = self.submissions.get(&device).copied();
        if before.is_some_and(|b| b.request == index) {
            // Listed twice in one request: once is enough.
            return;
        }
        let running = before.is_some_and(|b| at < b.settled);
        if let Some(before) = before {
            let at_version = before.outcome == Outcome::Activated
                && self.request(before.request).firmware_version == self.request(index).firmware_version;
            if (running || at_version) && !before.doubled {
                self.tally.duplicate_submissions += 1;
                self.submissions.insert(device, Submission { doubled: true, ..before });
            }
        }
        let condition = self.population.condition(device);
        let list = match condition {
            Condition::Unknown => &mut warning.invalid,
            Condition::NotCommissioned => &mut warning.not_commissioned,
            Condition::NotApplicable => &mut warning.not_applicable_firmware,
            Condition::Busy => &mut warning.other_request_in_progress,
            _ if running => &mut warning.other_request_in_progress,
            _ => {
                let (outcome, settled) = self.plan(device, condition, index, at);
                self.record(device, index, outcome, settled);
                return;
            }
        };
        list.push(device);
        if !running {
            let told = at + u64::from(self.scenario.delays.warning_ms);
            self.record(device, index, Outcome::Dropped, told);
        }
    }

    fn record(&mut self, device: DeviceId, request: u32, outcome: Outcome, settled: Millis) {
        let doubled = self.submissions.get(&device).is_some_and(|b| b.doubled);
        self.horizon = self.horizon.max(settled);
        self.submissions.insert(device, Submission { request, outcome, settled, doubled });
    }

    /// Queues the alerts of one device that goes on; gives what will become of it, and when.
    fn plan(&mut self, device: DeviceId, condition: Condition, index: u32, at: Millis) -> (Outcome, Millis) {
        let dice = self.dice;
        let subject = self.subject(device, index);
        let span = |[low, high]: [u32; 2], word: &str| dice.between(u64::from(low), u64::from(high), word, subject);
        if let Condition::KeyMissing { .. } = condition {
            let due = at + span(self.scenario.delays.key_missing_ms, "key missing after");
            self.alert(Kind::KeyMissing, device, index, due);
            return (Outcome::KeyMissing, due);
        }
        let mut requested = at + span(self.scenario.delays.update_requested_ms, "requested after");
        let settled = requested + span(self.scenario.delays.activated_ms, "activated after");
        let mut last = settled;
        let (outcome, end) = match condition {
            Condition::ActivationFails => (Outcome::Failed, Some(Kind::ActivationFailed)),
            Condition::Silent => (Outcome::Silent, None),
            _ => (Outcome::Activated, Some(Kind::Activated)),
        };
        if end.is_some() && dice.hits(self.scenario.deliveries.reordered, "reordered", subject) {
            self.tally.reordered += 1;
            (requested, last) = (last, requested);
        }
        self.alert(Kind::UpdateRequested, device, index, requested);
        if let Some(kind) = end {
            self.alert(kind, device, index, last);
        }
        (outcome, settled)
    }

    /// Queues an alert unless the scenario loses it.
    fn alert(&mut self, kind: Kind, device: DeviceId, index: u32, due: Millis) {
        if self.dice.hits(self.scenario.deliveries.lost, kind.word(), self.subject(device, index)) {
            self.tally.lost += 1;
        } else {
            self.send(kind, device, index, due);
        }
    }

    /// Queues a message, and its double where the scenario says so.
    fn send(&mut self, kind: Kind, device: DeviceId, request: u32, due: Millis) {
        let delivery = Delivery { due, device, serial: self.next_serial, request, waited_ms: 0, attempts: 0, kind };
        self.next_serial = self.next_serial.checked_add(1).expect("fewer than 2^32 messages");
        self.queue.push(Reverse(delivery));
        let subject = self.subject(device, request);
        // The word differs from the one that decides on loss.
        if self.dice.hits(self.scenario.deliveries.duplicated, kind.element(), subject) {
            self.tally.duplicated += 1;
            let later = self.dice.between(0, DUPLICATE_WITHIN_MS, "duplicate after", subject);
            self.queue.push(Reverse(Delivery { due: due + later, ..delivery }));
        }
    }

    /// What chance is asked about: this device in this request.
    fn subject(&self, device: DeviceId, request: u32) -> u64 {
        device.0 ^ turn(self.request(request).id.counter)
    }

    /// Takes the next message that is due.
    pub fn take_due(&mut self, now: Millis) -> Option<Delivery> {
        match self.queue.peek() {
            Some(Reverse(next)) if next.due <= now => self.queue.pop().map(|Reverse(delivery)| delivery),
            _ => None,
        }
    }

    /// When the next message is due.
    pub fn next_due(&self) -> Option<Millis> {
        self.queue.peek().map(|Reverse(next)| next.due)
    }

    /// When the last outcome is settled: one that fails in silence leaves no message in the queue.
    pub fn horizon(&self) -> Millis {
        self.horizon
    }

    /// Puts a message back that could not be delivered.
    pub fn put_back(&mut self, delivery: Delivery) {
        self.queue.push(Reverse(delivery));
    }

    pub fn pending(&self) -> usize {
        self.queue.len()
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
}
