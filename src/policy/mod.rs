//! Who may be upgraded, as a pure function of facts, policies and a moment, and the dated policy files it reads.
//! Planning, `explain` and the check just before sending all call [`evaluate`]. No clock, no SQL, no async.

mod evaluate;
mod reason;

pub use evaluate::*;
pub use reason::{Outcome, Reason};
