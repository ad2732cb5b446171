//! DUIS messages on the wire: what they say ([`messages`]), how they are written, signed, verified and read.
//! Knows nothing of campaigns, sites or databases. Promise: what [`read_response`] and [`read_request`] return was
//! read from the very bytes whose signature was checked.
//!
//! The simulator shares this room and no other with the product, so third-party tools (`xmllint`, `xmlsec1`)
//! check what is written here in `tests/`.

mod certificate;
mod messages;
mod read;
mod signature;
mod write;

pub use certificate::{Certificate, CertificateError, CertificateSet};
pub use messages::*;
pub use read::{read_request, read_response, read_unsigned_refusal};
pub use signature::{FileSigner, SignError, SignatureError, Signer};
pub use write::{
    BuildError, SignedMessage, UpdateFirmwareRequest, body_digest_of_update_firmware, build_update_firmware, write_response,
};
