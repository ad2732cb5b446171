//! The one row of `dcc_link`.

use super::{Link, LinkState};
use crate::{
    clock::Time,
    db::{DbError, DbResult, Tx},
    sql,
};

const NAME: &str = "dcc";

type Row = (String, i64, i64, Option<String>, Option<i64>, i64);

pub async fn get(tx: &mut Tx) -> DbResult<Option<Link>> {
    let text = "select state, since, failures, last_error, next_try_at, seen_at from dcc_link where name = $1 order by name";
    let row: Option<Row> = sql!(tx, c => sqlx::query_as(text).bind(NAME).fetch_optional(c).await?);
    let Some((state, since, failures, last_error, next_try_at, seen_at)) = row else { return Ok(None) };
    Ok(Some(Link {
        state: LinkState::parse(&state).ok_or_else(|| DbError::bad_row("dcc_link", NAME, "state", state))?,
        since: Time(since),
        failures: u32::try_from(failures).map_err(|_| DbError::bad_row("dcc_link", NAME, "failures", failures))?,
        last_error,
        next_try_at: next_try_at.map(Time),
        seen_at: Time(seen_at),
    }))
}

pub async fn put(tx: &mut Tx, link: &Link) -> DbResult<()> {
    let text = "insert into dcc_link (name, state, since, failures, last_error, next_try_at, seen_at)
        values ($1, $2, $3, $4, $5, $6, $7)
        on conflict (name) do update set state = excluded.state, since = excluded.since, failures = excluded.failures,
            last_error = excluded.last_error, next_try_at = excluded.next_try_at, seen_at = excluded.seen_at";
    sql!(tx, c => {
        sqlx::query(text)
            .bind(NAME)
            .bind(link.state.as_str())
            .bind(link.since.0)
            .bind(i64::from(link.failures))
            .bind(link.last_error.as_deref())
            .bind(link.next_try_at.map(|t| t.0))
            .bind(link.seen_at.0)
            .execute(c)
            .await?
            .rows_affected();
    });
    Ok(())
}
