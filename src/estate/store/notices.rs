//! What DCC's ChangeOfSupplier alerts said of a loss. A notice ends the own registration that covers its day; it never gives a site.
//! It stands until an import says what holds from that day on: a row that is new or differs, or any row of a `--replace` file.

use std::collections::HashMap;

use serde_json::json;
use sqlx::AssertSqlSafe;

use crate::{
    clock::{Day, Time},
    db::{
        DbResult, Tx,
        rows::{self, Rows},
    },
    estate::Registration,
    ids::{DeviceId, Mpan},
    sql,
};

/// A loss that an alert spoke of, on its way into the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SupplyNotice {
    pub mpan: Mpan,
    /// The device that the alert named.
    pub device: DeviceId,
    pub received_at: Time,
    /// The message of the inbox.
    pub message: i64,
}

/// A notice as stored.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StoredNotice {
    pub day: Day,
    pub received_at: Time,
    pub device: DeviceId,
    pub message: i64,
    /// The import that said more; null while the notice stands.
    pub answered_by_import: Option<i64>,
}

/// An alert may come so long after the change that it tells of.
const LATE_DAYS: i64 = 7;

/// Whether a change from one of our own MPIDs to another explains a notice: the row that began then is not what was lost.
pub(super) fn is_explained(began: Day, day: Day, followed_own: impl FnOnce() -> bool) -> bool {
    day.0 - began.0 <= LATE_DAYS && followed_own()
}

/// What is left of own registrations after a notice: what covers its day ends on it.
pub fn end_on(registrations: &mut [Registration], day: Day) {
    // A row that begins on the day is not what was lost: an alert of the day on which a site comes to us.
    let lost = |r: &Registration| {
        let before = |p: &Registration| p.effective_to == Some(r.effective_from) && p.supplier_mpid != r.supplier_mpid;
        r.effective_from < day && r.covers(day) && !is_explained(r.effective_from, day, || registrations.iter().any(before))
    };
    let lost: Vec<bool> = registrations.iter().map(lost).collect();
    for (row, _) in registrations.iter_mut().zip(lost).filter(|(_, lost)| *lost) {
        row.effective_to = Some(day);
    }
}

/// Keeps notices. The same message again, or another of the same day while one stands, adds nothing. Gives how many are new.
pub async fn add_supply_notices(tx: &mut Tx, notices: &[SupplyNotice]) -> DbResult<u64> {
    if notices.is_empty() {
        return Ok(0);
    }
    let values: Rows = notices
        .iter()
        .map(|n| json!([n.mpan.to_db(), n.device.to_db(), n.received_at.london_day().0, n.received_at.0, n.message]))
        .collect();
    let columns = [("mpan", "int"), ("device_id", "int"), ("day", "int"), ("received_at", "int"), ("message_id", "int")];
    let text = format!(
        "insert into supply_notices (mpan, device_id, day, received_at, message_id)
         select mpan, device_id, day, received_at, message_id from {} where true order by message_id, mpan on conflict do nothing",
        rows::table(tx, 1, &columns)
    );
    Ok(sql!(tx, c => sqlx::query(AssertSqlSafe(text)).bind(values.to_json()).execute(c).await?.rows_affected()))
}

/// The MPANs of sites by their PPMIDs, for those that are known.
pub async fn mpans_of(tx: &mut Tx, devices: &[DeviceId]) -> DbResult<HashMap<DeviceId, Mpan>> {
    if devices.is_empty() {
        return Ok(HashMap::new());
    }
    let (json, among) = rows::integers(tx, 1, devices.iter().map(|d| d.to_db()));
    let text = format!("select device_id, mpan from sites where device_id {among} order by device_id");
    let found: Vec<(i64, i64)> = sql!(tx, c => sqlx::query_as(AssertSqlSafe(text)).bind(json).fetch_all(c).await)?;
    Ok(found.into_iter().map(|(d, m)| (DeviceId::from_db(d), Mpan::from_db(m))).collect())
}

/// Every notice about an MPAN, oldest first.
pub async fn supply_notices_of(tx: &mut Tx, mpan: Mpan) -> DbResult<Vec<StoredNotice>> {
    type Row = (i64, i64, i64, i64, Option<i64>);
    let rows: Vec<Row> = sql!(tx, c => sqlx::query_as(
        "select day, received_at, device_id, message_id, answered_by from supply_notices where mpan = $1 order by id")
        .bind(mpan.to_db()).fetch_all(c).await)?;
    let notice = |(day, at, device, message, answered_by_import): Row| StoredNotice {
        day: Day(day),
        received_at: Time(at),
        device: DeviceId::from_db(device),
        message,
        answered_by_import,
    };
    Ok(rows.into_iter().map(notice).collect())
}

/// Those of some MPANs of which a notice stands.
pub async fn noticed(tx: &mut Tx, mpans: &[Mpan]) -> DbResult<std::collections::HashSet<i64>> {
    let (json, among) = rows::integers(tx, 1, mpans.iter().map(|m| m.to_db()));
    let text = format!("select distinct mpan from supply_notices where answered_by is null and mpan {among} order by mpan");
    let found: Vec<i64> = sql!(tx, c => sqlx::query_scalar(AssertSqlSafe(text)).bind(json).fetch_all(c).await)?;
    Ok(found.into_iter().collect())
}

/// How many notices stand.
pub(super) async fn count_standing(tx: &mut Tx) -> DbResult<i64> {
    Ok(sql!(tx, c => sqlx::query_scalar("select count(*) from supply_notices where answered_by is null").fetch_one(c).await)?)
}

/// Every notice that stands and had come at the moment: MPAN and day.
pub(super) async fn standing(tx: &mut Tx, at: Time) -> DbResult<Vec<(i64, Day)>> {
    let rows: Vec<(i64, i64)> = sql!(tx, c => sqlx::query_as(
        "select mpan, day from supply_notices where answered_by is null and received_at <= $1 order by mpan, day")
        .bind(at.0).fetch_all(c).await)?;
    Ok(rows.into_iter().map(|(mpan, day)| (mpan, Day(day))).collect())
}

/// Ends the notices of MPANs from `low` to `high` about which the import puts rows that reach beyond their day. `ends`: of each of
/// the import's MPANs, where its rows end at the latest; `None` is open.
pub(super) async fn answer(
    tx: &mut Tx,
    import: i64,
    (low, high): (i64, i64),
    ends: impl Fn(i64) -> Option<Option<i64>>,
) -> DbResult<()> {
    let stand: Vec<(i64, i64, i64)> = sql!(tx, c => sqlx::query_as(
        "select id, mpan, day from supply_notices where answered_by is null and mpan between $1 and $2 order by id")
        .bind(low).bind(high).fetch_all(c).await)?;
    let said = |mpan: i64, day: i64| ends(mpan).is_some_and(|end| end.is_none_or(|to| to > day));
    let ids: Vec<i64> = stand.into_iter().filter(|(_, mpan, day)| said(*mpan, *day)).map(|(id, ..)| id).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let (json, among) = rows::integers(tx, 2, ids);
    let text = format!("update supply_notices set answered_by = $1 where id {among}");
    sql!(tx, c => sqlx::query(AssertSqlSafe(text)).bind(import).bind(json).execute(c).await?.rows_affected());
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(from: i64, to: Option<i64>) -> Registration {
        let mpan = Mpan::from_first_twelve(190_003_300_001);
        Registration { mpan, supplier_mpid: "EELC".parse().unwrap(), effective_from: Day(from), effective_to: to.map(Day) }
    }

    proptest! {
        #[test]
        fn a_notice_takes_days_from_its_own_on_and_never_gives_one(
            rows in prop::collection::vec((0i64..60, prop::option::of(1i64..40)), 0..5), day in 0i64..60,
        ) {
            let before: Vec<Registration> = rows.iter().map(|(from, long)| row(*from, long.map(|n| from + n))).collect();
            let mut after = before.clone();
            end_on(&mut after, Day(day));
            for d in 0..120 {
                let (was, is) = (before.iter().any(|r| r.covers(Day(d))), after.iter().any(|r| r.covers(Day(d))));
                prop_assert!(was || !is, "day {d} was given");
                prop_assert!(is == was || d >= day, "day {d} was taken, before the notice");
            }
            let ours = |r: &Registration| r.covers(Day(day)) && r.effective_from != Day(day);
            prop_assert!(!after.iter().any(ours), "the day itself is another's");
            let mut twice = after.clone();
            end_on(&mut twice, Day(day));
            prop_assert_eq!(twice, after);
        }
    }
}
