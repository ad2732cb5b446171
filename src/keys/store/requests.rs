//! Re-run requests to DCC's service desk: which cases are due, which lines are out, and how each ended. (Resubmissions have lines of the
//! same ledger.) Promise: a case is on at most one open line, and within any hour no more lines are made than the budget allows.

use serde_json::json;
use sqlx::AssertSqlSafe;

use super::list;
use crate::{
    clock::{Day, Time},
    db::{
        DbResult, Tx,
        rows::{self, Rows},
    },
    estate::Cohort,
    ids::{DeviceId, Mpan, Mpid},
    keys::{CaseFilter, CaseOrder, KeyCase},
    sql,
};

/// The advisory lock of those who make lines, on PostgreSQL; any number of our own ("keys" in ASCII).
const POSTGRES_LOCK: i64 = 0x6b65_7973;
/// As good as all, in a LIMIT.
const MANY: usize = 1 << 40;

/// A line of a re-run request, as the file has it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RequestLine {
    /// The file's number.
    pub request: i64,
    pub case: i64,
    pub device_id: DeviceId,
    pub mpan: Option<Mpan>,
    pub cohort: Option<Cohort>,
    pub attempts: i64,
    pub first_seen: Time,
    pub last_attempt: Option<Time>,
    pub last_error: Option<String>,
    pub incident: Option<String>,
}

/// Two people, or a person and the engine, make lines at once: the second waits. (SQLite has one writer anyway.) Who only ends lines
/// waits for nobody: settling would otherwise wait here for what waits for it.
pub async fn lock(tx: &mut Tx) -> DbResult<()> {
    if let Tx::Postgres(t) = tx {
        sqlx::query("select pg_advisory_xact_lock($1)").bind(POSTGRES_LOCK).execute(&mut **t).await?;
    }
    Ok(())
}

/// Lines made after this moment, resubmissions included.
pub async fn made_since(tx: &mut Tx, since: Time) -> DbResult<i64> {
    Ok(
        sql!(tx, c => sqlx::query_scalar("select count(*) from key_requests where requested_at > $1").bind(since.0).fetch_one(c).await)?,
    )
}

/// Cases that are due and on no open line, the longest due first, of sites that are ours on `day`; without these.
pub async fn due(tx: &mut Tx, own: &[Mpid], day: Day, now: Time, but: &[i64], limit: usize) -> DbResult<Vec<KeyCase>> {
    let ours = ours(own, "$2");
    let (but, among) = rows::integers(tx, 4, but.iter().copied());
    let sql = format!(
        "select k.id from key_cases k where k.state in ('retrying', 'investigating') and k.next_attempt <= $1
           and (select count(*) from key_requests q where q.case_id = k.id and q.ended_at is null) = 0
           and {ours}
           and not (k.id {among})
         order by k.next_attempt, k.id limit $3"
    );
    let ids: Vec<i64> = sql!(&mut *tx, c => sqlx::query_scalar(AssertSqlSafe(sql)).bind(now.0).bind(day.0).bind(limit as i64).bind(but).fetch_all(c).await)?;
    by_number(tx, &ids, day).await
}

/// How many more are due, and on no open line, whose sites are not ours on `day`, or not known.
pub async fn due_elsewhere(tx: &mut Tx, own: &[Mpid], day: Day, now: Time) -> DbResult<i64> {
    let sql = format!(
        "select count(*) from key_cases k where k.state in ('retrying', 'investigating') and k.next_attempt <= $1
           and (select count(*) from key_requests q where q.case_id = k.id and q.ended_at is null) = 0 and not {}",
        ours(own, "$2")
    );
    Ok(sql!(tx, c => sqlx::query_scalar(AssertSqlSafe(sql)).bind(now.0).bind(day.0).fetch_one(c).await)?)
}

/// The site of case `k` is registered to one of these on the day.
fn ours(own: &[Mpid], day: &str) -> String {
    let own = own.iter().map(|m| format!("'{m}'")).collect::<Vec<_>>().join(", ");
    format!(
        "((select count(*) from registrations r where r.mpan = (select s.mpan from sites s where s.device_id = k.device_id)
           and r.supplier_mpid in ({own}) and r.effective_from <= {day} and (r.effective_to is null or {day} < r.effective_to)) > 0)"
    )
}

/// Cases by their numbers, in that order.
pub async fn by_number(tx: &mut Tx, ids: &[i64], day: Day) -> DbResult<Vec<KeyCase>> {
    let (json, among) = rows::integers(tx, 1, ids.iter().copied());
    let sql = format!("select device_id from key_cases where id {among} order by device_id");
    let devices: Vec<i64> = sql!(&mut *tx, c => sqlx::query_scalar(AssertSqlSafe(sql)).bind(json).fetch_all(c).await)?;
    if devices.is_empty() {
        return Ok(Vec::new());
    }
    let filter = CaseFilter { devices: devices.into_iter().map(DeviceId::from_db).collect(), ..CaseFilter::default() };
    let (found, _) = list(tx, &filter, (CaseOrder::Case, false), day, None, MANY).await?;
    let mut by_id: std::collections::BTreeMap<i64, KeyCase> = found.into_iter().map(|k| (k.id, k)).collect();
    Ok(ids.iter().filter_map(|id| by_id.remove(id)).collect())
}

/// The number of the next file.
pub async fn next_run(tx: &mut Tx) -> DbResult<i64> {
    let last: i64 = sql!(tx, c => sqlx::query_scalar("select coalesce(max(run), 0) from key_requests").fetch_one(c).await)?;
    Ok(last + 1)
}

/// Puts these cases on one request: a line and an attempt each. `lapses` is when a line without an answer is given up; then
/// the case is due again.
pub async fn ask(tx: &mut Tx, run: i64, cases: &[(i64, DeviceId, String)], who: &str, lapses: Time, now: Time) -> DbResult<()> {
    let all: Rows = cases.iter().map(|(id, device, rule)| json!([id, device.to_db(), rule])).collect();
    let v = rows::table(tx, 1, &[("id", "int"), ("device", "int"), ("rule", "text")]);
    let lines = format!(
        "insert into key_requests (run, case_id, device_id, rule, requested_at, requested_by)
         select $2, v.id, v.device, v.rule, $3, $4 from {v} where true order by v.id"
    );
    let json = all.to_json();
    sql!(&mut *tx, c => sqlx::query(AssertSqlSafe(lines)).bind(&json).bind(run).bind(now.0).bind(who).execute(c).await.map(|_| ()))?;
    let attempts = format!(
        "insert into key_attempts (case_id, at, kind, outcome, detail, who)
         select v.id, $2, 'requested', 'asked', $3, $4 from {v} where true on conflict do nothing"
    );
    let detail = format!("re-run request {run}");
    sql!(&mut *tx, c => sqlx::query(AssertSqlSafe(attempts)).bind(&json).bind(now.0).bind(detail).bind(who).execute(c).await.map(|_| ()))?;
    let wait = format!(
        "update key_cases set retry_at = null, next_attempt = case when state = 'retrying' then $2 end from {v} where key_cases.id = v.id"
    );
    sql!(&mut *tx, c => sqlx::query(AssertSqlSafe(wait)).bind(&json).bind(lapses.0).execute(c).await.map(|_| ()))?;
    Ok(())
}

/// Lines that nobody answered since this moment, the oldest first: the line and its device.
pub async fn to_lapse(tx: &mut Tx, asked_by: Time, limit: usize) -> DbResult<Vec<(i64, DeviceId)>> {
    let found: Vec<(i64, i64)> = sql!(tx, c => sqlx::query_as(
        "select id, device_id from key_requests where ended_at is null and batch_id is null and requested_at <= $1
         order by id limit $2")
        .bind(asked_by.0).bind(limit as i64).fetch_all(c).await)?;
    Ok(found.into_iter().map(|(id, device)| (id, DeviceId::from_db(device))).collect())
}

/// Ends these lines, as far as they are still open; gives how many were.
pub async fn lapse(tx: &mut Tx, lines: &[i64], now: Time) -> DbResult<u64> {
    let (ids, among) = rows::integers(tx, 2, lines.iter().copied());
    let sql = format!("update key_requests set ended_at = $1, outcome = 'lapsed' where ended_at is null and id {among}");
    Ok(sql!(tx, c => sqlx::query(AssertSqlSafe(sql)).bind(now.0).bind(ids).execute(c).await?.rows_affected()))
}

/// One line as `keys show` tells it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct KeyRequest {
    /// Of a re-run request: the file's number.
    pub request: Option<i64>,
    /// Of a resubmission: the batch.
    pub batch: Option<i64>,
    pub case: i64,
    pub rule: String,
    pub requested_at: Time,
    pub requested_by: String,
    pub ended_at: Option<Time>,
    pub outcome: Option<String>,
}

type LineRow = (i64, Option<i64>, i64, String, i64, String, Option<i64>, Option<String>);

/// The lines of these cases, oldest first.
pub async fn of_cases(tx: &mut Tx, cases: &[i64]) -> DbResult<Vec<KeyRequest>> {
    let (ids, among) = rows::integers(tx, 1, cases.iter().copied());
    let sql = format!(
        "select run, batch_id, case_id, rule, requested_at, requested_by, ended_at, outcome from key_requests where case_id {among} order by id"
    );
    let found: Vec<LineRow> = sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(ids).fetch_all(c).await)?;
    let one = |(run, batch, case, rule, at, by, ended, outcome): LineRow| KeyRequest {
        request: batch.is_none().then_some(run),
        batch,
        case,
        rule,
        requested_at: Time(at),
        requested_by: by,
        ended_at: ended.map(Time),
        outcome,
    };
    Ok(found.into_iter().map(one).collect())
}

/// The cases on one request, in the order of its lines; none where there is no such request.
pub async fn cases_of(tx: &mut Tx, run: i64) -> DbResult<Vec<i64>> {
    Ok(
        sql!(tx, c => sqlx::query_scalar("select case_id from key_requests where run = $1 and batch_id is null order by id").bind(run).fetch_all(c).await)?,
    )
}

impl RequestLine {
    pub fn of(request: i64, case: &KeyCase) -> RequestLine {
        RequestLine {
            request,
            case: case.id,
            device_id: case.device_id,
            mpan: case.mpan,
            cohort: case.cohort,
            attempts: case.attempts,
            first_seen: case.first_seen,
            last_attempt: case.last_attempt,
            last_error: case.last_error.clone(),
            incident: case.incident.clone(),
        }
    }
}
