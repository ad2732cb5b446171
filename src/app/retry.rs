//! What failed or expired is queued again, all of it or by its cause. Not what may still go on by itself, left the portfolio or was
//! taken out by a person: that is said. Promise: a page a transaction; whoever dies in between is completed by the same command.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;
use serde_json::json;

use super::{App, record};
use crate::{
    campaign::{self, Campaign, Command, Plan, health, store::excluded, waves::no_such_wave},
    db::Tx,
    failure::Outcome,
    gateway::{outbox, quarantine},
    ids::DeviceId,
    policy::{Reason, SILENT},
    target::{
        Event, TargetState,
        store::{self as targets, Because, Cause, Moved, Target, Which},
    },
};

/// Targets looked at in one transaction.
const PAGE_TARGETS: usize = 5_000;

/// Which of the failed and expired are meant. Empty: all.
#[derive(Debug, Clone, Default)]
pub struct RetryFilter {
    /// As [`health::cause_of`] names them, in either case.
    pub causes: Vec<String>,
    /// Failed, expired or both.
    pub states: Vec<TargetState>,
    /// By their names.
    pub waves: Vec<String>,
}

/// A filter whose waves are looked up.
struct Meant<'a> {
    filter: &'a RetryFilter,
    /// What is kept of a member of each wave that is meant; empty: all.
    waves: Vec<Option<i64>>,
}

impl<'a> Meant<'a> {
    fn of(filter: &'a RetryFilter, plan: &Plan) -> Outcome<Meant<'a>> {
        let column = |name: &String| match &plan.waves {
            Some(waves) => waves.column_of(name).ok_or_else(|| no_such_wave(name, &waves.names())),
            None => Err(no_such_wave(name, "none: everything goes at once")),
        };
        Ok(Meant { filter, waves: filter.waves.iter().map(column).collect::<Outcome<_>>()? })
    }

    fn takes(&self, target: &Target) -> bool {
        if !self.waves.is_empty() && !self.waves.contains(&target.wave) {
            return false;
        }
        let (causes, states) = (&self.filter.causes, &self.filter.states);
        let cause = cause_of(target.state, target.detail.as_deref());
        (states.is_empty() || states.contains(&target.state))
            && (causes.is_empty() || causes.iter().any(|c| c.trim().eq_ignore_ascii_case(&cause)))
    }
}

crate::spelled! {
    /// Why one that is meant is not queued again.
    NotRetried, "why a device is not retried" {
        /// Its request is still open, or is in quarantine: it may yet go on by itself.
        RequestOpen = "request-open",
        /// Its site left the portfolio.
        SupplyLost = "supply-lost",
        /// A person took it out of the campaign.
        Excluded = "excluded",
    }
}

/// What a retry did, or would do.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Retried {
    pub campaign: i64,
    pub dry_run: bool,
    /// Failed and expired devices, by cause: what there is to choose from.
    pub by_cause: BTreeMap<String, i64>,
    /// Causes that were asked for, and no device failed for: mistyped, or queued again before.
    pub unknown_causes: Vec<String>,
    /// Of those that failed, the ones that are meant.
    pub meant: i64,
    pub queued: i64,
    pub not_retried: BTreeMap<NotRetried, i64>,
    /// Members that wait for what stands against them: no retry is needed, they go on by themselves.
    pub held: i64,
}

/// Why a device failed or expired, in a word, as the health of waves counts it.
fn cause_of(state: TargetState, detail: Option<&str>) -> String {
    match state {
        TargetState::Expired => SILENT.to_string(),
        _ => health::cause_of(detail.unwrap_or_default()).to_string(),
    }
}

impl App {
    /// Queues again what failed or expired and is meant, or says what that would do.
    pub async fn retry_some(&self, id_or_name: &str, filter: &RetryFilter, who: &str, dry_run: bool) -> Outcome<Retried> {
        let campaign = self.campaign(id_or_name).await?;
        campaign.state.on(Command::Retry)?;
        let mut done = Retried { campaign: campaign.id, dry_run, ..Retried::default() };
        let Some(plan) = campaign::store::plan(&mut self.db.read().await?, campaign.plan_id.unwrap_or_default()).await? else {
            return Ok(done);
        };
        let (meant, plan) = (Meant::of(filter, &plan)?, plan.id);
        let mut look = self.db.read().await?;
        done.held = targets::count_by_state(&mut look, plan)
            .await?
            .into_iter()
            .find(|(state, _)| *state == TargetState::Held)
            .map_or(0, |(_, n)| n);
        drop(look);
        for state in [TargetState::Failed, TargetState::Expired] {
            let mut after = None;
            loop {
                let page = targets::in_state(&mut self.db.read().await?, plan, state, after, PAGE_TARGETS).await?;
                let Some(last) = page.last().copied() else { break };
                self.retry_page(&campaign, plan, &page, &meant, who, &mut done).await?;
                after = Some(last);
            }
        }
        let is_there = |cause: &&String| done.by_cause.keys().any(|there| there.eq_ignore_ascii_case(cause.trim()));
        done.unknown_causes = filter.causes.iter().filter(|cause| !is_there(cause)).cloned().collect();
        Ok(done)
    }

    async fn retry_page(
        &self,
        campaign: &Campaign,
        plan: i64,
        page: &[DeviceId],
        meant: &Meant<'_>,
        who: &str,
        done: &mut Retried,
    ) -> Outcome {
        if done.dry_run {
            let mut look = self.db.read().await?;
            done.queued += judge(&mut look, campaign.id, plan, page, meant, done).await?.len() as i64;
            return Ok(());
        }
        let now = self.now();
        let mut tx = self.db.begin().await?;
        let mut current = campaign::store::lock(&mut tx, campaign.id).await?;
        let read_in = current.state;
        current.state = read_in.on(Command::Retry)?;
        let chosen = judge(&mut tx, campaign.id, plan, page, meant, done).await?;
        if chosen.is_empty() {
            return Ok(());
        }
        let by_a_person = Moved::because(Because::of(Cause::Operator));
        let queued = targets::move_all(&mut tx, plan, Which::Among(&chosen), Event::Retried, by_a_person, now).await?;
        current.ended_at = None;
        campaign::store::save(&mut tx, &current, read_in).await?;
        let detail =
            json!({"queued": queued, "causes": meant.filter.causes, "states": meant.filter.states, "waves": meant.filter.waves});
        record(&mut tx, now, who, "campaign.retry", current.subject(), detail).await?;
        tx.commit().await?;
        done.queued += queued as i64;
        Ok(())
    }
}

/// Counts a page by cause, and gives those that are meant and may be queued again.
async fn judge(
    tx: &mut Tx,
    campaign: i64,
    plan: i64,
    page: &[DeviceId],
    meant: &Meant<'_>,
    done: &mut Retried,
) -> Outcome<Vec<DeviceId>> {
    let mut open: HashSet<i64> = outbox::open_batches(tx, campaign).await?.into_iter().collect();
    // DCC may yet go on with those.
    open.extend(quarantine::store::standing(tx).await?.iter().filter_map(|q| q.batch_id));
    let out = excluded::among(tx, campaign, page).await?;
    let mut chosen = Vec::new();
    for target in targets::find(tx, &[plan], page).await? {
        if !matches!(target.state, TargetState::Failed | TargetState::Expired) {
            continue;
        }
        *done.by_cause.entry(cause_of(target.state, target.detail.as_deref())).or_default() += 1;
        if !meant.takes(&target) {
            continue;
        }
        done.meant += 1;
        let against = if out.contains_key(&target.device) {
            Some(NotRetried::Excluded)
        } else if target.batch_id.is_some_and(|b| open.contains(&b)) {
            Some(NotRetried::RequestOpen)
        } else if target.reason == Reason::SupplyLost {
            Some(NotRetried::SupplyLost)
        } else {
            None
        };
        match against {
            Some(why) => *done.not_retried.entry(why).or_default() += 1,
            None => chosen.push(target.device),
        }
    }
    Ok(chosen)
}
