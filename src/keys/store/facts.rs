//! What the filters ask of a case's site, copied beside the case: a page of a million sites' cases then reads no site but those it shows.
//! Promise: a copy is believed only while [`are_copied`] says so: no later file of sites or registrations took effect, and no day began on
//! which the registrations name another supplier.

use sqlx::AssertSqlSafe;

use super::holder_of;
use crate::{
    clock::Day,
    db::{DbResult, Tx, rows},
    ids::DeviceId,
    sql,
};

/// The last imports that concern missing keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imports {
    /// Of sites or registrations.
    pub sites: i64,
    pub keys: i64,
}

/// How far the copies go, and what was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    pub imports: Imports,
    pub day: Day,
    /// Sites that the transitional tool handled.
    pub handled: i64,
}

/// The last imports that took effect; `None` while one is half applied.
pub async fn imports(tx: &mut Tx) -> DbResult<Option<Imports>> {
    let text = "select coalesce(max(case when kind in ('sites', 'registrations') then id end), 0),
                       coalesce(max(case when kind = 'keys' then id end), 0),
                       cast(coalesce(max(case when state = 'applying' then 1 else 0 end), 0) as bigint)
                from imports where state in ('applied', 'applying')";
    let (sites, keys, applying): (i64, i64, i64) = sql!(tx, c => sqlx::query_as(text).fetch_one(c).await)?;
    Ok((applying == 0).then_some(Imports { sites, keys }))
}

pub async fn copied(tx: &mut Tx) -> DbResult<Option<Copied>> {
    let text = "select sites_import, keys_import, copied_on, handled from key_facts where id = 1";
    let found: Option<(i64, i64, i64, i64)> = sql!(tx, c => sqlx::query_as(text).fetch_optional(c).await)?;
    Ok(found.map(|(sites, keys, day, handled)| Copied { imports: Imports { sites, keys }, day: Day(day), handled }))
}

/// Whether the copies beside the cases are the sites' facts on `day`.
pub async fn are_copied(tx: &mut Tx, day: Day) -> DbResult<bool> {
    let Some(now) = imports(tx).await? else { return Ok(false) };
    let Some(copied) = copied(tx).await?.filter(|c| c.imports.sites == now.sites && c.day <= day) else { return Ok(false) };
    if copied.day == day {
        return Ok(true);
    }
    let text = "select count(*) from (select id from key_cases where supplier_until <= $1 limit 1) changed";
    let changed: i64 = sql!(tx, c => sqlx::query_scalar(text).bind(day.0).fetch_one(c).await)?;
    Ok(changed == 0)
}

/// How many sites the tool handled, where no file of keys took effect since they were counted.
pub async fn handled(tx: &mut Tx) -> DbResult<Option<i64>> {
    let now = imports(tx).await?;
    Ok(copied(tx).await?.filter(|c| now.is_some_and(|now| now.keys == c.imports.keys)).map(|c| c.handled))
}

pub async fn remember(tx: &mut Tx, copied: &Copied) -> DbResult<()> {
    let text = "insert into key_facts (id, sites_import, keys_import, copied_on, handled) values (1, $1, $2, $3, $4)
                on conflict (id) do update set sites_import = excluded.sites_import, keys_import = excluded.keys_import,
                copied_on = excluded.copied_on, handled = excluded.handled";
    sql!(tx, c => sqlx::query(text).bind(copied.imports.sites).bind(copied.imports.keys).bind(copied.day.0).bind(copied.handled)
        .execute(c).await.map(|_| ()))?;
    Ok(())
}

/// Copies the facts of the next cases after one; gives the last of them.
pub async fn copy_page(tx: &mut Tx, after: i64, limit: usize, day: Day) -> DbResult<Option<i64>> {
    let last: Option<i64> = sql!(&mut *tx, c => sqlx::query_scalar(
        "select max(id) from (select id from key_cases where id > $1 order by id limit $2) page")
        .bind(after).bind(limit as i64).fetch_one(c).await)?;
    let Some(last) = last else { return Ok(None) };
    let text = copy_sql("k.id > $1 and k.id <= $2", day);
    sql!(tx, c => sqlx::query(AssertSqlSafe(text)).bind(after).bind(last).execute(c).await.map(|_| ()))?;
    Ok(Some(last))
}

/// Copies the facts of these devices' cases.
pub async fn copy_of(tx: &mut Tx, devices: &[DeviceId], day: Day) -> DbResult<()> {
    if devices.is_empty() {
        return Ok(());
    }
    let (ids, among) = rows::integers(tx, 1, devices.iter().map(|d| d.to_db()));
    let text = copy_sql(&format!("k.device_id {among}"), day);
    sql!(tx, c => sqlx::query(AssertSqlSafe(text)).bind(ids).execute(c).await.map(|_| ()))?;
    Ok(())
}

fn copy_sql(which: &str, day: Day) -> String {
    format!(
        "update key_cases set model = f.model, region = f.region, supplier = f.supplier, supplier_until = f.until
         from (select k.id, s.model, s.region,
                  {holder} as supplier,
                  (select min(case when r.effective_from > {day} then r.effective_from else r.effective_to end) from registrations r
                     where r.mpan = s.mpan and (r.effective_from > {day} or r.effective_to > {day})) as until
               from key_cases k left join sites s on s.device_id = k.device_id where {which}) f
         where key_cases.id = f.id and (key_cases.model is distinct from f.model or key_cases.region is distinct from f.region
            or key_cases.supplier is distinct from f.supplier or key_cases.supplier_until is distinct from f.until)",
        holder = holder_of("s.mpan", day.0),
        day = day.0
    )
}
