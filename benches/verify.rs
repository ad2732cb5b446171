//! `cargo bench --bench verify`: an alert of about 1.8 KB is verified and read again and again by one thread, beside the two
//! floors of the same run: `openssl speed ecdsap256`, and the bare verification of the cryptography crate used here.
//! `--features fuzzing` adds the split into steps. Needs the `openssl` program.

use std::{
    hint::black_box,
    process::Command,
    time::{Duration, Instant},
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey},
};
use ppmid_orchestrator::{
    clock::Time,
    duis::{self, Alert, Body, Certificate, CertificateSet, FileSigner, Response, Smets1FirmwareStatus, Throttled},
    ids::Eui,
    sim::pki::{self, Holder},
};

/// How long each figure is measured, in each round.
const SPAN: Duration = Duration::from_secs(1);
/// The machine is seldom quiet for long: the best of the rounds counts, for the floors too.
const ROUNDS: usize = 3;
/// Bytes of a signed SignedInfo, which is what the bare verification hashes.
const SIGNED_INFO_BYTES: usize = 640;
const DCC: Eui = Eui(0x90B3_D51F_3000_0002);

fn main() {
    let at: Time = "2026-11-24T12:00:00Z".parse().expect("a time");
    let (signer, pinned) = signer(at);
    let message = duis::write_response(&alert(at), &signer).expect("a message").bytes;
    let (read, digest) = duis::verify_and_read_response(&message, &pinned, at).expect("it is good");
    assert_eq!(read, alert(at));
    println!("a {} of {} bytes, one thread, best of {ROUNDS} rounds", read.kind(), message.len());

    let (mut openssl, mut bare, mut whole, mut kept) = (0.0f64, 0.0f64, 0.0f64, 0.0f64);
    let bare_verification = bare_verification();
    for _ in 0..ROUNDS {
        openssl = openssl.max(openssl_verifications_a_second());
        bare = bare.max(rate(&bare_verification));
        whole = whole.max(rate(|| duis::verify_and_read_response(black_box(&message), &pinned, at).is_ok()));
        kept = kept.max(rate(|| duis::read_kept_response(black_box(&message), digest).is_ok()));
    }
    println!("  openssl speed ecdsap256, verify {openssl:>9.0} a second");
    println!("  aws-lc-rs, bare verification    {bare:>9.0} a second  {:.2} of openssl", bare / openssl);
    println!(
        "  verify and read                 {whole:>9.0} a second  {:.2} of openssl, {:.2} of bare",
        whole / openssl,
        whole / bare
    );
    println!("  read a kept message             {kept:>9.0} a second");
    split(&message, whole, bare);
}

/// How often a second of the processor `work` is done: `openssl speed` counts that way too.
fn rate(work: impl Fn() -> bool) -> f64 {
    /// Between two looks at the clock.
    const BLOCK: u32 = 200;
    let (started, busy) = (Instant::now(), busy_nanoseconds());
    let mut done = 0u32;
    while started.elapsed() < SPAN {
        for _ in 0..BLOCK {
            assert!(work());
        }
        done += BLOCK;
    }
    let seconds = match (busy, busy_nanoseconds()) {
        (Some(from), Some(to)) => (to - from) as f64 / 1e9,
        _ => started.elapsed().as_secs_f64(),
    };
    f64::from(done) / seconds
}

/// What this thread has had of a processor so far (Linux; elsewhere the clock on the wall counts).
fn busy_nanoseconds() -> Option<u64> {
    std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split_whitespace().next()?.parse().ok()
}

/// `verify/s`, the last number of the last line.
fn openssl_verifications_a_second() -> f64 {
    let output = Command::new("openssl").args(["speed", "-seconds", "1", "ecdsap256"]).output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    let last = text.lines().last().and_then(|line| line.split_whitespace().last());
    last.and_then(|word| word.parse().ok()).expect("the openssl program says verify/s at the end of its last line")
}

fn bare_verification() -> impl Fn() -> bool {
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let message = vec![b'x'; SIGNED_INFO_BYTES];
    let signature = key.sign(&random, &message).expect("a signature");
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public_key().as_ref().to_vec());
    move || public.verify(black_box(&message), signature.as_ref()).is_ok()
}

/// A signer made on the spot, and the set that pins its certificate.
fn signer(at: Time) -> (FileSigner, CertificateSet) {
    let made = pki::make(DCC, Holder::Dcc, at).expect("a key");
    let certificate = Certificate::from_pem(made.certificate_pem.as_bytes()).expect("our own certificate");
    let signer = FileSigner::from_pem(made.key_pem.as_bytes(), certificate.clone()).expect("they belong together");
    (signer, CertificateSet(vec![certificate]))
}

/// The alert that comes most often: a device has done what it was told.
fn alert(at: Time) -> Response {
    Response {
        schema_version: "3.1".into(),
        request_id: Some("90-B3-D5-1F-30-01-00-00:90-B3-D5-1F-30-00-00-02:1766940660265".parse().expect("a RequestID")),
        response_id: Some("90-B3-D5-1F-30-00-00-02:90-B3-D5-1F-30-01-00-00:1766940660265".parse().expect("a RequestID")),
        code: "I0".into(),
        at,
        body: Body::Alert {
            alert_code: "N57".into(),
            throttled: Throttled::default(),
            alert: Alert::Smets1FirmwareNotification {
                device: Eui(0x00DB_1234_5678_90A0),
                firmware_version: "0002012F".into(),
                status: Smets1FirmwareStatus::ActivationSuccessful,
            },
            unknown: Vec::new(),
        },
    }
}

/// Microseconds of each step, and of what is left.
#[cfg(feature = "fuzzing")]
fn split(message: &[u8], whole: f64, bare: f64) {
    const MICROSECONDS: f64 = 1e6;
    println!("  microseconds a message: {:.1}, of which", MICROSECONDS / whole);
    let mut left = MICROSECONDS / whole - MICROSECONDS / bare;
    println!("    {:<32} {:>6.2}", "ECDSA (the bare verification)", MICROSECONDS / bare);
    ppmid_orchestrator::fuzzing::verification_steps(message, |name, step| {
        let took = MICROSECONDS
            / rate(|| {
                step();
                true
            });
        println!("    {name:<32} {took:>6.2}");
        left -= took;
    });
    println!("    {:<32} {left:>6.2}", "shape, certificate and reading");
}

#[cfg(not(feature = "fuzzing"))]
fn split(_message: &[u8], _whole: f64, _bare: f64) {
    println!("  (with --features fuzzing: the split into steps)");
}
