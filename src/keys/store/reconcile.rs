//! Brings key cases into line with the history of results: opens, moves on and ends them, keeps their timetable and their attempts.
//! Promise: doing it twice changes nothing, and a case that has ended is not opened again by what was known then.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use sqlx::AssertSqlSafe;

use super::{execute, facts::copy_of, resubmit};
use crate::{
    clock::Time,
    db::{
        DbError, DbResult, Tx,
        rows::{self, Rows},
    },
    estate::{Cohort, KeyResult, KeyStatus},
    ids::DeviceId,
    keys::{AttemptKind, Episode, KeyCaseState, SoFar, due},
    policy::PolicySet,
    sql,
};

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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reconciled {
    pub opened: Vec<Brief>,
    /// Cases that were being retried, and of which a result says that they want investigation.
    pub investigated: Vec<Brief>,
    /// Devices whose key came.
    pub resolved: Vec<DeviceId>,
    /// Cases that are otherwise not as they were.
    pub updated: u64,
}

/// A case in a few words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brief {
    pub device: DeviceId,
    pub state: KeyCaseState,
    pub attempts: i64,
    pub last_error: Option<String>,
}

/// A device's case that stands open.
#[derive(Debug, Clone, PartialEq, Eq)]
struct OpenCase {
    id: i64,
    state: KeyCaseState,
    opened_at: Time,
    attempts: i64,
    last_attempt: Option<i64>,
    last_error: Option<String>,
    next_attempt: Option<i64>,
    gives_up_at: Option<i64>,
    retry_at: Option<Time>,
    cohort: Option<Cohort>,
}

/// What a case is to be.
struct Wanted {
    state: KeyCaseState,
    next_attempt: Option<i64>,
    gives_up_at: Option<i64>,
}

/// Everything about the devices of one call.
struct Known {
    results: BTreeMap<DeviceId, Vec<(KeyResult, AttemptKind)>>,
    open: BTreeMap<DeviceId, OpenCase>,
    /// When the device's last case that ended did so, and its number.
    ended: BTreeMap<DeviceId, (Time, i64)>,
    cohorts: BTreeMap<DeviceId, Cohort>,
    /// When a re-run was asked for, of cases on an open request.
    asked: BTreeMap<i64, Time>,
    /// When the site of an open case was sent again without its key, oldest first, and whether it is still out.
    sent: BTreeMap<i64, Vec<(Time, bool)>>,
}

/// Brings the cases of `devices` into line with their results, under these policies. A site known to be of a cohort that needs no key
/// from the tool gets no case (L§12), unless DCC itself, or a person, said that its key is missing.
pub async fn reconcile(tx: &mut Tx, devices: &[DeviceId], policies: &PolicySet, now: Time) -> DbResult<Reconciled> {
    let mut done = Reconciled::default();
    let mut left = devices.to_vec();
    while !left.is_empty() {
        left = reconcile_once(tx, &left, policies, now, &mut done).await?;
    }
    Ok(done)
}

/// Gives those whose case ended with a success after which they failed again: that is another case.
async fn reconcile_once(
    tx: &mut Tx,
    devices: &[DeviceId],
    policies: &PolicySet,
    now: Time,
    done: &mut Reconciled,
) -> DbResult<Vec<DeviceId>> {
    let known = Known::fetch(tx, devices).await?;
    let (mut inserts, mut updates, mut attempts) = (Rows::default(), Rows::default(), Rows::default());
    let (mut touched, mut new, mut relapsed) = (Vec::new(), Vec::new(), Vec::new());
    for device in devices {
        let ended = known.ended.get(device);
        let since = |r: &&(KeyResult, AttemptKind)| ended.is_none_or(|(at, _)| r.0.attempted_at > *at);
        let mut all: Vec<&(KeyResult, AttemptKind)> = known.results.get(device).into_iter().flatten().filter(since).collect();
        if let Some(came) = known.open.get(device).and_then(|case| success_after(&all, case.last_attempt)) {
            let later = all.split_off(came + 1);
            if later.iter().any(|(result, _)| result.status != KeyStatus::Updated) {
                relapsed.push(*device);
            }
        }
        let history: Vec<KeyResult> = all.iter().map(|r| r.0.clone()).collect();
        let Some(episode) = Episode::latest(&history) else { continue };
        let (case, cohort) = (known.open.get(device), known.cohorts.get(device).copied());
        if case.is_none() {
            let said = all.iter().any(|(_, kind)| *kind != AttemptKind::Result);
            let needs = said || cohort.is_none_or(|c| policies.eligibility.cohort(c).needs_tool_key);
            if !episode.state.is_open() || !needs {
                continue;
            }
        }
        let sent = case.and_then(|c| known.sent.get(&c.id)).map_or(&[][..], Vec::as_slice);
        let over: Vec<Time> = sent.iter().filter(|(_, out)| !out).map(|(at, _)| *at).collect();
        let episode = episode.with_resubmissions(&history, &over);
        let wanted = wanted(policies, *device, &episode, cohort, case, &known, now);
        let values = |key: i64| {
            json!([
                key,
                wanted.state.as_str(),
                episode.attempts,
                episode.first_seen.0,
                episode.last_attempt.0,
                episode.last_error,
                (!wanted.state.is_open()).then_some(episode.last_attempt.0),
                wanted.next_attempt,
                wanted.gives_up_at,
                cohort.map(Cohort::as_str),
                ended.map(|(_, id)| *id),
            ])
        };
        let (state, last_error) = (wanted.state, episode.last_error.clone());
        let brief = Brief { device: *device, state, attempts: episode.attempts, last_error };
        match case {
            Some(case) if case.is(&wanted, &episode, cohort) => continue,
            Some(case) => {
                updates.push(values(case.id));
                match (case.state, state) {
                    (_, KeyCaseState::Resolved) => done.resolved.push(*device),
                    (KeyCaseState::Retrying, KeyCaseState::Investigating) => done.investigated.push(brief),
                    _ => done.updated += 1,
                }
            }
            None => {
                inserts.push(values(device.to_db()));
                done.opened.push(brief);
                new.push(*device);
            }
        }
        touched.push(*device);
        for (result, kind) in all.iter().filter(|r| r.0.attempted_at >= episode.first_seen) {
            let (at, outcome) = (result.attempted_at.0, result.status.as_str());
            attempts.push(json!([device.to_db(), at, kind.as_str(), outcome, result.detail]));
        }
    }
    write(tx, inserts, updates, now).await?;
    copy_of(tx, &new, now.london_day()).await?;
    write_attempts(tx, attempts).await?;
    answer_requests(tx, &touched, now).await?;
    Ok(relapsed)
}

/// The place of the first success that is news to a case: it ends it, whatever else the same file tells.
fn success_after(results: &[&(KeyResult, AttemptKind)], last_attempt: Option<i64>) -> Option<usize> {
    results.iter().position(|(r, _)| r.status == KeyStatus::Updated && last_attempt.is_none_or(|last| r.attempted_at.0 > last))
}

/// The case's state and timetable as its results and the policy would have them.
fn wanted(
    policies: &PolicySet,
    device: DeviceId,
    episode: &Episode,
    cohort: Option<Cohort>,
    case: Option<&OpenCase>,
    known: &Known,
    now: Time,
) -> Wanted {
    // An investigation goes on until the key comes.
    let investigated = case.is_some_and(|c| c.state == KeyCaseState::Investigating);
    let state = if investigated && episode.state == KeyCaseState::Retrying { KeyCaseState::Investigating } else { episode.state };
    if !state.is_open() {
        return Wanted { state, next_attempt: None, gives_up_at: None };
    }
    let asked = case.and_then(|c| known.asked.get(&c.id)).filter(|at| episode.last_attempt < **at);
    let lapses = asked.map(|at| at.plus_millis(policies.retry.answer_within.millis()));
    let by_hand = case.and_then(|c| c.retry_at);
    if state == KeyCaseState::Investigating {
        return Wanted { state, next_attempt: by_hand.map(|t| t.0), gives_up_at: None };
    }
    // What is out is waited for; it is counted when it is over, or answered.
    let out = case.and_then(|c| known.sent.get(&c.id)?.iter().find(|(_, out)| *out)).map(|(at, _)| *at);
    let so_far = SoFar {
        opened_at: case.map_or(now, |c| c.opened_at),
        last_attempt: out.map_or(episode.last_attempt, |at| at.max(episode.last_attempt)),
        attempts: episode.attempts,
    };
    let rule = policies.retry.rule(cohort, episode.last_error.as_deref());
    let due = due(rule, &so_far, device.to_db() as u64);
    let next = match (by_hand, lapses) {
        (Some(at), _) => Some(at),
        (None, Some(lapses)) => due.next.map(|next| next.max(lapses)),
        (None, None) => due.next,
    };
    Wanted { state, next_attempt: next.map(|t| t.0), gives_up_at: Some(due.gives_up_at.0) }
}

impl OpenCase {
    fn is(&self, wanted: &Wanted, episode: &Episode, cohort: Option<Cohort>) -> bool {
        self.state == wanted.state
            && self.attempts == episode.attempts
            && self.last_attempt == Some(episode.last_attempt.0)
            && self.last_error == episode.last_error
            && self.next_attempt == wanted.next_attempt
            && self.gives_up_at == wanted.gives_up_at
            && self.cohort == cohort
    }
}

async fn write(tx: &mut Tx, inserts: Rows, updates: Rows, now: Time) -> DbResult<()> {
    const COLUMNS: [(&str, &str); 11] = [
        ("key", "int"),
        ("state", "text"),
        ("attempts", "int"),
        ("first_seen", "int"),
        ("last_attempt", "int"),
        ("last_error", "text"),
        ("ended_at", "int"),
        ("next_attempt", "int"),
        ("gives_up_at", "int"),
        ("cohort", "text"),
        ("previous", "int"),
    ];
    let v = rows::table(tx, 1, &COLUMNS);
    if !inserts.is_empty() {
        let sql = format!(
            "insert into key_cases (device_id, state, attempts, first_seen, last_attempt, last_error, ended_at, next_attempt, gives_up_at,
                                    cohort, previous, opened_at)
             select v.key, v.state, v.attempts, v.first_seen, v.last_attempt, v.last_error, v.ended_at, v.next_attempt, v.gives_up_at,
                    v.cohort, v.previous, $2 from {v} where true on conflict do nothing"
        );
        sql!(&mut *tx, c => sqlx::query(AssertSqlSafe(sql)).bind(inserts.to_json()).bind(now.0).execute(c).await.map(|_| ()))?;
    }
    if !updates.is_empty() {
        let sql = format!(
            "update key_cases set state = v.state, attempts = v.attempts, last_attempt = v.last_attempt, last_error = v.last_error,
                    ended_at = v.ended_at, next_attempt = v.next_attempt, gives_up_at = v.gives_up_at, cohort = v.cohort,
                    first_seen = case when v.first_seen < key_cases.first_seen then v.first_seen else key_cases.first_seen end,
                    retry_at = case when v.ended_at is null then retry_at end
             from {v} where key_cases.id = v.key"
        );
        execute(tx, sql, &updates).await?;
    }
    Ok(())
}

/// One row an attempt, under the device's latest case.
async fn write_attempts(tx: &mut Tx, attempts: Rows) -> DbResult<()> {
    if attempts.is_empty() {
        return Ok(());
    }
    let columns = [("device", "int"), ("at", "int"), ("kind", "text"), ("outcome", "text"), ("detail", "text")];
    let v = rows::table(tx, 1, &columns);
    let sql = format!(
        "insert into key_attempts (case_id, at, kind, outcome, detail)
         select (select max(k.id) from key_cases k where k.device_id = v.device), v.at, v.kind, v.outcome, v.detail from {v} where true
         on conflict (case_id, at, kind) do update set outcome = excluded.outcome, detail = excluded.detail"
    );
    execute(tx, sql, &attempts).await
}

/// A result that is later than a re-run was asked for answers that.
async fn answer_requests(tx: &mut Tx, devices: &[DeviceId], now: Time) -> DbResult<()> {
    let (ids, among) = rows::integers(tx, 2, devices.iter().map(|d| d.to_db()));
    let sql = format!(
        "update key_requests set ended_at = $1, outcome = coalesce((select r.status from key_results r
              where r.device_id = key_requests.device_id and r.attempted_at > key_requests.requested_at order by r.attempted_at desc limit 1), 'withdrawn')
         where ended_at is null and device_id {among}
           and exists (select 1 from key_cases k where k.id = key_requests.case_id
                       and (k.last_attempt > key_requests.requested_at or k.ended_at is not null))"
    );
    sql!(&mut *tx, c => sqlx::query(AssertSqlSafe(sql)).bind(now.0).bind(ids).execute(c).await.map(|_| ()))?;
    Ok(())
}

impl Known {
    async fn fetch(tx: &mut Tx, devices: &[DeviceId]) -> DbResult<Known> {
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

/// When the device's cases that ended did so last, and the number of the latest.
async fn ended(tx: &mut Tx, devices: &[DeviceId]) -> DbResult<BTreeMap<DeviceId, (Time, i64)>> {
    let (ids, among) = rows::integers(tx, 1, devices.iter().map(|d| d.to_db()));
    let sql = format!(
        "select device_id, max(ended_at), max(id) from key_cases where ended_at is not null and device_id {among}
         group by device_id order by device_id"
    );
    let found: Vec<(i64, i64, i64)> = sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(ids).fetch_all(c).await)?;
    Ok(found.into_iter().map(|(d, at, id)| (DeviceId::from_db(d), (Time(at), id))).collect())
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

/// The devices' key works: DCC activated firmware on them. Their open cases are resolved; gives whose.
pub async fn resolve_activated(tx: &mut Tx, devices: &[DeviceId], now: Time) -> DbResult<Vec<DeviceId>> {
    let (ids, among) = rows::integers(tx, 2, devices.iter().map(|d| d.to_db()));
    let sql = format!(
        "update key_cases set state = 'resolved', ended_at = $1, next_attempt = null, gives_up_at = null, retry_at = null
         where state in ('retrying', 'investigating') and device_id {among} returning id, device_id"
    );
    let ended: Vec<(i64, i64)> =
        sql!(&mut *tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(now.0).bind(ids).fetch_all(c).await)?;
    let (ids, among) = rows::integers(tx, 2, ended.iter().map(|(id, _)| *id));
    let sql = format!(
        "insert into key_events (case_id, at, who, kind, text)
         select k.id, $1, 'engine', 'resolve', 'firmware was activated on the device' from key_cases k where k.id {among} order by k.id"
    );
    sql!(&mut *tx, c => sqlx::query(AssertSqlSafe(sql)).bind(now.0).bind(ids).execute(c).await.map(|_| ()))?;
    resubmit::activated(tx, devices, now).await?;
    let unique: BTreeSet<DeviceId> = devices.iter().copied().collect();
    answer_requests(tx, &unique.into_iter().collect::<Vec<_>>(), now).await?;
    let mut whose: Vec<DeviceId> = ended.into_iter().map(|(_, device)| DeviceId::from_db(device)).collect();
    whose.sort_unstable();
    Ok(whose)
}

/// Says of results that came in messages which message each was of: `(device, moment, message)`.
pub async fn came_in(tx: &mut Tx, messages: &[(DeviceId, Time, i64)]) -> DbResult<()> {
    if messages.is_empty() {
        return Ok(());
    }
    let rows: Rows = messages.iter().map(|(d, at, message)| json!([d.to_db(), at.0, message])).collect();
    let v = rows::table(tx, 1, &[("device", "int"), ("at", "int"), ("message", "int")]);
    let sql = format!(
        "update key_attempts set message_id = v.message from {v} where key_attempts.at = v.at and key_attempts.kind = 'message'
            and key_attempts.case_id in (select k.id from key_cases k where k.device_id = v.device)"
    );
    execute(tx, sql, &rows).await
}
