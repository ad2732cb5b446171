//! Reads of single facts, and what DCC or an operator says of a device. Every list has an order.

use std::collections::BTreeMap;

use crate::{
    clock::{Day, Time},
    db::{DbError, DbResult, Tx, given, rows},
    estate::{Cohort, CplEntry, EpclEntry, Exclusion, KeyResult, Registration, Site, UpgradeFrom},
    ids::{DeviceId, Mpan, Mpid},
    sql,
};

crate::spelled! {
    /// Who says that a key is there or is not.
    KeySource, "a source of key results: import, message, resolved or hand" {
        /// A file of the transitional tool's results.
        Import = "import",
        /// A message from DCC whose disposition is *needs keys*.
        Message = "message",
        /// An operator, by `keys resolve`.
        Resolved = "resolved",
        /// An operator, by `keys reopen`: it is missing.
        Hand = "hand",
    }
}

/// A key result and who said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKeyResult {
    pub result: KeyResult,
    pub source: KeySource,
}

/// Reads a text of a closed list, or names the row that holds another.
pub(super) fn parse<T: std::str::FromStr>(
    table: &'static str,
    key: impl ToString,
    column: &'static str,
    text: &str,
) -> DbResult<T> {
    text.parse().map_err(|_| DbError::bad_row(table, key, column, text))
}

fn hardware(table: &'static str, key: impl ToString, n: i64) -> DbResult<u16> {
    u16::try_from(n).map_err(|_| DbError::bad_row(table, key, "hardware_version", n))
}

type SiteColumns = (
    i64,
    i64,
    String,
    String,
    String,
    i64,
    String,
    String,
    String,
    Option<i64>,
    Option<i64>,
    Option<String>,
    Option<i64>,
    Option<i64>,
);

fn site(row: SiteColumns) -> DbResult<Site> {
    let device_id = DeviceId::from_db(row.0);
    Ok(Site {
        device_id,
        mpan: Mpan::from_db(row.1),
        cohort: parse("sites", device_id, "cohort", &row.2)?,
        manufacturer: row.3,
        model: row.4,
        hardware_version: hardware("sites", device_id, row.5)?,
        firmware_version: row.6,
        device_status: row.7,
        dmc: row.8,
        chf_device_id: row.9.map(DeviceId::from_db),
        gsme_device_id: row.10.map(DeviceId::from_db),
        region: row.11,
        migrated_on: row.12.map(Day),
        as_at: row.13.map(Time),
    })
}

/// The site of a device, if it is known.
pub async fn find_site(tx: &mut Tx, device: DeviceId) -> DbResult<Option<Site>> {
    find_site_at(tx, device, Time(i64::MAX)).await
}

/// The same, without what DCC's messages said later than a moment.
pub async fn find_site_at(tx: &mut Tx, device: DeviceId, at: Time) -> DbResult<Option<Site>> {
    let [firmware, status] = then("sites", "$2");
    let text = sqlx::AssertSqlSafe(format!(
        "select device_id, mpan, cohort, manufacturer, model, hardware_version, {firmware}, {status}, dmc, \
         chf_device_id, gsme_device_id, region, migrated_on, as_at from sites where device_id = $1"
    ));
    let row: Option<SiteColumns> = sql!(tx, c => sqlx::query_as(text).bind(device.to_db()).bind(at.0).fetch_optional(c).await)?;
    row.map(site).transpose()
}

/// Firmware version and device status as they were known at a moment: of what DCC's messages said, only the last is told from what a
/// file said before.
pub(super) fn then(sites: &str, moment: &str) -> [String; 2] {
    let known = |column: &str, what: &str| {
        format!(
            "case when {sites}.{what}_learned_at > {moment} then coalesce({sites}.{what}_before, {sites}.{column}) else {sites}.{column} end"
        )
    };
    [known("firmware_version", "firmware"), known("device_status", "status")]
}

/// The cohorts and regions that these devices' sites are in, each once.
pub async fn cohorts_and_regions(tx: &mut Tx, devices: &[DeviceId]) -> DbResult<Vec<(Cohort, Option<String>)>> {
    let (json, among) = rows::integers(tx, 1, devices.iter().map(|d| d.to_db()));
    let text =
        sqlx::AssertSqlSafe(format!("select distinct cohort, region from sites where device_id {among} order by cohort, region"));
    let rows: Vec<(String, Option<String>)> = sql!(tx, c => sqlx::query_as(text).bind(json).fetch_all(c).await)?;
    rows.into_iter().map(|(cohort, region)| Ok((parse("sites", "(several)", "cohort", &cohort)?, region))).collect()
}

type RegistrationColumns = (i64, String, i64, Option<i64>, bool);

/// All registrations of some MPANs, whoever the supplier, and whether a later switch ended each; by MPAN and date.
pub async fn registrations_with_ends(tx: &mut Tx, mpans: &[Mpan]) -> DbResult<Vec<(Registration, bool)>> {
    let (json, among) = rows::integers(tx, 1, mpans.iter().map(|m| m.to_db()));
    let text = sqlx::AssertSqlSafe(format!(
        "select mpan, supplier_mpid, effective_from, effective_to, ended_by_switch from registrations where mpan {among} \
         order by mpan, effective_from, supplier_mpid"
    ));
    let rows: Vec<RegistrationColumns> = sql!(tx, c => sqlx::query_as(text).bind(json).fetch_all(c).await)?;
    rows.into_iter()
        .map(|(mpan, supplier, from, to, ended)| {
            let mpan = Mpan::from_db(mpan);
            let supplier_mpid: Mpid = parse("registrations", mpan, "supplier_mpid", &supplier)?;
            Ok((Registration { mpan, supplier_mpid, effective_from: Day(from), effective_to: to.map(Day) }, ended))
        })
        .collect()
}

/// All registrations of an MPAN, whoever the supplier, by date.
pub async fn registrations_of(tx: &mut Tx, mpan: Mpan) -> DbResult<Vec<Registration>> {
    Ok(registrations_with_ends(tx, &[mpan]).await?.into_iter().map(|(r, _)| r).collect())
}

type KeyColumns = (i64, i64, String, Option<String>, String);

fn key_result(row: KeyColumns) -> DbResult<StoredKeyResult> {
    let device_id = DeviceId::from_db(row.0);
    let status = parse("key_results", device_id, "status", &row.2)?;
    let source = parse("key_results", device_id, "source", &row.4)?;
    Ok(StoredKeyResult { result: KeyResult { device_id, attempted_at: Time(row.1), status, detail: row.3 }, source })
}

/// A device's latest key result that is not later than `at`.
pub async fn latest_key(tx: &mut Tx, device: DeviceId, at: Time) -> DbResult<Option<KeyResult>> {
    let text = "select device_id, attempted_at, status, detail, source from key_results where device_id = $1 and attempted_at <= $2 \
                order by attempted_at desc limit 1";
    let row: Option<KeyColumns> = sql!(tx, c => sqlx::query_as(text).bind(device.to_db()).bind(at.0).fetch_optional(c).await)?;
    row.map(|row| key_result(row).map(|r| r.result)).transpose()
}

/// A device's key results, oldest first.
pub async fn key_history(tx: &mut Tx, device: DeviceId) -> DbResult<Vec<StoredKeyResult>> {
    let text =
        "select device_id, attempted_at, status, detail, source from key_results where device_id = $1 order by attempted_at";
    let rows: Vec<KeyColumns> = sql!(tx, c => sqlx::query_as(text).bind(device.to_db()).fetch_all(c).await)?;
    rows.into_iter().map(key_result).collect()
}

/// Adds a key result that came by another way than a file; one of the same device and moment is replaced.
pub async fn add_key_result(tx: &mut Tx, result: &KeyResult, source: KeySource) -> DbResult<()> {
    let text = "insert into key_results (device_id, attempted_at, status, detail, source) values ($1, $2, $3, $4, $5) \
                on conflict (device_id, attempted_at) do update set status = excluded.status, detail = excluded.detail, \
                source = excluded.source";
    let (status, detail) = (result.status.as_str(), result.detail.as_deref());
    sql!(tx, c => sqlx::query(text).bind(result.device_id.to_db()).bind(result.attempted_at.0).bind(status).bind(detail)
        .bind(source.as_str()).execute(c).await.map(|_| ()))?;
    Ok(())
}

/// The same for many at once.
pub async fn add_key_results(tx: &mut Tx, results: &[KeyResult], source: KeySource) -> DbResult<()> {
    let one = |r: &KeyResult| serde_json::json!([r.device_id.to_db(), r.attempted_at.0, r.status.as_str(), r.detail]);
    let all: rows::Rows = results.iter().map(one).collect();
    let v = rows::table(tx, 1, &[("device", "int"), ("at", "int"), ("status", "text"), ("detail", "text")]);
    let text = format!(
        "insert into key_results (device_id, attempted_at, status, detail, source) select v.device, v.at, v.status, v.detail, $2 from {v}
         where true on conflict (device_id, attempted_at) do update set status = excluded.status, detail = excluded.detail,
         source = excluded.source"
    );
    let text = sqlx::AssertSqlSafe(text);
    sql!(tx, c => sqlx::query(text).bind(all.to_json()).bind(source.as_str()).execute(c).await.map(|_| ()))?;
    Ok(())
}

type CplColumns = (String, String, String, String, i64, String, String, String, String);

/// The whole Central Products List, by entry id.
pub async fn cpl_entries(tx: &mut Tx) -> DbResult<Vec<CplEntry>> {
    let text = "select cpl_entry_id, device_type, manufacturer, model, hardware_version, firmware_version, \
                manufacturer_image_hash, status, upgrade_from from cpl_entries order by cpl_entry_id";
    let rows: Vec<CplColumns> = sql!(tx, c => sqlx::query_as(text).fetch_all(c).await)?;
    rows.into_iter()
        .map(|row| {
            let id = row.0;
            Ok(CplEntry {
                hardware_version: hardware("cpl_entries", &id, row.4)?,
                manufacturer_image_hash: parse("cpl_entries", &id, "manufacturer_image_hash", &row.6)?,
                status: parse("cpl_entries", &id, "status", &row.7)?,
                cpl_entry_id: id,
                device_type: row.1,
                manufacturer: row.2,
                model: row.3,
                firmware_version: row.5,
                upgrade_from: UpgradeFrom::parse(&row.8),
            })
        })
        .collect()
}

/// The whole Eligible Product Combinations List, by combination and date.
pub async fn epcl(tx: &mut Tx) -> DbResult<Vec<EpclEntry>> {
    let text = "select dmc, effective_from, effective_to from epcl_entries order by dmc, effective_from";
    let rows: Vec<(String, i64, Option<i64>)> = sql!(tx, c => sqlx::query_as(text).fetch_all(c).await)?;
    let entry =
        |(dmc, from, to): (String, i64, Option<i64>)| EpclEntry { dmc, effective_from: Day(from), effective_to: to.map(Day) };
    Ok(rows.into_iter().map(entry).collect())
}

/// Every exclusion of a site, by device or by MPAN, any dates.
pub async fn exclusions_of(tx: &mut Tx, device: DeviceId, mpan: Mpan) -> DbResult<Vec<Exclusion>> {
    let text = "select reason, effective_from, effective_to from exclusions where (subject_kind = 'device' and subject = $1) \
                or (subject_kind = 'mpan' and subject = $2) order by effective_from, reason";
    let rows: Vec<(String, i64, Option<i64>)> =
        sql!(tx, c => sqlx::query_as(text).bind(device.to_db()).bind(mpan.to_db()).fetch_all(c).await)?;
    let exclusion = |(reason, from, to): (String, i64, Option<i64>)| Exclusion {
        reason,
        effective_from: Day(from),
        effective_to: to.map(Day),
    };
    Ok(rows.into_iter().map(exclusion).collect())
}

/// The reason of an exclusion of the device, or else of the MPAN, that covers the day. Of several, the first by alphabet.
pub async fn exclusion_covering(tx: &mut Tx, device: DeviceId, mpan: Mpan, day: Day) -> DbResult<Option<String>> {
    let text = "select reason from exclusions where ((subject_kind = 'device' and subject = $1) or (subject_kind = 'mpan' and subject = $2)) \
                and effective_from <= $3 and (effective_to is null or effective_to > $3) order by subject_kind, reason limit 1";
    Ok(sql!(tx, c => sqlx::query_scalar(text).bind(device.to_db()).bind(mpan.to_db()).bind(day.0).fetch_optional(c).await)?)
}

/// Keeps the firmware versions that DCC's messages named and when; gives how many sites that changed. A site whose version is
/// known from a later message, or from a row whose `as_at` is later, stays as it is.
pub async fn learn_firmware(tx: &mut Tx, learned: &[(DeviceId, String, Time)]) -> DbResult<u64> {
    learn(tx, ["firmware_version", "firmware_learned_at", "firmware_before"], learned).await
}

/// The same for `device_status` (the schema's `DeviceStatus`).
pub async fn learn_status(tx: &mut Tx, learned: &[(DeviceId, String, Time)]) -> DbResult<u64> {
    learn(tx, ["device_status", "status_learned_at", "status_before"], learned).await
}

async fn learn(tx: &mut Tx, [column, time, before]: [&str; 3], learned: &[(DeviceId, String, Time)]) -> DbResult<u64> {
    let mut latest: BTreeMap<DeviceId, (&str, Time)> = BTreeMap::new();
    for (device, value, at) in learned {
        let entry = latest.entry(*device).or_insert((value, *at));
        if entry.1 <= *at {
            *entry = (value, *at);
        }
    }
    if latest.is_empty() {
        return Ok(0);
    }
    let mut values: BTreeMap<&str, Vec<[Option<i64>; 2]>> = BTreeMap::new();
    for (device, (value, at)) in latest {
        values.entry(value).or_default().push([Some(device.to_db()), Some(at.0)]);
    }
    let statement = format!(
        "update sites set {before} = case when {time} is null then {column} else {before} end, {column} = ?, {time} = v.at
         from v where sites.device_id = v.device_id
           and (sites.{time} is null or sites.{time} <= v.at) and (sites.as_at is null or sites.as_at <= v.at)"
    );
    let mut learned = 0;
    for (value, rows) in values {
        learned += given::execute(tx, ["device_id", "at"], &rows, &statement, &[value.into()]).await?;
    }
    Ok(learned)
}

/// How many sites are known.
pub async fn count_sites(tx: &mut Tx) -> DbResult<u64> {
    let n: i64 = sql!(tx, c => sqlx::query_scalar("select count(*) from sites").fetch_one(c).await)?;
    Ok(u64::try_from(n).unwrap_or(0))
}
