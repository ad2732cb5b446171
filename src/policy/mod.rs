//! Who may be upgraded, as a pure function of facts, policies and a moment, and the dated policy files it reads.
//! Planning, `explain` and the check just before sending all call [`evaluate()`]. No clock, no SQL, no async; only `folder` touches a
//! disk.

mod compare;
mod decision;
mod document;
mod eligibility;
mod evaluate;
mod files;
mod folder;
mod image_facts;
mod notify;
pub mod pathway;
mod period;
mod reason;
mod refusal;
mod response_codes;
mod retry;
mod rollout;
mod room;
mod rules;
mod set;
mod share;
mod steps;
pub mod store;
#[cfg(test)]
mod tests;
mod thresholds;
pub mod windows;

pub use compare::{Change, Leaf, binding, changes, leaves};
pub use decision::Decision;
pub use document::PolicyError;
pub use eligibility::{CohortPolicy, Cohorts, DEVICES_PER_REQUEST_MAX, Eligibility, NotStatedMeans};
pub use evaluate::{Finding, ImageFacts, SiteFacts, Verdict, evaluate, explain, fact_against, left_out};
pub use files::{Content, Head, Origin, PolicyFile, PolicyName};
pub use folder::{PolicyFolder, check_files, init};
pub use notify::{FileNamed, Notify, NotifyKind, TEAMS_MAX, Team};
pub use period::Period;
pub use reason::{Outcome, Reason};
pub use refusal::{ELECTRICITY_SUPPLIER_ROLE, Refusal, RefusalCode, campaign_refusal, own_refusal};
pub use response_codes::{CodeEntry, Disposition, ResponseCodes, S1spEntry};
pub use retry::{HoursOfDay, Percent, Retry, RetryRule, SmallShare};
pub use rollout::{ONLY_WAVE, Preset, Rollout, SILENT, TopUps, Watch, Wave, WaveSize};
pub use room::{Cut, Room, Sent, Use};
pub use set::PolicySet;
pub use share::Share;
pub use steps::{DeadlineFor, DeviceSteps, ModelKey, ReadStep, Steps, StepsFrom, UpgradeStep};
pub use thresholds::{Counts, LIMITED_REQUESTS, MARGIN_MAX_MILLIS, Resends, THRESHOLD_PERIOD_MAX_DAYS, Threshold, Thresholds};
