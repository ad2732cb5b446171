//! A running simulator: started and stopped in one process with whoever asks, or alone by `ppmid dcc-sim`. Loopback only.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use tokio::{net::TcpListener, task::JoinHandle};

use super::{
    Scenario, SimError, Stats, deliver,
    orders::{Order, OrderError},
    pki::{self, Holder},
    population::{self, Condition, Population},
    quarantine::EventError,
    server,
    shared::{Identity, Shared},
    users::Registrations,
    world::{Outcome, World},
};
use crate::{
    clock::{Clock, Time},
    duis::{Certificate, CertificateSet, FileSigner, Signer},
    ids::{DeviceId, Eui, UserId},
    tls::{self, TlsFiles},
};

/// Who signs inside what SMETS1 devices and their service providers say: an id of ours, in the range of DCC's in the test set.
const PROVIDER_ID: Eui = Eui(0x90B3_D51F_3000_0051);

pub struct SimConfig {
    /// Loopback; port 0 takes any that is free.
    pub listen: SocketAddr,
    /// The receiver of the product: `http://127.0.0.1:8081/duis/receive`, or `https://` with `tls`.
    pub deliver_to: String,
    /// Mutual TLS, towards both sides: listens with it, and shows the same certificate to an https receiver.
    pub tls: Option<TlsFiles>,
    pub scenario: Scenario,
    /// Devices that DCC knows, beside those of the scenario.
    pub devices: Vec<(DeviceId, Condition)>,
    /// DCC's: its certificate says DCC's id.
    pub signer: Arc<dyn Signer>,
    /// Of the users that may send: each certificate says whose it is.
    pub supplier_certificates: CertificateSet,
    pub clock: Clock,
}

/// A running simulator. Dropped, it stops.
pub struct Simulator {
    shared: Arc<Shared>,
    address: SocketAddr,
    scheme: &'static str,
    tasks: [JoinHandle<std::convert::Infallible>; 2],
}

impl Simulator {
    pub async fn start(config: SimConfig) -> Result<Simulator, SimError> {
        if !config.listen.ip().is_loopback() {
            return Err(SimError::NotLoopback { what: "the address to listen on,", value: config.listen.to_string() });
        }
        let deliver_to = receiver(&config.deliver_to, config.tls.is_some())?;
        let dcc_id = config.signer.certificate().subject_eui.ok_or(SimError::NoDccId)?;
        let users = by_user(config.supplier_certificates)?;
        let server_tls = config.tls.as_ref().map(|files| tls::server_config(files, &config.clock)).transpose()?;
        let client_tls = config.tls.as_ref().map(|files| tls::client_config(files, &config.clock)).transpose()?;
        let population = populated(&config.scenario, config.devices)?;
        let registrations = Registrations::load(&config.scenario.registrations)?;
        let world = World::new(config.scenario.clone(), population, registrations, dcc_id);
        let provider = Arc::new(provider(config.clock.now())?);
        let identity = Identity { signer: config.signer, provider, users, dcc_id, deliver_to, client_tls };
        let refused = |source| SimError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let shared = Arc::new(Shared::new(&config.scenario, world, identity, config.clock));
        for order in &config.scenario.alerts {
            shared.order(order)?;
        }
        let scheme = if server_tls.is_some() { "https" } else { "http" };
        let client = deliver::client(&shared)?;
        let tasks = [
            tokio::spawn(server::serve(Arc::clone(&shared), listener, server_tls)),
            tokio::spawn(deliver::dispatch(Arc::clone(&shared), client)),
        ];
        Ok(Simulator { shared, address, scheme, tasks })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What goes into `gateway.base_url`.
    pub fn base_url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// A snapshot of the counters. It looks at every device submitted: not for a tight loop.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Whether no request is being answered, no message is owed, and every outcome is settled.
    pub fn idle(&self) -> bool {
        self.shared.idle()
    }

    /// Waits until [`Simulator::idle`].
    pub async fn until_idle(&self) {
        self.shared.until_idle().await;
    }

    /// What became of a device, if a request took it.
    pub fn outcome(&self, device: DeviceId) -> Option<Outcome> {
        self.shared.lock().world.outcome(device, self.shared.now())
    }

    /// Runs the transitional tool again for every device whose key is missing: the results as a keys CSV. From then on
    /// DCC holds the keys of those it says `updated`.
    pub fn rerun_transitional_tool(&self, at: Time) -> String {
        population::keys_csv(&self.shared.lock().world.rerun_transitional_tool(), at)
    }

    /// Queues an alert: what `POST /sim/alerts/KIND` does.
    pub fn order(&self, order: &Order) -> Result<(), OrderError> {
        self.shared.order(order)
    }

    /// Lets a quarantined request go on, or deletes it: what `POST /sim/quarantine/EVENT/process` and `/delete` do.
    pub fn end_quarantine(&self, event: u64, process: bool) -> Result<(), EventError> {
        self.shared.end_quarantine(event, process)
    }

    /// Under which SMETS1 service providers sign inside DCC's messages.
    pub fn provider_certificate(&self) -> &Certificate {
        self.shared.provider.certificate()
    }

    /// Moves deliveries to another receiver, from the next attempt on.
    pub fn set_deliver_to(&self, url: &str) -> Result<(), SimError> {
        let uri = receiver(url, self.shared.client_tls.is_some())?;
        *self.shared.deliver_to.write().expect("nobody panics while reading it") = uri;
        Ok(())
    }

    /// Ends it; messages still owed are gone.
    pub async fn stop(mut self) {
        for task in &mut self.tasks {
            task.abort();
            let _ = task.await;
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// A receiver's address: on loopback, and https only where there is a certificate to show.
fn receiver(url: &str, has_tls: bool) -> Result<hyper::Uri, SimError> {
    let uri: hyper::Uri = url.parse().map_err(|_| SimError::DeliverTo(url.to_string()))?;
    let host = match (uri.scheme_str(), uri.host()) {
        (Some("https"), Some(_)) if !has_tls => return Err(SimError::NoTls(url.to_string())),
        (Some("http" | "https"), Some(host)) => host,
        _ => return Err(SimError::DeliverTo(url.to_string())),
    };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    if host != "localhost" && !address.is_ok_and(|a| a.is_loopback()) {
        return Err(SimError::NotLoopback { what: "the receiver", value: url.to_string() });
    }
    Ok(uri)
}

/// Made for this run: what it signs is evidence that nobody checks against a pinned certificate.
fn provider(now: Time) -> Result<FileSigner, SimError> {
    let made = pki::make(PROVIDER_ID, Holder::Provider, now)?;
    let certificate = Certificate::from_pem(made.certificate_pem.as_bytes()).map_err(|_| SimError::Provider)?;
    FileSigner::from_pem(made.key_pem.as_bytes(), certificate).map_err(|_| SimError::Provider)
}

fn by_user(certificates: CertificateSet) -> Result<BTreeMap<UserId, CertificateSet>, SimError> {
    let mut users: BTreeMap<UserId, CertificateSet> = BTreeMap::new();
    for certificate in certificates.0 {
        if let Some(user) = certificate.subject_eui {
            users.entry(user).or_default().0.push(certificate);
        }
    }
    if users.is_empty() { Err(SimError::NoUser) } else { Ok(users) }
}

fn populated(scenario: &Scenario, devices: Vec<(DeviceId, Condition)>) -> Result<Population, SimError> {
    let mut population = Population::new(scenario, devices);
    if let Some(path) = &scenario.population.devices_file {
        population.read(path)?;
    }
    Ok(population)
}
