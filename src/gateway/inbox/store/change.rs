//! What a person decides about a message that was not settled: that it is tried again, or that nobody need look at it any more.
//! Promise: one that was refused becomes new only with what was verified of it.

use super::super::{NOTE_CHARS, NewMessage, counter_of};
use crate::{
    clock::Time,
    db::{DbError, Tx, rows},
    gateway::GatewayError,
    ids::DeviceId,
    sql,
};

/// Makes messages new again, so that they are settled once more: of those that were ignored, unmatched, failed or dismissed,
/// and that are known to be DCC's. Gives which.
pub async fn replay(tx: &mut Tx, ids: &[i64]) -> Result<Vec<i64>, GatewayError> {
    let (json, among) = rows::integers(tx, 1, ids.iter().copied());
    let text = sqlx::AssertSqlSafe(format!(
        "update inbox_marks set state = 'new', note = null, settled_at = null
         where id {among} and state in ('ignored', 'unmatched', 'failed', 'dismissed')
           and exists (select 1 from inbox where inbox.id = inbox_marks.id and inbox.reason is null) returning id"
    ));
    let mut again: Vec<i64> = sql!(&mut *tx, c => sqlx::query_scalar(text).bind(json).fetch_all(c).await.map_err(DbError::from)?);
    again.sort_unstable();
    let (json, among) = rows::integers(tx, 1, again.iter().copied());
    let text = sqlx::AssertSqlSafe(format!("update inbox set forward_attempts = 0, forward_after = null where id {among}"));
    sql!(tx, c => sqlx::query(text).bind(json).execute(c).await.map_err(DbError::from)?.rows_affected());
    Ok(again)
}

/// Takes messages off the operator's queue. Gives which.
pub async fn dismiss(tx: &mut Tx, ids: &[i64], why: &str, now: Time) -> Result<Vec<i64>, GatewayError> {
    let (json, among) = rows::integers(tx, 1, ids.iter().copied());
    let text = format!(
        "update inbox_marks set state = 'dismissed', settled_at = $2, note = substr($3 || coalesce('; it was: ' || note, ''), 1, {NOTE_CHARS})
         where id {among} and state in ('unmatched', 'failed', 'rejected') returning id"
    );
    let text = sqlx::AssertSqlSafe(text);
    Ok(sql!(tx, c => {
        sqlx::query_scalar(text).bind(json).bind(now.0).bind(why).fetch_all(c).await.map_err(DbError::from)?
    }))
}

/// Another message that says the same: it came again since, and was taken then.
pub async fn duplicate_of(tx: &mut Tx, id: i64, dedupe_key: &str) -> Result<Option<i64>, GatewayError> {
    let text = "select id from inbox where dedupe_key = $1 and id <> $2 order by id";
    Ok(sql!(tx, c => sqlx::query_scalar(text).bind(dedupe_key).bind(id).fetch_optional(c).await.map_err(DbError::from)?))
}

/// A message that was refused when it came is known to be DCC's by now: it becomes new. The reply to a POST of ours keeps the
/// key it is known by.
pub async fn verified_since(tx: &mut Tx, id: i64, message: &NewMessage) -> Result<(), GatewayError> {
    let text = "update inbox_marks set state = 'new', note = null, settled_at = null
        where id = $1 and state in ('rejected', 'dismissed')
          and exists (select 1 from inbox where inbox.id = inbox_marks.id and inbox.reason is not null)";
    let changed = sql!(&mut *tx, c => sqlx::query(text).bind(id).execute(c).await.map_err(DbError::from)?.rows_affected());
    if changed != 1 {
        return Err(GatewayError::StaleMessages { wanted: 1, stale: 1 });
    }
    let text = "update inbox set reason = null,
            dedupe_key = case when source = 'reply' then dedupe_key else $2 end,
            request_id = $3, request_counter = $4, device_id = $5, kind = $6, response_code = $7, stands_for = $8, digest = $9
        where id = $1";
    sql!(tx, c => {
        sqlx::query(text)
            .bind(id)
            .bind(&message.dedupe_key)
            .bind(message.request_id.map(|id| id.to_string()))
            .bind(counter_of(message.request_id))
            .bind(message.device.map(DeviceId::to_db))
            .bind(&message.kind)
            .bind(&message.response_code)
            .bind(i64::from(message.stands_for))
            .bind(message.digest.map(|d| d.0.to_vec()))
            .execute(c)
            .await
            .map_err(DbError::from)?
            .rows_affected()
    });
    Ok(())
}
