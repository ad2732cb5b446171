//! `retry.toml`: when a site without a key is tried again, when a person takes over, and why a case may be closed. Types and their
//! reading; the timetable itself is the keys room's. Decides nothing about who is upgraded.

use serde::Serialize;

use super::{
    Period,
    document::{Place, Read, Section, parsed, read_document, text, whole, yes_no},
    files::{Head, read_head},
};
use crate::{clock::Time, estate::Cohort, ids::IdError};

/// A delay that grows faster than this has reached any cap at once.
const FACTOR_MAX: i64 = 10;
/// More attempts than one a day for three years.
const ATTEMPTS_MAX: i64 = 1_000;
/// As many sites as one 11.1 request could name.
const BUDGET_MAX: i64 = 50_000;
const MINUTES_PER_DAY: i64 = 1_440;

/// A share of a delay, 0% to 100%, in whole percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percent(pub i64);

impl std::str::FromStr for Percent {
    type Err = IdError;

    fn from_str(s: &str) -> Result<Percent, IdError> {
        let number = s.strip_suffix('%').filter(|n| !n.is_empty() && n.len() <= 3 && n.bytes().all(|b| b.is_ascii_digit()));
        match number.and_then(|n| n.parse().ok()) {
            Some(n) if n <= 100 => Ok(Percent(n)),
            _ => Err(IdError::new(s, "a share such as \"10%\", at most \"100%\"")),
        }
    }
}

impl std::fmt::Display for Percent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl Serialize for Percent {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// A share with up to three decimals, `0.3%`: thousandths of a percent, more than nothing and less than everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SmallShare(i64);

const SHARE_WHOLE: i64 = 100_000;
const SHARE_WANTED: &str = "a share such as \"0.3%\", more than 0% and less than 100%, with at most three decimals";

impl SmallShare {
    /// 0 to 1.
    pub fn of_one(self) -> f64 {
        self.0 as f64 / SHARE_WHOLE as f64
    }
}

impl std::str::FromStr for SmallShare {
    type Err = IdError;

    fn from_str(s: &str) -> Result<SmallShare, IdError> {
        let digits = |t: &str, most: usize| (1..=most).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_digit());
        let number = s.strip_suffix('%').map(|n| n.split_once('.').unwrap_or((n, "0")));
        let thousandths = number.filter(|(whole, part)| digits(whole, 2) && digits(part, 3)).and_then(|(whole, part)| {
            let (whole, part): (i64, i64) = (whole.parse().ok()?, format!("{part:0<3}").parse().ok()?);
            Some(whole * 1_000 + part)
        });
        thousandths.filter(|n| *n > 0).map(SmallShare).ok_or_else(|| IdError::new(s, SHARE_WANTED))
    }
}

impl std::fmt::Display for SmallShare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let decimals = format!("{:03}", self.0 % 1_000);
        match decimals.trim_end_matches('0') {
            "" => write!(f, "{}%", self.0 / 1_000),
            decimals => write!(f, "{}.{decimals}%", self.0 / 1_000),
        }
    }
}

impl Serialize for SmallShare {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// Times of day in Europe/London, from the first minute to before the second; over midnight where the second is not later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoursOfDay {
    pub from: i64,
    pub to: i64,
}

impl HoursOfDay {
    fn covers(self, minute: i64) -> bool {
        if self.from < self.to { (self.from..self.to).contains(&minute) } else { minute >= self.from || minute < self.to }
    }

    /// The first moment from `at` on that is within one of `windows`; `at` itself where there are none. Never later than two days
    /// after it.
    pub fn first_within(windows: &[HoursOfDay], at: Time) -> Time {
        if windows.is_empty() || windows.iter().any(|w| w.covers(at.london_wall().1)) {
            return at;
        }
        let today = at.london_day();
        let openings = (0..=1).flat_map(|d| windows.iter().map(move |w| today.plus(d).at_wall(w.from)));
        openings.filter(|t| *t >= at).min().unwrap_or(at)
    }
}

impl std::str::FromStr for HoursOfDay {
    type Err = IdError;

    fn from_str(s: &str) -> Result<HoursOfDay, IdError> {
        let minute = |text: &str, most: i64| -> Option<i64> {
            let (hour, minute) = text.split_once(':')?;
            let digits = |t: &str| t.len() == 2 && t.bytes().all(|b| b.is_ascii_digit());
            let (hour, minute): (i64, i64) =
                (digits(hour).then(|| hour.parse().ok())??, digits(minute).then(|| minute.parse().ok())??);
            let all = hour * 60 + minute;
            (minute < 60 && all <= most).then_some(all)
        };
        let parts =
            s.split_once('-').and_then(|(from, to)| Some((minute(from, MINUTES_PER_DAY - 1)?, minute(to, MINUTES_PER_DAY)?)));
        match parts {
            Some((from, to)) if from != to => Ok(HoursOfDay { from, to }),
            _ => Err(IdError::new(s, "times of day such as \"20:00-06:00\"")),
        }
    }
}

impl std::fmt::Display for HoursOfDay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02}:{:02}-{:02}:{:02}", self.from / 60, self.from % 60, self.to / 60, self.to % 60)
    }
}

impl Serialize for HoursOfDay {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// The timetable of the cases it fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RetryRule {
    pub name: String,
    /// Empty: every cohort, and sites that are not known.
    pub cohorts: Vec<Cohort>,
    /// Pieces of text in lower case, any of which the last error contains. Empty: every error, and none.
    pub error: Vec<String>,
    pub first_delay: Period,
    pub factor: i64,
    pub cap: Period,
    pub jitter: Percent,
    pub windows: Vec<HoursOfDay>,
    pub most_attempts: i64,
    pub oldest_age: Period,
}

impl RetryRule {
    fn fits(&self, cohort: Option<Cohort>, error: Option<&str>) -> bool {
        let error = error.unwrap_or_default().to_lowercase();
        let of_cohort = self.cohorts.is_empty() || cohort.is_some_and(|c| self.cohorts.contains(&c));
        of_cohort && (self.error.is_empty() || self.error.iter().any(|piece| error.contains(piece)))
    }
}

/// The file as it is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Retry {
    /// Whether a due attempt is a 11.1 request of our own, where a started campaign has the site.
    pub resubmit: bool,
    pub hold_campaign: bool,
    pub budget_per_hour: i64,
    pub answer_within: Period,
    pub expected_share: SmallShare,
    pub alarm_chance: SmallShare,
    pub closing_reasons: Vec<String>,
    #[serde(rename = "rule")]
    pub rules: Vec<RetryRule>,
}

impl Retry {
    /// The first rule that fits; there is always one, since the last fits everything.
    pub fn rule(&self, cohort: Option<Cohort>, error: Option<&str>) -> &RetryRule {
        let last = self.rules.last().expect("a file without rules is refused");
        self.rules.iter().find(|r| r.fits(cohort, error)).unwrap_or(last)
    }
}

/// Reads the file. Nothing has a default: a timetable that is half written is nobody's intention.
pub(super) fn read_retry(place: Place<'_>) -> Read<(Head, Retry)> {
    read_document(place, |file| {
        let head = read_head(file)?;
        let budget = format!("a whole number of sites, 1 to {BUDGET_MAX}");
        let retry = Retry {
            resubmit: file.optional("resubmit", "true or false", yes_no)?.unwrap_or(false),
            hold_campaign: file.optional("hold_campaign", "true or false", yes_no)?.unwrap_or(false),
            budget_per_hour: file.required("budget_per_hour", &budget, whole(1, BUDGET_MAX))?,
            answer_within: read_wait(file, "answer_within")?,
            expected_share: file.required("expected_share", SHARE_WANTED, parsed)?,
            alarm_chance: file.required("alarm_chance", SHARE_WANTED, parsed)?,
            closing_reasons: read_reasons(file)?,
            rules: read_rules(file)?,
        };
        Ok((head, retry))
    })
}

fn read_wait(file: &mut Section<'_, '_>, key: &'static str) -> Read<Period> {
    let wanted = format!("{}, more than nothing", Period::WANTED);
    file.required(key, &wanted, |value| parsed::<Period>(value).filter(|p| *p > Period::ZERO))
}

fn read_reasons(file: &mut Section<'_, '_>) -> Read<Vec<String>> {
    const WANTED: &str = "a list of reasons, at least one, each once";
    let reasons = file.list("closing_reasons", "a text such as \"HAN errors\"", text)?;
    let reasons = reasons.ok_or_else(|| file.missing("closing_reasons", WANTED))?;
    let twice = reasons.iter().enumerate().find(|(n, reason)| reasons[..*n].contains(reason));
    match twice {
        Some((_, reason)) => Err(file.conflict("closing_reasons", format!("{reason:?} is there twice"), WANTED)),
        None if reasons.is_empty() => {
            Err(file.conflict("closing_reasons", "the list is empty, so no case could be closed", WANTED))
        }
        None => Ok(reasons),
    }
}

fn read_rules(file: &mut Section<'_, '_>) -> Read<Vec<RetryRule>> {
    const WANTED: &str = "at least one table [[rule]], the last without cohorts and error";
    let mut rules: Vec<RetryRule> = Vec::new();
    for table in file.tables("rule", WANTED)? {
        let rule = read_rule(table, &rules)?;
        rules.push(rule);
    }
    match rules.last() {
        None => Err(file.missing("rule", WANTED)),
        Some(last) if !last.cohorts.is_empty() || !last.error.is_empty() => {
            Err(file.conflict("rule", format!("the last rule, {:?}, does not fit every case", last.name), WANTED))
        }
        Some(_) => Ok(rules),
    }
}

fn read_rule(mut table: Section<'_, '_>, before: &[RetryRule]) -> Read<RetryRule> {
    let wait = |table: &mut Section<'_, '_>, key| read_wait(table, key);
    let piece = |value: &toml::de::DeValue<'_>| text(value).map(|t| t.to_lowercase());
    let rule = RetryRule {
        name: table.required("name", "a text such as \"communications\"", text)?,
        cohorts: table.list("cohorts", "a cohort: \"IOC\", \"MDS\", \"SECURE\" or \"FOC\"", parsed)?.unwrap_or_default(),
        error: table.list("error", "a piece of text that is not empty", piece)?.unwrap_or_default(),
        first_delay: wait(&mut table, "first_delay")?,
        factor: table.required("factor", &format!("a whole number, 1 to {FACTOR_MAX}"), whole(1, FACTOR_MAX))?,
        cap: wait(&mut table, "cap")?,
        jitter: table.required("jitter", "a share such as \"10%\", at most \"100%\"", parsed)?,
        windows: table.list("windows", "times of day such as \"20:00-06:00\"", parsed)?.unwrap_or_default(),
        most_attempts: table.required(
            "most_attempts",
            &format!("a whole number of attempts, 1 to {ATTEMPTS_MAX}"),
            whole(1, ATTEMPTS_MAX),
        )?,
        oldest_age: wait(&mut table, "oldest_age")?,
    };
    if before.iter().any(|r| r.name == rule.name) {
        return Err(table.conflict("name", format!("{:?} is the name of an earlier rule", rule.name), "a name of its own"));
    }
    if rule.cap < rule.first_delay {
        return Err(table.conflict(
            "cap",
            format!("{} is less than first_delay, {}", rule.cap, rule.first_delay),
            "at least first_delay",
        ));
    }
    table.finish()?;
    Ok(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_and_shares_are_read_and_written() {
        for good in ["20:00-06:00", "00:00-24:00", "09:30-17:00"] {
            assert_eq!(good.parse::<HoursOfDay>().unwrap().to_string(), good);
        }
        for bad in ["", "20-06", "24:00-06:00", "20:60-21:00", "20:00-20:00", "2:00-03:00", "20:00-24:01", "+1:00-02:00"] {
            assert!(bad.parse::<HoursOfDay>().is_err(), "{bad}");
        }
        for good in ["0.3%", "0.125%", "99%", "0.001%"] {
            assert_eq!(good.parse::<SmallShare>().unwrap().to_string(), good);
        }
        assert!(("0.3%".parse::<SmallShare>().unwrap().of_one() - 0.003).abs() < 1e-15);
        for bad in ["0%", "0.0%", "100%", "0.3", ".3%", "0.%", "0.0001%", "-1%", "1e2%"] {
            assert!(bad.parse::<SmallShare>().is_err(), "{bad}");
        }
        assert_eq!("10%".parse::<Percent>().unwrap(), Percent(10));
        for bad in ["", "10", "%", "101%", "-1%", "1.5%", "0010%"] {
            assert!(bad.parse::<Percent>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_moment_waits_for_its_window_also_when_the_clocks_change() {
        let at = |text: &str| text.parse::<Time>().unwrap();
        let first = |windows: &[&str], from: &str| {
            let windows: Vec<HoursOfDay> = windows.iter().map(|w| w.parse().unwrap()).collect();
            HoursOfDay::first_within(&windows, at(from)).to_string()
        };
        assert_eq!(first(&[], "2026-11-26T12:00:00Z"), "2026-11-26T12:00:00Z");
        assert_eq!(first(&["20:00-06:00"], "2026-11-26T12:00:00Z"), "2026-11-26T20:00:00Z");
        assert_eq!(first(&["20:00-06:00"], "2026-11-26T05:59:59Z"), "2026-11-26T05:59:59Z");
        assert_eq!(first(&["09:00-10:00"], "2026-11-26T12:00:00Z"), "2026-11-27T09:00:00Z");
        assert_eq!(first(&["09:00-10:00", "15:00-16:00"], "2026-11-26T12:00:00Z"), "2026-11-26T15:00:00Z");
        assert_eq!(first(&["20:00-22:00"], "2026-07-01T12:00:00Z"), "2026-07-01T19:00:00Z", "British summer time");
        assert_eq!(first(&["01:00-01:30"], "2026-03-28T12:00:00Z"), "2026-03-29T01:00:00Z", "the hour that is left out");
    }

    #[test]
    fn resubmission_is_off_as_shipped_and_can_be_turned_on() {
        use super::super::{PolicyName, PolicySet};
        assert!(!PolicySet::compiled().retry.resubmit);
        for (line, on) in [("resubmit = true", true), ("", false)] {
            let text = PolicyName::Retry.shipped().replacen("resubmit = false", line, 1);
            assert_eq!(PolicySet::kept([("retry.toml", text.as_str(), "a test")]).unwrap().retry.resubmit, on, "{line:?}");
        }
    }

    #[test]
    fn the_first_rule_that_fits_counts() {
        let retry = super::super::PolicySet::compiled().retry;
        assert_eq!(retry.rule(Some(Cohort::Ioc), Some("No WAN during migration")).name, "communications");
        assert_eq!(retry.rule(None, Some("HAN error 7")).name, "other");
        assert_eq!(retry.rule(Some(Cohort::Secure), None).name, "other");
    }
}
