//! Members that wait are decided again: when facts changed, when a day begins, and every so often. Those that pass join
//! the queue; those that are out for good leave it.

use std::collections::HashSet;

use serde_json::json;

use super::{App, decide::sites, import::whole_facts, record};
use crate::{
    campaign::{self, Campaign, CampaignState, Command},
    db::Tx,
    estate::{self, KeyStatus, store::KeySource},
    failure::Outcome,
    ids::DeviceId,
    target::{
        TargetState,
        store::{self as targets, Because, Cause},
    },
};

/// Members decided again in one transaction.
const PAGE_MEMBERS: usize = 2_000;

fn is_rechecked(state: CampaignState) -> bool {
    matches!(state, CampaignState::Started | CampaignState::Finished)
}

/// What a recheck did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rechecked {
    pub members: u64,
    /// Rows whose state or reason changed.
    pub changed: u64,
    pub released: u64,
}

impl App {
    /// Decides again about every held member of every started campaign, and of one that had come to its end when DCC said of a
    /// silent device that it lacks its key: that one is opened again where a member passes.
    pub async fn recheck_held(&self) -> Outcome<Rechecked> {
        let mut total = Rechecked::default();
        let campaigns = campaign::store::list(&mut self.db.read().await?).await?;
        for campaign in campaigns.iter().filter(|c| is_rechecked(c.state)) {
            if let Some(plan) = campaign.plan_id {
                self.recheck_campaign(campaign.id, plan, &mut total).await?;
            }
        }
        Ok(total)
    }

    /// Judges every started campaign as a whole, for when facts changed or a day began: one that is refused now (its version was
    /// withdrawn, say) is halted at once, also where nothing of it waits to be decided, and what it prepared and never posted is
    /// dissolved. Gives how many it halted.
    pub async fn judge_started(&self) -> Outcome<u64> {
        let mut halted = 0;
        let campaigns = campaign::store::list(&mut self.db.read().await?).await?;
        for campaign in campaigns.iter().filter(|c| c.state == CampaignState::Started) {
            self.wait_for_import().await?;
            let mut tx = self.db.begin().await?;
            let campaign = campaign::store::lock(&mut tx, campaign.id).await?;
            let facts = whole_facts(&mut tx).await?;
            if campaign.state != CampaignState::Started || facts.is_none() {
                continue;
            }
            if self.decider_or_stop(&mut tx, &campaign).await?.is_some() {
                continue;
            }
            self.dissolve_unposted(&mut tx, Some(campaign.id), "the campaign may not go on").await?;
            if whole_facts(&mut tx).await? == facts {
                tx.commit().await?;
                halted += 1;
            }
        }
        Ok(halted)
    }

    async fn recheck_campaign(&self, id: i64, plan: i64, total: &mut Rechecked) -> Outcome {
        let mut after = None;
        loop {
            self.wait_for_import().await?;
            let held = targets::in_state(&mut self.db.read().await?, plan, TargetState::Held, after, PAGE_MEMBERS).await?;
            let Some(last) = held.last().copied() else { return Ok(()) };
            let mut tx = self.db.begin().await?;
            let campaign = campaign::store::lock(&mut tx, id).await?;
            if !is_rechecked(campaign.state) {
                return Ok(());
            }
            let facts = whole_facts(&mut tx).await?;
            if facts.is_none() {
                continue;
            }
            let Some(done) = self.decide_held(&mut tx, &campaign, plan, &held).await? else {
                if whole_facts(&mut tx).await? != facts {
                    continue;
                }
                tx.commit().await?;
                return Ok(());
            };
            if whole_facts(&mut tx).await? != facts {
                continue;
            }
            tx.commit().await?;
            after = Some(last);
            total.members += done.members;
            total.released += done.released;
            total.changed += done.changed;
        }
    }

    /// Decides again about held members of a campaign that is locked. `None`: nothing may be decided for it now; what says so is
    /// written.
    async fn decide_held(&self, tx: &mut Tx, campaign: &Campaign, plan: i64, held: &[DeviceId]) -> Outcome<Option<Rechecked>> {
        let Some(decider) = self.decider_or_stop(tx, campaign).await? else { return Ok(None) };
        let waits_for_its_key = self.still_without_key(tx, plan, held).await?;
        let mpids = &self.settings.organisation.mpids;
        let rows = sites(tx, held, mpids, decider.at).await?;
        let mut decided = decider.decide(tx, &rows).await?;
        decided.retain(|d| d.state != TargetState::Queued || !waits_for_its_key.contains(&d.device));
        let released = decided.iter().filter(|d| d.state == TargetState::Queued).count() as u64;
        if released > 0 && campaign.state == CampaignState::Finished {
            self.open_again(tx, campaign, "a member that waited for its key passes now").await?;
        }
        let because = Because::of(Cause::Recheck);
        let changed = targets::decide_again(tx, plan, &decided, decider.policy_set, because, self.now()).await?;
        Ok(Some(Rechecked { members: decided.len() as u64, changed, released }))
    }

    /// Locks, in order, the campaigns in which one of these devices is held. Whoever then says that their key came releases them with
    /// [`App::release_keyed`] in the same transaction.
    pub(super) async fn lock_where_held(&self, tx: &mut Tx, devices: &[DeviceId]) -> Outcome {
        for campaign in campaign::store::list(tx).await?.iter().filter(|c| is_rechecked(c.state)) {
            let Some(plan) = campaign.plan_id else { continue };
            if !held_among(tx, plan, devices).await?.is_empty() {
                campaign::store::lock(tx, campaign.id).await?;
            }
        }
        Ok(())
    }

    /// Whose key came and who has no open case that could say so (a person closed it, or no result was known before): they are released where
    /// they are held, a page at a time.
    pub(super) async fn release_held_with_keys(&self) -> Outcome<u64> {
        let mut released = 0;
        let campaigns = campaign::store::list(&mut self.db.read().await?).await?;
        for plan in campaigns.iter().filter(|c| is_rechecked(c.state)).filter_map(|c| c.plan_id) {
            let mut after = None;
            loop {
                let page = targets::held_with_key(&mut self.db.read().await?, plan, after, PAGE_MEMBERS).await?;
                let Some(last) = page.last().copied() else { break };
                let mut tx = self.db.begin().await?;
                self.lock_where_held(&mut tx, &page).await?;
                released += self.release_keyed(&mut tx, &page).await?;
                tx.commit().await?;
                after = Some(last);
            }
        }
        Ok(released)
    }

    /// These devices' keys came: where they are held they are decided again, and join the next batch if they pass. While a file is half
    /// applied nothing is decided; the recheck does it a moment later. Gives how many were released.
    pub(super) async fn release_keyed(&self, tx: &mut Tx, devices: &[DeviceId]) -> Outcome<u64> {
        let mut released = 0;
        if devices.is_empty() || whole_facts(tx).await?.is_none() {
            return Ok(0);
        }
        for campaign in campaign::store::list(tx).await?.iter().filter(|c| is_rechecked(c.state)) {
            let Some(plan) = campaign.plan_id else { continue };
            let held = held_among(tx, plan, devices).await?;
            if held.is_empty() {
                continue;
            }
            let campaign = campaign::store::lock(tx, campaign.id).await?;
            if is_rechecked(campaign.state) && campaign.plan_id == Some(plan) {
                released += self.decide_held(tx, &campaign, plan, &held).await?.unwrap_or_default().released;
            }
        }
        Ok(released)
    }

    pub(super) async fn open_again(&self, tx: &mut Tx, campaign: &Campaign, why: &str) -> Outcome {
        let state = campaign.state.on(Command::Retry)?;
        campaign::store::save(tx, &Campaign { state, ended_at: None, ..campaign.clone() }, campaign.state).await?;
        record(tx, self.now(), "engine", "campaign.reopen", campaign.subject(), json!({"why": why})).await
    }

    /// Members that were sent and of which DCC itself said that they lack their key, with no better result since. Where the
    /// cohort needs no key from the tool (L§12: SECURE) no rule would hold them, and they would be sent and refused again and
    /// again.
    pub(super) async fn still_without_key(&self, tx: &mut Tx, plan: i64, held: &[DeviceId]) -> Outcome<HashSet<DeviceId>> {
        let mut waiting = HashSet::new();
        for group in held.chunks(targets::GROUP_ROWS) {
            let found = targets::find(tx, &[plan], group).await?;
            for target in found.iter().filter(|t| t.attempts > 0) {
                let history = estate::store::key_history(tx, target.device).await?;
                let since = history.iter().rev().take_while(|k| k.result.status != KeyStatus::Updated);
                if since.into_iter().any(|k| k.source == KeySource::Message) {
                    waiting.insert(target.device);
                }
            }
        }
        Ok(waiting)
    }
}

/// Those of the devices that wait in a plan.
async fn held_among(tx: &mut Tx, plan: i64, devices: &[DeviceId]) -> Outcome<Vec<DeviceId>> {
    let mut held = Vec::new();
    for group in devices.chunks(targets::GROUP_ROWS) {
        let found = targets::find(tx, &[plan], group).await?;
        held.extend(found.iter().filter(|t| t.state == TargetState::Held).map(|t| t.device));
    }
    Ok(held)
}
