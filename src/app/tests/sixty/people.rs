//! What the incident team does at noon, by chance: on one case, and on all that a filter names. The naive ledger is told the same, and
//! says what should have come of it.

use std::collections::BTreeSet;

use super::{
    super::{OPERATOR, device},
    Sixty,
    check::site_of,
    rules::CLOSING_REASONS,
};
use crate::{
    app::{CaseAction, Meant},
    keys::{CaseFilter, KeyCaseState},
};

const WHY: &str = "the team's round";
const NAMES: [&str; 3] = ["jane", "omar", "li"];

impl Sixty {
    pub(super) async fn people(&mut self, day: i64) {
        let now = self.now();
        if day % 2 == 0 {
            self.escalate_what_is_nobodys(day).await;
        }
        let open = self.sites_with(|state| state.is_open());
        let investigated = self.sites_with(|state| state == KeyCaseState::Investigating);
        if let Some(site) = self.one_of(&open, 70) {
            let assignee = self.people.below(5).checked_sub(1).map(|n| NAMES[n as usize % NAMES.len()].to_string());
            self.act(&[site], CaseAction::Assign { assignee }).await;
        }
        if let Some(site) = self.one_of(&self.sites_with(|_| true), 50) {
            self.act(&[site], CaseAction::Note { text: format!("looked at on day {day}") }).await;
        }
        // Whether or not its line is out, and whether or not it is due.
        let some: Vec<u64> = open.iter().copied().filter(|_| self.people.below(25) == 0).collect();
        if !some.is_empty() {
            self.act(&some, CaseAction::Retry).await;
        }
        if let Some(site) = self.one_of(&investigated, 35) {
            let reason = CLOSING_REASONS[self.people.below(3) as usize].to_string();
            self.act(&[site], CaseAction::Close { reason }).await;
        }
        if let Some(site) = self.one_of(&open, 12) {
            match self.people.below(3) {
                0 => self.tool.was_wrongly_called_well(site, now),
                _ => self.tool.mends(site),
            }
            self.act(&[site], CaseAction::Resolve).await;
        }
        let ended = self.sites_with(|state| !state.is_open());
        if let Some(site) = self.one_of(&ended, 8) {
            self.act(&[site], CaseAction::Reopen).await;
        }
        // Nothing was ever wrong with it, for all that a file says.
        if day == 15 || day == 25 {
            let site = (1..).map(|n| n * 7 + day as u64).find(|n| self.naive.sites[n].cases.is_empty()).expect("one");
            self.act(&[site], CaseAction::Reopen).await;
        }
    }

    fn sites_with(&self, fits: impl Fn(KeyCaseState) -> bool) -> Vec<u64> {
        self.naive.latest().filter(|(_, _, case)| fits(case.state)).map(|(n, ..)| n).collect()
    }

    /// One of them, in so many of a hundred times.
    fn one_of(&mut self, sites: &[u64], of_a_hundred: u64) -> Option<u64> {
        let chance = self.people.below(100);
        let place = self.people.below(sites.len().max(1) as u64) as usize;
        sites.get(place).copied().filter(|_| chance < of_a_hundred)
    }

    /// Does it to some sites, as far as it can be done to each.
    pub(super) async fn act(&mut self, sites: &[u64], action: CaseAction) {
        let now = self.now();
        let fits = sites.iter().copied().filter(|n| self.naive.acts(*n, &action, WHY, OPERATOR, now)).collect();
        let filter = CaseFilter { devices: sites.iter().map(|n| device(*n)).collect(), ..CaseFilter::default() };
        self.do_and_compare(filter, &action, fits).await;
    }

    /// All that are investigated and have no incident become one.
    async fn escalate_what_is_nobodys(&mut self, day: i64) {
        let now = self.now();
        let alone = |(n, _, case): (u64, _, &super::naive::Case)| {
            (case.state == KeyCaseState::Investigating && case.incident.is_none()).then_some(n)
        };
        let nobodys: BTreeSet<u64> = self.naive.latest().filter_map(alone).collect();
        if nobodys.is_empty() {
            return;
        }
        let action = CaseAction::Escalate { incident: format!("INC{day:04}"), team: "metering".into() };
        for n in &nobodys {
            assert!(self.naive.acts(*n, &action, WHY, OPERATOR, now));
        }
        let state = Some(KeyCaseState::Investigating);
        let filter = CaseFilter { state, unescalated: true, ..CaseFilter::default() };
        self.do_and_compare(filter, &action, nobodys).await;
    }

    /// A dry run says to how many, a person confirms that many, and it is done to the sites that the naive ledger names.
    async fn do_and_compare(&mut self, filter: CaseFilter, action: &CaseAction, fits: BTreeSet<u64>) {
        let act = async |meant| self.lab.app.act_on_cases(filter.clone(), action, Some(WHY), meant, OPERATOR).await.unwrap();
        let would = act(Meant::DryRun).await;
        let done = act(Meant::Confirmed(Some(would.count() as u64))).await;
        for acted in [would, done] {
            assert_eq!(acted.devices().map(site_of).collect::<BTreeSet<u64>>(), fits, "{action:?} at {}", self.now());
        }
    }
}
