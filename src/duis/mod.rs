//! DUIS messages on the wire: what they say (`messages`), how they are written, signed, verified and read.
//! Knows nothing of campaigns, sites or databases. Promise: what [`read_response`] and [`read_request`] return was
//! read from the very bytes whose signature was checked.
//!
//! Inbound: `prescan` (bytes) -> `verify` (profile, `canonical` form, signature) -> `read` (from the canonical bytes).
//! Outbound: `write` -> `seal` (canonical from the start, digest, signature).
//! The simulator shares this room and no other with the product, so third-party tools (`xmllint`, `xmlsec1`)
//! check what is written here in `peer_tests`.

mod messages;
mod profile;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod properties;
mod read;
mod seal;
mod sign;
mod signature;
mod write;

#[cfg(test)]
mod canonical_tests;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod peer_tests;
#[cfg(test)]
pub(crate) mod random;
#[cfg(test)]
mod read_tests;
#[cfg(test)]
mod round_trip_tests;
#[cfg(test)]
mod sample_tests;
#[cfg(test)]
pub(crate) mod samples;

pub use messages::*;
pub use profile::{Certificate, CertificateError, CertificateSet, MAX_MESSAGE_BYTES, Pinned, SignatureError, named_signer};
pub use read::{
    Claimed, MessageKind, VerifiedMessage, claimed_signature_value, message_kind, read_kept_response, read_request,
    read_response, read_unsigned_refusal, read_unverified, verify_and_read_response, verify_message,
};
pub use sign::{ResignError, sign_request};
pub use signature::{FileSigner, SignError, Signer};
pub use write::{
    Asks, BuildError, Firmware, ServiceRequest, SignedMessage, build_request, request_digest, unsigned_request, write_response,
    write_response_as, write_unsigned_refusal,
};

use profile::{canonical, prescan, verify};

/// The namespace of every element of DUIS.
const SR: &str = "http://www.dccinterface.co.uk/ServiceUserGateway";
/// The namespace of what SMETS1 devices say inside.
const RA: &str = "http://www.dccinterface.co.uk/ResponseAndAlert";
