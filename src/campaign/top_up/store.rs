//! Top-ups in the database, and their sites.

use std::collections::BTreeMap;

use serde_json::json;
use sqlx::AssertSqlSafe;

use super::{TopUp, TopUpState};
use crate::{
    campaign::Tally,
    clock::Time,
    db::{
        DbError, DbResult, Tx, bulk,
        rows::{self, Rows},
    },
    ids::DeviceId,
    policy::{Outcome, Reason},
    sql,
};

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    campaign_id: i64,
    plan_id: i64,
    state: String,
    asked_by: String,
    asked_at: i64,
    found: i64,
    candidates: String,
    by_reason: String,
    approved_by: Option<String>,
    approved_at: Option<i64>,
    taken: i64,
    ended_at: Option<i64>,
    note: Option<String>,
}

impl TryFrom<Row> for TopUp {
    type Error = DbError;

    fn try_from(row: Row) -> DbResult<TopUp> {
        let bad = |column, found: &str| DbError::bad_row("top_ups", row.id, column, found);
        let counts: BTreeMap<String, i64> = serde_json::from_str(&row.by_reason).map_err(|_| bad("by_reason", &row.by_reason))?;
        let mut by_reason = BTreeMap::new();
        for (reason, n) in counts {
            by_reason.insert(reason.parse::<Reason>().map_err(|_| bad("by_reason", &reason))?, n);
        }
        Ok(TopUp {
            state: row.state.parse().map_err(|_| bad("state", &row.state))?,
            by_reason,
            id: row.id,
            campaign: row.campaign_id,
            plan: row.plan_id,
            asked_by: row.asked_by,
            asked_at: Time(row.asked_at),
            found: row.found,
            candidates: row.candidates,
            approved_by: row.approved_by,
            approved_at: row.approved_at.map(Time),
            taken: row.taken,
            ended_at: row.ended_at.map(Time),
            note: row.note,
        })
    }
}

/// Begins a top-up; nothing looks at it until [`propose`].
pub async fn begin(tx: &mut Tx, campaign: i64, plan: i64, found: &Tally, who: &str, now: Time) -> DbResult<i64> {
    let by_reason: BTreeMap<&str, i64> = found.by_reason.iter().map(|(r, n)| (r.as_str(), *n)).collect();
    let by_reason = serde_json::to_string(&by_reason).expect("counts are plain data");
    Ok(sql!(tx, c => sqlx::query_scalar(
        "insert into top_ups (campaign_id, plan_id, state, asked_by, asked_at, found, candidates, by_reason, taken)
         values ($1, $2, 'finding', $3, $4, $5, $6, $7, 0) returning id")
        .bind(campaign).bind(plan).bind(who).bind(now.0).bind(found.sites()).bind(found.candidate_hash()).bind(by_reason)
        .fetch_one(c).await)?)
}

/// Writes some of its sites down.
pub async fn add_sites(tx: &mut Tx, id: i64, devices: &[DeviceId]) -> DbResult<()> {
    let mut rows = bulk::Rows::new("top_up_sites", &["device_id"]).with_fixed(&[("top_up_id", id)]);
    devices.iter().for_each(|d| rows.push(&[d.to_db().into()]));
    rows.flush(tx).await
}

/// All its sites are written down: it is proposed, or being taken in. `false`: another took its place meanwhile.
pub async fn propose(tx: &mut Tx, id: i64, state: TopUpState) -> DbResult<bool> {
    let changed = sql!(tx, c => sqlx::query("update top_ups set state = $2 where id = $1 and state = 'finding'")
        .bind(id).bind(state.as_str()).execute(c).await?.rows_affected());
    Ok(changed == 1)
}

/// Ends what the campaign has that is not decided about, but for `keep`. Gives how many.
pub async fn void_open(tx: &mut Tx, campaign: i64, keep: i64, note: &str, now: Time) -> DbResult<u64> {
    Ok(sql!(tx, c => sqlx::query(
        "update top_ups set state = 'void', ended_at = $3, note = $4 where campaign_id = $1 and id <> $2 and state in ('finding', 'proposed')")
        .bind(campaign).bind(keep).bind(now.0).bind(note).execute(c).await?.rows_affected()))
}

/// A second person's yes. `false`: it is not proposed any more.
pub async fn approve(tx: &mut Tx, id: i64, by: &str, now: Time) -> DbResult<bool> {
    let changed = sql!(tx, c => sqlx::query(
        "update top_ups set state = 'applying', approved_by = $2, approved_at = $3 where id = $1 and state = 'proposed'")
        .bind(id).bind(by).bind(now.0).execute(c).await?.rows_affected());
    Ok(changed == 1)
}

/// The campaign's top-ups in one state, oldest first; of every campaign where none is named.
pub async fn in_state(tx: &mut Tx, campaign: Option<i64>, state: TopUpState) -> DbResult<Vec<TopUp>> {
    let rows: Vec<Row> = sql!(tx, c => sqlx::query_as(
        "select * from top_ups where state = $1 and campaign_id = coalesce($2, campaign_id) order by id")
        .bind(state.as_str()).bind(campaign).fetch_all(c).await)?;
    rows.into_iter().map(TopUp::try_from).collect()
}

pub async fn get(tx: &mut Tx, id: i64) -> DbResult<Option<TopUp>> {
    let row: Option<Row> = sql!(tx, c => sqlx::query_as("select * from top_ups where id = $1").bind(id).fetch_optional(c).await)?;
    row.map(TopUp::try_from).transpose()
}

/// How many sites of a plan were taken in: all of them, and those that no approval of their own stands behind (of what is being
/// taken in, those that were found).
pub async fn taken(tx: &mut Tx, plan: i64) -> DbResult<(i64, i64)> {
    Ok(sql!(tx, c => sqlx::query_as(
        "select cast(coalesce(sum(case when state = 'applied' then taken else 0 end), 0) as bigint),
                cast(coalesce(sum(case when approved_by is not null then 0 when state = 'applied' then taken else found end), 0) as bigint)
         from top_ups where plan_id = $1 and state in ('applying', 'applied')")
        .bind(plan).fetch_one(c).await)?)
}

/// Sites of a top-up that are not decided about yet, by Device ID.
pub async fn open_sites(tx: &mut Tx, id: i64, limit: usize) -> DbResult<Vec<DeviceId>> {
    let ids: Vec<i64> = sql!(tx, c => sqlx::query_scalar(
        "select device_id from top_up_sites where top_up_id = $1 and reason is null order by device_id limit $2")
        .bind(id).bind(limit as i64).fetch_all(c).await)?;
    Ok(ids.into_iter().map(DeviceId::from_db).collect())
}

/// What was decided about sites when their turn came.
pub async fn decided(tx: &mut Tx, id: i64, reasons: &[(DeviceId, &str)]) -> DbResult<()> {
    let values: Rows = reasons.iter().map(|(device, reason)| json!([device.to_db(), reason])).collect();
    let text = format!(
        "update top_up_sites set reason = v.reason from {} where top_up_sites.top_up_id = $2 and top_up_sites.device_id = v.device_id",
        rows::table(tx, 1, &[("device_id", "int"), ("reason", "text")])
    );
    sql!(tx, c => sqlx::query(AssertSqlSafe(text)).bind(values.to_json()).bind(id).execute(c).await?.rows_affected());
    Ok(())
}

/// All its sites are decided about.
pub async fn finish(tx: &mut Tx, id: i64, now: Time) -> DbResult<()> {
    let members: Vec<String> =
        Reason::ALL.iter().filter(|r| r.outcome() != Outcome::Ineligible).map(|r| format!("'{r}'")).collect();
    let text = format!(
        "update top_ups set state = 'applied', ended_at = $2,
                taken = (select count(*) from top_up_sites s where s.top_up_id = $1 and s.reason in ({}))
         where id = $1 and state = 'applying'",
        members.join(", ")
    );
    sql!(tx, c => sqlx::query(AssertSqlSafe(text)).bind(id).bind(now.0).execute(c).await?.rows_affected());
    Ok(())
}

/// Gives a top-up up while its sites are being taken in: the campaign ended.
pub async fn give_up(tx: &mut Tx, id: i64, note: &str, now: Time) -> DbResult<()> {
    sql!(tx, c => sqlx::query("update top_ups set state = 'void', ended_at = $2, note = $3 where id = $1 and state = 'applying'")
        .bind(id).bind(now.0).bind(note).execute(c).await?.rows_affected());
    Ok(())
}
