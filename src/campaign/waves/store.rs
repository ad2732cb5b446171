//! Waves in the database: those of a plan, those that have begun, every change of a verdict, and the turn of who takes room under a cap.

use super::{Forgiven, LetGo, OpenWave, Verdict, Waves};
use crate::{
    campaign::health::Health,
    clock::Time,
    db::{DbError, DbResult, Tx},
    sql,
};

/// The waves of a plan; `None`: it has none.
pub async fn of_plan(tx: &mut Tx, plan: i64) -> DbResult<Option<Waves>> {
    let text: Option<String> = sql!(tx, c => sqlx::query_scalar("select waves from plans where id = $1 and waves is not null").bind(plan).fetch_optional(c).await)?;
    let read = |text: String| serde_json::from_str(&text).map_err(|_| DbError::bad_row("plans", plan, "waves", &text));
    text.map(read).transpose()
}

/// Keeps the waves of a plan that is being made.
pub async fn keep(tx: &mut Tx, plan: i64, waves: &Waves) -> DbResult<()> {
    sql!(tx, c => sqlx::query("update plans set waves = $2 where id = $1 and state = 'building'")
        .bind(plan).bind(waves.to_json()).execute(c).await?.rows_affected());
    Ok(())
}

#[derive(sqlx::FromRow)]
struct Row {
    number: i64,
    opened_at: i64,
    all_sent_at: Option<i64>,
    passed_at: Option<i64>,
    verdict: String,
    because: String,
    judged_at: i64,
    let_go_at: Option<i64>,
    let_go_by: Option<String>,
    let_go_reason: Option<String>,
    forgiven_answered: i64,
    forgiven_failed: i64,
}

/// Those that have begun, in order.
pub async fn opened(tx: &mut Tx, plan: i64) -> DbResult<Vec<OpenWave>> {
    let rows: Vec<Row> = sql!(tx, c => sqlx::query_as(
        "select number, opened_at, all_sent_at, passed_at, verdict, because, judged_at, let_go_at, let_go_by, let_go_reason,
                forgiven_answered, forgiven_failed
         from waves where plan_id = $1 order by number").bind(plan).fetch_all(c).await)?;
    let open = |row: Row| {
        let verdict = row.verdict.parse().map_err(|_| DbError::bad_row("waves", plan, "verdict", &row.verdict))?;
        let let_go = match (row.let_go_at, row.let_go_by, row.let_go_reason) {
            (Some(at), Some(by), Some(reason)) => Some(LetGo { at: Time(at), by, reason }),
            _ => None,
        };
        Ok(OpenWave {
            number: row.number,
            opened_at: Time(row.opened_at),
            all_sent_at: row.all_sent_at.map(Time),
            passed_at: row.passed_at.map(Time),
            verdict,
            because: row.because,
            judged_at: Time(row.judged_at),
            let_go,
            forgiven: Forgiven { answered: row.forgiven_answered, failed: row.forgiven_failed },
        })
    };
    rows.into_iter().map(open).collect()
}

/// A wave begins. `false`: it had begun.
pub async fn open(tx: &mut Tx, plan: i64, wave: &OpenWave) -> DbResult<bool> {
    let changed = sql!(tx, c => sqlx::query(
        "insert into waves (plan_id, number, opened_at, verdict, because, judged_at, forgiven_answered, forgiven_failed)
         values ($1, $2, $3, $4, $5, $3, 0, 0) on conflict do nothing")
        .bind(plan).bind(wave.number).bind(wave.opened_at.0).bind(wave.verdict.as_str()).bind(&wave.because)
        .execute(c).await?.rows_affected());
    Ok(changed == 1)
}

/// Saves how a wave stands. Called with its campaign locked.
pub async fn save(tx: &mut Tx, plan: i64, wave: &OpenWave) -> DbResult<()> {
    let let_go = wave.let_go.as_ref();
    sql!(tx, c => sqlx::query(
        "update waves set all_sent_at = $3, passed_at = $4, verdict = $5, because = $6, judged_at = $7, let_go_at = $8, let_go_by = $9,
                let_go_reason = $10, forgiven_answered = $11, forgiven_failed = $12
         where plan_id = $1 and number = $2")
        .bind(plan).bind(wave.number).bind(wave.all_sent_at.map(|t| t.0)).bind(wave.passed_at.map(|t| t.0))
        .bind(wave.verdict.as_str()).bind(&wave.because).bind(wave.judged_at.0)
        .bind(let_go.map(|l| l.at.0)).bind(let_go.map(|l| l.by.clone())).bind(let_go.map(|l| l.reason.clone()))
        .bind(wave.forgiven.answered).bind(wave.forgiven.failed).execute(c).await?.rows_affected());
    Ok(())
}

/// A verdict has changed: kept with its numbers.
pub async fn keep_verdict(tx: &mut Tx, plan: i64, wave: i64, health: &Health, now: Time) -> DbResult<()> {
    let numbers = serde_json::to_string(&health.numbers).expect("numbers are plain data");
    sql!(tx, c => sqlx::query(
        "insert into wave_verdicts (plan_id, wave, at, verdict, because, numbers) values ($1, $2, $3, $4, $5, $6)")
        .bind(plan).bind(wave).bind(now.0).bind(health.verdict.as_str()).bind(&health.because).bind(numbers)
        .execute(c).await?.rows_affected());
    Ok(())
}

/// A change of a verdict, as it is kept.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct KeptVerdict {
    pub at: Time,
    pub verdict: Verdict,
    pub because: String,
    pub numbers: serde_json::Value,
}

/// Every change of the verdicts of a plan, oldest first, with the wave's number.
pub async fn verdicts(tx: &mut Tx, plan: i64) -> DbResult<Vec<(i64, KeptVerdict)>> {
    let rows: Vec<(i64, i64, i64, String, String, String)> = sql!(tx, c => sqlx::query_as(
        "select id, wave, at, verdict, because, numbers from wave_verdicts where plan_id = $1 order by id").bind(plan).fetch_all(c).await)?;
    let kept = |(id, wave, at, verdict, because, numbers): (i64, i64, i64, String, String, String)| {
        let bad = |column, found: &str| DbError::bad_row("wave_verdicts", id, column, found);
        let verdict = verdict.parse().map_err(|_| bad("verdict", &verdict))?;
        let numbers = serde_json::from_str(&numbers).map_err(|_| bad("numbers", &numbers))?;
        Ok((wave, KeptVerdict { at: Time(at), verdict, because, numbers }))
    };
    rows.into_iter().map(kept).collect()
}

/// Until this transaction ends nobody else takes room under a cap.
pub async fn take_turn(tx: &mut Tx) -> DbResult<()> {
    sql!(tx, c => sqlx::query("insert into in_flight_turns (name, turn) values ('all', 1)
        on conflict (name) do update set turn = in_flight_turns.turn + 1").execute(c).await?.rows_affected());
    Ok(())
}

/// The newest batch, and the newest of a plan; who counts what is out asks this first.
pub async fn newest_batches(tx: &mut Tx, plan: i64) -> DbResult<(i64, i64)> {
    Ok(sql!(tx, c => sqlx::query_as(
        "select (select coalesce(max(id), 0) from batches), (select coalesce(max(id), 0) from batches where plan_id = $1)")
        .bind(plan).fetch_one(c).await)?)
}

/// The devices of batches made after one: of a plan, and of all.
pub async fn sent_since(tx: &mut Tx, batch: i64, plan: i64, of_plan: i64) -> DbResult<(i64, i64)> {
    Ok(sql!(tx, c => sqlx::query_as(
        "select (select cast(coalesce(sum(size), 0) as bigint) from batches where plan_id = $2 and id > $3),
                (select cast(coalesce(sum(size), 0) as bigint) from batches where id > $1)")
        .bind(batch).bind(plan).bind(of_plan).fetch_one(c).await)?)
}
