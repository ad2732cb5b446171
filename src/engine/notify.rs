//! The loop that tells teams: makes deliveries of what was told and posts those that are due, one at a time for a team and all teams at
//! once, so that a receiver that is slow or dead keeps nobody else waiting.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::task::JoinSet;

use super::loops::Shared;
use crate::{
    app::DueDelivery,
    failure::Outcome,
    gateway::{Heard, Webhooks},
};

/// How often the outbox is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Posts under way, and their teams: at most one each (policy: TEAMS_MAX).
#[derive(Default)]
pub(super) struct UnderWay {
    pub posts: JoinSet<(String, Outcome<Heard>)>,
    teams: HashSet<String>,
}

pub(super) async fn tell(mut shared: Shared, to: Arc<dyn Webhooks>) {
    let mut under_way = UnderWay::default();
    let mut down: HashSet<String> = HashSet::new();
    while !shared.stopping() {
        if shared.may_act()
            && let Err(e) = begin(&shared, &to, &mut under_way).await
        {
            shared.fault("notifications could not be told; they are kept and tried again", &e).await;
        }
        // Ended ones first, so that what is behind them goes at once.
        let ended = async {
            match under_way.posts.join_next().await {
                Some(ended) => ended.ok(),
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            ended = ended => ended,
            () = shared.rest(LOOK, None) => None,
        };
        if let Some((team, heard)) = ended {
            under_way.teams.remove(&team);
            match heard {
                Ok(heard) => say(&team, &heard, &mut down),
                Err(e) => shared.fault("what came of a notification could not be noted; it is sent again", &e).await,
            }
        }
    }
}

/// One turn: each team that has something due, and is not being told, is told it.
pub(super) async fn begin(shared: &Shared, to: &Arc<dyn Webhooks>, under_way: &mut UnderWay) -> Outcome {
    shared.app.spread_notifications().await?;
    for due in shared.app.deliveries_due(&under_way.teams).await? {
        let DueDelivery { team, .. } = &due;
        let name = team.team.name.clone();
        under_way.teams.insert(name.clone());
        let (app, to) = (shared.app.clone(), to.clone());
        under_way.posts.spawn(async move { (name, app.deliver(&*to, &due).await) });
    }
    Ok(())
}

/// Once when a team's receiver begins to fail, and once when it takes again.
fn say(team: &str, heard: &Heard, down: &mut HashSet<String>) {
    match heard {
        Heard::Taken if down.remove(team) => tracing::info!(team, "the team's webhook takes notifications again"),
        Heard::Taken => {}
        Heard::Gone { why } | Heard::Refused { why } | Heard::NotNow { why, .. } => {
            if down.insert(team.to_string()) {
                tracing::warn!(team, reason = why, "a team was not told; what it is to be told is kept and tried again");
            }
        }
    }
}
