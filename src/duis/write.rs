//! Writes requests and responses: canonical bytes from the start, no white space between elements, signed in one pass.

use super::{DuisVersion, Response, SignError, Signer};
use crate::ids::{DeviceId, RequestId, Sha256Hash};

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
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// A message ready to leave.
#[derive(Debug, Clone)]
pub struct SignedMessage {
    pub bytes: Vec<u8>,
    /// Its DigestValue: what a resend must have too.
    pub body_digest: Sha256Hash,
}

/// Builds and signs an 11.1 request.
pub fn build_update_firmware(_request: &UpdateFirmwareRequest<'_>, _signer: &dyn Signer) -> Result<SignedMessage, BuildError> {
    unimplemented!()
}

/// The digest the same request would have, without signing it.
pub fn body_digest_of_update_firmware(_request: &UpdateFirmwareRequest<'_>) -> Result<Sha256Hash, BuildError> {
    unimplemented!()
}

/// Writes and signs a Response (the DCC side: simulator and tests).
pub fn write_response(_response: &Response, _signer: &dyn Signer) -> Result<SignedMessage, BuildError> {
    unimplemented!()
}
