//! Whether an inbound message is DCC's. Not HTTP and not storage. Promise: what comes out was signed under a pinned certificate;
//! a message so signed is never turned away because it is not understood.

use super::inbox::NewMessage;
use crate::{
    clock::Time,
    duis::{CertificateSet, SignatureError, read_response, verify_message},
};

/// The message, if DCC signed it; otherwise a word for why not, of a fixed few.
pub fn authenticate(bytes: Vec<u8>, pinned: &CertificateSet, now: Time) -> Result<NewMessage, &'static str> {
    match read_response(&bytes, pinned, now) {
        Ok(response) => Ok(NewMessage::of(&response, bytes, now)),
        // Its signature is good, so it is DCC's; what it says is not understood.
        Err(SignatureError::Content(_)) => {
            let request_id = verify_message(&bytes, pinned, now).ok().and_then(|m| m.request_id);
            tracing::warn!("DCC signed a message that cannot be read; it is kept for an operator");
            Ok(NewMessage::unreadable(request_id, bytes, now))
        }
        Err(e) => Err(reason(&e)),
    }
}

/// The word a refusal is counted under: of a fixed few, so that no sender chooses them.
fn reason(error: &SignatureError) -> &'static str {
    match error {
        SignatureError::TooLarge(_) => "too-large",
        SignatureError::Malformed(_) => "malformed",
        SignatureError::Unsigned => "unsigned",
        SignatureError::Profile(_) => "profile",
        SignatureError::Digest => "digest",
        SignatureError::UnknownCertificate { .. } => "unknown-certificate",
        SignatureError::CertificateNotValid => "certificate-not-valid",
        SignatureError::Signature => "signature",
        SignatureError::Content(_) => "content",
    }
}
