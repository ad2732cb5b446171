//! What a message says, once it is read: the schema's element names and spellings, as Rust types. No XML here.

use std::{fmt, str::FromStr};

use crate::{
    clock::Time,
    ids::{DeviceId, IdError, RequestId, Sha256Hash},
};

/// Most Device IDs one 11.1 request may name (domain.md: the schema's 1,199,999 characters).
pub const MAX_DEVICES_PER_REQUEST: usize = 50_000;
/// Most bytes of a firmware image (schema `UpdateFirmware/FirmwareImage`, maxLength).
pub const MAX_IMAGE_BYTES: usize = 10_240_000;

/// `schemaVersion`: 3.0, 3.1, 5.0 ... 5.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DuisVersion {
    pub major: u8,
    pub minor: u8,
}

impl FromStr for DuisVersion {
    type Err = IdError;

    fn from_str(s: &str) -> Result<DuisVersion, IdError> {
        let parsed = s.split_once('.').and_then(|(a, b)| {
            let digit = |t: &str| (t.len() == 1).then(|| t.parse::<u8>().ok()).flatten();
            Some(DuisVersion { major: digit(a)?, minor: digit(b)? })
        });
        parsed.ok_or_else(|| IdError::new(s, "a DUIS version such as 3.1"))
    }
}

impl fmt::Display for DuisVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A Service Request, as the receiving side reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub schema_version: String,
    pub id: RequestId,
    pub command_variant: u8,
    pub service_reference: String,
    pub service_reference_variant: String,
    pub body: RequestBody,
    /// The DigestValue of its signature: two requests that say the same have the same.
    pub body_digest: Sha256Hash,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestBody {
    /// 11.1
    UpdateFirmware { image: Vec<u8>, firmware_version: String, devices: Vec<DeviceId> },
    /// Any other: the name of its element.
    Other(String),
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// `ResponseMessage`
    Message { service_reference: String, service_reference_variant: String, content: Content },
    /// `DCCAlertMessage`
    Alert { alert_code: String, throttled_alert_count: Option<u32>, alert: Alert },
    /// Anything else the schema allows in a Response's Body (e.g. `DeviceAlertMessage`): its element name.
    Other(String),
}

/// What a `ResponseMessage` carries beside its service reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Nothing: an acknowledgement, or an answer with no data.
    None,
    /// `DSPUpdateFirmwareWarning`: devices dropped from the request.
    UpdateFirmwareWarning(UpdateFirmwareWarning),
    /// Any other: its element name.
    Other(String),
}

/// `DSPUpdateFirmwareWarning`: the devices DCC dropped, by why. The rest of the request goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdateFirmwareWarning {
    pub invalid: Vec<DeviceId>,
    pub not_commissioned: Vec<DeviceId>,
    pub not_applicable_firmware: Vec<DeviceId>,
    pub other_request_in_progress: Vec<DeviceId>,
    pub invalid_gbcs_version: Vec<DeviceId>,
}

/// The alerts a firmware upgrade can meet (domain.md, pipeline 5). `Other` keeps the element name of the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alert {
    Smets1FirmwareNotification {
        device: DeviceId,
        firmware_version: String,
        status: Smets1FirmwareStatus,
    },
    /// `S1SPAlertDSP/S1SPAlert`: a SMETS1 service provider's own code and text.
    S1spAlert {
        request_id: Option<RequestId>,
        device: Option<DeviceId>,
        code: String,
        information: Option<String>,
        at: Time,
    },
    /// `PPMIDAlert` with a `PPMIDFirmwareUpgradeAlert`.
    PpmidFirmwareUpgrade {
        device: DeviceId,
        firmware_version: String,
        success: bool,
        at: Option<Time>,
    },
    /// `PPMIDAlert` without one.
    Ppmid {
        device: DeviceId,
    },
    FirmwareDistributionFailure {
        request_id: RequestId,
        devices: Vec<DeviceId>,
    },
    CspFirmwareDeliveryStatus {
        request_id: RequestId,
        comms_hub: DeviceId,
        firmware_version: String,
        success: bool,
    },
    /// `CommsHubAlert/FirmwareTransferAlert`.
    FirmwareTransfer {
        request_id: Option<RequestId>,
        device: DeviceId,
        firmware_version: String,
        result: FirmwareTransferResult,
    },
    FirmwareVersionMismatch {
        device: DeviceId,
        version_in_inventory: String,
        version_on_device: String,
    },
    /// `ChangeOfSupplier/DeviceChangeOfSupplier`.
    ChangeOfSupplier {
        device: Option<DeviceId>,
    },
    /// `DeviceStatusChangeEvent`: the name of the change's element, e.g. `DeviceSuspended`.
    DeviceStatusChange {
        device: DeviceId,
        change: String,
    },
    PpmidRemoval {
        device: DeviceId,
        comms_hub: DeviceId,
    },
    /// `QuarantinedRequest`: held back by DCC's anomaly detection.
    QuarantinedRequest {
        request_id: RequestId,
        quarantine_event_ref: String,
        breach: String,
    },
    DuisVersionMismatch {
        request_id: Option<RequestId>,
        device: Option<DeviceId>,
    },
    Other(String),
}

/// Schema: `SMETS1CHFirmwareNotification/FirmwareVersionUpdateStatus`. It has no failure value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Smets1FirmwareStatus {
    UpdateRequested,
    ActivationSuccessful,
}

/// Schema: `FirmwareTransferAlert/TransferResponseCode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirmwareTransferResult {
    FileTransferSuccess,
    FirmwareImageDiscarded,
    HardwareVersionMismatch,
    FileTransferFailure,
}

impl Response {
    /// What kind of message this is, in one word: the innermost element that says so.
    pub fn kind(&self) -> &str {
        match &self.body {
            Body::Message { content: Content::None, .. } => "ResponseMessage",
            Body::Message { content: Content::UpdateFirmwareWarning(_), .. } => "DSPUpdateFirmwareWarning",
            Body::Message { content: Content::Other(name), .. } | Body::Other(name) => name,
            Body::Alert { alert, .. } => alert.element(),
        }
    }
}

impl Alert {
    /// The child of `DCCAlert` that carries it.
    pub fn element(&self) -> &str {
        match self {
            Alert::Smets1FirmwareNotification { .. } => "SMETS1CHFirmwareNotification",
            Alert::S1spAlert { .. } => "S1SPAlertDSP",
            Alert::PpmidFirmwareUpgrade { .. } | Alert::Ppmid { .. } => "PPMIDAlert",
            Alert::FirmwareDistributionFailure { .. } => "FirmwareDistributionFailure",
            Alert::CspFirmwareDeliveryStatus { .. } => "CSPFirmwareDeliveryStatus",
            Alert::FirmwareTransfer { .. } => "CommsHubAlert",
            Alert::FirmwareVersionMismatch { .. } => "FirmwareVersionMismatch",
            Alert::ChangeOfSupplier { .. } => "ChangeOfSupplier",
            Alert::DeviceStatusChange { .. } => "DeviceStatusChangeEvent",
            Alert::PpmidRemoval { .. } => "PPMIDRemoval",
            Alert::QuarantinedRequest { .. } => "QuarantinedRequest",
            Alert::DuisVersionMismatch { .. } => "DUISVersionMismatch",
            Alert::Other(name) => name,
        }
    }
}
