//! The waves of a plan: which there are, who is in which, and where each stands. Membership is fixed when the plan is made; what follows
//! from how a wave goes is [`super::health`]'s. Pure but for its [`store`].

mod draw;
mod progress;
pub mod store;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    clock::Time,
    failure::Failure,
    ids::ImageId,
    policy::{Wave, WaveSize},
};

pub use draw::{Drawing, Drawn, draw};
pub use progress::{Progress, health_now, progress};

/// The waves of a plan, as they are kept with it and bound by its approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waves {
    /// What the members were drawn by.
    pub seed: i64,
    pub waves: Vec<PlannedWave>,
}

/// One of them, with its members when the plan was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedWave {
    #[serde(flatten)]
    pub wave: Wave,
    pub eligible: i64,
    pub held: i64,
}

impl Waves {
    /// As a column, and as an approval is bound to it.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("waves are plain data")
    }

    pub fn get(&self, number: i64) -> Option<&PlannedWave> {
        usize::try_from(number - 1).ok().and_then(|n| self.waves.get(n))
    }

    /// The last wave's number.
    pub fn last(&self) -> i64 {
        self.waves.len() as i64
    }

    /// 1, 2, ... of the wave that is called so.
    pub fn number_of(&self, name: &str) -> Option<i64> {
        self.waves.iter().position(|w| w.wave.name == name).map(|n| n as i64 + 1)
    }

    /// What a target keeps of the wave that is called so: nothing of the last.
    pub fn column_of(&self, name: &str) -> Option<Option<i64>> {
        self.number_of(name).map(|number| Some(number).filter(|n| *n != self.last()))
    }

    /// The wave of a target, from its column.
    pub fn of_target(&self, column: Option<i64>) -> i64 {
        column.unwrap_or(self.last())
    }

    /// `canary, early, wide, rest`: for messages.
    pub fn names(&self) -> String {
        self.waves.iter().map(|w| w.wave.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// A name that is no wave's, with those there are.
pub fn no_such_wave(name: &str, names: &str) -> Failure {
    Failure::usage(format!("the campaign has no wave {name:?}")).help(format!("its waves: {names}"))
}

/// Another for each plan, so that not the same homes are the canary each time; the same for whoever asks again.
pub fn seed_of(campaign: i64, plan: i64, image: ImageId) -> i64 {
    let digest: [u8; 32] = Sha256::digest(format!("waves of campaign {campaign} plan {plan} image {image}")).into();
    // 53 bits, which every reader of JSON keeps exactly.
    (u64::from_be_bytes(digest[..8].try_into().expect("eight bytes")) >> 11) as i64
}

/// How many of so many sites are in each wave. A share is of all of them, and at least one site where any is left; the last takes the
/// rest.
pub fn sizes(sizes: &[WaveSize], sites: i64) -> Vec<i64> {
    let mut left = sites;
    let last = sizes.len().saturating_sub(1);
    let each = |(n, size): (usize, &WaveSize)| {
        let wanted = match size {
            _ if n == last => left,
            WaveSize::Rest => left,
            WaveSize::Count(count) => *count,
            WaveSize::Share(share) if share.hundredths() == 0 => 0,
            WaveSize::Share(share) => share.of(sites).max(1),
        };
        let taken = wanted.min(left);
        left -= taken;
        taken
    };
    sizes.iter().enumerate().map(each).collect()
}

crate::spelled! {
    /// What follows from how a wave goes.
    Verdict, "a verdict: go-on, wait, hold or halt" {
        /// The next may begin.
        GoOn = "go-on",
        /// Nothing is decided yet, and no person is needed.
        Wait = "wait",
        /// Nothing new leaves until a person says so, or answers come after all.
        Hold = "hold",
        /// Too many failed: the campaign is halted, and a person decides on.
        Halt = "halt",
    }
}

/// A wave that has begun, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenWave {
    pub number: i64,
    pub opened_at: Time,
    pub all_sent_at: Option<Time>,
    pub passed_at: Option<Time>,
    pub verdict: Verdict,
    pub because: String,
    pub judged_at: Time,
    pub let_go: Option<LetGo>,
    pub forgiven: Forgiven,
}

/// A person's word that a wave may go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LetGo {
    pub at: Time,
    pub by: String,
    pub reason: String,
}

/// What was known when a person let a wave go on: it is not held against it again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Forgiven {
    pub answered: i64,
    pub failed: i64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(texts: &[&str]) -> Vec<WaveSize> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    #[test]
    fn waves_are_as_large_as_the_file_says() {
        let staged = parsed(&["0.1%", "1%", "10%", "rest"]);
        assert_eq!(sizes(&staged, 1_000_000), [1_000, 10_000, 100_000, 889_000]);
        assert_eq!(sizes(&staged, 1_000), [1, 10, 100, 889]);
        assert_eq!(sizes(&staged, 5), [1, 1, 1, 2], "a canary of none would be no canary");
        assert_eq!(sizes(&staged, 2), [1, 1, 0, 0]);
        assert_eq!(sizes(&staged, 0), [0, 0, 0, 0]);
        assert_eq!(sizes(&parsed(&["50", "10%", "rest"]), 400), [50, 40, 310]);
        assert_eq!(sizes(&parsed(&["50", "10%", "rest"]), 20), [20, 0, 0]);
        assert_eq!(sizes(&parsed(&["33.33%", "66.67%"]), 100), [33, 67]);
    }

    proptest! {
        #[test]
        fn every_site_is_in_exactly_one_wave(
            counts in prop::collection::vec((0_i64..3_000, any::<bool>()), 0..6), sites in 0_i64..2_000_000,
        ) {
            let size = |(n, share): (i64, bool)| match share {
                true => format!("{}.{}%", n / 100, n % 100 / 10).parse().unwrap(),
                false => WaveSize::Count(n + 1),
            };
            let mut all: Vec<WaveSize> = counts.into_iter().map(size).collect();
            all.push(WaveSize::Rest);
            let each = sizes(&all, sites);
            prop_assert_eq!(each.iter().sum::<i64>(), sites);
            prop_assert!(each.iter().all(|n| *n >= 0) && each.len() == all.len());
        }
    }

    #[test]
    fn a_seed_is_the_plans_own_and_fits_any_reader_of_json() {
        let image = ImageId([7; 32]);
        assert_eq!(seed_of(1, 2, image), seed_of(1, 2, image));
        assert_ne!(seed_of(1, 2, image), seed_of(1, 3, image));
        assert!((0..1_i64 << 53).contains(&seed_of(9, 9, image)));
    }
}
