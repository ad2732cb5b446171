//! Time as an argument: a `Clock` that is the system's or a test's, moments in UTC milliseconds, days in Europe/London.
//! Nothing else in the crate asks the machine what time it is.

use std::{
    fmt,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use jiff::{civil, tz::TimeZone};
use serde::{Serialize, Serializer};

use crate::ids::IdError;

mod zone;

pub use zone::{Shows, Wall, Zone};

const DAY_MINUTES: i64 = 24 * 60;

/// A moment: milliseconds since 1970-01-01T00:00:00Z. Written as RFC 3339 in UTC, with `Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Time(pub i64);

impl Time {
    pub fn plus_millis(self, millis: i64) -> Time {
        Time(self.0.saturating_add(millis))
    }

    /// The date in Europe/London at this moment.
    pub fn london_day(self) -> Day {
        Day::from_date(self.jiff().to_zoned_datetime(london()).date())
    }

    /// What a clock in London shows at this moment: the date, and minutes since its midnight.
    pub fn london_wall(self) -> (Day, i64) {
        let at = self.jiff().to_zoned_datetime(london());
        (Day::from_date(at.date()), i64::from(at.hour()) * 60 + i64::from(at.minute()))
    }

    /// The same time of day in UTC, so many calendar months earlier (the last day of a shorter month).
    pub fn months_before(self, months: u32) -> Time {
        let at = self.jiff().to_zoned_datetime(TimeZone::UTC);
        at.checked_sub(jiff::Span::new().months(i64::from(months)))
            .map_or(Time(i64::MIN), |t| Time(t.timestamp().as_millisecond()))
    }

    fn jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.0).unwrap_or(if self.0 < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX })
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.jiff())
    }
}

impl FromStr for Time {
    type Err = IdError;

    fn from_str(s: &str) -> Result<Time, IdError> {
        match s.parse::<jiff::Timestamp>() {
            Ok(t) => Ok(Time(t.as_millisecond())),
            Err(_) => Err(IdError::new(s, "an RFC 3339 time such as 2020-11-24T09:00:00Z")),
        }
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// A calendar date, as days since 1970-01-01. Registrations, product lists and exclusions count in these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Day(pub i64);

impl Day {
    pub fn plus(self, days: i64) -> Day {
        Day(self.0 + days)
    }

    /// The first moment of this day in Europe/London. Of the last days of the year 9999, which files use for "open", the
    /// last moment that can be written.
    pub fn start(self) -> Time {
        let zoned = self.date().to_zoned_datetime(london());
        Time(zoned.map_or(jiff::Timestamp::MAX, |z| z.timestamp()).as_millisecond())
    }

    /// The moment at which a clock in London first shows this time of the day: minutes after its midnight, 1440 being the next. A time
    /// that the clocks skip in spring is the first moment after the gap; of a time that comes twice in autumn the first counts.
    pub fn at_wall(self, minutes: i64) -> Time {
        let (day, minutes) = (self.plus(minutes.div_euclid(DAY_MINUTES)), minutes.rem_euclid(DAY_MINUTES));
        let shown = day.date().at((minutes / 60) as i8, (minutes % 60) as i8, 0, 0);
        let found = zone::first_shown(&london(), shown);
        Time(found.unwrap_or(jiff::Timestamp::MAX).as_millisecond())
    }

    /// The last millisecond of this day in Europe/London (what a bare date means to `--as-of`).
    pub fn end(self) -> Time {
        let next = Day(self.0.saturating_add(1)).start();
        Time((next.0 - 1).max(self.start().0))
    }

    fn from_date(date: civil::Date) -> Day {
        let since = date.since(epoch()).expect("two civil dates differ by days");
        Day(i64::from(since.get_days()))
    }

    fn date(self) -> civil::Date {
        let days = self.0.clamp(Self::from_date(civil::Date::MIN).0, Self::from_date(civil::Date::MAX).0);
        epoch().checked_add(jiff::Span::new().days(days)).expect("the clamp keeps the date within jiff's years")
    }
}

impl FromStr for Day {
    type Err = IdError;

    fn from_str(s: &str) -> Result<Day, IdError> {
        let wrong = || IdError::new(s, "a date such as 2020-11-24");
        let shape =
            s.len() == 10 && s.bytes().enumerate().all(|(i, b)| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() });
        if !shape {
            return Err(wrong());
        }
        let number = |r: std::ops::Range<usize>| s[r].parse::<i16>().expect("digits were checked");
        let date = civil::Date::new(number(0..4), number(5..7) as i8, number(8..10) as i8).map_err(|_| wrong())?;
        Ok(Day::from_date(date))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.date())
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

fn epoch() -> civil::Date {
    civil::date(1970, 1, 1)
}

fn london() -> TimeZone {
    static LONDON: std::sync::OnceLock<TimeZone> = std::sync::OnceLock::new();
    LONDON.get_or_init(|| TimeZone::get("Europe/London").expect("the time zones are compiled in")).clone()
}

/// Where the time comes from.
#[derive(Clone)]
pub enum Clock {
    System,
    /// A test's: stands still until it is moved.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    pub fn manual(at: Time) -> Clock {
        Clock::Manual(Arc::new(AtomicI64::new(at.0)))
    }

    pub fn now(&self) -> Time {
        match self {
            #[allow(clippy::disallowed_methods, reason = "the one place that asks the machine")]
            Clock::System => Time(jiff::Timestamp::now().as_millisecond()),
            Clock::Manual(at) => Time(at.load(Ordering::SeqCst)),
        }
    }

    /// Moves a manual clock; a system clock cannot be moved.
    pub fn advance(&self, millis: i64) {
        match self {
            Clock::System => panic!("the system clock cannot be moved"),
            Clock::Manual(at) => {
                at.fetch_add(millis, Ordering::SeqCst);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_london_day_is_not_a_utc_day_in_summer() {
        let t: Time = "2026-06-30T23:30:00Z".parse().unwrap();
        assert_eq!(t.london_day().to_string(), "2026-07-01");
        let w: Time = "2026-12-30T23:30:00Z".parse().unwrap();
        assert_eq!(w.london_day().to_string(), "2026-12-30");
    }

    #[test]
    fn days_start_and_end_right_on_both_clock_change_days() {
        let spring: Day = "2026-03-29".parse().unwrap();
        assert_eq!(
            (spring.start().to_string(), spring.end().0 + 1),
            ("2026-03-29T00:00:00Z".into(), spring.start().0 + 23 * 3_600_000)
        );
        let autumn: Day = "2026-10-25".parse().unwrap();
        assert_eq!(
            (autumn.start().to_string(), autumn.end().0 + 1),
            ("2026-10-24T23:00:00Z".into(), autumn.start().0 + 25 * 3_600_000)
        );
    }

    #[test]
    fn a_time_that_is_skipped_is_the_first_moment_after_the_gap_and_one_that_comes_twice_is_the_first() {
        let at = |day: &str, hour: i64, minute| day.parse::<Day>().unwrap().at_wall(hour * 60 + minute).to_string();
        assert_eq!(at("2026-03-29", 0, 59), "2026-03-29T00:59:00Z");
        assert_eq!(at("2026-03-29", 1, 0), "2026-03-29T01:00:00Z");
        assert_eq!(at("2026-03-29", 1, 30), "2026-03-29T01:00:00Z");
        assert_eq!(at("2026-03-29", 2, 0), "2026-03-29T01:00:00Z");
        assert_eq!(at("2026-03-29", 2, 1), "2026-03-29T01:01:00Z");
        assert_eq!(at("2026-10-25", 1, 30), "2026-10-25T00:30:00Z");
        assert_eq!(at("2026-10-25", 2, 0), "2026-10-25T02:00:00Z");
        assert_eq!(at("2026-10-24", 24, 0), "2026-10-24T23:00:00Z");
        let wall = |t: &str| t.parse::<Time>().unwrap().london_wall();
        assert_eq!(wall("2026-06-30T23:30:00Z"), ("2026-07-01".parse().unwrap(), 30));
    }

    #[test]
    fn the_last_day_that_files_use_for_open_is_a_day_like_others() {
        let open: Day = "9999-12-31".parse().unwrap();
        assert_eq!(open.to_string(), "9999-12-31");
        assert!(open.start() <= open.end() && Day(i64::MAX).end() >= Day(0).end());
        assert_eq!("0001-01-01".parse::<Day>().unwrap().to_string(), "0001-01-01");
    }

    #[test]
    fn dates_that_do_not_exist_are_refused() {
        for bad in ["2026-02-29", "2026-13-01", "26-01-01", "2026-1-1", "2026-01-01T00:00:00Z", ""] {
            assert!(bad.parse::<Day>().is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_day_contains_its_own_start_and_end(n in -30_000i64..60_000) {
            let day = Day(n);
            proptest::prop_assert_eq!(day.start().london_day(), day);
            proptest::prop_assert_eq!(day.end().london_day(), day);
            proptest::prop_assert_eq!(day.to_string().parse::<Day>().unwrap(), day);
        }
    }
}
