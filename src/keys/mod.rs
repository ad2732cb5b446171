//! Sites whose PPMID keys are missing (L§13): one open case per site, until it is resolved or closed. A case is what the
//! history of key results says ([`Episode`]); it judges no campaign. Promise: a missing key is never counted as a failure.

mod episode;
pub mod store;

pub use episode::{Episode, KeyCaseState};
