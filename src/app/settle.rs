//! Inbound messages become transitions, in groups: what a message says of which device is read first, then the targets are
//! fetched, moved by their own function and saved in one transaction with the message's mark. Every message ends settled,
//! ignored (not ours), unmatched (waits for an operator) or failed, with a note.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    App, answer,
    news::{DeviceNews, News, about, news_of},
    send,
};
use crate::{
    campaign::{self, batch::Batch, store::Followed},
    clock::Time,
    db::Tx,
    duis::{self, CertificateSet, Response},
    estate::{self, KeyResult, KeyStatus},
    failure::{Failure, Outcome},
    gateway::{
        inbox::{self, InboxMessage, InboxState},
        outbox::{self, OutboxRequest},
    },
    ids::{DeviceId, RequestId},
    keys,
    policy::{PolicySet, Reason},
    target::{
        Event,
        store::{self as targets, Change, Target},
    },
};

/// Messages settled in one transaction: long enough to be fast (design.md: groups of 100 to 1,000), short enough to keep a
/// message that comes in from waiting.
const GROUP_MESSAGES: u32 = 500;

/// A message whose sender is known again and whose meaning is read.
struct Read {
    message: InboxMessage,
    response: Response,
    news: News,
}

/// How a message ended.
type Mark = (i64, InboxState, Option<String>);

/// What a group of messages has gathered before it is written.
#[derive(Default)]
struct Gathered {
    targets: BTreeMap<(i64, DeviceId), (Target, Target)>,
    learned: Vec<(DeviceId, String, Time)>,
    statuses: Vec<(DeviceId, String, Time)>,
    key_results: Vec<KeyResult>,
    activated: BTreeSet<DeviceId>,
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
        for message in messages {
            match duis::read_response(&message.body, pinned, message.received_at) {
                Ok(response) => {
                    let news = news_of(&response, &policies);
                    reads.push(Read { message, response, news });
                }
                Err(e) => marks.push((message.id, InboxState::Failed, Some(e.to_string()))),
            }
        }
        let mut tx = self.db.begin().await?;
        let followed = campaign::store::followed(&mut tx).await?;
        let mut gathered = Gathered::default();
        self.prefetch(&mut tx, &reads, &followed, &mut gathered).await?;
        for read in &reads {
            let asked = match about(&read.response) {
                None => None,
                Some(id) => self.ours(&mut tx, id).await?.map_or(Some(Err(())), |found| Some(Ok(found))),
            };
            let (state, note) = match (&read.news, asked) {
                (_, Some(Err(()))) => (InboxState::Ignored, Some("it answers no request of this program".into())),
                (News::Answer, None) => (InboxState::Unmatched, Some("an answer that names no request".into())),
                (News::Answer, Some(Ok((request, batch)))) => {
                    // An answer moves a whole batch in the database: what was gathered so far is written first, and what
                    // the rest of the group speaks of is read again.
                    self.write(&mut tx, std::mem::take(&mut gathered), &policies).await?;
                    answer::apply(self, &mut tx, &request, &batch, &read.response, answer::Trust::Signed).await?;
                    self.prefetch(&mut tx, &reads, &followed, &mut gathered).await?;
                    (InboxState::Settled, None)
                }
                (_, asked) => {
                    let asked = asked.and_then(Result::ok);
                    self.settle_one(&mut tx, read, asked, &followed, &policies, &mut gathered).await?
                }
            };
            marks.push((read.message.id, state, note));
        }
        self.write(&mut tx, gathered, &policies).await?;
        crate::crash::point("settle-half-done");
        inbox::mark(&mut tx, &marks, self.now()).await?;
        tx.commit().await?;
        Ok(count)
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
        let devices: Vec<DeviceId> = devices.into_iter().collect();
        let plans: Vec<i64> = followed.iter().map(|f| f.plan_id).collect();
        for group in devices.chunks(targets::GROUP_ROWS) {
            for target in targets::find(tx, &plans, group).await? {
                gathered.targets.insert((target.plan_id, target.device), (target.clone(), target));
            }
        }
        Ok(())
    }

    async fn settle_one(
        &self,
        tx: &mut Tx,
        read: &Read,
        asked: Option<(OutboxRequest, Batch)>,
        followed: &[Followed],
        policies: &PolicySet,
        gathered: &mut Gathered,
    ) -> Outcome<(InboxState, Option<String>)> {
        match &read.news {
            News::Answer => Ok((InboxState::Unmatched, None)),
            News::Devices(news) => Ok(self.settle_devices(read, news, asked, followed, policies, gathered)),
            News::Fact { device, version, status } => {
                let at = read.message.received_at;
                gathered.learned.extend(version.iter().map(|v| (*device, v.clone(), at)));
                gathered.statuses.extend(status.iter().map(|s| (*device, s.clone(), at)));
                Ok((InboxState::Settled, None))
            }
            News::Quarantined { event } => {
                let note =
                    format!("quarantined by DCC's anomaly detection, event {event}: process or delete it by DCC's own files");
                if let Some((request, batch)) = asked {
                    send::hold(tx, &request, &batch, &note, self.now()).await?;
                }
                Ok((InboxState::Unmatched, Some(note)))
            }
            News::Unmatched(why) => Ok((InboxState::Unmatched, Some(why.clone()))),
        }
    }

    /// The request of ours that a message names, with its batch.
    async fn ours(&self, tx: &mut Tx, id: RequestId) -> Outcome<Option<(OutboxRequest, Batch)>> {
        let Some(request) = outbox::find_by_request_id(tx, id).await? else { return Ok(None) };
        let Some(batch_id) = request.batch_id else { return Ok(None) };
        Ok(campaign::store::get_batch(tx, batch_id).await?.map(|batch| (request, batch)))
    }

    fn settle_devices(
        &self,
        read: &Read,
        news: &[DeviceNews],
        asked: Option<(OutboxRequest, Batch)>,
        followed: &[Followed],
        policies: &PolicySet,
        gathered: &mut Gathered,
    ) -> (InboxState, Option<String>) {
        let at = read.message.received_at;
        let answer_by = self.now().plus_millis(policies.eligibility.answer_within.millis());
        let mut matched = false;
        for item in news {
            if matches!(item.event, Event::Activated | Event::Verified)
                && let Some(version) = &item.version
            {
                gathered.learned.push((item.device, version.clone(), at));
            }
            if item.event == Event::NeedsKeys {
                let detail = Some(item.detail.clone());
                gathered.key_results.push(KeyResult {
                    device_id: item.device,
                    attempted_at: at,
                    status: KeyStatus::Failed,
                    detail,
                });
                matched = true;
            }
            let plans: Vec<i64> = match &asked {
                Some((_, batch)) => vec![batch.plan_id],
                // Rule 10: without a RequestID it settles a device only if its version is the image's. A missing key has
                // no version: it is a fact about the device, whoever asked.
                None => followed
                    .iter()
                    .filter(|f| item.event == Event::NeedsKeys || item.version.as_deref() == Some(&f.firmware_version))
                    .map(|f| f.plan_id)
                    .collect(),
            };
            for plan in plans {
                let Some((_, target)) = gathered.targets.get_mut(&(plan, item.device)) else { continue };
                let Some(batch_id) = target.batch_id else { continue };
                // What an earlier request came to says nothing against the one that is out now.
                let success = matches!(item.event, Event::Activated | Event::Verified);
                if !success && asked.as_ref().is_some_and(|(_, b)| b.id != batch_id) {
                    matched = true;
                    continue;
                }
                matched = true;
                let Ok(next) = target.state.on(item.event) else { continue };
                if next != target.state {
                    target.state = next;
                    target.detail = Some(item.detail.clone());
                    target.answer_by = (!next.is_final() && next.is_in_flight()).then_some(answer_by);
                    if item.event == Event::NeedsKeys {
                        target.reason = Reason::KeysMissing;
                    }
                }
                if success {
                    gathered.activated.insert(item.device);
                }
            }
        }
        match matched {
            true => (InboxState::Settled, None),
            false => (InboxState::Unmatched, Some("it names no device of a campaign with this request or version".into())),
        }
    }

    /// Writes what was gathered: transitions, then what was learned of the devices and their keys.
    async fn write(&self, tx: &mut Tx, gathered: Gathered, policies: &PolicySet) -> Outcome {
        let changes: Vec<Change> = gathered
            .targets
            .into_values()
            .filter(|(before, after)| before != after)
            .map(|(before, after)| Change {
                plan_id: after.plan_id,
                device: after.device,
                version: before.version,
                state: after.state,
                reason: after.reason,
                answer_by: after.answer_by,
                detail: after.detail,
            })
            .collect();
        let applied = targets::apply(tx, &changes, self.now()).await?;
        if applied != changes.len() as u64 {
            return Err(Failure::failed("a device was moved by another node while a message about it was settled")
                .help("nothing was written; it is tried again"));
        }
        estate::store::learn_firmware(tx, &gathered.learned).await?;
        estate::store::learn_status(tx, &gathered.statuses).await?;
        let keyed: Vec<DeviceId> = gathered.key_results.iter().map(|k| k.device_id).collect();
        for result in &gathered.key_results {
            estate::store::add_key_result(tx, result, estate::store::KeySource::Message).await?;
        }
        self.reconcile_devices(tx, &keyed, policies).await?;
        if !gathered.activated.is_empty() {
            let devices: Vec<DeviceId> = gathered.activated.into_iter().collect();
            keys::store::resolve_activated(tx, &devices, self.now()).await?;
        }
        Ok(())
    }
}
