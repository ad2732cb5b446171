//! What is kept of requests beside their state: the bytes of every posting and what came of it, what DCC
//! may count of them, and how a person finds a request.

mod ledger;
mod postings;
mod search;

pub use ledger::{Gathered, Question, prune as prune_ledger, sent, take_turn};
pub use postings::{Posting, PostingOutcome, end_posting, forget_posting, keep_posting, posted_bytes, postings, prune_postings};
pub use search::{OutboxFilter, search};

#[cfg(test)]
mod tests;
