//! Windows and freezes against a naive model that walks through the weeks minute by minute, and the file's mistakes.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::policy::{PolicyName, document::Place};

const MINUTE: i64 = 60_000;

fn time(text: &str) -> Time {
    text.parse().unwrap()
}

/// A stretch of minutes, with what a clock in London shows at each, by the rule of the Summer Time Order and no time zone database.
struct Weeks {
    first: Time,
    /// Day and minute of the day.
    shown: Vec<(i64, i64)>,
}

impl Weeks {
    /// Three weeks around a clock change: `to_summer` or to winter, at 01:00 UTC of its day.
    fn around(change: &str, to_summer: bool) -> Weeks {
        let change = time(change);
        let first = change.plus_millis(-10 * 86_400_000);
        let shown = (0..21 * 1_440).map(|n| {
            let at = first.plus_millis(n * MINUTE);
            let summer = (at >= change) == to_summer;
            let minutes = at.0 / MINUTE + if summer { 60 } else { 0 };
            (minutes.div_euclid(1_440), minutes.rem_euclid(1_440))
        });
        Weeks { first, shown: shown.collect() }
    }

    /// The first minute at which the clock shows this time or has passed it.
    fn reached(&self, day: i64, minutes: i64) -> usize {
        let (day, minutes) = (day + minutes / 1_440, minutes % 1_440);
        self.shown.iter().position(|shown| *shown >= (day, minutes)).unwrap_or(self.shown.len())
    }

    /// For each minute whether it is open.
    fn open(&self, windows: &Windows, cohort: Cohort, region: Option<&str>) -> Vec<bool> {
        let is_for = |s: &Scope| {
            s.cohorts.iter().all(|c| c.contains(&cohort))
                && s.regions.iter().all(|r| region.is_some_and(|mine| r.contains(&mine.to_string())))
        };
        let own: Vec<&Window> = windows.windows.iter().filter(|w| is_for(&w.scope)).collect();
        let mut open = vec![own.is_empty(); self.shown.len()];
        for window in own {
            for day in self.shown[0].0 + 1..=self.shown.last().unwrap().0 {
                let name = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][day.rem_euclid(7) as usize];
                if window.days.iter().any(|d| d.as_str() == name) {
                    let (from, to) = (window.from.minutes(), window.to.minutes());
                    let last = if to > from { day } else { day + 1 };
                    let (opens, closes) = (self.reached(day, from), self.reached(last, to));
                    open[opens..closes.max(opens)].fill(true);
                }
            }
        }
        for freeze in windows.freezes.iter().filter(|f| is_for(&f.scope)) {
            for (minute, shown) in self.shown.iter().enumerate() {
                if freeze.from.0 <= shown.0 && shown.0 < freeze.to.0 {
                    open[minute] = false;
                }
            }
        }
        open
    }
}

static SPRING: LazyLock<Weeks> = LazyLock::new(|| Weeks::around("2026-03-29T01:00:00Z", true));
static AUTUMN: LazyLock<Weeks> = LazyLock::new(|| Weeks::around("2026-10-25T01:00:00Z", false));

fn scopes() -> impl Strategy<Value = Scope> {
    let cohorts =
        prop_oneof![3 => Just(None), 1 => Just(Some(vec![Cohort::Ioc])), 1 => Just(Some(vec![Cohort::Mds, Cohort::Foc]))];
    let regions =
        prop_oneof![3 => Just(None), 2 => Just(Some(vec!["North".to_string()])), 1 => Just(Some(vec!["South".to_string()]))];
    (cohorts, regions).prop_map(|(cohorts, regions)| Scope { cohorts, regions })
}

/// Times of a day, those around the clock changes more often than others.
fn times() -> impl Strategy<Value = WallTime> {
    prop_oneof![0..=1_440i64, 55..=125i64, Just(0), Just(1_440)].prop_map(|m| WallTime::new(m).unwrap())
}

fn window() -> impl Strategy<Value = Window> {
    (prop::collection::btree_set(0..7usize, 1..7), times(), times(), scopes())
        .prop_filter("two different times", |(_, from, to, _)| from != to && from.minutes() < 1_440)
        .prop_map(|(days, from, to, scope)| Window { days: days.into_iter().map(|d| Weekday::ALL[d]).collect(), from, to, scope })
}

fn freeze(first: i64) -> impl Strategy<Value = Freeze> {
    (0..20i64, 1..6i64, scopes()).prop_map(move |(from, days, scope)| Freeze {
        from: Day(first + from),
        to: Day(first + from + days),
        reason: "quiet".into(),
        scope,
    })
}

fn files() -> impl Strategy<Value = (bool, Windows)> {
    any::<bool>().prop_flat_map(|spring| {
        let first = if spring { &SPRING } else { &AUTUMN }.shown[0].0;
        let windows = prop::collection::vec(window(), 0..4);
        let freezes = prop::collection::vec(freeze(first), 0..3);
        (Just(spring), (windows, freezes).prop_map(|(windows, freezes)| Windows::new(windows, freezes)))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn a_site_is_open_when_the_clock_on_the_wall_says_so((spring, windows) in files(), cohort in 0..4usize, region in 0..3usize) {
        let weeks: &Weeks = if spring { &SPRING } else { &AUTUMN };
        let cohort = Cohort::ALL[cohort];
        let region = [Some("North"), Some("East"), None][region];
        let naive = weeks.open(&windows, cohort, region);
        // The first days lack the windows that opened before them.
        let (from, to) = (2 * 1_440, 19 * 1_440);
        // Every minute of the hours around the change, and one in 37 of the others.
        for minute in (from..to).filter(|m| (10 * 1_440 - 400..10 * 1_440 + 900).contains(m) || m % 37 == 0) {
            let at = weeks.first.plus_millis(minute as i64 * MINUTE);
            let gate = windows.open(at, cohort, region);
            prop_assert_eq!(gate == Gate::Open, naive[minute], "{} {:?}", at, gate);
            // A moment is open or closed with its minute.
            if minute % 97 == 0 {
                prop_assert_eq!(windows.open(at.plus_millis(MINUTE - 1), cohort, region) == Gate::Open, naive[minute]);
            }
        }
        for minute in (from..to).step_by(181) {
            let at = weeks.first.plus_millis(minute as i64 * MINUTE);
            let next = (minute..naive.len()).find(|m| naive[*m]).map(|m| weeks.first.plus_millis(m as i64 * MINUTE));
            let found = windows.next_open(at, cohort, region);
            match next {
                Some(next) => prop_assert_eq!(found, Some(next), "from {}", at),
                None => prop_assert!(found.is_none_or(|t| t >= weeks.first.plus_millis(naive.len() as i64 * MINUTE))),
            }
        }
    }

    #[test]
    fn the_groups_say_what_each_site_would_hear((spring, windows) in files(), n in 0..21 * 1_440i64) {
        let weeks: &Weeks = if spring { &SPRING } else { &AUTUMN };
        let at = weeks.first.plus_millis(n * MINUTE);
        let closures = windows.closures(at);
        let mut all = true;
        for cohort in Cohort::ALL {
            for region in [Some("North"), Some("South"), Some("East"), None] {
                let group = windows.group(*cohort, region);
                let closed = closures.closed.iter().find(|(g, _)| *g == group).map(|(_, c)| Gate::Closed(c.clone()));
                all &= closed.is_some();
                prop_assert_eq!(windows.open(at, *cohort, region), closed.unwrap_or(Gate::Open));
            }
        }
        prop_assert_eq!(closures.all, all);
        if closures.all {
            prop_assert!(closures.next_opening().is_none_or(|t| t > at));
        }
    }

    #[test]
    fn together_means_all_at_once_and_not_earlier((spring, windows) in files(), n in 2 * 1_440..16 * 1_440usize) {
        let weeks: &Weeks = if spring { &SPRING } else { &AUTUMN };
        let groups = [windows.group(Cohort::Ioc, Some("North")), windows.group(Cohort::Mds, None)];
        let naive: Vec<Vec<bool>> = groups.iter().map(|g| weeks.open(&windows, g.cohort, g.region.as_deref())).collect();
        let next = (n..naive[0].len()).find(|m| naive.iter().all(|open| open[*m]));
        let found = windows.next_open_together(weeks.first.plus_millis(n as i64 * MINUTE), &groups);
        match next {
            Some(next) => prop_assert_eq!(found, Some(weeks.first.plus_millis(next as i64 * MINUTE))),
            None => prop_assert!(found.is_none_or(|t| t >= weeks.first.plus_millis(naive[0].len() as i64 * MINUTE))),
        }
    }

    #[test]
    fn times_of_the_day_are_written_as_they_are_read(minutes in 0..=1_440i64, junk: String) {
        let at = WallTime::new(minutes).unwrap();
        prop_assert_eq!(at.to_string().parse::<WallTime>().unwrap(), at);
        let _ = junk.parse::<WallTime>();
    }
}

const HEAD: &str = "version = 1\neffective_from = \"2020-11-24\"\n";

fn read(text: &str) -> Windows {
    read_windows(Place { file: "windows.toml", text: &format!("{HEAD}{text}") }).unwrap().1
}

#[test]
fn as_shipped_nothing_is_held_back() {
    let text = PolicyName::Windows.shipped();
    let (_, windows) = read_windows(Place { file: "windows.toml", text }).unwrap();
    assert!(windows.always_open() && windows.closures(time("2026-12-25T03:00:00Z")).none());
}

/// The examples of the shipped file's comments, as an operator would uncomment them.
#[test]
fn the_examples_of_the_shipped_file_are_good_ones() {
    let shipped = PolicyName::Windows.shipped();
    let example = shipped.lines().skip_while(|l| *l != "# [[window]]").filter_map(|line| line.strip_prefix("# "));
    let keys: Vec<&str> =
        example.filter(|l| l.starts_with('[') || l.split_once(" = ").is_some_and(|(k, _)| !k.contains(' '))).collect();
    let windows = read(&keys.join("\n"));
    assert_eq!((windows.windows.len(), windows.freezes.len()), (1, 1), "{keys:?}");
}

#[test]
fn what_is_waited_for_is_said_with_its_day_and_time() {
    let windows = read(
        "[[window]]\ndays = [\"Mon\", \"Sun\"]\nfrom = \"22:00\"\nto = \"06:00\"\n\
         [[window]]\nfrom = \"01:30\"\nto = \"04:00\"\ncohorts = [\"MDS\"]\n\
         [[freeze]]\nfrom = \"2026-12-18\"\nto = \"2027-01-04\"\nreason = \"Christmas\"\n\
         [[freeze]]\nfrom = \"2026-06-08\"\nto = \"2026-06-09\"\nreason = \"works\"\nregions = [\"North\"]\n",
    );
    let said = |at: &str, cohort, region: Option<&str>| match windows.open(time(at), cohort, region) {
        Gate::Open => "open".to_string(),
        Gate::Closed(closed) => format!("{closed}, {}", closed.until.map_or("never".into(), |t| t.to_string())),
    };
    let all = [
        said("2026-06-08T20:59:59Z", Cohort::Ioc, None),
        said("2026-06-08T21:00:00Z", Cohort::Ioc, None),
        said("2026-06-09T04:59:59Z", Cohort::Ioc, None),
        said("2026-06-09T05:00:00Z", Cohort::Ioc, None),
        said("2026-06-08T21:00:00Z", Cohort::Ioc, Some("North")),
        said("2026-06-08T22:59:59Z", Cohort::Ioc, Some("North")),
        said("2026-03-29T00:59:59Z", Cohort::Mds, None),
        said("2026-03-28T12:00:00Z", Cohort::Mds, None),
        said("2026-12-24T12:00:00Z", Cohort::Ioc, None),
    ];
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn every_kind_of_bad_file_is_named_with_its_line() {
    let told = |text: &str| {
        let text = format!("{HEAD}{text}");
        read_windows(Place { file: "windows.toml", text: &text }).unwrap_err().to_string()
    };
    let window = "[[window]]\nfrom = \"22:00\"\nto = \"06:00\"\n";
    let freeze = "[[freeze]]\nfrom = \"2026-12-18\"\nto = \"2027-01-04\"\nreason = \"x\"\n";
    let all = [
        told(&window.replace("22:00", "25:00")),
        told(&window.replace("22:00", "22:60")),
        told(&window.replace("22:00", "06:00")),
        told(&window.replace("22:00", "24:00")),
        told("[[window]]\nfrom = \"22:00\"\n"),
        told(&window.replace("from", "form")),
        told(&format!("{window}days = [\"Monday\"]\n")),
        told(&format!("{window}days = []\n")),
        told(&format!("{window}cohorts = [\"ioc\"]\n")),
        told(&format!("{window}cohorts = []\n")),
        told(&format!("{window}regions = \"North\"\n")),
        told(&format!("{window}reason = \"x\"\n")),
        told(&freeze.replace("2027-01-04", "2026-12-18")),
        told(&freeze.replace("2027-01-04", "2026-02-30")),
        told(&freeze.replace("reason", "because")),
        told("[[freezes]]\n"),
        told("window = 1\n"),
    ];
    insta::assert_snapshot!(all.join("\n"));
}
