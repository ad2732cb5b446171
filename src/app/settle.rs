//! Inbound messages become transitions, in groups: what a message says of which device is read first, then the targets are
//! fetched, moved by their own function and saved in one transaction with the message's mark. Every message ends settled,
//! ignored (not ours), unmatched (waits for an operator) or failed, with a note.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    App, Posted,
    answer::{self, Trust},
    heard::{Answer, Reads},
    news::{DeviceNews, Fact, News, news_of},
    quarantine::Told,
    supply,
};
use crate::{
    campaign::{
        self,
        batch::Batch,
        store::{Followed, latencies},
    },
    clock::Time,
    db::Tx,
    duis::{CertificateSet, Response},
    estate::{self, KeyResult, KeyStatus, store::SupplyNotice},
    failure::{Failure, Outcome},
    gateway::{
        inbox::{self, Arrived, InboxState},
        outbox::{self, OutboxRequest, OutboxState},
    },
    ids::{DeviceId, RequestId},
    keys,
    policy::{PolicySet, Reason},
    target::{
        Event, TargetState,
        store::{self as targets, Because, Cause, Change, Target},
    },
};

/// Messages settled in one transaction: long enough to be fast (design.md: groups of 100 to 1,000), short enough to keep a
/// message that comes in from waiting.
const GROUP_MESSAGES: u32 = 500;
/// How often a group is begun anew when a device it speaks of was moved by another loop or node in between.
const STALE_RETRIES: usize = 5;

/// A request of ours, with its batch where it carries one: 8.2 and 11.2 ask about a device and have none.
type Ours = (OutboxRequest, Option<Batch>);

/// The requests of ours that the messages of a group name; `None` for one that is not ours. A batch has up to 50,000 members,
/// so each is read once a group.
type Asked = BTreeMap<RequestId, Option<Ours>>;

/// A message whose sender is known again and whose meaning is read.
struct Read {
    message: Arrived,
    response: Response,
    news: News,
}

/// How a message ended.
type Mark = (i64, InboxState, Option<String>);

/// What a group of messages has gathered before it is written.
#[derive(Default)]
pub(super) struct Gathered {
    pub targets: BTreeMap<(i64, DeviceId), Moving>,
    pub reads: Reads,
    pub learned: Vec<(DeviceId, String, Time)>,
    statuses: Vec<(DeviceId, String, Time)>,
    /// With the message each came in.
    key_results: Vec<(KeyResult, i64)>,
    notices: Vec<SupplyNotice>,
    pub activated: BTreeSet<DeviceId>,
}

/// A target as it was read, as it is to be, and the message that moved it last.
pub(super) struct Moving {
    pub before: Target,
    pub after: Target,
    /// 0: the reply to a read.
    pub message: i64,
}

impl Gathered {
    pub fn learn(&mut self, fact: &Fact, at: Time) {
        self.learned.extend(fact.version.iter().map(|v| (fact.device, v.clone(), at)));
        self.statuses.extend(fact.status.iter().map(|s| (fact.device, s.clone(), at)));
    }
}

impl App {
    /// Settles the oldest messages that wait. Gives how many.
    pub async fn settle_some(&self, pinned: &CertificateSet) -> Outcome<usize> {
        let messages = inbox::fetch_new(&mut self.db.read().await?, 0, GROUP_MESSAGES).await?;
        if messages.is_empty() {
            return Ok(0);
        }
        let policies = self.policies()?;
        let count = messages.len();
        let mut marks: Vec<Mark> = Vec::with_capacity(count);
        let mut reads: Vec<Read> = Vec::with_capacity(count);
        for fetched in messages {
            let message = fetched.message;
            match fetched.read(pinned) {
                Ok(response) => {
                    let news = news_of(&response, &policies);
                    reads.push(Read { message, response, news });
                }
                Err(e) => marks.push((message.id, InboxState::Failed, Some(e.to_string()))),
            }
        }
        for _ in 0..STALE_RETRIES {
            if self.settle_group(&reads, marks.clone(), &policies).await? {
                return Ok(count);
            }
        }
        Err(Failure::failed("devices kept being moved by others while messages about them were settled")
            .help("nothing was written; it is tried again"))
    }

    /// Settles what was read, in one transaction. `false`, and nothing written: a device was moved in between.
    async fn settle_group(&self, reads: &[Read], mut marks: Vec<Mark>, policies: &PolicySet) -> Outcome<bool> {
        let mut tx = self.db.begin().await?;
        self.lock_answered(&mut tx, reads).await?;
        let followed = campaign::store::followed(&mut tx).await?;
        let mut gathered = Gathered::default();
        self.prefetch(&mut tx, reads, &followed, &mut gathered).await?;
        let mut asked = Asked::new();
        for read in reads {
            let about = read.response.about();
            if let Some(id) = about
                && !asked.contains_key(&id)
            {
                asked.insert(id, ours(&mut tx, id).await?);
            }
            let found = about.map(|id| asked.get(&id).and_then(Option::as_ref));
            let (state, note) = match (&read.news, found) {
                (News::Quarantined { request, event, breach }, found) => {
                    // As an answer, it may move a whole batch.
                    if !self.write(&mut tx, std::mem::take(&mut gathered), policies).await? {
                        return Ok(false);
                    }
                    let told = Told { request: *request, event, breach: *breach, message: read.message };
                    let done = self.quarantined(&mut tx, told, found.flatten()).await?;
                    asked.clear();
                    self.prefetch(&mut tx, reads, &followed, &mut gathered).await?;
                    done
                }
                (_, Some(None)) => (InboxState::Ignored, Some("it is about no request that this program sent".into())),
                (News::Answer | News::Inventory(_), None) => {
                    (InboxState::Unmatched, Some("an answer that names no request".into()))
                }
                (News::Answer, Some(Some((request, _)))) if is_superseded(request, read.message) => {
                    let code = request.response_code.as_deref().unwrap_or_default();
                    (InboxState::Settled, Some(format!("it is of an earlier attempt: DCC answered a later one with {code}")))
                }
                (News::Answer, Some(Some((request, Some(batch))))) => {
                    // An answer moves a whole batch in the database: what was gathered so far is written first, and what
                    // the rest of the group speaks of is read again.
                    if !self.write(&mut tx, std::mem::take(&mut gathered), policies).await? {
                        return Ok(false);
                    }
                    let trust = if read.message.is_signed { Trust::Message } else { Trust::Unsigned };
                    let done = answer::apply(self, &mut tx, request, batch, &read.response, trust).await?;
                    asked.clear();
                    self.prefetch(&mut tx, reads, &followed, &mut gathered).await?;
                    match done {
                        Posted::Held => (InboxState::Unmatched, Some("a person must decide about its batch".into())),
                        Posted::Settled | Posted::NotSent | Posted::Unknown => (InboxState::Settled, None),
                    }
                }
                (_, found) => {
                    let ended = self.settle_one(&mut tx, read, found.flatten(), &followed, policies, &mut gathered).await?;
                    let Read { message, response, news } = read;
                    let (at, message) = (message.received_at, message.id);
                    let answer = about.map(|request| Answer { request, response, news, at, message });
                    gathered.hear(answer, ended, &followed, policies, self.now())
                }
            };
            marks.push((read.message.id, self.goes_on(state), note));
        }
        if !self.write(&mut tx, gathered, policies).await? {
            return Ok(false);
        }
        crate::crash::point("settle-half-done");
        inbox::mark(&mut tx, &marks, self.now()).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// What answers no request of ours goes on to another adapter, where there is one.
    fn goes_on(&self, state: InboxState) -> InboxState {
        match state {
            InboxState::Ignored if self.settings.receiver.forward_to.is_some() => InboxState::Forwarding,
            other => other,
        }
    }

    /// Locks, in order, the campaigns whose batches the group answers: the reply to a POST may be recorded at the same moment.
    async fn lock_answered(&self, tx: &mut Tx, reads: &[Read]) -> Outcome {
        let mut campaigns = BTreeSet::new();
        for read in reads.iter().filter(|r| matches!(r.news, News::Answer | News::Quarantined { .. })) {
            if let Some(id) = read.response.about()
                && let Some((_, Some(batch))) = ours(tx, id).await?
            {
                campaigns.insert(batch.campaign_id);
            }
        }
        for campaign in campaigns {
            campaign::store::lock(tx, campaign).await?;
        }
        Ok(())
    }

    /// Fetches every target the group may speak of, in one statement.
    async fn prefetch(&self, tx: &mut Tx, reads: &[Read], followed: &[Followed], gathered: &mut Gathered) -> Outcome {
        let devices: BTreeSet<DeviceId> = reads
            .iter()
            .filter_map(|r| match &r.news {
                News::Devices(news) => Some(news.iter().map(|n| n.device)),
                _ => None,
            })
            .flatten()
            .collect();
        let about: BTreeSet<RequestId> = reads.iter().filter_map(|r| r.response.about()).collect();
        gathered.reads = Reads::fetch(tx, &about.into_iter().collect::<Vec<_>>()).await?;
        let devices: BTreeSet<DeviceId> = devices.into_iter().chain(gathered.reads.targets().map(|(_, device)| device)).collect();
        let devices: Vec<DeviceId> = devices.into_iter().collect();
        let plans: Vec<i64> = followed.iter().map(|f| f.plan_id).collect();
        gathered.fetch_targets(tx, &plans, &devices).await
    }

    async fn settle_one(
        &self,
        tx: &mut Tx,
        read: &Read,
        asked: Option<&Ours>,
        followed: &[Followed],
        policies: &PolicySet,
        gathered: &mut Gathered,
    ) -> Outcome<(InboxState, Option<String>)> {
        let batch = asked.and_then(|(_, batch)| batch.as_ref());
        if let Some((request, None)) = asked {
            answer::answered(tx, request, &read.response.code, self.now()).await?;
        }
        let at = read.message.received_at;
        match &read.news {
            News::Answer => Ok((InboxState::Settled, None)),
            News::Devices(news) => Ok(self.settle_devices(read, news, batch, followed, policies, gathered)),
            News::Fact(fact) => {
                gathered.learn(fact, at);
                Ok((InboxState::Settled, None))
            }
            News::Inventory(facts) => {
                facts.iter().for_each(|fact| gathered.learn(fact, at));
                Ok((InboxState::Settled, None))
            }
            News::Lost { device, mpan } => {
                let lost = supply::notices_of(tx, read.message, *device, *mpan).await?;
                gathered.notices.extend_from_slice(&lost);
                Ok(supply::settled(&lost, at))
            }
            News::Quarantined { event, .. } => Ok((InboxState::Unmatched, Some(format!("quarantine event {event}")))),
            News::Unmatched(why) => Ok((InboxState::Unmatched, Some(why.clone()))),
        }
    }

    fn settle_devices(
        &self,
        read: &Read,
        news: &[DeviceNews],
        asked: Option<&Batch>,
        followed: &[Followed],
        policies: &PolicySet,
        gathered: &mut Gathered,
    ) -> (InboxState, Option<String>) {
        let at = read.message.received_at;
        let answer_by = self.now().plus_millis(policies.eligibility.answer_within.millis());
        let (mut matched, mut learned) = (false, false);
        for item in news {
            let success = matches!(item.event, Event::Activated | Event::Verified);
            if success && let Some(version) = &item.version {
                gathered.learned.push((item.device, version.clone(), at));
                learned = true;
            }
            // Device truth beats a complaint about the very request that upgraded it, which comes late.
            let done = asked.and_then(|batch| gathered.targets.get(&(batch.plan_id, item.device)));
            let done = done.is_some_and(|m| matches!(m.after.state, TargetState::Activated | TargetState::Verified));
            if item.event == Event::NeedsKeys && !done {
                let detail = Some(item.detail.clone());
                let (device_id, status) = (item.device, KeyStatus::Failed);
                gathered.key_results.push((KeyResult { device_id, attempted_at: at, status, detail }, read.message.id));
                matched = true;
            }
            let plans: Vec<i64> = match asked {
                Some(batch) => vec![batch.plan_id],
                // Rule 10: without a RequestID it settles a device only if its version is the image's. A missing key has
                // no version: it is a fact about the device, whoever asked.
                None => followed
                    .iter()
                    .filter(|f| item.event == Event::NeedsKeys || item.version.as_deref() == Some(&f.firmware_version))
                    .map(|f| f.plan_id)
                    .collect(),
            };
            for plan in plans {
                let Some(Moving { after: target, message, .. }) = gathered.targets.get_mut(&(plan, item.device)) else {
                    continue;
                };
                // Its last batch is gone where that never left; an earlier one may still have its success.
                if target.batch_id.is_none() && target.attempts == 0 {
                    continue;
                }
                // What an earlier request came to says nothing against the one that is out now.
                if !success && asked.is_some_and(|b| Some(b.id) != target.batch_id) {
                    matched = true;
                    continue;
                }
                matched = true;
                // What left the portfolio is followed to its end, and waits for no key of ours.
                if item.event == Event::NeedsKeys && target.reason == Reason::SupplyLost {
                    continue;
                }
                let Ok(next) = target.state.on(item.event) else { continue };
                if next != target.state {
                    *message = read.message.id;
                    target.state = next;
                    target.detail = Some(item.detail.clone());
                    target.answer_by = (!next.is_final() && next.is_in_flight()).then_some(answer_by);
                    match item.event {
                        Event::NeedsKeys => target.reason = Reason::KeysMissing,
                        // What left the portfolio meanwhile stays out of every share.
                        Event::Activated | Event::Verified if target.reason != Reason::SupplyLost => {
                            target.reason = Reason::Eligible;
                        }
                        _ => {}
                    }
                }
                if success {
                    gathered.activated.insert(item.device);
                }
            }
        }
        // Rule 10: an alert about another version, from whoever asked for that, is no alarm.
        let other_version = asked.is_none()
            && news.iter().all(|n| n.version.as_ref().is_some_and(|v| followed.iter().all(|f| f.firmware_version != *v)));
        match (matched, other_version, learned) {
            (true, ..) => (InboxState::Settled, None),
            (false, true, true) => {
                (InboxState::Settled, Some("no campaign brings this version; what the device runs was noted".into()))
            }
            (false, true, false) => (InboxState::Ignored, Some("no campaign brings this version".into())),
            (false, false, _) => {
                (InboxState::Unmatched, Some("it names no device of a campaign with this request or version".into()))
            }
        }
    }

    /// Writes what was gathered: transitions, then what was learned of the devices and their keys. `false`: a device was moved
    /// by another loop or node since it was read, so nothing of this transaction may be kept.
    pub(super) async fn write(&self, tx: &mut Tx, gathered: Gathered, policies: &PolicySet) -> Outcome<bool> {
        let newly = |m: &&Moving| m.after.state == TargetState::Activated && m.before.state != TargetState::Activated;
        let activated: Vec<(i64, DeviceId)> =
            gathered.targets.values().filter(newly).map(|m| (m.after.plan_id, m.after.device)).collect();
        let counted = self.stages(tx, gathered.targets.values()).await?;
        let changes: Vec<Change> = gathered
            .targets
            .into_values()
            .filter(|m| m.before != m.after)
            .map(|Moving { before, after, message }| Change {
                plan_id: after.plan_id,
                device: after.device,
                version: before.version,
                state: after.state,
                reason: after.reason,
                answer_by: after.answer_by,
                detail: after.detail,
                because: if message == 0 { Because::of(Cause::Read) } else { Because::by(Cause::Message, message) },
            })
            .collect();
        let applied = targets::apply(tx, &changes, self.now()).await?;
        if applied != changes.len() as u64 || !self.save_reads(tx, gathered.reads).await? {
            return Ok(false);
        }
        latencies::count(tx, &counted).await?;
        self.follow_steps(tx, &changes, &activated, policies).await?;
        estate::store::learn_firmware(tx, &gathered.learned).await?;
        estate::store::learn_status(tx, &gathered.statuses).await?;
        estate::store::add_supply_notices(tx, &gathered.notices).await?;
        let keyed: Vec<DeviceId> = gathered.key_results.iter().map(|(k, _)| k.device_id).collect();
        for (result, _) in &gathered.key_results {
            estate::store::add_key_result(tx, result, estate::store::KeySource::Message).await?;
        }
        self.reconcile_devices(tx, &keyed, policies).await?;
        let came: Vec<_> = gathered.key_results.iter().map(|(k, message)| (k.device_id, k.attempted_at, *message)).collect();
        keys::store::came_in(tx, &came).await?;
        if !gathered.activated.is_empty() {
            let devices: Vec<DeviceId> = gathered.activated.into_iter().collect();
            self.resolve_activated(tx, &devices).await?;
        }
        Ok(true)
    }
}

/// Whether DCC has answered an attempt that was made after this message came: what it said of an earlier one is over.
fn is_superseded(request: &OutboxRequest, message: Arrived) -> bool {
    request.state == OutboxState::Answered
        && request.posts > 1
        && request.last_posted_at.is_some_and(|posted| posted > message.received_at)
}

/// The request that a message names, with its batch, if it is one that we sent. (One that never left and that DCC knows all the
/// same is another system's: a restored backup, a second installation.)
async fn ours(tx: &mut Tx, id: RequestId) -> Outcome<Option<Ours>> {
    let Some(request) = outbox::find_by_request_id(tx, id).await? else { return Ok(None) };
    if request.posts == 0 {
        tracing::error!(request = %id, "DCC speaks of a RequestID of ours that was never posted: does a second system use this user id?");
        return Ok(None);
    }
    let batch = match request.batch_id {
        Some(batch) => campaign::store::get_batch(tx, batch).await?,
        None => None,
    };
    Ok(Some((request, batch)))
}
