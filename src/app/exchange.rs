//! What the archive keeps of one attempt, in the transaction that records what came of it: how it ended, and the reply.

use super::Posted;
use crate::{
    clock::Time,
    db::Tx,
    duis::Response,
    failure::Outcome,
    gateway::{
        Exchange, PostOutcome,
        inbox::{InboxState, store as inbox},
        outbox::store::{self as outbox, PostingOutcome},
    },
    ids::RequestId,
};

pub(super) async fn keep(tx: &mut Tx, id: RequestId, attempt: u32, exchange: &Exchange, posted: Posted, now: Time) -> Outcome {
    let (outcome, trouble): (PostingOutcome, Option<String>) = match &exchange.outcome {
        PostOutcome::NotSent(trouble) if posted == Posted::NotSent => {
            return Ok(outbox::forget_posting(tx, id, attempt, &trouble.to_string(), now).await?);
        }
        // A message about it came all the same.
        PostOutcome::NotSent(trouble) => (PostingOutcome::NotSent, Some(trouble.to_string())),
        PostOutcome::Answered(_) => (PostingOutcome::Answered, None),
        PostOutcome::Refused(_) => (PostingOutcome::Refused, None),
        PostOutcome::Unknown(trouble) => (PostingOutcome::Unknown, Some(trouble.to_string())),
        PostOutcome::Rejected(trouble) => (PostingOutcome::Rejected, Some(trouble.to_string())),
    };
    let read: Option<&Response> = match &exchange.outcome {
        PostOutcome::Answered(response) | PostOutcome::Refused(response) => Some(response),
        PostOutcome::NotSent(_) | PostOutcome::Unknown(_) | PostOutcome::Rejected(_) => None,
    };
    let (state, note) = match (read, posted) {
        (None, _) => (InboxState::Rejected, trouble.as_deref()),
        (Some(_), Posted::Held) => (InboxState::Unmatched, Some("a person must decide about its batch")),
        (Some(_), Posted::Settled | Posted::NotSent | Posted::Unknown) => (InboxState::Settled, None),
    };
    let reply = match &exchange.reply {
        None => None,
        Some(reply) => {
            let kept = inbox::KeptReply {
                request: id,
                attempt,
                received_at: now,
                bytes: &reply.bytes,
                read,
                digest: reply.digest,
                state,
                note,
            };
            inbox::keep_reply(tx, &kept).await?
        }
    };
    Ok(outbox::end_posting(tx, id, attempt, outcome, trouble.as_deref(), reply, now).await?)
}
