//! `ppmid-orchestrator`: upgrades the firmware of SMETS1 in-home prepayment displays (PPMIDs) over the DCC network.
//!
//! In reading order: what things are called ([`ids`], [`clock`]), what is known ([`estate`], [`image`]), who may be
//! upgraded ([`policy`]), what becomes of each device ([`target`]), how the work is cut ([`campaign`]), the sites without
//! keys ([`keys`]), what runs by the clock ([`schedule`]), the wire ([`duis`], [`gateway`]), and what runs it all ([`app`], [`engine`], [`cli`]).
//! ARCHITECTURE.md is the map; `tests/tidy.rs` keeps the imports running one way.

pub mod clock;
pub mod config;
pub mod crash;
pub mod db;
pub mod failure;
pub mod ids;
pub mod keyfile;
pub mod tls;

pub mod estate;
pub mod image;
pub mod policy;
pub mod target;

pub mod campaign;
pub mod keys;
pub mod schedule;

pub mod duis;
pub mod gateway;

pub mod alarm;
pub mod audit;
pub mod evidence;
pub mod notify;

pub mod app;
pub mod engine;
pub mod sim;

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;

pub mod cli;
pub mod telemetry;
