//! Judges the waves of started campaigns, also while nothing may leave: a deadline passes, a soak ends and failures come in whatever the
//! dispatcher waits for. Every choice is `App::judge_started_waves`'s.

use std::time::Duration;

use super::loops::Shared;
use crate::failure::Outcome;

/// A wave is counted each time, and hours are the unit of a rollout.
const WAVES_PERIOD: Duration = Duration::from_secs(3);
/// Counting a million members takes a while: it may have one part in this many of the time.
const COUNT_SHARE: u32 = 20;

pub(super) async fn judge(mut shared: Shared) {
    while !shared.stopping() {
        let began = shared.app.now();
        if shared.may_act()
            && let Err(e) = judge_once(&shared).await
        {
            shared.fault("waves could not be judged", &e).await;
        }
        let took = Duration::from_millis(u64::try_from(shared.app.now().0 - began.0).unwrap_or(0));
        shared.rest(WAVES_PERIOD.max(took * COUNT_SHARE), None).await;
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
