//! Writes 11.1 requests: canonical bytes, digested as they stand, signed in one pass. The image is never copied beyond its base64.

use std::fmt::Write;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{DuisVersion, MAX_DEVICES_PER_REQUEST, MAX_IMAGE_BYTES, SignError, Signer, seal::Writer};
use crate::{
    failure::Failure,
    ids::{DeviceId, RequestId, Sha256Hash},
};

/// Characters of a firmware version (schema `FirmwareVersion`).
const MAX_FIRMWARE_VERSION_CHARS: usize = 8;
/// A Device ID and the comma after it.
const DEVICE_BYTES: usize = 24;
/// What surrounds image and list in a request, rounded up.
const FRAME_BYTES: usize = 1_024;

/// An 11.1 `UpdateFirmware` request to be written.
#[derive(Debug, Clone)]
pub struct UpdateFirmwareRequest<'a> {
    pub id: RequestId,
    pub duis_version: DuisVersion,
    pub image: &'a [u8],
    pub firmware_version: &'a str,
    pub devices: &'a [DeviceId],
}

#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("a request names 1 to 50000 devices, not {0}")]
    Devices(usize),
    #[error("an image has 1 to 10240000 bytes, not {0}")]
    Image(usize),
    #[error("a firmware version has 1 to 8 characters, not {0:?}")]
    FirmwareVersion(String),
    #[error("the schema has no way to say this: {0}")]
    Unwritable(String),
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Failure {
        let failure = Failure::failed(format!("the message cannot be built: {error}"));
        match error {
            BuildError::Sign(e) => e.into(),
            BuildError::Devices(_) => failure.help("split the devices into several requests, see --batch-size"),
            BuildError::Image(_) => failure.help("the schema of 11.1 takes images of at most 10240000 bytes"),
            BuildError::FirmwareVersion(_) => failure.help("correct firmware_version in the image's manifest"),
            BuildError::Unwritable(_) => failure.help("see duis.xsd for what this element may hold"),
        }
    }
}

/// A message ready to leave.
#[derive(Debug, Clone)]
pub struct SignedMessage {
    pub bytes: Vec<u8>,
    /// Its DigestValue: what a resend must have too.
    pub body_digest: Sha256Hash,
}

/// Builds and signs an 11.1 request.
pub fn build_update_firmware(request: &UpdateFirmwareRequest<'_>, signer: &dyn Signer) -> Result<SignedMessage, BuildError> {
    let (sealed, body_digest) = unsigned_update_firmware(request)?.seal(signer)?;
    Ok(SignedMessage { bytes: sealed.into_bytes(), body_digest })
}

/// The digest the same request would have, without signing it.
pub fn body_digest_of_update_firmware(request: &UpdateFirmwareRequest<'_>) -> Result<Sha256Hash, BuildError> {
    Ok(unsigned_update_firmware(request)?.digest())
}

fn unsigned_update_firmware(request: &UpdateFirmwareRequest<'_>) -> Result<Writer, BuildError> {
    let UpdateFirmwareRequest { id, duis_version, image, firmware_version, devices } = request;
    if devices.is_empty() || devices.len() > MAX_DEVICES_PER_REQUEST {
        return Err(BuildError::Devices(devices.len()));
    }
    if image.is_empty() || image.len() > MAX_IMAGE_BYTES {
        return Err(BuildError::Image(image.len()));
    }
    let version_chars = firmware_version.chars().count();
    if version_chars == 0 || version_chars > MAX_FIRMWARE_VERSION_CHARS || firmware_version.chars().any(char::is_control) {
        return Err(BuildError::FirmwareVersion(firmware_version.to_string()));
    }
    let capacity = image.len().div_ceil(3) * 4 + devices.len() * DEVICE_BYTES + FRAME_BYTES;
    let mut writer = Writer::new("Request", &duis_version.to_string(), capacity);
    writer.element("Header", |w| {
        w.leaf("RequestID", id);
        w.leaf("CommandVariant", 8);
        w.leaf("ServiceReference", "11.1");
        w.leaf("ServiceReferenceVariant", "11.1");
    });
    writer.element("Body", |w| {
        w.element("UpdateFirmware", |w| {
            w.plain_leaf("FirmwareImage", |out| STANDARD.encode_string(image, out));
            w.leaf("FirmwareVersion", firmware_version);
            w.plain_leaf("DeviceIDList", |out| push_devices(out, devices));
        });
    });
    match writer.unwritable() {
        None => Ok(writer),
        Some(_) => Err(BuildError::FirmwareVersion(firmware_version.to_string())),
    }
}

/// Device IDs, comma between them (schema `DeviceIDList`).
pub(super) fn push_devices(out: &mut String, devices: &[DeviceId]) {
    for (n, device) in devices.iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        write!(out, "{comma}{device}").expect("a String takes everything");
    }
}
