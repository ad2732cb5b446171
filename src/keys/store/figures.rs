//! Cases in figures: how many, how old, and how they stood at a moment.

use std::collections::BTreeMap;

use sqlx::AssertSqlSafe;

use super::{
    super::{CaseThen, Handled, KeyCaseState},
    holder_of,
};
use crate::{
    clock::Time,
    db::{DbError, DbResult, Tx},
    estate::Cohort,
    ids::DeviceId,
    sql,
};

const HOUR_MILLIS: i64 = 3_600_000;

/// How many cases are in each state, of everybody or of the members of a plan.
pub async fn count_by_state(tx: &mut Tx, members_of: Option<i64>) -> DbResult<BTreeMap<KeyCaseState, i64>> {
    // Of one device only the latest case counts for a plan.
    let found: Vec<(String, i64)> = match members_of {
        None => {
            sql!(tx, c => sqlx::query_as("select state, count(*) from key_cases group by state order by state").fetch_all(c).await)?
        }
        Some(plan) => sql!(tx, c => sqlx::query_as(
            "select k.state, count(*) from key_cases k join targets t on t.plan_id = $1 and t.device_id = k.device_id
             where t.state <> 'ineligible' and k.id = (select max(x.id) from key_cases x where x.device_id = k.device_id)
             group by k.state order by k.state")
            .bind(plan).fetch_all(c).await)?,
    };
    let mut counts: BTreeMap<KeyCaseState, i64> = KeyCaseState::ALL.iter().map(|s| (*s, 0)).collect();
    for (state, n) in found {
        counts.insert(state.parse().map_err(|_| DbError::bad_row("key_cases", "count", "state", &state))?, n);
    }
    Ok(counts)
}

/// So many cases of a cohort (`None` where the site is not known) are in a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CohortCount {
    pub cohort: Option<String>,
    pub state: KeyCaseState,
    pub cases: i64,
    /// Of them those that are their device's first.
    pub devices: i64,
}

/// Cases by cohort and state.
pub async fn count_by_cohort(tx: &mut Tx) -> DbResult<Vec<CohortCount>> {
    let found: Vec<(Option<String>, String, i64, i64)> = sql!(tx, c => sqlx::query_as(
        "select cohort, state, count(*), cast(sum(case when previous is null then 1 else 0 end) as bigint)
         from key_cases group by cohort, state order by cohort, state").fetch_all(c).await)?;
    let one = |(cohort, state, cases, devices): (Option<String>, String, i64, i64)| {
        let state = state.parse().map_err(|_| DbError::bad_row("key_cases", "count", "state", &state))?;
        Ok(CohortCount { cohort, state, cases, devices })
    };
    found.into_iter().map(one).collect()
}

/// How many devices the transitional tool handled (L§13: the population of the 0.3%) by a moment.
pub async fn tool_population(tx: &mut Tx, by: Time) -> DbResult<i64> {
    Ok(
        sql!(tx, c => sqlx::query_scalar("select count(distinct device_id) from key_results where source = 'import' and attempted_at <= $1")
        .bind(by.0).fetch_one(c).await)?,
    )
}

/// The same by cohort, of sites that are known, with those whose key is missing: whose latest case did not end with it.
/// `(cohort, handled, missing)`.
pub async fn tool_population_by_cohort(tx: &mut Tx) -> DbResult<Vec<(String, i64, i64)>> {
    let handled: Vec<(String, i64)> = sql!(&mut *tx, c => sqlx::query_as(
        "select s.cohort, count(*) from (select distinct device_id from key_results where source = 'import') r
         join sites s on s.device_id = r.device_id group by s.cohort order by s.cohort").fetch_all(c).await)?;
    let missing: Vec<(String, i64)> = sql!(tx, c => sqlx::query_as(
        "select s.cohort, count(*) from key_cases k join sites s on s.device_id = k.device_id
         where k.state <> 'resolved' and k.id = (select max(x.id) from key_cases x where x.device_id = k.device_id)
           and exists (select 1 from key_results r where r.device_id = k.device_id and r.source = 'import')
         group by s.cohort order by s.cohort").fetch_all(c).await)?;
    let missing: BTreeMap<String, i64> = missing.into_iter().collect();
    let with = |(cohort, handled): (String, i64)| {
        let n = missing.get(&cohort).copied().unwrap_or(0);
        (cohort, handled, n)
    };
    Ok(handled.into_iter().map(with).collect())
}

/// How many open cases are so many whole days old, the oldest first.
pub async fn open_by_age(tx: &mut Tx, now: Time) -> DbResult<Vec<(i64, i64)>> {
    let text = "select ($1 - first_seen) / 86400000, count(*) from key_cases where state in ('retrying', 'investigating')
                group by ($1 - first_seen) / 86400000 order by ($1 - first_seen) / 86400000 desc";
    Ok(sql!(tx, c => sqlx::query_as(text).bind(now.0).fetch_all(c).await)?)
}

/// When the first failure of any case was.
pub async fn first_seen(tx: &mut Tx) -> DbResult<Option<Time>> {
    let first: Option<i64> = sql!(tx, c => sqlx::query_scalar("select min(first_seen) from key_cases").fetch_one(c).await)?;
    Ok(first.map(Time))
}

/// How many cases were resolved in each hour after `since`: its first moment, and the number. (A London day begins with an hour.)
pub async fn resolved_by_hour(tx: &mut Tx, since: Time, by: Time) -> DbResult<Vec<(Time, i64)>> {
    let found: Vec<(i64, i64)> = sql!(tx, c => sqlx::query_as(
        "select ended_at / 3600000, count(*) from key_cases where state = 'resolved' and ended_at > $1 and ended_at <= $2
         group by ended_at / 3600000 order by ended_at / 3600000")
        .bind(since.0).bind(by.0).fetch_all(c).await)?;
    Ok(found.into_iter().map(|(hour, n)| (Time(hour * HOUR_MILLIS), n)).collect())
}

/// How many sites the tool handled by a moment, by their cohort and by who held them that day.
pub async fn handled_then(tx: &mut Tx, at: Time) -> DbResult<Vec<Handled>> {
    let text = format!(
        "select cohort, supplier, count(*) from (
            select s.cohort as cohort, {} as supplier
            from (select distinct device_id from key_results where source = 'import' and attempted_at <= $1) d
            left join sites s on s.device_id = d.device_id) as handled
         group by cohort, supplier order by cohort, supplier",
        holder_of("s.mpan", "$2")
    );
    let found: Vec<(Option<String>, Option<String>, i64)> =
        sql!(tx, c => sqlx::query_as(AssertSqlSafe(text)).bind(at.0).bind(at.london_day().0).fetch_all(c).await)?;
    found
        .into_iter()
        .map(|(cohort, supplier, sites)| Ok(Handled { cohort: cohort_of("handled", cohort)?, supplier, sites }))
        .collect()
}

fn cohort_of(key: impl std::fmt::Display, cohort: Option<String>) -> DbResult<Option<Cohort>> {
    cohort.map(|c| c.parse().map_err(|_| DbError::bad_row("sites", key, "cohort", &c))).transpose()
}

type ThenRow = (
    i64,
    i64,
    Option<String>,
    Option<String>,
    bool,
    String,
    i64,
    i64,
    Option<i64>,
    Option<String>,
    Option<String>,
    Option<String>,
);

/// Each device's latest case of those that had begun by a moment, as it stood then. What was said later is not known then: the incident is
/// named if the case was one by then, or is one that was opened again, which takes over the incident of the case before it.
pub async fn cases_then(tx: &mut Tx, at: Time) -> DbResult<Vec<CaseThen>> {
    let text = format!(
        "select k.id, k.device_id, s.cohort, {},
            exists (select 1 from key_results h where h.device_id = k.device_id and h.source = 'import' and h.attempted_at <= $1),
            k.state, k.first_seen,
            (select count(*) from key_attempts a where a.case_id = k.id and a.at <= $1 and a.outcome = 'investigating')
              + (select count(*) from key_events e where e.case_id = k.id and e.at <= $1 and e.kind in ('escalate', 'give-up')),
            k.ended_at,
            coalesce((select a.detail from key_attempts a where a.case_id = k.id and a.at <= $1 and a.detail is not null
              and a.kind not in ('requested', 'resubmission', 'hand') and a.outcome <> 'updated' order by a.at desc limit 1),
              case when (select count(*) from key_attempts a where a.case_id = k.id and a.at = k.first_seen and a.kind = 'hand') > 0
                then (select p.last_error from key_cases p where p.id = k.previous) end),
            k.closed_reason,
            case when (select max(e.id) from key_events e where e.case_id = k.id and e.kind = 'escalate' and e.at <= $1) is not null
                then k.incident
              when (select max(e.id) from key_events e where e.case_id = k.previous and e.kind = 'reopen') is not null
                then (select p.incident from key_cases p where p.id = k.previous) end
        from key_cases k left join sites s on s.device_id = k.device_id where k.first_seen <= $1
          and k.id = (select max(x.id) from key_cases x where x.device_id = k.device_id and x.first_seen <= $1) order by k.id",
        holder_of("s.mpan", "$2")
    );
    let found: Vec<ThenRow> =
        sql!(tx, c => sqlx::query_as(AssertSqlSafe(text)).bind(at.0).bind(at.london_day().0).fetch_all(c).await)?;
    let one = |row: ThenRow| {
        let (
            id,
            device,
            cohort,
            supplier,
            handled,
            state,
            first_seen,
            investigated,
            ended_at,
            last_error,
            closed_reason,
            incident,
        ) = row;
        let bad = |column, found: &str| DbError::bad_row("key_cases", id, column, found);
        let ended_at = ended_at.map(Time).filter(|ended| *ended <= at);
        let state = match (ended_at, investigated) {
            (Some(_), _) => state.parse().map_err(|_| bad("state", &state))?,
            (None, 0) => KeyCaseState::Retrying,
            (None, _) => KeyCaseState::Investigating,
        };
        Ok(CaseThen {
            device_id: DeviceId::from_db(device),
            cohort: cohort_of(id, cohort)?,
            supplier,
            handled,
            state,
            first_seen: Time(first_seen),
            ended_at,
            last_error,
            closed_reason,
            incident,
        })
    };
    found.into_iter().map(one).collect()
}
