//! What was done, by whom and when, in a hash chain.
