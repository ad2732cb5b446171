//! Reads of devices' versions in the database: where each stands, and which request was for which. Changes are saved in groups, each
//! only from the version that was read.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use sqlx::AssertSqlSafe;

use super::{GROUP_ROWS, first_after};
use crate::{
    clock::Time,
    db::{
        DbError, DbResult, Tx,
        rows::{self, Rows},
    },
    ids::{DeviceId, RequestId},
    policy::ReadStep,
    sql,
    target::{ReadCause, ReadState, Standing},
};

/// A read as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    pub plan_id: i64,
    pub device: DeviceId,
    pub campaign_id: i64,
    pub kind: ReadStep,
    pub cause: ReadCause,
    pub standing: Standing,
    pub created_at: Time,
    /// The counter of the last request.
    pub counter: Option<u64>,
    pub answer_version: Option<String>,
    /// The schema's `DeviceStatus`.
    pub answer_status: Option<String>,
    pub answered_at: Option<Time>,
    pub note: Option<String>,
    /// The batch whose silence waits for it to say what follows.
    pub open_for: Option<i64>,
    pub version: i64,
}

/// A device that is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRead {
    pub plan_id: i64,
    pub device: DeviceId,
    pub kind: ReadStep,
    pub cause: ReadCause,
    pub within_millis: i64,
}

#[derive(sqlx::FromRow)]
pub(super) struct ReadRow {
    plan_id: i64,
    device_id: i64,
    campaign_id: i64,
    kind: String,
    state: String,
    within_millis: i64,
    created_at: i64,
    due_at: i64,
    first_asked_at: Option<i64>,
    asks: i64,
    counter: Option<i64>,
    answer_version: Option<String>,
    answer_status: Option<String>,
    answered_at: Option<i64>,
    note: Option<String>,
    cause: String,
    open_for: Option<i64>,
    version: i64,
}

pub(super) const COLUMNS: &str = "reads.plan_id, reads.device_id, reads.campaign_id, reads.kind, reads.state, reads.within_millis, reads.created_at, \
    reads.due_at, reads.first_asked_at, reads.asks, reads.counter, reads.answer_version, reads.answer_status, reads.answered_at, \
    reads.note, reads.cause, reads.open_for, reads.version";

impl TryFrom<ReadRow> for Read {
    type Error = DbError;

    fn try_from(row: ReadRow) -> DbResult<Read> {
        let device = DeviceId::from_db(row.device_id);
        let bad = |column, found: &str| DbError::bad_row("reads", device, column, found);
        let standing = Standing {
            state: row.state.parse().map_err(|_| bad("state", &row.state))?,
            due_at: Time(row.due_at),
            first_asked_at: row.first_asked_at.map(Time),
            asks: row.asks,
            within_millis: row.within_millis,
        };
        Ok(Read {
            plan_id: row.plan_id,
            device,
            campaign_id: row.campaign_id,
            kind: row.kind.parse().map_err(|_| bad("kind", &row.kind))?,
            cause: row.cause.parse().map_err(|_| bad("cause", &row.cause))?,
            standing,
            created_at: Time(row.created_at),
            counter: row.counter.map(|c| c as u64),
            answer_version: row.answer_version,
            answer_status: row.answer_status,
            answered_at: row.answered_at.map(Time),
            note: row.note,
            open_for: row.open_for,
            version: row.version,
        })
    }
}

const NEW: &[(&str, &str)] =
    &[("plan_id", "int"), ("device_id", "int"), ("kind", "text"), ("cause", "text"), ("within_millis", "int")];

/// Reads to come, due at once, of campaigns that have not ended. A device that has one in this plan keeps it, but for one that asked after
/// its silence: an activation takes that over, and a sweep asks again once it has ended and nobody waits for it. Gives how many are to be asked now.
pub async fn plan_reads(tx: &mut Tx, new: &[NewRead], now: Time) -> DbResult<u64> {
    let mut planned = 0;
    for group in new.chunks(GROUP_ROWS) {
        let value = |n: &NewRead| json!([n.plan_id, n.device.to_db(), n.kind.as_str(), n.cause.as_str(), n.within_millis]);
        let values: Rows = group.iter().map(value).collect();
        let values = values.to_json();
        let v = rows::table(tx, 1, NEW);
        // What is out is not asked for a second time: its answer counts for the activation.
        let out = format!(
            "update reads set cause = v.cause, open_for = null, version = reads.version + 1 from {v}
             where v.cause = 'activation' and reads.plan_id = v.plan_id and reads.device_id = v.device_id
               and reads.cause in ('silence', 'deadline') and reads.state in ('asked', 'accepted')"
        );
        sql!(&mut *tx, c => sqlx::query(AssertSqlSafe(out)).bind(&values).execute(c).await?.rows_affected());
        let sql = format!(
            "insert into reads (plan_id, device_id, campaign_id, kind, cause, state, within_millis, created_at, due_at, asks, version)
             select v.plan_id, v.device_id, campaigns.id, v.kind, v.cause, 'waiting', v.within_millis, $2, $2, 0, 0
             from {v} join campaigns on campaigns.plan_id = v.plan_id and campaigns.state in ('started', 'paused', 'halted')
             where true on conflict (plan_id, device_id) do update set
               kind = excluded.kind, cause = excluded.cause, state = 'waiting', within_millis = excluded.within_millis,
               created_at = excluded.created_at, due_at = excluded.due_at, first_asked_at = null, asks = 0, counter = null, note = null,
               open_for = null, ask_by = null, version = reads.version + 1
             where reads.cause in ('silence', 'deadline')
               and ((reads.state in ('differs', 'given-up') and (reads.open_for is null or excluded.cause = 'activation'))
                    or (reads.state = 'waiting' and excluded.cause = 'activation'))"
        );
        planned +=
            sql!(&mut *tx, c => sqlx::query(AssertSqlSafe(sql)).bind(&values).bind(now.0).execute(c).await?.rows_affected());
    }
    Ok(planned)
}

/// The reads of started campaigns that are due to be asked, longest due first.
pub async fn due(tx: &mut Tx, now: Time, limit: usize) -> DbResult<Vec<Read>> {
    let plans: Vec<i64> = sql!(&mut *tx, c => sqlx::query_scalar(
        "select plan_id from campaigns where state = 'started' and plan_id is not null order by plan_id").fetch_all(c).await)?;
    // Plan by plan: a campaign that is paused may have any number of them due.
    let sql = format!(
        "select {COLUMNS} from reads where reads.plan_id = $1 and reads.state in ('waiting', 'accepted') and reads.due_at <= $2
         order by reads.due_at, reads.device_id limit $3"
    );
    let mut due: Vec<Read> = Vec::new();
    for plan in plans {
        let found: Vec<ReadRow> = sql!(&mut *tx, c => sqlx::query_as(AssertSqlSafe(sql.clone())).bind(plan).bind(now.0)
            .bind(limit as i64).fetch_all(c).await)?;
        due.extend(found.into_iter().map(Read::try_from).collect::<DbResult<Vec<Read>>>()?);
    }
    due.sort_by_key(|read| (read.standing.due_at, read.plan_id, read.device));
    due.truncate(limit);
    Ok(due)
}

/// Open reads that are past their time, but for those of the silent whose campaign stands still: nobody may be asked meanwhile.
pub async fn overdue(tx: &mut Tx, now: Time, limit: usize) -> DbResult<Vec<Read>> {
    let sql = format!(
        "select {COLUMNS} from reads where reads.state in ('waiting', 'asked', 'accepted') and reads.first_asked_at is not null
           and reads.first_asked_at + reads.within_millis <= $1
           and (reads.open_for is null or not exists
             (select 1 from campaigns where campaigns.id = reads.campaign_id and campaigns.state in ('paused', 'halted')))
         order by reads.first_asked_at, reads.plan_id, reads.device_id limit $2"
    );
    let found: Vec<ReadRow> =
        sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(now.0).bind(limit as i64).fetch_all(c).await)?;
    found.into_iter().map(Read::try_from).collect()
}

/// Open reads of campaigns that have ended: none is asked again.
pub async fn orphaned(tx: &mut Tx, limit: usize) -> DbResult<Vec<Read>> {
    let plans: Vec<i64> = sql!(&mut *tx, c => sqlx::query_scalar(
        "select plan_id from campaigns where state in ('aborted', 'finished') and plan_id is not null order by plan_id").fetch_all(c).await)?;
    // Plan by plan, in the order of the partial index: the many that have ended are not walked.
    let sql = format!(
        "select {COLUMNS} from reads where reads.plan_id = $1 and reads.state in ('waiting', 'asked', 'accepted')
         order by reads.state, reads.device_id limit $2"
    );
    let mut orphaned = Vec::new();
    for plan in plans {
        let found: Vec<ReadRow> = sql!(&mut *tx, c => sqlx::query_as(AssertSqlSafe(sql.clone())).bind(plan)
            .bind((limit - orphaned.len()) as i64).fetch_all(c).await)?;
        orphaned.extend(found.into_iter().map(Read::try_from).collect::<DbResult<Vec<Read>>>()?);
    }
    Ok(orphaned)
}

/// The reads that these requests were for.
pub async fn of_requests(tx: &mut Tx, ids: &[RequestId]) -> DbResult<BTreeMap<RequestId, Read>> {
    let mut found = BTreeMap::new();
    let columns = &[("originator", "int"), ("counter", "int"), ("target", "int")];
    for group in ids.chunks(GROUP_ROWS) {
        // A counter that is larger than any of ours can be is nobody's.
        let ours = group.iter().filter_map(|id| Some((id, i64::try_from(id.counter).ok()?)));
        let values: Rows = ours.map(|(id, counter)| json!([id.originator.to_db(), counter, id.target.to_db()])).collect();
        let v = rows::table(tx, 1, columns);
        let asked = "asked.originator = v.originator and asked.counter = v.counter and asked.target = v.target";
        let keys = format!(
            "select asked.originator, asked.counter, asked.target, asked.plan_id, asked.device_id from {v}
             join read_requests asked on {asked} order by asked.originator, asked.counter"
        );
        let values = values.to_json();
        let keys: Vec<(i64, i64, i64, i64, i64)> =
            sql!(&mut *tx, c => sqlx::query_as(AssertSqlSafe(keys)).bind(&values).fetch_all(c).await)?;
        let devices: Vec<(i64, DeviceId)> = keys.iter().map(|k| (k.3, DeviceId::from_db(k.4))).collect();
        let reads: BTreeMap<(i64, DeviceId), Read> =
            find(tx, &devices).await?.into_iter().map(|r| ((r.plan_id, r.device), r)).collect();
        for (originator, counter, target, plan, device) in keys {
            let (originator, target) = (DeviceId::from_db(originator), DeviceId::from_db(target));
            let Some(read) = reads.get(&(plan, DeviceId::from_db(device))) else { continue };
            found.insert(RequestId { originator, target, counter: counter as u64 }, read.clone());
        }
    }
    Ok(found)
}

/// The reads of these devices in these plans.
pub async fn find(tx: &mut Tx, which: &[(i64, DeviceId)]) -> DbResult<Vec<Read>> {
    let which: BTreeSet<(i64, i64)> = which.iter().map(|(plan, device)| (*plan, device.to_db())).collect();
    let which: Vec<(i64, i64)> = which.into_iter().collect();
    let mut found = Vec::new();
    for group in which.chunks(GROUP_ROWS) {
        let values: Rows = group.iter().map(|(plan, device)| json!([plan, device])).collect();
        let v = rows::table(tx, 1, &[("plan_id", "int"), ("device_id", "int")]);
        // The rows come first: SQLite would walk every read for each of them.
        let sql = format!(
            "select {COLUMNS} from {v} cross join reads where reads.plan_id = v.plan_id and reads.device_id = v.device_id
             order by reads.plan_id, reads.device_id"
        );
        let rows: Vec<ReadRow> =
            sql!(&mut *tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(values.to_json()).fetch_all(c).await)?;
        found.extend(rows.into_iter().map(Read::try_from).collect::<DbResult<Vec<Read>>>()?);
    }
    Ok(found)
}

const SAVED: &[(&str, &str)] = &[
    ("plan_id", "int"),
    ("device_id", "int"),
    ("version", "int"),
    ("state", "text"),
    ("due_at", "int"),
    ("first_asked_at", "int"),
    ("asks", "int"),
    ("counter", "int"),
    ("answer_version", "text"),
    ("answer_status", "text"),
    ("answered_at", "int"),
    ("note", "text"),
];

/// Saves reads, each only from the version that was read. Gives how many took effect; the caller compares.
pub async fn save(tx: &mut Tx, reads: &[Read]) -> DbResult<u64> {
    let mut saved = 0;
    for group in reads.chunks(GROUP_ROWS) {
        let value = |r: &Read| {
            let s = &r.standing;
            json!([
                r.plan_id,
                r.device.to_db(),
                r.version,
                s.state.as_str(),
                s.due_at.0,
                s.first_asked_at.map(|t| t.0),
                s.asks,
                r.counter,
                r.answer_version,
                r.answer_status,
                r.answered_at.map(|t| t.0),
                r.note
            ])
        };
        let values: Rows = group.iter().map(value).collect();
        let v = rows::table(tx, 1, SAVED);
        let sql = format!(
            "update reads set state = v.state, due_at = v.due_at, first_asked_at = v.first_asked_at, asks = v.asks, counter = v.counter,
                    answer_version = v.answer_version, answer_status = v.answer_status, answered_at = v.answered_at, note = v.note,
                    version = reads.version + 1
             from {v} where reads.plan_id = v.plan_id and reads.device_id = v.device_id and reads.version = v.version"
        );
        saved += sql!(&mut *tx, c => sqlx::query(AssertSqlSafe(sql)).bind(values.to_json()).execute(c).await?.rows_affected());
    }
    Ok(saved)
}

/// Notes which read each request is for.
pub async fn note_requests(tx: &mut Tx, requests: &[(RequestId, &Read)], now: Time) -> DbResult<()> {
    let columns = &[("originator", "int"), ("counter", "int"), ("target", "int"), ("plan_id", "int"), ("device_id", "int")];
    for group in requests.chunks(GROUP_ROWS) {
        let value = |(id, read): &(RequestId, &Read)| {
            json!([id.originator.to_db(), id.counter, id.target.to_db(), read.plan_id, read.device.to_db()])
        };
        let values: Rows = group.iter().map(value).collect();
        let v = rows::table(tx, 1, columns);
        let sql = format!(
            "insert into read_requests (originator, counter, target, plan_id, device_id, asked_at)
             select v.originator, v.counter, v.target, v.plan_id, v.device_id, $2 from {v}"
        );
        sql!(&mut *tx, c => sqlx::query(AssertSqlSafe(sql)).bind(values.to_json()).bind(now.0).execute(c).await?.rows_affected());
    }
    Ok(())
}

/// Every request that was made for a device in a plan, oldest first.
pub async fn requests_of(tx: &mut Tx, plan: i64, device: DeviceId) -> DbResult<Vec<RequestId>> {
    let rows: Vec<(i64, i64, i64)> = sql!(tx, c => sqlx::query_as(
        "select originator, counter, target from read_requests where plan_id = $1 and device_id = $2 order by counter")
        .bind(plan).bind(device.to_db()).fetch_all(c).await)?;
    let id = |(originator, counter, target): (i64, i64, i64)| RequestId {
        originator: DeviceId::from_db(originator),
        target: DeviceId::from_db(target),
        counter: counter as u64,
    };
    Ok(rows.into_iter().map(id).collect())
}

/// Reads whose answer is to come, of all campaigns.
pub async fn count_out(tx: &mut Tx) -> DbResult<i64> {
    Ok(sql!(tx, c => sqlx::query_scalar("select count(*) from reads where state in ('asked', 'accepted')").fetch_one(c).await)?)
}

/// Requests made after this moment.
pub async fn count_asked_since(tx: &mut Tx, since: Time) -> DbResult<i64> {
    Ok(
        sql!(tx, c => sqlx::query_scalar("select count(*) from read_requests where asked_at > $1").bind(since.0).fetch_one(c).await)?,
    )
}

/// How many reads after an activation are in each state, of a plan; states with none are left out.
pub async fn count_by_state(tx: &mut Tx, plan: i64) -> DbResult<BTreeMap<ReadState, i64>> {
    let counts: Vec<(String, i64)> = sql!(tx, c => sqlx::query_as(
        "select state, count(*) from reads where plan_id = $1 and cause = 'activation' group by state order by state").bind(plan).fetch_all(c).await)?;
    counts.into_iter().map(|(s, n)| Ok((s.parse().map_err(|_| DbError::bad_row("reads", plan, "state", &s))?, n))).collect()
}

/// The devices of a plan that were asked after their activation at least once.
pub async fn count_asked(tx: &mut Tx, plan: i64) -> DbResult<i64> {
    Ok(sql!(tx, c => sqlx::query_scalar(
        "select count(*) from reads where plan_id = $1 and cause = 'activation' and asks > 0").bind(plan).fetch_one(c).await)?)
}

/// Whether an answer is still hoped for in a plan.
pub async fn any_open(tx: &mut Tx, plan: i64) -> DbResult<bool> {
    let n: i64 = sql!(tx, c => sqlx::query_scalar(
        "select count(*) from (select 1 as one from reads where plan_id = $1 and state in ('waiting', 'asked', 'accepted') limit 1) as x")
        .bind(plan).fetch_one(c).await)?;
    Ok(n > 0)
}

/// A page of a plan's reads, by Device ID.
pub async fn page(tx: &mut Tx, plan: i64, after: Option<DeviceId>, limit: usize) -> DbResult<Vec<Read>> {
    let sql = format!(
        "select {COLUMNS} from reads where reads.plan_id = $1 and reads.device_id >= $2 order by reads.device_id limit $3"
    );
    let Some(from) = first_after(after) else { return Ok(Vec::new()) };
    let found: Vec<ReadRow> =
        sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(plan).bind(from).bind(limit as i64).fetch_all(c).await)?;
    found.into_iter().map(Read::try_from).collect()
}

/// The reads of one device, oldest first.
pub async fn of_device(tx: &mut Tx, device: DeviceId) -> DbResult<Vec<Read>> {
    let sql = format!("select {COLUMNS} from reads where reads.device_id = $1 order by reads.created_at, reads.plan_id");
    let found: Vec<ReadRow> = sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(device.to_db()).fetch_all(c).await)?;
    found.into_iter().map(Read::try_from).collect()
}
