//! `ppmid dcc-sim` as a program beside `ppmid serve`: a campaign runs to its end over mutual TLS in both directions, and what an
//! operator does at the simulator's own addresses arrives.

use std::process::Command;

use crate::{
    harness::{Folder, assert_polite},
    lab::{Daemon, Engine, Lab, PATIENCE, until},
};

const SITES: u64 = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_over_mutual_tls_both_ways() {
    let Some(lab) = Lab::new(Engine::Sqlite).await else { return };
    let listen = format!("127.0.0.1:{}", lab.dcc_port);
    let deliver_to = format!("https://127.0.0.1:{}/duis/receive", lab.receiver_port);
    lab.folder.write("dcc.toml", "seed = 2\n[delays]\nupdate_requested_ms = [1, 50]\nactivated_ms = [1, 100]\n");
    let args = ["dcc-sim", "--listen", &listen, "--deliver-to", &deliver_to, "--scenario", "dcc.toml"];
    let args = [&args[..], &["--make-certificates", ".", "--make-tls-certificates", "."]].concat();
    let dcc = Daemon::start(&mut lab.folder.command(&args), lab.folder.path().join("dcc.log"));
    dcc.until_it_says("DCC simulator at https://127.0.0.1:");

    let image = lab.load_eligible(SITES);
    lab.start_campaign("spring", &image, 10);
    let base_url = format!("https://127.0.0.1:{}", lab.dcc_port);
    let mut environment = vec![("PPMID_GATEWAY__BASE_URL", base_url.as_str())];
    environment.extend([
        ("PPMID_GATEWAY__TLS__CA", "tls-ca.pem"),
        ("PPMID_GATEWAY__TLS__CERTIFICATE", "supplier-tls.pem"),
        ("PPMID_GATEWAY__TLS__KEY", "supplier-tls.key.pem"),
        ("PPMID_RECEIVER__TLS__CA", "tls-ca.pem"),
        ("PPMID_RECEIVER__TLS__CERTIFICATE", "supplier-tls.pem"),
        ("PPMID_RECEIVER__TLS__KEY", "supplier-tls.key.pem"),
    ]);
    let serve = lab.start_serving(&environment);
    serve.until_it_says("serving");
    until("all activated", PATIENCE, || (lab.status("spring")["by_state"]["activated"] == SITES).then_some(()));
    if let Some(said) = curl(&lab, &["-X", "POST", &format!("{base_url}/sim/alerts/PPMIDRemoval")]) {
        assert_eq!(said, "PPMIDRemoval needs device_id\n");
        let stats = curl(&lab, &[&format!("{base_url}/sim/stats")]).unwrap();
        assert!(stats.contains("\"accepted_by_kind\":{\"11.1\":3}"), "{stats}");
    }
    serve.terminate();
    dcc.terminate();
}

/// With the trial's own certificate; `None` where there is no curl.
fn curl(lab: &Lab, args: &[&str]) -> Option<String> {
    let mut command = Command::new("curl");
    command.args(["-s", "--cacert", "tls-ca.pem", "--cert", "supplier-tls.pem", "--key", "supplier-tls.key.pem"]).args(args);
    let Ok(output) = command.current_dir(lab.folder.path()).output() else {
        eprintln!("SKIPPED: curl is not installed");
        return None;
    };
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_printed_scenario_is_taken_and_what_does_not_go_together_is_said() {
    let folder = Folder::new();
    let printed = folder.done(&["dcc-sim", "--print-scenario"]);
    assert!(printed.contains("[needs_version]") && printed.lines().all(|line| line.len() <= 130));
    folder.write("bad.toml", printed.replace("counters = \"rising\"", "counters = \"falling\""));
    let refused = folder.run(&["dcc-sim", "--scenario", "bad.toml"]);
    assert!(refused.code == 1 && refused.err.contains("bad.toml, line "), "{refused:?}");
    assert_polite(&refused);
    for args in [
        &["dcc-sim", "--tls-ca", "ca.pem"][..],
        &["dcc-sim", "--print-scenario", "--listen", "127.0.0.1:1"],
        &["dcc-sim", "--make-certificates", ".", "--listen", "127.0.0.1:0", "--deliver-to", "https://127.0.0.1:1/"],
    ] {
        let refused = folder.run(args);
        assert_eq!(refused.code, 2, "{refused:?}");
        assert_polite(&refused);
    }
}
