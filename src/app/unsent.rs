//! What was not sent is decided again at once when a product list took effect or a day began: an entry that was withdrawn, a row of the
//! EPCL that ended. A batch that was committed and never posted is dissolved where a member no longer passes; so it is in the moment in
//! which it would leave. Not the campaign as a whole (`judge_started`), nor the held (`recheck_held`). Promise: each change of the lists
//! is said in one alarm, with its numbers.

use super::{App, decide::sites, import::whole_facts, send::request_and_batch};
use crate::{
    alarm::{self, AlarmKind, NewAlarm},
    campaign::{self, Campaign, CampaignState, batch::Batch},
    clock::{Day, Time},
    db::Tx,
    estate,
    failure::Outcome,
    gateway::outbox::{self, OutboxRequest, OutboxState},
    ids::{DeviceId, RequestId},
    policy::Reason,
    target::{
        TargetState,
        store::{self as targets, Because, Cause},
    },
};

/// Members decided in one step: on a reader, and once more under the write lock where one of them no longer passes.
const PAGE_MEMBERS: usize = 4_000;

/// The reasons that product lists and their dates give (contract.md, rules 4, 5 and 7).
const BY_THE_LISTS: [Reason; 3] = [Reason::CombinationNotEligible, Reason::ModelNotCovered, Reason::UpgradePathNotAllowed];

/// What a look at a batch that never left has found.
pub(super) struct Looked {
    /// The state of the estate that was looked at; `None`: it changed meanwhile.
    facts: Option<i64>,
    day: Day,
    all_pass: bool,
}

impl App {
    /// Decides again about the members of a batch that never left, without the write lock: thousands of sites are read. `None`: it is
    /// no such batch.
    pub(super) async fn look_at_unposted(&self, id: RequestId) -> Outcome<Option<Looked>> {
        let mut look = self.db.read().await?;
        let found = request_and_batch(&mut look, id).await?.filter(|(request, _)| request.posts == 0);
        let Some((_, batch)) = found else { return Ok(None) };
        let Some(campaign) = campaign::store::get(&mut look, batch.campaign_id).await? else { return Ok(None) };
        let (facts, now) = (whole_facts(&mut look).await?, self.now());
        let (refusal, decider) = self.judge_campaign(&mut look, &campaign, now).await?;
        let decider = decider.of_batch(batch.resubmission);
        let all_pass = refusal.is_none() && !self.any_fails(&mut look, &decider, &batch.members).await?;
        let still = whole_facts(&mut look).await?;
        Ok(Some(Looked { facts: facts.filter(|facts| still == Some(*facts)), day: now.london_day(), all_pass }))
    }

    /// Why a batch that never left may not leave now either, although it was decided when it was made: a file, a message or a day may have
    /// come in between. `None`: it may.
    pub(super) async fn keeps_from_leaving(
        &self,
        tx: &mut Tx,
        campaign: &Campaign,
        looked: Option<Looked>,
        now: Time,
    ) -> Outcome<Option<&'static str>> {
        if self.decider_or_stop(tx, campaign).await?.is_none() {
            return Ok(Some("the campaign may not go on, and it was never posted"));
        }
        let facts = whole_facts(tx).await?;
        Ok(match looked {
            Some(looked) if facts.is_none() || looked.facts != facts || looked.day != now.london_day() => {
                Some("a file or a day took effect as it would have left, so its members are decided again")
            }
            Some(Looked { all_pass: false, .. }) => Some("a member no longer passes, and it was never posted"),
            Some(_) => None,
            None => Some("it was never posted, and its members were not decided again"),
        })
    }

    /// Decides again about all that started campaigns have not sent, for when a product list took effect or a day began. Gives how many
    /// members left the queue.
    pub async fn recheck_unsent(&self) -> Outcome<u64> {
        let mut left = 0;
        let campaigns = campaign::store::list(&mut self.db.read().await?).await?;
        for campaign in campaigns.iter().filter(|c| c.state == CampaignState::Started) {
            let Some(plan) = campaign.plan_id else { continue };
            self.recheck_prepared(campaign.id).await?;
            left += self.recheck_queued(campaign.id, plan).await?;
            self.say_what_the_lists_took(campaign, plan).await?;
        }
        Ok(left)
    }

    /// Dissolves each batch that was never posted and has a member that no longer passes: its members are queued again, and the
    /// queue is gone through next.
    async fn recheck_prepared(&self, id: i64) -> Outcome {
        loop {
            if prepared(&mut self.db.read().await?, id).await?.is_empty() {
                return Ok(());
            }
            self.wait_for_import().await?;
            let mut tx = self.db.begin().await?;
            let campaign = campaign::store::lock(&mut tx, id).await?;
            let facts = whole_facts(&mut tx).await?;
            if campaign.state != CampaignState::Started {
                return Ok(());
            }
            if facts.is_none() {
                continue;
            }
            if let Some(decider) = self.decider_or_stop(&mut tx, &campaign).await? {
                for (request, batch) in prepared(&mut tx, id).await? {
                    if self.any_fails(&mut tx, &decider.of_batch(batch.resubmission), &batch.members).await? {
                        self.dissolve(&mut tx, &request, "a member no longer passes, and it was never posted").await?;
                    }
                }
            }
            if whole_facts(&mut tx).await? == facts {
                tx.commit().await?;
                return Ok(());
            }
        }
    }

    async fn any_fails(&self, tx: &mut Tx, decider: &super::Decider, members: &[DeviceId]) -> Outcome<bool> {
        for page in members.chunks(PAGE_MEMBERS) {
            let rows = sites(tx, page, &self.settings.organisation.mpids, decider.at).await?;
            if decider.decide(tx, &rows).await?.iter().any(|d| d.state != TargetState::Queued) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Goes through the queue, a page at a time. The write lock is taken only for a page in which a member no longer passes.
    async fn recheck_queued(&self, id: i64, plan: i64) -> Outcome<u64> {
        let (mut left, mut after) = (0, None);
        loop {
            self.wait_for_import().await?;
            let mut look = self.db.read().await?;
            let page = targets::in_state(&mut look, plan, TargetState::Queued, after, PAGE_MEMBERS).await?;
            let Some(last) = page.last().copied() else { return Ok(left) };
            let Some(campaign) = campaign::store::get(&mut look, id).await?.filter(|c| c.state == CampaignState::Started) else {
                return Ok(left);
            };
            let (refusal, decider) = self.judge_campaign(&mut look, &campaign, self.now()).await?;
            let suspect = refusal.is_some() || self.any_fails(&mut look, &decider, &page).await?;
            drop(look);
            if suspect {
                match self.take_out(id, plan, &page).await? {
                    Some(taken) => left += taken,
                    None => return Ok(left),
                }
            }
            after = Some(last);
        }
    }

    /// Decides a page under the write lock and takes out those that no longer pass. `None`: the campaign goes on no longer.
    async fn take_out(&self, id: i64, plan: i64, page: &[DeviceId]) -> Outcome<Option<u64>> {
        loop {
            self.wait_for_import().await?;
            let mut tx = self.db.begin().await?;
            let campaign = campaign::store::lock(&mut tx, id).await?;
            if campaign.state != CampaignState::Started || campaign.plan_id != Some(plan) {
                return Ok(None);
            }
            let facts = whole_facts(&mut tx).await?;
            if facts.is_none() {
                continue;
            }
            let taken = match self.decider_or_stop(&mut tx, &campaign).await? {
                None => None,
                Some(decider) => {
                    // Since the page was read, some may have been sent: what is not queued or held any more stays as it is.
                    let rows = sites(&mut tx, page, &self.settings.organisation.mpids, decider.at).await?;
                    let mut decided = decider.decide(&mut tx, &rows).await?;
                    decided.retain(|d| d.state != TargetState::Queued);
                    let because = Because::of(Cause::Recheck);
                    Some(targets::decide_again(&mut tx, plan, &decided, decider.policy_set, because, self.now()).await?)
                }
            };
            if whole_facts(&mut tx).await? == facts {
                tx.commit().await?;
                return Ok(taken);
            }
        }
    }

    /// One alarm for what this state of the lists, on this day, has ruled out of the campaign: by this pass, or by the check just before
    /// a batch that came first.
    async fn say_what_the_lists_took(&self, campaign: &Campaign, plan: i64) -> Outcome {
        let day = self.now().london_day();
        let mut tx = self.db.begin().await?;
        let (lists, took_effect) = estate::store::lists_version(&mut tx).await?;
        let since = took_effect.max(day.start());
        let subject = format!("{}, product lists {lists} on {day}", campaign.subject());
        let counts = targets::ruled_out_since(&mut tx, plan, &BY_THE_LISTS, since).await?;
        if counts.is_empty() || alarm::store::was_raised(&mut tx, AlarmKind::ProductListsChanged, &subject).await? {
            return Ok(());
        }
        let total: i64 = counts.iter().map(|(_, n)| n).sum();
        let by_reason: Vec<String> = counts.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
        let (id, name) = (campaign.id, &campaign.name);
        let new = NewAlarm {
            kind: AlarmKind::ProductListsChanged,
            subject,
            campaign: Some(id),
            sentence: format!(
                "campaign {name}: {total} devices were taken out before they were sent, because of the product lists as they are on \
                 {day}: {}",
                by_reason.join(", ")
            ),
            remedy: format!(
                "nothing of them leaves; `ppmid campaign targets {id} --state ineligible` lists them. Where a list is wrong, import \
                 the right one and take them in again with `ppmid campaign top-up {id}`; then `ppmid alarm end`"
            ),
        };
        self.raise_alarm(&mut tx, &new).await?;
        Ok(tx.commit().await?)
    }
}

/// Requests of a campaign that were committed and never posted, with their batches.
async fn prepared(tx: &mut Tx, campaign: i64) -> Outcome<Vec<(OutboxRequest, Batch)>> {
    let mut found = Vec::new();
    for request in outbox::list(tx, Some(OutboxState::Prepared), None, u32::MAX).await? {
        let Some(batch) = request.batch_id else { continue };
        match campaign::store::get_batch(tx, batch).await? {
            Some(batch) if batch.campaign_id == campaign => found.push((request, batch)),
            _ => {}
        }
    }
    Ok(found)
}
