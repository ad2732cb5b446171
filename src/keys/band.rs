//! Whether more keys are missing than chance explains: the share that L§13 names, and a binomial tail. Pure.
//! Promise: what is at or below the expected share raises nothing, and more failures never look likelier.

use crate::policy::Retry;

/// Fewer sites than these say nothing of a share: a file of failures alone may have come first.
pub const SITES_MIN: i64 = 1_000;

/// The chance of at least `k` failures among `n` sites, each failing with probability `p`; 1 where `k` is no more than expected.
pub fn chance_of_at_least(k: i64, n: i64, p: f64) -> f64 {
    if k as f64 <= n as f64 * p {
        return 1.0;
    }
    if p <= 0.0 || k > n {
        return 0.0;
    }
    let odds = p / (1.0 - p);
    // The logarithm of the first term: n over k by its factors, times p^k (1-p)^(n-k).
    let choose: f64 = (1..=k).map(|i| ((n - k + i) as f64 / i as f64).ln()).sum();
    let mut term = (choose + k as f64 * p.ln() + (n - k) as f64 * (1.0 - p).ln()).exp();
    let mut sum = 0.0;
    // Above the mean each term is smaller than the one before.
    for i in k..=n {
        sum += term;
        term *= (n - i) as f64 / (i + 1) as f64 * odds;
        if term < sum * 1e-12 {
            break;
        }
    }
    sum.min(1.0)
}

/// More are missing than the policy expects, and what chance says of that.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Unusual {
    pub handled: i64,
    pub failed: i64,
    pub chance: f64,
}

/// `None`: as expected, or too few to say.
pub fn unusual(retry: &Retry, handled: i64, failed: i64) -> Option<Unusual> {
    let chance = chance_of_at_least(failed, handled, retry.expected_share.of_one());
    (handled >= SITES_MIN && chance < retry.alarm_chance.of_one()).then_some(Unusual { handled, failed, chance })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::PolicySet;

    #[test]
    fn the_tail_is_the_binomial_one() {
        // Two coins, three coins: by hand.
        assert!((chance_of_at_least(2, 2, 0.5) - 0.25).abs() < 1e-12);
        assert!((chance_of_at_least(2, 3, 0.5) - 0.5).abs() < 1e-12);
        // 100,000 sites at 0.3%: 300 expected, standard deviation 17.3. Three of them above is about one in 700.
        let three = chance_of_at_least(352, 100_000, 0.003);
        assert!((0.0012..0.0020).contains(&three), "{three}");
        assert_eq!(chance_of_at_least(300, 100_000, 0.003), 1.0);
    }

    #[test]
    fn an_alarm_wants_enough_sites_and_enough_failures() {
        let retry = PolicySet::compiled().retry;
        assert_eq!(unusual(&retry, 50_000, 150), None);
        assert_eq!(unusual(&retry, 50_000, 175), None, "two standard deviations");
        assert!(unusual(&retry, 50_000, 200).is_some());
        assert_eq!(unusual(&retry, 9, 5), None);
    }

    proptest! {
        #[test]
        fn more_failures_never_look_likelier(n in 1..200_000i64, k in 0..2_000i64) {
            let (a, b) = (chance_of_at_least(k, n, 0.003), chance_of_at_least(k + 1, n, 0.003));
            prop_assert!((0.0..=1.0).contains(&a) && b <= a + 1e-12);
        }
    }
}
