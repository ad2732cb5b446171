//! Alerts to order: any that `duis` knows, and some that it does not, by the scenario's timetable or by `POST /sim/alerts/KIND`.
//! For tests and support work: what an alert says is taken as given, and only what the schema would refuse is refused here.

mod need;

use serde::Deserialize;

use need::Need;

use super::{
    codes,
    scenario::{parsed_if, parsed_list},
};
use crate::{
    clock::Time,
    duis::{Alert, Body, Throttled},
    ids::{DeviceId, RequestId, UserId},
};

/// More copies of one alert than any throttle would let through.
const MAX_COPIES: u32 = 1_000;
crate::spelled! {
    /// What can be ordered: the schema's element.
    Ordered, "an alert such as ChangeOfSupplier; GET /sim/alerts lists them" {
        Smets1Firmware = "SMETS1CHFirmwareNotification",
        S1sp = "S1SPAlertDSP",
        Ppmid = "PPMIDAlert",
        DistributionFailure = "FirmwareDistributionFailure",
        DeliveryStatus = "CSPFirmwareDeliveryStatus",
        CommsHub = "CommsHubAlert",
        VersionMismatch = "FirmwareVersionMismatch",
        ChangeOfSupplier = "ChangeOfSupplier",
        StatusChange = "DeviceStatusChangeEvent",
        Removal = "PPMIDRemoval",
        Quarantined = "QuarantinedRequest",
        DuisVersion = "DUISVersionMismatch",
        DeviceAlert = "DeviceAlertMessage",
        Smets1Response = "SMETS1ResponseMessage",
        CommandFailure = "CommandFailure",
        UpgradeRequested = "FirmwareUpgradeRequested",
        /// Of a kind that a user of firmware alone has never heard of.
        Unknown = "CommsHubFirmwareActivation",
    }
}

/// One alert to order. Which keys it needs depends on its kind.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Order {
    /// The element; in `POST /sim/alerts/KIND` it is part of the address.
    pub alert: String,
    /// When it is due: from the order, or in a scenario from the start.
    pub after_ms: u32,
    /// How often it is sent, under one ResponseID.
    pub copies: Option<u32>,
    /// To whom it is said; without it to the first user.
    #[serde(deserialize_with = "parsed_if")]
    pub user: Option<UserId>,
    pub alert_code: Option<String>,
    pub throttled_alert_count: Option<u32>,
    #[serde(deserialize_with = "parsed_if")]
    pub device_id: Option<DeviceId>,
    #[serde(deserialize_with = "parsed_if")]
    pub comms_hub_id: Option<DeviceId>,
    #[serde(deserialize_with = "parsed_list")]
    pub devices: Vec<DeviceId>,
    #[serde(deserialize_with = "parsed_if")]
    pub request_id: Option<RequestId>,
    pub firmware_version: Option<String>,
    /// Of a `FirmwareVersionMismatch`: what the inventory says.
    pub inventory_version: Option<String>,
    /// The word that says how it went, or what changed, as the schema spells it.
    pub outcome: Option<String>,
    /// An S1SP's own code and text.
    pub code: Option<String>,
    pub information: Option<String>,
    pub event_ref: Option<u64>,
    pub duis_version: Option<String>,
    /// Of a `DUISVersionMismatch`: the answer that was withheld; without it an alert was.
    pub service_reference: Option<String>,
    /// Base64.
    pub gbcs_payload: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    #[error("{0}")]
    Kind(String),
    #[error("{alert} needs {key}")]
    Missing { alert: Ordered, key: &'static str },
    #[error("{key} is {found:?}; wanted: {wanted}")]
    Value { key: &'static str, found: String, wanted: String },
}

impl Order {
    pub fn kind(&self) -> Result<Ordered, OrderError> {
        self.alert.parse().map_err(|e: crate::ids::IdError| OrderError::Kind(e.to_string()))
    }

    /// Whether it can be made at all.
    pub fn check(&self) -> Result<(), OrderError> {
        self.body(Time(0), UserId::from_db(0)).map(|_| ())
    }

    pub fn copies(&self) -> u32 {
        self.copies.unwrap_or(1)
    }

    fn throttled(&self) -> Throttled {
        Throttled { sequence_id: None, count: self.throttled_alert_count }
    }

    /// What it says.
    pub fn body(&self, at: Time, user: UserId) -> Result<Body, OrderError> {
        let kind = self.kind()?;
        let need = Need { order: self, kind };
        if !(1..=MAX_COPIES).contains(&self.copies()) {
            return Err(need.wrong("copies", self.copies(), format!("1 to {MAX_COPIES}")));
        }
        let alert = match kind {
            Ordered::DeviceAlert => return need.device_alert(),
            Ordered::Smets1Response => return need.smets1_response(user),
            Ordered::Smets1Firmware => need.smets1_firmware()?,
            Ordered::S1sp => need.s1sp(at)?,
            Ordered::Ppmid => need.ppmid()?,
            Ordered::DistributionFailure => need.distribution_failure()?,
            Ordered::DeliveryStatus => need.delivery_status(at)?,
            Ordered::CommsHub => need.comms_hub_alert()?,
            Ordered::VersionMismatch => need.version_mismatch()?,
            Ordered::ChangeOfSupplier => need.change_of_supplier()?,
            Ordered::StatusChange => need.status_change()?,
            Ordered::Removal => Alert::PpmidRemoval { device: need.device()?, comms_hub: need.comms_hub()? },
            Ordered::Quarantined => need.quarantined()?,
            Ordered::DuisVersion => need.duis_version()?,
            Ordered::CommandFailure => Alert::CommandFailure { request_id: need.request()?, device: need.device()? },
            Ordered::UpgradeRequested => need.upgrade_requested()?,
            Ordered::Unknown => codes::unknown_alert(need.device()?, &need.firmware_version()?),
        };
        let alert_code = self.alert_code.clone().unwrap_or_else(|| codes::alert_code(alert.element()).to_string());
        if !codes::is_alert_code(&alert_code) {
            return Err(need.wrong("alert_code", alert_code, "one of the schema's: AD1, N1 to N65 without N32, N999"));
        }
        Ok(Body::Alert { alert_code, throttled: self.throttled(), alert, unknown: Vec::new() })
    }
}

#[cfg(test)]
pub(super) mod tests;
