//! Every byte that the simulator emits, held against implementations that share no code with it: `xmllint` with the schema, `xmlsec1`
//! for DCC's signature and for that of the SMETS1 service provider inside. Random populations, every request, every alert, every
//! refusal. Skipped, loudly, where a tool is missing; with PPMID_REQUIRE_TOOLS=1 that is a failure.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use super::*;
use crate::{
    duis::samples::{shared, spki_pem},
    sim::orders::tests::{full, outcome},
};

/// Populations, each under a seed of its own.
const SEEDS: u64 = 4;
const DEVICES: u64 = 150;
/// A command line holds this many file names with room to spare.
const FILES_PER_CALL: usize = 400;
const SR: &str = "http://www.dccinterface.co.uk/ServiceUserGateway";
const RA: &str = "http://www.dccinterface.co.uk/ResponseAndAlert";

fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    assert!(found || std::env::var_os("PPMID_REQUIRE_TOOLS").is_none(), "{tool} is missing and PPMID_REQUIRE_TOOLS is set");
    if !found {
        eprintln!("SKIPPED: {tool} is not installed (packages libxml2-utils, xmlsec1)");
    }
    found
}

/// Everything goes wrong now and then, and every choice is taken under one seed or another.
fn scenario(seed: u64) -> String {
    let share = |n: u64| 5 + (seed * 7 + n * 3) % 20;
    let groups = [
        "unknown",
        "not_commissioned",
        "suspended",
        "decommissioned",
        "busy",
        "not_applicable",
        "key_missing",
        "activation_fails",
        "silent",
        "smets2",
    ];
    let group = |(n, name): (usize, &&str)| {
        let share = if *name == "smets2" { 50 } else { share(n as u64) / 2 };
        format!("{name} = {{ share = \"{share}%\" }}\n")
    };
    let population: String = groups.iter().enumerate().map(group).collect();
    let others = [
        "change_of_supplier",
        "suspended",
        "removed",
        "version_mismatch",
        "nameless_s1sp",
        "throttled",
        "unknown",
        "device_alert",
    ];
    let others: String = others.iter().enumerate().map(|(n, name)| format!("{name} = \"{}%\"\n", share(n as u64))).collect();
    let when = if seed.is_multiple_of(2) { "at_once" } else { "later" };
    let needs = match seed % 2 {
        0 => String::new(),
        _ => format!(
            "[needs_version]\nPPMIDAlert = \"5.0\"\nReadFirmwareVersionRsp = \"5.0\"\nDSPUpdateFirmwareWarning = \"5.0\"\nDeviceAlertMessage = \"5.0\"\n\
             [[users]]\nid = \"{SUPPLIER}\"\nduis_version = \"3.1\"\n"
        ),
    };
    format!(
        "seed = {seed}\n[population]\n{population}[answers]\ninventory = \"{when}\"\nwarnings = \"{when}\"\nlost_devices = \"list\"\n\
         [inventory]\ndevice_status = \"60%\"\nfirmware_version = \"60%\"\nother_fields = \"50%\"\n\
         [reads]\nunreachable = {{ share = \"15%\" }}\nno_answer = {{ share = \"15%\" }}\nfails = {{ share = \"20%\" }}\n\
         [smets2]\ndistribution_fails = \"15%\"\ndelivery_fails = \"15%\"\ntransfer_fails = \"15%\"\n[other_alerts]\n{others}\
         [deliveries]\nduplicated = \"5%\"\nreordered = \"5%\"\n[data_values]\ndevices_at_most = 1000\n\
         [[thresholds]]\nrequest = \"11.2\"\nat_most = 15\nperiod_ms = 3600000\n{needs}"
    )
}

/// All that a user can ask for, rightly and wrongly, and all that an operator can order.
async fn driven(seed: u64) -> Lab {
    let lab = Lab::new(&scenario(seed), vec![]).await;
    let mut counter = 1_000 * (seed + 1);
    let mut next = || {
        counter += 1;
        counter
    };
    lab.ask(next(), DCC, Asks::UpdateFirmware(firmware(&devices(DEVICES)))).await;
    lab.ask(next(), DCC, Asks::UpdatePpmidFirmware(firmware(&devices(DEVICES)))).await;
    lab.ask(next(), DCC, Asks::UpdateFirmware(firmware(&devices(1_001)))).await;
    for n in 1..=25 {
        let version = ["3.0", "3.1", "5.0", "5.2", "5.4"][n as usize % 5];
        lab.ask_in(version, next(), DCC, Asks::ReadInventory { device: device(n) }).await;
        lab.ask_in(version, next(), device(n), Asks::ReadFirmwareVersion).await;
    }
    for event in [1, 2] {
        let _ = lab.simulator.end_quarantine(event, true);
    }
    for kind in Ordered::ALL {
        lab.simulator.order(&full(*kind, outcome(*kind))).unwrap();
    }
    // Refusals of every kind.
    let good = unsigned(&lab.request(next(), &devices(1)));
    for (from, to) in [
        (">8<", ">1<"),
        (">11.1<", ">99.9<"),
        (">11.1<", ">12.1<"),
        ("schemaVersion=\"3.1\"", "schemaVersion=\"9.9\""),
        ("schemaVersion=\"3.1\"", "schemaVersion=\"x\""),
        ("<sr:Body>", "<sr:Body><sr:Body></sr:Body>"),
        ("<sr:Header>", "<sr:Header><sr:Header></sr:Header>"),
        ("00020200", "000202001"),
    ] {
        lab.reply_to("/api/v1/serviceD", sealed(&good.replace(from, to), &lab.supplier)).await;
    }
    let seen = lab.request(next(), &devices(1));
    lab.post(seen.clone()).await;
    let mut altered = lab.request(next(), &devices(1));
    let at = altered.windows(8).position(|w| w == VERSION.as_bytes()).unwrap();
    altered[at] = b'9';
    let stranger = request(&signer(SUPPLIER, Holder::User), DCC, next(), &devices(1));
    for (path, bytes) in [
        ("/api/v1/serviceD", seen),
        ("/api/v1/serviceD", altered),
        ("/api/v1/serviceD", stranger),
        ("/api/v1/serviceD", lab.request(1, &devices(1))),
        ("/api/v1/serviceT", lab.request(next(), &devices(1))),
        ("/api/v1/serviceD", request(&lab.supplier, device(1), next(), &devices(1))),
        ("/api/v1/serviceD", b"<sr:Request>".to_vec()),
    ] {
        assert!(lab.reply_to(path, bytes).await.code.starts_with('E'));
    }
    lab.simulator.until_idle().await;
    lab
}

/// A user who may not ask for anything.
async fn suspended() -> Lab {
    let lab = Lab::new(&format!("[[users]]\nid = \"{SUPPLIER}\"\nsuspended = true\n"), vec![]).await;
    lab.post(lab.request(1, &devices(1))).await;
    lab
}

fn written(folder: &Path, prefix: &str, texts: impl Iterator<Item = Vec<u8>>) -> Vec<PathBuf> {
    let write = |(n, bytes): (usize, Vec<u8>)| {
        let path = folder.join(format!("{prefix}-{n}.xml"));
        std::fs::write(&path, bytes).unwrap();
        path
    };
    texts.enumerate().map(write).collect()
}

fn assert_valid(files: &[PathBuf]) {
    let Some(schema) = shared("schema") else { return };
    for files in files.chunks(FILES_PER_CALL) {
        let mut command = Command::new("xmllint");
        command.args(["--nonet", "--noout", "--schema"]).arg(schema.join("duis.xsd")).args(files);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{}",
            said.lines().filter(|l| !l.ends_with(" validates")).collect::<Vec<_>>().join("\n")
        );
    }
}

/// The signature of every file's root verifies with this key.
fn assert_signed(key: &Path, files: &[PathBuf]) {
    for files in files.chunks(FILES_PER_CALL) {
        let mut command = Command::new("xmlsec1");
        command.args(["--verify", "--node-xpath", "/*/*[local-name()='Signature']", "--pubkey-pem"]).arg(key).args(files);
        let output = command.output().unwrap();
        let said = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(said.lines().filter(|l| *l == "OK").count(), files.len(), "{said}");
    }
}

/// What a SMETS1 service provider signed inside a message, as the document that it is.
fn inner(text: &str) -> Option<Vec<u8>> {
    ["S1SPAlert", "SMETS1SignedResponse"].iter().find_map(|name| {
        let (from, close) = (text.find(&format!("<sr:{name} "))?, format!("</sr:{name}>"));
        let document = &text[from..text.find(&close)? + close.len()];
        let has_ra = document[..document.find('>')?].contains("xmlns:ra");
        let namespaces = if *name == "S1SPAlert" || has_ra {
            format!("xmlns:sr=\"{SR}\"")
        } else {
            format!("xmlns:ra=\"{RA}\" xmlns:sr=\"{SR}\"")
        };
        Some(document.replacen(&format!("<sr:{name} "), &format!("<sr:{name} {namespaces} "), 1).into_bytes())
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_emitted_is_valid_and_verifies_elsewhere() {
    let (xmllint, xmlsec1) = (has("xmllint"), has("xmlsec1"));
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("public.pem");
    let (mut kinds, mut codes, mut messages) = (BTreeSet::new(), BTreeSet::new(), 0);
    let mut labs = vec![suspended().await];
    for seed in 0..SEEDS {
        labs.push(driven(seed).await);
    }
    let mut signed_inside = 0;
    for lab in labs {
        let emitted: Vec<Vec<u8>> = std::mem::take(&mut *lab.receiver.emitted.lock().unwrap());
        for bytes in &emitted {
            let response = read_response(bytes, &lab.receiver.dcc, Clock::System.now()).unwrap();
            kinds.insert(response.kind().to_string());
            codes.insert(response.code);
        }
        messages += emitted.len();
        let inner: Vec<Vec<u8>> = emitted.iter().filter_map(|bytes| inner(std::str::from_utf8(bytes).unwrap())).collect();
        signed_inside += inner.len();
        let (files, inner) =
            (written(folder.path(), "outer", emitted.into_iter()), written(folder.path(), "inner", inner.into_iter()));
        if xmllint {
            assert_valid(&files);
            assert_valid(&inner);
        }
        if xmlsec1 {
            std::fs::write(&key, spki_pem(&lab.receiver.dcc.0[0].public_key)).unwrap();
            assert_signed(&key, &files);
            std::fs::write(&key, spki_pem(&lab.simulator.provider_certificate().public_key)).unwrap();
            assert_signed(&key, &inner);
        }
    }
    assert!(messages > 1_000 && signed_inside > 100, "{messages}, {signed_inside}");
    let wanted = super::super::world::KINDS.iter().filter(|kind| **kind != "SMETS1ResponseMessage").map(|kind| kind.to_string());
    let missing: Vec<String> = wanted.chain(["DUISVersionMismatch".to_string()]).filter(|kind| !kinds.contains(kind)).collect();
    assert!(missing.is_empty(), "never emitted: {missing:?}; of {kinds:?}");
    insta::assert_snapshot!(codes.into_iter().collect::<Vec<_>>().join(" "), @"E1 E100 E12 E13 E19 E2 E20 E21 E3 E4 E48 E5 E62 E63 E64 I0 I99 W110101 W110401");
}

/// What a run said, without the times in it.
async fn said(seed: u64) -> Vec<String> {
    let lab = Lab::new(&scenario(seed), vec![]).await;
    lab.ask(1, DCC, Asks::UpdateFirmware(firmware(&devices(DEVICES)))).await;
    lab.simulator.until_idle().await;
    lab.ask(2, DCC, Asks::UpdatePpmidFirmware(firmware(&devices(DEVICES)))).await;
    lab.simulator.until_idle().await;
    for n in 1..=25 {
        lab.ask(2 * n + 1, DCC, Asks::ReadInventory { device: device(n) }).await;
        lab.ask(2 * n + 2, device(n), Asks::ReadFirmwareVersion).await;
    }
    lab.simulator.until_idle().await;
    let emitted = std::mem::take(&mut *lab.receiver.emitted.lock().unwrap());
    let line = |bytes: &Vec<u8>| {
        let response = read_response(bytes, &lab.receiver.dcc, Clock::System.now()).unwrap();
        let number = response.response_id.map(|id| id.counter % 1_000_000);
        let body = format!("{:?}", response.body);
        let timeless: String = body
            .split("Time(")
            .enumerate()
            .map(|(n, part)| if n == 0 { part } else { &part[part.find(')').unwrap()..] })
            .collect();
        format!("{:?} {number:?} {} {timeless}", response.request_id, response.code)
    };
    let mut lines: Vec<String> = emitted.iter().map(line).collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn one_seed_says_the_same_and_another_does_not() {
    let (once, again, other) = (said(1).await, said(1).await, said(2).await);
    assert!(once.len() > 300, "{}", once.len());
    assert_eq!(once, again);
    assert_ne!(once, other);
}

#[tokio::test]
async fn unsigned_refusals_are_valid_too() {
    let lab = Lab::new("[faults]\nunsigned_refusals = \"100%\"\n", vec![]).await;
    let bad = sealed(&unsigned(&lab.request(2, &devices(1))).replace(">11.1<", ">99.9<"), &lab.supplier);
    let mut replies = Vec::new();
    for bytes in [bad, request(&lab.supplier, device(1), 3, &devices(1))] {
        replies.push(lab.post_raw("/api/v1/serviceD", bytes).await.unwrap().1.to_vec());
    }
    assert!(replies.iter().all(|reply| read_unsigned_refusal(reply).is_ok()));
    if has("xmllint") {
        let folder = tempfile::tempdir().unwrap();
        assert_valid(&written(folder.path(), "unsigned", replies.into_iter()));
    }
}
