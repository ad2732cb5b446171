//! How long to wait before a request is tried again. Pure: the same arguments give the same wait, on every node.

use std::time::Duration;

use super::Pace;

/// The longest first wait (contract.md: the first retry within 2 s).
const FIRST_WAIT_MILLIS: u64 = 2_000;
/// The longest wait ever, unless DCC itself asks for a longer one (contract.md: backing off to 60 s).
const WAIT_CAP_MILLIS: u64 = 60_000;
/// As much of a Retry-After as is believed: a wrong or hostile value must not park a batch for a night, and asking again
/// after five minutes costs DCC nothing.
const RETRY_AFTER_CAP_SECONDS: u64 = 300;
/// Doublings after which the cap is reached: 2 s * 2^5 = 64 s.
const DOUBLINGS: u32 = 5;

/// The wait after attempt number `attempt` (the first is 1) failed. Each wait lies in the upper half of its range, which grows
/// as the fault's pace says, spread by (`seed`, `attempt`), so that many requests do not come back at once. `retry_after` is
/// DCC's own wish: never undercut, and bounded.
pub fn backoff(attempt: u32, seed: u64, pace: Pace, retry_after: Option<Duration>) -> Duration {
    let doublings_each = match pace {
        Pace::Doubling => 1,
        Pace::Steep => 2,
    };
    let ceiling = FIRST_WAIT_MILLIS << attempt.saturating_sub(1).saturating_mul(doublings_each).min(DOUBLINGS);
    let floor = ceiling / 2;
    let millis = floor + mixed(seed, attempt) % (ceiling.min(WAIT_CAP_MILLIS) - floor + 1);
    let asked = retry_after.unwrap_or_default().min(Duration::from_secs(RETRY_AFTER_CAP_SECONDS));
    Duration::from_millis(millis).max(asked)
}

/// A wait after attempt number `attempt` for something else than DCC: as [`backoff`] doubles, from `first` up to `cap`.
pub fn doubling(attempt: u32, seed: u64, first: Duration, cap: Duration) -> Duration {
    let (first, cap) = (first.as_millis().max(1) as u64, cap.as_millis() as u64);
    let ceiling = first.checked_shl(attempt.saturating_sub(1).min(u64::BITS / 2)).unwrap_or(cap).min(cap);
    let floor = ceiling / 2;
    Duration::from_millis(floor + mixed(seed, attempt) % (ceiling - floor + 1))
}

/// Well-mixed bits of the two (the finalizer of splitmix64).
fn mixed(seed: u64, attempt: u32) -> u64 {
    let mut z = seed ^ u64::from(attempt).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACES: [Pace; 2] = [Pace::Doubling, Pace::Steep];

    #[test]
    fn waits_of_many_requests_are_spread() {
        let waits: std::collections::BTreeSet<_> = (0..100).map(|seed| backoff(3, seed, Pace::Doubling, None)).collect();
        assert!(waits.len() > 80, "{}", waits.len());
    }

    proptest::proptest! {
        #[test]
        fn a_wait_is_bounded_and_the_same_each_time(attempt: u32, seed: u64, asked in proptest::option::of(0u64..u64::MAX)) {
            let asked = asked.map(Duration::from_secs);
            for pace in PACES {
                let wait = backoff(attempt, seed, pace, asked);
                proptest::prop_assert_eq!(wait, backoff(attempt, seed, pace, asked));
                proptest::prop_assert!(wait >= Duration::from_secs(1));
                proptest::prop_assert!(wait <= Duration::from_secs(RETRY_AFTER_CAP_SECONDS));
                proptest::prop_assert!(backoff(attempt, seed, pace, None) <= Duration::from_secs(60));
                proptest::prop_assert!(wait >= asked.unwrap_or_default().min(Duration::from_secs(RETRY_AFTER_CAP_SECONDS)));
            }
        }

        #[test]
        fn another_cap_bounds_and_doubles_too(attempt: u32, seed: u64, first in 0u64..10_000, cap in 10_000u64..10_000_000) {
            let wait = |attempt| doubling(attempt, seed, Duration::from_millis(first), Duration::from_millis(cap)).as_millis() as u64;
            let (got, ceiling) = (wait(attempt), first.max(1).saturating_mul(1 << attempt.saturating_sub(1).min(24)).min(cap));
            proptest::prop_assert_eq!(got, wait(attempt), "the same each time");
            proptest::prop_assert!(got >= ceiling / 2 && got <= ceiling, "{} of {}", got, ceiling);
            // The upper half of one range begins where that of the one before ends, so waits rise until the cap.
            proptest::prop_assert!(wait(attempt.saturating_add(1)) >= got.min(cap / 2));
        }

        #[test]
        fn the_first_retry_comes_within_two_seconds(seed: u64) {
            for pace in PACES {
                proptest::prop_assert!(backoff(1, seed, pace, None) <= Duration::from_secs(2));
            }
        }

        #[test]
        fn waits_rise_until_the_cap_and_what_waits_for_a_person_rises_faster(seed: u64) {
            for pace in PACES {
                let waits: Vec<_> = (1..=DOUBLINGS + 1).map(|attempt| backoff(attempt, seed, pace, None)).collect();
                proptest::prop_assert!(waits.iter().zip(&waits[1..]).all(|(a, b)| a <= b || *b >= Duration::from_secs(32)), "{:?}", waits);
            }
            proptest::prop_assert!(backoff(3, seed, Pace::Steep, None) > backoff(3, seed, Pace::Doubling, None));
        }
    }
}
