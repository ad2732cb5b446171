//! Entries of the Central Products List as they were when something was decided by them: kept once each, whatever the list says later.

use serde_json::{Value, json};

use crate::{
    clock::Time,
    db::{DbError, DbResult, Tx},
    estate::CplEntry,
    sql,
};

/// The keys of the cpl file.
fn body(entry: &CplEntry) -> String {
    json!({
        "cpl_entry_id": entry.cpl_entry_id,
        "device_type": entry.device_type,
        "manufacturer": entry.manufacturer,
        "model": entry.model,
        "hardware_version": format!("{:04X}", entry.hardware_version),
        "firmware_version": entry.firmware_version,
        "manufacturer_image_hash": entry.manufacturer_image_hash,
        "status": entry.status,
        "upgrade_from": entry.upgrade_from.to_string(),
    })
    .to_string()
}

/// Keeps each entry that is not kept already; gives their ids in the same order.
pub async fn keep_cpl_facts(tx: &mut Tx, entries: &[CplEntry], now: Time) -> DbResult<Vec<i64>> {
    let mut ids = Vec::with_capacity(entries.len());
    for entry in entries {
        let body = body(entry);
        let known = "select id from cpl_facts where entry = $1 order by id";
        let found: Option<i64> = sql!(&mut *tx, c => sqlx::query_scalar(known).bind(&body).fetch_optional(c).await)?;
        let id = match found {
            Some(id) => id,
            None => {
                sql!(&mut *tx, c => sqlx::query("insert into cpl_facts (entry, first_used) values ($1, $2) on conflict (entry) do nothing")
                    .bind(&body).bind(now.0).execute(c).await?.rows_affected());
                sql!(&mut *tx, c => sqlx::query_scalar(known).bind(&body).fetch_one(c).await)?
            }
        };
        ids.push(id);
    }
    Ok(ids)
}

/// An entry that was kept.
pub async fn cpl_fact(tx: &mut Tx, id: i64) -> DbResult<Option<Value>> {
    let text = "select entry from cpl_facts where id = $1 order by id";
    let body: Option<String> = sql!(tx, c => sqlx::query_scalar(text).bind(id).fetch_optional(c).await)?;
    body.map(|b| serde_json::from_str(&b).map_err(|_| DbError::bad_row("cpl_facts", id, "entry", &b))).transpose()
}
