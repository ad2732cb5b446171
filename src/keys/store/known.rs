//! What the database knows of some devices before their cases are brought into line: results, cases, cohorts, what was asked and sent.

use std::collections::BTreeMap;

use sqlx::AssertSqlSafe;

use super::resubmit;
use crate::{
    clock::Time,
    db::{DbError, DbResult, Tx, rows},
    estate::{Cohort, KeyResult},
    ids::DeviceId,
    keys::{AttemptKind, KeyCaseState},
    sql,
};

/// A device's case that stands open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OpenCase {
    pub id: i64,
    pub state: KeyCaseState,
    pub opened_at: Time,
    pub attempts: i64,
    pub last_attempt: Option<i64>,
    pub last_error: Option<String>,
    pub next_attempt: Option<i64>,
    pub gives_up_at: Option<i64>,
    pub retry_at: Option<Time>,
    pub cohort: Option<Cohort>,
}

/// Why the program itself closes a case: its site turned out to be of a cohort that needs no key from the tool.
pub(super) const NEEDLESS: &str = "its cohort needs no key from the tool";

/// The cases of a device that ended.
pub(super) struct Ended {
    /// When the last did so: results of until then are dealt with.
    pub at: Option<Time>,
    /// Of the latest.
    pub last_error: Option<String>,
}

/// Everything about the devices of one call.
pub(super) struct Known {
    pub results: BTreeMap<DeviceId, Vec<(KeyResult, AttemptKind)>>,
    pub open: BTreeMap<DeviceId, OpenCase>,
    pub ended: BTreeMap<DeviceId, Ended>,
    pub cohorts: BTreeMap<DeviceId, Cohort>,
    /// When a re-run was asked for, of cases on an open request.
    pub asked: BTreeMap<i64, Time>,
    /// When the site of an open case was sent again without its key, oldest first, and whether it is still out.
    pub sent: BTreeMap<i64, Vec<(Time, bool)>>,
}

impl Known {
    pub async fn fetch(tx: &mut Tx, devices: &[DeviceId]) -> DbResult<Known> {
        let open = open_cases(tx, devices).await?;
        let (asked, sent) = (asked(tx, devices).await?, resubmit::sent(tx, devices).await?);
        Ok(Known {
            results: results(tx, devices).await?,
            open,
            ended: ended(tx, devices).await?,
            cohorts: cohorts(tx, devices).await?,
            asked,
            sent,
        })
    }
}

async fn results(tx: &mut Tx, devices: &[DeviceId]) -> DbResult<BTreeMap<DeviceId, Vec<(KeyResult, AttemptKind)>>> {
    let (ids, among) = rows::integers(tx, 1, devices.iter().map(|d| d.to_db()));
    let sql = format!(
        "select device_id, attempted_at, status, detail, source from key_results where device_id {among}
         order by device_id, attempted_at"
    );
    let found: Vec<(i64, i64, String, Option<String>, String)> =
        sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(ids).fetch_all(c).await)?;
    let mut histories: BTreeMap<DeviceId, Vec<(KeyResult, AttemptKind)>> = BTreeMap::new();
    for (device, at, status, detail, source) in found {
        let device_id = DeviceId::from_db(device);
        let status = status.parse().map_err(|_| DbError::bad_row("key_results", device_id, "status", &status))?;
        let kind = match source.as_str() {
            "import" => AttemptKind::Result,
            "message" => AttemptKind::Message,
            _ => AttemptKind::Hand,
        };
        histories.entry(device_id).or_default().push((KeyResult { device_id, attempted_at: Time(at), status, detail }, kind));
    }
    Ok(histories)
}

type OpenRow =
    (i64, i64, String, Option<i64>, i64, i64, Option<i64>, Option<String>, Option<i64>, Option<i64>, Option<i64>, Option<String>);

async fn open_cases(tx: &mut Tx, devices: &[DeviceId]) -> DbResult<BTreeMap<DeviceId, OpenCase>> {
    let (ids, among) = rows::integers(tx, 1, devices.iter().map(|d| d.to_db()));
    let sql = format!(
        "select device_id, id, state, opened_at, first_seen, attempts, last_attempt, last_error, next_attempt, gives_up_at, retry_at, cohort
         from key_cases where state in ('retrying', 'investigating') and device_id {among} order by device_id"
    );
    let found: Vec<OpenRow> = sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(ids).fetch_all(c).await)?;
    let one = |row: OpenRow| {
        let (device, id, state, opened, first, attempts, last_attempt, last_error, next_attempt, gives_up_at, retry_at, cohort) =
            row;
        let bad = |column, found: &str| DbError::bad_row("key_cases", id, column, found);
        let case = OpenCase {
            id,
            state: state.parse().map_err(|_| bad("state", &state))?,
            opened_at: Time(opened.unwrap_or(first)),
            attempts,
            last_attempt,
            last_error,
            next_attempt,
            gives_up_at,
            retry_at: retry_at.map(Time),
            cohort: cohort.map(|c| c.parse().map_err(|_| bad("cohort", &c))).transpose()?,
        };
        Ok((DeviceId::from_db(device), case))
    };
    found.into_iter().map(one).collect()
}

/// The cases of a device that ended. One that its cohort never needed has heard nothing: its results count anew if that turns out otherwise.
async fn ended(tx: &mut Tx, devices: &[DeviceId]) -> DbResult<BTreeMap<DeviceId, Ended>> {
    let (ids, among) = rows::integers(tx, 1, devices.iter().map(|d| d.to_db()));
    let sql = format!(
        "select e.device_id, e.at, k.last_error from (select device_id, max(id) as id,
             max(case when closed_reason = '{NEEDLESS}' then null else ended_at end) as at
           from key_cases where ended_at is not null and device_id {among} group by device_id) e
         join key_cases k on k.id = e.id order by e.device_id"
    );
    let found: Vec<(i64, Option<i64>, Option<String>)> =
        sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(ids).fetch_all(c).await)?;
    Ok(found.into_iter().map(|(d, at, last_error)| (DeviceId::from_db(d), Ended { at: at.map(Time), last_error })).collect())
}

async fn asked(tx: &mut Tx, devices: &[DeviceId]) -> DbResult<BTreeMap<i64, Time>> {
    let (ids, among) = rows::integers(tx, 1, devices.iter().map(|d| d.to_db()));
    let sql = format!(
        "select q.case_id, q.requested_at from key_requests q join key_cases k on k.id = q.case_id
         where q.ended_at is null and q.batch_id is null and k.device_id {among} order by q.case_id"
    );
    let found: Vec<(i64, i64)> = sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(ids).fetch_all(c).await)?;
    Ok(found.into_iter().map(|(id, at)| (id, Time(at))).collect())
}

async fn cohorts(tx: &mut Tx, devices: &[DeviceId]) -> DbResult<BTreeMap<DeviceId, Cohort>> {
    let (ids, among) = rows::integers(tx, 1, devices.iter().map(|d| d.to_db()));
    let sql = format!("select device_id, cohort from sites where device_id {among} order by device_id");
    let found: Vec<(i64, String)> = sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(ids).fetch_all(c).await)?;
    let cohort =
        |(d, c): (i64, String)| Ok((DeviceId::from_db(d), c.parse().map_err(|_| DbError::bad_row("sites", d, "cohort", &c))?));
    found.into_iter().map(cohort).collect()
}
