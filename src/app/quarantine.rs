//! What DCC's anomaly detection holds back: the request is held and nothing more of its type is sent until a person says what DCC was told
//! to do with it, by DCC's own files. Promise: no device fails for it; a request that DCC deleted is never sent again, and its devices go
//! into another one.

use serde::Serialize;
use serde_json::json;

use super::{
    App,
    approval::asserted,
    control::{check_name, check_reason},
    record, send,
};
use crate::{
    alarm::{AlarmKind, NewAlarm},
    campaign::{
        self, CampaignState,
        batch::{Batch, BatchState},
    },
    clock::Time,
    db::Tx,
    duis::Breach,
    failure::{Failure, Outcome},
    gateway::{
        inbox::{Arrived, InboxState},
        outbox::{self, OutboxRequest, OutboxState},
        quarantine::{Decision, NewEvent, OurRequest, QuarantineState, Quarantined, store},
    },
    ids::RequestId,
    target::{
        Event,
        store::{self as targets, Because, Cause, Moved, Which, deadline},
    },
};

/// What a person's decision did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decided {
    pub request_id: RequestId,
    pub state: QuarantineState,
    /// The same was recorded before: nothing was done now.
    pub again: bool,
    /// The quarantine events it was about.
    pub events: Vec<String>,
    pub campaign: Option<i64>,
    pub batch: Option<i64>,
    /// Devices that are queued again; of a resubmission, that wait for their keys again.
    pub queued: u64,
    /// Devices of the request that meanwhile wait for another or are in one: processed, they may get two.
    pub elsewhere: usize,
    pub decided_by: String,
    pub reason: String,
}

/// A quarantine event as an alert tells of it.
pub(super) struct Told<'a> {
    pub request: RequestId,
    pub event: &'a str,
    pub breach: Breach,
    pub message: Arrived,
}

impl App {
    /// An alert says that DCC holds a request back. The caller has locked the campaign and read the request since.
    pub(super) async fn quarantined(
        &self,
        tx: &mut Tx,
        told: Told<'_>,
        ours: Option<&(OutboxRequest, Option<Batch>)>,
    ) -> Outcome<(InboxState, Option<String>)> {
        let Told { request: id, event, breach, message } = told;
        let of_request = |o: &(OutboxRequest, Option<Batch>)| OurRequest {
            service_reference: o.0.service_reference.clone(),
            batch: o.0.batch_id,
        };
        if ours.is_none() && id.originator != self.settings.organisation.user_id {
            return Ok((InboxState::Ignored, Some("it is about no request that this program sent".into())));
        }
        let new = NewEvent {
            request: id,
            event: event.to_string(),
            breach,
            ours: ours.map(of_request),
            message: message.id,
            told_at: message.received_at,
        };
        let is_new = store::tell(tx, &new).await?;
        let Some((request, batch)) = ours else {
            if is_new {
                self.tell_of_foreign(tx, id, event, breach).await?;
            }
            let note = format!("DCC quarantined a request of another system under our User ID, event {event}");
            return Ok((InboxState::Ignored, Some(note)));
        };
        if !is_new {
            return Ok((InboxState::Settled, Some(format!("quarantine event {event} is known already"))));
        }
        let now = self.now();
        let why = format!("held in quarantine by DCC ({breach}), event {event}");
        match batch {
            Some(batch) if !is_over(batch) => {
                send::hold(tx, request, batch, &why, now).await?;
                // While DCC holds it nobody is silent.
                let moved = Moved { detail: Some(&why), ..Moved::because(Because::by(Cause::Message, message.id)) };
                targets::set_deadline(tx, batch.plan_id, batch.id, moved, now).await?;
            }
            Some(_) => {}
            None => match outbox::hold(tx, id, &why, now).await {
                Err(e) if !e.is_stale() => return Err(e.into()),
                _ => {}
            },
        }
        let detail = json!({"event": event, "breach": breach, "batch": request.batch_id, "message": message.id});
        record(tx, now, "engine", "quarantine.told", format!("request {id}"), detail).await?;
        self.raise_alarm(tx, &standing_alarm(&new, request, batch.as_ref())).await?;
        Ok((
            InboxState::Settled,
            Some(format!("{why}: say what became of it with `ppmid outbox quarantine process|delete {id}`")),
        ))
    }

    async fn tell_of_foreign(&self, tx: &mut Tx, id: RequestId, event: &str, breach: Breach) -> Outcome {
        let detail = json!({"event": event, "breach": breach});
        record(tx, self.now(), "engine", "quarantine.foreign", format!("request {id}"), detail).await?;
        let alarm = NewAlarm {
            kind: AlarmKind::QuarantinedElsewhere,
            subject: format!("User ID {}", id.originator),
            campaign: None,
            sentence: format!("DCC quarantined request {id} ({breach}, event {event}), which this program did not send"),
            remedy: "another system sends under our User ID: is `reserve` in thresholds.toml large enough for it? `ppmid outbox quarantine list`, then `ppmid alarm end`".into(),
        };
        self.raise_alarm(tx, &alarm).await?;
        Ok(())
    }

    /// A page of quarantine events, newest first.
    pub async fn quarantines(&self, standing: bool, before: i64, limit: u32) -> Outcome<Vec<Quarantined>> {
        Ok(store::list(&mut self.db.read().await?, standing, before, limit).await?)
    }

    /// Records what a person told DCC to do with a request in quarantine, and does what follows.
    pub async fn decide_quarantine(
        &self,
        id: RequestId,
        decision: Decision,
        by: &str,
        reason: &str,
        asserted_by: &str,
    ) -> Outcome<Decided> {
        check_name(by)?;
        check_reason(reason)?;
        let now = self.now();
        let mut tx = self.db.begin().await?;
        let locked = send::locked(&mut tx, id).await?;
        let events = store::of_request(&mut tx, id).await?;
        let standing: Vec<&Quarantined> = events.iter().filter(|q| q.state == QuarantineState::Standing).collect();
        if standing.is_empty() {
            return decided_before(id, decision, &events);
        }
        let batch = locked.as_ref().map(|(_, _, batch)| batch);
        let who = asserted(by, asserted_by);
        let mut done = Decided {
            request_id: id,
            state: decision.state(),
            again: false,
            events: standing.iter().map(|q| q.event.clone()).collect(),
            campaign: batch.map(|b| b.campaign_id),
            batch: batch.map(|b| b.id),
            queued: 0,
            elsewhere: match batch {
                Some(batch) if decision == Decision::Process => self.sent_elsewhere(&mut tx, batch).await?,
                _ => 0,
            },
            decided_by: who.clone(),
            reason: reason.to_string(),
        };
        let note = format!("quarantine: DCC was told to {decision} it, says {}: {reason}", by.trim());
        let request = outbox::find_by_request_id(&mut tx, id).await?;
        match decision {
            Decision::Process => self.go_on(&mut tx, request.as_ref(), batch, &note, now).await?,
            Decision::Delete => done.queued = self.let_drop(&mut tx, id, batch, &note, now).await?,
        }
        store::decide(&mut tx, id, decision, &who, reason, now).await?;
        self.end_alarm(&mut tx, AlarmKind::Quarantined, &format!("request {id}"), &who, reason).await?;
        let detail = json!(done);
        record(&mut tx, now, &who, &format!("quarantine.{decision}"), format!("request {id}"), detail).await?;
        tx.commit().await?;
        Ok(done)
    }

    /// DCC goes on with it: the batch is followed as before, and its devices have their time again.
    async fn go_on(&self, tx: &mut Tx, request: Option<&OutboxRequest>, batch: Option<&Batch>, note: &str, now: Time) -> Outcome {
        let Some(request) = request else { return Ok(()) };
        if request.state == OutboxState::Held {
            outbox::release_held(tx, request.id, now).await?;
        }
        let Some(batch) = batch.filter(|b| b.state == BatchState::Held) else { return Ok(()) };
        let state = if request.state == OutboxState::Answered { BatchState::Accepted } else { BatchState::Unknown };
        campaign::store::set_batch_state(tx, batch.id, state, Some(note), now).await?;
        let policies = self.policies()?;
        let answer_by = now.plus_millis(policies.eligibility.answer_within.millis());
        let moved =
            Moved { detail: Some(note), answer_by: Some(answer_by), ..Moved::because(Because::by(Cause::Operator, batch.id)) };
        targets::set_deadline(tx, batch.plan_id, batch.id, moved, now).await?;
        deadline::set_deadlines(tx, batch.plan_id, deadline::Moved::Batch(batch.id), &policies.steps, now).await?;
        Ok(())
    }

    /// It reached no device: those are queued again, and the RequestID is done with. Gives how many.
    async fn let_drop(&self, tx: &mut Tx, id: RequestId, batch: Option<&Batch>, note: &str, now: Time) -> Outcome<u64> {
        let mut queued = 0;
        if let Some(batch) = batch.filter(|b| !is_over(b)) {
            let answered = targets::answered_in_first(tx, batch.plan_id, batch.id).await?;
            if answered > 0 {
                return Err(Failure::failed(format!(
                    "{answered} of its devices have news of the update, and were in no other request: DCC went on with it"
                ))
                .help(format!("if DCC processed it: ppmid outbox quarantine process {id} --by NAME --reason TEXT"))
                .help("sent again, its devices would get a second request"));
            }
            campaign::store::set_batch_state(tx, batch.id, BatchState::Dissolved, Some(note), now).await?;
            let moved = Moved { detail: Some(note), ..Moved::because(Because::by(Cause::Operator, batch.id)) };
            let event = if batch.resubmission { Event::Annulled } else { Event::Deleted };
            queued = targets::move_all(tx, batch.plan_id, Which::Batch(batch.id), event, moved, now).await?;
            self.resubmission_undone(tx, batch).await?;
            if campaign::store::get(tx, batch.campaign_id).await?.is_some_and(|c| c.state == CampaignState::Aborted) {
                let aborted = Moved::because(Because::of(Cause::Operator));
                targets::move_all(tx, batch.plan_id, Which::Plan, Event::Cancelled, aborted, now).await?;
                queued = 0;
            }
        }
        match outbox::mark_deleted(tx, id, note, now).await {
            Err(e) if !e.is_stale() => Err(e.into()),
            _ => Ok(queued),
        }
    }
}

/// Whether nothing of the batch waits for DCC any more.
fn is_over(batch: &Batch) -> bool {
    matches!(batch.state, BatchState::Refused | BatchState::Dissolved)
}

/// Whether DCC holds this request and nobody has decided about it.
pub(super) async fn stands(tx: &mut Tx, id: RequestId) -> Outcome<bool> {
    Ok(store::of_request(tx, id).await?.iter().any(|q| q.state == QuarantineState::Standing))
}

/// Nothing stands: the same decision again is done already, any other is refused.
fn decided_before(id: RequestId, decision: Decision, events: &[Quarantined]) -> Outcome<Decided> {
    let list = "`ppmid outbox quarantine list --all` shows what DCC told of";
    let Some(last) = events.last() else {
        return Err(Failure::failed(format!("DCC has told of no quarantine of {id}")).help(list));
    };
    let (by, reason) = (last.decided_by.clone().unwrap_or_default(), last.reason.clone().unwrap_or_default());
    if last.state == QuarantineState::Foreign {
        return Err(Failure::failed(format!("{id} is another system's: this program did not send it"))
            .help("it is decided about there; `ppmid alarm end` ends the alarm"));
    }
    if last.state != decision.state() {
        let at = last.decided_at.map(|t| t.to_string()).unwrap_or_default();
        return Err(Failure::failed(format!("{id} was recorded as {} by {by} at {at}: {reason}", last.state)).help(list));
    }
    Ok(Decided {
        request_id: id,
        state: last.state,
        again: true,
        events: events.iter().map(|q| q.event.clone()).collect(),
        campaign: None,
        batch: last.batch_id,
        queued: 0,
        elsewhere: 0,
        decided_by: by,
        reason,
    })
}

fn standing_alarm(new: &NewEvent, request: &OutboxRequest, batch: Option<&Batch>) -> NewAlarm {
    let (id, event, breach) = (new.request, &new.event, new.breach);
    let what = match batch {
        Some(batch) => format!("batch {} of campaign {} ({} devices)", batch.number, batch.campaign_id, batch.members.len()),
        None => format!("a request {}", request.service_reference),
    };
    let remedy = match breach {
        Breach::AttributeLimits => {
            "a value in it is out of bounds: DCC deletes such a request for SMETS1. Make sure, then record it"
        }
        Breach::UserThreshold | Breach::DccThreshold => "decide by DCC's own files, then record what DCC was told",
    };
    NewAlarm {
        kind: AlarmKind::Quarantined,
        subject: format!("request {id}"),
        campaign: batch.map(|b| b.campaign_id),
        sentence: format!("DCC holds {what} in quarantine ({breach}, event {event}); nothing more of its type is sent"),
        remedy: format!("{remedy}: ppmid outbox quarantine process|delete {id} --by NAME --reason TEXT"),
    }
}
