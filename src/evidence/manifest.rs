//! `manifest.json`: what is in a pack, entry by entry. It is what the signature covers, and through it every byte before it.

use serde::{Deserialize, Serialize};

use crate::ids::Sha256Hash;

/// The payload type of the signature (DSSE).
pub const PAYLOAD_TYPE: &str = "application/vnd.ppmid.evidence+json";
/// The layout that this program writes and reads.
pub const SCHEMA: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub schema: u32,
    /// Every entry but the manifest and its signature, by name.
    pub entries: Vec<Listed>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    pub name: String,
    /// Bytes of the content.
    pub size: u64,
    /// Of the content, lower-case hexadecimal: what `sha256sum` prints.
    pub sha256: Hex,
    /// Bytes in the archive, and their SHA-256: one content can be compressed in many ways.
    pub packed_size: u64,
    pub packed_sha256: Hex,
}

/// A hash as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hex(pub String);

impl From<Sha256Hash> for Hex {
    fn from(hash: Sha256Hash) -> Hex {
        Hex(hash.to_string())
    }
}

impl Manifest {
    /// The file: JSON on several lines, ending with a newline.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("names and numbers are always JSON") + "\n"
    }
}
