//! The archive of the outbox on both engines.
