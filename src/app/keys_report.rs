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
    /// Devices that ever had a case, of the sites handled.
    pub share_percent: f64,
    /// Cases still retried, of all.
    pub retrying_percent: f64,
    pub open: i64,
    pub age_days: Ages,
    /// London days of the last thirty on which cases were resolved.
    pub resolved_by_day: BTreeMap<String, i64>,
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

/// Of the open cases, the oldest first.
fn ages(open_since: &[Time], now: Time) -> Ages {
    // Oldest first: a share `p` of the cases is younger than the one at `1 - p`.
    let at = |p: f64| {
        let place = ((1.0 - p) * open_since.len() as f64).round() as usize;
        let place = place.min(open_since.len().saturating_sub(1));
        open_since.get(place).map_or(0, |t| (now.0 - t.0).max(0) / DAY_MILLIS)
    };
    Ages { p50: at(0.5), p90: at(0.9), max: at(1.0) }
}

impl App {
    pub async fn key_stats(&self) -> Outcome<KeyStats> {
        let now = self.now();
        let mut tx = self.db.read().await?;
        let cases = counts_of(&keys::store::count_by_state(&mut tx, None).await?);
        let handled = keys::store::tool_population(&mut tx, now).await?;
        let ever = keys::store::devices_with_cases(&mut tx).await?;
        let by_cohort = keys::store::count_by_cohort(&mut tx).await?;
        let open_since = keys::store::open_since(&mut tx).await?;
        let resolved = keys::store::resolved_at(&mut tx, now.plus_millis(-RATE_DAYS * DAY_MILLIS), now).await?;
        let mut resolved_by_day = BTreeMap::new();
        for at in &resolved {
            *resolved_by_day.entry(at.london_day().to_string()).or_default() += 1;
        }
        let per_day = resolved.len() as f64 / RATE_DAYS as f64;
        let all = cases.retrying + cases.investigating + cases.resolved + cases.closed;
        Ok(KeyStats {
            handled_by_the_tool: handled,
            share_percent: percent(ever, handled),
            retrying_percent: percent(cases.retrying, all),
            open: cases.retrying + cases.investigating,
            age_days: ages(&open_since, now),
            resolved_by_day,
            resolved_per_day: rounded(per_day),
            forecast_days: (!resolved.is_empty()).then(|| (cases.retrying as f64 / per_day).ceil() as i64),
            by_cohort: by_cohort.into_iter().map(|(cohort, state, cases)| CohortCases { cohort, state, cases }).collect(),
            cases,
        })
    }

    /// The letter's paragraph 13 as figures at `as_of`, with what changed since an earlier moment.
    pub async fn key_report(&self, as_of: Time, since: Option<Time>) -> Outcome<KeyReport> {
        let mut tx = self.db.read().await?;
        let cases = keys::store::cases_then(&mut tx, as_of).await?;
        let now = report(as_of, keys::store::tool_population(&mut tx, as_of).await?, &cases);
        let Some(since) = since else { return Ok(now) };
        let then = keys::store::cases_then(&mut tx, since).await?;
        let before = report(since, keys::store::tool_population(&mut tx, since).await?, &then);
        Ok(now.compared(&before, &cases))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_of_the_open_cases() {
        let now = Time(100 * DAY_MILLIS);
        let days: Vec<Time> = (0..10).map(|n| Time(n * 10 * DAY_MILLIS)).collect();
        assert_eq!(ages(&days, now), Ages { p50: 50, p90: 90, max: 100 });
        assert_eq!(ages(&[], now), Ages::default());
        assert_eq!(ages(&[Time(99 * DAY_MILLIS)], now), Ages { p50: 1, p90: 1, max: 1 });
    }
}
