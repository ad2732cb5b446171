//! Messages that were refused, kept as evidence and to be tried again after a fix. Anybody who reaches the port can make one, so
//! they are bounded in number and bytes, each reason for itself: a flood of junk pushes out junk, oldest first, and neither fills
//! the disk nor takes the place of what may matter (a message of DCC's under a certificate that nobody has pinned yet).

use sha2::{Digest, Sha256};

use super::{
    super::{BY_STATE, InboxState, NOTE_CHARS, Source},
    prune::delete,
    settling::first_mark,
};
use crate::{
    clock::Time,
    db::{DbError, Tx},
    gateway::{GatewayError, archive::Kept},
    ids::ImageId,
    sql,
};

/// The largest refused message that is kept: a warning that lists 50,000 devices has 1.2 MB.
pub const LARGEST_REFUSED_BYTES: usize = 2 * 1024 * 1024;
/// Rows looked at in one step when room is made.
const PAGE_ROWS: i64 = 500;

/// How much is kept of what is refused for one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// In DUIS's shape, under a certificate that is not pinned or not valid: perhaps DCC's new one.
    Certified,
    /// It looks like a message and its signature does not hold.
    Shaped,
    /// Not even that.
    Junk,
}

impl Quota {
    /// A day's alerts of a small rollout; ten days of one unusable reply a minute; enough to see what a scanner sends.
    pub fn messages(self) -> i64 {
        match self {
            Quota::Certified => 20_000,
            Quota::Shaped => 2_000,
            Quota::Junk => 200,
        }
    }

    /// As kept, that is compressed: about 3 KB each, and never so much that a disk would notice.
    pub fn bytes(self) -> i64 {
        const MEBIBYTE: i64 = 1024 * 1024;
        match self {
            Quota::Certified => 64 * MEBIBYTE,
            Quota::Shaped => 16 * MEBIBYTE,
            Quota::Junk => 4 * MEBIBYTE,
        }
    }
}

/// A message that was refused.
#[derive(Debug, Clone)]
pub struct RefusedMessage {
    pub received_at: Time,
    /// The word it is counted under, of a fixed few.
    pub reason: &'static str,
    pub quota: Quota,
    /// What exactly was wrong.
    pub detail: String,
    pub bytes: Vec<u8>,
}

/// Keeps the messages, those that are kept already apart, and makes room for them. Gives how many are new.
pub async fn keep_refused(tx: &mut Tx, messages: &[RefusedMessage]) -> Result<u64, GatewayError> {
    let text = "insert into inbox (received_at, dedupe_key, kind, response_code, source, reason, encoding, size, body)
        values ($1, $2, '', '', $3, $4, $5, $6, $7) on conflict (dedupe_key) do nothing returning id";
    let mut kept = 0;
    let mut reasons: Vec<(&'static str, Quota)> = Vec::new();
    for message in messages {
        let hash = ImageId(Sha256::digest(&message.bytes).into());
        let note: String = message.detail.chars().take(NOTE_CHARS).collect();
        let packed = Kept::pack(&message.bytes);
        let id: Option<i64> = sql!(&mut *tx, c => {
            sqlx::query_scalar(text)
                .bind(message.received_at.0)
                .bind(format!("refused {hash}"))
                .bind(Source::Post.as_str())
                .bind(message.reason)
                .bind(packed.encoding)
                .bind(packed.size as i64)
                .bind(packed.bytes)
                .fetch_optional(c)
                .await
                .map_err(DbError::from)?
        });
        if let Some(id) = id {
            first_mark(tx, id, InboxState::Rejected, Some(&note), None).await?;
            kept += 1;
        }
        if !reasons.iter().any(|(reason, _)| *reason == message.reason) {
            reasons.push((message.reason, message.quota));
        }
    }
    for (reason, quota) in reasons {
        make_room(tx, reason, quota).await?;
    }
    Ok(kept)
}

/// Deletes the oldest of those refused for this reason until the rest is within its quota.
pub(super) async fn make_room(tx: &mut Tx, reason: &str, quota: Quota) -> Result<(), GatewayError> {
    let text = sqlx::AssertSqlSafe(format!(
        "select count(*), coalesce(cast(sum(octet_length(body)) as bigint), 0) from {BY_STATE} where state = 'rejected' and reason = $1"
    ));
    let (mut messages, mut bytes): (i64, i64) =
        sql!(tx, c => sqlx::query_as(text).bind(reason).fetch_one(c).await.map_err(DbError::from)?);
    while messages > quota.messages() || bytes > quota.bytes() {
        let text = sqlx::AssertSqlSafe(format!(
            "select id, cast(octet_length(body) as bigint) from {BY_STATE} where state = 'rejected' and reason = $1
             order by id limit $2"
        ));
        let oldest: Vec<(i64, i64)> =
            sql!(tx, c => sqlx::query_as(text).bind(reason).bind(PAGE_ROWS).fetch_all(c).await.map_err(DbError::from)?);
        let mut gone = Vec::new();
        for (id, size) in oldest {
            if messages <= quota.messages() && bytes <= quota.bytes() {
                break;
            }
            gone.push(id);
            messages -= 1;
            bytes -= size;
        }
        if gone.is_empty() {
            return Ok(());
        }
        delete(tx, &gone).await?;
    }
    Ok(())
}
