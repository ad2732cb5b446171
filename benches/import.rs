//! `cargo bench --bench import [-- ROWS]`: one million sites, imported by us and by `sqlite3 .import` in the same run, then imported
//! again, then scanned as the planner does. Prints the ratio and the peak memory. Needs the `sqlite3` program.
//! `PPMID_BENCH_REGISTRATIONS=5000000` imports a file of that many registrations instead, and then the same file again.

use std::{
    fmt::Write as _,
    fs,
    io::{BufWriter, Write as _},
    path::Path,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ppmid_orchestrator::{
    clock::{Clock, Day, Time},
    db::Db,
    estate::{
        import::{self, Input, Kind, Options, Progress},
        store::{self, Scan, SiteFilter, scan_sites},
    },
    ids::{Eui, Mpan},
};

const ROWS: u64 = 1_000_000;
/// Sites of a page of the scan.
const PAGE: u32 = 5_000;

fn main() {
    match std::env::var("PPMID_BENCH_REGISTRATIONS").map(|n| n.parse()) {
        Ok(Ok(rows)) => registrations(rows),
        Ok(Err(_)) => panic!("PPMID_BENCH_REGISTRATIONS wants a number of rows"),
        Err(_) => sites(),
    }
    println!("peak memory (VmHWM)       {:>8} MB", peak_kilobytes() >> 10);
}

/// A supplier's registrations: nine MPANs in ten with one row of ours, the tenth with a row of another supplier before it.
fn registrations(rows: u64) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder");
    let file = folder.path().join("registrations.csv");
    write_registrations(&file, rows).expect("the file is written");
    println!("{rows} registrations, {} MB", fs::metadata(&file).map_or(0, |m| m.len()) >> 20);
    let floor = floor(folder.path(), &file, 0);
    println!("sqlite3 .import           {:>8.2} s, {:.2} s of CPU", floor.as_secs_f64(), cpu_seconds(15));
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.block_on(async {
        let db = Db::open(&format!("sqlite://{}", folder.path().join("ours.db").display())).await.expect("a database");
        for (name, new) in [("ppmid import", true), ("the same file again", false)] {
            let (started, cpu) = (Instant::now(), cpu_seconds(13));
            let (input, quiet): (_, import::Watch) = (Input::open(&file).expect("the file"), Arc::new(|_| {}));
            let report = import::import(&db, &Clock::System, Kind::Registrations, input, Options::default(), quiet).await;
            let report = report.expect("an import");
            assert_eq!(if new { report.inserted } else { report.unchanged }, rows, "{report:?}");
            let took = started.elapsed().as_secs_f64();
            println!(
                "{name:<25} {took:>8.2} s, {:.2} times sqlite3 .import, {:.2} s of CPU, peak memory so far {} MB",
                took / floor.as_secs_f64(),
                cpu_seconds(13) - cpu,
                peak_kilobytes() >> 10
            );
        }
    });
}

fn write_registrations(path: &Path, rows: u64) -> std::io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, fs::File::create(path)?);
    writeln!(out, "mpan,supplier_mpid,effective_from,effective_to")?;
    for i in 0..rows {
        let n = scattered(i, rows);
        // Of ten rows, the first two are of one MPAN.
        let mpan = Mpan::from_first_twelve(100_000_000_000 + (n - u64::from(n % 10 == 1)) * 7);
        let begun = Day(17_000 + (n / 10 % 900) as i64);
        match n % 10 {
            0 => writeln!(out, "{mpan},OTHR,{},{begun}", Day(15_000))?,
            1 => writeln!(out, "{mpan},EELC,{},", begun)?,
            _ => writeln!(out, "{mpan},EELC,{begun},")?,
        }
    }
    out.flush()
}

fn sites() {
    let rows = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(ROWS);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder");
    let sites = folder.path().join("sites.csv");
    write_sites(&sites, rows).expect("the file is written");
    println!("{rows} sites, {} MB", fs::metadata(&sites).map_or(0, |m| m.len()) >> 20);
    let floor = (0..3).map(|i| floor(folder.path(), &sites, i)).min().unwrap_or_default();
    println!("sqlite3 .import           {:>8.2} s (best of 3), {:.2} s of CPU", floor.as_secs_f64(), cpu_seconds(15) / 3.0);
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.block_on(ours(folder.path(), &sites, rows, floor));
}

/// Rows in an order that has nothing to do with the key, as a supplier's export by account has it.
fn write_sites(path: &Path, rows: u64) -> std::io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, fs::File::create(path)?);
    writeln!(
        out,
        "device_id,mpan,cohort,manufacturer,model,hardware_version,firmware_version,device_status,dmc,chf_device_id,\
         gsme_device_id,region,migrated_on,as_at"
    )?;
    let mut line = String::new();
    for i in 0..rows {
        let n = scattered(i, rows);
        line.clear();
        let cohort = ["IOC", "MDS", "SECURE", "FOC"][(n % 4) as usize];
        let model = ["433100AC", "9001", "00000001"][(n % 3) as usize];
        let gsme = if n.is_multiple_of(3) { String::new() } else { Eui(0x00DB_3000_0000_0000 + n).to_string() };
        writeln!(
            line,
            "{},{},{cohort},106C,{model},0100,0002012{},Commissioned,DMC-{},{},{gsme},R{},{},2020-11-{:02}T09:00:00Z",
            Eui(0x00DB_1000_0000_0000 + n * 3),
            Mpan::from_first_twelve(100_000_000_000 + n * 7),
            n % 10,
            n % 40,
            Eui(0x00DB_2000_0000_0000 + n),
            n % 14,
            Day(18_000 + (n % 300) as i64),
            n % 28 + 1,
        )
        .expect("writing to memory");
        out.write_all(line.as_bytes())?;
    }
    out.flush()
}

/// A permutation of `0..rows`.
fn scattered(i: u64, rows: u64) -> u64 {
    let step = (0..).map(|k| rows * 5 / 8 + 1 + k).find(|s| gcd(*s, rows) == 1).expect("a coprime is near");
    (u128::from(i) * u128::from(step) % u128::from(rows)) as u64
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn floor(folder: &Path, sites: &Path, i: u32) -> Duration {
    let database = folder.join(format!("floor{i}.db"));
    let started = Instant::now();
    let status = Command::new("sqlite3").arg(&database).arg(format!(".import --csv {} sites", sites.display())).status();
    let took = started.elapsed();
    assert!(status.expect("the sqlite3 program (apt-get install sqlite3)").success());
    fs::remove_file(database).expect("the floor's database");
    took
}

/// What a daemon does meanwhile, through connections of its own: a small write now and then. Gives the longest it took.
async fn another_writer(url: String, stop: Arc<AtomicBool>) -> Duration {
    let db = Db::connect(&url).await.expect("the database");
    let mut longest = Duration::ZERO;
    while !stop.load(Ordering::SeqCst) {
        let started = Instant::now();
        let mut tx = db.begin().await.expect("the writer's turn");
        store::learn_status(&mut tx, &[(Eui(1), "Pending".into(), Time(0))]).await.expect("a write");
        tx.commit().await.expect("a commit");
        longest = longest.max(started.elapsed());
        tokio::time::sleep(Duration::from_millis(7)).await;
    }
    longest
}

async fn ours(folder: &Path, sites: &Path, rows: u64, floor: Duration) {
    let url = format!("sqlite://{}", folder.join("ours.db").display());
    let db = Db::open(&url).await.expect("a database");
    for (name, wanted) in [("ppmid import", true), ("the same file again", false)] {
        let (started, cpu) = (Instant::now(), cpu_seconds(13));
        let phases: Arc<Mutex<[Duration; 2]>> = Arc::default();
        let seen = phases.clone();
        let watch: import::Watch = Arc::new(move |progress| {
            let mut phases = seen.lock().expect("nobody panics");
            match progress {
                Progress::Read { .. } => phases[0] = started.elapsed(),
                Progress::Applied { .. } if phases[1].is_zero() => phases[1] = started.elapsed(),
                _ => {}
            }
        });
        let input = Input::open(sites).expect("the file");
        let report = import::import(&db, &Clock::System, Kind::Sites, input, Options::default(), watch).await.expect("an import");
        let took = started.elapsed();
        let cpu = cpu_seconds(13) - cpu;
        assert_eq!(if wanted { report.inserted } else { report.unchanged }, rows, "{report:?}");
        println!(
            "{name:<25} {:>8.2} s, {:.2} times sqlite3 .import",
            took.as_secs_f64(),
            took.as_secs_f64() / floor.as_secs_f64()
        );
        let [read, staged] = *phases.lock().expect("nobody panics");
        println!(
            "  read after {:.2} s, first rows in effect after {:.2} s, {cpu:.2} s of CPU",
            read.as_secs_f64(),
            staged.as_secs_f64()
        );
    }
    let stop = Arc::new(AtomicBool::new(false));
    let other = tokio::spawn(another_writer(url, stop.clone()));
    let quiet: import::Watch = Arc::new(|_| {});
    let input = Input::open(sites).expect("the file");
    let report = import::import(&db, &Clock::System, Kind::Sites, input, Options::default(), quiet).await.expect("an import");
    assert_eq!(report.unchanged, rows);
    stop.store(true, Ordering::SeqCst);
    println!("another writer waited     {:>8.2} s at longest", other.await.expect("the writer").as_secs_f64());
    let filter = SiteFilter::default();
    let own = ["EELC".parse().expect("an MPID")];
    let scan = Scan { filter: &filter, own_mpids: &own, day: Day(18_590), at: Time(1_606_208_400_000), past: false };
    let started = Instant::now();
    let (mut after, mut seen) = (None, 0);
    loop {
        let mut tx = db.read().await.expect("a reader");
        let page = scan_sites(&mut tx, after, PAGE, scan).await.expect("a page");
        seen += page.sites.len() as u64;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, rows);
    println!("scan of all sites         {:>8.2} s", started.elapsed().as_secs_f64());
}

/// User and system time of this process (field 13 of /proc/self/stat and the next) or of its children (15): on a machine that
/// others use too it says more than the clock.
fn cpu_seconds(field: usize) -> f64 {
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = stat.split(' ').skip(field).take(2).filter_map(|t| t.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS_A_SECOND
}

fn peak_kilobytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
}
