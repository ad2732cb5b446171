//! Targets in the database: one row per site considered by a plan. Transitions are applied in groups, each guarded by the
//! state it was decided from.

use serde_json::json;
use sqlx::AssertSqlSafe;

use super::{Event, TargetState};
use crate::{
    clock::{Day, Time},
    db::{
        DbError, DbResult, Tx, bulk,
        rows::{self, Rows},
    },
    ids::{DeviceId, Mpid},
    policy::Reason,
    sql,
};

/// Most rows one statement changes or reads: long enough to be fast, short enough to keep nobody waiting.
pub const GROUP_ROWS: usize = 1_000;

/// A decision about one site, to be stored or applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decided {
    pub device: DeviceId,
    pub state: TargetState,
    pub reason: Reason,
    pub registration: Option<(Mpid, Day)>,
}

/// A target as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub plan_id: i64,
    pub device: DeviceId,
    pub state: TargetState,
    pub reason: Reason,
    pub batch_id: Option<i64>,
    pub attempts: i64,
    pub registration: Option<(Mpid, Day)>,
    pub answer_by: Option<Time>,
    pub detail: Option<String>,
    pub updated_at: Time,
    pub version: i64,
}

/// A transition to be saved: only from the version that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub plan_id: i64,
    pub device: DeviceId,
    pub version: i64,
    pub state: TargetState,
    pub reason: Reason,
    pub answer_by: Option<Time>,
    pub detail: Option<String>,
}

type TargetRow = (i64, i64, String, String, Option<i64>, i64, Option<String>, Option<i64>, Option<i64>, Option<String>, i64, i64);

const COLUMNS: &str = "plan_id, device_id, state, reason, batch_id, attempts, registration_supplier, registration_from, answer_by, detail, updated_at, version";

fn target(row: TargetRow) -> DbResult<Target> {
    let (plan_id, device, state, reason, batch_id, attempts, supplier, from, answer_by, detail, updated_at, version) = row;
    let device = DeviceId::from_db(device);
    let bad = |column, found: &str| DbError::bad_row("targets", device, column, found);
    let registration = match (supplier, from) {
        (Some(supplier), Some(from)) => Some((supplier.parse().map_err(|_| bad("registration_supplier", &supplier))?, Day(from))),
        _ => None,
    };
    Ok(Target {
        plan_id,
        device,
        state: state.parse().map_err(|_| bad("state", &state))?,
        reason: reason.parse().map_err(|_| bad("reason", &reason))?,
        batch_id,
        attempts,
        registration,
        answer_by: answer_by.map(Time),
        detail,
        updated_at: Time(updated_at),
        version,
    })
}

/// The decisions of a plan that is being built, on their way into the table.
pub struct Planned(bulk::Rows);

impl Planned {
    /// Rows of this plan, all of them dated `now`.
    pub fn new(plan: i64, now: Time) -> Planned {
        let columns = &["device_id", "registration_from", "state", "reason", "registration_supplier"];
        let rows = bulk::Rows::new("targets", columns).with_few(3).with_fixed(&[
            ("plan_id", plan),
            ("attempts", 0),
            ("updated_at", now.0),
            ("version", 0),
        ]);
        Planned(rows)
    }

    pub fn push(&mut self, d: &Decided) {
        let supplier = d.registration.as_ref().map(|r| r.0.as_str());
        let from = d.registration.map(|r| r.1.0);
        self.0.push(&[d.device.to_db().into(), from.into(), d.state.as_str().into(), d.reason.as_str().into(), supplier.into()]);
    }

    /// Rows pushed since the last flush.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Stores what was pushed and forgets it.
    pub async fn flush(&mut self, tx: &mut Tx) -> DbResult<()> {
        self.0.flush(tx).await
    }
}

/// Targets of the given devices in the given plans.
pub async fn find(tx: &mut Tx, plans: &[i64], devices: &[DeviceId]) -> DbResult<Vec<Target>> {
    if plans.is_empty() || devices.is_empty() {
        return Ok(Vec::new());
    }
    let (p, these_plans) = rows::integers(tx, 1, plans.iter().copied());
    let (d, these_devices) = rows::integers(tx, 2, devices.iter().map(|d| d.to_db()));
    let sql = format!(
        "select {} from targets t where t.plan_id in ({these_plans}) and t.device_id in ({these_devices}) order by t.device_id, t.plan_id",
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

/// A page of a plan's targets that were sent and whose end is not known, by Device ID.
pub async fn in_flight(tx: &mut Tx, plan: i64, after: Option<DeviceId>, limit: usize) -> DbResult<Vec<Target>> {
    let states: Vec<String> = TargetState::ALL.iter().filter(|s| s.is_in_flight()).map(|s| format!("'{s}'")).collect();
    let sql = format!(
        "select {COLUMNS} from targets where plan_id = $1 and device_id >= $2 and state in ({}) order by device_id limit $3",
        states.join(", ")
    );
    let Some(from) = first_after(after) else { return Ok(Vec::new()) };
    let found: Vec<TargetRow> =
        sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(plan).bind(from).bind(limit as i64).fetch_all(c).await)?;
    found.into_iter().map(target).collect()
}

/// How many targets of a plan left the portfolio after they were sent.
pub async fn count_lost(tx: &mut Tx, plan: i64) -> DbResult<i64> {
    let text = "select count(*) from targets where plan_id = $1 and reason = $2";
    Ok(sql!(tx, c => sqlx::query_scalar(text).bind(plan).bind(Reason::SupplyLost.as_str()).fetch_one(c).await)?)
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

/// How many targets of a plan are in each state.
pub async fn count_by_state(tx: &mut Tx, plan: i64) -> DbResult<Vec<(TargetState, i64)>> {
    let counts: Vec<(String, i64)> = sql!(tx, c => sqlx::query_as(
        "select state, count(*) from targets where plan_id = $1 group by state order by state")
        .bind(plan).fetch_all(c).await)?;
    counts.into_iter().map(|(s, n)| Ok((s.parse().map_err(|_| DbError::bad_row("targets", plan, "state", &s))?, n))).collect()
}

/// Those of `devices` that are submitted, accepted or delivered in one of `plans`, or queued in one whose campaign is started
/// (while it is paused or halted nothing is decided about what it has not sent).
pub async fn in_progress(tx: &mut Tx, plans: &[i64], devices: &[DeviceId]) -> DbResult<std::collections::HashSet<DeviceId>> {
    if plans.is_empty() || devices.is_empty() {
        return Ok(Default::default());
    }
    let out: Vec<String> = TargetState::ALL.iter().filter(|s| s.is_in_flight()).map(|s| format!("'{s}'")).collect();
    let (p, these_plans) = rows::integers(tx, 1, plans.iter().copied());
    let (d, these_devices) = rows::integers(tx, 2, devices.iter().map(|d| d.to_db()));
    let sql = format!(
        "select device_id from targets where plan_id in ({these_plans}) and device_id in ({these_devices})
           and (state in ({}) or (state = 'queued' and exists
                (select 1 from campaigns where campaigns.plan_id = targets.plan_id and campaigns.state = 'started')))
         order by device_id",
        out.join(", "),
    );
    let found: Vec<i64> = sql!(tx, c => sqlx::query_scalar(AssertSqlSafe(sql)).bind(p).bind(d).fetch_all(c).await)?;
    Ok(found.into_iter().map(DeviceId::from_db).collect())
}

/// Applies what was decided about members that are still held or queued. Gives how many rows moved or changed reason.
pub async fn decide_again(tx: &mut Tx, plan: i64, decided: &[Decided], now: Time) -> DbResult<u64> {
    let mut changed = 0;
    for group in decided.chunks(GROUP_ROWS) {
        let values: Rows = group
            .iter()
            .map(|d| {
                json!([
                    plan,
                    d.device.to_db(),
                    d.state.as_str(),
                    d.reason.as_str(),
                    d.registration.map(|r| r.0.to_string()),
                    d.registration.map(|r| r.1.0)
                ])
            })
            .collect();
        // The plan comes with the rows: given by itself, SQLite would walk the whole plan for each of them.
        let v = rows::table(
            tx,
            2,
            &[
                ("plan_id", "int"),
                ("device_id", "int"),
                ("state", "text"),
                ("reason", "text"),
                ("supplier", "text"),
                ("reg_from", "int"),
            ],
        );
        let sql = format!(
            "update targets set state = v.state, reason = v.reason, registration_supplier = v.supplier, registration_from = v.reg_from,
                    updated_at = $1, version = targets.version + 1
             from {v}
             where targets.plan_id = v.plan_id and targets.device_id = v.device_id and targets.state in ('held', 'queued')
               and (targets.state <> v.state or targets.reason <> v.reason)"
        );
        changed +=
            sql!(tx, c => sqlx::query(AssertSqlSafe(sql)).bind(now.0).bind(values.to_json()).execute(c).await?.rows_affected());
    }
    Ok(changed)
}

/// Puts queued targets into a batch: `Sent`. Gives how many were still queued; the caller compares.
pub async fn send(tx: &mut Tx, plan: i64, batch: i64, devices: &[DeviceId], answer_by: Option<Time>, now: Time) -> DbResult<u64> {
    let to = TargetState::Queued.on(Event::Sent).expect("a queued target can be sent");
    let mut sent = 0;
    for group in devices.chunks(GROUP_ROWS) {
        let (ids, these) = rows::integers(tx, 4, group.iter().map(|d| d.to_db()));
        let sql = format!(
            "update targets set state = '{to}', batch_id = $2, attempts = attempts + 1, answer_by = $5, updated_at = $3, version = version + 1
             where plan_id = $1 and device_id in ({these}) and state = 'queued'"
        );
        sent += sql!(tx, c => sqlx::query(AssertSqlSafe(sql)).bind(plan).bind(batch).bind(now.0).bind(ids).bind(answer_by.map(|t| t.0)).execute(c).await?.rows_affected());
    }
    Ok(sent)
}

/// What `move_all` selects beside the state.
#[derive(Debug, Clone, Copy)]
pub enum Which<'a> {
    Plan,
    /// All but the targets whose last batch is one of these.
    NotIn(&'a [i64]),
    /// The targets whose last batch this is.
    Batch(i64),
    /// Those whose `answer_by` is before the moment of the change.
    Overdue,
}

/// Moves every target of a plan (or one batch) that `event` moves. `answer_by` is the new deadline.
pub async fn move_all(
    tx: &mut Tx,
    plan: i64,
    which: Which<'_>,
    event: Event,
    detail: Option<&str>,
    answer_by: Option<Time>,
    now: Time,
) -> DbResult<u64> {
    let mut moved = 0;
    let mut done: Vec<TargetState> = Vec::new();
    for to in TargetState::ALL {
        let from: Vec<String> = TargetState::ALL
            .iter()
            .filter(|s| !done.contains(s) && **s != *to && s.on(event) == Ok(*to))
            .map(|s| format!("'{s}'"))
            .collect();
        if from.is_empty() {
            continue;
        }
        let condition = match which {
            Which::Plan => String::new(),
            Which::NotIn([]) => String::new(),
            Which::NotIn(batches) => {
                let ids: Vec<String> = batches.iter().map(ToString::to_string).collect();
                format!(" and (batch_id is null or batch_id not in ({}))", ids.join(", "))
            }
            Which::Batch(id) => format!(" and batch_id = {id}"),
            Which::Overdue => format!(" and answer_by < {}", now.0),
        };
        let attempts = if event == Event::Returned { ", attempts = attempts - 1, batch_id = null" } else { "" };
        let sql = format!(
            "update targets set state = '{to}', detail = coalesce($2, detail), answer_by = $3, updated_at = $4, version = version + 1{attempts}
             where plan_id = $1 and state in ({}){condition}",
            from.join(", ")
        );
        moved += sql!(tx, c => sqlx::query(AssertSqlSafe(sql)).bind(plan).bind(detail).bind(answer_by.map(|t| t.0)).bind(now.0).execute(c).await?.rows_affected());
        // What has just arrived in `to` is not moved on by the same event.
        done.push(*to);
    }
    Ok(moved)
}

/// Whether any target of the plan is past its deadline.
pub async fn any_overdue(tx: &mut Tx, plan: i64, now: Time) -> DbResult<bool> {
    let n: i64 = sql!(tx, c => sqlx::query_scalar(
        "select count(*) from (select 1 as one from targets where plan_id = $1 and answer_by < $2 and state in ('submitted', 'accepted', 'delivered') limit 1) as x")
        .bind(plan).bind(now.0).fetch_one(c).await)?;
    Ok(n > 0)
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

/// Saves transitions, each only from the version that was read. Gives how many took effect.
pub async fn apply(tx: &mut Tx, changes: &[Change], now: Time) -> DbResult<u64> {
    let mut applied = 0;
    for group in changes.chunks(GROUP_ROWS) {
        let values: Rows = group
            .iter()
            .map(|c| {
                json!([
                    c.plan_id,
                    c.device.to_db(),
                    c.version,
                    c.state.as_str(),
                    c.reason.as_str(),
                    c.answer_by.map(|t| t.0),
                    c.detail
                ])
            })
            .collect();
        let v = rows::table(
            tx,
            2,
            &[
                ("plan_id", "int"),
                ("device_id", "int"),
                ("version", "int"),
                ("state", "text"),
                ("reason", "text"),
                ("answer_by", "int"),
                ("detail", "text"),
            ],
        );
        let sql = format!(
            "update targets set state = v.state, reason = v.reason, answer_by = v.answer_by, detail = coalesce(v.detail, targets.detail),
                    updated_at = $1, version = targets.version + 1
             from {v} where targets.plan_id = v.plan_id and targets.device_id = v.device_id and targets.version = v.version"
        );
        applied +=
            sql!(tx, c => sqlx::query(AssertSqlSafe(sql)).bind(now.0).bind(values.to_json()).execute(c).await?.rows_affected());
    }
    Ok(applied)
}

/// Deletes at most `limit` rows of a plan that is no longer in force. Gives how many went.
pub async fn delete_some(tx: &mut Tx, plan: i64, limit: usize) -> DbResult<u64> {
    let last: Option<i64> = sql!(tx, c => sqlx::query_scalar(
        "select max(device_id) from (select device_id from targets where plan_id = $1 order by device_id limit $2) as x")
        .bind(plan).bind(limit as i64).fetch_one(c).await)?;
    let Some(last) = last else { return Ok(0) };
    Ok(
        sql!(tx, c => sqlx::query("delete from targets where plan_id = $1 and device_id <= $2").bind(plan).bind(last).execute(c).await?.rows_affected()),
    )
}
