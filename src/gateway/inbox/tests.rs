//! The inbox on both engines: stored once, settled once.

use super::*;
use crate::{
    db::testing,
    gateway::testing::{alert, digest, id, now},
};

fn message(n: u64) -> NewMessage {
    NewMessage::of(&alert(n), digest(1), format!("body {n}").as_bytes(), now())
}

/// As it was received.
async fn body(tx: &mut Tx, id: i64) -> String {
    String::from_utf8(store::show(tx, id).await.unwrap().unwrap().1.body().unwrap()).unwrap()
}

#[tokio::test]
async fn a_message_is_stored_once_however_often_it_comes() {
    for t in testing::databases().await {
        let first: Vec<_> = (0..700).map(message).collect();
        let again: Vec<_> = (690..710).chain(705..715).map(message).collect();
        let mut tx = t.db.begin().await.unwrap();
        assert_eq!(insert_many(&mut tx, &first).await.unwrap(), 700);
        assert_eq!(insert_many(&mut tx, &again).await.unwrap(), 15, "{}", t.engine);
        assert_eq!(insert_many(&mut tx, &[]).await.unwrap(), 0);
        tx.commit().await.unwrap();
        let mut tx = t.db.read().await.unwrap();
        assert_eq!(counts(&mut tx).await.unwrap(), BTreeMap::from([(InboxState::New, 715)]));
        let page = fetch_new(&mut tx, 0, 500).await.unwrap();
        assert_eq!((page.len(), body(&mut tx, page[3].message.id).await.as_str()), (500, "body 3"));
        let rest = fetch_new(&mut tx, page[499].message.id, 500).await.unwrap();
        assert_eq!((rest.len(), body(&mut tx, rest[0].message.id).await.as_str()), (215, "body 500"));
    }
}

#[tokio::test]
async fn a_page_of_large_messages_is_small() {
    for t in testing::databases().await {
        let large = |n| NewMessage { kept: Kept::pack(&vec![b'x'; 6 * 1024 * 1024]), gist: None, ..message(n) };
        let mut tx = t.db.begin().await.unwrap();
        insert_many(&mut tx, &[large(1), large(2), large(3), large(4)]).await.unwrap();
        assert_eq!(fetch_new(&mut tx, 0, 100).await.unwrap().len(), 3, "{}", t.engine);
    }
}

#[tokio::test]
async fn settling_is_by_sets_and_a_second_settler_is_stale() {
    for t in testing::databases().await {
        let mut tx = t.db.begin().await.unwrap();
        let answer = NewMessage { request_id: Some(id(4)), ..message(2) };
        insert_many(&mut tx, &[message(1), answer, message(3)]).await.unwrap();
        let new = fetch_new(&mut tx, 0, 10).await.unwrap();
        let new: Vec<Arrived> = new.into_iter().map(|fetched| fetched.message).collect();
        let marks = [
            (new[0].id, InboxState::Settled, None),
            (new[1].id, InboxState::Unmatched, Some("no such 'device\"".to_string())),
            (new[2].id, InboxState::Failed, Some("x".repeat(1000))),
        ];
        mark(&mut tx, &marks, now()).await.unwrap();
        assert!(mark(&mut tx, &marks[..1], now()).await.unwrap_err().is_stale());
        mark(&mut tx, &[], now()).await.unwrap();
        let (entry, shown) = store::show(&mut tx, new[1].id).await.unwrap().unwrap();
        assert_eq!((entry.state, entry.note.as_deref()), (InboxState::Unmatched, Some("no such 'device\"")));
        assert_eq!((entry.request_id, entry.kind.as_str()), (Some(id(4)), "SMETS1CHFirmwareNotification"));
        assert_eq!((entry.size, shown.body().unwrap().as_slice(), entry.settled_at), (6, b"body 2".as_slice(), Some(now())));
        let again = store::replay(&mut tx, &[new[0].id, new[1].id]).await.unwrap();
        assert_eq!(again, [new[1].id], "a settled one stays settled");
        let listed = list(&mut tx, Some(InboxState::New), None, 5).await.unwrap();
        assert_eq!(listed.iter().map(|e| (e.id, e.note.clone())).collect::<Vec<_>>(), [(new[1].id, None)], "{}", t.engine);
        assert_eq!(store::show(&mut tx, 99_999).await.unwrap(), None);
        assert_eq!(list(&mut tx, None, Some(new[2].id), 1).await.unwrap()[0].id, new[1].id);
    }
}
