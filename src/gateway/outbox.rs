//! Requests on their way to DCC: committed before they are posted, followed until an answer. Not the batch behind a request,
//! nor its bytes (both are rebuilt from what is stored). Promise: a RequestID is never given out twice, and one that may have
//! left is never `prepared` or `abandoned` again.
//!
//! ```text
//! prepared -> posting -> answered            posting -> unknown -> posting ...      posting -> prepared (certainly not sent)
//! prepared -> abandoned                      prepared | posting | unknown -> held -> prepared | unknown | answered
//! posting | unknown | held | answered -> deleted (DCC deleted it in quarantine)
//! ```

#[cfg(test)]
mod counter_tests;
mod request;
pub mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use request::{NewRequest, OutboxRequest, OutboxState};
use sqlx::Row;

use super::GatewayError;
use crate::{
    clock::Time,
    db::{DbError, DbResult, Tx},
    ids::{Eui, RequestId, Sha256Hash, UserId},
    sql,
};

/// Characters of a reason that are kept: a sentence, never a message.
const REASON_CHARS: usize = 300;

const COLUMNS: &str = "originator, counter, target, service_reference, batch_id, duis_version, body_digest, state, attempts, \
     posts, created_at, first_posted_at, last_posted_at, next_attempt_at, answered_at, response_code, last_error";

/// Reads the columns of [`COLUMNS`] from a row of either driver, inside a function that returns a `DbResult`.
macro_rules! request_of {
    ($row:expr) => {{
        let row = $row;
        let (originator, counter, target): (i64, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let id = RequestId { originator: Eui::from_db(originator), target: Eui::from_db(target), counter: counter as u64 };
        let bad = |column: &'static str, found: &dyn std::fmt::Display| DbError::bad_row("outbox", id, column, found);
        let (version, digest, state): (String, String, String) = (row.try_get(5)?, row.try_get(6)?, row.try_get(7)?);
        let (attempts, posts): (i64, i64) = (row.try_get(8)?, row.try_get(9)?);
        Ok(OutboxRequest {
            id,
            service_reference: row.try_get(3)?,
            batch_id: row.try_get(4)?,
            duis_version: version.parse().map_err(|_| bad("duis_version", &version))?,
            body_digest: digest.parse().map_err(|_| bad("body_digest", &digest))?,
            state: state.parse().map_err(|_| bad("state", &state))?,
            attempts: u32::try_from(attempts).map_err(|_| bad("attempts", &attempts))?,
            posts: u32::try_from(posts).map_err(|_| bad("posts", &posts))?,
            created_at: Time(row.try_get(10)?),
            first_posted_at: row.try_get::<Option<i64>, _>(11)?.map(Time),
            last_posted_at: row.try_get::<Option<i64>, _>(12)?.map(Time),
            next_attempt_at: Time(row.try_get(13)?),
            answered_at: row.try_get::<Option<i64>, _>(14)?.map(Time),
            response_code: row.try_get(15)?,
            last_error: row.try_get(16)?,
        })
    }};
}

/// Selects [`COLUMNS`] of the requests `tail` describes; `$1`, `$2` ... in it are `numbers`, in order.
async fn select(tx: &mut Tx, tail: &str, numbers: &[i64]) -> DbResult<Vec<OutboxRequest>> {
    let text = sqlx::AssertSqlSafe(format!("select {COLUMNS} from outbox {tail}"));
    sql!(tx, connection => {
        let mut query = sqlx::query(text);
        for number in numbers {
            query = query.bind(*number);
        }
        let rows = query.fetch_all(connection).await?;
        rows.iter().map(|row| -> DbResult<OutboxRequest> { request_of!(row) }).collect()
    })
}

/// The primary key of a request, or none where its counter is larger than any of ours can be.
fn key(id: RequestId) -> Option<[i64; 3]> {
    Some([id.originator.to_db(), i64::try_from(id.counter).ok()?, id.target.to_db()])
}

/// The next counter of `originator`: above every earlier one, and at least the time in milliseconds, so that a restored
/// backup does not give one out again. It is taken only if the transaction commits.
pub async fn next_counter(tx: &mut Tx, originator: UserId, now: Time) -> Result<u64, GatewayError> {
    let text = "insert into request_counters (originator, value) values ($1, $2)
        on conflict (originator) do update set value =
            case when request_counters.value >= excluded.value then request_counters.value + 1 else excluded.value end
        where request_counters.value < 9223372036854775807
        returning value";
    let floor = now.0.max(1);
    let value: Option<i64> = sql!(tx, c => {
        sqlx::query_scalar(text).bind(originator.to_db()).bind(floor).fetch_optional(c).await.map_err(DbError::from)?
    });
    value.map(|v| v as u64).ok_or(GatewayError::CounterExhausted { originator })
}

/// Stores a request as `prepared`, due at once. Commit before posting it.
pub async fn prepare(tx: &mut Tx, request: &NewRequest<'_>) -> Result<(), GatewayError> {
    let Some([originator, counter, target]) = key(request.id) else {
        return Err(GatewayError::CounterExhausted { originator: request.id.originator });
    };
    let text = "insert into outbox (originator, counter, target, service_reference, batch_id, duis_version, body_digest,
            state, attempts, posts, created_at, next_attempt_at)
        values ($1, $2, $3, $4, $5, $6, $7, 'prepared', 0, 0, $8, $8)";
    sql!(tx, c => {
        sqlx::query(text)
            .bind(originator)
            .bind(counter)
            .bind(target)
            .bind(request.service_reference)
            .bind(request.batch_id)
            .bind(request.duis_version.to_string())
            .bind(request.body_digest.to_string())
            .bind(request.now.0)
            .execute(c)
            .await
            .map_err(DbError::from)?;
    });
    Ok(())
}

/// The requests that are due, those of batches before others, then longest due first, locked for this transaction against other nodes. The caller decides about
/// each and calls [`mark_posting`], [`hold`], [`put_off`] or [`mark_abandoned`] in the same transaction. A request whose
/// poster died comes as `posting`: it may have left.
pub async fn claim_due(tx: &mut Tx, now: Time, limit: u32) -> Result<Vec<OutboxRequest>, GatewayError> {
    let lock = if tx.is_sqlite() { "" } else { "for update skip locked" };
    let tail = format!(
        "where state in ('prepared', 'posting', 'unknown') and next_attempt_at <= $1
         order by case when batch_id is null then 1 else 0 end, next_attempt_at, originator, counter limit $2 {lock}"
    );
    Ok(select(tx, &tail, &[now.0, i64::from(limit)]).await?)
}

/// A guarded change of one request: what it becomes, from where.
struct Step {
    wanted: &'static str,
    set: &'static str,
    from: &'static str,
}

/// Applies a step. In its texts `$3` is a time, `$4` another, `$5` a text (every step names all three, used or not).
async fn step(tx: &mut Tx, id: RequestId, step: Step, at: Time, then: Time, text: &str) -> Result<(), GatewayError> {
    let Some([originator, counter, _]) = key(id) else {
        return Err(GatewayError::StaleRequest { id, wanted: step.wanted, found: "not ours".into() });
    };
    let statement = sqlx::AssertSqlSafe(format!(
        "update outbox set {} where originator = $1 and counter = $2 and {}
         and cast($3 as bigint) is not null and cast($4 as bigint) is not null and cast($5 as text) is not null",
        step.set, step.from
    ));
    let text: String = text.chars().take(REASON_CHARS).collect();
    let changed = sql!(tx, c => {
        let query = sqlx::query(statement).bind(originator).bind(counter).bind(at.0).bind(then.0).bind(text);
        query.execute(c).await.map_err(DbError::from)?.rows_affected()
    });
    if changed == 1 {
        return Ok(());
    }
    let found = match find_by_request_id(tx, id).await? {
        Some(request) => request.state.as_str().to_string(),
        None => "not in the outbox".to_string(),
    };
    Err(GatewayError::StaleRequest { id, wanted: step.wanted, found })
}

/// An attempt begins: commit this before the first byte leaves. Past `answer_by` the poster is taken to be dead.
pub async fn mark_posting(tx: &mut Tx, id: RequestId, now: Time, answer_by: Time) -> Result<(), GatewayError> {
    let posting = Step {
        wanted: "posting",
        set: "state = 'posting', attempts = attempts + 1, posts = posts + 1,
            first_posted_at = coalesce(first_posted_at, $3), last_posted_at = $3, next_attempt_at = $4",
        from: "(state in ('prepared', 'unknown') or (state = 'posting' and next_attempt_at <= $3))",
    };
    step(tx, id, posting, now, answer_by, "").await
}

/// DCC answered, at once or later: `code` is its raw response code.
pub async fn mark_answered(tx: &mut Tx, id: RequestId, code: &str, now: Time) -> Result<(), GatewayError> {
    let answered = Step {
        wanted: "answered",
        set: "state = 'answered', response_code = $5, answered_at = $3, last_error = null",
        from: "state in ('posting', 'unknown', 'held') and posts > 0",
    };
    step(tx, id, answered, now, now, code).await
}

/// The attempt left, or may have, and there is no usable answer. Due again, under the same RequestID, at `next_attempt_at`.
pub async fn mark_unknown(tx: &mut Tx, id: RequestId, why: &str, next_attempt_at: Time) -> Result<(), GatewayError> {
    let unknown =
        Step { wanted: "unknown", set: "state = 'unknown', next_attempt_at = $4, last_error = $5", from: "state = 'posting'" };
    step(tx, id, unknown, next_attempt_at, next_attempt_at, why).await
}

/// Nothing of this attempt left: `prepared` again, or `unknown` where an earlier attempt may have left.
pub async fn mark_not_sent(tx: &mut Tx, id: RequestId, why: &str, next_attempt_at: Time) -> Result<(), GatewayError> {
    let not_sent = Step {
        wanted: "not sent",
        set: "state = case when posts = 1 then 'prepared' else 'unknown' end, posts = posts - 1,
            first_posted_at = case when posts = 1 then null else first_posted_at end,
            last_posted_at = case when posts = 1 then null else last_posted_at end,
            next_attempt_at = $4, last_error = $5",
        from: "state = 'posting'",
    };
    step(tx, id, not_sent, next_attempt_at, next_attempt_at, why).await
}

/// A due request may not leave now (a window, a pause): it keeps its state and is due again at `next_attempt_at`. One whose
/// poster died becomes `unknown`.
pub async fn put_off(tx: &mut Tx, id: RequestId, why: &str, next_attempt_at: Time) -> Result<(), GatewayError> {
    let later = Step {
        wanted: "due later",
        set: "state = case when state = 'posting' then 'unknown' else state end, next_attempt_at = $4, last_error = $5",
        from: "state in ('prepared', 'posting', 'unknown')",
    };
    step(tx, id, later, next_attempt_at, next_attempt_at, why).await
}

/// It never left and never will. Refused for one that may have left.
pub async fn mark_abandoned(tx: &mut Tx, id: RequestId, why: &str, now: Time) -> Result<(), GatewayError> {
    let abandoned = Step {
        wanted: "abandoned",
        set: "state = 'abandoned', last_error = $5",
        from: "state in ('prepared', 'held') and posts = 0",
    };
    step(tx, id, abandoned, now, now, why).await
}

/// It waits for an operator.
pub async fn hold(tx: &mut Tx, id: RequestId, why: &str, now: Time) -> Result<(), GatewayError> {
    let held =
        Step { wanted: "held", set: "state = 'held', last_error = $5", from: "state in ('prepared', 'posting', 'unknown')" };
    step(tx, id, held, now, now, why).await
}

/// DCC deleted it in quarantine: it reached no device. Its response code, if it has one, stays.
pub async fn mark_deleted(tx: &mut Tx, id: RequestId, why: &str, now: Time) -> Result<(), GatewayError> {
    let deleted = Step {
        wanted: "deleted",
        set: "state = 'deleted', last_error = $5",
        from: "state in ('posting', 'unknown', 'held', 'answered') and posts > 0",
    };
    step(tx, id, deleted, now, now, why).await
}

/// The operator lets it go on: due now, `unknown` where it may have left.
pub async fn release_held(tx: &mut Tx, id: RequestId, now: Time) -> Result<(), GatewayError> {
    let released = Step {
        wanted: "released",
        set: "state = case when posts = 0 then 'prepared' else 'unknown' end, next_attempt_at = $3",
        from: "state = 'held'",
    };
    step(tx, id, released, now, now, "").await
}

/// At start-up: whatever back-off or poster the dead process left, every open request is due now, and one that was being
/// posted is `unknown`. How many there are. Only for who alone posts: another node's posts in flight would go out twice
/// (under the same RequestID).
pub async fn release_backoff(tx: &mut Tx, now: Time) -> Result<u64, GatewayError> {
    let text = "update outbox set state = case when state = 'posting' then 'unknown' else state end, next_attempt_at = $1
        where state in ('prepared', 'posting', 'unknown')";
    Ok(sql!(tx, c => sqlx::query(text).bind(now.0).execute(c).await.map_err(DbError::from)?.rows_affected()))
}

pub async fn find_by_request_id(tx: &mut Tx, id: RequestId) -> Result<Option<OutboxRequest>, GatewayError> {
    let Some(key) = key(id) else { return Ok(None) };
    let found = select(tx, "where originator = $1 and counter = $2 and target = $3 order by counter", &key).await?;
    Ok(found.into_iter().next())
}

/// Whether this very request (RequestID and digest) left or may have left in an attempt *before* the one being posted now, if
/// one is: only then does DCC's "seen already" mean yes (signature profile, rule 11).
pub async fn was_posted(tx: &mut Tx, id: RequestId, body_digest: Sha256Hash) -> Result<bool, GatewayError> {
    Ok(find_by_request_id(tx, id).await?.is_some_and(|request| {
        let now_posting = u32::from(request.state == OutboxState::Posting);
        request.body_digest == body_digest && request.posts > now_posting
    }))
}

/// The latest request of a batch that is neither answered nor abandoned.
pub async fn open_for_batch(tx: &mut Tx, batch_id: i64) -> Result<Option<OutboxRequest>, GatewayError> {
    let tail = "where batch_id = $1 and state in ('prepared', 'posting', 'unknown', 'held')
        order by created_at desc, counter desc limit 1";
    Ok(select(tx, tail, &[batch_id]).await?.into_iter().next())
}

/// The batches of a campaign whose request may still be posted, or posted again: its outcome is not known.
pub async fn open_batches(tx: &mut Tx, campaign: i64) -> Result<Vec<i64>, GatewayError> {
    let text = "select batch_id from outbox where state in ('prepared', 'posting', 'unknown')
        and batch_id in (select id from batches where campaign_id = $1) order by batch_id";
    Ok(sql!(tx, c => sqlx::query_scalar(text).bind(campaign).fetch_all(c).await.map_err(DbError::from)?))
}

/// The batches of a campaign whose request is prepared and was never posted.
pub async fn unposted_batches(tx: &mut Tx, campaign: i64) -> Result<Vec<i64>, GatewayError> {
    let text = "select batch_id from outbox where state = 'prepared' and posts = 0
        and batch_id in (select id from batches where campaign_id = $1) order by batch_id";
    Ok(sql!(tx, c => sqlx::query_scalar(text).bind(campaign).fetch_all(c).await.map_err(DbError::from)?))
}

/// Every request of a batch, oldest first.
pub async fn of_batch(tx: &mut Tx, batch_id: i64) -> Result<Vec<OutboxRequest>, GatewayError> {
    Ok(select(tx, "where batch_id = $1 order by created_at, counter", &[batch_id]).await?)
}

/// Requests, newest counter first, in one state or in any; `before` is the last counter of the page before.
pub async fn list(
    tx: &mut Tx,
    state: Option<OutboxState>,
    before: Option<u64>,
    limit: u32,
) -> Result<Vec<OutboxRequest>, GatewayError> {
    let state = state.map(|s| format!("and state = '{}'", s.as_str())).unwrap_or_default();
    let before = before.and_then(|b| i64::try_from(b).ok()).unwrap_or(i64::MAX);
    let tail = format!("where counter < $1 {state} order by counter desc, originator limit $2");
    Ok(select(tx, &tail, &[before, i64::from(limit)]).await?)
}

/// When the next open request is due (or its poster dead).
pub async fn next_due(tx: &mut Tx) -> Result<Option<Time>, GatewayError> {
    let text = "select min(next_attempt_at) from outbox where state in ('prepared', 'posting', 'unknown')";
    let due: Option<i64> = sql!(tx, c => sqlx::query_scalar(text).fetch_one(c).await.map_err(DbError::from)?);
    Ok(due.map(Time))
}

/// How many requests are in each state; states with none are left out.
pub async fn counts(tx: &mut Tx) -> Result<BTreeMap<OutboxState, u64>, GatewayError> {
    let text = "select state, count(*) from outbox group by state order by state";
    let rows: Vec<(String, i64)> = sql!(tx, c => sqlx::query_as(text).fetch_all(c).await.map_err(DbError::from)?);
    rows.into_iter()
        .map(|(state, n)| match state.parse() {
            Ok(s) => Ok((s, n as u64)),
            Err(_) => Err(DbError::bad_row("outbox", "counts", "state", state).into()),
        })
        .collect()
}

/// RequestIDs of this service reference that left or may have left at least once, among the batches of one campaign.
pub async fn posted_in_campaign(tx: &mut Tx, campaign: i64, service_reference: &str) -> Result<u64, GatewayError> {
    let text = "select count(*) from outbox where posts > 0 and service_reference = $2
        and batch_id in (select id from batches where campaign_id = $1)";
    let n: i64 = sql!(tx, c => {
        sqlx::query_scalar(text).bind(campaign).bind(service_reference).fetch_one(c).await.map_err(DbError::from)?
    });
    Ok(n as u64)
}
