//! Devices that people took out of a campaign for good. Kept by device, not by plan: a new plan, a top-up or what DCC gives back does
//! not bring one in again.

use std::collections::BTreeMap;

use serde_json::json;
use sqlx::AssertSqlSafe;

use crate::{
    clock::Time,
    db::{
        DbResult, Tx,
        rows::{self, Rows},
    },
    ids::DeviceId,
    sql,
};

/// Whether anything was taken out of the campaign: of most, nothing ever is.
pub async fn any(tx: &mut Tx, campaign: i64) -> DbResult<bool> {
    let text = "select device_id from campaign_exclusions where campaign_id = $1 order by device_id limit 1";
    let one: Option<i64> = sql!(tx, c => sqlx::query_scalar(text).bind(campaign).fetch_optional(c).await)?;
    Ok(one.is_some())
}

/// How many were.
pub async fn count(tx: &mut Tx, campaign: i64) -> DbResult<i64> {
    let text = "select count(*) from campaign_exclusions where campaign_id = $1";
    Ok(sql!(tx, c => sqlx::query_scalar(text).bind(campaign).fetch_one(c).await)?)
}

/// Those of `devices` that were taken out, and why.
pub async fn among(tx: &mut Tx, campaign: i64, devices: &[DeviceId]) -> DbResult<BTreeMap<DeviceId, String>> {
    if devices.is_empty() {
        return Ok(BTreeMap::new());
    }
    let (d, among) = rows::integers(tx, 2, devices.iter().map(|d| d.to_db()));
    let sql = format!(
        "select device_id, 'excluded by ' || excluded_by || ': ' || reason from campaign_exclusions
         where campaign_id = $1 and device_id {among} order by device_id"
    );
    let found: Vec<(i64, String)> = sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(campaign).bind(d).fetch_all(c).await)?;
    Ok(found.into_iter().map(|(d, why)| (DeviceId::from_db(d), why)).collect())
}

/// Takes devices out; who was taken out before stays as it was. Gives how many are new.
pub async fn add(tx: &mut Tx, campaign: i64, devices: &[DeviceId], reason: &str, who: &str, now: Time) -> DbResult<u64> {
    if devices.is_empty() {
        return Ok(0);
    }
    let values: Rows = devices.iter().map(|d| json!([d.to_db()])).collect();
    let v = rows::table(tx, 1, &[("device_id", "int")]);
    let sql = format!(
        "insert into campaign_exclusions (campaign_id, device_id, reason, excluded_by, excluded_at)
         select cast($2 as bigint), v.device_id, cast($3 as text), cast($4 as text), cast($5 as bigint) from {v} where true
         on conflict (campaign_id, device_id) do nothing"
    );
    Ok(sql!(tx, c => sqlx::query(AssertSqlSafe(sql)).bind(values.to_json()).bind(campaign).bind(reason).bind(who).bind(now.0)
        .execute(c).await?.rows_affected()))
}
