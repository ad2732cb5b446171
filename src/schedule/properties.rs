//! What must hold for any expression, in any zone, on any day: firings against a scan of what clocks show, minute by minute, that knows
//! nothing of how they are found.

use std::{collections::BTreeSet, fmt::Write};

use jiff::{Timestamp, Unit, civil, tz::TimeZone};
use proptest::prelude::*;

use super::{EXPRESSION_CHARS, Expression, firings};
use crate::clock::{Time, Wall, Zone};

const DAYS: [&str; 7] = ["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"];
const MINUTES_A_DAY: i64 = 1_440;

/// An expression as sets; none is `*`.
#[derive(Debug, Clone, Default)]
struct Fields {
    minutes: BTreeSet<i8>,
    hours: BTreeSet<i8>,
    days: BTreeSet<i8>,
    months: BTreeSet<i8>,
    /// 1 is Monday.
    weekdays: BTreeSet<i8>,
}

impl Fields {
    fn text(&self) -> String {
        let list = |set: &BTreeSet<i8>| match set.is_empty() {
            true => "*".to_string(),
            false => set.iter().map(i8::to_string).collect::<Vec<_>>().join(","),
        };
        let names: Vec<&str> = self.weekdays.iter().map(|d| DAYS[*d as usize - 1]).collect();
        let weekdays = if names.is_empty() { "*".to_string() } else { names.join(",") };
        format!("0 {} {} {} {} {weekdays}", list(&self.minutes), list(&self.hours), list(&self.days), list(&self.months))
    }

    fn matches(&self, at: civil::DateTime) -> bool {
        let has = |set: &BTreeSet<i8>, value: i8| set.is_empty() || set.contains(&value);
        has(&self.minutes, at.minute())
            && has(&self.hours, at.hour())
            && has(&self.days, at.day())
            && has(&self.months, at.month())
            && has(&self.weekdays, at.weekday().to_monday_one_offset())
    }
}

fn some_of(range: std::ops::RangeInclusive<i8>) -> impl Strategy<Value = BTreeSet<i8>> {
    prop_oneof![Just(BTreeSet::new()), prop::collection::btree_set(range, 1..5)]
}

fn fields() -> impl Strategy<Value = Fields> {
    // Few days, so that most cases fire at all; hours at which clocks change.
    let hours = prop_oneof![Just(BTreeSet::new()), prop::collection::btree_set(0i8..=3, 1..4), some_of(0..=23)];
    (prop::collection::btree_set(0i8..=59, 1..6), hours, some_of(1..=31), some_of(1..=12), some_of(1..=7)).prop_map(
        |(minutes, hours, days, months, weekdays)| Fields {
            minutes,
            hours,
            days: if days.len() < 3 { BTreeSet::new() } else { days },
            months: if months.len() < 4 { BTreeSet::new() } else { months },
            weekdays,
        },
    )
}

/// Zones, and a change of their clocks: by an hour, by half an hour, by a whole day, none.
const CHANGES: [(&str, &str); 8] = [
    ("Europe/London", "2026-03-29T01:00:00Z"),
    ("Europe/London", "2026-10-25T01:00:00Z"),
    ("Europe/London", "2027-03-28T01:00:00Z"),
    ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
    ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
    ("America/New_York", "2026-11-01T06:00:00Z"),
    ("Pacific/Apia", "2011-12-30T10:00:00Z"),
    ("UTC", "2026-10-25T01:00:00Z"),
];

fn shown(zone: &TimeZone, minute: i64) -> civil::DateTime {
    zone.to_datetime(Timestamp::from_second(minute * 60).unwrap()).round(Unit::Minute).unwrap()
}

/// Moments after `after`, in seconds, at which clocks show, or have just gone past, a time that matches and that they had not shown.
fn scanned(fields: &Fields, zone: &TimeZone, after: i64, minutes: i64) -> Vec<i64> {
    let first = after.div_euclid(60);
    let mut latest = (first - 2 * MINUTES_A_DAY..=first).map(|minute| shown(zone, minute)).max().unwrap();
    let mut found = Vec::new();
    for minute in first + 1..=first + minutes {
        let now = shown(zone, minute);
        let (mut passed, mut fires) = (latest, false);
        while passed < now {
            passed = passed.checked_add(jiff::Span::new().minutes(1)).unwrap();
            fires |= fields.matches(passed);
        }
        if fires {
            found.push(minute * 60);
        }
        latest = latest.max(now);
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// No time that matches is skipped, none fires twice, and none fires too early or too late.
    #[test]
    fn firings_are_what_clocks_on_a_wall_show(fields in fields(), change in prop::sample::select(CHANGES.to_vec()), before in -200_000i64..100_000) {
        let (name, change) = change;
        let after = change.parse::<Timestamp>().unwrap().as_second() - before;
        let minutes = 3 * MINUTES_A_DAY;
        let expected = scanned(&fields, &TimeZone::get(name).unwrap(), after, minutes);
        let (expression, zone) = (Expression::parse(&fields.text()).unwrap(), name.parse::<Zone>().unwrap());
        let end = (after.div_euclid(60) + minutes) * 60;
        let found: Vec<i64> =
            firings(&expression, &zone, Time(after * 1_000)).map(|f| f.at.0 / 1_000).take_while(|at| *at <= end).collect();
        prop_assert_eq!(found, expected, "{} in {}", fields.text(), name);
    }

    #[test]
    fn firings_rise_and_name_the_time_that_matches(fields in fields(), start in 0i64..4_000_000_000, name in prop::sample::select(CHANGES.to_vec())) {
        let (expression, zone) = (Expression::parse(&fields.text()).unwrap(), name.0.parse::<Zone>().unwrap());
        let mut last = Time(start * 1_000 + 7);
        for firing in firings(&expression, &zone, last).take(20) {
            prop_assert!(firing.at > last, "{} after {last}", firing.at);
            let at: civil::DateTime = firing.wall.to_string().parse().unwrap();
            prop_assert!(fields.matches(at), "{} at {}", fields.text(), firing.wall);
            last = firing.at;
        }
    }

    /// Whatever is written, it is understood or refused, and the search for the next time ends.
    #[test]
    fn no_text_is_too_much(text in prop_oneof!["[0-9A-Za-z*/,?#@ -]{0,60}", ".{0,80}", "([0-9*/,-]{1,4} ){5}(MON|SUN-SAT|L|\\*|\\?)( 20[0-9]{2})?"]) {
        if let Ok(expression) = Expression::parse(&text) {
            let mut wall = Wall(1_700_000_000);
            for _ in 0..5 {
                let Some(next) = expression.next_wall(wall) else { break };
                prop_assert!(next > wall);
                wall = next;
            }
            prop_assert_eq!(Expression::parse(&expression.to_string()), Ok(expression), "as it is stored it is read again");
        }
    }
}

#[test]
fn the_longest_expression_is_still_answered() {
    let mut text = String::from("0");
    while text.len() + 40 < EXPRESSION_CHARS {
        write!(text, ",{}", text.len() % 60).unwrap();
    }
    text += " 0-59/1 0-23 1-31 2 SUN-SAT 2096-2100";
    assert!(text.len() < EXPRESSION_CHARS, "{}", text.len());
    let expression = Expression::parse(&text).unwrap();
    assert_eq!(expression.next_wall(Wall(0)).unwrap().to_string(), "2096-02-01T00:00:00");
    assert!(Expression::parse(&"0,".repeat(1_000_000)).is_err());
}
