//! As many seeds as a time holds, those that once failed first; thousands on demand, or one. A seed that fails is printed with how to
//! repeat it, and belongs into `FAILED_ONCE` once what it found is mended.

use super::{
    counts::Counts,
    estate::{Ground, Plot},
    rules::Rules,
};
use crate::{
    clock::{Clock, Time},
    db::testing::{self as testing_db, TestDb},
};

/// One seed: `PPMID_WHOLE_SEED=7`.
const SEED_ENV: &str = "PPMID_WHOLE_SEED";
/// So many, however long they take: `PPMID_WHOLE_SEEDS=5000`, or a stretch of them: `PPMID_WHOLE_SEEDS=5001-10000`.
const SEEDS_ENV: &str = "PPMID_WHOLE_SEEDS";
/// How long new seeds are tried on each engine.
const SECONDS_ENV: &str = "PPMID_WHOLE_SECONDS";
/// Both engines side by side on two cores: four minutes of work in two.
const SECONDS: u64 = 120;
/// These are run however little time there is.
const ALWAYS: u64 = 3;
/// Seeds that found something: 48, a request that nobody answered was tried for ever after its campaign was aborted; 444, a device that turned
/// out to lack its key after that stayed held; 347, an answer to a read, long on its way, came after the device's success and put the old version
/// back, so that another campaign sent to it again.
const FAILED_ONCE: &[u64] = &[48, 444, 347];

/// Says how to repeat a seed when it fails.
struct Said(u64);

impl Drop for Said {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "\nthis seed failed: {SEED_ENV}={} cargo nextest run --features crash-points --lib engine::tests::seeds",
                self.0
            );
        }
    }
}

pub async fn one(ground: &Ground, rules: Rules, seed: u64) -> Counts {
    let Plot { whole, url, dir } = ground.begin(rules, seed).await;
    let counts = whole.run().await;
    cleared(url, dir).await;
    counts
}

/// The database is gone after this.
pub async fn cleared(url: String, dir: Option<tempfile::TempDir>) {
    drop(dir);
    testing_db::remove(&url).await;
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|n| n.parse().ok())
}

async fn seeds(db: TestDb) {
    let engine = db.engine;
    let ground = Ground::of(db).await;
    let ends = Time(Clock::System.now().0 + number(SECONDS_ENV).unwrap_or(SECONDS) as i64 * 1_000);
    let asked = std::env::var(SEEDS_ENV).ok().map(|asked| {
        let (from, to) = asked.split_once('-').unwrap_or(("1", &asked));
        from.parse().expect("a first seed")..=to.parse::<u64>().expect("a last seed")
    });
    let all: Box<dyn Iterator<Item = u64>> = match (number(SEED_ENV), asked.clone()) {
        (Some(seed), _) => Box::new([seed].into_iter()),
        (None, Some(stretch)) => Box::new(stretch),
        (None, None) => Box::new(FAILED_ONCE.iter().copied().chain(1..)),
    };
    let mut sum = Sum::default();
    for seed in all {
        let has_time = Clock::System.now() < ends;
        let is_new = sum.seeds >= FAILED_ONCE.len() as u64 + ALWAYS;
        if asked.is_none() && is_new && !has_time {
            break;
        }
        let said = Said(seed);
        sum.add(one(&ground, Rules::of(seed), seed).await);
        drop(said);
    }
    eprintln!("{engine}: {sum:?}");
    if number(SEED_ENV).is_none() && sum.seeds > 20 {
        sum.is_of_something();
    }
}

/// What all seeds together met.
#[derive(Debug, Default)]
struct Sum {
    seeds: u64,
    all: Counts,
}

impl Sum {
    fn add(&mut self, one: Counts) {
        self.seeds += 1;
        self.all = self.all.plus(one);
    }

    /// A simulation in which nothing happens proves nothing.
    fn is_of_something(&self) {
        let Counts {
            resends, reads, second_requests, quarantines, deaths, halts_by_wave, go_ons, waves_passed, told_teams, ..
        } = self.all;
        let met = [resends, reads, second_requests, quarantines, deaths, halts_by_wave, go_ons, waves_passed, told_teams];
        assert!(met.iter().all(|n| *n > 0), "{self:?}");
    }
}

/// Where nothing is optimised, futures as deep as these need more stack than a test's thread has.
pub fn on_a_deep_stack<F: Future<Output = ()>>(work: impl FnOnce() -> F + Send + 'static) {
    const STACK_BYTES: usize = 64 << 20;
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work());
    let ended = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(run).unwrap().join();
    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

#[test]
fn whatever_happens_the_invariants_hold_and_everything_ends_on_sqlite() {
    on_a_deep_stack(async || seeds(testing_db::sqlite().await).await);
}

#[test]
fn whatever_happens_the_invariants_hold_and_everything_ends_on_postgresql() {
    on_a_deep_stack(async || {
        if let Some(db) = testing_db::postgres().await {
            seeds(db).await;
        }
    });
}
