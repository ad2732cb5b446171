//! Alerts to order: any that `duis` knows, and some that it does not, by the scenario's timetable or by `POST /sim/alerts/KIND`.
//! For tests and support work: what an alert says is taken as given, and only what the schema would refuse is refused here.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;

use super::{
    codes,
    scenario::{parsed_if, parsed_list},
};
use crate::{
    clock::Time,
    duis::{Alert, Body, FirmwareTransferResult, Smets1Content, Smets1FirmwareStatus, Smets1Response},
    ids::{DeviceId, RequestId, UserId},
};

/// More copies of one alert than any throttle would let through.
const MAX_COPIES: u32 = 1_000;
/// `FirmwareVersion`, maxLength.
const MAX_VERSION_CHARS: usize = 8;

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
            Ordered::DeliveryStatus => need.delivery_status()?,
            Ordered::CommsHub => need.comms_hub_alert()?,
            Ordered::VersionMismatch => Alert::FirmwareVersionMismatch {
                device: need.device()?,
                version_in_inventory: need.version("inventory_version", &self.inventory_version)?,
                version_on_device: need.firmware_version()?,
            },
            Ordered::ChangeOfSupplier => Alert::ChangeOfSupplier { device: Some(need.device()?) },
            Ordered::StatusChange => {
                let words = codes::STATUS_CHANGES.map(|word| (word, word));
                Alert::DeviceStatusChange { device: need.device()?, change: need.outcome(&words)?.to_string() }
            }
            Ordered::Removal => Alert::PpmidRemoval { device: need.device()?, comms_hub: need.comms_hub()? },
            Ordered::Quarantined => need.quarantined()?,
            Ordered::DuisVersion => Alert::DuisVersionMismatch {
                request_id: self.request_id,
                device: self.device_id,
                our_version: need.text("duis_version", &self.duis_version)?.ok_or_else(|| need.missing("duis_version"))?,
            },
            Ordered::Unknown => codes::unknown_alert(need.device()?, &need.firmware_version()?),
        };
        let alert_code = self.alert_code.clone().unwrap_or_else(|| codes::alert_code(alert.element()).to_string());
        if !codes::is_alert_code(&alert_code) {
            return Err(need.wrong("alert_code", alert_code, "one of the schema's: AD1, N1 to N65 without N32, N999"));
        }
        Ok(Body::Alert { alert_code, throttled_alert_count: self.throttled_alert_count, alert, unknown: Vec::new() })
    }
}

/// Takes from an order what its kind needs.
struct Need<'a> {
    order: &'a Order,
    kind: Ordered,
}

impl Need<'_> {
    fn wrong(&self, key: &'static str, found: impl ToString, wanted: impl Into<String>) -> OrderError {
        OrderError::Value { key, found: found.to_string(), wanted: wanted.into() }
    }

    fn missing(&self, key: &'static str) -> OrderError {
        OrderError::Missing { alert: self.kind, key }
    }

    fn device(&self) -> Result<DeviceId, OrderError> {
        self.order.device_id.ok_or_else(|| self.missing("device_id"))
    }

    fn comms_hub(&self) -> Result<DeviceId, OrderError> {
        self.order.comms_hub_id.ok_or_else(|| self.missing("comms_hub_id"))
    }

    fn request(&self) -> Result<RequestId, OrderError> {
        self.order.request_id.ok_or_else(|| self.missing("request_id"))
    }

    fn version(&self, key: &'static str, value: &Option<String>) -> Result<String, OrderError> {
        let version = self.text(key, value)?.ok_or_else(|| self.missing(key))?;
        match version.chars().count() {
            1..=MAX_VERSION_CHARS => Ok(version),
            _ => Err(self.wrong(key, version, "1 to 8 characters")),
        }
    }

    /// A text that XML can carry.
    fn text(&self, key: &'static str, value: &Option<String>) -> Result<Option<String>, OrderError> {
        let bad = |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}');
        match value {
            Some(text) if text.contains(bad) => Err(self.wrong(key, text, "text without control characters")),
            _ => Ok(value.clone()),
        }
    }

    fn firmware_version(&self) -> Result<String, OrderError> {
        self.version("firmware_version", &self.order.firmware_version)
    }

    /// The word of `outcome` among those allowed.
    fn outcome<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, OrderError> {
        let said = self.order.outcome.as_deref().ok_or_else(|| self.missing("outcome"))?;
        let found = words.iter().find(|(word, _)| *word == said).map(|(_, meaning)| *meaning);
        let wanted = || words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        found.ok_or_else(|| self.wrong("outcome", said, wanted()))
    }

    fn device_alert(&self) -> Result<Body, OrderError> {
        let alert_code = self.order.alert_code.clone().unwrap_or_else(|| codes::DEVICE_ALERT_CODE.to_string());
        if alert_code.is_empty() || alert_code.len() % 2 == 1 || !alert_code.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(self.wrong("alert_code", alert_code, "pairs of hexadecimal digits"));
        }
        let text = self.order.gbcs_payload.as_deref().ok_or_else(|| self.missing("gbcs_payload"))?;
        let gbcs_payload = STANDARD.decode(text).map_err(|_| self.wrong("gbcs_payload", text, "base64"))?;
        Ok(Body::DeviceAlert { alert_code, throttled_alert_count: self.order.throttled_alert_count, gbcs_payload })
    }

    fn smets1_response(&self, user: UserId) -> Result<Body, OrderError> {
        let firmware_version = self.text("firmware_version", &self.order.firmware_version)?;
        Ok(Body::Smets1(Smets1Response {
            service_reference: Some("11.2".into()),
            throttled_alert_count: self.order.throttled_alert_count,
            device: self.device()?,
            target: user,
            counter: self.order.request_id.map_or(0, |id| id.counter),
            content: Smets1Content::FirmwareVersion { success: Some(firmware_version.is_some()), firmware_version },
        }))
    }

    fn smets1_firmware(&self) -> Result<Alert, OrderError> {
        use Smets1FirmwareStatus as S;
        let words = [("UpdateRequested", S::UpdateRequested), ("ActivationSuccessful", S::ActivationSuccessful)];
        Ok(Alert::Smets1FirmwareNotification {
            device: self.device()?,
            firmware_version: self.firmware_version()?,
            status: self.outcome(&words)?,
        })
    }

    fn s1sp(&self, at: Time) -> Result<Alert, OrderError> {
        Ok(Alert::S1spAlert {
            request_id: self.order.request_id,
            device: self.order.device_id,
            code: self.text("code", &self.order.code)?.ok_or_else(|| self.missing("code"))?,
            information: self.text("information", &self.order.information)?,
            at,
        })
    }

    fn ppmid(&self) -> Result<Alert, OrderError> {
        if self.order.outcome.is_none() {
            return Ok(Alert::Ppmid { device: self.device()? });
        }
        Ok(Alert::PpmidFirmwareUpgrade {
            device: self.device()?,
            firmware_version: self.firmware_version()?,
            success: self.outcome(&[("ActivationSuccess", true), ("ActivationFailure", false)])?,
            at: None,
        })
    }

    fn distribution_failure(&self) -> Result<Alert, OrderError> {
        if self.order.devices.is_empty() {
            return Err(self.missing("devices"));
        }
        Ok(Alert::FirmwareDistributionFailure { request_id: self.request()?, devices: self.order.devices.clone() })
    }

    fn delivery_status(&self) -> Result<Alert, OrderError> {
        Ok(Alert::CspFirmwareDeliveryStatus {
            request_id: self.request()?,
            comms_hub: self.comms_hub()?,
            device: self.device()?,
            firmware_version: self.firmware_version()?,
            success: self.outcome(&[("Success", true), ("Failure", false)])?,
        })
    }

    fn comms_hub_alert(&self) -> Result<Alert, OrderError> {
        use FirmwareTransferResult as R;
        let words = [
            ("FileTransferSuccess", R::FileTransferSuccess),
            ("FirmwareImageDiscarded", R::FirmwareImageDiscarded),
            ("HardwareVersionMismatch", R::HardwareVersionMismatch),
            ("FileTransferFailure", R::FileTransferFailure),
        ];
        Ok(Alert::FirmwareTransfer {
            request_id: self.order.request_id,
            device: self.device()?,
            firmware_version: self.firmware_version()?,
            result: self.outcome(&words)?,
        })
    }

    fn quarantined(&self) -> Result<Alert, OrderError> {
        let words = codes::BREACHES.map(|word| (word, word));
        Ok(Alert::QuarantinedRequest {
            request_id: self.request()?,
            quarantine_event_ref: self.order.event_ref.ok_or_else(|| self.missing("event_ref"))?.to_string(),
            breach: self.outcome(&words)?.to_string(),
        })
    }
}

#[cfg(test)]
mod tests;
