//! Why a file is no pack of the key asked about. Everything but a file that cannot be read is exit 4.

use crate::failure::Failure;

#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    #[error("the file cannot be read: {0}")]
    Read(#[source] std::io::Error),
    #[error("it is not an evidence pack as this program writes it, or was cut short, packed again or changed: {0}")]
    NotAPack(&'static str),
    #[error("it is not signed: {0}")]
    Unsigned(&'static str),
    #[error("it is signed by the key {keyid}, not by the key given")]
    ForeignKey { keyid: String },
    #[error("{entry}: {why}")]
    Entry { entry: String, why: Change },
    #[error("it was made by a later version of this program (layout {0})")]
    Schema(u32),
}

/// What is wrong with one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Change {
    #[error("its content is not what was signed")]
    Content,
    #[error("its header in the archive was changed")]
    Header,
    #[error("its compressed bytes were changed")]
    Packed,
    #[error("the signature does not fit the manifest")]
    Signature,
    #[error("it is signed for, but not in the pack")]
    Missing,
    #[error("it is in the pack, but nobody signed for it")]
    Unlisted,
    #[error("it is not what a manifest is")]
    Malformed,
    #[error("it is larger than such an entry can be")]
    TooLarge,
}

impl EvidenceError {
    pub(super) fn entry(name: &str, why: Change) -> EvidenceError {
        EvidenceError::Entry { entry: name.to_string(), why }
    }
}

impl From<std::io::Error> for EvidenceError {
    fn from(e: std::io::Error) -> EvidenceError {
        match e.kind() {
            std::io::ErrorKind::UnexpectedEof => EvidenceError::NotAPack("it ends too early"),
            _ => EvidenceError::Read(e),
        }
    }
}

impl From<EvidenceError> for Failure {
    fn from(e: EvidenceError) -> Failure {
        let message = e.to_string();
        match e {
            EvidenceError::Read(_) => Failure::failed(message).help("check the name and that you may read it"),
            EvidenceError::ForeignKey { .. } => Failure::untrusted(message)
                .help("do not rely on it; ask whoever made it which key is theirs, by another way than the pack came"),
            EvidenceError::Schema(_) => Failure::untrusted(message).help("check it with that version"),
            EvidenceError::NotAPack(_) | EvidenceError::Unsigned(_) | EvidenceError::Entry { .. } => Failure::untrusted(message)
                .help("do not rely on it: ask for the pack again, or make it again with `ppmid campaign evidence`"),
        }
    }
}
