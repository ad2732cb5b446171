//! The simulator's own addresses, under `/sim/`: what it counted, what became of a device, and what its operator does in DCC's place.
//! No part of DUIS.

use http_body_util::{BodyExt, Limited};
use hyper::{Method, Request, StatusCode, body::Incoming};
use serde::Serialize;

use super::{Reply, plain, reply};
use crate::{
    ids::IdError,
    sim::{
        codes::Code,
        orders::{Order, Ordered},
        population::{self, Condition},
        quarantine::{Event, EventError, EventState},
        shared::Shared,
        world::Outcome,
    },
};

/// An order of an alert is a few lines; one that names 50,000 devices has 1.3 MB.
const MAX_ORDER_BYTES: usize = 2 * 1024 * 1024;
const ADDRESSES: &str = "POST /api/v1/serviceD, GET /sim/stats, GET /sim/devices/ID, POST /sim/rerun-keys, GET /sim/codes, \
                         GET /sim/alerts, POST /sim/alerts/KIND, GET /sim/quarantine, POST /sim/quarantine/EVENT/process or /delete";

pub async fn answer(shared: &Shared, path: &str, request: Request<Incoming>) -> Reply {
    let method = request.method().clone();
    let parts: Vec<&str> = path.strip_prefix("/sim/").map(|rest| rest.split('/').collect()).unwrap_or_default();
    match (&method, parts.as_slice()) {
        (&Method::GET, ["stats"]) => json(&shared.stats()),
        (&Method::GET, ["codes"]) => json(&Code::ALL.map(CodeView::from)),
        (&Method::POST, ["rerun-keys"]) => reply(StatusCode::OK, "text/csv", rerun_keys(shared)),
        (&Method::GET, ["devices", id]) => device(shared, id),
        (&Method::GET, ["alerts"]) => json(&Ordered::ALL),
        (&Method::POST, ["alerts", kind]) => order(shared, kind, request.into_body()).await,
        (&Method::GET, ["quarantine"]) => {
            let state = shared.lock();
            json(&state.quarantine.events().map(EventView::from).collect::<Vec<_>>())
        }
        (&Method::POST, ["quarantine", event, action @ ("process" | "delete")]) => end_event(shared, event, *action == "process"),
        _ => plain(StatusCode::NOT_FOUND, ADDRESSES),
    }
}

fn json(value: &impl Serialize) -> Reply {
    match serde_json::to_string(value) {
        Ok(json) => reply(StatusCode::OK, "application/json", json),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn rerun_keys(shared: &Shared) -> String {
    let results = shared.lock().world.rerun_transitional_tool();
    population::keys_csv(&results, shared.clock.now())
}

/// What a device is to DCC at this moment.
#[derive(Serialize)]
struct DeviceView {
    /// Of the last request that took it.
    outcome: Option<Outcome>,
    device_status: Option<String>,
    firmware_version: Option<String>,
}

fn device(shared: &Shared, id: &str) -> Reply {
    let device = match id.parse() {
        Ok(device) => device,
        Err(error) => {
            let error: IdError = error;
            return plain(StatusCode::BAD_REQUEST, &error.to_string());
        }
    };
    let (state, now) = (shared.lock(), shared.now());
    let site = state.world.site(device, now);
    let known = site.condition != Condition::Unknown;
    json(&DeviceView {
        outcome: state.world.outcome(device, now),
        device_status: known.then(|| site.device_status()),
        firmware_version: known.then(|| site.firmware_version()),
    })
}

async fn order(shared: &Shared, kind: &str, body: Incoming) -> Reply {
    let bytes = match Limited::new(body, MAX_ORDER_BYTES).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) => return plain(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let text = if bytes.is_empty() { b"{}" } else { &bytes[..] };
    let order = match serde_json::from_slice::<Order>(text) {
        Ok(order) => Order { alert: kind.to_string(), ..order },
        Err(error) => return plain(StatusCode::BAD_REQUEST, &format!("the order cannot be read: {error}")),
    };
    match shared.order(&order) {
        Ok(()) => plain(StatusCode::ACCEPTED, "ordered"),
        Err(error) => plain(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

/// A response code as the simulator uses it.
#[derive(Serialize)]
struct CodeView {
    code: &'static str,
    meaning: &'static str,
    /// Whether the meaning was read in a source: otherwise it is a guess.
    known: bool,
}

impl From<Code> for CodeView {
    fn from(code: Code) -> CodeView {
        CodeView { code: code.text(), meaning: code.meaning(), known: code.is_known() }
    }
}

/// What an operator sees of a quarantine event.
#[derive(Serialize)]
struct EventView {
    event: u64,
    breach: &'static str,
    state: EventState,
    request: &'static str,
    request_id: String,
}

impl From<&Event> for EventView {
    fn from(event: &Event) -> EventView {
        EventView {
            event: event.reference,
            breach: event.breach.as_str(),
            state: event.state,
            request: event.request,
            request_id: event.request_id.clone(),
        }
    }
}

fn end_event(shared: &Shared, event: &str, process: bool) -> Reply {
    let Ok(reference) = event.parse::<u64>() else { return plain(StatusCode::NOT_FOUND, &EventError::Unknown.to_string()) };
    match shared.end_quarantine(reference, process) {
        Ok(()) => plain(StatusCode::OK, if process { "processed" } else { "deleted" }),
        Err(error @ EventError::Unknown) => plain(StatusCode::NOT_FOUND, &error.to_string()),
        Err(error @ EventError::Over) => plain(StatusCode::CONFLICT, &error.to_string()),
    }
}
