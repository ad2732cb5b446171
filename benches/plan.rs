//! `cargo bench --bench plan`: a portfolio of a million sites is planned with reasons stored, beside one raw `INSERT ... SELECT`
//! that copies the same rows in the same database. Prints the seconds of each, their ratio and the peak memory of planning.
//!
//! `PPMID_BENCH_SITES` sets the number of sites, `PPMID_TEST_POSTGRES` names a server to measure as well. The portfolio is made
//! and imported by a child process, so that this one's memory is that of planning alone.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use ppmid_orchestrator::{
    app::{App, NewCampaignRequest},
    clock::{Clock, Time},
    config,
    db::{self, Db, testing},
    estate::{
        SiteFilter,
        import::{self, Input, Kind, Options},
    },
    image::{self, Trust, UpgradePaths, key, ota, release},
    policy,
    sim::Portfolio,
};

const SITES_ENV: &str = "PPMID_BENCH_SITES";
const SITES: usize = 1_000_000;
const SEED: u64 = 1;
const RUNS: usize = 3;
const WHO: &str = "bench";
const YEAR_MILLIS: i64 = 365 * 86_400_000;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [verb, folder, url] = arguments.as_slice()
        && verb == "prepare"
    {
        return runtime.block_on(prepare(Path::new(folder), url));
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder");
    let mut urls = vec![format!("sqlite://{}", folder.path().join("bench.db").display())];
    match std::env::var(testing::POSTGRES_ENV) {
        Ok(server) => urls.push(runtime.block_on(testing::fresh_postgres_url(&server))),
        Err(_) => println!("{} is not set: SQLite alone", testing::POSTGRES_ENV),
    }
    for url in urls {
        let engine = if db::sqlite_path(&url).is_some() { "SQLite" } else { "PostgreSQL" };
        let started = Instant::now();
        let place = folder.path().join(engine);
        std::fs::create_dir(&place).expect("a folder");
        let this = std::env::current_exe().expect("this program");
        let made = Command::new(this).arg("prepare").arg(&place).arg(&url).status().expect("a child process");
        assert!(made.success(), "the portfolio was not made");
        println!("{engine}: {} sites made and imported in {:.1} s", sites(), started.elapsed().as_secs_f64());
        reset_peak();
        runtime.block_on(measure(&place, &url));
        println!("  peak memory (VmHWM)   {:>8} MB", peak_kilobytes() >> 10);
    }
}

fn sites() -> usize {
    std::env::var(SITES_ENV).ok().and_then(|n| n.parse().ok()).unwrap_or(SITES)
}

async fn measure(folder: &Path, url: &str) {
    let app = open(folder, url).await;
    let (mut plans, mut floors) = (Vec::new(), Vec::new());
    for run in 1..=RUNS {
        let name = format!("bench {run}");
        let image = image::store::list(&mut app.db.read().await.expect("a reader")).await.expect("images")[0].id;
        let new =
            NewCampaignRequest { name: name.clone(), image, filter: SiteFilter::default(), rollout: None, batch_size: None };
        app.create_campaign(new, WHO).await.expect("a campaign");
        let (started, busy) = (Instant::now(), cpu_seconds());
        let plan = app.plan_campaign(&name, None, WHO, &mut |_| {}).await.expect("a plan");
        let (planned, busy) = (started.elapsed(), cpu_seconds() - busy);
        assert_eq!(plan.sites, sites() as i64);
        let idle = cpu_seconds();
        let copied = floor(&app.db, plan.id).await;
        let copying = cpu_seconds() - idle;
        println!(
            "  run {run}: planned {:>6.2} s (processor {busy:.2} s), copied {:>6.2} s (processor {copying:.2} s), ratio {:.2} \
             ({} eligible, {} held, {} ineligible)",
            planned.as_secs_f64(),
            copied.as_secs_f64(),
            planned.as_secs_f64() / copied.as_secs_f64(),
            plan.eligible,
            plan.held,
            plan.ineligible
        );
        plans.push(planned);
        floors.push(copied);
    }
    let ratio = |pick: fn(&mut [Duration]) -> Duration, a: &mut [Duration], b: &mut [Duration]| {
        let (a, b) = (pick(a), pick(b));
        println!("    {:.2} s / {:.2} s = {:.2}", a.as_secs_f64(), b.as_secs_f64(), a.as_secs_f64() / b.as_secs_f64());
    };
    print!("  fastest");
    ratio(|all| *all.iter().min().expect("runs"), &mut plans, &mut floors);
    print!("  median ");
    ratio(median, &mut plans, &mut floors);
    app.db.close().await;
}

fn median(all: &mut [Duration]) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}

/// The seconds of copying the rows of a plan into a table that is the same, committed.
async fn floor(db: &Db, plan: i64) -> Duration {
    let sqlite = matches!(db, Db::Sqlite { .. });
    let create = if sqlite {
        let shape = "select sql from sqlite_schema where type = 'table' and name = 'targets'";
        let text: String = {
            let mut tx = db.read().await.expect("a reader");
            ppmid_orchestrator::sql!(&mut tx, c => sqlx::query_scalar(shape).fetch_one(c).await).expect("the table is there")
        };
        text.replacen("targets", "targets_copy", 1)
    } else {
        "create table targets_copy (like targets including defaults, primary key (plan_id, device_id))".to_string()
    };
    execute(db, "drop table if exists targets_copy".into()).await;
    execute(db, create).await;
    let started = Instant::now();
    execute(db, format!("insert into targets_copy select * from targets where plan_id = {plan}")).await;
    let took = started.elapsed();
    execute(db, "drop table targets_copy".into()).await;
    took
}

async fn execute(db: &Db, text: String) {
    let text = sqlx::AssertSqlSafe(text);
    let mut tx = db.begin().await.expect("a writer");
    ppmid_orchestrator::sql!(&mut tx, c => sqlx::query(text).execute(c).await.map(|_| ())).expect("the statement is right");
    tx.commit().await.expect("a commit");
}

async fn open(folder: &Path, url: &str) -> App {
    let settings = config::load(&folder.join("ppmid.toml"), Some(url)).expect("the settings are right");
    App::open(settings, Clock::System).await.expect("the database opens")
}

/// Files, imports, image and campaign, as an operator would make them.
async fn prepare(folder: &Path, url: &str) {
    let now = Clock::System.now();
    let portfolio = Portfolio::generate(sites(), SEED, now.london_day(), now);
    let firmware = Portfolio::firmware();
    let spec = ota::OtaSpec {
        manufacturer_code: 0x12A7,
        image_type: 0x0084,
        file_version: 0x0002_0200,
        text: "bench",
        hardware: Some((firmware.hardware_min, firmware.hardware_max)),
    };
    let file = ota::build(&spec, &[0x5A; 4_096]);
    let manufacturer_image = ota::parse(&file).expect("our own file").manufacturer_image_sha256();
    portfolio.write_csvs(folder, manufacturer_image).expect("the files are written");
    drop(portfolio);
    std::fs::write(folder.join("ppmid.toml"), "").expect("a file is written");
    let envelope = sign(folder, &file, now);
    let app = open(folder, url).await;
    for (kind, name) in [
        (Kind::Registrations, "registrations.csv"),
        (Kind::Sites, "sites.csv"),
        (Kind::Keys, "keys.csv"),
        (Kind::Cpl, "cpl.csv"),
        (Kind::Epcl, "epcl.csv"),
        (Kind::Exclusions, "exclusions.csv"),
    ] {
        let path: PathBuf = folder.join(name);
        let input = Input::open(&path).expect("the file opens");
        let quiet: import::Watch = Arc::new(|_| {});
        let report = import::import(&app.db, &app.clock, kind, input, Options::default(), quiet).await.expect("an import");
        assert_eq!(report.rejected, 0, "{kind}");
        std::fs::remove_file(path).expect("the file goes");
    }
    let trust = Trust::load(&app.settings.policies_dir).expect("the trust file is right");
    image::add_image(&app.db, &app.vault, &trust, file, &envelope, now, WHO).await.expect("the image is good");
    app.db.close().await;
}

/// A manifest signed by one key, and the trust file that names it. Gives the envelope.
fn sign(folder: &Path, file: &[u8], now: Time) -> Vec<u8> {
    let firmware = Portfolio::firmware();
    let texts = |all: &[&str]| all.iter().map(|t| t.to_string()).collect();
    let stated = release::Release {
        manufacturer: firmware.manufacturer.into(),
        models: texts(&firmware.models),
        firmware_version: firmware.firmware_version.into(),
        hardware_min: None,
        hardware_max: None,
        upgrade_from: UpgradePaths::Versions(texts(&firmware.upgrade_from)),
        released_at: now,
        expires_at: now.plus_millis(YEAR_MILLIS),
    };
    let manufacturer = key::generate().expect("a key");
    let manifest = release::describe(file, stated).expect("a manifest");
    let policies = folder.join("policies");
    policy::init(&policies).expect("the policies are written");
    let clause = image::key_clause(&manufacturer.verifying_key(), image::Role::Manufacturer);
    let head = "version = 1\neffective_from = \"2020-11-24\"\nthreshold = 1\nrequired_roles = [\"manufacturer\"]\n\n";
    std::fs::write(policies.join("trust.toml"), format!("{head}{clause}")).expect("a file is written");
    release::sign(&manifest, &[manufacturer]).to_json().into_bytes()
}

/// Processor seconds of this process so far, in user and system mode (Linux; elsewhere 0).
fn cpu_seconds() -> f64 {
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 = after_name.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum();
    ticks / TICKS_A_SECOND
}

/// Lets the peak count from here on (Linux; elsewhere nothing happens).
fn reset_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

fn peak_kilobytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
}
