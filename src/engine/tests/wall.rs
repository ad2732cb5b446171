//! When a rollout may leave, said a second time and naively: by the rule of British Summer Time written out, and by looking minute for
//! minute when a clock on the wall first shows a time. Nothing of the program's own clocks or windows is asked.

use super::{HOUR, MINUTE};
use crate::{app::tests::month::Dice, clock::Time};

const DAY_MINUTES: i64 = 24 * 60;

/// A window, or a freeze.
#[derive(Debug, Clone)]
pub enum Opening {
    /// Open from one minute of each of these days (Monday is 0) to another, which may be the next day's.
    Window { days: Vec<i64>, from: i64, to: i64, region: Option<&'static str> },
    /// Closed on these days since 1970, the last not among them.
    Freeze { from: i64, to: i64, region: Option<&'static str> },
}

use Opening::{Freeze, Window};

const NAMES: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

impl Opening {
    pub fn some(dice: &mut Dice, start: Time, busy: i64) -> Vec<Opening> {
        let region = |dice: &mut Dice| [None, Some("North"), Some("South")][dice.below(3) as usize];
        let mut some = Vec::new();
        if dice.below(2) == 0 {
            // The night with its hour that is skipped or comes twice, and one that begins or ends within that hour.
            let (from, to) = [(22 * 60, 6 * 60), (90, 5 * 60), (20 * 60, 90), (0, DAY_MINUTES), (9 * 60, 17 * 60 + 30)]
                [dice.below(5) as usize];
            let days = if dice.below(2) == 0 { (0..7).collect() } else { vec![0, 2, 4, 5, 6] };
            some.push(Window { days, from, to, region: region(dice) });
        }
        if dice.below(3) == 0 {
            let from = london(start).div_euclid(DAY_MINUTES) + 1 + dice.below((busy / (24 * HOUR)) as u64) as i64;
            some.push(Freeze { from, to: from + 1 + dice.below(2) as i64, region: region(dice) });
        }
        some
    }

    pub fn toml(&self) -> String {
        let regions = |region: &Option<&str>| region.map_or(String::new(), |r| format!("regions = [\"{r}\"]\n"));
        match self {
            Window { days, from, to, region } => {
                let days: Vec<String> = days.iter().map(|d| format!("\"{}\"", NAMES[*d as usize])).collect();
                let at = |m: &i64| format!("{:02}:{:02}", m / 60, m % 60);
                format!(
                    "[[window]]\ndays = [{}]\nfrom = \"{}\"\nto = \"{}\"\n{}",
                    days.join(", "),
                    at(from),
                    at(to),
                    regions(region)
                )
            }
            Freeze { from, to, region } => {
                let day = |n: &i64| crate::clock::Day(*n);
                format!("[[freeze]]\nfrom = \"{}\"\nto = \"{}\"\nreason = \"works\"\n{}", day(from), day(to), regions(region))
            }
        }
    }

    fn is_for(&self, of: &str) -> bool {
        let (Window { region, .. } | Freeze { region, .. }) = self;
        region.is_none_or(|r| r == of)
    }
}

/// Whether anything may leave to a region at this moment.
pub fn is_open(openings: &[Opening], region: &str, now: Time) -> bool {
    let today = london(now).div_euclid(DAY_MINUTES);
    let (mut any, mut open) = (false, false);
    for opening in openings.iter().filter(|o| o.is_for(region)) {
        match opening {
            Freeze { from, to, .. } if (*from..*to).contains(&today) => return false,
            Freeze { .. } => {}
            Window { days, from, to, .. } => {
                any = true;
                let ends = if to <= from { to + DAY_MINUTES } else { *to };
                open |= [today - 1, today].into_iter().any(|day| {
                    // 1970-01-01 was a Thursday.
                    days.contains(&(day + 3).rem_euclid(7)) && first_shown(day, *from) <= now && now < first_shown(day, ends)
                });
            }
        }
    }
    open || !any
}

/// The day in London, counted from 1970-01-01.
pub fn day(now: Time) -> i64 {
    london(now).div_euclid(DAY_MINUTES)
}

/// The first moment at which a clock in London shows this minute of this day, or has passed it.
fn first_shown(day: i64, minute: i64) -> Time {
    let wanted = day * DAY_MINUTES + minute;
    let first = (wanted - 60..=wanted).find(|utc| london(Time(utc * MINUTE)) >= wanted);
    Time(first.expect("London is at most an hour ahead") * MINUTE)
}

/// Minutes since 1970-01-01 00:00 as London shows them.
fn london(at: Time) -> i64 {
    at.0.div_euclid(MINUTE) + if is_summer(at) { 60 } else { 0 }
}

/// From the last Sunday of March, 01:00 UTC, to the last Sunday of October, 01:00 UTC.
fn is_summer(at: Time) -> bool {
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let (mut year, mut first) = (1970, 0);
    while first + 365 + i64::from(is_leap(year)) <= at.0.div_euclid(24 * HOUR) {
        first += 365 + i64::from(is_leap(year));
        year += 1;
    }
    let last_sunday = |before: i64| {
        let last = first + before + i64::from(is_leap(year)) - 1;
        last - (last + 4).rem_euclid(7)
    };
    // March ends after 90 days of a year that is no leap year, October after 304.
    let moment = |day: i64| day * 24 * HOUR + HOUR;
    (moment(last_sunday(90))..moment(last_sunday(304))).contains(&at.0)
}

#[test]
fn the_naive_wall_knows_summer_and_the_hour_that_comes_twice() {
    let at = |t: &str| t.parse::<Time>().unwrap();
    assert!(!is_summer(at("2027-03-28T00:59:59Z")) && is_summer(at("2027-03-28T01:00:00Z")));
    assert!(is_summer(at("2027-10-31T00:59:59Z")) && !is_summer(at("2027-10-31T01:00:00Z")));
    let shown = |t: &str, minute| first_shown(london(at(t)).div_euclid(DAY_MINUTES), minute).to_string();
    assert_eq!(shown("2027-03-28T12:00:00Z", 90), "2027-03-28T01:00:00Z");
    assert_eq!(shown("2027-10-31T12:00:00Z", 90), "2027-10-31T00:30:00Z");
    let night = [Window { days: vec![6], from: 90, to: 120, region: None }];
    assert!(is_open(&night, "South", at("2027-10-31T01:10:00Z")) && !is_open(&night, "South", at("2027-10-31T02:00:00Z")));
}
