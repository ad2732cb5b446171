//! DCC's anomaly detection: what each user sends in a rolling period, and the requests held back because it was too much. No I/O
//! and no clock. Promise: a request that is held reaches no device until somebody says so, and then once.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::Serialize;

use super::{
    scenario::{Counts, DataValues, Scenario, SetBy, Threshold, kind},
    work::{What, Work},
    world::Millis,
};
use crate::{
    duis::{Breach, RequestKind},
    ids::UserId,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventState {
    Held,
    Processed,
    Deleted,
}

/// One quarantine event.
#[derive(Debug)]
pub struct Event {
    pub reference: u64,
    pub breach: Breach,
    pub state: EventState,
    pub request_id: String,
    pub request: &'static str,
    work: Option<Work>,
}

/// What an operator of the simulator asked for cannot be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    #[error("there is no quarantine event with this number; GET /sim/quarantine lists them")]
    Unknown,
    #[error("this quarantine event was processed or deleted before")]
    Over,
}

/// What was sent in the period: when, how much each counted, and the sum.
#[derive(Default)]
struct Sent {
    requests: VecDeque<(Millis, u64)>,
    sum: u64,
}

pub struct Quarantine {
    thresholds: Vec<Threshold>,
    data_values: DataValues,
    /// For each threshold and user.
    sent: HashMap<(usize, UserId), Sent>,
    events: BTreeMap<u64, Event>,
}

impl Quarantine {
    pub fn new(scenario: &Scenario) -> Quarantine {
        let (thresholds, data_values) = (scenario.thresholds.clone(), scenario.data_values);
        Quarantine { thresholds, data_values, sent: HashMap::new(), events: BTreeMap::new() }
    }

    /// Counts a request, and says whether it is one too many. What is held back counts too: it was sent.
    pub fn judge(&mut self, work: &Work, at: Millis) -> Option<Breach> {
        let mut breach = self.beyond_data_values(work).then_some(Breach::AttributeLimits);
        for (n, threshold) in self.thresholds.iter().enumerate() {
            let user = work.id.originator;
            if kind(&threshold.request) != Some(work.kind()) || threshold.user.is_some_and(|only| only != user) {
                continue;
            }
            let sent = self.sent.entry((n, user)).or_default();
            while let Some((_, weight)) = sent.requests.pop_front_if(|(when, _)| *when + threshold.period_ms <= at) {
                sent.sum -= weight;
            }
            let weight = match threshold.counts {
                Counts::Requests => 1,
                Counts::Devices => work.devices() as u64,
            };
            sent.requests.push_back((at, weight));
            sent.sum += weight;
            if sent.sum > threshold.at_most {
                breach = breach.or(Some(match threshold.set_by {
                    SetBy::User => Breach::UserThreshold,
                    SetBy::Dcc => Breach::DccThreshold,
                }));
            }
        }
        breach
    }

    fn beyond_data_values(&self, work: &Work) -> bool {
        let What::Update { devices, image_bytes, .. } = &work.what else { return false };
        self.data_values.devices_at_most.is_some_and(|most| devices.len() > most)
            || self.data_values.image_bytes_at_most.is_some_and(|most| *image_bytes > most)
    }

    /// Holds a request back; gives the number of the event. A breach of a data-value limit is deleted at once for SMETS1.
    pub fn hold(&mut self, work: Work, breach: Breach) -> u64 {
        let reference = self.events.len() as u64 + 1;
        let deleted = breach == Breach::AttributeLimits && work.kind() == RequestKind::UpdateFirmware;
        let state = if deleted { EventState::Deleted } else { EventState::Held };
        let (request_id, request) = (work.id.to_string(), work.kind().service_reference());
        let work = (!deleted).then_some(work);
        self.events.insert(reference, Event { reference, breach, state, request_id, request, work });
        reference
    }

    /// Gives the request that may go on now.
    pub fn process(&mut self, reference: u64) -> Result<Work, EventError> {
        self.end(reference, EventState::Processed)
    }

    pub fn delete(&mut self, reference: u64) -> Result<(), EventError> {
        self.end(reference, EventState::Deleted).map(|_| ())
    }

    fn end(&mut self, reference: u64, state: EventState) -> Result<Work, EventError> {
        let event = self.events.get_mut(&reference).ok_or(EventError::Unknown)?;
        let work = event.work.take().ok_or(EventError::Over)?;
        event.state = state;
        Ok(work)
    }

    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.values()
    }

    pub fn held(&self) -> usize {
        self.events.values().filter(|event| event.state == EventState::Held).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{DeviceId, Eui, RequestId};

    fn work(user: u64, counter: u64, kind: RequestKind, devices: usize) -> Work {
        let id = RequestId { originator: Eui(user), target: Eui(9), counter };
        let what = match kind {
            RequestKind::ReadInventory => What::ReadInventory { device: Eui(1) },
            RequestKind::ReadFirmwareVersion => What::ReadFirmwareVersion,
            RequestKind::UpdateFirmware | RequestKind::UpdatePpmidFirmware => What::Update {
                kind,
                firmware_version: "1".into(),
                image_bytes: 10,
                devices: (0..devices as i64).map(DeviceId::from_db).collect(),
                not_theirs: Vec::new(),
            },
        };
        Work { id, schema_version: "3.1".into(), what }
    }

    fn quarantine(text: &str) -> Quarantine {
        Quarantine::new(&Scenario::parse(text, "s.toml").unwrap())
    }

    #[test]
    fn a_period_rolls_and_each_user_and_kind_counts_alone() {
        let mut q = quarantine("[[thresholds]]\nrequest = \"8.2\"\nat_most = 2\nperiod_ms = 100\n");
        let mut judge = |user, at, kind| q.judge(&work(user, at, kind, 1), at);
        let over = Some(Breach::UserThreshold);
        use RequestKind::{ReadFirmwareVersion as Read, ReadInventory as Ask};
        assert_eq!([judge(1, 0, Ask), judge(1, 50, Ask), judge(1, 99, Ask)], [None, None, over]);
        assert_eq!([judge(2, 99, Ask), judge(1, 99, Read)], [None, None]);
        // At 100 the first has left the period; what was held back counts.
        assert_eq!([judge(1, 100, Ask), judge(1, 199, Ask), judge(1, 300, Ask)], [over, None, None]);
    }

    #[test]
    fn a_request_may_count_its_devices_and_dcc_has_thresholds_of_its_own() {
        let text = "[[thresholds]]\nrequest = \"11.1\"\nat_most = 10\nperiod_ms = 1000\ncounts = \"devices\"\nset_by = \"dcc\"\nuser = \"00-00-00-00-00-00-00-01\"\n";
        let mut q = quarantine(text);
        let update = |user, devices| work(user, 1, RequestKind::UpdateFirmware, devices);
        assert_eq!(q.judge(&update(1, 10), 0), None);
        assert_eq!(q.judge(&update(1, 1), 1), Some(Breach::DccThreshold));
        assert_eq!(q.judge(&update(2, 1_000), 1), None);
    }

    #[test]
    fn an_event_ends_once_and_a_data_value_breach_is_deleted_for_smets1() {
        let mut q = quarantine("[data_values]\ndevices_at_most = 5\nimage_bytes_at_most = 9\n");
        for kind in [RequestKind::UpdateFirmware, RequestKind::UpdatePpmidFirmware] {
            let work = work(1, 1, kind, 1);
            assert_eq!(q.judge(&work, 0), Some(Breach::AttributeLimits));
            q.hold(work, Breach::AttributeLimits);
        }
        assert_eq!((q.process(1).err(), q.held()), (Some(EventError::Over), 1));
        assert_eq!(q.process(2).unwrap().kind(), RequestKind::UpdatePpmidFirmware);
        assert_eq!((q.delete(2), q.delete(3), q.held()), (Err(EventError::Over), Err(EventError::Unknown), 0));
        let states: Vec<EventState> = q.events().map(|event| event.state).collect();
        assert_eq!(states, [EventState::Deleted, EventState::Processed]);
    }
}
