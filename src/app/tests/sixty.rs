//! Sixty days of missing keys: 0.3% of the sites that DCC's tool handles fail, two thirds of them for intermittent communications, and
//! come good; the rest end with people. Results come late, twice, out of order and not at all, sites change supplier, keys are lost again,
//! and the program dies now and then. What must hold after every step is said by a naive ledger that is kept beside (`sixty/naive.rs`).
//! Promise: from one seed always the same sixty days, on either engine, however often the program dies.

mod check;
mod deaths;
mod end;
mod naive;
mod people;
mod rules;
mod tool;

use std::collections::BTreeMap;

use super::{month::Dice, *};
use crate::{clock::Day, db::testing as testing_db, estate::Cohort, keys::KeyReport};
use check::{Ledger, cases, cases_agree, holders_agree, report_agrees, site_of};
use deaths::Deaths;
use end::End;
use naive::{Naive, Said, Site};
use tool::{Answer, CALM_FROM_DAY, FIRST_RUN_DAYS, Tool};

const SITES_ENV: &str = "PPMID_SIXTY_SITES";
const SEED_ENV: &str = "PPMID_SIXTY_SEED";
/// In every run of the tests; the 50,000 take a minute.
const SITES: u64 = 10_000;
const SEED: u64 = 2020;
const DAYS: i64 = 60;
const OTHER: &str = "OTHR";

/// What happens at which minute of every day. Requests crowd within the hour, so that its budget binds.
const DAY_PLAN: [(i64, Step); 12] = [
    (0, Step::Morning),
    (5 * 60, Step::File),
    (6 * 60, Step::Ask),
    (6 * 60 + 20, Step::Ask),
    (6 * 60 + 55, Step::Ask),
    (7 * 60 + 10, Step::Ask),
    (12 * 60, Step::People),
    (13 * 60, Step::File),
    (13 * 60 + 30, Step::Ask),
    (20 * 60 + 30, Step::Ask),
    (21 * 60 + 29, Step::Ask),
    (23 * 60, Step::File),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Morning,
    File,
    Ask,
    People,
}

/// A site that another supplier gains, and perhaps loses again.
#[derive(Debug, Clone, Copy)]
struct Loss {
    site: u64,
    told_on: i64,
    lost_on: i64,
    back_on: Option<i64>,
}

struct Sixty {
    lab: Lab,
    naive: Naive,
    tool: Tool,
    people: Dice,
    deaths: Option<Deaths>,
    first: Day,
    budget: usize,
    losses: Vec<Loss>,
    /// Results and when they were heard of: a day's report did not know what was heard later.
    heard: Vec<(Time, Time)>,
    reports: Vec<KeyReport>,
    /// Requests that the budget cut short, and those that it did not.
    bound: [u64; 2],
}

fn number(name: &str, or: u64) -> u64 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(or)
}

/// One in ten is MOC-Secure, which needs no key from the tool; a third are MDS.
fn cohort(site: u64) -> Cohort {
    match site % 30 {
        0..3 => Cohort::Secure,
        3..13 => Cohort::Mds,
        _ => Cohort::Ioc,
    }
}

impl Sixty {
    fn begin(lab: Lab, sites: u64, seed: u64, deaths: Option<Deaths>) -> Sixty {
        let mut dice = Dice::of(seed);
        let first = lab.app.now().london_day();
        // DCC's tool speaks of a few sites that are not its business.
        let secure = [30, 60, 90];
        let its_own = (1..=sites).filter(|n| cohort(*n) != Cohort::Secure).collect();
        let tool = Tool::new(Dice::of(seed + 1), its_own, first.start(), &secure);
        std::fs::create_dir_all(lab.folder.path().join("policies")).unwrap();
        let own = |n| Site { cohort: cohort(n), suppliers: vec![(Day(0), "EELC")], said: BTreeMap::new(), cases: Vec::new() };
        let naive = Naive { sites: (1..=sites).map(|n| (n, own(n))).collect(), ..Naive::default() };
        let losses = losses(&mut dice, &tool);
        let budget = (sites as usize * 3 / 1_000 / 20).max(1);
        std::fs::write(lab.folder.path().join("policies/retry.toml"), rules::retry_toml(budget)).unwrap();
        let people = Dice::of(seed + 2);
        Sixty { lab, naive, tool, people, deaths, first, budget, losses, heard: vec![], reports: vec![], bound: [0, 0] }
    }

    fn now(&self) -> Time {
        self.lab.app.now()
    }

    async fn run(mut self) -> End {
        for day in 0..DAYS {
            let midnight = self.first.plus(day).start();
            for (minute, step) in DAY_PLAN {
                self.lab.app.clock.advance(midnight.0 + minute * 60_000 - self.now().0);
                self.sweep().await;
                match step {
                    Step::Morning => self.morning(day).await,
                    Step::File => self.file(day, minute).await,
                    Step::Ask => self.ask().await,
                    Step::People if day < CALM_FROM_DAY => self.people(day).await,
                    Step::People => {}
                }
                self.sweep().await;
                cases_agree(&cases(&self.lab.app).await, &self.naive, self.now());
            }
            self.lab.app.clock.advance(self.first.plus(day).end().0 - self.now().0);
            self.evening().await;
        }
        self.end().await
    }

    async fn sweep(&mut self) {
        let swept = self.told(async |app| app.sweep_key_cases().await).await;
        let naively = self.naive.time_passes(self.now());
        assert!(self.deaths.is_some() || (swept.given_up, swept.lapsed) == naively, "{swept:?}, {naively:?} at {}", self.now());
    }

    /// The registration service's file, and what DCC does of its own accord.
    async fn morning(&mut self, day: i64) {
        let now = self.now();
        self.tool.morning(now);
        let mut text = String::new();
        for loss in self.losses.iter().filter(|l| l.told_on == day) {
            let (mpan, lost) = (mpan(loss.site), self.first.plus(loss.lost_on));
            let back = loss.back_on.map(|day| self.first.plus(day));
            text += &format!("{mpan},{OTHER},{lost},{}\n", back.map_or(String::new(), |day| day.to_string()));
            let suppliers = &mut self.naive.sites.get_mut(&loss.site).unwrap().suppliers;
            suppliers.push((lost, OTHER));
            if let Some(back) = back {
                text += &format!("{mpan},EELC,{back},\n");
                suppliers.push((back, "EELC"));
            }
        }
        if !text.is_empty() {
            self.import(Kind::Registrations, format!("mpan,supplier_mpid,effective_from,effective_to\n{text}")).await;
        }
    }

    async fn file(&mut self, day: i64, minute: i64) {
        let now = self.now();
        let mut answers = self.tool.file(now);
        if minute == 23 * 60 && (day as u64) < FIRST_RUN_DAYS {
            answers.extend(self.tool.healthy(day as u64));
        }
        if answers.is_empty() {
            return;
        }
        let row = |a: &Answer| {
            format!(
                "{},{},{},{}\n",
                device(a.site),
                a.status,
                a.at,
                a.detail.as_deref().map_or(String::new(), |d| format!("\"{d}\""))
            )
        };
        let text = answers.iter().fold("device_id,status,attempted_at,detail\n".to_string(), |text, a| text + &row(a));
        self.import(Kind::Keys, text).await;
        for Answer { site, at, status, detail } in answers {
            self.heard.push((at, now));
            self.naive.hears(site, at, Said { status, detail, by_hand: false });
        }
        self.naive.draw_conclusions(now);
    }

    async fn import(&mut self, kind: Kind, text: String) {
        let path = self.lab.folder.path().join(format!("{kind}.csv"));
        std::fs::write(&path, text).unwrap();
        let options = Options { strict: true, replace: false };
        let done = self
            .told(async |app| app.import_file(kind, Input::open(&path).unwrap(), options, Arc::new(|_| {}), OPERATOR).await)
            .await;
        assert_eq!(done.rejected, 0, "{kind}");
    }

    /// What is due goes on a request, as far as this hour's budget allows, and DCC's service desk has it.
    async fn ask(&mut self) {
        let now = self.now();
        let day = now.london_day();
        let mut due: Vec<_> = cases(&self.lab.app).await;
        due.retain(|c| {
            let site = &self.naive.sites[&site_of(c.device_id)];
            let free = site.cases.last().is_some_and(|case| case.open_line().is_none());
            c.state.is_open() && free && site.supplier(day) == "EELC" && c.next_attempt.is_some_and(|at| at <= now)
        });
        due.sort_by_key(|c| (c.next_attempt, c.id));
        let room = self.budget.saturating_sub(self.naive.lines_within_the_hour(now));
        let cut = due.len() > room;
        self.bound[usize::from(cut)] += u64::from(!due.is_empty());
        due.truncate(room);
        let mut wanted: Vec<u64> = due.iter().map(|c| site_of(c.device_id)).collect();
        let request = self.told(async |app| app.request_reruns(Some(&mut |_| Ok(())), OPERATOR).await).await;
        assert!(self.deaths.is_some() || request.more_due == cut, "at {now}");
        let made = Ledger::read(&self.lab.app).await.asked_at(now);
        self.naive.requests += i64::from(!made.is_empty());
        assert!(made.iter().all(|(_, run)| *run == self.naive.requests), "one request at {now}: {made:?}");
        for (n, _) in &made {
            let site = &self.naive.sites[n];
            let case = site.cases.last().expect("only a site with a case is asked for");
            assert!(case.state.is_open(), "site {n} is asked for at {now} after its case ended: {case:#?}");
            assert!(case.open_line().is_none(), "site {n} is asked for twice at {now}: {case:#?}");
            assert_eq!(site.supplier(day), "EELC", "site {n} is another's at {now}");
            let (soonest, _) = site.rule(case).due(case.last_attempt, case.attempts);
            assert!(case.now_please || soonest <= now, "site {n} is asked for too soon at {now}: {soonest}, {case:#?}");
        }
        for (n, _) in &made {
            self.naive.is_asked(*n, now, OPERATOR);
            self.tool.is_asked(*n, now);
        }
        assert!(self.naive.lines_within_the_hour(now) <= self.budget, "more than the budget of the hour at {now}");
        let mut found: Vec<u64> = made.iter().map(|(n, _)| *n).collect();
        found.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(found, wanted, "the longest due first, at {now}");
    }

    async fn evening(&mut self) {
        let now = self.now();
        Ledger::read(&self.lab.app).await.agrees_with(&self.naive, now);
        let report = self.lab.app.key_report(now, None).await.unwrap();
        report_agrees(&report, &self.naive);
        holders_agree(&self.lab.app, &self.naive).await;
        self.reports.push(report);
    }
}

/// One in twelve of the sites that fail changes hands, known a few days ahead; half of them come back.
fn losses(dice: &mut Dice, tool: &Tool) -> Vec<Loss> {
    let mut losses = Vec::new();
    for site in tool.patients.keys() {
        if dice.below(12) == 0 {
            let told_on = 2 + dice.below(20) as i64;
            let lost_on = told_on + 1 + dice.below(6) as i64;
            let back_on = (dice.below(2) == 0).then(|| lost_on + 3 + dice.below(9) as i64);
            losses.push(Loss { site: *site, told_on, lost_on, back_on });
        }
    }
    losses
}

/// The estate alone: nothing is known of any key.
async fn estate(db: TestDb, sites: u64) -> Lab {
    let lab = Lab::bare(db).await;
    lab.sites(&(1..=sites).map(|n| (n, cohort(n).as_str())).collect::<Vec<_>>()).await;
    lab.registered(&(1..=sites).collect::<Vec<_>>(), "").await;
    // The days begin at a midnight.
    let midnight = lab.app.now().london_day().plus(1).start();
    lab.app.clock.advance(midnight.0 - lab.app.now().0);
    lab
}

/// The same twice, each with a database, a folder and a clock of its own.
async fn twins(mut lab: Lab) -> (Lab, Lab) {
    lab.app.db.close().await;
    let (one, two) = lab._db.take().expect("a database of its own").copied().await;
    (twin(&lab, one).await, twin(&lab, two).await)
}

async fn twin(of: &Lab, db: TestDb) -> Lab {
    let folder = tempfile::tempdir().unwrap();
    let settings = config::load_from(&folder.path().join("ppmid.toml"), std::iter::empty(), Some(&db.url)).unwrap();
    let app = App::open(settings, Clock::manual(of.app.now())).await.unwrap();
    let (dcc, pinned) = testing::dcc_signer();
    Lab { app, image: of.image, dcc, pinned, url: db.url.clone(), folder, _db: Some(db) }
}

/// Once from end to end, and once with deaths: nothing differs.
async fn sixty_days(db: TestDb) {
    let (sites, seed) = (number(SITES_ENV, SITES), number(SEED_ENV, SEED));
    eprintln!("{SITES_ENV}={sites} {SEED_ENV}={seed}");
    let (lab, copy) = twins(estate(db, sites).await).await;
    let plain = Sixty::begin(lab, sites, seed, None).run().await;
    let with_deaths = Sixty::begin(copy, sites, seed, Some(Deaths::of(seed + 3))).run().await;
    for (one, other) in plain.reports.iter().zip(&with_deaths.reports) {
        assert_eq!(one, other);
    }
    assert_eq!(plain.ledger, with_deaths.ledger);
    assert!(with_deaths.deaths > DAYS as u64, "it died {} times", with_deaths.deaths);
    if (sites, seed) == (SITES, SEED) {
        insta::assert_snapshot!("sixty_days", plain.summary);
    }
}

#[tokio::test]
async fn sixty_days_on_sqlite() {
    sixty_days(testing_db::sqlite().await).await;
}

#[tokio::test]
async fn sixty_days_on_postgresql() {
    if let Some(db) = testing_db::postgres().await {
        sixty_days(db).await;
    }
}
