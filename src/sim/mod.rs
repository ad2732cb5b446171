//! The DCC simulator: a peer on the wire that shares only `duis` with the product, and the synthetic portfolio.
//!
//! A request comes in at [`server`](self), is judged at the front door, and changes the world; what the world owes waits
//! in a queue and is signed and delivered when due. A [`Scenario`] says what is known, how long things take and what goes
//! wrong. Promise: one seed and the same requests give the same outcomes, losses and doubles.

pub mod authority;
mod codes;
mod deliver;
mod dice;
mod error;
mod front;
mod inventory;
mod ledger;
mod orders;
pub mod pki;
mod population;
mod portfolio;
mod quarantine;
mod queue;
mod scenario;
mod schema;
mod server;
mod shared;
mod simulator;
mod stats;
mod table;
#[cfg(test)]
mod tests;
mod users;
mod work;
mod world;

pub use codes::{S1SP_CODE_ACTIVATION_FAILED, S1SP_CODE_KEY_MISSING};
pub use dice::Share;
pub use error::SimError;
pub use orders::{Order, OrderError, Ordered};
pub use population::Condition;
pub use portfolio::{FirmwareParameters, Portfolio, Story};
pub use quarantine::EventError;
pub use scenario::{Delays, Deliveries, EXAMPLE, Faults, Group, KeyGroup, PopulationRules, Scenario, ScenarioError, Unlisted};
pub use simulator::{SimConfig, Simulator};
pub use stats::{DeliveryStats, RequestStats, Stats};
pub use world::Outcome;
