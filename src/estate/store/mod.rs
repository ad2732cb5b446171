//! The estate's tables. Reads of single facts and what DCC says about them are in [`facts`], the planner's scan in [`scan`]
//! and [`kept`],
//! what makes a file take effect in [`journal`] and [`slices`]. Every function works in the caller's transaction.

mod facts;
pub(super) mod journal;
mod kept;
pub(super) mod lock;
mod scan;
pub(super) mod slices;

pub use facts::*;
pub use journal::{applying, estate_version};
#[cfg(test)]
pub use journal::{tests_begin_applying, tests_end_applying};
pub use kept::Kept;
pub use scan::*;

#[cfg(test)]
mod tests;

use crate::db::{DbResult, Tx};

/// Runs text without parameters that the program wrote itself, and gives the rows affected.
async fn execute(tx: &mut Tx, text: String) -> DbResult<u64> {
    let text = sqlx::AssertSqlSafe(text);
    Ok(match tx {
        Tx::Sqlite(t) => sqlx::query(text).execute(&mut **t).await?.rows_affected(),
        Tx::Postgres(t) => sqlx::query(text).execute(&mut **t).await?.rows_affected(),
    })
}

/// A list of integers as one parameter: the JSON text, and the subquery that unfolds parameter `$n` (on either engine).
fn integers(tx: &Tx, n: u32, values: impl IntoIterator<Item = i64>) -> (String, String) {
    use std::fmt::Write;
    let mut json = String::from("[");
    for value in values {
        let comma = if json.len() > 1 { "," } else { "" };
        write!(json, "{comma}{value}").expect("writing to memory");
    }
    json.push(']');
    let unfold = if tx.is_sqlite() {
        format!("select value from json_each(${n})")
    } else {
        format!("select cast(value as bigint) from json_array_elements_text(cast(${n} as json))")
    };
    (json, unfold)
}
