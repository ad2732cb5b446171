//! When a case is due for another attempt, and when a person takes over. Pure: a rule of `retry.toml`, the case so far and a seed
//! give one answer, always the same. Promise: more attempts never make the next one due sooner after the last.

use crate::{
    clock::Time,
    policy::{HoursOfDay, RetryRule},
};

/// A case so far, as far as the timetable asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SoFar {
    /// When this program took the case up; its age counts from here.
    pub opened_at: Time,
    pub last_attempt: Time,
    /// Results in this episode, at least one, and resubmissions that none answered.
    pub attempts: i64,
}

crate::spelled! {
    /// Why a case is not tried any more.
    GivenUp, "why retries ended" { Attempts = "attempts used up", Age = "too old" }
}

/// What the timetable says of a case that is being retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The next attempt; `None`: there is none before the case is given up.
    pub next: Option<Time>,
    /// From then on it is a person's.
    pub gives_up_at: Time,
    pub why: GivenUp,
}

/// `seed` is the device: every node and every restart says the same.
pub fn due(rule: &RetryRule, so_far: &SoFar, seed: u64) -> Due {
    if so_far.attempts >= rule.most_attempts {
        return Due { next: None, gives_up_at: so_far.last_attempt, why: GivenUp::Attempts };
    }
    let gives_up_at = so_far.opened_at.plus_millis(rule.oldest_age.millis());
    let after = so_far.last_attempt.plus_millis(delay_millis(rule, so_far.attempts, seed));
    let next = HoursOfDay::first_within(&rule.windows, after);
    Due { next: (next < gives_up_at).then_some(next), gives_up_at, why: GivenUp::Age }
}

/// From one attempt to the next, before windows: at least `first_delay`, at most `cap` and the jitter of it.
fn delay_millis(rule: &RetryRule, attempts: i64, seed: u64) -> i64 {
    let cap = rule.cap.millis();
    let mut delay = rule.first_delay.millis();
    for _ in 1..attempts {
        delay = delay.saturating_mul(rule.factor).min(cap);
        if delay == cap || rule.factor == 1 {
            break;
        }
    }
    let most_on_top = i128::from(delay) * i128::from(rule.jitter.0) / 100;
    let on_top = most_on_top * i128::from(spread(seed)) / i128::from(u32::MAX);
    delay.saturating_add(i64::try_from(on_top).unwrap_or(i64::MAX))
}

/// Numbers that lie near each other come out far apart (the finaliser of splitmix64).
fn spread(seed: u64) -> u32 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::{Percent, Period};

    const HOUR: i64 = 3_600_000;

    fn hours(n: i64) -> Period {
        format!("{n}h").parse().unwrap()
    }

    fn rule(first: i64, factor: i64, cap: i64, jitter: i64, windows: &[&str]) -> RetryRule {
        RetryRule {
            name: "test".into(),
            cohorts: vec![],
            error: vec![],
            first_delay: hours(first),
            factor,
            cap: hours(cap),
            jitter: Percent(jitter),
            windows: windows.iter().map(|w| w.parse().unwrap()).collect(),
            most_attempts: 5,
            oldest_age: hours(30 * 24),
        }
    }

    fn so_far(attempts: i64) -> SoFar {
        SoFar { opened_at: Time(0), last_attempt: Time(0), attempts }
    }

    #[test]
    fn delays_double_up_to_the_cap_and_then_a_person_takes_over() {
        let rule = rule(24, 2, 100, 0, &[]);
        let hours: Vec<Option<i64>> = (1..=5).map(|n| due(&rule, &so_far(n), 1).next.map(|t| t.0 / HOUR)).collect();
        assert_eq!(hours, [Some(24), Some(48), Some(96), Some(100), None]);
        assert_eq!(due(&rule, &so_far(5), 1), Due { next: None, gives_up_at: Time(0), why: GivenUp::Attempts });
        let old = SoFar { last_attempt: Time(29 * 24 * HOUR + HOUR), ..so_far(1) };
        assert_eq!(due(&rule, &old, 1), Due { next: None, gives_up_at: Time(30 * 24 * HOUR), why: GivenUp::Age });
    }

    prop_compose! {
        fn rules()(first in 1..200i64, more in 0..500i64, factor in 1..=10i64, jitter in 0..=100i64, windows in 0..3usize) -> RetryRule {
            rule(first, factor, first + more, jitter, &["20:00-06:00", "12:00-13:30"][..windows])
        }
    }

    proptest! {
        #[test]
        fn the_next_attempt_is_bounded(rule in rules(), attempts in 1..5i64, at in 0..2_000_000_000_000i64, seed: u64) {
            let case = SoFar { opened_at: Time(at), last_attempt: Time(at), attempts };
            let found = due(&rule, &case, seed);
            prop_assert_eq!(found, due(&rule, &case, seed), "the same answer every time");
            if let Some(next) = found.next {
                let most = rule.cap.millis() + rule.cap.millis() * rule.jitter.0 / 100 + 49 * HOUR;
                prop_assert!(next.0 >= at + rule.first_delay.millis() && next.0 <= at + most && next < found.gives_up_at);
                prop_assert_eq!(HoursOfDay::first_within(&rule.windows, next), next, "within a window");
            }
        }

        #[test]
        fn more_attempts_and_later_ones_never_come_sooner(rule in rules(), attempts in 1..4i64, at in 0..2_000_000_000_000i64, later in 0..200i64, seed: u64) {
            let case = |attempts, last: i64| due(&rule, &SoFar { opened_at: Time(at), last_attempt: Time(last), attempts }, seed).next;
            if let (Some(now), Some(next)) = (case(attempts, at), case(attempts + 1, at)) {
                prop_assert!(now <= next);
            }
            if let (Some(now), Some(next)) = (case(attempts, at), case(attempts, at + later * HOUR)) {
                prop_assert!(now <= next);
            }
        }

        #[test]
        fn devices_do_not_come_all_at_once(first in any::<u64>()) {
            let rule = rule(24, 2, 168, 10, &[]);
            let mut times: Vec<_> = (0..20).map(|n| due(&rule, &so_far(1), first.wrapping_add(n)).next).collect();
            times.dedup();
            prop_assert!(times.len() > 10);
        }
    }
}
