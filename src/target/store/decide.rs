//! Decisions about sites into the table: those of a plan, those made again while a member waits, and the last before it is sent. Each
//! is stored with what it went by.

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use super::{Because, Event, GROUP_ROWS, TargetState, history};
use crate::{
    clock::{Day, Time},
    db::{
        DbResult, Tx, bulk,
        rows::{self, Rows},
    },
    ids::{DeviceId, Mpid},
    policy::Reason,
    sql,
};

/// A decision about one site, to be stored or applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    pub device: DeviceId,
    pub state: TargetState,
    pub reason: Reason,
    /// The registration row that justified it.
    pub registration: Option<(Mpid, Day)>,
    /// Its end as it was then; `None`: open, or there is no such row.
    pub registration_to: Option<Day>,
    /// The entry of the product list that covers it (cpl_facts.id).
    pub cpl_fact: Option<i64>,
    /// The key result it went by: when that was.
    pub key_result_at: Option<Time>,
    /// What the deciding rule went by, where it stands against the site.
    pub fact: Option<Box<str>>,
}

/// The decisions of a plan that is being built, on their way into the table.
pub struct Planned(bulk::Rows);

impl Planned {
    /// Rows of this plan, all of them dated `now` and decided by these policies.
    pub fn new(plan: i64, policy_set: i64, now: Time) -> Planned {
        let columns = &[
            "device_id",
            "registration_from",
            "registration_to",
            "cpl_fact",
            "key_result_at",
            "fact",
            "state",
            "reason",
            "registration_supplier",
        ];
        let rows = bulk::Rows::new("targets", columns).with_few(3).with_fixed(&[
            ("plan_id", plan),
            ("attempts", 0),
            ("updated_at", now.0),
            ("version", 0),
            ("policy_set", policy_set),
        ]);
        Planned(rows)
    }

    pub fn push(&mut self, d: &Decided) {
        let supplier = d.registration.as_ref().map(|r| r.0.as_str());
        self.0.push(&[
            d.device.to_db().into(),
            d.registration.map(|r| r.1.0).into(),
            d.registration_to.map(|to| to.0).into(),
            d.cpl_fact.into(),
            d.key_result_at.map(|t| t.0).into(),
            d.fact.as_deref().into(),
            d.state.as_str().into(),
            d.reason.as_str().into(),
            supplier.into(),
        ]);
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

const VALUES: &[(&str, &str)] = &[
    ("plan_id", "int"),
    ("device_id", "int"),
    ("state", "text"),
    ("reason", "text"),
    ("supplier", "text"),
    ("reg_from", "int"),
    ("reg_to", "int"),
    ("cpl_fact", "int"),
    ("key_result_at", "int"),
    ("fact", "text"),
];

/// What the decision sets, beside the state.
const FACTS: &str =
    "reason = v.reason, registration_supplier = v.supplier, registration_from = v.reg_from, registration_to = v.reg_to, cpl_fact = v.cpl_fact,
    key_result_at = v.key_result_at, fact = v.fact";

fn value(plan: i64, d: &Decided) -> Value {
    json!([
        plan,
        d.device.to_db(),
        d.state.as_str(),
        d.reason.as_str(),
        d.registration.map(|r| r.0.to_string()),
        d.registration.map(|r| r.1.0),
        d.registration_to.map(|to| to.0),
        d.cpl_fact,
        d.key_result_at.map(|t| t.0),
        d.fact
    ])
}

/// Applies what was decided about members that are still held or queued. Gives how many rows moved, or changed their reason or its fact.
pub async fn decide_again(
    tx: &mut Tx,
    plan: i64,
    decided: &[Decided],
    policy_set: i64,
    because: Because,
    now: Time,
) -> DbResult<u64> {
    let mut changed = 0;
    for group in decided.chunks(GROUP_ROWS) {
        // The plan comes with the rows: given by itself, SQLite would walk the whole plan for each of them.
        let values: Rows = group.iter().map(|d| value(plan, d)).collect();
        let values = values.to_json();
        let same = "targets.plan_id = v.plan_id and targets.device_id = v.device_id and targets.state in ('held', 'queued')
               and (targets.state <> v.state or targets.reason <> v.reason or coalesce(targets.fact, '') <> coalesce(v.fact, ''))";
        let v = rows::table(tx, 1, VALUES);
        history::keep_rows(tx, &values, VALUES, same).await?;
        let sql = format!(
            "update targets set state = v.state, {FACTS}, updated_at = $2, version = targets.version + 1, policy_set = $3, cause = $4, cause_ref = $5
             from {v} where {same}"
        );
        changed += sql!(&mut *tx, c => sqlx::query(AssertSqlSafe(sql)).bind(&values).bind(now.0).bind(policy_set)
            .bind(because.cause.as_str()).bind(because.reference).execute(c).await?.rows_affected());
    }
    Ok(changed)
}

/// Takes sites into a plan that is in force: those it does not have, and those it had ruled out. The others stay as they are. Gives how
/// many joined.
pub async fn take_in(tx: &mut Tx, plan: i64, decided: &[Decided], policy_set: i64, because: Because, now: Time) -> DbResult<u64> {
    let from = TargetState::Ineligible;
    debug_assert!(from.on(Event::ToppedUp).is_ok());
    let mut joined = 0;
    for group in decided.chunks(GROUP_ROWS) {
        let values: Rows = group.iter().map(|d| value(plan, d)).collect();
        let values = values.to_json();
        let same = format!("targets.plan_id = v.plan_id and targets.device_id = v.device_id and targets.state = '{from}'");
        let v = rows::table(tx, 1, VALUES);
        history::keep_rows(tx, &values, VALUES, &same).await?;
        // The same columns as a decision that is made again, from the row that could not be inserted.
        let facts = FACTS.replace("v.supplier", "excluded.registration_supplier").replace("v.reg_", "excluded.registration_");
        let facts = facts.replace("v.", "excluded.");
        let sql = format!(
            "insert into targets (plan_id, device_id, state, reason, attempts, registration_supplier, registration_from, registration_to, cpl_fact, key_result_at,
                    fact, updated_at, version, policy_set, cause, cause_ref)
             select v.plan_id, v.device_id, v.state, v.reason, 0, v.supplier, v.reg_from, v.reg_to, v.cpl_fact, v.key_result_at, v.fact,
                    cast($2 as bigint), 0, cast($3 as bigint), cast($4 as text), cast($5 as bigint)
             from {v} where true
             on conflict (plan_id, device_id) do update set state = excluded.state, {facts}, updated_at = excluded.updated_at,
                    version = targets.version + 1, policy_set = excluded.policy_set, cause = excluded.cause, cause_ref = excluded.cause_ref
             where targets.state = '{from}'"
        );
        joined += sql!(&mut *tx, c => sqlx::query(AssertSqlSafe(sql)).bind(&values).bind(now.0).bind(policy_set)
            .bind(because.cause.as_str()).bind(because.reference).execute(c).await?.rows_affected());
    }
    Ok(joined)
}

/// What puts targets into a batch.
#[derive(Debug, Clone, Copy)]
pub struct Sending {
    pub plan: i64,
    pub batch: i64,
    /// The batch is of held targets that are sent though their keys are missing; else of queued ones.
    pub resubmission: bool,
    /// The policies it was decided by.
    pub policy_set: i64,
    pub answer_by: Option<Time>,
}

/// Puts targets into a batch, with what was decided about them just before: `Sent`, or `Resubmitted`. Gives how many still waited; the
/// caller compares.
pub async fn send(tx: &mut Tx, sending: Sending, members: &[Decided], now: Time) -> DbResult<u64> {
    let Sending { plan, batch, resubmission, policy_set, answer_by } = sending;
    let (from, event, cause) = match resubmission {
        false => (TargetState::Queued, Event::Sent, super::Cause::Send),
        true => (TargetState::Held, Event::Resubmitted, super::Cause::Resubmit),
    };
    let to = from.on(event).expect("what waits can be sent");
    let because = Because::by(cause, batch);
    let mut sent = 0;
    for group in members.chunks(GROUP_ROWS) {
        let values: Rows = group.iter().map(|d| value(plan, d)).collect();
        let values = values.to_json();
        let same = format!("targets.plan_id = v.plan_id and targets.device_id = v.device_id and targets.state = '{from}'");
        let v = rows::table(tx, 1, VALUES);
        history::keep_rows(tx, &values, VALUES, &same).await?;
        let sql = format!(
            "update targets set state = '{to}', {FACTS}, batch_id = $2, attempts = targets.attempts + 1, answer_by = $3, updated_at = $4,
                    version = targets.version + 1, policy_set = $5, cause = $6, cause_ref = $2
             from {v} where {same}"
        );
        sent += sql!(&mut *tx, c => sqlx::query(AssertSqlSafe(sql)).bind(&values).bind(batch).bind(answer_by.map(|t| t.0)).bind(now.0)
            .bind(policy_set).bind(because.cause.as_str()).execute(c).await?.rows_affected());
    }
    Ok(sent)
}
