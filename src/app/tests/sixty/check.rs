//! The ledger of the program beside the naive one: every case, attempt, line and event, and the figures of a day.

use std::collections::BTreeMap;

use super::{
    super::device,
    naive::{Case, Naive, Site},
    rules::{ANSWER_DAYS, DAY},
};
use crate::{
    app::App,
    clock::Time,
    ids::DeviceId,
    keys::{
        self, CaseFilter, CaseOrder, KeyCase, KeyCaseState, KeyReport, Part,
        store::{KeyAttempt, KeyEvent, KeyRequest},
    },
};

/// Everything the program has on missing keys.
#[derive(Debug, PartialEq, Eq)]
pub struct Ledger {
    pub cases: Vec<KeyCase>,
    attempts: Vec<KeyAttempt>,
    requests: Vec<KeyRequest>,
    events: Vec<KeyEvent>,
}

pub fn site_of(device: DeviceId) -> u64 {
    device.0 - self::device(0).0
}

/// Every case, oldest first.
pub async fn cases(app: &App) -> Vec<KeyCase> {
    let mut tx = app.db.read().await.unwrap();
    let (order, day) = ((CaseOrder::Case, false), app.now().london_day());
    keys::store::list(&mut tx, &CaseFilter::default(), order, day, None, 1_000_000).await.unwrap().0
}

/// What is stored of one case.
type OfCase<'f> = (Vec<&'f KeyAttempt>, Vec<&'f KeyRequest>, Vec<&'f KeyEvent>);

impl Ledger {
    pub async fn read(app: &App) -> Ledger {
        let cases = cases(app).await;
        let ids: Vec<i64> = cases.iter().map(|c| c.id).collect();
        let mut tx = app.db.read().await.unwrap();
        let attempts = keys::store::attempts(&mut tx, &ids).await.unwrap();
        let requests = keys::store::requests_of(&mut tx, &ids).await.unwrap();
        let events = keys::store::events(&mut tx, &ids).await.unwrap();
        Ledger { cases, attempts, requests, events }
    }

    /// The same with cases counted from 1: numbers that a transaction took and gave back are not missed.
    pub fn renumbered(mut self) -> Ledger {
        let ranks: BTreeMap<i64, i64> = self.cases.iter().zip(1..).map(|(c, n)| (c.id, n)).collect();
        for case in &mut self.cases {
            case.id = ranks[&case.id];
            case.previous = case.previous.map(|id| ranks[&id]);
        }
        self.attempts.iter_mut().for_each(|a| a.case = ranks[&a.case]);
        self.requests.iter_mut().for_each(|r| r.case = ranks[&r.case]);
        self.events.iter_mut().for_each(|e| e.case = ranks[&e.case]);
        self.attempts.sort_by(|a, b| (a.case, a.at, a.kind.as_str()).cmp(&(b.case, b.at, b.kind.as_str())));
        self
    }

    /// The lines made at a moment, in the order of the file.
    pub fn asked_at(&self, at: Time) -> Vec<(u64, i64)> {
        let sites: BTreeMap<i64, u64> = self.cases.iter().map(|c| (c.id, site_of(c.device_id))).collect();
        self.requests.iter().filter(|r| r.requested_at == at).filter_map(|r| Some((sites[&r.case], r.request?))).collect()
    }

    /// Every case to the last attempt, line and word.
    pub fn agrees_with(&self, naive: &Naive, now: Time) {
        cases_agree(&self.cases, naive, now);
        let mut of_case: BTreeMap<i64, OfCase<'_>> = BTreeMap::new();
        for a in &self.attempts {
            of_case.entry(a.case).or_default().0.push(a);
        }
        for r in &self.requests {
            of_case.entry(r.case).or_default().1.push(r);
        }
        for e in &self.events {
            of_case.entry(e.case).or_default().2.push(e);
        }
        for (found, n, _, wanted) in pairs(&self.cases, naive) {
            let (attempts, requests, events) = of_case.remove(&found.id).unwrap_or_default();
            let text = |t: &Option<String>| t.clone().unwrap_or_default();
            let mut tries: Vec<String> = attempts
                .iter()
                .map(|a| format!("{} {} {} {} {}", a.at, a.kind, a.outcome, text(&a.detail), text(&a.who)))
                .collect();
            let mut naively: Vec<String> = wanted
                .tries
                .iter()
                .map(|((at, kind), (outcome, detail, who))| format!("{at} {kind} {outcome} {} {}", text(detail), text(who)))
                .collect();
            tries.sort_unstable();
            naively.sort_unstable();
            assert_eq!(tries, naively, "attempts of site {n} at {now}: {found:?}");
            let lines: Vec<_> =
                requests.iter().map(|r| (r.request, r.rule.as_str(), r.requested_at, r.ended_at, &r.outcome)).collect();
            let naively: Vec<_> = wanted.lines.iter().map(|l| (Some(l.run), l.rule, l.at, l.ended_at, &l.outcome)).collect();
            assert_eq!(lines, naively, "lines of site {n} at {now}: {found:?}");
            assert!(lines.iter().filter(|l| l.3.is_none()).count() <= 1, "site {n} is on two open lines");
            let told: Vec<_> = events.iter().map(|e| (e.at, e.who.clone(), e.verb, e.text.clone())).collect();
            assert_eq!(told, wanted.events, "events of site {n} at {now}: {found:?}");
        }
    }
}

/// The program's cases and the naive ones, the same of each site together.
fn pairs<'a>(cases: &'a [KeyCase], naive: &'a Naive) -> Vec<(&'a KeyCase, u64, &'a Site, &'a Case)> {
    let mut found: BTreeMap<u64, Vec<&KeyCase>> = BTreeMap::new();
    for case in cases {
        found.entry(site_of(case.device_id)).or_default().push(case);
    }
    let mut all = Vec::new();
    for (n, site) in naive.patients() {
        let of_site = found.remove(&n).unwrap_or_default();
        assert_eq!(of_site.len(), site.cases.len(), "site {n} has these cases: {of_site:#?}, and not {:#?}", site.cases);
        all.extend(of_site.into_iter().zip(&site.cases).map(|(case, naive)| (case, n, site, naive)));
    }
    assert!(found.is_empty(), "these have cases and should not: {found:?}");
    all
}

/// Every case where it stands, and its next attempt within what the timetable allows.
pub fn cases_agree(cases: &[KeyCase], naive: &Naive, now: Time) {
    let mut before: BTreeMap<u64, i64> = BTreeMap::new();
    for (found, n, site, wanted) in pairs(cases, naive) {
        let expected = KeyCase {
            state: wanted.state,
            attempts: wanted.attempts,
            first_seen: wanted.first_seen,
            last_attempt: Some(wanted.last_attempt),
            last_error: wanted.last_error.clone(),
            incident: wanted.incident.clone(),
            team: wanted.team.clone(),
            assignee: wanted.assignee.clone(),
            closed_reason: wanted.closed_reason.clone(),
            ended_at: wanted.ended_at,
            cohort: Some(site.cohort),
            previous: before.insert(n, found.id),
            ..found.clone()
        };
        assert_eq!(*found, expected, "site {n} at {now}: {wanted:#?}");
        if let Err(why) = next_is_right(found, site, wanted) {
            panic!("site {n} at {now}: {why}: {found:#?} {wanted:#?}");
        }
    }
}

fn next_is_right(found: &KeyCase, site: &Site, case: &Case) -> Result<(), String> {
    let next = found.next_attempt;
    let is = |right: bool, why: &str| if right { Ok(()) } else { Err(format!("its next attempt is {next:?}: {why}")) };
    if !case.state.is_open() {
        return is(next.is_none(), "it has ended");
    }
    if case.now_please {
        return is(next.is_some(), "somebody wants it now");
    }
    if case.state == KeyCaseState::Investigating {
        return is(next.is_none(), "it is investigated");
    }
    let rule = site.rule(case);
    if case.attempts >= rule.most_attempts {
        return is(next.is_none(), "its attempts are used up");
    }
    let (soonest, latest) = rule.due(case.last_attempt, case.attempts);
    let too_old = case.opened_at.plus_millis(rule.oldest_days * DAY);
    let Some(next) = next else { return is(latest >= too_old, "it is not too old before that") };
    if let Some(line) = case.open_line().filter(|l| l.at > case.last_attempt) {
        let lapses = line.at.plus_millis(ANSWER_DAYS * DAY);
        return is(next >= lapses && next <= lapses.max(latest), "its line lapses first");
    }
    is((soonest..=latest).contains(&next), &format!("not from {soonest} to {latest}"))?;
    is(next < too_old, "it is too old then")?;
    is(rule.is_open(next), "not within the window")
}

/// How a case stood at a moment, by what is known of it now.
fn then(case: &Case, at: Time) -> KeyCaseState {
    if case.ended_at.is_some_and(|ended| ended <= at) {
        return case.state;
    }
    let by_result = case.tries.iter().any(|((t, _), (outcome, ..))| *t <= at && outcome == "investigating");
    let by_word = case.events.iter().any(|(t, _, verb, _)| *t <= at && matches!(verb.as_str(), "escalate" | "give-up"));
    if by_result || by_word { KeyCaseState::Investigating } else { KeyCaseState::Retrying }
}

/// Who holds the sites of the cases today, as the filter finds them.
pub async fn holders_agree(app: &App, naive: &Naive) {
    let day = app.now().london_day();
    let mut tx = app.db.read().await.unwrap();
    for mpid in ["EELC", "OTHR"] {
        let filter = CaseFilter { mpid: mpid.parse().ok(), ..CaseFilter::default() };
        let (found, _) = keys::store::list(&mut tx, &filter, (CaseOrder::NextAttempt, true), day, None, 1_000_000).await.unwrap();
        let wanted = naive.cases().filter(|(_, site, _)| site.supplier(day) == mpid).count();
        assert_eq!(found.len(), wanted, "{mpid} on {day}");
    }
}

/// The report's figures add up, and are those of the naive ledger.
pub fn report_agrees(report: &KeyReport, naive: &Naive) {
    let at = report.as_of;
    let sum = |p: &Part| p.retrying + p.investigating + p.resolved + p.closed;
    for part in report.by_cohort.values().chain(report.by_supplier.values()).chain([&report.all]) {
        assert_eq!(part.failed, sum(part), "{at}: {report:#?}");
    }
    let (mut cohorts, mut suppliers) = (BTreeMap::<String, Part>::new(), BTreeMap::<String, Part>::new());
    let (mut errors, mut reasons) = (BTreeMap::<String, i64>::new(), BTreeMap::<String, i64>::new());
    let (mut all, mut open) = (Part::default(), Vec::new());
    let handled = |n: &u64| naive.handled.get(n).is_some_and(|first| *first <= at);
    for (n, site) in naive.patients() {
        let Some(case) = site.cases.iter().rev().find(|c| c.first_seen <= at) else { continue };
        let state = then(case, at);
        let supplier = site.supplier(at.london_day()).to_string();
        for part in [&mut all, cohorts.entry(site.cohort.to_string()).or_default(), suppliers.entry(supplier).or_default()] {
            count(part, state);
            part.outside_the_tool += i64::from(!handled(&n));
        }
        if state.is_open() {
            let error =
                case.tries.iter().rev().find(|((t, kind), (outcome, ..))| *t <= at && *kind == "result" && outcome != "updated");
            let by_hand = case.tries.contains_key(&(case.first_seen, "hand"));
            // Each failure of the tool has its words; what a person opened has those of the case before it.
            let error = match error {
                Some((_, (_, detail, _))) => detail.clone().expect("its words"),
                None => case.error_before.clone().filter(|_| by_hand).unwrap_or_else(|| "unknown".into()),
            };
            *errors.entry(error).or_default() += 1;
            open.push(case.first_seen);
        } else if state == KeyCaseState::Closed {
            *reasons.entry(case.closed_reason.clone().unwrap()).or_default() += 1;
        }
    }
    for site in naive.sites.iter().filter(|(n, _)| handled(n)).map(|(_, site)| site) {
        let supplier = site.supplier(at.london_day()).to_string();
        for part in [&mut all, cohorts.entry(site.cohort.to_string()).or_default(), suppliers.entry(supplier).or_default()] {
            part.handled += 1;
        }
    }
    for part in cohorts.values_mut().chain(suppliers.values_mut()).chain([&mut all]) {
        shares(part);
    }
    assert_eq!((&report.all, &report.by_cohort, &report.by_supplier), (&all, &cohorts, &suppliers), "{at}");
    assert_eq!((&report.open_by_error, &report.closed_by_reason), (&errors, &reasons), "{at}");
    for parts in [&report.by_cohort, &report.by_supplier] {
        assert_eq!(parts.values().map(|p| p.failed).sum::<i64>(), report.all.failed, "{at}");
    }
    open.sort_unstable();
    let oldest: Vec<Time> = report.oldest.iter().map(|o| o.first_seen).collect();
    assert_eq!(oldest, open[..open.len().min(10)], "{at}");
}

/// The letter's shares of what was counted, with three decimals and one.
fn shares(part: &mut Part) {
    let of =
        |n: i64, whole: i64, scale: f64| if whole == 0 { 0.0 } else { (n as f64 * 100.0 / whole as f64 * scale).round() / scale };
    part.failed_percent = of(part.failed - part.outside_the_tool, part.handled, 1_000.0);
    part.retrying_percent = of(part.retrying, part.failed, 10.0);
}

fn count(part: &mut Part, state: KeyCaseState) {
    part.failed += 1;
    match state {
        KeyCaseState::Retrying => part.retrying += 1,
        KeyCaseState::Investigating => part.investigating += 1,
        KeyCaseState::Resolved => part.resolved += 1,
        KeyCaseState::Closed => part.closed += 1,
    }
}
