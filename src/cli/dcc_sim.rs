//! `ppmid dcc-sim`: the DCC simulator alone, for a trial against `ppmid serve` on one machine.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::signal::unix::{SignalKind, signal};

use super::{Context, Output};
use crate::{
    duis::{CertificateSet, FileSigner},
    failure::{Failure, Outcome},
    ids::Eui,
    sim::{Scenario, SimConfig, Simulator, Stats, pki},
};

const DCC_KEY: &str = "dcc.key.pem";
const DCC_CERTIFICATE: &str = "dcc.pem";
const SUPPLIER_KEY: &str = "supplier.key.pem";
const SUPPLIER_CERTIFICATE: &str = "supplier.pem";
/// `gateway.dcc_id` and `organisation.user_id` as `ppmid.toml` has them by default.
const DCC_ID: Eui = Eui(0x90B3_D51F_3000_0002);
const USER_ID: Eui = Eui(0x90B3_D51F_3001_0000);

const EXAMPLES: &str = r#"Examples:
  From an empty folder, with the product's default settings:
    ppmid dcc-sim --make-certificates .     # test keys and certificates
    ppmid serve                             # in another terminal

  What it counted, and a re-run of the transitional tool as a keys CSV:
    curl -s http://127.0.0.1:8079/sim/stats
    curl -s -X POST http://127.0.0.1:8079/sim/rerun-keys > keys.csv
    ppmid import keys keys.csv

  A scenario (every key is optional, without a file nothing goes wrong):
    seed = 1
    [population]
    default = "any"                         # or "unknown": those of devices_file
    devices_file = "sites.csv"              # relative to the scenario
    unknown = { share = "0.1%" }
    not_commissioned = { share = "0.1%" }
    busy = { devices = [] }
    not_applicable = { devices = [] }
    key_missing = { devices = ["00-DB-12-34-56-78-90-A4"], good_on_rerun = "66.67%" }
    activation_fails = { share = "0.4%" }
    silent = { share = "0.2%" }
    [delays]                                # milliseconds, from and to
    acknowledge_ms = 0
    warning_ms = 50
    update_requested_ms = [20, 500]
    activated_ms = [100, 2000]
    key_missing_ms = [20, 1000]
    [faults]                                # of the posts received
    dropped = "1%"
    server_error = "1%"
    reply_lost = "5%"
    late_reply = "1%"
    late_reply_ms = 2000
    unsigned_refusals = "50%"
    [deliveries]                            # of the messages sent
    connections = 32
    lost = "0.1%"
    duplicated = "5%"
    reordered = "5%""#;

/// A simulated DCC on this machine: takes signed requests, answers, and posts responses and alerts
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where the product posts its requests: its gateway.base_url; loopback only
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8079")]
    listen: SocketAddr,
    /// The product's receiver; loopback only
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8081/duis/receive")]
    deliver_to: String,
    /// What DCC knows, how long things take, what goes wrong (TOML)
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// DCC's signing key, PKCS#8 PEM [default: dcc.key.pem]
    #[arg(long, value_name = "FILE")]
    dcc_key: Option<PathBuf>,
    /// Its certificate; the EUI of its subject is DCC's id [default: dcc.pem]
    #[arg(long, value_name = "FILE")]
    dcc_certificate: Option<PathBuf>,
    /// A certificate whose holder may send requests; may be given several times [default: supplier.pem]
    #[arg(long, value_name = "FILE")]
    supplier_certificate: Vec<PathBuf>,
    /// First makes, in this folder, the test keys and certificates of DCC and the supplier that are not there
    #[arg(long, value_name = "DIR")]
    make_certificates: Option<PathBuf>,
}

pub async fn run(ctx: &Context, args: Args) -> Outcome {
    // Before anything is made or opened: from here on a signal ends it in good order.
    let mut terminate = listen_for(SignalKind::terminate())?;
    let mut interrupt = listen_for(SignalKind::interrupt())?;
    let scenario = args.scenario.as_deref().map(Scenario::load).transpose()?.unwrap_or_default();
    if let Some(dir) = &args.make_certificates {
        make_certificates(dir, ctx)?;
    }
    let simulator = Simulator::start(config(ctx, &args, scenario)?).await?;
    announce(ctx, &simulator, &args.deliver_to);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    eprintln!("{}", summary(&simulator.stats()));
    simulator.stop().await;
    Ok(())
}

fn listen_for(kind: SignalKind) -> Outcome<tokio::signal::unix::Signal> {
    signal(kind).map_err(|e| Failure::failed(format!("cannot listen for signals: {e}")))
}

fn config(ctx: &Context, args: &Args, scenario: Scenario) -> Outcome<SimConfig> {
    let dir = args.make_certificates.as_deref().unwrap_or(Path::new(""));
    let or = |given: &Option<PathBuf>, name: &str| given.clone().unwrap_or_else(|| dir.join(name));
    let key = or(&args.dcc_key, DCC_KEY);
    let certificate = or(&args.dcc_certificate, DCC_CERTIFICATE);
    let suppliers = match args.supplier_certificate.is_empty() {
        true => vec![dir.join(SUPPLIER_CERTIFICATE)],
        false => args.supplier_certificate.clone(),
    };
    if let Some(missing) = [&key, &certificate].into_iter().chain(&suppliers).find(|file| !file.exists()) {
        return Err(Failure::failed(format!("there is no file {}", missing.display()))
            .help("for a trial, `ppmid dcc-sim --make-certificates .` makes test keys and certificates here")
            .help("or name the files: --dcc-key, --dcc-certificate, --supplier-certificate"));
    }
    Ok(SimConfig {
        listen: args.listen,
        deliver_to: args.deliver_to.clone(),
        tls: None,
        scenario,
        devices: Vec::new(),
        signer: Arc::new(FileSigner::load(&key, &certificate)?),
        supplier_certificates: CertificateSet::from_pem_files(&suppliers)?,
        clock: ctx.clock.clone(),
    })
}

/// Makes each pair that is not there; a half of a pair is left alone and said.
fn make_certificates(dir: &Path, ctx: &Context) -> Outcome {
    std::fs::create_dir_all(dir).map_err(|e| {
        Failure::failed(format!("cannot make the folder {}: {e}", dir.display())).help("check that it may be written")
    })?;
    let pairs =
        [(DCC_ID, pki::Holder::Dcc, DCC_KEY, DCC_CERTIFICATE), (USER_ID, pki::Holder::User, SUPPLIER_KEY, SUPPLIER_CERTIFICATE)];
    for (eui, holder, key, certificate) in pairs {
        match (dir.join(key).exists(), dir.join(certificate).exists()) {
            (true, true) => {}
            (false, false) => {
                pki::make(eui, holder, ctx.clock.now())?.write_to(dir, key, certificate)?;
                eprintln!("made {} and {} for {eui}", dir.join(key).display(), dir.join(certificate).display());
            }
            (has_key, _) => {
                let (there, gone) = if has_key { (key, certificate) } else { (certificate, key) };
                let line = format!("{} is there, but not {gone}: they belong together", dir.join(there).display());
                return Err(Failure::failed(line).help(format!("bring {gone} back, or move {there} away and both are made anew")));
            }
        }
    }
    Ok(())
}

fn announce(ctx: &Context, simulator: &Simulator, deliver_to: &str) {
    let base_url = simulator.base_url();
    match ctx.output() {
        Output::Json => println!("{}", serde_json::json!({ "base_url": base_url, "deliver_to": deliver_to })),
        Output::Csv => println!("base_url,deliver_to\n{base_url},{deliver_to}"),
        Output::Table => {
            println!("DCC simulator at {base_url}, delivering to {deliver_to}; {base_url}/sim/stats says what it counted")
        }
    }
}

fn summary(stats: &Stats) -> String {
    let (requests, deliveries) = (&stats.requests, &stats.deliveries);
    format!(
        "requests: {} posted, {} accepted, {} refused; devices: {} submitted, {} of them twice; messages: {} delivered, {} still owed",
        requests.posted,
        requests.accepted,
        requests.refused.values().sum::<usize>(),
        stats.devices_submitted,
        stats.duplicate_submissions,
        deliveries.done,
        deliveries.pending,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scenario_of_the_help_can_be_used() {
        let scenario = &EXAMPLES[EXAMPLES.find("    seed = 1").unwrap()..];
        let read = Scenario::parse(scenario, "help").unwrap();
        let defaults = Scenario::default();
        assert_eq!(read.delays.activated_ms, defaults.delays.activated_ms);
        assert_eq!(read.deliveries.connections, defaults.deliveries.connections);
        assert!(EXAMPLES.lines().all(|line| line.len() <= 88), "a line that wraps cannot be copied");
    }
}
