//! Messages that were kept long enough.

use super::super::MARKED;
use crate::{
    clock::Time,
    db::{DbError, Tx, rows},
    gateway::GatewayError,
    sql,
};

/// Deletes at most `limit` messages received before `before`, oldest first; gives how many. Never one that is still to be settled
/// or to go on, nor one that a person has to look at.
pub async fn prune(tx: &mut Tx, before: Time, limit: u32) -> Result<u64, GatewayError> {
    let text = sqlx::AssertSqlSafe(format!(
        "select id from {MARKED} where received_at < $1 and state in ('settled', 'ignored', 'dismissed', 'forwarded', 'rejected')
         order by received_at limit $2"
    ));
    let old: Vec<i64> = sql!(&mut *tx, c => {
        sqlx::query_scalar(text).bind(before.0).bind(i64::from(limit)).fetch_all(c).await.map_err(DbError::from)?
    });
    delete(tx, &old).await
}

/// Deletes messages with their marks; gives how many.
pub(super) async fn delete(tx: &mut Tx, ids: &[i64]) -> Result<u64, GatewayError> {
    let (json, among) = rows::integers(tx, 1, ids.iter().copied());
    let mut gone = 0;
    for table in ["inbox_marks", "inbox"] {
        let text = sqlx::AssertSqlSafe(format!("delete from {table} where id {among}"));
        gone = sql!(&mut *tx, c => sqlx::query(text).bind(&json).execute(c).await.map_err(DbError::from)?.rows_affected());
    }
    Ok(gone)
}
