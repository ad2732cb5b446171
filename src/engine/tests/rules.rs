//! What is different from one simulated rollout to the next, drawn from its seed: the policies, DCC's weather, what devices come to, and how
//! often people meddle and the program dies. Written as the policy files that the program reads.

use std::path::Path;

use super::{HOUR, MINUTE, wall::Opening};
use crate::{app::tests::month::Dice, clock::Time};

const DAY: i64 = 24 * HOUR;
const HEAD: &str = "version = 1\neffective_from = \"2020-11-24\"\n";

/// Asked and told, of each wave but the last.
#[derive(Debug, Clone)]
pub struct Staged {
    pub soak_hours: i64,
    pub minimum_sample: i64,
    /// In percent.
    pub max_failures: i64,
    pub deadline_hours: i64,
    pub leaves_out_silence: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steps {
    UpdateAlone,
    ReadInventory,
    ReadVersion,
}

/// What the silent are asked, and how often they are sent again.
#[derive(Debug, Clone)]
pub struct Silent {
    pub asks: &'static str,
    pub retries: i64,
}

/// DCC's anomaly detection, as it was registered.
#[derive(Debug, Clone)]
pub struct Threshold {
    pub in_devices: bool,
    pub hours: i64,
    pub quarantine: u64,
}

/// How DCC is while it is not well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    /// Nobody takes the connection.
    Gone,
    /// It takes requests, and neither replies nor sends anything until it is over.
    Silent,
}

/// In hundredths, where nothing else is said.
#[derive(Debug, Clone, Default)]
pub struct Weather {
    pub refused: u64,
    pub request_lost: u64,
    pub reply_lost: u64,
    pub says_no: u64,
    pub says_nonsense: u64,
    pub http_no: u64,
    pub quarantines: u64,
    pub drops_a_device: u64,
    pub alert_lost: u64,
    pub alert_twice: u64,
    pub webhook_fails: u64,
    pub outages: Vec<(Time, Time, Outage)>,
}

/// Of a hundred devices that get an update; the rest say nothing and run what they ran.
#[derive(Debug, Clone)]
pub struct Fates {
    pub succeed: u64,
    pub fail: u64,
    /// Of those that the tool calls updated, the ones whose key is missing at DCC all the same, in hundredths.
    pub key_missing: u64,
    pub slowest: i64,
}

#[derive(Debug, Clone)]
pub struct Rules {
    pub sites: u64,
    pub start: Time,
    pub busy: i64,
    pub batch_size: i64,
    pub answer_hours: i64,
    pub staged: Option<Staged>,
    pub cap: Option<i64>,
    pub cap_in_all: Option<i64>,
    pub openings: Vec<Opening>,
    pub steps: Steps,
    pub silent: Option<Silent>,
    pub threshold: Option<Threshold>,
    pub resubmits: bool,
    pub second_campaign: bool,
    /// The campaign is planned and started by the clock, not at once.
    pub by_schedule: bool,
    pub weather: Weather,
    pub fates: Fates,
    /// In hundredths of the ticks.
    pub people: u64,
    pub deaths: u64,
}

impl Rules {
    pub fn of(seed: u64) -> Rules {
        let mut dice = Dice::of(seed);
        let mut one_in = |n: u64| dice.below(n) == 0;
        let (staged, silent, threshold) = (one_in(2), one_in(2), one_in(3));
        let (capped, capped_in_all, resubmits, second_campaign) = (one_in(3), one_in(4), one_in(4), one_in(3));
        let start = start(&mut dice);
        let busy = (2 + dice.below(6) as i64) * DAY;
        Rules {
            sites: 20 + dice.below(8) * dice.below(12),
            start,
            busy,
            batch_size: 1 + dice.below(25) as i64,
            answer_hours: [6, 24, 72][dice.below(3) as usize],
            staged: staged.then(|| Staged {
                soak_hours: dice.below(3) as i64 * 6,
                minimum_sample: 2 + dice.below(4) as i64,
                max_failures: [5, 20, 40][dice.below(3) as usize],
                deadline_hours: 24 + dice.below(3) as i64 * 48,
                leaves_out_silence: dice.below(2) == 0,
            }),
            cap: capped.then(|| 4 + dice.below(20) as i64),
            cap_in_all: capped_in_all.then(|| 4 + dice.below(30) as i64),
            openings: Opening::some(&mut dice, start, busy),
            steps: [Steps::UpdateAlone, Steps::UpdateAlone, Steps::ReadInventory, Steps::ReadVersion][dice.below(4) as usize],
            silent: silent.then(|| Silent {
                asks: ["\"read-inventory\"", "\"read-version\"", "\"read-inventory\", \"read-version\""][dice.below(3) as usize],
                retries: dice.below(3) as i64,
            }),
            threshold: threshold.then(|| Threshold {
                in_devices: dice.below(2) == 0,
                hours: [1, 6, 24][dice.below(3) as usize],
                quarantine: 4 + dice.below(30),
            }),
            resubmits,
            second_campaign,
            by_schedule: false,
            weather: Weather::of(&mut dice, start, busy),
            fates: Fates {
                succeed: [95, 85, 70, 40][dice.below(4) as usize],
                fail: dice.below(5) * dice.below(4),
                key_missing: dice.below(3) * 4,
                slowest: [2 * HOUR, 30 * HOUR, 100 * HOUR][dice.below(3) as usize],
            },
            people: [0, 6, 12, 25][dice.below(4) as usize],
            deaths: [0, 10, 25, 60][dice.below(4) as usize],
        }
    }

    /// All is well, and nobody meddles: what a scenario begins from.
    pub fn well(start: &str, sites: u64) -> Rules {
        Rules {
            sites,
            start: start.parse().unwrap(),
            busy: 5 * DAY,
            batch_size: 40,
            answer_hours: 24,
            staged: None,
            cap: None,
            cap_in_all: None,
            openings: Vec::new(),
            steps: Steps::UpdateAlone,
            silent: None,
            threshold: None,
            resubmits: false,
            second_campaign: false,
            by_schedule: false,
            weather: Weather::default(),
            fates: Fates { succeed: 100, fail: 0, key_missing: 0, slowest: 20 * HOUR },
            people: 0,
            deaths: 20,
        }
    }

    /// The policy files.
    pub fn write(&self, dir: &Path) {
        let file = |name: &str, text: String| std::fs::write(dir.join(name), text).unwrap();
        let shipped = include_str!("../../../policies/eligibility.toml");
        let eligibility = shipped.replace("answer_within = \"72h\"", &format!("answer_within = \"{}h\"", self.answer_hours));
        assert!(self.answer_hours == 72 || eligibility != shipped);
        file("eligibility.toml", eligibility);
        file("rollout.toml", self.rollout());
        file("windows.toml", format!("{HEAD}{}", self.openings.iter().map(Opening::toml).collect::<String>()));
        file("steps.toml", self.steps());
        file("thresholds.toml", self.thresholds());
        let retry = include_str!("../../../policies/retry.toml");
        file("retry.toml", retry.replace("\nresubmit = false", &format!("\nresubmit = {}", self.resubmits)));
        file("notify.toml", team(dir));
    }

    fn rollout(&self) -> String {
        let in_all = self.cap_in_all.map_or(String::new(), |cap| format!("in_flight_in_all = {cap}\n"));
        let cap = self.cap.map_or(String::new(), |cap| format!("in_flight = {cap}\n"));
        let head =
            format!("{HEAD}default = \"chosen\"\n{in_all}[preset.chosen]\n{cap}top_up = \"by-itself\"\ntop_up_sites = 5\n");
        let Some(staged) = &self.staged else { return format!("{head}waves = [\"100%\"]\n") };
        let Staged { soak_hours, minimum_sample, max_failures, deadline_hours, leaves_out_silence } = staged;
        let exclude = if *leaves_out_silence { "\"silent\"" } else { "" };
        format!(
            "{head}soak = \"{soak_hours}h\"\nminimum_sample = {minimum_sample}\nmax_failures = \"{max_failures}%\"\n\
             least_success = \"{}%\"\ndeadline = \"{deadline_hours}h\"\nexclude = [{exclude}]\n\
             [[preset.chosen.wave]]\nname = \"canary\"\nsize = \"10%\"\n[[preset.chosen.wave]]\nname = \"wide\"\nsize = \"30%\"\n\
             [[preset.chosen.wave]]\nname = \"rest\"\nsize = \"rest\"\n",
            80 - max_failures
        )
    }

    fn steps(&self) -> String {
        let read = match self.steps {
            Steps::UpdateAlone => "",
            Steps::ReadInventory => ", \"read-inventory\"",
            Steps::ReadVersion => ", \"read-version\"",
        };
        let silent = self.silent.as_ref().map_or(String::new(), |s| {
            let wait = (self.answer_hours / 3).max(1);
            format!("silent = [{}]\nask_within = \"3h\"\nretries = {}\nretry_after = \"{wait}h\"\n", s.asks, s.retries)
        });
        format!("{HEAD}reads_per_minute = 600\n[default.IOC]\nsteps = [\"update\"{read}]\n{silent}")
    }

    fn thresholds(&self) -> String {
        let Some(Threshold { in_devices, hours, quarantine }) = &self.threshold else {
            return format!("{HEAD}counts = \"requests\"\n");
        };
        let counts = if *in_devices { "devices" } else { "requests" };
        format!(
            "{HEAD}counts = \"{counts}\"\nmargin = \"1m\"\n[[threshold]]\nrequest = \"11.1\"\nperiod = \"{hours}h\"\nquarantine = {quarantine}\n"
        )
    }
}

/// A winter's day, or a few days before clocks change.
fn start(dice: &mut Dice) -> Time {
    let days = ["2026-11-25", "2026-11-27", "2027-03-25", "2027-03-26", "2027-10-28", "2027-10-29"];
    let day: crate::clock::Day = days[dice.below(6) as usize].parse().unwrap();
    day.start().plus_millis(dice.below(24 * 60) as i64 * MINUTE)
}

impl Weather {
    fn of(dice: &mut Dice, start: Time, busy: i64) -> Weather {
        let bad = [0, 1, 3, 8][dice.below(4) as usize];
        let outages = (0..dice.below(4)).map(|_| {
            let from = start.plus_millis(dice.below(busy as u64) as i64);
            let long = [20 * MINUTE, 5 * HOUR, 40 * HOUR][dice.below(3) as usize];
            (from, from.plus_millis(dice.below(long as u64) as i64), [Outage::Gone, Outage::Silent][dice.below(2) as usize])
        });
        Weather {
            outages: outages.collect(),
            refused: bad,
            request_lost: bad,
            reply_lost: 2 * bad,
            says_no: dice.below(3) * bad,
            says_nonsense: dice.below(2) * bad / 3,
            http_no: dice.below(2) * bad / 3,
            quarantines: dice.below(2) * 4,
            drops_a_device: dice.below(2) * 10,
            alert_lost: dice.below(3) * bad,
            alert_twice: dice.below(20),
            webhook_fails: dice.below(30),
        }
    }

    /// What is so of DCC now; `None`: it is well.
    pub fn outage(&self, now: Time) -> Option<Outage> {
        self.outages.iter().find(|(from, to, _)| *from <= now && now < *to).map(|(_, _, outage)| *outage)
    }
}

/// One team that is told everything.
fn team(dir: &Path) -> String {
    use std::os::unix::fs::PermissionsExt;
    let secret = dir.join("notify.secret");
    std::fs::write(&secret, "0123456789abcdef0123456789abcdef\n").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    format!(
        "{HEAD}timeout = \"1s\"\ngive_up_after = \"72h\"\n[[team]]\nname = \"incident\"\nmpid = \"EELC\"\nurl = \"http://127.0.0.1:9/told\"\n\
         secret = \"file:notify.secret\"\nevents = [\"alarm\", \"campaign-waits\", \"case-opened\", \"case-escalated\", \"case-resolved\", \"rerun-requested\"]\n"
    )
}
