//! Reads messages from the bytes that were verified, and from nothing else.

use super::{CertificateSet, Request, Response, SignatureError};
use crate::clock::Time;

/// Verifies a signed Response against the pinned set and reads it. `at` is when the certificate must be valid.
pub fn read_response(_bytes: &[u8], _pinned: &CertificateSet, _at: Time) -> Result<Response, SignatureError> {
    unimplemented!()
}

/// Verifies a signed Request against the pinned set and reads it.
pub fn read_request(_bytes: &[u8], _pinned: &CertificateSet, _at: Time) -> Result<Request, SignatureError> {
    unimplemented!()
}

/// Reads an unsigned acknowledgement of an error: only for the synchronous reply on our own connection, only a refusal
/// (signature profile, rule 9). A success is never read without a signature.
pub fn read_unsigned_refusal(_bytes: &[u8]) -> Result<Response, SignatureError> {
    unimplemented!()
}
