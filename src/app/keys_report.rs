//! Missing keys in figures: how they stand now (`keys stats`), and the letter's paragraph as of a day (`keys report`).

use std::collections::BTreeMap;

use serde::Serialize;

use super::{App, KeyCaseCounts, counts_of};
use crate::{
    clock::Time,
    failure::Outcome,
    keys::{self, KeyReport, report},
};

const DAY_MILLIS: i64 = 86_400_000;
/// Days over which the rate of resolution is taken.
const RATE_DAYS: i64 = 30;

/// Ages of the open cases, whole days.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Ages {
    pub p50: i64,
    pub p90: i64,
    pub max: i64,
}

/// How the cases stand now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KeyStats {
    pub handled_by_the_tool: i64,
    pub cases: KeyCaseCounts,
    /// Sites that ever had a case: one that relapsed has several, and counts once.
    pub sites_with_a_case: i64,
    /// They, of the sites handled.
    pub share_percent: f64,
    /// Those still retried, of the sites that ever had a case.
    pub retrying_percent: f64,
    pub open: i64,
    pub age_days: Ages,
    /// London days of the last thirty on which cases were resolved.
    pub resolved_by_day: BTreeMap<String, i64>,
    /// Over as many days, or over those since the first case, where that is less long ago.
    pub resolved_per_day: f64,
    /// Days until nothing is retried any more at that rate; null where nothing was resolved.
    pub forecast_days: Option<i64>,
    pub by_cohort: Vec<CohortCases>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CohortCases {
    pub cohort: Option<String>,
    pub state: String,
    pub cases: i64,
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn percent(part: i64, whole: i64) -> f64 {
    if whole == 0 { 0.0 } else { rounded(part as f64 * 100.0 / whole as f64) }
}

/// Of open cases, counted by whole days, the oldest first.
fn ages(by_age: &[(i64, i64)]) -> Ages {
    let open: i64 = by_age.iter().map(|(_, n)| n).sum();
    // A share `p` of the cases is younger than the one at `1 - p`.
    let at = |p: f64| {
        let place = (((1.0 - p) * open as f64).round() as i64).min(open - 1);
        let mut before = 0;
        let found = by_age.iter().find(|(_, n)| {
            before += n;
            before > place
        });
        found.map_or(0, |(days, _)| (*days).max(0))
    };
    Ages { p50: at(0.5), p90: at(0.9), max: at(1.0) }
}

impl App {
    pub async fn key_stats(&self) -> Outcome<KeyStats> {
        let now = self.now();
        let mut tx = self.db.read().await?;
        let by_cohort = keys::store::count_by_cohort(&mut tx).await?;
        let mut by_state = BTreeMap::new();
        for row in &by_cohort {
            *by_state.entry(row.state).or_default() += row.cases;
        }
        let cases = counts_of(&by_state);
        let handled = match keys::store::handled(&mut tx).await? {
            Some(handled) => handled,
            None => keys::store::tool_population(&mut tx, Time(i64::MAX)).await?,
        };
        let ever = by_cohort.iter().map(|row| row.devices).sum();
        let age_days = ages(&keys::store::open_by_age(&mut tx, now).await?);
        let mut resolved_by_day = BTreeMap::new();
        for (hour, n) in keys::store::resolved_by_hour(&mut tx, now.plus_millis(-RATE_DAYS * DAY_MILLIS), now).await? {
            *resolved_by_day.entry(hour.london_day().to_string()).or_default() += n;
        }
        let resolved: i64 = resolved_by_day.values().sum();
        let first = keys::store::first_seen(&mut tx).await?;
        let days = first.map_or(RATE_DAYS as f64, |first| (now.0 - first.0) as f64 / DAY_MILLIS as f64);
        let per_day = resolved as f64 / days.clamp(1.0, RATE_DAYS as f64);
        Ok(KeyStats {
            handled_by_the_tool: handled,
            sites_with_a_case: ever,
            share_percent: percent(ever, handled),
            retrying_percent: percent(cases.retrying, ever),
            open: cases.retrying + cases.investigating,
            age_days,
            resolved_by_day,
            resolved_per_day: rounded(per_day),
            forecast_days: (resolved > 0).then(|| (cases.retrying as f64 / per_day).ceil() as i64),
            by_cohort: by_cohort
                .into_iter()
                .map(|row| CohortCases { cohort: row.cohort, state: row.state.to_string(), cases: row.cases })
                .collect(),
            cases,
        })
    }

    /// The letter's paragraph 13 as figures at `as_of`, with what changed since an earlier moment.
    pub async fn key_report(&self, as_of: Time, since: Option<Time>) -> Outcome<KeyReport> {
        let mut tx = self.db.read().await?;
        let cases = keys::store::cases_then(&mut tx, as_of).await?;
        let now = report(as_of, &keys::store::handled_then(&mut tx, as_of).await?, &cases);
        let Some(since) = since else { return Ok(now) };
        let then = keys::store::cases_then(&mut tx, since).await?;
        let before = report(since, &keys::store::handled_then(&mut tx, since).await?, &then);
        Ok(now.compared(&before, &cases))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_of_the_open_cases() {
        let one_each: Vec<(i64, i64)> = (1..=10).rev().map(|n| (n * 10, 1)).collect();
        assert_eq!(ages(&one_each), Ages { p50: 50, p90: 90, max: 100 });
        assert_eq!(ages(&[(30, 1), (2, 98), (-1, 1)]), Ages { p50: 2, p90: 2, max: 30 });
        assert_eq!(ages(&[]), Ages::default());
        assert_eq!(ages(&[(1, 1)]), Ages { p50: 1, p90: 1, max: 1 });
    }
}
