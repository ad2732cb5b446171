//! Messages that answer no request of ours on their way to another adapter. Promise: one whose delivery was recorded is never due
//! again, and one that was not is never given up.

use super::super::{BY_STATE, InboxMessage, MESSAGE_COLUMNS, MessageRow, NOTE_CHARS, message};
use crate::{
    clock::Time,
    db::{DbError, DbResult, Tx},
    gateway::GatewayError,
    sql,
};

/// Messages due to go on, in the order they came, with an id above `after`, each with its attempts so far.
pub async fn due_to_forward(tx: &mut Tx, now: Time, after: i64, limit: u32) -> Result<Vec<(InboxMessage, u32)>, GatewayError> {
    let text = sqlx::AssertSqlSafe(format!(
        "select id, forward_attempts from {BY_STATE} where state = 'forwarding' and coalesce(forward_after, 0) <= $1 and id > $2
         order by id limit $3"
    ));
    let due: Vec<(i64, i64)> = sql!(tx, c => {
        let query = sqlx::query_as(text).bind(now.0).bind(after).bind(i64::from(limit));
        query.fetch_all(c).await.map_err(DbError::from)?
    });
    let mut messages = Vec::with_capacity(due.len());
    for (id, attempts) in due {
        let text = sqlx::AssertSqlSafe(format!("select {MESSAGE_COLUMNS} from inbox where id = $1 order by id"));
        let row: Vec<MessageRow> = sql!(tx, c => sqlx::query_as(text).bind(id).fetch_all(c).await.map_err(DbError::from)?);
        let read = row.into_iter().map(message).collect::<DbResult<Vec<_>>>()?;
        messages.extend(read.into_iter().map(|m| (m, u32::try_from(attempts).unwrap_or(u32::MAX))));
    }
    Ok(messages)
}

/// The other adapter has it.
pub async fn forwarded(tx: &mut Tx, id: i64, now: Time) -> Result<(), GatewayError> {
    let text = "update inbox_marks set state = 'forwarded', settled_at = $2 where id = $1 and state = 'forwarding'";
    let changed =
        sql!(&mut *tx, c => sqlx::query(text).bind(id).bind(now.0).execute(c).await.map_err(DbError::from)?.rows_affected());
    attempted(tx, id, None, changed).await
}

/// It has it not; due again at `then`.
pub async fn forward_later(tx: &mut Tx, id: i64, why: &str, then: Time) -> Result<(), GatewayError> {
    let text = "update inbox_marks set note = $2 where id = $1 and state = 'forwarding'";
    let why: String = why.chars().take(NOTE_CHARS).collect();
    let changed =
        sql!(&mut *tx, c => sqlx::query(text).bind(id).bind(why).execute(c).await.map_err(DbError::from)?.rows_affected());
    attempted(tx, id, Some(then), changed).await
}

/// Counts an attempt, and says when the next is due; stale where it was not to go on any more.
async fn attempted(tx: &mut Tx, id: i64, due: Option<Time>, marked: u64) -> Result<(), GatewayError> {
    if marked != 1 {
        return Err(GatewayError::StaleMessages { wanted: 1, stale: 1 });
    }
    let text = "update inbox set forward_attempts = forward_attempts + 1, forward_after = $2 where id = $1";
    sql!(tx, c => sqlx::query(text).bind(id).bind(due.map(|t| t.0)).execute(c).await.map_err(DbError::from)?.rows_affected());
    Ok(())
}
