//! Chance that can be repeated: every choice is a hash of the seed, what is decided, and whom it concerns.
//! So it does not depend on the order in which things are asked, and one seed gives one run.

/// A source of choices.
#[derive(Debug, Clone, Copy)]
pub struct Dice {
    seed: u64,
}

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice { seed }
    }

    /// 64 bits for this `purpose` (a word) and `subject` (a device, a request counter).
    ///
    /// Never inlined: with constant words unrolled into a caller's loop, the optimiser's vectoriser takes hours to look at the chain of
    /// mixes (seen with rustc 1.95).
    #[inline(never)]
    pub fn bits(&self, purpose: &str, subject: u64) -> u64 {
        let word = purpose.bytes().fold(self.seed ^ 0x9E37_79B9_7F4A_7C15, |hash, byte| mix(hash ^ u64::from(byte)));
        mix(mix(word ^ subject).wrapping_add(subject))
    }

    /// A number in [0, 1).
    pub fn unit(&self, purpose: &str, subject: u64) -> f64 {
        // 53 bits are what an f64 holds exactly.
        (self.bits(purpose, subject) >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn hits(&self, share: Share, purpose: &str, subject: u64) -> bool {
        share.0 > 0.0 && self.unit(purpose, subject) < share.0
    }

    /// A whole number with `low <= n <= high`.
    pub fn between(&self, low: u64, high: u64, purpose: &str, subject: u64) -> u64 {
        let span = high.saturating_sub(low).saturating_add(1).max(1);
        low + self.bits(purpose, subject) % span
    }
}

/// The finaliser of SplitMix64: every bit of the input moves half the bits of the output.
#[inline(never)]
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A number whose bits are not those of its neighbours: to be joined to another by exclusive or.
pub fn turn(number: u64) -> u64 {
    mix(number.wrapping_add(1))
}

/// A part of a whole, written as a percentage: `"2.5%"`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Share(f64);

impl Share {
    pub const NONE: Share = Share(0.0);
    pub const ALL: Share = Share(1.0);

    /// Of 0 to 1.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl std::str::FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Share, String> {
        let number = text.strip_suffix('%').and_then(|n| n.trim().parse::<f64>().ok());
        match number {
            Some(n) if (0.0..=100.0).contains(&n) => Ok(Share(n / 100.0)),
            _ => Err(format!("{text:?} is not a share: write a percentage from \"0%\" to \"100%\", such as \"2.5%\"")),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Share {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Share, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_hit_about_as_often_as_it_says() {
        let dice = Dice::new(7);
        let hits = (0..100_000).filter(|n| dice.hits("2.5%".parse().unwrap(), "lost", *n)).count();
        assert!((2_300..2_700).contains(&hits), "{hits}");
        assert_eq!((0..1000).filter(|n| dice.hits(Share::NONE, "lost", *n)).count(), 0);
        assert_eq!((0..1000).filter(|n| dice.hits(Share::ALL, "lost", *n)).count(), 1000);
    }

    #[test]
    fn purposes_and_seeds_choose_independently() {
        let both = |a: Dice, p: &str, b: Dice, q: &str| {
            let half: Share = "50%".parse().unwrap();
            (0..10_000).filter(|n| a.hits(half, p, *n) && b.hits(half, q, *n)).count()
        };
        assert!((2_300..2_700).contains(&both(Dice::new(1), "lost", Dice::new(1), "doubled")));
        assert!((2_300..2_700).contains(&both(Dice::new(1), "lost", Dice::new(2), "lost")));
    }

    #[test]
    fn shares_that_are_not_percentages_are_refused() {
        for bad in ["", "2.5", "-1%", "101%", "NaN%", "inf%", "%", "x%"] {
            assert!(bad.parse::<Share>().is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn between_keeps_both_ends(seed: u64, low in 0u64..1000, more in 0u64..1000, who: u64) {
            let n = Dice::new(seed).between(low, low + more, "delay", who);
            proptest::prop_assert!(n >= low && n <= low + more);
        }
    }
}
