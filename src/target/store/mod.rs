//! Targets in the database: one row per site considered by a plan. Transitions are applied in groups, each guarded by the
//! state it was decided from, and what a row was before is kept ([`history`]).

pub mod deadline;
mod decide;
pub mod history;
mod movable;
mod moves;
pub mod proof;
mod queue;
pub mod reads;
pub mod silent;
#[cfg(test)]
mod tests;
pub mod waves;

use sqlx::AssertSqlSafe;

use super::{Event, TargetState};
use crate::{
    clock::Time,
    db::{DbError, DbResult, Tx, rows},
    ids::DeviceId,
    policy::Reason,
    sql,
};

pub use decide::{Decided, Planned, Sending, decide_again, send, take_in};
pub use history::{Because, Cause};
pub use movable::{Movable, count_unchanged, movable};
pub use moves::{Change, Moved, Which, apply, move_all, set_deadline};
pub use queue::{queued, queued_by_group, queued_where_open};
pub use waves::Within;

/// Most rows one statement changes or reads: long enough to be fast, short enough to keep nobody waiting.
pub const GROUP_ROWS: usize = 1_000;

/// A target as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub plan_id: i64,
    pub device: DeviceId,
    pub state: TargetState,
    pub reason: Reason,
    pub batch_id: Option<i64>,
    pub attempts: i64,
    pub answer_by: Option<Time>,
    pub detail: Option<String>,
    pub updated_at: Time,
    pub version: i64,
    /// How often it was queued again because it was silent and ran what it ran.
    pub retries: i64,
    /// 1, 2, ... of the plan's waves; `None`: the last, or the only one.
    pub wave: Option<i64>,
}

type TargetRow = (i64, i64, String, String, Option<i64>, i64, Option<i64>, Option<String>, i64, i64, i64, Option<i64>);

const COLUMNS: &str =
    "plan_id, device_id, state, reason, batch_id, attempts, answer_by, detail, updated_at, version, retries, wave";

fn target(row: TargetRow) -> DbResult<Target> {
    let (plan_id, device, state, reason, batch_id, attempts, answer_by, detail, updated_at, version, retries, wave) = row;
    let device = DeviceId::from_db(device);
    let bad = |column, found: &str| DbError::bad_row("targets", device, column, found);
    Ok(Target {
        plan_id,
        device,
        state: state.parse().map_err(|_| bad("state", &state))?,
        reason: reason.parse().map_err(|_| bad("reason", &reason))?,
        batch_id,
        attempts,
        answer_by: answer_by.map(Time),
        detail,
        updated_at: Time(updated_at),
        version,
        retries,
        wave,
    })
}

/// Targets of the given devices in the given plans.
pub async fn find(tx: &mut Tx, plans: &[i64], devices: &[DeviceId]) -> DbResult<Vec<Target>> {
    if plans.is_empty() || devices.is_empty() {
        return Ok(Vec::new());
    }
    let (p, among_plans) = rows::integers(tx, 1, plans.iter().copied());
    let (d, among_devices) = rows::integers(tx, 2, devices.iter().map(|d| d.to_db()));
    let sql = format!(
        "select {} from targets t where t.plan_id {among_plans} and t.device_id {among_devices} order by t.device_id, t.plan_id",
        COLUMNS,
    );
    let found: Vec<TargetRow> = sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(p).bind(d).fetch_all(c).await)?;
    found.into_iter().map(target).collect()
}

/// The least key a page after `after` may begin with; none after the last there can be.
fn first_after(after: Option<DeviceId>) -> Option<i64> {
    after.map_or(Some(i64::MIN), |d| d.to_db().checked_add(1))
}

/// A page of a plan's targets, by Device ID.
pub async fn page(tx: &mut Tx, plan: i64, after: Option<DeviceId>, limit: usize) -> DbResult<Vec<Target>> {
    let sql = format!("select {COLUMNS} from targets where plan_id = $1 and device_id >= $2 order by device_id limit $3");
    let Some(from) = first_after(after) else { return Ok(Vec::new()) };
    let found: Vec<TargetRow> =
        sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(plan).bind(from).bind(limit as i64).fetch_all(c).await)?;
    found.into_iter().map(target).collect()
}

/// A page of a plan's targets whose supply matters after they were sent, by Device ID: those whose end is not known, those silent past
/// their deadline, of which a success may still come, and those marked as lost, whatever they came to. `only_marked`: the last alone.
pub async fn followed_supply(
    tx: &mut Tx,
    plan: i64,
    only_marked: bool,
    after: Option<DeviceId>,
    limit: usize,
) -> DbResult<Vec<Target>> {
    let waits = |s: &&TargetState| !only_marked && (s.is_in_flight() || **s == TargetState::Expired);
    let mut states: Vec<String> = TargetState::ALL.iter().filter(waits).map(|s| format!("'{s}'")).collect();
    states.push("''".into());
    let sql = format!(
        "select {COLUMNS} from targets where plan_id = $1 and device_id >= $2 and (state in ({}) or reason = '{}')
         order by device_id limit $3",
        states.join(", "),
        Reason::SupplyLost
    );
    let Some(from) = first_after(after) else { return Ok(Vec::new()) };
    let found: Vec<TargetRow> =
        sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(plan).bind(from).bind(limit as i64).fetch_all(c).await)?;
    found.into_iter().map(target).collect()
}

/// The targets of a plan between two devices, both included, that are not ruled out.
pub async fn members_between(
    tx: &mut Tx,
    plan: i64,
    first: DeviceId,
    last: DeviceId,
) -> DbResult<std::collections::HashSet<DeviceId>> {
    let ids: Vec<i64> = sql!(tx, c => sqlx::query_scalar(
        "select device_id from targets where plan_id = $1 and device_id between $2 and $3 and state <> 'ineligible' order by device_id")
        .bind(plan).bind(first.to_db()).bind(last.to_db()).fetch_all(c).await)?;
    Ok(ids.into_iter().map(DeviceId::from_db).collect())
}

/// How many targets of a plan left the portfolio after they were sent.
pub async fn count_lost(tx: &mut Tx, plan: i64) -> DbResult<i64> {
    let text = "select count(*) from targets where plan_id = $1 and reason = $2";
    Ok(sql!(tx, c => sqlx::query_scalar(text).bind(plan).bind(Reason::SupplyLost.as_str()).fetch_one(c).await)?)
}

/// How many members wait for a key that DCC or the tool says is missing, or were sent without it and did not succeed.
pub async fn count_without_key(tx: &mut Tx, plan: i64) -> DbResult<i64> {
    // The state is spelled out, by itself, so that SQLite can use the partial index of the held.
    let text = "select (select count(*) from targets where plan_id = $1 and state = 'held' and reason in ($2, $3))
          + (select count(*) from targets where plan_id = $1 and reason in ($2, $3)
               and state in ('submitted', 'accepted', 'delivered', 'failed', 'expired'))";
    let (missing, unknown) = (Reason::KeysMissing.as_str(), Reason::KeysUnknown.as_str());
    Ok(sql!(tx, c => sqlx::query_scalar(text).bind(plan).bind(missing).bind(unknown).fetch_one(c).await)?)
}

/// The devices of a plan that are in one state, by Device ID.
pub async fn in_state(
    tx: &mut Tx,
    plan: i64,
    state: TargetState,
    after: Option<DeviceId>,
    limit: usize,
) -> DbResult<Vec<DeviceId>> {
    // The state is spelled out so that SQLite can use the partial index of the held.
    let sql = format!(
        "select device_id from targets where plan_id = $1 and state = '{state}' and device_id >= $2 order by device_id limit $3"
    );
    let Some(from) = first_after(after) else { return Ok(Vec::new()) };
    let ids: Vec<i64> =
        sql!(tx, c => sqlx::query_scalar(AssertSqlSafe(sql)).bind(plan).bind(from).bind(limit as i64).fetch_all(c).await)?;
    Ok(ids.into_iter().map(DeviceId::from_db).collect())
}

/// The devices of a plan that are held for their key although it is there: their latest result says so. By Device ID.
pub async fn held_with_key(tx: &mut Tx, plan: i64, after: Option<DeviceId>, limit: usize) -> DbResult<Vec<DeviceId>> {
    let (missing, unknown) = (Reason::KeysMissing.as_str(), Reason::KeysUnknown.as_str());
    let sql = format!(
        "select t.device_id from targets t where t.plan_id = $1 and t.state = 'held' and t.device_id >= $2
           and t.reason in ('{missing}', '{unknown}')
           and (select k.status from key_results k where k.device_id = t.device_id order by k.attempted_at desc limit 1) = 'updated'
         order by t.device_id limit $3"
    );
    let Some(from) = first_after(after) else { return Ok(Vec::new()) };
    let ids: Vec<i64> =
        sql!(tx, c => sqlx::query_scalar(AssertSqlSafe(sql)).bind(plan).bind(from).bind(limit as i64).fetch_all(c).await)?;
    Ok(ids.into_iter().map(DeviceId::from_db).collect())
}

/// How many targets of a plan count for or against it, by state: sent, and not of a site that left the portfolio. A missing key is no
/// failure: what waits for one is held, and what was sent without it counts once it succeeds (then its reason is another).
pub async fn count_shares(tx: &mut Tx, plan: i64) -> DbResult<Vec<(TargetState, i64)>> {
    let counts: Vec<(String, i64)> = sql!(tx, c => sqlx::query_as(
        "select state, count(*) from targets where plan_id = $1 and reason not in ($2, $3, $4)
           and state in ('submitted', 'accepted', 'delivered', 'activated', 'verified', 'failed', 'expired') group by state order by state")
        .bind(plan).bind(Reason::SupplyLost.as_str()).bind(Reason::KeysMissing.as_str()).bind(Reason::KeysUnknown.as_str())
        .fetch_all(c).await)?;
    counts.into_iter().map(|(s, n)| Ok((s.parse().map_err(|_| DbError::bad_row("targets", plan, "state", &s))?, n))).collect()
}

/// How many targets of a plan are in each state.
pub async fn count_by_state(tx: &mut Tx, plan: i64) -> DbResult<Vec<(TargetState, i64)>> {
    let counts: Vec<(String, i64)> = sql!(tx, c => sqlx::query_as(
        "select state, count(*) from targets where plan_id = $1 group by state order by state")
        .bind(plan).fetch_all(c).await)?;
    counts.into_iter().map(|(s, n)| Ok((s.parse().map_err(|_| DbError::bad_row("targets", plan, "state", &s))?, n))).collect()
}

/// How many members a plan lost to each of these reasons since a moment, without having been sent.
pub async fn ruled_out_since(tx: &mut Tx, plan: i64, reasons: &[Reason], since: Time) -> DbResult<Vec<(Reason, i64)>> {
    let these: Vec<String> = reasons.iter().map(|r| format!("'{r}'")).collect();
    let sql = format!(
        "select reason, count(*) from targets
         where plan_id = $1 and state = 'ineligible' and updated_at >= $2 and cause in ('recheck', 'send') and reason in ({})
         group by reason order by reason",
        these.join(", ")
    );
    let counts: Vec<(String, i64)> =
        sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(plan).bind(since.0).fetch_all(c).await)?;
    counts.into_iter().map(|(r, n)| Ok((r.parse().map_err(|_| DbError::bad_row("targets", plan, "reason", &r))?, n))).collect()
}

/// The states of what was sent and has not come to its end, for `state in (...)`.
fn in_flight() -> String {
    let states: Vec<String> = TargetState::ALL.iter().filter(|s| s.is_in_flight()).map(|s| format!("'{s}'")).collect();
    states.join(", ")
}

/// Those of `devices` that are submitted, accepted or delivered in one of `plans`, or queued in one whose campaign is started
/// (while it is paused or halted nothing is decided about what it has not sent).
pub async fn in_progress(tx: &mut Tx, plans: &[i64], devices: &[DeviceId]) -> DbResult<std::collections::HashSet<DeviceId>> {
    if plans.is_empty() || devices.is_empty() {
        return Ok(Default::default());
    }
    let (p, among_plans) = rows::integers(tx, 1, plans.iter().copied());
    let (d, among_devices) = rows::integers(tx, 2, devices.iter().map(|d| d.to_db()));
    let sql = format!(
        "select device_id from targets where plan_id {among_plans} and device_id {among_devices}
           and (state in ({}) or (state = 'queued' and exists
                (select 1 from campaigns where campaigns.plan_id = targets.plan_id and campaigns.state = 'started')))
         order by device_id",
        in_flight(),
    );
    let found: Vec<i64> = sql!(tx, c => sqlx::query_scalar(AssertSqlSafe(sql)).bind(p).bind(d).fetch_all(c).await)?;
    Ok(found.into_iter().map(DeviceId::from_db).collect())
}

/// Whether any target of the plan is past its deadline.
pub async fn any_overdue(tx: &mut Tx, plan: i64, now: Time) -> DbResult<bool> {
    let n: i64 = sql!(tx, c => sqlx::query_scalar(
        "select count(*) from (select 1 as one from targets where plan_id = $1 and answer_by < $2 and state in ('submitted', 'accepted', 'delivered') limit 1) as x")
        .bind(plan).bind(now.0).fetch_one(c).await)?;
    Ok(n > 0)
}

/// How many devices of a batch that were in no other have news of the update.
pub async fn answered_in_first(tx: &mut Tx, plan: i64, batch: i64) -> DbResult<i64> {
    let text = "select count(*) from targets where plan_id = $1 and batch_id = $2 and attempts = 1
        and state in ('delivered', 'activated', 'verified')";
    Ok(sql!(tx, c => sqlx::query_scalar(text).bind(plan).bind(batch).fetch_one(c).await)?)
}

/// Whether every target of the plan has come to its end.
pub async fn all_final(tx: &mut Tx, plan: i64) -> DbResult<bool> {
    let open: Vec<String> = TargetState::ALL.iter().filter(|s| !s.is_final()).map(|s| format!("'{s}'")).collect();
    let sql = format!(
        "select count(*) from (select 1 as one from targets where plan_id = $1 and state in ({}) limit 1) as x",
        open.join(", ")
    );
    let n: i64 = sql!(tx, c => sqlx::query_scalar(AssertSqlSafe(sql)).bind(plan).fetch_one(c).await)?;
    Ok(n == 0)
}

/// Deletes at most `limit` rows of a plan that is no longer in force. Gives how many went.
pub async fn delete_some(tx: &mut Tx, plan: i64, limit: usize) -> DbResult<u64> {
    let last: Option<i64> = sql!(tx, c => sqlx::query_scalar(
        "select max(device_id) from (select device_id from targets where plan_id = $1 order by device_id limit $2) as x")
        .bind(plan).bind(limit as i64).fetch_one(c).await)?;
    let Some(last) = last else { return Ok(0) };
    history::delete_up_to(tx, plan, last).await?;
    Ok(
        sql!(tx, c => sqlx::query("delete from targets where plan_id = $1 and device_id <= $2").bind(plan).bind(last).execute(c).await?.rows_affected()),
    )
}
