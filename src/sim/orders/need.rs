//! What each kind of ordered alert takes from its order, and what of it is missing or would break the schema.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{Order, OrderError, Ordered};
use crate::{
    clock::Time,
    duis::{Alert, Body, Breach, ChangeOfSupplier, DeviceStatusChange, MeterMpxns, Smets1Content, Smets1Response, Withheld},
    ids::{DeviceId, RequestId, UserId},
    sim::codes,
};

/// `FirmwareVersion`, maxLength.
const MAX_VERSION_CHARS: usize = 8;

const DEVICE_TYPE: &str = "PPMID";
/// No distribution area begins with a zero.
const NOBODYS_MPAN: &str = "0000000000000";
/// The changes of status that say nothing more.
const STATUS_CHANGES: [(&str, DeviceStatusChange); 5] = [
    ("DeviceRemovedFromInventory", DeviceStatusChange::DeviceRemovedFromInventory),
    ("CHFDecommissioning", DeviceStatusChange::ChfDecommissioning),
    ("DeviceSuspended", DeviceStatusChange::DeviceSuspended),
    ("DeviceRestored", DeviceStatusChange::DeviceRestored),
    ("RecoveryComplete", DeviceStatusChange::RecoveryComplete),
];

/// Takes from an order what its kind needs.
pub(super) struct Need<'a> {
    pub order: &'a Order,
    pub kind: Ordered,
}

impl Need<'_> {
    pub fn wrong(&self, key: &'static str, found: impl ToString, wanted: impl Into<String>) -> OrderError {
        OrderError::Value { key, found: found.to_string(), wanted: wanted.into() }
    }

    pub fn missing(&self, key: &'static str) -> OrderError {
        OrderError::Missing { alert: self.kind, key }
    }

    pub fn device(&self) -> Result<DeviceId, OrderError> {
        self.order.device_id.ok_or_else(|| self.missing("device_id"))
    }

    pub fn comms_hub(&self) -> Result<DeviceId, OrderError> {
        self.order.comms_hub_id.ok_or_else(|| self.missing("comms_hub_id"))
    }

    fn devices(&self) -> Result<Vec<DeviceId>, OrderError> {
        if self.order.devices.is_empty() { Err(self.missing("devices")) } else { Ok(self.order.devices.clone()) }
    }

    pub fn request(&self) -> Result<RequestId, OrderError> {
        self.order.request_id.ok_or_else(|| self.missing("request_id"))
    }

    pub fn version(&self, key: &'static str, value: &Option<String>) -> Result<String, OrderError> {
        let version = self.text(key, value)?.ok_or_else(|| self.missing(key))?;
        match version.chars().count() {
            1..=MAX_VERSION_CHARS => Ok(version),
            _ => Err(self.wrong(key, version, "1 to 8 characters")),
        }
    }

    /// A text that XML can carry.
    pub fn text(&self, key: &'static str, value: &Option<String>) -> Result<Option<String>, OrderError> {
        let bad = |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}');
        match value {
            Some(text) if text.contains(bad) => Err(self.wrong(key, text, "text without control characters")),
            _ => Ok(value.clone()),
        }
    }

    pub fn firmware_version(&self) -> Result<String, OrderError> {
        self.version("firmware_version", &self.order.firmware_version)
    }

    /// The meaning of a word among those allowed.
    pub fn word<T: Clone>(&self, key: &'static str, words: &[(&str, T)]) -> Result<T, OrderError> {
        let said = self.order.outcome.as_deref().ok_or_else(|| self.missing(key))?;
        let found = words.iter().find(|(word, _)| *word == said).map(|(_, meaning)| meaning.clone());
        let wanted = || words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        found.ok_or_else(|| self.wrong(key, said, wanted()))
    }

    /// A closed list of the schema's.
    pub fn spelled<T: std::str::FromStr<Err: std::fmt::Display>>(&self) -> Result<T, OrderError> {
        let said = self.order.outcome.as_deref().ok_or_else(|| self.missing("outcome"))?;
        said.parse().map_err(|e: T::Err| OrderError::Kind(format!("outcome: {e}")))
    }

    pub fn version_mismatch(&self) -> Result<Alert, OrderError> {
        Ok(Alert::FirmwareVersionMismatch {
            device: self.device()?,
            device_type: DEVICE_TYPE.to_string(),
            version_in_inventory: self.version("inventory_version", &self.order.inventory_version)?,
            version_on_device: self.firmware_version()?,
        })
    }

    pub fn status_change(&self) -> Result<Alert, OrderError> {
        Ok(Alert::DeviceStatusChange { device: self.device()?, change: self.word("outcome", &STATUS_CHANGES)? })
    }

    pub fn upgrade_requested(&self) -> Result<Alert, OrderError> {
        Ok(Alert::FirmwareUpgradeRequested {
            device_type: DEVICE_TYPE.to_string(),
            firmware_version: self.firmware_version()?,
            devices: self.devices()?,
        })
    }

    pub fn device_alert(&self) -> Result<Body, OrderError> {
        let alert_code = self.order.alert_code.clone().unwrap_or_else(|| codes::DEVICE_ALERT_CODE.to_string());
        if alert_code.is_empty() || alert_code.len() % 2 == 1 || !alert_code.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(self.wrong("alert_code", alert_code, "pairs of hexadecimal digits"));
        }
        let text = self.order.gbcs_payload.as_deref().ok_or_else(|| self.missing("gbcs_payload"))?;
        let gbcs_payload = STANDARD.decode(text).map_err(|_| self.wrong("gbcs_payload", text, "base64"))?;
        Ok(Body::DeviceAlert { alert_code, throttled: self.order.throttled(), gbcs_payload })
    }

    pub fn smets1_response(&self, user: UserId) -> Result<Body, OrderError> {
        let firmware_version = self.text("firmware_version", &self.order.firmware_version)?;
        Ok(Body::Smets1(Smets1Response {
            service_reference: Some("11.2".into()),
            service_reference_variant: Some("11.2".into()),
            throttled: self.order.throttled(),
            device: self.device()?,
            target: user,
            counter: self.order.request_id.map_or(0, |id| id.counter),
            content: Smets1Content::FirmwareVersion { success: Some(firmware_version.is_some()), firmware_version },
        }))
    }

    pub fn smets1_firmware(&self) -> Result<Alert, OrderError> {
        Ok(Alert::Smets1FirmwareNotification {
            device: self.device()?,
            firmware_version: self.firmware_version()?,
            status: self.spelled()?,
        })
    }

    pub fn s1sp(&self, at: Time) -> Result<Alert, OrderError> {
        Ok(Alert::S1spAlert {
            request_id: self.order.request_id,
            device: self.order.device_id,
            code: self.text("code", &self.order.code)?.ok_or_else(|| self.missing("code"))?,
            information: self.text("information", &self.order.information)?,
            at,
        })
    }

    pub fn ppmid(&self) -> Result<Alert, OrderError> {
        if self.order.outcome.is_none() {
            return Ok(Alert::Ppmid {
                device: self.device()?,
                device_alert_code: codes::DEVICE_ALERT_CODE.to_string(),
                at: None,
            });
        }
        Ok(Alert::PpmidFirmwareUpgrade {
            device: self.device()?,
            device_alert_code: codes::DEVICE_ALERT_CODE.to_string(),
            firmware_version: self.firmware_version()?,
            success: self.word("outcome", &[("ActivationSuccess", true), ("ActivationFailure", false)])?,
            at: None,
        })
    }

    pub fn distribution_failure(&self) -> Result<Alert, OrderError> {
        Ok(Alert::FirmwareDistributionFailure { request_id: self.request()?, devices: self.devices()? })
    }

    pub fn delivery_status(&self, at: Time) -> Result<Alert, OrderError> {
        Ok(Alert::CspFirmwareDeliveryStatus {
            request_id: self.request()?,
            comms_hub: self.comms_hub()?,
            device: self.device()?,
            firmware_version: self.firmware_version()?,
            at,
            success: self.word("outcome", &[("Success", true), ("Failure", false)])?,
        })
    }

    pub fn comms_hub_alert(&self) -> Result<Alert, OrderError> {
        let (comms_hub, alert_code) = (self.comms_hub()?, codes::DEVICE_ALERT_CODE.to_string());
        if self.order.outcome.is_none() {
            return Ok(Alert::CommsHub { comms_hub, alert_code, at: None });
        }
        Ok(Alert::FirmwareTransfer {
            comms_hub,
            alert_code,
            at: None,
            request_id: self.order.request_id,
            device: self.device()?,
            firmware_version: self.firmware_version()?,
            result: self.spelled()?,
        })
    }

    pub fn quarantined(&self) -> Result<Alert, OrderError> {
        Ok(Alert::QuarantinedRequest {
            request_id: self.request()?,
            quarantine_event_ref: self.order.event_ref.ok_or_else(|| self.missing("event_ref"))?.to_string(),
            breach: self.spelled::<Breach>()?,
        })
    }

    pub fn change_of_supplier(&self) -> Result<Alert, OrderError> {
        if let (None, Some(request_id)) = (self.order.device_id, self.order.request_id) {
            return Ok(Alert::ChangeOfSupplier(ChangeOfSupplier::Request { request_id, ecos_error_code: None }));
        }
        let mpxns = MeterMpxns { import_mpxn: NOBODYS_MPAN.to_string(), secondary_import_mpan: None, export_mpan: None };
        let device_type = DEVICE_TYPE.to_string();
        Ok(Alert::ChangeOfSupplier(ChangeOfSupplier::Device { device: self.device()?, device_type, mpxns }))
    }

    /// Of an answer where the order names a service reference, else of an alert.
    pub fn duis_version(&self) -> Result<Alert, OrderError> {
        let our_version = self.text("duis_version", &self.order.duis_version)?.ok_or_else(|| self.missing("duis_version"))?;
        let withheld = match self.text("service_reference", &self.order.service_reference)? {
            None => Withheld::Alert {
                alert_code: codes::alert_code("PPMIDAlert").to_string(),
                device: self.order.device_id,
                request_id: self.order.request_id,
            },
            Some(service_reference) => Withheld::Response {
                request_id: self.request()?,
                service_reference_variant: service_reference.clone(),
                service_reference,
                request_version: our_version.clone(),
            },
        };
        Ok(Alert::DuisVersionMismatch { withheld, our_version })
    }
}
