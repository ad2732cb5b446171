//! What the decisions of a plan went by, looked up for an evidence pack: registration rows and key results, as they are on file now. Not
//! what decides: that is `policy`. Promise: a row for each that was used, once a device; one no longer on file says so.

use crate::{
    clock::{Day, Time},
    db::{DbError, DbResult, Tx},
    ids::{DeviceId, Mpan, Mpid},
    sql,
};

/// A registration row that a decision went by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedRegistration {
    pub device: DeviceId,
    /// The site's, as on file now; `None`: the site is gone.
    pub mpan: Option<Mpan>,
    pub supplier: Mpid,
    pub from: Day,
    /// The row's end as on file now; `None`: open.
    pub to: Option<Day>,
    /// Whether the site's MPAN still has such a row.
    pub on_file: bool,
}

/// A key result that a decision went by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedKeyResult {
    pub device: DeviceId,
    pub attempted_at: Time,
    /// As on file now; `None`: no longer there.
    pub status: Option<String>,
    pub detail: Option<String>,
    /// import, message or resolved.
    pub source: Option<String>,
}

/// Registration rows that the plan's rows and their history name, of devices after `after` up to `up_to`, by device and date.
pub async fn used_registrations(
    tx: &mut Tx,
    plan: i64,
    after: Option<DeviceId>,
    up_to: DeviceId,
) -> DbResult<Vec<UsedRegistration>> {
    let Some(from) = super::first_after(after) else { return Ok(Vec::new()) };
    let text = "select u.device_id, s.mpan, u.registration_supplier, u.registration_from, r.effective_to, r.effective_from
        from (select device_id, registration_supplier, registration_from from targets
                where plan_id = $1 and device_id >= $2 and device_id <= $3 and registration_from is not null
              union
              select device_id, registration_supplier, registration_from from target_history
                where plan_id = $1 and device_id >= $2 and device_id <= $3 and registration_from is not null) u
        left join sites s on s.device_id = u.device_id
        left join registrations r
            on r.mpan = s.mpan and r.effective_from = u.registration_from and r.supplier_mpid = u.registration_supplier
        order by u.device_id, u.registration_from, u.registration_supplier";
    type Row = (i64, Option<i64>, String, i64, Option<i64>, Option<i64>);
    let rows: Vec<Row> = sql!(tx, c => sqlx::query_as(text).bind(plan).bind(from).bind(up_to.to_db()).fetch_all(c).await)?;
    let used = |(device, mpan, supplier, from, to, on_file): Row| -> DbResult<UsedRegistration> {
        let device = DeviceId::from_db(device);
        Ok(UsedRegistration {
            device,
            mpan: mpan.map(Mpan::from_db),
            supplier: supplier.parse().map_err(|_| DbError::bad_row("targets", device, "registration_supplier", &supplier))?,
            from: Day(from),
            to: to.map(Day),
            on_file: on_file.is_some(),
        })
    };
    rows.into_iter().map(used).collect()
}

/// Key results that the plan's rows and their history name, of devices after `after` up to `up_to`, by device and time.
pub async fn used_key_results(tx: &mut Tx, plan: i64, after: Option<DeviceId>, up_to: DeviceId) -> DbResult<Vec<UsedKeyResult>> {
    let Some(from) = super::first_after(after) else { return Ok(Vec::new()) };
    let text = "select u.device_id, u.key_result_at, k.status, k.detail, k.source
        from (select device_id, key_result_at from targets
                where plan_id = $1 and device_id >= $2 and device_id <= $3 and key_result_at is not null
              union
              select device_id, key_result_at from target_history
                where plan_id = $1 and device_id >= $2 and device_id <= $3 and key_result_at is not null) u
        left join key_results k on k.device_id = u.device_id and k.attempted_at = u.key_result_at
        order by u.device_id, u.key_result_at";
    type Row = (i64, i64, Option<String>, Option<String>, Option<String>);
    let rows: Vec<Row> = sql!(tx, c => sqlx::query_as(text).bind(plan).bind(from).bind(up_to.to_db()).fetch_all(c).await)?;
    Ok(rows
        .into_iter()
        .map(|(device, at, status, detail, source)| UsedKeyResult {
            device: DeviceId::from_db(device),
            attempted_at: Time(at),
            status,
            detail,
            source,
        })
        .collect())
}
