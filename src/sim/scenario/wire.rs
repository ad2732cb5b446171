//! The parts of a scenario that say how long things take and what goes wrong on the way.

use serde::Deserialize;

use crate::sim::dice::Share;

/// How long things take, in milliseconds; where there are two numbers, anything from the first to the second.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Delays {
    /// From a request to the reply on its own connection.
    pub acknowledge_ms: u32,
    /// From the acknowledgement to the 11.1 response that warns.
    pub warning_ms: u32,
    /// From the acknowledgement to `UpdateRequested`; of a SMETS2+ device, to the alerts about the image's way to it.
    pub update_requested_ms: [u32; 2],
    /// From `UpdateRequested` to `ActivationSuccessful`, or to the S1SP alert of one that fails; of a SMETS2+ device, from the
    /// image's arrival to the PPMID alert.
    pub activated_ms: [u32; 2],
    /// From the acknowledgement to the S1SP alert of a device whose key is missing.
    pub key_missing_ms: [u32; 2],
    /// From the acknowledgement of an 8.2 to an inventory that comes later.
    pub inventory_ms: [u32; 2],
    /// From the acknowledgement of an 11.2 to the device's answer, or to DCC's word that there is none.
    pub read_ms: [u32; 2],
    /// From the acknowledgement to the alert that the request is quarantined.
    pub quarantine_ms: [u32; 2],
    /// From the acknowledgement to the alerts that chance adds (`other_alerts`).
    pub other_alert_ms: [u32; 2],
}

impl Default for Delays {
    fn default() -> Delays {
        Delays {
            acknowledge_ms: 0,
            warning_ms: 50,
            update_requested_ms: [20, 500],
            activated_ms: [100, 2_000],
            key_missing_ms: [20, 1_000],
            inventory_ms: [20, 500],
            read_ms: [50, 1_000],
            quarantine_ms: [20, 500],
            other_alert_ms: [20, 2_000],
        }
    }
}

impl Delays {
    /// Every span with its key.
    pub(super) fn spans(&self) -> [(&'static str, [u32; 2]); 9] {
        [
            ("delays.acknowledge_ms", [0, self.acknowledge_ms]),
            ("delays.warning_ms", [0, self.warning_ms]),
            ("delays.update_requested_ms", self.update_requested_ms),
            ("delays.activated_ms", self.activated_ms),
            ("delays.key_missing_ms", self.key_missing_ms),
            ("delays.inventory_ms", self.inventory_ms),
            ("delays.read_ms", self.read_ms),
            ("delays.quarantine_ms", self.quarantine_ms),
            ("delays.other_alert_ms", self.other_alert_ms),
        ]
    }
}

/// What goes wrong with requests, as shares of the posts received.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// The connection is dropped before the request is looked at.
    pub dropped: Share,
    /// Answered 500, the request not looked at.
    pub server_error: Share,
    /// Processed, and the connection dropped without a reply.
    pub reply_lost: Share,
    /// Processed, and answered only after `late_reply_ms`.
    pub late_reply: Share,
    pub late_reply_ms: u32,
    /// Refusals that are sent without a signature (duis/README.md, rule 9).
    pub unsigned_refusals: Share,
}

impl Default for Faults {
    fn default() -> Faults {
        let none = Share::NONE;
        Faults {
            dropped: none,
            server_error: none,
            reply_lost: none,
            late_reply: none,
            late_reply_ms: 2_000,
            unsigned_refusals: none,
        }
    }
}

/// How alerts and responses reach the user's receiver.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deliveries {
    /// Connections kept open to the receiver.
    pub connections: usize,
    /// Alerts never sent.
    pub lost: Share,
    /// Messages sent twice, under one ResponseID.
    pub duplicated: Share,
    /// Devices whose two alerts come in the wrong order.
    pub reordered: Share,
}

impl Default for Deliveries {
    fn default() -> Deliveries {
        Deliveries { connections: 32, lost: Share::NONE, duplicated: Share::NONE, reordered: Share::NONE }
    }
}
