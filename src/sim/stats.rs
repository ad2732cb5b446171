//! What the simulator counted: printed by `GET /sim/stats`, compared by the demo and by tests with what the product says.

use std::collections::BTreeMap;

use serde::Serialize;

use super::world::Outcome;

/// A snapshot of the counters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    pub requests: RequestStats,
    /// Requests that anomaly detection holds back, and nobody has processed or deleted yet.
    pub quarantine_held: usize,
    /// Different devices named in accepted requests.
    pub devices_submitted: usize,
    /// Devices named in a second accepted RequestID while the first was in progress, or had activated the same version:
    /// the first had not been dropped by the warning, failed or lacked the key. Must be 0.
    pub duplicate_submissions: usize,
    /// The last word on each device submitted.
    pub outcomes: BTreeMap<Outcome, usize>,
    pub deliveries: DeliveryStats,
    /// Devices whose key came with a re-run of the transitional tool.
    pub keys_that_came: usize,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RequestStats {
    /// Posts to a service address that arrived whole, faults included.
    pub posted: usize,
    /// Signed by a known user.
    pub verified: usize,
    /// Answered I99, I0 or with a warning, whether or not the answer arrived: different RequestIDs.
    pub accepted: usize,
    /// Of them, how many of each service reference.
    pub accepted_by_kind: BTreeMap<String, usize>,
    /// Of them, those that anomaly detection held back.
    pub quarantined: usize,
    /// Answered otherwise, by code (`E62` is a RequestID seen before).
    pub refused: BTreeMap<String, usize>,
    pub dropped: usize,
    pub server_errors: usize,
    pub replies_lost: usize,
    pub replies_late: usize,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DeliveryStats {
    /// Taken by the receiver with a 2xx.
    pub done: usize,
    /// Waiting for their time, for the receiver, or on their way.
    pub pending: usize,
    /// Answered 400, and given up.
    pub refused: usize,
    /// Attempts that failed and were made again.
    pub retried: usize,
    /// Alerts that the scenario kept back.
    pub lost: usize,
    /// Messages that the scenario sent twice.
    pub duplicated: usize,
    /// Devices whose alerts the scenario put in the wrong order.
    pub reordered: usize,
    /// Messages that the user's DUIS version is too old for: a `DUISVersionMismatch` went in their place.
    pub withheld: usize,
}
