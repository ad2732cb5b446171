//! Messages as evidence: what identifies each, and the digest of what was verified. Not their bytes: those are read by who may see them.

use super::super::MARKED;
use crate::{
    clock::Time,
    db::{DbResult, Tx, rows},
    sql,
};

/// What is kept of a message beside its bytes. Texts as they are stored: evidence interprets nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    pub id: i64,
    pub received_at: Time,
    pub source: String,
    pub kind: String,
    pub response_code: String,
    pub request_id: Option<String>,
    pub state: String,
    pub settled_at: Option<Time>,
    /// Bytes as received, where that was noted.
    pub size: Option<i64>,
    /// SHA-256 of the canonical form whose signature was verified; none of messages from before that was kept.
    pub digest: Option<Vec<u8>>,
}

/// Those of `ids` that are still kept, by id.
pub async fn proofs(tx: &mut Tx, ids: &[i64]) -> DbResult<Vec<Proof>> {
    let (json, among) = rows::integers(tx, 1, ids.iter().copied());
    let text = format!(
        "select id, received_at, source, kind, response_code, request_id, state, settled_at, size, digest
         from {MARKED} where id {among} order by id"
    );
    type Row = (i64, i64, String, String, String, Option<String>, String, Option<i64>, Option<i64>, Option<Vec<u8>>);
    let rows: Vec<Row> = sql!(tx, c => sqlx::query_as(sqlx::AssertSqlSafe(text)).bind(json).fetch_all(c).await)?;
    Ok(rows
        .into_iter()
        .map(|(id, received_at, source, kind, response_code, request_id, state, settled_at, size, digest)| Proof {
            id,
            received_at: Time(received_at),
            source,
            kind,
            response_code,
            request_id,
            state,
            settled_at: settled_at.map(Time),
            size,
            digest,
        })
        .collect())
}
