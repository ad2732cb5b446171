//! The loops that do the work: dispatch, settle, watch, recheck, schedules. They take no input; they run on a period or a nudge and
//! make no choices: every choice is a verb of `App`. Promise: only the node that holds the lease posts and settles, and
//! whatever a dead node left is taken up within five seconds.

mod archive;
mod dispatch;
mod keys;
mod lease;
mod loops;
mod node;
mod notify;
mod reload;
mod schedules;
mod store;
#[cfg(test)]
mod tests;
mod waves;

pub use lease::{holder, is_gone};
pub use loops::{Engine, Nudge};
pub use node::Node;
