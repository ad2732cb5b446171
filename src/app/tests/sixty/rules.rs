//! The timetable of the sixty days: `retry.toml` is written from it, and the naive ledger goes by it. Shorter than the shipped one, so
//! that every case comes to its end within the time.

use crate::{clock::Time, estate::Cohort};

pub const HOUR: i64 = 3_600_000;
pub const DAY: i64 = 24 * HOUR;
/// A line that nobody answered for so long lapses.
pub const ANSWER_DAYS: i64 = 5;
pub const CLOSING_REASONS: [&str; 3] = ["replaced device", "decommissioned", "HAN errors"];

pub struct Rule {
    pub name: &'static str,
    /// `None`: every cohort.
    pub cohort: Option<Cohort>,
    /// Empty: every error.
    pub errors: &'static [&'static str],
    pub first_hours: i64,
    pub factor: i64,
    pub cap_hours: i64,
    pub jitter_percent: i64,
    /// Whole hours of a London day in winter; over midnight where the second is the smaller.
    pub window: Option<(i64, i64)>,
    pub most_attempts: i64,
    pub oldest_days: i64,
}

/// The first that fits counts.
pub const RULES: [Rule; 3] = [
    Rule {
        name: "nights",
        cohort: Some(Cohort::Mds),
        errors: &["no wan", "no response"],
        first_hours: 20,
        factor: 2,
        cap_hours: 72,
        jitter_percent: 20,
        window: Some((20, 6)),
        most_attempts: 9,
        oldest_days: 40,
    },
    Rule {
        name: "communications",
        cohort: None,
        errors: &["no wan", "no response"],
        first_hours: 12,
        factor: 2,
        cap_hours: 96,
        jitter_percent: 10,
        window: None,
        most_attempts: 8,
        oldest_days: 40,
    },
    Rule {
        name: "other",
        cohort: None,
        errors: &[],
        first_hours: 24,
        factor: 3,
        cap_hours: 120,
        jitter_percent: 10,
        window: Some((9, 15)),
        most_attempts: 4,
        oldest_days: 20,
    },
];

pub fn rule(cohort: Cohort, error: Option<&str>) -> &'static Rule {
    let error = error.unwrap_or_default().to_lowercase();
    let fits = |r: &&Rule| {
        r.cohort.is_none_or(|c| c == cohort) && (r.errors.is_empty() || r.errors.iter().any(|piece| error.contains(piece)))
    };
    RULES.iter().find(fits).expect("the last fits every case")
}

impl Rule {
    /// The soonest and the latest moment at which a case is due after its last attempt.
    pub fn due(&self, last: Time, attempts: i64) -> (Time, Time) {
        let mut hours = self.first_hours;
        for _ in 1..attempts {
            hours = (hours * self.factor).min(self.cap_hours);
        }
        let soonest = last.plus_millis(hours * HOUR);
        (self.opening(soonest), self.opening(soonest.plus_millis(hours * HOUR * self.jitter_percent / 100)))
    }

    fn opening(&self, at: Time) -> Time {
        let mut at = at;
        while !self.is_open(at) {
            at = Time(at.0 - at.0.rem_euclid(HOUR) + HOUR);
        }
        at
    }

    pub fn is_open(&self, at: Time) -> bool {
        let hour = at.0.rem_euclid(DAY) / HOUR;
        match self.window {
            None => true,
            Some((from, to)) if from < to => from <= hour && hour < to,
            Some((from, to)) => hour >= from || hour < to,
        }
    }
}

/// The policy file that says all this.
pub fn retry_toml(budget: usize) -> String {
    let mut text = format!(
        "version = 1\neffective_from = \"2020-11-24\"\nclauses = [\"L§13\"]\nresubmit = false\nhold_campaign = false\n\
         budget_per_hour = {budget}\nanswer_within = \"{ANSWER_DAYS}d\"\nexpected_share = \"0.3%\"\nalarm_chance = \"0.1%\"\n\
         closing_reasons = {CLOSING_REASONS:?}\n"
    );
    for r in &RULES {
        let cohorts = r.cohort.map_or(String::new(), |c| format!("cohorts = [\"{c}\"]\n"));
        let errors = if r.errors.is_empty() { String::new() } else { format!("error = {:?}\n", r.errors) };
        let windows = r.window.map_or(String::new(), |(from, to)| format!("\"{from:02}:00-{to:02}:00\""));
        text += &format!(
            "\n[[rule]]\nname = \"{}\"\n{cohorts}{errors}first_delay = \"{}h\"\nfactor = {}\ncap = \"{}h\"\njitter = \"{}%\"\n\
             windows = [{windows}]\nmost_attempts = {}\noldest_age = \"{}d\"\n",
            r.name, r.first_hours, r.factor, r.cap_hours, r.jitter_percent, r.most_attempts, r.oldest_days
        );
    }
    text
}
