//! The loops of the archive: what goes on to another adapter, and what was kept long enough.

use std::{sync::Arc, time::Duration};

use super::loops::Shared;
use crate::{
    app::{Pruned, SLICE_PAUSE},
    clock::Time,
    gateway::{Forward, Pace, backoff},
};

/// How often the inbox is asked for messages that are to go on.
const FORWARD_PERIOD: Duration = Duration::from_secs(1);
/// How often it is looked for what was kept long enough.
const PRUNE_PERIOD_MILLIS: i64 = 3_600_000;
/// How often the loop looks at the clock.
const PRUNE_LOOK: Duration = Duration::from_secs(10);

pub(super) async fn forward(mut shared: Shared, to: Arc<dyn Forward>) {
    let mut down = 0u32;
    let mut not_before = shared.app.now();
    while !shared.stopping() {
        if shared.may_act() && shared.app.now() >= not_before {
            match pass_on(&mut shared, &*to).await {
                Some(Some(why)) => {
                    down = down.saturating_add(1);
                    not_before = later(shared.app.now(), down);
                    if down == 1 {
                        tracing::warn!(
                            reason = why,
                            "receiver.forward_to cannot be reached; what is to go on is kept and tried again"
                        );
                    }
                }
                Some(None) if down > 0 => {
                    tracing::info!("receiver.forward_to takes messages again");
                    down = 0;
                }
                Some(None) | None => {}
            }
        }
        shared.rest(FORWARD_PERIOD, None).await;
    }
}

/// One pass: why the other side is not there, if it is not; `None` where nothing was tried.
async fn pass_on(shared: &mut Shared, to: &dyn Forward) -> Option<Option<String>> {
    let app = shared.app.clone();
    let may_act = shared.clone();
    let passed = shared.unless_stopped(app.forward_due(to, || may_act.may_act())).await?;
    match passed {
        Ok(pass) => (pass.taken > 0 || pass.refused > 0 || pass.not_now.is_some()).then_some(pass.not_now),
        Err(e) => {
            shared.fault("messages could not be passed on; they are kept and tried again", &e).await;
            None
        }
    }
}

fn later(now: Time, failures: u32) -> Time {
    now.plus_millis(backoff(failures, 0, Pace::Doubling, None).as_millis() as i64)
}

pub(super) async fn prune(mut shared: Shared) {
    let mut next = shared.app.now();
    let mut pruned = Pruned::default();
    while !shared.stopping() {
        let mut period = PRUNE_LOOK;
        if shared.may_act() && shared.app.now() >= next {
            match shared.app.prune_some().await {
                Ok(slice) if slice == Pruned::default() => {
                    tell(&shared, std::mem::take(&mut pruned));
                    next = shared.app.now().plus_millis(PRUNE_PERIOD_MILLIS);
                }
                Ok(slice) => {
                    pruned.add(slice);
                    period = SLICE_PAUSE;
                }
                Err(e) => shared.fault("old messages could not be deleted", &e).await,
            }
        }
        shared.rest(period, None).await;
    }
}

fn tell(shared: &Shared, pruned: Pruned) {
    let Pruned { messages, requests, told, runs } = pruned;
    if pruned != Pruned::default() {
        let before = shared.app.kept_since();
        tracing::info!(messages, requests, told, runs, %before, "kept as long as archive.keep_months says, and deleted now");
    }
}
