//! The `imports` table and the blocks of rows behind it. An import is `staging` (nothing of it counts), then `applying` (it will
//! take effect, by whoever lives to do it), then `applied`.

use crate::{
    clock::Time,
    db::{DbError, DbResult, Tx},
    sql,
};

/// What a file's rows came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub read: u64,
    pub inserted: u64,
    pub updated: u64,
    pub unchanged: u64,
    /// Registrations that a line beginning inside them ended.
    pub ended: u64,
    /// Registrations that a `--replace` file does not hold any more.
    pub removed: u64,
    pub rejected: u64,
}

/// An import as it is stored, without its blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportRecord {
    pub id: i64,
    pub kind: String,
    pub counts: Counts,
    pub cursor: i64,
}

/// Whether an import is half applied: whoever decides something waits, so that a file takes effect as a whole.
pub async fn applying(tx: &mut Tx) -> DbResult<bool> {
    let text = "select count(*) from imports where state = 'applying'";
    let n: i64 = sql!(tx, c => sqlx::query_scalar(text).fetch_one(c).await)?;
    Ok(n > 0)
}

/// Rises when facts of the estate change: by an import that took effect, or by an alert that says that a site was lost. 0 before the
/// first.
pub async fn estate_version(tx: &mut Tx) -> DbResult<i64> {
    let text = "select (select coalesce(max(id), 0) from imports where state = 'applied') + (select coalesce(max(id), 0) from supply_notices)";
    Ok(sql!(tx, c => sqlx::query_scalar(text).fetch_one(c).await)?)
}

/// When the last file of sites or keys took effect.
pub async fn last_applied(tx: &mut Tx) -> DbResult<Option<Time>> {
    let text = "select max(ended_at) from imports where state = 'applied' and kind in ('sites', 'keys')";
    let at: Option<i64> = sql!(tx, c => sqlx::query_scalar(text).fetch_one(c).await)?;
    Ok(at.map(Time))
}

/// The greatest id of an import of a product list (CPL, EPCL) that took effect, and when it did; zeros before the first.
pub async fn lists_version(tx: &mut Tx) -> DbResult<(i64, Time)> {
    let text = "select id, coalesce(ended_at, started_at) from imports where state = 'applied' and kind in ('cpl', 'epcl') \
                order by id desc limit 1";
    let last: Option<(i64, i64)> = sql!(tx, c => sqlx::query_as(text).fetch_optional(c).await)?;
    Ok(last.map_or((0, Time(0)), |(id, at)| (id, Time(at))))
}

/// Writes the row of an import that begins in `state` and gives its id. `by`: who is to be named in the audit trail, which has no event
/// of it yet.
pub async fn begin(tx: &mut Tx, kind: &str, state: &str, file: &str, replace: bool, by: Option<&str>, at: Time) -> DbResult<i64> {
    let text = "insert into imports (kind, state, file, replace_all, started_at, read_rows, inserted, updated, unchanged, ended, \
                removed, rejected, cursor, unaudited_by) values ($1, $2, $3, $4, $5, 0, 0, 0, 0, 0, 0, 0, 0, $6) returning id";
    Ok(
        sql!(tx, c => sqlx::query_scalar(text).bind(kind).bind(state).bind(file).bind(replace).bind(at.0).bind(by).fetch_one(c).await)?,
    )
}

/// An import of which the audit trail has no event yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unaudited {
    pub id: i64,
    pub kind: String,
    pub file: String,
    pub replace: bool,
    pub counts: Counts,
    pub by: String,
}

/// The imports that took effect and are to be audited, oldest first.
pub async fn unaudited(tx: &mut Tx) -> DbResult<Vec<Unaudited>> {
    type Found = (i64, String, bool, String);
    let found: Vec<Found> = sql!(&mut *tx, c => sqlx::query_as(
        "select id, file, replace_all, unaudited_by from imports where unaudited_by is not null and state = 'applied' order by id")
        .fetch_all(c).await)?;
    let mut all = Vec::new();
    for (id, file, replace, by) in found {
        let Some(ImportRecord { kind, counts, .. }) = import_record(tx, id).await? else { continue };
        all.push(Unaudited { id, kind, file, replace, counts, by });
    }
    Ok(all)
}

/// The audit trail has its event, in this transaction. `false`: it had it before.
pub async fn audited(tx: &mut Tx, import: i64) -> DbResult<bool> {
    let text = "update imports set unaudited_by = null where id = $1 and unaudited_by is not null";
    Ok(sql!(tx, c => sqlx::query(text).bind(import).execute(c).await?.rows_affected()) == 1)
}

/// Keeps one block of rows of an import that is staging.
pub async fn keep_block(tx: &mut Tx, import: i64, seq: i64, body: &[u8]) -> DbResult<()> {
    let text = "insert into import_blocks (import_id, seq, body) values ($1, $2, $3)";
    sql!(tx, c => sqlx::query(text).bind(import).bind(seq).bind(body).execute(c).await.map(|_| ()))?;
    Ok(())
}

/// Adds to an import's counts and moves it to `state`.
pub async fn conclude(tx: &mut Tx, import: i64, state: &str, counts: &Counts, ended_at: Option<Time>) -> DbResult<()> {
    let text = "update imports set state = $2, read_rows = read_rows + $3, inserted = inserted + $4, updated = updated + $5, \
                unchanged = unchanged + $6, ended = ended + $7, removed = removed + $8, rejected = rejected + $9, ended_at = $10 \
                where id = $1";
    let n = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    sql!(tx, c => sqlx::query(text)
        .bind(import).bind(state).bind(n(counts.read)).bind(n(counts.inserted)).bind(n(counts.updated))
        .bind(n(counts.unchanged)).bind(n(counts.ended)).bind(n(counts.removed)).bind(n(counts.rejected))
        .bind(ended_at.map(|t| t.0)).execute(c).await.map(|_| ()))?;
    Ok(())
}

type Row = (i64, String, i64, i64, i64, i64, i64, i64, i64, i64);

const COLUMNS: &str = "id, kind, read_rows, inserted, updated, unchanged, ended, removed, rejected, cursor";

fn record(row: Row) -> DbResult<ImportRecord> {
    let key = row.0;
    let n = |column: &'static str, n: i64| u64::try_from(n).map_err(|_| DbError::bad_row("imports", key, column, n));
    let counts = Counts {
        read: n("read_rows", row.2)?,
        inserted: n("inserted", row.3)?,
        updated: n("updated", row.4)?,
        unchanged: n("unchanged", row.5)?,
        ended: n("ended", row.6)?,
        removed: n("removed", row.7)?,
        rejected: n("rejected", row.8)?,
    };
    Ok(ImportRecord { id: row.0, kind: row.1, counts, cursor: row.9 })
}

/// The imports in a state, oldest first.
pub async fn imports_in(tx: &mut Tx, state: &str) -> DbResult<Vec<ImportRecord>> {
    let text = sqlx::AssertSqlSafe(format!("select {COLUMNS} from imports where state = $1 order by id"));
    let rows: Vec<Row> = sql!(tx, c => sqlx::query_as(text).bind(state).fetch_all(c).await)?;
    rows.into_iter().map(record).collect()
}

/// One import.
pub async fn import_record(tx: &mut Tx, id: i64) -> DbResult<Option<ImportRecord>> {
    let text = sqlx::AssertSqlSafe(format!("select {COLUMNS} from imports where id = $1"));
    let row: Option<Row> = sql!(tx, c => sqlx::query_as(text).bind(id).fetch_optional(c).await)?;
    row.map(record).transpose()
}

/// Claims the block at the import's cursor, in the transaction that will give it its effect: moves the cursor past it, takes
/// it out and gives it. `None` where none is left; an error where the cursor is not at `seq` (somebody else applied the block).
pub async fn claim_block(tx: &mut Tx, import: i64, seq: i64) -> DbResult<Option<Vec<u8>>> {
    let text = "update imports set cursor = $2 + 1 where id = $1 and cursor = $2 and state = 'applying' returning id";
    let claimed: Option<i64> = sql!(tx, c => sqlx::query_scalar(text).bind(import).bind(seq).fetch_optional(c).await)?;
    if claimed.is_none() {
        return Err(DbError::bad_row("imports", import, "cursor", format!("not {seq}")));
    }
    let text = "delete from import_blocks where import_id = $1 and seq = $2 returning body";
    Ok(sql!(tx, c => sqlx::query_scalar(text).bind(import).bind(seq).fetch_optional(c).await)?)
}

/// Deletes some blocks of an import that will never take effect; `false` when there are none left.
pub async fn drop_blocks(tx: &mut Tx, import: i64, at_most: i64) -> DbResult<bool> {
    let text = "delete from import_blocks where import_id = $1 and seq in \
                (select seq from import_blocks where import_id = $1 order by seq limit $2) returning seq";
    let gone: Vec<i64> = sql!(tx, c => sqlx::query_scalar(text).bind(import).bind(at_most).fetch_all(c).await)?;
    Ok(!gone.is_empty())
}

/// Forgets an import that never took effect.
pub async fn forget(tx: &mut Tx, import: i64) -> DbResult<()> {
    let text = "delete from imports where id = $1 and state = 'staging'";
    sql!(tx, c => sqlx::query(text).bind(import).execute(c).await.map(|_| ()))?;
    Ok(())
}

/// Makes it look as if a file were half applied: for the tests of other rooms.
#[cfg(test)]
pub async fn tests_begin_applying(tx: &mut Tx, by: Option<&str>, at: Time) -> DbResult<i64> {
    begin(tx, "registrations", "applying", "half.csv", false, by, at).await
}

#[cfg(test)]
pub async fn tests_end_applying(tx: &mut Tx, import: i64, at: Time) -> DbResult<()> {
    conclude(tx, import, "applied", &Counts::default(), Some(at)).await
}
