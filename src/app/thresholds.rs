//! DCC's anomaly detection thresholds: whether there is room to send, asked before a new batch and before a resend and, under the turn
//! of its type, in the transaction that begins a posting; the alarms; and why a campaign waits. Which room there is, is
//! `policy::Room`'s to say. Promise: nothing leaves for which a threshold of thresholds.toml has no room.

use serde::Serialize;

use super::App;
use crate::{
    alarm::{self, AlarmKind, NewAlarm},
    campaign::{self, Campaign, CampaignState},
    clock::Time,
    db::Tx,
    failure::Outcome,
    gateway::{
        outbox::store::{self as ledger, Question},
        quarantine::{self, Quarantined},
    },
    ids::RequestId,
    policy::{Counts, Cut, MARGIN_MAX_MILLIS, Resends, Room, Sent, THRESHOLD_PERIOD_MAX_DAYS, Use},
    target::{
        TargetState,
        store::{self as targets, Within},
    },
};

/// What campaigns send: 11.1 UpdateFirmware.
pub(super) const UPDATES: &str = "11.1";
/// What was sent is gathered in stretches this many to the shortest period: few rows to read, and room found at most this much too late.
const STRETCHES: i64 = 1_000;

/// What there is room for, for one type of request.
pub struct AdtRoom {
    request: String,
    room: Room,
    /// Requests of this type that DCC holds in quarantine and about which nobody has decided.
    standing: Vec<Quarantined>,
}

/// Why nothing goes now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdtWait {
    pub why: String,
    /// `None`: until a person acts.
    pub until: Option<Time>,
}

/// How much of one threshold is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AdtUse {
    pub request: String,
    pub period: String,
    pub counts: Counts,
    pub used: u64,
    /// What may be sent in a period: quarantine less reserve.
    pub ours: u64,
    pub quarantine: u64,
    pub reserve: u64,
    /// When the first of what is used leaves the period.
    pub next_leaves_at: Option<Time>,
}

/// How a campaign stands to the thresholds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AdtStatus {
    pub thresholds: Vec<AdtUse>,
    /// Why nothing of it goes now; null where something may.
    pub waits: Option<String>,
    /// When the next may go; null where nothing waits, or for a person.
    pub next_at: Option<Time>,
    /// When the last that is queued, and that of campaigns before it, will have gone; null where it does not wait for a threshold.
    pub forecast: Option<Time>,
    /// In a sentence.
    pub sentence: String,
}

impl AdtRoom {
    /// Whether anything limits what may be sent.
    pub(super) fn is_limited(&self) -> bool {
        self.room.is_limited() || !self.standing.is_empty()
    }

    /// Whether a request of so many devices may go.
    pub fn may_send(&self, devices: u64) -> Result<(), AdtWait> {
        self.not_quarantined()?;
        let Some(left) = self.room.left() else { return Ok(()) };
        let amount = match self.room.counts {
            Counts::Requests => 1,
            Counts::Devices => devices,
        };
        if amount <= left {
            return Ok(());
        }
        match self.room.free_at(amount) {
            Some(until) => Err(self.wait(until)),
            None => {
                let most = self.room.most().unwrap_or(0);
                Err(AdtWait {
                    why: format!("it counts {amount}, and thresholds.toml lets at most {most} go at once"),
                    until: None,
                })
            }
        }
    }

    /// How many devices a batch may have, of `queued` that wait, where at most `size` go into one.
    pub fn batch(&self, size: u64, queued: u64) -> Result<u64, AdtWait> {
        self.not_quarantined()?;
        match self.room.cut(size, queued) {
            Cut::UpTo(devices) => Ok(devices),
            Cut::Wait { until } => Err(self.wait(until)),
        }
    }

    /// Whether there is room for a whole batch, so that nobody need count what is queued.
    fn has_room_for(&self, size: u64) -> bool {
        self.standing.is_empty()
            && self.room.left().is_none_or(|left| match self.room.counts {
                Counts::Requests => true,
                Counts::Devices => left >= size,
            })
    }

    fn not_quarantined(&self) -> Result<(), AdtWait> {
        let Some(first) = self.standing.first() else { return Ok(()) };
        let more = match self.standing.len() - 1 {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        let why = format!(
            "DCC holds request {} in quarantine (event {}){more}, and would hold more of the same; say what became of it: ppmid outbox quarantine process|delete",
            first.request_id, first.event
        );
        Err(AdtWait { why, until: None })
    }

    fn wait(&self, until: Time) -> AdtWait {
        let why = self.room.tightest().map_or(String::new(), |used| self.used(used));
        AdtWait { why, until: Some(until) }
    }

    /// `100 of 100 requests 11.1 in 24h are used`.
    fn used(&self, used: &Use) -> String {
        format!("{} of {} {} are used", used.used, used.threshold.ours(), subject(self.room.counts, used))
    }

    fn uses(&self) -> Vec<AdtUse> {
        let shown = |u: &Use| AdtUse {
            request: self.request.clone(),
            period: u.threshold.period.to_string(),
            counts: self.room.counts,
            used: u.used,
            ours: u.threshold.ours(),
            quarantine: u.threshold.quarantine,
            reserve: u.threshold.reserve,
            next_leaves_at: u.next_leaves,
        };
        self.room.uses.iter().map(shown).collect()
    }
}

/// `requests 11.1 in 24h`: also the subject of an alarm.
fn subject(counts: Counts, used: &Use) -> String {
    let what = match counts {
        Counts::Requests => "requests",
        Counts::Devices => "devices in requests",
    };
    format!("{what} {} in {}", used.threshold.request, used.threshold.period)
}

impl App {
    /// What there is room for now, for one service reference variant. To look only: who posts takes [`App::adt_turn`].
    pub async fn adt_room(&self, tx: &mut Tx, request: &str) -> Outcome<AdtRoom> {
        self.adt_room_but(tx, request, None).await
    }

    /// The same in the transaction that will begin a posting of `id`: until it ends nobody else counts this type in order to post. With
    /// `resends = "once"` what was posted of `id` before is left out, since it stays one.
    pub async fn adt_turn(&self, tx: &mut Tx, request: &str, id: RequestId) -> Outcome<AdtRoom> {
        ledger::take_turn(tx, request).await?;
        self.adt_room_but(tx, request, Some(id)).await
    }

    async fn adt_room_but(&self, tx: &mut Tx, request: &str, id: Option<RequestId>) -> Outcome<AdtRoom> {
        let thresholds = self.policies()?.thresholds;
        let now = self.now();
        let periods: Vec<i64> = thresholds.of(request).map(|t| t.period.millis()).collect();
        let mut sent: Vec<Sent> = Vec::new();
        if let (Some(shortest), Some(longest)) = (periods.iter().min(), periods.iter().max()) {
            let question = Question {
                service_reference: request,
                since: now.plus_millis(-longest - thresholds.margin.millis()),
                stretch: shortest / STRETCHES,
                once: thresholds.resends == Resends::Once,
                except: id.filter(|_| thresholds.resends == Resends::Once),
            };
            let found = ledger::sent(tx, question).await?;
            sent = found.into_iter().map(|g| Sent { by: g.by, requests: g.requests, devices: g.devices }).collect();
        }
        let standing = quarantine::store::standing(tx).await?;
        Ok(AdtRoom {
            room: thresholds.room(request, &sent, now),
            standing: standing.into_iter().filter(|q| q.service_reference.as_deref() == Some(request)).collect(),
            request: request.to_string(),
        })
    }

    /// How many devices the next batch of a plan may have.
    pub(super) async fn adt_batch(&self, tx: &mut Tx, plan: i64, within: Within, size: u64) -> Outcome<Result<u64, AdtWait>> {
        let room = self.adt_room(tx, UPDATES).await?;
        if room.has_room_for(size) && room.may_send(1).is_ok() {
            return Ok(Ok(size));
        }
        let queued = targets::queued(tx, plan, within, self.now(), None, size as usize).await?.len();
        Ok(room.batch(size, queued as u64))
    }

    /// Raises and ends the alarms of every threshold as far as it is used now. Gives how many changed.
    pub async fn watch_thresholds(&self) -> Outcome<usize> {
        let mut look = self.db.read().await?;
        let mut standing = alarm::store::standing_of(&mut look, AlarmKind::ThresholdNear).await?;
        standing.extend(alarm::store::standing_of(&mut look, AlarmKind::ThresholdReached).await?);
        let thresholds = self.policies()?.thresholds;
        let mut due: Vec<NewAlarm> = Vec::new();
        let mut keeps: Vec<(AlarmKind, String)> = Vec::new();
        let mut requests: Vec<&str> = thresholds.thresholds.iter().map(|t| t.request.as_str()).collect();
        requests.sort_unstable();
        requests.dedup();
        for request in requests {
            let room = self.adt_room(&mut look, request).await?;
            for used in room.room.uses.iter().filter(|u| u.used >= u.threshold.alarm_at()) {
                let subject = subject(room.room.counts, used);
                due.push(near(&room, used));
                // Once all is used, what leaves is used again at once: the alarm stands until it is really less.
                keeps.push((AlarmKind::ThresholdReached, subject));
                due.extend((used.left() == 0).then(|| reached(&room, used)));
            }
        }
        drop(look);
        keeps.extend(due.iter().map(|a| (a.kind, a.subject.clone())));
        due.retain(|new| !standing.iter().any(|a| (a.kind, &a.subject) == (new.kind, &new.subject)));
        standing.retain(|a| !keeps.iter().any(|(kind, subject)| (a.kind, &a.subject) == (*kind, subject)));
        if due.is_empty() && standing.is_empty() {
            return Ok(0);
        }
        let mut tx = self.db.begin().await?;
        for new in &due {
            self.raise_alarm(&mut tx, new).await?;
        }
        for over in &standing {
            self.end_alarm(&mut tx, over.kind, &over.subject, "engine", "less of the threshold is used").await?;
        }
        tx.commit().await?;
        Ok(due.len() + standing.len())
    }

    /// Forgets what no threshold can count any more.
    pub(super) async fn prune_ledger(&self, tx: &mut Tx) -> Outcome<u64> {
        let longest = THRESHOLD_PERIOD_MAX_DAYS * 86_400_000 + MARGIN_MAX_MILLIS;
        Ok(ledger::prune_ledger(tx, self.now().plus_millis(-longest)).await?)
    }

    /// How a campaign with so many queued targets stands to the thresholds; `None` where there is none and nothing is in quarantine.
    pub(super) async fn adt_status(&self, tx: &mut Tx, campaign: &Campaign, queued: u64) -> Outcome<Option<AdtStatus>> {
        let room = self.adt_room(tx, UPDATES).await?;
        if !room.room.is_limited() && room.standing.is_empty() {
            return Ok(None);
        }
        let size = campaign.batch_size as u64;
        let would_send = campaign.state == CampaignState::Started && queued > 0;
        let wait = room.batch(size, queued).err().filter(|_| would_send);
        let mut forecast = None;
        if would_send && room.standing.is_empty() {
            let mut amounts: Vec<u64> = Vec::new();
            for (ahead, size) in self.queued_ahead(tx, campaign).await? {
                amounts.extend(room.room.amounts(ahead, size));
            }
            amounts.extend(room.room.amounts(queued, size));
            forecast = room.room.forecast(amounts).filter(|at| *at > self.now());
        }
        let now_used = room.room.tightest().map_or(String::new(), |u| room.used(u));
        let mut sentence = wait.as_ref().map_or(now_used, |w| format!("waits: {}", w.why));
        let next_at = wait.as_ref().and_then(|w| w.until);
        if let Some(next) = next_at {
            sentence += &format!("; the next may go at {next}");
        }
        if let Some(last) = forecast {
            sentence += &format!("; the last of {queued} queued devices by about {last}");
        }
        Ok(Some(AdtStatus { thresholds: room.uses(), waits: wait.map(|w| w.why), next_at, forecast, sentence }))
    }

    /// What is queued in started campaigns that come before this one, each with its batch size: the dispatcher serves them first.
    async fn queued_ahead(&self, tx: &mut Tx, campaign: &Campaign) -> Outcome<Vec<(u64, u64)>> {
        let mut ahead = Vec::new();
        for other in campaign::store::list(tx).await?.iter().take_while(|c| c.id != campaign.id) {
            if let (CampaignState::Started, Some(plan)) = (other.state, other.plan_id) {
                let counts = targets::count_by_state(tx, plan).await?;
                let queued = counts.iter().find(|(state, _)| *state == TargetState::Queued).map_or(0, |(_, n)| *n as u64);
                ahead.push((queued, other.batch_size as u64));
            }
        }
        Ok(ahead)
    }
}

fn near(room: &AdtRoom, used: &Use) -> NewAlarm {
    let threshold = &used.threshold;
    NewAlarm {
        kind: AlarmKind::ThresholdNear,
        subject: subject(room.room.counts, used),
        campaign: None,
        sentence: format!("{}; DCC quarantines what is over {}", room.used(used), threshold.quarantine),
        remedy: "nothing is lost: what there is no room for waits. To send more, agree a higher threshold with DCC and then write it into thresholds.toml".into(),
    }
}

fn reached(room: &AdtRoom, used: &Use) -> NewAlarm {
    let next = used.next_leaves.map_or(String::new(), |at| format!("; the next may go at {at}"));
    NewAlarm {
        kind: AlarmKind::ThresholdReached,
        subject: subject(room.room.counts, used),
        campaign: None,
        sentence: format!("{}: nothing more is sent{next}", room.used(used)),
        remedy: "it goes on by itself; `ppmid campaign status CAMPAIGN` says when the queue will have gone".into(),
    }
}
