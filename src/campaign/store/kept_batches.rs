//! Batches as they are kept, every one of a campaign: for evidence. Not for sending, which needs their members.

use crate::{
    campaign::batch::BatchState,
    clock::Time,
    db::{DbError, DbResult, Tx},
    sql,
};

/// A batch without its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptBatch {
    pub id: i64,
    /// 1, 2, 3 ... within the campaign.
    pub number: i64,
    /// Devices.
    pub size: i64,
    /// Its members were sent though their keys are missing.
    pub resubmission: bool,
    pub state: BatchState,
    pub note: Option<String>,
    pub created_at: Time,
    pub updated_at: Time,
}

/// A campaign's batches in order, dissolved ones included.
pub async fn kept_batches(tx: &mut Tx, campaign: i64) -> DbResult<Vec<KeptBatch>> {
    type Row = (i64, i64, i64, bool, String, Option<String>, i64, i64);
    let text = "select id, number, size, resubmission, state, note, created_at, updated_at from batches where campaign_id = $1 order by number";
    let rows: Vec<Row> = sql!(tx, c => sqlx::query_as(text).bind(campaign).fetch_all(c).await)?;
    let kept = |(id, number, size, resubmission, state, note, created_at, updated_at): Row| -> DbResult<KeptBatch> {
        let state = state.parse().map_err(|_| DbError::bad_row("batches", id, "state", &state))?;
        Ok(KeptBatch { id, number, size, resubmission, state, note, created_at: Time(created_at), updated_at: Time(updated_at) })
    };
    rows.into_iter().map(kept).collect()
}
