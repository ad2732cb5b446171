//! From queued targets to a batch: its members are decided again, and it is committed with its RequestID and digest before
//! anything leaves.

use serde_json::json;

use super::{
    App,
    decide::sites,
    import::whole_facts,
    record,
    send::{PAGE_MEMBERS, unbuildable},
    waves::WAVE_LOOK_MILLIS,
    windows::look_again,
};
use crate::{
    campaign::{self, Campaign, CampaignState},
    clock::Time,
    db::Tx,
    duis::{self, Asks, Firmware, ServiceRequest},
    failure::{Failure, Outcome},
    gateway::outbox::{self, NewRequest},
    ids::{DeviceId, RequestId},
    image,
    policy::windows::Closures,
    target::{
        TargetState,
        store::{self as targets, Because, Cause, Decided, Within, deadline},
    },
};

/// What came of looking for the next batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextBatch {
    Prepared(RequestId),
    Nothing,
    /// Nothing may go for now: windows are closed, a wave is watched, or a cap has no room. There is no need to look again before.
    Closed {
        look_again: Time,
    },
}

impl App {
    /// Decides the next members of a started campaign again and commits those that pass as one batch with its request.
    /// `None`: nothing to send now.
    pub async fn prepare_batch(&self, campaign_id: i64) -> Outcome<Option<RequestId>> {
        Ok(match self.next_batch(campaign_id).await? {
            NextBatch::Prepared(id) => Some(id),
            NextBatch::Nothing | NextBatch::Closed { .. } => None,
        })
    }

    /// The same, and whether it is windows, freezes, a wave or a cap that keeps members back. Only members whose wave has begun and whose
    /// group is open are looked at; the waves are judged before.
    pub async fn next_batch(&self, campaign_id: i64) -> Outcome<NextBatch> {
        let (has_waves, _) = self.judge_waves(campaign_id).await?;
        let mut look = self.db.read().await?;
        let campaign = match campaign::store::get(&mut look, campaign_id).await? {
            Some(c) if c.state == CampaignState::Started && !self.is_known_void(&mut look, &c).await? => c,
            _ => return Ok(NextBatch::Nothing),
        };
        let Some(plan) = campaign.plan_id else { return Ok(NextBatch::Nothing) };
        let now = self.now();
        let closures = self.closures(&mut look, now).await?;
        // Looked at without the write lock first: where nothing is queued, this means reading the whole plan; where everything is
        // closed, nothing is read.
        let next = if closures.all { None } else { self.next_wave(&mut look, plan, &closures, now).await? };
        let soon = NextBatch::Closed { look_again: now.plus_millis(WAVE_LOOK_MILLIS) };
        let Some((_, within)) = next else {
            return Ok(match closures.none() {
                true if has_waves => soon,
                true => NextBatch::Nothing,
                false => NextBatch::Closed { look_again: look_again(&closures, now) },
            });
        };
        if self.adt_batch(&mut look, plan, within, campaign.batch_size as u64).await?.is_err() {
            return Ok(NextBatch::Nothing);
        }
        let out = self.look_in_flight(&mut look, &campaign, &self.policies()?).await?;
        drop(look);
        let mut tx = self.db.begin().await?;
        let campaign = campaign::store::lock(&mut tx, campaign_id).await?;
        let Some(plan) = campaign.plan_id.filter(|_| campaign.state == CampaignState::Started) else {
            return Ok(NextBatch::Nothing);
        };
        let facts = whole_facts(&mut tx).await?;
        if facts.is_none() {
            return Ok(NextBatch::Nothing);
        }
        let Some((wave, within)) = self.next_wave(&mut tx, plan, &closures, now).await? else { return Ok(NextBatch::Nothing) };
        let Ok(size) = self.adt_batch(&mut tx, plan, within, campaign.batch_size as u64).await? else {
            return Ok(NextBatch::Nothing);
        };
        let mut size = size as usize;
        if let Some(out) = self.take_in_flight_turn(&mut tx, plan, out).await? {
            let queued = targets::queued(&mut tx, plan, within, now, None, size).await?.len();
            let Some(room) = out.batch(size as i64, queued as i64) else { return Ok(soon) };
            size = room as usize;
        }
        let Some(decider) = self.decider_or_stop(&mut tx, &campaign).await? else {
            if whole_facts(&mut tx).await? == facts {
                tx.commit().await?;
            }
            return Ok(NextBatch::Nothing);
        };
        let Some(bytes) = self.image_or_halt(&mut tx, &campaign).await? else {
            tx.commit().await?;
            return Ok(NextBatch::Nothing);
        };
        let members = self.choose_members(&mut tx, size, (plan, within), &decider, &closures).await?;
        let prepared = match members.is_empty() {
            true => None,
            false => Some(self.commit_batch(&mut tx, &campaign, (plan, wave), &members, &bytes, &decider).await?.0),
        };
        if whole_facts(&mut tx).await? != facts {
            return Ok(NextBatch::Nothing);
        }
        tx.commit().await?;
        if prepared.is_some() {
            crate::crash::point("after-outbox-commit");
        }
        Ok(prepared.map_or(NextBatch::Nothing, NextBatch::Prepared))
    }

    /// The bytes of a campaign's image. `None`: the store has lost or changed them, so the campaign is halted in this transaction.
    pub(super) async fn image_or_halt(&self, tx: &mut Tx, campaign: &Campaign) -> Outcome<Option<Vec<u8>>> {
        match image::fetch_bytes(&self.vault, campaign.image_id).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) => {
                let failure = Failure::from(e);
                self.halt_with_code(tx, campaign, "IMAGE_NOT_TRUSTED", &failure.message).await?;
                Ok(None)
            }
        }
    }

    /// Decides queued members again, in order, until a batch is full. Those that no longer pass leave the queue.
    async fn choose_members(
        &self,
        tx: &mut Tx,
        size: usize,
        (plan, within): (i64, Within),
        decider: &super::Decider,
        closures: &Closures,
    ) -> Outcome<Vec<Decided>> {
        let mut members: Vec<Decided> = Vec::with_capacity(size.min(duis::MAX_DEVICES_PER_REQUEST));
        let mut after = None;
        while members.len() < size {
            let limit = PAGE_MEMBERS.min(size - members.len());
            let page = targets::queued_where_open(tx, plan, within, closures, decider.at, after, limit).await?;
            let Some(last) = page.last().copied() else { break };
            after = Some(last);
            let mpids = &self.settings.organisation.mpids;
            let rows = sites(tx, &page, mpids, decider.at).await?;
            let decided = decider.decide(tx, &rows).await?;
            let (pass, other): (Vec<Decided>, Vec<Decided>) = decided.into_iter().partition(|d| d.state == TargetState::Queued);
            targets::decide_again(tx, plan, &other, decider.policy_set, Because::of(Cause::Send), self.now()).await?;
            members.extend(pass);
        }
        Ok(members)
    }

    /// Commits members that were decided just now as one batch with its request. Gives the batch, too.
    pub(super) async fn commit_batch(
        &self,
        tx: &mut Tx,
        campaign: &Campaign,
        (plan, wave): (i64, Option<i64>),
        members: &[Decided],
        image: &[u8],
        decider: &super::Decider,
    ) -> Outcome<(RequestId, i64)> {
        let now = self.now();
        let devices: Vec<DeviceId> = members.iter().map(|d| d.device).collect();
        let resubmission = decider.decision().resubmits();
        let batch = campaign::store::insert_batch(tx, campaign.id, plan, &devices, (resubmission, wave), now).await?;
        let answer_by = Some(now.plus_millis(decider.policies.eligibility.answer_within.millis()));
        let sending = targets::Sending { plan, batch, resubmission, policy_set: decider.policy_set, answer_by };
        let sent = targets::send(tx, sending, members, now).await?;
        deadline::set_deadlines(tx, plan, deadline::Moved::Batch(batch), &decider.policies.steps, now).await?;
        if sent != members.len() as u64 {
            return Err(Failure::failed("the members of a batch changed while it was being made")
                .help("nothing was sent; it is tried again"));
        }
        let gateway = &self.settings.gateway;
        let originator = self.settings.organisation.user_id;
        let id = RequestId { originator, target: gateway.dcc_id, counter: outbox::next_counter(tx, originator, now).await? };
        let firmware = Firmware { image, firmware_version: &decider.firmware_version, devices: &devices };
        // 11.1: SMETS1 PPMIDs, always (domain.md, pipeline 1).
        let request = ServiceRequest { id, duis_version: gateway.duis_version, asks: Asks::UpdateFirmware(firmware) };
        let body_digest = duis::request_digest(&request).map_err(unbuildable)?;
        let new = NewRequest {
            id,
            service_reference: request.asks.kind().service_reference(),
            batch_id: Some(batch),
            duis_version: gateway.duis_version,
            body_digest,
            now,
        };
        outbox::prepare(tx, &new).await?;
        let mut detail =
            json!({"request": id, "devices": members.len(), "digest": body_digest, "policies": decider.policies.hash()});
        if resubmission {
            detail["resubmission"] = true.into();
        }
        if let Some(wave) = wave {
            detail["wave"] = wave.into();
        }
        record(tx, now, "engine", "batch.prepare", format!("campaign {} batch {batch}", campaign.id), detail).await?;
        Ok((id, batch))
    }
}
