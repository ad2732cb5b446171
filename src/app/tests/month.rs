//! A simulated month of a campaign in which sites change supplier: announced ahead, now and then withdrawn, some gained. DCC
//! answers late, out of order, or not at all. What must hold: no request names a site that is another supplier's on the day it is
//! posted, and the end of every site is explained.

use std::collections::{BTreeMap, HashMap, HashSet};

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use super::*;
use crate::{
    campaign::CampaignState,
    clock::Day,
    db::testing as testing_db,
    duis::{RequestBody, read_request},
    policy::Reason,
};

/// Sites on each engine in every run of the tests; the environment variable asks for more.
const SITES_ENV: &str = "PPMID_MONTH_SITES";
const SITES: u64 = 2_000;
const DAYS: i64 = 30;
/// The last of them, in which nothing changes hands any more and the last answers come: a device may take four.
const QUIET_DAYS: i64 = 7;
/// The share of sites that another supplier gains within the month.
const LOST_PERCENT: u64 = 3;
const TICKS_A_DAY: u64 = 8;
const TICK_MILLIS: i64 = 86_400_000 / TICKS_A_DAY as i64;
/// Our sites' MPANs are ours from here on; where another had it before, from a day of the month.
const OTHER: &str = "OTHR";

/// Who holds a site, as the registration service knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Supply {
    Ours,
    LostOn(Day),
    GainedOn(Day),
}

impl Supply {
    fn is_ours(self, day: Day) -> bool {
        match self {
            Supply::Ours => true,
            Supply::LostOn(from) => day < from,
            Supply::GainedOn(from) => day >= from,
        }
    }
}

/// A change that is still to be told, or taken back.
#[derive(Debug, Clone, Copy)]
struct News {
    told_on: Day,
    site: u64,
    lost_on: Day,
    withdrawn: bool,
}

pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    pub(crate) fn of(seed: u64) -> Dice {
        Dice(ChaCha8Rng::seed_from_u64(seed))
    }

    /// 0 to `n` - 1.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0.next_u64() % n
    }
}

struct Month {
    lab: Lab,
    dice: Dice,
    campaign: i64,
    first_day: Day,
    supply: BTreeMap<u64, Supply>,
    news: Vec<News>,
    /// Answers of devices that are still to come, by the tick they come in.
    answers: BTreeMap<u64, Vec<(RequestId, u64)>>,
    /// Devices that were posted at least once, with the request.
    sent: HashMap<u64, RequestId>,
    /// Devices that never answer.
    silent: HashSet<u64>,
    message: u64,
}

impl Month {
    async fn begin(lab: Lab, sites: u64, seed: u64) -> Month {
        let mut dice = Dice::of(seed);
        let first_day = lab.app.now().london_day();
        let (supply, news) = changes_of_supply(&mut dice, sites, first_day);
        let mut month = Month {
            lab,
            dice,
            campaign: 0,
            first_day,
            supply,
            news,
            answers: BTreeMap::new(),
            sent: HashMap::new(),
            silent: HashSet::new(),
            message: 0,
        };
        month.tell_gains().await;
        let per_batch = (sites / (DAYS as u64 * TICKS_A_DAY * 2 / 3)).max(1) as i64;
        month.campaign = month.lab.started("spring", per_batch).await;
        month
    }

    /// Sites that come to us are registered from the start: ours from a day of the month, another's before.
    async fn tell_gains(&self) {
        let mut text = "mpan,supplier_mpid,effective_from,effective_to\n".to_string();
        for (site, supply) in &self.supply {
            if let Supply::GainedOn(from) = supply {
                text += &format!("{},{OTHER},2015-01-01,{from}\n{},EELC,{from},\n", mpan(*site), mpan(*site));
            }
        }
        self.lab.import(Kind::Registrations, text).await;
    }

    /// The day's file of the registration service: switches by themselves, withdrawn ones with `--replace`.
    async fn morning(&self, day: Day) {
        let today: Vec<&News> = self.news.iter().filter(|n| n.told_on == day).collect();
        let head = "mpan,supplier_mpid,effective_from,effective_to\n";
        for (withdrawn, replace) in [(false, false), (true, true)] {
            let rows: Vec<String> = today
                .iter()
                .filter(|n| n.withdrawn == withdrawn)
                .map(|n| match withdrawn {
                    false => format!("{},{OTHER},{},\n", mpan(n.site), n.lost_on),
                    true => format!("{},EELC,2015-01-01,\n", mpan(n.site)),
                })
                .collect();
            if rows.is_empty() {
                continue;
            }
            let path = self.lab.folder.path().join("switches.csv");
            std::fs::write(&path, format!("{head}{}", rows.concat())).unwrap();
            let options = Options { strict: true, replace };
            let input = Input::open(&path).unwrap();
            let done = self.lab.app.import_file(Kind::Registrations, input, options, Arc::new(|_| {}), OPERATOR).await.unwrap();
            assert_eq!(done.rejected, 0);
        }
        self.lab.app.judge_started().await.unwrap();
        self.lab.app.mark_lost_supply().await.unwrap();
    }

    /// Everything the loops do within one tick, in their order.
    async fn tick(&mut self, tick: u64) {
        let app = self.lab.app.clone();
        app.recheck_held().await.unwrap();
        for id in app.due_requests(64).await.unwrap().batches {
            self.post(id, tick).await;
        }
        if app.campaign("spring").await.unwrap().state == CampaignState::Started
            && let Some(id) = app.prepare_batch(self.campaign).await.unwrap()
        {
            self.post(id, tick).await;
        }
        for (request, site) in self.answers.remove(&tick).unwrap_or_default() {
            self.message += 1;
            self.lab.receives(testing::signed(&activated(Some(request), self.message, site), &self.lab.dcc)).await;
        }
        while app.settle_some(&self.lab.pinned.current()).await.unwrap() > 0 {}
        app.expire_silent().await.unwrap();
        app.finish_campaigns().await.unwrap();
    }

    /// Posts a request: what it names must be ours today. DCC takes it; one reply in ten is lost.
    async fn post(&mut self, id: RequestId, tick: u64) {
        let app = &self.lab.app;
        let Some(ready) = app.begin_post(id, &self.lab.dcc).await.unwrap() else { return };
        let today = app.now().london_day();
        let request = read_request(&ready.bytes, &self.lab.pinned.current(), app.now()).unwrap();
        let RequestBody::UpdateFirmware(asked) = request.body else { panic!("not a firmware request") };
        for device in asked.devices {
            let site = device.0 - self::device(0).0;
            assert!(self.supply[&site].is_ours(today), "site {site}: {:?} is not ours on {today}", self.supply[&site]);
            let before = self.sent.insert(site, id);
            assert!(before.is_none_or(|b| b == id), "site {site} is in two requests");
            if before.is_some() {
                continue;
            }
            match self.dice.below(100) {
                0..2 => drop(self.silent.insert(site)),
                _ => {
                    let after = self.dice.below(TICKS_A_DAY * 4);
                    self.answers.entry(tick + after).or_default().push((id, site));
                }
            }
        }
        match self.dice.below(10) {
            0 => self.lab.no_reply(id).await,
            _ => assert_eq!(self.lab.reply(id, "I99").await, Posted::Settled),
        }
    }

    async fn run(&mut self) {
        for tick in 0..DAYS as u64 * TICKS_A_DAY {
            if tick % TICKS_A_DAY == 0 {
                self.morning(self.lab.app.now().london_day()).await;
            }
            self.tick(tick).await;
            self.lab.app.clock.advance(TICK_MILLIS);
        }
    }

    /// Every site ended as its supply and DCC's answers say, and its story says so.
    async fn check_every_end(&self) {
        let app = &self.lab.app;
        let today = app.now().london_day();
        let (mut lost_after_sending, mut never_sent) = (0, 0);
        let plan = app.campaign("spring").await.unwrap().plan_id.unwrap();
        let mut look = app.db.read().await.unwrap();
        let all = targets::page(&mut look, plan, None, self.supply.len() + 1).await.unwrap();
        drop(look);
        let all: HashMap<DeviceId, Target> = all.into_iter().map(|t| (t.device, t)).collect();
        assert_eq!(all.len(), self.supply.len());
        for (site, supply) in &self.supply {
            let target = &all[&device(*site)];
            let wanted = match (self.sent.contains_key(site), supply) {
                (true, _) if self.silent.contains(site) => TargetState::Expired,
                (true, _) => TargetState::Activated,
                (false, Supply::LostOn(from)) if *from <= today => TargetState::Ineligible,
                (false, Supply::LostOn(_)) => TargetState::Held,
                (false, supply) => panic!("site {site} was never sent: {supply:?}, {target:?}"),
            };
            assert_eq!(target.state, wanted, "site {site}: {supply:?}, {target:?}");
            // Each row is read above; the whole story is many questions, so of those who stayed ours a share is asked for it.
            if *supply == Supply::Ours && site % 20 != 0 {
                continue;
            }
            let story = app.site(device(*site), app.now()).await.unwrap().history;
            let last = story.last().expect("each has a story");
            assert_eq!((last.step.state, last.step.reason), (target.state, target.reason), "site {site}");
            let decided = story.iter().rev().find(|t| t.is_decision()).expect("it was decided");
            assert!(decided.policy_hash.is_some(), "site {site}: {decided:?}");
            if target.reason == Reason::NotResponsibleSupplier {
                assert!(decided.step.fact.as_deref().is_some_and(|f| !f.is_empty()), "site {site}: {decided:?}");
            }
            if let Supply::LostOn(from) = supply {
                let sent = self.sent.contains_key(site);
                lost_after_sending += u64::from(sent && *from <= today);
                never_sent += u64::from(!sent);
                let reason = if sent {
                    target.reason == Reason::SupplyLost || target.state.is_final()
                } else {
                    !target.reason.as_str().is_empty()
                };
                assert!(reason, "site {site}: {target:?}");
                if !sent && *from <= today {
                    assert_eq!(target.reason, Reason::NotResponsibleSupplier, "site {site}");
                }
            }
        }
        assert!(lost_after_sending > 0 && never_sent > 0, "the month met both: {lost_after_sending} and {never_sent}");
    }
}

/// Three sites in a hundred are lost on a day of the month, known 1 to 20 days ahead; a tenth of those switches is withdrawn before
/// its day. One in a hundred is gained.
fn changes_of_supply(dice: &mut Dice, sites: u64, first: Day) -> (BTreeMap<u64, Supply>, Vec<News>) {
    let mut supply: BTreeMap<u64, Supply> = (1..=sites).map(|n| (n, Supply::Ours)).collect();
    let mut news = Vec::new();
    for site in 1..=sites {
        let on = 2 + dice.below((DAYS - QUIET_DAYS - 2) as u64) as i64;
        match dice.below(100) {
            n if n < LOST_PERCENT => {
                let told = (on - 1 - dice.below(20) as i64).max(0);
                let lost_on = first.plus(on);
                let known = News { told_on: first.plus(told), site, lost_on, withdrawn: false };
                news.push(known);
                match dice.below(10) {
                    0 if told + 1 < on => news.push(News { told_on: first.plus(on - 1), withdrawn: true, ..known }),
                    _ => drop(supply.insert(site, Supply::LostOn(lost_on))),
                }
            }
            n if n == LOST_PERCENT => drop(supply.insert(site, Supply::GainedOn(first.plus(on)))),
            _ => {}
        }
    }
    (supply, news)
}

async fn month(db: TestDb) {
    let sites = std::env::var(SITES_ENV).ok().and_then(|n| n.parse().ok()).unwrap_or(SITES);
    let mut month = Month::begin(Lab::new(db, sites).await, sites, 1).await;
    month.run().await;
    assert_eq!(month.first_day.plus(DAYS), month.lab.app.now().london_day());
    month.check_every_end().await;
}

#[tokio::test]
async fn no_request_names_anothers_site_and_every_end_is_explained_on_sqlite() {
    month(testing_db::sqlite().await).await;
}

#[tokio::test]
async fn no_request_names_anothers_site_and_every_end_is_explained_on_postgresql() {
    if let Some(db) = testing_db::postgres().await {
        month(db).await;
    }
}
