//! What people ask of the outbox: which requests there are, what was posted and what came of it, and that one which is held goes on.
//! Promise: a request that is let go is the same request; nothing is let go that would send a device a second one.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::json;

use super::{
    App,
    control::check_reason,
    quarantine, record,
    send::{locked, request_and_batch},
};
use crate::{
    campaign::{
        self, Campaign, CampaignState,
        batch::{Batch, BatchState},
    },
    clock::Time,
    db::Tx,
    duis::RequestKind,
    failure::{Failure, Outcome},
    gateway::{
        inbox::{Filter, InboxEntry, store as inbox},
        outbox::{
            self, OutboxRequest, OutboxState,
            store::{self as archive, OutboxFilter, Posting},
        },
    },
    ids::{DeviceId, RequestId},
    target::{
        TargetState,
        store::{self as targets, Target, reads},
    },
};

/// Replies and messages about one request that are shown with it; `ppmid inbox list --request ID` has them all.
const MESSAGES_SHOWN: u32 = 20;

/// Which requests somebody asks for.
#[derive(Debug, Clone, Default)]
pub struct RequestQuery {
    pub request: Option<RequestId>,
    pub device: Option<DeviceId>,
    pub kind: Option<RequestKind>,
    pub state: Option<OutboxState>,
    pub since: Option<Time>,
    pub until: Option<Time>,
    /// Its id or name.
    pub campaign: Option<String>,
}

/// One request with what is known of it.
#[derive(Debug, Clone, Serialize)]
pub struct OpenedRequest {
    #[serde(flatten)]
    pub request: OutboxRequest,
    pub campaign: Option<i64>,
    /// Of its batch within the campaign.
    pub batch_number: Option<i64>,
    pub batch_state: Option<BatchState>,
    pub devices: usize,
    /// Every attempt.
    pub postings: Vec<Posting>,
    /// The newest messages about it, replies included.
    pub messages: Vec<InboxEntry>,
}

impl App {
    pub async fn request_filter(&self, query: &RequestQuery) -> Outcome<OutboxFilter> {
        let RequestQuery { request, kind, state, since, until, .. } = query.clone();
        let campaign = match &query.campaign {
            Some(name) => Some(self.campaign(name).await?.id),
            None => None,
        };
        let batches = match query.device {
            Some(device) => Some(campaign::store::batches_with(&mut self.db.read().await?, device).await?),
            None => None,
        };
        Ok(OutboxFilter { request, kind, state, since, until, campaign, batches })
    }

    /// A page of requests, newest first.
    pub async fn requests(&self, filter: &OutboxFilter, before: Option<u64>, limit: u32) -> Outcome<Vec<OutboxRequest>> {
        Ok(archive::search(&mut self.db.read().await?, filter, before, limit).await?)
    }

    /// One request, with the devices it names.
    pub async fn open_request(&self, id: RequestId) -> Outcome<(OpenedRequest, Vec<DeviceId>)> {
        let mut tx = self.db.read().await?;
        let request = outbox::find_by_request_id(&mut tx, id).await?.ok_or_else(|| no_request(id))?;
        let batch = request_and_batch(&mut tx, id).await?.map(|(_, batch)| batch);
        let read = reads::of_requests(&mut tx, &[id]).await?.remove(&id);
        let about = Filter { request: Some(id), ..Filter::default() };
        let opened = OpenedRequest {
            request,
            campaign: batch.as_ref().map(|b| b.campaign_id).or(read.as_ref().map(|r| r.campaign_id)),
            batch_number: batch.as_ref().map(|b| b.number),
            batch_state: batch.as_ref().map(|b| b.state),
            devices: batch.as_ref().map_or(usize::from(read.is_some()), |b| b.members.len()),
            postings: archive::postings(&mut tx, id).await?,
            messages: inbox::search(&mut tx, &about, None, MESSAGES_SHOWN).await?,
        };
        let devices = batch.map(|b| b.members).or(read.map(|r| vec![r.device]));
        Ok((opened, devices.unwrap_or_default()))
    }

    /// The signed bytes of one attempt, or of the last, as they were posted; who asked for them is recorded first.
    pub async fn raw_request(&self, id: RequestId, attempt: Option<u32>, who: &str) -> Outcome<Vec<u8>> {
        let mut tx = self.db.begin().await?;
        outbox::find_by_request_id(&mut tx, id).await?.ok_or_else(|| no_request(id))?;
        let bytes = archive::posted_bytes(&mut tx, id, attempt).await?.ok_or_else(|| {
            Failure::failed(format!(
                "nothing that was posted under {id} is kept{}",
                attempt.map_or(String::new(), |a| format!(" of attempt {a}"))
            ))
            .help("`ppmid outbox show` lists the attempts; the bytes of old requests are deleted after archive.keep_months")
        })?;
        let detail = json!({"attempt": attempt, "bytes": bytes.len()});
        record(&mut tx, self.now(), who, "request.read-raw", format!("request {id}"), detail).await?;
        tx.commit().await?;
        Ok(bytes)
    }

    /// Lets a request that is held go on: the same request, due now. It leaves only while its campaign is started and every member
    /// is still ours; `begin_post` looks at that, and holds it again otherwise.
    pub async fn release_request(&self, id: RequestId, reason: &str, who: &str) -> Outcome<OutboxRequest> {
        check_reason(reason)?;
        let now = self.now();
        let mut tx = self.db.begin().await?;
        outbox::find_by_request_id(&mut tx, id).await?.ok_or_else(|| no_request(id))?;
        let Some((campaign, request, batch)) = locked(&mut tx, id).await? else {
            return Err(Failure::failed(format!("{id} carries no batch: where it is held, the read it was for has ended"))
                .help(format!("look at it: ppmid outbox show {id}")));
        };
        if quarantine::stands(&mut tx, id).await? {
            return Err(Failure::failed(format!("DCC holds {id} in quarantine")).help(format!(
                "say what DCC was told to do with it: ppmid outbox quarantine process|delete {id} --by NAME --reason TEXT"
            )));
        }
        releasable(&campaign, &request)?;
        let elsewhere = self.sent_elsewhere(&mut tx, &batch).await?;
        if elsewhere > 0 {
            return Err(Failure::failed(format!("{elsewhere} of its devices wait for another request or are in one"))
                .help("it stays held: let go, it would send them a second request")
                .help("what DCC still says of it is settled all the same"));
        }
        outbox::release_held(&mut tx, id, now).await?;
        let state = if request.posts == 0 { BatchState::Prepared } else { BatchState::Unknown };
        let note = format!("let go by {who}: {reason}");
        campaign::store::set_batch_state(&mut tx, batch.id, state, Some(&note), now).await?;
        let detail = json!({"request": id, "batch": batch.id, "held_for": request.last_error, "reason": reason});
        record(&mut tx, now, who, "request.release", format!("campaign {} batch {}", campaign.id, batch.id), detail).await?;
        let released = outbox::find_by_request_id(&mut tx, id).await?.ok_or_else(|| no_request(id))?;
        tx.commit().await?;
        Ok(released)
    }

    /// How many members wait for another request, or are in one, of this campaign or of another: a second one would reach them.
    pub(super) async fn sent_elsewhere(&self, tx: &mut Tx, batch: &Batch) -> Outcome<usize> {
        let others = campaign::store::other_started_plans(tx, batch.campaign_id).await?;
        let mut elsewhere = BTreeSet::new();
        for group in batch.members.chunks(targets::GROUP_ROWS) {
            let found = targets::find(tx, &[batch.plan_id], group).await?;
            let waits = |t: &&Target| matches!(t.state, TargetState::Queued | TargetState::Held);
            elsewhere.extend(found.iter().filter(|t| t.batch_id != Some(batch.id) || waits(t)).map(|t| t.device));
            let busy = targets::find(tx, &others, group).await?;
            elsewhere.extend(busy.iter().filter(|t| t.state == TargetState::Queued || t.state.is_in_flight()).map(|t| t.device));
        }
        Ok(elsewhere.len())
    }
}

/// Why a request cannot be let go, if it cannot.
fn releasable(campaign: &Campaign, request: &OutboxRequest) -> Outcome {
    let id = request.id;
    let why = match request.state {
        OutboxState::Held => match campaign.state {
            CampaignState::Finished | CampaignState::Aborted => {
                return Err(Failure::failed(format!(
                    "campaign {} is {}: nothing of it leaves any more",
                    campaign.name, campaign.state
                ))
                .help("`ppmid campaign retry` queues devices that failed or expired again, in new requests"));
            }
            CampaignState::Draft
            | CampaignState::Planned
            | CampaignState::Approved
            | CampaignState::Started
            | CampaignState::Paused
            | CampaignState::Halted => return Ok(()),
        },
        OutboxState::Answered => {
            let code = request.response_code.as_deref().unwrap_or_default();
            return Err(Failure::failed(format!("{id} is not held: DCC answered it with {code}"))
                .help("to have the answer looked at again after a change of response-codes.toml: ppmid inbox replay")
                .help(format!("its messages: ppmid inbox list --request {id}")));
        }
        OutboxState::Prepared | OutboxState::Posting | OutboxState::Unknown => "it is on its way by itself",
        OutboxState::Abandoned => "it never left and was given up; its devices are queued again",
        OutboxState::Deleted => "DCC deleted it in quarantine, and it is never sent again",
    };
    Err(Failure::failed(format!("{id} is not held: {why}")).help(format!("look at it: ppmid outbox show {id}")))
}

fn no_request(id: RequestId) -> Failure {
    Failure::failed(format!("there is no request {id} in the outbox")).help("`ppmid outbox list` shows them")
}
