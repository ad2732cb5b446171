//! `windows.toml`: when requests may leave: weekly windows and freezes, by cohort and region, on London's clocks. Types, their reading,
//! and whether a site is open at a moment. Pure. Promise: a site is open exactly when no freeze covers it and, where windows are for
//! it, one of them is open; half-open at both ends, so that windows that meet leave neither gap nor overlap.

mod file;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Serialize, Serializer};

use crate::{
    clock::{Day, Time},
    estate::Cohort,
    ids::IdError,
};

pub(super) use file::read_windows;

/// Days looked ahead for a window's next opening: a weekly one that the spring gap swallows opens a week later.
const LOOK_AHEAD_DAYS: i64 = 15;
/// How far ahead several groups are looked for that are open at once.
const TOGETHER_WITHIN_MILLIS: i64 = 100 * 86_400_000;

crate::spelled! {
    Weekday, "a day: Mon, Tue, Wed, Thu, Fri, Sat or Sun" {
        Mon = "Mon", Tue = "Tue", Wed = "Wed", Thu = "Thu", Fri = "Fri", Sat = "Sat", Sun = "Sun",
    }
}

impl Weekday {
    pub fn of(day: Day) -> Weekday {
        // 1970-01-01 was a Thursday.
        Weekday::ALL[(day.0 + 3).rem_euclid(7) as usize]
    }
}

/// What a clock shows: minutes after midnight, `00:00` to `24:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallTime(i64);

impl WallTime {
    pub const WANTED: &'static str = "a time of the day such as \"22:00\", at most \"24:00\"";

    /// From a number of minutes.
    pub fn new(minutes: i64) -> Option<WallTime> {
        (0..=24 * 60).contains(&minutes).then_some(WallTime(minutes))
    }

    pub fn minutes(self) -> i64 {
        self.0
    }
}

impl FromStr for WallTime {
    type Err = IdError;

    fn from_str(s: &str) -> Result<WallTime, IdError> {
        let wrong = || IdError::new(s, Self::WANTED);
        let shape = s.len() == 5 && s.bytes().enumerate().all(|(i, b)| if i == 2 { b == b':' } else { b.is_ascii_digit() });
        if !shape {
            return Err(wrong());
        }
        let (hours, minutes): (i64, i64) = (s[..2].parse().map_err(|_| wrong())?, s[3..].parse().map_err(|_| wrong())?);
        WallTime::new(hours * 60 + minutes).filter(|_| minutes < 60).ok_or_else(wrong)
    }
}

impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl Serialize for WallTime {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// Whom a window or a freeze is for; what is not named is everybody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Scope {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cohorts: Option<Vec<Cohort>>,
    /// As the sites file spells them. A site without a region is in none of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regions: Option<Vec<String>>,
}

impl Scope {
    fn has(&self, cohort: Cohort, region: Option<&str>) -> bool {
        self.cohorts.as_ref().is_none_or(|all| all.contains(&cohort))
            && self.regions.as_ref().is_none_or(|all| region.is_some_and(|r| all.iter().any(|one| one == r)))
    }
}

/// Opens on each of its days at `from`, and closes at `to`: on the same day, or, where that is not later than `from`, on the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Window {
    pub days: Vec<Weekday>,
    pub from: WallTime,
    pub to: WallTime,
    #[serde(flatten)]
    pub scope: Scope,
}

/// Nothing leaves from the first moment of `from` until the first of `to` (half-open, like every pair of dates).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Freeze {
    pub from: Day,
    pub to: Day,
    pub reason: String,
    #[serde(flatten)]
    pub scope: Scope,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Windows {
    #[serde(rename = "window")]
    pub windows: Vec<Window>,
    #[serde(rename = "freeze")]
    pub freezes: Vec<Freeze>,
    /// Cohorts of which too many keys are missing; never in the file.
    #[serde(skip)]
    held: Vec<Cohort>,
}

/// Whether requests may leave for a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    Open,
    Closed(Closed),
}

/// Why nothing leaves, and the first moment at which it may. `None`: the file has none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Closed {
    pub until: Option<Time>,
    pub why: Why,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    NoWindowOpen,
    Freeze {
        to: Day,
        reason: String,
    },
    /// `hold_campaign` of retry.toml, while the alarm stands.
    KeysMissing,
}

impl fmt::Display for Closed {
    /// What is waited for: `the window of Mon 22:00 (windows.toml)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let opening = |until: Time| {
            let (day, minutes) = until.london_wall();
            format!("{} {}", Weekday::of(day), WallTime(minutes))
        };
        match (&self.why, self.until) {
            (Why::NoWindowOpen, Some(until)) => write!(f, "the window of {} (windows.toml)", opening(until)),
            (Why::KeysMissing, _) => f.write_str("the end of the alarm keys-share (retry.toml, hold_campaign)"),
            (Why::NoWindowOpen, None) => f.write_str("a window, and windows.toml has none that opens"),
            (Why::Freeze { to, reason }, Some(until)) if until > to.start() => {
                write!(f, "the window of {} after the freeze until {to}: {reason} (windows.toml)", opening(until))
            }
            (Why::Freeze { to, reason }, _) => write!(f, "the end of the freeze on {to}: {reason} (windows.toml)"),
        }
    }
}

/// Sites that the file treats alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    pub cohort: Cohort,
    /// A region that the file names; `None`: any other, or none.
    pub region: Option<String>,
}

/// What is closed at a moment, for those who choose members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closures {
    /// Every region that the file names.
    pub regions: Vec<String>,
    pub closed: Vec<(Group, Closed)>,
    /// Nothing is open.
    pub all: bool,
}

impl Closures {
    pub fn none(&self) -> bool {
        self.closed.is_empty()
    }

    /// The first moment at which one of the closed groups opens.
    pub fn next_opening(&self) -> Option<Time> {
        self.closed.iter().filter_map(|(_, closed)| closed.until).min()
    }
}

impl Windows {
    pub fn new(windows: Vec<Window>, freezes: Vec<Freeze>) -> Windows {
        Windows { windows, freezes, held: Vec::new() }
    }

    /// The same with these cohorts closed, whatever the file says.
    pub fn holding(self, held: Vec<Cohort>) -> Windows {
        Windows { held, ..self }
    }

    /// Nothing is ever held back.
    pub fn always_open(&self) -> bool {
        self.windows.is_empty() && self.freezes.is_empty() && self.held.is_empty()
    }

    pub fn open(&self, at: Time, cohort: Cohort, region: Option<&str>) -> Gate {
        if self.held.contains(&cohort) {
            return Gate::Closed(Closed { until: None, why: Why::KeysMissing });
        }
        let freeze = self.freeze_at(at, cohort, region);
        if freeze.is_none() && self.in_window(at, cohort, region) {
            return Gate::Open;
        }
        let why = freeze.map_or(Why::NoWindowOpen, |f| Why::Freeze { to: f.to, reason: f.reason.clone() });
        Gate::Closed(Closed { until: self.next_open(at, cohort, region), why })
    }

    /// The first moment from `at` on at which it is open; `None` where there is none.
    pub fn next_open(&self, at: Time, cohort: Cohort, region: Option<&str>) -> Option<Time> {
        if self.held.contains(&cohort) {
            return None;
        }
        let mut at = at;
        // Each round passes a freeze, or goes to an opening, which is open or within a freeze.
        for _ in 0..=2 * self.freezes.len() + 1 {
            if let Some(freeze) = self.freeze_at(at, cohort, region) {
                at = freeze.to.start();
            } else if self.in_window(at, cohort, region) {
                return Some(at);
            } else {
                at = self.next_window(at, cohort, region)?;
            }
        }
        (self.open(at, cohort, region) == Gate::Open).then_some(at)
    }

    /// The first moment from `at` on at which all of these are open at once; `None` where there is none within the next months.
    pub fn next_open_together(&self, at: Time, groups: &[Group]) -> Option<Time> {
        let (mut now, last) = (at, at.plus_millis(TOGETHER_WITHIN_MILLIS));
        while now <= last {
            let mut latest = now;
            for group in groups {
                latest = latest.max(self.next_open(now, group.cohort, group.region.as_deref())?);
            }
            if latest == now {
                return Some(now);
            }
            now = latest;
        }
        None
    }

    /// The group that a site belongs to.
    pub fn group(&self, cohort: Cohort, region: Option<&str>) -> Group {
        Group { cohort, region: region.filter(|r| self.regions().contains(r)).map(str::to_string) }
    }

    /// What is closed at a moment, group by group.
    pub fn closures(&self, at: Time) -> Closures {
        let regions: Vec<String> = self.regions().into_iter().map(str::to_string).collect();
        let mut closed = Vec::new();
        let mut groups = 0;
        for cohort in Cohort::ALL {
            for region in regions.iter().map(Some).chain([None]) {
                groups += 1;
                if let Gate::Closed(why) = self.open(at, *cohort, region.map(String::as_str)) {
                    closed.push((Group { cohort: *cohort, region: region.cloned() }, why));
                }
            }
        }
        Closures { all: closed.len() == groups, regions, closed }
    }

    fn regions(&self) -> BTreeSet<&str> {
        let scopes = self.windows.iter().map(|w| &w.scope).chain(self.freezes.iter().map(|f| &f.scope));
        scopes.flat_map(|s| s.regions.iter().flatten()).map(String::as_str).collect()
    }

    /// Of the freezes that cover it, the one that ends last.
    fn freeze_at(&self, at: Time, cohort: Cohort, region: Option<&str>) -> Option<&Freeze> {
        let covers = |f: &&Freeze| f.scope.has(cohort, region) && f.from.start() <= at && at < f.to.start();
        self.freezes.iter().filter(covers).max_by_key(|f| f.to)
    }

    fn own_windows(&self, cohort: Cohort, region: Option<&str>) -> impl Iterator<Item = &Window> {
        self.windows.iter().filter(move |w| w.scope.has(cohort, region))
    }

    /// A window is open, or there is none for it.
    fn in_window(&self, at: Time, cohort: Cohort, region: Option<&str>) -> bool {
        let today = at.london_day();
        let open =
            |w: &Window| [today.plus(-1), today].into_iter().any(|day| w.opened_on(day).is_some_and(|(o, c)| o <= at && at < c));
        let mut own = self.own_windows(cohort, region).peekable();
        own.peek().is_none() || own.any(open)
    }

    /// The first opening after `at` of a window for it.
    fn next_window(&self, at: Time, cohort: Cohort, region: Option<&str>) -> Option<Time> {
        let today = at.london_day();
        let days = move || (0..LOOK_AHEAD_DAYS).map(move |n| today.plus(n));
        let openings = self.own_windows(cohort, region).flat_map(|w| days().filter_map(|day| w.opened_on(day)));
        openings.map(|(opens, _)| opens).filter(|opens| *opens > at).min()
    }
}

impl Window {
    /// When it opens on this day, and when it then closes; `None` where it does not open, or the spring gap swallows it whole.
    fn opened_on(&self, day: Day) -> Option<(Time, Time)> {
        if !self.days.contains(&Weekday::of(day)) {
            return None;
        }
        let last = if self.to <= self.from { day.plus(1) } else { day };
        let (opens, closes) = (day.at_wall(self.from.0), last.at_wall(self.to.0));
        (opens < closes).then_some((opens, closes))
    }
}
