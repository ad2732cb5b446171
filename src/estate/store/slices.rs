//! Gives a block of rows its effect: inserts the new, updates those that differ, leaves the others untouched, and counts which
//! was which. Set-based: the rows go through a temporary table unless their range of keys is still empty.

use std::{collections::HashMap, fmt::Write};

use super::{
    super::import::{
        block::{Block, Op},
        kinds::{Kind, Spec},
    },
    execute,
    journal::Counts,
    notices,
};
use crate::{
    db::{
        DbError, DbResult, Tx,
        bulk::{Rows, Value},
    },
    sql,
};

const REMOVED: &str = "slice_removed";

/// Applies one block; gives its counts and how many rows it had. A registration's counts were made when its MPAN was judged, and are left at nought here.
pub async fn apply(tx: &mut Tx, import: i64, spec: &'static Spec, block: &[u8]) -> DbResult<(Counts, u64)> {
    let mut puts = Rows::new(spec.slice, spec.columns);
    let mut removed = Rows::new(REMOVED, &spec.columns[..spec.key]);
    let mut range: Option<(i64, i64)> = None;
    let read = Block::read(block, spec.columns.len(), spec.key, |op, row| {
        if let Value::Int(n) = row[0] {
            range = Some(range.map_or((n, n), |(low, high)| (low.min(n), high.max(n))));
        }
        if op == Op::Put { puts.push(row) } else { removed.push(row) }
    });
    read.ok_or_else(|| DbError::bad_row("import_blocks", spec.table, "body", "bytes of another shape"))?;
    let rows = (puts.len() + removed.len()) as u64;
    if !tx.is_sqlite() {
        // Between the look at the range and the COPY nobody may add a row to it.
        execute(tx, format!("lock table {} in share row exclusive mode", spec.table)).await?;
    }
    if !removed.is_empty() {
        fill(tx, spec, REMOVED, &spec.columns[..spec.key], &mut removed).await?;
        let key = spec.columns[..spec.key].join(", ");
        execute(tx, format!("delete from {} where ({key}) in (select {key} from {REMOVED})", spec.table)).await?;
    }
    let counts = merge(tx, spec, &mut puts, range).await?;
    if let (Kind::Registrations, Some(range)) = (spec.kind, range) {
        answer_notices(tx, import, spec, block, range).await?;
    }
    Ok((if spec.kind == Kind::Registrations { Counts::default() } else { counts }, rows))
}

/// What the block says of MPANs ends what alerts said of them before.
async fn answer_notices(tx: &mut Tx, import: i64, spec: &Spec, block: &[u8], range: (i64, i64)) -> DbResult<()> {
    if notices::count_standing(tx).await? == 0 {
        return Ok(());
    }
    let mut ends: HashMap<i64, Option<i64>> = HashMap::new();
    let to = spec.columns.iter().position(|c| *c == "effective_to").expect("registrations have an end");
    Block::read(block, spec.columns.len(), spec.key, |op, row| {
        let (Op::Put, Value::Int(mpan)) = (op, row[0]) else { return };
        let end = if let Value::Int(end) = row[to] { Some(end) } else { None };
        let latest = ends.entry(mpan).or_insert(end);
        *latest = latest.zip(end).map(|(a, b)| a.max(b));
    });
    notices::answer(tx, import, range, |mpan| ends.get(&mpan).copied()).await
}

async fn merge(tx: &mut Tx, spec: &'static Spec, puts: &mut Rows, range: Option<(i64, i64)>) -> DbResult<Counts> {
    let rows = puts.len() as u64;
    if rows == 0 {
        return Ok(Counts::default());
    }
    if let Some((low, high)) = range {
        let text =
            format!("select count(*) from (select 1 from {} where {} between $1 and $2 limit 1) r", spec.table, spec.columns[0]);
        let text = sqlx::AssertSqlSafe(text);
        let taken: i64 = sql!(tx, c => sqlx::query_scalar(text).bind(low).bind(high).fetch_one(c).await)?;
        if taken == 0 {
            puts.into_table(spec.table);
            puts.flush(tx).await?;
            return Ok(Counts { inserted: rows, ..Counts::default() });
        }
    }
    fill(tx, spec, spec.slice, spec.columns, puts).await?;
    let same = same_key(spec, spec.table, spec.slice);
    let text = format!("select count(*) from {} where exists (select 1 from {} where {same})", spec.slice, spec.table);
    let found: i64 = sql!(tx, c => sqlx::query_scalar(sqlx::AssertSqlSafe(text)).fetch_one(c).await)?;
    let found = u64::try_from(found).unwrap_or(0);
    let written = execute(tx, upsert(spec)).await?;
    let inserted = rows - found;
    Ok(Counts { inserted, updated: written - inserted, unchanged: rows - written, ..Counts::default() })
}

/// Makes the temporary table, or empties it, and puts the rows into it.
async fn fill(tx: &mut Tx, spec: &Spec, name: &str, columns: &[&str], rows: &mut Rows) -> DbResult<()> {
    let columns = columns.join(", ");
    let shape = format!("as select {columns} from {} where false", spec.table);
    if tx.is_sqlite() {
        execute(tx, format!("create temp table if not exists {name} {shape}")).await?;
        execute(tx, format!("delete from temp.{name}")).await?;
    } else {
        let text = "select count(*) from pg_class where oid = to_regclass('pg_temp.' || $1)";
        let there: i64 = sql!(tx, c => sqlx::query_scalar(text).bind(name).fetch_one(c).await)?;
        if there == 0 {
            execute(tx, format!("create temp table {name} on commit delete rows {shape}")).await?;
        } else {
            execute(tx, format!("delete from pg_temp.{name}")).await?;
        }
    }
    rows.flush(tx).await
}

fn same_key(spec: &Spec, a: &str, b: &str) -> String {
    let pairs: Vec<String> = spec.columns[..spec.key].iter().map(|c| format!("{a}.{c} = {b}.{c}")).collect();
    pairs.join(" and ")
}

/// Inserts the slice's rows, and updates those whose key is taken and whose facts differ.
fn upsert(spec: &Spec) -> String {
    let (table, slice, columns) = (spec.table, spec.slice, spec.columns.join(", "));
    let key = spec.columns[..spec.key].join(", ");
    let (mut set, mut differs) = (String::new(), String::new());
    for column in &spec.columns[spec.key..] {
        // Where a result came from is not a fact of the file's.
        let compared = !(spec.kind == Kind::Keys && *column == "source");
        let learned = match (spec.kind, *column) {
            (Kind::Sites, "firmware_version") => Some(("firmware_learned_at", "firmware_before")),
            (Kind::Sites, "device_status") => Some(("status_learned_at", "status_before")),
            _ => None,
        };
        let comma = if set.is_empty() { "" } else { ", " };
        let or = if differs.is_empty() { "" } else { " or " };
        let differ = format!("{table}.{column} is distinct from excluded.{column}");
        if let Some((time, before)) = learned {
            // What DCC said stands until a row that is later says otherwise (a row without a time is not).
            let newer = format!("({table}.{time} is null or excluded.as_at > {table}.{time})");
            write!(set, "{comma}{column} = case when {newer} then excluded.{column} else {table}.{column} end, ")
                .expect("memory");
            write!(set, "{time} = case when {newer} then null else {table}.{time} end, ").expect("memory");
            write!(set, "{before} = case when {newer} then null else excluded.{column} end").expect("memory");
            write!(differs, "{or}({newer} and ({differ} or {table}.{time} is not null))").expect("memory");
        } else {
            write!(set, "{comma}{column} = excluded.{column}").expect("memory");
            if compared {
                write!(differs, "{or}{differ}").expect("memory");
            }
        }
    }
    format!(
        "insert into {table} ({columns}) select {columns} from {slice} where true on conflict ({key}) do update set {set} where {differs}"
    )
}

/// After a long import the statistics PostgreSQL plans by are of another table.
pub async fn analyze(tx: &mut Tx, spec: &Spec) -> DbResult<()> {
    if !tx.is_sqlite() {
        execute(tx, format!("analyze {}", spec.table)).await?;
    }
    Ok(())
}
