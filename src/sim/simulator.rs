//! A running simulator: started and stopped in one process with whoever asks, or alone by `ppmid dcc-sim`. Loopback only.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use tokio::{net::TcpListener, task::JoinHandle};

use super::{
    Scenario, SimError, Stats, deliver,
    population::{self, Condition, Population},
    server,
    shared::{Identity, Shared},
    world::{Outcome, World},
};
use crate::{
    clock::{Clock, Time},
    duis::{CertificateSet, Signer},
    ids::{DeviceId, UserId},
};

pub struct SimConfig {
    /// Loopback; port 0 takes any that is free.
    pub listen: SocketAddr,
    /// The receiver of the product: `http://127.0.0.1:8081/duis/receive`.
    pub deliver_to: String,
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
    tasks: [JoinHandle<std::convert::Infallible>; 2],
}

impl Simulator {
    pub async fn start(config: SimConfig) -> Result<Simulator, SimError> {
        if !config.listen.ip().is_loopback() {
            return Err(SimError::NotLoopback { what: "the address to listen on,", value: config.listen.to_string() });
        }
        let deliver_to = receiver(&config.deliver_to)?;
        let dcc_id = config.signer.certificate().subject_eui.ok_or(SimError::NoDccId)?;
        let users = by_user(config.supplier_certificates)?;
        let population = populated(&config.scenario, config.devices)?;
        let world = World::new(config.scenario.clone(), population);
        let identity = Identity { signer: config.signer, users, dcc_id, deliver_to };
        let refused = |source| SimError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let shared = Arc::new(Shared::new(&config.scenario, world, identity, config.clock));
        let tasks =
            [tokio::spawn(server::serve(Arc::clone(&shared), listener)), tokio::spawn(deliver::dispatch(Arc::clone(&shared)))];
        Ok(Simulator { shared, address, tasks })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What goes into `gateway.base_url`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
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

    /// Moves deliveries to another receiver, from the next attempt on.
    pub fn set_deliver_to(&self, url: &str) -> Result<(), SimError> {
        let uri = receiver(url)?;
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

/// A receiver's address: http, on loopback.
fn receiver(url: &str) -> Result<hyper::Uri, SimError> {
    let uri: hyper::Uri = url.parse().map_err(|_| SimError::DeliverTo(url.to_string()))?;
    let (Some("http"), Some(host)) = (uri.scheme_str(), uri.host()) else {
        return Err(SimError::DeliverTo(url.to_string()));
    };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    if host != "localhost" && !address.is_ok_and(|a| a.is_loopback()) {
        return Err(SimError::NotLoopback { what: "the receiver", value: url.to_string() });
    }
    Ok(uri)
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
    let Some(path) = &scenario.population.devices_file else { return Ok(population) };
    let wrong = |why: String| SimError::Devices { path: path.display().to_string(), why };
    let mut reader = csv::Reader::from_path(path).map_err(|e| wrong(e.to_string()))?;
    let headers = reader.byte_headers().map_err(|e| wrong(e.to_string()))?;
    let name = |header: &[u8]| header.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(header) == b"device_id";
    let column = headers.iter().position(name).ok_or_else(|| wrong("it has no device_id column".into()))?;
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(|e| wrong(e.to_string()))? {
        let device = record.get(column).unwrap_or_default().parse().map_err(|e: crate::ids::IdError| wrong(e.to_string()))?;
        population.list(device, Condition::Ready);
    }
    Ok(population)
}
