//! The synchronous replies to our POSTs: kept like what is posted to us, each known by the attempt it answers, so that a message
//! that says the same later is not taken for it.

use super::{
    super::{InboxState, KIND_CHARS, NOTE_CHARS, Source, counter_of},
    Quota,
    refused::{LARGEST_REFUSED_BYTES, make_room},
    settling::first_mark,
};
use crate::{
    clock::Time,
    db::{DbError, Tx},
    duis::Response,
    gateway::{
        GatewayError,
        archive::{Kept, subject},
    },
    ids::{RequestId, Sha256Hash},
    sql,
};

/// The reason of a reply that could not be used: nothing is known of who wrote it, but that it sits at DCC's address.
const UNUSABLE: &str = "reply";

/// A reply, and what it was taken for.
#[derive(Debug, Clone, Copy)]
pub struct KeptReply<'a> {
    /// The request that was posted, and which attempt it was.
    pub request: RequestId,
    pub attempt: u32,
    pub received_at: Time,
    pub bytes: &'a [u8],
    /// What was read from it; `None` where it could not be used.
    pub read: Option<&'a Response>,
    /// Of what was verified; `None` where it has no signature.
    pub digest: Option<Sha256Hash>,
    pub state: InboxState,
    pub note: Option<&'a str>,
}

/// Keeps a reply; gives its id. An unusable one counts among what is refused. `None`: it is too large to be kept.
pub async fn keep_reply(tx: &mut Tx, reply: &KeptReply<'_>) -> Result<Option<i64>, GatewayError> {
    let text = "insert into inbox (received_at, dedupe_key, source, request_id, request_counter, device_id, kind, response_code,
            stands_for, digest, encoding, size, body, reason)
        values ($1, $2, $3, $4, $5, $6, $7, $8, 1, $9, $10, $11, $12, $13)
        on conflict (dedupe_key) do nothing returning id";
    if reply.read.is_none() && reply.bytes.len() > LARGEST_REFUSED_BYTES {
        return Ok(None);
    }
    let kind: String = reply.read.map(|r| r.kind().chars().take(KIND_CHARS).collect()).unwrap_or_default();
    let packed = Kept::pack(reply.bytes);
    let reason = (reply.state == InboxState::Rejected).then_some(UNUSABLE);
    let id: Option<i64> = sql!(&mut *tx, c => {
        sqlx::query_scalar(text)
            .bind(reply.received_at.0)
            .bind(format!("reply {} attempt {}", reply.request, reply.attempt))
            .bind(Source::Reply.as_str())
            .bind(reply.request.to_string())
            .bind(counter_of(Some(reply.request)))
            .bind(reply.read.and_then(subject::device).map(|d| d.to_db()))
            .bind(kind)
            .bind(reply.read.map(|r| r.code.clone()).unwrap_or_default())
            .bind(reply.digest.map(|d| d.0.to_vec()))
            .bind(packed.encoding)
            .bind(packed.size as i64)
            .bind(packed.bytes)
            .bind(reason)
            .fetch_optional(c)
            .await
            .map_err(DbError::from)?
    });
    if let Some(id) = id {
        let note = reply.note.map(|n| n.chars().take(NOTE_CHARS).collect::<String>());
        first_mark(tx, id, reply.state, note.as_deref(), Some(reply.received_at)).await?;
    }
    if reason.is_some() {
        make_room(tx, UNUSABLE, Quota::Shaped).await?;
    }
    Ok(id)
}
