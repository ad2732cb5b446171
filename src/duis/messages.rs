//! What a message says, once it is read: the schema's element names and spellings, as Rust types. No XML here.

use std::{fmt, str::FromStr};

use crate::{
    clock::Time,
    ids::{DeviceId, IdError, RequestId, Sha256Hash, UserId},
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

/// The Service Requests of this program, each with what the wire says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestKind {
    /// 8.2, of one Device ID.
    ReadInventory,
    /// 11.1: for SMETS1 PPMIDs, always.
    UpdateFirmware,
    /// 11.2, to the device itself.
    ReadFirmwareVersion,
    /// 11.4: for SMETS2+ PPMIDs, from DUIS 5.0.
    UpdatePpmidFirmware,
}

impl RequestKind {
    pub const ALL: [RequestKind; 4] = [
        RequestKind::ReadInventory,
        RequestKind::UpdateFirmware,
        RequestKind::ReadFirmwareVersion,
        RequestKind::UpdatePpmidFirmware,
    ];

    /// `ServiceReference`, and its variant, which is the same for each of these.
    pub fn service_reference(self) -> &'static str {
        match self {
            RequestKind::ReadInventory => "8.2",
            RequestKind::UpdateFirmware => "11.1",
            RequestKind::ReadFirmwareVersion => "11.2",
            RequestKind::UpdatePpmidFirmware => "11.4",
        }
    }

    /// `CommandVariant`: 8 is Non-Device, 1 a command to be sent to a device.
    pub fn command_variant(self) -> u8 {
        match self {
            RequestKind::ReadInventory | RequestKind::UpdateFirmware | RequestKind::UpdatePpmidFirmware => 8,
            RequestKind::ReadFirmwareVersion => 1,
        }
    }

    /// The element in the request's Body.
    pub fn element(self) -> &'static str {
        match self {
            RequestKind::ReadInventory => "ReadInventory",
            RequestKind::UpdateFirmware => "UpdateFirmware",
            RequestKind::ReadFirmwareVersion => "ReadFirmwareVersion",
            RequestKind::UpdatePpmidFirmware => "UpdatePPMIDFirmware",
        }
    }
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestBody {
    /// 8.2 by Device ID; by anything else it is [`RequestBody::Other`].
    ReadInventory { device: DeviceId },
    /// 11.1
    UpdateFirmware(FirmwareUpdate),
    /// 11.2: the device is the target in the RequestID.
    ReadFirmwareVersion,
    /// 11.4
    UpdatePpmidFirmware(FirmwareUpdate),
    /// Any other: the name of its element.
    Other(String),
}

/// Schema `UpdateFirmware` and `UpdatePPMIDFirmware`, which have one shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirmwareUpdate {
    pub image: Vec<u8>,
    pub firmware_version: String,
    pub devices: Vec<DeviceId>,
}

/// An element that is not known here, kept whole: its name and its canonical XML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownElement {
    pub name: String,
    pub xml: String,
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
    /// `DCCAlertMessage`. `unknown`: elements of a known alert that this program does not know.
    Alert { alert_code: String, throttled_alert_count: Option<u32>, alert: Alert, unknown: Vec<UnknownElement> },
    /// `DeviceAlertMessage`: a GBCS payload, which stays the opaque bytes it is.
    DeviceAlert { alert_code: String, throttled_alert_count: Option<u32>, gbcs_payload: Vec<u8> },
    /// `SMETS1ResponseMessage`: what a SMETS1 device answered or reported, signed by its service provider inside.
    Smets1(Smets1Response),
    /// Anything else in a Response's Body.
    Other(UnknownElement),
}

/// `SMETS1SignedResponse`. The service provider's own signature, inside, is evidence: the message keeps it, nothing reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Smets1Response {
    pub service_reference: Option<String>,
    pub throttled_alert_count: Option<u32>,
    /// `BusinessOriginatorID`: the device.
    pub device: DeviceId,
    /// `BusinessTargetID`: the user, or DCC.
    pub target: UserId,
    /// `OriginatorCounter`.
    pub counter: u64,
    pub content: Smets1Content,
}

/// What a SMETS1 device says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Smets1Content {
    /// `ReadFirmwareVersionRsp`: the answer to 11.2. `success` is its `MessageSuccess`.
    FirmwareVersion { success: Option<bool>, firmware_version: Option<String> },
    /// Any other response or alert of the device.
    Other(UnknownElement),
}

/// What a `ResponseMessage` carries beside its service reference.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// Schema `Device`, of a `DSPInventory`. Its address and supply numbers are personal data: `Debug` does not show them.
#[derive(Clone, PartialEq, Eq)]
pub struct InventoryDevice {
    pub device_id: DeviceId,
    /// `ESME`, `GSME`, `GPF`, `CHF`, `HCALCS`, `PPMID`, `IHD`, `CAD`.
    pub device_type: String,
    /// `Pending` ... `Commissioned` ... `Recovered`.
    pub device_status: Option<String>,
    pub manufacturer: String,
    pub model: String,
    pub smets_chts_version: Option<String>,
    pub firmware_version: Option<String>,
    pub firmware_version_status: Option<String>,
    pub cpl_status: Option<String>,
    /// `DateCommissioned`, as written.
    pub date_commissioned: Option<String>,
    pub import_mpxn: Option<String>,
    pub secondary_import_mpan: Option<String>,
    pub export_mpan: Option<String>,
    pub esme_variant: Option<String>,
    pub uprn: Option<String>,
    /// `PropertyFilter`: an address.
    pub property_filter: Option<PropertyFilter>,
    pub csp_region: Option<String>,
    pub gbcs_version: Option<String>,
    pub han_variant: Option<String>,
    pub s1sp: Option<String>,
    pub connectivity: Option<String>,
}

/// Schema `PropertyFilter`.
#[derive(Clone, PartialEq, Eq)]
pub struct PropertyFilter {
    pub post_code: String,
    pub address_identifier: String,
}

impl fmt::Debug for InventoryDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InventoryDevice")
            .field("device_id", &self.device_id)
            .field("device_type", &self.device_type)
            .field("device_status", &self.device_status)
            .field("firmware_version", &self.firmware_version)
            .field("csp_region", &self.csp_region)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for PropertyFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PropertyFilter(..)")
    }
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
        /// `TargetDeviceID`: the device the image is for.
        device: DeviceId,
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
    /// A message was withheld because our DUIS version (`ServiceUserDUISVersion`) is too old for it.
    DuisVersionMismatch {
        request_id: Option<RequestId>,
        device: Option<DeviceId>,
        our_version: String,
    },
    Other(UnknownElement),
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
            Body::Message { content: Content::UpdateFirmwareWarning(_), service_reference, .. } => {
                if service_reference == RequestKind::UpdatePpmidFirmware.service_reference() {
                    "DSPUpdatePPMIDFirmwareWarning"
                } else {
                    "DSPUpdateFirmwareWarning"
                }
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
            Alert::Other(unknown) => &unknown.name,
        }
    }
}
