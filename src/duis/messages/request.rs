//! What a Service Request says: versions, the four kinds of this program, a request as its receiver reads it. No XML.

use std::{fmt, str::FromStr};

use crate::ids::{DeviceId, IdError, RequestId, Sha256Hash};

/// Most Device IDs one 11.1 request may name (schema `DeviceIDList`: 1,199,999 characters).
pub const MAX_DEVICES_PER_REQUEST: usize = 50_000;
/// Most bytes of a firmware image (schema `UpdateFirmware/FirmwareImage`, maxLength).
pub const MAX_IMAGE_BYTES: usize = 10_240_000;

/// `schemaVersion`. Any `digit.digit` is read; [`DuisVersion::is_known`] says whether requests may be written in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DuisVersion {
    pub major: u8,
    pub minor: u8,
}

impl DuisVersion {
    /// The versions that requests are written in; between 3.1 and 5.0 none has the PPMID function in a form read here.
    pub const KNOWN: [DuisVersion; 7] = [
        DuisVersion { major: 3, minor: 0 },
        DuisVersion { major: 3, minor: 1 },
        DuisVersion { major: 5, minor: 0 },
        DuisVersion { major: 5, minor: 1 },
        DuisVersion { major: 5, minor: 2 },
        DuisVersion { major: 5, minor: 3 },
        DuisVersion { major: 5, minor: 4 },
    ];

    pub fn is_known(self) -> bool {
        Self::KNOWN.contains(&self)
    }
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

    /// The first DUIS version that has it (domain.md, pipeline 1).
    pub fn since(self) -> DuisVersion {
        match self {
            RequestKind::ReadInventory | RequestKind::UpdateFirmware | RequestKind::ReadFirmwareVersion => {
                DuisVersion { major: 3, minor: 0 }
            }
            RequestKind::UpdatePpmidFirmware => DuisVersion { major: 5, minor: 0 },
        }
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
#[derive(Clone, PartialEq, Eq)]
pub struct FirmwareUpdate {
    pub image: Vec<u8>,
    pub firmware_version: String,
    pub devices: Vec<DeviceId>,
}

impl fmt::Debug for FirmwareUpdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FirmwareUpdate")
            .field("image_bytes", &self.image.len())
            .field("firmware_version", &self.firmware_version)
            .field("devices", &self.devices.len())
            .finish()
    }
}
