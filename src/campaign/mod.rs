//! Rollouts: what is to be upgraded with which image, planned, approved and cut into batches. Says what a campaign is and
//! what may be done with it in which state; who may be upgraded is `policy`'s, what becomes of each device is `target`'s.

pub mod batch;
pub mod forecast;
pub mod health;
pub mod latency;
mod model;
mod plan;
mod report;
pub mod store;
pub mod top_up;
pub mod waves;

pub use model::{Campaign, CampaignState, Command, NotNow};
pub use plan::{Plan, PlanState, Tally};
pub use report::{FirstImage, Groups, PlanReport};
