//! What DCC's anomaly detection may have counted: each posting that left or may have left, with its type, its devices and by when DCC
//! had it. Kept by the functions that keep the postings, so that nothing is posted uncounted. Not the thresholds, nor what follows
//! from them (`policy::Room`). Promise: counted before the bytes leave, and uncounted only when it is certain that they did not.

use super::super::key;
use crate::{
    clock::Time,
    db::{DbError, DbResult, Tx},
    gateway::GatewayError,
    ids::RequestId,
    sql,
};

/// Rows deleted in one transaction.
const PRUNE_ROWS: i64 = 5_000;

/// What was sent of one type, gathered in short stretches of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gathered {
    /// The end of the stretch.
    pub by: Time,
    pub requests: u64,
    pub devices: u64,
}

/// Which part of the ledger, and how it is read.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    pub service_reference: &'a str,
    /// What DCC had before is not asked for.
    pub since: Time,
    /// Milliseconds in a stretch, at least 1.
    pub stretch: i64,
    /// A RequestID that was posted several times is one, as late as the last.
    pub once: bool,
    /// All but this request.
    pub except: Option<RequestId>,
}

/// Counts an attempt that begins; the outbox says by when its poster is taken to be dead.
pub(super) async fn count(tx: &mut Tx, id: RequestId, attempt: u32, now: Time) -> DbResult<()> {
    let Some([originator, counter, _]) = key(id) else { return Ok(()) };
    let text = "insert into adt_ledger (originator, counter, attempt, service_reference, devices, posted_at, reached_by)
        select o.originator, o.counter, $3, o.service_reference, coalesce(b.size, 1), $4,
               case when o.next_attempt_at > $4 then o.next_attempt_at else $4 end
        from outbox o left join batches b on b.id = o.batch_id where o.originator = $1 and o.counter = $2
        on conflict (originator, counter, attempt) do nothing";
    sql!(tx, c => {
        sqlx::query(text).bind(originator).bind(counter).bind(i64::from(attempt)).bind(now.0).execute(c).await?;
    });
    Ok(())
}

/// What came of an attempt is known: DCC has it now or, where there was no answer (`is_answer` false), may still get it.
pub(super) async fn reached(tx: &mut Tx, id: RequestId, attempt: u32, is_answer: bool, now: Time) -> DbResult<()> {
    let Some([originator, counter, _]) = key(id) else { return Ok(()) };
    let text = "update adt_ledger set reached_by = case when $5 = 1 or reached_by < $4 then $4 else reached_by end
        where originator = $1 and counter = $2 and attempt = $3";
    sql!(tx, c => {
        sqlx::query(text)
            .bind(originator)
            .bind(counter)
            .bind(i64::from(attempt))
            .bind(now.0)
            .bind(i64::from(is_answer))
            .execute(c)
            .await?;
    });
    Ok(())
}

/// Nothing of the attempt left.
pub(super) async fn uncount(tx: &mut Tx, id: RequestId, attempt: u32) -> DbResult<()> {
    let Some([originator, counter, _]) = key(id) else { return Ok(()) };
    let text = "delete from adt_ledger where originator = $1 and counter = $2 and attempt = $3";
    sql!(tx, c => {
        sqlx::query(text).bind(originator).bind(counter).bind(i64::from(attempt)).execute(c).await?;
    });
    Ok(())
}

/// Waits for the turn of a type of request: until this transaction ends, nobody else counts it in order to post one.
pub async fn take_turn(tx: &mut Tx, service_reference: &str) -> Result<(), GatewayError> {
    let text = "insert into adt_turns (service_reference, turn) values ($1, 1)
        on conflict (service_reference) do update set turn = adt_turns.turn + 1";
    sql!(tx, c => {
        sqlx::query(text).bind(service_reference).execute(c).await.map_err(DbError::from)?;
    });
    Ok(())
}

/// What was sent, oldest first.
pub async fn sent(tx: &mut Tx, question: Question<'_>) -> Result<Vec<Gathered>, GatewayError> {
    let which = "from adt_ledger where service_reference = $1 and reached_by > $2 and not (originator = $4 and counter = $5)";
    let rows = if question.once {
        format!("select max(reached_by) as reached_by, max(devices) as devices {which} group by originator, counter")
    } else {
        format!("select reached_by, devices {which}")
    };
    let text = format!(
        "select (reached_by + $3 - 1) / $3 as stretch, count(*), cast(sum(devices) as bigint) from ({rows}) as r
         group by stretch order by stretch"
    );
    // No counter of ours is below zero.
    let (originator, counter) = question.except.and_then(key).map_or((0, -1), |[originator, counter, _]| (originator, counter));
    let stretch = question.stretch.max(1);
    let found: Vec<(i64, i64, i64)> = sql!(tx, c => {
        sqlx::query_as(sqlx::AssertSqlSafe(text))
            .bind(question.service_reference)
            .bind(question.since.0)
            .bind(stretch)
            .bind(originator)
            .bind(counter)
            .fetch_all(c)
            .await
            .map_err(DbError::from)?
    });
    let gathered = |(n, requests, devices): (i64, i64, i64)| Gathered {
        by: Time(n.saturating_mul(stretch)),
        requests: requests as u64,
        devices: devices as u64,
    };
    Ok(found.into_iter().map(gathered).collect())
}

/// Forgets some of what no threshold can count any more; gives how many postings.
pub async fn prune(tx: &mut Tx, before: Time) -> Result<u64, GatewayError> {
    let text = "delete from adt_ledger where reached_by < $1 and (originator, counter, attempt) in (
            select originator, counter, attempt from adt_ledger where reached_by < $1
            order by originator, counter, attempt limit $2)";
    Ok(sql!(tx, c => sqlx::query(text).bind(before.0).bind(PRUNE_ROWS).execute(c).await.map_err(DbError::from)?.rows_affected()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        db::testing,
        gateway::{
            outbox::{self, NewRequest, store},
            testing::{id, now},
        },
        ids::ImageId,
    };

    const REQUEST_MILLIS: i64 = 35_000;

    async fn prepared(tx: &mut Tx, counter: u64, service_reference: &str) -> RequestId {
        let new = NewRequest {
            id: id(counter),
            service_reference,
            batch_id: None,
            duis_version: "3.1".parse().unwrap(),
            body_digest: ImageId([1; 32]),
            now: now(),
        };
        outbox::prepare(tx, &new).await.unwrap();
        new.id
    }

    async fn posted(tx: &mut Tx, id: RequestId, attempt: u32, at: i64) {
        let at = now().plus_millis(at);
        outbox::mark_posting(tx, id, at, at.plus_millis(REQUEST_MILLIS)).await.unwrap();
        store::keep_posting(tx, id, attempt, b"<a/>", at).await.unwrap();
    }

    async fn ended(tx: &mut Tx, id: RequestId, attempt: u32, outcome: store::PostingOutcome, at: i64) {
        let at = now().plus_millis(at);
        store::end_posting(tx, id, attempt, outcome, None, None, at).await.unwrap();
        outbox::mark_unknown(tx, id, "", at).await.unwrap();
    }

    /// `(milliseconds after the beginning, requests)`.
    async fn counted(tx: &mut Tx, once: bool, except: Option<RequestId>, since: i64) -> Vec<(i64, u64)> {
        let question = Question { service_reference: "8.2", since: now().plus_millis(since), stretch: 1, once, except };
        sent(tx, question).await.unwrap().iter().map(|g| (g.by.0 - now().0, g.requests)).collect()
    }

    #[tokio::test]
    async fn what_left_or_may_have_left_is_counted_by_the_time_dcc_had_it() {
        use store::PostingOutcome::{Answered, Unknown};
        for t in testing::databases().await {
            let mut tx = t.db.begin().await.unwrap();
            take_turn(&mut tx, "8.2").await.unwrap();
            take_turn(&mut tx, "8.2").await.unwrap();
            let (a, b, other) =
                (prepared(&mut tx, 1, "8.2").await, prepared(&mut tx, 2, "8.2").await, prepared(&mut tx, 3, "11.2").await);
            posted(&mut tx, a, 1, 0).await;
            posted(&mut tx, b, 1, 10).await;
            posted(&mut tx, other, 1, 20).await;
            assert_eq!(counted(&mut tx, false, None, 0).await, [(35_000, 1), (35_010, 1)], "{}: under way", t.engine);
            ended(&mut tx, a, 1, Answered, 50).await;
            ended(&mut tx, b, 1, Unknown, 60).await;
            assert_eq!(counted(&mut tx, false, None, 0).await, [(50, 1), (35_010, 1)], "{}: one may still arrive", t.engine);
            posted(&mut tx, a, 2, 40_000).await;
            ended(&mut tx, a, 2, Answered, 40_100).await;
            assert_eq!(counted(&mut tx, false, None, 0).await, [(50, 1), (35_010, 1), (40_100, 1)], "{}", t.engine);
            assert_eq!(counted(&mut tx, true, None, 0).await, [(35_010, 1), (40_100, 1)], "{}: as late as the last", t.engine);
            assert_eq!(counted(&mut tx, true, Some(a), 0).await, [(35_010, 1)], "{}", t.engine);
            assert_eq!(counted(&mut tx, false, None, 35_010).await, [(40_100, 1)], "{}", t.engine);
            let stretches = Question { service_reference: "8.2", since: Time(0), stretch: 86_400_000, once: false, except: None };
            let all = sent(&mut tx, stretches).await.unwrap();
            assert_eq!((all.len(), all[0].requests, all[0].devices), (1, 3, 3), "{}", t.engine);
            assert!(all[0].by > now().plus_millis(40_100), "{}: a stretch counts as late as its end", t.engine);
        }
    }

    #[tokio::test]
    async fn what_certainly_never_left_is_not_counted_and_the_old_is_forgotten() {
        for t in testing::databases().await {
            let mut tx = t.db.begin().await.unwrap();
            let a = prepared(&mut tx, 1, "8.2").await;
            posted(&mut tx, a, 1, 0).await;
            let at = now().plus_millis(5);
            store::forget_posting(&mut tx, a, 1, "connection refused", at).await.unwrap();
            outbox::mark_not_sent(&mut tx, a, "connection refused", at).await.unwrap();
            assert_eq!(counted(&mut tx, false, None, 0).await, [], "{}", t.engine);
            posted(&mut tx, a, 2, 10).await;
            ended(&mut tx, a, 2, store::PostingOutcome::Answered, 20).await;
            posted(&mut tx, a, 3, 30).await;
            store::forget_posting(&mut tx, a, 3, "connection refused", now().plus_millis(40)).await.unwrap();
            assert_eq!(counted(&mut tx, false, None, 0).await, [(20, 1)], "{}", t.engine);
            assert_eq!(prune(&mut tx, now().plus_millis(20)).await.unwrap(), 0, "{}", t.engine);
            assert_eq!(prune(&mut tx, now().plus_millis(21)).await.unwrap(), 1, "{}", t.engine);
            assert_eq!(counted(&mut tx, false, None, 0).await, [], "{}", t.engine);
        }
    }
}
