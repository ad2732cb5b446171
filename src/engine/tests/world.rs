//! A naive DCC and its devices: what was sent to it, what it took, what devices came to, and the messages it still owes. It keeps its own
//! ledger of what the program was told, against which the program is held.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    HOUR, MINUTE,
    counts::Counts,
    ledger::{Attempt, Quarantine, Sent},
    rules::{Outage, Rules, Steps},
};
use crate::{
    app::tests::{FIRMWARE, activated, answer, asked, firmware, later, month::Dice, response_id, s1sp, warning},
    clock::Time,
    duis::{Alert, Body, Breach, Response, Smets1FirmwareStatus, Throttled, UpdateFirmwareWarning},
    ids::RequestId,
};

const OLD: &str = "00020100";
const DAY: i64 = 24 * HOUR;

/// A site, as it is in truth.
#[derive(Debug, Clone)]
pub struct Site {
    pub region: &'static str,
    pub key_missing: bool,
    /// The image's version.
    pub runs_new: bool,
    /// From which day on it is ours, or another's; the first day is long ago.
    pub holders: Vec<(i64, bool)>,
}

impl Site {
    pub fn is_ours(&self, day: i64) -> bool {
        self.holders.iter().rev().find(|(from, _)| *from <= day).is_some_and(|(_, ours)| *ours)
    }
}

/// What a message means, once the program has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Means {
    Nothing,
    /// The device runs the new version, said of this request, or of nobody's.
    Success(Option<RequestId>, u64),
    /// Its update came to nothing in this request.
    Ended(RequestId, u64),
    Quarantined(RequestId),
}

#[derive(Debug, Clone)]
pub struct Mail {
    pub response: Response,
    pub means: Vec<Means>,
}

pub struct World {
    pub rules: Rules,
    pub dice: Dice,
    /// Site `n` is at `n - 1`.
    pub sites: Vec<Site>,
    pub requests: BTreeMap<RequestId, Sent>,
    mail: BTreeMap<(Time, u64), Mail>,
    /// When a device begins to run the new version.
    turns: BTreeMap<(Time, u64), u64>,
    /// When DCC had a request 11.1, and for how much it counts.
    pub arrivals: Vec<(Time, u64)>,
    /// Durable with the program, and not looked at yet.
    heard: Vec<Means>,
    /// Sites of which the program has settled a success, with the request it was said of.
    pub succeeded: BTreeSet<(u64, Option<RequestId>)>,
    serial: u64,
    pub counts: Counts,
}

impl World {
    pub fn new(rules: Rules, seed: u64) -> World {
        let mut dice = Dice::of(seed ^ 0x0DCC);
        let regions = ["North", "South", ""];
        let sites = (0..rules.sites).map(|n| Site {
            region: regions[n as usize % 3],
            key_missing: dice.below(100) < rules.fates.key_missing,
            runs_new: false,
            holders: vec![(0, true)],
        });
        World {
            sites: sites.collect(),
            rules,
            dice,
            requests: BTreeMap::new(),
            mail: BTreeMap::new(),
            turns: BTreeMap::new(),
            arrivals: Vec::new(),
            heard: Vec::new(),
            succeeded: BTreeSet::new(),
            serial: 0,
            counts: Counts::default(),
        }
    }

    pub fn site(&mut self, n: u64) -> &mut Site {
        &mut self.sites[n as usize - 1]
    }

    pub fn chance(&mut self, hundredths: u64) -> bool {
        self.dice.below(100) < hundredths
    }

    fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// An attempt that DCC does not have, or whose poster does not know.
    pub fn attempted(&mut self, id: RequestId, attempt: Attempt) {
        self.requests.get_mut(&id).expect("it is posted").attempts.push(attempt);
    }

    /// DCC reads a request, and answers.
    pub fn reads(&mut self, id: RequestId, now: Time) -> Response {
        let sent = self.requests[&id].clone();
        self.arrive(&sent, now);
        if sent.taken {
            self.attempted(id, Attempt::MayBeThere);
            return answer(id, if self.dice.below(3) == 0 { "I99" } else { "E62" });
        }
        let weather = self.rules.weather.clone();
        let refusal = match self.dice.below(100) {
            n if n < weather.says_no => Some("E20"),
            n if n < weather.says_no + weather.says_nonsense => Some("E110101"),
            n if n < weather.says_no + weather.says_nonsense + 1 && weather.says_no > 0 => Some("E2"),
            _ => None,
        };
        if let Some(code) = refusal {
            self.attempted(id, Attempt::Refusing);
            return answer(id, code);
        }
        self.attempted(id, Attempt::MayBeThere);
        self.requests.get_mut(&id).expect("it is posted").taken = true;
        if self.chance(weather.quarantines) {
            self.quarantine(id, now);
            return answer(id, "I99");
        }
        match sent.is_read {
            true => self.is_asked(id, sent.sites[0], now),
            false => self.takes(id, &sent.sites, now),
        }
    }

    fn arrive(&mut self, sent: &Sent, now: Time) {
        if sent.is_read {
            return;
        }
        let in_devices = self.rules.threshold.as_ref().is_some_and(|t| t.in_devices);
        self.arrivals.push((now, if in_devices { sent.sites.len() as u64 } else { 1 }));
        if let Some(threshold) = &self.rules.threshold {
            let since = now.plus_millis(-threshold.hours * HOUR);
            let used: u64 = self.arrivals.iter().filter(|(at, _)| *at > since).map(|(_, n)| n).sum();
            assert!(
                used <= threshold.quarantine,
                "DCC counts {used} within {} h, more than {}",
                threshold.hours,
                threshold.quarantine
            );
        }
    }

    fn quarantine(&mut self, id: RequestId, now: Time) {
        self.counts.quarantines += 1;
        self.requests.get_mut(&id).expect("it is posted").quarantine = Quarantine::Untold;
        let n = self.serial();
        let alert =
            Alert::QuarantinedRequest { request_id: id, quarantine_event_ref: format!("Q-{n}"), breach: Breach::UserThreshold };
        let body = Body::Alert { alert_code: "N57".into(), throttled: Throttled::default(), alert, unknown: Vec::new() };
        let response = Response { request_id: Some(id), response_id: Some(response_id(n)), body, ..answer(id, "I0") };
        let after = self.dice.below(40 * MINUTE as u64) as i64;
        self.post(now.plus_millis(after), response, vec![Means::Quarantined(id)]);
    }

    /// What DCC was told to do with a request that it holds back.
    pub fn decided(&mut self, id: RequestId, process: bool, may_get_two: bool, now: Time) {
        let sent = self.requests.get_mut(&id).expect("it is posted");
        sent.quarantine = if process { Quarantine::Processed } else { Quarantine::Deleted };
        if !may_get_two {
            // The devices have their time again from here on. Where some had been given up and queued again before anybody knew of the
            // quarantine, whoever decided was told that they may get two.
            sent.first_at = now;
        }
        let sent = sent.clone();
        if process && sent.is_read {
            self.is_asked(id, sent.sites[0], now);
        } else if process {
            self.takes(id, &sent.sites, now);
        }
    }

    /// DCC sends an update on its way.
    fn takes(&mut self, id: RequestId, sites: &[u64], now: Time) -> Response {
        let mut dropped = Vec::new();
        for n in sites {
            self.counts.taken_devices += 1;
            if self.rules.weather.drops_a_device > 0 && self.dice.below(400) < self.rules.weather.drops_a_device {
                dropped.push(*n);
            } else {
                self.meets_its_fate(id, *n, now);
            }
        }
        if !dropped.is_empty() {
            let lists = UpdateFirmwareWarning {
                other_request_in_progress: dropped.iter().map(|n| crate::app::tests::device(*n)).collect(),
                ..UpdateFirmwareWarning::default()
            };
            let n = self.serial();
            let after = self.dice.below(HOUR as u64) as i64;
            let means = dropped.iter().map(|n| Means::Ended(id, *n)).collect();
            self.post(now.plus_millis(after), warning(id, n, lists), means);
        } else if self.dice.below(8) == 0 {
            let n = self.serial();
            let after = self.dice.below(DAY as u64) as i64;
            self.post(now.plus_millis(after), later(id, n, "I0"), vec![Means::Nothing]);
        }
        answer(id, "I99")
    }

    fn meets_its_fate(&mut self, id: RequestId, n: u64, now: Time) {
        let slowest = self.rules.fates.slowest as u64;
        let after = match self.dice.below(10) {
            0..6 => self.dice.below(HOUR as u64),
            6..9 => self.dice.below(slowest / 4),
            _ => self.dice.below(slowest),
        } as i64;
        let at = now.plus_millis(after);
        if self.site(n).key_missing {
            let response = s1sp(Some(id), self.serial(), Some(n), "S1VE1", at);
            return self.alert(at, response, Means::Ended(id, n));
        }
        let fates = &self.rules.fates;
        let (succeed, fail) = (fates.succeed, fates.fail);
        match self.dice.below(100) {
            roll if roll < succeed => {
                let serial = self.serial();
                self.turns.insert((at, serial), n);
                if self.dice.below(2) == 0 {
                    let early = now.plus_millis(self.dice.below(after as u64 + HOUR as u64) as i64);
                    let asked = Smets1FirmwareStatus::UpdateRequested;
                    self.alert(early, firmware(Some(id), serial, n, FIRMWARE, asked), Means::Nothing);
                }
                // An alert may be of nobody's request: the version says whose it is.
                let about = (self.dice.below(5) > 0).then_some(id);
                let lag = self.dice.below(10 * MINUTE as u64) as i64;
                let response = activated(about, self.serial(), n);
                self.alert(at.plus_millis(lag), response, Means::Success(about, n));
            }
            roll if roll < succeed + fail => {
                let response = s1sp(Some(id), self.serial(), Some(n), "S1VE2", at);
                self.alert(at, response, Means::Ended(id, n));
            }
            _ if self.dice.below(3) == 0 => {
                let serial = self.serial();
                self.turns.insert((at, serial), n);
            }
            _ => {}
        }
    }

    /// A device, or DCC for it, is asked which version it runs.
    fn is_asked(&mut self, id: RequestId, n: u64, now: Time) -> Response {
        let version = if self.site(n).runs_new { FIRMWARE } else { OLD };
        let means = if self.site(n).runs_new { Means::Success(Some(id), n) } else { Means::Nothing };
        let inventory = id.target == crate::engine::tests::dcc_id();
        debug_assert!(inventory || self.rules.steps != Steps::ReadInventory || self.rules.silent.is_some());
        let after = self.dice.below(2 * HOUR as u64) as i64;
        match self.dice.below(20) {
            0..11 if inventory => {
                // The reply itself: nobody knows whether it is written down.
                return asked::inventory(id, &[(n, Some(version), Some("Commissioned"))]);
            }
            0..16 => {
                let serial = self.serial();
                let said = match inventory {
                    true => asked::inventory(id, &[(n, Some(version), Some("Commissioned"))]),
                    false => asked::runs(Some(id), n, Some(true), Some(version)),
                };
                let said = Response { response_id: inventory.then(|| response_id(serial)), ..said };
                self.alert(now.plus_millis(after), said, means);
            }
            _ => {}
        }
        answer(id, "I99")
    }

    /// An alert may be lost, and may come twice.
    fn alert(&mut self, at: Time, response: Response, means: Means) {
        if self.chance(self.rules.weather.alert_lost) {
            return;
        }
        if self.chance(self.rules.weather.alert_twice) {
            let again = at.plus_millis(self.dice.below(2 * DAY as u64) as i64);
            self.post(again, response.clone(), vec![means]);
        }
        self.post(at, response, vec![means]);
    }

    fn post(&mut self, at: Time, response: Response, means: Vec<Means>) {
        let n = self.serial();
        self.mail.insert((at, n), Mail { response, means });
    }

    /// Time has passed: what devices do by themselves, and the messages that come in now, in no order.
    pub fn due(&mut self, now: Time) -> Vec<Mail> {
        while let Some(turn) = self.turns.first_entry().filter(|t| t.key().0 <= now) {
            let n = turn.remove();
            self.site(n).runs_new = true;
        }
        if self.rules.weather.outage(now) == Some(Outage::Silent) {
            return Vec::new();
        }
        let later = self.mail.split_off(&(now.plus_millis(1), 0));
        let mut due: Vec<Mail> = std::mem::replace(&mut self.mail, later).into_values().collect();
        for n in (1..due.len()).rev() {
            due.swap(n, self.dice.below(n as u64 + 1) as usize);
        }
        due
    }

    /// The program has this, durably.
    pub fn told(&mut self, mail: &Mail) {
        self.counts.messages += 1;
        for means in &mail.means {
            match means {
                Means::Ended(id, n) => drop(self.requests.get_mut(id).expect("it is posted").ended.insert(*n)),
                Means::Quarantined(_) | Means::Success(..) | Means::Nothing => {}
            }
            self.heard.push(*means);
        }
    }

    /// The program has settled all that it has.
    pub fn settled(&mut self) {
        for means in std::mem::take(&mut self.heard) {
            match means {
                Means::Success(about, n) => drop(self.succeeded.insert((n, about))),
                Means::Quarantined(id) => {
                    let sent = self.requests.get_mut(&id).expect("it is posted");
                    if sent.quarantine == Quarantine::Untold {
                        sent.quarantine = Quarantine::Standing;
                    }
                }
                Means::Ended(..) | Means::Nothing => {}
            }
        }
    }

    pub fn has_mail(&self) -> bool {
        !self.mail.is_empty()
    }
}
