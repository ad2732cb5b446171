//! `cargo bench --bench plan`: a portfolio of a million sites is planned with reasons stored, beside one raw `INSERT ... SELECT`
//! that copies the same rows in the same database, and one that copies the sites. Prints the seconds of each, the ratios and the peak
//! memory of planning.
//!
//! `PPMID_BENCH_SITES` sets the number of sites, `PPMID_TEST_POSTGRES` names a server to measure as well. The portfolio is made
//! and imported by one child process and planned by another, so that the memory is that of planning alone.

mod portfolio;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use ppmid_orchestrator::{app::NewCampaignRequest, db::Db, estate::SiteFilter, image};

use portfolio::{WHO, cpu_seconds, fill_and_measure, open, peak_kilobytes, prepare, sites};

const RUNS: usize = 3;

fn main() {
    fill_and_measure(fill, measure);
}

async fn fill(folder: &Path, url: &str) {
    let started = Instant::now();
    prepare(folder, url).await;
    println!("  made and imported in {:.1} s", started.elapsed().as_secs_f64());
}

async fn measure(folder: &Path, url: &str) {
    let app = open(folder, url).await;
    let (mut plans, mut floors, mut site_floors) = (Vec::new(), Vec::new(), Vec::new());
    for run in 1..=RUNS {
        let name = format!("bench {run}");
        let image = image::store::list(&mut app.db.read().await.expect("a reader")).await.expect("images")[0].id;
        let new = NewCampaignRequest {
            name: name.clone(),
            image,
            filter: SiteFilter::default(),
            rollout: None,
            batch_size: None,
            waves: Vec::new(),
        };
        app.create_campaign(new, WHO).await.expect("a campaign");
        let (started, busy) = (Instant::now(), cpu_seconds());
        let plan = app.plan_campaign(&name, None, WHO, &mut |_| {}).await.expect("a plan");
        let (planned, busy) = (started.elapsed(), cpu_seconds() - busy);
        assert_eq!(plan.sites, sites() as i64);
        let idle = cpu_seconds();
        let copied = floor(&app.db, "targets", "plan_id, device_id", &format!("plan_id = {}", plan.id)).await;
        let copying = cpu_seconds() - idle;
        let sites_copied = floor(&app.db, "sites", "device_id", "true").await;
        println!(
            "  run {run}: planned {:>6.2} s (processor {busy:.2} s), copied {:>6.2} s (processor {copying:.2} s), ratio {:.2}, \
             the sites themselves {:>6.2} s, ratio {:.2} ({} eligible, {} held, {} ineligible)",
            planned.as_secs_f64(),
            copied.as_secs_f64(),
            planned.as_secs_f64() / copied.as_secs_f64(),
            sites_copied.as_secs_f64(),
            planned.as_secs_f64() / sites_copied.as_secs_f64(),
            plan.eligible,
            plan.held,
            plan.ineligible
        );
        plans.push(planned);
        floors.push(copied);
        site_floors.push(sites_copied);
    }
    let ratio = |pick: fn(&mut [Duration]) -> Duration, a: &mut [Duration], b: &mut [Duration]| {
        let (a, b) = (pick(a), pick(b));
        println!("    {:.2} s / {:.2} s = {:.2}", a.as_secs_f64(), b.as_secs_f64(), a.as_secs_f64() / b.as_secs_f64());
    };
    let fastest: fn(&mut [Duration]) -> Duration = |all| *all.iter().min().expect("runs");
    print!("  against its rows: fastest");
    ratio(fastest, &mut plans, &mut floors);
    print!("  against its rows: median ");
    ratio(median, &mut plans, &mut floors);
    print!("  against the sites: fastest");
    ratio(fastest, &mut plans, &mut site_floors);
    print!("  against the sites: median ");
    ratio(median, &mut plans, &mut site_floors);
    app.db.close().await;
    println!("  peak memory (VmHWM)   {:>8} MB", peak_kilobytes() >> 10);
}

fn median(all: &mut [Duration]) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}

/// The seconds of one raw `INSERT ... SELECT` of these rows into a table that is the same, committed.
async fn floor(db: &Db, table: &str, key: &str, rows: &str) -> Duration {
    let sqlite = matches!(db, Db::Sqlite { .. });
    let create = if sqlite {
        let shape = sqlx::AssertSqlSafe(format!("select sql from sqlite_schema where type = 'table' and name = '{table}'"));
        let text: String = {
            let mut tx = db.read().await.expect("a reader");
            ppmid_orchestrator::sql!(&mut tx, c => sqlx::query_scalar(shape).fetch_one(c).await).expect("the table is there")
        };
        text.replacen(table, &format!("{table}_copy"), 1)
    } else {
        format!("create table {table}_copy (like {table} including defaults, primary key ({key}))")
    };
    execute(db, format!("drop table if exists {table}_copy")).await;
    execute(db, create).await;
    let started = Instant::now();
    execute(db, format!("insert into {table}_copy select * from {table} where {rows}")).await;
    let took = started.elapsed();
    execute(db, format!("drop table {table}_copy")).await;
    took
}

async fn execute(db: &Db, text: String) {
    let text = sqlx::AssertSqlSafe(text);
    let mut tx = db.begin().await.expect("a writer");
    ppmid_orchestrator::sql!(&mut tx, c => sqlx::query(text).execute(c).await.map(|_| ())).expect("the statement is right");
    tx.commit().await.expect("a commit");
}
