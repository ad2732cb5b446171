//! Configuration: the file as written ([`load`]: all optional, unknown keys refused) and [`Settings`], where nothing is missing.

use std::{net::SocketAddr, path::PathBuf};

use crate::{
    duis::DuisVersion,
    failure::Outcome,
    ids::{Mpid, UserId},
};

/// The effective settings. Paths are absolute or relative to the configuration file, already joined.
#[derive(Debug, Clone)]
pub struct Settings {
    pub organisation: Organisation,
    pub database_url: String,
    pub firmware_store: PathBuf,
    pub policies_dir: PathBuf,
    pub gateway: GatewaySettings,
    pub receiver: ReceiverSettings,
    pub http_listen: SocketAddr,
    pub audit_signing_key: PathBuf,
}

#[derive(Debug, Clone)]
pub struct Organisation {
    /// Our own market participant ids: at least one.
    pub mpids: Vec<Mpid>,
    /// `IS` (Import Supplier) or another user role, as written.
    pub role: String,
    /// Originator of our requests.
    pub user_id: UserId,
}

#[derive(Debug, Clone)]
pub struct GatewaySettings {
    pub base_url: String,
    pub dcc_id: UserId,
    pub duis_version: DuisVersion,
    pub signing_key: PathBuf,
    pub signing_certificate: PathBuf,
    pub dcc_certificates: Vec<PathBuf>,
    pub request_timeout_seconds: u64,
}

#[derive(Debug, Clone)]
pub struct ReceiverSettings {
    pub listen: SocketAddr,
    pub path: String,
    pub forward_to: Option<String>,
}

/// Reads `file` (absent is fine), then the environment (`PPMID_SECTION__KEY`), then `database_url` from the command line.
pub fn load(_file: &std::path::Path, _database_url: Option<&str>) -> Outcome<Settings> {
    unimplemented!()
}
