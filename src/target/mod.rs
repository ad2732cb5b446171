//! What becomes of each device: its states ([`TargetState`]) and the one function that moves it between them.
//! The heart. The transition function is pure; `store` applies transitions in groups and never overwrites a row that
//! moved in between. Promise: device truth beats our opinion, and a late success wins over our time-out.

mod read;
pub mod silence;
mod state;
pub mod store;

pub use read::{Against, Heard, ReadCause, ReadState, Standing};
pub use state::{Event, IllegalTransition, TargetState};
