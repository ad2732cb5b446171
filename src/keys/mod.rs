//! Sites whose PPMID keys are missing (L§13): one open case per site, until it is resolved or closed. A case is what the
//! history of key results says ([`Episode`]), on the timetable of `retry.toml` ([`due`]), with what people did to it
//! ([`CaseVerb`]); it judges no campaign. Promise: a missing key is never counted as a failure.

mod band;
mod case;
mod episode;
mod report;
mod report_text;
pub mod store;
mod timetable;

pub use band::{SITES_MIN, Unusual, unusual};
pub use case::{AttemptKind, CaseFilter, CaseOrder, CaseVerb, KeyCase, NotNow};
pub use episode::{Episode, KeyCaseState, episodes};
pub use report::{CaseThen, Handled, KeyReport, Oldest, Part, Since, report};
pub use timetable::{Due, GivenUp, SoFar, due};
