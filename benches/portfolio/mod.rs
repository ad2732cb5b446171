//! A portfolio in a database, made as an operator would make it, for the benchmarks of what comes after; and what this process used.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use ppmid_orchestrator::{
    app::App,
    clock::{Clock, Time},
    config,
    db::{Db, testing},
    estate::import::{self, Input, Kind, Options},
    image::{self, Trust, UpgradePaths, key, ota, release},
    policy,
    sim::Portfolio,
};

const SITES_ENV: &str = "PPMID_BENCH_SITES";
const SITES: usize = 1_000_000;
pub const SEED: u64 = 1;
const YEAR_MILLIS: i64 = 365 * 86_400_000;
pub const WHO: &str = "bench";

pub fn sites() -> usize {
    std::env::var(SITES_ENV).ok().and_then(|n| n.parse().ok()).unwrap_or(SITES)
}

/// Calls `run` for each engine there is, with its name, an empty folder and the address of an empty database.
pub fn on_each_engine(runtime: &tokio::runtime::Runtime, run: impl Fn(&str, &Path, &str)) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder");
    let place = |engine: &str| {
        let place = folder.path().join(engine);
        std::fs::create_dir(&place).expect("a folder");
        place
    };
    run("SQLite", &place("SQLite"), &format!("sqlite://{}", folder.path().join("bench.db").display()));
    let Ok(server) = std::env::var(testing::POSTGRES_ENV) else {
        return println!("{} is not set: SQLite alone", testing::POSTGRES_ENV);
    };
    let url = runtime.block_on(testing::fresh_postgres_url(&server));
    run("PostgreSQL", &place("PostgreSQL"), &url);
    if let Some((_, name)) = url.rsplit_once('/') {
        runtime.block_on(drop_database(&server, name));
    }
}

/// Fills a database of each engine in one process, and measures in another.
#[allow(dead_code, reason = "not every benchmark asks")]
pub fn fill_and_measure(fill: impl AsyncFn(&Path, &str), measure: impl AsyncFn(&Path, &str)) {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [verb, folder, url] = arguments.as_slice() {
        match verb.as_str() {
            "prepare" => return runtime.block_on(fill(Path::new(folder), url)),
            "measure" => return runtime.block_on(measure(Path::new(folder), url)),
            _ => {}
        }
    }
    on_each_engine(&runtime, |engine, place, url| {
        println!("{engine}, {} sites", sites());
        child("prepare", place, url);
        child("measure", place, url);
    });
}

/// One step in a process of its own, which is this program with a verb.
pub fn child(verb: &str, folder: &Path, url: &str) {
    let this = std::env::current_exe().expect("this program");
    let done = Command::new(this).arg(verb).arg(folder).arg(url).status().expect("a child process");
    assert!(done.success(), "{verb} failed");
}

async fn drop_database(server: &str, name: &str) {
    let Ok(Db::Postgres(pool)) = Db::connect(server).await else { return };
    let text = sqlx::AssertSqlSafe(format!("drop database if exists {name}"));
    sqlx::raw_sql(text).execute(&pool).await.expect("the database goes");
}

pub async fn open(folder: &Path, url: &str) -> App {
    let settings = config::load(&folder.join("ppmid.toml"), Some(url)).expect("the settings are right");
    App::open(settings, Clock::System).await.expect("the database opens")
}

/// Files, imports, image and campaign, as an operator would make them.
pub async fn prepare(folder: &Path, url: &str) {
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
#[allow(dead_code, reason = "not every benchmark asks")]
pub fn cpu_seconds() -> f64 {
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 = after_name.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum();
    ticks / TICKS_A_SECOND
}

#[allow(dead_code, reason = "not every benchmark asks")]
pub fn peak_kilobytes() -> u64 {
    process_kilobytes(std::process::id(), "VmHWM:")
}

/// What Linux says of a process's memory under this word.
pub fn process_kilobytes(process: u32, word: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix(word));
    line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
}
