//! Certificates for the tests of mutual TLS: two authorities, of which one is trusted, and identities of either in files.

use std::{cell::Cell, path::PathBuf, sync::Arc};

use crate::{
    clock::Clock,
    sim::{
        authority::{Authority, Purpose, Wanted},
        pki::KeyAndCertificate,
    },
    tls::{self, ClientConfig, ServerConfig, TlsFiles},
};

/// What is wrong with an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    None,
    /// Issued by an authority that nobody configured.
    Stranger,
    Expired,
    /// In a second.
    ExpiresSoon,
    NotValidYet,
    /// For a host that is not connected to.
    OtherName,
}

pub struct TlsLab {
    folder: tempfile::TempDir,
    issuer: Authority,
    stranger: Authority,
    clock: Clock,
    made: Cell<usize>,
}

impl TlsLab {
    pub fn new(clock: &Clock) -> TlsLab {
        let clock = clock.clone();
        let root = Authority::root("Root", clock.now()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), &root.certificate_pem).unwrap();
        let issuer = root.intermediate("Issuer", clock.now()).unwrap();
        let stranger = Authority::root("Stranger", clock.now()).unwrap();
        TlsLab { folder, issuer, stranger, clock, made: Cell::new(0) }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn identity(&self, purpose: Purpose, flaw: Flaw) -> KeyAndCertificate {
        let hosts: &[&str] = if flaw == Flaw::OtherName { &["elsewhere.test"] } else { &["dcc.test", "127.0.0.1", "localhost"] };
        let wanted = Wanted::new("somebody", hosts, purpose, self.clock.now());
        match flaw {
            Flaw::Expired => self.issuer.issue(&Wanted { until: self.clock.now().plus_millis(-60_000), ..wanted }),
            Flaw::ExpiresSoon => self.issuer.issue(&Wanted { until: self.clock.now().plus_millis(1_000), ..wanted }),
            Flaw::NotValidYet => self.issuer.issue(&Wanted { from: self.clock.now().plus_millis(60_000), ..wanted }),
            Flaw::Stranger => self.stranger.issue(&wanted),
            Flaw::None | Flaw::OtherName => self.issuer.issue(&wanted),
        }
        .unwrap()
    }

    pub fn files(&self, purpose: Purpose, flaw: Flaw) -> TlsFiles {
        let n = self.made.replace(self.made.get() + 1);
        let (key, certificate) = (format!("{n}.key.pem"), format!("{n}.pem"));
        self.identity(purpose, flaw).write_to(self.folder.path(), &key, &certificate).unwrap();
        TlsFiles { ca: self.path("ca.pem"), certificate: self.path(&certificate), key: self.path(&key) }
    }

    pub fn client(&self, flaw: Flaw) -> Arc<ClientConfig> {
        tls::client_config(&self.files(Purpose::Client, flaw), &self.clock).unwrap()
    }

    pub fn server(&self, flaw: Flaw) -> Arc<ServerConfig> {
        tls::server_config(&self.files(Purpose::Server, flaw), &self.clock).unwrap()
    }
}
