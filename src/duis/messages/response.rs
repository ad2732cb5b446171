//! What a Response says: an acknowledgement, a service response, an alert, or a device's own words. No XML.
//! Dispatch is on the body's element; codes are evidence and always kept as they were written.

use std::fmt;

use super::{Alert, InventoryDevice, RequestKind};
use crate::{
    clock::Time,
    ids::{DeviceId, RequestId, UserId},
};

/// An element that is not known here, kept whole: its name and its canonical XML, which may hold anything and is no log's
/// business: `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UnknownElement {
    pub name: String,
    /// Exclusive canonical XML of the element.
    pub xml: String,
}

impl fmt::Debug for UnknownElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnknownElement").field("name", &self.name).field("xml_bytes", &self.xml.len()).finish()
    }
}

/// A `Response`: an acknowledgement, a service response or an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub schema_version: String,
    pub request_id: Option<RequestId>,
    pub response_id: Option<RequestId>,
    /// The raw code, always kept: `I0`, `I99`, `W110101`, `E4` ...
    pub code: String,
    pub at: Time,
    pub body: Body,
}

/// Dispatch is on the body element; the DCCAlertCode is evidence only.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Body {
    /// `ResponseMessage`
    Message { service_reference: String, service_reference_variant: String, content: Content },
    /// `DCCAlertMessage`. `unknown`: elements of a known alert that have no field here.
    Alert { alert_code: String, throttled: Throttled, alert: Alert, unknown: Vec<UnknownElement> },
    /// `DeviceAlertMessage`: a GBCS payload, which stays the opaque bytes it is.
    DeviceAlert { alert_code: String, throttled: Throttled, gbcs_payload: Vec<u8> },
    /// `SMETS1ResponseMessage`: what a SMETS1 device answered or reported, signed by its service provider inside.
    Smets1(Smets1Response),
    /// Anything else in a Response's Body.
    Other(UnknownElement),
}

/// Of an alert that stands for several: DCC passes on one and says how many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Throttled {
    /// `ThrottledAlertSequenceId`
    pub sequence_id: Option<u32>,
    /// `ThrottledAlertCount`
    pub count: Option<u32>,
}

/// `SMETS1SignedResponse`. The service provider's own signature, inside, is evidence: the message keeps it, nothing reads it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Smets1Response {
    pub service_reference: Option<String>,
    pub service_reference_variant: Option<String>,
    pub throttled: Throttled,
    /// `BusinessOriginatorID`: the device.
    pub device: DeviceId,
    /// `BusinessTargetID`: the user, or DCC.
    pub target: UserId,
    /// `OriginatorCounter`.
    pub counter: u64,
    pub content: Smets1Content,
}

/// What a SMETS1 device says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Smets1Content {
    /// `ReadFirmwareVersionRsp`: the answer to 11.2. `success` is its `MessageSuccess`.
    FirmwareVersion { success: Option<bool>, firmware_version: Option<String> },
    /// Any other response or alert of the device: its `ResponseMessage` or `DeviceAlertMessage`.
    Other(UnknownElement),
}

/// What a `ResponseMessage` carries beside its service reference.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Content {
    /// Nothing: an acknowledgement, or an answer with no data.
    None,
    /// `DSPUpdateFirmwareWarning` (11.1) or `DSPUpdatePPMIDFirmwareWarning` (11.4), which have one shape: devices dropped
    /// from the request. Which of the two it is, the service reference says.
    UpdateFirmwareWarning(UpdateFirmwareWarning),
    /// `DSPInventory`: the answer to 8.2.
    Inventory(Vec<InventoryDevice>),
    /// `GBCSPayload`: a device's own answer, opaque bytes.
    GbcsPayload(Vec<u8>),
    /// Any other.
    Other(UnknownElement),
}

/// `DSPUpdateFirmwareWarning`: the devices DCC dropped, by why. The rest of the request goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct UpdateFirmwareWarning {
    pub invalid: Vec<DeviceId>,
    pub not_commissioned: Vec<DeviceId>,
    pub not_applicable_firmware: Vec<DeviceId>,
    pub other_request_in_progress: Vec<DeviceId>,
    pub invalid_gbcs_version: Vec<DeviceId>,
}

impl UpdateFirmwareWarning {
    /// Each list under the schema's name, in the schema's order.
    pub fn lists(&self) -> [(&'static str, &[DeviceId]); 5] {
        [
            ("InvalidDeviceIDList", &self.invalid),
            ("NotCommissionedDeviceIDList", &self.not_commissioned),
            ("NotApplicableFirmwareDeviceIDList", &self.not_applicable_firmware),
            ("OtherRequestInProgressList", &self.other_request_in_progress),
            ("InvalidGBCSVersionList", &self.invalid_gbcs_version),
        ]
    }
}

impl Content {
    /// The element that carries a warning for a request of this service reference.
    pub(in crate::duis) fn warning_element(service_reference: &str) -> &'static str {
        if service_reference == RequestKind::UpdatePpmidFirmware.service_reference() {
            "DSPUpdatePPMIDFirmwareWarning"
        } else {
            "DSPUpdateFirmwareWarning"
        }
    }
}

impl Response {
    /// What kind of message this is, in one word: the innermost element that says so.
    pub fn kind(&self) -> &str {
        match &self.body {
            Body::Message { content: Content::None, .. } => "ResponseMessage",
            Body::Message { content: Content::UpdateFirmwareWarning(_), service_reference, .. } => {
                Content::warning_element(service_reference)
            }
            Body::Message { content: Content::Inventory(_), .. } => "DSPInventory",
            Body::Message { content: Content::GbcsPayload(_), .. } => "GBCSPayload",
            Body::Message { content: Content::Other(unknown), .. } | Body::Other(unknown) => &unknown.name,
            Body::Alert { alert, .. } => alert.element(),
            Body::DeviceAlert { .. } => "DeviceAlertMessage",
            Body::Smets1(Smets1Response { content: Smets1Content::FirmwareVersion { .. }, .. }) => "ReadFirmwareVersionRsp",
            Body::Smets1(Smets1Response { content: Smets1Content::Other(_), .. }) => "SMETS1ResponseMessage",
        }
    }

    /// The request it is about: the one inside its alert, or its header's.
    pub fn about(&self) -> Option<RequestId> {
        let inside = match &self.body {
            Body::Alert { alert, .. } => alert.request_id(),
            Body::Message { .. } | Body::DeviceAlert { .. } | Body::Smets1(_) | Body::Other(_) => None,
        };
        inside.or(self.request_id)
    }

    /// How many alerts this one stands for, for counters: 1 where it does not say.
    pub fn stands_for(&self) -> u32 {
        let throttled = match &self.body {
            Body::Alert { throttled, .. } | Body::DeviceAlert { throttled, .. } => throttled,
            Body::Smets1(smets1) => &smets1.throttled,
            Body::Message { .. } | Body::Other(_) => return 1,
        };
        throttled.count.unwrap_or(1).max(1)
    }
}
