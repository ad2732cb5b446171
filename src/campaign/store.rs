//! Campaigns, plans and batches in the database.

pub mod excluded;
mod kept_batches;
pub mod latencies;
mod of_batch;

use std::collections::BTreeMap;

use sqlx::AssertSqlSafe;

use super::{
    Campaign, CampaignState, Plan, PlanReport, PlanState, Tally,
    batch::{Batch, BatchState, decode_members, encode_members},
};
use crate::{
    clock::Time,
    db::{DbError, DbResult, Tx},
    estate::SiteFilter,
    ids::{DeviceId, ImageId},
    policy::{Outcome, Reason, WaveSize},
    sql,
};

pub use kept_batches::{KeptBatch, kept_batches};
pub use of_batch::{OfBatch, of_batch};

/// What a new campaign is made of.
#[derive(Debug, Clone)]
pub struct NewCampaign {
    pub name: String,
    pub image_id: ImageId,
    pub filter: SiteFilter,
    pub rollout: String,
    pub batch_size: i64,
    pub waves: Vec<(String, WaveSize)>,
    pub created_by: String,
}

#[derive(Debug, sqlx::FromRow)]
struct CampaignRow {
    id: i64,
    name: String,
    image_id: String,
    state: String,
    filter: String,
    rollout: String,
    batch_size: i64,
    waves: Option<String>,
    created_at: i64,
    created_by: String,
    plan_id: Option<i64>,
    approved_at: Option<i64>,
    approved_by: Option<String>,
    approved_hash: Option<String>,
    policy_set: Option<i64>,
    policy_binding: Option<String>,
    approved_until: Option<i64>,
    started_at: Option<i64>,
    stopped_code: Option<String>,
    stopped_reason: Option<String>,
    stopped_at: Option<i64>,
    stopped_by: Option<String>,
    ended_at: Option<i64>,
}

impl TryFrom<CampaignRow> for Campaign {
    type Error = DbError;

    fn try_from(row: CampaignRow) -> DbResult<Campaign> {
        let bad = |column, found: &str| DbError::bad_row("campaigns", row.id, column, found);
        Ok(Campaign {
            image_id: row.image_id.parse().map_err(|_| bad("image_id", &row.image_id))?,
            state: row.state.parse().map_err(|_| bad("state", &row.state))?,
            filter: serde_json::from_str(&row.filter).map_err(|_| bad("filter", &row.filter))?,
            waves: match &row.waves {
                Some(text) => serde_json::from_str(text).map_err(|_| bad("waves", text))?,
                None => Vec::new(),
            },
            id: row.id,
            name: row.name,
            rollout: row.rollout,
            batch_size: row.batch_size,
            created_at: Time(row.created_at),
            created_by: row.created_by,
            plan_id: row.plan_id,
            approved_at: row.approved_at.map(Time),
            approved_by: row.approved_by,
            approved_hash: row.approved_hash,
            policy_set: row.policy_set,
            policy_binding: row.policy_binding,
            approved_until: row.approved_until.map(Time),
            started_at: row.started_at.map(Time),
            stopped_code: row.stopped_code,
            stopped_reason: row.stopped_reason,
            stopped_at: row.stopped_at.map(Time),
            stopped_by: row.stopped_by,
            ended_at: row.ended_at.map(Time),
        })
    }
}

pub async fn insert(tx: &mut Tx, new: &NewCampaign, now: Time) -> DbResult<i64> {
    let filter = serde_json::to_string(&new.filter).expect("a filter is plain data");
    let waves = (!new.waves.is_empty()).then(|| serde_json::to_string(&new.waves).expect("sizes are plain data"));
    Ok(sql!(tx, c => sqlx::query_scalar(
        "insert into campaigns (name, image_id, state, filter, rollout, batch_size, created_at, created_by, waves)
         values ($1, $2, 'draft', $3, $4, $5, $6, $7, $8) returning id")
        .bind(&new.name).bind(new.image_id.to_string()).bind(filter).bind(&new.rollout).bind(new.batch_size).bind(now.0).bind(&new.created_by)
        .bind(waves).fetch_one(c).await)?)
}

pub async fn get(tx: &mut Tx, id: i64) -> DbResult<Option<Campaign>> {
    let row: Option<CampaignRow> =
        sql!(tx, c => sqlx::query_as("select * from campaigns where id = $1").bind(id).fetch_optional(c).await)?;
    row.map(Campaign::try_from).transpose()
}

/// A campaign that exists, locked until the transaction ends: who else wants to change it waits.
pub async fn lock(tx: &mut Tx, id: i64) -> DbResult<Campaign> {
    let lock = if tx.is_sqlite() { "" } else { " for update" };
    let sql = format!("select * from campaigns where id = $1{lock}");
    let row: CampaignRow = sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(id).fetch_one(c).await)?;
    row.try_into()
}

/// By name.
pub async fn named(tx: &mut Tx, name: &str) -> DbResult<Option<Campaign>> {
    let row: Option<CampaignRow> =
        sql!(tx, c => sqlx::query_as("select * from campaigns where name = $1").bind(name).fetch_optional(c).await)?;
    row.map(Campaign::try_from).transpose()
}

pub async fn list(tx: &mut Tx) -> DbResult<Vec<Campaign>> {
    let rows: Vec<CampaignRow> = sql!(tx, c => sqlx::query_as("select * from campaigns order by id").fetch_all(c).await)?;
    rows.into_iter().map(Campaign::try_from).collect()
}

/// Saves what may change of a campaign, only from the state it was read in. `false`: somebody was quicker; read again.
pub async fn save(tx: &mut Tx, campaign: &Campaign, read_in: CampaignState) -> DbResult<bool> {
    let changed = sql!(tx, c => sqlx::query(
        "update campaigns set state = $1, plan_id = $2, approved_at = $3, approved_by = $4, approved_hash = $5, started_at = $6,
                stopped_code = $7, stopped_reason = $8, stopped_at = $9, stopped_by = $10, ended_at = $11,
                policy_set = $12, policy_binding = $13, approved_until = $14
         where id = $15 and state = $16")
        .bind(campaign.state.as_str()).bind(campaign.plan_id).bind(campaign.approved_at.map(|t| t.0)).bind(&campaign.approved_by)
        .bind(&campaign.approved_hash).bind(campaign.started_at.map(|t| t.0)).bind(&campaign.stopped_code).bind(&campaign.stopped_reason)
        .bind(campaign.stopped_at.map(|t| t.0)).bind(&campaign.stopped_by).bind(campaign.ended_at.map(|t| t.0))
        .bind(campaign.policy_set).bind(&campaign.policy_binding).bind(campaign.approved_until.map(|t| t.0)).bind(campaign.id).bind(read_in.as_str())
        .execute(c).await?.rows_affected());
    Ok(changed == 1)
}

// ---------------------------------------------------------------- plans

#[derive(Debug, sqlx::FromRow)]
struct PlanRow {
    id: i64,
    campaign_id: i64,
    state: String,
    decided_at: i64,
    created_at: i64,
    created_by: String,
    policy_hash: String,
    policy_set: Option<i64>,
    candidate_hash: Option<String>,
    sites: i64,
    eligible: i64,
    held: i64,
    ineligible: i64,
    by_reason: String,
    report: Option<String>,
    waves: Option<String>,
}

impl TryFrom<PlanRow> for Plan {
    type Error = DbError;

    fn try_from(row: PlanRow) -> DbResult<Plan> {
        let bad = |column, found: &str| DbError::bad_row("plans", row.id, column, found);
        let counts: BTreeMap<String, i64> = serde_json::from_str(&row.by_reason).map_err(|_| bad("by_reason", &row.by_reason))?;
        let mut by_reason = BTreeMap::new();
        for (reason, n) in counts {
            by_reason.insert(reason.parse::<Reason>().map_err(|_| bad("by_reason", &reason))?, n);
        }
        let report = match &row.report {
            Some(text) => serde_json::from_str(text).map_err(|_| bad("report", text))?,
            None => PlanReport::default(),
        };
        let waves = match &row.waves {
            Some(text) => Some(serde_json::from_str(text).map_err(|_| bad("waves", text))?),
            None => None,
        };
        Ok(Plan {
            report,
            waves,
            state: row.state.parse().map_err(|_| bad("state", &row.state))?,
            by_reason,
            id: row.id,
            campaign_id: row.campaign_id,
            decided_at: Time(row.decided_at),
            created_at: Time(row.created_at),
            created_by: row.created_by,
            policy_hash: row.policy_hash,
            policy_set: row.policy_set,
            candidate_hash: row.candidate_hash,
            sites: row.sites,
            eligible: row.eligible,
            held: row.held,
            ineligible: row.ineligible,
        })
    }
}

/// Begins a plan; nothing looks at it until [`finish_plan`].
pub async fn begin_plan(
    tx: &mut Tx,
    campaign: i64,
    decided_at: Time,
    (policy_set, policy_hash): &(i64, String),
    by: &str,
    now: Time,
) -> DbResult<i64> {
    Ok(sql!(tx, c => sqlx::query_scalar(
        "insert into plans (campaign_id, state, decided_at, created_at, created_by, policy_hash, policy_set, sites, eligible, held, ineligible, by_reason)
         values ($1, 'building', $2, $3, $4, $5, $6, 0, 0, 0, 0, '{}') returning id")
        .bind(campaign).bind(decided_at.0).bind(now.0).bind(by).bind(policy_hash).bind(policy_set).fetch_one(c).await)?)
}

/// Puts a plan that was being built in its final state. `false`: it is no longer being built.
pub async fn finish_plan(tx: &mut Tx, plan: i64, state: PlanState, tally: &Tally, report: &PlanReport) -> DbResult<bool> {
    let by_reason: BTreeMap<&str, i64> = tally.by_reason.iter().map(|(r, n)| (r.as_str(), *n)).collect();
    let by_reason = serde_json::to_string(&by_reason).expect("counts are plain data");
    let report = serde_json::to_string(report).expect("a report is plain data");
    let changed = sql!(tx, c => sqlx::query(
        "update plans set state = $2, candidate_hash = $3, sites = $4, eligible = $5, held = $6, ineligible = $7, by_reason = $8,
                report = $9
         where id = $1 and state = 'building'")
        .bind(plan).bind(state.as_str()).bind(tally.candidate_hash()).bind(tally.sites()).bind(tally.count(Outcome::Eligible))
        .bind(tally.count(Outcome::Held)).bind(tally.count(Outcome::Ineligible)).bind(by_reason)
        .bind(report)
        .execute(c).await?.rows_affected());
    Ok(changed == 1)
}

/// Gives up a plan that is being built: its rows are to be removed.
pub async fn give_up_plan(tx: &mut Tx, plan: i64) -> DbResult<()> {
    sql!(tx, c => sqlx::query("update plans set state = 'superseded' where id = $1 and state = 'building'").bind(plan).execute(c).await?.rows_affected());
    Ok(())
}

/// Marks what a finished plan takes the place of: a real plan replaces every other, a what-if only other what-ifs.
pub async fn supersede_plans(tx: &mut Tx, campaign: i64, keep: i64, kept: PlanState) -> DbResult<()> {
    let which =
        if kept == PlanState::WhatIf { "('what_if', 'superseded')" } else { "('building', 'ready', 'what_if', 'superseded')" };
    let sql = format!("update plans set state = 'superseded' where campaign_id = $1 and id <> $2 and state in {which}");
    sql!(tx, c => sqlx::query(AssertSqlSafe(sql)).bind(campaign).bind(keep).execute(c).await?.rows_affected());
    Ok(())
}

/// Plans of a campaign whose rows are to be removed.
pub async fn superseded_plans(tx: &mut Tx, campaign: i64) -> DbResult<Vec<i64>> {
    Ok(sql!(tx, c => sqlx::query_scalar("select id from plans where campaign_id = $1 and state = 'superseded' order by id")
        .bind(campaign).fetch_all(c).await)?)
}

/// Removes a superseded plan whose rows are gone.
pub async fn delete_plan(tx: &mut Tx, plan: i64) -> DbResult<()> {
    sql!(tx, c => sqlx::query("delete from plans where id = $1 and state = 'superseded'").bind(plan).execute(c).await?.rows_affected());
    Ok(())
}

pub async fn plan(tx: &mut Tx, id: i64) -> DbResult<Option<Plan>> {
    let row: Option<PlanRow> =
        sql!(tx, c => sqlx::query_as("select * from plans where id = $1").bind(id).fetch_optional(c).await)?;
    row.map(Plan::try_from).transpose()
}

/// The plan that `targets` shows: the one in force, or a what-if made after it.
pub async fn newest_plan(tx: &mut Tx, campaign: i64) -> DbResult<Option<Plan>> {
    let row: Option<PlanRow> = sql!(tx, c => sqlx::query_as(
        "select * from plans where campaign_id = $1 and state in ('ready', 'what_if') order by id desc limit 1")
        .bind(campaign).fetch_optional(c).await)?;
    row.map(Plan::try_from).transpose()
}

/// A campaign whose devices a message may be about.
#[derive(Debug, Clone)]
pub struct Followed {
    pub campaign_id: i64,
    pub plan_id: i64,
    pub image_id: ImageId,
    /// The image's firmware version.
    pub firmware_version: String,
}

/// Every campaign that has been started, with the version its image brings.
pub async fn followed(tx: &mut Tx) -> DbResult<Vec<Followed>> {
    let rows: Vec<(i64, i64, String, String)> = sql!(tx, c => sqlx::query_as(
        "select c.id, c.plan_id, c.image_id, i.firmware_version from campaigns c join images i on i.image_id = c.image_id
         where c.plan_id is not null and c.state in ('started', 'paused', 'halted', 'aborted', 'finished') order by c.id")
        .fetch_all(c).await)?;
    rows.into_iter()
        .map(|(campaign_id, plan_id, image, firmware_version)| {
            let image_id = image.parse().map_err(|_| DbError::bad_row("campaigns", campaign_id, "image_id", &image))?;
            Ok(Followed { campaign_id, plan_id, image_id, firmware_version })
        })
        .collect()
}

/// Every campaign that was ever started, and where it stands.
pub async fn once_started(tx: &mut Tx) -> DbResult<Vec<(i64, CampaignState)>> {
    let rows: Vec<(i64, String)> = sql!(tx, c => sqlx::query_as(
        "select id, state from campaigns where started_at is not null order by id").fetch_all(c).await)?;
    rows.into_iter()
        .map(|(id, state)| Ok((id, state.parse().map_err(|_| DbError::bad_row("campaigns", id, "state", &state))?)))
        .collect()
}

/// Campaigns that were aborted and have a plan, whose members may have to be cancelled still.
pub async fn aborted(tx: &mut Tx) -> DbResult<Vec<Campaign>> {
    let text = "select * from campaigns where state = 'aborted' and plan_id is not null order by id";
    let rows: Vec<CampaignRow> = sql!(tx, c => sqlx::query_as(text).fetch_all(c).await)?;
    rows.into_iter().map(Campaign::try_from).collect()
}

/// The plans of campaigns other than `except` that were started and may have something out: who is in progress there waits
/// here. A pause, a halt or an abort calls nothing back, so what those have sent still counts.
pub async fn other_started_plans(tx: &mut Tx, except: i64) -> DbResult<Vec<i64>> {
    Ok(sql!(tx, c => sqlx::query_scalar(
        "select plan_id from campaigns where state in ('started', 'paused', 'halted', 'aborted') and started_at is not null
           and plan_id is not null and id <> $1 order by plan_id")
        .bind(except).fetch_all(c).await)?)
}

// ---------------------------------------------------------------- batches

type BatchRow = (i64, i64, i64, i64, Vec<u8>, bool, String, Option<String>, i64);

fn batch(row: BatchRow) -> DbResult<Batch> {
    let (id, campaign_id, plan_id, number, members, resubmission, state, note, updated_at) = row;
    Ok(Batch {
        members: decode_members(&members)
            .ok_or_else(|| DbError::bad_row("batches", id, "members", format!("{} bytes", members.len())))?,
        state: state.parse().map_err(|_| DbError::bad_row("batches", id, "state", &state))?,
        id,
        campaign_id,
        plan_id,
        number,
        resubmission,
        note,
        updated_at: Time(updated_at),
    })
}

const BATCH_COLUMNS: &str = "id, campaign_id, plan_id, number, members, resubmission, state, note, updated_at";

pub async fn insert_batch(
    tx: &mut Tx,
    campaign: i64,
    plan: i64,
    members: &[DeviceId],
    (resubmission, wave): (bool, Option<i64>),
    now: Time,
) -> DbResult<i64> {
    Ok(sql!(tx, c => sqlx::query_scalar(
        "insert into batches (campaign_id, plan_id, number, members, size, resubmission, state, created_at, updated_at, wave)
         values ($1, $2, (select coalesce(max(number), 0) + 1 from batches where campaign_id = $1), $3, $4, $5, 'prepared', $6, $6, $7) returning id")
        .bind(campaign).bind(plan).bind(encode_members(members)).bind(members.len() as i64).bind(resubmission).bind(now.0)
        .bind(wave).fetch_one(c).await)?)
}

pub async fn get_batch(tx: &mut Tx, id: i64) -> DbResult<Option<Batch>> {
    let sql = format!("select {BATCH_COLUMNS} from batches where id = $1");
    let row: Option<BatchRow> = sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(id).fetch_optional(c).await)?;
    row.map(batch).transpose()
}

/// Sets the state of a batch.
pub async fn set_batch_state(tx: &mut Tx, id: i64, state: BatchState, note: Option<&str>, now: Time) -> DbResult<()> {
    sql!(tx, c => sqlx::query("update batches set state = $2, note = coalesce($3, note), updated_at = $4 where id = $1")
        .bind(id).bind(state.as_str()).bind(note).bind(now.0).execute(c).await?.rows_affected());
    Ok(())
}

/// A campaign's batches in order, dissolved ones left out: number, size, state, note.
pub async fn list_batches(tx: &mut Tx, campaign: i64) -> DbResult<Vec<(i64, i64, String, Option<String>)>> {
    Ok(sql!(tx, c => sqlx::query_as(
        "select number, size, state, note from batches where campaign_id = $1 and state <> 'dissolved' order by number")
        .bind(campaign).fetch_all(c).await)?)
}

/// The batches, of any campaign, that have this device.
pub async fn batches_with(tx: &mut Tx, device: DeviceId) -> DbResult<Vec<i64>> {
    let holds = if tx.is_sqlite() { "instr(members, $1) > 0" } else { "position($1 in members) > 0" };
    let sql = format!("select id, members from batches where {holds} order by id");
    let found: Vec<(i64, Vec<u8>)> =
        sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(encode_members(&[device])).fetch_all(c).await)?;
    // The eight bytes may also be the end of one id and the beginning of the next.
    Ok(found.into_iter().filter(|(_, m)| decode_members(m).is_some_and(|all| all.contains(&device))).map(|(id, _)| id).collect())
}

/// The members of every batch of a campaign that was posted: one list a batch.
pub async fn posted_members(tx: &mut Tx, campaign: i64) -> DbResult<Vec<Vec<DeviceId>>> {
    let rows: Vec<(i64, Vec<u8>)> = sql!(tx, c => sqlx::query_as(
        "select id, members from batches where campaign_id = $1 and state in ('unknown', 'accepted', 'refused', 'held') order by id")
        .bind(campaign).fetch_all(c).await)?;
    rows.into_iter()
        .map(|(id, m)| decode_members(&m).ok_or_else(|| DbError::bad_row("batches", id, "members", format!("{} bytes", m.len()))))
        .collect()
}
