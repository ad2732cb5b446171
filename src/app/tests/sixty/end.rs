//! The end of the sixty days: every report made again, every case where it should have ended, and the figures in a few lines.

use super::{
    CALM_FROM_DAY, DAYS, Sixty,
    check::{Ledger, report_agrees},
    naive::Site,
    rules::DAY,
};
use crate::keys::{KeyCaseState, KeyReport};

/// From so many sites on chance has met everything there is to meet.
const ENOUGH_SITES: usize = 10_000;

/// What is left.
pub struct End {
    pub ledger: Ledger,
    pub reports: Vec<KeyReport>,
    pub summary: String,
    pub deaths: u64,
}

impl Sixty {
    pub(super) async fn end(self) -> End {
        self.look_back().await;
        self.every_case_ended_where_it_should();
        self.figures_agree().await;
        if self.naive.sites.len() >= ENOUGH_SITES {
            self.the_letters_shares();
        }
        let summary = self.summary();
        let ledger = Ledger::read(&self.lab.app).await.renumbered();
        End { ledger, reports: self.reports, summary, deaths: self.deaths.map_or(0, |d| d.count) }
    }

    /// Each day's report is made again: where all results of then were known then, it says the same to the word; where some came later,
    /// its figures are those that the naive ledger has for that day now.
    async fn look_back(&self) {
        let mut same = 0;
        for then in &self.reports {
            let again = self.lab.app.key_report(then.as_of, None).await.unwrap();
            report_agrees(&again, &self.naive);
            if !self.heard.iter().any(|(at, heard)| *at <= then.as_of && *heard > then.as_of) {
                assert_eq!(again, *then);
                same += 1;
            }
        }
        assert!(same >= (DAYS - CALM_FROM_DAY) / 2, "only {same} days of which everything was known");
    }

    fn every_case_ended_where_it_should(&self) {
        let today = self.now().london_day();
        assert!(self.tool.is_quiet(), "DCC has said everything");
        let gone = |site: &Site| site.supplier(today) != "EELC";
        for (n, site, case) in self.naive.latest() {
            let well = self.tool.patients[&n].well;
            let rightly = match case.state {
                KeyCaseState::Resolved => well,
                KeyCaseState::Closed => case.closed_reason.is_some(),
                KeyCaseState::Investigating => !well,
                // Nobody asks for another supplier's, until it is too old.
                KeyCaseState::Retrying => gone(site),
            };
            assert!(rightly, "site {n}, which is {}well: {case:#?}", if well { "" } else { "not " });
        }
    }

    async fn figures_agree(&self) {
        let stats = self.lab.app.key_stats().await.unwrap();
        let of = |state| self.naive.cases().filter(|(.., case)| case.state == state).count() as i64;
        let (c, open) = (stats.cases, of(KeyCaseState::Retrying) + of(KeyCaseState::Investigating));
        assert_eq!((c.resolved, c.closed, stats.open), (of(KeyCaseState::Resolved), of(KeyCaseState::Closed), open));
        assert_eq!(stats.handled_by_the_tool, self.naive.handled.len() as i64);
        let month_ago = self.now().plus_millis(-30 * DAY);
        let lately = self.naive.cases().filter(|(.., c)| c.state == KeyCaseState::Resolved && c.ended_at > Some(month_ago));
        assert_eq!(stats.resolved_by_day.values().sum::<i64>(), lately.count() as i64);
        let ages = self.naive.cases().filter(|(.., c)| c.state.is_open()).map(|(.., c)| (self.now().0 - c.first_seen.0) / DAY);
        assert_eq!(stats.age_days.max, ages.max().unwrap_or(0));
    }

    /// 0.3% of the sites, two thirds of which come good; and the sixty days met what they are about.
    fn the_letters_shares(&self) {
        let report = self.reports.last().expect("sixty days");
        let share = report.all.resolved as f64 / report.all.failed as f64;
        assert!((0.55..0.78).contains(&share), "about two thirds come good: {:?}", report.all);
        assert!((0.25..0.40).contains(&report.all.failed_percent), "about 0.3%: {}", report.all.failed_percent);
        let [free, bound] = self.bound;
        assert!(free > 0 && bound > 0, "the budget bound at {bound} requests, and not at {free}");
        let met = [self.tool.lines_unanswered, self.tool.told_twice, self.tool.relapses];
        assert!(met.iter().all(|n| *n > 0), "{met:?}");
    }

    fn summary(&self) -> String {
        let report = self.reports.last().expect("sixty days");
        let (all, tool, [free, bound]) = (&report.all, &self.tool, self.bound);
        let every = self.naive.cases().count();
        let given_up = self.naive.cases().filter(|(.., c)| c.events.iter().any(|e| e.2.as_str() == "give-up")).count();
        let gone: i64 = report.by_supplier.iter().filter(|(mpid, _)| *mpid != "EELC").map(|(_, part)| part.failed).sum();
        [
            format!("{} sites handled, {} failed ({}%)", all.handled, all.failed, report.all.failed_percent),
            format!(
                "{} retried, {} investigated, {} resolved, {} closed",
                all.retrying, all.investigating, all.resolved, all.closed
            ),
            format!("{every} cases, {given_up} given up, {gone} sites another supplier's"),
            format!(
                "{} lines on {} requests, {bound} of them cut by the budget, {free} not",
                self.naive.lines_made.len(),
                self.naive.requests
            ),
            format!("{} never answered, {} told twice, {} relapses", tool.lines_unanswered, tool.told_twice, tool.relapses),
        ]
        .join("\n")
    }
}
