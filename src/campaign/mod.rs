//! Rollouts: what is to be upgraded with which image, planned, approved and cut into batches.
