//! Why a message cannot be written, and what to do about it.

use crate::{
    duis::{DuisVersion, MAX_DEVICES_PER_REQUEST, MAX_IMAGE_BYTES, RequestKind, SignError},
    failure::Failure,
    ids::DeviceId,
};

#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("DUIS {0} is not a version that requests can be written in")]
    Version(DuisVersion),
    #[error(
        "{} ({}) came with DUIS {}, and the version to be written is {version}",
        .kind.service_reference(), .kind.element(), .kind.since()
    )]
    TooOld { kind: RequestKind, version: DuisVersion },
    #[error("a request names 1 to {MAX_DEVICES_PER_REQUEST} devices, not {0}")]
    Devices(usize),
    #[error("the device {0} is named twice")]
    Twice(DeviceId),
    #[error("an image has 1 to {MAX_IMAGE_BYTES} bytes, not {0}")]
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
            BuildError::Version(_) => failure.help("set gateway.duis_version to 3.0, 3.1, or one of 5.0 to 5.4"),
            BuildError::TooOld { .. } => failure
                .help("SMETS1 PPMIDs take 11.1 in every version")
                .help("for SMETS2+ PPMIDs set gateway.duis_version to 5.0 or later, if that is what DCC has you on"),
            BuildError::Devices(_) => failure.help("split the devices into several requests, see --batch-size"),
            BuildError::Twice(_) => failure.help("leave it out once"),
            BuildError::Image(_) => failure.help(format!("the schema takes images of at most {MAX_IMAGE_BYTES} bytes")),
            BuildError::FirmwareVersion(_) => failure.help("correct firmware_version in the image's manifest"),
            BuildError::Unwritable(_) => failure.help("see duis.xsd for what this element may hold"),
        }
    }
}
