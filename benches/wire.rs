//! `cargo bench --bench wire`: the largest usual request (50,000 devices, an image of 750 KiB) is built and signed, beside one
//! SHA-256 pass over the same bytes in the same rounds. After that, whole processes on the same message: `xmlsec1 --sign`, and the
//! reference tool where PPMID_REFERENCE_TOOL names a command that takes the file to sign as its last argument.

use std::{
    hint::black_box,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use ppmid_orchestrator::{
    clock::Time,
    duis::{self, Asks, Certificate, FileSigner, Firmware, MAX_DEVICES_PER_REQUEST, ServiceRequest},
    ids::{DeviceId, Eui},
};

const ROUNDS: usize = 200;
/// Whole processes are slower, and vary less.
const PROCESS_ROUNDS: usize = 20;
const IMAGE_BYTES: usize = 750 * 1024;
/// The goal: build and sign in at most this many SHA-256 passes.
const GOAL: f64 = 3.0;
const REFERENCE_TOOL_ENV: &str = "PPMID_REFERENCE_TOOL";

fn main() {
    let (signer, key_pem) = signer();
    let image: Vec<u8> = (0..IMAGE_BYTES as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let in_order: Vec<DeviceId> = (0..MAX_DEVICES_PER_REQUEST as u64).map(|n| Eui(0x00DB_0000_0000_0000 + n * 7)).collect();
    let mixed: Vec<DeviceId> = (0..MAX_DEVICES_PER_REQUEST as u64).map(|n| Eui(n.wrapping_mul(0x9E37_79B9_7F4A_7C15))).collect();
    let message = duis::build_request(&request(&image, &in_order), &signer).expect("a request").bytes;
    println!(
        "11.1 for {MAX_DEVICES_PER_REQUEST} devices with an image of {IMAGE_BYTES} bytes: {} bytes, {ROUNDS} rounds",
        message.len()
    );

    let mut times: [Vec<Duration>; 4] = Default::default();
    for _ in 0..ROUNDS {
        times[0].push(timed(|| digest(&SHA256, black_box(&message))));
        times[1].push(timed(|| duis::build_request(&request(&image, &in_order), &signer).expect("a request")));
        times[2].push(timed(|| duis::build_request(&request(&image, &mixed), &signer).expect("a request")));
        times[3].push(timed(|| duis::request_digest(&request(&image, &in_order)).expect("a digest")));
    }
    let [pass, built, built_mixed, digested] = times.map(Spread::of);
    pass.print("one SHA-256 pass (aws-lc-rs)", &pass);
    built.print("build and sign, list in order", &pass);
    built_mixed.print("build and sign, list mixed", &pass);
    digested.print("build and digest alone", &pass);
    let kept = built.minimum.as_secs_f64() <= GOAL * pass.minimum.as_secs_f64();
    println!("  goal: at most {GOAL:.1} passes: {}", if kept { "kept" } else { "NOT kept" });

    let folder = tempfile::tempdir().expect("a temporary folder");
    let (template, key) = (folder.path().join("template.xml"), folder.path().join("key.pem"));
    std::fs::write(&key, key_pem).expect("a file");
    std::fs::write(&template, as_template(&message)).expect("a file");
    whole_process("xmlsec1 --sign, whole process", &pass, xmlsec1(folder.path(), &key, &template));
    match std::env::var(REFERENCE_TOOL_ENV) {
        Err(_) => println!("  the reference tool (Java) is not here: {REFERENCE_TOOL_ENV} is not set"),
        Ok(command) => {
            let mut words = command.split_whitespace();
            let mut tool = Command::new(words.next().expect("a command"));
            tool.args(words).arg(&template);
            whole_process("the reference tool, whole process", &pass, tool);
        }
    }
}

fn request<'a>(image: &'a [u8], devices: &'a [DeviceId]) -> ServiceRequest<'a> {
    ServiceRequest {
        id: "90-B3-D5-1F-30-01-00-00:90-B3-D5-1F-30-00-00-02:1795435200000".parse().expect("a RequestID"),
        duis_version: "3.1".parse().expect("a version"),
        asks: Asks::UpdateFirmware(Firmware { image, firmware_version: "0002012F", devices }),
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let started = Instant::now();
    black_box(work());
    started.elapsed()
}

struct Spread {
    minimum: Duration,
    median: Duration,
}

impl Spread {
    fn of(mut times: Vec<Duration>) -> Spread {
        times.sort_unstable();
        Spread { minimum: times[0], median: times[times.len() / 2] }
    }

    fn print(&self, what: &str, pass: &Spread) {
        let millis = |d: Duration| d.as_secs_f64() * 1_000.0;
        let ratio = |a: Duration, b: Duration| a.as_secs_f64() / b.as_secs_f64();
        println!(
            "  {what:<34} minimum {:>8.3} ms, median {:>8.3} ms, {:>6.2} and {:>6.2} passes",
            millis(self.minimum),
            millis(self.median),
            ratio(self.minimum, pass.minimum),
            ratio(self.median, pass.median)
        );
    }
}

fn whole_process(what: &str, pass: &Spread, mut command: Command) {
    let mut run = || command.output().is_ok_and(|o| o.status.success());
    if !run() {
        return println!("  {what}: it is not here, or does not sign this");
    }
    Spread::of((0..PROCESS_ROUNDS).map(|_| timed(&mut run)).collect()).print(what, pass);
}

fn xmlsec1(folder: &Path, key: &Path, template: &Path) -> Command {
    let mut command = Command::new("xmlsec1");
    command.args(["--sign", "--privkey-pem"]).arg(key).arg("--output").arg(folder.join("signed.xml")).arg(template);
    command
}

/// The message with the values of its signature taken out, for another tool to fill in.
fn as_template(message: &[u8]) -> String {
    let mut text = String::from_utf8(message.to_vec()).expect("XML is UTF-8");
    for (start, end) in [
        ("<ds:DigestValue>", "</ds:DigestValue>"),
        ("<ds:SignatureValue>", "</ds:SignatureValue>"),
        ("<ds:KeyInfo>", "</ds:KeyInfo>"),
    ] {
        let from = text.find(start).expect("it is signed") + start.len();
        let to = text.find(end).expect("it is signed");
        text.replace_range(from..to, "");
    }
    text.replacen("<ds:KeyInfo></ds:KeyInfo>", "", 1)
}

/// A signer made on the spot, and its key as a PEM file.
fn signer() -> (FileSigner, String) {
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).expect("a key");
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).expect("our own key");
    let certificate = Certificate {
        issuer: "CN=Z1,OU=07".into(),
        serial: "20315062944123339095836004026371736578".into(),
        public_key: key.public_key().as_ref().to_vec(),
        not_before: Time(0),
        not_after: Time(i64::MAX),
        subject_eui: None,
    };
    let encoded = STANDARD.encode(pkcs8.as_ref());
    let lines: Vec<&str> = encoded.as_bytes().chunks(64).map(|l| std::str::from_utf8(l).expect("ASCII")).collect();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
    (FileSigner::from_pem(pem.as_bytes(), certificate).expect("they belong together"), pem)
}
