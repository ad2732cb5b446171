//! People, who say sensible things at odd moments: they stop and resume, take out and try again, decide what waits for them, bring files and
//! change policies. What they said is kept (`Word`), since the program is held to it.

use super::{
    HOUR, Turn, Whole,
    dcc::Front,
    ledger::Quarantine,
    wall::{self, Opening},
};
use crate::{
    app::{
        RetryFilter,
        tests::{APPROVER, OPERATOR, device, mpan},
    },
    campaign::{Campaign, CampaignState},
    estate::import::Kind,
    gateway::quarantine::Decision,
    ids::RequestId,
};

const OTHER: &str = "OTHR";

impl Whole {
    pub(super) async fn people_act(&mut self) {
        let rules = self.rules();
        if self.dice.below(100) < 20 {
            self.decide_what_waits(true).await;
        }
        if self.dice.below(100) >= rules.people {
            return;
        }
        let names: Vec<String> = self.campaigns.keys().cloned().collect();
        let name = names[self.dice.below(names.len() as u64) as usize].clone();
        match self.dice.below(24) {
            0 | 1 => self.stop(&name, false).await,
            2 => self.stop(&name, true).await,
            3..8 => self.go_on(&name).await,
            8 | 9 => self.take_out(&name).await,
            10..13 => self.try_again(&name).await,
            13 if self.dice.below(4) == 0 => self.abort(&name).await,
            14..17 => self.supply_changes().await,
            17..20 => self.keys_come(false).await,
            20 => self.windows_change().await,
            21 | 22 => self.approve_again().await,
            _ => self.let_go_what_is_held().await,
        }
    }

    /// As the program has it now.
    pub(super) async fn campaign(&self, name: &str) -> Campaign {
        self.app().campaign(name).await.unwrap()
    }

    /// Whatever was answered, or not: the campaign stands still if it is not started.
    async fn note_word(&mut self, name: &str) {
        let campaign = self.campaign(name).await;
        let mut word = self.front.word();
        match campaign.state {
            CampaignState::Started => word.stopped.remove(&campaign.id),
            CampaignState::Paused | CampaignState::Aborted => word.stopped.insert(campaign.id),
            _ if campaign.stopped_code.as_deref() == Some("OPERATOR") => word.stopped.insert(campaign.id),
            _ => false,
        };
    }

    async fn stop(&mut self, name: &str, halt: bool) {
        let said = match halt {
            true => self.told(async |app| app.halt_campaign(name, "smoke in Leeds", OPERATOR).await).await,
            false => self.told(async |app| app.pause_campaign(name, OPERATOR).await).await,
        };
        if said.is_ok() {
            let state = self.campaign(name).await.state;
            assert_ne!(state, CampaignState::Started, "{name} was stopped at {}, and goes on", self.now());
        }
        self.note_word(name).await;
    }

    pub(super) async fn abort(&mut self, name: &str) {
        let _ = self.told(async |app| app.abort_campaign(name, OPERATOR).await).await;
        self.note_word(name).await;
    }

    /// What stands still goes on, if it may.
    pub(super) async fn go_on(&mut self, name: &str) {
        let campaign = self.campaign(name).await;
        if !matches!(campaign.state, CampaignState::Paused | CampaignState::Halted) {
            return self.let_waves_go_on(name).await;
        }
        // Of a wave that failed a person must say that it may go on; if it is that which stopped the campaign, this resumes it.
        self.let_waves_go_on(name).await;
        let _ = self.told(async |app| app.resume_campaign(name, OPERATOR).await).await;
        self.note_word(name).await;
    }

    async fn let_waves_go_on(&mut self, name: &str) {
        for wave in ["canary", "wide", "rest"] {
            let said = self.told(async |app| app.let_wave_go_on(name, wave, APPROVER, "a known fault", OPERATOR).await).await;
            self.front.world().counts.go_ons += u64::from(said.is_ok_and(|(_, changed)| changed));
        }
        self.note_word(name).await;
    }

    async fn take_out(&mut self, name: &str) {
        let sites = self.rules().sites;
        let some: Vec<u64> = (0..1 + self.dice.below(2)).map(|_| 1 + self.dice.below(sites)).collect();
        let devices: Vec<_> = some.iter().map(|n| device(*n)).collect();
        let said = self.told(async |app| app.exclude_devices(name, &devices, "a hall of residence", OPERATOR, false).await).await;
        if said.is_ok() {
            let id = self.campaigns[name];
            self.front.word().excluded.extend(some.iter().map(|n| (id, *n)));
        }
    }

    pub(super) async fn try_again(&mut self, name: &str) {
        let _ = self.told(async |app| app.retry_some(name, &RetryFilter::default(), OPERATOR, false).await).await;
    }

    /// What DCC holds back is decided, and what alarms ask for is done.
    pub(super) async fn decide_what_waits(&mut self, at_leisure: bool) {
        let standing = |front: &Front| -> Vec<RequestId> {
            let world = front.world();
            world.requests.iter().filter(|(_, s)| s.quarantine == Quarantine::Standing).map(|(id, _)| *id).collect()
        };
        for id in standing(&self.front) {
            if at_leisure && self.dice.below(3) > 0 {
                continue;
            }
            // DCC was told before: it may go on before the program hears of it, or after.
            let process = self.dice.below(2) == 0;
            // Not looked at yet: nobody knows of it.
            self.live(Turn::Lease).await;
            self.live(Turn::Settle).await;
            let decision = if process { Decision::Process } else { Decision::Delete };
            let said =
                self.told(async |app| app.decide_quarantine(id, decision, "jane.doe", "DCC file 17", OPERATOR).await).await;
            if let Ok(said) = said {
                let now = self.now();
                self.front.world().decided(id, process, said.elsewhere > 0, now);
            }
        }
        for alarm in self.app().alarms(true, None, 0, 99).await.unwrap() {
            if alarm.kind == crate::alarm::AlarmKind::ReadsRefused {
                let _ = self.told(async |app| app.dismiss_alarm(alarm.id, "our role was corrected", OPERATOR).await).await;
            }
        }
    }

    /// One site in some changes hands, told today or ahead; of those that were lost, one comes back.
    async fn supply_changes(&mut self) {
        let (sites, now) = (self.rules().sites, self.now());
        let today = wall::day(now);
        let n = 1 + self.dice.below(sites);
        let (from, last) = {
            let mut world = self.front.world();
            let from = today + world.dice.below(4) as i64;
            (from, *world.site(n).holders.last().unwrap())
        };
        if last.0 >= from {
            return;
        }
        let holder = if last.1 { OTHER } else { "EELC" };
        let row = format!("mpan,supplier_mpid,effective_from,effective_to\n{},{holder},{},\n", mpan(n), crate::clock::Day(from));
        self.import(Kind::Registrations, row, false).await;
        self.front.world().site(n).holders.push((from, !last.1));
    }

    /// DCC's tool brings keys, to some or to all that lack them; now and then it says that one is missing.
    pub(super) async fn keys_come(&mut self, to_all: bool) {
        let (sites, now) = (self.rules().sites, self.now());
        let mut text = "device_id,status,attempted_at\n".to_string();
        let (mut some, mut brought) = (false, Vec::new());
        for n in 1..=sites {
            let missing = self.front.world().site(n).key_missing;
            if missing && (to_all || self.dice.below(3) == 0) {
                text += &format!("{},updated,{now}\n", device(n));
                (some, brought) = (true, {
                    brought.push(n);
                    brought
                });
            } else if !to_all && !missing && self.dice.below(sites * 4) == 0 {
                text += &format!("{},failed,{now}\n", device(n));
                some = true;
            }
        }
        if to_all {
            // Also those that the tool called failed, and whose key was there all along.
            for n in (1..=sites).filter(|n| !brought.contains(n)) {
                text += &format!("{},updated,{now}\n", device(n));
            }
            some = true;
        }
        if some {
            brought.iter().for_each(|n| self.front.world().site(*n).key_missing = false);
            self.import(Kind::Keys, text, false).await;
        }
    }

    /// A freeze is added or ends, which asks for another approval.
    pub(super) async fn windows_change(&mut self) {
        let mut rules = self.rules();
        let today = wall::day(self.now());
        match rules.openings.iter().position(|o| matches!(o, Opening::Freeze { .. })) {
            Some(place) => drop(rules.openings.remove(place)),
            None if self.calm => return,
            None => rules.openings.push(Opening::Freeze { from: today, to: today + 2, region: Some("North") }),
        }
        rules.write(&self.settings.policies_dir);
        self.front.world().rules = rules;
        if self.dice.below(3) > 0 {
            self.approve_again().await;
        }
    }

    pub(super) async fn approve_again(&mut self) {
        for name in self.campaigns.keys().cloned().collect::<Vec<_>>() {
            let _ = self.told(async |app| app.approve_campaign(&name, APPROVER, OPERATOR).await).await;
        }
    }

    /// Requests that wait for a person are let go.
    pub(super) async fn let_go_what_is_held(&mut self) {
        let held: Vec<RequestId> = {
            let mut look = self.app().db.read().await.unwrap();
            let held = crate::gateway::outbox::OutboxState::Held;
            crate::gateway::outbox::list(&mut look, Some(held), None, 99).await.unwrap().iter().map(|r| r.id).collect()
        };
        for id in held {
            let _ = self.told(async |app| app.release_request(id, "DCC's desk says so", OPERATOR).await).await;
        }
    }
}

/// A quiet end needs no haste.
pub(super) const QUIET_STEP: i64 = 3 * HOUR;
