//! One running node: the receiver and the loops, started in an order that loses nothing and ended in the reverse one.

use std::{sync::Arc, time::Duration};

use super::{Engine, Nudge};
use crate::{
    app::App,
    config,
    duis::{CertificateSet, FileSigner, Pinned, Signer},
    failure::Outcome,
    gateway::{
        http::{HttpGateway, HttpSettings},
        receiver::{self, Limits, Receiver, Setup},
    },
};

/// How long the loops may take to end: with the receiver's own time it stays below the ten seconds of SIGTERM.
const ENGINE_STOP: Duration = Duration::from_secs(4);

pub struct Node {
    pub receiver: Receiver,
    engine: Engine,
}

impl Node {
    /// Checks what it needs (keys, certificates, addresses), binds the receiver, then starts the loops.
    pub async fn start(app: &App) -> Outcome<Node> {
        let settings = &app.settings;
        settings.check_exposure()?;
        app.policies()?;
        let gateway = &settings.gateway;
        config::check_private_key_file(&gateway.signing_key)?;
        let signer: Arc<dyn Signer> = Arc::new(FileSigner::load(&gateway.signing_key, &gateway.signing_certificate)?);
        // For its check alone: we sign under our own name.
        CertificateSet::of_holder(std::slice::from_ref(&gateway.signing_certificate), settings.organisation.user_id)?;
        let pinned = Pinned::new(CertificateSet::of_dcc(&gateway.dcc_certificates, gateway.dcc_id, signer.certificate())?);
        let timeout = Duration::from_secs(gateway.request_timeout_seconds);
        let http = HttpGateway::new(HttpSettings::new(&gateway.base_url, timeout, pinned.clone(), app.clock.clone()))?;
        let nudge = Nudge::default();
        let setup = Setup {
            listen: settings.receiver.listen,
            path: settings.receiver.path.clone(),
            pinned: pinned.clone(),
            db: app.db.clone(),
            clock: app.clock.clone(),
            nudge: nudge.inbox.clone(),
            limits: Limits::default(),
        };
        let receiver = receiver::start(setup).await?;
        let engine = Engine::start(app.clone(), Arc::new(http), signer, pinned, nudge);
        Ok(Node { receiver, engine })
    }

    /// The receiver first finishes what it has read; then the loops end.
    pub async fn stop(self) {
        self.receiver.stop().await;
        self.engine.stop(ENGINE_STOP).await;
    }
}
