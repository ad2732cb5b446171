//! Resubmissions: cases whose due attempt is a 11.1 request of our own (retry.toml, `resubmit`). A line of the same ledger as a re-run
//! request's. Promise: a case is on at most one open line of either kind, and what reached no device leaves it as it was.

use std::collections::BTreeMap;

use serde_json::json;
use sqlx::AssertSqlSafe;

use super::execute;
use crate::{
    clock::Time,
    db::{
        DbResult, Tx,
        rows::{self, Rows},
    },
    ids::DeviceId,
    policy::Reason,
    sql,
};

/// A case that is due and whose site is held for its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueMember {
    pub case: i64,
    pub device: DeviceId,
    pub next_attempt: Time,
    pub last_error: Option<String>,
}

/// Cases that are due, on no open line, and held for their key in this plan: the longest due first, after the given one.
pub async fn due_members(tx: &mut Tx, plan: i64, now: Time, after: Option<DueMember>, limit: usize) -> DbResult<Vec<DueMember>> {
    // Scalar subqueries, so that neither engine thinks of beginning with the plan.
    let sql = format!(
        "select k.id, k.device_id, k.next_attempt, k.last_error from key_cases k
         where k.state in ('retrying', 'investigating') and k.next_attempt <= $2 and (k.next_attempt, k.id) > ($3, $4)
           and (select count(*) from key_requests q where q.case_id = k.id and q.ended_at is null) = 0
           and (select t.reason from targets t where t.plan_id = $1 and t.device_id = k.device_id and t.state = 'held') in ('{}', '{}')
         order by k.next_attempt, k.id limit $5",
        Reason::KeysMissing,
        Reason::KeysUnknown
    );
    let (at, id) = after.map_or((i64::MIN, i64::MIN), |a| (a.next_attempt.0, a.case));
    let found: Vec<(i64, i64, i64, Option<String>)> = sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql))
        .bind(plan).bind(now.0).bind(at).bind(id).bind(limit as i64).fetch_all(c).await)?;
    let member = |(case, device, at, last_error)| DueMember {
        case,
        device: DeviceId::from_db(device),
        next_attempt: Time(at),
        last_error,
    };
    Ok(found.into_iter().map(member).collect())
}

/// These cases were put into a batch: a line and an attempt each. When the next is due is for `reconcile` to say.
pub async fn resubmitted(tx: &mut Tx, batch: i64, cases: &[(i64, DeviceId, String)], detail: &str, now: Time) -> DbResult<()> {
    let all: Rows = cases.iter().map(|(id, device, rule)| json!([id, device.to_db(), rule])).collect();
    let v = rows::table(tx, 1, &[("id", "int"), ("device", "int"), ("rule", "text")]);
    let json = all.to_json();
    let lines = format!(
        "insert into key_requests (run, case_id, device_id, rule, requested_at, requested_by, batch_id, retry_at)
         select 0, v.id, v.device, v.rule, $2, 'engine', $3, (select k.retry_at from key_cases k where k.id = v.id)
         from {v} where true order by v.id"
    );
    sql!(&mut *tx, c => sqlx::query(AssertSqlSafe(lines)).bind(&json).bind(now.0).bind(batch).execute(c).await.map(|_| ()))?;
    let attempts = format!(
        "insert into key_attempts (case_id, at, kind, outcome, detail, who, batch_id)
         select v.id, $2, 'resubmission', 'sent', $4, 'engine', $3 from {v} where true on conflict do nothing"
    );
    sql!(&mut *tx, c => sqlx::query(AssertSqlSafe(attempts)).bind(&json).bind(now.0).bind(batch).bind(detail).execute(c).await.map(|_| ()))?;
    let asked = format!("update key_cases set retry_at = null from {v} where key_cases.id = v.id");
    execute(tx, asked, &all).await
}

/// The batch reached no device: nothing was tried, and what a person asked for is due again.
pub async fn unsent(tx: &mut Tx, batch: i64) -> DbResult<()> {
    lock_cases(tx, &format!("k.id in (select q.case_id from key_requests q where q.batch_id = {batch} and q.ended_at is null)"))
        .await?;
    const LINES: &str = "from key_requests q where q.batch_id = $1 and q.ended_at is null";
    for text in [
        format!(
            "update key_cases set retry_at = (select q.retry_at {LINES} and q.case_id = key_cases.id)
             where state in ('retrying', 'investigating') and id in (select q.case_id {LINES} and q.retry_at is not null)"
        ),
        format!(
            "delete from key_attempts where batch_id = $1 and kind = 'resubmission' and case_id in (select q.case_id {LINES})"
        ),
        "delete from key_requests where batch_id = $1 and ended_at is null".to_string(),
    ] {
        sql!(&mut *tx, c => sqlx::query(AssertSqlSafe(text)).bind(batch).execute(c).await.map(|_| ()))?;
    }
    Ok(())
}

/// Open lines whose device is not out in their batch any more: `(line, device, what it came to)`.
pub async fn over(tx: &mut Tx, limit: usize) -> DbResult<Vec<(i64, DeviceId, String)>> {
    let text = "select q.id, q.device_id,
            case when t.batch_id = q.batch_id and t.state = 'held' then 'failed' when t.batch_id = q.batch_id and t.state = 'expired' then 'silent'
                 when t.state in ('activated', 'verified') then 'activated' else 'unsuccessful' end
        from key_requests q join batches b on b.id = q.batch_id
            left join targets t on t.plan_id = b.plan_id and t.device_id = q.device_id
        where q.batch_id is not null and q.ended_at is null
          and (t.state is null or t.batch_id is null or t.batch_id <> q.batch_id or t.state not in ('submitted', 'accepted', 'delivered'))
        order by q.id limit $1";
    let found: Vec<(i64, i64, String)> = sql!(tx, c => sqlx::query_as(text).bind(limit as i64).fetch_all(c).await)?;
    Ok(found.into_iter().map(|(id, device, outcome)| (id, DeviceId::from_db(device), outcome)).collect())
}

/// Ends lines with what they came to.
pub async fn end(tx: &mut Tx, lines: &[(i64, DeviceId, String)], now: Time) -> DbResult<()> {
    let ids: Vec<String> = lines.iter().map(|(id, ..)| id.to_string()).collect();
    lock_cases(tx, &format!("k.id in (select q.case_id from key_requests q where q.id in ({}))", ids.join(", "))).await?;
    let all: Rows = lines.iter().map(|(id, _, outcome)| json!([id, outcome, now.0])).collect();
    let v = rows::table(tx, 1, &[("id", "int"), ("outcome", "text"), ("at", "int")]);
    let sql = format!(
        "update key_requests set ended_at = v.at, outcome = v.outcome from {v} where key_requests.id = v.id and key_requests.ended_at is null"
    );
    execute(tx, sql, &all).await
}

/// Cases before their lines, as settling has it. (SQLite has one writer anyway.)
async fn lock_cases(tx: &mut Tx, which: &str) -> DbResult<()> {
    if let Tx::Postgres(t) = tx {
        let sql = format!("select k.id from key_cases k where {which} order by k.id for update");
        sqlx::query(AssertSqlSafe(sql)).execute(&mut **t).await?;
    }
    Ok(())
}

/// Firmware was activated on these devices: that is what their resubmissions came to.
pub(super) async fn activated(tx: &mut Tx, devices: &[DeviceId], now: Time) -> DbResult<()> {
    let (ids, among) = rows::integers(tx, 2, devices.iter().map(|d| d.to_db()));
    let sql = format!(
        "update key_requests set ended_at = $1, outcome = 'activated' where ended_at is null and batch_id is not null and device_id {among}"
    );
    sql!(&mut *tx, c => sqlx::query(AssertSqlSafe(sql)).bind(now.0).bind(ids).execute(c).await.map(|_| ()))?;
    Ok(())
}

/// When the sites of these devices' open cases were sent again, oldest first, and whether each is still out; by case.
pub(super) async fn sent(tx: &mut Tx, devices: &[DeviceId]) -> DbResult<BTreeMap<i64, Vec<(Time, bool)>>> {
    let (ids, among) = rows::integers(tx, 1, devices.iter().map(|d| d.to_db()));
    let sql = format!(
        "select q.case_id, q.requested_at, q.ended_at from key_requests q join key_cases k on k.id = q.case_id
         where q.batch_id is not null and k.state in ('retrying', 'investigating') and k.device_id {among} order by q.case_id, q.id"
    );
    let found: Vec<(i64, i64, Option<i64>)> = sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(ids).fetch_all(c).await)?;
    let mut sent: BTreeMap<i64, Vec<(Time, bool)>> = BTreeMap::new();
    for (case, at, ended_at) in found {
        sent.entry(case).or_default().push((Time(at), ended_at.is_none()));
    }
    Ok(sent)
}
