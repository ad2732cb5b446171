//! What a target was before each change, and what moved it: a row's before-image is kept in the transaction that changes it, with
//! one statement for all rows of a group. Planning keeps nothing: the plan's own row is the beginning of the story.
//! Promise: of no row that is in force a state is lost; nothing here is ever updated.

use sqlx::AssertSqlSafe;

use super::moves::PLACE;
use crate::{
    clock::{Day, Time},
    db::{DbError, DbResult, Tx, given, rows},
    ids::{DeviceId, Mpid},
    policy::Reason,
    sql,
    target::TargetState,
};

crate::spelled! {
    /// What moved a target. Where the column is null it was the plan.
    Cause, "what moves a target" {
        /// Decided again while it waited.
        Recheck = "recheck",
        /// Decided again immediately before its batch; the reference is the batch where it was sent.
        Send = "send",
        /// Sent again though its key is missing, decided immediately before; the reference is the batch.
        Resubmit = "resubmit",
        /// Its request never left, or was refused for a passing reason; the reference is the batch.
        Returned = "returned",
        /// DCC's answer to its request; the reference is the batch.
        Answer = "answer",
        /// A message about the device; the reference is the message of the inbox.
        Message = "message",
        /// DCC's reply to a read of its version.
        Read = "read",
        /// No news within the time allowed.
        Silence = "silence",
        /// Its site changed hands after it was sent.
        Supply = "supply",
        /// It joined after the plan; the reference is the top-up.
        TopUp = "top-up",
        /// A person: retry, exclude, abort.
        Operator = "operator",
    }
}

/// What moves a group of targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Because {
    pub cause: Cause,
    pub reference: Option<i64>,
}

impl Because {
    pub fn of(cause: Cause) -> Because {
        Because { cause, reference: None }
    }

    pub fn by(cause: Cause, reference: i64) -> Because {
        Because { cause, reference: Some(reference) }
    }
}

const COLUMNS: &str =
    "plan_id, device_id, version, state, reason, batch_id, attempts, registration_supplier, registration_from, registration_to, answer_by,
    detail, updated_at, cause, cause_ref, policy_set, cpl_fact, key_result_at, fact";

/// The statement that keeps what `which` selects (a FROM and a WHERE clause with the parameters of the update it goes before).
pub(super) fn keep(from: &str, condition: &str) -> String {
    let columns: Vec<String> = COLUMNS.split(',').map(|c| format!("targets.{}", c.trim())).collect();
    format!(
        "insert into target_history ({COLUMNS}) select {} from {from} where {condition} on conflict do nothing",
        columns.join(", ")
    )
}

/// Keeps the rows that `condition` selects of those named by a table-valued parameter, which it knows as `v`.
pub(super) async fn keep_rows(tx: &mut Tx, values: &str, columns: &[(&str, &str)], condition: &str) -> DbResult<()> {
    let v = rows::table(tx, 1, columns);
    let keep = keep(&format!("{v} cross join targets"), condition);
    sql!(tx, c => sqlx::query(AssertSqlSafe(keep)).bind(values).execute(c).await?.rows_affected());
    Ok(())
}

/// Keeps the rows of a plan that are at these places (`moves::PLACE`), as far as they still have the version that was read.
pub(super) async fn keep_places(tx: &mut Tx, plan: i64, places: &[[Option<i64>; 3]]) -> DbResult<()> {
    given::execute(tx, PLACE, places, &keep_places_text(), &[plan.into()]).await?;
    Ok(())
}

pub(super) fn keep_places_text() -> String {
    keep("v cross join targets", "targets.plan_id = ? and targets.device_id = v.device_id and targets.version = v.version")
}

/// Removes the history of a plan's devices up to this one, with the plan.
pub(super) async fn delete_up_to(tx: &mut Tx, plan: i64, device: i64) -> DbResult<()> {
    sql!(tx, c => sqlx::query("delete from target_history where plan_id = $1 and device_id <= $2")
        .bind(plan).bind(device).execute(c).await?.rows_affected());
    Ok(())
}

/// One step of a target's story: how it was from `at` on, until the next.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Step {
    pub device: DeviceId,
    pub version: i64,
    pub at: Time,
    pub state: TargetState,
    pub reason: Reason,
    /// Null: the plan.
    pub cause: Option<Cause>,
    pub cause_ref: Option<i64>,
    pub batch: Option<i64>,
    pub attempts: i64,
    /// The registration row that justified the decision: supplier and first day.
    pub registration: Option<(Mpid, Day)>,
    /// Its end as it was then; null: open.
    pub registration_to: Option<Day>,
    /// The set of policies it was decided by.
    pub policy_set: Option<i64>,
    /// The entry of the product list it went by.
    pub cpl_fact: Option<i64>,
    pub key_result_at: Option<Time>,
    /// What the deciding rule went by, where it stands against the site.
    pub fact: Option<String>,
    pub detail: Option<String>,
}

#[derive(sqlx::FromRow)]
struct StepRow {
    device_id: i64,
    version: i64,
    state: String,
    reason: String,
    batch_id: Option<i64>,
    attempts: i64,
    registration_supplier: Option<String>,
    registration_from: Option<i64>,
    registration_to: Option<i64>,
    detail: Option<String>,
    updated_at: i64,
    cause: Option<String>,
    cause_ref: Option<i64>,
    policy_set: Option<i64>,
    cpl_fact: Option<i64>,
    key_result_at: Option<i64>,
    fact: Option<String>,
}

impl TryFrom<StepRow> for Step {
    type Error = DbError;

    fn try_from(row: StepRow) -> DbResult<Step> {
        let device = DeviceId::from_db(row.device_id);
        let bad = |column, found: &str| DbError::bad_row("target_history", device, column, found);
        let registration = match (row.registration_supplier, row.registration_from) {
            (Some(s), Some(from)) => Some((s.parse().map_err(|_| bad("registration_supplier", &s))?, Day(from))),
            _ => None,
        };
        Ok(Step {
            device,
            version: row.version,
            at: Time(row.updated_at),
            state: row.state.parse().map_err(|_| bad("state", &row.state))?,
            reason: row.reason.parse().map_err(|_| bad("reason", &row.reason))?,
            cause: row.cause.map(|c| c.parse().map_err(|_| bad("cause", &c))).transpose()?,
            cause_ref: row.cause_ref,
            batch: row.batch_id,
            attempts: row.attempts,
            registration,
            registration_to: row.registration_to.map(Day),
            policy_set: row.policy_set,
            cpl_fact: row.cpl_fact,
            key_result_at: row.key_result_at.map(Time),
            fact: row.fact,
            detail: row.detail,
        })
    }
}

/// The story of one device in a plan, the row in force last.
pub async fn of_device(tx: &mut Tx, plan: i64, device: DeviceId) -> DbResult<Vec<Step>> {
    page(tx, plan, Some((device, -1)), Some(device), i64::MAX).await
}

/// A page of the stories of a plan, by device and version, after the given step; the row in force is the last of its device.
pub async fn page(
    tx: &mut Tx,
    plan: i64,
    after: Option<(DeviceId, i64)>,
    up_to: Option<DeviceId>,
    limit: i64,
) -> DbResult<Vec<Step>> {
    let (device, version) = after.map_or((i64::MIN, -1), |(d, v)| (d.to_db(), v));
    let last = up_to.map_or(i64::MAX, |d| d.to_db());
    let half = |table: &str| {
        format!(
            "select * from (select {COLUMNS} from {table} where plan_id = $1 and device_id >= $2 and device_id <= $4
                and (device_id > $2 or version > $3) order by device_id, version limit $5) as {table}_page"
        )
    };
    let sql = format!("{} union all {} order by device_id, version limit $5", half("target_history"), half("targets"));
    let rows: Vec<StepRow> = sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql))
        .bind(plan).bind(device).bind(version).bind(last).bind(limit).fetch_all(c).await)?;
    rows.into_iter().map(Step::try_from).collect()
}
