//! Certificates exchanged while the program runs: DCC's pinned ones, and those of TLS. The files are looked at every few seconds,
//! by content, and at once when asked (SIGHUP). Promise: a set takes effect whole or not at all; one that does not load leaves
//! the old one in force, and is complained about once.

use std::{path::PathBuf, sync::Arc, time::Duration};

use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use zeroize::Zeroizing;

use crate::{
    app::App,
    config::Settings,
    duis::{Certificate, CertificateSet, Pinned},
    failure::{Failure, Outcome},
    gateway::http::HttpGateway,
    ids::ImageId,
    tls::{self, ClientConfig, Current, ServerConfig, TlsFiles},
};

/// A change takes effect once two looks in a row have seen the same: a file that is being written has one more look to be
/// finished, since a set cut short would refuse messages for good.
const LOOK_PERIOD: Duration = Duration::from_secs(2);

/// What can be exchanged.
pub(super) struct Reloaded {
    pub app: App,
    /// The certificate we sign under: never DCC's.
    pub own: Certificate,
    pub pinned: Pinned,
    pub http: Arc<HttpGateway>,
    pub receiver_tls: Option<Current<ServerConfig>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    DccCertificates,
    GatewayTls,
    ReceiverTls,
}

impl What {
    const ALL: [What; 3] = [What::DccCertificates, What::GatewayTls, What::ReceiverTls];

    /// The setting, as it is logged and audited.
    fn setting(self) -> &'static str {
        match self {
            What::DccCertificates => "gateway.dcc_certificates",
            What::GatewayTls => "gateway.tls",
            What::ReceiverTls => "receiver.tls",
        }
    }

    fn files(self, settings: &Settings) -> Vec<PathBuf> {
        let of = |tls: &Option<TlsFiles>| match tls {
            Some(TlsFiles { ca, certificate, key }) => vec![ca.clone(), certificate.clone(), key.clone()],
            None => Vec::new(),
        };
        match self {
            What::DccCertificates => settings.gateway.dcc_certificates.clone(),
            What::GatewayTls => of(&settings.gateway.tls),
            What::ReceiverTls => of(&settings.receiver.tls),
        }
    }
}

/// What the files held at one look: a digest for each of [`What::ALL`].
pub(super) type Looked = [[u8; 32]; 3];

/// What no file holds: such a look differs from every other.
const NEVER_SEEN: [u8; 32] = [0; 32];

pub(super) fn look(settings: &Settings) -> Looked {
    What::ALL.map(|what| {
        let mut digest = Sha256::new();
        for file in what.files(settings) {
            // One of them is a private key.
            match std::fs::read(&file).map(Zeroizing::new) {
                Ok(bytes) => {
                    digest.update((bytes.len() as u64).to_be_bytes());
                    digest.update(&*bytes);
                }
                Err(e) => digest.update(format!("{:?}", e.kind())),
            }
        }
        digest.finalize().into()
    })
}

/// Runs until it is dropped. `seen` is what was loaded at the start.
pub(super) async fn watch(reloaded: Reloaded, mut seen: Looked, asked: Arc<Notify>) {
    let mut last = seen;
    loop {
        let at_once = tokio::select! {
            _ = tokio::time::sleep(LOOK_PERIOD) => false,
            _ = asked.notified() => true,
        };
        let settings = reloaded.app.settings.clone();
        let Ok(now) = tokio::task::spawn_blocking(move || look(&settings)).await else { continue };
        for (n, what) in What::ALL.into_iter().enumerate() {
            let changed = now[n] != seen[n];
            let settled = now[n] == last[n];
            // TLS configurations cannot be compared, so they are asked for only where a file changed.
            let asked = at_once && (changed || what == What::DccCertificates);
            if !(asked || changed && settled) {
                continue;
            }
            seen[n] = if reloaded.reload(what, at_once).await { now[n] } else { NEVER_SEEN };
        }
        last = now;
    }
}

/// What was loaded and differs from what is in force.
enum New {
    Pinned(CertificateSet),
    Client(Arc<ClientConfig>),
    Server(Arc<ServerConfig>, Current<ServerConfig>),
}

impl Reloaded {
    /// Loads, audits, puts in force, and says so. Gives whether this is done with; otherwise it is to be tried again.
    async fn reload(&self, what: What, asked: bool) -> bool {
        let setting = what.setting();
        match self.load(what) {
            Ok(None) if asked => tracing::info!(setting, "the certificates are as they were"),
            Ok(None) => {}
            Ok(Some((new, detail))) => match self.app.note_certificates(setting, detail).await {
                Ok(()) => match self.put_in_force(new) {
                    Ok(()) => tracing::info!(setting, "new certificates are in force"),
                    Err(e) => refused(setting, &e),
                },
                Err(e) => {
                    tracing::warn!(setting, reason = %e, "new certificates wait until the audit trail can say so; trying again");
                    return false;
                }
            },
            Err(e) => refused(setting, &e),
        }
        true
    }

    /// What the files hold now, with what the audit trail is to say of it.
    fn load(&self, what: What) -> Outcome<Option<(New, serde_json::Value)>> {
        let settings = &self.app.settings;
        let (gateway, receiver) = (&settings.gateway, &settings.receiver);
        Ok(match what {
            What::DccCertificates => {
                let new = CertificateSet::of_dcc(&gateway.dcc_certificates, gateway.dcc_id, &self.own)?;
                new.warn_of_dates(self.app.clock.now());
                let old = self.pinned.current();
                let detail = json!({"old": serials(&old), "new": serials(&new)});
                (!same(&old, &new)).then_some((New::Pinned(new), detail))
            }
            What::GatewayTls => match &gateway.tls {
                Some(files) => Some((New::Client(tls::client_config(files, &self.app.clock)?), digests(files))),
                None => None,
            },
            What::ReceiverTls => match (&receiver.tls, &self.receiver_tls) {
                (Some(files), Some(current)) => {
                    let new = tls::server_config(files, &self.app.clock)?;
                    Some((New::Server(new, current.clone()), digests(files)))
                }
                (Some(_), None) | (None, _) => None,
            },
        })
    }

    fn put_in_force(&self, new: New) -> Outcome {
        match new {
            New::Pinned(set) => self.pinned.replace(set),
            New::Client(config) => self.http.replace_tls(config)?,
            New::Server(config, current) => current.replace(config),
        }
        Ok(())
    }
}

fn refused(setting: &str, failure: &Failure) {
    let help = failure.help.join("; ");
    tracing::error!(setting, reason = %failure, help, "new certificates cannot be used; the old ones stay in force");
}

fn same(old: &CertificateSet, new: &CertificateSet) -> bool {
    let of = |set: &CertificateSet| -> Vec<_> {
        set.0.iter().map(|c| (c.issuer.clone(), c.serial.clone(), c.public_key.clone(), c.not_after)).collect()
    };
    of(old) == of(new)
}

fn serials(set: &CertificateSet) -> Vec<String> {
    set.0.iter().map(|c| format!("{}, serial {}", c.issuer, c.serial)).collect()
}

/// The public files of a TLS identity, by their SHA-256.
fn digests(files: &TlsFiles) -> serde_json::Value {
    let digest = |file| std::fs::read(file).map(|bytes| ImageId(Sha256::digest(bytes).into()).to_string()).unwrap_or_default();
    json!({"ca": digest(&files.ca), "certificate": digest(&files.certificate)})
}
