//! What people and loops look for in the inbox, and what they do about it: one file a story. Storing is in the inbox itself.

mod change;
mod forward;
mod proof;
mod prune;
mod refused;
mod reply;
mod search;
mod settling;

pub use change::{dismiss, duplicate_of, replay, verified_since};
pub use forward::{due_to_forward, forward_later, forwarded};
pub use proof::{Proof, proofs};
pub use prune::prune;
pub use refused::{LARGEST_REFUSED_BYTES, Quota, RefusedMessage, keep_refused};
pub use reply::{KeptReply, keep_reply};
pub use search::{counts_by_kind, lists, narrow, of_device, search, show, waiting};
#[cfg(test)]
pub use settling::forget_gists;
pub use settling::{Arrived, Fetched, fetch_new, mark};

#[cfg(test)]
mod tests;
