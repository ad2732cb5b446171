//! Asking a device which version it runs, where its steps say so (`policies/steps.toml`): who may be asked now, the requests committed
//! before they are posted, and the end of those that came to nothing. What an answer means is in `heard`.
//! Promise: while a read is open and it is not known what became of a request of it, its device is asked under no other RequestID;
//! nothing is asked for a campaign that is not started, or of a device that is not ours today.

use std::collections::{BTreeMap, HashMap};

use super::{
    App, Posted,
    approval::is_approved_under,
    decide::sites,
    exchange,
    import::whole_facts,
    send::{PUT_OFF_MILLIS, ReadyToPost, delay, unbuildable},
    silence::still_silent,
};
use crate::{
    alarm::{self, AlarmKind},
    campaign::{self, Campaign, CampaignState},
    clock::Time,
    db::Tx,
    duis::{self, Asks, ServiceRequest, Signer},
    failure::{Failure, Outcome},
    gateway::{
        Exchange, PostOutcome, Service,
        outbox::{self, NewRequest, OutboxRequest, OutboxState},
    },
    ids::{DeviceId, RequestId},
    policy::{ReadStep, Steps, windows::Gate},
    target::{
        ReadState, TargetState,
        store::{
            self as targets, Target,
            reads::{self, Read},
        },
    },
};

/// Reads committed in one go: few, so that a batch that comes up waits for no more than these.
const READS_AT_ONCE: i64 = 16;
/// A device that may not be asked now is looked at again after this.
const LATER_MILLIS: i64 = 60_000;
/// Reads ended in one transaction.
const ENDED_AT_ONCE: usize = 500;

/// Whether a device may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MayAsk {
    Now,
    Later(String),
    Never(String),
}

impl App {
    /// Whether these devices may be asked at `now` for this campaign, which is locked: the one place where that is decided.
    pub(super) async fn may_ask(
        &self,
        tx: &mut Tx,
        campaign: &Campaign,
        devices: &[DeviceId],
        now: Time,
    ) -> Outcome<HashMap<DeviceId, MayAsk>> {
        match campaign.state {
            CampaignState::Started => {}
            CampaignState::Paused | CampaignState::Halted => {
                return Ok(all(devices, &MayAsk::Later(format!("the campaign is {}", campaign.state))));
            }
            CampaignState::Draft
            | CampaignState::Planned
            | CampaignState::Approved
            | CampaignState::Aborted
            | CampaignState::Finished => return Ok(all(devices, &MayAsk::Never(format!("the campaign is {}", campaign.state)))),
        }
        if alarm::store::stands(tx, AlarmKind::ReadsRefused, &campaign.subject()).await? {
            return Ok(all(devices, &MayAsk::Later("DCC refuses reads; an alarm says why".into())));
        }
        let day = now.london_day();
        let rows = sites(tx, devices, &self.settings.organisation.mpids, now).await?;
        let mut may: HashMap<DeviceId, MayAsk> = all(devices, &MayAsk::Never("it is no longer ours".into()));
        let windows = self.policies_at(now)?.windows;
        for row in rows.iter().filter(|r| r.is_ours_on(day)) {
            let open = match windows.open(now, row.site.cohort, row.site.region.as_deref()) {
                Gate::Open => MayAsk::Now,
                Gate::Closed(closed) => MayAsk::Later(format!("waits for {closed}")),
            };
            may.insert(row.site.device_id, open);
        }
        Ok(may)
    }

    /// Commits the requests of the next reads that are due, as many as may leave now. They are to be posted at once.
    pub async fn prepare_reads(&self) -> Outcome<Vec<RequestId>> {
        self.prepare_some_reads(READS_AT_ONCE).await
    }

    /// One of them, to see whether DCC is there again.
    pub async fn prepare_one_read(&self) -> Outcome<Option<RequestId>> {
        Ok(self.prepare_some_reads(1).await?.pop())
    }

    async fn prepare_some_reads(&self, most: i64) -> Outcome<Vec<RequestId>> {
        let now = self.now();
        let mut look = self.db.read().await?;
        if reads::due(&mut look, now, 1).await?.is_empty() {
            return Ok(Vec::new());
        }
        drop(look);
        let mut tx = self.db.begin().await?;
        let facts = whole_facts(&mut tx).await?;
        let policies = self.policies()?;
        let free = reads_free(&mut tx, &policies.steps, most, now).await?;
        if facts.is_none() || free == 0 {
            return Ok(Vec::new());
        }
        let mut by_campaign: BTreeMap<i64, Vec<Read>> = BTreeMap::new();
        for read in reads::due(&mut tx, now, free).await? {
            by_campaign.entry(read.campaign_id).or_default().push(read);
        }
        let (mut changed, mut asked) = (Vec::new(), Vec::new());
        for (campaign, due) in by_campaign {
            let campaign = campaign::store::lock(&mut tx, campaign).await?;
            let devices: Vec<DeviceId> = due.iter().map(|r| r.device).collect();
            // A question follows what is out: the end of an approval alone does not stop it.
            let holds = self.approval_holds(&mut tx, &campaign, &policies).await?;
            let may = match holds || is_approved_under(&campaign, &policies) {
                true => self.may_ask(&mut tx, &campaign, &devices, now).await?,
                false => all(&devices, &MayAsk::Later("the policies are not those the campaign was approved with".into())),
            };
            let known = known(&mut tx, &due, &devices).await?;
            for mut read in due {
                let target = known.get(&(read.plan_id, read.device));
                match may.get(&read.device) {
                    _ if target.is_some_and(|t| t.state == TargetState::Verified) => {
                        read.standing.state = ReadState::Agrees;
                        read.note = Some("it named its version without being asked".into());
                    }
                    _ if read.open_for.is_some() && !target.is_some_and(|t| still_silent(t, read.open_for)) => {
                        give_up(&mut read, "it was silent no more");
                    }
                    _ if is_over(&read, now) => give_up(&mut read, "no version came within the time allowed"),
                    Some(MayAsk::Now) => asked.push((self.commit_read(&mut tx, &mut read, now).await?, changed.len())),
                    Some(MayAsk::Later(why)) => {
                        read.standing.due_at = now.plus_millis(LATER_MILLIS);
                        read.note = Some(why.clone());
                    }
                    Some(MayAsk::Never(why)) => give_up(&mut read, why),
                    None => give_up(&mut read, "there is no such site"),
                }
                changed.push(read);
            }
        }
        let saved = reads::save(&mut tx, &changed).await?;
        if saved != changed.len() as u64 || whole_facts(&mut tx).await? != facts {
            return Ok(Vec::new());
        }
        let requests: Vec<(RequestId, &Read)> = asked.iter().map(|(id, n)| (*id, &changed[*n])).collect();
        reads::note_requests(&mut tx, &requests, now).await?;
        tx.commit().await?;
        if !asked.is_empty() {
            crate::crash::point("after-read-commit");
        }
        Ok(asked.into_iter().map(|(id, _)| id).collect())
    }

    async fn commit_read(&self, tx: &mut Tx, read: &mut Read, now: Time) -> Outcome<RequestId> {
        let gateway = &self.settings.gateway;
        let originator = self.settings.organisation.user_id;
        let target = match read.kind {
            ReadStep::ReadInventory => gateway.dcc_id,
            ReadStep::ReadVersion => read.device,
        };
        let id = RequestId { originator, target, counter: outbox::next_counter(tx, originator, now).await? };
        let request = ServiceRequest { id, duis_version: gateway.duis_version, asks: asks(read) };
        let body_digest = duis::request_digest(&request).map_err(unbuildable)?;
        let service_reference = request.asks.kind().service_reference();
        let new = NewRequest { id, service_reference, batch_id: None, duis_version: gateway.duis_version, body_digest, now };
        outbox::prepare(tx, &new).await?;
        read.standing = read.standing.asked(now);
        read.counter = Some(id.counter);
        read.note = None;
        Ok(id)
    }

    /// As `begin_post`, for the request of a read: commits that an attempt begins; `None` where it may not leave now.
    pub(super) async fn begin_read(&self, mut tx: Tx, id: RequestId, signer: &dyn Signer) -> Outcome<Option<ReadyToPost>> {
        let Some((campaign, request, mut read)) = locked_read(&mut tx, id).await? else { return Ok(None) };
        if !matches!(request.state, OutboxState::Prepared | OutboxState::Posting | OutboxState::Unknown) {
            return Ok(None);
        }
        let now = self.now();
        let may = match whole_facts(&mut tx).await? {
            None => MayAsk::Later("a file is being imported".into()),
            Some(_) if !read.standing.state.is_open() => MayAsk::Never("the read has ended".into()),
            Some(_) => {
                let may = self.may_ask(&mut tx, &campaign, &[read.device], now).await?.remove(&read.device);
                may.unwrap_or_else(|| MayAsk::Never("there is no such site".into()))
            }
        };
        match may {
            MayAsk::Now => {}
            MayAsk::Later(why) => {
                outbox::put_off(&mut tx, id, &why, now.plus_millis(PUT_OFF_MILLIS)).await?;
                tx.commit().await?;
                return Ok(None);
            }
            MayAsk::Never(why) => {
                end_request(&mut tx, &request, &why, now).await?;
                if read.standing.state.is_open() {
                    give_up(&mut read, &why);
                    save_one(&mut tx, &read).await?;
                }
                tx.commit().await?;
                return Ok(None);
            }
        }
        let asked = ServiceRequest { id, duis_version: request.duis_version, asks: asks(&read) };
        let message = duis::build_request(&asked, signer).map_err(unbuildable)?;
        if message.body_digest != request.body_digest {
            let why = "the request no longer has the digest it was committed with";
            end_request(&mut tx, &request, why, now).await?;
            give_up(&mut read, why);
            save_one(&mut tx, &read).await?;
            tx.commit().await?;
            return Err(Failure::untrusted(why).help("it is not sent; its device stays as it is"));
        }
        if let Err(wait) = self.adt_turn(&mut tx, &request.service_reference, id).await?.may_send(1) {
            // Under its turn, so that two nodes cannot both take the last place. It keeps its RequestID: nothing of it has left, or the same
            // leaves again.
            let look = now.plus_millis(LATER_MILLIS);
            outbox::put_off(&mut tx, id, &wait.why, wait.until.map_or(look, |until| until.min(look))).await?;
            tx.commit().await?;
            return Ok(None);
        }
        let attempt = self.mark_posting(&mut tx, &request, &message.bytes, now).await?;
        tx.commit().await?;
        let service = match read.kind {
            ReadStep::ReadInventory => Service::NonDevice,
            ReadStep::ReadVersion => Service::SendCommand,
        };
        Ok(Some(ReadyToPost { id, attempt, bytes: message.bytes, service }))
    }

    /// As `record_outcome`, for the request of a read.
    pub(super) async fn record_read(&self, mut tx: Tx, id: RequestId, attempt: u32, exchange: &Exchange) -> Outcome<Posted> {
        let now = self.now();
        let Some((_, request, mut read)) = locked_read(&mut tx, id).await? else {
            return Err(Failure::failed(format!("the request {id} is not in the outbox")));
        };
        let posted = match &exchange.outcome {
            PostOutcome::Answered(response) => self.read_answered(&mut tx, &request, read, response, true).await?,
            PostOutcome::Refused(response) => self.read_answered(&mut tx, &request, read, response, false).await?,
            // While this attempt was under way a message answered the request, or another node took it up.
            _ if request.state != OutboxState::Posting => match request.state {
                OutboxState::Answered | OutboxState::Abandoned | OutboxState::Deleted => Posted::Settled,
                OutboxState::Held => Posted::Held,
                OutboxState::Prepared | OutboxState::Posting | OutboxState::Unknown => Posted::Unknown,
            },
            PostOutcome::NotSent(trouble) => {
                let (why, due_at) = (trouble.to_string(), now.plus_millis(delay(&request, trouble)));
                outbox::mark_not_sent(&mut tx, id, &why, due_at).await?;
                if request.posts <= 1 {
                    outbox::mark_abandoned(&mut tx, id, &why, now).await?;
                    read.standing = read.standing.never_asked(due_at);
                    save_one(&mut tx, &read).await?;
                }
                Posted::NotSent
            }
            PostOutcome::Unknown(trouble) => {
                let due_at = now.plus_millis(delay(&request, trouble));
                outbox::mark_unknown(&mut tx, id, &trouble.to_string(), due_at).await?;
                Posted::Unknown
            }
            PostOutcome::Rejected(trouble) => {
                let why = trouble.to_string();
                outbox::hold(&mut tx, id, &why, now).await?;
                give_up(&mut read, &why);
                save_one(&mut tx, &read).await?;
                Posted::Held
            }
        };
        exchange::keep(&mut tx, id, attempt, exchange, posted, now).await?;
        tx.commit().await?;
        crate::crash::point("after-acknowledgement");
        Ok(posted)
    }

    /// Gives a read whose request certainly never left back to those that wait.
    pub(super) async fn read_never_left(&self, tx: &mut Tx, request: &OutboxRequest) -> Outcome {
        let Some(mut read) = reads::of_requests(tx, &[request.id]).await?.remove(&request.id) else { return Ok(()) };
        if read.counter == Some(request.id.counter) {
            read.standing = read.standing.never_asked(self.now());
            save_one(tx, &read).await?;
        }
        Ok(())
    }

    /// Ends the reads that are past their time, and those of campaigns that ended. Their devices stay as they are. Gives how many.
    pub async fn end_reads(&self) -> Outcome<u64> {
        let (now, mut ended) = (self.now(), 0);
        loop {
            let mut look = self.db.read().await?;
            let overdue = reads::overdue(&mut look, now, ENDED_AT_ONCE).await?;
            let (over, why) = match overdue.is_empty() {
                false => (overdue, "no version came within the time allowed"),
                true => (reads::orphaned(&mut look, ENDED_AT_ONCE).await?, "the campaign has ended"),
            };
            drop(look);
            if over.is_empty() {
                return Ok(ended);
            }
            match self.end_some(over, why, now).await? {
                0 => return Ok(ended),
                n => ended += n,
            }
        }
    }

    /// 0, and nothing written: another loop moved one of them, so that the next look finds the rest.
    async fn end_some(&self, mut over: Vec<Read>, why: &str, now: Time) -> Outcome<u64> {
        let mut tx = self.db.begin().await?;
        for read in &mut over {
            if read.standing.state == ReadState::Asked
                && let Some(id) = reads::requests_of(&mut tx, read.plan_id, read.device).await?.last()
                && let Some(request) = outbox::find_by_request_id(&mut tx, *id).await?
            {
                end_request(&mut tx, &request, &format!("{why}: what it is still answered counts"), now).await?;
            }
            give_up(read, why);
        }
        if reads::save(&mut tx, &over).await? != over.len() as u64 {
            return Ok(0);
        }
        tx.commit().await?;
        Ok(over.len() as u64)
    }
}

/// How many reads may leave now, by the pace and the number out that the policy allows.
async fn reads_free(tx: &mut Tx, steps: &Steps, most: i64, now: Time) -> Outcome<usize> {
    let a_second = (steps.reads_per_minute + 59) / 60;
    let free = [
        most,
        steps.reads_in_flight - reads::count_out(tx).await?,
        steps.reads_per_minute - reads::count_asked_since(tx, now.plus_millis(-60_000)).await?,
        a_second - reads::count_asked_since(tx, now.plus_millis(-1_000)).await?,
    ];
    Ok(free.into_iter().min().unwrap_or(0).max(0) as usize)
}

fn all(devices: &[DeviceId], may: &MayAsk) -> HashMap<DeviceId, MayAsk> {
    devices.iter().map(|d| (*d, may.clone())).collect()
}

/// How these devices stand: one may have said its version by itself, or to somebody else, or not be silent any more.
async fn known(tx: &mut Tx, reads: &[Read], devices: &[DeviceId]) -> Outcome<HashMap<(i64, DeviceId), Target>> {
    let plans: Vec<i64> = reads.iter().map(|r| r.plan_id).take(1).collect();
    let found = targets::find(tx, &plans, devices).await?;
    Ok(found.into_iter().map(|t| ((t.plan_id, t.device), t)).collect())
}

/// Whether it may be asked no more: it was asked often enough, or its time is over.
fn is_over(read: &Read, now: Time) -> bool {
    read.standing.asks > 0 && (read.standing.again_at().is_none() || read.standing.give_up_at().is_some_and(|end| end <= now))
}

pub(super) fn give_up(read: &mut Read, why: &str) {
    read.standing.state = ReadState::GivenUp;
    read.note = Some(why.to_string());
}

pub(super) async fn save_one(tx: &mut Tx, read: &Read) -> Outcome {
    match reads::save(tx, std::slice::from_ref(read)).await? {
        1 => Ok(()),
        _ => Err(Failure::failed(format!("the read of {} was moved by another loop", read.device))
            .help("nothing was written; it is tried again")),
    }
}

/// Nothing of this request leaves any more; what may have left is still heard.
async fn end_request(tx: &mut Tx, request: &OutboxRequest, why: &str, now: Time) -> Outcome {
    let ended = match (request.state, request.posts) {
        (OutboxState::Prepared, 0) => outbox::mark_abandoned(tx, request.id, why, now).await,
        _ => outbox::hold(tx, request.id, why, now).await,
    };
    match ended {
        Err(e) if !e.is_stale() => Err(e.into()),
        _ => Ok(()),
    }
}

/// A read's request with its campaign, which is locked: nobody else decides about it until the transaction ends.
async fn locked_read(tx: &mut Tx, id: RequestId) -> Outcome<Option<(Campaign, OutboxRequest, Read)>> {
    let Some(read) = reads::of_requests(tx, &[id]).await?.remove(&id) else { return Ok(None) };
    let campaign = campaign::store::lock(tx, read.campaign_id).await?;
    let request = outbox::find_by_request_id(tx, id).await?;
    let read = reads::of_requests(tx, &[id]).await?.remove(&id);
    Ok(request.zip(read).map(|(request, read)| (campaign, request, read)))
}

fn asks(read: &Read) -> Asks<'static> {
    match read.kind {
        ReadStep::ReadInventory => Asks::ReadInventory { device: read.device },
        ReadStep::ReadVersion => Asks::ReadFirmwareVersion,
    }
}
