//! What people and the engine do to cases, written a group at a time, each with its event.

use sqlx::AssertSqlSafe;

use super::{execute, query::Picked};
use crate::{
    clock::Time,
    db::{
        DbError, DbResult, Tx, bulk,
        rows::{self, Rows},
    },
    ids::DeviceId,
    keys::{AttemptKind, CaseVerb, GivenUp},
    sql,
};

/// Keeps one event a case.
pub async fn note(tx: &mut Tx, cases: &[i64], verb: CaseVerb, text: &str, who: &str, now: Time) -> DbResult<()> {
    let mut events = bulk::Rows::new("key_events", &["case_id", "at", "who", "kind", "text"]);
    for case in cases {
        events.push(&[(*case).into(), now.0.into(), who.into(), verb.as_str().into(), text.into()]);
    }
    events.flush(tx).await
}

async fn set(tx: &mut Tx, cases: &[i64], set: &str, values: [Option<&str>; 2], at: Time) -> DbResult<()> {
    let (ids, among) = rows::integers(tx, 4, cases.iter().copied());
    // Each parameter has a place in the text, whatever is set: PostgreSQL wants to know its type.
    let sql = format!(
        "update key_cases set {set} where id {among} and (cast($1 as text) is null or true) and (cast($2 as text) is null or true) and (cast($3 as bigint) is null or true)"
    );
    let [a, b] = values;
    sql!(&mut *tx, c => sqlx::query(AssertSqlSafe(sql)).bind(a).bind(b).bind(at.0).bind(ids).execute(c).await.map(|_| ()))?;
    Ok(())
}

/// They become an incident; what is not given stays as it was.
pub async fn escalate(tx: &mut Tx, cases: &[i64], incident: Option<&str>, team: Option<&str>, now: Time) -> DbResult<()> {
    let text =
        "state = 'investigating', incident = coalesce(cast($1 as text), incident), team = coalesce(cast($2 as text), team),
                next_attempt = null, gives_up_at = null, retry_at = null";
    set(tx, cases, text, [incident, team], now).await
}

/// `None`: nobody's.
pub async fn assign(tx: &mut Tx, cases: &[i64], assignee: Option<&str>, now: Time) -> DbResult<()> {
    set(tx, cases, "assignee = cast($1 as text)", [assignee, None], now).await
}

/// They are due now.
pub async fn retry(tx: &mut Tx, cases: &[i64], now: Time) -> DbResult<()> {
    set(tx, cases, "next_attempt = cast($3 as bigint), retry_at = cast($3 as bigint)", [None, None], now).await
}

/// They end without a key; re-runs that were asked for are nobody's any more.
pub async fn close(tx: &mut Tx, cases: &[i64], reason: &str, now: Time) -> DbResult<()> {
    let text = "state = 'closed', closed_reason = cast($1 as text), ended_at = cast($3 as bigint), next_attempt = null, gives_up_at = null,
                retry_at = null";
    set(tx, cases, text, [Some(reason), None], now).await?;
    let (ids, among) = rows::integers(tx, 2, cases.iter().copied());
    let sql = format!("update key_requests set ended_at = $1, outcome = 'withdrawn' where ended_at is null and case_id {among}");
    sql!(&mut *tx, c => sqlx::query(AssertSqlSafe(sql)).bind(now.0).bind(ids).execute(c).await.map(|_| ()))?;
    Ok(())
}

/// The latest key result of each device, and when its last case ended: what is said of it now must be later than both.
pub async fn latest_said(tx: &mut Tx, devices: &[DeviceId]) -> DbResult<Vec<(DeviceId, Time)>> {
    let (ids, among) = rows::integers(tx, 1, devices.iter().map(|d| d.to_db()));
    let sql = format!(
        "select device_id, cast(max(at) as bigint) from (
            select device_id, attempted_at as at from key_results where device_id {among}
            union all select device_id, ended_at as at from key_cases where ended_at is not null and device_id {among}) said
         group by device_id order by device_id"
    );
    let found: Vec<(i64, i64)> = sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(ids).fetch_all(c).await)?;
    Ok(found.into_iter().map(|(d, at)| (DeviceId::from_db(d), Time(at))).collect())
}

/// Cases whose retries have ended by now, oldest first: those whose attempts are used up and those that are too old.
pub async fn giving_up(tx: &mut Tx, now: Time, limit: usize) -> DbResult<Vec<(i64, DeviceId, GivenUp)>> {
    // A case whose attempts are used up has no next one, and gave up with its last; one that is too old may have.
    let found: Vec<(i64, i64, i64)> = sql!(tx, c => sqlx::query_as(
        "select id, device_id, cast(case when gives_up_at = last_attempt then 1 else 0 end as bigint) from key_cases
         where state = 'retrying' and gives_up_at <= $1 and retry_at is null order by gives_up_at, id limit $2")
        .bind(now.0).bind(limit as i64).fetch_all(c).await)?;
    let why = |used_up| if used_up == 1 { GivenUp::Attempts } else { GivenUp::Age };
    Ok(found.into_iter().map(|(id, device, used_up)| (id, DeviceId::from_db(device), why(used_up))).collect())
}

/// Says of results that a person gave who that was: `(device, moment)`.
pub async fn said_by(tx: &mut Tx, said: &[(DeviceId, Time)], who: &str) -> DbResult<()> {
    let all: Rows = said.iter().map(|(device, at)| serde_json::json!([device.to_db(), at.0])).collect();
    let v = rows::table(tx, 1, &[("device", "int"), ("at", "int")]);
    let sql = format!(
        "update key_attempts set who = $2 from {v} where key_attempts.at = v.at and key_attempts.kind = 'hand'
            and key_attempts.case_id in (select k.id from key_cases k where k.device_id = v.device)"
    );
    sql!(tx, c => sqlx::query(AssertSqlSafe(sql)).bind(all.to_json()).bind(who).execute(c).await.map(|_| ()))?;
    Ok(())
}

/// What the new case of a device takes over from the one before it: who sees to it.
pub async fn inherit(tx: &mut Tx, devices: &[DeviceId]) -> DbResult<()> {
    let all: Rows = devices.iter().map(|d| serde_json::json!([d.to_db()])).collect();
    let v = rows::table(tx, 1, &[("device", "int")]);
    let before = |column: &str| format!("{column} = (select p.{column} from key_cases p where p.id = key_cases.previous)");
    let sql = format!(
        "update key_cases set {}, {}, {} from {v} where key_cases.device_id = v.device and key_cases.previous is not null
            and key_cases.state in ('retrying', 'investigating')",
        before("incident"),
        before("team"),
        before("assignee")
    );
    execute(tx, sql, &all).await
}

/// One event of a case.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct KeyEvent {
    pub case: i64,
    pub at: Time,
    pub who: String,
    pub verb: CaseVerb,
    pub text: String,
}

/// The events of these cases, oldest first.
pub async fn events(tx: &mut Tx, cases: &[i64]) -> DbResult<Vec<KeyEvent>> {
    let (ids, among) = rows::integers(tx, 1, cases.iter().copied());
    let sql = format!("select id, case_id, at, who, kind, text from key_events where case_id {among} order by id");
    let found: Vec<(i64, i64, i64, String, String, String)> =
        sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(ids).fetch_all(c).await)?;
    let one = |(id, case, at, who, kind, text): (i64, i64, i64, String, String, String)| {
        let verb = kind.parse().map_err(|_| DbError::bad_row("key_events", id, "kind", &kind))?;
        Ok(KeyEvent { case, at: Time(at), who, verb, text })
    };
    found.into_iter().map(one).collect()
}

/// One attempt of a case.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct KeyAttempt {
    pub case: i64,
    pub at: Time,
    pub kind: AttemptKind,
    pub outcome: String,
    pub detail: Option<String>,
    /// The inbox's message that said so.
    pub message: Option<i64>,
    /// The batch of a resubmission.
    pub batch: Option<i64>,
    /// Null: the engine, or DCC.
    pub who: Option<String>,
}

type AttemptRow = (i64, i64, String, String, Option<String>, Option<i64>, Option<i64>, Option<String>);

/// The attempts of these cases, oldest first.
pub async fn attempts(tx: &mut Tx, cases: &[i64]) -> DbResult<Vec<KeyAttempt>> {
    let (ids, among) = rows::integers(tx, 1, cases.iter().copied());
    let sql = format!(
        "select case_id, at, kind, outcome, detail, message_id, batch_id, who from key_attempts where case_id {among} order by case_id, at, kind"
    );
    let found: Vec<AttemptRow> = sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(ids).fetch_all(c).await)?;
    let one = |(case, at, kind, outcome, detail, message, batch, who): AttemptRow| {
        let kind = kind.parse().map_err(|_| DbError::bad_row("key_attempts", case, "kind", &kind))?;
        Ok(KeyAttempt { case, at: Time(at), kind, outcome, detail, message, batch, who })
    };
    found.into_iter().map(one).collect()
}

/// Of what a filter names, what a verb applies to; a case whose re-run is asked for, or which is out in a request, is not retried twice.
pub fn applicable(picked: &[Picked], verb: CaseVerb) -> (Vec<Picked>, Vec<(Picked, String)>) {
    let (mut yes, mut no) = (Vec::new(), Vec::new());
    for case in picked {
        match case.state.on(verb) {
            Err(e) => no.push((*case, e.to_string())),
            Ok(_) if verb == CaseVerb::Retry && case.asked => {
                no.push((*case, "a re-run was asked for, or it was sent again, and that is not answered".into()))
            }
            Ok(_) => yes.push(*case),
        }
    }
    (yes, no)
}
