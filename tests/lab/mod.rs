//! A supplier's folder as an operator has it: configuration, keys, certificates, CSV files and a database, on either engine,
//! driven through the `ppmid` program. What the tests of whole runs share.

mod daemon;
mod files;
mod raw_dcc;

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use ppmid_orchestrator::{
    clock::Clock,
    db::{Db, testing},
    duis::{CertificateSet, FileSigner},
    gateway::outbox::{self, OutboxRequest},
    ids::Eui,
    sim::{Scenario, SimConfig, Simulator, pki},
};
use serde_json::Value;

pub use daemon::Daemon;
pub use files::{FIRMWARE, Site, day};
pub use raw_dcc::{Behaviour, Post, RawDcc};

use crate::harness::{Folder, Ran};

pub const DCC_ID: Eui = Eui(0x90B3_D51F_3000_0002);
pub const USER_ID: Eui = Eui(0x90B3_D51F_3001_0000);
/// What takes longer than this on the slowest machine has gone wrong.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at something that is awaited.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// Each story is told twice: on a SQLite file and on PostgreSQL.
macro_rules! on_both_engines {
    ($($story:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                super::$story($crate::lab::Engine::Sqlite).await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                super::$story($crate::lab::Engine::Postgres).await;
            })*
        }
    };
}
pub(crate) use on_both_engines;

pub struct Lab {
    pub folder: Folder,
    pub database_url: String,
    pub dcc_port: u16,
    pub receiver_port: u16,
    daemons: AtomicU16,
}

/// Whether this build has no crash points; says loudly that it skips what needs them.
pub fn without_crash_points() -> bool {
    let without = !cfg!(feature = "crash-points");
    if without {
        eprintln!("SKIPPED: the crash points are compiled in by --features crash-points (tests/run does)");
    }
    without
}

impl Lab {
    /// A folder with configuration, keys and certificates. `None` where the engine is not there, which was said.
    pub async fn new(engine: Engine) -> Option<Lab> {
        let folder = Folder::new();
        let database_url = match engine {
            Engine::Sqlite => format!("sqlite://{}", folder.path().join("ppmid.db").display()),
            Engine::Postgres => match std::env::var(testing::POSTGRES_ENV) {
                Ok(server) => testing::fresh_postgres_url(&server).await,
                Err(_) => {
                    let required = std::env::var_os(testing::REQUIRE_ENV).is_some();
                    assert!(!required, "{} is not set, and {} says it must be", testing::POSTGRES_ENV, testing::REQUIRE_ENV);
                    eprintln!("SKIPPED ON POSTGRESQL: {} names no server (tests/run starts one)", testing::POSTGRES_ENV);
                    return None;
                }
            },
        };
        let lab = Lab { folder, database_url, dcc_port: free_port(), receiver_port: free_port(), daemons: AtomicU16::new(0) };
        lab.configure("");
        lab.certificates();
        Some(lab)
    }

    /// `ppmid.toml` with this lab's database and ports. `gateway` is added to its section.
    pub fn configure(&self, gateway: &str) {
        self.folder.write(
            "ppmid.toml",
            format!(
                "[database]\nurl = \"{}\"\n\n[receiver]\nlisten = \"127.0.0.1:{}\"\n\n[gateway]\nbase_url = \"{}\"\n{gateway}\n",
                self.database_url,
                self.receiver_port,
                self.base_url(),
            ),
        );
    }

    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.dcc_port)
    }

    pub fn deliver_to(&self) -> String {
        format!("http://127.0.0.1:{}/duis/receive", self.receiver_port)
    }

    fn certificates(&self) {
        let now = Clock::System.now();
        for (eui, holder, key, certificate) in [
            (DCC_ID, pki::Holder::Dcc, "dcc.key.pem", "dcc.pem"),
            (USER_ID, pki::Holder::User, "supplier.key.pem", "supplier.pem"),
        ] {
            pki::make(eui, holder, now).unwrap().write_to(self.folder.path(), key, certificate).unwrap();
        }
    }

    pub fn dcc_signer(&self) -> FileSigner {
        FileSigner::load(&self.folder.path().join("dcc.key.pem"), &self.folder.path().join("dcc.pem")).unwrap()
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        self.folder.run(args)
    }

    pub fn done(&self, args: &[&str]) -> String {
        self.folder.done(args)
    }

    /// The object a command prints with `--output json`.
    pub fn json(&self, args: &[&str]) -> Value {
        let text = self.done(&[args, &["--output", "json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{args:?} printed {text:?}: {e}"))
    }

    pub fn status(&self, campaign: &str) -> Value {
        self.json(&["campaign", "status", campaign])
    }

    /// `(device_id, state, reason, batch, attempts)` of every target, in order.
    pub fn targets(&self, campaign: &str) -> Vec<[String; 5]> {
        let text = self.done(&["campaign", "targets", campaign, "--output", "csv"]);
        let mut csv = csv::Reader::from_reader(text.as_bytes());
        assert_eq!(
            csv.headers().unwrap().iter().collect::<Vec<_>>().join(","),
            "device_id,state,reason,batch,attempts,updated_at"
        );
        csv.records().map(|r| r.unwrap()).map(|r| std::array::from_fn(|i| r[i].to_string())).collect()
    }

    /// Starts `ppmid serve`; it serves when this returns.
    pub fn serve(&self) -> Daemon {
        let daemon = self.start_serving(&[]);
        daemon.until_it_says("serving");
        daemon
    }

    /// Starts `ppmid serve` with these environment variables and does not wait.
    pub fn start_serving(&self, environment: &[(&str, &str)]) -> Daemon {
        let n = self.daemons.fetch_add(1, Ordering::Relaxed);
        Daemon::start(
            self.folder.command(&["serve"]).envs(environment.iter().copied()),
            self.folder.path().join(format!("serve-{n}.log")),
        )
    }

    /// Serves until the process kills itself at this crash point.
    pub fn serve_until_it_dies_at(&self, point: &str) {
        let mut serve = self.start_serving(&[("PPMID_CRASH_AT", point)]);
        let status = serve.until_it_ends();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{}", serve.log());
        assert!(serve.log().contains("crash point"), "{}", serve.log());
    }

    /// Runs a command that kills itself at this crash point.
    pub fn dies_at(&self, point: &str, args: &[&str]) {
        let ran = self.folder.command(args).env("PPMID_CRASH_AT", point).output().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ran.status), Some(9), "{ran:?}");
    }

    /// A simulated DCC in this process, which outlives the daemons.
    pub async fn simulator(&self, scenario: &str) -> Simulator {
        Simulator::start(SimConfig {
            listen: (Ipv4Addr::LOCALHOST, self.dcc_port).into(),
            deliver_to: self.deliver_to(),
            tls: None,
            scenario: Scenario::parse(scenario, "the test's scenario").unwrap(),
            devices: Vec::new(),
            signer: Arc::new(self.dcc_signer()),
            supplier_certificates: CertificateSet::from_pem_files(&[self.folder.path().join("supplier.pem")]).unwrap(),
            clock: Clock::System,
        })
        .await
        .unwrap()
    }

    /// Every request in the outbox.
    pub async fn outbox(&self) -> Vec<OutboxRequest> {
        let db = Db::connect(&self.database_url).await.unwrap();
        let requests = outbox::list(&mut db.read().await.unwrap(), None, None, u32::MAX).await.unwrap();
        db.close().await;
        requests
    }
}

/// Asks until there is an answer; a test never sleeps for a fixed time.
pub fn until<T>(what: &str, patience: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + patience;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "in {patience:?} this did not come: {what}");
        std::thread::sleep(LOOK);
    }
}

/// The body of what a server on this machine answers with 200.
pub fn http(port: u16, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: dcc\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").expect("a reply has a head");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    body.to_string()
}

/// A loopback port that nobody listens on: below the system's own range, and from another place for each process.
pub fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const PORTS: u32 = 10_000;
    const EACH: u32 = 16;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let n = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = (FIRST + (std::process::id() * EACH + n) % PORTS) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
