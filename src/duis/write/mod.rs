//! Writes messages: requests as we send them, Responses as DCC does (for the simulator and the tests). Each is canonical from its
//! first byte ([`super::seal`]), each element in the schema's order. What the schema or the wire cannot take is an error here.

mod alert;
mod error;
mod request;
mod response;
mod smets1;

pub use error::BuildError;
pub use request::{Asks, Firmware, ServiceRequest, build_request, request_digest, unsigned_request};
pub use response::{write_response, write_response_as, write_unsigned_refusal};

use crate::ids::Sha256Hash;

/// A message ready to leave.
#[derive(Debug, Clone)]
pub struct SignedMessage {
    pub bytes: Vec<u8>,
    /// Its DigestValue: what a resend must have too.
    pub body_digest: Sha256Hash,
}
