//! One running node: the receiver and the loops, started in an order that loses nothing and ended in the reverse one.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Notify, task::JoinHandle};

use super::{
    Engine, Nudge,
    reload::{self, Reloaded},
};
use crate::{
    app::App,
    config,
    duis::{CertificateSet, FileSigner, Pinned, Signer},
    failure::Outcome,
    gateway::{
        http::{HttpForwarder, HttpGateway, HttpSettings, HttpWebhooks},
        receiver::{self, Limits, Receiver, Setup},
    },
    tls::{self, Current},
};

/// How long the loops may take to end: with the receiver's own time it stays below the ten seconds of SIGTERM.
const ENGINE_STOP: Duration = Duration::from_secs(4);

pub struct Node {
    pub receiver: Receiver,
    engine: Engine,
    /// Notified, it reads the certificate files now.
    reload: Arc<Notify>,
    reloading: JoinHandle<()>,
}

impl Node {
    /// Checks what it needs (keys, certificates, addresses), binds the receiver, then starts the loops.
    pub async fn start(app: &App) -> Outcome<Node> {
        let settings = &app.settings;
        settings.check_exposure()?;
        app.policies()?;
        app.teams()?;
        let gateway = &settings.gateway;
        config::check_private_key_file(&gateway.signing_key)?;
        let signer: Arc<dyn Signer> = Arc::new(FileSigner::load(&gateway.signing_key, &gateway.signing_certificate)?);
        // For its check alone: we sign under our own name.
        CertificateSet::of_holder(std::slice::from_ref(&gateway.signing_certificate), settings.organisation.user_id)?
            .warn_of_dates(app.clock.now());
        // Read before the files are loaded: what changes in between is seen to have changed.
        let seen = reload::look(settings);
        let pinned = Pinned::new(CertificateSet::of_dcc(&gateway.dcc_certificates, gateway.dcc_id, signer.certificate())?);
        pinned.current().warn_of_dates(app.clock.now());
        let client_tls = gateway.tls.as_ref().map(|files| tls::client_config(files, &app.clock)).transpose()?;
        let server_tls = settings.receiver.tls.as_ref().map(|files| tls::server_config(files, &app.clock)).transpose()?;
        let receiver_tls = server_tls.map(Current::new);
        let timeout = Duration::from_secs(gateway.request_timeout_seconds);
        let http = HttpSettings::new(&gateway.base_url, timeout, pinned.clone(), app.clock.clone());
        let http = Arc::new(HttpGateway::new(HttpSettings { tls: client_tls, ..http })?);
        let forwarder = match &settings.receiver.forward_to {
            Some(url) => Some(Arc::new(HttpForwarder::new(url, timeout, app.clock.clone())?)),
            None => None,
        };
        let webhooks = Arc::new(HttpWebhooks::new(app.clock.clone())?);
        let nudge = Nudge::default();
        let setup = Setup {
            listen: settings.receiver.listen,
            tls: receiver_tls.clone(),
            path: settings.receiver.path.clone(),
            pinned: pinned.clone(),
            db: app.db.clone(),
            clock: app.clock.clone(),
            nudge: nudge.inbox.clone(),
            limits: Limits::default(),
        };
        let receiver = receiver::start(setup).await?;
        let reload = Arc::new(Notify::new());
        let own = signer.certificate().clone();
        let reloaded = Reloaded { app: app.clone(), own, pinned: pinned.clone(), http: http.clone(), receiver_tls };
        let reloading = tokio::spawn(reload::watch(reloaded, seen, reload.clone()));
        let mut engine = Engine::start(app.clone(), http, signer, pinned, nudge);
        if let Some(forwarder) = forwarder {
            engine.forward_to(forwarder);
        }
        engine.tell_by(webhooks);
        Ok(Node { receiver, engine, reload, reloading })
    }

    /// Reads the certificate files again, at once and changed or not.
    pub fn reload(&self) {
        self.reload.notify_one();
    }

    /// The receiver first finishes what it has read; then the loops end.
    pub async fn stop(self) {
        self.reloading.abort();
        self.receiver.stop().await;
        self.engine.stop(ENGINE_STOP).await;
    }
}
