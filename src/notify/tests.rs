//! What is told of whom, and the outbox on both engines.
