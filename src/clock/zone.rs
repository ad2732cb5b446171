//! A time zone by its name, and what clocks in it show. Promise: whatever clocks skip or show twice, a time of day is one moment: the
//! first at which they show it or have passed it.

use std::{fmt, str::FromStr};

use jiff::{
    Timestamp, civil,
    tz::{AmbiguousOffset, TimeZone},
};
use serde::{Serialize, Serializer};

use super::Time;
use crate::ids::IdError;

/// The longest name in the database has 32 characters.
const NAME_CHARS: usize = 64;
const WANTED: &str = "the name of a time zone such as Europe/London";

/// A time zone of the IANA database, e.g. `Europe/London`.
#[derive(Debug, Clone)]
pub struct Zone(TimeZone);

/// What a clock on a wall shows: seconds since 1970-01-01T00:00:00, as if that were UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Wall(pub i64);

/// How often clocks show a time of day on its day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    Once,
    /// They are put forward over it.
    Never,
    /// They are put back over it.
    Twice,
}

impl Zone {
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// The latest time that clocks have shown up to this moment: while they show an hour for the second time, the end of that hour.
    pub fn latest_wall(&self, at: Time) -> Wall {
        let at = at.jiff();
        let shown = Wall::of(self.0.to_datetime(at));
        let AmbiguousOffset::Fold { after, .. } = self.0.to_ambiguous_timestamp(shown.civil()).offset() else { return shown };
        if self.0.to_offset(at) != after {
            return shown;
        }
        // Transitions before the next second: one of this very second is among them.
        let changed = at.checked_add(jiff::SignedDuration::from_secs(1)).ok().and_then(|next| self.0.preceding(next).next());
        let Some(changed) = changed.map(|change| change.timestamp()) else { return shown };
        let just_before = changed.checked_sub(jiff::SignedDuration::from_secs(1));
        just_before.map_or(shown, |moment| Wall::of(self.0.to_datetime(moment)).max(shown))
    }

    /// The moment at which clocks first show this time or have passed it; `None` beyond the years that can be written.
    pub fn first_at(&self, shown: Wall) -> Option<Time> {
        first_shown(&self.0, shown.civil()).map(|moment| Time(moment.as_millisecond()))
    }

    pub fn shows(&self, shown: Wall) -> Shows {
        match self.0.to_ambiguous_timestamp(shown.civil()).offset() {
            AmbiguousOffset::Unambiguous { .. } => Shows::Once,
            AmbiguousOffset::Gap { .. } => Shows::Never,
            AmbiguousOffset::Fold { .. } => Shows::Twice,
        }
    }

    /// RFC 3339 with the offset then in force, e.g. `2026-03-29T02:00:00+01:00`.
    pub fn local(&self, at: Time) -> String {
        let at = at.jiff();
        at.display_with_offset(self.0.to_offset(at)).to_string()
    }
}

/// In this zone, the moment at which a clock first shows a time. One that clocks skip in spring is the first moment after the gap; of one
/// that comes twice in autumn the first counts.
pub(super) fn first_shown(zone: &TimeZone, shown: civil::DateTime) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(shown).offset() {
        AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => offset.to_timestamp(shown).ok(),
        AmbiguousOffset::Gap { after, .. } => {
            let before_the_gap = after.to_timestamp(shown).ok();
            before_the_gap.and_then(|t| zone.following(t).next().map(|change| change.timestamp()))
        }
    }
}

impl Wall {
    fn of(shown: civil::DateTime) -> Wall {
        let as_if_utc = jiff::tz::Offset::UTC.to_timestamp(shown);
        Wall(as_if_utc.map_or(i64::MAX, |t| t.as_millisecond().div_euclid(1_000)))
    }

    fn civil(self) -> civil::DateTime {
        jiff::tz::Offset::UTC.to_datetime(Time(self.0.saturating_mul(1_000)).jiff())
    }
}

/// `2026-03-29T01:30:00`, without an offset: no moment is meant.
impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.civil())
    }
}

impl Serialize for Wall {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl FromStr for Zone {
    type Err = IdError;

    fn from_str(s: &str) -> Result<Zone, IdError> {
        let wrong = || IdError::new(s, WANTED);
        let fine = s.len() <= NAME_CHARS && s.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+'));
        if !fine {
            return Err(wrong());
        }
        let zone = TimeZone::get(s).map_err(|_| wrong())?;
        // `UTC` has no name of its own in some databases.
        let named = zone.iana_name().is_some() || s.eq_ignore_ascii_case("utc");
        if named { Ok(Zone(zone)) } else { Err(wrong()) }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.name())
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Zone) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Zone {}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> Zone {
        name.parse().unwrap()
    }

    fn time(text: &str) -> Time {
        text.parse().unwrap()
    }

    fn wall(text: &str) -> Wall {
        Wall::of(text.parse().unwrap())
    }

    #[test]
    fn a_zone_is_found_by_its_name_in_either_case_and_nothing_else_is() {
        assert_eq!(zone("europe/london").to_string(), "Europe/London");
        assert_eq!(zone("UTC").to_string(), "UTC");
        for bad in
            ["", "London", "Europe/Londn", "../../etc/passwd", "/etc/localtime", "GMT0BST,M3.5.0/1,M10.5.0", "Europe/London\n"]
        {
            assert!(bad.parse::<Zone>().is_err(), "{bad:?}");
        }
        assert!("a/".repeat(5_000).parse::<Zone>().unwrap_err().to_string().len() < 200);
    }

    #[test]
    fn clocks_in_london_on_both_days_on_which_they_change() {
        let london = zone("Europe/London");
        let first = |text| london.first_at(wall(text)).unwrap().to_string();
        assert_eq!(first("2026-03-29T00:59:59"), "2026-03-29T00:59:59Z");
        assert_eq!(first("2026-03-29T01:30:00"), "2026-03-29T01:00:00Z");
        assert_eq!(first("2026-03-29T02:00:00"), "2026-03-29T01:00:00Z");
        assert_eq!(first("2026-10-25T01:30:00"), "2026-10-25T00:30:00Z");
        assert_eq!(first("2026-10-25T02:00:00"), "2026-10-25T02:00:00Z");
        let shows = |text| london.shows(wall(text));
        assert_eq!(shows("2026-03-29T01:30:00"), Shows::Never);
        assert_eq!((shows("2026-10-25T01:30:00"), shows("2026-10-25T02:00:00")), (Shows::Twice, Shows::Once));
        let latest = |text| london.latest_wall(time(text)).to_string();
        assert_eq!(latest("2026-10-25T00:59:59.999Z"), "2026-10-25T01:59:59");
        assert_eq!(latest("2026-10-25T01:00:00Z"), "2026-10-25T01:59:59", "01:00 again");
        assert_eq!(latest("2026-10-25T01:59:59Z"), "2026-10-25T01:59:59");
        assert_eq!(latest("2026-10-25T02:00:00Z"), "2026-10-25T02:00:00");
        assert_eq!(latest("2026-03-29T01:00:00Z"), "2026-03-29T02:00:00");
        assert_eq!(london.local(time("2026-03-29T01:00:00Z")), "2026-03-29T02:00:00+01:00");
        assert_eq!(london.local(time("2026-12-01T01:00:00Z")), "2026-12-01T01:00:00+00:00");
    }

    proptest::proptest! {
        /// A time is first shown after this moment exactly when clocks have not shown it, or gone past it, by then.
        #[test]
        fn what_was_not_shown_yet_comes_later(
            name in proptest::sample::select(vec!["Europe/London", "Australia/Lord_Howe", "America/St_Johns", "Pacific/Apia", "UTC"]),
            at in 1_290_000_000i64..1_330_000_000, ahead in -100_000i64..100_000,
        ) {
            let zone = zone(name);
            let at = Time(at * 1_000);
            let latest = zone.latest_wall(at);
            let shown = Wall(latest.0 + ahead);
            proptest::prop_assert_eq!(zone.first_at(shown).unwrap() > at, shown > latest);
        }
    }
}
