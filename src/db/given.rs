//! Rows of numbers at the head of a statement, for what is written by thousands a second: as arrays on PostgreSQL, as `values` on SQLite, on
//! both without the JSON of [`rows`](super::rows), which takes longer to unfold than the rows take to be written. Promise: an error leaves
//! the transaction fit for nothing but to be dropped.

use super::{DbResult, Tx};

/// Most rows of one statement: with a few values each far below SQLite's 32,766 parameters.
pub const MOST_ROWS: usize = 1_024;

/// A parameter after the rows.
#[derive(Debug, Clone, Copy)]
pub enum Cell<'a> {
    Number(Option<i64>),
    Text(Option<&'a str>),
}

impl From<i64> for Cell<'_> {
    fn from(n: i64) -> Self {
        Cell::Number(Some(n))
    }
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(text: &'a str) -> Self {
        Cell::Text(Some(text))
    }
}

/// Runs `statement` over the rows, which it knows as the table `v` with these columns; each `?` in it is the next of `more`. Gives how many
/// rows it wrote. (On SQLite the table may hold rows of nulls as well, which must not match.)
pub async fn execute<const N: usize>(
    tx: &mut Tx,
    columns: [&str; N],
    rows: &[[Option<i64>; N]],
    statement: &str,
    more: &[Cell<'_>],
) -> DbResult<u64> {
    let mut written = 0;
    for some in rows.chunks(MOST_ROWS) {
        let text = sqlx::AssertSqlSafe(text(tx.is_sqlite(), columns, some.len(), statement));
        written += match tx {
            Tx::Sqlite(t) => {
                let mut query = sqlx::query(text);
                let nothing = [None; N];
                for row in some.iter().chain(std::iter::repeat_n(&nothing, padded(some.len()) - some.len())) {
                    for cell in row {
                        query = query.bind(*cell);
                    }
                }
                for cell in more {
                    query = match cell {
                        Cell::Number(n) => query.bind(*n),
                        Cell::Text(text) => query.bind(*text),
                    };
                }
                query.execute(&mut **t).await?.rows_affected()
            }
            Tx::Postgres(t) => {
                let mut query = sqlx::query(text);
                for column in 0..N {
                    query = query.bind(some.iter().map(|row| row[column]).collect::<Vec<_>>());
                }
                for cell in more {
                    query = match cell {
                        Cell::Number(n) => query.bind(*n),
                        Cell::Text(text) => query.bind(*text),
                    };
                }
                query.execute(&mut **t).await?.rows_affected()
            }
        };
    }
    Ok(written)
}

/// A power of two, so that few statement texts exist and each is prepared once.
fn padded(rows: usize) -> usize {
    rows.next_power_of_two()
}

fn text<const N: usize>(is_sqlite: bool, columns: [&str; N], rows: usize, statement: &str) -> String {
    let names = columns.join(", ");
    if is_sqlite {
        // Numbered parameters are quadratic on sqlx's SQLite driver.
        let row = format!("({}), ", vec!["?"; N].join(", "));
        let values = row.repeat(padded(rows));
        return format!("with v ({names}) as (values {}) {}", values.trim_end_matches(", "), or_fail(statement));
    }
    let arrays: Vec<String> = (1..=N).map(|n| format!("${n}::bigint[]")).collect();
    let mut text = format!("with v ({names}) as (select * from unnest({})) ", arrays.join(", "));
    for (n, part) in statement.split('?').enumerate() {
        if n > 0 {
            text += &format!("${}", N + n);
        }
        text += part;
    }
    text
}

/// The statement for SQLite, which keeps each page that it changes in a file of its own, so that a statement that fails half way can be taken back
/// by itself; not where the transaction goes with it.
fn or_fail(statement: &str) -> String {
    match statement.split_once(' ') {
        Some((verb @ ("update" | "insert"), rest)) => format!("{verb} or fail {rest}"),
        _ => statement.to_string(),
    }
}

/// How SQLite would go about it.
#[cfg(test)]
pub async fn plan<const N: usize>(tx: &mut Tx, columns: [&str; N], statement: &str) -> String {
    let text = sqlx::AssertSqlSafe(format!("explain query plan {}", text(true, columns, MOST_ROWS, statement)));
    let Tx::Sqlite(t) = tx else { panic!("the plan of SQLite") };
    let rows: Vec<(i64, i64, i64, String)> = sqlx::query_as(text).fetch_all(&mut **t).await.expect("a plan");
    rows.into_iter().map(|r| r.3).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{db::testing, sql};

    #[tokio::test]
    async fn a_statement_that_fails_half_way_leaves_nothing_once_its_transaction_is_dropped() {
        for t in testing::databases().await {
            let mut tx = t.db.begin().await.unwrap();
            let rows = [[Some(1)], [Some(2)], [Some(1)]];
            let keep = "insert into request_counters (originator, value) select v.a, 7 from v where v.a is not null";
            execute(&mut tx, ["a"], &rows, keep, &[]).await.unwrap_err();
            drop(tx);
            let text = "select count(*) from request_counters";
            let left: i64 = sql!(&mut t.db.read().await.unwrap(), c => sqlx::query_scalar(text).fetch_one(c).await).unwrap();
            assert_eq!(left, 0, "{}", t.engine);
        }
    }

    #[tokio::test]
    async fn rows_are_written_however_many_there_are() {
        for t in testing::databases().await {
            for n in [0_i64, 1, 2, 3, 1_023, 1_024, 1_025, 3_000] {
                let mut tx = t.db.begin().await.unwrap();
                let rows: Vec<[Option<i64>; 2]> = (0..n).map(|i| [Some(i), (i % 3 != 0).then_some(i * 10)]).collect();
                let keep = "insert into given_rows (a, b, c, d) select v.a, v.b, ?, ? from v where v.a is not null";
                let table = "create temporary table given_rows (a bigint primary key, b bigint, c bigint, d text)";
                sql!(&mut tx, c => sqlx::query(table).execute(c).await.map(|_| ())).unwrap();
                let written = execute(&mut tx, ["a", "b"], &rows, keep, &[Cell::Number(None), "it's".into()]).await.unwrap();
                assert_eq!(written, n as u64, "{}", t.engine);
                let change = "update given_rows set c = v.b from v where given_rows.a = v.a and v.b > ?";
                let changed = execute(&mut tx, ["a", "b"], &rows, change, &[5.into()]).await.unwrap();
                assert_eq!(changed, (0..n).filter(|i| i % 3 != 0).count() as u64, "{}", t.engine);
                let text = "select count(*) from given_rows where d = 'it''s' and c = a * 10 and b = c";
                let right: i64 = sql!(&mut tx, c => sqlx::query_scalar(text).fetch_one(c).await).unwrap();
                assert_eq!(right as u64, changed, "{}", t.engine);
            }
        }
    }
}
