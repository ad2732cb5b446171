//! What happened in simulated rollouts, summed up: a simulation in which nothing happens proves nothing.

#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    pub posts: u64,
    pub resends: u64,
    pub reads: u64,
    pub taken_devices: u64,
    pub second_requests: u64,
    pub quarantines: u64,
    pub messages: u64,
    pub deaths: u64,
    pub halts_by_wave: u64,
    pub go_ons: u64,
    pub waves_passed: u64,
    pub told_teams: u64,
    pub verified: u64,
    pub activated: u64,
    pub expired: u64,
    pub ticks: u64,
}

impl Counts {
    pub fn plus(self, other: Counts) -> Counts {
        Counts {
            posts: self.posts + other.posts,
            resends: self.resends + other.resends,
            reads: self.reads + other.reads,
            taken_devices: self.taken_devices + other.taken_devices,
            second_requests: self.second_requests + other.second_requests,
            quarantines: self.quarantines + other.quarantines,
            messages: self.messages + other.messages,
            deaths: self.deaths + other.deaths,
            halts_by_wave: self.halts_by_wave + other.halts_by_wave,
            go_ons: self.go_ons + other.go_ons,
            waves_passed: self.waves_passed + other.waves_passed,
            told_teams: self.told_teams + other.told_teams,
            verified: self.verified + other.verified,
            activated: self.activated + other.activated,
            expired: self.expired + other.expired,
            ticks: self.ticks + other.ticks,
        }
    }
}
