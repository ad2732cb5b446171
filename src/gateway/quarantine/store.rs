//! Quarantine events in the database.

use sqlx::AssertSqlSafe;

use super::{Decision, NewEvent, QuarantineState, Quarantined};
use crate::{
    clock::Time,
    db::{DbError, DbResult, Tx},
    ids::{Eui, RequestId},
    sql,
};

type Row = (
    (i64, i64, i64, i64, String, String, String),
    (Option<String>, Option<i64>, i64, i64, Option<i64>, Option<String>, Option<String>),
);

const COLUMNS: &str = "id, originator, counter, target, event_ref, breach, state, service_reference, batch_id, message, told_at, \
     decided_at, decided_by, reason";

fn event(row: Row) -> DbResult<Quarantined> {
    let ((id, originator, counter, target, event, breach, state), rest) = row;
    let (service_reference, batch_id, message, told_at, decided_at, decided_by, reason) = rest;
    let bad = |column: &'static str, found: &str| DbError::bad_row("quarantines", id, column, found);
    Ok(Quarantined {
        id,
        request_id: RequestId {
            originator: Eui::from_db(originator),
            target: Eui::from_db(target),
            counter: u64::try_from(counter).map_err(|_| bad("counter", &counter.to_string()))?,
        },
        breach: breach.parse().map_err(|_| bad("breach", &breach))?,
        state: state.parse().map_err(|_| bad("state", &state))?,
        event,
        service_reference,
        batch_id,
        message,
        told_at: Time(told_at),
        decided_at: decided_at.map(Time),
        decided_by,
        reason,
    })
}

/// Selects the events that `tail` describes; `$1`, `$2` ... in it are `numbers`, in order.
async fn select(tx: &mut Tx, tail: &str, numbers: &[i64]) -> DbResult<Vec<Quarantined>> {
    let text = format!("select {COLUMNS} from quarantines {tail}");
    sql!(tx, c => {
        let mut query = sqlx::query(AssertSqlSafe(text));
        for number in numbers {
            query = query.bind(*number);
        }
        let rows = query.fetch_all(c).await?;
        rows.iter().map(|row| -> DbResult<Quarantined> {
            use sqlx::Row as _;
            event((
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?, row.try_get(5)?, row.try_get(6)?),
                (row.try_get(7)?, row.try_get(8)?, row.try_get(9)?, row.try_get(10)?, row.try_get(11)?, row.try_get(12)?, row.try_get(13)?),
            ))
        }).collect()
    })
}

/// Keeps an event; `false`: it is known already. A counter that is larger than any of ours can be is kept as the largest.
pub async fn tell(tx: &mut Tx, new: &NewEvent) -> DbResult<bool> {
    let state = if new.ours.is_some() { QuarantineState::Standing } else { QuarantineState::Foreign };
    let counter = i64::try_from(new.request.counter).unwrap_or(i64::MAX);
    let (reference, batch) = new.ours.as_ref().map_or((None, None), |o| (Some(o.service_reference.as_str()), o.batch));
    let told = sql!(tx, c => sqlx::query(
        "insert into quarantines (originator, counter, target, event_ref, breach, state, service_reference, batch_id, message, told_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict (originator, counter, event_ref) do nothing")
        .bind(new.request.originator.to_db()).bind(counter).bind(new.request.target.to_db()).bind(&new.event)
        .bind(new.breach.as_str()).bind(state.as_str()).bind(reference).bind(batch).bind(new.message).bind(new.told_at.0)
        .execute(c).await?.rows_affected());
    Ok(told == 1)
}

/// Every event of one request, oldest first.
pub async fn of_request(tx: &mut Tx, id: RequestId) -> DbResult<Vec<Quarantined>> {
    let Ok(counter) = i64::try_from(id.counter) else { return Ok(Vec::new()) };
    let tail = "where originator = $1 and counter = $2 and target = $3 order by id";
    select(tx, tail, &[id.originator.to_db(), counter, id.target.to_db()]).await
}

/// The events of our own requests about which nobody has decided, oldest first.
pub async fn standing(tx: &mut Tx) -> DbResult<Vec<Quarantined>> {
    select(tx, "where state = 'standing' order by id", &[]).await
}

/// A page of events, newest first, with a lower id than `before`; those that stand, or all.
pub async fn list(tx: &mut Tx, standing: bool, before: i64, limit: u32) -> DbResult<Vec<Quarantined>> {
    let which = if standing { "and state = 'standing'" } else { "" };
    select(tx, &format!("where id < $1 {which} order by id desc limit $2"), &[before, i64::from(limit)]).await
}

/// Records what was decided about every event of the request that stands; gives how many those were.
pub async fn decide(tx: &mut Tx, id: RequestId, decision: Decision, by: &str, reason: &str, now: Time) -> DbResult<u64> {
    let Ok(counter) = i64::try_from(id.counter) else { return Ok(0) };
    Ok(sql!(tx, c => sqlx::query(
        "update quarantines set state = $4, decided_at = $5, decided_by = $6, reason = $7
         where originator = $1 and counter = $2 and target = $3 and state = 'standing'")
        .bind(id.originator.to_db()).bind(counter).bind(id.target.to_db()).bind(decision.state().as_str()).bind(now.0).bind(by).bind(reason)
        .execute(c).await?.rows_affected()))
}

#[cfg(test)]
mod tests {
    use super::{super::OurRequest, *};
    use crate::{
        db::testing,
        duis::Breach,
        gateway::testing::{id, now},
    };

    fn new(counter: u64, event: &str, ours: bool) -> NewEvent {
        NewEvent {
            request: id(counter),
            event: event.into(),
            breach: Breach::UserThreshold,
            ours: ours.then(|| OurRequest { service_reference: "11.1".into(), batch: Some(4) }),
            message: 9,
            told_at: now(),
        }
    }

    #[tokio::test]
    async fn an_event_is_kept_once_and_decided_once() {
        for t in testing::databases().await {
            let mut tx = t.db.begin().await.unwrap();
            assert!(tell(&mut tx, &new(1, "E1", true)).await.unwrap(), "{}", t.engine);
            assert!(!tell(&mut tx, &new(1, "E1", true)).await.unwrap(), "{}: told of twice", t.engine);
            assert!(tell(&mut tx, &new(1, "E2", true)).await.unwrap() && tell(&mut tx, &new(2, "E1", true)).await.unwrap());
            assert!(tell(&mut tx, &new(u64::MAX, "E3", false)).await.unwrap());
            let told = of_request(&mut tx, id(1)).await.unwrap();
            assert_eq!(told.iter().map(|q| q.event.as_str()).collect::<Vec<_>>(), ["E1", "E2"], "{}", t.engine);
            assert_eq!((told[0].request_id, told[0].batch_id, told[0].state), (id(1), Some(4), QuarantineState::Standing));
            assert_eq!(standing(&mut tx).await.unwrap().len(), 3, "{}: the foreign one waits for nobody", t.engine);
            let decide_on = async |tx: &mut Tx, decision| decide(tx, id(1), decision, "jane", "too many", now()).await.unwrap();
            assert_eq!(decide_on(&mut tx, Decision::Delete).await, 2, "{}", t.engine);
            assert_eq!(decide_on(&mut tx, Decision::Process).await, 0, "{}: it was decided", t.engine);
            let decided = of_request(&mut tx, id(1)).await.unwrap().remove(1);
            assert_eq!((decided.state, decided.decided_by.as_deref()), (QuarantineState::Deleted, Some("jane")), "{}", t.engine);
            let page = list(&mut tx, false, i64::MAX, 2).await.unwrap();
            assert_eq!((page[0].state, page[1].request_id), (QuarantineState::Foreign, id(2)), "{}", t.engine);
            assert_eq!(list(&mut tx, true, page[1].id + 1, 9).await.unwrap(), page[1..], "{}", t.engine);
        }
    }
}
