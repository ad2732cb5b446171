//! The waves of a plan's targets: written once, while the plan is made, and counted. A null is the last wave's, so that it costs nothing.

use std::collections::BTreeMap;

use serde_json::json;
use sqlx::AssertSqlSafe;

use super::{GROUP_ROWS, TargetState, in_flight};
use crate::{
    db::{
        DbError, DbResult, Tx,
        rows::{self, Rows},
    },
    ids::DeviceId,
    policy::Reason,
    sql,
};

/// Longest piece of what is kept of a failure by which failures are told apart: its code comes first.
const DETAIL_CHARS: usize = 60;

/// Which targets of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Within {
    Plan,
    /// One wave, but for the last.
    Wave(i64),
    /// The last wave.
    Last,
}

impl Within {
    /// What is added to the table's name. SQLite has to be told the index of the waves: it takes the whole plan to be as good, since that has the
    /// order too.
    pub(super) fn index(self, tx: &Tx) -> &'static str {
        match self {
            Within::Wave(_) if tx.is_sqlite() => " indexed by targets_by_wave",
            Within::Plan | Within::Wave(_) | Within::Last => "",
        }
    }

    /// What is added to the condition of a query, `t` being the name of `targets` there.
    pub(super) fn condition(self, t: &str) -> String {
        match self {
            Within::Plan => String::new(),
            Within::Wave(n) => format!(" and {t}.wave = {n}"),
            Within::Last => format!(" and {t}.wave is null"),
        }
    }
}

/// Writes down who is in which wave, of a plan that nobody looks at yet.
pub async fn set_waves(tx: &mut Tx, plan: i64, members: &[(DeviceId, i64)]) -> DbResult<()> {
    for group in members.chunks(GROUP_ROWS) {
        let values: Rows = group.iter().map(|(device, wave)| json!([plan, device.to_db(), wave])).collect();
        let v = rows::table(tx, 1, &[("plan_id", "int"), ("device_id", "int"), ("wave", "int")]);
        let sql = format!(
            "update targets set wave = v.wave from {v} where targets.plan_id = v.plan_id and targets.device_id = v.device_id"
        );
        sql!(&mut *tx, c => sqlx::query(AssertSqlSafe(sql)).bind(values.to_json()).execute(c).await?.rows_affected());
    }
    Ok(())
}

/// The waves of these devices; those of the last are not named.
pub async fn waves_of(tx: &mut Tx, plan: i64, devices: &[DeviceId]) -> DbResult<BTreeMap<DeviceId, i64>> {
    let (json, among) = rows::integers(tx, 2, devices.iter().map(|d| d.to_db()));
    let sql = format!(
        "select device_id, wave from targets where plan_id = $1 and device_id {among} and wave is not null order by device_id"
    );
    let found: Vec<(i64, i64)> = sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(plan).bind(json).fetch_all(c).await)?;
    Ok(found.into_iter().map(|(d, wave)| (DeviceId::from_db(d), wave)).collect())
}

/// Devices of one wave that are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alike {
    /// `None`: the last.
    pub wave: Option<i64>,
    pub state: TargetState,
    /// Its site left the portfolio, or its key is missing.
    pub left_out: bool,
    /// What is kept of a failure, cut short.
    pub detail: Option<String>,
    pub devices: i64,
}

/// The devices of the waves up to one, counted; with the last, of all.
pub async fn count_waves(tx: &mut Tx, plan: i64, up_to: Within) -> DbResult<Vec<Alike>> {
    type Row = (Option<i64>, String, bool, Option<String>, i64);
    let which = match up_to {
        Within::Plan | Within::Last => String::new(),
        // Spelled out, so that the partial index is used.
        Within::Wave(n) => format!(" and wave is not null and wave <= {n}"),
    };
    let sql = format!(
        "select wave, state, left_out, detail, count(*) from (
           select wave, state, reason in ($2, $3, $4) as left_out,
                  case when state = 'failed' then substr(detail, 1, {DETAIL_CHARS}) end as detail
           from targets where plan_id = $1{which}) as x
         group by wave, state, left_out, detail order by wave, state, left_out, detail"
    );
    let found: Vec<Row> = sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(plan).bind(Reason::SupplyLost.as_str())
        .bind(Reason::KeysMissing.as_str()).bind(Reason::KeysUnknown.as_str()).fetch_all(c).await)?;
    let alike = |(wave, state, left_out, detail, devices): Row| {
        let state = state.parse().map_err(|_| DbError::bad_row("targets", plan, "state", &state))?;
        Ok(Alike { wave, state, left_out, detail, devices })
    };
    found.into_iter().map(alike).collect()
}

/// How many devices of these plans are submitted, accepted or delivered.
pub async fn count_in_flight(tx: &mut Tx, plans: &[i64]) -> DbResult<i64> {
    let (json, among) = rows::integers(tx, 1, plans.iter().copied());
    let sql = format!("select count(*) from targets where plan_id {among} and state in ({})", in_flight());
    Ok(sql!(tx, c => sqlx::query_scalar(AssertSqlSafe(sql)).bind(json).fetch_one(c).await)?)
}
