//! Inbound messages become transitions, in groups: what a message says of which device is read first, then the targets are
//! fetched, moved by their own function and saved in one transaction with the message's mark. While one group is written the next is
//! read. Every message ends settled, ignored (not ours), unmatched (waits for an operator) or failed, with a note.

mod ahead;
mod gathered;
mod group;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::task::JoinSet;

use super::{
    App, Posted,
    answer::{self, Trust},
    heard::{Answer, KnownAt, Reads},
    news::News,
    quarantine::Told,
    supply,
};
use crate::{
    campaign::{
        self,
        batch::Batch,
        store::{Followed, OfBatch},
    },
    clock::Time,
    db::Tx,
    duis::CertificateSet,
    failure::{Failure, Outcome},
    gateway::{
        inbox::{self, Arrived, InboxState},
        outbox::{self, OutboxRequest, OutboxState},
    },
    ids::RequestId,
    policy::PolicySet,
};

use ahead::Ahead;
pub(super) use gathered::{Gathered, Moving};
use group::{Group, Read, Reader};

/// Messages settled in one transaction: long enough to be fast (design.md: groups of 100 to 1,000), short enough to keep a
/// message that comes in from waiting.
const GROUP_MESSAGES: u32 = 1_000;
/// Groups of one call: whoever calls looks up between calls whether it is to stop.
const MOST_GROUPS: usize = 16;
/// How often a group is begun anew when a device it speaks of was moved by another loop or node in between.
const STALE_RETRIES: usize = 5;

/// A request of ours, with its batch where it carries one: 8.2 and 11.2 ask about a device and have none.
type Ours = (OutboxRequest, Option<OfBatch>);

/// The requests of ours that the messages of a group name; `None` for one that is not ours.
type Asked = BTreeMap<RequestId, Option<Ours>>;

/// How a message ended.
type Mark = (i64, InboxState, Option<String>);

impl App {
    /// Settles the oldest messages that wait. Gives how many.
    pub async fn settle_some(&self, pinned: &CertificateSet) -> Outcome<usize> {
        let new = inbox::fetch_new(&mut self.db.read().await?, 0, GROUP_MESSAGES).await?;
        if new.is_empty() {
            return Ok(0);
        }
        let reader = Arc::new(Reader { db: self.db.clone(), pinned: pinned.clone(), policies: self.policies()? });
        let (mut group, mut settled) = (Arc::new(reader.read(new)), 0);
        for _ in 0..MOST_GROUPS {
            // A task of its own, so that reading takes no time from writing; it ends with this one.
            let mut reading = JoinSet::new();
            reading.spawn(reader.clone().next(group.clone()));
            self.settle_group(&group, &reader.policies).await?;
            settled += group.len();
            let Some(next) = reading.join_next().await else { break };
            group = Arc::new(next.map_err(|e| Failure::failed(format!("messages could not be read ahead: {e}")))??);
            if group.len() == 0 {
                break;
            }
        }
        Ok(settled)
    }

    async fn settle_group(&self, group: &Group, policies: &PolicySet) -> Outcome {
        let nothing = Ahead::default();
        for attempt in 0..STALE_RETRIES {
            let ahead = if attempt == 0 { &group.ahead } else { &nothing };
            if self.try_group(group, ahead, policies).await? {
                return Ok(());
            }
        }
        Err(Failure::failed("devices kept being moved by others while messages about them were settled")
            .help("nothing was written; it is tried again"))
    }

    /// Settles what was read, in one transaction. `false`, and nothing written: a device was moved in between.
    async fn try_group(&self, group: &Group, ahead: &Ahead, policies: &PolicySet) -> Outcome<bool> {
        let (reads, mut marks) = (&group.reads, group.failed.clone());
        let mut tx = self.db.begin().await?;
        self.lock_answered(&mut tx, reads).await?;
        // One moment for all: what moves alike is written by one statement.
        let now = self.now();
        let answer_by = now.plus_millis(policies.eligibility.answer_within.millis());
        let followed = campaign::store::followed(&mut tx).await?;
        let mut gathered = Gathered::default();
        self.prefetch(&mut tx, group, &followed, ahead, &mut gathered).await?;
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
                    let ours = match found.flatten() {
                        Some((request, Some(of))) => Some((request.clone(), Some(whole(&mut tx, *of).await?))),
                        Some((request, None)) => Some((request.clone(), None)),
                        None => None,
                    };
                    let done = self.quarantined(&mut tx, told, ours.as_ref()).await?;
                    asked.clear();
                    self.prefetch(&mut tx, group, &followed, &Ahead::default(), &mut gathered).await?;
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
                (News::Answer, Some(Some((request, Some(of))))) => {
                    // An answer moves a whole batch in the database: what was gathered so far is written first, and what
                    // the rest of the group speaks of is read again.
                    if !self.write(&mut tx, std::mem::take(&mut gathered), policies).await? {
                        return Ok(false);
                    }
                    let batch = whole(&mut tx, *of).await?;
                    let trust = if read.message.is_signed { Trust::Message } else { Trust::Unsigned };
                    let done = answer::apply(self, &mut tx, request, &batch, &read.response, trust).await?;
                    asked.clear();
                    self.prefetch(&mut tx, group, &followed, &Ahead::default(), &mut gathered).await?;
                    match done {
                        Posted::Held => (InboxState::Unmatched, Some("a person must decide about its batch".into())),
                        Posted::Settled | Posted::NotSent | Posted::Unknown => (InboxState::Settled, None),
                    }
                }
                (_, found) => {
                    let asked = found.flatten();
                    let ended = self.settle_one(&mut tx, read, asked, &followed, answer_by, &mut gathered).await?;
                    let known_at = known_at(&gathered, read, asked, &followed);
                    let Read { message, response, news } = read;
                    let (at, message) = (message.received_at, message.id);
                    let answer = about.map(|request| Answer { request, response, news, at, known_at, message });
                    gathered.hear(answer, ended, &followed, policies, now)
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

    /// Fetches every target the group may speak of, in one statement, those apart that were fetched ahead.
    async fn prefetch(
        &self,
        tx: &mut Tx,
        group: &Group,
        followed: &[Followed],
        ahead: &Ahead,
        gathered: &mut Gathered,
    ) -> Outcome {
        let about: BTreeSet<RequestId> = group.reads.iter().filter_map(|r| r.response.about()).collect();
        gathered.reads = Reads::fetch(tx, &about.into_iter().collect::<Vec<_>>()).await?;
        let mut devices = group.devices.clone();
        devices.extend(gathered.reads.targets().map(|(_, device)| device));
        let plans: Vec<i64> = followed.iter().map(|f| f.plan_id).collect();
        gathered.go_by(ahead, &plans, &mut devices);
        gathered.fetch_targets(tx, &plans, &devices.into_iter().collect::<Vec<_>>()).await
    }

    async fn settle_one(
        &self,
        tx: &mut Tx,
        read: &Read,
        asked: Option<&Ours>,
        followed: &[Followed],
        answer_by: Time,
        gathered: &mut Gathered,
    ) -> Outcome<(InboxState, Option<String>)> {
        let batch = asked.and_then(|(_, batch)| *batch);
        if let Some((request, None)) = asked {
            answer::answered(tx, request, &read.response.code, self.now()).await?;
        }
        let known_at = known_at(gathered, read, asked, followed);
        match &read.news {
            News::Answer => Ok((InboxState::Settled, None)),
            News::Devices(news) => Ok(gathered.settle_devices(read.message, news, known_at, batch, followed, answer_by)),
            News::Fact(fact) => {
                gathered.learn(fact, known_at);
                Ok((InboxState::Settled, None))
            }
            News::Inventory(facts) => {
                facts.iter().for_each(|fact| gathered.learn(fact, known_at));
                Ok((InboxState::Settled, None))
            }
            News::Lost { device, mpan } => {
                let lost = supply::notices_of(tx, read.message, *device, *mpan).await?;
                gathered.notices.extend_from_slice(&lost);
                Ok(supply::settled(&lost, read.message.received_at))
            }
            News::Quarantined { event, .. } => Ok((InboxState::Unmatched, Some(format!("quarantine event {event}")))),
            News::Unmatched(why) => Ok((InboxState::Unmatched, Some(why.clone()))),
        }
    }
}

/// As of when what a message says of versions is known.
fn known_at<'a>(gathered: &Gathered, read: &Read, asked: Option<&Ours>, followed: &'a [Followed]) -> KnownAt<'a> {
    gathered.reads.known_at(asked.map(|(request, _)| request), read.message.received_at, followed)
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
        Some(batch) => campaign::store::of_batch(tx, batch).await?,
        None => None,
    };
    Ok(Some((request, batch)))
}

/// The batch itself, with its members.
async fn whole(tx: &mut Tx, of: OfBatch) -> Outcome<Batch> {
    let batch = campaign::store::get_batch(tx, of.id).await?;
    batch.ok_or_else(|| Failure::failed(format!("batch {} was there a moment ago and is not any more", of.id)))
}
