//! One message that DCC still owes, as small as can be: a million sites owe two million of them. What it says is worked
//! out, and signed, when it is due.

use super::world::{AcceptedRequest, Millis};
use crate::{
    clock::Time,
    duis::{Alert, Body, Content, Response, Smets1FirmwareStatus, Throttled},
    ids::{DeviceId, RequestId},
};

/// DCC's code for an S1SP alert (as in the samples; the schema binds no code to an element).
const ALERT_CODE_S1SP: &str = "N55";
/// DCC's code for a SMETS1 firmware notification (as in the samples).
const ALERT_CODE_SMETS1_FIRMWARE: &str = "N57";
/// The code a missing key gives is not public; this one is a setting of the product (`policies/response-codes.toml`).
pub const S1SP_CODE_KEY_MISSING: &str = "S1VE1";
const S1SP_TEXT_KEY_MISSING: &str = "PPMID key not held";
/// A guess like the one above.
pub const S1SP_CODE_ACTIVATION_FAILED: &str = "S1VE2";
const S1SP_TEXT_ACTIVATION_FAILED: &str = "activation failed";
/// 11.1 with devices dropped from the request.
const CODE_WARNING: &str = "W110101";
const CODE_DONE: &str = "I0";

/// Which message; the order breaks ties between messages due at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    Warning,
    UpdateRequested,
    Activated,
    KeyMissing,
    ActivationFailed,
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Kind::Warning => "warning",
            Kind::UpdateRequested => "update requested",
            Kind::Activated => "activated",
            Kind::KeyMissing => "key missing",
            Kind::ActivationFailed => "activation failed",
        }
    }

    /// A second word, so that loss and doubling are decided apart.
    pub fn element(self) -> &'static str {
        match self {
            Kind::Warning => "DSPUpdateFirmwareWarning",
            Kind::UpdateRequested => "SMETS1CHFirmwareNotification/UpdateRequested",
            Kind::Activated => "SMETS1CHFirmwareNotification/ActivationSuccessful",
            Kind::KeyMissing => "S1SPAlertDSP/key",
            Kind::ActivationFailed => "S1SPAlertDSP/activation",
        }
    }
}

/// A message to be sent. Ordered by when it is due, then by its serial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delivery {
    pub due: Millis,
    /// Says which ResponseID: the two copies of a doubled message share it.
    pub serial: u32,
    pub kind: Kind,
    pub attempts: u8,
    /// Index of the request it answers.
    pub request: u32,
    /// How long it was put off by deliveries that failed.
    pub waited_ms: u32,
    /// Of a warning: none (zero).
    pub device: DeviceId,
}

impl Delivery {
    /// When DCC made it: the same at every attempt.
    pub fn made(&self) -> Millis {
        self.due - u64::from(self.waited_ms)
    }

    /// The same message, to be tried again after `wait_ms`.
    pub fn again(self, now: Millis, wait_ms: u32) -> Delivery {
        let due = now + u64::from(wait_ms);
        let waited_ms = u32::try_from(due - self.made()).unwrap_or(u32::MAX);
        Delivery { due, waited_ms, attempts: self.attempts.saturating_add(1), ..self }
    }

    /// What it says. Only an S1SP alert names the request in its header (as in the samples); a warning has no ResponseID.
    pub fn response(&self, request: &AcceptedRequest, first_counter: u64, at: Time) -> Response {
        let response_id = RequestId {
            originator: request.id.target,
            target: request.id.originator,
            counter: first_counter + u64::from(self.serial),
        };
        let response = |request_id, response_id, code: &str, body| Response {
            schema_version: request.schema_version.clone(),
            request_id,
            response_id,
            code: code.to_string(),
            at,
            body,
        };
        let alert = |code: &str, alert| Body::Alert {
            alert_code: code.to_string(),
            throttled: Throttled::default(),
            alert,
            unknown: Vec::new(),
        };
        let s1sp = |code: &str, text: &str| Alert::S1spAlert {
            request_id: Some(request.id),
            device: Some(self.device),
            code: code.to_string(),
            information: Some(text.to_string()),
            at,
        };
        let firmware = |status| Alert::Smets1FirmwareNotification {
            device: self.device,
            firmware_version: request.firmware_version.clone(),
            status,
        };
        let (request_id, body) = match self.kind {
            Kind::Warning => {
                let content = Content::UpdateFirmwareWarning(request.warning.clone());
                let (service_reference, service_reference_variant) = ("11.1".to_string(), "11.1".to_string());
                let body = Body::Message { service_reference, service_reference_variant, content };
                return response(Some(request.id), None, CODE_WARNING, body);
            }
            Kind::UpdateRequested => (None, alert(ALERT_CODE_SMETS1_FIRMWARE, firmware(Smets1FirmwareStatus::UpdateRequested))),
            Kind::Activated => (None, alert(ALERT_CODE_SMETS1_FIRMWARE, firmware(Smets1FirmwareStatus::ActivationSuccessful))),
            Kind::KeyMissing => (Some(request.id), alert(ALERT_CODE_S1SP, s1sp(S1SP_CODE_KEY_MISSING, S1SP_TEXT_KEY_MISSING))),
            Kind::ActivationFailed => {
                (Some(request.id), alert(ALERT_CODE_S1SP, s1sp(S1SP_CODE_ACTIVATION_FAILED, S1SP_TEXT_ACTIVATION_FAILED)))
            }
        };
        response(request_id, Some(response_id), CODE_DONE, body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_owed_takes_32_bytes() {
        assert_eq!(std::mem::size_of::<Delivery>(), 32);
    }

    #[test]
    fn a_message_put_off_keeps_the_moment_it_was_made() {
        let delivery = Delivery {
            due: 1_000,
            serial: 1,
            kind: Kind::Activated,
            attempts: 0,
            request: 0,
            waited_ms: 0,
            device: DeviceId::from_db(1),
        };
        let again = delivery.again(1_500, 100).again(9_000, 5_000);
        assert_eq!((again.due, again.made(), again.attempts), (14_000, 1_000, 2));
    }
}
