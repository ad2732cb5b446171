//! Every posting of a request: its exact bytes, and what came of it. A resend says the same under another signature, so of every
//! posting but the first only what differs from the first is kept: some hundred bytes, where the request has megabytes.
//! Promise: the bytes of every attempt that left or may have left are there, byte for byte, until they are pruned.

use super::{super::key, ledger};
use crate::{
    clock::Time,
    db::{DbError, DbResult, Tx},
    gateway::{GatewayError, archive::Kept},
    ids::RequestId,
    sql,
};

/// Characters of a note that are kept.
const NOTE_CHARS: usize = 300;

crate::spelled! {
    /// What came of one attempt.
    PostingOutcome, "an outcome of a posting" {
        Answered = "answered",
        /// A refusal without a signature.
        Refused = "refused",
        /// It left or may have left, and there is no usable answer.
        Unknown = "unknown",
        /// The far side's HTTP said no.
        Rejected = "rejected",
        /// Nothing of it left.
        NotSent = "not_sent",
    }
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Posting {
    pub attempt: u32,
    pub posted_at: Time,
    /// Bytes posted.
    pub size: u64,
    /// `None`: under way, or its poster died.
    pub outcome: Option<PostingOutcome>,
    pub note: Option<String>,
    pub ended_at: Option<Time>,
    /// The message in the inbox that is the reply.
    pub reply: Option<i64>,
}

/// Keeps what is about to be posted, in the transaction that begins the attempt (after `mark_posting`), and counts it.
pub async fn keep_posting(tx: &mut Tx, id: RequestId, attempt: u32, bytes: &[u8], now: Time) -> Result<(), GatewayError> {
    let Some([originator, counter, _]) = key(id) else { return Ok(()) };
    // One that cannot be unpacked is as good as none: this posting is then kept whole.
    let first = first(tx, originator, counter).await?.and_then(|kept| kept.unpack().ok()).unwrap_or_default();
    let prefix = first.iter().zip(bytes).take_while(|(a, b)| a == b).count();
    let rest = Kept::pack(&bytes[prefix..]);
    let text = "insert into outbox_posts (originator, counter, attempt, posted_at, prefix, encoding, size, body)
        values ($1, $2, $3, $4, $5, $6, $7, $8)";
    sql!(&mut *tx, c => {
        sqlx::query(text)
            .bind(originator)
            .bind(counter)
            .bind(i64::from(attempt))
            .bind(now.0)
            .bind(prefix as i64)
            .bind(rest.encoding)
            .bind(rest.size as i64)
            .bind(rest.bytes)
            .execute(c)
            .await
            .map_err(DbError::from)?;
    });
    Ok(ledger::count(tx, id, attempt, now).await?)
}

/// What came of an attempt; `reply` is the inbox's id of what was answered.
pub async fn end_posting(
    tx: &mut Tx,
    id: RequestId,
    attempt: u32,
    outcome: PostingOutcome,
    note: Option<&str>,
    reply: Option<i64>,
    now: Time,
) -> Result<(), GatewayError> {
    let Some([originator, counter, _]) = key(id) else { return Ok(()) };
    let text = "update outbox_posts set outcome = $4, note = $5, reply_id = $6, ended_at = $7
        where originator = $1 and counter = $2 and attempt = $3";
    sql!(&mut *tx, c => {
        sqlx::query(text)
            .bind(originator)
            .bind(counter)
            .bind(i64::from(attempt))
            .bind(outcome.as_str())
            .bind(note.map(|n| n.chars().take(NOTE_CHARS).collect::<String>()))
            .bind(reply)
            .bind(now.0)
            .execute(c)
            .await
            .map_err(DbError::from)?;
    });
    match outcome {
        PostingOutcome::NotSent => ledger::uncount(tx, id, attempt).await?,
        PostingOutcome::Unknown => ledger::reached(tx, id, attempt, false, now).await?,
        PostingOutcome::Answered | PostingOutcome::Refused | PostingOutcome::Rejected => {
            ledger::reached(tx, id, attempt, true, now).await?;
        }
    }
    Ok(())
}

/// Nothing of this attempt left, so there is nothing to keep. Where an earlier one may have left it stays in the list, as not sent.
pub async fn forget_posting(tx: &mut Tx, id: RequestId, attempt: u32, why: &str, now: Time) -> Result<(), GatewayError> {
    let Some([originator, counter, _]) = key(id) else { return Ok(()) };
    let text = "delete from outbox_posts where originator = $1 and counter = $2 and attempt = $3
        and not exists (select 1 from outbox_posts as other
                        where other.originator = $1 and other.counter = $2 and other.attempt <> $3)";
    sql!(tx, c => {
        sqlx::query(text).bind(originator).bind(counter).bind(i64::from(attempt)).execute(c).await.map_err(DbError::from)?;
    });
    end_posting(tx, id, attempt, PostingOutcome::NotSent, Some(why), None, now).await
}

/// Every attempt of a request, oldest first.
pub async fn postings(tx: &mut Tx, id: RequestId) -> Result<Vec<Posting>, GatewayError> {
    let Some([originator, counter, _]) = key(id) else { return Ok(Vec::new()) };
    let text = "select attempt, posted_at, prefix + size, outcome, note, ended_at, reply_id from outbox_posts
        where originator = $1 and counter = $2 order by attempt";
    type Row = (i64, i64, i64, Option<String>, Option<String>, Option<i64>, Option<i64>);
    let rows: Vec<Row> = sql!(tx, c => {
        sqlx::query_as(text).bind(originator).bind(counter).fetch_all(c).await.map_err(DbError::from)?
    });
    let posting = |(attempt, posted_at, size, outcome, note, ended_at, reply): Row| -> DbResult<Posting> {
        let outcome = outcome.map(|o| o.parse().map_err(|_| DbError::bad_row("outbox_posts", id, "outcome", o))).transpose()?;
        Ok(Posting {
            attempt: u32::try_from(attempt).map_err(|_| DbError::bad_row("outbox_posts", id, "attempt", attempt))?,
            posted_at: Time(posted_at),
            size: size as u64,
            outcome,
            note,
            ended_at: ended_at.map(Time),
            reply,
        })
    };
    Ok(rows.into_iter().map(posting).collect::<DbResult<_>>()?)
}

/// The bytes of one attempt, or of the last, as they were posted; `None` where they are not kept (any more).
pub async fn posted_bytes(tx: &mut Tx, id: RequestId, attempt: Option<u32>) -> Result<Option<Vec<u8>>, GatewayError> {
    let Some([originator, counter, _]) = key(id) else { return Ok(None) };
    let text = "select prefix, encoding, size, body from outbox_posts
        where originator = $1 and counter = $2 and ($3 = 0 or attempt = $3) order by attempt desc limit 1";
    let attempt = i64::from(attempt.unwrap_or(0));
    let row: Option<(i64, i64, i64, Vec<u8>)> = sql!(tx, c => {
        let query = sqlx::query_as(text).bind(originator).bind(counter).bind(attempt);
        query.fetch_optional(c).await.map_err(DbError::from)?
    });
    let Some((prefix, encoding, size, bytes)) = row else { return Ok(None) };
    let damaged = |what: &str| DbError::bad_row("outbox_posts", id, "body", what);
    let rest = Kept { encoding, size: size as usize, bytes }.unpack().map_err(|e| damaged(&e.to_string()))?;
    let prefix = prefix as usize;
    if prefix == 0 {
        return Ok(Some(rest));
    }
    let Some(kept) = first(tx, originator, counter).await? else { return Ok(None) };
    let mut whole = kept.unpack().map_err(|e| damaged(&e.to_string()))?;
    if whole.len() < prefix {
        return Err(damaged("less than its resend begins with").into());
    }
    whole.truncate(prefix);
    whole.extend_from_slice(&rest);
    Ok(Some(whole))
}

/// The first posting of a request, which is kept whole.
async fn first(tx: &mut Tx, originator: i64, counter: i64) -> Result<Option<Kept>, GatewayError> {
    let text = "select encoding, size, body from outbox_posts where originator = $1 and counter = $2 order by attempt limit 1";
    let row: Option<(i64, i64, Vec<u8>)> = sql!(tx, c => {
        sqlx::query_as(text).bind(originator).bind(counter).fetch_optional(c).await.map_err(DbError::from)?
    });
    Ok(row.map(|(encoding, size, bytes)| Kept { encoding, size: size as usize, bytes }))
}

/// Deletes the bytes of at most `limit` requests last posted before `before`, oldest first; gives how many requests that were. Not
/// of one that may still be posted or waits for a person, nor of a campaign that has not ended. The request itself stays in the
/// outbox: that its RequestID was used is never forgotten.
pub async fn prune_postings(tx: &mut Tx, before: Time, limit: u32) -> Result<u64, GatewayError> {
    let text = "select o.originator, o.counter from outbox o
        where o.last_posted_at < $1
            and exists (select 1 from outbox_posts p where p.originator = o.originator and p.counter = o.counter)
            and ((o.batch_id is null and o.state in ('answered', 'abandoned', 'deleted'))
                or (o.state in ('answered', 'abandoned', 'deleted', 'unknown') and exists (
                    select 1 from batches b join campaigns c on c.id = b.campaign_id
                    where b.id = o.batch_id and c.state in ('finished', 'aborted'))))
        order by o.last_posted_at, o.originator, o.counter limit $2";
    let old: Vec<(i64, i64)> =
        sql!(tx, c => sqlx::query_as(text).bind(before.0).bind(i64::from(limit)).fetch_all(c).await.map_err(DbError::from)?);
    for (originator, counter) in &old {
        let text = "delete from outbox_posts where originator = $1 and counter = $2";
        sql!(tx, c => {
            sqlx::query(text).bind(*originator).bind(*counter).execute(c).await.map_err(DbError::from)?;
        });
    }
    Ok(old.len() as u64)
}
