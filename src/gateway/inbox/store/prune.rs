//! Messages that were kept long enough.

use crate::{
    clock::Time,
    db::{DbError, Tx},
    gateway::GatewayError,
    sql,
};

/// Deletes at most `limit` messages received before `before`, oldest first; gives how many. Never one that is still to be settled
/// or to go on, nor one that a person has to look at.
pub async fn prune(tx: &mut Tx, before: Time, limit: u32) -> Result<u64, GatewayError> {
    let text = "delete from inbox where id in (
            select id from inbox where received_at < $1
                and state in ('settled', 'ignored', 'dismissed', 'forwarded', 'rejected')
            order by received_at limit $2)";
    Ok(sql!(tx, c => {
        sqlx::query(text).bind(before.0).bind(i64::from(limit)).execute(c).await.map_err(DbError::from)?.rows_affected()
    }))
}
