//! Whether an authentic request may be served, in DCC's order: replay, user, address, role, target, version, registration, device,
//! anomaly detection. The first that fails is the answer; what passes them all is done, or held back.

use super::Service;
use crate::{
    clock::Day,
    duis::{Content, DuisVersion, FirmwareUpdate, Request, RequestBody, RequestKind},
    ids::DeviceId,
    sim::{
        codes::Code,
        ledger::{Heights, Verdict},
        population::Condition,
        scenario::LostDevices,
        shared::{Shared, State},
        users::Standing,
        work::{What, Work},
        world::Reply,
    },
};

/// Decides on a request; `Err` is the code of its refusal.
pub fn decide(
    shared: &Shared,
    state: &mut State,
    service: Service,
    request: &Request,
    before: &Heights,
    now: u64,
) -> Result<Reply, Code> {
    let answers = state.world.scenario().answers.clone();
    let version: DuisVersion = request.schema_version.parse().map_err(|_| Code::SchemaVersion)?;
    if !answers.versions.contains(&version) {
        return Err(Code::SchemaVersion);
    }
    match state.ledger.judge(&request.id, before, answers.counters) {
        Verdict::Seen => return Err(Code::RequestIdSeen),
        Verdict::NotRising => return Err(Code::CounterNotRising),
        Verdict::New => {}
    }
    let standing = state.world.users().standing(request.id.originator).ok_or(Code::UserNotValid)?.clone();
    if standing.suspended {
        return Err(Code::UserSuspended);
    }
    let (kind, what) = asked(service, request)?;
    if !standing.may.contains(&kind) {
        return Err(Code::RoleNotPermitted);
    }
    if kind != RequestKind::ReadFirmwareVersion && request.id.target != shared.dcc_id {
        return Err(Code::DeviceUnknown);
    }
    if kind == RequestKind::UpdatePpmidFirmware && version < answers.ppmid_firmware_from {
        return Err(Code::SchemaVersion);
    }
    let what = match what {
        What::ReadInventory { device } => {
            let ppmid = state.world.population().ppmid_of(device);
            may_ask_about(state, ppmid, &standing, shared.clock.now().london_day())?;
            What::ReadInventory { device }
        }
        What::ReadFirmwareVersion => {
            may_ask_about(state, request.id.target, &standing, shared.clock.now().london_day())?;
            may_read(state, request.id.target, version >= answers.suspended_read_from)?;
            What::ReadFirmwareVersion
        }
        What::Update { kind, firmware_version, image_bytes, devices, .. } => {
            let day = shared.clock.now().london_day();
            let not_theirs = devices.iter().copied().filter(|d| !state.world.is_held(*d, &standing, day)).collect::<Vec<_>>();
            if answers.lost_devices == LostDevices::Refuse && !not_theirs.is_empty() {
                return Err(Code::NotTheUsersDevice);
            }
            What::Update { kind, firmware_version, image_bytes, devices, not_theirs }
        }
    };
    let work = Work { id: request.id, schema_version: version.to_string(), what };
    state.ledger.accept(work.id);
    Ok(perform_or_hold(state, work, now + u64::from(shared.delays.acknowledge_ms)))
}

/// What is asked for, where it came to the right address in the right form.
fn asked(service: Service, request: &Request) -> Result<(RequestKind, What), Code> {
    match Service::of(&request.service_reference_variant) {
        None => return Err(Code::RoleNotPermitted),
        Some((right, _)) if right != service => return Err(Code::WrongService),
        Some((_, variant)) if variant != request.command_variant => return Err(Code::CommandVariantWrong),
        Some(_) => {}
    }
    let update = |kind, firmware: &FirmwareUpdate| What::Update {
        kind,
        firmware_version: firmware.firmware_version.clone(),
        image_bytes: firmware.image.len(),
        devices: firmware.devices.clone(),
        not_theirs: Vec::new(),
    };
    let (kind, what) = match &request.body {
        RequestBody::ReadInventory { device } => (RequestKind::ReadInventory, What::ReadInventory { device: *device }),
        RequestBody::ReadFirmwareVersion => (RequestKind::ReadFirmwareVersion, What::ReadFirmwareVersion),
        RequestBody::UpdateFirmware(firmware) => (RequestKind::UpdateFirmware, update(RequestKind::UpdateFirmware, firmware)),
        RequestBody::UpdatePpmidFirmware(firmware) => {
            (RequestKind::UpdatePpmidFirmware, update(RequestKind::UpdatePpmidFirmware, firmware))
        }
        // By an address or a supply number, or for later: not served.
        RequestBody::Other(_) => return Err(Code::RoleNotPermitted),
    };
    let named = [&request.service_reference, &request.service_reference_variant];
    if named.iter().any(|reference| *reference != kind.service_reference()) {
        return Err(Code::AgainstSchema);
    }
    Ok((kind, what))
}

/// 8.2 and 11.2 are about one device, which must be there and the user's.
fn may_ask_about(state: &State, device: DeviceId, standing: &Standing, day: Day) -> Result<(), Code> {
    if state.world.population().condition(device) == Condition::Unknown {
        return Err(Code::DeviceUnknown);
    }
    if state.world.is_held(device, standing, day) { Ok(()) } else { Err(Code::NotTheUsersDevice) }
}

/// A device can be read when it is commissioned, and a suspended one from a certain DUIS version on.
fn may_read(state: &State, device: DeviceId, suspended_too: bool) -> Result<(), Code> {
    match state.world.population().condition(device) {
        Condition::NotCommissioned | Condition::Decommissioned => Err(Code::DeviceStatus),
        Condition::Suspended if !suspended_too => Err(Code::DeviceStatus),
        Condition::Ready
        | Condition::Unknown
        | Condition::Suspended
        | Condition::Busy
        | Condition::NotApplicable
        | Condition::KeyMissing { .. }
        | Condition::ActivationFails
        | Condition::Silent => Ok(()),
    }
}

/// Anomaly detection has the last word: what it holds back is acknowledged all the same, and the user is told.
fn perform_or_hold(state: &mut State, work: Work, at: u64) -> Reply {
    let Some(breach) = state.quarantine.judge(&work, at) else {
        return state.world.perform(&work, at, true);
    };
    state.requests.quarantined += 1;
    let reference = state.quarantine.hold(work.clone(), breach);
    state.world.tell_of_quarantine(&work, breach, reference, at);
    Reply { code: Code::Accepted, content: Content::None }
}
