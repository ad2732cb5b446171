//! Inbound messages become transitions, in groups: what a message says of which device is read first, then the targets are
//! fetched, moved by their own function and saved in one transaction with the message's mark. Every message ends settled,
//! ignored (not ours), unmatched (waits for an operator) or failed, with a note.

use std::collections::{BTreeMap, BTreeSet};

use super::{App, answer};
use crate::{
    campaign::{self, batch::Batch, store::Followed},
    clock::Time,
    db::Tx,
    duis::{self, Alert, Body, CertificateSet, FirmwareTransferResult, Response, Smets1FirmwareStatus},
    estate::{self, KeyResult, KeyStatus},
    failure::{Failure, Outcome},
    gateway::{
        inbox::{self, InboxMessage, InboxState},
        outbox::{self, OutboxRequest},
    },
    ids::{DeviceId, RequestId},
    keys,
    policy::{Disposition, PolicySet, Reason},
    target::{
        Event,
        store::{self as targets, Change, Target},
    },
};

/// Messages settled in one transaction: long enough to be fast (design.md: groups of 100 to 1,000), short enough to keep a
/// message that comes in from waiting.
const GROUP_MESSAGES: u32 = 500;

/// One device's news.
#[derive(Debug, Clone)]
struct DeviceNews {
    device: DeviceId,
    event: Event,
    /// The firmware version it speaks of, where it names one.
    version: Option<String>,
    detail: String,
}

/// What a message says, once read.
enum News {
    /// An answer to a whole request.
    Answer,
    Devices(Vec<DeviceNews>),
    /// Something about a device that moves no target.
    Fact { device: DeviceId, version: Option<String>, status: Option<String> },
    /// Nothing this program acts on: an operator may look.
    Unmatched(String),
}

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
            let (state, note) = self.settle_one(&mut tx, read, &followed, &policies, &mut gathered).await?;
            marks.push((read.message.id, state, note));
        }
        self.write(&mut tx, gathered, &policies).await?;
        crate::engine::crash::point("settle-half-done");
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
        followed: &[Followed],
        policies: &PolicySet,
        gathered: &mut Gathered,
    ) -> Outcome<(InboxState, Option<String>)> {
        let asked = match about(&read.response) {
            None => None,
            Some(id) => match self.ours(tx, id).await? {
                Some(found) => Some(found),
                None => return Ok((InboxState::Ignored, Some("it answers no request of this program".into()))),
            },
        };
        match (&read.news, asked) {
            (News::Answer, Some((request, batch))) => {
                // An answer moves a whole batch in the database: what was gathered so far is written first.
                self.write(tx, std::mem::take(gathered), policies).await?;
                answer::apply(self, tx, &request, &batch, &read.response, answer::Trust::Signed).await?;
                Box::pin(self.refetch(tx, read, followed, gathered)).await?;
                Ok((InboxState::Settled, None))
            }
            (News::Answer, None) => Ok((InboxState::Unmatched, Some("an answer that names no request".into()))),
            (News::Devices(news), asked) => Ok(self.settle_devices(read, news, asked, followed, policies, gathered)),
            (News::Fact { device, version, status }, _) => {
                let at = read.message.received_at;
                gathered.learned.extend(version.iter().map(|v| (*device, v.clone(), at)));
                gathered.statuses.extend(status.iter().map(|s| (*device, s.clone(), at)));
                Ok((InboxState::Settled, None))
            }
            (News::Unmatched(why), asked) => {
                if let (Some((request, batch)), Body::Alert { alert: Alert::QuarantinedRequest { quarantine_event_ref, .. }, .. }) =
                    (asked, &read.response.body)
                {
                    let note = format!("quarantined by DCC's anomaly detection, event {quarantine_event_ref}");
                    let _ = super::send::hold(tx, &request, &batch, &note, self.now()).await;
                }
                Ok((InboxState::Unmatched, Some(why.clone())))
            }
        }
    }

    /// After a batch moved, what the rest of the group speaks of is read again.
    async fn refetch(&self, tx: &mut Tx, _after: &Read, _followed: &[Followed], gathered: &mut Gathered) -> Outcome {
        let keys: Vec<(i64, DeviceId)> = gathered.targets.keys().copied().collect();
        let (plans, devices): (BTreeSet<i64>, BTreeSet<DeviceId>) = (keys.iter().map(|k| k.0).collect(), keys.iter().map(|k| k.1).collect());
        let (plans, devices): (Vec<i64>, Vec<DeviceId>) = (plans.into_iter().collect(), devices.into_iter().collect());
        for group in devices.chunks(targets::GROUP_ROWS) {
            for target in targets::find(tx, &plans, group).await? {
                gathered.targets.insert((target.plan_id, target.device), (target.clone(), target));
            }
        }
        Ok(())
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
            if matches!(item.event, Event::Activated | Event::Verified) && let Some(version) = &item.version {
                gathered.learned.push((item.device, version.clone(), at));
            }
            if item.event == Event::NeedsKeys {
                let detail = Some(item.detail.clone());
                gathered.key_results.push(KeyResult { device_id: item.device, attempted_at: at, status: KeyStatus::Failed, detail });
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
            estate::store::add_key_result(tx, result, "message").await?;
        }
        self.reconcile_devices(tx, &keyed, policies).await?;
        if !gathered.activated.is_empty() {
            let devices: Vec<DeviceId> = gathered.activated.into_iter().collect();
            keys::store::resolve_activated(tx, &devices, self.now()).await?;
        }
        Ok(())
    }
}

/// The request a message is about: the header's, or the one inside the alert.
fn about(response: &Response) -> Option<RequestId> {
    let inside = match &response.body {
        Body::Alert { alert, .. } => match alert {
            Alert::S1spAlert { request_id, .. } | Alert::FirmwareTransfer { request_id, .. } | Alert::DuisVersionMismatch { request_id, .. } => {
                *request_id
            }
            Alert::FirmwareDistributionFailure { request_id, .. }
            | Alert::CspFirmwareDeliveryStatus { request_id, .. }
            | Alert::QuarantinedRequest { request_id, .. } => Some(*request_id),
            _ => None,
        },
        _ => None,
    };
    inside.or(response.request_id)
}

/// What a message says. Dispatch is on the body element; the alert code is evidence only.
fn news_of(response: &Response, policies: &PolicySet) -> News {
    let one = |device, event, version: Option<&String>, detail: String| {
        News::Devices(vec![DeviceNews { device, event, version: version.cloned(), detail }])
    };
    let alert = match &response.body {
        Body::Message { .. } => return News::Answer,
        Body::Other(element) => return News::Unmatched(format!("{element} is of no kind this program acts on")),
        Body::Alert { alert, .. } => alert,
    };
    let said = |what: &str| format!("{}: {what}", alert.element());
    match alert {
        Alert::Smets1FirmwareNotification { device, firmware_version, status } => {
            let (event, what) = match status {
                Smets1FirmwareStatus::UpdateRequested => (Event::Delivered, "UpdateRequested"),
                Smets1FirmwareStatus::ActivationSuccessful => (Event::Activated, "ActivationSuccessful"),
            };
            one(*device, event, Some(firmware_version), said(what))
        }
        Alert::S1spAlert { device, code, information, .. } => {
            let text = information.as_deref().unwrap_or_default();
            let detail = said(&format!("{code} {text}"));
            match (policies.response_codes.s1sp(code, text), device) {
                (_, None) => News::Unmatched(format!("{detail} (it names no device)")),
                (Disposition::NeedsKeys, Some(device)) => one(*device, Event::NeedsKeys, None, detail),
                (Disposition::DropDevice | Disposition::RefuseBatch, Some(device)) => one(*device, Event::Failed, None, detail),
                (_, Some(device)) => News::Unmatched(format!("{detail} (device {device}; response-codes.toml does not say what follows)")),
            }
        }
        Alert::PpmidFirmwareUpgrade { device, firmware_version, success, .. } => {
            let (event, what) = if *success { (Event::Activated, "ActivationSuccess") } else { (Event::Failed, "ActivationFailure") };
            one(*device, event, Some(firmware_version), said(what))
        }
        Alert::FirmwareTransfer { device, firmware_version, result, .. } => {
            let event = if *result == FirmwareTransferResult::FileTransferSuccess { Event::Delivered } else { Event::Failed };
            one(*device, event, Some(firmware_version), said(&format!("{result:?}")))
        }
        Alert::FirmwareDistributionFailure { devices, .. } => News::Devices(
            devices.iter().map(|d| DeviceNews { device: *d, event: Event::Failed, version: None, detail: said("listed") }).collect(),
        ),
        Alert::FirmwareVersionMismatch { device, version_on_device, .. } => {
            News::Fact { device: *device, version: Some(version_on_device.clone()), status: None }
        }
        Alert::DeviceStatusChange { device, change } => match change.as_str() {
            "DeviceSuspended" => News::Fact { device: *device, version: None, status: Some("Suspended".into()) },
            "DeviceRestored" => News::Fact { device: *device, version: None, status: Some("Commissioned".into()) },
            "MeterDecommissioningOrWithdrawal" | "CHFDecommissioning" | "DeviceRemovedFromInventory" => {
                News::Fact { device: *device, version: None, status: Some("Decommissioned".into()) }
            }
            other => News::Unmatched(said(other)),
        },
        Alert::QuarantinedRequest { quarantine_event_ref, .. } => {
            News::Unmatched(said(&format!("event {quarantine_event_ref}: process or delete it by DCC's own files")))
        }
        Alert::CspFirmwareDeliveryStatus { success, .. } => News::Unmatched(said(if *success { "Success" } else { "Failure" })),
        Alert::DuisVersionMismatch { .. } => News::Unmatched(said("DCC withheld a message because duis_version is too old for it")),
        Alert::Ppmid { .. } | Alert::ChangeOfSupplier { .. } | Alert::PpmidRemoval { .. } => News::Unmatched(said("kept for an operator")),
        Alert::Other(element) => News::Unmatched(format!("{element} is of no kind this program acts on")),
    }
}
