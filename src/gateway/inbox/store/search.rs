//! Messages found by request, device, kind, state and time, newest first, a page at a time. Every question but those for the
//! most frequent kind is answered by an index (migrations/0003_archive.sql says which).

use std::collections::BTreeMap;

use super::super::{
    BY_STATE, Filter, InboxEntry, InboxMessage, InboxState, KindCount, MARKED, MESSAGE_COLUMNS, MessageRow, counter_of, message,
    request_id, spelled,
};
use crate::{
    clock::Time,
    db::{DbError, DbResult, Tx, rows},
    gateway::{GatewayError, archive::subject},
    ids::DeviceId,
    sql,
};

/// The kind that the index `inbox_rare` leaves out, as its migration spells it.
const FREQUENT_KIND: &str = "SMETS1CHFirmwareNotification";

/// Messages that the filter lets through, newest first, with an id below `before`, at most `limit`.
pub async fn search(tx: &mut Tx, filter: &Filter, before: Option<i64>, limit: u32) -> Result<Vec<InboxEntry>, GatewayError> {
    let (condition, numbers, words) = condition(tx, filter, before);
    entries(tx, from(filter), &condition, &numbers, &words, limit).await
}

fn from(filter: &Filter) -> &'static str {
    if filter.state.is_some() { BY_STATE } else { MARKED }
}

/// The filter as SQL, with the values of its parameters: the numbers first, then the words.
fn condition(tx: &Tx, filter: &Filter, before: Option<i64>) -> (String, Vec<i64>, Vec<String>) {
    let mut asked = Asked::default();
    asked.number("id < $", before.unwrap_or(i64::MAX));
    if let Some((first, last)) = filter.window {
        asked.number("id >= $", first);
        asked.number("id <= $", last);
    }
    // With `+ 0` no index on the time is taken: the pages are in the order of the ids.
    if let Some(since) = filter.since {
        asked.number("received_at + 0 >= $", since.0);
    }
    if let Some(until) = filter.until {
        asked.number("received_at + 0 < $", until.0);
    }
    if let Some(id) = filter.request {
        asked.number("request_counter = $", counter_of(Some(id)).unwrap_or_default());
    }
    // Spelled out, since a partial index is taken only where the text itself implies its condition.
    let mut text = filter.state.map(|s| format!(" and state = '{}'", s.as_str())).unwrap_or_default();
    if filter.kind.as_deref().is_some_and(|k| k != FREQUENT_KIND) {
        text += &format!(" and kind <> '{FREQUENT_KIND}'");
    }
    let mut words = Vec::new();
    let request = filter.request.map(|id| id.to_string());
    for (column, word) in [("request_id", &request), ("kind", &filter.kind), ("reason", &filter.reason)] {
        if let Some(word) = word {
            words.push(word.clone());
            text += &format!(" and {column} = ${}", asked.numbers.len() + words.len());
        }
    }
    if let Some(ids) = &filter.among {
        let (json, among) = rows::integers(tx, (asked.numbers.len() + words.len() + 1) as u32, ids.iter().copied());
        words.push(json);
        text += &format!(" and id {among}");
    }
    (format!("{}{text}", asked.text), asked.numbers, words)
}

/// How SQLite would look for them.
#[cfg(test)]
pub(super) async fn plan(tx: &mut Tx, filter: &Filter) -> String {
    let (condition, numbers, words) = condition(tx, filter, None);
    let text = sqlx::AssertSqlSafe(format!(
        "explain query plan select * from {} where {condition} order by id desc limit 9",
        from(filter)
    ));
    let Tx::Sqlite(t) = tx else { panic!("the plan of SQLite") };
    let mut query = sqlx::query_as(text);
    for number in numbers {
        query = query.bind(number);
    }
    for word in words {
        query = query.bind(word);
    }
    let rows: Vec<(i64, i64, i64, String)> = query.fetch_all(&mut **t).await.expect("a plan");
    rows.into_iter().map(|r| r.3).collect::<Vec<_>>().join("; ")
}

/// Conditions on numbers; their parameters come first.
#[derive(Default)]
struct Asked {
    text: String,
    numbers: Vec<i64>,
}

impl Asked {
    fn number(&mut self, condition: &str, number: i64) {
        self.numbers.push(number);
        let and = if self.text.is_empty() { "" } else { " and " };
        self.text += &format!("{and}{condition}{}", self.numbers.len());
    }
}

async fn entries(
    tx: &mut Tx,
    from: &str,
    condition: &str,
    numbers: &[i64],
    words: &[String],
    limit: u32,
) -> Result<Vec<InboxEntry>, GatewayError> {
    let text = sqlx::AssertSqlSafe(format!(
        "select id, received_at, source, kind, response_code, request_id, device_id, stands_for,
             coalesce(size, cast(octet_length(body) as bigint)), state, reason, note, settled_at
         from {from} where {condition} order by id desc limit {limit}"
    ));
    type Row = (
        i64,
        i64,
        String,
        String,
        String,
        Option<String>,
        Option<i64>,
        i64,
        i64,
        String,
        Option<String>,
        Option<String>,
        Option<i64>,
    );
    let rows: Vec<Row> = sql!(tx, c => {
        let mut query = sqlx::query_as(text);
        for number in numbers {
            query = query.bind(*number);
        }
        for word in words {
            query = query.bind(word.clone());
        }
        query.fetch_all(c).await.map_err(DbError::from)?
    });
    rows.into_iter()
        .map(|(id, received_at, source, kind, response_code, request, device, stands_for, size, state, reason, note, settled)| {
            Ok(InboxEntry {
                id,
                received_at: Time(received_at),
                source: spelled(id, "source", source)?,
                kind,
                response_code,
                request_id: request_id(id, request)?,
                device_id: device.map(DeviceId::from_db),
                stands_for: stands_for as u64,
                size: size as u64,
                state: spelled(id, "state", state)?,
                reason,
                note,
                settled_at: settled.map(Time),
            })
        })
        .collect()
}

/// Notes in the filter between which ids its times lie. `false`: there is no message of that time.
pub async fn narrow(tx: &mut Tx, filter: &mut Filter) -> Result<bool, GatewayError> {
    if filter.since.is_none() && filter.until.is_none() {
        return Ok(true);
    }
    // `+ 0` keeps PostgreSQL from looking for the least id one by one.
    let text = "select min(id + 0), max(id + 0) from inbox where received_at >= $1 and received_at < $2";
    let (since, until) = (filter.since.map_or(i64::MIN, |t| t.0), filter.until.map_or(i64::MAX, |t| t.0));
    let found: (Option<i64>, Option<i64>) = sql!(tx, c => {
        sqlx::query_as(text).bind(since).bind(until).fetch_one(c).await.map_err(DbError::from)?
    });
    filter.window = found.0.zip(found.1);
    Ok(filter.window.is_some())
}

/// The ids of the messages about this one device, in no order that matters.
pub async fn of_device(tx: &mut Tx, device: DeviceId) -> Result<Vec<i64>, GatewayError> {
    let text = "select id from inbox where device_id = $1 order by id";
    Ok(sql!(tx, c => sqlx::query_scalar(text).bind(device.to_db()).fetch_all(c).await.map_err(DbError::from)?))
}

/// Messages that may name several devices, with their bytes, with an id above `after`, oldest first, at most `limit`.
pub async fn lists(tx: &mut Tx, filter: &Filter, after: i64, limit: u32) -> Result<Vec<InboxMessage>, GatewayError> {
    let (first, last) = filter.window.unwrap_or((i64::MIN, i64::MAX));
    let kinds = subject::LISTS.map(|kind| format!("'{kind}'")).join(", ");
    // The ids first: where they must be sorted, the bodies need not be.
    let text = format!(
        "select {MESSAGE_COLUMNS} from inbox where id in (
             select id from inbox
             where kind in ({kinds}) and kind <> '{FREQUENT_KIND}' and device_id is null and id > $1 and id >= $2 and id <= $3
             order by id limit $4)
         order by id"
    );
    let rows: Vec<MessageRow> = sql!(tx, c => {
        let query = sqlx::query_as(sqlx::AssertSqlSafe(text)).bind(after).bind(first).bind(last).bind(i64::from(limit));
        query.fetch_all(c).await.map_err(DbError::from)?
    });
    Ok(rows.into_iter().map(message).collect::<DbResult<_>>()?)
}

/// One message: what is said of it, and its bytes.
pub async fn show(tx: &mut Tx, id: i64) -> Result<Option<(InboxEntry, InboxMessage)>, GatewayError> {
    let Some(entry) = entries(tx, MARKED, "id = $1", &[id], &[], 1).await?.into_iter().next() else { return Ok(None) };
    let text = sqlx::AssertSqlSafe(format!("select {MESSAGE_COLUMNS} from inbox where id = $1 order by id"));
    let row: MessageRow = sql!(tx, c => sqlx::query_as(text).bind(id).fetch_one(c).await.map_err(DbError::from)?);
    Ok(Some((entry, message(row)?)))
}

/// How many messages wait for a person or for the forwarder; states with none are left out.
pub async fn waiting(tx: &mut Tx) -> Result<BTreeMap<InboxState, u64>, GatewayError> {
    let text = "select state, count(*) from inbox_marks
        where state = 'unmatched' or state = 'failed' or state = 'rejected' or state = 'forwarding' group by state order by state";
    let rows: Vec<(String, i64)> = sql!(tx, c => sqlx::query_as(text).fetch_all(c).await.map_err(DbError::from)?);
    rows.into_iter().map(|(state, n)| Ok((spelled(0, "state", state)?, n as u64))).collect()
}

/// How many messages of each kind are in each state. It looks at every one.
pub async fn counts_by_kind(tx: &mut Tx) -> Result<Vec<KindCount>, GatewayError> {
    let text = sqlx::AssertSqlSafe(format!(
        "select kind, state, count(*), cast(sum(stands_for) as bigint) from {MARKED} group by kind, state order by kind, state"
    ));
    let rows: Vec<(String, String, i64, i64)> = sql!(tx, c => sqlx::query_as(text).fetch_all(c).await.map_err(DbError::from)?);
    rows.into_iter()
        .map(|(kind, state, messages, stands_for)| {
            let state = spelled(0, "state", state)?;
            Ok(KindCount { kind, state, messages: messages as u64, stands_for: stands_for as u64 })
        })
        .collect()
}
