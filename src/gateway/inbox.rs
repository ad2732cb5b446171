//! Verified messages from DCC, kept as they were received until somebody has settled them. Not their meaning.
//! Promise: a message is stored once, however often it comes, and is never changed; only its state is.

use std::collections::BTreeMap;

use super::{
    GatewayError,
    dedupe::{dedupe_key, dedupe_key_of_unreadable},
};
use crate::{
    clock::Time,
    db::{DbError, DbResult, Tx},
    duis::Response,
    ids::RequestId,
    sql,
};

/// Characters of a note that are kept: a sentence, never a message.
const NOTE_CHARS: usize = 300;
/// The largest multi-row insert on SQLite, a power of two: 256 rows of 7 values are far below its 32,766 parameters.
const SQLITE_ROWS: usize = 256;

/// The `kind` of a message that DCC signed and that could not be read when it came; reading it again says why.
pub const UNREADABLE: &str = "unreadable";

/// A verified message about to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    pub received_at: Time,
    pub dedupe_key: String,
    pub request_id: Option<RequestId>,
    /// [`Response::kind`].
    pub kind: String,
    pub response_code: String,
    /// As it was received.
    pub body: Vec<u8>,
}

impl NewMessage {
    /// `response` is what was read from `body` after its signature was verified.
    pub fn of(response: &Response, body: Vec<u8>, received_at: Time) -> NewMessage {
        NewMessage {
            received_at,
            dedupe_key: dedupe_key(response),
            request_id: response.request_id,
            kind: response.kind().to_string(),
            response_code: response.code.clone(),
            body,
        }
    }

    /// A message that DCC signed and nobody here can read: kept for the operator all the same.
    pub fn unreadable(request_id: Option<RequestId>, body: Vec<u8>, received_at: Time) -> NewMessage {
        NewMessage {
            received_at,
            dedupe_key: dedupe_key_of_unreadable(&body),
            request_id,
            kind: UNREADABLE.to_string(),
            response_code: String::new(),
            body,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum InboxState {
    New,
    Settled,
    /// Answers no request of ours.
    Ignored,
    /// Waits for an operator.
    Unmatched,
    /// Could not be settled; the note says why.
    Failed,
}

impl InboxState {
    const ALL: [InboxState; 5] = {
        use InboxState::*;
        [New, Settled, Ignored, Unmatched, Failed]
    };

    pub fn as_str(self) -> &'static str {
        match self {
            InboxState::New => "new",
            InboxState::Settled => "settled",
            InboxState::Ignored => "ignored",
            InboxState::Unmatched => "unmatched",
            InboxState::Failed => "failed",
        }
    }

    fn parse(text: &str) -> Option<InboxState> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

/// A message to be settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxMessage {
    pub id: i64,
    pub received_at: Time,
    pub request_id: Option<RequestId>,
    pub kind: String,
    pub response_code: String,
    pub body: Vec<u8>,
}

/// A message as it is listed: without its body.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct InboxEntry {
    pub id: i64,
    pub received_at: Time,
    pub request_id: Option<RequestId>,
    pub kind: String,
    pub response_code: String,
    pub size: u64,
    pub state: InboxState,
    pub note: Option<String>,
    pub settled_at: Option<Time>,
}

/// Stores the messages that are not stored yet; how many that were.
pub async fn insert_many(tx: &mut Tx, messages: &[NewMessage]) -> Result<u64, GatewayError> {
    let inserted = match tx {
        Tx::Sqlite(t) => {
            let (mut rest, mut inserted) = (messages, 0);
            while !rest.is_empty() {
                // A power of two, so that few statement texts exist and each is prepared once.
                let n = if rest.len() >= SQLITE_ROWS { SQLITE_ROWS } else { 1 << rest.len().ilog2() };
                let (chunk, after) = rest.split_at(n);
                let mut query = sqlx::query(sqlx::AssertSqlSafe(sqlite_insert(n)));
                for m in chunk {
                    query = query
                        .bind(m.received_at.0)
                        .bind(&m.dedupe_key)
                        .bind(m.request_id.map(|id| id.to_string()))
                        .bind(&m.kind)
                        .bind(&m.response_code)
                        .bind(m.body.as_slice());
                }
                inserted += query.execute(&mut **t).await.map_err(DbError::from)?.rows_affected();
                rest = after;
            }
            inserted
        }
        Tx::Postgres(t) => {
            let text = "insert into inbox (received_at, dedupe_key, request_id, kind, response_code, body, state)
                select *, 'new' from unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[])
                on conflict (dedupe_key) do nothing";
            let column = |f: fn(&NewMessage) -> &str| messages.iter().map(f).collect::<Vec<&str>>();
            sqlx::query(text)
                .bind(messages.iter().map(|m| m.received_at.0).collect::<Vec<i64>>())
                .bind(column(|m| &m.dedupe_key))
                .bind(messages.iter().map(|m| m.request_id.map(|id| id.to_string())).collect::<Vec<Option<String>>>())
                .bind(column(|m| &m.kind))
                .bind(column(|m| &m.response_code))
                .bind(messages.iter().map(|m| m.body.as_slice()).collect::<Vec<&[u8]>>())
                .execute(&mut **t)
                .await
                .map_err(DbError::from)?
                .rows_affected()
        }
    };
    Ok(inserted)
}

/// `?` parameters: numbered ones are quadratic on sqlx's SQLite driver.
fn sqlite_insert(rows: usize) -> String {
    let head = "insert into inbox (received_at, dedupe_key, request_id, kind, response_code, body, state) values ";
    let values = vec!["(?, ?, ?, ?, ?, ?, 'new')"; rows].join(", ");
    format!("{head}{values} on conflict (dedupe_key) do nothing")
}

fn request_id(id: i64, text: Option<String>) -> DbResult<Option<RequestId>> {
    text.map(|t| t.parse().map_err(|_| DbError::bad_row("inbox", id, "request_id", t))).transpose()
}

/// New messages with an id above `after`, in the order they were stored, at most `limit` and about `FETCH_BYTES` of bodies.
/// `after` pages within one pass; begin each pass at 0, since ids of several nodes may be committed out of order.
pub async fn fetch_new(tx: &mut Tx, after: i64, limit: u32) -> Result<Vec<InboxMessage>, GatewayError> {
    // The running sum keeps a page of megabyte warnings small; the first message always comes.
    let text = "select id, received_at, request_id, kind, response_code, body from inbox
        where state = 'new' and id in (
            select id from (
                select id, sum(size) over (order by id) - size as before
                from (select id, octet_length(body) as size from inbox where state = 'new' and id > $1 order by id limit $2) as page
            ) as sized where before < $3)
        order by id";
    type Row = (i64, i64, Option<String>, String, String, Vec<u8>);
    let rows: Vec<Row> = sql!(tx, c => {
        let query = sqlx::query_as(text).bind(after).bind(i64::from(limit)).bind(FETCH_BYTES);
        query.fetch_all(c).await.map_err(DbError::from)?
    });
    rows.into_iter()
        .map(|(id, received_at, request, kind, response_code, body)| {
            let request_id = request_id(id, request)?;
            Ok(InboxMessage { id, received_at: Time(received_at), request_id, kind, response_code, body })
        })
        .collect()
}

/// Bytes of bodies after which a page of [`fetch_new`] ends: a thousand alerts of 2 KB fit, and memory stays small.
const FETCH_BYTES: i64 = 16 * 1024 * 1024;

/// What became of new messages, in one statement. Stale, changing nothing of use (roll back), where one of them is not new
/// any more.
pub async fn mark(tx: &mut Tx, marks: &[(i64, InboxState, Option<String>)], now: Time) -> Result<(), GatewayError> {
    let short = |note: &Option<String>| note.as_ref().map(|n| n.chars().take(NOTE_CHARS).collect::<String>());
    let changed = match tx {
        Tx::Sqlite(t) => {
            let rows: Vec<_> = marks.iter().map(|(id, state, note)| (id, state.as_str(), short(note))).collect();
            let json = serde_json::to_string(&rows).expect("numbers and texts are JSON");
            let text = "update inbox set state = m.state, note = m.note, settled_at = $2
                from (select json_extract(value, '$[0]') as id, json_extract(value, '$[1]') as state,
                             json_extract(value, '$[2]') as note from json_each($1)) as m
                where inbox.id = m.id and inbox.state = 'new'";
            sqlx::query(text).bind(json).bind(now.0).execute(&mut **t).await.map_err(DbError::from)?.rows_affected()
        }
        Tx::Postgres(t) => {
            let text = "update inbox set state = m.state, note = m.note, settled_at = $4
                from unnest($1::bigint[], $2::text[], $3::text[]) as m (id, state, note)
                where inbox.id = m.id and inbox.state = 'new'";
            sqlx::query(text)
                .bind(marks.iter().map(|m| m.0).collect::<Vec<i64>>())
                .bind(marks.iter().map(|m| m.1.as_str()).collect::<Vec<&str>>())
                .bind(marks.iter().map(|m| short(&m.2)).collect::<Vec<Option<String>>>())
                .bind(now.0)
                .execute(&mut **t)
                .await
                .map_err(DbError::from)?
                .rows_affected()
        }
    };
    let stale = marks.len() - usize::try_from(changed).unwrap_or(0).min(marks.len());
    if stale > 0 { Err(GatewayError::StaleMessages { wanted: marks.len(), stale }) } else { Ok(()) }
}

/// Makes a message new again, so that it is settled once more: for one that was ignored, unmatched or failed.
pub async fn replay(tx: &mut Tx, id: i64) -> Result<(), GatewayError> {
    let text = "update inbox set state = 'new', note = null, settled_at = null
        where id = $1 and state in ('ignored', 'unmatched', 'failed')";
    let changed = sql!(tx, c => sqlx::query(text).bind(id).execute(c).await.map_err(DbError::from)?.rows_affected());
    if changed == 1 { Ok(()) } else { Err(GatewayError::StaleMessages { wanted: 1, stale: 1 }) }
}

/// How many messages are in each state; states with none are left out.
pub async fn counts(tx: &mut Tx) -> Result<BTreeMap<InboxState, u64>, GatewayError> {
    let text = "select state, count(*) from inbox group by state order by state";
    let rows: Vec<(String, i64)> = sql!(tx, c => sqlx::query_as(text).fetch_all(c).await.map_err(DbError::from)?);
    rows.into_iter().map(|(s, n)| Ok((state(0, &s)?, n as u64))).collect()
}

fn state(id: i64, text: &str) -> DbResult<InboxState> {
    InboxState::parse(text).ok_or_else(|| DbError::bad_row("inbox", id, "state", text))
}

/// Messages, newest first, in one state or in any; `before` is the last id of the page before.
pub async fn list(
    tx: &mut Tx,
    wanted: Option<InboxState>,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<InboxEntry>, GatewayError> {
    let which = wanted.map(|s| format!("and state = '{}'", s.as_str())).unwrap_or_default();
    let text = sqlx::AssertSqlSafe(format!(
        "select id, received_at, request_id, kind, response_code, cast(octet_length(body) as bigint), state, note, settled_at
         from inbox where id < $1 {which} order by id desc limit $2"
    ));
    type Row = (i64, i64, Option<String>, String, String, i64, String, Option<String>, Option<i64>);
    let rows: Vec<Row> = sql!(tx, c => {
        let query = sqlx::query_as(text).bind(before.unwrap_or(i64::MAX)).bind(i64::from(limit));
        query.fetch_all(c).await.map_err(DbError::from)?
    });
    rows.into_iter()
        .map(|(id, received_at, request, kind, response_code, size, found, note, settled_at)| {
            Ok(InboxEntry {
                id,
                received_at: Time(received_at),
                request_id: request_id(id, request)?,
                kind,
                response_code,
                size: size as u64,
                state: state(id, &found)?,
                note,
                settled_at: settled_at.map(Time),
            })
        })
        .collect()
}

/// One message, with its body as it was received.
pub async fn show(tx: &mut Tx, id: i64) -> Result<Option<(InboxEntry, Vec<u8>)>, GatewayError> {
    let Some(entry) = list(tx, None, id.checked_add(1), 1).await?.into_iter().next().filter(|e| e.id == id) else {
        return Ok(None);
    };
    let text = "select body from inbox where id = $1 order by id";
    let body: Option<Vec<u8>> = sql!(tx, c => sqlx::query_scalar(text).bind(id).fetch_optional(c).await.map_err(DbError::from)?);
    Ok(body.map(|body| (entry, body)))
}

#[cfg(test)]
mod tests;
