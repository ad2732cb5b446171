//! Files too long for one transaction: journalled, applied in slices, finished after a crash, forgotten if never decided.

use super::*;
use crate::{
    db::bulk::Value,
    estate::store::{applying, estate_version, journal},
    ids::Eui,
};

/// More than one transaction takes, in an order that is not the keys'.
fn keys(n: u64, status: &str) -> String {
    let mut text = String::from("device_id,status,attempted_at\n");
    for i in 0..n {
        text += &format!("{},{status},2020-11-24T09:00:00Z\n", Eui((i * 7_919) % n));
    }
    text
}

#[tokio::test]
async fn a_long_file_is_loaded_whole_and_leaves_no_journal() {
    for desk in desks().await {
        let n = 45_011; // prime, so that every key comes once
        assert_eq!(desk.import(Kind::Keys, keys(n, "failed")).await.counts(), [n, n, 0, 0, 0, 0, 0]);
        assert_eq!(desk.import(Kind::Keys, keys(n, "failed")).await.counts(), [n, 0, 0, n, 0, 0, 0]);
        let mut file = keys(n, "updated");
        file += "00-00-00-00-00-00-00-05,failed,2020-11-24T09:00:00Z\nFF-FF-FF-FF-FF-FF-FF-FF,updated,2020-11-24T09:00:00Z\n";
        let said = desk.import(Kind::Keys, file).await;
        assert_eq!(said.counts(), [n + 2, 1, n, 0, 0, 0, 1]);
        assert_eq!(said.reasons(), [format!("{} duplicate", n + 2)]);
        let strict = Options { strict: true, ..Options::default() };
        let said = desk.import_with(Kind::Keys, keys(n, "failed") + "x,y,z\n", strict).await;
        assert_eq!(said.reasons(), [format!("{} bad-value:device_id", n + 2)]);
        assert!(said.result.is_err());
        assert_eq!(
            desk.table("status, count(*)", "(select status from key_results) k group by status").await,
            [format!("updated {}", n + 1)]
        );
        assert_eq!(desk.table("import_id", "import_blocks").await, Vec::<String>::new());
        assert_eq!(desk.table("id, state, read_rows, inserted, updated, unchanged, rejected", "imports").await.len(), 3);
        assert_eq!(estate_version(&mut desk.test.db.read().await.unwrap()).await.unwrap(), 3);
    }
}

#[tokio::test]
async fn a_long_registrations_file_ends_rows_in_slices() {
    for desk in desks().await {
        let n = 30_000u64;
        let file = |supplier: &str, from: &str| {
            let mut text = String::from("mpan,supplier_mpid,effective_from\n");
            (0..n).for_each(|i| {
                text += &format!("{},{supplier},{from}\n", crate::ids::Mpan::from_first_twelve(100_000_000_000 + i))
            });
            text
        };
        assert_eq!(desk.import(Kind::Registrations, file("AAAA", "2020-01-01")).await.counts(), [n, n, 0, 0, 0, 0, 0]);
        assert_eq!(desk.import(Kind::Registrations, file("BBBB", "2021-01-01")).await.counts(), [n, n, 0, 0, n, 0, 0]);
        assert_eq!(desk.import(Kind::Registrations, file("BBBB", "2021-01-01")).await.counts(), [n, 0, 0, n, 0, 0, 0]);
        let replace = Options { replace: true, ..Options::default() };
        let said = desk.import_with(Kind::Registrations, file("AAAA", "2020-01-01"), replace).await;
        assert_eq!(said.counts(), [n, 0, n, 0, 0, n, 0]);
        let rows = "(select supplier_mpid from registrations where effective_to is null) r group by supplier_mpid";
        assert_eq!(desk.table("supplier_mpid, count(*)", rows).await, ["AAAA 30000"]);
    }
}

fn block(devices: std::ops::Range<i64>) -> Block {
    let mut block = Block::default();
    for device in devices {
        block.push(Op::Put, &[device.into(), 0.into(), "failed".into(), Value::Null, "import".into()]);
    }
    block
}

#[tokio::test]
async fn an_import_left_half_applied_is_finished_once_and_a_live_one_is_left_alone() {
    for desk in desks().await {
        let db = &desk.test.db;
        // A process that died: three blocks decided on, the first in effect.
        let mut tx = db.begin().await.unwrap();
        let id = journal::begin(&mut tx, "keys", "staging", "dead.csv", false, None, Time(0)).await.unwrap();
        for seq in 0..3 {
            journal::keep_block(&mut tx, id, seq, block(seq * 10..seq * 10 + 10).bytes()).await.unwrap();
        }
        journal::conclude(&mut tx, id, "applying", &Counts { read: 30, ..Counts::default() }, None).await.unwrap();
        let first = journal::claim_block(&mut tx, id, 0).await.unwrap().unwrap();
        let (counts, _) = store::slices::apply(&mut tx, 1, Kind::Keys.spec(), &first).await.unwrap();
        journal::conclude(&mut tx, id, "applying", &counts, None).await.unwrap();
        tx.commit().await.unwrap();
        assert!(applying(&mut db.read().await.unwrap()).await.unwrap());
        assert_eq!(estate_version(&mut db.read().await.unwrap()).await.unwrap(), 0);
        // Whoever holds the lock is alive and will do it.
        let alive = lock::try_lock(db).await.unwrap().unwrap();
        assert!(lock::try_lock(db).await.unwrap().is_none());
        recover(db, &desk.clock).await.unwrap();
        assert!(applying(&mut db.read().await.unwrap()).await.unwrap());
        alive.release().await.unwrap();
        recover(db, &desk.clock).await.unwrap();
        recover(db, &desk.clock).await.unwrap();
        assert!(!applying(&mut db.read().await.unwrap()).await.unwrap());
        assert_eq!(desk.table("device_id", "key_results").await.len(), 30);
        assert_eq!(desk.table("state, inserted, cursor", "imports").await, ["applied 30 4"]);
        assert_eq!(estate_version(&mut db.read().await.unwrap()).await.unwrap(), id);
    }
}

#[tokio::test]
async fn a_block_takes_effect_once_whoever_applies_it() {
    for desk in desks().await {
        let mut tx = desk.test.db.begin().await.unwrap();
        let id = journal::begin(&mut tx, "keys", "applying", "a.csv", false, None, Time(0)).await.unwrap();
        journal::keep_block(&mut tx, id, 0, block(0..1).bytes()).await.unwrap();
        assert!(journal::claim_block(&mut tx, id, 1).await.is_err());
        assert!(journal::claim_block(&mut tx, id, 0).await.unwrap().is_some());
        assert!(journal::claim_block(&mut tx, id, 0).await.is_err());
        assert!(journal::claim_block(&mut tx, id, 1).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn what_a_dead_process_only_staged_is_forgotten_by_the_next_import() {
    for desk in desks().await {
        let db = &desk.test.db;
        let mut tx = db.begin().await.unwrap();
        let id = journal::begin(&mut tx, "keys", "staging", "dead.csv", false, None, Time(0)).await.unwrap();
        for seq in 0..40 {
            journal::keep_block(&mut tx, id, seq, block(seq..seq + 1).bytes()).await.unwrap();
        }
        tx.commit().await.unwrap();
        assert!(!applying(&mut db.read().await.unwrap()).await.unwrap());
        recover(db, &desk.clock).await.unwrap();
        assert_eq!(desk.import(Kind::Keys, keys(3, "failed")).await.counts(), [3, 3, 0, 0, 0, 0, 0]);
        assert_eq!(desk.table("import_id", "import_blocks").await, Vec::<String>::new());
        assert_eq!(desk.table("state, file", "imports").await, ["applied file.csv"]);
        assert_eq!(desk.table("device_id", "key_results").await.len(), 3);
    }
}

#[tokio::test]
async fn two_imports_at_once_take_turns() {
    for desk in desks().await {
        let n = 25_013;
        let (a, b) = tokio::join!(desk.import(Kind::Keys, keys(n, "failed")), desk.import(Kind::Keys, keys(n, "failed")));
        let mut counts = [a.counts(), b.counts()];
        counts.sort();
        assert_eq!(counts, [[n, 0, 0, n, 0, 0, 0], [n, n, 0, 0, 0, 0, 0]], "{}", desk.test.engine);
    }
}
