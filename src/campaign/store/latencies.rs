//! How long stages took, in the database: counted per plan as messages settle, and what a forecast needs beside.

use std::collections::BTreeMap;

use serde_json::json;
use sqlx::AssertSqlSafe;

use crate::{
    campaign::latency::{Latencies, Stage},
    clock::Time,
    db::{
        DbError, DbResult, Tx,
        rows::{self, Rows},
    },
    sql,
};

/// Devices that went through stages: plan, stage and bucket, and how many.
pub type Counted = BTreeMap<(i64, Stage, i64), i64>;

/// Counts devices. One statement a group of messages; in the order of the keys, as every writer goes.
pub async fn count(tx: &mut Tx, counted: &Counted) -> DbResult<()> {
    if counted.is_empty() {
        return Ok(());
    }
    let columns = &[("plan_id", "int"), ("stage", "text"), ("bucket", "int"), ("devices", "int")];
    let values: Rows = counted.iter().map(|((plan, stage, bucket), n)| json!([plan, stage.as_str(), bucket, n])).collect();
    let v = rows::table(tx, 1, columns);
    let sql = format!(
        "insert into stage_latencies (plan_id, stage, bucket, devices) select v.plan_id, v.stage, v.bucket, v.devices from {v} where true
         on conflict (plan_id, stage, bucket) do update set devices = stage_latencies.devices + excluded.devices"
    );
    sql!(tx, c => sqlx::query(AssertSqlSafe(sql)).bind(values.to_json()).execute(c).await?.rows_affected());
    Ok(())
}

/// When these batches were made.
pub async fn made_at(tx: &mut Tx, batches: impl IntoIterator<Item = i64>) -> DbResult<BTreeMap<i64, Time>> {
    let (json, among) = rows::integers(tx, 1, batches);
    let sql = format!("select id, created_at from batches where id {among} order by id");
    let found: Vec<(i64, i64)> = sql!(tx, c => sqlx::query_as(AssertSqlSafe(sql)).bind(&json).fetch_all(c).await)?;
    Ok(found.into_iter().map(|(id, at)| (id, Time(at))).collect())
}

/// How long each stage of a plan took. That of acceptance is each batch's own: from when it was made until DCC's answer.
pub async fn of_plan(tx: &mut Tx, plan: i64) -> DbResult<BTreeMap<Stage, Latencies>> {
    let mut all: BTreeMap<Stage, Latencies> = BTreeMap::new();
    let kept: Vec<(String, i64, i64)> = sql!(&mut *tx, c => sqlx::query_as(
        "select stage, bucket, devices from stage_latencies where plan_id = $1 order by stage, bucket").bind(plan).fetch_all(c).await)?;
    for (stage, bucket, devices) in kept {
        let stage = stage.parse().map_err(|_| DbError::bad_row("stage_latencies", plan, "stage", &stage))?;
        all.entry(stage).or_default().add(bucket, devices);
    }
    let accepted: Vec<(i64, i64)> = sql!(tx, c => sqlx::query_as(
        "select outbox.answered_at - batches.created_at, batches.size from batches join outbox on outbox.batch_id = batches.id
         where batches.plan_id = $1 and batches.state = 'accepted' and outbox.answered_at is not null order by batches.id")
        .bind(plan).fetch_all(c).await)?;
    for (millis, devices) in accepted {
        all.entry(Stage::Accepted).or_default().add(crate::campaign::latency::bucket(millis), devices);
    }
    Ok(all)
}

/// What was sent of a plan: the devices of its batches, and when the first and the last of them were made.
pub async fn sent(tx: &mut Tx, plan: i64) -> DbResult<(i64, Option<Time>, Option<Time>)> {
    let (devices, first, last): (i64, Option<i64>, Option<i64>) = sql!(tx, c => sqlx::query_as(
        "select cast(coalesce(sum(size), 0) as bigint), min(created_at), max(created_at) from batches
         where plan_id = $1 and state <> 'dissolved'").bind(plan).fetch_one(c).await)?;
    Ok((devices, first.map(Time), last.map(Time)))
}

/// What is out of a plan: when each batch was made that has something out, and how much.
pub async fn out(tx: &mut Tx, plan: i64) -> DbResult<Vec<(Time, i64)>> {
    let found: Vec<(i64, i64)> = sql!(tx, c => sqlx::query_as(
        "select batches.created_at, o.devices from (
           select batch_id, count(*) as devices from targets where plan_id = $1 and state in ('submitted', 'accepted', 'delivered')
           group by batch_id) o
         join batches on batches.id = o.batch_id order by batches.created_at, batches.id").bind(plan).fetch_all(c).await)?;
    Ok(found.into_iter().map(|(at, n)| (Time(at), n)).collect())
}
