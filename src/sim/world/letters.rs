//! Messages that are not of the plain course of an upgrade, each kept as it will be said: inventories that come later, devices'
//! answers, quarantine alerts, alerts that chance adds and alerts that were ordered. An alert about a device's standing changes it.

use super::{Kind, Millis, World, messages::Header};
use crate::{
    clock::Time,
    duis::{Alert, Body, Content, RequestKind, Smets1Content, Smets1Response},
    ids::{DeviceId, RequestId, UserId},
    sim::{
        codes::{self, Code},
        dice::turn,
        orders::{Order, OrderError},
        population::{Condition, Generation, Reading},
        quarantine::Breach,
        queue::Delivery,
        work::Work,
    },
};

/// Bytes of a made-up GBCS payload: nobody here reads one.
const GBCS_PAYLOAD_WORDS: u64 = 8;
/// For how many an alert of a throttled kind stands, at most.
const THROTTLED_AT_MOST: u64 = 500;

/// A message as it will be said.
#[derive(Debug, Clone)]
pub struct Letter {
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
    fn post(&mut self, letter: Letter, device: DeviceId, due: Millis, subject: u64) {
        let element = super::messages::kind_of(&letter.body).to_string();
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
        self.post(answer(work, Code::Done, message(work, inventory)), DeviceId::from_db(0), due, subject);
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
        self.horizon = self.horizon.max(due);
        self.post(answer(work, code, body), device, due, subject);
    }

    /// Tells the user that a request is held back.
    pub fn tell_of_quarantine(&mut self, work: &Work, breach: Breach, reference: u64, at: Millis) {
        let alert = Alert::QuarantinedRequest {
            request_id: work.id,
            quarantine_event_ref: reference.to_string(),
            breach: breach.element().to_string(),
        };
        let subject = turn(work.id.counter);
        let due = at + self.between(self.scenario.delays.quarantine_ms, "quarantined after", subject);
        let header = Header::Both(work.id);
        let letter = Letter { header, ..answer(work, Code::Done, alert_body(alert, None)) };
        self.post(letter, DeviceId::from_db(0), due, subject);
    }

    /// Queues an alert that was ordered: not lost, not doubled but as often as ordered.
    pub fn order(&mut self, order: &Order, first_user: UserId, now: Time, at: Millis) -> Result<(), OrderError> {
        let to = order.user.unwrap_or(first_user);
        let body = order.body(now, to)?;
        let header = order.request_id.map_or(Header::Response, Header::Both);
        let letter = Letter { to, header, code: Code::Done, schema_version: self.spoken_to(to), body };
        self.take_effect(&letter.body);
        let element = super::messages::kind_of(&letter.body).to_string();
        let device = order.device_id.unwrap_or(DeviceId::from_db(0));
        let delivery = self.enclosed(letter, &element, device, at + u64::from(order.after_ms));
        let delivery = Delivery { serial: self.next_serial, ..delivery };
        self.next_serial = self.next_serial.checked_add(1).expect("fewer than 2^32 messages");
        self.tally.withheld += usize::from(delivery.withheld);
        (0..order.copies()).for_each(|_| self.put_back(delivery));
        Ok(())
    }

    /// The alerts that chance adds to a device that a request took.
    pub(super) fn alerts_beside(&mut self, device: DeviceId, index: u32, at: Millis) {
        let (shares, subject) = (self.scenario.other_alerts, self.subject(device, index));
        let version = self.request(index).firmware_version.clone();
        let s1sp = |device| Alert::S1spAlert {
            request_id: None,
            device,
            code: codes::S1SP_CODE_OTHER.to_string(),
            information: Some("made up by the simulator".to_string()),
            at: Time(0),
        };
        let throttled = 1 + self.dice.between(1, THROTTLED_AT_MOST, "throttled count", subject);
        let throttled = u32::try_from(throttled).unwrap_or(u32::MAX);
        let first = super::super::inventory::first_version(self.dice, device, self.population.facts(device));
        let hub = super::super::inventory::hub_of(device, self.population.facts(device));
        let status = |change: &str| Alert::DeviceStatusChange { device, change: change.to_string() };
        let mismatch =
            Alert::FirmwareVersionMismatch { device, version_in_inventory: first, version_on_device: version.clone() };
        let payload = self.gbcs_payload(subject);
        let device_alert = Body::DeviceAlert {
            alert_code: codes::DEVICE_ALERT_CODE.to_string(),
            throttled_alert_count: None,
            gbcs_payload: payload,
        };
        let wanted = [
            (shares.change_of_supplier, "change of supplier", alert_body(Alert::ChangeOfSupplier { device: Some(device) }, None)),
            (shares.suspended, "suspended by chance", alert_body(status("DeviceSuspended"), None)),
            (shares.removed, "removed by chance", alert_body(Alert::PpmidRemoval { device, comms_hub: hub }, None)),
            (shares.version_mismatch, "version mismatch", alert_body(mismatch, None)),
            (shares.nameless_s1sp, "nameless", alert_body(s1sp(None), None)),
            (shares.throttled, "throttled", alert_body(s1sp(Some(device)), Some(throttled))),
            (shares.unknown, "unknown alert", alert_body(codes::unknown_alert(hub, &version), None)),
            (shares.device_alert, "device alert", device_alert),
        ];
        let (to, schema_version) = (self.request(index).id.originator, self.request(index).schema_version.clone());
        for (share, word, body) in wanted {
            if self.dice.hits(share, word, subject) {
                let due = at + self.between(self.scenario.delays.other_alert_ms, word, subject);
                self.take_effect(&body);
                let header = Header::Response;
                let letter = Letter { to, header, code: Code::Done, schema_version: schema_version.clone(), body };
                self.post(letter, device, due, subject);
            }
        }
    }

    /// What DCC says of a device's standing is so from when it is decided.
    fn take_effect(&mut self, body: &Body) {
        let Body::Alert { alert, .. } = body else { return };
        match alert {
            Alert::DeviceStatusChange { device, change } => {
                let condition = match change.as_str() {
                    "DeviceSuspended" => Condition::Suspended,
                    "DeviceRemovedFromInventory" | "CHFDecommissioning" => Condition::Decommissioned,
                    _ => Condition::Ready,
                };
                self.population.change(*device, condition);
            }
            Alert::PpmidRemoval { device, .. } => self.population.change(*device, Condition::Decommissioned),
            Alert::ChangeOfSupplier { device: Some(device) } => self.changed_supplier.push(*device),
            Alert::ChangeOfSupplier { device: None }
            | Alert::Smets1FirmwareNotification { .. }
            | Alert::S1spAlert { .. }
            | Alert::PpmidFirmwareUpgrade { .. }
            | Alert::Ppmid { .. }
            | Alert::FirmwareDistributionFailure { .. }
            | Alert::CspFirmwareDeliveryStatus { .. }
            | Alert::FirmwareTransfer { .. }
            | Alert::FirmwareVersionMismatch { .. }
            | Alert::QuarantinedRequest { .. }
            | Alert::DuisVersionMismatch { .. }
            | Alert::Other(_) => {}
        }
    }

    fn gbcs_payload(&self, subject: u64) -> Vec<u8> {
        (0..GBCS_PAYLOAD_WORDS).flat_map(|n| self.dice.bits("GBCS payload", subject ^ turn(n)).to_be_bytes()).collect()
    }

    /// The `schemaVersion` of a message that answers nothing.
    fn spoken_to(&self, user: UserId) -> String {
        let own = self.users.standing(user).and_then(|standing| standing.duis_version);
        own.unwrap_or(self.scenario.answers.speaks).to_string()
    }
}

/// A letter that answers a request: under its RequestID; a device's answer has a ResponseID beside it.
fn answer(work: &Work, code: Code, body: Body) -> Letter {
    let header = match work.kind() {
        RequestKind::ReadFirmwareVersion => Header::Both(work.id),
        RequestKind::ReadInventory | RequestKind::UpdateFirmware | RequestKind::UpdatePpmidFirmware => Header::Request(work.id),
    };
    Letter { to: work.id.originator, header, code, schema_version: work.schema_version.clone(), body }
}

fn message(work: &Work, content: Content) -> Body {
    let reference = work.kind().service_reference().to_string();
    Body::Message { service_reference: reference.clone(), service_reference_variant: reference, content }
}

fn smets1_response(work: &Work, content: Smets1Content) -> Smets1Response {
    let RequestId { originator, target, counter } = work.id;
    Smets1Response {
        service_reference: Some(work.kind().service_reference().to_string()),
        throttled_alert_count: None,
        device: target,
        target: originator,
        counter,
        content,
    }
}

fn alert_body(alert: Alert, throttled_alert_count: Option<u32>) -> Body {
    let alert_code = codes::alert_code(alert.element()).to_string();
    Body::Alert { alert_code, throttled_alert_count, alert, unknown: Vec::new() }
}
