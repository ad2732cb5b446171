//! Brings key cases into line with the history of results: opens, moves on and ends them, keeps their timetable and their attempts.
//! Promise: doing it twice changes nothing, and a case that has ended is not opened again by what was known then.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use super::{
    act, execute,
    facts::copy_of,
    known::{Known, NEEDLESS, OpenCase},
    resubmit,
};
use crate::{
    clock::Time,
    db::{
        DbResult, Tx,
        rows::{self, Rows},
    },
    estate::{Cohort, KeyResult},
    ids::DeviceId,
    keys::{AttemptKind, CaseVerb, Episode, KeyCaseState, SoFar, due, episodes},
    policy::PolicySet,
    sql,
};

/// Devices whose cases may differ from what their results say: those with a failure that is later than the end of any case, and those with
/// an open case. (Read-only; what it gives is passed to [`reconcile`] in groups.)
pub async fn candidates(tx: &mut Tx) -> DbResult<Vec<DeviceId>> {
    let sql = format!(
        "select device_id from key_results k where status <> 'updated' and not exists (
             select 1 from key_cases c where c.device_id = k.device_id and c.ended_at >= k.attempted_at
                and coalesce(c.closed_reason, '') <> '{NEEDLESS}')
         union select device_id from key_cases where state in ('retrying', 'investigating') order by 1"
    );
    let ids: Vec<i64> = sql!(tx, c => sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(c).await)?;
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
    /// Cases kept although they were over before anybody heard of them.
    pub past: u64,
    /// Devices whose open case ended because their cohort needs no key from the tool.
    pub needless: Vec<DeviceId>,
}

/// A case in a few words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brief {
    pub device: DeviceId,
    pub state: KeyCaseState,
    pub attempts: i64,
    pub last_error: Option<String>,
}

/// What a case is to be.
struct Wanted {
    state: KeyCaseState,
    next_attempt: Option<i64>,
    gives_up_at: Option<i64>,
}

/// What is written at once: of each device at most one case, the next in order of time.
#[derive(Default)]
struct Round {
    inserts: Rows,
    updates: Rows,
    attempts: Rows,
}

/// What is to be written, and what that does.
#[derive(Default)]
struct Changes {
    rounds: Vec<Round>,
    /// Open cases that their cohort never needed.
    needless: Vec<i64>,
    /// Devices with a new case, and all whose cases change.
    new: Vec<DeviceId>,
    touched: Vec<DeviceId>,
    done: Reconciled,
}

type Said = (KeyResult, AttemptKind);

/// Brings the cases of `devices` into line with their results, under these policies. A site known to be of a cohort that needs no key
/// from the tool has no case (L§12), unless DCC itself, or a person, said that its key is missing.
pub async fn reconcile(tx: &mut Tx, devices: &[DeviceId], policies: &PolicySet, now: Time) -> DbResult<Reconciled> {
    let unique: BTreeSet<DeviceId> = devices.iter().copied().collect();
    let devices: Vec<DeviceId> = unique.into_iter().collect();
    let known = Known::fetch(tx, &devices).await?;
    let mut changes = Changes::default();
    for device in &devices {
        changes.of_device(*device, &known, policies, now);
    }
    let Changes { rounds, needless, new, touched, done } = changes;
    if !needless.is_empty() {
        act::close(tx, &needless, NEEDLESS, now).await?;
        act::note(tx, &needless, CaseVerb::Close, NEEDLESS, "engine", now).await?;
    }
    for Round { inserts, updates, attempts } in rounds {
        write(tx, inserts, updates, now).await?;
        write_attempts(tx, attempts).await?;
    }
    copy_of(tx, &new, now.london_day()).await?;
    answer_requests(tx, &touched, now).await?;
    Ok(done)
}

impl Changes {
    fn of_device(&mut self, device: DeviceId, known: &Known, policies: &PolicySet, now: Time) {
        let (ended, cohort) = (known.ended.get(&device), known.cohorts.get(&device).copied());
        let since = |r: &&Said| ended.and_then(|e| e.at).is_none_or(|at| r.0.attempted_at > at);
        let all: Vec<&Said> = known.results.get(&device).into_iter().flatten().filter(since).collect();
        let history: Vec<KeyResult> = all.iter().map(|said| by_the_tool(said)).collect();
        let (mut open, mut round) = (known.open.get(&device), 0);
        let mut last_error = ended.and_then(|e| e.last_error.clone());
        for these in episodes(&history, open.map(|c| Time(c.last_attempt.unwrap_or(i64::MIN)))) {
            let (case, results) = (open.take(), &all[these.clone()]);
            let Some(mut episode) = Episode::latest(&history[these.clone()]) else { continue };
            let by_hand = results.iter().any(|(r, kind)| r.attempted_at == episode.first_seen && *kind == AttemptKind::Hand);
            if episode.last_error.is_none() && by_hand {
                episode.last_error = last_error.take();
            }
            last_error.clone_from(&episode.last_error);
            let said = results.iter().any(|(_, kind)| *kind != AttemptKind::Result);
            if !said && cohort.is_some_and(|c| !policies.eligibility.cohort(c).needs_tool_key) {
                match case {
                    None => continue,
                    Some(case) if episode.state.is_open() => {
                        self.needless.push(case.id);
                        self.done.needless.push(device);
                        continue;
                    }
                    Some(_) => {}
                }
            }
            let sent = case.and_then(|c| known.sent.get(&c.id)).map_or(&[][..], Vec::as_slice);
            let over: Vec<Time> = sent.iter().filter(|(_, out)| !out).map(|(at, _)| *at).collect();
            let episode = episode.with_resubmissions(&history[these], &over);
            let wanted = wanted(policies, device, &episode, cohort, case, known, now);
            if case.is_some_and(|case| case.is(&wanted, &episode, cohort)) {
                continue;
            }
            if self.rounds.len() == round {
                self.rounds.push(Round::default());
            }
            self.write(round, device, case, (&wanted, &episode, cohort));
            let attempts = &mut self.rounds[round].attempts;
            for (result, kind) in results.iter().filter(|r| r.0.attempted_at >= episode.first_seen) {
                let (at, outcome) = (result.attempted_at.0, result.status.as_str());
                attempts.push(json!([device.to_db(), at, kind.as_str(), outcome, result.detail]));
            }
            round += 1;
        }
    }

    /// One case that is to be as these say.
    fn write(&mut self, round: usize, device: DeviceId, case: Option<&OpenCase>, to: (&Wanted, &Episode, Option<Cohort>)) {
        let (Wanted { state, .. }, episode, _) = to;
        let last_error = episode.last_error.clone();
        let brief = Brief { device, state: *state, attempts: episode.attempts, last_error };
        if self.touched.last() != Some(&device) {
            self.touched.push(device);
        }
        let Some(case) = case else {
            self.rounds[round].inserts.push(row(device.to_db(), to));
            if self.new.last() != Some(&device) {
                self.new.push(device);
            }
            return match state.is_open() {
                true => self.done.opened.push(brief),
                false => self.done.past += 1,
            };
        };
        self.rounds[round].updates.push(row(case.id, to));
        match (case.state, state) {
            (_, KeyCaseState::Resolved) => self.done.resolved.push(device),
            (KeyCaseState::Retrying, KeyCaseState::Investigating) => self.done.investigated.push(brief),
            _ => self.done.updated += 1,
        }
    }
}

/// What a person wrote is why the person said so, not what the tool met.
fn by_the_tool((result, kind): &Said) -> KeyResult {
    match kind {
        AttemptKind::Hand => KeyResult { detail: None, ..result.clone() },
        _ => result.clone(),
    }
}

/// A case as it is written; `key` is its number, or the device of a new one.
fn row(key: i64, (wanted, episode, cohort): (&Wanted, &Episode, Option<Cohort>)) -> Value {
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
    ])
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
    const COLUMNS: [(&str, &str); 10] = [
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
    ];
    let v = rows::table(tx, 1, &COLUMNS);
    if !inserts.is_empty() {
        let sql = format!(
            "insert into key_cases (device_id, state, attempts, first_seen, last_attempt, last_error, ended_at, next_attempt, gives_up_at,
                                    cohort, previous, opened_at)
             select v.key, v.state, v.attempts, v.first_seen, v.last_attempt, v.last_error, v.ended_at, v.next_attempt, v.gives_up_at,
                    v.cohort, (select max(p.id) from key_cases p where p.device_id = v.key), $2 from {v} where true on conflict do nothing"
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
