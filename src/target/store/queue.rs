//! The queue of a plan, as far as windows let it go: which members may be sent now, and how many wait in each cohort and region.

use serde_json::json;
use sqlx::AssertSqlSafe;

use super::{Within, first_after};
use crate::{
    clock::Time,
    db::{
        DbError, DbResult, Tx,
        rows::{self, Rows},
    },
    estate::Cohort,
    ids::DeviceId,
    policy::windows::Closures,
    sql,
};

/// A page of the queued devices that may be sent at `now` as far as their own wait is concerned, by Device ID.
pub async fn queued(
    tx: &mut Tx,
    plan: i64,
    within: Within,
    now: Time,
    after: Option<DeviceId>,
    limit: usize,
) -> DbResult<Vec<DeviceId>> {
    let Some(from) = first_after(after) else { return Ok(Vec::new()) };
    let sql = format!(
        "select device_id from targets{} where plan_id = $1 and state = 'queued' and device_id >= $2 and coalesce(not_before, 0) <= $4{}
         order by device_id limit $3",
        within.index(tx),
        within.condition("targets")
    );
    let ids: Vec<i64> = sql!(tx, c => sqlx::query_scalar(AssertSqlSafe(sql)).bind(plan).bind(from).bind(limit as i64).bind(now.0).fetch_all(c).await)?;
    Ok(ids.into_iter().map(DeviceId::from_db).collect())
}

/// The same, of those whose cohort and region are open.
pub async fn queued_where_open(
    tx: &mut Tx,
    plan: i64,
    within: Within,
    closures: &Closures,
    now: Time,
    after: Option<DeviceId>,
    limit: usize,
) -> DbResult<Vec<DeviceId>> {
    if closures.none() {
        return queued(tx, plan, within, now, after, limit).await;
    }
    let Some(from) = first_after(after) else { return Ok(Vec::new()) };
    let groups = closures.closed.iter().map(|(group, _)| group);
    let named: Rows = groups.clone().filter_map(|g| g.region.as_ref().map(|r| json!([g.cohort.as_str(), r]))).collect();
    let regions: Rows = closures.regions.iter().map(|r| json!([r])).collect();
    let elsewhere: Vec<String> = groups.filter(|g| g.region.is_none()).map(|g| format!("'{}'", g.cohort)).collect();
    let is_named = rows::table(tx, 5, &[("region", "text")]);
    let is_closed = rows::table(tx, 4, &[("cohort", "text"), ("region", "text")]);
    let mut conditions = format!("not exists (select 1 from {is_closed} where v.cohort = s.cohort and v.region = s.region)");
    if !elsewhere.is_empty() {
        let cohorts = elsewhere.join(", ");
        let named = format!("exists (select 1 from {is_named} where v.region = s.region)");
        conditions += &format!(" and (s.cohort not in ({cohorts}) or {named})");
    } else {
        // The parameter is there, so both engines want it named.
        conditions += &format!(" and (1 = 1 or exists (select 1 from {is_named}))");
    }
    // `cross join` keeps SQLite from beginning with the sites.
    let sql = format!(
        "select t.device_id from targets t{} cross join sites s
         where t.plan_id = $1 and t.state = 'queued' and t.device_id >= $2 and coalesce(t.not_before, 0) <= $6
           and s.device_id = t.device_id and {conditions}{}
         order by t.device_id limit $3",
        within.index(tx),
        within.condition("t")
    );
    let ids: Vec<i64> = sql!(tx, c => sqlx::query_scalar(AssertSqlSafe(sql)).bind(plan).bind(from).bind(limit as i64)
        .bind(named.to_json()).bind(regions.to_json()).bind(now.0).fetch_all(c).await)?;
    Ok(ids.into_iter().map(DeviceId::from_db).collect())
}

/// How many of a plan are queued in each cohort and region, but for those whose own wait is not over.
pub async fn queued_by_group(tx: &mut Tx, plan: i64, now: Time) -> DbResult<Vec<(Cohort, Option<String>, i64)>> {
    let text = "select s.cohort, s.region, count(*) from targets t cross join sites s
         where t.plan_id = $1 and t.state = 'queued' and coalesce(t.not_before, 0) <= $2 and s.device_id = t.device_id
         group by s.cohort, s.region order by s.cohort, s.region";
    let found: Vec<(String, Option<String>, i64)> =
        sql!(tx, c => sqlx::query_as(text).bind(plan).bind(now.0).fetch_all(c).await)?;
    let cohort = |text: &str| text.parse().map_err(|_| DbError::bad_row("sites", plan, "cohort", text));
    found.into_iter().map(|(c, region, n)| Ok((cohort(&c)?, region, n))).collect()
}
