//! Configuration: the file as written ([`layers`]: all optional, unknown keys refused) and [`Settings`], where nothing is missing.
//! Not the policies (those are documents with dates of their own) and opens no file but its own.
//! Promise: an error names the file, the line, the key and what is wanted; a secret is never shown.

mod error;
mod exposure;
mod layers;
mod render;
mod web;

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::{
    duis::DuisVersion,
    failure::Outcome,
    ids::{Mpid, UserId},
    tls::TlsFiles,
};

pub use error::ConfigError;
pub use exposure::{require_loopback, require_loopback_url};
use layers::Layers;
pub use layers::Origin;
pub use render::Shape;

pub use crate::keyfile::{check_private_key_file, read_private_key};

/// What the tests of the industry use; a real user has others, and until then nothing may leave the machine.
const DEFAULT_MPID: &str = "EELC";
const DEFAULT_USER_ID: &str = "90-B3-D5-1F-30-01-00-00";
const DEFAULT_DCC_ID: &str = "90-B3-D5-1F-30-00-00-02";
const DEFAULT_DATABASE_URL: &str = "sqlite://ppmid.db";
/// DCC answers synchronously within seconds; ten minutes is already a hung connection.
const REQUEST_TIMEOUT_MAX_SECONDS: u64 = 600;

/// Twenty years: longer than any campaign, and a number whose mistyping is noticed.
const ARCHIVE_MAX_MONTHS: u64 = 240;

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
    pub http_tls: Option<ListenerTls>,
    /// How long messages are kept.
    pub archive_keep_months: u32,
    pub audit_signing_key: PathBuf,
    /// Every setting as it may be shown, in the order of the contract, and where it came from.
    pub shown: Vec<Shown>,
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
    /// `http://` or `https://`, without a slash at its end.
    pub base_url: String,
    pub dcc_id: UserId,
    pub duis_version: DuisVersion,
    pub signing_key: PathBuf,
    pub signing_certificate: PathBuf,
    pub dcc_certificates: Vec<PathBuf>,
    pub request_timeout_seconds: u64,
    pub tls: Option<TlsFiles>,
}

#[derive(Debug, Clone)]
pub struct ReceiverSettings {
    pub listen: SocketAddr,
    pub path: String,
    pub forward_to: Option<String>,
    pub tls: Option<TlsFiles>,
}

/// TLS of a listener that asks its clients for no certificate.
#[derive(Debug, Clone)]
pub struct ListenerTls {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// One setting as `serve --check` prints it: secrets masked, paths joined.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Section and key with a dot, e.g. `gateway.base_url`.
    pub key: &'static str,
    pub value: serde_json::Value,
    pub origin: Origin,
}

/// Reads `file` (absent is fine), then the environment (`PPMID_SECTION__KEY`), then `database_url` from the command line.
pub fn load(file: &Path, database_url: Option<&str>) -> Outcome<Settings> {
    Ok(load_from(file, std::env::vars_os(), database_url)?)
}

/// [`load`] with the environment as an argument.
pub fn load_from(
    file: &Path,
    environment: impl Iterator<Item = (OsString, OsString)>,
    database_url: Option<&str>,
) -> Result<Settings, ConfigError> {
    let mut from = Layers::read(file, environment)?;
    let organisation = Organisation {
        mpids: from.list("organisation.mpids", &[DEFAULT_MPID], |s| s.parse().ok())?,
        role: from.text("organisation.role", "IS", user_role)?,
        user_id: from.text("organisation.user_id", DEFAULT_USER_ID, |s| s.parse().ok())?,
    };
    let database_url = from.database_url("database.url", DEFAULT_DATABASE_URL, database_url)?;
    let firmware_store = from.folder("firmware_store.url", "firmware-store")?;
    let policies_dir = from.folder("policies.dir", "policies")?;
    let gateway = gateway(&mut from)?;
    let receiver = ReceiverSettings {
        listen: from.text("receiver.listen", "127.0.0.1:8081", |s| s.parse().ok())?,
        path: from.text("receiver.path", "/duis/receive", url_path)?,
        forward_to: from.optional("receiver.forward_to", |s| web::WebUrl::parse(s).map(|_| s.to_string()))?,
        tls: mutual_tls(&mut from, "receiver.tls", ["receiver.tls.ca", "receiver.tls.certificate", "receiver.tls.key"])?,
    };
    let http_listen = from.text("http.listen", "127.0.0.1:8080", |s| s.parse().ok())?;
    let http_tls = from
        .files_of("http.tls", &["http.tls.certificate", "http.tls.key"])?
        .map(|[certificate, key]| ListenerTls { certificate, key });
    let archive_keep_months = from.integer("archive.keep_months", 13, 1..=ARCHIVE_MAX_MONTHS)? as u32;
    let audit_signing_key = from.key_file("audit.signing_key", "audit.key.pem")?;
    Ok(Settings {
        organisation,
        database_url,
        firmware_store,
        policies_dir,
        gateway,
        receiver,
        http_listen,
        http_tls,
        archive_keep_months,
        audit_signing_key,
        shown: from.shown,
    })
}

fn gateway(from: &mut Layers) -> Result<GatewaySettings, ConfigError> {
    Ok(GatewaySettings {
        base_url: from.text("gateway.base_url", "http://127.0.0.1:8079", |s| {
            web::WebUrl::parse(s).map(|_| s.trim_end_matches('/').to_string())
        })?,
        dcc_id: from.text("gateway.dcc_id", DEFAULT_DCC_ID, |s| s.parse().ok())?,
        duis_version: from.text("gateway.duis_version", "3.1", |s| s.parse().ok())?,
        signing_key: from.key_file("gateway.signing_key", "supplier.key.pem")?,
        signing_certificate: from.file("gateway.signing_certificate", "supplier.pem")?,
        dcc_certificates: from.files("gateway.dcc_certificates", &["dcc.pem"])?,
        request_timeout_seconds: from.integer("gateway.request_timeout_seconds", 30, 1..=REQUEST_TIMEOUT_MAX_SECONDS)?,
        tls: mutual_tls(from, "gateway.tls", ["gateway.tls.ca", "gateway.tls.certificate", "gateway.tls.key"])?,
    })
}

fn mutual_tls(from: &mut Layers, section: &'static str, keys: [&'static str; 3]) -> Result<Option<TlsFiles>, ConfigError> {
    Ok(from.files_of(section, &keys)?.map(|[ca, certificate, key]| TlsFiles { ca, certificate, key }))
}

/// A DUIS user role: two or three capital letters (`IS`, `GS`, `ED` ...). Whether it may upgrade is policy's to say.
fn user_role(s: &str) -> Option<String> {
    ((2..=3).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_uppercase())).then(|| s.to_string())
}

fn url_path(s: &str) -> Option<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~".contains(&b);
    (s.starts_with('/') && s.bytes().all(plain)).then(|| s.to_string())
}

#[cfg(test)]
mod tests;
