//! A committed request on its way: taken up, allowed, rebuilt, posted, and what came of the attempt. A request that may have
//! left is sent again under the same RequestID or not at all; one that certainly never left is dissolved.

use std::collections::HashSet;

use serde_json::json;

use super::{App, answer, decide::sites, exchange, import::whole_facts, notify::tell_held, record, windows::MayLeave};
use crate::{
    campaign::{
        self, Campaign, CampaignState,
        batch::{Batch, BatchState},
    },
    clock::Time,
    db::Tx,
    duis::{self, Asks, Firmware, ServiceRequest, SignedMessage, Signer},
    failure::{Failure, Outcome},
    gateway::{
        Exchange, PostOutcome, Service, Trouble, backoff,
        outbox::{self, OutboxRequest, OutboxState},
    },
    ids::{DeviceId, RequestId},
    image,
    target::{
        Event,
        store::{self as targets, Because, Cause, Moved, Which},
    },
};

/// Members whose facts are fetched in one step.
pub(super) const PAGE_MEMBERS: usize = 5_000;
/// How long a request that may not leave now is put off.
pub(super) const PUT_OFF_MILLIS: i64 = 2_000;
/// A resend that waits for its window is looked at this often: the policies may be edited.
const WINDOW_LOOK_MILLIS: i64 = 30_000;
/// One for which a threshold has no room is looked at again after this, or when there is room: a person may raise the threshold.
const ADT_LOOK_MILLIS: i64 = 5_000;
/// Beyond the request's own time-out, its poster is taken to be dead after this.
const POSTER_GRACE_MILLIS: i64 = 5_000;

/// A request committed as being posted, and its bytes.
pub struct ReadyToPost {
    pub id: RequestId,
    /// 1, 2, 3 ...
    pub attempt: u32,
    pub bytes: Vec<u8>,
    /// Where it goes.
    pub service: Service,
}

/// Requests that are due for another attempt, longest due first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Due {
    pub batches: Vec<RequestId>,
    /// Those that read a device.
    pub reads: Vec<RequestId>,
}

/// What became of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Posted {
    /// DCC has it, or said no: no more attempts.
    Settled,
    /// Nothing left: the way to DCC is down. The batch was dissolved or waits.
    NotSent,
    /// Waits for its next attempt.
    Unknown,
    /// Waits for a person.
    Held,
}

impl App {
    /// Requests that are due for another attempt. Those a dead process prepared and never posted are dissolved here.
    pub async fn due_requests(&self, limit: u32) -> Outcome<Due> {
        let mut tx = self.db.begin().await?;
        let due = outbox::claim_due(&mut tx, self.now(), limit).await?;
        let mut again = Due::default();
        for request in due {
            if request.state == OutboxState::Prepared {
                self.dissolve(&mut tx, &request, "it was prepared and never posted").await?;
            } else {
                let kind = if request.batch_id.is_some() { &mut again.batches } else { &mut again.reads };
                kind.push(request.id);
            }
        }
        tx.commit().await?;
        Ok(again)
    }

    /// At start-up, by the node that alone posts: whatever back-off a dead process left, everything open is due now.
    pub async fn take_up_requests(&self) -> Outcome<u64> {
        let mut tx = self.db.begin().await?;
        let n = outbox::release_backoff(&mut tx, self.now()).await?;
        tx.commit().await?;
        Ok(n)
    }

    /// Commits that an attempt begins and gives the bytes to post; `None` where it may not leave now.
    pub async fn begin_post(&self, id: RequestId, signer: &dyn Signer) -> Outcome<Option<ReadyToPost>> {
        let looked = self.look_at_unposted(id).await?;
        let mut tx = self.db.begin().await?;
        let Some((campaign, request, batch)) = locked(&mut tx, id).await? else { return self.begin_read(tx, id, signer).await };
        if !matches!(request.state, OutboxState::Prepared | OutboxState::Posting | OutboxState::Unknown) {
            return Ok(None);
        }
        let now = self.now();
        if matches!(campaign.state, CampaignState::Finished | CampaignState::Aborted) && request.posts > 0 {
            end_unanswered(&mut tx, &campaign, &request, &batch, now).await?;
            tx.commit().await?;
            return Ok(None);
        }
        if campaign.state != CampaignState::Started {
            outbox::put_off(&mut tx, id, &format!("the campaign is {}", campaign.state), now.plus_millis(PUT_OFF_MILLIS)).await?;
            tx.commit().await?;
            return Ok(None);
        }
        if !self.window_lets_it_leave(&mut tx, &request, &batch, now).await? {
            tx.commit().await?;
            return Ok(None);
        }
        if let Err(wait) = self.adt_turn(&mut tx, &request.service_reference, id).await?.may_send(batch.members.len() as u64) {
            match request.posts {
                0 => self.dissolve(&mut tx, &request, &wait.why).await?,
                _ => {
                    let look = now.plus_millis(ADT_LOOK_MILLIS);
                    outbox::put_off(&mut tx, id, &wait.why, wait.until.map_or(look, |until| until.min(look))).await?;
                }
            }
            tx.commit().await?;
            return Ok(None);
        }
        if request.posts == 0
            && let Some(why) = self.keeps_from_leaving(&mut tx, &campaign, looked, now).await?
        {
            self.dissolve(&mut tx, &request, why).await?;
            tx.commit().await?;
            return Ok(None);
        }
        if request.posts > 0 {
            let Some(facts) = whole_facts(&mut tx).await? else {
                outbox::put_off(&mut tx, id, "a file is being imported", now.plus_millis(PUT_OFF_MILLIS)).await?;
                tx.commit().await?;
                return Ok(None);
            };
            let may = self.may_resend(&mut tx, &campaign, &request, &batch, now).await?;
            if whole_facts(&mut tx).await? != Some(facts) {
                return Ok(None);
            }
            if !may {
                tx.commit().await?;
                return Ok(None);
            }
        }
        let message = match self.build(&mut tx, &campaign, &request, &batch, signer).await {
            Ok(message) => message,
            Err(failure) => {
                match request.posts {
                    // Nothing left: the next batch asks again whether the image may be sent.
                    0 => self.dissolve(&mut tx, &request, &failure.message).await?,
                    _ => hold(&mut tx, &request, &batch, &failure.message, now).await?,
                }
                tx.commit().await?;
                return Err(failure);
            }
        };
        let attempt = self.mark_posting(&mut tx, &request, &message.bytes, now).await?;
        tx.commit().await?;
        Ok(Some(ReadyToPost { id, attempt, bytes: message.bytes, service: Service::NonDevice }))
    }

    /// An attempt begins, with these bytes: commit this before the first of them leaves. Gives its number.
    pub(super) async fn mark_posting(&self, tx: &mut Tx, request: &OutboxRequest, bytes: &[u8], now: Time) -> Outcome<u32> {
        let timeout = self.settings.gateway.request_timeout_seconds as i64 * 1_000;
        outbox::mark_posting(tx, request.id, now, now.plus_millis(timeout + POSTER_GRACE_MILLIS)).await?;
        let attempt = request.attempts + 1;
        outbox::store::keep_posting(tx, request.id, attempt, bytes, now).await?;
        Ok(attempt)
    }

    /// Nothing leaves outside its windows. What never left is dissolved, and its members wait in the queue. A resend waits for the
    /// first moment at which all its devices are open: the clock will let it go, so no person is needed. Only one that has no such
    /// moment in sight goes to an operator.
    async fn window_lets_it_leave(&self, tx: &mut Tx, request: &OutboxRequest, batch: &Batch, now: Time) -> Outcome<bool> {
        match self.may_leave(tx, batch, now).await? {
            MayLeave::Yes => return Ok(true),
            MayLeave::At { why, .. } | MayLeave::Never { why } if request.posts == 0 => {
                self.dissolve(tx, request, &format!("it never left, and {why}")).await?;
            }
            MayLeave::At { until, why } => {
                outbox::put_off(tx, request.id, &why, until.min(now.plus_millis(WINDOW_LOOK_MILLIS))).await?;
            }
            MayLeave::Never { why } => {
                hold(tx, request, batch, &format!("no answer yet; {why}, so it is not sent again"), now).await?
            }
        }
        Ok(false)
    }

    /// A resend is allowed only while every member still has a covering own registration and nothing refuses the campaign.
    async fn may_resend(
        &self,
        tx: &mut Tx,
        campaign: &Campaign,
        request: &OutboxRequest,
        batch: &Batch,
        now: Time,
    ) -> Outcome<bool> {
        if self.decider_or_halt(tx, campaign).await?.is_none() {
            outbox::put_off(tx, request.id, "the campaign was halted", now.plus_millis(PUT_OFF_MILLIS)).await?;
            return Ok(false);
        }
        let day = now.london_day();
        for page in batch.members.chunks(PAGE_MEMBERS) {
            let rows = sites(tx, page, &self.settings.organisation.mpids, now).await?;
            let ours: HashSet<DeviceId> = rows.iter().filter(|r| r.is_ours_on(day)).map(|r| r.site.device_id).collect();
            let lost = page.iter().filter(|d| !ours.contains(d)).count();
            if lost > 0 {
                let why = format!("no answer yet, and {lost} of its devices are no longer ours, so it is not sent again");
                hold(tx, request, batch, &why, now).await?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The same request as it was committed: rebuilt, and compared with the digest that was stored.
    async fn build(
        &self,
        tx: &mut Tx,
        campaign: &Campaign,
        request: &OutboxRequest,
        batch: &Batch,
        signer: &dyn Signer,
    ) -> Outcome<SignedMessage> {
        let bytes = image::fetch_bytes(&self.vault, campaign.image_id).await?;
        let stored = image::store::get(tx, campaign.image_id).await?;
        let stored = stored.ok_or_else(|| Failure::failed(format!("the image {} is no longer stored", campaign.image_id)))?;
        let firmware = Firmware { image: &bytes, firmware_version: &stored.manifest.firmware_version, devices: &batch.members };
        let asked = ServiceRequest { id: request.id, duis_version: request.duis_version, asks: Asks::UpdateFirmware(firmware) };
        let message = duis::build_request(&asked, signer).map_err(unbuildable)?;
        if message.body_digest != request.body_digest {
            return Err(Failure::untrusted("the request no longer has the digest it was committed with")
                .help("it is held; look at it with `ppmid campaign status`"));
        }
        Ok(message)
    }

    /// What came of one attempt; the reply, if there was one, is kept.
    pub async fn record_outcome(&self, id: RequestId, attempt: u32, exchange: &Exchange) -> Outcome<Posted> {
        let now = self.now();
        let mut tx = self.db.begin().await?;
        let Some((_, request, batch)) = locked(&mut tx, id).await? else {
            return self.record_read(tx, id, attempt, exchange).await;
        };
        let posted = match &exchange.outcome {
            PostOutcome::Answered(response) => {
                answer::apply(self, &mut tx, &request, &batch, response, answer::Trust::Reply).await?
            }
            PostOutcome::Refused(response) => {
                answer::apply(self, &mut tx, &request, &batch, response, answer::Trust::Unsigned).await?
            }
            // While this attempt was under way a message answered the request, or another node took it up.
            _ if request.state != OutboxState::Posting => match request.state {
                OutboxState::Answered | OutboxState::Abandoned | OutboxState::Deleted => Posted::Settled,
                OutboxState::Held => Posted::Held,
                OutboxState::Prepared | OutboxState::Posting | OutboxState::Unknown => Posted::Unknown,
            },
            PostOutcome::NotSent(trouble) => {
                let (why, delay) = (trouble.to_string(), delay(&request, trouble));
                outbox::mark_not_sent(&mut tx, id, &why, now.plus_millis(delay)).await?;
                if request.posts <= 1 {
                    let unposted = OutboxRequest { state: OutboxState::Prepared, posts: 0, ..request.clone() };
                    self.dissolve(&mut tx, &unposted, &why).await?;
                }
                Posted::NotSent
            }
            PostOutcome::Unknown(trouble) => {
                let (why, delay) = (trouble.to_string(), delay(&request, trouble));
                outbox::mark_unknown(&mut tx, id, &why, now.plus_millis(delay)).await?;
                campaign::store::set_batch_state(&mut tx, batch.id, BatchState::Unknown, Some(&why), now).await?;
                Posted::Unknown
            }
            PostOutcome::Rejected(trouble) => {
                hold(&mut tx, &request, &batch, &trouble.to_string(), now).await?;
                Posted::Held
            }
        };
        exchange::keep(&mut tx, id, attempt, exchange, posted, now).await?;
        tx.commit().await?;
        crate::crash::point("after-acknowledgement");
        Ok(posted)
    }

    /// Gives the members of a request that never left back to where they were, and abandons its RequestID.
    pub(super) async fn dissolve(&self, tx: &mut Tx, request: &OutboxRequest, why: &str) -> Outcome {
        let now = self.now();
        outbox::mark_abandoned(tx, request.id, why, now).await?;
        let Some(batch_id) = request.batch_id else { return self.read_never_left(tx, request).await };
        if let Some(batch) = campaign::store::get_batch(tx, batch_id).await? {
            campaign::store::set_batch_state(tx, batch_id, BatchState::Dissolved, Some(why), now).await?;
            self.give_back(tx, &batch, None, now).await?;
        }
        Ok(())
    }

    /// Gives the members of a batch back to where they were: its request never left, or was refused for a passing reason. That is the
    /// queue; of a resubmission they wait for their keys, and nothing was tried. Those of an aborted campaign are cancelled with the
    /// rest of it.
    pub(super) async fn give_back(&self, tx: &mut Tx, batch: &Batch, why: Option<&str>, now: Time) -> Outcome {
        let moved = Moved { detail: why, ..Moved::because(Because::by(Cause::Returned, batch.id)) };
        let event = if batch.resubmission { Event::Unsent } else { Event::Returned };
        targets::move_all(tx, batch.plan_id, Which::Batch(batch.id), event, moved, now).await?;
        self.resubmission_undone(tx, batch).await?;
        if campaign::store::get(tx, batch.campaign_id).await?.is_some_and(|c| c.state == CampaignState::Aborted) {
            let aborted = Moved::because(Because::of(Cause::Operator));
            targets::move_all(tx, batch.plan_id, Which::Plan, Event::Cancelled, aborted, now).await?;
        }
        Ok(())
    }

    /// Dissolves what is prepared and was never posted, of one campaign or of all.
    pub(super) async fn dissolve_unposted(&self, tx: &mut Tx, campaign: Option<i64>, why: &str) -> Outcome {
        for request in outbox::list(tx, Some(OutboxState::Prepared), None, u32::MAX).await? {
            let batch = match request.batch_id {
                Some(id) => campaign::store::get_batch(tx, id).await?,
                None => None,
            };
            if campaign.is_none() || batch.is_some_and(|b| Some(b.campaign_id) == campaign) {
                self.dissolve(tx, &request, why).await?;
            }
        }
        Ok(())
    }
}

/// How long until the next attempt, in milliseconds.
pub(super) fn delay(request: &OutboxRequest, trouble: &Trouble) -> i64 {
    backoff(request.attempts, request.id.counter, trouble.fault.pace(), trouble.retry_after).as_millis() as i64
}

/// The request waits for a person; its members are followed as if sent. One that was answered already stays answered, and
/// its batch is held all the same.
pub(super) async fn hold(tx: &mut Tx, request: &OutboxRequest, batch: &Batch, why: &str, now: Time) -> Outcome {
    match outbox::hold(tx, request.id, why, now).await {
        Err(e) if !e.is_stale() => return Err(e.into()),
        _ => {}
    }
    campaign::store::set_batch_state(tx, batch.id, BatchState::Held, Some(why), now).await?;
    let (id, campaign) = (request.id, batch.campaign_id);
    tracing::error!(request = %id, batch = batch.number, campaign, reason = why, "a batch is held for a person");
    record(
        tx,
        now,
        "engine",
        "batch.hold",
        format!("campaign {campaign} batch {}", batch.id),
        json!({"request": id, "why": why}),
    )
    .await?;
    if batch.state == BatchState::Held { Ok(()) } else { tell_held(tx, request.id, batch, why, now).await }
}

/// A request without an answer whose campaign is over leaves no more: it is held, so that nobody tries it for ever, and nobody is told, since
/// there is nothing to be done. Its batch stays unknown: an answer that comes after all is one.
async fn end_unanswered(tx: &mut Tx, campaign: &Campaign, request: &OutboxRequest, batch: &Batch, now: Time) -> Outcome {
    let why = format!("no answer came, and its campaign is {}, so it is not sent again", campaign.state);
    outbox::hold(tx, request.id, &why, now).await?;
    let detail = json!({"request": request.id, "why": why});
    record(tx, now, "engine", "batch.hold", format!("campaign {} batch {}", campaign.id, batch.id), detail).await
}

/// A request with its batch as they are once its campaign is locked: nobody else decides about them until the transaction
/// ends.
pub(super) async fn locked(tx: &mut Tx, id: RequestId) -> Outcome<Option<(Campaign, OutboxRequest, Batch)>> {
    let Some((_, batch)) = request_and_batch(tx, id).await? else { return Ok(None) };
    let campaign = campaign::store::lock(tx, batch.campaign_id).await?;
    Ok(request_and_batch(tx, id).await?.map(|(request, batch)| (campaign, request, batch)))
}

pub(super) async fn request_and_batch(tx: &mut Tx, id: RequestId) -> Outcome<Option<(OutboxRequest, Batch)>> {
    let Some(request) = outbox::find_by_request_id(tx, id).await? else { return Ok(None) };
    let Some(batch_id) = request.batch_id else { return Ok(None) };
    Ok(campaign::store::get_batch(tx, batch_id).await?.map(|batch| (request, batch)))
}

pub(super) fn unbuildable(e: duis::BuildError) -> Failure {
    Failure::from(e).help("nothing was sent")
}
