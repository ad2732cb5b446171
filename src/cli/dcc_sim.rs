//! `ppmid dcc-sim`: the DCC simulator alone, for a trial against `ppmid serve` on one machine.

use std::{net::SocketAddr, path::PathBuf};

use tokio::signal::unix::{SignalKind, signal};

use super::{Context, Output};
use crate::{
    failure::{Failure, Outcome},
    sim::{EXAMPLE, Scenario, Simulator, Stats},
};

mod certificates;

const EXAMPLES: &str = r#"Examples:
  From an empty folder, with the product's default settings:
    ppmid dcc-sim --make-certificates .     # test keys and certificates
    ppmid serve                             # in another terminal

  A scenario, of which every key has a default:
    ppmid dcc-sim --print-scenario > scenario.toml
    ppmid dcc-sim --scenario scenario.toml

  Over mutual TLS, with an authority made for the trial:
    ppmid dcc-sim --make-certificates . --make-tls-certificates . \
      --deliver-to https://127.0.0.1:8081/duis/receive
    # ppmid.toml: base_url = "https://127.0.0.1:8079"; in [gateway.tls], [receiver.tls]:
    #   ca = "tls-ca.pem"
    #   certificate = "supplier-tls.pem"
    #   key = "supplier-tls.key.pem"

  What it counted, and a re-run of the transitional tool as a keys CSV:
    curl -s http://127.0.0.1:8079/sim/stats
    curl -s -X POST http://127.0.0.1:8079/sim/rerun-keys > keys.csv
    ppmid import keys keys.csv

  An alert to order, and a request that its anomaly detection held back:
    curl -s -X POST http://127.0.0.1:8079/sim/alerts/ChangeOfSupplier \
      -d '{"device_id": "00-DB-12-34-56-78-90-A4"}'
    curl -s http://127.0.0.1:8079/sim/quarantine
    curl -s -X POST http://127.0.0.1:8079/sim/quarantine/1/process

docs/simulator.md says what it does, what it enforces, and what of it is a guess."#;

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
    /// Listens with mutual TLS, and trusts clients that this authority vouches for (PEM)
    #[arg(long, value_name = "FILE", requires_all = ["tls_certificate", "tls_key"])]
    tls_ca: Option<PathBuf>,
    /// Shown to clients, and to an https receiver (PEM, its intermediates after it)
    #[arg(long, value_name = "FILE", requires_all = ["tls_ca", "tls_key"])]
    tls_certificate: Option<PathBuf>,
    /// Its private key, PKCS#8 PEM
    #[arg(long, value_name = "FILE", requires_all = ["tls_ca", "tls_certificate"])]
    tls_key: Option<PathBuf>,
    /// Listens with mutual TLS, with files in this folder: an authority and a certificate for each side, first made if none is there
    #[arg(long, value_name = "DIR", conflicts_with = "tls_ca")]
    make_tls_certificates: Option<PathBuf>,
    /// Prints a scenario with every key, its default and what it means, and ends
    #[arg(long, exclusive = true)]
    print_scenario: bool,
}

pub async fn run(ctx: &Context, args: Args) -> Outcome {
    if args.print_scenario {
        print!("{EXAMPLE}");
        return Ok(());
    }
    // Before anything is made or opened: from here on a signal ends it in good order.
    let mut terminate = listen_for(SignalKind::terminate())?;
    let mut interrupt = listen_for(SignalKind::interrupt())?;
    let scenario = args.scenario.as_deref().map(Scenario::load).transpose()?.unwrap_or_default();
    let simulator = Simulator::start(certificates::config(ctx, &args, scenario)?).await?;
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
    fn the_examples_can_be_copied() {
        assert!(EXAMPLES.lines().all(|line| line.len() <= 88), "a line that wraps cannot be copied");
    }
}
