//! The chain in `audit_events`. Not for changing anything: there is no update and no delete.

use super::{AuditError, Event, GENESIS, Link, Recorded, Row, Verified, Walk};
use crate::{
    clock::Time,
    db::{DbError, DbResult, Tx},
    ids::Sha256Hash,
    sql,
};

/// Rows read at a time: a few hundred kilobytes.
const PAGE_ROWS: i64 = 1_000;
/// The advisory lock that orders writers on PostgreSQL; any number of our own ("audit" in ASCII).
const POSTGRES_LOCK: i64 = 0x61_75_64_69_74;

type Columns = (i64, i64, String, String, String, String, String, String);

impl From<Columns> for Row {
    fn from((seq, at, who, action, subject, detail, prev_hash, hash): Columns) -> Row {
        Row { seq, at, who, action, subject, detail, prev_hash, hash }
    }
}

/// Adds an event at the end of the chain, in the transaction of what it records; gives its number. Writers wait for each other
/// until commit, so make it the transaction's last statement.
pub async fn append(tx: &mut Tx, event: &Event) -> DbResult<i64> {
    lock(tx).await?;
    let last: Option<(i64, String)> = sql!(tx, c => {
        sqlx::query_as("select seq, hash from audit_events order by seq desc limit 1").fetch_optional(c).await
    })?;
    let (last, prev_hash) = last.unwrap_or((0, GENESIS.to_string()));
    let mut row = Row {
        seq: last + 1,
        at: event.at.0,
        who: stored(&event.who),
        action: stored(&event.action),
        subject: stored(&event.subject),
        detail: event.detail.to_string(),
        prev_hash,
        hash: String::new(),
    };
    row.hash = row.computed_hash();
    sql!(tx, c => {
        sqlx::query(
            "insert into audit_events (seq, at, who, action, subject, detail, prev_hash, hash)
             values ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(row.seq)
        .bind(row.at)
        .bind(row.who)
        .bind(row.action)
        .bind(row.subject)
        .bind(row.detail)
        .bind(row.prev_hash)
        .bind(row.hash)
        .execute(c)
        .await
        .map(|_| ())
    })?;
    Ok(row.seq)
}

/// PostgreSQL text holds no NUL; the chain must not depend on the engine.
fn stored(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// SQLite has one writer at a time anyway.
async fn lock(tx: &mut Tx) -> DbResult<()> {
    if let Tx::Postgres(t) = tx {
        sqlx::query("select pg_advisory_xact_lock($1)").bind(POSTGRES_LOCK).execute(&mut **t).await?;
    }
    Ok(())
}

/// Reads the whole chain, page by page. With `known`, a head noted earlier must still be in it.
pub async fn verify(tx: &mut Tx, known: Option<Sha256Hash>) -> Result<Verified, AuditError> {
    let known_text = known.map(|k| k.to_string());
    let mut walk = Walk::new();
    let mut found = known_text.as_deref().is_none_or(|k| k == GENESIS);
    // Not from 1: what was slipped in before the first event is found too.
    let mut after = i64::MIN;
    loop {
        let rows = page(tx, after, PAGE_ROWS).await?;
        let Some(last) = rows.last() else { break };
        after = last.seq;
        for row in &rows {
            walk.step(row)?;
            found |= known_text.as_deref() == Some(row.hash.as_str());
        }
    }
    match known {
        Some(head) if !found => Err(AuditError::HeadLost { head }),
        _ => Ok(Verified { events: walk.events, head: walk.head }),
    }
}

/// At most `limit` events with a number greater than `after`, oldest first.
pub async fn list(tx: &mut Tx, after: i64, limit: i64) -> DbResult<Vec<Recorded>> {
    let recorded = |row: Row| -> DbResult<Recorded> {
        let bad = |_| DbError::bad_row("audit_events", row.seq, "detail", &row.detail);
        let detail = serde_json::from_str(&row.detail).map_err(bad)?;
        let Row { seq, at, who, action, subject, hash, .. } = row;
        Ok(Recorded { seq, at: Time(at), who, action, subject, detail, hash })
    };
    page(tx, after, limit).await?.into_iter().map(recorded).collect()
}

/// The same events as evidence.
pub async fn links(tx: &mut Tx, after: i64, limit: i64) -> DbResult<Vec<Link>> {
    let link = |row: Row| {
        let Row { seq, at, who, action, subject, detail, prev_hash, hash } = row;
        Link { seq, at: Time(at), at_ms: at, who, action, subject, detail, prev_hash, hash }
    };
    Ok(page(tx, after, limit).await?.into_iter().map(link).collect())
}

async fn page(tx: &mut Tx, after: i64, limit: i64) -> DbResult<Vec<Row>> {
    let rows: Vec<Columns> = sql!(tx, c => {
        sqlx::query_as(
            "select seq, at, who, action, subject, detail, prev_hash, hash from audit_events
             where seq > $1 order by seq limit $2",
        )
        .bind(after)
        .bind(limit)
        .fetch_all(c)
        .await
    })?;
    Ok(rows.into_iter().map(Row::from).collect())
}

#[cfg(test)]
pub(super) async fn tamper(tx: &mut Tx, statement: &'static str) {
    sql!(tx, c => sqlx::raw_sql(statement).execute(c).await.map(|_| ())).unwrap();
}
