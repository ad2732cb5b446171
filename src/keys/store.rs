//! Key cases in the database: brought into line with the results, listed, counted.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::json;
use sqlx::AssertSqlSafe;

use super::{Episode, KeyCaseState};
use crate::{
    clock::Time,
    db::{
        DbError, DbResult, Tx,
        rows::{self, Rows},
    },
    estate::{Cohort, KeyResult},
    ids::{DeviceId, Mpan},
    sql,
};

/// One row of `keys list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyCase {
    pub device_id: DeviceId,
    pub mpan: Option<Mpan>,
    pub cohort: Option<Cohort>,
    pub state: KeyCaseState,
    pub attempts: i64,
    pub first_seen: Time,
    pub last_attempt: Option<Time>,
    pub next_attempt: Option<Time>,
    pub last_error: Option<String>,
    pub incident: Option<String>,
}

/// Devices whose case may differ from what their results say: those whose latest result is no success, and those with an
/// open case. (Read-only; what it gives is passed to [`reconcile`] in groups.)
pub async fn candidates(tx: &mut Tx) -> DbResult<Vec<DeviceId>> {
    let ids: Vec<i64> = sql!(tx, c => sqlx::query_scalar(
        "select device_id from key_results k where status <> 'updated'
            and attempted_at = (select max(attempted_at) from key_results x where x.device_id = k.device_id)
         union select device_id from key_cases where state in ('retrying', 'investigating') order by 1")
        .fetch_all(c).await)?;
    Ok(ids.into_iter().map(DeviceId::from_db).collect())
}

/// What `reconcile` did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reconciled {
    pub opened: u64,
    pub resolved: u64,
    pub updated: u64,
}

/// Brings the cases of `devices` into line with their results. A site known to be of a cohort that needs no key from the
/// tool gets no case (L§12), unless DCC itself said that its key is missing. A case that has ended is not opened again by what
/// was known then. Doing it twice changes nothing.
pub async fn reconcile(tx: &mut Tx, devices: &[DeviceId], tool_cohorts: &[Cohort]) -> DbResult<Reconciled> {
    let mut done = Reconciled::default();
    if devices.is_empty() {
        return Ok(done);
    }
    let histories = histories(tx, devices).await?;
    let open = open_cases(tx, devices).await?;
    let cohorts = cohorts(tx, devices).await?;
    let told = told_by_dcc(tx, devices).await?;
    let ended = ended_cases(tx, devices).await?;
    let (mut inserts, mut updates) = (Rows::default(), Rows::default());
    for device in devices {
        let Some(episode) = histories.get(device).and_then(|h| Episode::latest(h)) else { continue };
        let values = |first| {
            json!([
                first,
                episode.state.as_str(),
                episode.attempts,
                episode.first_seen.0,
                episode.last_attempt.0,
                episode.last_error,
                (!episode.state.is_open()).then_some(episode.last_attempt.0)
            ])
        };
        match open.get(device) {
            Some(case) if case.1 == episode.state && case.2 == episode.attempts => {}
            Some(case) => {
                // An operator's investigation goes on until the key comes.
                updates.push(values(case.0));
                if episode.state == KeyCaseState::Resolved { done.resolved += 1 } else { done.updated += 1 }
            }
            None if !episode.state.is_open() || ended.get(device).is_some_and(|at| *at >= episode.last_attempt) => {}
            None if told.contains(device) || cohorts.get(device).is_none_or(|c| tool_cohorts.contains(c)) => {
                inserts.push(values(device.to_db()));
                done.opened += 1;
            }
            None => {}
        }
    }
    write(tx, inserts, updates).await?;
    Ok(done)
}

async fn write(tx: &mut Tx, inserts: Rows, updates: Rows) -> DbResult<()> {
    const COLUMNS: [(&str, &str); 7] = [
        ("key", "int"),
        ("state", "text"),
        ("attempts", "int"),
        ("first_seen", "int"),
        ("last_attempt", "int"),
        ("last_error", "text"),
        ("ended_at", "int"),
    ];
    let v = rows::table(tx, 1, &COLUMNS);
    if !inserts.is_empty() {
        let sql = format!(
            "insert into key_cases (device_id, state, attempts, first_seen, last_attempt, last_error, ended_at)
             select v.key, v.state, v.attempts, v.first_seen, v.last_attempt, v.last_error, v.ended_at from {v} where true
             on conflict do nothing"
        );
        sql!(&mut *tx, c => sqlx::query(AssertSqlSafe(sql)).bind(inserts.to_json()).execute(c).await?.rows_affected());
    }
    if !updates.is_empty() {
        let sql = format!(
            "update key_cases set state = case when key_cases.state = 'investigating' and v.state = 'retrying' then 'investigating' else v.state end,
                    attempts = v.attempts, last_attempt = v.last_attempt, last_error = v.last_error, ended_at = v.ended_at
             from {v} where key_cases.id = v.key"
        );
        sql!(&mut *tx, c => sqlx::query(AssertSqlSafe(sql)).bind(updates.to_json()).execute(c).await?.rows_affected());
    }
    Ok(())
}

/// The devices' key works: DCC activated firmware on them. Their open cases are resolved.
pub async fn resolve_activated(tx: &mut Tx, devices: &[DeviceId], now: Time) -> DbResult<u64> {
    let (ids, among) = rows::integers(tx, 2, devices.iter().map(|d| d.to_db()));
    let sql = format!(
        "update key_cases set state = 'resolved', ended_at = $1 where state in ('retrying', 'investigating') and device_id {among}"
    );
    Ok(sql!(tx, c => sqlx::query(AssertSqlSafe(sql)).bind(now.0).bind(ids).execute(c).await?.rows_affected()))
}

async fn histories(tx: &mut Tx, devices: &[DeviceId]) -> DbResult<BTreeMap<DeviceId, Vec<KeyResult>>> {
    let (ids, among) = rows::integers(tx, 1, devices.iter().map(|d| d.to_db()));
    let sql = format!(
        "select device_id, attempted_at, status, detail from key_results where device_id {among} order by device_id, attempted_at"
    );
    let found: Vec<(i64, i64, String, Option<String>)> =
        sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(ids).fetch_all(c).await)?;
    let mut histories: BTreeMap<DeviceId, Vec<KeyResult>> = BTreeMap::new();
    for (device, at, status, detail) in found {
        let device_id = DeviceId::from_db(device);
        let status = status.parse().map_err(|_| DbError::bad_row("key_results", device_id, "status", &status))?;
        histories.entry(device_id).or_default().push(KeyResult { device_id, attempted_at: Time(at), status, detail });
    }
    Ok(histories)
}

async fn open_cases(tx: &mut Tx, devices: &[DeviceId]) -> DbResult<BTreeMap<DeviceId, (i64, KeyCaseState, i64)>> {
    let (ids, among) = rows::integers(tx, 1, devices.iter().map(|d| d.to_db()));
    let sql = format!(
        "select device_id, id, state, attempts from key_cases where state in ('retrying', 'investigating') and device_id {among} order by device_id"
    );
    let found: Vec<(i64, i64, String, i64)> = sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(ids).fetch_all(c).await)?;
    found
        .into_iter()
        .map(|(device, id, state, attempts)| {
            Ok((
                DeviceId::from_db(device),
                (id, state.parse().map_err(|_| DbError::bad_row("key_cases", id, "state", &state))?, attempts),
            ))
        })
        .collect()
}

/// Those of whose results one came in a message from DCC.
async fn told_by_dcc(tx: &mut Tx, devices: &[DeviceId]) -> DbResult<BTreeSet<DeviceId>> {
    let (ids, among) = rows::integers(tx, 1, devices.iter().map(|d| d.to_db()));
    let sql =
        format!("select distinct device_id from key_results where source = 'message' and device_id {among} order by device_id");
    let found: Vec<i64> = sql!(tx, c => sqlx::query_scalar(AssertSqlSafe(sql)).bind(ids).fetch_all(c).await)?;
    Ok(found.into_iter().map(DeviceId::from_db).collect())
}

/// When the last case of each that ended did so.
async fn ended_cases(tx: &mut Tx, devices: &[DeviceId]) -> DbResult<BTreeMap<DeviceId, Time>> {
    let (ids, among) = rows::integers(tx, 1, devices.iter().map(|d| d.to_db()));
    let sql = format!(
        "select device_id, max(ended_at) from key_cases where ended_at is not null and device_id {among}
         group by device_id order by device_id"
    );
    let found: Vec<(i64, i64)> = sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(ids).fetch_all(c).await)?;
    Ok(found.into_iter().map(|(d, at)| (DeviceId::from_db(d), Time(at))).collect())
}

async fn cohorts(tx: &mut Tx, devices: &[DeviceId]) -> DbResult<BTreeMap<DeviceId, Cohort>> {
    let (ids, among) = rows::integers(tx, 1, devices.iter().map(|d| d.to_db()));
    let sql = format!("select device_id, cohort from sites where device_id {among} order by device_id");
    let found: Vec<(i64, String)> = sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(ids).fetch_all(c).await)?;
    found
        .into_iter()
        .map(|(d, cohort)| {
            Ok((DeviceId::from_db(d), cohort.parse().map_err(|_| DbError::bad_row("sites", d, "cohort", &cohort))?))
        })
        .collect()
}

type CaseRow =
    (i64, i64, Option<i64>, Option<String>, String, i64, i64, Option<i64>, Option<i64>, Option<String>, Option<String>);

/// A page of cases by id, oldest first; `state` narrows it. Gives the id to go on from.
pub async fn list(tx: &mut Tx, state: Option<KeyCaseState>, after: i64, limit: usize) -> DbResult<(Vec<KeyCase>, Option<i64>)> {
    let found: Vec<CaseRow> = sql!(tx, c => sqlx::query_as(
        "select k.id, k.device_id, s.mpan, s.cohort, k.state, k.attempts, k.first_seen, k.last_attempt, k.next_attempt, k.last_error, k.incident
         from key_cases k left join sites s on s.device_id = k.device_id
         where k.id > $1 and ($2 = '' or k.state = $2) order by k.id limit $3")
        .bind(after).bind(state.map_or("", KeyCaseState::as_str)).bind(limit as i64).fetch_all(c).await)?;
    let next = (found.len() == limit).then(|| found.last().map(|r| r.0)).flatten();
    let cases = found
        .into_iter()
        .map(|(id, device, mpan, cohort, state, attempts, first, last, next, error, incident)| {
            let bad = |column, found: &str| DbError::bad_row("key_cases", id, column, found);
            Ok(KeyCase {
                device_id: DeviceId::from_db(device),
                mpan: mpan.map(Mpan::from_db),
                cohort: cohort.map(|c| c.parse().map_err(|_| bad("cohort", &c))).transpose()?,
                state: state.parse().map_err(|_| bad("state", &state))?,
                attempts,
                first_seen: Time(first),
                last_attempt: last.map(Time),
                next_attempt: next.map(Time),
                last_error: error,
                incident,
            })
        })
        .collect::<DbResult<Vec<_>>>()?;
    Ok((cases, next))
}

/// How many cases are in each state, of everybody or of the members of a plan.
pub async fn count_by_state(tx: &mut Tx, members_of: Option<i64>) -> DbResult<BTreeMap<KeyCaseState, i64>> {
    // Of one device only the latest case counts for a plan.
    let found: Vec<(String, i64)> = match members_of {
        None => {
            sql!(tx, c => sqlx::query_as("select state, count(*) from key_cases group by state order by state").fetch_all(c).await)?
        }
        Some(plan) => sql!(tx, c => sqlx::query_as(
            "select k.state, count(*) from key_cases k join targets t on t.plan_id = $1 and t.device_id = k.device_id
             where t.state <> 'ineligible' and k.id = (select max(x.id) from key_cases x where x.device_id = k.device_id)
             group by k.state order by k.state")
            .bind(plan).fetch_all(c).await)?,
    };
    let mut counts: BTreeMap<KeyCaseState, i64> = KeyCaseState::ALL.iter().map(|s| (*s, 0)).collect();
    for (state, n) in found {
        counts.insert(state.parse().map_err(|_| DbError::bad_row("key_cases", "count", "state", &state))?, n);
    }
    Ok(counts)
}

/// Cases by state and cohort (`None` where the site is not known): for `keys stats`.
pub async fn count_by_cohort(tx: &mut Tx) -> DbResult<Vec<(Option<String>, String, i64)>> {
    Ok(sql!(tx, c => sqlx::query_as(
        "select s.cohort, k.state, count(*) from key_cases k left join sites s on s.device_id = k.device_id
         group by s.cohort, k.state order by s.cohort, k.state").fetch_all(c).await)?)
}

/// How many devices the transitional tool handled (L§13: the population of the 0.3%).
pub async fn tool_population(tx: &mut Tx) -> DbResult<i64> {
    Ok(
        sql!(tx, c => sqlx::query_scalar("select count(distinct device_id) from key_results where source = 'import'").fetch_one(c).await)?,
    )
}
