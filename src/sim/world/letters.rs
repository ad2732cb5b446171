//! Messages that are not of the plain course of an upgrade, each kept as it will be said: inventories that come later, devices'
//! answers, quarantine alerts, and alerts that were ordered. An alert about a device's standing changes it.

use super::{
    Kind, Millis, World,
    messages::{Header, kind_of},
};
use crate::{
    clock::Time,
    duis::{
        Alert, Body, Breach, ChangeOfSupplier, Content, DeviceStatusChange, RequestKind, Smets1Content, Smets1Response, Throttled,
    },
    ids::{DeviceId, RequestId, UserId},
    sim::{
        codes::{self, Code},
        dice::turn,
        orders::{Order, OrderError},
        population::{Condition, Generation, Reading},
        queue::Delivery,
        work::Work,
    },
};

/// 8 bytes each, of a made-up GBCS payload: nobody here reads one.
const GBCS_PAYLOAD_WORDS: u64 = 8;

/// A message as it will be said.
#[derive(Debug, Clone)]
pub struct Letter {
    pub from: UserId,
    pub to: UserId,
    pub header: Header,
    pub code: Code,
    pub schema_version: String,
    pub body: Body,
}

impl World {
    pub(super) fn letter(&self, index: u32) -> &Letter {
        &self.letters[index as usize]
    }

    /// Queues a letter about `device`; an alert may be lost. `subject` is what chance is asked about.
    pub(super) fn post(&mut self, letter: Letter, device: DeviceId, due: Millis, subject: u64) {
        let element = kind_of(&letter.body).to_string();
        let is_alert = matches!(letter.body, Body::Alert { .. } | Body::DeviceAlert { .. });
        if is_alert && self.dice.hits(self.scenario.deliveries.lost, &format!("{element} lost"), subject) {
            self.tally.lost += 1;
            return;
        }
        let delivery = self.enclosed(letter, &element, device, due);
        self.queue_up(delivery, &element, subject);
    }

    fn enclosed(&mut self, letter: Letter, element: &str, device: DeviceId, due: Millis) -> Delivery {
        let withheld = self.is_withheld(element, letter.to);
        let index = u32::try_from(self.letters.len()).expect("fewer than 2^32 letters");
        self.letters.push(letter);
        Delivery::new(Kind::Letter, device, index, due, withheld)
    }

    pub(super) fn answer_inventory(&mut self, work: &Work, inventory: Content, at: Millis) {
        let subject = turn(work.id.counter);
        let due = at + self.between(self.scenario.delays.inventory_ms, "inventory after", subject);
        let letter = self.answer(work, Code::Done, message(work, inventory));
        self.post(letter, DeviceId::from_db(0), due, subject);
    }

    /// What a device answers to 11.2, or DCC in its place.
    pub(super) fn answer_read(&mut self, work: &Work, at: Millis) {
        let device = work.id.target;
        let subject = device.0 ^ turn(work.id.counter);
        let due = at + self.between(self.scenario.delays.read_ms, "read after", subject);
        let reading = self.population.reading(device);
        let (code, body) = match reading {
            Reading::Silent => return,
            Reading::Unreachable => (Code::NoCommunication, message(work, Content::None)),
            Reading::NoAnswer => (Code::NoAnswer, message(work, Content::None)),
            Reading::Answers | Reading::Fails => match self.population.generation(device) {
                Generation::Smets2 => (Code::Done, message(work, Content::GbcsPayload(self.gbcs_payload(subject)))),
                Generation::Smets1 => {
                    let success = reading == Reading::Answers;
                    let firmware_version = success.then(|| self.site(device, due).firmware_version());
                    let content = Smets1Content::FirmwareVersion { success: Some(success), firmware_version };
                    (Code::Done, Body::Smets1(smets1_response(work, content)))
                }
            },
        };
        let letter = self.answer(work, code, body);
        self.post(letter, device, due, subject);
    }

    /// Tells the user that a request is held back.
    pub fn tell_of_quarantine(&mut self, work: &Work, breach: Breach, reference: u64, at: Millis) {
        let quarantine_event_ref = reference.to_string();
        let alert = Alert::QuarantinedRequest { request_id: work.id, quarantine_event_ref, breach };
        let subject = turn(work.id.counter);
        let due = at + self.between(self.scenario.delays.quarantine_ms, "quarantined after", subject);
        let letter = Letter { header: Header::Both(work.id), ..self.answer(work, Code::Done, codes::alert_body(alert)) };
        self.post(letter, DeviceId::from_db(0), due, subject);
    }

    /// Queues an alert that was ordered: not lost, not doubled but as often as ordered.
    pub fn order(&mut self, order: &Order, first_user: UserId, now: Time, at: Millis) -> Result<(), OrderError> {
        let to = order.user.unwrap_or(first_user);
        let body = order.body(now, to)?;
        let header = order.request_id.map_or(Header::Response, Header::Both);
        let schema_version = self.spoken_to(to);
        let letter = Letter { from: self.dcc_id, to, header, code: Code::Done, schema_version, body };
        self.take_effect(&letter.body);
        let element = kind_of(&letter.body).to_string();
        let device = order.device_id.unwrap_or(DeviceId::from_db(0));
        let delivery = self.enclosed(letter, &element, device, at + u64::from(order.after_ms));
        let delivery = self.numbered(delivery);
        (0..order.copies()).for_each(|_| self.put_back(delivery));
        Ok(())
    }

    /// What DCC says of a device's standing is so from when it is decided.
    pub(super) fn take_effect(&mut self, body: &Body) {
        use DeviceStatusChange as C;
        let Body::Alert { alert, .. } = body else { return };
        match alert {
            Alert::DeviceStatusChange { device, change } => {
                let condition = match change {
                    C::DeviceSuspended => Condition::Suspended,
                    C::DeviceRemovedFromInventory | C::ChfDecommissioning | C::MeterDecommissioningOrWithdrawal { .. } => {
                        Condition::Decommissioned
                    }
                    C::DeviceRestored
                    | C::RecoveryComplete
                    | C::RecoveryCompleteAcbCredentials { .. }
                    | C::MeterIdentity { .. }
                    | C::Other(_) => Condition::Ready,
                };
                self.population.change(*device, condition);
            }
            Alert::PpmidRemoval { device, .. } => self.population.change(*device, Condition::Decommissioned),
            Alert::ChangeOfSupplier(ChangeOfSupplier::Device { device, .. }) => self.registrations.lose(*device),
            Alert::ChangeOfSupplier(ChangeOfSupplier::Request { .. })
            | Alert::Smets1FirmwareNotification { .. }
            | Alert::S1spAlert { .. }
            | Alert::PpmidFirmwareUpgrade { .. }
            | Alert::Ppmid { .. }
            | Alert::FirmwareDistributionFailure { .. }
            | Alert::CspFirmwareDeliveryStatus { .. }
            | Alert::CommsHub { .. }
            | Alert::FirmwareTransfer { .. }
            | Alert::FirmwareVersionMismatch { .. }
            | Alert::QuarantinedRequest { .. }
            | Alert::DuisVersionMismatch { .. }
            | Alert::CommandFailure { .. }
            | Alert::FirmwareUpgradeRequested { .. }
            | Alert::Other(_) => {}
        }
    }

    pub(super) fn gbcs_payload(&self, subject: u64) -> Vec<u8> {
        (0..GBCS_PAYLOAD_WORDS).flat_map(|n| self.dice.bits("GBCS payload", subject ^ turn(n)).to_be_bytes()).collect()
    }

    /// The `schemaVersion` of a message that answers nothing.
    pub(super) fn spoken_to(&self, user: UserId) -> String {
        let own = self.users.standing(user).and_then(|standing| standing.duis_version);
        own.unwrap_or(self.scenario.answers.speaks).to_string()
    }

    /// A letter that answers a request: under its RequestID; a device's answer has a ResponseID beside it.
    fn answer(&self, work: &Work, code: Code, body: Body) -> Letter {
        let header = match work.kind() {
            RequestKind::ReadFirmwareVersion => Header::Both(work.id),
            RequestKind::ReadInventory | RequestKind::UpdateFirmware | RequestKind::UpdatePpmidFirmware => {
                Header::Request(work.id)
            }
        };
        let schema_version = work.schema_version.clone();
        Letter { from: self.dcc_id, to: work.id.originator, header, code, schema_version, body }
    }
}

fn message(work: &Work, content: Content) -> Body {
    let reference = work.kind().service_reference().to_string();
    Body::Message { service_reference: reference.clone(), service_reference_variant: reference, content }
}

fn smets1_response(work: &Work, content: Smets1Content) -> Smets1Response {
    let RequestId { originator, target, counter } = work.id;
    let reference = work.kind().service_reference().to_string();
    Smets1Response {
        service_reference: Some(reference.clone()),
        service_reference_variant: Some(reference),
        throttled: Throttled::default(),
        device: target,
        target: originator,
        counter,
        content,
    }
}
