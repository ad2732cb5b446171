//! Devices that are silent past their deadline, in the database: which are to be asked about next, and how many. The reads themselves are
//! in `reads`.

use crate::{
    db::{DbResult, Tx},
    ids::DeviceId,
    sql,
};

/// A place in the order of [`page`]: when a device was last put down to be read (0: never), and the device.
pub type Place = (i64, i64);

/// A page of a plan's devices that are silent past their deadline, have not left the portfolio, and of which no answer is awaited: those
/// never asked after first, then those asked after longest ago.
pub async fn page(tx: &mut Tx, plan: i64, after: Place, limit: i64) -> DbResult<Vec<(Place, DeviceId)>> {
    let rows: Vec<Place> = sql!(tx, c => sqlx::query_as(
        "select x.asked, x.device_id from (
           select coalesce(r.created_at, 0) as asked, t.device_id
           from targets t left join reads r on r.plan_id = t.plan_id and r.device_id = t.device_id
           where t.plan_id = $1 and t.state = 'expired' and t.reason <> 'SUPPLY_LOST'
             and (r.state is null or r.state in ('differs', 'given-up'))) x
         where x.asked > $2 or (x.asked = $2 and x.device_id > $3) order by x.asked, x.device_id limit $4")
        .bind(plan).bind(after.0).bind(after.1).bind(limit).fetch_all(c).await)?;
    Ok(rows.into_iter().map(|row| (row, DeviceId::from_db(row.1))).collect())
}

/// Devices of a plan that are silent past their deadline and have not left the portfolio; and of those, how many are being asked after.
pub async fn count(tx: &mut Tx, plan: i64) -> DbResult<(i64, i64)> {
    Ok(sql!(tx, c => sqlx::query_as(
        "select count(*), cast(coalesce(sum(case when r.state in ('waiting', 'asked', 'accepted') then 1 else 0 end), 0) as bigint)
         from targets t left join reads r on r.plan_id = t.plan_id and r.device_id = t.device_id
         where t.plan_id = $1 and t.state = 'expired' and t.reason <> 'SUPPLY_LOST'").bind(plan).fetch_one(c).await)?)
}

/// Devices that wait to be asked after their silence, of all campaigns.
pub async fn count_waiting(tx: &mut Tx) -> DbResult<i64> {
    Ok(sql!(tx, c => sqlx::query_scalar(
        "select count(*) from reads where state in ('waiting', 'asked', 'accepted') and state = 'waiting' and cause = 'silence'")
        .fetch_one(c).await)?)
}
