//! Which cases: the incident team's filters as SQL over `key_cases`, a page at a time. Promise: facts of a site are those copied beside its
//! case (`facts.rs`), or else looked up by its key, case by case, so no filter reads the sites; of a page only what it shows is looked up, and
//! each order has an index.

use sqlx::AssertSqlSafe;

use super::{facts::are_copied, holder_of};
use crate::{
    clock::{Day, Time},
    db::{DbError, DbResult, Tx, rows},
    ids::{DeviceId, Mpan},
    keys::{CaseFilter, CaseOrder, KeyCase, KeyCaseState},
    sql,
};

/// One parameter of a text that is put together.
pub(super) enum Bind {
    Int(i64),
    Text(String),
}

/// Conditions and what is bound to them, `$1` first.
pub(super) struct Where {
    /// What is looked up once, before the cases: a WITH clause, or nothing.
    with: String,
    /// No index serves the filter, and what it finds may be rare: all cases are read as they lie and the first of them kept, instead of being
    /// looked up one by one in their order. (SQLite cannot tell; PostgreSQL can.)
    reads_all: bool,
    parts: Vec<String>,
    pub binds: Vec<Bind>,
}

/// Binds a [`Where`]'s parameters, in order; expanded for each driver.
macro_rules! bound {
    ($query:expr, $binds:expr) => {
        $binds.iter().fold($query, |query, bind| match bind {
            Bind::Int(n) => query.bind(*n),
            Bind::Text(text) => query.bind(text.as_str()),
        })
    };
}

/// Of a plan of no more sites its members are read, of a larger one each case is looked up.
const FEW_SITES: i64 = 20_000;

/// What is known before a filter becomes SQL.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    day: Day,
    /// The facts beside the cases are those of the sites.
    facts: bool,
    /// The plan that is asked for has few sites.
    few: bool,
}

impl Known {
    pub async fn of(tx: &mut Tx, f: &CaseFilter, day: Day) -> DbResult<Known> {
        let of_site = f.model.is_some() || f.region.is_some() || f.mpid.is_some();
        let facts = of_site && are_copied(tx, day).await?;
        let sites: Option<i64> = match f.plan {
            None => None,
            Some(plan) => {
                sql!(tx, c => sqlx::query_scalar("select sites from plans where id = $1").bind(plan).fetch_optional(c).await)?
            }
        };
        Ok(Known { day, facts, few: sites.is_some_and(|n| n <= FEW_SITES) })
    }
}

/// `%piece%`, with what LIKE would take for a pattern spelled out.
fn containing(piece: &str) -> String {
    let plain = piece.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{plain}%")
}

/// That a text contains a piece, whose capitals do not matter: those of ASCII on SQLite, whose LIKE sees none, and those that the database's
/// locale knows on PostgreSQL, where `folded` is the text without any.
fn contains(tx: &Tx, column: &str, folded: &str) -> String {
    match tx.is_sqlite() {
        true => format!("{column} like ? escape '\\'"),
        false => format!("{folded} like lower(?) escape '\\'"),
    }
}

impl Where {
    fn int(&mut self, part: &str, n: i64) {
        self.binds.push(Bind::Int(n));
        self.parts.push(part.replace('?', &format!("${}", self.binds.len())));
    }

    fn text(&mut self, part: &str, text: impl Into<String>) {
        self.binds.push(Bind::Text(text.into()));
        self.parts.push(part.replace('?', &format!("${}", self.binds.len())));
    }

    /// The conditions of a filter over `key_cases k`; the day says who holds an MPAN. A scalar subquery, not a join or `exists`: neither
    /// engine then thinks of reading all sites.
    pub fn of(tx: &Tx, f: &CaseFilter, known: Known) -> Where {
        let of_site = |column: &str| match known.facts {
            true => format!("k.{column} = ?"),
            false => format!("(select s.{column} from sites s where s.device_id = k.device_id) = ?"),
        };
        let reads_all = tx.is_sqlite() && (f.text.is_some() || f.error.is_some() || f.model.is_some());
        let mut w = Where { with: String::new(), reads_all, parts: vec!["true".into()], binds: Vec::new() };
        if !f.devices.is_empty() {
            let (ids, among) = rows::integers(tx, 1 + w.binds.len() as u32, f.devices.iter().map(|d| d.to_db()));
            w.binds.push(Bind::Text(ids));
            w.parts.push(format!("k.device_id {among}"));
        }
        if let Some(state) = f.state {
            w.text("k.state = ?", state.as_str());
        }
        if f.open {
            // Most of those that are looked at first are open: SQLite would rather fetch and sort all that are.
            let state = if tx.is_sqlite() { "+k.state" } else { "k.state" };
            w.parts.push(format!("{state} in ('retrying', 'investigating')"));
        }
        if let Some(cohort) = f.cohort {
            w.text("k.cohort = ?", cohort.as_str());
        }
        if let Some(model) = &f.model {
            w.text(&of_site("model"), model);
        }
        if let Some(region) = &f.region {
            w.text(&of_site("region"), region);
        }
        if let Some(mpid) = f.mpid {
            let held = match known.facts {
                true => "k.supplier = ?".to_string(),
                false => {
                    let mpan = "(select s.mpan from sites s where s.device_id = k.device_id)";
                    format!("{} = ?", holder_of(mpan, known.day.0))
                }
            };
            w.text(&held, mpid.to_string());
        }
        if let Some(error) = &f.error {
            w.text(&contains(tx, "k.last_error", "k.error_folded"), containing(error));
        }
        if let Some(at) = f.first_seen_by {
            w.int("k.first_seen <= ?", at.0);
        }
        if let Some(n) = f.attempts_from {
            w.int("k.attempts >= ?", n);
        }
        if let Some(at) = f.due_by {
            w.int("k.next_attempt <= ?", at.0);
        }
        if let Some(incident) = &f.incident {
            w.text("k.incident = ?", incident);
        }
        match f.team.as_deref() {
            Some("") => w.parts.push("k.team is null".into()),
            Some(team) => w.text("k.team = ?", team),
            None => {}
        }
        match f.assignee.as_deref() {
            Some("") => w.parts.push("k.assignee is null".into()),
            Some(assignee) => w.text("k.assignee = ?", assignee),
            None => {}
        }
        if let Some(plan) = f.plan {
            let member = match known.few {
                true => "k.device_id in (select t.device_id from targets t where t.plan_id = ? and t.state <> 'ineligible')",
                false => "(select t.state from targets t where t.plan_id = ? and t.device_id = k.device_id) <> 'ineligible'",
            };
            w.int(member, plan);
        }
        if let Some(text) = &f.text {
            let anywhere = format!(
                "({} or {} or {} or k.id in (select case_id from noted))",
                contains(tx, "k.last_error", "k.error_folded"),
                contains(tx, "k.incident", "lower(k.incident)"),
                contains(tx, "k.closed_reason", "lower(k.closed_reason)"),
            );
            w.text(&anywhere, containing(text));
            // Once, though both halves of a page ask for it.
            w.with = format!(
                "with noted as materialized (select e.case_id from key_events e where {})",
                contains(tx, "e.text", "e.text_folded").replace('?', &format!("${}", w.binds.len()))
            );
        }
        if f.unescalated {
            w.parts.push("k.incident is null".into());
        }
        if f.latest {
            // Each case of a device but its first names the one before it.
            w.parts.push("not exists (select 1 from key_cases x where x.previous = k.id)".into());
        }
        w
    }

    pub fn text_of(&self) -> String {
        self.parts.join(" and ")
    }
}

/// Where a page ended: the value it is ordered by, and the case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct After {
    value: i64,
    id: i64,
}

/// As `--after` has it: the value, a colon, the case's number.
impl std::fmt::Display for After {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.value, self.id)
    }
}

impl std::str::FromStr for After {
    type Err = String;

    fn from_str(text: &str) -> Result<After, String> {
        let parts = text.split_once(':').and_then(|(value, id)| Some(After { value: value.parse().ok()?, id: id.parse().ok()? }));
        parts.ok_or_else(|| "it is what the page before named at its end, such as 1605168000000:42".to_string())
    }
}

/// What a list is ordered by. What is absent comes last: no moment of ours is that late.
fn ordered_by(order: CaseOrder) -> &'static str {
    match order {
        CaseOrder::Case => "k.id",
        CaseOrder::FirstSeen => "k.first_seen",
        CaseOrder::LastAttempt => "coalesce(k.last_attempt, 9223372036854775807)",
        CaseOrder::NextAttempt => "coalesce(k.next_attempt, 9223372036854775807)",
        CaseOrder::Attempts => "k.attempts",
    }
}

type CaseRow = (
    (i64, i64, i64, Option<i64>, Option<String>, Option<String>, Option<String>, String, i64, i64, Option<i64>),
    (Option<i64>, Option<String>, Option<String>, Option<String>, Option<String>, Option<String>, Option<i64>, Option<i64>),
);

/// The text of a page. `$n` are the filter's, then where the page before ended. What is shown of sites is looked up for the page alone.
fn page_sql(w: &Where, order: CaseOrder, descending: bool, after: bool, limit: usize) -> String {
    let value = ordered_by(order);
    let (than, direction) = if descending { ("<", "desc") } else { (">", "asc") };
    let in_order = format!("{value} {direction}, k.id {direction}");
    let cases = |beyond: &str, order: &str| {
        format!(
            "select {value} as value, k.id, k.device_id, k.cohort, k.state, k.attempts, k.first_seen, k.last_attempt, k.next_attempt,
                    k.last_error, k.incident, k.team, k.assignee, k.closed_reason, k.ended_at, k.previous
             from key_cases k where {}{beyond} order by {order} limit {limit}",
            w.text_of()
        )
    };
    let found = match after {
        false if w.reads_all && order != CaseOrder::Case => cases("", &format!("+{in_order}")),
        false => cases("", &in_order),
        // Two halves, each a range of an index: of `(value, id) > ($1, $2)` SQLite searches none where the value is an expression.
        true => {
            let (last, id) = (w.binds.len() + 1, w.binds.len() + 2);
            let same = cases(&format!(" and {value} = ${last} and k.id {than} ${id}"), &format!("k.id {direction}"));
            let beyond = cases(&format!(" and {value} {than} ${last}"), &in_order);
            format!(
                "select * from (select * from ({same}) as same union all select * from ({beyond}) as beyond) as halves
                 order by value {direction}, id {direction} limit {limit}"
            )
        }
    };
    let of_site = |column: &str| format!("(select s.{column} from sites s where s.device_id = page.device_id)");
    format!(
        "{} select page.value, page.id, page.device_id, {}, page.cohort, {}, {}, page.state, page.attempts, page.first_seen,
                page.last_attempt, page.next_attempt, page.last_error, page.incident, page.team, page.assignee, page.closed_reason,
                page.ended_at, page.previous
         from ({found}) as page
         order by page.value {direction}, page.id {direction}",
        w.with,
        of_site("mpan"),
        of_site("model"),
        of_site("region"),
    )
}

/// A page of cases, and where to go on; `None`: that was the last.
pub async fn list(
    tx: &mut Tx,
    filter: &CaseFilter,
    (order, descending): (CaseOrder, bool),
    day: Day,
    after: Option<After>,
    limit: usize,
) -> DbResult<(Vec<KeyCase>, Option<After>)> {
    let known = Known::of(tx, filter, day).await?;
    let mut w = Where::of(tx, filter, known);
    let sql = page_sql(&w, order, descending, after.is_some(), limit);
    if let Some(after) = after {
        w.binds.extend([Bind::Int(after.value), Bind::Int(after.id)]);
    }
    // Not kept prepared: what it costs depends on what is asked, and PostgreSQL would soon plan it without looking.
    let found: Vec<Flat> =
        sql!(tx, c => bound!(sqlx::query_as(AssertSqlSafe(sql)).persistent(false), w.binds).fetch_all(c).await)?;
    let next = (found.len() == limit).then(|| found.last().map(|r| After { value: r.0.0.0, id: r.0.0.1 })).flatten();
    Ok((found.into_iter().map(|r| case(r.0)).collect::<DbResult<_>>()?, next))
}

/// A row of nineteen columns: tuples of the driver end at sixteen.
struct Flat(CaseRow);

impl<'r, R: sqlx::Row> sqlx::FromRow<'r, R> for Flat
where
    usize: sqlx::ColumnIndex<R>,
    i64: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
    String: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
    Option<i64>: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
    Option<String>: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
{
    fn from_row(row: &'r R) -> Result<Flat, sqlx::Error> {
        let first = (
            row.try_get(0)?,
            row.try_get(1)?,
            row.try_get(2)?,
            row.try_get(3)?,
            row.try_get(4)?,
            row.try_get(5)?,
            row.try_get(6)?,
            row.try_get(7)?,
            row.try_get(8)?,
            row.try_get(9)?,
            row.try_get(10)?,
        );
        let second = (
            row.try_get(11)?,
            row.try_get(12)?,
            row.try_get(13)?,
            row.try_get(14)?,
            row.try_get(15)?,
            row.try_get(16)?,
            row.try_get(17)?,
            row.try_get(18)?,
        );
        Ok(Flat((first, second)))
    }
}

fn case((first, second): CaseRow) -> DbResult<KeyCase> {
    let (_, id, device, mpan, cohort, model, region, state, attempts, first_seen, last_attempt) = first;
    let (next_attempt, last_error, incident, team, assignee, closed_reason, ended_at, previous) = second;
    let bad = |column, found: &str| DbError::bad_row("key_cases", id, column, found);
    Ok(KeyCase {
        id,
        device_id: DeviceId::from_db(device),
        mpan: mpan.map(Mpan::from_db),
        cohort: cohort.map(|c| c.parse().map_err(|_| bad("cohort", &c))).transpose()?,
        model,
        region,
        state: state.parse().map_err(|_| bad("state", &state))?,
        attempts,
        first_seen: Time(first_seen),
        last_attempt: last_attempt.map(Time),
        next_attempt: next_attempt.map(Time),
        last_error,
        incident,
        team,
        assignee,
        closed_reason,
        ended_at: ended_at.map(Time),
        previous,
    })
}

/// A case as far as a verb asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picked {
    pub id: i64,
    pub device: DeviceId,
    pub state: KeyCaseState,
    /// Its re-run was asked for, or it was sent again, and that is not answered.
    pub asked: bool,
}

/// Every case a filter names, by number, at most `limit`.
pub async fn pick(tx: &mut Tx, filter: &CaseFilter, day: Day, limit: usize) -> DbResult<Vec<Picked>> {
    let known = Known::of(tx, filter, day).await?;
    let w = Where::of(tx, filter, known);
    let sql = format!(
        "{} select k.id, k.device_id, k.state,
                (select count(*) from key_requests q where q.case_id = k.id and q.ended_at is null)
         from key_cases k where {} order by k.id limit {limit}",
        w.with,
        w.text_of()
    );
    let found: Vec<(i64, i64, String, i64)> =
        sql!(tx, c => bound!(sqlx::query_as(AssertSqlSafe(sql)), w.binds).fetch_all(c).await)?;
    let one = |(id, device, state, asked): (i64, i64, String, i64)| {
        let state = state.parse().map_err(|_| DbError::bad_row("key_cases", id, "state", &state))?;
        Ok(Picked { id, device: DeviceId::from_db(device), state, asked: asked > 0 })
    };
    found.into_iter().map(one).collect()
}

/// How the engine goes about a page, for the test that no filter reads all sites.
#[cfg(test)]
pub async fn explain(tx: &mut Tx, filter: &CaseFilter, order: CaseOrder, after: bool, day: Day) -> DbResult<String> {
    let known = Known::of(tx, filter, day).await?;
    let mut w = Where::of(tx, filter, known);
    let sql = page_sql(&w, order, false, after, 100);
    if after {
        w.binds.extend([Bind::Int(1_000), Bind::Int(100)]);
    }
    let word = if tx.is_sqlite() { "explain query plan" } else { "explain" };
    let sql = format!("{word} {sql}");
    Ok(match tx {
        Tx::Sqlite(t) => {
            let rows: Vec<(i64, i64, i64, String)> =
                bound!(sqlx::query_as(AssertSqlSafe(sql)), w.binds).fetch_all(&mut **t).await?;
            rows.into_iter().map(|r| r.3 + "\n").collect()
        }
        Tx::Postgres(t) => {
            let rows: Vec<String> = bound!(sqlx::query_scalar(AssertSqlSafe(sql)), w.binds).fetch_all(&mut **t).await?;
            rows.join("\n")
        }
    })
}
