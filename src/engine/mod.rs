//! The loops that do the work: dispatch, settle, watch, recheck. They take no input; they run on a period or a nudge and
//! make no choices: every choice is a verb of `App`. Promise: only the node that holds the lease posts and settles, and
//! whatever a dead node left is taken up within five seconds.

pub mod crash;
mod lease;
mod loops;
mod store;

pub use loops::{Engine, Nudge};
