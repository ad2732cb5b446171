//! DCC's answer to a whole request, at once or later: what its response code means for the batch and its members.
//! The meaning is data (`policies/response-codes.toml`); here is what follows from it.

use super::{App, Posted, send};
use crate::{
    campaign::{
        self,
        batch::{Batch, BatchState},
    },
    db::Tx,
    duis::{Body, Content, Response, UpdateFirmwareWarning},
    failure::{Failure, Outcome},
    gateway::outbox::{self, OutboxRequest},
    policy::Disposition,
    target::{
        Event,
        store::{self as targets, Change, Which},
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
    let accepts = early || (batch.state == BatchState::Held && trust == Trust::Message);
    match (disposition, trust) {
        (Disposition::Accepted, Trust::Reply | Trust::Message) => {
            let answer_by = now.plus_millis(policies.eligibility.answer_within.millis());
            answered(tx, request, code, now).await?;
            if accepts {
                campaign::store::set_batch_state(tx, batch.id, BatchState::Accepted, Some(&note), now).await?;
            }
            targets::move_all(tx, batch.plan_id, Which::Batch(batch.id), Event::Accepted, None, Some(answer_by), now).await?;
            if let Body::Message { content: Content::UpdateFirmwareWarning(warning), .. } = &response.body {
                drop_devices(tx, batch, code, warning, now).await?;
            }
        }
        // An earlier attempt than the one it answers, whichever that is.
        (Disposition::SeenAlready, Trust::Reply | Trust::Message)
            if request.posts > 1 && outbox::was_posted(tx, request.id, request.body_digest).await? =>
        {
            let answer_by = now.plus_millis(policies.eligibility.answer_within.millis());
            answered(tx, request, code, now).await?;
            if accepts {
                campaign::store::set_batch_state(tx, batch.id, BatchState::Accepted, Some(&note), now).await?;
            }
            targets::move_all(tx, batch.plan_id, Which::Batch(batch.id), Event::Accepted, None, Some(answer_by), now).await?;
        }
        // The same no again, as a message after the reply: what follows from it was done.
        (Disposition::RetryLater | Disposition::StopCampaign | Disposition::RefuseBatch, _) if over => {
            answered(tx, request, code, now).await?;
        }
        (Disposition::RetryLater | Disposition::StopCampaign, _) => {
            answered(tx, request, code, now).await?;
            if early {
                campaign::store::set_batch_state(tx, batch.id, BatchState::Dissolved, Some(&note), now).await?;
                send::give_back(tx, batch, Some(&note), now).await?;
            } else {
                campaign::store::set_batch_state(tx, batch.id, BatchState::Refused, Some(&note), now).await?;
                targets::move_all(tx, batch.plan_id, Which::Batch(batch.id), Event::Failed, Some(&note), None, now).await?;
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
            campaign::store::set_batch_state(tx, batch.id, BatchState::Refused, Some(&note), now).await?;
            targets::move_all(tx, batch.plan_id, Which::Batch(batch.id), Event::Failed, Some(&note), None, now).await?;
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
                    "{code}: DCC says it has seen this RequestID, but it was not posted before with this body and answered under its signature (a restored backup? a second system?)"
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

/// The first answer counts; a later one about the same request finds it answered and leaves it so.
pub(super) async fn answered(tx: &mut Tx, request: &OutboxRequest, code: &str, now: crate::clock::Time) -> Outcome {
    match outbox::mark_answered(tx, request.id, code, now).await {
        Err(e) if !e.is_stale() => Err(e.into()),
        _ => Ok(()),
    }
}

/// Devices that DCC dropped from the request have failed; the rest goes on.
async fn drop_devices(
    tx: &mut Tx,
    batch: &Batch,
    code: &str,
    warning: &UpdateFirmwareWarning,
    now: crate::clock::Time,
) -> Outcome {
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
