//! The queue of messages that DCC owes: each numbered once, some lost, some doubled, some withheld, and taken when due.

use std::cmp::Reverse;

use super::{Delivery, Kind, Millis, World};
use crate::{
    duis::DuisVersion,
    ids::{DeviceId, UserId},
};

/// A second copy of a message follows the first within this time.
const DUPLICATE_WITHIN_MS: u64 = 200;

impl World {
    /// Queues an alert unless the scenario loses it.
    pub(super) fn alert(&mut self, kind: Kind, device: DeviceId, index: u32, due: Millis) {
        if self.dice.hits(self.scenario.deliveries.lost, kind.word(), self.subject(device, index)) {
            self.tally.lost += 1;
        } else {
            self.send(kind, device, index, due);
        }
    }

    /// Queues a message about a request, and its double where the scenario says so.
    pub(super) fn send(&mut self, kind: Kind, device: DeviceId, request: u32, due: Millis) {
        let of = self.request(request);
        let withheld = self.is_withheld(kind.element_of(of.kind), of.id.originator);
        let subject = self.subject(device, request);
        self.queue_up(Delivery::new(kind, device, request, due, withheld), kind.element(), subject);
    }

    /// `element`: the word that decides on a double differs from the one that decides on loss.
    pub(super) fn queue_up(&mut self, delivery: Delivery, element: &str, subject: u64) {
        let delivery = self.numbered(delivery);
        self.queue.push(Reverse(delivery));
        if self.dice.hits(self.scenario.deliveries.duplicated, element, subject) {
            self.tally.duplicated += 1;
            let later = self.dice.between(0, DUPLICATE_WITHIN_MS, "duplicate after", subject);
            self.queue.push(Reverse(Delivery { due: delivery.due + later, ..delivery }));
        }
    }

    /// Gives a message its serial: its ResponseID.
    pub(super) fn numbered(&mut self, delivery: Delivery) -> Delivery {
        let serial = self.next_serial;
        self.next_serial = serial.checked_add(1).expect("fewer than 2^32 messages");
        self.tally.withheld += usize::from(delivery.withheld);
        Delivery { serial, ..delivery }
    }

    /// Whether the user's DUIS version is too old for a message of this element.
    pub(super) fn is_withheld(&self, element: &str, user: UserId) -> bool {
        let needs: Option<DuisVersion> = self.scenario.needs_version.get(element).and_then(|version| version.parse().ok());
        let speaks = self.users.standing(user).and_then(|standing| standing.duis_version);
        needs.zip(speaks).is_some_and(|(needs, speaks)| speaks < needs)
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

    /// Puts a message back that could not be delivered.
    pub fn put_back(&mut self, delivery: Delivery) {
        self.queue.push(Reverse(delivery));
    }

    pub fn pending(&self) -> usize {
        self.queue.len()
    }
}
