//! When an expression fires in a time zone, and what becomes of firings that were missed. Pure: no clock, no SQL. Promise: every time of day
//! that matches fires once, at the first moment at which clocks show it or have passed it; firings rise strictly; every search ends.

use serde::Serialize;

use super::{Expression, Missed};
use crate::clock::{Shows, Time, Wall, Zone};

/// A firing that is found no later than this after its time is on time: longer than a restart, shorter than what people would call late.
pub const ON_TIME_MILLIS: i64 = 60_000;
/// Missed firings are counted up to here: an expression that fires every second has that many within three hours.
pub const MISSED_COUNTED: i64 = 10_000;

/// One firing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Firing {
    pub at: Time,
    /// The time of day that matches.
    pub wall: Wall,
}

impl Firing {
    /// What the clocks' change makes of it; nothing on other days.
    pub fn remark(&self, zone: &Zone) -> Option<&'static str> {
        match zone.shows(self.wall) {
            Shows::Once => None,
            Shows::Never => Some("the clocks go forward over its time, so it fires right after"),
            Shows::Twice => Some("the clocks show its time twice, and the first counts"),
        }
    }
}

/// The first firing after a moment. Of times of day that one gap skips all fire as one, the earliest named.
pub fn next_after(expression: &Expression, zone: &Zone, after: Time) -> Option<Firing> {
    let mut wall = zone.latest_wall(after);
    loop {
        wall = expression.next_wall(wall)?;
        let at = zone.first_at(wall)?;
        if at > after {
            return Some(Firing { at, wall });
        }
    }
}

/// Every firing after a moment, in order.
pub fn firings<'a>(expression: &'a Expression, zone: &'a Zone, after: Time) -> impl Iterator<Item = Firing> + 'a {
    std::iter::successors(next_after(expression, zone, after), |last| next_after(expression, zone, last.at))
}

/// Firings that are stood for by one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// The latest of them.
    pub at: Time,
    /// Earlier ones.
    pub missed: i64,
    /// The first of those.
    pub missed_from: Option<Time>,
    /// There were more than were counted.
    pub or_more: bool,
}

/// What is due now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Due {
    /// Told, and not run.
    pub skipped: Option<Planned>,
    pub run: Option<Planned>,
}

/// What is to be done of everything that fired after `done_until`, up to now.
pub fn due(expression: &Expression, zone: &Zone, missed: Missed, done_until: Time, now: Time) -> Due {
    let until_now = |after: Time| firings(expression, zone, after).map(|f| f.at).take_while(move |at| *at <= now);
    // A second's expression fires sixty times within what is on time; what is behind it may be any number.
    let on_time = until_now(done_until.max(now.plus_millis(-ON_TIME_MILLIS - 1))).last();
    let mut late = Counted::default();
    until_now(done_until)
        .take_while(|at| on_time.is_none_or(|on_time| *at < on_time))
        .take(MISSED_COUNTED as usize + 1)
        .for_each(|at| late.add(at));
    match (missed, on_time) {
        (Missed::Coalesce, Some(at)) => Due { skipped: None, run: Some(late.before(at)) },
        (Missed::Coalesce, None) => Due { skipped: None, run: late.all() },
        (Missed::Skip, at) => {
            let run = at.map(|at| Planned { at, missed: 0, missed_from: None, or_more: false });
            Due { skipped: late.all(), run }
        }
    }
}

/// Firings, counted as far as they are.
#[derive(Default)]
struct Counted {
    count: i64,
    first: Option<Time>,
    /// The last two.
    last: Option<Time>,
    or_more: bool,
}

impl Counted {
    fn add(&mut self, at: Time) {
        if self.count == MISSED_COUNTED {
            self.or_more = true;
            return;
        }
        self.count += 1;
        self.first = self.first.or(Some(at));
        self.last = Some(at);
    }

    /// These, and one after them.
    fn before(&self, at: Time) -> Planned {
        Planned { at, missed: self.count, missed_from: self.first, or_more: self.or_more }
    }

    /// These alone.
    fn all(&self) -> Option<Planned> {
        let missed = self.count - 1;
        let missed_from = self.first.filter(|_| missed > 0);
        self.last.map(|at| Planned { at, missed, missed_from, or_more: self.or_more })
    }
}
