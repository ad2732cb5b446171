//! How long the stages of a campaign took, counted as messages settle, and when it ends at the pace so far. Not the arithmetic, which is
//! `campaign::latency` and `campaign::forecast`.

use std::collections::{BTreeMap, BTreeSet};

use super::{App, settle::Moving};
use crate::{
    campaign::{
        Campaign, CampaignState,
        forecast::{Forecast, Standing, forecast},
        latency::{Latencies, Percentiles, Stage, bucket},
        store::latencies,
    },
    db::Tx,
    failure::Outcome,
    target::TargetState,
};

/// What `campaign status` says of time.
#[derive(Debug, Clone, Default)]
pub(super) struct Timing {
    pub took: BTreeMap<Stage, Percentiles>,
    pub forecast: Option<Forecast>,
}

/// The stage that a target has just gone through, by a message.
fn through(moving: &Moving) -> Option<Stage> {
    use TargetState as S;
    match (moving.before.state, moving.after.state) {
        _ if moving.message == 0 => None,
        (S::Accepted, S::Delivered) => Some(Stage::Delivered),
        (S::Activated | S::Verified, _) => None,
        (_, S::Activated) => Some(Stage::Activated),
        _ => None,
    }
}

impl App {
    /// The stages that a group of targets went through, to be counted in the transaction that moves them.
    pub(super) async fn stages<'a>(&self, tx: &mut Tx, moved: impl Iterator<Item = &'a Moving>) -> Outcome<latencies::Counted> {
        let now = self.now();
        let through: Vec<(Stage, &Moving)> = moved.filter_map(|m| Some((through(m)?, m))).collect();
        let activated = through.iter().filter(|(stage, _)| *stage == Stage::Activated);
        let batches: BTreeSet<i64> = activated.filter_map(|(_, m)| m.before.batch_id).collect();
        let made_at = match batches.is_empty() {
            true => BTreeMap::new(),
            false => latencies::made_at(tx, batches).await?,
        };
        let mut counted = latencies::Counted::new();
        for (stage, moving) in through {
            let since = match stage {
                Stage::Activated => moving.before.batch_id.and_then(|batch| made_at.get(&batch).copied()),
                Stage::Accepted | Stage::Delivered => Some(moving.before.updated_at),
            };
            if let Some(since) = since {
                *counted.entry((moving.after.plan_id, stage, bucket(now.0 - since.0))).or_default() += 1;
            }
        }
        Ok(counted)
    }

    pub(super) async fn timing(
        &self,
        tx: &mut Tx,
        campaign: &Campaign,
        plan: i64,
        by_state: &BTreeMap<TargetState, i64>,
    ) -> Outcome<Timing> {
        let took = latencies::of_plan(tx, plan).await?;
        let percentiles = took.iter().filter_map(|(stage, took)| Some((*stage, took.percentiles()?))).collect();
        let waits_for_a_wave = !matches!(self.begun_waves(tx, plan).await?, Some(None));
        if campaign.state != CampaignState::Started || waits_for_a_wave {
            // While nothing leaves, or a wave is watched, nobody knows when it goes on.
            return Ok(Timing { took: percentiles, forecast: None });
        }
        let n = |state: &TargetState| by_state.get(state).copied().unwrap_or(0);
        let ended = [TargetState::Activated, TargetState::Verified, TargetState::Failed, TargetState::Expired];
        let (sent, sent_from, sent_until) = latencies::sent(tx, plan).await?;
        let none = Latencies::default();
        let standing = Standing {
            now: self.now(),
            took: took.get(&Stage::Activated).unwrap_or(&none),
            ended: ended.iter().map(n).sum(),
            out: &latencies::out(tx, plan).await?,
            queued: n(&TargetState::Queued),
            sent,
            sent_from,
            sent_until,
            answer_within_millis: self.policies()?.eligibility.answer_within.millis(),
        };
        Ok(Timing { took: percentiles, forecast: forecast(&standing) })
    }
}
