//! `thresholds.toml`: how many requests of a type may be sent in a rolling period before DCC's anomaly detection quarantines them.
//! What room that leaves is in [`super::room`]. Promise: a threshold that cannot be read, or that could never let anything go, does
//! not load.

use serde::Serialize;
use toml::de::DeValue;

use super::{
    Period, Share,
    document::{Place, Read, Section, parsed, read_document, text, whole},
    files::{Head, read_head},
};
/// Service reference variants that this program sends: a threshold of another would be obeyed by nobody.
pub const LIMITED_REQUESTS: [&str; 3] = ["8.2", "11.1", "11.2"];
/// What was sent is remembered at least this long (gateway's ledger), so no period may be longer.
pub const THRESHOLD_PERIOD_MAX_DAYS: i64 = 31;
/// A longer margin is a slip of the pen: clocks differ by seconds.
pub const MARGIN_MAX_MILLIS: i64 = 3_600_000;
/// Thirty million sites a few times over.
const AMOUNT_MAX: i64 = 1_000_000_000;
const MARGIN_DEFAULT: &str = "1m";
const WARN_AT_DEFAULT: Share = Share::percent(80);
const WARN_AT_WANTED: &str = "a share such as \"80%\" or \"2.5%\", more than 0% and at most 100%";

crate::spelled! {
    /// How a request with a list of n devices counts.
    Counts, "\"requests\" or \"devices\"" {
        /// As one.
        Requests = "requests",
        /// As n.
        Devices = "devices",
    }
}

crate::spelled! {
    /// Whether a request that is posted again counts again.
    Resends, "\"count\" or \"once\"" {
        /// Each posting counts.
        Count = "count",
        /// Each RequestID counts once.
        Once = "once",
    }
}

/// So many of a type of request in a rolling period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Threshold {
    /// Service reference variant: one of [`LIMITED_REQUESTS`].
    pub request: String,
    pub period: Period,
    /// What DCC warns at.
    pub warning: Option<u64>,
    /// What is over it DCC quarantines.
    pub quarantine: u64,
    /// Kept for other systems under the same User ID; less than `quarantine`.
    pub reserve: u64,
    /// The share of what is ours at which an alarm is raised.
    pub warn_at: Share,
}

impl Threshold {
    /// What this program may send in a period, at least 1.
    pub fn ours(&self) -> u64 {
        self.quarantine - self.reserve
    }

    /// From this much on an alarm stands: our own share, or DCC's warning where others use up their reserve, whichever is less.
    pub fn alarm_at(&self) -> u64 {
        let own = self.warn_at.of_rounded_up(self.ours());
        self.warning.map_or(own, |w| own.min(w.saturating_sub(self.reserve))).max(1)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Thresholds {
    pub counts: Counts,
    pub resends: Resends,
    /// Added to each period.
    pub margin: Period,
    #[serde(rename = "threshold")]
    pub thresholds: Vec<Threshold>,
}

impl Thresholds {
    /// Those of one type of request, in the order of the file.
    pub fn of<'a>(&'a self, request: &'a str) -> impl Iterator<Item = &'a Threshold> + Clone {
        self.thresholds.iter().filter(move |t| t.request == request)
    }

    /// What a request that names so many devices counts.
    pub fn amount(&self, devices: u64) -> u64 {
        match self.counts {
            Counts::Requests => 1,
            Counts::Devices => devices,
        }
    }
}

/// Reads the file. `counts` must be said, since a wrong guess would be quarantined.
pub(super) fn read_thresholds(place: Place<'_>) -> Read<(Head, Thresholds)> {
    read_document(place, |file| {
        let head = read_head(file)?;
        let counts = file.required("counts", "\"requests\" or \"devices\"", parsed)?;
        let resends = file.optional("resends", "\"count\" or \"once\"", parsed)?.unwrap_or(Resends::Count);
        let margin = file
            .optional("margin", "a length of time such as 1m, at most 1h", |v| period_to(v, MARGIN_MAX_MILLIS))?
            .unwrap_or_else(|| MARGIN_DEFAULT.parse().expect("the default is a period"));
        let mut thresholds: Vec<Threshold> = Vec::new();
        for table in file.tables("threshold", "tables [[threshold]]")? {
            thresholds.push(read_threshold(table, &thresholds)?);
        }
        Ok((head, Thresholds { counts, resends, margin, thresholds }))
    })
}

fn read_threshold(mut table: Section<'_, '_>, before: &[Threshold]) -> Read<Threshold> {
    let requests = LIMITED_REQUESTS.map(|r| format!("\"{r}\"")).join(", ");
    let known = |v: &DeValue<'_>| text(v).filter(|t| LIMITED_REQUESTS.contains(&t.as_str()));
    let longest = THRESHOLD_PERIOD_MAX_DAYS * 86_400_000;
    let amount = |least| move |v: &DeValue<'_>| whole(least, AMOUNT_MAX)(v).map(|n| n as u64);
    let threshold = Threshold {
        request: table.required("request", &format!("a request that this program sends: {requests}"), known)?,
        period: table.required("period", "a length of time such as 24h, more than nothing and at most 31d", |v| {
            period_to(v, longest).filter(|p| *p != Period::ZERO)
        })?,
        warning: table.optional("warning", "a whole number from 1", amount(1))?,
        quarantine: table.required("quarantine", "a whole number from 1", amount(1))?,
        reserve: table.optional("reserve", "a whole number from 0", amount(0))?.unwrap_or(0),
        warn_at: table.optional("warn_at", WARN_AT_WANTED, warn_at)?.unwrap_or(WARN_AT_DEFAULT),
    };
    if threshold.reserve >= threshold.quarantine {
        let problem = format!("{} of {} leave nothing to send", threshold.reserve, threshold.quarantine);
        return Err(table.conflict("reserve", problem, "less than quarantine"));
    }
    if threshold.warning.is_some_and(|w| w > threshold.quarantine) {
        return Err(table.conflict("warning", "it is over quarantine", "at most quarantine"));
    }
    if before.iter().any(|t| t.request == threshold.request && t.period == threshold.period) {
        let problem = format!("{} in {} has a threshold above", threshold.request, threshold.period);
        return Err(table.conflict("period", problem, "each request and period once"));
    }
    table.finish()?;
    Ok(threshold)
}

fn warn_at(value: &DeValue<'_>) -> Option<Share> {
    parsed::<Share>(value).filter(|share| share.hundredths() > 0)
}

fn period_to(value: &DeValue<'_>, most_millis: i64) -> Option<Period> {
    parsed::<Period>(value).filter(|p| p.millis() <= most_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alarm_comes_at_our_share_or_where_dcc_may_warn() {
        let threshold = |warning, reserve| Threshold {
            request: "11.1".into(),
            period: "24h".parse().unwrap(),
            warning,
            quarantine: 100,
            reserve,
            warn_at: "80%".parse().unwrap(),
        };
        assert_eq!((threshold(None, 0).alarm_at(), threshold(None, 20).alarm_at()), (80, 64));
        // Were others to use all of their 20, DCC would warn at 60 of ours.
        assert_eq!((threshold(Some(80), 20).alarm_at(), threshold(Some(10), 20).alarm_at()), (60, 1));
    }
}
