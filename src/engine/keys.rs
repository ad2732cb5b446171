//! The loop of missing keys: what time alone does to their cases. Decides nothing about who is sent.

use std::time::Duration;

use super::loops::Shared;

/// Hours and days are the unit of the timetable.
const SWEEP_PERIOD: Duration = Duration::from_secs(30);

pub(super) async fn sweep(mut shared: Shared) {
    while !shared.stopping() {
        if shared.may_act() {
            match shared.app.end_resubmissions().await {
                Ok(0) => {}
                Ok(n) => tracing::info!(sites = n, "sites that were sent without their keys have come to nothing"),
                Err(e) => shared.fault("sites that were sent without their keys could not be looked at", &e).await,
            }
            match shared.app.sweep_key_cases().await {
                Ok(swept) if swept.given_up + swept.lapsed > 0 => {
                    tracing::warn!(given_up = swept.given_up, lapsed = swept.lapsed, "missing keys were looked through");
                }
                Ok(_) => {}
                Err(e) => shared.fault("missing keys could not be looked through", &e).await,
            }
            shared.rest(SWEEP_PERIOD, None).await;
        } else {
            shared.rest(Duration::from_secs(1), None).await;
        }
    }
}
