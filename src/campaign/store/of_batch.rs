//! Where a batch belongs, without its members: what a message about one device asks of it.

use crate::{
    db::{DbResult, Tx},
    sql,
};

/// A batch's place; its members, up to 50,000, are left where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfBatch {
    pub id: i64,
    pub campaign_id: i64,
    pub plan_id: i64,
}

pub async fn of_batch(tx: &mut Tx, id: i64) -> DbResult<Option<OfBatch>> {
    let text = "select campaign_id, plan_id from batches where id = $1";
    let found: Option<(i64, i64)> = sql!(tx, c => sqlx::query_as(text).bind(id).fetch_optional(c).await)?;
    Ok(found.map(|(campaign_id, plan_id)| OfBatch { id, campaign_id, plan_id }))
}
