//! The loop of missing keys: what time alone does to their cases. Decides nothing about who is sent.

use std::time::Duration;

use super::loops::Shared;
use crate::failure::Outcome;

/// Hours and days are the unit of the timetable.
const SWEEP_PERIOD: Duration = Duration::from_secs(30);

pub(super) async fn sweep(mut shared: Shared) {
    while !shared.stopping() {
        if shared.may_act() {
            if let Err(e) = sweep_once(&shared).await {
                shared.fault("missing keys could not be looked through", &e).await;
            }
            shared.rest(SWEEP_PERIOD, None).await;
        } else {
            shared.rest(Duration::from_secs(1), None).await;
        }
    }
}

/// One turn. That the first of its verbs fails does not keep the second waiting.
pub(super) async fn sweep_once(shared: &Shared) -> Outcome {
    let ended = shared.app.end_resubmissions().await;
    let swept = shared.app.sweep_key_cases().await?;
    if swept.given_up + swept.lapsed > 0 {
        tracing::warn!(given_up = swept.given_up, lapsed = swept.lapsed, "missing keys were looked through");
    }
    let ended = ended?;
    if ended > 0 {
        tracing::info!(sites = ended, "sites that were sent without their keys have come to nothing");
    }
    Ok(())
}
