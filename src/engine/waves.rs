//! Judges the waves of started campaigns, also while nothing may leave: a deadline passes, a soak ends and failures come in whatever the
//! dispatcher waits for. Every choice is `App::judge_started_waves`'s.

use std::time::Duration;

use super::loops::Shared;
use crate::failure::Outcome;

/// A wave is counted each time, and hours are the unit of a rollout.
const WAVES_PERIOD: Duration = Duration::from_secs(3);
/// Counting a million members takes a while: it may have one part in this many of the time.
const COUNT_SHARE: i64 = 20;

pub(super) async fn judge(mut shared: Shared) {
    while !shared.stopping() {
        let began = shared.app.now();
        let judged = if shared.may_act() { judge_once(&shared).await } else { Ok(()) };
        let alone = Duration::from_millis(shared.part_of_time(began, COUNT_SHARE) as u64);
        if let Err(e) = judged {
            shared.fault("waves could not be judged", &e).await;
        }
        shared.rest(WAVES_PERIOD.max(alone), None).await;
    }
}

/// One turn.
pub(super) async fn judge_once(shared: &Shared) -> Outcome {
    let campaigns = shared.app.judge_started_waves().await?;
    if campaigns > 0 {
        tracing::info!(campaigns, "waves go on, wait, or stopped their campaign");
        shared.nudge.dispatch.notify_one();
    }
    Ok(())
}
