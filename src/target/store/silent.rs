//! Silent devices in the database: those past their deadline that are still in flight, what was asked of them since, and what follows; and
//! those that expired, for a sweep. The reads themselves are in `reads`.

use serde_json::json;
use sqlx::AssertSqlSafe;

use super::{
    COLUMNS, Change, GROUP_ROWS, Target, TargetRow, TargetState, first_after, history,
    reads::{self, Read},
    target,
};
use crate::{
    clock::Time,
    db::{
        DbResult, Tx,
        rows::{self, Rows},
    },
    ids::DeviceId,
    policy::ReadStep,
    sql,
    target::Event,
};

/// Of a plan given as `$1`, the reads that are waited for. The sum keeps SQLite from the primary key, by which it would walk every read of
/// the plan: those that are waited for are few, and have an index of their own.
const AWAITED: &str = "reads.open_for is not null and reads.plan_id + 0 = $1";

/// The states a silent device can be in.
const IN_FLIGHT: &str = "('submitted', 'accepted', 'delivered')";

/// A device that is to be asked for its silence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAsk {
    pub device: DeviceId,
    /// Of the target, as it was read.
    pub version: i64,
    pub batch_id: i64,
    pub kind: ReadStep,
    /// When its turn comes.
    pub due_at: Time,
    pub within_millis: i64,
}

/// A page of a plan's devices that are past their deadline and of which nobody has asked yet, by Device ID.
pub async fn overdue(tx: &mut Tx, plan: i64, now: Time, after: Option<DeviceId>, limit: usize) -> DbResult<Vec<Target>> {
    let sql = format!(
        "select {COLUMNS} from targets where plan_id = $1 and device_id >= $2 and answer_by < $3 and state in {IN_FLIGHT}
         order by device_id limit $4"
    );
    let Some(from) = first_after(after) else { return Ok(Vec::new()) };
    let found: Vec<TargetRow> = sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(plan).bind(from).bind(now.0)
        .bind(limit as i64).fetch_all(c).await)?;
    found.into_iter().map(target).collect()
}

const ASKED: &[(&str, &str)] = &[
    ("plan_id", "int"),
    ("device_id", "int"),
    ("version", "int"),
    ("batch_id", "int"),
    ("kind", "text"),
    ("due_at", "int"),
    ("within_millis", "int"),
];

/// Puts devices down to be asked, and takes their deadline off until it is known what follows. A read of one that is out already is not
/// made a second time: its answer counts.
pub async fn ask(tx: &mut Tx, plan: i64, campaign: i64, asks: &[NewAsk], now: Time) -> DbResult<()> {
    for group in asks.chunks(GROUP_ROWS) {
        let value =
            |a: &NewAsk| json!([plan, a.device.to_db(), a.version, a.batch_id, a.kind.as_str(), a.due_at.0, a.within_millis]);
        let values: Rows = group.iter().map(value).collect();
        let values = values.to_json();
        let v = rows::table(tx, 1, ASKED);
        let quiet = format!(
            "update targets set answer_by = null from {v} where targets.plan_id = v.plan_id and targets.device_id = v.device_id
               and targets.version = v.version and targets.state in {IN_FLIGHT}"
        );
        sql!(&mut *tx, c => sqlx::query(AssertSqlSafe(quiet)).bind(&values).execute(c).await?.rows_affected());
        let out = format!(
            "update reads set cause = 'deadline', open_for = v.batch_id, version = reads.version + 1 from {v}
             where reads.plan_id = v.plan_id and reads.device_id = v.device_id and reads.state in ('asked', 'accepted')"
        );
        sql!(&mut *tx, c => sqlx::query(AssertSqlSafe(out)).bind(&values).execute(c).await?.rows_affected());
        let sql = format!(
            "insert into reads (plan_id, device_id, campaign_id, kind, cause, state, within_millis, created_at, due_at, asks, version,
                    open_for, ask_by)
             select v.plan_id, v.device_id, cast($3 as bigint), v.kind, 'deadline', 'waiting', v.within_millis, cast($2 as bigint), v.due_at,
                    0, 0, v.batch_id, cast($2 as bigint) + v.within_millis
             from {v} where true on conflict (plan_id, device_id) do update set
               kind = excluded.kind, cause = excluded.cause, state = 'waiting', within_millis = excluded.within_millis,
               created_at = excluded.created_at, due_at = excluded.due_at, first_asked_at = null, asks = 0, counter = null, note = null,
               open_for = excluded.open_for, ask_by = excluded.ask_by, version = reads.version + 1
             where reads.state not in ('asked', 'accepted')"
        );
        sql!(&mut *tx, c => sqlx::query(AssertSqlSafe(sql)).bind(&values).bind(now.0).bind(campaign).execute(c).await?.rows_affected());
    }
    Ok(())
}

/// When the last question that waits comes up, of all campaigns.
pub async fn last_due(tx: &mut Tx) -> DbResult<Option<Time>> {
    let last: Option<i64> = sql!(tx, c => sqlx::query_scalar(
        "select max(due_at) from reads where open_for is not null and state = 'waiting' and first_asked_at is null").fetch_one(c).await)?;
    Ok(last.map(Time))
}

async fn select(tx: &mut Tx, plan: i64, which: &str, limit: usize) -> DbResult<Vec<Read>> {
    let sql = format!(
        "select {} from reads where {AWAITED} and {which}
         order by reads.state, reads.device_id limit $2",
        reads::COLUMNS
    );
    let found: Vec<reads::ReadRow> =
        sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(plan).bind(limit as i64).fetch_all(c).await)?;
    found.into_iter().map(Read::try_from).collect()
}

/// Whether any read of a plan is waited for.
pub async fn any_awaited(tx: &mut Tx, plan: i64) -> DbResult<bool> {
    let sql = format!("select count(*) from (select 1 as one from reads where {AWAITED} limit 1) as x");
    let n: i64 = sql!(tx, c => sqlx::query_scalar(AssertSqlSafe(sql)).bind(plan).fetch_one(c).await)?;
    Ok(n > 0)
}

/// Reads of a plan that are waited for and have ended.
pub async fn ended(tx: &mut Tx, plan: i64, limit: usize) -> DbResult<Vec<Read>> {
    select(tx, plan, "reads.state in ('agrees', 'differs', 'given-up')", limit).await
}

/// Reads of a plan that are waited for, and whose turn did not come in their time.
pub async fn not_reached(tx: &mut Tx, plan: i64, now: Time, limit: usize) -> DbResult<Vec<Read>> {
    let which = format!("reads.state = 'waiting' and reads.first_asked_at is null and reads.ask_by <= {}", now.0);
    select(tx, plan, &which, limit).await
}

/// Nobody waits for the reads of these devices any more.
pub async fn close(tx: &mut Tx, plan: i64, devices: &[DeviceId]) -> DbResult<()> {
    for group in devices.chunks(GROUP_ROWS) {
        let (json, among) = rows::integers(tx, 2, group.iter().map(|d| d.to_db()));
        let sql = format!(
            "update reads set open_for = null, ask_by = null, version = version + 1
             where plan_id = $1 and device_id {among} and open_for is not null"
        );
        sql!(&mut *tx, c => sqlx::query(AssertSqlSafe(sql)).bind(plan).bind(&json).execute(c).await?.rows_affected());
    }
    Ok(())
}

/// Ends the reads of a plan that only wait, of devices that are not silent any more: there was news of them, or they are out of their
/// batch. Gives how many.
pub async fn drop_needless(tx: &mut Tx, plan: i64) -> DbResult<u64> {
    let sql = format!(
        "update reads set state = 'given-up', note = 'it was silent no more', open_for = null, ask_by = null, version = version + 1
         where {AWAITED} and state = 'waiting' and not exists
           (select 1 from targets t where t.plan_id = reads.plan_id and t.device_id = reads.device_id and t.batch_id = reads.open_for
              and t.answer_by is null and t.state in {IN_FLIGHT})"
    );
    Ok(sql!(tx, c => sqlx::query(AssertSqlSafe(sql)).bind(plan).execute(c).await?.rows_affected()))
}

/// Every question of a plan that is waited for has its whole time anew, from now on: the campaign stood still, and nobody could be asked.
pub async fn begin_anew(tx: &mut Tx, plan: i64, now: Time) -> DbResult<()> {
    let sql = format!(
        "update reads set ask_by = $2 + within_millis, first_asked_at = case when first_asked_at is null then null else $2 end,
                version = version + 1
         where {AWAITED} and state in ('waiting', 'asked', 'accepted')"
    );
    sql!(tx, c => sqlx::query(AssertSqlSafe(sql)).bind(plan).bind(now.0).execute(c).await?.rows_affected());
    Ok(())
}

/// What waits to be asked for the first time has its whole time from then on.
pub async fn put_off(tx: &mut Tx, plan: i64, devices: &[DeviceId], from: Time) -> DbResult<()> {
    for group in devices.chunks(GROUP_ROWS) {
        let (json, among) = rows::integers(tx, 3, group.iter().map(|d| d.to_db()));
        let sql = format!(
            "update reads set ask_by = $2 + within_millis, version = version + 1
             where plan_id = $1 and device_id {among} and open_for is not null and state = 'waiting' and first_asked_at is null"
        );
        sql!(&mut *tx, c => sqlx::query(AssertSqlSafe(sql)).bind(plan).bind(from.0).bind(&json).execute(c).await?.rows_affected());
    }
    Ok(())
}

const AGAIN: &[(&str, &str)] =
    &[("plan_id", "int"), ("device_id", "int"), ("version", "int"), ("detail", "text"), ("not_before", "int")];

/// Queues silent devices again, each only from the version that was read and not to be sent before its moment: `Unchanged`. Gives how
/// many; the caller compares.
pub async fn queue_again(tx: &mut Tx, changes: &[(Change, Time)], now: Time) -> DbResult<u64> {
    let to = TargetState::Accepted.on(Event::Unchanged).expect("a silent device can be sent again");
    let mut queued = 0;
    for group in changes.chunks(GROUP_ROWS) {
        let value = |(c, not_before): &(Change, Time)| json!([c.plan_id, c.device.to_db(), c.version, c.detail, not_before.0]);
        let values: Rows = group.iter().map(value).collect();
        let values = values.to_json();
        let same = format!(
            "targets.plan_id = v.plan_id and targets.device_id = v.device_id and targets.version = v.version and targets.state in {IN_FLIGHT}"
        );
        let v = rows::table(tx, 1, AGAIN);
        history::keep_rows(tx, &values, AGAIN, &same).await?;
        let sql = format!(
            "update targets set state = '{to}', answer_by = null, detail = v.detail, retries = targets.retries + 1, not_before = v.not_before,
                    updated_at = $2, version = targets.version + 1, cause = '{}', cause_ref = null
             from {v} where {same}",
            history::Cause::Silence
        );
        queued +=
            sql!(&mut *tx, c => sqlx::query(AssertSqlSafe(sql)).bind(&values).bind(now.0).execute(c).await?.rows_affected());
    }
    Ok(queued)
}

/// How a plan stands to its silent devices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct SilenceCounts {
    /// Past their deadline, and being asked which version they run.
    pub asking: i64,
    /// Of the queued: to be sent again, once their wait is over.
    pub waiting_to_retry: i64,
    /// How often a device was queued again because it was silent and ran what it ran.
    pub retries: i64,
}

/// Counts them.
pub async fn counts(tx: &mut Tx, plan: i64, now: Time) -> DbResult<SilenceCounts> {
    let awaited = format!("select count(*) from reads where {AWAITED}");
    let asking: i64 = sql!(&mut *tx, c => sqlx::query_scalar(AssertSqlSafe(awaited)).bind(plan).fetch_one(c).await)?;
    let (retries, waiting_to_retry): (i64, i64) = sql!(tx, c => sqlx::query_as(
        "select cast(coalesce(sum(retries), 0) as bigint),
                cast(coalesce(sum(case when state = 'queued' and not_before > $2 then 1 else 0 end), 0) as bigint)
         from targets where plan_id = $1").bind(plan).bind(now.0).fetch_one(c).await)?;
    Ok(SilenceCounts { asking, waiting_to_retry, retries })
}

/// A place in the order of [`page`]: when a device was last put down to be read (0: never), and the device.
pub type Place = (i64, i64);

/// A page of a plan's devices that are silent past their deadline, have not left the portfolio, and of which no answer is awaited: those
/// never asked after first, then those asked after longest ago.
pub async fn page(tx: &mut Tx, plan: i64, after: Place, limit: i64) -> DbResult<Vec<(Place, DeviceId)>> {
    let rows: Vec<Place> = sql!(tx, c => sqlx::query_as(
        "select x.asked, x.device_id from (
           select coalesce(r.created_at, 0) as asked, t.device_id
           from targets t left join reads r on r.plan_id = t.plan_id and r.device_id = t.device_id
           where t.plan_id = $1 and t.state = 'expired' and t.reason <> 'SUPPLY_LOST'
             and (r.state is null or r.state in ('differs', 'given-up'))) x
         where x.asked > $2 or (x.asked = $2 and x.device_id > $3) order by x.asked, x.device_id limit $4")
        .bind(plan).bind(after.0).bind(after.1).bind(limit).fetch_all(c).await)?;
    Ok(rows.into_iter().map(|row| (row, DeviceId::from_db(row.1))).collect())
}

/// Devices of a plan that are silent past their deadline and have not left the portfolio; and of those, how many are being asked after.
pub async fn count(tx: &mut Tx, plan: i64) -> DbResult<(i64, i64)> {
    Ok(sql!(tx, c => sqlx::query_as(
        "select count(*), cast(coalesce(sum(case when r.state in ('waiting', 'asked', 'accepted') then 1 else 0 end), 0) as bigint)
         from targets t left join reads r on r.plan_id = t.plan_id and r.device_id = t.device_id
         where t.plan_id = $1 and t.state = 'expired' and t.reason <> 'SUPPLY_LOST'").bind(plan).fetch_one(c).await)?)
}

/// Devices that wait to be asked after their silence, of all campaigns.
pub async fn count_waiting(tx: &mut Tx) -> DbResult<i64> {
    Ok(sql!(tx, c => sqlx::query_scalar(
        "select count(*) from reads where state in ('waiting', 'asked', 'accepted') and state = 'waiting' and cause = 'silence'")
        .fetch_one(c).await)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::databases;

    /// A plan may have a million reads, of which few are waited for: none of these may walk them all.
    #[tokio::test]
    async fn what_is_waited_for_is_found_by_its_index() {
        for t in databases().await {
            let mut tx = t.db.begin().await.unwrap();
            let Tx::Sqlite(sqlite) = &mut tx else { continue };
            for rest in [
                "and reads.state in ('agrees', 'differs', 'given-up') order by reads.state, reads.device_id limit 9",
                "and reads.state = 'waiting' and reads.ask_by <= 5 order by reads.state, reads.device_id limit 9",
                "limit 1",
            ] {
                let text = format!("explain query plan select * from reads where {AWAITED} {rest}");
                let rows: Vec<(i64, i64, i64, String)> =
                    sqlx::query_as(AssertSqlSafe(text)).bind(1).fetch_all(&mut **sqlite).await.unwrap();
                assert!(rows[0].3.contains("INDEX reads_silent"), "{rest}: {rows:?}");
            }
        }
    }
}
