//! DCC's transitional tool and its service desk, as far as a supplier sees them: a first run over every site, re-runs that were asked
//! for and some that were not, and files of results that come late, twice, out of order, or never. Knows nothing of cases.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::month::Dice,
    rules::{DAY, HOUR},
};
use crate::{clock::Time, estate::KeyStatus};

/// Days over which the tool is run for the first time.
pub const FIRST_RUN_DAYS: u64 = 10;
/// From this day on every line is answered, nobody relapses, and nothing comes late.
pub const CALM_FROM_DAY: i64 = 38;

/// Intermittent communications: these come good (L§13).
const INTERMITTENT: [&str; 3] = ["no WAN at the hub", "No response from the hub", "no WAN, then a time-out"];
const LASTING: [&str; 3] = ["master key missing", "HAN error 17", "display not joined"];

/// A site as DCC knows it.
#[derive(Debug, Clone)]
pub struct Patient {
    error: &'static str,
    /// Runs until one succeeds; `None`: none ever does.
    runs_to_go: Option<u64>,
    /// From this run on DCC says that it investigates.
    investigated_from: u64,
    tried: u64,
    /// Its key is there.
    pub well: bool,
}

/// A result as a file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub site: u64,
    pub at: Time,
    pub status: KeyStatus,
    pub detail: Option<String>,
}

/// A run of the tool that is to come, and how long after it a file tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Run {
    at: Time,
    site: u64,
    told_after: i64,
    /// Told again so long after.
    again_after: Option<i64>,
    /// The key is lost before it.
    relapse: bool,
}

pub struct Tool {
    dice: Dice,
    begins: Time,
    /// Those it is for.
    sites: Vec<u64>,
    pub patients: BTreeMap<u64, Patient>,
    runs: BTreeSet<Run>,
    answers: Vec<(Time, Answer)>,
    pub lines_unanswered: u64,
    pub told_twice: u64,
    pub relapses: u64,
}

impl Tool {
    /// Three in a thousand of `sites` fail, chosen by chance; two thirds of those come good. `never` are sites that need no key from the
    /// tool, of which it says nothing good.
    pub fn new(mut dice: Dice, sites: Vec<u64>, begins: Time, never: &[u64]) -> Tool {
        let wanted = (sites.len() * 3).div_ceil(1_000);
        let mut chosen = BTreeSet::new();
        while chosen.len() < wanted {
            chosen.insert(sites[dice.below(sites.len() as u64) as usize]);
        }
        let mut patients: BTreeMap<u64, Patient> = BTreeMap::new();
        for (rank, site) in chosen.into_iter().enumerate() {
            patients.insert(site, Patient::draw(&mut dice, rank % 3 != 2));
        }
        for site in never {
            patients.insert(*site, Patient::draw(&mut dice, false));
        }
        let mut tool = Tool {
            dice,
            begins,
            sites,
            patients,
            runs: BTreeSet::new(),
            answers: Vec::new(),
            lines_unanswered: 0,
            told_twice: 0,
            relapses: 0,
        };
        for site in tool.patients.keys().copied().collect::<Vec<_>>() {
            let at = tool.first_run(site);
            // A few of the bad tidings come when the tool has long gone on.
            let late = if tool.dice.below(20) == 0 { 3 * DAY } else { 0 };
            tool.runs.insert(Run { at, site, told_after: late, again_after: None, relapse: false });
        }
        tool
    }

    fn first_run(&self, site: u64) -> Time {
        let day = (site % FIRST_RUN_DAYS) as i64;
        self.begins.plus_millis(day * DAY + (site % 70_000) as i64 * 1_000)
    }

    fn is_calm(&self, now: Time) -> bool {
        now.0 - self.begins.0 >= CALM_FROM_DAY * DAY
    }

    /// A line of a re-run request arrived.
    pub fn is_asked(&mut self, site: u64, now: Time) {
        self.patients.entry(site).or_insert_with(Patient::healthy);
        let at = now.plus_millis(HOUR + self.dice.below(40) as i64 * HOUR + self.dice.below(HOUR as u64) as i64);
        let (chance, wait) = (self.dice.below(100), self.dice.below(30) as i64 * HOUR);
        let (told_after, again_after) = match chance {
            _ if self.is_calm(now) => (wait, None),
            0..6 => {
                // The request is lost: nothing is run.
                self.lines_unanswered += 1;
                return;
            }
            // Later than the line lapses, so that another may have been asked for.
            6..13 => (6 * DAY + wait, None),
            13..20 => (wait, Some(DAY + wait)),
            _ => (wait, None),
        };
        self.runs.insert(Run { at, site, told_after, again_after, relapse: false });
    }

    /// DCC goes over some of its sites unasked.
    pub fn morning(&mut self, now: Time) {
        if self.is_calm(now) {
            return;
        }
        for site in self.patients.keys().copied().collect::<Vec<_>>() {
            if self.patients[&site].tried > 0 && self.dice.below(60) == 0 {
                let at = now.plus_millis(self.dice.below(DAY as u64) as i64);
                self.runs.insert(Run { at, site, told_after: 0, again_after: None, relapse: false });
            }
        }
    }

    /// The results of the next file, by site and moment: each once.
    pub fn file(&mut self, now: Time) -> Vec<Answer> {
        while let Some(run) = self.runs.first().copied().filter(|r| r.at <= now) {
            self.runs.pop_first();
            self.run(run);
        }
        let mut due: Vec<Answer> = Vec::new();
        self.answers.retain(|(told, answer)| {
            let twice_in_one_file = due.iter().any(|a| (a.site, a.at) == (answer.site, answer.at));
            let goes = *told <= now && !twice_in_one_file;
            if goes {
                due.push(answer.clone());
            }
            !goes
        });
        due.sort_by_key(|a| (a.site, a.at));
        due
    }

    /// The healthy sites of the first run whose results are in the file of this day.
    pub fn healthy(&self, day: u64) -> Vec<Answer> {
        let one = |site| Answer { site, at: self.first_run(site), status: KeyStatus::Updated, detail: None };
        let well = |site: &u64| site % FIRST_RUN_DAYS == day && !self.patients.contains_key(site);
        self.sites.iter().copied().filter(well).map(one).collect()
    }

    fn run(&mut self, run: Run) {
        let calm = self.is_calm(run.at);
        let patient = self.patients.get_mut(&run.site).expect("it is a patient");
        if run.relapse {
            (patient.well, patient.runs_to_go) = (false, Some(2));
            self.relapses += 1;
        }
        let was_well = patient.well;
        let status = patient.try_it(run.relapse);
        let detail = (status != KeyStatus::Updated).then(|| patient.error.to_string());
        let answer = Answer { site: run.site, at: run.at, status, detail };
        let told = run.at.plus_millis(run.told_after);
        if let Some(again) = run.again_after {
            self.told_twice += 1;
            self.answers.push((told.plus_millis(again), answer.clone()));
        }
        self.answers.push((told, answer));
        if status == KeyStatus::Updated && !was_well && !calm && self.dice.below(6) == 0 {
            let at = run.at.plus_millis((3 + self.dice.below(10) as i64) * DAY);
            if !self.is_calm(at) {
                self.runs.insert(Run { at, told_after: 0, again_after: None, relapse: true, ..run });
            }
        }
    }

    /// Somebody went there, and the key is in DCC's systems now.
    pub fn mends(&mut self, site: u64) {
        self.patients.entry(site).or_insert_with(Patient::healthy).well = true;
    }

    /// The same, but it was a mistake: the next run of the tool says so.
    pub fn was_wrongly_called_well(&mut self, site: u64, now: Time) {
        self.patients.entry(site).or_insert_with(Patient::healthy);
        let at = now.plus_millis(2 * DAY + site as i64);
        self.runs.insert(Run { at, site, told_after: 0, again_after: None, relapse: false });
    }

    /// Nothing is under way any more.
    pub fn is_quiet(&self) -> bool {
        self.runs.is_empty() && self.answers.is_empty()
    }
}

impl Patient {
    fn draw(dice: &mut Dice, intermittent: bool) -> Patient {
        let kinds = if intermittent { INTERMITTENT } else { LASTING };
        Patient {
            error: kinds[dice.below(3) as usize],
            // The first run fails in any case.
            runs_to_go: intermittent.then(|| 2 + dice.below(4).min(dice.below(4))),
            investigated_from: if intermittent { u64::MAX } else { 1 + dice.below(8) },
            tried: 0,
            well: false,
        }
    }

    fn healthy() -> Patient {
        Patient { error: INTERMITTENT[0], runs_to_go: Some(1), investigated_from: u64::MAX, tried: 1, well: true }
    }

    fn try_it(&mut self, fails: bool) -> KeyStatus {
        self.tried += 1;
        if self.well {
            return KeyStatus::Updated;
        }
        match self.runs_to_go {
            Some(n) if n <= 1 && !fails => {
                self.well = true;
                KeyStatus::Updated
            }
            Some(n) => {
                self.runs_to_go = Some(n.saturating_sub(1).max(1));
                KeyStatus::Failed
            }
            None if self.tried >= self.investigated_from => KeyStatus::Investigating,
            None => KeyStatus::Failed,
        }
    }
}
