//! Why a message is refused: one word for each thing that can be wrong, and what a person can do about it.

use super::shape::KeyName;
use crate::failure::Failure;

/// Longest piece of a message that is repeated in an error: what a stranger sent stays readable, and out of the log's way.
const SHOWN_CHARS: usize = 160;

/// Why a message is not what somebody we trust signed.
///
/// [`SignatureError::Content`] means that the signature was checked and is good: somebody we trust said something that is not
/// understood, so keep it for an operator. Every other variant means that nothing is known of the sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("it is larger than {0} bytes")]
    TooLarge(usize),
    #[error("it is not XML of the kind allowed: {0}")]
    Malformed(String),
    #[error("it has no signature")]
    Unsigned,
    #[error("its signature is not of the profile: {0}")]
    Profile(String),
    #[error("its digest does not match what it says")]
    Digest,
    #[error("it is signed with a certificate that is not pinned: {issuer}, serial {serial}")]
    UnknownCertificate { issuer: String, serial: String },
    #[error("the certificate it is signed with is not valid at this time")]
    CertificateNotValid,
    #[error("its signature is false")]
    Signature,
    #[error("it does not say what its kind must: {0}")]
    Content(String),
}

impl SignatureError {
    pub(in crate::duis) fn malformed(what: impl AsRef<str>) -> SignatureError {
        SignatureError::Malformed(shown(what.as_ref()))
    }

    pub(super) fn profile(what: impl Into<String>) -> SignatureError {
        SignatureError::Profile(what.into())
    }

    pub(super) fn unknown_certificate(key: &KeyName) -> SignatureError {
        SignatureError::UnknownCertificate { issuer: shown(&key.issuer), serial: key.serial.clone() }
    }
}

/// A stranger's text as it may stand in an error and a log: short, one line, and nothing that a terminal obeys or that turns the
/// direction of writing.
pub(super) fn shown(text: &str) -> String {
    let plain = |c: char| c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric();
    let mut shown: String = text.chars().take(SHOWN_CHARS).map(|c| if plain(c) { c } else { '\u{fffd}' }).collect();
    if text.chars().nth(SHOWN_CHARS).is_some() {
        shown.push_str("...");
    }
    shown
}

impl From<SignatureError> for Failure {
    fn from(error: SignatureError) -> Failure {
        let failure = Failure::untrusted(format!("the message is refused: {error}"));
        match error {
            SignatureError::UnknownCertificate { .. } => failure
                .help("if DCC has begun to sign with a new certificate, add its file to gateway.dcc_certificates")
                .help("a Request is checked against gateway.signing_certificate, a Response against gateway.dcc_certificates"),
            SignatureError::CertificateNotValid => {
                failure.help("pin the certificate that replaced it, and check this machine's clock")
            }
            SignatureError::TooLarge(_) | SignatureError::Malformed(_) => {
                failure.help("give one DUIS message, UTF-8, without comments or DTD")
            }
            SignatureError::Unsigned => {
                failure.help("only the immediate refusal of a request of ours may come without a signature")
            }
            SignatureError::Profile(_) | SignatureError::Digest | SignatureError::Signature => {
                failure.help("it was altered on its way, or made by software that does not follow the DUIS signature profile")
            }
            SignatureError::Content(_) => failure.help("its signature is not what is wrong: look at the message itself"),
        }
    }
}
