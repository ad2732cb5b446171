//! The estate's tables. Reads of single facts and what DCC says about them are in [`facts`], the planner's scan in [`scan`]
//! and [`kept`], what alerts say of a loss in [`notices`],
//! what makes a file take effect in [`journal`] and [`slices`]. Every function works in the caller's transaction.

mod cpl_facts;
mod facts;
pub(super) mod journal;
mod kept;
pub(super) mod lock;
mod notices;
mod scan;
pub(super) mod slices;

pub use cpl_facts::{cpl_fact, keep_cpl_facts};
pub use facts::*;
pub use journal::{Unaudited, applying, audited, estate_version, last_applied, lists_version, unaudited};
#[cfg(test)]
pub use journal::{tests_begin_applying, tests_end_applying};
pub use kept::Kept;
pub use notices::*;
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
