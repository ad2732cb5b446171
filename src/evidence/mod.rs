//! Evidence packs: an archive of what was decided about a campaign and by what, signed as a whole, that anybody can check without
//! this program and nobody can change. Not where its contents come from (that is `app`), and no database: whoever verifies a pack has
//! none. Promise: one byte changed, added or taken away, anywhere in the file, and it does not pass.
//!
//! Our own archive code, and not a ZIP crate: a pack is read in one strict form, so that what an auditor's tool shows is what was
//! signed, and a later version of a crate cannot write a form that an older pack does not have.

pub mod archive;
mod error;
mod manifest;
mod pack;
mod packed;
pub mod summary;
mod verify;

pub use error::{Change, EvidenceError};
pub use manifest::PAYLOAD_TYPE;
pub use pack::{Pack, Written};
pub use packed::{Packed, Packer};
#[cfg(any(test, feature = "fuzzing"))]
pub use verify::read_whoever_signed;
pub use verify::{Verified, verify};

/// What the pack is about; the first thing to read.
pub const HEAD: &str = "evidence.json";
/// Every other entry but the signature, with its hash.
pub const MANIFEST: &str = "manifest.json";
/// The signature: a DSSE envelope whose payload is the manifest.
pub const SIGNATURE: &str = "manifest.dsse.json";

#[cfg(test)]
pub(crate) mod tests;
