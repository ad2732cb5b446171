//! The chain under several writers and under somebody with a database tool.

use super::{store::tamper, *};
use crate::db::{Db, testing};

fn event(n: i64) -> Event {
    let detail = serde_json::json!({"n": n, "why": "it's \"so\"\u{0}"});
    Event { at: Time(1_000 + n), who: "ann".into(), action: "campaign.pause".into(), subject: format!("campaign {n}"), detail }
}

async fn add(db: &Db, n: i64) -> i64 {
    let mut tx = db.begin().await.unwrap();
    let seq = append(&mut tx, &event(n)).await.unwrap();
    tx.commit().await.unwrap();
    seq
}

#[tokio::test]
async fn an_empty_chain_is_whole_and_a_full_one_grows() {
    for t in testing::databases().await {
        let mut tx = t.db.read().await.unwrap();
        let empty = verify(&mut tx, None).await.unwrap();
        assert_eq!((empty.events, empty.head.as_str()), (0, GENESIS));
        drop(tx);
        for n in 1..=3 {
            assert_eq!(add(&t.db, n).await, n, "{}", t.engine);
        }
        let mut tx = t.db.read().await.unwrap();
        let noted = verify(&mut tx, Some(GENESIS.parse().unwrap())).await.unwrap();
        let listed = list(&mut tx, 1, 10).await.unwrap();
        assert_eq!(listed.iter().map(|e| e.seq).collect::<Vec<_>>(), [2, 3]);
        assert_eq!((listed[1].subject.as_str(), &listed[1].detail), ("campaign 3", &event(3).detail));
        assert_eq!((noted.events, &noted.head), (3, &listed[1].hash));
        drop(tx);
        add(&t.db, 4).await;
        let mut tx = t.db.read().await.unwrap();
        assert_eq!(verify(&mut tx, Some(noted.head.parse().unwrap())).await.unwrap().events, 4);
        drop(tx);
        t.db.close().await;
    }
}

#[tokio::test]
async fn writers_at_the_same_time_make_one_chain() {
    for t in testing::databases().await {
        let mut writers = tokio::task::JoinSet::new();
        for n in 0..40 {
            let db = t.db.clone();
            writers.spawn(async move { add(&db, n).await });
        }
        let mut numbers = writers.join_all().await;
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=40).collect::<Vec<_>>(), "{}", t.engine);
        let mut tx = t.db.read().await.unwrap();
        assert_eq!(verify(&mut tx, None).await.unwrap().events, 40, "{}", t.engine);
        drop(tx);
        t.db.close().await;
    }
}

#[tokio::test]
async fn tampering_is_found_where_it_is() {
    let tamperings = [
        ("update audit_events set who = 'bob' where seq = 3", "event 3: it is not what was recorded"),
        ("update audit_events set at = at + 1 where seq = 1", "event 1: it is not what was recorded"),
        ("update audit_events set detail = '{}' where seq = 5", "event 5: it is not what was recorded"),
        ("update audit_events set hash = prev_hash where seq = 2", "event 2: it is not what was recorded"),
        // the boundary between two fields moved: the same text in a row
        ("update audit_events set who = 'annc', action = 'ampaign.pause' where seq = 2", "event 2: it is not what was recorded"),
        ("delete from audit_events where seq = 4", "event 5: the event after 3 should be 4: events are missing"),
        ("delete from audit_events where seq = 1", "event 2: the event after 0 should be 1: events are missing"),
        ("update audit_events set seq = 0 where seq = 1", "event 0: the event after 0 should be 1: events are missing"),
        ("update audit_events set prev_hash = 'x' where seq = 4", "event 4: it does not follow from the event before it"),
        ("delete from audit_events where seq = 5", "was cut short or replaced"),
        ("delete from audit_events", "was cut short or replaced"),
    ];
    for t in testing::databases().await {
        for n in 1..=5 {
            add(&t.db, n).await;
        }
        let mut tx = t.db.read().await.unwrap();
        let head = verify(&mut tx, None).await.unwrap().head.parse().unwrap();
        drop(tx);
        for (statement, expected) in tamperings {
            let mut tx = t.db.begin().await.unwrap();
            tamper(&mut tx, statement).await;
            let failure = Failure::from(verify(&mut tx, Some(head)).await.expect_err(statement));
            assert!(failure.message.contains(expected), "{}: {statement}: {failure}", t.engine);
            assert_eq!(failure.exit, crate::failure::Exit::Untrusted);
        }
        t.db.close().await;
    }
}

#[tokio::test]
async fn a_chain_longer_than_a_page_is_read_to_its_end() {
    let t = testing::sqlite().await;
    let mut tx = t.db.begin().await.unwrap();
    for n in 0..2_001 {
        append(&mut tx, &event(n)).await.unwrap();
    }
    assert_eq!(verify(&mut tx, None).await.unwrap().events, 2_001);
    tamper(&mut tx, "update audit_events set subject = '' where seq = 2001").await;
    assert!(matches!(verify(&mut tx, None).await, Err(AuditError::Broken { seq: 2_001, why: Breach::Altered })));
}

/// Computed once outside this program from the description of [`Row::computed_hash`]: a chain written today is
/// still whole for the program of tomorrow.
#[test]
fn the_hash_is_pinned() {
    let row = Row {
        seq: 1,
        at: 0,
        who: "a".into(),
        action: "b".into(),
        subject: String::new(),
        detail: "{}".into(),
        prev_hash: GENESIS.into(),
        hash: String::new(),
    };
    assert_eq!(row.computed_hash(), "22dbf7d77cbfdf848f350cbbf5a3f8b74be3fd6e97354b617047ae64796fa5d5");
}
