//! Sites that wait for their keys are sent again, where retry.toml says `resubmit = true`: a due attempt of a case is then a 11.1 request of
//! our own, in a batch that has nothing else. Decided by the function that decides everything, without its two rules about keys. Not
//! what comes of it: such a batch is posted, answered and followed like any other. Promise: case and batch are one transaction; what
//! reached no device leaves a case as it was; no rollout waits for room that a resubmission took.

use std::collections::HashMap;

use super::{
    App, Decider,
    approval::is_approved_under,
    decide::{SENT_ALL_THE_SAME, sites},
    import::whole_facts,
    thresholds::UPDATES,
};
use crate::{
    campaign::{self, CampaignState, batch::Batch},
    clock::Time,
    db::Tx,
    failure::Outcome,
    ids::{DeviceId, RequestId},
    keys::{self, store::DueMember},
    policy::{PolicySet, Reason, windows::Gate},
    target::{
        TargetState,
        store::{self as targets, Decided},
    },
};

/// Cases looked at, or ended, in one step.
const PAGE_CASES: usize = 1_000;

/// A case that is to be sent again, with what was decided about its site.
struct ToResubmit {
    member: DueMember,
    /// Of retry.toml.
    rule: String,
    decided: Decided,
}

/// Which of a plan's due cases.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    /// Those whose windows are open.
    MayGoNow,
    Any,
}

impl App {
    /// Decides about the due cases of a started campaign and commits those that pass as one batch with its request. `None`: nothing to
    /// send now. What does not pass stays as it is: the recheck decides about the held.
    pub async fn next_resubmission(&self, campaign_id: i64) -> Outcome<Option<RequestId>> {
        if !self.is_any_to_resubmit(campaign_id).await? {
            return Ok(None);
        }
        let mut tx = self.db.begin().await?;
        let campaign = campaign::store::lock(&mut tx, campaign_id).await?;
        let Some(plan) = campaign.plan_id.filter(|_| campaign.state == CampaignState::Started) else { return Ok(None) };
        let facts = whole_facts(&mut tx).await?;
        if facts.is_none() {
            return Ok(None);
        }
        keys::store::lock_requests(&mut tx).await?;
        let Some(decider) = self.decider_or_stop(&mut tx, &campaign).await? else {
            if whole_facts(&mut tx).await? == facts {
                tx.commit().await?;
            }
            return Ok(None);
        };
        if !decider.policies.retry.resubmit {
            return Ok(None);
        }
        let decider = decider.resubmitting();
        let most = self.retries_left(&mut tx, &decider.policies).await?.min(campaign.batch_size as usize);
        let mut chosen = self.to_resubmit(&mut tx, &decider, plan, Which::MayGoNow, most).await?;
        let room = self.adt_room(&mut tx, UPDATES).await?.batch(campaign.batch_size as u64, chosen.len() as u64);
        chosen.truncate(room.unwrap_or(0) as usize);
        let in_flight = self.room_in_flight(&mut tx, &campaign, &decider.policies).await?;
        chosen.truncate(in_flight.unwrap_or(i64::MAX) as usize);
        if chosen.is_empty() {
            return Ok(None);
        }
        let Some(image) = self.image_or_halt(&mut tx, &campaign).await? else {
            tx.commit().await?;
            return Ok(None);
        };
        chosen.sort_by_key(|c| c.decided.device.to_db());
        let members: Vec<Decided> = chosen.iter().map(|c| c.decided.clone()).collect();
        let (id, batch) = self.commit_batch(&mut tx, &campaign, (plan, None), &members, &image, &decider).await?;
        let cases: Vec<(i64, DeviceId, String)> = chosen.into_iter().map(|c| (c.member.case, c.member.device, c.rule)).collect();
        let detail = format!("batch {batch} of campaign {}, request {id}", campaign.id);
        keys::store::resubmitted(&mut tx, batch, &cases, &detail, self.now()).await?;
        let devices: Vec<DeviceId> = cases.iter().map(|(_, device, _)| *device).collect();
        self.reconcile_pages(&mut tx, &devices, &decider.policies).await?;
        if whole_facts(&mut tx).await? != facts {
            return Ok(None);
        }
        tx.commit().await?;
        crate::crash::point("after-outbox-commit");
        Ok(Some(id))
    }

    /// Looked at without the write lock. Where the campaign as a whole is refused the answer is yes: who asks then halts it.
    async fn is_any_to_resubmit(&self, campaign_id: i64) -> Outcome<bool> {
        let (policies, now) = (self.policies()?, self.now());
        if !policies.retry.resubmit {
            return Ok(false);
        }
        let mut look = self.db.read().await?;
        if self.closures(&mut look, now).await?.all {
            return Ok(false);
        }
        let campaign = match campaign::store::get(&mut look, campaign_id).await? {
            Some(c) if c.state == CampaignState::Started && !self.is_known_void(&mut look, &c).await? => c,
            _ => return Ok(false),
        };
        let Some(plan) = campaign.plan_id else { return Ok(false) };
        if keys::store::due_members(&mut look, plan, now, None, 1).await?.is_empty()
            || self.retries_left(&mut look, &policies).await? == 0
            || self.rollout_waits_for_room(&mut look).await?
        {
            return Ok(false);
        }
        let (refusal, decider) = self.judge_campaign(&mut look, &campaign, now).await?;
        let decider = decider.resubmitting();
        Ok(refusal.is_some() || !self.to_resubmit(&mut look, &decider, plan, Which::MayGoNow, 1).await?.is_empty())
    }

    /// Whether something that is queued and open waits for a threshold: what room comes free is its.
    async fn rollout_waits_for_room(&self, tx: &mut Tx) -> Outcome<bool> {
        if !self.adt_room(tx, UPDATES).await?.is_limited() {
            return Ok(false);
        }
        let now = self.now();
        let closures = self.closures(tx, now).await?;
        for campaign in campaign::store::list(tx).await?.iter().filter(|c| c.state == CampaignState::Started) {
            let Some(plan) = campaign.plan_id.filter(|_| !closures.all) else { continue };
            if !self.is_known_void(tx, campaign).await?
                && let Some((_, within)) = self.next_wave(tx, plan, &closures, now).await?
                && self.adt_batch(tx, plan, within, campaign.batch_size as u64).await?.is_err()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The due cases of a plan whose sites pass everything but the rules about keys, the longest due first, at most so many.
    async fn to_resubmit(
        &self,
        tx: &mut Tx,
        decider: &Decider,
        plan: i64,
        which: Which,
        most: usize,
    ) -> Outcome<Vec<ToResubmit>> {
        let (mut chosen, mut after) = (Vec::new(), None);
        let Some(up_to) = self.begun_waves(tx, plan).await? else { return Ok(chosen) };
        let windows = self.windows(tx, decider.at).await?;
        while chosen.len() < most {
            let page = keys::store::due_members(tx, plan, decider.at, after, PAGE_CASES).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.clone());
            let mut devices: Vec<DeviceId> = page.iter().map(|m| m.device).collect();
            if let Some(up_to) = up_to {
                let waves = targets::waves::waves_of(tx, plan, &devices).await?;
                devices.retain(|d| waves.get(d).is_some_and(|wave| *wave <= up_to));
            }
            let rows = sites(tx, &devices, &self.settings.organisation.mpids, decider.at).await?;
            let decided = decider.decide(tx, &rows).await?;
            // Where no rule asks for a key (L§12: SECURE), DCC's word alone holds a site.
            let no_rule: Vec<DeviceId> = decided.iter().filter(|d| d.reason == Reason::Eligible).map(|d| d.device).collect();
            let by_dcc = self.still_without_key(tx, plan, &no_rule).await?;
            let may_go = |site: &crate::estate::Site| {
                which == Which::Any || windows.open(decider.at, site.cohort, site.region.as_deref()) == Gate::Open
            };
            let mut passed: HashMap<DeviceId, (Decided, _)> = rows
                .iter()
                .zip(decided)
                .filter(|(row, d)| {
                    let waits = d.reason != Reason::Eligible || by_dcc.contains(&d.device);
                    d.state == TargetState::Queued && waits && may_go(&row.site)
                })
                .map(|(row, d)| (d.device, (d, row.site.cohort)))
                .collect();
            for member in page {
                let Some((mut decided, cohort)) = passed.remove(&member.device) else { continue };
                if decided.reason == Reason::Eligible {
                    decided.reason = Reason::KeysMissing;
                    decided.fact = Some(format!("DCC said so; {SENT_ALL_THE_SAME}").into());
                }
                let rule = decider.policies.retry.rule(Some(cohort), member.last_error.as_deref()).name.clone();
                chosen.push(ToResubmit { member, rule, decided });
            }
        }
        chosen.truncate(most);
        Ok(chosen)
    }

    /// The due cases that the engine sends again, so that nobody asks DCC for a re-run of them.
    pub(super) async fn left_to_the_engine(&self, tx: &mut Tx, policies: &PolicySet, now: Time) -> Outcome<Vec<i64>> {
        let mut cases = Vec::new();
        if !policies.retry.resubmit {
            return Ok(cases);
        }
        for campaign in campaign::store::list(tx).await?.iter().filter(|c| c.state == CampaignState::Started) {
            let Some(plan) = campaign.plan_id.filter(|_| is_approved_under(campaign, policies)) else { continue };
            if let (None, decider) = self.judge_campaign(tx, campaign, now).await? {
                let all = self.to_resubmit(tx, &decider.resubmitting(), plan, Which::Any, usize::MAX).await?;
                cases.extend(all.iter().map(|c| c.member.case));
            }
        }
        Ok(cases)
    }

    /// A batch reached no device: where it was a resubmission, its cases are as they were before it.
    pub(super) async fn resubmission_undone(&self, tx: &mut Tx, batch: &Batch) -> Outcome {
        if batch.resubmission {
            keys::store::resubmission_unsent(tx, batch.id).await?;
            self.reconcile_pages(tx, &batch.members, &self.policies()?).await?;
        }
        Ok(())
    }

    /// Ends the resubmissions whose devices are out no more and of which nothing else said so: silence, a refusal. They count as attempts
    /// from then on. Gives how many; doing it twice changes nothing.
    pub async fn end_resubmissions(&self) -> Outcome<u64> {
        let mut ended = 0;
        while !keys::store::resubmissions_over(&mut self.db.read().await?, 1).await?.is_empty() {
            let policies = self.policies()?;
            let mut tx = self.db.begin().await?;
            let lines = keys::store::resubmissions_over(&mut tx, PAGE_CASES).await?;
            keys::store::end_resubmissions(&mut tx, &lines, self.now()).await?;
            let devices: Vec<DeviceId> = lines.iter().map(|(_, device, _)| *device).collect();
            self.reconcile_pages(&mut tx, &devices, &policies).await?;
            tx.commit().await?;
            ended += lines.len() as u64;
        }
        Ok(ended)
    }

    async fn reconcile_pages(&self, tx: &mut Tx, devices: &[DeviceId], policies: &PolicySet) -> Outcome {
        for page in devices.chunks(PAGE_CASES) {
            self.reconcile_devices(tx, page, policies).await?;
        }
        Ok(())
    }
}
