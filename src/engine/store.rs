//! The lease in the database.

use crate::{
    db::{DbResult, Tx},
    sql,
};

/// Takes or renews a lease: from nobody, from oneself, or from a holder whose lease has run out. Gives who holds it now.
pub async fn take_lease(tx: &mut Tx, name: &str, holder: &str, now: i64, until: i64) -> DbResult<String> {
    sql!(&mut *tx, c => sqlx::query(
        "insert into leases (name, holder, until) values ($1, $2, $4)
         on conflict (name) do update set holder = excluded.holder, until = excluded.until
         where leases.holder = excluded.holder or leases.until <= $3")
        .bind(name).bind(holder).bind(now).bind(until).execute(c).await?.rows_affected());
    Ok(sql!(tx, c => sqlx::query_scalar("select holder from leases where name = $1").bind(name).fetch_one(c).await)?)
}

/// Who holds a lease, or held it last.
pub async fn lease_holder(tx: &mut Tx, name: &str) -> DbResult<Option<String>> {
    Ok(sql!(tx, c => sqlx::query_scalar("select holder from leases where name = $1").bind(name).fetch_optional(c).await)?)
}

/// Gives a lease back, so that another need not wait for it to run out.
pub async fn give_lease(tx: &mut Tx, name: &str, holder: &str) -> DbResult<()> {
    sql!(tx, c => sqlx::query("delete from leases where name = $1 and holder = $2").bind(name).bind(holder).execute(c).await?.rows_affected());
    Ok(())
}
