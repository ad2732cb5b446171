//! Transitions into the table, in groups, each with the row's before-image.

use std::collections::BTreeMap;

use sqlx::AssertSqlSafe;

use super::{Because, Cause, Event, GROUP_ROWS, TargetState, history, in_flight};
use crate::{
    clock::Time,
    db::{
        DbResult, Tx,
        given::{self, Cell},
    },
    ids::DeviceId,
    policy::Reason,
    sql,
};

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
    pub because: Because,
}

/// What `move_all` selects beside the state.
#[derive(Debug, Clone, Copy)]
pub enum Which<'a> {
    Plan,
    /// All but the targets whose last batch is one of these.
    NotIn(&'a [i64]),
    /// These devices: a page of them.
    Among(&'a [DeviceId]),
    /// The targets whose last batch this is.
    Batch(i64),
    /// Those whose `answer_by` is before the moment of the change.
    Overdue,
}

/// What `move_all` writes beside the state.
#[derive(Debug, Clone, Copy)]
pub struct Moved<'a> {
    pub because: Because,
    /// `None` leaves what was said before.
    pub detail: Option<&'a str>,
    /// The new deadline.
    pub answer_by: Option<Time>,
}

impl Moved<'_> {
    pub fn because(because: Because) -> Moved<'static> {
        Moved { because, detail: None, answer_by: None }
    }
}

/// Moves every target of a plan (or one batch) that `event` moves.
pub async fn move_all(tx: &mut Tx, plan: i64, which: Which<'_>, event: Event, moved: Moved<'_>, now: Time) -> DbResult<u64> {
    let mut count = 0;
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
        let condition = format!("plan_id = $1 and state in ({}){}", from.join(", "), selected(which, now));
        let keep = history::keep("targets", &condition);
        sql!(&mut *tx, c => sqlx::query(AssertSqlSafe(keep)).bind(plan).execute(c).await?.rows_affected());
        let more = match event {
            Event::Returned | Event::Unsent => ", attempts = attempts - 1, batch_id = null",
            Event::Retried => ", retries = 0, not_before = null",
            _ => "",
        };
        let sql = format!(
            "update targets set state = '{to}', detail = coalesce($2, detail), answer_by = $3, updated_at = $4, version = version + 1,
                    cause = $5, cause_ref = $6{more}
             where {condition}"
        );
        count += sql!(&mut *tx, c => sqlx::query(AssertSqlSafe(sql)).bind(plan).bind(moved.detail).bind(moved.answer_by.map(|t| t.0)).bind(now.0)
            .bind(moved.because.cause.as_str()).bind(moved.because.reference).execute(c).await?.rows_affected());
        // What has just arrived in `to` is not moved on by the same event.
        done.push(*to);
    }
    Ok(count)
}

/// Gives what is in flight of one batch another deadline, or none, and says why. Gives how many.
pub async fn set_deadline(tx: &mut Tx, plan: i64, batch: i64, moved: Moved<'_>, now: Time) -> DbResult<u64> {
    let condition = format!("plan_id = $1 and batch_id = {batch} and state in ({})", in_flight());
    let keep = history::keep("targets", &condition);
    sql!(&mut *tx, c => sqlx::query(AssertSqlSafe(keep)).bind(plan).execute(c).await?.rows_affected());
    let sql = format!(
        "update targets set detail = coalesce($2, detail), answer_by = $3, updated_at = $4, version = version + 1, cause = $5, cause_ref = $6
         where {condition}"
    );
    Ok(
        sql!(&mut *tx, c => sqlx::query(AssertSqlSafe(sql)).bind(plan).bind(moved.detail).bind(moved.answer_by.map(|t| t.0)).bind(now.0)
        .bind(moved.because.cause.as_str()).bind(moved.because.reference).execute(c).await?.rows_affected()),
    )
}

fn selected(which: Which<'_>, now: Time) -> String {
    match which {
        Which::Plan | Which::NotIn([]) => String::new(),
        Which::NotIn(batches) => {
            let ids: Vec<String> = batches.iter().map(ToString::to_string).collect();
            format!(" and (batch_id is null or batch_id not in ({}))", ids.join(", "))
        }
        Which::Among(devices) => {
            let ids: Vec<String> = devices.iter().map(|d| d.to_db().to_string()).collect();
            format!(" and device_id in ({})", ids.join(", "))
        }
        Which::Batch(id) => format!(" and batch_id = {id}"),
        Which::Overdue => format!(" and answer_by < {}", now.0),
    }
}

/// A row's place and the version that was read, and what its change refers to.
type Place = [Option<i64>; 3];

/// What changes of a group have in common: messages of a kind all move their devices alike.
type Alike<'a> = (TargetState, Reason, Option<Time>, Option<&'a str>, Cause);

/// The changes of a plan: all of them, and by the way in which they move.
type OfPlan<'a> = (Vec<Place>, BTreeMap<Alike<'a>, Vec<Place>>);

/// Saves transitions, each only from the version that was read. Gives how many took effect. One statement for the before-images of a plan's,
/// and one for each way in which they move.
pub async fn apply(tx: &mut Tx, changes: &[Change], now: Time) -> DbResult<u64> {
    let mut applied = 0;
    for group in changes.chunks(GROUP_ROWS) {
        let mut plans: BTreeMap<i64, OfPlan<'_>> = BTreeMap::new();
        for c in group {
            let (all, ways) = plans.entry(c.plan_id).or_default();
            let place = [Some(c.device.to_db()), Some(c.version), c.because.reference];
            all.push(place);
            ways.entry((c.state, c.reason, c.answer_by, c.detail.as_deref(), c.because.cause)).or_default().push(place);
        }
        for (plan, (all, ways)) in plans {
            history::keep_places(tx, plan, &all).await?;
            for ((state, reason, answer_by, detail, cause), places) in ways {
                let more = [
                    state.as_str().into(),
                    reason.as_str().into(),
                    Cell::Number(answer_by.map(|t| t.0)),
                    Cell::Text(detail),
                    now.0.into(),
                    cause.as_str().into(),
                    plan.into(),
                ];
                applied += given::execute(tx, PLACE, &places, MOVE, &more).await?;
            }
        }
    }
    Ok(applied)
}

pub(super) const PLACE: [&str; 3] = ["device_id", "version", "reference"];

pub(super) const MOVE: &str =
    "update targets set state = ?, reason = ?, answer_by = ?, detail = coalesce(?, targets.detail), updated_at = ?,
        version = targets.version + 1, cause = ?, cause_ref = v.reference
    from v where targets.plan_id = ? and targets.device_id = v.device_id and targets.version = v.version";
