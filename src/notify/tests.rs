//! What is posted, byte for byte, and how long it is kept, on both engines.

use serde_json::json;

use super::{store::New, *};
use crate::db::testing;

fn team() -> Team {
    Team {
        name: "incident".into(),
        mpid: "EELC".parse().unwrap(),
        url: "http://127.0.0.1:9".into(),
        ca: None,
        secret: crate::policy::FileNamed("notify.secret".into()),
        events: NotifyKind::ALL.to_vec(),
    }
}

fn told(kind: NotifyKind) -> Stored {
    Stored {
        id: 7,
        kind,
        to: Whom::Own { but_not: None },
        subject: "00-DB-12-34-56-78-90-A4".into(),
        sentence: "no key for 00-DB-12-34-56-78-90-A4, MPAN 2298132107763".into(),
        remedy: "ppmid keys show 00-DB-12-34-56-78-90-A4".into(),
        numbers: json!({"attempts": 3}),
        happened_at: Time(1_793_000_000_123),
    }
}

#[test]
fn what_is_posted() {
    let all: Vec<String> = NotifyKind::ALL.iter().map(|kind| Payload::of(&told(*kind), &team()).body).collect();
    let test = test_payload(&team(), "ann@desk", Time(1_793_000_000_123)).body;
    insta::assert_snapshot!(format!("{}\n{test}", all.join("\n")));
}

#[test]
fn the_key_names_everything_in_it() {
    let key = |told: &Stored, team: &Team| Payload::of(told, team).key;
    let base = key(&told(NotifyKind::Alarm), &team());
    assert_eq!(base, key(&told(NotifyKind::Alarm), &team()));
    assert_ne!(base, key(&told(NotifyKind::CaseOpened), &team()));
    assert_ne!(base, key(&Stored { id: 8, ..told(NotifyKind::Alarm) }, &team()));
    assert_ne!(base, key(&Stored { happened_at: Time(1), ..told(NotifyKind::Alarm) }, &team()), "an old number used again");
    assert_ne!(base, key(&told(NotifyKind::Alarm), &Team { name: "other".into(), ..team() }));
}

#[tokio::test]
async fn what_ended_long_ago_goes_and_nothing_else() {
    for t in testing::databases().await {
        let mut tx = t.db.begin().await.unwrap();
        let new = |subject| New {
            kind: NotifyKind::Alarm,
            to: Whom::Own { but_not: None },
            subject,
            sentence: "x",
            remedy: "",
            numbers: json!({}),
        };
        store::insert(&mut tx, &[new("a"), new("b"), new("c")], Time(10)).await.unwrap();
        let all = store::to_spread(&mut tx, 10).await.unwrap();
        assert_eq!(all.iter().map(|n| n.subject.as_str()).collect::<Vec<_>>(), ["a", "b", "c"], "{}", t.engine);
        let team = team();
        let (a, b) = (all[0].clone(), all[1].clone());
        let deliveries = [(a.id, &team, Payload::of(&a, &team)), (b.id, &team, Payload::of(&b, &team))];
        assert_eq!(store::spread(&mut tx, &[a.id, b.id], &deliveries, Time(20)).await.unwrap(), 2);
        assert_eq!(store::spread(&mut tx, &[a.id], &deliveries[..1], Time(21)).await.unwrap(), 0, "{}: once", t.engine);
        let due = store::due(&mut tx, "incident", team.mpid, Time(20)).await.unwrap().unwrap();
        assert_eq!((due.notification, due.body.as_str()), (a.id, deliveries[0].2.body.as_str()));
        assert!(store::delivered(&mut tx, &due, Time(30)).await.unwrap());
        assert!(!store::delivered(&mut tx, &due, Time(31)).await.unwrap(), "{}: stale", t.engine);
        assert_eq!(store::prune(&mut tx, Time(30), 10).await.unwrap(), 0);
        assert_eq!(store::prune(&mut tx, Time(31), 10).await.unwrap(), 2, "{}: the first and its delivery", t.engine);
        let left = store::list(&mut tx, None, None, 0, 10).await.unwrap();
        assert_eq!(left.iter().map(|d| d.notification).collect::<Vec<_>>(), [b.id]);
        assert_eq!(store::count_to_spread(&mut tx).await.unwrap(), 1, "{}: what was not told yet stays", t.engine);
    }
}
