//! The planner's scan: sites in pages by Device ID, each with what a decision about it needs. A page comes as one packed text:
//! a driver that hands over a million rows of sixteen columns spends longer on that than the database on finding them.

use serde::{Deserialize, Serialize};

use super::{facts::parse, integers};
use crate::{
    clock::{Day, Time},
    db::{DbError, DbResult, Tx},
    estate::{Cohort, KeyStatus, Registration, Site},
    ids::{DeviceId, IdError, Mpan, Mpid},
    sql,
};

/// Between the fields of a packed site, and between sites: ASCII's own separators, which no stored text holds (the import
/// refuses control characters, and XML cannot carry them).
const FIELD: char = '\u{1f}';
const SITE: char = '\u{1e}';

/// Which sites a campaign is about. An empty list holds nothing back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "FilterText", into = "FilterText")]
pub struct SiteFilter {
    pub cohorts: Vec<Cohort>,
    pub models: Vec<String>,
    pub regions: Vec<String>,
    pub devices: Vec<DeviceId>,
}

/// The filter as JSON.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct FilterText {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cohorts: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    models: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    regions: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    devices: Vec<String>,
}

impl From<SiteFilter> for FilterText {
    fn from(f: SiteFilter) -> FilterText {
        FilterText {
            cohorts: f.cohorts.iter().map(ToString::to_string).collect(),
            models: f.models,
            regions: f.regions,
            devices: f.devices.iter().map(ToString::to_string).collect(),
        }
    }
}

impl TryFrom<FilterText> for SiteFilter {
    type Error = IdError;

    fn try_from(f: FilterText) -> Result<SiteFilter, IdError> {
        Ok(SiteFilter {
            cohorts: f.cohorts.iter().map(|c| c.parse()).collect::<Result<_, _>>()?,
            models: f.models,
            regions: f.regions,
            devices: f.devices.iter().map(|d| d.parse()).collect::<Result<_, _>>()?,
        })
    }
}

/// The moment a scan is about, and whose registrations count as our own.
#[derive(Debug, Clone, Copy)]
pub struct Scan<'a> {
    pub filter: &'a SiteFilter,
    pub own_mpids: &'a [Mpid],
    /// Exclusions that cover this day count.
    pub day: Day,
    /// Key results later than this do not.
    pub at: Time,
}

/// One site and what a decision about it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteRow {
    pub site: Site,
    /// Rows of the site's MPAN whose supplier is one of our own, any dates, by date.
    pub own_registrations: Vec<Registration>,
    /// The latest result not later than the scan's moment.
    pub key: Option<KeyStatus>,
    /// The reason of an exclusion that covers the day.
    pub exclusion: Option<String>,
}

/// Some sites by rising [`DeviceId::to_db`], and where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SitePage {
    pub sites: Vec<SiteRow>,
    /// What to give as `after` for the next page; `None` after the last. (A page in the middle may be empty.)
    pub next: Option<DeviceId>,
}

/// Reads up to `limit` sites after `after`. Good pages are of 2,000 to 10,000.
pub async fn scan_sites(tx: &mut Tx, after: Option<DeviceId>, limit: u32, scan: Scan<'_>) -> DbResult<SitePage> {
    let done = SitePage { sites: Vec::new(), next: None };
    let from = match after.map(|d| d.to_db().checked_add(1)) {
        None => i64::MIN,
        Some(Some(n)) => n,
        Some(None) => return Ok(done),
    };
    let limit = limit.max(1);
    if scan.filter.devices.is_empty() {
        let sites = read(tx, from, limit, None, scan).await?;
        let next = (sites.len() >= limit as usize).then(|| sites.last().map(|s| s.site.device_id)).flatten();
        return Ok(SitePage { sites, next });
    }
    // The next devices of the list that are not yet passed; the whole list is not sorted for each page.
    let mut ahead: Vec<i64> = scan.filter.devices.iter().map(|d| d.to_db()).filter(|d| *d >= from).collect();
    let more = ahead.len() > limit as usize;
    if more {
        ahead.select_nth_unstable(limit as usize);
        ahead.truncate(limit as usize);
    }
    ahead.sort_unstable();
    let Some(last) = ahead.last().copied() else { return Ok(done) };
    let sites = read(tx, from, limit, Some(&ahead), scan).await?;
    Ok(SitePage { sites, next: more.then(|| DeviceId::from_db(last)) })
}

/// One site as the scan sees it, whatever the filter; what `explain` and the check before sending use.
pub async fn scan_devices(tx: &mut Tx, devices: &[DeviceId], own_mpids: &[Mpid], day: Day, at: Time) -> DbResult<Vec<SiteRow>> {
    let mut wanted: Vec<i64> = devices.iter().map(|d| d.to_db()).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let filter = SiteFilter::default();
    let scan = Scan { filter: &filter, own_mpids, day, at };
    let mut all = Vec::with_capacity(wanted.len());
    for some in wanted.chunks(DEVICES_A_QUERY) {
        all.extend(read(tx, i64::MIN, u32::MAX, Some(some), scan).await?);
    }
    Ok(all)
}

/// Devices asked for by name in one query.
const DEVICES_A_QUERY: usize = 5_000;

async fn read(tx: &mut Tx, from: i64, limit: u32, devices: Option<&[i64]>, scan: Scan<'_>) -> DbResult<Vec<SiteRow>> {
    let mut texts: Vec<String> = Vec::new();
    let mut list = |values: &mut dyn Iterator<Item = String>| {
        let mut names = Vec::new();
        for value in values {
            texts.push(value);
            names.push(format!("${}", FIXED_PARAMETERS + texts.len()));
        }
        names.join(", ")
    };
    let filter = scan.filter;
    let mut wanted = String::new();
    if !filter.cohorts.is_empty() {
        wanted += &format!(" and s.cohort in ({})", list(&mut filter.cohorts.iter().map(ToString::to_string)));
    }
    if !filter.models.is_empty() {
        wanted += &format!(" and s.model in ({})", list(&mut filter.models.iter().cloned()));
    }
    if !filter.regions.is_empty() {
        wanted += &format!(" and s.region in ({})", list(&mut filter.regions.iter().cloned()));
    }
    let own = match scan.own_mpids {
        [] => "''".to_string(),
        some => list(&mut some.iter().map(ToString::to_string)),
    };
    if let Some(devices) = devices {
        let n = u32::try_from(FIXED_PARAMETERS + texts.len() + 1).expect("a filter has few parameters");
        let (json, unfold) = integers(tx, n, devices.iter().copied());
        texts.push(json);
        wanted += &format!(" and s.device_id in ({unfold})");
    }
    let text = sqlx::AssertSqlSafe(page_text(&wanted, &own));
    let packed: Option<String> = sql!(tx, c => {
        let mut query = sqlx::query_scalar(text).bind(from).bind(i64::from(limit)).bind(FIELD.to_string()).bind(SITE.to_string())
            .bind(scan.at.0).bind(scan.day.0);
        for value in &texts {
            query = query.bind(value);
        }
        query.fetch_one(c).await
    })?;
    let Some(packed) = packed else { return Ok(Vec::new()) };
    let mut rows: Vec<SiteRow> = packed.split(SITE).map(unpack).collect::<DbResult<_>>()?;
    // The order in which an aggregate meets its rows is the engine's own business.
    if !rows.is_sorted_by_key(|r| r.site.device_id.to_db()) {
        rows.sort_unstable_by_key(|r| r.site.device_id.to_db());
    }
    Ok(rows)
}

/// Parameters of [`page_text`] before those of the filter: from, limit, the two separators, moment, day.
const FIXED_PARAMETERS: usize = 6;

fn page_text(wanted: &str, own: &str) -> String {
    let covering = "e.effective_from <= $6 and (e.effective_to is null or e.effective_to > $6)";
    let maybe = |column: &str| format!("coalesce(cast(s.{column} as text), '-')");
    let (chf, gsme, migrated, as_at) = (maybe("chf_device_id"), maybe("gsme_device_id"), maybe("migrated_on"), maybe("as_at"));
    format!(
        "select string_agg(p.packed, $4) from (select concat_ws($3, s.device_id, s.mpan, s.cohort, s.manufacturer, s.model, \
         s.hardware_version, s.firmware_version, s.device_status, s.dmc, {chf}, {gsme}, '=' || coalesce(s.region, ''), {migrated}, {as_at}, \
         coalesce((select string_agg(concat_ws(' ', r.supplier_mpid, r.effective_from, r.effective_to), ';') from registrations r \
         where r.mpan = s.mpan and r.supplier_mpid in ({own})), '-'), \
         coalesce((select k.status from key_results k where k.device_id = s.device_id and k.attempted_at <= $5 \
         order by k.attempted_at desc limit 1), '-'), \
         '=' || coalesce((select min(e.reason) from exclusions e where e.subject_kind = 'device' and e.subject = s.device_id and {covering}), \
         (select min(e.reason) from exclusions e where e.subject_kind = 'mpan' and e.subject = s.mpan and {covering}), '')) as packed \
         from sites s where s.device_id >= $1{wanted} order by s.device_id limit $2) p"
    )
}

/// What stands for null. No field is ever empty: some versions of SQLite drop empty texts from `concat_ws`.
const ABSENT: &str = "-";

fn unpack(packed: &str) -> DbResult<SiteRow> {
    let mut fields = packed.split(FIELD);
    let mut next = || fields.next().ok_or_else(|| DbError::bad_row("sites", "?", "packed", packed));
    let id = next()?;
    let number = |column: &'static str, text: &str| -> DbResult<i64> { parse("sites", id, column, text) };
    let maybe = |column, text: &str| if text == ABSENT { Ok(None) } else { number(column, text).map(Some) };
    let mpan = Mpan::from_db(number("mpan", next()?)?);
    let site = Site {
        device_id: DeviceId::from_db(number("device_id", id)?),
        mpan,
        cohort: parse("sites", id, "cohort", next()?)?,
        manufacturer: next()?.to_string(),
        model: next()?.to_string(),
        hardware_version: parse("sites", id, "hardware_version", next()?)?,
        firmware_version: next()?.to_string(),
        device_status: next()?.to_string(),
        dmc: next()?.to_string(),
        chf_device_id: maybe("chf_device_id", next()?)?.map(DeviceId::from_db),
        gsme_device_id: maybe("gsme_device_id", next()?)?.map(DeviceId::from_db),
        region: free_text(next()?),
        migrated_on: maybe("migrated_on", next()?)?.map(Day),
        as_at: maybe("as_at", next()?)?.map(Time),
    };
    let own_registrations = registrations(mpan, next()?)?;
    let key = next()?;
    let key = if key == ABSENT { None } else { Some(parse("key_results", id, "status", key)?) };
    let exclusion = free_text(next()?);
    Ok(SiteRow { site, own_registrations, key, exclusion })
}

/// A text that may be anything comes behind a `=`.
fn free_text(packed: &str) -> Option<String> {
    packed.strip_prefix('=').filter(|text| !text.is_empty()).map(str::to_string)
}

/// `SUPPLIER from [to]` of each row, `;` between them.
fn registrations(mpan: Mpan, packed: &str) -> DbResult<Vec<Registration>> {
    if packed == ABSENT {
        return Ok(Vec::new());
    }
    let mut all = Vec::with_capacity(1);
    for row in packed.split(';') {
        let mut parts = row.split(' ');
        let broken = || DbError::bad_row("registrations", mpan, "packed", row);
        let supplier_mpid: Mpid = parse("registrations", mpan, "supplier_mpid", parts.next().ok_or_else(broken)?)?;
        let effective_from = Day(parse("registrations", mpan, "effective_from", parts.next().ok_or_else(broken)?)?);
        let effective_to = parts.next().map(|to| parse("registrations", mpan, "effective_to", to)).transpose()?.map(Day);
        all.push(Registration { mpan, supplier_mpid, effective_from, effective_to });
    }
    all.sort_unstable_by_key(|r: &Registration| (r.effective_from, r.supplier_mpid));
    Ok(all)
}
