//! The letter's paragraph 13 as figures, as of a moment: sites the tool handled, how many failed, are still retried, are investigated,
//! and came good. Pure: made from cases as they stood. Promise: retrying, investigating, resolved and closed are always the sites
//! that failed, in the whole and in each part.

use std::collections::BTreeMap;

use serde::Serialize;

use super::KeyCaseState;
use crate::{clock::Time, estate::Cohort, ids::DeviceId};

/// Oldest open cases that are named.
const OLDEST: usize = 10;
const DAY_MILLIS: i64 = 86_400_000;

/// A device's latest case as it stood at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseThen {
    pub device_id: DeviceId,
    pub cohort: Option<Cohort>,
    /// Who held the supply that day; `None`: nobody known.
    pub supplier: Option<String>,
    /// The transitional tool handled the site by then; if not, DCC's message or a person opened the case.
    pub handled: bool,
    pub state: KeyCaseState,
    pub first_seen: Time,
    pub ended_at: Option<Time>,
    pub last_error: Option<String>,
    pub closed_reason: Option<String>,
    pub incident: Option<String>,
}

/// So many sites of a cohort and a supplier that the transitional tool handled by the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handled {
    /// `None`: the site is not loaded.
    pub cohort: Option<Cohort>,
    /// Who held the supply that day; `None`: nobody known.
    pub supplier: Option<String>,
    pub sites: i64,
}

/// Counts of one part of the sites, and the letter's two shares of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Part {
    /// Sites that the transitional tool handled.
    pub handled: i64,
    /// Sites with a case: retrying, investigating, resolved and closed together.
    pub failed: i64,
    /// Of them those that the tool did not handle: DCC's message or a person opened their case.
    pub outside_the_tool: i64,
    pub retrying: i64,
    pub investigating: i64,
    pub resolved: i64,
    pub closed: i64,
    /// Of the sites handled those that failed, in percent with three decimals.
    pub failed_percent: f64,
    /// Of those that failed those still retried, in percent with one decimal.
    pub retrying_percent: f64,
}

impl Part {
    fn add(&mut self, case: &CaseThen) {
        self.failed += 1;
        self.outside_the_tool += i64::from(!case.handled);
        *match case.state {
            KeyCaseState::Retrying => &mut self.retrying,
            KeyCaseState::Investigating => &mut self.investigating,
            KeyCaseState::Resolved => &mut self.resolved,
            KeyCaseState::Closed => &mut self.closed,
        } += 1;
    }

    fn with_shares(mut self) -> Part {
        self.failed_percent = percent(self.failed - self.outside_the_tool, self.handled, 1_000.0);
        self.retrying_percent = percent(self.retrying, self.failed, 10.0);
        self
    }
}

/// An open case that is among the oldest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Oldest {
    pub device_id: DeviceId,
    pub state: KeyCaseState,
    pub first_seen: Time,
    pub days: i64,
    pub last_error: Option<String>,
    pub incident: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KeyReport {
    pub as_of: Time,
    #[serde(flatten)]
    pub all: Part,
    /// `unknown`: the site is not loaded.
    pub by_cohort: BTreeMap<String, Part>,
    /// By who held the supply that day; `unknown`: nobody known.
    pub by_supplier: BTreeMap<String, Part>,
    /// Open cases by their last error: what can be done for them differs.
    pub open_by_error: BTreeMap<String, i64>,
    pub closed_by_reason: BTreeMap<String, i64>,
    pub oldest: Vec<Oldest>,
    /// Since the earlier moment that was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Since>,
}

/// What changed since an earlier moment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Since {
    pub moment: Time,
    /// As it stood then.
    #[serde(flatten)]
    pub then: Part,
    /// Cases that came good between the two.
    pub resolved_since: i64,
    pub closed_since: i64,
}

fn percent(part: i64, whole: i64, decimals: f64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 * 100.0 / whole as f64 * decimals).round() / decimals }
}

/// Makes the report from what was known at `as_of`: sites handled, and each device's latest case.
pub fn report(as_of: Time, handled: &[Handled], cases: &[CaseThen]) -> KeyReport {
    let mut all = Part::default();
    let (mut by_cohort, mut by_supplier) = (BTreeMap::<String, Part>::new(), BTreeMap::<String, Part>::new());
    let (mut open_by_error, mut closed_by_reason) = (BTreeMap::new(), BTreeMap::new());
    let unknown = || "unknown".to_string();
    let cohort_of = |cohort: Option<Cohort>| cohort.map_or_else(unknown, |c| c.to_string());
    for group in handled {
        all.handled += group.sites;
        by_cohort.entry(cohort_of(group.cohort)).or_default().handled += group.sites;
        by_supplier.entry(group.supplier.clone().unwrap_or_else(unknown)).or_default().handled += group.sites;
    }
    let mut open: Vec<&CaseThen> = Vec::new();
    for case in cases {
        all.add(case);
        by_cohort.entry(cohort_of(case.cohort)).or_default().add(case);
        by_supplier.entry(case.supplier.clone().unwrap_or_else(unknown)).or_default().add(case);
        if case.state.is_open() {
            *open_by_error.entry(case.last_error.clone().unwrap_or_else(unknown)).or_default() += 1;
            open.push(case);
        }
        if case.state == KeyCaseState::Closed {
            *closed_by_reason.entry(case.closed_reason.clone().unwrap_or_else(unknown)).or_default() += 1;
        }
    }
    open.sort_by_key(|c| (c.first_seen, c.device_id));
    let oldest = open.iter().take(OLDEST).map(|c| Oldest {
        device_id: c.device_id,
        state: c.state,
        first_seen: c.first_seen,
        days: (as_of.0 - c.first_seen.0) / DAY_MILLIS,
        last_error: c.last_error.clone(),
        incident: c.incident.clone(),
    });
    let shared = |parts: BTreeMap<String, Part>| parts.into_iter().map(|(name, part)| (name, part.with_shares())).collect();
    KeyReport {
        as_of,
        oldest: oldest.collect(),
        all: all.with_shares(),
        by_cohort: shared(by_cohort),
        by_supplier: shared(by_supplier),
        open_by_error,
        closed_by_reason,
        since: None,
    }
}

impl KeyReport {
    /// The same with what changed since `before`, which was made from `cases` of now and the moment of then.
    pub fn compared(mut self, before: &KeyReport, cases: &[CaseThen]) -> KeyReport {
        let ended =
            |state| cases.iter().filter(|c| c.state == state && c.ended_at.is_some_and(|at| at > before.as_of)).count() as i64;
        self.since = Some(Since {
            moment: before.as_of,
            then: before.all,
            resolved_since: ended(KeyCaseState::Resolved),
            closed_since: ended(KeyCaseState::Closed),
        });
        self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::Eui;

    fn case(n: u64, state: KeyCaseState, cohort: Option<Cohort>) -> CaseThen {
        CaseThen {
            device_id: Eui(n),
            cohort,
            supplier: n.is_multiple_of(2).then(|| "EELC".to_string()),
            handled: !n.is_multiple_of(5),
            state,
            first_seen: Time(n as i64),
            ended_at: None,
            last_error: None,
            closed_reason: None,
            incident: None,
        }
    }

    proptest! {
        #[test]
        fn the_figures_add_up(states in prop::collection::vec((prop::sample::select(KeyCaseState::ALL), prop::option::of(prop::sample::select(Cohort::ALL))), 0..60)) {
            let cases: Vec<CaseThen> = states.iter().enumerate().map(|(n, (s, c))| case(n as u64, *s, *c)).collect();
            let groups: Vec<Handled> = [Some(Cohort::Ioc), Some(Cohort::Mds), None]
                .into_iter()
                .flat_map(|cohort| [Some("EELC".to_string()), None].map(|supplier| Handled { cohort, supplier, sites: 1_000 }))
                .collect();
            let report = report(Time(1), &groups, &cases);
            prop_assert_eq!(report.all.handled, 6_000);
            prop_assert_eq!(report.all.outside_the_tool, cases.iter().filter(|c| !c.handled).count() as i64);
            let sum = |p: &Part| p.retrying + p.investigating + p.resolved + p.closed;
            prop_assert_eq!(report.all.failed, cases.len() as i64);
            for part in report.by_cohort.values().chain(report.by_supplier.values()).chain([&report.all]) {
                prop_assert_eq!(part.failed, sum(part));
            }
            for parts in [&report.by_cohort, &report.by_supplier] {
                prop_assert_eq!(parts.values().map(|p| p.failed).sum::<i64>(), report.all.failed);
                prop_assert_eq!(parts.values().map(|p| p.handled).sum::<i64>(), report.all.handled);
                prop_assert_eq!(parts.values().map(|p| p.outside_the_tool).sum::<i64>(), report.all.outside_the_tool);
            }
            prop_assert_eq!(report.open_by_error.values().sum::<i64>(), report.all.retrying + report.all.investigating);
            prop_assert!(report.oldest.is_sorted_by_key(|o| o.first_seen) && report.oldest.len() <= OLDEST);
        }
    }
}
