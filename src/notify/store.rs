//! Notifications and their deliveries in the database.

use serde_json::{Value, json};

use super::{Aside, Delivery, DeliveryState, Payload, Stored, Team, Whom};
use crate::{
    clock::Time,
    db::{DbError, DbResult, Tx, rows},
    ids::Mpid,
    sql,
};

const OWN: &str = "own";
const HOLDER: &str = "holder";

/// A notification before it has a number.
pub struct New<'a> {
    pub kind: super::NotifyKind,
    pub to: Whom,
    pub subject: &'a str,
    pub sentence: &'a str,
    pub remedy: &'a str,
    pub numbers: Value,
}

/// Keeps notifications, all in one statement.
pub async fn insert(tx: &mut Tx, all: &[New<'_>], now: Time) -> DbResult<()> {
    let mut parameter = rows::Rows::default();
    for n in all {
        let (audience, mpid, but_not) = match &n.to {
            Whom::Own { but_not } => (OWN, None, but_not.as_deref()),
            Whom::Holder(mpid) => (HOLDER, mpid.as_ref(), None),
        };
        let numbers = n.numbers.to_string();
        parameter.push(json!([n.kind, n.subject, audience, mpid, but_not, n.sentence, n.remedy, numbers, parameter.len()]));
    }
    if parameter.is_empty() {
        return Ok(());
    }
    const COLUMNS: [(&str, &str); 9] = [
        ("kind", "text"),
        ("subject", "text"),
        ("audience", "text"),
        ("mpid", "text"),
        ("but_not", "text"),
        ("sentence", "text"),
        ("remedy", "text"),
        ("numbers", "text"),
        ("n", "int"),
    ];
    let text = format!(
        "insert into notifications (kind, subject, audience, mpid, but_not, sentence, remedy, numbers, happened_at)
         select kind, subject, audience, mpid, but_not, sentence, remedy, numbers, cast($2 as bigint) from {} order by n",
        rows::table(tx, 1, &COLUMNS)
    );
    sql!(tx, c => sqlx::query(sqlx::AssertSqlSafe(text)).bind(parameter.to_json()).bind(now.0).execute(c).await?.rows_affected());
    Ok(())
}

type StoredRow = (i64, String, String, Option<String>, Option<String>, String, String, String, String, i64);

fn stored(row: StoredRow) -> DbResult<Stored> {
    let (id, kind, audience, mpid, but_not, subject, sentence, remedy, numbers, happened_at) = row;
    let bad = |column: &'static str, found: &str| DbError::bad_row("notifications", id, column, found);
    let mpid = mpid.map(|m| m.parse::<Mpid>().map_err(|_| bad("mpid", &m))).transpose()?;
    let to = match audience.as_str() {
        OWN => Whom::Own { but_not },
        HOLDER => Whom::Holder(mpid),
        _ => return Err(bad("audience", &audience)),
    };
    Ok(Stored {
        kind: kind.parse().map_err(|_| bad("kind", &kind))?,
        id,
        to,
        subject,
        sentence,
        remedy,
        numbers: serde_json::from_str(&numbers).map_err(|_| bad("numbers", &numbers))?,
        happened_at: Time(happened_at),
    })
}

/// The oldest notifications whose deliveries are still to be made.
pub async fn to_spread(tx: &mut Tx, limit: u32) -> DbResult<Vec<Stored>> {
    let rows: Vec<StoredRow> = sql!(tx, c => sqlx::query_as(
        "select id, kind, audience, mpid, but_not, subject, sentence, remedy, numbers, happened_at
         from notifications where spread_at is null and (audience <> 'holder' or mpid is not null) order by id limit $1").bind(i64::from(limit)).fetch_all(c).await)?;
    rows.into_iter().map(stored).collect()
}

/// How many notifications wait for their deliveries to be made; not those that wait for somebody of us to hold their site.
pub async fn count_to_spread(tx: &mut Tx) -> DbResult<i64> {
    Ok(sql!(tx, c => sqlx::query_scalar(
        "select count(*) from notifications where spread_at is null and (audience <> 'holder' or mpid is not null)")
        .fetch_one(c).await)?)
}

/// What is about a site that nobody of us holds, as far as is known, oldest first, after an id: its id, its subject, and when it happened.
pub async fn without_holder(tx: &mut Tx, after: i64, limit: u32) -> DbResult<Vec<(i64, String, Time)>> {
    let found: Vec<(i64, String, i64)> = sql!(tx, c => sqlx::query_as(
        "select id, subject, happened_at from notifications
         where spread_at is null and audience = 'holder' and mpid is null and id > $1 order by id limit $2")
        .bind(after).bind(i64::from(limit)).fetch_all(c).await)?;
    Ok(found.into_iter().map(|(id, subject, at)| (id, subject, Time(at))).collect())
}

/// Nobody is told of these subjects what waited for somebody of us to hold their sites.
pub async fn tell_nobody(tx: &mut Tx, subjects: &[String], now: Time) -> DbResult<()> {
    let all: rows::Rows = subjects.iter().map(|subject| json!([subject])).collect();
    let table = rows::table(tx, 1, &[("subject", "text")]);
    let text = format!(
        "update notifications set spread_at = $2 from {table} where notifications.subject = v.subject
            and notifications.spread_at is null and notifications.audience = 'holder' and notifications.mpid is null"
    );
    sql!(tx, c => sqlx::query(sqlx::AssertSqlSafe(text)).bind(all.to_json()).bind(now.0).execute(c).await?.rows_affected());
    Ok(())
}

/// It has come out who of us holds the sites that these are about.
pub async fn held_by(tx: &mut Tx, found: &[(i64, Mpid)]) -> DbResult<()> {
    if found.is_empty() {
        return Ok(());
    }
    let all: rows::Rows = found.iter().map(|(id, mpid)| json!([id, mpid])).collect();
    let table = rows::table(tx, 1, &[("id", "int"), ("mpid", "text")]);
    let text = format!(
        "update notifications set mpid = v.mpid from {table} where notifications.id = v.id and spread_at is null and notifications.mpid is null"
    );
    sql!(tx, c => sqlx::query(sqlx::AssertSqlSafe(text)).bind(all.to_json()).execute(c).await?.rows_affected());
    Ok(())
}

/// Makes the deliveries of notifications, and notes of each of `spread` that they were made. Gives how many are new.
pub async fn spread(tx: &mut Tx, spread: &[i64], deliveries: &[(i64, &Team, Payload)], now: Time) -> DbResult<u64> {
    let (ids, among) = rows::integers(tx, 2, spread.iter().copied());
    let text = format!("update notifications set spread_at = $1 where spread_at is null and id {among}");
    sql!(&mut *tx, c => sqlx::query(sqlx::AssertSqlSafe(text)).bind(now.0).bind(ids).execute(c).await?.rows_affected());
    let mut parameter = rows::Rows::default();
    for (notification, team, payload) in deliveries {
        parameter.push(json!([notification, team.name, team.mpid, payload.key, payload.body, parameter.len()]));
    }
    if parameter.is_empty() {
        return Ok(0);
    }
    const COLUMNS: [(&str, &str); 6] =
        [("notification_id", "int"), ("team", "text"), ("mpid", "text"), ("key", "text"), ("body", "text"), ("n", "int")];
    let text = format!(
        "insert into deliveries (notification_id, team, mpid, key, body, state, attempts, aside, next_attempt, pending_since)
         select notification_id, team, mpid, key, body, 'pending', 0, 0, cast($2 as bigint), cast($2 as bigint) from {} where true order by n
         on conflict (notification_id, team) do nothing",
        rows::table(tx, 1, &COLUMNS)
    );
    Ok(
        sql!(tx, c => sqlx::query(sqlx::AssertSqlSafe(text)).bind(parameter.to_json()).bind(now.0).execute(c).await?.rows_affected()),
    )
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    notification_id: i64,
    kind: String,
    subject: String,
    team: String,
    mpid: String,
    key: String,
    body: String,
    state: String,
    attempts: i64,
    aside: i64,
    next_attempt: i64,
    last_error: Option<String>,
    pending_since: i64,
    ended_at: Option<i64>,
}

impl TryFrom<Row> for Delivery {
    type Error = DbError;

    fn try_from(row: Row) -> DbResult<Delivery> {
        let bad = |column: &'static str, found: &str| DbError::bad_row("deliveries", row.id, column, found);
        let state: DeliveryState = row.state.parse().map_err(|_| bad("state", &row.state))?;
        Ok(Delivery {
            id: row.id,
            notification: row.notification_id,
            kind: row.kind.parse().map_err(|_| bad("kind", &row.kind))?,
            mpid: row.mpid.parse().map_err(|_| bad("mpid", &row.mpid))?,
            subject: row.subject,
            team: row.team,
            key: row.key,
            body: row.body,
            state,
            attempts: u32::try_from(row.attempts).map_err(|_| bad("attempts", &row.attempts.to_string()))?,
            aside: Aside::ALL.into_iter().find(|a| a.to_db() == row.aside).ok_or_else(|| bad("aside", &row.aside.to_string()))?,
            next_attempt: (state == DeliveryState::Pending).then_some(Time(row.next_attempt)),
            last_error: row.last_error,
            pending_since: Time(row.pending_since),
            ended_at: row.ended_at.map(Time),
        })
    }
}

const ROW: &str =
    "select d.id, d.notification_id, n.kind, n.subject, d.team, d.mpid, d.key, d.body, d.state, d.attempts, d.aside,
    d.next_attempt, d.last_error, d.pending_since, d.ended_at from deliveries d join notifications n on n.id = d.notification_id";

/// What a team is to be sent now: the oldest of what is pending, if it is due; else the oldest due of those that stand aside. What is
/// another MPID's, of before the team's changed, is not.
pub async fn due(tx: &mut Tx, team: &str, mpid: Mpid, now: Time) -> DbResult<Option<Delivery>> {
    let text = format!(
        "{ROW} where d.team = $1 and d.mpid = $3 and d.state = 'pending' and d.next_attempt <= $2 and (d.aside > 0 or d.id =
            (select min(h.id) from deliveries h where h.team = $1 and h.mpid = $3 and h.state = 'pending' and h.aside = 0))
         order by d.aside, d.id limit 1"
    );
    let row: Option<Row> = sql!(tx, c => sqlx::query_as(sqlx::AssertSqlSafe(text)).bind(team).bind(now.0).bind(mpid.as_str()).fetch_optional(c).await)?;
    row.map(Delivery::try_from).transpose()
}

/// One delivery.
pub async fn get(tx: &mut Tx, id: i64) -> DbResult<Option<Delivery>> {
    let text = format!("{ROW} where d.id = $1 order by d.id");
    let row: Option<Row> = sql!(tx, c => sqlx::query_as(sqlx::AssertSqlSafe(text)).bind(id).fetch_optional(c).await)?;
    row.map(Delivery::try_from).transpose()
}

/// A page of deliveries, oldest first, after this id; in one state and of one team, or all.
pub async fn list(
    tx: &mut Tx,
    state: Option<DeliveryState>,
    team: Option<&str>,
    after: i64,
    limit: u32,
) -> DbResult<Vec<Delivery>> {
    let text = format!("{ROW} where d.id > $1 and ($2 = '' or d.state = $2) and ($3 = '' or d.team = $3) order by d.id limit $4");
    let rows: Vec<Row> = sql!(tx, c => sqlx::query_as(sqlx::AssertSqlSafe(text)).bind(after)
        .bind(state.map_or("", DeliveryState::as_str)).bind(team.unwrap_or_default()).bind(i64::from(limit)).fetch_all(c).await)?;
    rows.into_iter().map(Delivery::try_from).collect()
}

/// The receiver has it. `false`: somebody else moved it since it was read.
pub async fn delivered(tx: &mut Tx, read: &Delivery, now: Time) -> DbResult<bool> {
    let done = sql!(tx, c => sqlx::query(
        "update deliveries set state = 'delivered', attempts = attempts + 1, ended_at = $3, last_error = null, aside = 0
         where id = $1 and state = 'pending' and attempts = $2")
        .bind(read.id).bind(i64::from(read.attempts)).bind(now.0).execute(c).await?.rows_affected());
    Ok(done == 1)
}

/// It was not delivered, and is tried again. `false`: somebody else moved it since it was read.
pub async fn later(tx: &mut Tx, read: &Delivery, why: &str, aside: Aside, next: Time) -> DbResult<bool> {
    let done = sql!(tx, c => sqlx::query(
        "update deliveries set attempts = attempts + 1, last_error = $3, aside = $4, next_attempt = $5
         where id = $1 and state = 'pending' and attempts = $2")
        .bind(read.id).bind(i64::from(read.attempts)).bind(why).bind(aside.to_db()).bind(next.0)
        .execute(c).await?.rows_affected());
    Ok(done == 1)
}

/// Those of its team that were passed over before it wait in line again: the receiver fails at this one too.
pub async fn take_back_before(tx: &mut Tx, failed: &Delivery) -> DbResult<()> {
    sql!(tx, c => sqlx::query("update deliveries set aside = 0 where team = $1 and id < $2 and state = 'pending' and aside = 1")
        .bind(&failed.team).bind(failed.id).execute(c).await?.rows_affected());
    Ok(())
}

/// Gives up one. `false`: somebody else moved it since it was read.
pub async fn give_up(tx: &mut Tx, read: &Delivery, why: &str, now: Time) -> DbResult<bool> {
    let done = sql!(tx, c => sqlx::query(
        "update deliveries set state = 'given_up', attempts = attempts + 1, last_error = $3, ended_at = $4
         where id = $1 and state = 'pending' and attempts = $2")
        .bind(read.id).bind(i64::from(read.attempts)).bind(why).bind(now.0).execute(c).await?.rows_affected());
    Ok(done == 1)
}

/// Gives up what else a team has waited for as long: those behind one that no attempt could deliver. Gives how many.
pub async fn give_up_behind(tx: &mut Tx, team: &str, pending_since: Time, why: &str, now: Time) -> DbResult<u64> {
    Ok(sql!(tx, c => sqlx::query(
        "update deliveries set state = 'given_up', last_error = $3, ended_at = $4
         where team = $1 and state = 'pending' and pending_since <= $2")
        .bind(team).bind(pending_since.0).bind(why).bind(now.0).execute(c).await?.rows_affected()))
}

/// The next of a team that is down is not tried before this.
pub async fn put_off_next(tx: &mut Tx, team: &str, next: Time) -> DbResult<()> {
    sql!(tx, c => sqlx::query(
        "update deliveries set next_attempt = $2 where id =
            (select min(id) from deliveries where team = $1 and state = 'pending' and aside = 0)")
        .bind(team).bind(next.0).execute(c).await?.rows_affected());
    Ok(())
}

/// Pending deliveries of teams that are none of these, or have another MPID now: given up. Gives how many, by team.
pub async fn give_up_strangers(tx: &mut Tx, teams: &[Team], why: &str, now: Time) -> DbResult<Vec<(String, i64)>> {
    let known: rows::Rows = teams.iter().map(|t| json!([t.name, t.mpid])).collect();
    let table = rows::table(tx, 1, &[("team", "text"), ("mpid", "text")]);
    let text = format!(
        "update deliveries set state = 'given_up', last_error = $2, ended_at = $3
         where state = 'pending' and not exists (select 1 from {table} where v.team = deliveries.team and v.mpid = deliveries.mpid)
         returning team"
    );
    let given_up: Vec<String> = sql!(tx, c => sqlx::query_scalar(sqlx::AssertSqlSafe(text))
        .bind(known.to_json()).bind(why).bind(now.0).fetch_all(c).await)?;
    let mut by_team: Vec<(String, i64)> = Vec::new();
    for team in given_up {
        match by_team.iter_mut().find(|(t, _)| *t == team) {
            Some((_, n)) => *n += 1,
            None => by_team.push((team, 1)),
        }
    }
    Ok(by_team)
}

/// Whether a pending delivery is for a team that is none of these, or has another MPID now.
pub async fn any_strangers(tx: &mut Tx, teams: &[Team]) -> DbResult<bool> {
    let known: rows::Rows = teams.iter().map(|t| json!([t.name, t.mpid])).collect();
    let table = rows::table(tx, 1, &[("team", "text"), ("mpid", "text")]);
    let text = format!(
        "select d.id from deliveries d where d.state = 'pending'
         and not exists (select 1 from {table} where v.team = d.team and v.mpid = d.mpid) order by d.id limit 1"
    );
    let found: Option<i64> =
        sql!(tx, c => sqlx::query_scalar(sqlx::AssertSqlSafe(text)).bind(known.to_json()).fetch_optional(c).await)?;
    Ok(found.is_some())
}

/// Whether anything is to be done at all.
pub async fn any_open(tx: &mut Tx) -> DbResult<bool> {
    Ok(sql!(tx, c => sqlx::query_scalar::<_, i64>(
        "select cast(case when exists (select 1 from notifications where spread_at is null and (audience <> 'holder' or mpid is not null))
                            or exists (select 1 from deliveries where state = 'pending') then 1 else 0 end as bigint)")
        .fetch_one(c).await)?
        == 1)
}

/// Pending anew, from the first attempt on.
pub async fn retry(tx: &mut Tx, id: i64, now: Time) -> DbResult<bool> {
    let done = sql!(tx, c => sqlx::query(
        "update deliveries set state = 'pending', attempts = 0, aside = 0, next_attempt = $2, pending_since = $2, ended_at = null
         where id = $1 and state <> 'delivered'").bind(id).bind(now.0).execute(c).await?.rows_affected());
    Ok(done == 1)
}

/// Deletes some of what ended before this, and notifications of before then of which no delivery is left. Gives how many rows.
pub async fn prune(tx: &mut Tx, before: Time, limit: u32) -> DbResult<u64> {
    let deliveries = sql!(&mut *tx, c => sqlx::query(
        "delete from deliveries where id in (select id from deliveries where ended_at < $1 order by ended_at, id limit $2)")
        .bind(before.0).bind(i64::from(limit)).execute(c).await?.rows_affected());
    let notifications = sql!(tx, c => sqlx::query(
        "delete from notifications where id in (select id from notifications n where spread_at < $1
             and not exists (select 1 from deliveries d where d.notification_id = n.id) order by id limit $2)")
        .bind(before.0).bind(i64::from(limit)).execute(c).await?.rows_affected());
    Ok(deliveries + notifications)
}
