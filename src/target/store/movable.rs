//! Targets as far as messages move them, read by thousands a second: of each the columns that decide about its move, and no more (on SQLite
//! the columns cost more to hand over than to find).

use serde_json::json;
use sqlx::AssertSqlSafe;

use super::{GROUP_ROWS, TargetState};
use crate::{
    clock::Time,
    db::{DbError, DbResult, Tx, rows},
    ids::DeviceId,
    policy::Reason,
    sql,
};

/// A target that a message may move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Movable {
    pub plan_id: i64,
    pub device: DeviceId,
    pub state: TargetState,
    pub reason: Reason,
    pub batch_id: Option<i64>,
    pub attempts: i64,
    pub answer_by: Option<Time>,
    pub updated_at: Time,
    pub version: i64,
    /// What is to be said of it; `None`, as it is read: what was said before stands.
    pub detail: Option<String>,
}

type Row = (i64, i64, String, String, Option<i64>, i64, Option<i64>, i64, i64);

/// Those of the given devices in the given plans.
pub async fn movable(tx: &mut Tx, plans: &[i64], devices: &[DeviceId]) -> DbResult<Vec<Movable>> {
    if plans.is_empty() || devices.is_empty() {
        return Ok(Vec::new());
    }
    let (p, among_plans) = rows::integers(tx, 1, plans.iter().copied());
    let (d, among_devices) = rows::integers(tx, 2, devices.iter().map(|d| d.to_db()));
    let sql = format!(
        "select plan_id, device_id, state, reason, batch_id, attempts, answer_by, updated_at, version from targets
         where plan_id {among_plans} and device_id {among_devices} order by device_id, plan_id"
    );
    let found: Vec<Row> = sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(p).bind(d).fetch_all(c).await)?;
    found.into_iter().map(read).collect()
}

fn read((plan_id, device, state, reason, batch_id, attempts, answer_by, updated_at, version): Row) -> DbResult<Movable> {
    let device = DeviceId::from_db(device);
    let bad = |column, found: &str| DbError::bad_row("targets", device, column, found);
    Ok(Movable {
        plan_id,
        device,
        state: state.parse().map_err(|_| bad("state", &state))?,
        reason: reason.parse().map_err(|_| bad("reason", &reason))?,
        batch_id,
        attempts,
        answer_by: answer_by.map(Time),
        updated_at: Time(updated_at),
        version,
        detail: None,
    })
}

/// How many of these targets still have the version that was read.
pub async fn count_unchanged(tx: &mut Tx, read: &[(i64, DeviceId, i64)]) -> DbResult<usize> {
    let mut unchanged = 0;
    for group in read.chunks(GROUP_ROWS) {
        let values: rows::Rows = group.iter().map(|(plan, device, version)| json!([plan, device.to_db(), version])).collect();
        let v = rows::table(tx, 1, &[("plan_id", "int"), ("device_id", "int"), ("version", "int")]);
        // The rows come first: SQLite would walk every target for each of them.
        let sql = format!(
            "select count(*) from {v} cross join targets
             where targets.plan_id = v.plan_id and targets.device_id = v.device_id and targets.version = v.version"
        );
        let n: i64 = sql!(&mut *tx, c => sqlx::query_scalar(AssertSqlSafe(sql)).bind(values.to_json()).fetch_one(c).await)?;
        unchanged += n as usize;
    }
    Ok(unchanged)
}
