//! `cargo bench --bench campaign`: a whole campaign of a million sites in compressed time: waves, caps, lost, doubled and disordered alerts, silence
//! that is asked after, missing keys that come. `ppmid serve` is a process of its own, the DCC simulator another (this one), with signed
//! messages over loopback HTTP between them. Prints the daemon's memory as the campaign goes on, and holds the end of every device against what
//! the simulator knows of it.
//!
//! `PPMID_BENCH_SITES` sets how many, `PPMID_TEST_POSTGRES` names a server to run on as well.

mod portfolio;

use std::{
    collections::{BTreeSet, HashMap},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use ppmid_orchestrator::{
    app::{App, Status},
    clock::{Clock, Time},
    duis::{Certificate, CertificateSet, FileSigner},
    gateway::inbox::{self, InboxState},
    ids::{DeviceId, Eui},
    sim::{Outcome, Portfolio, Scenario, SimConfig, Simulator, pki},
    sql,
    target::TargetState,
};

use portfolio::{SEED, fill_and_measure, open, prepare, process_kilobytes, sites};

const CAMPAIGN: &str = "million";
/// How often the campaign is looked at: looking counts a million rows.
const LOOK: Duration = Duration::from_secs(5);
/// Members fetched at once when each is held against the simulator.
const PAGE: i64 = 50_000;
/// One campaign takes no longer than this, or something is wrong.
const PATIENCE: Duration = Duration::from_secs(3_600);

fn main() {
    fill_and_measure(prepare, whole_campaign);
}

async fn whole_campaign(folder: &Path, url: &str) {
    let now = Clock::System.now();
    let portfolio = Portfolio::generate(sites(), SEED, now.london_day(), now);
    let receiver = free_port();
    let sim = simulator(folder, &portfolio, receiver, now).await;
    drop(portfolio);
    configure(folder, url, &sim.base_url(), receiver);
    let program = Program { folder: folder.to_path_buf() };
    let image =
        program.done(&["image", "list", "--output", "csv"]).lines().nth(1).and_then(|l| l.split(',').next().map(str::to_string));
    let image = image.expect("an image");
    program.done(&["campaign", "create", "--name", CAMPAIGN, "--image", &image, "--rollout", "compressed"]);
    program.done(&["campaign", "plan", CAMPAIGN]);
    program.done(&["campaign", "approve", CAMPAIGN, "--by", "somebody.else"]);
    program.done(&["campaign", "start", CAMPAIGN]);

    let app = open(folder, url).await;
    let daemon = program.serve();
    // Tenths of the members that had ended when the daemon's memory was printed.
    let (started, mut watch) = (Instant::now(), BTreeSet::new());
    follow(&app, &sim, &daemon, &mut watch, started, |s| s.devices(is_queued) == 0).await;
    let csv = sim.rerun_transitional_tool(app.now());
    let came = csv.lines().count().saturating_sub(1);
    std::fs::write(folder.join("rerun.csv"), csv).expect("a file is written");
    program.done(&["import", "keys", "rerun.csv"]);
    println!("  the transitional tool was run again for {came} sites");
    let status =
        follow(&app, &sim, &daemon, &mut watch, started, |s| s.devices(|state| state.is_in_flight() || is_queued(state)) == 0)
            .await;
    let took = started.elapsed();
    let peak = process_kilobytes(daemon.0.id(), "VmHWM:") >> 10;
    daemon.stop();
    report(&app, &sim, &status, took, peak).await;
    app.db.close().await;
    sim.stop().await;
}

/// Waits until `done`, and until everything that the simulator owes is delivered and settled.
async fn follow(
    app: &App,
    sim: &Simulator,
    daemon: &Daemon,
    watch: &mut BTreeSet<i64>,
    started: Instant,
    done: impl Fn(&Status) -> bool,
) -> Status {
    loop {
        let idle = sim.idle();
        let status = app.campaign_status(CAMPAIGN).await.expect("a status");
        let (members, ended) = (status.members(), status.ended());
        let (tenth, resident) = (ended * 10 / members.max(1), process_kilobytes(daemon.0.id(), "VmRSS:") >> 10);
        if watch.insert(tenth) {
            let at = started.elapsed().as_secs();
            println!("  after {at:>4} s: {ended:>8} of {members} ended, the daemon has {resident} MB");
        }
        if let Some(code) = &status.stopped_code {
            panic!("the campaign was stopped: {code}: {:?}", status.stopped_reason);
        }
        let waiting = inbox::counts(&mut app.db.read().await.expect("a reader")).await.expect("counts");
        if done(&status) && idle && waiting.get(&InboxState::New).copied().unwrap_or(0) == 0 {
            return app.campaign_status(CAMPAIGN).await.expect("a status");
        }
        assert!(started.elapsed() < PATIENCE, "it does not come to its end: {:?}", status.by_state);
        tokio::time::sleep(LOOK).await;
    }
}

/// Holds every device against the simulator, and prints the figures.
async fn report(app: &App, sim: &Simulator, status: &Status, took: Duration, peak: u64) {
    let stats = sim.stats();
    let plan = app.campaign(CAMPAIGN).await.expect("a campaign").plan_id.expect("a plan");
    let (mut after, mut seen, mut wrong) = (i64::MIN, 0_u64, Vec::new());
    let mut pairs: HashMap<(String, String), u64> = HashMap::new();
    loop {
        let mut tx = app.db.read().await.expect("a reader");
        let text = "select device_id, state from targets where plan_id = $1 and device_id > $2 order by device_id limit $3";
        let page: Vec<(i64, String)> =
            sql!(&mut tx, c => sqlx::query_as(text).bind(plan).bind(after).bind(PAGE).fetch_all(c).await).expect("members");
        let Some(last) = page.last() else { break };
        after = last.0;
        for (device, state) in page {
            seen += 1;
            let device = DeviceId::from_db(device);
            let outcome = sim.outcome(device);
            if !agree(&state, outcome) && wrong.len() < 5 {
                wrong.push(format!("{device}: {state} here, {outcome:?} there"));
            }
            let word = outcome.map_or("never sent".to_string(), |o| format!("{o:?}"));
            *pairs.entry((word, state)).or_default() += 1;
        }
    }
    let mut pairs: Vec<_> = pairs.into_iter().collect();
    pairs.sort();
    for ((there, here), n) in pairs {
        println!("  {n:>8}  {there} at DCC, {here} here");
    }
    println!(
        "  {} requests, {} messages delivered ({} lost, {} doubled, {} out of order), {} devices sent twice",
        status.requests_sent,
        stats.deliveries.done,
        stats.deliveries.lost,
        stats.deliveries.duplicated,
        stats.deliveries.reordered,
        stats.duplicate_submissions
    );
    println!(
        "  {:.0} s, {:.0} messages a second, the daemon's peak memory {peak} MB",
        took.as_secs_f64(),
        stats.deliveries.done as f64 / took.as_secs_f64()
    );
    assert_eq!(seen, sites() as u64, "every site has a row");
    assert!(wrong.is_empty() && stats.duplicate_submissions == 0, "{wrong:#?}");
    println!("  every device is accounted for");
}

/// Whether what is said here of a device is what became of it there.
fn agree(here: &str, there: Option<Outcome>) -> bool {
    match there {
        None => matches!(here, "held" | "ineligible"),
        Some(Outcome::Activated) => matches!(here, "activated" | "verified"),
        Some(Outcome::Dropped) => here == "failed",
        // Where the alert that says so was lost, nothing but its old version is known.
        Some(Outcome::Failed) => matches!(here, "failed" | "expired"),
        Some(Outcome::KeyMissing) => here == "held",
        Some(Outcome::Silent) => here == "expired",
        Some(Outcome::InProgress) => false,
    }
}

fn is_queued(state: TargetState) -> bool {
    state == TargetState::Queued
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr()).expect("a free port").port()
}

const USER_ID: Eui = Eui(0x90B3_D51F_3001_0000);
const DCC_ID: Eui = Eui(0x90B3_D51F_3000_0002);

async fn simulator(folder: &Path, portfolio: &Portfolio, receiver: u16, now: Time) -> Simulator {
    let dcc = pki::make(DCC_ID, pki::Holder::Dcc, now).expect("a certificate");
    let supplier = pki::make(USER_ID, pki::Holder::User, now).expect("a certificate");
    dcc.write_to(folder, "dcc.key.pem", "dcc.pem").expect("files are written");
    supplier.write_to(folder, "supplier.key.pem", "supplier.pem").expect("files are written");
    let own = Certificate::from_pem(dcc.certificate_pem.as_bytes()).expect("our own");
    let signer = FileSigner::from_pem(dcc.key_pem.as_bytes(), own).expect("its key");
    let mut scenario = Scenario { seed: SEED, ..Scenario::default() };
    let share = |text: &str| text.parse().expect("a share");
    (scenario.deliveries.lost, scenario.deliveries.duplicated, scenario.deliveries.reordered) =
        (share("0.1%"), share("1%"), share("1%"));
    (scenario.faults.dropped, scenario.faults.reply_lost) = (share("1%"), share("1%"));
    Simulator::start(SimConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        deliver_to: format!("http://127.0.0.1:{receiver}/duis/receive"),
        tls: None,
        scenario,
        devices: portfolio.devices().collect(),
        signer: Arc::new(signer),
        supplier_certificates: CertificateSet(vec![Certificate::from_pem(supplier.certificate_pem.as_bytes()).expect("our own")]),
        clock: Clock::System,
    })
    .await
    .expect("the simulator starts")
}

/// The shipped policies with hours made seconds, and a rollout in four waves with a cap. What DCC drops answers before anything succeeds, and
/// seconds leave no time for more: so many failures are allowed as never happen.
fn configure(folder: &Path, url: &str, base_url: &str, receiver: u16) {
    let settings = format!(
        "[database]\nurl = \"{url}\"\n\n[gateway]\nbase_url = \"{base_url}\"\n\n[receiver]\nlisten = \"127.0.0.1:{receiver}\"\n"
    );
    std::fs::write(folder.join("ppmid.toml"), settings).expect("a file is written");
    let edit = |name: &str, edit: &dyn Fn(String) -> String| {
        let path = folder.join("policies").join(name);
        let text = std::fs::read_to_string(&path).expect("a shipped policy");
        std::fs::write(&path, edit(text)).expect("a file is written");
    };
    edit("eligibility.toml", &|text| text.replace("answer_within = \"72h\"", "answer_within = \"3m\""));
    edit("steps.toml", &|text| {
        text.replace("reads_per_minute = 60", "reads_per_minute = 6000")
            .replace("steps = [\"update\"]\n", "steps = [\"update\"]\nsilent = [\"read-inventory\"]\nask_within = \"5m\"\n")
    });
    edit("rollout.toml", &|text| {
        let wave = |name: &str, size: &str| format!("\n[[preset.compressed.wave]]\nname = \"{name}\"\nsize = \"{size}\"\n");
        text + "\n[preset.compressed]\ndescription = \"The staged one, with days made seconds\"\ntop_up = \"asked\"\ntop_up_sites = 0\nsoak = \"5s\"\n\
                minimum_sample = 20\nmax_failures = \"50%\"\nleast_success = \"90%\"\nin_flight = 100000\nexclude = []\n"
            + &[wave("canary", "0.1%"), wave("early", "1%"), wave("wide", "10%"), wave("rest", "rest")].concat()
    });
}

/// The program as an operator calls it.
struct Program {
    folder: PathBuf,
}

impl Program {
    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ppmid"));
        command.current_dir(&self.folder);
        command
    }

    fn done(&self, args: &[&str]) -> String {
        let ran = self.command().args(args).stderr(Stdio::inherit()).output().expect("the program runs");
        assert!(ran.status.success(), "{args:?}");
        String::from_utf8(ran.stdout).expect("text")
    }

    fn serve(&self) -> Daemon {
        let log = std::fs::File::create(self.folder.join("serve.log")).expect("a file is made");
        Daemon(self.command().arg("serve").stdout(Stdio::null()).stderr(log).spawn().expect("the program runs"))
    }
}

struct Daemon(Child);

impl Daemon {
    fn stop(mut self) {
        let asked = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().expect("kill runs");
        assert!(asked.success());
        self.0.wait().expect("it ends");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}
