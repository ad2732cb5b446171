//! Schedules and their runs in the database.

use sqlx::AssertSqlSafe;

use super::{Action, Expression, Missed, Origin, Planned, Run, RunState, Schedule, ScheduleState, Verb};
use crate::{
    clock::{Time, Zone},
    db::{DbError, DbResult, Tx},
    sql,
};

#[derive(sqlx::FromRow)]
struct ScheduleRow {
    id: i64,
    name: String,
    cron: String,
    zone: String,
    verb: String,
    campaign_id: Option<i64>,
    action: String,
    missed: String,
    state: String,
    done_until: i64,
    created_by: String,
    created_at: i64,
}

impl TryFrom<ScheduleRow> for Schedule {
    type Error = DbError;

    fn try_from(row: ScheduleRow) -> DbResult<Schedule> {
        let bad = |column, found: &str| DbError::bad_row("schedules", row.id, column, found);
        let verb: Verb = row.verb.parse().map_err(|_| bad("verb", &row.verb))?;
        let campaign = row.campaign_id.map_or("null".to_string(), |id| id.to_string());
        Ok(Schedule {
            state: row.state.parse().map_err(|_| bad("state", &row.state))?,
            cron: Expression::parse(&row.cron).map_err(|_| bad("cron", &row.cron))?,
            zone: row.zone.parse::<Zone>().map_err(|_| bad("zone", &row.zone))?,
            action: Action::of(verb, row.campaign_id).ok_or_else(|| bad("campaign_id", &campaign))?,
            missed: row.missed.parse().map_err(|_| bad("missed", &row.missed))?,
            id: row.id,
            name: row.name,
            said: row.action,
            done_until: Time(row.done_until),
            created_by: row.created_by,
            created_at: Time(row.created_at),
        })
    }
}

#[derive(sqlx::FromRow)]
struct RunRow {
    id: i64,
    schedule_id: i64,
    origin: String,
    asked_by: Option<String>,
    state: String,
    planned_for: i64,
    missed: i64,
    missed_from: Option<i64>,
    started_at: Option<i64>,
    ended_at: Option<i64>,
    result: Option<String>,
    log: String,
    leased_by: Option<String>,
    leased_until: Option<i64>,
}

impl TryFrom<RunRow> for Run {
    type Error = DbError;

    fn try_from(row: RunRow) -> DbResult<Run> {
        let bad = |column, found: &str| DbError::bad_row("schedule_runs", row.id, column, found);
        Ok(Run {
            origin: row.origin.parse().map_err(|_| bad("origin", &row.origin))?,
            state: row.state.parse().map_err(|_| bad("state", &row.state))?,
            id: row.id,
            schedule: row.schedule_id,
            asked_by: row.asked_by,
            planned_for: Time(row.planned_for),
            missed: row.missed,
            missed_from: row.missed_from.map(Time),
            started_at: row.started_at.map(Time),
            ended_at: row.ended_at.map(Time),
            result: row.result,
            log: row.log.lines().map(str::to_string).collect(),
            leased_by: row.leased_by,
            leased_until: row.leased_until.map(Time),
        })
    }
}

/// A schedule to be stored, active from `now` on.
pub struct NewSchedule<'a> {
    pub name: &'a str,
    pub cron: &'a Expression,
    pub zone: &'a Zone,
    pub action: Action,
    pub said: &'a str,
    pub missed: Missed,
    pub created_by: &'a str,
    pub now: Time,
}

/// Its id; `None` where another has the name.
pub async fn insert(tx: &mut Tx, new: &NewSchedule<'_>) -> DbResult<Option<i64>> {
    Ok(sql!(tx, c => sqlx::query_scalar(
        "insert into schedules (name, cron, zone, verb, campaign_id, action, missed, state, done_until, created_by, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, 'active', $8, $9, $8) on conflict do nothing returning id")
        .bind(new.name).bind(new.cron.to_string()).bind(new.zone.name()).bind(new.action.verb().as_str()).bind(new.action.campaign())
        .bind(new.said).bind(new.missed.as_str()).bind(new.now.0).bind(new.created_by).fetch_optional(c).await)?)
}

/// Those that were not removed, by their id.
pub async fn list(tx: &mut Tx) -> DbResult<Vec<Schedule>> {
    let rows: Vec<ScheduleRow> =
        sql!(tx, c => sqlx::query_as("select * from schedules where state <> 'removed' order by id").fetch_all(c).await)?;
    rows.into_iter().map(Schedule::try_from).collect()
}

/// One that was not removed, locked until the transaction ends.
pub async fn lock(tx: &mut Tx, id: i64) -> DbResult<Option<Schedule>> {
    let lock = if tx.is_sqlite() { "" } else { " for update" };
    let sql = format!("select * from schedules where id = $1 and state <> 'removed' order by id{lock}");
    let row: Option<ScheduleRow> = sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(id).fetch_optional(c).await)?;
    row.map(Schedule::try_from).transpose()
}

/// Of a schedule that is locked: every firing up to this moment has been dealt with.
pub async fn set_done(tx: &mut Tx, id: i64, until: Time) -> DbResult<()> {
    sql!(tx, c => sqlx::query("update schedules set done_until = $2 where id = $1").bind(id).bind(until.0).execute(c).await?.rows_affected());
    Ok(())
}

pub async fn set_state(tx: &mut Tx, id: i64, state: ScheduleState) -> DbResult<()> {
    sql!(tx, c => sqlx::query("update schedules set state = $2 where id = $1").bind(id).bind(state.as_str()).execute(c).await?.rows_affected());
    Ok(())
}

/// A run that begins.
pub struct NewRun<'a> {
    pub schedule: i64,
    pub planned: Planned,
    pub origin: Origin,
    pub asked_by: Option<&'a str>,
    pub log: &'a str,
    pub leased_by: &'a str,
    pub leased_until: Time,
    pub now: Time,
}

/// Its id; `None` where this firing has its row already.
pub async fn begin(tx: &mut Tx, new: &NewRun<'_>) -> DbResult<Option<i64>> {
    let planned = &new.planned;
    Ok(sql!(tx, c => sqlx::query_scalar(
        "insert into schedule_runs (schedule_id, origin, asked_by, state, planned_for, missed, missed_from, started_at, log, leased_by, leased_until)
         values ($1, $2, $3, 'running', $4, $5, $6, $7, $8, $9, $10) on conflict do nothing returning id")
        .bind(new.schedule).bind(new.origin.as_str()).bind(new.asked_by).bind(planned.at.0).bind(planned.missed)
        .bind(planned.missed_from.map(|t| t.0)).bind(new.now.0).bind(new.log).bind(new.leased_by).bind(new.leased_until.0)
        .fetch_optional(c).await)?)
}

/// Notes firings that were missed and are not made up for.
pub async fn skip(tx: &mut Tx, schedule: i64, skipped: &Planned, result: &str, now: Time) -> DbResult<()> {
    sql!(tx, c => sqlx::query(
        "insert into schedule_runs (schedule_id, origin, state, planned_for, missed, missed_from, ended_at, result, log)
         values ($1, 'clock', 'skipped', $2, $3, $4, $5, $6, '') on conflict do nothing")
        .bind(schedule).bind(skipped.at.0).bind(skipped.missed).bind(skipped.missed_from.map(|t| t.0)).bind(now.0).bind(result)
        .execute(c).await?.rows_affected());
    Ok(())
}

/// Whoever runs it is still there. `false`: it was taken for dead.
pub async fn renew(tx: &mut Tx, run: i64, until: Time) -> DbResult<bool> {
    let renewed = sql!(tx, c => sqlx::query("update schedule_runs set leased_until = $2 where id = $1 and state = 'running'")
        .bind(run).bind(until.0).execute(c).await?.rows_affected());
    Ok(renewed == 1)
}

/// Ends a run. `false`: it had ended.
pub async fn end(tx: &mut Tx, run: i64, state: RunState, result: &str, log: &[String], now: Time) -> DbResult<bool> {
    let ended = sql!(tx, c => sqlx::query(
        "update schedule_runs set state = $2, result = $3, log = $4, ended_at = $5, leased_by = null, leased_until = null
         where id = $1 and state = 'running'")
        .bind(run).bind(state.as_str()).bind(result).bind(log.join("\n")).bind(now.0).execute(c).await?.rows_affected());
    Ok(ended == 1)
}

/// The runs under way.
pub async fn running(tx: &mut Tx) -> DbResult<Vec<Run>> {
    let rows: Vec<RunRow> =
        sql!(tx, c => sqlx::query_as("select * from schedule_runs where state = 'running' order by id").fetch_all(c).await)?;
    rows.into_iter().map(Run::try_from).collect()
}

pub async fn run(tx: &mut Tx, id: i64) -> DbResult<Option<Run>> {
    let row: Option<RunRow> =
        sql!(tx, c => sqlx::query_as("select * from schedule_runs where id = $1 order by id").bind(id).fetch_optional(c).await)?;
    row.map(Run::try_from).transpose()
}

/// The latest runs of a schedule, the latest first.
pub async fn latest(tx: &mut Tx, schedule: i64, limit: u32) -> DbResult<Vec<Run>> {
    let rows: Vec<RunRow> = sql!(tx, c => sqlx::query_as(
        "select * from schedule_runs where schedule_id = $1 order by id desc limit $2")
        .bind(schedule).bind(i64::from(limit)).fetch_all(c).await)?;
    rows.into_iter().map(Run::try_from).collect()
}

/// Deletes some runs that ended before this moment. Gives how many.
pub async fn prune(tx: &mut Tx, before: Time, limit: u32) -> DbResult<u64> {
    Ok(sql!(tx, c => sqlx::query(
        "delete from schedule_runs where id in (select id from schedule_runs where ended_at < $1 order by ended_at, id limit $2)")
        .bind(before.0).bind(i64::from(limit)).execute(c).await?.rows_affected()))
}
