//! Schedules and their runs, on both engines.

use super::{
    store::{self, NewRun, NewSchedule},
    *,
};
use crate::db::{
    Tx,
    testing::{self, databases},
};

fn planned(at: i64) -> Planned {
    Planned { at: Time(at), missed: 0, missed_from: None, or_more: false }
}

async fn added(tx: &mut Tx, name: &str) -> Option<i64> {
    let cron = Expression::parse("0 30 2 * * MON-FRI").unwrap();
    let zone: Zone = "Europe/London".parse().unwrap();
    let new = NewSchedule {
        name,
        cron: &cron,
        zone: &zone,
        action: Action::TopUp(7),
        said: "top-up spring",
        missed: Missed::Skip,
        created_by: "ann@desk",
        now: Time(1_000),
    };
    store::insert(tx, &new).await.unwrap()
}

fn run_of(schedule: i64, at: i64) -> NewRun<'static> {
    let (planned, leased_until) = (planned(at), Time(at + 60));
    NewRun {
        schedule,
        planned,
        origin: Origin::Clock,
        asked_by: None,
        log: "late",
        leased_by: "a:1:0",
        leased_until,
        now: Time(at),
    }
}

#[tokio::test]
async fn a_schedule_is_kept_as_it_was_added_and_its_name_is_free_once_it_is_removed() {
    for t in databases().await {
        let mut tx = t.db.begin().await.unwrap();
        let id = added(&mut tx, "nightly").await.expect("it is new");
        assert_eq!(added(&mut tx, "nightly").await, None, "{}", t.engine);
        let found = store::lock(&mut tx, id).await.unwrap().unwrap();
        assert_eq!(
            (found.name.as_str(), found.action, found.missed, found.done_until),
            ("nightly", Action::TopUp(7), Missed::Skip, Time(1_000))
        );
        assert_eq!((found.cron.to_string().as_str(), found.zone.name()), ("0 30 2 * * MON-FRI", "Europe/London"));
        store::set_done(&mut tx, id, Time(5_000)).await.unwrap();
        store::set_state(&mut tx, id, ScheduleState::Removed).await.unwrap();
        assert_eq!((store::lock(&mut tx, id).await.unwrap(), store::list(&mut tx).await.unwrap()), (None, Vec::new()));
        let again = added(&mut tx, "nightly").await.expect("the name is free");
        assert_eq!(store::list(&mut tx).await.unwrap().iter().map(|s| s.id).collect::<Vec<_>>(), [again]);
    }
}

#[tokio::test]
async fn a_firing_has_one_row_and_runs_of_a_schedule_do_not_overlap() {
    for t in databases().await {
        let mut tx = t.db.begin().await.unwrap();
        let id = added(&mut tx, "nightly").await.unwrap();
        let run = store::begin(&mut tx, &run_of(id, 2_000)).await.unwrap().expect("it is new");
        assert_eq!(store::begin(&mut tx, &run_of(id, 3_000)).await.unwrap(), None, "{}: one is under way", t.engine);
        assert_eq!(
            store::running(&mut tx).await.unwrap().iter().map(|r| (r.id, r.leased_until)).collect::<Vec<_>>(),
            [(run, Some(Time(2_060)))]
        );
        assert!(store::renew(&mut tx, run, Time(9_000)).await.unwrap());
        let log = ["late".to_string(), "two sites".to_string()];
        assert!(store::end(&mut tx, run, RunState::Failed, "no", &log, Time(2_500)).await.unwrap());
        assert!(!store::end(&mut tx, run, RunState::Succeeded, "yes", &[], Time(2_600)).await.unwrap(), "it has ended");
        assert!(!store::renew(&mut tx, run, Time(9_500)).await.unwrap());
        assert_eq!(store::begin(&mut tx, &run_of(id, 2_000)).await.unwrap(), None, "that firing was run");
        let kept = store::run(&mut tx, run).await.unwrap().unwrap();
        assert_eq!(
            (kept.state, kept.result.as_deref(), kept.ended_at, kept.log),
            (RunState::Failed, Some("no"), Some(Time(2_500)), log.to_vec())
        );
        let skipped = Planned { at: Time(4_000), missed: 2, missed_from: Some(Time(3_000)), or_more: false };
        store::skip(&mut tx, id, &skipped, "missed", Time(4_500)).await.unwrap();
        store::skip(&mut tx, id, &skipped, "missed", Time(4_600)).await.unwrap();
        let latest = store::latest(&mut tx, id, 10).await.unwrap();
        assert_eq!(
            latest.iter().map(|r| (r.state, r.missed)).collect::<Vec<_>>(),
            [(RunState::Skipped, 2), (RunState::Failed, 0)]
        );
        assert_eq!(store::prune(&mut tx, Time(4_000), 10).await.unwrap(), 1, "{}", t.engine);
        assert_eq!(store::latest(&mut tx, id, 10).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn two_nodes_that_see_the_same_firing_make_one_run() {
    let Some(t) = testing::postgres().await else { return };
    let mut tx = t.db.begin().await.unwrap();
    let id = added(&mut tx, "nightly").await.unwrap();
    tx.commit().await.unwrap();
    let mut first = t.db.begin().await.unwrap();
    let run = store::begin(&mut first, &run_of(id, 2_000)).await.unwrap();
    let second = tokio::spawn({
        let db = t.db.clone();
        async move {
            let mut tx = db.begin().await.unwrap();
            let run = store::begin(&mut tx, &run_of(id, 2_000)).await.unwrap();
            tx.commit().await.unwrap();
            run
        }
    });
    tokio::task::yield_now().await;
    first.commit().await.unwrap();
    assert_eq!((run.is_some(), second.await.unwrap()), (true, None));
}
