//! Writes Service Requests: canonical bytes, digested as they are written, signed. What DCC would refuse is refused before.
//! The image is never copied beyond its base64.

use std::fmt;

use super::{BuildError, SignedMessage};
use crate::{
    duis::{
        DuisVersion, MAX_DEVICES_PER_REQUEST, MAX_IMAGE_BYTES, RequestKind, Signer,
        seal::{DEVICE_BYTES, Writer, is_xml},
    },
    ids::{DeviceId, RequestId, Sha256Hash},
};

/// Characters of a firmware version (schema `FirmwareVersion`).
const MAX_FIRMWARE_VERSION_CHARS: usize = 8;
/// What surrounds image and list in a request, rounded up.
const FRAME_BYTES: usize = 1_024;

/// A Service Request to be written.
#[derive(Debug, Clone)]
pub struct ServiceRequest<'a> {
    /// Its target is DCC's own id; of an 11.2 the device that is asked.
    pub id: RequestId,
    /// Written as `schemaVersion`.
    pub duis_version: DuisVersion,
    pub asks: Asks<'a>,
}

/// What it asks for.
#[derive(Debug, Clone)]
pub enum Asks<'a> {
    /// 8.2
    ReadInventory { device: DeviceId },
    /// 11.1: SMETS1 PPMIDs, in every version.
    UpdateFirmware(Firmware<'a>),
    /// 11.2: of the device that is the target in the RequestID.
    ReadFirmwareVersion,
    /// 11.4: SMETS2+ PPMIDs, from DUIS 5.0.
    UpdatePpmidFirmware(Firmware<'a>),
}

/// An image and the devices it is for.
#[derive(Clone)]
pub struct Firmware<'a> {
    pub image: &'a [u8],
    pub firmware_version: &'a str,
    pub devices: &'a [DeviceId],
}

impl fmt::Debug for Firmware<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Firmware")
            .field("image_bytes", &self.image.len())
            .field("firmware_version", &self.firmware_version)
            .field("devices", &self.devices.len())
            .finish()
    }
}

impl Asks<'_> {
    pub fn kind(&self) -> RequestKind {
        match self {
            Asks::ReadInventory { .. } => RequestKind::ReadInventory,
            Asks::UpdateFirmware(_) => RequestKind::UpdateFirmware,
            Asks::ReadFirmwareVersion => RequestKind::ReadFirmwareVersion,
            Asks::UpdatePpmidFirmware(_) => RequestKind::UpdatePpmidFirmware,
        }
    }

    fn firmware(&self) -> Option<&Firmware<'_>> {
        match self {
            Asks::UpdateFirmware(firmware) | Asks::UpdatePpmidFirmware(firmware) => Some(firmware),
            Asks::ReadInventory { .. } | Asks::ReadFirmwareVersion => None,
        }
    }
}

/// Builds and signs a request.
pub fn build_request(request: &ServiceRequest<'_>, signer: &dyn Signer) -> Result<SignedMessage, BuildError> {
    let (sealed, body_digest) = unsigned(request)?.seal(signer)?;
    Ok(SignedMessage { bytes: sealed.into_bytes(), body_digest })
}

/// Writes a request without a signature, for [`crate::duis::sign_request`] or another tool to sign.
pub fn unsigned_request(request: &ServiceRequest<'_>) -> Result<Vec<u8>, BuildError> {
    Ok(unsigned(request)?.close()?.into_bytes())
}

/// The digest the same request would have, without signing it.
pub fn request_digest(request: &ServiceRequest<'_>) -> Result<Sha256Hash, BuildError> {
    unsigned(request)?.digest()
}

fn unsigned(request: &ServiceRequest<'_>) -> Result<Writer, BuildError> {
    let ServiceRequest { id, duis_version, asks } = request;
    let kind = asks.kind();
    if !duis_version.is_known() {
        return Err(BuildError::Version(*duis_version));
    }
    if *duis_version < kind.since() {
        return Err(BuildError::TooOld { kind, version: *duis_version });
    }
    let firmware = asks.firmware();
    firmware.map_or(Ok(()), check)?;
    let lists = firmware.map_or(0, |f| f.image.len().div_ceil(3) * 4 + f.devices.len() * DEVICE_BYTES);
    let mut writer = Writer::new("Request", &duis_version.to_string(), lists + FRAME_BYTES);
    writer.element("Header", |w| {
        w.leaf("RequestID", id);
        w.leaf("CommandVariant", kind.command_variant());
        w.leaf("ServiceReference", kind.service_reference());
        w.leaf("ServiceReferenceVariant", kind.service_reference());
    });
    writer.element("Body", |w| {
        w.element(kind.element(), |w| match asks {
            Asks::ReadInventory { device } => w.leaf("DeviceID", device),
            Asks::ReadFirmwareVersion => {}
            Asks::UpdateFirmware(firmware) | Asks::UpdatePpmidFirmware(firmware) => {
                w.base64("FirmwareImage", firmware.image);
                w.leaf("FirmwareVersion", firmware.firmware_version);
                w.devices("DeviceIDList", firmware.devices);
            }
        });
    });
    Ok(writer)
}

fn check(firmware: &Firmware<'_>) -> Result<(), BuildError> {
    let Firmware { image, firmware_version, devices } = firmware;
    if devices.is_empty() || devices.len() > MAX_DEVICES_PER_REQUEST {
        return Err(BuildError::Devices(devices.len()));
    }
    if image.is_empty() || image.len() > MAX_IMAGE_BYTES {
        return Err(BuildError::Image(image.len()));
    }
    let chars = firmware_version.chars().count();
    let unfit = firmware_version.chars().any(|c| c.is_control() || !is_xml(c));
    if chars == 0 || chars > MAX_FIRMWARE_VERSION_CHARS || unfit {
        return Err(BuildError::FirmwareVersion(firmware_version.to_string()));
    }
    named_twice(devices).map_or(Ok(()), |device| Err(BuildError::Twice(device)))
}

/// A device that is in the list twice. Lists of ours are in order, which shows it without sorting.
fn named_twice(devices: &[DeviceId]) -> Option<DeviceId> {
    if devices.is_sorted_by(|a, b| a < b) {
        return None;
    }
    let mut sorted = devices.to_vec();
    sorted.sort_unstable();
    sorted.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}
