//! What the ledger must say, worked out the long way: every site's results from the first to the last, each time anew. It is told only
//! what an outsider knows: files as they are imported, requests as they are made, what people do. It shares words with the program, and
//! no rule.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    super::OPERATOR,
    rules::{ANSWER_DAYS, DAY, HOUR, Rule, rule},
};
use crate::{
    app::CaseAction,
    clock::{Day, Time},
    estate::{Cohort, KeyStatus},
    keys::{CaseVerb, KeyCaseState},
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub status: KeyStatus,
    pub detail: Option<String>,
    pub by_hand: bool,
}

/// A line of a re-run request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub run: i64,
    pub rule: &'static str,
    pub at: Time,
    pub ended_at: Option<Time>,
    pub outcome: Option<String>,
}

/// Its outcome, detail, and who.
pub type Try = (String, Option<String>, Option<String>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    pub state: KeyCaseState,
    pub opened_at: Time,
    pub first_seen: Time,
    pub last_attempt: Time,
    pub attempts: i64,
    pub last_error: Option<String>,
    /// Of the case before it, which is its own where a person opened it.
    pub error_before: Option<String>,
    pub ended_at: Option<Time>,
    pub closed_reason: Option<String>,
    pub incident: Option<String>,
    pub team: Option<String>,
    pub assignee: Option<String>,
    /// A person wants it tried whatever the timetable says.
    pub now_please: bool,
    /// By moment and kind: outcome, detail, who.
    pub tries: BTreeMap<(Time, &'static str), Try>,
    /// When, who, what, and the words.
    pub events: Vec<(Time, String, CaseVerb, String)>,
    pub lines: Vec<Line>,
}

impl Case {
    pub fn open_line(&self) -> Option<&Line> {
        self.lines.iter().find(|l| l.ended_at.is_none())
    }

    fn note(&mut self, now: Time, who: &str, verb: CaseVerb, text: &str) {
        self.events.push((now, who.into(), verb, text.into()));
    }
}

#[derive(Debug, Clone)]
pub struct Site {
    pub cohort: Cohort,
    /// Who holds the supply from which day on, oldest first.
    pub suppliers: Vec<(Day, &'static str)>,
    pub said: BTreeMap<Time, Said>,
    pub cases: Vec<Case>,
}

impl Site {
    pub fn supplier(&self, day: Day) -> &'static str {
        self.suppliers.iter().rev().find(|(from, _)| *from <= day).expect("somebody always has it").1
    }

    pub fn rule(&self, case: &Case) -> &'static Rule {
        rule(self.cohort, case.last_error.as_deref())
    }

    fn is_ill(&self) -> bool {
        self.cases.last().is_some_and(|c| c.state.is_open())
    }

    /// The first success, after a moment, that ends an open case, or a run of failures that was never one.
    fn good_news(&self, after: Time) -> Option<Time> {
        let good = |(at, s): (&Time, &Said)| (s.status == KeyStatus::Updated).then_some(*at);
        if let Some(case) = self.cases.last().filter(|_| self.is_ill()) {
            return self.said.range(case.last_attempt.plus_millis(1)..).find_map(good);
        }
        let since = self.since().max(after);
        let (ill, _) = self.said.range(since..).find(|(_, s)| s.status != KeyStatus::Updated)?;
        self.said.range(ill..).find_map(good)
    }

    /// What was said before is dealt with: a case ended.
    fn since(&self) -> Time {
        self.cases.iter().filter_map(|c| c.ended_at).max().map_or(Time(i64::MIN), |at| at.plus_millis(1))
    }

    /// The last run of failures among what was said since the last case ended and until a moment, and the success after it.
    fn latest_run(&self, until: Time) -> Option<Run> {
        let since: Vec<(Time, &Said)> = self.said.range(self.since()..=until).map(|(at, s)| (*at, s)).collect();
        let good = |(_, s): &(Time, &Said)| s.status == KeyStatus::Updated;
        let last = since.iter().rposition(|s| !good(s))?;
        let first = since[..last].iter().rposition(good).map_or(0, |n| n + 1);
        let failures = &since[first..=last];
        Some(Run {
            first: failures[0].0,
            last: failures[failures.len() - 1].0,
            failures: failures.len() as i64,
            error: failures.iter().rev().find_map(|(_, s)| s.detail.clone().filter(|_| !s.by_hand)),
            began_by_hand: failures[0].1.by_hand,
            investigated: failures.iter().any(|(_, s)| s.status == KeyStatus::Investigating),
            came_good: since.get(last + 1).map(|s| s.0),
            by_hand: since[first..].iter().any(|(_, s)| s.by_hand),
        })
    }

    fn draw_conclusions(&mut self, until: Time, now: Time) {
        let Some(run) = self.latest_run(until) else { return };
        if !self.is_ill() {
            let needs_the_tool = self.cohort != Cohort::Secure || run.by_hand;
            if !needs_the_tool {
                return;
            }
            let before = self.cases.last().and_then(|case| case.last_error.clone());
            self.cases.push(opened(&run, before, now));
        }
        conclude(self.cases.last_mut().expect("one is open"), &run, &self.said, until, now);
    }
}

struct Run {
    first: Time,
    last: Time,
    failures: i64,
    error: Option<String>,
    investigated: bool,
    came_good: Option<Time>,
    by_hand: bool,
    began_by_hand: bool,
}

#[derive(Default)]
pub struct Naive {
    pub sites: BTreeMap<u64, Site>,
    /// Sites of which something bad was ever said.
    pub unwell: BTreeSet<u64>,
    /// When the tool first tried each site, by the files.
    pub handled: HashMap<u64, Time>,
    /// Re-run requests that were made.
    pub requests: i64,
    /// Every line ever made, by when.
    pub lines_made: Vec<Time>,
}

impl Naive {
    pub fn hears(&mut self, site: u64, at: Time, said: Said) {
        if said.status != KeyStatus::Updated {
            self.unwell.insert(site);
        }
        if !said.by_hand {
            let first = self.handled.entry(site).or_insert(at);
            *first = at.min(*first);
        }
        self.sites.get_mut(&site).expect("a known site").said.insert(at, said);
    }

    /// Opens, moves on and ends the cases of every site.
    pub fn draw_conclusions(&mut self, now: Time) {
        for n in &self.unwell {
            let site = self.sites.get_mut(n).expect("a known site");
            // What was said after the case ended is the next one's.
            let mut after = Time(i64::MIN);
            while let Some(until) = site.good_news(after) {
                site.draw_conclusions(until, now);
                after = until;
            }
            site.draw_conclusions(Time(i64::MAX), now);
        }
    }

    /// What time alone does. Gives how many cases were given up and how many lines lapsed.
    pub fn time_passes(&mut self, now: Time) -> (u64, u64) {
        let (mut given_up, mut lapsed) = (0, 0);
        for n in &self.unwell {
            let site = self.sites.get_mut(n).expect("a known site");
            let cohort = site.cohort;
            for case in &mut site.cases {
                for line in case.lines.iter_mut().filter(|l| l.ended_at.is_none()) {
                    if now.0 - line.at.0 >= ANSWER_DAYS * DAY {
                        (line.ended_at, line.outcome) = (Some(now), Some("lapsed".into()));
                        lapsed += 1;
                    }
                }
                let rule = rule(cohort, case.last_error.as_deref());
                let used_up = case.attempts >= rule.most_attempts;
                let too_old = now.0 - case.opened_at.0 >= rule.oldest_days * DAY;
                if case.state == KeyCaseState::Retrying && !case.now_please && (used_up || too_old) {
                    case.state = KeyCaseState::Investigating;
                    case.note(now, "engine", CaseVerb::GiveUp, if used_up { "attempts used up" } else { "too old" });
                    given_up += 1;
                }
            }
        }
        (given_up, lapsed)
    }

    /// A site is on the request that is made now.
    pub fn is_asked(&mut self, site: u64, now: Time, who: &str) {
        let run = self.requests;
        let site = self.sites.get_mut(&site).expect("a known site");
        let cohort = site.cohort;
        let case = site.cases.last_mut().expect("it has a case");
        let rule = rule(cohort, case.last_error.as_deref()).name;
        case.lines.push(Line { run, rule, at: now, ended_at: None, outcome: None });
        case.tries.insert((now, "requested"), ("asked".into(), Some(format!("re-run request {run}")), Some(who.into())));
        case.now_please = false;
        self.lines_made.push(now);
    }

    pub fn lines_within_the_hour(&self, now: Time) -> usize {
        self.lines_made.iter().rev().take_while(|at| now.0 - at.0 < HOUR).count()
    }

    /// A person does something to a site's latest case. Gives whether that can be done.
    pub fn acts(&mut self, n: u64, action: &CaseAction, why: &str, who: &str, now: Time) -> bool {
        let site = self.sites.get_mut(&n).expect("a known site");
        let is_open = site.is_ill();
        let asked = site.cases.last().is_some_and(|c| c.open_line().is_some());
        let possible = match action {
            CaseAction::Note { .. } => !site.cases.is_empty(),
            CaseAction::Reopen => !is_open,
            CaseAction::Retry => is_open && !asked && site.supplier(now.london_day()) == "EELC",
            _ => is_open,
        };
        if !possible {
            return false;
        }
        let words = match action {
            CaseAction::Escalate { incident, team } => format!("{incident} to {team}: {why}"),
            CaseAction::Assign { assignee } => format!("{}: {why}", assignee.as_deref().unwrap_or("nobody")),
            CaseAction::Note { text } => format!("{text}: {why}"),
            CaseAction::Close { reason } => format!("{reason}: {why}"),
            _ => why.to_string(),
        };
        let later_than_all = {
            let said = site.said.keys().next_back().copied();
            let ended = site.cases.iter().filter_map(|c| c.ended_at).max();
            said.into_iter().chain(ended).map(|t| t.plus_millis(1)).chain([now]).max().expect("now is one")
        };
        if let Some(case) = site.cases.last_mut() {
            case.note(now, who, action.verb(), &words);
            match action {
                CaseAction::Retry => case.now_please = true,
                CaseAction::Escalate { incident, team } => {
                    (case.incident, case.team) = (Some(incident.clone()), Some(team.clone()));
                    (case.state, case.now_please) = (KeyCaseState::Investigating, false);
                }
                CaseAction::Assign { assignee } => case.assignee = assignee.clone(),
                CaseAction::Close { reason } => {
                    (case.state, case.ended_at, case.now_please) = (KeyCaseState::Closed, Some(now), false);
                    case.closed_reason = Some(reason.clone());
                    for line in case.lines.iter_mut().filter(|l| l.ended_at.is_none()) {
                        (line.ended_at, line.outcome) = (Some(now), Some("withdrawn".into()));
                    }
                }
                _ => {}
            }
        }
        let status = match action {
            CaseAction::Resolve => KeyStatus::Updated,
            CaseAction::Reopen => KeyStatus::Failed,
            _ => return true,
        };
        self.hears(n, later_than_all, Said { status, detail: Some(why.into()), by_hand: true });
        self.draw_conclusions(now);
        match self.sites.get_mut(&n).expect("a known site").cases.as_mut_slice() {
            [.., old, new] if *action == CaseAction::Reopen => {
                (new.incident, new.team, new.assignee) = (old.incident.clone(), old.team.clone(), old.assignee.clone());
            }
            [first] if *action == CaseAction::Reopen => first.note(now, who, CaseVerb::Reopen, &words),
            _ => {}
        }
        true
    }

    /// The sites that may have cases.
    pub fn patients(&self) -> impl Iterator<Item = (u64, &Site)> {
        self.unwell.iter().map(|n| (*n, &self.sites[n]))
    }

    pub fn cases(&self) -> impl Iterator<Item = (u64, &Site, &Case)> {
        self.patients().flat_map(|(n, site)| site.cases.iter().map(move |case| (n, site, case)))
    }

    /// The latest case of each site that has one.
    pub fn latest(&self) -> impl Iterator<Item = (u64, &Site, &Case)> {
        self.patients().filter_map(|(n, site)| site.cases.last().map(|case| (n, site, case)))
    }
}

fn opened(run: &Run, error_before: Option<String>, now: Time) -> Case {
    Case {
        state: KeyCaseState::Retrying,
        opened_at: now,
        first_seen: run.first,
        last_attempt: run.last,
        attempts: 0,
        last_error: None,
        error_before,
        ended_at: None,
        closed_reason: None,
        incident: None,
        team: None,
        assignee: None,
        now_please: false,
        tries: BTreeMap::new(),
        events: Vec::new(),
        lines: Vec::new(),
    }
}

/// An open case as the run of failures would have it.
fn conclude(case: &mut Case, run: &Run, said: &BTreeMap<Time, Said>, until: Time, now: Time) {
    case.first_seen = case.first_seen.min(run.first);
    case.last_attempt = run.came_good.unwrap_or(run.last);
    case.attempts = run.failures + i64::from(run.came_good.is_some());
    case.last_error = run.error.clone().or_else(|| case.error_before.clone().filter(|_| run.began_by_hand));
    case.ended_at = run.came_good;
    if run.came_good.is_some() {
        (case.state, case.now_please) = (KeyCaseState::Resolved, false);
    } else if run.investigated {
        case.state = KeyCaseState::Investigating;
    }
    for (at, said) in said.range(run.first..=until) {
        let kind = if said.by_hand { "hand" } else { "result" };
        case.tries.insert((*at, kind), (said.status.to_string(), said.detail.clone(), said.by_hand.then(|| OPERATOR.into())));
    }
    for line in case.lines.iter_mut().filter(|l| l.ended_at.is_none()) {
        if case.last_attempt > line.at || case.ended_at.is_some() {
            let answer = said.range(line.at.plus_millis(1)..).next_back();
            line.outcome = Some(answer.map_or("withdrawn".to_string(), |(_, s)| s.status.to_string()));
            line.ended_at = Some(now);
        }
    }
}
