//! Whether an inbound message is DCC's. Not HTTP and not storage. Promise: what comes out was signed under a pinned certificate;
//! a message so signed is never turned away because it is not understood.

use super::inbox::{
    NewMessage,
    store::{Quota, RefusedMessage},
};
use crate::{
    clock::Time,
    duis::{CertificateSet, SignatureError, verify_and_read_response, verify_message},
};

/// The message, if DCC signed it; otherwise why not, with a word of a fixed few.
pub fn authenticate(bytes: Vec<u8>, pinned: &CertificateSet, now: Time) -> Result<NewMessage, RefusedMessage> {
    let error = match verify_and_read_response(&bytes, pinned, now) {
        Ok((response, digest)) => return Ok(NewMessage::of(&response, digest, &bytes, now)),
        Err(error) => error,
    };
    // Its signature is good, so it is DCC's; what it says is not understood.
    if let SignatureError::Content(_) = error
        && let Ok(verified) = verify_message(&bytes, pinned, now)
    {
        tracing::warn!("DCC signed a message that cannot be read; it is kept for an operator");
        return Ok(NewMessage::unreadable(verified.request_id, verified.digest, &bytes, now));
    }
    let (reason, quota) = judged(&error);
    Err(RefusedMessage { received_at: now, reason, quota, detail: error.to_string(), bytes })
}

/// The word a refusal is counted under, of a fixed few, so that no sender chooses them; and how much of its kind is kept.
fn judged(error: &SignatureError) -> (&'static str, Quota) {
    match error {
        SignatureError::UnknownCertificate { .. } => ("unknown-certificate", Quota::Certified),
        SignatureError::CertificateNotValid => ("certificate-not-valid", Quota::Certified),
        SignatureError::Digest => ("digest", Quota::Shaped),
        SignatureError::Signature => ("signature", Quota::Shaped),
        SignatureError::Profile(_) => ("profile", Quota::Shaped),
        SignatureError::Unsigned => ("unsigned", Quota::Shaped),
        SignatureError::Content(_) => ("content", Quota::Shaped),
        SignatureError::TooLarge(_) => ("too-large", Quota::Junk),
        SignatureError::Malformed(_) => ("malformed", Quota::Junk),
    }
}
