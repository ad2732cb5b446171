//! The planner's scan: sites in pages by Device ID, each with what a decision about it needs. A page comes as one packed text:
//! a driver that hands over a million rows of sixteen columns spends longer on that than the database on finding them.

use serde::{Deserialize, Serialize};

use super::{
    end_on,
    facts::{parse, then},
};
use crate::{
    clock::{Day, Time},
    db::{DbError, DbResult, Tx, rows},
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
    /// Whether the moment is over: what DCC's messages said since of a site does not count.
    pub past: bool,
}

/// One site and what a decision about it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteRow {
    pub site: Site,
    /// Rows of the site's MPAN whose supplier is one of our own, any dates, by date.
    pub own_registrations: Vec<Registration>,
    /// The latest result not later than the scan's moment.
    pub key: Option<KeyStatus>,
    /// When that result was.
    pub key_at: Option<Time>,
    /// The reason of an exclusion that covers the day.
    pub exclusion: Option<String>,
    /// The day of an alert that said that the site was lost, while it stands: what of own registrations it ended is ended above. The
    /// latest of several.
    pub noticed: Option<Day>,
}

impl SiteRow {
    /// Whether an own registration covers the day.
    pub fn is_ours_on(&self, day: Day) -> bool {
        self.own_registrations.iter().any(|own| own.covers(day))
    }
}

/// Some sites by rising [`DeviceId::to_db`], and where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SitePage {
    pub sites: Vec<SiteRow>,
    /// What to give as `after` for the next page; `None` after the last. (A page in the middle may be empty.)
    pub next: Option<DeviceId>,
}

/// What a packed page holds of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    Everything,
    /// What [`super::Kept`] does not know, and of the site itself what rules go by: without registrations, exclusion and notices, and without
    /// `chf_device_id`, `gsme_device_id`, `region` and `as_at`. Keys come in the order of devices too, and are merged.
    SitesAndKeys,
    /// As that, with the region.
    SitesRegionsAndKeys,
}

impl Reads {
    /// Fields of a packed site.
    fn fields(self) -> usize {
        match self {
            Reads::Everything => FIELDS,
            Reads::SitesAndKeys => FEW_FIELDS,
            Reads::SitesRegionsAndKeys => FEW_FIELDS + 1,
        }
    }
}

/// A page as the database packed it: read quickly, looked at elsewhere.
#[derive(Debug, Default)]
pub struct PackedPage {
    text: String,
    /// The latest result of each device of the page, packed, where the sites do not bring their own.
    keys: Option<String>,
    /// What to give as `after` for the next page; `None` after the last.
    pub next: Option<DeviceId>,
}

impl PackedPage {
    /// Shows every site by rising [`DeviceId::to_db`]. It is one row used again and again: a million sites allocate nothing.
    pub fn for_each(&self, mut look: impl FnMut(&mut SiteRow)) -> DbResult<()> {
        self.for_each_with(|mpans| vec![(); mpans.len()], |row, ()| look(row))
    }

    /// As [`PackedPage::for_each`], each site with what `find` gave for its MPAN: one for each. All are asked for before the first
    /// site is shown, so that the processor waits for several look-ups at once.
    pub fn for_each_with<T>(&self, find: impl Fn(&[Mpan]) -> Vec<T>, mut look: impl FnMut(&mut SiteRow, T)) -> DbResult<()> {
        let mut sites: Vec<(i64, Mpan, Fields<'_>)> = Vec::new();
        for packed in self.text.split(SITE).filter(|packed| !packed.is_empty()) {
            let mut fields = Fields(Some(packed));
            let (id, mpan) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
            sites.push((parse("sites", id, "device_id", id)?, Mpan::from_db(parse("sites", id, "mpan", mpan)?), fields));
        }
        // The order in which an aggregate meets its rows is the engine's own business.
        if !sites.is_sorted_by_key(|s| s.0) {
            sites.sort_unstable_by_key(|s| s.0);
        }
        let mpans: Vec<Mpan> = sites.iter().map(|site| site.1).collect();
        let found = find(&mpans);
        debug_assert_eq!(found.len(), mpans.len());
        let mut keys = self.keys.as_deref().map(Keys::of).transpose()?;
        let mut row = blank();
        for ((id, mpan, fields), found) in sites.into_iter().zip(found) {
            unpack(id, mpan, fields, &mut row)?;
            if let Some(keys) = &mut keys {
                let latest = keys.take(id)?;
                (row.key, row.key_at) = (latest.map(|k| k.0), latest.map(|k| k.1));
            }
            look(&mut row, found);
        }
        Ok(())
    }

    fn rows(&self) -> DbResult<Vec<SiteRow>> {
        let mut all = Vec::new();
        self.for_each(|row| all.push(row.clone()))?;
        Ok(all)
    }
}

/// Reads up to `limit` sites after `after`. Good pages are of 2,000 to 10,000.
pub async fn scan_sites(tx: &mut Tx, after: Option<DeviceId>, limit: u32, scan: Scan<'_>) -> DbResult<SitePage> {
    let page = scan_packed(tx, after, limit, scan, Reads::Everything).await?;
    Ok(SitePage { sites: page.rows()?, next: page.next })
}

/// As [`scan_sites`], without unpacking the page. Where the filter names devices, everything is read.
pub async fn scan_packed(tx: &mut Tx, after: Option<DeviceId>, limit: u32, scan: Scan<'_>, reads: Reads) -> DbResult<PackedPage> {
    let done = PackedPage::default();
    let from = match after.map(|d| d.to_db().checked_add(1)) {
        None => i64::MIN,
        Some(Some(n)) => n,
        Some(None) => return Ok(done),
    };
    let limit = limit.max(1);
    if scan.filter.devices.is_empty() {
        let (text, count, last) = read(tx, from, limit, None, scan, reads).await?;
        let keys = match (reads, last) {
            (Reads::SitesAndKeys | Reads::SitesRegionsAndKeys, Some(last)) => Some(keys(tx, from, last, scan.at).await?),
            _ => None,
        };
        let next = last.filter(|_| count >= i64::from(limit)).map(DeviceId::from_db);
        return Ok(PackedPage { text, keys, next });
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
    let (text, ..) = read(tx, from, limit, Some(&ahead), scan, Reads::Everything).await?;
    Ok(PackedPage { text, keys: None, next: more.then(|| DeviceId::from_db(last)) })
}

/// One site as the scan sees it, whatever the filter; what `explain` and the check before sending use.
pub async fn scan_devices(tx: &mut Tx, devices: &[DeviceId], own_mpids: &[Mpid], day: Day, at: Time) -> DbResult<Vec<SiteRow>> {
    let mut wanted: Vec<i64> = devices.iter().map(|d| d.to_db()).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let filter = SiteFilter::default();
    let scan = Scan { filter: &filter, own_mpids, day, at, past: true };
    let mut all = Vec::with_capacity(wanted.len());
    for some in wanted.chunks(DEVICES_A_QUERY) {
        let (text, ..) = read(tx, i64::MIN, u32::MAX, Some(some), scan, Reads::Everything).await?;
        all.append(&mut PackedPage { text, keys: None, next: None }.rows()?);
    }
    Ok(all)
}

/// Devices asked for by name in one query.
const DEVICES_A_QUERY: usize = 5_000;

/// The key results of devices in a range, oldest first for each: device, moment and status, packed.
async fn keys(tx: &mut Tx, from: i64, last: i64, at: Time) -> DbResult<String> {
    let text =
        "select coalesce(string_agg(p.device_id || ' ' || p.attempted_at || ' ' || p.status, ';'), '') from (select device_id, attempted_at, status from key_results
                where device_id >= $1 and device_id <= $2 and attempted_at <= $3 order by device_id, attempted_at) p";
    Ok(sql!(tx, c => sqlx::query_scalar(text).bind(from).bind(last).bind(at.0).fetch_one(c).await)?)
}

/// A packed list of key results, gone through in the order of devices.
struct Keys<'a> {
    rest: std::str::Split<'a, char>,
    ahead: Option<(i64, &'a str)>,
}

impl<'a> Keys<'a> {
    fn of(packed: &'a str) -> DbResult<Keys<'a>> {
        let mut keys = Keys { rest: packed.split(';'), ahead: None };
        keys.step()?;
        Ok(keys)
    }

    fn step(&mut self) -> DbResult<()> {
        self.ahead = match self.rest.next().and_then(|key| key.split_once(' ')) {
            Some((id, status)) => Some((parse("key_results", id, "device_id", id)?, status)),
            None => None,
        };
        Ok(())
    }

    /// The latest of a device; devices are asked for in rising order.
    fn take(&mut self, device: i64) -> DbResult<Option<(KeyStatus, Time)>> {
        let mut latest = None;
        while let Some((id, status)) = self.ahead.filter(|(id, _)| *id <= device) {
            if id == device {
                latest = Some(status);
            }
            self.step()?;
        }
        latest.map(|result| key_result(device, result)).transpose()
    }
}

/// `moment status`.
fn key_result(device: impl std::fmt::Display + Copy, packed: &str) -> DbResult<(KeyStatus, Time)> {
    let (at, status) = packed.split_once(' ').ok_or_else(|| DbError::bad_row("key_results", device, "packed", packed))?;
    Ok((parse("key_results", device, "status", status)?, Time(parse("key_results", device, "attempted_at", at)?)))
}

/// The packed sites, how many they are, and the last.
type Packed = (String, i64, Option<i64>);

async fn read(tx: &mut Tx, from: i64, limit: u32, devices: Option<&[i64]>, scan: Scan<'_>, reads: Reads) -> DbResult<Packed> {
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
        _ if reads != Reads::Everything => String::new(),
        [] => "''".to_string(),
        some => list(&mut some.iter().map(ToString::to_string)),
    };
    if let Some(devices) = devices {
        let n = u32::try_from(FIXED_PARAMETERS + texts.len() + 1).expect("a filter has few parameters");
        let (json, among) = rows::integers(tx, n, devices.iter().copied());
        texts.push(json);
        wanted += &format!(" and s.device_id {among}");
    }
    let text = sqlx::AssertSqlSafe(page_text(&wanted, &own, reads, scan.past));
    Ok(sql!(tx, c => {
        let mut query = sqlx::query_as(text).bind(from).bind(i64::from(limit)).bind(one_format(reads)).bind(SITE.to_string())
            .bind(scan.at.0).bind(scan.day.0);
        for value in &texts {
            query = query.bind(value);
        }
        query.fetch_one(c).await
    })?)
}

/// Parameters of [`page_text`] before those of the filter: from, limit, the format of a site, the separator, moment, day.
const FIXED_PARAMETERS: usize = 6;

/// Columns of a packed site.
const FIELDS: usize = 18;
/// As many as [`Reads::SitesAndKeys`] reads: the rest are region, hub, gas meter, `as_at`, registrations, key, exclusion and notices.
const FEW_FIELDS: usize = 10;

/// `format`'s own: one call a site, where a chain of `||` would copy what it has so far for each field. A null is written as nothing.
fn one_format(reads: Reads) -> String {
    vec!["%s"; reads.fields()].join(&FIELD.to_string())
}

fn page_text(wanted: &str, own: &str, reads: Reads, past: bool) -> String {
    let covering = "e.effective_from <= $6 and (e.effective_to is null or e.effective_to > $6)";
    let [firmware, status] = if past { then("s", "$5") } else { ["s.firmware_version".into(), "s.device_status".into()] };
    let all: [String; FIELDS] = [
        "s.device_id".into(),
        "s.mpan".into(),
        "s.cohort".into(),
        "s.manufacturer".into(),
        "s.model".into(),
        "s.hardware_version".into(),
        firmware,
        status,
        "s.dmc".into(),
        "s.migrated_on".into(),
        "s.region".into(),
        "s.chf_device_id".into(),
        "s.gsme_device_id".into(),
        "s.as_at".into(),
        format!(
            "(select string_agg(format('%s %s %s', r.supplier_mpid, r.effective_from, r.effective_to), ';') from registrations r \
             where r.mpan = s.mpan and r.supplier_mpid in ({own}))"
        ),
        "(select k.attempted_at || ' ' || k.status from key_results k where k.device_id = s.device_id and k.attempted_at <= $5 \
         order by k.attempted_at desc limit 1)"
            .into(),
        format!(
            "coalesce((select min(e.reason) from exclusions e where e.subject_kind = 'device' and e.subject = s.device_id and {covering}), \
             (select min(e.reason) from exclusions e where e.subject_kind = 'mpan' and e.subject = s.mpan and {covering}))"
        ),
        "(select string_agg(cast(n.day as text), ' ') from supply_notices n where n.mpan = s.mpan and n.answered_by is null \
         and n.received_at <= $5)"
            .into(),
    ];
    // Moment and day are named in any case: PostgreSQL wants to know the type of every parameter.
    format!(
        "select coalesce(string_agg(p.packed, $4), ''), count(*), max(p.device_id) from (select s.device_id, \
         format(cast($3 as text), {}) as packed from sites s where s.device_id >= $1 and cast($5 as bigint) + cast($6 as bigint) is not null{wanted} \
         order by s.device_id limit $2) p",
        all[..reads.fields()].join(", ")
    )
}

/// The fields of a packed site. They are so short that a plain loop finds their ends faster than a general search.
struct Fields<'a>(Option<&'a str>);

impl<'a> Iterator for Fields<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.0?;
        let end = text.bytes().position(|b| b == FIELD as u8);
        self.0 = end.map(|end| &text[end + 1..]);
        Some(&text[..end.unwrap_or(text.len())])
    }
}

/// A row to be filled.
fn blank() -> SiteRow {
    let site = Site {
        device_id: DeviceId::from_db(0),
        mpan: Mpan::from_db(0),
        cohort: Cohort::Ioc,
        manufacturer: String::new(),
        model: String::new(),
        hardware_version: 0,
        firmware_version: String::new(),
        device_status: String::new(),
        dmc: String::new(),
        chf_device_id: None,
        gsme_device_id: None,
        region: None,
        migrated_on: None,
        as_at: None,
    };
    SiteRow { site, own_registrations: Vec::new(), key: None, key_at: None, exclusion: None, noticed: None }
}

/// Fills every field of the row that the page holds; the rest stay as they are in a blank one. The fields are those after the MPAN.
fn unpack(id: i64, mpan: Mpan, mut fields: Fields<'_>, row: &mut SiteRow) -> DbResult<()> {
    let packed = fields.0;
    let ended = || DbError::bad_row("sites", id, "packed", packed.unwrap_or_default());
    let mut next = || fields.next().ok_or_else(ended);
    let number = |column: &'static str, text: &str| -> DbResult<i64> { parse("sites", id, column, text) };
    let maybe = |column, text: &str| if text.is_empty() { Ok(None) } else { number(column, text).map(Some) };
    let site = &mut row.site;
    site.device_id = DeviceId::from_db(id);
    site.mpan = mpan;
    site.cohort = parse("sites", id, "cohort", next()?)?;
    write(&mut site.manufacturer, next()?);
    write(&mut site.model, next()?);
    site.hardware_version = parse("sites", id, "hardware_version", next()?)?;
    write(&mut site.firmware_version, next()?);
    write(&mut site.device_status, next()?);
    write(&mut site.dmc, next()?);
    site.migrated_on = maybe("migrated_on", next()?)?.map(Day);
    if fields.0.is_none() {
        // A page of few fields: nothing else was asked for.
        return Ok(());
    }
    write_maybe(&mut site.region, fields.next().unwrap_or_default());
    if fields.0.is_none() {
        return Ok(());
    }
    let mut next = || fields.next().ok_or_else(ended);
    site.chf_device_id = maybe("chf_device_id", next()?)?.map(DeviceId::from_db);
    site.gsme_device_id = maybe("gsme_device_id", next()?)?.map(DeviceId::from_db);
    site.as_at = maybe("as_at", next()?)?.map(Time);
    registrations(mpan, next()?, &mut row.own_registrations)?;
    let key = next()?;
    let latest = if key.is_empty() { None } else { Some(key_result(id, key)?) };
    (row.key, row.key_at) = (latest.map(|k| k.0), latest.map(|k| k.1));
    write_maybe(&mut row.exclusion, next()?);
    row.noticed = None;
    for day in next()?.split(' ').filter(|day| !day.is_empty()) {
        let day = Day(parse("supply_notices", mpan, "day", day)?);
        end_on(&mut row.own_registrations, day);
        row.noticed = row.noticed.max(Some(day));
    }
    Ok(())
}

/// Into the same memory.
fn write(into: &mut String, text: &str) {
    into.clear();
    into.push_str(text);
}

fn write_maybe(into: &mut Option<String>, text: &str) {
    match text {
        "" => *into = None,
        text => write(into.get_or_insert_default(), text),
    }
}

/// `SUPPLIER from [to]` of each row, `;` between them.
fn registrations(mpan: Mpan, packed: &str, all: &mut Vec<Registration>) -> DbResult<()> {
    all.clear();
    for row in packed.split(';').filter(|row| !row.is_empty()) {
        let mut parts = row.split(' ');
        let broken = || DbError::bad_row("registrations", mpan, "packed", row);
        let supplier_mpid: Mpid = parse("registrations", mpan, "supplier_mpid", parts.next().ok_or_else(broken)?)?;
        let effective_from = Day(parse("registrations", mpan, "effective_from", parts.next().ok_or_else(broken)?)?);
        let to = parts.next().filter(|to| !to.is_empty());
        let effective_to = to.map(|to| parse("registrations", mpan, "effective_to", to)).transpose()?.map(Day);
        all.push(Registration { mpan, supplier_mpid, effective_from, effective_to });
    }
    all.sort_unstable_by_key(|r: &Registration| (r.effective_from, r.supplier_mpid));
    Ok(())
}
