//! DCC's answer to a whole request, at once or later: what its response code means for the batch and its members.
//! The meaning is data (`policies/response-codes.toml`); here is what follows from it.

use super::{App, Posted, quarantine, send};
use crate::{
    campaign::{
        self,
        batch::{Batch, BatchState},
    },
    clock::Time,
    db::Tx,
    duis::{Body, Content, Response, UpdateFirmwareWarning},
    failure::{Failure, Outcome},
    gateway::{
        Pace, backoff,
        outbox::{
            self, OutboxRequest, OutboxState,
            store::{PostingOutcome, postings},
        },
    },
    policy::{Disposition, Steps},
    target::{
        Event,
        store::{self as targets, Because, Cause, Change, Moved, Which, deadline},
    },
};

/// How the answer came. One without DCC's signature is never taken for a yes (signature profile, rule 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Signed, in reply to our POST.
    Reply,
    /// In reply to our POST, without a signature.
    Unsigned,
    /// Signed, in a message of its own.
    Message,
}

/// Applies an answer to its batch, within the caller's transaction, which has locked the campaign.
pub async fn apply(
    app: &App,
    tx: &mut Tx,
    request: &OutboxRequest,
    batch: &Batch,
    response: &Response,
    trust: Trust,
) -> Outcome<Posted> {
    let policies = app.policies()?;
    let now = app.now();
    let code = response.code.as_str();
    let sentence =
        policies.response_codes.entry(code).map_or("a code that response-codes.toml does not list", |e| &e.sentence).to_string();
    let note = format!("{code}: {sentence}");
    let disposition = policies.response_codes.disposition(code);
    let early = matches!(batch.state, BatchState::Prepared | BatchState::Unknown);
    let over = matches!(batch.state, BatchState::Refused | BatchState::Dissolved);
    // A batch that is held when the reply to its POST is recorded was held by a message that came meanwhile, which is the
    // later word.
    let quarantined = quarantine::stands(tx, request.id).await?;
    let accepts = early || (batch.state == BatchState::Held && trust == Trust::Message && !quarantined);
    // While DCC holds it in quarantine nobody is silent.
    let answer_by = (!quarantined).then(|| now.plus_millis(policies.eligibility.answer_within.millis()));
    let earlier = earlier_attempts(tx, request).await?;
    // What answers this attempt says nothing of one before it that may have reached DCC.
    let doubtful = earlier.unanswered && batch.state != BatchState::Accepted && !over;
    match (disposition, trust) {
        // It is held back, and said no to: whichever is so, no device has failed by it.
        (Disposition::RetryLater | Disposition::StopCampaign | Disposition::RefuseBatch, _) if quarantined && !over => {
            send::hold(tx, request, batch, &format!("{note} DCC also says that it holds it in quarantine."), now).await?;
            if disposition == Disposition::StopCampaign {
                let campaign = campaign::store::lock(tx, batch.campaign_id).await?;
                app.halt_with_code(tx, &campaign, code, &sentence).await?;
            }
            return Ok(Posted::Held);
        }
        (Disposition::RetryLater, _) if doubtful => {
            let why = format!("{note} An earlier attempt may have reached DCC, so the same request is sent again.");
            if request.state == OutboxState::Posting {
                let wait = backoff(request.attempts, request.id.counter, Pace::Doubling, None);
                outbox::mark_unknown(tx, request.id, &why, now.plus_millis(wait.as_millis() as i64)).await?;
                campaign::store::set_batch_state(tx, batch.id, BatchState::Unknown, Some(&why), now).await?;
            }
            return Ok(Posted::Unknown);
        }
        (Disposition::StopCampaign | Disposition::RefuseBatch, _) if doubtful => {
            let why = format!("{note} An earlier attempt may have reached DCC, so its devices go into no other request.");
            send::hold(tx, request, batch, &why, now).await?;
            if disposition == Disposition::StopCampaign {
                let campaign = campaign::store::lock(tx, batch.campaign_id).await?;
                app.halt_with_code(tx, &campaign, code, &sentence).await?;
            }
            return Ok(Posted::Held);
        }
        (Disposition::Accepted, Trust::Reply | Trust::Message) => {
            answered(tx, request, code, now).await?;
            taken(tx, batch, accepts.then_some(note.as_str()), answer_by, &policies.steps, now).await?;
            if let Body::Message { content: Content::UpdateFirmwareWarning(warning), .. } = &response.body {
                drop_devices(tx, batch, code, warning, now).await?;
            }
        }
        // An earlier attempt than the one it answers, whichever that is; but not one to which DCC said no.
        (Disposition::SeenAlready, Trust::Reply | Trust::Message)
            if request.posts > 1
                && earlier.unanswered
                && !earlier.answered
                && outbox::was_posted(tx, request.id, request.body_digest).await? =>
        {
            answered(tx, request, code, now).await?;
            taken(tx, batch, accepts.then_some(note.as_str()), answer_by, &policies.steps, now).await?;
        }
        // The same no again, as a message after the reply: what follows from it was done.
        (Disposition::RetryLater | Disposition::StopCampaign | Disposition::RefuseBatch, _) if over => {
            answered(tx, request, code, now).await?;
        }
        (Disposition::RetryLater | Disposition::StopCampaign, _) => {
            answered(tx, request, code, now).await?;
            if early {
                campaign::store::set_batch_state(tx, batch.id, BatchState::Dissolved, Some(&note), now).await?;
                app.give_back(tx, batch, Some(&note), now).await?;
            } else {
                refused(tx, batch, &note, now).await?;
            }
            if disposition == Disposition::StopCampaign {
                let campaign = campaign::store::lock(tx, batch.campaign_id).await?;
                app.halt_with_code(tx, &campaign, code, &sentence).await?;
            } else {
                return Ok(Posted::NotSent);
            }
        }
        (Disposition::RefuseBatch, _) => {
            answered(tx, request, code, now).await?;
            refused(tx, batch, &note, now).await?;
        }
        // An unlisted code, one about a device when none is named, a "seen already" for what we never sent before, a yes without a signature: a person looks.
        (
            Disposition::Unknown
            | Disposition::NeedsKeys
            | Disposition::DropDevice
            | Disposition::SeenAlready
            | Disposition::Accepted,
            _,
        ) => {
            let why = match disposition {
                Disposition::SeenAlready => format!(
                    "{code}: DCC says it has seen this RequestID, but no attempt with this body is known that it may have taken: none was made before, or DCC said no to it (a restored backup? a second system?)"
                ),
                _ => note,
            };
            if over {
                tracing::error!(request = %request.id, code, "DCC answered again, with a code that says something else");
            } else {
                send::hold(tx, request, batch, &why, now).await?;
            }
            return Ok(Posted::Held);
        }
    }
    Ok(Posted::Settled)
}

/// DCC has the request: its members go on to their own deadline, if they have one. `note` is given where the batch itself is accepted by this
/// answer.
async fn taken(tx: &mut Tx, batch: &Batch, note: Option<&str>, answer_by: Option<Time>, steps: &Steps, now: Time) -> Outcome {
    if note.is_some() {
        campaign::store::set_batch_state(tx, batch.id, BatchState::Accepted, note, now).await?;
    }
    let moved = Moved { answer_by, ..Moved::because(Because::by(Cause::Answer, batch.id)) };
    targets::move_all(tx, batch.plan_id, Which::Batch(batch.id), Event::Accepted, moved, now).await?;
    if answer_by.is_some() {
        deadline::set_deadlines(tx, batch.plan_id, deadline::Moved::Batch(batch.id), steps, now).await?;
    }
    Ok(())
}

/// DCC refused the request for good: its members have failed.
async fn refused(tx: &mut Tx, batch: &Batch, note: &str, now: Time) -> Outcome {
    campaign::store::set_batch_state(tx, batch.id, BatchState::Refused, Some(note), now).await?;
    let moved = Moved { detail: Some(note), ..Moved::because(Because::by(Cause::Answer, batch.id)) };
    targets::move_all(tx, batch.plan_id, Which::Batch(batch.id), Event::Failed, moved, now).await?;
    Ok(())
}

/// What became of the attempts before the one that is answered.
pub(super) struct Earlier {
    /// One of them left or may have left, and no usable answer came.
    pub unanswered: bool,
    /// DCC answered one of them.
    pub answered: bool,
}

pub(super) async fn earlier_attempts(tx: &mut Tx, request: &OutboxRequest) -> Outcome<Earlier> {
    let mut postings = postings(tx, request.id).await?;
    let is_posting = request.state == OutboxState::Posting;
    if is_posting {
        postings.pop();
    }
    // Attempts that an older version of this program made are counted and not kept: what became of them is not known.
    let not_kept = request.posts > postings.len() as u32 + u32::from(is_posting);
    let mut earlier = Earlier { unanswered: not_kept && request.posts > 1, answered: false };
    for posting in postings {
        match posting.outcome {
            // What HTTP said no to may have been taken all the same: only DCC's own word counts.
            None | Some(PostingOutcome::Unknown | PostingOutcome::Rejected) => earlier.unanswered |= request.posts > 1,
            Some(PostingOutcome::Answered | PostingOutcome::Refused) => earlier.answered = true,
            Some(PostingOutcome::NotSent) => {}
        }
    }
    Ok(earlier)
}

/// The first answer counts; a later one about the same request finds it answered and leaves it so.
pub(super) async fn answered(tx: &mut Tx, request: &OutboxRequest, code: &str, now: Time) -> Outcome {
    match outbox::mark_answered(tx, request.id, code, now).await {
        Err(e) if !e.is_stale() => Err(e.into()),
        _ => Ok(()),
    }
}

/// Devices that DCC dropped from the request have failed; the rest goes on.
async fn drop_devices(tx: &mut Tx, batch: &Batch, code: &str, warning: &UpdateFirmwareWarning, now: Time) -> Outcome {
    for (list, devices) in warning.lists() {
        for group in devices.chunks(targets::GROUP_ROWS) {
            let found = targets::find(tx, &[batch.plan_id], group).await?;
            let changes: Vec<Change> = found
                .into_iter()
                .filter(|t| t.batch_id == Some(batch.id))
                .filter_map(|t| {
                    let state = t.state.on(Event::Failed).ok().filter(|s| *s != t.state)?;
                    Some(Change {
                        plan_id: t.plan_id,
                        device: t.device,
                        version: t.version,
                        state,
                        reason: t.reason,
                        answer_by: None,
                        detail: Some(format!("{code}: dropped by DCC, {list}")),
                        because: Because::by(Cause::Answer, batch.id),
                    })
                })
                .collect();
            if targets::apply(tx, &changes, now).await? != changes.len() as u64 {
                return Err(Failure::failed("a device was moved by another node while it was dropped from its request")
                    .help("nothing was written; it is tried again"));
            }
        }
    }
    Ok(())
}
