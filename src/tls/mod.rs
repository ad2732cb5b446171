//! TLS, mutual but for webhooks: rustls configurations from the PEM files that settings name. Not sockets and not HTTP: those who connect or
//! listen bring their own. Promise: TLS 1.3 or 1.2 and nothing older; the far side is trusted under the named CA alone, never
//! under the system's; a server's clients must show a certificate; each handshake looks at the certificates anew.

mod accept;
mod pem;
mod reason;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
    time::Duration,
};

use rustls::{
    RootCertStore, SupportedProtocolVersion,
    client::Resumption,
    crypto::CryptoProvider,
    pki_types::UnixTime,
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    time_provider::TimeProvider,
    version::{TLS12, TLS13},
};

pub use accept::{Accepted, HandshakeRefused};
pub use pem::TlsError;
pub use reason::reason;
pub use rustls::{ClientConfig, ServerConfig};

use crate::clock::Clock;

const VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// Whom we trust, and who we are. All PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The only authority under which the far side is trusted: one certificate or several.
    pub ca: PathBuf,
    /// Ours, followed by its intermediates.
    pub certificate: PathBuf,
    /// PKCS#8; refused where others than its owner can read it.
    pub key: PathBuf,
}

/// A configuration that may be replaced while it is in use: handshakes from then on use the new one. Clones share it.
pub struct Current<C>(Arc<RwLock<Arc<C>>>);

impl<C> Current<C> {
    pub fn new(config: Arc<C>) -> Current<C> {
        Current(Arc::new(RwLock::new(config)))
    }

    pub fn get(&self) -> Arc<C> {
        Arc::clone(&self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    pub fn replace(&self, config: Arc<C>) {
        *self.0.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = config;
    }
}

impl<C> Clone for Current<C> {
    fn clone(&self) -> Current<C> {
        Current(Arc::clone(&self.0))
    }
}

/// For connecting: shows our certificate, and trusts what `files.ca` issued for the name that is connected to.
pub fn client_config(files: &TlsFiles, clock: &Clock) -> Result<Arc<ClientConfig>, TlsError> {
    let loaded = pem::load(files)?;
    let builder = ClientConfig::builder_with_details(provider(), Arc::new(Now(clock.clone())));
    let builder = builder.with_protocol_versions(VERSIONS).map_err(|source| TlsError::Setup { source })?;
    let mut config = builder
        .with_root_certificates(loaded.roots)
        .with_client_auth_cert(loaded.chain, loaded.key)
        .map_err(|e| pem::identity(files, &e))?;
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// For listening: shows our certificate, and takes only clients that show one of `files.ca`.
pub fn server_config(files: &TlsFiles, clock: &Clock) -> Result<Arc<ServerConfig>, TlsError> {
    let loaded = pem::load(files)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(loaded.roots), provider());
    let verifier = verifier.build().map_err(|e| TlsError::Authority { path: files.ca.clone(), why: e.to_string() })?;
    let builder = ServerConfig::builder_with_details(provider(), Arc::new(Now(clock.clone())));
    let builder = builder.with_protocol_versions(VERSIONS).map_err(|source| TlsError::Setup { source })?;
    let mut config = builder
        .with_client_cert_verifier(verifier)
        .with_single_cert(loaded.chain, loaded.key)
        .map_err(|e| pem::identity(files, &e))?;
    // A resumed session would be taken on the word of an earlier handshake, after the certificate ran out too.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// For connecting to a peer that asks for no certificate of ours: it is trusted under this authority alone.
pub fn client_trusting(ca: &Path, clock: &Clock) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = pem::authorities(ca)?;
    let builder = ClientConfig::builder_with_details(provider(), Arc::new(Now(clock.clone())));
    let builder = builder.with_protocol_versions(VERSIONS).map_err(|source| TlsError::Setup { source })?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// For a client that only ever posts over plain http and yet must be given a configuration: it trusts nobody.
pub fn trust_nobody(clock: &Clock) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_details(provider(), Arc::new(Now(clock.clone())));
    let builder = builder.with_protocol_versions(VERSIONS).map_err(|source| TlsError::Setup { source })?;
    Ok(Arc::new(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth()))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Our clock as rustls asks for it: certificates are valid or not at this time.
struct Now(Clock);

impl fmt::Debug for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Now")
    }
}

impl TimeProvider for Now {
    fn current_time(&self) -> Option<UnixTime> {
        let millis = u64::try_from(self.0.now().0).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_millis(millis)))
    }
}

#[cfg(test)]
pub(crate) mod tests;
