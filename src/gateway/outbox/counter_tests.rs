//! Counters of RequestIDs against a model: whatever clocks, crashes, nodes and restored backups do, none is given out twice.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::{
    db::{
        Db,
        testing::{self, TestDb},
    },
    gateway::testing::{now, us},
};

/// What can happen to the numbering.
#[derive(Debug, Clone)]
enum Happening {
    /// A counter is taken by this originator; the process may die before it commits.
    Take { originator: u8, commits: bool },
    /// The clock goes on by so many milliseconds.
    Forward(u32),
    /// The clock is set back by so many.
    Back(u32),
    /// Another process opens the database.
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Happening>> {
    let step = prop_oneof![
        6 => (0u8..3, prop::bool::weighted(0.8)).prop_map(|(originator, commits)| Happening::Take { originator, commits }),
        3 => (0u32..5_000).prop_map(Happening::Forward),
        2 => (0u32..100_000).prop_map(Happening::Back),
        1 => Just(Happening::Reopen),
    ];
    prop::collection::vec(step, 1..25)
}

async fn take(db: &Db, originator: UserId, at: Time, commits: bool) -> u64 {
    let mut tx = db.begin().await.unwrap();
    let taken = next_counter(&mut tx, originator, at).await.unwrap();
    if commits {
        tx.commit().await.unwrap();
    }
    taken
}

/// The rule in one line: one more than the last that was committed, and at least the time.
async fn follow(t: &mut TestDb, steps: &[Happening]) {
    let mut at = now();
    let mut model: BTreeMap<u8, u64> = BTreeMap::new();
    for step in steps {
        match step {
            Happening::Forward(millis) => at = at.plus_millis(i64::from(*millis)),
            Happening::Back(millis) => at = at.plus_millis(-i64::from(*millis)),
            Happening::Reopen => {
                t.db.close().await;
                t.db = Db::open(&t.url).await.unwrap();
            }
            Happening::Take { originator, commits } => {
                let wanted = model.get(originator).map_or(0, |last| last + 1).max(at.0 as u64);
                assert_eq!(take(&t.db, Eui(u64::from(*originator)), at, *commits).await, wanted, "{}", t.engine);
                if *commits {
                    model.insert(*originator, wanted);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn counters_follow_the_model_whatever_the_clock_does(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut t = testing::sqlite().await;
            follow(&mut t, &steps).await;
        });
    }
}

#[tokio::test]
async fn the_model_holds_on_both_engines() {
    use Happening::*;
    let takes = |n: u8| (0..n).map(|originator| Take { originator, commits: true });
    let mut story: Vec<Happening> = takes(3).collect();
    story.extend([Back(90_000), Take { originator: 0, commits: false }, Reopen]);
    story.extend(takes(2));
    story.extend([Forward(5_000), Take { originator: 0, commits: false }, Forward(90_000)]);
    story.extend(takes(3));
    for mut t in testing::databases().await {
        follow(&mut t, &story).await;
    }
}

#[tokio::test]
async fn a_counter_that_was_taken_and_not_committed_was_never_given_out() {
    for t in testing::databases().await {
        let first = take(&t.db, us(), now(), false).await;
        assert_eq!(take(&t.db, us(), now(), true).await, first, "{}: its taker died before anything could leave", t.engine);
        assert_eq!(take(&t.db, us(), now(), true).await, first + 1);
    }
}

#[tokio::test]
async fn takers_on_two_nodes_with_different_clocks_never_share_a_counter() {
    for t in testing::databases().await {
        let other = Db::open(&t.url).await.unwrap();
        let taker = |db: Db, skew: i64| async move {
            let mut mine = Vec::new();
            for n in 0..20 {
                // Every fourth one dies before it commits.
                let commits = n % 4 != 3;
                let taken = take(&db, us(), now().plus_millis(skew + n), commits).await;
                mine.extend(commits.then_some(taken));
            }
            mine
        };
        let nodes = [(t.db.clone(), 0), (other.clone(), 700), (t.db.clone(), -5_000), (other.clone(), 3)];
        let tasks: Vec<_> = nodes.into_iter().map(|(db, skew)| tokio::spawn(taker(db, skew))).collect();
        let mut all = BTreeSet::new();
        for task in tasks {
            let mine = task.await.unwrap();
            assert!(mine.is_sorted_by(|a, b| a < b), "{}: {mine:?}", t.engine);
            all.extend(mine);
        }
        assert_eq!(all.len(), 60, "{}", t.engine);
        other.close().await;
        t.db.close().await;
    }
}

/// The time in milliseconds is a floor: while the clock has not been behind what it was when the last counter was taken, a backup
/// that is restored gives out none that was posted after it was made.
#[tokio::test]
async fn a_database_restored_from_a_backup_reuses_nothing() {
    for t in testing::databases().await {
        let engine = t.engine;
        let mut at = now();
        let mut posted = BTreeSet::new();
        for _ in 0..3 {
            posted.insert(take(&t.db, us(), at, true).await);
        }
        let (t, backup) = t.copied().await;
        // A burst at one moment, an hour, and the clock set back a little: all after the backup was made.
        for wait in [0, 0, 0, 1, 3_600_000, -2_000, 0, 5] {
            at = at.plus_millis(wait);
            assert!(posted.insert(take(&t.db, us(), at, true).await), "{engine}");
        }
        t.db.close().await;
        // It takes longer to restore a backup than the clock was set back by.
        at = at.plus_millis(60_000);
        for _ in 0..20 {
            assert!(posted.insert(take(&backup.db, us(), at, true).await), "{engine}: given out again");
        }
        backup.db.close().await;
    }
}

#[tokio::test]
async fn the_largest_value_is_given_out_once_and_then_nothing() {
    for t in testing::databases().await {
        let end = Time(i64::MAX - 1);
        assert_eq!(take(&t.db, us(), end, true).await, i64::MAX as u64 - 1);
        assert_eq!(take(&t.db, us(), now(), true).await, i64::MAX as u64);
        let mut tx = t.db.begin().await.unwrap();
        let over = next_counter(&mut tx, us(), now()).await;
        assert!(matches!(over, Err(GatewayError::CounterExhausted { .. })), "{}", t.engine);
        assert_eq!(next_counter(&mut tx, Eui(9), Time(i64::MIN)).await.unwrap(), 1, "another originator is none the worse");
    }
}
