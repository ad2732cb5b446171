//! `cargo bench --bench evidence`: the evidence of a campaign of a million sites, made and checked. Prints seconds and peak memory of
//! each: of the plan alone, and with four steps and one message for every site that was sent.
//!
//! `PPMID_BENCH_SITES` sets the number of sites, `PPMID_TEST_POSTGRES` names a server to measure as well. Each step is a process of its
//! own, so that the memory is its own. The steps after the plan are put into the tables by two statements: what is measured reads them.

mod portfolio;

use std::{
    fs::File,
    io::{BufReader, BufWriter},
    path::Path,
    time::Instant,
};

use ed25519_dalek::SigningKey;
use ppmid_orchestrator::{app::NewCampaignRequest, estate::SiteFilter, evidence, image};

use portfolio::{WHO, child, cpu_seconds, on_each_engine, open, peak_kilobytes, prepare, sites};

const CAMPAIGN: &str = "bench";

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [verb, folder, url] = arguments.as_slice() {
        let folder = Path::new(folder);
        match verb.as_str() {
            "prepare" => return runtime.block_on(prepare_and_plan(folder, url)),
            "live" => return runtime.block_on(live(folder, url)),
            "make" => return runtime.block_on(make(folder, url)),
            "check" => return check(folder),
            _ => {}
        }
    }
    on_each_engine(&runtime, |engine, place, url| {
        child("prepare", place, url);
        println!("{engine}: {} sites, planned", sites());
        child("make", place, url);
        child("check", place, url);
        child("live", place, url);
        println!("{engine}: the same, sent and activated");
        child("make", place, url);
        child("check", place, url);
    });
}

async fn prepare_and_plan(folder: &Path, url: &str) {
    prepare(folder, url).await;
    let app = open(folder, url).await;
    let image = image::store::list(&mut app.db.read().await.expect("a reader")).await.expect("images")[0].id;
    let new = NewCampaignRequest {
        name: CAMPAIGN.into(),
        image,
        filter: SiteFilter::default(),
        rollout: None,
        batch_size: None,
        waves: Vec::new(),
    };
    app.create_campaign(new, WHO).await.expect("a campaign");
    app.plan_campaign(CAMPAIGN, None, WHO, &mut |_| {}).await.expect("a plan");
    app.db.close().await;
}

/// Every eligible site: planned, sent, accepted, activated by a message of its own.
async fn live(folder: &Path, url: &str) {
    let app = open(folder, url).await;
    let columns = "device_id, state, reason, attempts, registration_supplier, registration_from, updated_at, policy_set, cpl_fact, key_result_at";
    let step = |version: i64, state: &str, cause: &str| {
        format!(
            "insert into target_history (plan_id, version, cause, device_id, state, reason, attempts, registration_supplier,
                registration_from, updated_at, policy_set, cpl_fact, key_result_at)
             select plan_id, {version}, {cause}, {} from targets where state = 'queued'",
            columns.replacen("state", &format!("'{state}'"), 1)
        )
    };
    for text in [
        step(1, "queued", "null"),
        step(2, "submitted", "'send'"),
        step(3, "accepted", "'answer'"),
        "insert into inbox (id, received_at, dedupe_key, kind, response_code, body)
         select row_number() over (order by device_id), updated_at, cast(device_id as text), 'SMETS1CHFirmwareNotification', '', cast('' as blob)
         from targets where state = 'queued'"
            .replace("blob", if url.starts_with("postgres") { "bytea" } else { "blob" }),
        "insert into inbox_marks (id, state) select id, 'settled' from inbox".to_string(),
        "update targets set state = 'activated', version = 4, cause = 'message', cause_ref = n.n
         from (select device_id as d, row_number() over (order by device_id) as n from targets where state = 'queued') as n
         where targets.device_id = n.d and targets.state = 'queued'"
            .to_string(),
    ] {
        let mut tx = app.db.begin().await.expect("a writer");
        ppmid_orchestrator::sql!(&mut tx, c => sqlx::query(sqlx::AssertSqlSafe(text)).execute(c).await.map(|_| ()))
            .expect("the statement is right");
        tx.commit().await.expect("a commit");
    }
    app.db.close().await;
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

async fn make(folder: &Path, url: &str) {
    let app = open(folder, url).await;
    let (started, busy) = (Instant::now(), cpu_seconds());
    let gathered = app.gather_evidence(CAMPAIGN, &key().verifying_key(), folder, &mut |_| {}).await;
    let (campaign, pack) = gathered.expect("the evidence");
    let out = BufWriter::new(File::create(folder.join("pack.zip")).expect("a file"));
    let written = app.write_evidence(&campaign, pack, out, &key(), WHO).await.expect("a pack");
    let (took, busy) = (started.elapsed().as_secs_f64(), cpu_seconds() - busy);
    app.db.close().await;
    println!(
        "  made    {took:>6.2} s (processor {busy:.2} s), {} entries, {:.1} MB, peak memory (VmHWM) {} MB",
        written.entries,
        written.size as f64 / 1e6,
        peak_kilobytes() >> 10
    );
}

fn check(folder: &Path) {
    let (started, busy) = (Instant::now(), cpu_seconds());
    let file = BufReader::new(File::open(folder.join("pack.zip")).expect("a file"));
    let pack = evidence::verify(file, &key().verifying_key(), &mut |_| {}).expect("it passes");
    println!(
        "  checked {:>6.2} s (processor {:.2} s), {:.1} MB of contents, peak memory (VmHWM) {} MB",
        started.elapsed().as_secs_f64(),
        cpu_seconds() - busy,
        pack.content_bytes as f64 / 1e6,
        peak_kilobytes() >> 10
    );
}
