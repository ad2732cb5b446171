//! The archive of the outbox on both engines: the bytes of every posting, for as long as they are wanted.

use super::{super::*, *};
use crate::{
    db::{Db, testing},
    duis::RequestKind,
    gateway::testing::{digest, id, now, us, version},
};

fn at(seconds: i64) -> Time {
    now().plus_millis(seconds * 1_000)
}

/// A request made `counter` seconds from now.
async fn prepared(db: &Db, counter: u64, batch_id: Option<i64>, service_reference: &str) -> RequestId {
    let mut tx = db.begin().await.unwrap();
    let now = at(counter as i64);
    let new = NewRequest { id: id(counter), service_reference, batch_id, duis_version: version(), body_digest: digest(1), now };
    prepare(&mut tx, &new).await.unwrap();
    tx.commit().await.unwrap();
    new.id
}

async fn posted(db: &Db, id: RequestId, at: Time) {
    let mut tx = db.begin().await.unwrap();
    mark_posting(&mut tx, id, at, at).await.unwrap();
    keep_posting(&mut tx, id, 1, b"<request/>", at).await.unwrap();
    tx.commit().await.unwrap();
}

async fn campaign_with_batch(db: &Db, name: &str, state: &str) -> i64 {
    let mut tx = db.begin().await.unwrap();
    let campaign = "insert into campaigns (name, image_id, state, filter, rollout, batch_size, created_at, created_by)
        values ($1, '', $2, '{}', '', 1, 0, '') returning id";
    let batch = "insert into batches (campaign_id, plan_id, number, members, size, state, created_at, updated_at)
        values ($1, 1, 1, $2, 0, 'accepted', 0, 0) returning id";
    let made = sql!(&mut tx, c => {
        let id: i64 = sqlx::query_scalar(campaign).bind(name).bind(state).fetch_one(&mut *c).await.unwrap();
        sqlx::query_scalar(batch).bind(id).bind(Vec::<u8>::new()).fetch_one(c).await.unwrap()
    });
    tx.commit().await.unwrap();
    made
}

async fn bytes(db: &Db, id: RequestId, attempt: Option<u32>) -> Option<Vec<u8>> {
    posted_bytes(&mut db.read().await.unwrap(), id, attempt).await.unwrap()
}

/// What a resend looks like: the same but for its last part.
fn posting(signature: &str) -> Vec<u8> {
    format!("<Request>{}<SignatureValue>{signature}</SignatureValue></Request>", "device,".repeat(50_000)).into_bytes()
}

#[tokio::test]
async fn every_posting_comes_back_byte_for_byte_and_a_resend_costs_little() {
    for t in testing::databases().await {
        let request = prepared(&t.db, 5, None, "11.1").await;
        assert_eq!(bytes(&t.db, request, None).await, None);
        let signatures = ["first", "second, which is longer", "3", "first"];
        let mut tx = t.db.begin().await.unwrap();
        for (n, signature) in signatures.iter().enumerate() {
            keep_posting(&mut tx, request, n as u32 + 1, &posting(signature), at(n as i64)).await.unwrap();
        }
        end_posting(&mut tx, request, 2, PostingOutcome::Unknown, Some("no answer in time"), None, at(9)).await.unwrap();
        end_posting(&mut tx, request, 4, PostingOutcome::Answered, None, Some(77), at(9)).await.unwrap();
        tx.commit().await.unwrap();
        for (n, signature) in signatures.iter().enumerate() {
            assert_eq!(bytes(&t.db, request, Some(n as u32 + 1)).await, Some(posting(signature)), "{} {n}", t.engine);
        }
        assert_eq!(bytes(&t.db, request, None).await, Some(posting("first")), "the last one");
        assert_eq!(bytes(&t.db, request, Some(9)).await, None);
        let mut tx = t.db.read().await.unwrap();
        let listed = postings(&mut tx, request).await.unwrap();
        assert_eq!(listed.iter().map(|p| p.size as usize).collect::<Vec<_>>(), signatures.map(|s| posting(s).len()));
        assert_eq!((listed[1].outcome, listed[1].note.as_deref()), (Some(PostingOutcome::Unknown), Some("no answer in time")));
        assert_eq!((listed[3].reply, listed[3].ended_at, listed[0].outcome), (Some(77), Some(at(9)), None));
        let text = "select cast(max(octet_length(body)) as bigint) from outbox_posts where attempt > 1";
        let resend: i64 = sql!(&mut tx, c => sqlx::query_scalar(text).fetch_one(c).await.unwrap());
        assert!(resend < 100, "{resend}");
    }
}

#[tokio::test]
async fn what_never_left_is_forgotten_and_what_may_have_left_before_is_not() {
    for t in testing::databases().await {
        let (never, before) = (prepared(&t.db, 5, None, "11.1").await, prepared(&t.db, 6, None, "11.1").await);
        let mut tx = t.db.begin().await.unwrap();
        keep_posting(&mut tx, never, 1, &posting("a"), now()).await.unwrap();
        forget_posting(&mut tx, never, 1, "connection refused", now()).await.unwrap();
        keep_posting(&mut tx, before, 1, &posting("a"), now()).await.unwrap();
        keep_posting(&mut tx, before, 2, &posting("b"), now()).await.unwrap();
        forget_posting(&mut tx, before, 2, "connection refused", now()).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(bytes(&t.db, never, None).await, None);
        assert_eq!(bytes(&t.db, before, Some(1)).await, Some(posting("a")), "{}", t.engine);
        let listed = postings(&mut t.db.read().await.unwrap(), before).await.unwrap();
        assert_eq!((listed.len(), listed[1].outcome), (2, Some(PostingOutcome::NotSent)));
    }
}

#[tokio::test]
async fn old_bytes_go_only_with_what_has_ended() {
    for t in testing::databases().await {
        let over = campaign_with_batch(&t.db, "over", "finished").await;
        let running = campaign_with_batch(&t.db, "running", "paused").await;
        let cases = [
            (1, None, true, false),
            (2, None, false, true),
            (3, Some(over), true, false),
            (4, Some(over), false, true),
            (5, Some(running), true, true),
        ];
        for (counter, batch, answered, _) in cases {
            let request = prepared(&t.db, counter, batch, "11.1").await;
            posted(&t.db, request, now()).await;
            let mut tx = t.db.begin().await.unwrap();
            match answered {
                true => mark_answered(&mut tx, request, "I99", now()).await.unwrap(),
                false => hold(&mut tx, request, "a person looks", now()).await.unwrap(),
            }
            tx.commit().await.unwrap();
        }
        let mut tx = t.db.begin().await.unwrap();
        assert_eq!(prune_postings(&mut tx, now(), 10).await.unwrap(), 0, "not old enough");
        assert_eq!(prune_postings(&mut tx, at(1), 1).await.unwrap(), 1);
        assert_eq!(prune_postings(&mut tx, at(1), 10).await.unwrap(), 1);
        assert_eq!(prune_postings(&mut tx, at(1), 10).await.unwrap(), 0);
        tx.commit().await.unwrap();
        for (counter, _, _, stays) in cases {
            assert_eq!(bytes(&t.db, id(counter), None).await.is_some(), stays, "{} {counter}", t.engine);
            let kept = find_by_request_id(&mut t.db.read().await.unwrap(), id(counter)).await.unwrap();
            assert_eq!(kept.unwrap().posts, 1, "that it was posted is never forgotten");
        }
    }
}

#[tokio::test]
async fn requests_are_found_by_kind_state_time_campaign_and_batch() {
    for t in testing::databases().await {
        let batch = campaign_with_batch(&t.db, "spring", "started").await;
        prepared(&t.db, 1, Some(batch), "11.1").await;
        prepared(&t.db, 2, None, "8.2").await;
        prepared(&t.db, 3, None, "11.1").await;
        posted(&t.db, id(3), now()).await;
        let mut tx = t.db.read().await.unwrap();
        let any = OutboxFilter::default;
        for (filter, wanted) in [
            (any(), vec![3, 2, 1]),
            (OutboxFilter { request: Some(id(2)), ..any() }, vec![2]),
            (OutboxFilter { request: Some(RequestId { counter: u64::MAX, ..id(2) }), ..any() }, vec![]),
            (OutboxFilter { request: Some(RequestId { originator: Eui(1), ..id(2) }), ..any() }, vec![]),
            (OutboxFilter { kind: Some(RequestKind::UpdateFirmware), ..any() }, vec![3, 1]),
            (OutboxFilter { state: Some(OutboxState::Posting), ..any() }, vec![3]),
            (OutboxFilter { since: Some(at(2)), until: Some(at(3)), ..any() }, vec![2]),
            (OutboxFilter { campaign: Some(1), ..any() }, vec![1]),
            (OutboxFilter { campaign: Some(9), ..any() }, vec![]),
            (OutboxFilter { batches: Some(vec![batch, 99]), ..any() }, vec![1]),
            (OutboxFilter { batches: Some(Vec::new()), ..any() }, vec![]),
        ] {
            let found = search(&mut tx, &filter, None, 9).await.unwrap();
            let counters: Vec<u64> = found.iter().map(|r| r.id.counter).collect();
            assert_eq!(counters, wanted, "{}: {filter:?}", t.engine);
        }
        let page = search(&mut tx, &any(), Some(3), 1).await.unwrap();
        assert_eq!((page.len(), page[0].id), (1, id(2)));
        assert_eq!(page[0].id.originator, us());
    }
}
