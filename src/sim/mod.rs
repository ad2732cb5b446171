//! The DCC simulator: a peer on the wire that shares only `duis` with the product, and the synthetic portfolio.

pub mod dice;
pub mod pki;
mod queue;
pub mod scenario;
pub mod world;
