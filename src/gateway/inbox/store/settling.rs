//! New messages, fetched to be settled, and the marks of what became of them. What is settled is narrow: a mark and a gist, without the
//! message itself, which is fetched only where it has no gist.

use std::collections::{BTreeMap, HashMap};

use super::super::{InboxMessage, InboxState, MESSAGE_COLUMNS, MessageRow, NOTE_CHARS, UnreadableMessage, gist, message};
use crate::{
    clock::Time,
    db::{
        DbError, Tx,
        given::{self, Cell},
        rows,
    },
    duis::{CertificateSet, Response},
    gateway::GatewayError,
    sql,
};

/// Bytes of bodies after which a page of [`fetch_new`] ends: a thousand alerts of 2 KB fit, and memory stays small.
const FETCH_BYTES: i64 = 16 * 1024 * 1024;

/// A message that is being settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    pub id: i64,
    pub received_at: Time,
    /// [`InboxMessage::is_signed`].
    pub is_signed: bool,
}

/// A new message, with what it is read from.
#[derive(Debug, Clone)]
pub struct Fetched {
    pub message: Arrived,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    /// It was read when it came.
    Read(Box<Response>),
    Whole(Box<InboxMessage>),
}

impl Fetched {
    /// What it says; `pinned` as in [`InboxMessage::read`].
    pub fn read(self, pinned: &CertificateSet) -> Result<Response, UnreadableMessage> {
        match self.content {
            Content::Read(response) => Ok(*response),
            Content::Whole(message) => message.read(pinned),
        }
    }

    #[cfg(test)]
    pub fn has_gist(&self) -> bool {
        matches!(self.content, Content::Read(_))
    }

    fn whole(message: InboxMessage) -> Fetched {
        let InboxMessage { id, received_at, .. } = message;
        let arrived = Arrived { id, received_at, is_signed: message.is_signed() };
        Fetched { message: arrived, content: Content::Whole(Box::new(message)) }
    }
}

/// New messages with an id above `after`, in the order they were stored, at most `limit` and about `FETCH_BYTES` of bodies.
/// `after` pages within one pass; begin each pass at 0, since ids of several nodes may be committed out of order.
pub async fn fetch_new(tx: &mut Tx, after: i64, limit: u32) -> Result<Vec<Fetched>, GatewayError> {
    let text = "select id, gist from inbox_marks where state = 'new' and id > $1 order by id limit $2";
    let rows: Vec<(i64, Option<Vec<u8>>)> = sql!(&mut *tx, c => {
        sqlx::query_as(text).bind(after).bind(i64::from(limit)).fetch_all(c).await.map_err(DbError::from)?
    });
    // Only what was posted to us and signed has a gist.
    let by_gist = |id: i64, bytes: &[u8]| {
        let (received_at, response) = gist::read(bytes)?;
        Some(Fetched { message: Arrived { id, received_at, is_signed: true }, content: Content::Read(Box::new(response)) })
    };
    let mut page: Vec<(i64, Option<Fetched>)> = Vec::with_capacity(rows.len());
    page.extend(rows.into_iter().map(|(id, gist)| (id, gist.and_then(|bytes| by_gist(id, &bytes)))));
    let bare: Vec<i64> = page.iter().filter(|(_, found)| found.is_none()).map(|(id, _)| *id).collect();
    let mut whole = if bare.is_empty() { HashMap::new() } else { bodies(tx, &bare).await? };
    // The page ends before the first whose body is one too many.
    let found = page.into_iter().map_while(|(id, found)| found.or_else(|| whole.remove(&id).map(Fetched::whole)));
    Ok(found.collect())
}

/// Messages with their bytes, of the lowest ids on, as far as `FETCH_BYTES` go; the first always comes.
async fn bodies(tx: &mut Tx, ids: &[i64]) -> Result<HashMap<i64, InboxMessage>, GatewayError> {
    let (json, among) = rows::integers(tx, 1, ids.iter().copied());
    let text = format!(
        "select {MESSAGE_COLUMNS} from inbox where id in (
            select id from (
                select id, sum(size) over (order by id) - size as before
                from (select id, coalesce(size, octet_length(body)) as size from inbox where id {among}) as page
            ) as sized where before < $2)
         order by id"
    );
    let rows: Vec<MessageRow> = sql!(tx, c => {
        sqlx::query_as(sqlx::AssertSqlSafe(text)).bind(json).bind(FETCH_BYTES).fetch_all(c).await.map_err(DbError::from)?
    });
    let read = rows.into_iter().map(|row| message(row).map(|m| (m.id, m)));
    Ok(read.collect::<Result<_, DbError>>()?)
}

/// The mark of a message that is no new one from the beginning.
pub(super) async fn first_mark(
    tx: &mut Tx,
    id: i64,
    state: InboxState,
    note: Option<&str>,
    settled_at: Option<Time>,
) -> Result<(), GatewayError> {
    let text = "insert into inbox_marks (id, state, note, settled_at) values ($1, $2, $3, $4)";
    sql!(tx, c => {
        let query = sqlx::query(text).bind(id).bind(state.as_str()).bind(note).bind(settled_at.map(|t| t.0));
        query.execute(c).await.map_err(DbError::from)?.rows_affected()
    });
    Ok(())
}

const MARK: &str =
    "update inbox_marks set state = ?, note = ?, settled_at = ?, gist = null where id in (select v.id from v) and state = 'new'";

/// What became of new messages: one statement for each way to end. Stale, changing nothing of use (roll back), where one of them is not
/// new any more.
pub async fn mark(tx: &mut Tx, marks: &[(i64, InboxState, Option<String>)], now: Time) -> Result<(), GatewayError> {
    let mut ends: BTreeMap<(InboxState, Option<&str>), Vec<_>> = BTreeMap::new();
    for (id, state, note) in marks {
        ends.entry((*state, note.as_deref())).or_default().push([Some(*id)]);
    }
    let mut changed = 0;
    for ((state, note), ids) in ends {
        let note = note.map(|n| n.chars().take(NOTE_CHARS).collect::<String>());
        let more = [state.as_str().into(), Cell::Text(note.as_deref()), now.0.into()];
        changed += given::execute(tx, ["id"], &ids, MARK, &more).await?;
    }
    let stale = marks.len() - usize::try_from(changed).unwrap_or(0).min(marks.len());
    if stale > 0 { Err(GatewayError::StaleMessages { wanted: marks.len(), stale }) } else { Ok(()) }
}

/// Leaves of new messages their bytes alone.
#[cfg(test)]
pub async fn forget_gists(tx: &mut Tx) {
    let forget = "update inbox_marks set gist = null";
    sql!(tx, c => sqlx::query(forget).execute(c).await.map(|_| ())).unwrap();
}
