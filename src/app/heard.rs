//! What an answer to a read means: for the read, and for the device that was asked. Replies to a POST and messages of their own come
//! through here alike. Promise: a version that agrees makes the device `verified`; one that does not leaves its state to DCC's messages
//! and raises an alarm; no version at all is no failure.

use std::collections::BTreeMap;

use super::{
    App, Posted,
    answer::{answered, earlier_attempts},
    ask::{give_up, save_one},
    news::{News, news_of},
    settle::{Gathered, Moving as MovingTarget},
};
use crate::{
    alarm::{AlarmKind, NewAlarm},
    campaign::{self, store::Followed},
    clock::Time,
    db::Tx,
    duis::{Body, Content, Response},
    failure::{Failure, Outcome},
    gateway::{
        Pace, backoff,
        inbox::InboxState,
        outbox::{self, OutboxRequest, OutboxState},
    },
    ids::{DeviceId, RequestId},
    policy::{Disposition, PolicySet, ReadStep, Reason},
    target::{
        Against, Event, Heard, ReadCause, ReadState, TargetState,
        store::{
            self as targets,
            reads::{self, Read},
        },
    },
};

/// The reads that a group of messages answers, as they were and as they are to be.
#[derive(Default)]
pub(super) struct Reads {
    asked: BTreeMap<RequestId, (i64, DeviceId)>,
    moving: BTreeMap<(i64, DeviceId), Moving>,
    alarms: Vec<NewAlarm>,
}

struct Moving {
    before: Read,
    after: Read,
}

impl Reads {
    /// Of these requests, those that are reads.
    pub(super) async fn fetch(tx: &mut Tx, requests: &[RequestId]) -> Outcome<Reads> {
        let mut found = Reads::default();
        for (id, read) in reads::of_requests(tx, requests).await? {
            found.asked.insert(id, (read.plan_id, read.device));
            found.moving.insert((read.plan_id, read.device), Moving { before: read.clone(), after: read });
        }
        Ok(found)
    }

    pub(super) fn targets(&self) -> impl Iterator<Item = (i64, DeviceId)> {
        self.moving.keys().copied()
    }

    /// What a message that came at this moment, perhaps as an answer to this request, is known as of.
    pub(super) fn known_at<'a>(&self, asked: Option<&OutboxRequest>, received: Time, followed: &'a [Followed]) -> KnownAt<'a> {
        let plan = asked.and_then(|request| self.asked.get(&request.id)).map(|(plan, _)| *plan);
        let campaign = followed.iter().find(|f| Some(f.plan_id) == plan);
        let sent = asked.and_then(|request| request.first_posted_at);
        KnownAt { received, asked: sent.zip(campaign.map(|f| f.firmware_version.as_str())) }
    }
}

/// As of when it is known what a device runs. An answer to a read may be on its way for hours: what it says holds for the moment of asking, unless it
/// is the version that was waited for, which no device leaves again.
#[derive(Clone, Copy)]
pub(super) struct KnownAt<'a> {
    pub received: Time,
    /// Of an answer to a read: when that was sent first, and the version of its campaign.
    pub asked: Option<(Time, &'a str)>,
}

impl KnownAt<'_> {
    pub fn of(&self, version: &str) -> Time {
        match self.asked {
            Some((asked, wanted)) if version != wanted => asked.min(self.received),
            _ => self.received,
        }
    }
}

/// One answer, however it came.
pub(super) struct Answer<'a> {
    pub request: RequestId,
    pub response: &'a Response,
    pub news: &'a News,
    pub at: Time,
    pub known_at: KnownAt<'a>,
    /// The inbox message; 0 of a reply.
    pub message: i64,
}

/// What it says of one device.
struct Said {
    version: Option<String>,
    status: Option<String>,
    kind: SaidKind,
    note: String,
    /// DCC refuses such requests, whichever device they are about.
    refuses_all: bool,
}

#[derive(Clone, Copy)]
enum SaidKind {
    Accepted,
    Answered,
    Refused,
}

impl Said {
    fn heard(&self) -> Heard<'_> {
        match (self.kind, &self.version) {
            (SaidKind::Answered, Some(version)) => Heard::Runs(version),
            (SaidKind::Answered, None) => Heard::Nothing,
            (SaidKind::Accepted, _) => Heard::Accepted,
            (SaidKind::Refused, _) => Heard::Refused,
        }
    }
}

fn said(answer: &Answer<'_>, device: DeviceId, policies: &PolicySet) -> Said {
    let kind = answer.response.kind();
    let said = |kind, version, status, note: String| Said { kind, version, status, note, refuses_all: false };
    match answer.news {
        News::Inventory(facts) => match facts.iter().find(|f| f.device == device) {
            Some(fact) => {
                let note = match &fact.version {
                    Some(version) => format!("{kind}: it runs {version}"),
                    None => format!("{kind} names no version of it"),
                };
                said(SaidKind::Answered, fact.version.clone(), fact.status.clone(), note)
            }
            None => said(SaidKind::Answered, None, None, format!("{kind} does not name it")),
        },
        News::Devices(news) => {
            let its_own = news.iter().find(|n| n.device == device && n.event == Event::Verified);
            let detail = news.iter().find(|n| n.device == device).map_or_else(|| kind.to_string(), |n| n.detail.clone());
            said(SaidKind::Answered, its_own.and_then(|n| n.version.clone()), None, detail)
        }
        News::Answer => {
            let code = answer.response.code.as_str();
            let sentence = policies.response_codes.entry(code).map_or("response-codes.toml does not list it", |e| &e.sentence);
            let note = format!("{code}: {sentence}");
            let nothing_in_it = matches!(&answer.response.body, Body::Message { content: Content::None, .. } | Body::Other(_));
            match policies.response_codes.disposition(code) {
                Disposition::Accepted if nothing_in_it => said(SaidKind::Accepted, None, None, note),
                Disposition::SeenAlready => said(SaidKind::Accepted, None, None, note),
                Disposition::Accepted => said(SaidKind::Answered, None, None, format!("{kind} names no version")),
                Disposition::RetryLater | Disposition::NeedsKeys => said(SaidKind::Answered, None, None, note),
                Disposition::StopCampaign => Said { refuses_all: true, ..said(SaidKind::Answered, None, None, note) },
                Disposition::DropDevice | Disposition::RefuseBatch | Disposition::Unknown => {
                    said(SaidKind::Refused, None, None, note)
                }
            }
        }
        News::Quarantined { event, .. } => {
            let note = format!("quarantined by DCC's anomaly detection, event {event}");
            Said { refuses_all: true, ..said(SaidKind::Accepted, None, None, note) }
        }
        News::Fact(_) | News::Lost { .. } => said(SaidKind::Answered, None, None, format!("{kind} names no version")),
        News::Unmatched(why) => said(SaidKind::Answered, None, None, why.clone()),
    }
}

impl Gathered {
    /// Fetches targets that messages may move.
    pub(super) async fn fetch_targets(&mut self, tx: &mut Tx, plans: &[i64], devices: &[DeviceId]) -> Outcome {
        for group in devices.chunks(targets::GROUP_ROWS) {
            for target in targets::movable(tx, plans, group).await? {
                let (key, after) = ((target.plan_id, target.device), target.clone());
                self.targets.insert(key, MovingTarget { before: target, after, message: 0 });
            }
        }
        Ok(())
    }

    /// How a message ended, where it is an answer to a read: it is understood, but what DCC quarantined and alerts that nobody knows are a
    /// person's all the same.
    pub(super) fn hear(
        &mut self,
        answer: Option<Answer<'_>>,
        ended: (InboxState, Option<String>),
        followed: &[Followed],
        policies: &PolicySet,
        now: Time,
    ) -> (InboxState, Option<String>) {
        let Some(answer) = answer else { return ended };
        match (self.hear_read(&answer, followed, policies, now), &answer.response.body) {
            (Some(note), Body::Message { .. } | Body::Smets1(_)) => (InboxState::Settled, Some(note)),
            (Some(_) | None, _) => ended,
        }
    }

    /// What a message that answers a read makes of it and of its device; a note where it answers one.
    pub(super) fn hear_read(
        &mut self,
        answer: &Answer<'_>,
        followed: &[Followed],
        policies: &PolicySet,
        now: Time,
    ) -> Option<String> {
        let (plan, device) = *self.reads.asked.get(&answer.request)?;
        let campaign = followed.iter().find(|f| f.plan_id == plan)?;
        let moving = self.reads.moving.get_mut(&(plan, device))?;
        let said = said(answer, device, policies);
        let read = &mut moving.after;
        let against = Against {
            version: &campaign.firmware_version,
            to_the_last: read.counter == Some(answer.request.counter),
            // Of the silent DCC's list is believed at once: nothing says yet that it should be another version.
            second_hand: read.kind == ReadStep::ReadInventory && read.cause != ReadCause::Deadline,
        };
        let was = read.standing.state;
        read.standing = read.standing.after(said.heard(), against, now);
        if matches!(said.kind, SaidKind::Answered) && read.answered_at.is_none_or(|before| before <= answer.at) {
            read.answer_version = said.version.clone().or(read.answer_version.take());
            read.answer_status = said.status.clone().or(read.answer_status.take());
            read.answered_at = Some(answer.at);
        }
        read.note = Some(said.note.clone());
        let (is_now, cause) = (read.standing.state, read.cause);
        if let Some(version) = &said.version {
            self.learned.push((device, version.clone(), answer.known_at.of(version)));
        }
        if is_now == ReadState::Agrees && was != ReadState::Agrees {
            self.verify(plan, device, &said.note, answer.message);
        }
        if is_now == ReadState::Differs && was != ReadState::Differs {
            let runs = said.version.as_deref().unwrap_or("another version");
            let wanted = &campaign.firmware_version;
            let target = self.targets.get_mut(&(plan, device));
            match cause {
                ReadCause::Activation => {
                    let differs = format!("it was activated, but it runs {runs}, not {wanted}");
                    if let Some(target) = target {
                        target.after.detail = Some(differs.clone());
                        target.message = answer.message;
                    }
                    self.reads.alarms.push(differs_alarm(campaign.campaign_id, device, &differs));
                }
                // What follows from it is `silence`'s.
                ReadCause::Deadline => {}
                // What silence let expect: the device stays as it is, and nobody is called.
                ReadCause::Silence => {
                    if let Some(target) = target.filter(|t| t.after.state == TargetState::Expired) {
                        target.after.detail = Some(format!("asked after its silence, it runs {runs}, not {wanted}"));
                        target.message = answer.message;
                    }
                }
            }
        }
        if said.refuses_all {
            self.reads.alarms.push(refused_alarm(campaign.campaign_id, &said.note));
        }
        Some(said.note)
    }

    fn verify(&mut self, plan: i64, device: DeviceId, note: &str, message: i64) {
        self.activated.insert(device);
        let Some(moving) = self.targets.get_mut(&(plan, device)) else { return };
        let target = &mut moving.after;
        let Ok(next) = target.state.on(Event::Verified) else { return };
        if next != target.state {
            moving.message = message;
            target.state = next;
            target.detail = Some(note.to_string());
            target.answer_by = None;
            if target.reason != Reason::SupplyLost {
                target.reason = Reason::Eligible;
            }
        }
    }
}

impl App {
    /// Saves what became of the reads of a group. `false`: one was moved by another loop or node since.
    pub(super) async fn save_reads(&self, tx: &mut Tx, reads: Reads) -> Outcome<bool> {
        let changed: Vec<Read> = reads.moving.into_values().filter(|m| m.before != m.after).map(|m| m.after).collect();
        if reads::save(tx, &changed).await? != changed.len() as u64 {
            return Ok(false);
        }
        for alarm in &reads.alarms {
            self.raise_alarm(tx, alarm).await?;
        }
        Ok(true)
    }

    /// DCC's reply to the POST of a read.
    pub(super) async fn read_answered(
        &self,
        tx: &mut Tx,
        request: &OutboxRequest,
        mut read: Read,
        response: &Response,
        is_signed: bool,
    ) -> Outcome<Posted> {
        let now = self.now();
        let policies = self.policies()?;
        let code = response.code.as_str();
        let disposition = policies.response_codes.disposition(code);
        // Without DCC's signature nothing is taken for a yes (signature profile, rule 9).
        if !is_signed && matches!(disposition, Disposition::Accepted | Disposition::SeenAlready) {
            let why = format!("{code}, without DCC's signature");
            outbox::hold(tx, request.id, &why, now).await?;
            give_up(&mut read, &why);
            save_one(tx, &read).await?;
            return Ok(Posted::Held);
        }
        let passes = matches!(disposition, Disposition::RetryLater | Disposition::StopCampaign);
        if passes && request.state == OutboxState::Posting && earlier_attempts(tx, request).await?.unanswered {
            // What answers this attempt says nothing of one before it that may have reached DCC.
            let why = format!("{code}; an earlier attempt may have reached DCC, so the same request is sent again");
            let wait = backoff(request.attempts, request.id.counter, Pace::Doubling, None);
            outbox::mark_unknown(tx, request.id, &why, now.plus_millis(wait.as_millis() as i64)).await?;
            return Ok(Posted::Unknown);
        }
        answered(tx, request, code, now).await?;
        let news = news_of(response, &policies);
        let followed = campaign::store::followed(tx).await?;
        let mut gathered = Gathered { reads: Reads::fetch(tx, &[request.id]).await?, ..Gathered::default() };
        gathered.fetch_targets(tx, &[read.plan_id], &[read.device]).await?;
        let known_at = KnownAt { received: now, asked: None };
        if let News::Inventory(facts) = &news {
            facts.iter().for_each(|fact| gathered.learn(fact, known_at));
        }
        let answer = Answer { request: request.id, response, news: &news, at: now, known_at, message: 0 };
        gathered.hear_read(&answer, &followed, &policies, now);
        match self.write(tx, gathered, &policies).await? {
            true => Ok(Posted::Settled),
            false => Err(Failure::failed(format!("{} was moved by another loop while its read was answered", read.device))
                .help("nothing was written; it is tried again")),
        }
    }
}

fn differs_alarm(campaign: i64, device: DeviceId, what: &str) -> NewAlarm {
    NewAlarm {
        kind: AlarmKind::VersionDiffers,
        subject: format!("campaign {campaign}"),
        campaign: Some(campaign),
        sentence: format!("a device that DCC reported activated was read and runs another version: {device}, {what}"),
        remedy: format!(
            "`ppmid campaign status {campaign}` counts such devices (reads, differs), `ppmid campaign reads {campaign} --state differs` lists them"
        ),
    }
}

fn refused_alarm(campaign: i64, why: &str) -> NewAlarm {
    NewAlarm {
        kind: AlarmKind::ReadsRefused,
        subject: format!("campaign {campaign}"),
        campaign: Some(campaign),
        sentence: format!("DCC refuses to read devices for us: {why}"),
        remedy: "put right what the sentence names, then end this alarm (`ppmid alarm end`): nothing is read for the campaign while it stands".into(),
    }
}
