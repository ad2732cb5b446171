//! The archive of the inbox on both engines: what is found, by which index, what is kept of what was refused, and for how long.

use super::{super::*, *};
use crate::{
    db::{
        Db,
        testing::{self, TestDb},
    },
    duis::{Body, Content, Throttled, UpdateFirmwareWarning},
    gateway::testing::{acknowledgement, alert, dcc_signer, digest, id, now, sample, signed},
    ids::Eui,
};

fn at(seconds: i64) -> Time {
    now().plus_millis(seconds * 1_000)
}

/// Device `n`'s alert about our request 7, received `n` seconds from now.
fn about_device(n: u64) -> NewMessage {
    let response = Response { request_id: Some(id(7)), ..alert(n) };
    NewMessage::of(&response, digest(1), format!("alert {n}").as_bytes(), at(n as i64))
}

fn warning(counter: u64, devices: &[u64], received_at: Time) -> (Response, NewMessage) {
    let (dcc, pinned) = dcc_signer();
    let invalid = devices.iter().map(|d| Eui(*d)).collect();
    let content = Content::UpdateFirmwareWarning(UpdateFirmwareWarning { invalid, ..Default::default() });
    let body = Body::Message { service_reference: "11.1".into(), service_reference_variant: "11.1".into(), content };
    let response = Response { body, ..acknowledgement(counter, "W110101") };
    let bytes = signed(&response, &dcc);
    let (_, digest) = crate::duis::verify_and_read_response(&bytes, &pinned.current(), now()).unwrap();
    let message = NewMessage::of(&response, digest, &bytes, received_at);
    (response, message)
}

async fn stored(db: &Db, messages: &[NewMessage]) {
    let mut tx = db.begin().await.unwrap();
    insert_many(&mut tx, messages).await.unwrap();
    tx.commit().await.unwrap();
}

async fn ids(db: &Db, mut filter: Filter) -> Vec<i64> {
    let mut tx = db.read().await.unwrap();
    if !narrow(&mut tx, &mut filter).await.unwrap() {
        return Vec::new();
    }
    // Two pages, so that the edge between them is looked at too.
    let mut found = search(&mut tx, &filter, None, 3).await.unwrap();
    if let Some(last) = found.last().map(|e| e.id) {
        found.extend(search(&mut tx, &filter, Some(last), 100).await.unwrap());
    }
    found.into_iter().map(|e| e.id).collect()
}

async fn rejected(db: &Db, reason: &str) -> Vec<InboxEntry> {
    let filter = Filter { state: Some(InboxState::Rejected), reason: Some(reason.into()), ..Filter::default() };
    search(&mut db.read().await.unwrap(), &filter, None, 100_000).await.unwrap()
}

#[tokio::test]
async fn messages_are_found_by_request_device_kind_state_and_time() {
    for t in testing::databases().await {
        let mut messages: Vec<_> = (1..=6).map(about_device).collect();
        messages.push(NewMessage::of(&acknowledgement(8, "I0"), digest(1), b"answer", at(7)));
        messages.push(warning(9, &[3, 77], at(8)).1);
        stored(&t.db, &messages).await;
        let mut tx = t.db.begin().await.unwrap();
        mark(&mut tx, &[(2, InboxState::Unmatched, Some("why".into()))], now()).await.unwrap();
        tx.commit().await.unwrap();
        let any = Filter::default;
        for (filter, wanted) in [
            (any(), vec![8, 7, 6, 5, 4, 3, 2, 1]),
            (Filter { request: Some(id(7)), ..any() }, vec![6, 5, 4, 3, 2, 1]),
            (Filter { request: Some(id(8)), ..any() }, vec![7]),
            (Filter { request: Some(RequestId { originator: Eui(1), ..id(7) }), ..any() }, vec![]),
            (Filter { request: Some(RequestId { counter: u64::MAX, ..id(7) }), ..any() }, vec![]),
            (Filter { kind: Some("ResponseMessage".into()), ..any() }, vec![7]),
            (
                Filter { kind: Some("SMETS1CHFirmwareNotification".into()), state: Some(InboxState::New), ..any() },
                vec![6, 5, 4, 3, 1],
            ),
            (Filter { kind: Some("x' or 1=1 --".into()), ..any() }, vec![]),
            (Filter { state: Some(InboxState::Unmatched), ..any() }, vec![2]),
            (Filter { since: Some(at(3)), until: Some(at(6)), ..any() }, vec![5, 4, 3]),
            (Filter { since: Some(at(7)), ..any() }, vec![8, 7]),
            (Filter { until: Some(at(1)), ..any() }, vec![]),
            (Filter { request: Some(id(7)), since: Some(at(5)), ..any() }, vec![6, 5]),
            (Filter { among: Some(vec![8, 3, 99]), ..any() }, vec![8, 3]),
            (Filter { among: Some(Vec::new()), ..any() }, vec![]),
        ] {
            assert_eq!(ids(&t.db, filter.clone()).await, wanted, "{}: {filter:?}", t.engine);
        }
        let mut tx = t.db.read().await.unwrap();
        assert_eq!(of_device(&mut tx, Eui(3)).await.unwrap(), [3]);
        let lists = lists(&mut tx, &any(), 0, 10).await.unwrap();
        assert_eq!(lists.iter().map(|m| m.id).collect::<Vec<_>>(), [8], "the warning names two");
        assert!(subject::names(&lists[0].read(&CertificateSet::default()).unwrap(), Eui(77)));
        assert_eq!(waiting(&mut tx).await.unwrap(), BTreeMap::from([(InboxState::Unmatched, 1)]));
    }
}

#[tokio::test]
async fn every_question_is_answered_by_an_index() {
    let t = testing::sqlite().await;
    let mut tx = t.db.read().await.unwrap();
    let any = Filter::default;
    for (filter, index) in [
        (any(), "USING INTEGER PRIMARY KEY"),
        (Filter { request: Some(id(7)), ..any() }, "inbox_by_request"),
        (Filter { kind: Some("DSPInventory".into()), ..any() }, "inbox_rare"),
        (Filter { state: Some(InboxState::Unmatched), ..any() }, "inbox_waiting"),
        (Filter { state: Some(InboxState::Rejected), reason: Some("digest".into()), ..any() }, "inbox_waiting"),
        (Filter { state: Some(InboxState::New), ..any() }, "inbox_new"),
        (Filter { window: Some((5, 9)), since: Some(now()), ..any() }, "USING INTEGER PRIMARY KEY"),
    ] {
        let plan = search::plan(&mut tx, &filter).await;
        assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{filter:?}: {plan}");
    }
}

#[tokio::test]
async fn throttled_alerts_count_for_what_they_stand_for() {
    for t in testing::databases().await {
        let mut many = alert(1);
        let Body::Alert { throttled, .. } = &mut many.body else { panic!() };
        *throttled = Throttled { sequence_id: None, count: Some(40) };
        stored(&t.db, &[NewMessage::of(&many, digest(1), b"many", now()), about_device(2)]).await;
        let counts = counts_by_kind(&mut t.db.read().await.unwrap()).await.unwrap();
        let kind = "SMETS1CHFirmwareNotification".to_string();
        assert_eq!(counts, [KindCount { kind, state: InboxState::New, messages: 2, stands_for: 41 }], "{}", t.engine);
    }
}

fn junk(n: usize, reason: &'static str, quota: Quota) -> RefusedMessage {
    let bytes = format!("junk {reason} {n}").into_bytes();
    RefusedMessage { received_at: now(), reason, quota, detail: format!("it is number {n}"), bytes }
}

async fn refuse(db: &Db, messages: &[RefusedMessage]) -> u64 {
    let mut tx = db.begin().await.unwrap();
    let kept = keep_refused(&mut tx, messages).await.unwrap();
    tx.commit().await.unwrap();
    kept
}

#[tokio::test]
async fn a_flood_of_junk_pushes_out_the_oldest_junk_and_nothing_else() {
    for t in testing::databases().await {
        stored(&t.db, &[about_device(1)]).await;
        refuse(&t.db, &[junk(0, "unknown-certificate", Quota::Certified), junk(0, "digest", Quota::Shaped)]).await;
        for part in (0..900).collect::<Vec<_>>().chunks(90) {
            let flood: Vec<_> = part.iter().map(|n| junk(*n, "malformed", Quota::Junk)).collect();
            assert_eq!(refuse(&t.db, &flood).await, 90);
        }
        let kept = rejected(&t.db, "malformed").await;
        assert_eq!(kept.len() as i64, Quota::Junk.messages(), "{}", t.engine);
        assert_eq!(kept[0].note.as_deref(), Some("it is number 899"));
        assert_eq!(kept.last().unwrap().note.as_deref(), Some("it is number 700"), "the oldest went first");
        assert_eq!((rejected(&t.db, "unknown-certificate").await.len(), rejected(&t.db, "digest").await.len()), (1, 1));
        assert_eq!(refuse(&t.db, &[junk(899, "malformed", Quota::Junk)]).await, 0, "the same again is one");
        assert_eq!(ids(&t.db, Filter { state: Some(InboxState::New), ..Filter::default() }).await, [1]);
        let (_, message) = show(&mut t.db.read().await.unwrap(), kept[0].id).await.unwrap().unwrap();
        assert_eq!(message.body().unwrap(), b"junk malformed 899");
    }
}

#[tokio::test]
async fn large_junk_is_bounded_by_its_bytes() {
    use rand_chacha::{
        ChaCha8Rng,
        rand_core::{Rng, SeedableRng},
    };
    let mut random = ChaCha8Rng::seed_from_u64(7);
    for t in testing::databases().await {
        for n in 0..12 {
            // What cannot be compressed.
            let mut bytes = vec![0; 1024 * 1024];
            random.fill_bytes(&mut bytes);
            refuse(&t.db, &[RefusedMessage { bytes, ..junk(n, "malformed", Quota::Junk) }]).await;
        }
        let kept = rejected(&t.db, "malformed").await;
        assert!((3..=4).contains(&kept.len()), "{}: {} of a megabyte each", t.engine, kept.len());
        assert_eq!(kept[0].note.as_deref(), Some("it is number 11"));
    }
}

#[tokio::test]
async fn what_was_kept_long_enough_goes_in_slices_and_what_waits_stays() {
    for t in testing::databases().await {
        let messages: Vec<_> = (1..=9).map(about_device).collect();
        stored(&t.db, &messages).await;
        refuse(&t.db, &[junk(0, "digest", Quota::Shaped)]).await;
        let mut tx = t.db.begin().await.unwrap();
        use InboxState::*;
        let states = [Settled, Ignored, Unmatched, Failed, Forwarding, Settled, Settled];
        let marks: Vec<_> = states.into_iter().enumerate().map(|(n, state)| (n as i64 + 1, state, None)).collect();
        mark(&mut tx, &marks, now()).await.unwrap();
        assert_eq!(prune(&mut tx, at(7), 2).await.unwrap(), 2);
        assert_eq!(prune(&mut tx, at(7), 2).await.unwrap(), 2, "the refused one, and number 6");
        assert_eq!(prune(&mut tx, at(7), 2).await.unwrap(), 0);
        tx.commit().await.unwrap();
        assert_eq!(ids(&t.db, Filter::default()).await, [9, 8, 7, 5, 4, 3], "{}", t.engine);
    }
}

#[tokio::test]
async fn messages_of_the_first_schema_are_found_and_read() {
    let Some((message, pinned)) = sample("made-11.1-response-warning.xml") else { return };
    for t in TestDb::at_step(1).await {
        let mut tx = t.db.begin().await.unwrap();
        let request = "90-B3-D5-1F-30-01-00-00:90-B3-D5-1F-30-00-00-02:1000";
        let foreign = format!("{}18446744073709551615", &request[..48]);
        for (n, request) in [Some(request.to_string()), Some(foreign), None].into_iter().enumerate() {
            let text = "insert into inbox (received_at, dedupe_key, request_id, kind, response_code, body, state)
                values ($1, $2, $3, 'DSPUpdateFirmwareWarning', 'W110101', $4, 'new')";
            let (key, body) = (format!("key {n}"), message.clone());
            sql!(&mut tx, c => {
                sqlx::query(text).bind(now().0).bind(key).bind(request).bind(body).execute(c).await.map(|_| ())
            })
            .unwrap();
        }
        tx.commit().await.unwrap();
        t.db.migrate().await.unwrap();
        let mut tx = t.db.read().await.unwrap();
        let kept = fetch_new(&mut tx, 0, 10).await.unwrap();
        let (_, first) = show(&mut tx, kept[0].message.id).await.unwrap().unwrap();
        assert_eq!((kept.len(), first.digest, first.source), (3, None, Source::Post), "{}", t.engine);
        assert_eq!(first.body().unwrap(), message);
        let read = kept[0].clone().read(&pinned.current()).unwrap();
        assert_eq!(read.code, "W110101", "by its certificate, since no digest was kept");
        assert!(kept[0].clone().read(&CertificateSet::default()).is_err());
        let entry =
            search(&mut tx, &Filter { request: Some(request.parse().unwrap()), ..Filter::default() }, None, 9).await.unwrap();
        assert_eq!((entry.len(), entry[0].size, entry[0].stands_for), (1, message.len() as u64, 1), "{}", t.engine);
    }
}

#[tokio::test]
async fn a_kept_message_is_read_without_its_certificate_and_not_if_it_was_changed() {
    for t in testing::databases().await {
        let (response, message) = warning(9, &[3, 77], now());
        let changed = NewMessage { dedupe_key: "other".into(), digest: Some(digest(9)), ..message.clone() };
        let damaged =
            NewMessage { dedupe_key: "damaged".into(), kept: Kept { size: 3, ..message.kept.clone() }, ..message.clone() };
        stored(&t.db, &[message, changed, damaged]).await;
        let kept = fetch_new(&mut t.db.read().await.unwrap(), 0, 10).await.unwrap();
        let nobody = CertificateSet::default();
        let read: Vec<_> = kept.into_iter().map(|fetched| fetched.read(&nobody)).collect();
        assert_eq!(read[0], Ok(response), "{}", t.engine);
        assert_eq!(read[1], Err(UnreadableMessage::Message(SignatureError::Digest)));
        assert_eq!(read[2], Err(UnreadableMessage::Kept(ArchiveError::Damaged)));
    }
}
