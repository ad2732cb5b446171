//! Key cases in the database: brought into line with the results, listed, counted, acted upon, asked for again, sent again.

mod act;
mod facts;
mod figures;
mod known;
mod query;
mod reconcile;
mod requests;
mod resubmit;
#[cfg(test)]
mod tests;

use sqlx::AssertSqlSafe;

use crate::{
    db::{DbResult, Tx, rows::Rows},
    sql,
};

pub use act::{
    KeyAttempt, KeyEvent, applicable, assign, attempts, close, escalate, events, giving_up, inherit, latest_said, note, retry,
    said_by,
};
pub use facts::{Copied, copied, copy_page, handled, imports, remember};
pub use figures::{
    CohortCount, cases_then, count_by_cohort, count_by_state, first_seen, handled_then, open_by_age, resolved_by_hour,
    tool_population, tool_population_by_cohort,
};
pub use query::{After, Picked, list, pick};
pub use reconcile::{Brief, Reconciled, came_in, candidates, reconcile, resolve_activated};
pub use requests::{
    KeyRequest, RequestLine, ask, by_number, cases_of, due as due_for_request, due_elsewhere, lapse, lock as lock_requests,
    made_since, next_run, of_cases as requests_of, to_lapse,
};
pub use resubmit::{
    DueMember, due_members, end as end_resubmissions, over as resubmissions_over, resubmitted, unsent as resubmission_unsent,
};

/// Who held the supply of an MPAN on a day, as a scalar subquery; both are SQL.
fn holder_of(mpan: &str, day: impl std::fmt::Display) -> String {
    format!(
        "(select r.supplier_mpid from registrations r where r.mpan = {mpan}
          and r.effective_from <= {day} and (r.effective_to is null or {day} < r.effective_to) order by r.effective_from desc limit 1)"
    )
}

/// Runs a statement whose `$1` is a table of rows.
async fn execute(tx: &mut Tx, sql: String, rows: &Rows) -> DbResult<()> {
    sql!(tx, c => sqlx::query(AssertSqlSafe(sql)).bind(rows.to_json()).execute(c).await.map(|_| ()))?;
    Ok(())
}
