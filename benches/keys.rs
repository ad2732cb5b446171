//! `cargo bench --bench keys`: the incident team's queries over 30,000 cases among a million sites, while alerts are settled: as many a
//! second as a receiver on this machine takes (`cargo bench --bench receive`). Prints of each query how long it took, half of the times,
//! 99 of 100 times and at longest, and the messages settled a second meanwhile.
//!
//! `PPMID_BENCH_SITES`, `PPMID_BENCH_CASES`, `PPMID_BENCH_MESSAGES` and `PPMID_BENCH_RUNS` set how many, `PPMID_BENCH_ALERTS_PER_SECOND` how
//! fast alerts come (0: without a pause), `PPMID_TEST_POSTGRES` names a
//! server to measure as well. One child process makes the database, another measures; whoever settles has a connection of its own.

mod incidents;
mod portfolio;
mod rollout;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use ppmid_orchestrator::{
    app::App,
    estate::{Cohort, SiteFilter},
    ids::DeviceId,
    keys::{
        CaseFilter, CaseOrder, KeyCaseState,
        store::{self, After},
    },
};

use incidents::{ERRORS, Lot, NAMES, TEAMS, incident};
use portfolio::{open, peak_kilobytes, prepare, sites};
use rollout::number;

/// The bound (issue 5).
const BOUND: Duration = Duration::from_millis(50);
const CASES_PER_THOUSAND: usize = 30;
const MESSAGES: usize = 1_200_000;
/// Alerts that come in a second.
const ALERTS_PER_SECOND: usize = 8_000;
const RUNS: usize = 200;
/// What a person sees at once.
const PAGE: usize = 100;
/// Pages before the one that is "later".
const PAGES_BEFORE: usize = 10;
/// Sites of the campaign over a list of devices.
const LISTED: usize = 1_000;
/// Campaigns that are planned and no more: of one region, and of a list of devices.
const OF_A_REGION: &str = "bench of a region";
const OF_A_LIST: &str = "bench of a list";
const DAY: i64 = 86_400_000;

fn main() {
    portfolio::fill_and_measure(fill, measure);
}

async fn fill(folder: &Path, url: &str) {
    let started = Instant::now();
    prepare(folder, url).await;
    println!("  sites imported after {:.0} s", started.elapsed().as_secs_f64());
    let app = open(folder, url).await;
    let cases = number("PPMID_BENCH_CASES", sites() * CASES_PER_THOUSAND / 1_000);
    let devices = incidents::fill(&app, folder, cases).await;
    println!("  cases filled after {:.0} s", started.elapsed().as_secs_f64());
    let list = devices.into_iter().step_by(20).take(LISTED).collect();
    rollout::planned(&app, OF_A_LIST, SiteFilter { devices: list, ..SiteFilter::default() }).await;
    let region = SiteFilter { regions: vec!["London".into()], ..SiteFilter::default() };
    rollout::planned(&app, OF_A_REGION, region).await;
    let told = rollout::under_way(&app, folder, number("PPMID_BENCH_MESSAGES", MESSAGES)).await;
    println!("  {told} messages wait to be settled, after {:.0} s", started.elapsed().as_secs_f64());
    app.db.close().await;
}

/// One question, in a few variants that are asked in turn.
struct Question {
    name: String,
    asks: Vec<Ask>,
}

enum Ask {
    List { filter: Box<CaseFilter>, order: (CaseOrder, bool), after: Option<After> },
    Stats,
    Show(DeviceId),
}

impl Ask {
    async fn ask(&self, app: &App) {
        match self {
            Ask::List { filter, order, after } => {
                page(app, filter, *order, *after).await;
            }
            Ask::Stats => {
                app.key_stats().await.expect("figures");
            }
            Ask::Show(device) => {
                app.key_case_story(*device).await.expect("a story");
            }
        }
    }
}

async fn page(app: &App, filter: &CaseFilter, order: (CaseOrder, bool), after: Option<After>) -> (Vec<DeviceId>, Option<After>) {
    let mut tx = app.db.read().await.expect("a reader");
    let (cases, next) = store::list(&mut tx, filter, order, app.now().london_day(), after, PAGE).await.expect("a page");
    (cases.iter().map(|c| c.device_id).collect(), next)
}

async fn measure(folder: &Path, url: &str) {
    let app = open(folder, url).await;
    let questions = questions(&app).await;
    let settler = Settler::start(folder, url);
    let runs = number("PPMID_BENCH_RUNS", RUNS);
    let (started, mut slow) = (Instant::now(), 0);
    println!("  {:<66} {:>8} {:>8} {:>8}", "milliseconds", "p50", "p99", "longest");
    for question in &questions {
        let mut took = Vec::with_capacity(runs);
        for n in 0..runs {
            let ask = &question.asks[n % question.asks.len()];
            let asked = Instant::now();
            ask.ask(&app).await;
            took.push(asked.elapsed());
        }
        took.sort_unstable();
        let at = |share: f64| took[((runs - 1) as f64 * share).round() as usize];
        let too_slow = at(0.99) > BOUND;
        slow += usize::from(too_slow);
        let millis = |d: Duration| d.as_secs_f64() * 1_000.0;
        let mark = if too_slow { "  TOO SLOW" } else { "" };
        println!("  {:<66} {:>8.2} {:>8.2} {:>8.2}{mark}", question.name, millis(at(0.5)), millis(at(0.99)), millis(at(1.0)));
    }
    let took = started.elapsed();
    println!(
        "  {} questions in {:.0} s; {slow} of them over {} ms",
        questions.len() * runs,
        took.as_secs_f64(),
        BOUND.as_millis()
    );
    settler.stop(took);
    println!("  peak memory (VmHWM) {} MB, settling included", peak_kilobytes() >> 10);
    app.db.close().await;
}

/// Every filter, by number and by what is due, its first page and a later one; every order; the figures; and single stories.
async fn questions(app: &App) -> Vec<Question> {
    let mut questions = Vec::new();
    for (name, filters) in filters(app).await {
        for (order, word) in [((CaseOrder::Case, false), "by case"), ((CaseOrder::NextAttempt, false), "by next_attempt")] {
            lists(app, &mut questions, &format!("{name}, {word}"), &filters, order).await;
        }
    }
    for order in CaseOrder::ALL {
        lists(app, &mut questions, &format!("all, by {order}, greatest first"), &[CaseFilter::default()], (*order, true)).await;
    }
    let (devices, _) = page(app, &CaseFilter::default(), (CaseOrder::Attempts, true), None).await;
    questions.push(Question { name: "stats".into(), asks: vec![Ask::Stats] });
    questions.push(Question { name: "show".into(), asks: devices.into_iter().map(Ask::Show).collect() });
    questions
}

async fn lists(app: &App, questions: &mut Vec<Question>, name: &str, filters: &[CaseFilter], order: (CaseOrder, bool)) {
    let (mut first, mut later) = (Vec::new(), Vec::new());
    for filter in filters {
        first.push(Ask::List { filter: Box::new(filter.clone()), order, after: None });
        let mut after = None;
        for _ in 0..PAGES_BEFORE {
            match page(app, filter, order, after).await.1 {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        if after.is_some() {
            later.push(Ask::List { filter: Box::new(filter.clone()), order, after });
        }
    }
    questions.push(Question { name: format!("{name}, first page"), asks: first });
    if !later.is_empty() {
        questions.push(Question { name: format!("{name}, later page"), asks: later });
    }
}

async fn filters(app: &App) -> Vec<(&'static str, Vec<CaseFilter>)> {
    let any = CaseFilter::default;
    let text = |t: &str| Some(t.to_string());
    let now = app.now();
    let each = |of: &[&str], set: fn(&mut CaseFilter, String)| -> Vec<CaseFilter> {
        let one = |word: &&str| {
            let mut filter = CaseFilter::default();
            set(&mut filter, word.to_string());
            filter
        };
        of.iter().map(one).collect()
    };
    let plan_of = async |name| app.campaign(name).await.expect("a campaign").plan_id;
    let plan = plan_of(rollout::CAMPAIGN).await;
    let (region, list) = (plan_of(OF_A_REGION).await, plan_of(OF_A_LIST).await);
    let mut lot = Lot(11);
    let incidents: Vec<String> = (0..40).map(|_| incident(lot.below(sites() * CASES_PER_THOUSAND / 40_000 + 1))).collect();
    let incidents: Vec<&str> = incidents.iter().map(String::as_str).collect();
    let regions = ["London", "North Western", "Yorkshire", "South Wales", "Eastern", "nowhere"];
    let state = |state| CaseFilter { state: Some(state), ..CaseFilter::default() };
    vec![
        ("all", vec![any()]),
        ("state", KeyCaseState::ALL.iter().map(|s| state(*s)).collect()),
        ("open", vec![CaseFilter { open: true, ..any() }]),
        ("cohort", [Cohort::Ioc, Cohort::Mds, Cohort::Secure].map(|c| CaseFilter { cohort: Some(c), ..any() }).to_vec()),
        ("model", each(&["00A10001", "00A10002", "PD300/2", "none"], |f, t| f.model = Some(t))),
        ("region", each(&regions, |f, t| f.region = Some(t))),
        ("own MPID", each(&["EELC", "NONE"], |f, t| f.mpid = t.parse().ok())),
        ("kind of error", each(&["no wan", "han error", "master key", "no such error"], |f, t| f.error = Some(t))),
        ("age", [20, 100, 149].map(|d| CaseFilter { first_seen_by: Some(now.plus_millis(-d * DAY)), ..any() }).to_vec()),
        ("attempts", [1, 5, 7, 50].map(|n| CaseFilter { attempts_from: Some(n), ..any() }).to_vec()),
        ("due by", [0, 7].map(|d| CaseFilter { due_by: Some(now.plus_millis(d * DAY)), ..any() }).to_vec()),
        ("incident", each(&incidents, |f, t| f.incident = Some(t))),
        ("team", each(&TEAMS, |f, t| f.team = Some(t))),
        ("assignee", each(&NAMES, |f, t| f.assignee = Some(t))),
        ("assignee nobody", vec![CaseFilter { assignee: text(""), open: true, ..any() }]),
        ("without incident", vec![CaseFilter { unescalated: true, state: Some(KeyCaseState::Investigating), ..any() }]),
        ("campaign of everything", vec![CaseFilter { plan, ..any() }]),
        ("campaign of a region", vec![CaseFilter { plan: region, ..any() }]),
        ("campaign of a list", vec![CaseFilter { plan: list, ..any() }]),
        ("text", each(&["cupboard", ERRORS[3], "round 12:", "not a word of it"], |f, t| f.text = Some(t))),
        (
            "open, region, model, nobody, error",
            vec![CaseFilter {
                open: true,
                region: text("London"),
                model: text("PD300/2"),
                assignee: text(""),
                error: text("wan"),
                ..any()
            }],
        ),
        (
            "investigating, own MPID, cohort, campaign, text",
            vec![CaseFilter {
                state: Some(KeyCaseState::Investigating),
                mpid: "EELC".parse().ok(),
                cohort: Some(Cohort::Mds),
                plan,
                text: text("hub"),
                ..any()
            }],
        ),
        ("latest of its site", vec![CaseFilter { latest: true, ..any() }]),
    ]
}

/// Settles the inbox in a thread and with a program of its own, until it is told to stop or nothing is left.
struct Settler {
    stop: Arc<AtomicBool>,
    settled: Arc<AtomicUsize>,
    thread: std::thread::JoinHandle<Duration>,
}

impl Settler {
    fn start(folder: &Path, url: &str) -> Settler {
        let (stop, settled) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (folder, url, until, count) = (folder.to_path_buf(), url.to_string(), stop.clone(), settled.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let app = open(&folder, &url).await;
                let pinned = rollout::pinned(&folder);
                let pace = number("PPMID_BENCH_ALERTS_PER_SECOND", ALERTS_PER_SECOND);
                let started = Instant::now();
                let mut took = started.elapsed();
                while !until.load(Ordering::Relaxed) {
                    let n = app.settle_some(&pinned).await.expect("they are settled");
                    if n == 0 {
                        break;
                    }
                    let settled = count.fetch_add(n, Ordering::Relaxed) + n;
                    took = started.elapsed();
                    let come = if pace == 0 { 0.0 } else { settled as f64 / pace as f64 };
                    tokio::time::sleep(Duration::from_secs_f64(come).saturating_sub(took)).await;
                }
                app.db.close().await;
                took
            })
        });
        Settler { stop, settled, thread }
    }

    fn stop(self, measured: Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let took = self.thread.join().expect("no panic");
        let settled = self.settled.load(Ordering::Relaxed);
        println!("  {settled} messages settled meanwhile, {:.0} a second", settled as f64 / took.as_secs_f64());
        if took + Duration::from_secs(2) < measured {
            println!("  they were used up after {:.0} s: PPMID_BENCH_MESSAGES is too few", took.as_secs_f64());
        }
    }
}
