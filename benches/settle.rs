//! `cargo bench --bench settle`: the settle loop alone, from an inbox of verified alerts, in transitions a second, beside a bare set-based
//! INSERT (of what a row was) and UPDATE of the same rows in tables that are the same, in the same run: in groups as large as the loop's,
//! each committed, and all at once; and beside bare statements for all rows that settling writes: with the messages' marks and what the sites
//! are said to run.
//!
//! `PPMID_BENCH_SITES` and `PPMID_BENCH_MESSAGES` set how many, `PPMID_TEST_POSTGRES` names a server to measure as well.

mod portfolio;
mod rollout;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use ppmid_orchestrator::{
    db::{Db, Tx},
    sql,
};

use portfolio::{cpu_seconds, open, peak_kilobytes, prepare};

const MESSAGES: usize = 400_000;
/// As many as the loop settles in one transaction.
const GROUP: usize = 1_000;
/// What an alert changes of a row, and how it was.
const HISTORY: &str =
    "plan_id, device_id, version, state, reason, batch_id, attempts, registration_supplier, registration_from, registration_to, answer_by,
     detail, updated_at, cause, cause_ref, policy_set, cpl_fact, key_result_at, fact";

fn main() {
    portfolio::fill_and_measure(fill, measure);
}

async fn fill(folder: &Path, url: &str) {
    let started = Instant::now();
    prepare(folder, url).await;
    let app = open(folder, url).await;
    let told = rollout::under_way(&app, folder, rollout::number("PPMID_BENCH_MESSAGES", MESSAGES)).await;
    println!("  {told} messages wait to be settled, after {:.0} s", started.elapsed().as_secs_f64());
    app.db.close().await;
}

async fn measure(folder: &Path, url: &str) {
    let app = open(folder, url).await;
    let pinned = rollout::pinned(folder);
    let before = count(&app.db, "target_history").await;
    let (started, busy, mut messages) = (Instant::now(), cpu_seconds(), 0);
    loop {
        match app.settle_some(&pinned).await.expect("they are settled") {
            0 => break,
            n => messages += n,
        }
    }
    let (took, busy) = (started.elapsed(), cpu_seconds() - busy);
    let moved = count(&app.db, "target_history").await - before;
    println!(
        "  {messages} messages, {moved} transitions settled in {:.1} s (processor {busy:.1} s): {:.0} a second, peak memory {} MB",
        took.as_secs_f64(),
        rate(moved, took),
        peak_kilobytes() >> 10
    );
    let plan = app.campaign(rollout::CAMPAIGN).await.expect("a campaign").plan_id.expect("a plan");
    let devices = devices(&app.db, plan).await;
    let cases = [("", GROUP, false), (", all at once", devices.len(), false), (", with marks and versions", GROUP, true)];
    for (name, group, with_marks) in cases {
        let (rows, floor) = floor(&app.db, plan, &devices, group, with_marks).await;
        println!(
            "  bare INSERT and UPDATE{name}: {rows} transitions in {:.1} s, {:.0} a second; settling has {:.2} of that",
            floor.as_secs_f64(),
            rate(rows, floor),
            rate(moved, took) / rate(rows, floor)
        );
    }
    app.db.close().await;
}

fn rate(rows: i64, took: Duration) -> f64 {
    rows as f64 / took.as_secs_f64()
}

async fn count(db: &Db, table: &str) -> i64 {
    let text = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
    let mut tx = db.read().await.expect("a reader");
    sql!(&mut tx, c => sqlx::query_scalar(text).fetch_one(c).await).expect("a number")
}

/// Those that were told of, in order.
async fn devices(db: &Db, plan: i64) -> Vec<i64> {
    let mut tx = db.read().await.expect("a reader");
    let text = "select device_id from targets where plan_id = $1 and batch_id is not null order by device_id";
    sql!(&mut tx, c => sqlx::query_scalar(text).bind(plan).fetch_all(c).await).expect("devices")
}

const TABLES: [&str; 4] = ["targets", "target_history", "inbox_marks", "sites"];

/// Moves each device twice, as the alerts do, in copies of the tables; `with_marks`: and marks a message each time, and a site once. Gives how
/// many transitions, and the seconds.
async fn floor(db: &Db, plan: i64, devices: &[i64], group: usize, with_marks: bool) -> (i64, Duration) {
    for table in TABLES {
        copy_of(db, table).await;
    }
    execute(db, &format!("insert into targets_copy select * from targets where plan_id = {plan}")).await;
    // As they were when they came: with what was read of them.
    execute(db, &format!("insert into inbox_marks_copy (id, state, gist) select id, 'new', {} from inbox_marks", gist(db))).await;
    execute(db, "insert into sites_copy select * from sites").await;
    if !matches!(db, Db::Sqlite { .. }) {
        for table in TABLES {
            execute(db, &format!("analyze {table}_copy")).await;
        }
    }
    let mut mark = marks(db).await.into_iter();
    let (started, mut rows) = (Instant::now(), 0);
    for state in ["accepted", "activated"] {
        for group in devices.chunks(group) {
            let (first, last) = (group[0], group[group.len() - 1]);
            let which = format!("plan_id = {plan} and device_id between {first} and {last} and batch_id is not null");
            let keep = format!("insert into target_history_copy ({HISTORY}) select {HISTORY} from targets_copy where {which}");
            let change = format!(
                "update targets_copy set state = '{state}', answer_by = null, detail = 'as DCC said', updated_at = {last}, \
                 version = version + 1, cause = 'message', cause_ref = {first} where {which}"
            );
            let mut tx = db.begin().await.expect("a writer");
            if with_marks && let (Some(from), Some(to)) = (mark.next(), mark.by_ref().take(group.len() - 1).last()) {
                let of = format!("id between {from} and {to} and state = 'new'");
                let text = format!("update inbox_marks_copy set state = 'settled', settled_at = {from}, gist = null where {of}");
                bare(&mut tx, text).await;
            }
            if with_marks && state == "activated" {
                let set = "firmware_before = firmware_version, firmware_version = '00020200', firmware_learned_at = 1";
                bare(
                    &mut tx,
                    format!("update sites_copy set {set} where device_id in (select device_id from targets_copy where {which})"),
                )
                .await;
            }
            for text in [keep, change] {
                rows += bare(&mut tx, text).await;
            }
            tx.commit().await.expect("a commit");
        }
    }
    let took = started.elapsed();
    for table in TABLES {
        execute(db, &format!("drop table {table}_copy")).await;
    }
    // A transition is a row that is kept and a row that is changed.
    (rows / 2, took)
}

async fn bare(tx: &mut Tx, text: String) -> i64 {
    let text = sqlx::AssertSqlSafe(text);
    sql!(tx, c => sqlx::query(text).persistent(false).execute(c).await.map(|done| done.rows_affected()))
        .expect("the statement is right") as i64
}

/// The messages, in order.
async fn marks(db: &Db) -> Vec<i64> {
    let mut tx = db.read().await.expect("a reader");
    sql!(&mut tx, c => sqlx::query_scalar("select id from inbox_marks order by id").fetch_all(c).await).expect("messages")
}

/// As many bytes as what is kept of an alert.
fn gist(db: &Db) -> &'static str {
    if matches!(db, Db::Sqlite { .. }) { "zeroblob(104)" } else { "cast(repeat('x', 104) as bytea)" }
}

/// An empty table that is the same, its indexes too.
async fn copy_of(db: &Db, table: &'static str) {
    execute(db, &format!("drop table if exists {table}_copy")).await;
    if !matches!(db, Db::Sqlite { .. }) {
        return execute(db, &format!("create table {table}_copy (like {table} including all)")).await;
    }
    let texts: Vec<String> = {
        let mut tx = db.read().await.expect("a reader");
        let text = "select sql from sqlite_schema where tbl_name = $1 and sql is not null order by type desc, name";
        sql!(&mut tx, c => sqlx::query_scalar(text).bind(table).fetch_all(c).await).expect("the table is there")
    };
    for text in texts {
        let named = text.replacen(&format!("{table} ("), &format!("{table}_copy ("), 1);
        execute(db, &named.replacen("CREATE INDEX ", "CREATE INDEX copy_of_", 1)).await;
    }
}

async fn execute(db: &Db, text: &str) {
    let text = sqlx::AssertSqlSafe(text.to_string());
    let mut tx = db.begin().await.expect("a writer");
    sql!(&mut tx, c => sqlx::query(text).execute(c).await.map(|_| ())).expect("the statement is right");
    tx.commit().await.expect("a commit");
}
