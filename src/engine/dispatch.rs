//! The loop that posts: what is due again, then new batches, then reads, one at a time, while the circuit lets it. Not what came of a post
//! (`App::record_outcome`), nor whether DCC is down (`gateway::circuit`). Promise: new batches and resends ask the circuit
//! alike; while DCC is down nobody makes batches that only pile up.

use std::{collections::HashMap, time::Duration};

use super::loops::Shared;
use crate::{
    app::{Due, NextBatch, Posted},
    campaign::{self, Campaign, CampaignState},
    clock::Time,
    failure::Outcome,
    gateway::{
        Exchange, Pace, Trouble, backoff,
        circuit::{Change, Circuit, Permit},
        link::Link,
    },
    ids::RequestId,
};

/// How often the dispatcher looks for requests that are due: the first retry is due within two seconds.
const DISPATCH_PERIOD: Duration = Duration::from_millis(250);
/// An outcome that could not be recorded is tried again this often, a pause apart: lost, it would have to be asked for again.
const RECORD_TRIES: usize = 3;
/// How often it is looked how much of DCC's thresholds is used, for the alarms.
const THRESHOLDS_PERIOD_MILLIS: i64 = 1_000;
/// Requests taken up in one go.
const DUE_REQUESTS: u32 = 64;
/// Reads of them that are posted before it is looked whether a batch is to be sent.
const DUE_READS: usize = 16;
/// How soon it is looked again for sites that are due to be sent without their keys, where there was none: hours are the unit there.
const RESUBMIT_LOOK_MILLIS: i64 = 5_000;
/// Where a campaign of a million members has nothing to send, seeing that takes a while: it may have one part in this many of the time.
const LOOK_SHARE: i64 = 10;
/// One request may time out whatever DCC's health (a large one at a slow hour): after it has been the only probe this often,
/// a new batch is.
const SAME_PROBES: u32 = 3;

pub(super) async fn dispatch(mut shared: Shared) {
    let nudge = shared.nudge.dispatch.clone();
    let mut dispatcher = None;
    while !shared.stopping() {
        if shared.may_act() {
            if dispatcher.is_none() {
                dispatcher = Some(Dispatcher::begin(&shared).await);
            }
            if let Some(dispatcher) = &mut dispatcher {
                match dispatcher.round(&mut shared).await {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(e) => shared.fault("a batch could not be sent", &e).await,
                }
            }
        } else {
            dispatcher = None;
        }
        shared.rest(DISPATCH_PERIOD, Some(&nudge)).await;
    }
}

/// What may be posted to see whether DCC is there again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Candidate {
    Due(RequestId),
    NewBatch,
}

/// In the order in which they are to be tried: what waits longest first, but what was tried last only after the others, and
/// after [`SAME_PROBES`] times only after a new batch.
fn candidates(due: &[RequestId], last: Option<(RequestId, u32)>) -> Vec<Candidate> {
    let again = last.filter(|(id, _)| due.contains(id));
    let others = due.iter().copied().filter(|id| again.is_none_or(|(last, _)| last != *id)).map(Candidate::Due);
    let last_ones = match again {
        None => vec![Candidate::NewBatch],
        Some((id, times)) if times < SAME_PROBES => vec![Candidate::Due(id), Candidate::NewBatch],
        Some((id, _)) => vec![Candidate::NewBatch, Candidate::Due(id)],
    };
    others.chain(last_ones).collect()
}

pub(super) struct Dispatcher {
    circuit: Circuit,
    /// Answers in a row by which DCC takes no requests now, and until when no new batch is made for that.
    not_now: u32,
    not_before: Time,
    /// The request that was last posted to see whether DCC is there again, and how often in a row.
    last_probe: Option<(RequestId, u32)>,
    /// Campaigns that are not looked at before this moment: of windows, freezes and waves, or since looking took its time.
    closed: HashMap<i64, Time>,
    /// When the alarms of the thresholds are looked at next.
    next_watch: Time,
    /// When it is looked next for sites that are due to be sent without their keys.
    next_resubmit: Time,
    link: Link,
    /// As it was last written.
    noted: Option<Link>,
}

impl Dispatcher {
    fn new(now: Time) -> Dispatcher {
        let circuit = Circuit::new(now.0 as u64);
        Dispatcher {
            circuit,
            not_now: 0,
            not_before: now,
            last_probe: None,
            closed: HashMap::new(),
            next_watch: now,
            next_resubmit: now,
            link: Link::untried(now),
            noted: None,
        }
    }

    /// The work has just come to this node: whatever it, or another, knew of DCC is old.
    pub(super) async fn begin(shared: &Shared) -> Dispatcher {
        let mut new = Dispatcher::new(shared.app.now());
        new.note(shared).await;
        new
    }

    /// One round. Gives whether something was posted.
    pub(super) async fn round(&mut self, shared: &mut Shared) -> Outcome<bool> {
        let now = shared.app.now();
        if now >= self.next_watch {
            self.next_watch = now.plus_millis(THRESHOLDS_PERIOD_MILLIS);
            shared.app.watch_thresholds().await?;
        }
        let due = shared.app.due_requests(DUE_REQUESTS).await?;
        match self.circuit.ask(shared.app.now()) {
            Permit::Wait { .. } => Ok(false),
            Permit::Probe => {
                let probed = self.probe(shared, &[due.batches, due.reads].concat()).await;
                self.circuit.unused();
                probed
            }
            Permit::Go => self.send(shared, due).await,
        }
    }

    async fn send(&mut self, shared: &mut Shared, due: Due) -> Outcome<bool> {
        if self.post_all(shared, due.batches).await? {
            return Ok(true);
        }
        if !self.may_post(shared) {
            return Ok(false);
        }
        if let Some(id) = self.new_batch(shared).await? {
            return self.post(shared, id).await;
        }
        // Reads a few at a time: a batch that came up meanwhile goes first.
        let some = due.reads.into_iter().take(DUE_READS).collect();
        if self.post_all(shared, some).await? {
            return Ok(true);
        }
        if shared.app.now() < self.not_before {
            return Ok(false);
        }
        let new = shared.app.prepare_reads().await?;
        self.post_all(shared, new).await
    }

    /// Posts these while it may. Gives whether something was posted.
    async fn post_all(&mut self, shared: &mut Shared, ids: Vec<RequestId>) -> Outcome<bool> {
        let mut posted = false;
        for id in ids {
            if !self.may_post(shared) {
                break;
            }
            posted |= self.post(shared, id).await?;
        }
        Ok(posted)
    }

    /// Asked again before each post: the one before may have opened the circuit.
    fn may_post(&mut self, shared: &Shared) -> bool {
        shared.may_act() && self.circuit.is_closed() && self.circuit.ask(shared.app.now()) == Permit::Go
    }

    /// Posts one request to see whether DCC is there. One whose campaign is stopped is not posted, and the next takes its turn.
    async fn probe(&mut self, shared: &mut Shared, due: &[RequestId]) -> Outcome<bool> {
        for candidate in candidates(due, self.last_probe) {
            if !shared.may_act() {
                return Ok(false);
            }
            let id = match candidate {
                Candidate::Due(id) => id,
                Candidate::NewBatch => match self.new_batch(shared).await? {
                    Some(id) => id,
                    None => continue,
                },
            };
            if self.post(shared, id).await? {
                let before = self.last_probe.filter(|(last, _)| *last == id).map_or(0, |(_, times)| times);
                self.last_probe = Some((id, before + 1));
                return Ok(true);
            }
        }
        // Where only reads wait, one of them asks: else DCC would be taken to be down until a batch came up.
        match shared.app.prepare_one_read().await? {
            Some(id) if shared.may_act() => self.post(shared, id).await,
            _ => Ok(false),
        }
    }

    /// The next batch of any campaign, committed and ready. What waits for its key is sent again only when nothing else is to be sent.
    async fn new_batch(&mut self, shared: &Shared) -> Outcome<Option<RequestId>> {
        if shared.app.now() < self.not_before {
            return Ok(None);
        }
        let mut campaigns = campaign::store::list(&mut shared.app.db.read().await?).await?;
        campaigns.retain(|c| c.state == CampaignState::Started);
        let mut fault = None;
        for campaign in &campaigns {
            if !shared.may_act() {
                return Ok(None);
            }
            if self.closed.get(&campaign.id).is_some_and(|until| shared.app.now() < *until) {
                continue;
            }
            self.closed.remove(&campaign.id);
            let began = shared.app.now();
            let looked = shared.app.next_batch(campaign.id).await;
            let rested = shared.app.now().plus_millis(shared.part_of_time(began, LOOK_SHARE));
            match looked {
                Ok(NextBatch::Prepared(id)) => return Ok(Some(id)),
                Ok(NextBatch::Nothing) => {
                    self.closed.insert(campaign.id, rested);
                }
                Ok(NextBatch::Closed { look_again }) => {
                    self.closed.insert(campaign.id, look_again.max(rested));
                }
                // What is wrong with one campaign does not keep the others waiting.
                Err(e) => fault = Some(e),
            }
        }
        match self.resubmission(shared, &campaigns).await {
            Ok(Some(id)) => return Ok(Some(id)),
            Ok(None) => {}
            Err(e) => fault = Some(e),
        }
        fault.map_or(Ok(None), Err)
    }

    /// The next batch of sites that are due to be sent without their keys, of any of these campaigns.
    async fn resubmission(&mut self, shared: &Shared, campaigns: &[Campaign]) -> Outcome<Option<RequestId>> {
        if shared.app.now() < self.next_resubmit {
            return Ok(None);
        }
        let mut fault = None;
        for campaign in campaigns {
            if !shared.may_act() {
                return Ok(None);
            }
            match shared.app.next_resubmission(campaign.id).await {
                Ok(Some(id)) => return Ok(Some(id)),
                Ok(None) => {}
                Err(e) => fault = Some(e),
            }
        }
        self.next_resubmit = shared.app.now().plus_millis(RESUBMIT_LOOK_MILLIS);
        fault.map_or(Ok(None), Err)
    }

    /// Posts one request and records what came of it. Gives whether it was posted.
    async fn post(&mut self, shared: &mut Shared, id: RequestId) -> Outcome<bool> {
        let signer = shared.signer.clone();
        let Some(ready) = shared.app.begin_post(id, &*signer).await? else { return Ok(false) };
        let gateway = shared.gateway.clone();
        let posting = gateway.exchange(ready.service, ready.bytes, ready.id);
        let Some(exchange) = shared.unless_stopped(posting).await else { return Ok(false) };
        crate::crash::point("after-post");
        let trouble = exchange.outcome.trouble().cloned();
        self.hear(shared, id, trouble.as_ref());
        let recorded = record(shared, id, ready.attempt, &exchange).await;
        self.note(shared).await;
        self.pause_if_not_now(recorded?, trouble.is_none(), shared.app.now());
        Ok(true)
    }

    /// What came of a post changes what is known of the way to DCC, and is said where it is news.
    fn hear(&mut self, shared: &Shared, id: RequestId, trouble: Option<&Trouble>) {
        let now = shared.app.now();
        let change = self.circuit.heard(trouble, now);
        match (&change, trouble) {
            (Some(Change::Opened { since, failures, until }), Some(trouble)) => {
                let base_url = &shared.app.settings.gateway.base_url;
                tracing::warn!(%base_url, %since, failures, next_try = %until, reason = %trouble, "DCC is down: nothing is posted but one request now and then, until it answers");
            }
            (Some(Change::StayedOpen { until, .. }), Some(trouble)) => {
                tracing::debug!(next_try = %until, reason = %trouble, "DCC is still down");
            }
            (Some(Change::Closed { since, failures }), _) => {
                tracing::info!(down_since = %since, failures, "DCC answers again");
            }
            (_, Some(trouble)) => tracing::warn!(request = %id, reason = %trouble, "posting a request failed"),
            (_, None) => {}
        }
        self.link = self.link.after(trouble, self.circuit.failures(), change.as_ref(), now);
    }

    /// Keeps the row that people read. That it cannot be written keeps nobody from working.
    async fn note(&mut self, shared: &Shared) {
        if self.noted.as_ref().is_some_and(|noted| !self.link.is_news(noted)) {
            return;
        }
        match shared.app.note_link(&self.link).await {
            Ok(()) => self.noted = Some(self.link.clone()),
            Err(e) => tracing::warn!(reason = %e, "how the way to DCC is could not be noted for `ppmid campaign status`"),
        }
    }

    /// DCC answered that it takes no requests now: new ones wait, ever longer.
    fn pause_if_not_now(&mut self, posted: Posted, answered: bool, now: Time) {
        if !answered {
            return;
        }
        match posted {
            Posted::NotSent => {
                self.not_now = self.not_now.saturating_add(1);
                let wait = backoff(self.not_now, 0, Pace::Doubling, None);
                self.not_before = now.plus_millis(wait.as_millis() as i64);
                if self.not_now == 1 {
                    tracing::warn!(not_before = %self.not_before, "DCC takes no requests now; trying again");
                }
            }
            Posted::Settled | Posted::Unknown | Posted::Held => self.not_now = 0,
        }
    }
}

async fn record(shared: &mut Shared, id: RequestId, attempt: u32, exchange: &Exchange) -> Outcome<Posted> {
    for _ in 1..RECORD_TRIES {
        match shared.app.record_outcome(id, attempt, exchange).await {
            Ok(posted) => return Ok(posted),
            Err(e) => shared.fault("what came of a request could not be recorded", &e).await,
        }
    }
    shared.app.record_outcome(id, attempt, exchange).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_takes_turns_and_a_request_that_is_never_answered_makes_way_for_a_new_batch() {
        let id = |counter| RequestId { originator: crate::ids::Eui(1), target: crate::ids::Eui(2), counter };
        let due = |counter| Candidate::Due(id(counter));
        let order = |all: &[u64], last| candidates(&all.iter().map(|c| id(*c)).collect::<Vec<_>>(), last);
        assert_eq!(order(&[], None), [Candidate::NewBatch]);
        assert_eq!(order(&[], Some((id(1), 9))), [Candidate::NewBatch], "it is not due");
        assert_eq!(order(&[1, 2], None), [due(1), due(2), Candidate::NewBatch]);
        assert_eq!(order(&[1, 2], Some((id(1), 9))), [due(2), Candidate::NewBatch, due(1)]);
        assert_eq!(order(&[1], Some((id(1), SAME_PROBES - 1))), [due(1), Candidate::NewBatch]);
        assert_eq!(order(&[1], Some((id(1), SAME_PROBES))), [Candidate::NewBatch, due(1)]);
    }
}
