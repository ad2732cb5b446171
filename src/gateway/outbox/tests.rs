//! The outbox on both engines: counters never repeat, and a request moves only along its states.

use super::*;
use crate::{
    db::{Db, testing},
    gateway::testing::{digest, id, now, us, version},
};

fn later(seconds: i64) -> Time {
    now().plus_millis(seconds * 1000)
}

async fn prepared(db: &Db, counter: u64, batch_id: Option<i64>) -> RequestId {
    let mut tx = db.begin().await.unwrap();
    let body_digest = digest(1);
    let new =
        NewRequest { id: id(counter), service_reference: "11.1", batch_id, duis_version: version(), body_digest, now: now() };
    prepare(&mut tx, &new).await.unwrap();
    tx.commit().await.unwrap();
    new.id
}

async fn state(tx: &mut Tx, id: RequestId) -> OutboxState {
    find_by_request_id(tx, id).await.unwrap().unwrap().state
}

#[tokio::test]
async fn counters_rise_across_transactions_clocks_and_a_reopened_database() {
    for t in testing::databases().await {
        let mut last = 0;
        for at in [now(), now(), later(-60), later(1), Time(-5)] {
            let mut tx = t.db.begin().await.unwrap();
            let next = next_counter(&mut tx, us(), at).await.unwrap();
            assert!(next > last && next as i64 >= at.0, "{}", t.engine);
            last = next;
            tx.commit().await.unwrap();
        }
        t.db.close().await;
        let db = Db::open(&t.url).await.unwrap();
        let mut tx = db.begin().await.unwrap();
        assert!(next_counter(&mut tx, us(), Time(0)).await.unwrap() > last);
        assert_eq!(next_counter(&mut tx, Eui(1), Time(77)).await.unwrap(), 77, "another originator counts for itself");
        tx.commit().await.unwrap();
        db.close().await;
    }
}

#[tokio::test]
async fn concurrent_callers_never_get_the_same_counter() {
    for t in testing::databases().await {
        let take = |db: Db| async move {
            let mut mine = Vec::new();
            for _ in 0..25 {
                let mut tx = db.begin().await.unwrap();
                mine.push(next_counter(&mut tx, us(), now()).await.unwrap());
                tx.commit().await.unwrap();
            }
            mine
        };
        let tasks: Vec<_> = (0..6).map(|_| tokio::spawn(take(t.db.clone()))).collect();
        let mut all = std::collections::BTreeSet::new();
        for task in tasks {
            let mine = task.await.unwrap();
            assert!(mine.is_sorted());
            all.extend(mine);
        }
        assert_eq!(all.len(), 150, "{}", t.engine);
        t.db.close().await;
    }
}

#[tokio::test]
async fn an_exhausted_counter_is_an_error_and_not_a_repetition() {
    for t in testing::databases().await {
        let mut tx = t.db.begin().await.unwrap();
        next_counter(&mut tx, us(), Time(i64::MAX)).await.unwrap();
        let end = next_counter(&mut tx, us(), now()).await;
        assert!(matches!(end, Err(GatewayError::CounterExhausted { .. })), "{}", t.engine);
    }
}

#[tokio::test]
async fn a_lost_reply_is_resent_under_the_same_request_and_then_answered() {
    for t in testing::databases().await {
        let request = prepared(&t.db, 5, Some(9)).await;
        let mut tx = t.db.begin().await.unwrap();
        assert!(claim_due(&mut tx, later(-1), 10).await.unwrap().is_empty());
        let due = claim_due(&mut tx, now(), 10).await.unwrap();
        assert_eq!(due.iter().map(|r| r.id).collect::<Vec<_>>(), [request]);
        assert_eq!((due[0].batch_id, due[0].body_digest, due[0].duis_version), (Some(9), digest(1), version()));
        mark_posting(&mut tx, request, now(), later(30)).await.unwrap();
        assert!(claim_due(&mut tx, now(), 10).await.unwrap().is_empty(), "it has a poster");
        assert!(!was_posted(&mut tx, request, digest(1)).await.unwrap(), "the attempt in progress does not count");
        mark_unknown(&mut tx, request, &"no answer ".repeat(100), later(2)).await.unwrap();
        assert!(was_posted(&mut tx, request, digest(1)).await.unwrap());
        assert!(!was_posted(&mut tx, request, digest(2)).await.unwrap(), "another body was never posted");
        assert_eq!(next_due(&mut tx).await.unwrap(), Some(later(2)));
        mark_posting(&mut tx, request, later(2), later(30)).await.unwrap();
        assert!(was_posted(&mut tx, request, digest(1)).await.unwrap());
        mark_answered(&mut tx, request, "I99", later(3)).await.unwrap();
        let found = find_by_request_id(&mut tx, request).await.unwrap().unwrap();
        assert_eq!((found.state, found.attempts, found.posts), (OutboxState::Answered, 2, 2), "{}", t.engine);
        assert_eq!((found.first_posted_at, found.last_posted_at), (Some(now()), Some(later(2))));
        assert_eq!((found.response_code.as_deref(), found.last_error), (Some("I99"), None));
        assert_eq!((next_due(&mut tx).await.unwrap(), open_for_batch(&mut tx, 9).await.unwrap()), (None, None));
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn what_never_left_may_be_abandoned_and_what_may_have_left_may_not() {
    for t in testing::databases().await {
        let request = prepared(&t.db, 5, None).await;
        let mut tx = t.db.begin().await.unwrap();
        mark_posting(&mut tx, request, now(), later(30)).await.unwrap();
        mark_not_sent(&mut tx, request, "connection refused", later(1)).await.unwrap();
        let found = find_by_request_id(&mut tx, request).await.unwrap().unwrap();
        assert_eq!((found.state, found.posts, found.attempts), (OutboxState::Prepared, 0, 1));
        assert_eq!((found.first_posted_at, found.last_posted_at), (None, None));
        assert!(!was_posted(&mut tx, request, digest(1)).await.unwrap());
        let early = mark_answered(&mut tx, request, "I99", now()).await.unwrap_err();
        assert!(early.is_stale(), "nobody can answer what never left");

        mark_posting(&mut tx, request, now(), later(30)).await.unwrap();
        mark_unknown(&mut tx, request, "reset", later(1)).await.unwrap();
        // Same millisecond: that this attempt did not leave must not hide that the one before may have.
        mark_posting(&mut tx, request, now(), later(30)).await.unwrap();
        mark_not_sent(&mut tx, request, "connection refused", later(1)).await.unwrap();
        assert_eq!(state(&mut tx, request).await, OutboxState::Unknown, "{}", t.engine);
        let error = mark_abandoned(&mut tx, request, "paused", now()).await.unwrap_err();
        assert!(
            matches!(error, GatewayError::StaleRequest { wanted: "abandoned", ref found, .. } if found == "unknown"),
            "{error}"
        );

        let fresh = id(6);
        let new = NewRequest {
            id: fresh,
            service_reference: "11.1",
            batch_id: None,
            duis_version: version(),
            body_digest: digest(1),
            now: now(),
        };
        prepare(&mut tx, &new).await.unwrap();
        mark_abandoned(&mut tx, fresh, "the campaign was aborted", now()).await.unwrap();
        let counted = counts(&mut tx).await.unwrap();
        assert_eq!(counted, BTreeMap::from([(OutboxState::Unknown, 1), (OutboxState::Abandoned, 1)]));
    }
}

#[tokio::test]
async fn a_held_request_waits_for_a_person_and_takes_a_late_answer() {
    for t in testing::databases().await {
        let request = prepared(&t.db, 5, Some(3)).await;
        let mut tx = t.db.begin().await.unwrap();
        hold(&mut tx, request, "DCC has seen it, we never sent it", now()).await.unwrap();
        assert!(claim_due(&mut tx, later(1000), 10).await.unwrap().is_empty());
        assert_eq!(open_for_batch(&mut tx, 3).await.unwrap().unwrap().state, OutboxState::Held);
        release_held(&mut tx, request, now()).await.unwrap();
        assert_eq!(state(&mut tx, request).await, OutboxState::Prepared);
        mark_posting(&mut tx, request, now(), later(30)).await.unwrap();
        hold(&mut tx, request, "supply was lost", now()).await.unwrap();
        mark_answered(&mut tx, request, "I99", now()).await.unwrap();
        assert!(hold(&mut tx, request, "too late", now()).await.unwrap_err().is_stale(), "{}", t.engine);
        assert_eq!(of_batch(&mut tx, 3).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn after_a_crash_everything_open_is_due_and_a_dead_post_is_unknown() {
    for t in testing::databases().await {
        let (waiting, posting, done) =
            (prepared(&t.db, 1, None).await, prepared(&t.db, 2, None).await, prepared(&t.db, 3, None).await);
        let mut tx = t.db.begin().await.unwrap();
        for request in [waiting, posting, done] {
            mark_posting(&mut tx, request, now(), later(30)).await.unwrap();
        }
        mark_unknown(&mut tx, waiting, "HTTP 503", later(300)).await.unwrap();
        mark_answered(&mut tx, done, "I99", now()).await.unwrap();
        tx.commit().await.unwrap();

        let mut tx = t.db.begin().await.unwrap();
        let dead = claim_due(&mut tx, later(31), 10).await.unwrap();
        assert_eq!(dead.iter().map(|r| (r.id, r.state)).collect::<Vec<_>>(), [(posting, OutboxState::Posting)]);
        assert!(mark_posting(&mut tx, posting, later(29), later(60)).await.unwrap_err().is_stale(), "its poster may still live");
        assert_eq!(release_backoff(&mut tx, later(1)).await.unwrap(), 2);
        let due = claim_due(&mut tx, later(1), 10).await.unwrap();
        let due: Vec<_> = due.iter().map(|r| (r.id, r.state)).collect();
        assert_eq!(due, [(waiting, OutboxState::Unknown), (posting, OutboxState::Unknown)], "{}", t.engine);
        put_off(&mut tx, posting, "outside the window", later(99)).await.unwrap();
        assert_eq!(claim_due(&mut tx, later(1), 10).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn requests_are_listed_page_by_page_and_foreign_ids_are_not_found() {
    for t in testing::databases().await {
        for counter in 1..=5 {
            prepared(&t.db, counter, None).await;
        }
        let mut tx = t.db.read().await.unwrap();
        let page = list(&mut tx, None, None, 2).await.unwrap();
        assert_eq!(page.iter().map(|r| r.id.counter).collect::<Vec<_>>(), [5, 4]);
        let page = list(&mut tx, Some(OutboxState::Prepared), Some(4), 9).await.unwrap();
        assert_eq!(page.iter().map(|r| r.id.counter).collect::<Vec<_>>(), [3, 2, 1], "{}", t.engine);
        assert!(list(&mut tx, Some(OutboxState::Held), None, 9).await.unwrap().is_empty());
        assert_eq!(find_by_request_id(&mut tx, id(u64::MAX)).await.unwrap(), None);
        let target_differs = RequestId { target: Eui(1), ..id(1) };
        assert_eq!(find_by_request_id(&mut tx, target_differs).await.unwrap(), None);
        assert_eq!(posted_in_campaign(&mut tx, 1, "11.1").await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_counter_is_never_stored_twice() {
    for t in testing::databases().await {
        prepared(&t.db, 5, None).await;
        let mut tx = t.db.begin().await.unwrap();
        let new = NewRequest {
            id: id(5),
            service_reference: "11.1",
            batch_id: None,
            duis_version: version(),
            body_digest: digest(2),
            now: now(),
        };
        let twice = prepare(&mut tx, &new).await.unwrap_err();
        assert!(matches!(twice, GatewayError::Db(ref e) if e.is_unique_violation()), "{}: {twice}", t.engine);
    }
}
