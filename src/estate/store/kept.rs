//! Own registrations and exclusions of a whole estate, kept in memory while it is planned: they lie in the order of MPANs, sites in
//! that of devices, and a million look-ups in a table cost more than everything else a plan reads. Not a cache: it is as old as
//! its reading. Promise: its memory is bounded; where it would not fit, the planner asks the table site by site.

use std::str::FromStr;

use foldhash::HashMap;
use tokio::sync::mpsc;

use super::{PackedPage, Scan, SiteRow, facts::parse, notices};
use crate::{
    clock::Day,
    db::{Db, DbError, DbResult, Tx},
    estate::Registration,
    ids::{Mpan, Mpid},
    sql,
};

/// Most registrations of anybody for which it is kept: 24 bytes a row of our own, so at most 100 MB.
const MOST_REGISTRATIONS: i64 = 4_000_000;
/// Most exclusions: some 100 bytes each, so at most 20 MB.
const MOST_EXCLUSIONS: i64 = 200_000;
/// Most alerts that say that a site was lost: some 30 bytes each.
const MOST_NOTICES: i64 = 500_000;
/// Rows read in one step: some 10 ms.
const PAGE_ROWS: i64 = 20_000;
/// Registrations for each bucket of MPANs, if they lay evenly: where a bucket begins is found by a division, so that a look-up
/// waits for memory twice, not twenty times as a binary search of a million does (measured).
const BUCKET_ROWS: usize = 4;
/// A registration that has no end.
const OPEN: i32 = i32::MAX;

/// A registration in 24 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    mpan: i64,
    from: i32,
    to: i32,
    supplier: Mpid,
}

/// What is known by MPAN.
#[derive(Debug, Default)]
pub struct Kept {
    /// By MPAN, then date.
    registrations: Vec<Row>,
    /// For each equal span of MPANs from the first to the last, the place of its first row; then the number of rows.
    buckets: Vec<u32>,
    /// MPANs in a bucket.
    span: u64,
    by_device: HashMap<i64, String>,
    by_mpan: HashMap<i64, String>,
    /// By MPAN, the day of an alert that said that it was lost.
    noticed: HashMap<i64, Day>,
}

impl Kept {
    /// Whether the estate is small enough for it.
    pub async fn fits(tx: &mut Tx) -> DbResult<bool> {
        let notices = notices::count_standing(tx).await?;
        let (registrations, exclusions): (i64, i64) = sql!(tx, c => sqlx::query_as(
            "select (select count(*) from registrations), (select count(*) from exclusions)").fetch_one(c).await)?;
        Ok(registrations <= MOST_REGISTRATIONS && exclusions <= MOST_EXCLUSIONS && notices <= MOST_NOTICES)
    }

    /// Reads it, in short reads.
    pub async fn load(db: &Db, scan: Scan<'_>) -> DbResult<Kept> {
        let mut kept = Kept::default();
        if !scan.own_mpids.is_empty() {
            kept.load_registrations(db, scan.own_mpids).await?;
        }
        kept.by_device = exclusions(&mut db.read().await?, "device", scan.day).await?;
        kept.by_mpan = exclusions(&mut db.read().await?, "mpan", scan.day).await?;
        for (mpan, day) in notices::standing(&mut db.read().await?, scan.at).await? {
            kept.end_on(mpan, day);
        }
        Ok(kept)
    }

    /// As [`notices::end_on`].
    fn end_on(&mut self, mpan: i64, day: Day) {
        let first = self.registrations.partition_point(|row| row.mpan < mpan);
        let end = i32::try_from(day.0).unwrap_or(OPEN);
        let rows = &mut self.registrations[first..];
        let many = rows.partition_point(|row| row.mpan == mpan);
        let rows = &mut rows[..many];
        for place in 0..rows.len() {
            let row = rows[place];
            let followed_own = || rows.iter().any(|p| p.to == row.from && p.supplier != row.supplier);
            if row.from < end && end < row.to && !notices::is_explained(Day(i64::from(row.from)), day, followed_own) {
                rows[place].to = end;
            }
        }
        let latest = self.noticed.entry(mpan).or_insert(day);
        *latest = day.max(*latest);
    }

    /// Reads both halves of the MPANs at once: the planner has nothing else to do before it has them.
    async fn load_registrations(&mut self, db: &Db, own: &[Mpid]) -> DbResult<()> {
        let Some((first, last)) = span(&mut db.read().await?).await? else { return Ok(()) };
        let middle = first.midpoint(last);
        let half = |from, to| load_span(db.clone(), own.to_vec(), from, to);
        // The second is a task: two futures of one would unpack on one processor.
        let second = tokio::spawn(half(middle, last));
        self.registrations = half(first.saturating_sub(1), middle).await?;
        self.registrations.append(&mut second.await.map_err(|_| did_not_end())??);
        self.registrations.shrink_to_fit();
        self.fill_buckets();
        Ok(())
    }

    fn fill_buckets(&mut self) {
        let (Some(first), Some(last)) = (self.registrations.first(), self.registrations.last()) else { return };
        let wanted = (self.registrations.len() / BUCKET_ROWS + 1) as u64;
        let whole = last.mpan.abs_diff(first.mpan);
        self.span = whole / wanted + 1;
        let buckets = (whole / self.span + 1) as usize;
        self.buckets = Vec::with_capacity(buckets + 1);
        for (place, row) in self.registrations.iter().enumerate() {
            let bucket = (row.mpan.abs_diff(first.mpan) / self.span) as usize;
            // Also of the empty buckets before it.
            while self.buckets.len() <= bucket {
                self.buckets.push(place as u32);
            }
        }
        self.buckets.push(self.registrations.len() as u32);
    }

    /// Shows every site of a page with what is kept of it.
    pub fn for_each(&self, page: &PackedPage, mut look: impl FnMut(&SiteRow)) -> DbResult<()> {
        page.for_each_with(
            |mpans| self.of(mpans),
            |row, own| {
                self.fill(row, own);
                look(row);
            },
        )
    }

    fn fill(&self, row: &mut SiteRow, own: Own<'_>) {
        let (device, mpan) = (row.site.device_id.to_db(), row.site.mpan);
        row.own_registrations.clear();
        let spelt = |r: Row| Registration {
            mpan,
            supplier_mpid: r.supplier,
            effective_from: Day(i64::from(r.from)),
            effective_to: (r.to != OPEN).then_some(Day(i64::from(r.to))),
        };
        row.own_registrations.extend(own.first.map(spelt));
        if let [_, others @ ..] = own.all
            && !others.is_empty()
        {
            row.own_registrations.extend(others.iter().copied().map(spelt));
            row.own_registrations.sort_unstable_by_key(|r| (r.effective_from, r.supplier_mpid));
        }
        row.exclusion = self.by_device.get(&device).or_else(|| self.by_mpan.get(&mpan.to_db())).cloned();
        row.noticed = if self.noticed.is_empty() { None } else { self.noticed.get(&mpan.to_db()).copied() };
    }

    /// The rows of each MPAN. What is needed of memory is asked for before any of it is looked at: a look-up whose end decides
    /// where the next begins waits for memory alone (measured).
    fn of(&self, mpans: &[Mpan]) -> Vec<Own<'_>> {
        let Some(first) = self.registrations.first() else { return vec![Own::default(); mpans.len()] };
        let bucket = |mpan: i64| {
            let n = usize::try_from(mpan.abs_diff(first.mpan) / self.span).unwrap_or(usize::MAX);
            let ends = self.buckets.get(n..).and_then(|b| b.first_chunk()).filter(|_| mpan >= first.mpan);
            ends.map_or(&[][..], |[begin, end]| &self.registrations[*begin as usize..*end as usize])
        };
        let buckets: Vec<&[Row]> = mpans.iter().map(|mpan| bucket(mpan.to_db())).collect();
        let ends = |rows: &&[Row]| rows.first().map_or(0, |r| r.mpan) ^ rows.last().map_or(0, |r| r.mpan);
        std::hint::black_box(buckets.iter().map(ends).fold(0, |all, ends| all ^ ends));
        mpans.iter().zip(buckets).map(|(mpan, rows)| Own::among(rows, mpan.to_db())).collect()
    }
}

/// The rows of one MPAN, and a copy of the first: most have one, which is then not fetched again.
#[derive(Debug, Clone, Copy, Default)]
struct Own<'a> {
    first: Option<Row>,
    all: &'a [Row],
}

impl<'a> Own<'a> {
    fn among(rows: &'a [Row], mpan: i64) -> Own<'a> {
        let rows = &rows[rows.partition_point(|row| row.mpan < mpan)..];
        let all = &rows[..rows.partition_point(|row| row.mpan == mpan)];
        Own { first: all.first().copied(), all }
    }
}

/// Some own registrations, packed.
struct Page {
    packed: String,
    /// The rows of this MPAN and beyond come again, whole, with the next page; `None`: this is the last.
    below: Option<i64>,
}

/// Reads the own registrations of the MPANs beyond `after` up to `last`, in their order: unpacks one page while the next is read.
async fn load_span(db: Db, own: Vec<Mpid>, after: i64, last: i64) -> DbResult<Vec<Row>> {
    let mut all = Vec::new();
    let (pages, mut read) = mpsc::channel(2);
    let reading = tokio::spawn(read_span(db, own, after, last, pages));
    while let Some(page) = read.recv().await {
        let page: Page = page?;
        let start = all.len();
        for row in page.packed.split(';').filter(|row| !row.is_empty()) {
            let row = unpack(row)?;
            if page.below.is_none_or(|below| row.mpan < below) {
                all.push(row);
            }
        }
        all[start..].sort_unstable();
    }
    // A reader that died closed its channel too.
    reading.await.map_err(|_| did_not_end())?;
    Ok(all)
}

fn did_not_end() -> DbError {
    DbError::bad_row("registrations", "?", "packed", "reading them did not end")
}

async fn read_span(db: Db, own: Vec<Mpid>, mut after: i64, last: i64, pages: mpsc::Sender<DbResult<Page>>) {
    let mut limit = PAGE_ROWS;
    loop {
        let found = match db.read().await {
            Ok(mut tx) => registrations(&mut tx, &own, after, last, limit).await,
            Err(e) => Err(e),
        };
        let page = match found {
            Err(e) => Err(e),
            // As many as there are rows of one MPAN: it may go on beyond the page.
            Ok((_, rows, Some(first), Some(last))) if rows == limit && first == last => {
                limit *= 2;
                continue;
            }
            Ok((packed, rows, _, last)) => Ok(Page { packed, below: last.filter(|_| rows == limit) }),
        };
        let next = page.as_ref().ok().and_then(|page| page.below);
        if pages.send(page).await.is_err() {
            return;
        }
        let Some(below) = next else { return };
        after = below - 1;
    }
}

/// The first and the last MPAN of which anybody's registration is known.
async fn span(tx: &mut Tx) -> DbResult<Option<(i64, i64)>> {
    // Two look-ups in an index, where one statement for both would read all of it.
    let (first, last): (Option<i64>, Option<i64>) = sql!(tx, c => sqlx::query_as(
        "select (select min(mpan) from registrations), (select max(mpan) from registrations)").fetch_one(c).await)?;
    Ok(first.zip(last))
}

/// Own registrations by MPAN beyond `after` up to `last`, packed; how many, and the first and the last MPAN.
async fn registrations(
    tx: &mut Tx,
    own: &[Mpid],
    after: i64,
    last: i64,
    limit: i64,
) -> DbResult<(String, i64, Option<i64>, Option<i64>)> {
    let names: Vec<String> = (0..own.len()).map(|i| format!("${}", i + 4)).collect();
    let text = format!(
        "select coalesce(string_agg(format('%s %s %s %s', p.mpan, p.supplier_mpid, p.effective_from, p.effective_to), ';'), ''),
                count(*), min(p.mpan), max(p.mpan) from
         (select mpan, supplier_mpid, effective_from, effective_to from registrations
          where mpan > $1 and mpan <= $2 and supplier_mpid in ({}) order by mpan, effective_from, supplier_mpid limit $3) p",
        names.join(", ")
    );
    let text = sqlx::AssertSqlSafe(text);
    Ok(sql!(tx, c => {
        let mut query = sqlx::query_as(text).bind(after).bind(last).bind(limit);
        for mpid in own {
            query = query.bind(mpid.to_string());
        }
        query.fetch_one(c).await
    })?)
}

/// The first reason of each subject that an exclusion covers on the day.
async fn exclusions(tx: &mut Tx, kind: &'static str, day: Day) -> DbResult<HashMap<i64, String>> {
    let all: Vec<(i64, String)> = sql!(tx, c => sqlx::query_as(
        "select subject, min(reason) from exclusions where subject_kind = $1 and effective_from <= $2
         and (effective_to is null or effective_to > $2) group by subject order by subject")
        .bind(kind).bind(day.0).fetch_all(c).await)?;
    Ok(all.into_iter().collect())
}

/// `MPAN SUPPLIER from [to]`.
fn unpack(packed: &str) -> DbResult<Row> {
    let mut parts = packed.split(' ');
    let mut next = || parts.next().unwrap_or_default();
    let mpan: i64 = number(packed, "mpan", next())?;
    let supplier: Mpid = parse("registrations", Mpan::from_db(mpan), "supplier_mpid", next())?;
    let from = number(packed, "effective_from", next())?;
    let to = match next() {
        "" => OPEN,
        to => number(packed, "effective_to", to)?,
    };
    Ok(Row { mpan, from, to, supplier })
}

fn number<T: FromStr>(row: &str, column: &'static str, text: &str) -> DbResult<T> {
    text.parse().map_err(|_| DbError::bad_row("registrations", row, column, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Time,
        db::{bulk::Rows, testing::databases},
        estate::{
            Site,
            store::{Reads, SiteFilter, scan_packed, scan_sites},
        },
    };

    /// More than a page of registrations, MPANs with none, one and several, and one with more than a page; some exclusions.
    async fn fill(tx: &mut Tx) {
        let mut sites = Rows::new(
            "sites",
            &[
                "device_id",
                "mpan",
                "cohort",
                "manufacturer",
                "model",
                "hardware_version",
                "firmware_version",
                "device_status",
                "dmc",
                "region",
            ],
        );
        let mut registrations =
            Rows::new("registrations", &["mpan", "effective_from", "supplier_mpid", "effective_to", "ended_by_switch"]);
        let mut exclusions = Rows::new("exclusions", &["subject_kind", "subject", "reason", "effective_from", "effective_to"]);
        let mut keys = Rows::new("key_results", &["device_id", "attempted_at", "status", "source"]);
        for n in 0..900i64 {
            let mpan = n * 7_919 % 900;
            let (cohort, made) = ("IOC", "106C");
            sites.push(&[
                n.into(),
                mpan.into(),
                cohort.into(),
                made.into(),
                "m".into(),
                n.into(),
                "1".into(),
                "x".into(),
                "d".into(),
                (n % 3 > 0).then_some(["North", "South"][(n % 2) as usize]).into(),
            ]);
            let rows = if mpan == 450 { PAGE_ROWS * 2 + 5 } else { mpan % 70 };
            for r in 0..rows {
                let supplier = ["EELC", "OTHE", "EELD"][(r % 3) as usize];
                let to = (r % 2 == 0).then_some(r + 1);
                registrations.push(&[mpan.into(), r.into(), supplier.into(), to.into(), false.into()]);
            }
            for attempt in 0..n % 4 {
                let status = ["updated", "failed", "investigating"][((n + attempt) % 3) as usize];
                keys.push(&[n.into(), (attempt * 10 - 15).into(), status.into(), "import".into()]);
            }
            for (kind, subject) in [("device", n), ("mpan", mpan)] {
                if subject % 11 == 0 || (kind == "mpan" && subject % 13 == 0) {
                    let to = (subject % 2 == 0).then_some(50i64);
                    exclusions.push(&[kind.into(), subject.into(), kind.into(), 0i64.into(), to.into()]);
                    exclusions.push(&[kind.into(), subject.into(), "a".into(), 200i64.into(), None::<i64>.into()]);
                }
            }
        }
        let mut notices = Rows::new("supply_notices", &["mpan", "device_id", "day", "received_at", "message_id", "answered_by"]);
        for n in (0..900i64).filter(|n| n % 3 == 0) {
            let answered = (n % 12 == 0).then_some(1i64);
            notices.push(&[n.into(), n.into(), (n % 60).into(), ((n % 5) - 3).into(), n.into(), answered.into()]);
            if n % 9 == 0 && answered.is_none() {
                notices.push(&[n.into(), n.into(), (n % 60 + 7).into(), (-1i64).into(), (n + 1_000).into(), None::<i64>.into()]);
            }
        }
        notices.flush(tx).await.unwrap();
        for rows in [&mut sites, &mut registrations, &mut exclusions, &mut keys] {
            rows.flush(tx).await.unwrap();
        }
    }

    #[tokio::test]
    async fn what_is_kept_is_what_the_scan_reads_site_by_site() {
        for t in databases().await {
            let mut tx = t.db.begin().await.unwrap();
            fill(&mut tx).await;
            tx.commit().await.unwrap();
            let filter = SiteFilter::default();
            let own = ["EELC".parse().unwrap(), "EELD".parse().unwrap()];
            for day in [10, 100, 300] {
                let scan = Scan { filter: &filter, own_mpids: &own, day: Day(day), at: Time(0), past: false };
                let mut tx = t.db.read().await.unwrap();
                assert!(Kept::fits(&mut tx).await.unwrap());
                let wanted = scan_sites(&mut tx, None, 1_000, scan).await.unwrap().sites;
                let with_regions = scan_packed(&mut tx, None, 1_000, scan, Reads::SitesRegionsAndKeys).await.unwrap();
                let without = scan_packed(&mut tx, None, 1_000, scan, Reads::SitesAndKeys).await.unwrap();
                drop(tx);
                let kept = Kept::load(&t.db, scan).await.unwrap();
                let all = |page: &PackedPage| {
                    let mut found = Vec::new();
                    kept.for_each(page, |row| found.push(row.clone())).unwrap();
                    found
                };
                let found = all(&with_regions);
                assert!(found.iter().any(|row| row.site.region.is_some()) && found.iter().any(|row| row.site.region.is_none()));
                let bare = |row: &SiteRow| SiteRow { site: Site { region: None, ..row.site.clone() }, ..row.clone() };
                assert_eq!(all(&without), found.iter().map(bare).collect::<Vec<_>>());
                assert_eq!(found.len(), 900);
                assert!(found.iter().any(|row| row.exclusion.is_some()) && found.iter().any(|row| row.exclusion.is_none()));
                assert_eq!(found, wanted, "{} day {day}", t.engine);
            }
        }
    }
}
