//! The loop of schedules: takes what is due and runs it, several at once so that a long plan keeps no report waiting, and finds the runs whose
//! process died. What is due, and that it is run once, is `App`'s. Ended while a run is under way, it leaves it a moment and then says that it
//! was interrupted.

use std::time::Duration;

use tokio::task::JoinSet;

use super::loops::Shared;
use crate::{
    app::{Claimed, Ran},
    failure::Outcome,
    schedule::RunState,
};

/// How often it is looked whether something is due: expressions count in seconds.
const LOOK: Duration = Duration::from_millis(500);
/// Runs at the same time on one node: planning a million sites takes two connections of the database's.
const RUNS_AT_ONCE: usize = 4;
/// What a run may still take once the engine is to end; well below the four seconds of `ENGINE_STOP`.
const STOP_GRACE: Duration = Duration::from_secs(2);

pub(super) async fn fire(mut shared: Shared) {
    let mut under_way = JoinSet::new();
    while !shared.stopping() {
        while under_way.try_join_next().is_some() {}
        if shared.may_act()
            && let Err(e) = begin(&shared, &mut under_way).await
        {
            shared.fault("schedules could not be looked through", &e).await;
        }
        shared.rest(LOOK, None).await;
    }
    while under_way.join_next().await.is_some() {}
}

/// One turn: what is due is begun.
pub(super) async fn begin(shared: &Shared, under_way: &mut JoinSet<()>) -> Outcome {
    let dead = shared.app.interrupt_dead_runs(|holder| shared.lease.is_dead_neighbour(holder)).await?;
    if dead > 0 {
        tracing::warn!(runs = dead, "runs of schedules died with their process; none of them is run again by itself");
    }
    for schedule in shared.app.due_schedules().await? {
        if under_way.len() >= RUNS_AT_ONCE || !shared.may_act() {
            break;
        }
        if let Some(claimed) = shared.app.claim_due(schedule, shared.lease.holder()).await? {
            under_way.spawn(run(shared.clone(), claimed));
        }
    }
    Ok(())
}

async fn run(mut shared: Shared, claimed: Claimed) {
    let name = claimed.schedule.name.clone();
    tracing::info!(schedule = name, run = claimed.run, action = claimed.schedule.said, "a schedule fires");
    let app = shared.app.clone();
    let mut work = std::pin::pin!(app.run_claimed(&claimed));
    let ended = match shared.unless_stopped(&mut work).await {
        Some(ended) => Some(ended),
        None => tokio::time::timeout(STOP_GRACE, &mut work).await.ok(),
    };
    match ended {
        Some(Ok(ran)) => say(&name, &ran),
        Some(Err(e)) => shared.fault("what came of a schedule's run could not be written down", &e).await,
        None => match app.interrupt_run(&claimed, "the program was stopped while it ran; it is not run again by itself").await {
            Ok(_) => tracing::warn!(schedule = name, run = claimed.run, "a run of a schedule was interrupted"),
            Err(e) => tracing::warn!(schedule = name, reason = %e, "that a run was interrupted could not be written down"),
        },
    }
    // Whatever it released, planned or started is looked at now.
    shared.nudge.dispatch.notify_one();
    shared.nudge.recheck.notify_one();
}

fn say(schedule: &str, ran: &Ran) {
    let result = ran.run.result.as_deref().unwrap_or_default();
    match ran.run.state {
        RunState::Failed => tracing::warn!(schedule, run = ran.run.id, reason = result, "a run of a schedule failed"),
        state => tracing::info!(schedule, run = ran.run.id, %state, result, "a run of a schedule ended"),
    }
}
