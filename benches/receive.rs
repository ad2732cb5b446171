//! `cargo bench --bench receive`: signed alerts are posted over loopback to a receiver in a process of its own, which verifies each, makes it
//! durable and answers 204. Prints alerts a second, latencies, the receiver's processor time and peak memory, and the ratio to the floor:
//! what the cores it used could have done of bare ECDSA P-256 verifications (`openssl speed`, in the same run).
//!
//! `PPMID_BENCH_ALERTS` and `PPMID_BENCH_CONNECTIONS` set how many, `PPMID_TEST_POSTGRES` names a server to measure as well.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use ppmid_orchestrator::{
    clock::Clock,
    db::{Db, testing},
    duis::{
        Alert, Body, CertificateSet, DuisVersion, FileSigner, Pinned, Response, Smets1FirmwareStatus, Throttled, write_response,
    },
    gateway::receiver::{self, Limits, Setup},
    ids::{DeviceId, Eui, RequestId},
    sim::pki,
};
use tokio::sync::Notify;

const ALERTS: usize = 60_000;
/// DCC's own connections are not known; enough that a commit finds company.
const CONNECTIONS: usize = 64;
const RUNS: usize = 3;
const PATH: &str = "/duis/receive";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [verb, folder, url] = arguments.as_slice()
        && verb == "receive"
    {
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        return runtime.block_on(receive(Path::new(folder), url));
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder");
    let alerts = number("PPMID_BENCH_ALERTS", ALERTS);
    let connections = number("PPMID_BENCH_CONNECTIONS", CONNECTIONS);
    let started = Instant::now();
    let messages = Arc::new(signed_alerts(folder.path(), alerts * RUNS));
    let size = messages[0].len();
    println!("{} alerts of {size} bytes signed in {:.1} s", messages.len(), started.elapsed().as_secs_f64());
    let mut urls = vec![("SQLite", format!("sqlite://{}", folder.path().join("bench.db").display()))];
    match std::env::var(testing::POSTGRES_ENV) {
        Ok(server) => {
            let runtime = tokio::runtime::Runtime::new().expect("threads");
            urls.push(("PostgreSQL", runtime.block_on(testing::fresh_postgres_url(&server))));
        }
        Err(_) => println!("{} is not set: SQLite alone", testing::POSTGRES_ENV),
    }
    for (engine, url) in urls {
        println!("{engine}, {connections} connections");
        let mut peer = Peer::start(folder.path(), &url);
        for run in 0..RUNS {
            measure(&mut peer, &messages, run * alerts..(run + 1) * alerts, connections);
        }
        println!("  peak memory of the receiver (VmHWM) {} MB", peer.status_kilobytes("VmHWM:") >> 10);
        peer.stop();
    }
}

fn number(name: &str, or: usize) -> usize {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(or)
}

/// Posts a part of the messages and prints what came of it.
fn measure(peer: &mut Peer, messages: &Arc<Vec<Vec<u8>>>, part: std::ops::Range<usize>, connections: usize) {
    let floor = openssl_verifications();
    let (count, share) = (part.len(), part.len().div_ceil(connections));
    let (busy, started) = (peer.cpu_seconds(), Instant::now());
    let senders: Vec<_> = (0..connections)
        .map(|n| {
            let (messages, address) = (Arc::clone(messages), peer.address);
            let mine = (part.start + n * share).min(part.end)..(part.start + (n + 1) * share).min(part.end);
            std::thread::spawn(move || send(address, &messages[mine]))
        })
        .collect();
    let mut waits: Vec<Duration> = senders.into_iter().flat_map(|s| s.join().expect("a sender")).collect();
    let (took, busy) = (started.elapsed().as_secs_f64(), peer.cpu_seconds() - busy);
    waits.sort_unstable();
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize].as_secs_f64() * 1_000.0;
    let (rate, cores) = (count as f64 / took, busy / took);
    println!(
        "  {rate:>7.0} alerts/s, receiver {cores:.2} cores; floor {floor:.0} verifications/s a core; ratio {:.2} \
         (answered after p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms)",
        rate / (floor * cores),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

/// One connection: a message after the other, each answered before the next. Gives how long each took.
fn send(address: SocketAddr, messages: &[Vec<u8>]) -> Vec<Duration> {
    let mut stream = TcpStream::connect(address).expect("the receiver listens");
    stream.set_nodelay(true).expect("an option");
    let mut answer = [0u8; 1_024];
    let post = |message: &Vec<u8>| {
        let head = format!(
            "POST {PATH} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n",
            message.len()
        );
        let started = Instant::now();
        stream.write_all(&[head.as_bytes(), message].concat()).expect("it is sent");
        let mut got = 0;
        while !answer[..got].ends_with(b"\r\n\r\n") {
            let more = stream.read(&mut answer[got..]).expect("an answer");
            assert!(more > 0, "the receiver closed the connection");
            got += more;
        }
        assert!(answer.starts_with(b"HTTP/1.1 204"), "{}", String::from_utf8_lossy(&answer[..got]));
        started.elapsed()
    };
    messages.iter().map(post).collect()
}

/// Alerts as a SMETS1 rollout brings them: one device each, each with its own ResponseID.
fn signed_alerts(folder: &Path, count: usize) -> Vec<Vec<u8>> {
    let dcc: Eui = "90-B3-D5-1F-30-00-00-02".parse().expect("an EUI");
    let us: Eui = "90-B3-D5-1F-30-01-00-00".parse().expect("an EUI");
    let now = Clock::System.now();
    let identity = pki::make(dcc, pki::Holder::Dcc, now).expect("a certificate");
    identity.write_to(folder, "dcc.key.pem", "dcc.pem").expect("files are written");
    let signer = FileSigner::load(&folder.join("dcc.key.pem"), &folder.join("dcc.pem")).expect("the key is ours");
    let alert = |n: usize| Response {
        schema_version: DuisVersion { major: 3, minor: 1 }.to_string(),
        request_id: Some(RequestId { originator: us, target: dcc, counter: 1_764_000_000_000 }),
        response_id: Some(RequestId { originator: dcc, target: us, counter: 1_764_000_000_001 + n as u64 }),
        code: "I0".into(),
        at: now,
        body: Body::Alert {
            alert_code: "N57".into(),
            throttled: Throttled::default(),
            alert: Alert::Smets1FirmwareNotification {
                device: DeviceId::from_db(0x00DB_1234_0000_0000 + n as i64),
                firmware_version: "0002012F".into(),
                status: Smets1FirmwareStatus::ActivationSuccessful,
            },
            unknown: Vec::new(),
        },
    };
    (0..count).map(|n| write_response(&alert(n), &signer).expect("it can be written").bytes).collect()
}

/// Verifications a second on one core, by `openssl speed`; without the program the bench says so and gives no ratio.
fn openssl_verifications() -> f64 {
    let asked = Command::new("openssl").args(["speed", "-seconds", "2", "ecdsap256"]).stderr(Stdio::null()).output();
    let printed = asked.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    let last = printed.lines().last().and_then(|l| l.split_whitespace().last()?.parse().ok());
    last.unwrap_or_else(|| {
        println!("  openssl is not there: no floor");
        f64::NAN
    })
}

/// The receiver's process.
struct Peer {
    child: Child,
    address: SocketAddr,
}

impl Peer {
    fn start(folder: &Path, url: &str) -> Peer {
        let this = std::env::current_exe().expect("this program");
        let mut child = Command::new(this)
            .args(["receive".as_ref(), folder.as_os_str(), url.as_ref()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child process");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("its address");
        Peer { child, address: line.trim().parse().expect("an address") }
    }

    /// Processor seconds so far, in user and system mode (Linux).
    fn cpu_seconds(&self) -> f64 {
        const TICKS_A_SECOND: f64 = 100.0;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let ticks: f64 = after_name.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum();
        ticks / TICKS_A_SECOND
    }

    fn status_kilobytes(&self, key: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix(key));
        line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
    }

    /// Its standard input closes, and it ends.
    fn stop(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().expect("it ends").success());
    }
}

/// The child: receives until its standard input closes.
async fn receive(folder: &Path, url: &str) {
    let set = CertificateSet::from_pem_files(&[folder.join("dcc.pem")]).expect("the certificate is ours");
    let setup = Setup {
        listen: "127.0.0.1:0".parse().expect("an address"),
        path: PATH.into(),
        pinned: Pinned::new(set),
        db: Db::open(url).await.expect("the database opens"),
        clock: Clock::System,
        nudge: Arc::new(Notify::new()),
        limits: Limits::default(),
        tls: None,
    };
    let receiver = receiver::start(setup).await.expect("it listens");
    println!("{}", receiver.local_addr());
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.expect("no panic").expect("a pipe");
    let counts = receiver.counts();
    eprintln!("  {} stored in {} groups, {} seen before", counts.stored, counts.groups, counts.duplicates);
    receiver.stop().await;
}
