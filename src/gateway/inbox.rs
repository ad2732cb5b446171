//! Messages from DCC, kept as they were received. Not their meaning, and not what a person looks for among them (`store`).
//! Promise: a message is stored once, however often it comes, and its bytes are never changed; only what became of it is.
//!
//! ```text
//! new -> settled | ignored | unmatched | failed            ignored | unmatched | failed | dismissed -> new (replayed)
//! rejected (not known to be DCC's) -> new (verified since)  unmatched | failed | rejected -> dismissed
//! new -> forwarding -> forwarded
//! ```

mod entry;
mod gist;
pub mod store;

use std::collections::BTreeMap;

pub use entry::{Filter, InboxEntry, InboxState, KindCount, Source};
pub use store::{Arrived, Fetched, fetch_new, mark};

use super::{
    GatewayError,
    archive::{ArchiveError, Kept, subject},
    dedupe::{dedupe_key, dedupe_key_of_unreadable},
};
use crate::{
    clock::Time,
    db::{DbError, DbResult, Tx},
    duis::{CertificateSet, Response, SignatureError, read_kept_response, read_response, read_unsigned_refusal},
    ids::{DeviceId, ImageId, RequestId, Sha256Hash},
    sql,
};

/// Characters of a note that are kept: a sentence, never a message.
const NOTE_CHARS: usize = 300;
/// Characters of a kind: the longest element of the schema has 40.
const KIND_CHARS: usize = 100;
/// The largest multi-row insert on SQLite, a power of two: 256 rows of 13 values are far below its 32,766 parameters.
const SQLITE_ROWS: usize = 256;

/// The `kind` of a message that DCC signed and that could not be read when it came; reading it again says why.
pub const UNREADABLE: &str = "unreadable";

/// A verified message about to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    pub received_at: Time,
    pub dedupe_key: String,
    /// The request it is about.
    pub request_id: Option<RequestId>,
    /// The device it is about, where it is one.
    pub device: Option<DeviceId>,
    /// [`Response::kind`].
    pub kind: String,
    pub response_code: String,
    /// Alerts it stands for.
    pub stands_for: u32,
    /// Of what was verified; by it the message is read again.
    pub digest: Option<Sha256Hash>,
    /// As it was received.
    pub kept: Kept,
    /// What settling needs of it, where it is of a frequent kind.
    pub gist: Option<Vec<u8>>,
}

impl NewMessage {
    /// `response` is what was read from `bytes` after its signature was verified, `digest` what was signed.
    pub fn of(response: &Response, digest: Sha256Hash, bytes: &[u8], received_at: Time) -> NewMessage {
        NewMessage {
            received_at,
            dedupe_key: dedupe_key(response),
            request_id: response.about(),
            device: subject::device(response),
            kind: response.kind().chars().take(KIND_CHARS).collect(),
            response_code: response.code.clone(),
            stands_for: response.stands_for(),
            digest: Some(digest),
            kept: Kept::pack(bytes),
            gist: gist::of(response, received_at),
        }
    }

    /// A message that DCC signed and nobody here can read: kept for the operator all the same.
    pub fn unreadable(request_id: Option<RequestId>, digest: Sha256Hash, bytes: &[u8], received_at: Time) -> NewMessage {
        NewMessage {
            received_at,
            dedupe_key: dedupe_key_of_unreadable(digest),
            request_id,
            device: None,
            kind: UNREADABLE.to_string(),
            response_code: String::new(),
            stands_for: 1,
            digest: Some(digest),
            kept: Kept::pack(bytes),
            gist: None,
        }
    }
}

/// A message to be settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxMessage {
    pub id: i64,
    pub received_at: Time,
    pub source: Source,
    pub request_id: Option<RequestId>,
    pub kind: String,
    pub response_code: String,
    /// None: it was stored by the first schema, or has no signature.
    pub digest: Option<Sha256Hash>,
    pub kept: Kept,
}

/// Why a message that is kept cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableMessage {
    #[error(transparent)]
    Kept(#[from] ArchiveError),
    #[error(transparent)]
    Message(#[from] SignatureError),
}

impl InboxMessage {
    /// As it was received.
    pub fn body(&self) -> Result<Vec<u8>, ArchiveError> {
        self.kept.unpack()
    }

    /// Whether DCC signed it. An unsigned refusal is kept too, where it was the reply to a POST of ours.
    pub fn is_signed(&self) -> bool {
        self.digest.is_some() || self.source == Source::Post
    }

    /// What it says. It was verified before it was stored, and is read by the digest of what was: a certificate that is no longer
    /// pinned, or has expired since, does not make it unreadable. `pinned` is for messages of the first schema, kept without one.
    pub fn read(&self, pinned: &CertificateSet) -> Result<Response, UnreadableMessage> {
        let body = self.body()?;
        Ok(match (self.digest, self.source) {
            (Some(digest), _) => read_kept_response(&body, digest)?,
            (None, Source::Post) => read_response(&body, pinned, self.received_at)?,
            (None, Source::Reply) => read_unsigned_refusal(&body)?,
        })
    }
}

/// Stores the messages that are not stored yet, each with its mark; how many that were.
pub async fn insert_many(tx: &mut Tx, messages: &[NewMessage]) -> Result<u64, GatewayError> {
    Ok(match tx {
        Tx::Sqlite(t) => {
            // The only writer gives out the ids itself, so that each mark finds its message; those of what is kept already stay unused.
            let last = "select coalesce(max(id), 0) from inbox order by 1";
            let mut last: i64 = sqlx::query_scalar(last).fetch_one(&mut **t).await.map_err(DbError::from)?;
            let (mut rest, mut inserted) = (messages, 0);
            while !rest.is_empty() {
                // A power of two, so that few statement texts exist and each is prepared once.
                let n = if rest.len() >= SQLITE_ROWS { SQLITE_ROWS } else { 1 << rest.len().ilog2() };
                let (chunk, after) = rest.split_at(n);
                let [keep, mark] = sqlite_insert(n);
                let mut query = sqlx::query(sqlx::AssertSqlSafe(keep));
                for (id, m) in (last + 1..).zip(chunk) {
                    query = query
                        .bind(id)
                        .bind(m.received_at.0)
                        .bind(&m.dedupe_key)
                        .bind(m.request_id.map(|id| id.to_string()))
                        .bind(counter_of(m.request_id))
                        .bind(m.device.map(DeviceId::to_db))
                        .bind(&m.kind)
                        .bind(&m.response_code)
                        .bind(i64::from(m.stands_for))
                        .bind(m.digest.as_ref().map(|d| d.0.as_slice()))
                        .bind(m.kept.encoding)
                        .bind(m.kept.size as i64)
                        .bind(m.kept.bytes.as_slice());
                }
                query.execute(&mut **t).await.map_err(DbError::from)?;
                let mut query = sqlx::query(sqlx::AssertSqlSafe(mark));
                for (id, m) in (last + 1..).zip(chunk) {
                    query = query.bind(id).bind(m.gist.as_deref());
                }
                inserted += query.execute(&mut **t).await.map_err(DbError::from)?.rows_affected();
                (last, rest) = (last + n as i64, after);
            }
            inserted
        }
        Tx::Postgres(t) => {
            let text = format!(
                "with given as (
                     select nextval(pg_get_serial_sequence('inbox', 'id')) as id, g.*
                     from unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::bigint[],
                         $9::bytea[], $10::bigint[], $11::bigint[], $12::bytea[], $13::bytea[]) as g ({COLUMNS}, gist)),
                 stored as (
                     insert into inbox (id, {COLUMNS}) select id, {COLUMNS} from given on conflict (dedupe_key) do nothing returning id)
                 insert into inbox_marks (id, state, gist) select given.id, 'new', given.gist from given join stored on stored.id = given.id"
            );
            sqlx::query(sqlx::AssertSqlSafe(text))
                .bind(column(messages, |m| m.received_at.0))
                .bind(column(messages, |m| m.dedupe_key.as_str()))
                .bind(column(messages, |m| m.request_id.map(|id| id.to_string())))
                .bind(column(messages, |m| counter_of(m.request_id)))
                .bind(column(messages, |m| m.device.map(DeviceId::to_db)))
                .bind(column(messages, |m| m.kind.as_str()))
                .bind(column(messages, |m| m.response_code.as_str()))
                .bind(column(messages, |m| i64::from(m.stands_for)))
                .bind(column(messages, |m| m.digest.as_ref().map(|d| d.0.as_slice())))
                .bind(column(messages, |m| m.kept.encoding))
                .bind(column(messages, |m| m.kept.size as i64))
                .bind(column(messages, |m| m.kept.bytes.as_slice()))
                .bind(column(messages, |m| m.gist.as_deref()))
                .execute(&mut **t)
                .await
                .map_err(DbError::from)?
                .rows_affected()
        }
    })
}

/// What [`insert_many`] writes of a message beside its id, in the order of its parameters.
const COLUMNS: &str = "received_at, dedupe_key, request_id, request_counter, device_id, kind, response_code, stands_for, digest, \
     encoding, size, body";

/// Keeps messages, and marks those that were not kept yet. `?` parameters: numbered ones are quadratic on sqlx's SQLite driver.
fn sqlite_insert(rows: usize) -> [String; 2] {
    let values = vec!["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"; rows].join(", ");
    let marks = vec!["(?, ?)"; rows].join(", ");
    [
        format!("insert into inbox (id, {COLUMNS}) values {values} on conflict (dedupe_key) do nothing"),
        format!(
            "with given (id, gist) as (values {marks})
             insert into inbox_marks (id, state, gist) select given.id, 'new', given.gist from given
             where exists (select 1 from inbox where inbox.id = given.id)"
        ),
    ]
}

/// One column of the rows to be stored.
fn column<'a, T>(messages: &'a [NewMessage], of: impl Fn(&'a NewMessage) -> T) -> Vec<T> {
    messages.iter().map(of).collect()
}

/// The counter of a RequestID, as the bits that a column holds.
fn counter_of(id: Option<RequestId>) -> Option<i64> {
    id.map(|id| id.counter as i64)
}

fn digest_of(id: i64, bytes: Option<Vec<u8>>) -> DbResult<Option<Sha256Hash>> {
    let Some(bytes) = bytes else { return Ok(None) };
    let found = bytes.len();
    let hash = bytes.try_into().map_err(|_| DbError::bad_row("inbox", id, "digest", format!("{found} bytes")))?;
    Ok(Some(ImageId(hash)))
}

fn request_id(id: i64, text: Option<String>) -> DbResult<Option<RequestId>> {
    text.map(|t| t.parse().map_err(|_| DbError::bad_row("inbox", id, "request_id", t))).transpose()
}

/// Messages with what became of each.
const MARKED: &str = "inbox join inbox_marks using (id)";
/// The same, for what is looked for by its state: the ids are those of the table that stands first, and SQLite has them in order from its index.
const BY_STATE: &str = "inbox_marks join inbox using (id)";

/// The columns of a [`MessageRow`].
const MESSAGE_COLUMNS: &str = "id, received_at, source, request_id, kind, response_code, digest, encoding, \
     coalesce(size, cast(octet_length(body) as bigint)), body";

type MessageRow = (i64, i64, String, Option<String>, String, String, Option<Vec<u8>>, i64, i64, Vec<u8>);

fn message(row: MessageRow) -> DbResult<InboxMessage> {
    let (id, received_at, source, request, kind, response_code, digest, encoding, size, bytes) = row;
    Ok(InboxMessage {
        id,
        received_at: Time(received_at),
        source: spelled(id, "source", source)?,
        request_id: request_id(id, request)?,
        kind,
        response_code,
        digest: digest_of(id, digest)?,
        kept: kept(id, encoding, size, bytes)?,
    })
}

fn kept(id: i64, encoding: i64, size: i64, bytes: Vec<u8>) -> DbResult<Kept> {
    let size = usize::try_from(size).map_err(|_| DbError::bad_row("inbox", id, "size", size))?;
    Ok(Kept { encoding, size, bytes })
}

fn spelled<T: std::str::FromStr>(id: i64, column: &'static str, text: String) -> DbResult<T> {
    text.parse().map_err(|_| DbError::bad_row("inbox", id, column, text))
}

/// How many messages are in each state; states with none are left out.
pub async fn counts(tx: &mut Tx) -> Result<BTreeMap<InboxState, u64>, GatewayError> {
    let text = "select state, count(*) from inbox_marks group by state order by state";
    let rows: Vec<(String, i64)> = sql!(tx, c => sqlx::query_as(text).fetch_all(c).await.map_err(DbError::from)?);
    rows.into_iter().map(|(state, n)| Ok((spelled(0, "state", state)?, n as u64))).collect()
}

/// Messages, newest first, in one state or in any; `before` is the last id of the page before.
pub async fn list(
    tx: &mut Tx,
    wanted: Option<InboxState>,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<InboxEntry>, GatewayError> {
    store::search(tx, &Filter { state: wanted, ..Filter::default() }, before, limit).await
}

#[cfg(test)]
mod tests;
