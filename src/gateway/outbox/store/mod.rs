//! What is kept of requests beside their state: the bytes of every posting and what came of it, and how a person finds a request.

mod postings;
mod search;

pub use postings::{Posting, PostingOutcome, end_posting, forget_posting, keep_posting, posted_bytes, postings, prune_postings};
pub use search::{OutboxFilter, search};

#[cfg(test)]
mod tests;
