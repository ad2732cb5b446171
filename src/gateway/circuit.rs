//! Whether to post to DCC at all now. Pure: told the time and what came of each post, it says go, wait or try once. It lives in
//! memory, so that a new process tries at once whatever back-off a dead one had reached.
//!
//! ```text
//! closed -- FAILURES_TO_OPEN failures in a row --> open -- its wait is over --> half open (one probe)
//!    ^                                              ^                              |   |
//!    |                                              +------- it failed ------------+   |
//!    +---------------------------------------------- it was answered -----------------+
//! ```
//!
//! Promise: while DCC is down at most one post is under way, and posts are at least a second apart; one answer, a refusal
//! too, and everything goes again.

use std::time::Duration;

use super::{Fault, Pace, Trouble, backoff};
use crate::clock::Time;

/// One or two failures are a bad minute; a third in a row, with nothing answered between, is a DCC that is down.
pub const FAILURES_TO_OPEN: u32 = 3;
/// No wait is longer, a Retry-After included ([`backoff()`] believes five minutes): one that seems to be is a clock set back.
const WAIT_MAX_MILLIS: i64 = 300_000;

/// What may be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    Go,
    /// Post one request and say what came of it; until then nothing else goes.
    Probe,
    Wait {
        until: Time,
    },
}

/// What a person should hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Opened {
        since: Time,
        failures: u32,
        until: Time,
    },
    /// The probe failed.
    StayedOpen {
        since: Time,
        failures: u32,
        until: Time,
    },
    Closed {
        since: Time,
        failures: u32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed { not_before: Time },
    Open { until: Time },
    HalfOpen { until: Time },
}

#[derive(Debug, Clone)]
pub struct Circuit {
    state: State,
    /// In a row, and when the first of them was.
    failures: u32,
    since: Option<Time>,
    /// Spreads the waits of several nodes.
    seed: u64,
}

impl Circuit {
    pub fn new(seed: u64) -> Circuit {
        Circuit { state: State::Closed { not_before: Time(i64::MIN) }, failures: 0, since: None, seed }
    }

    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Asked before each post. What it permits is to be followed by [`Circuit::heard`], or by [`Circuit::unused`] where nothing
    /// was posted after all.
    pub fn ask(&mut self, now: Time) -> Permit {
        match self.state {
            State::Closed { not_before } if is_over(not_before, now) => Permit::Go,
            State::Closed { not_before } => Permit::Wait { until: not_before },
            State::Open { until } if is_over(until, now) => {
                self.state = State::HalfOpen { until };
                Permit::Probe
            }
            State::Open { until } => Permit::Wait { until },
            // Its outcome is near, and nudges whoever waits.
            State::HalfOpen { .. } => Permit::Wait { until: now },
        }
    }

    /// There was nothing to probe with.
    pub fn unused(&mut self) {
        if let State::HalfOpen { until } = self.state {
            self.state = State::Open { until };
        }
    }

    /// What came of a post: `trouble`, or an answer.
    pub fn heard(&mut self, trouble: Option<&Trouble>, now: Time) -> Option<Change> {
        match trouble.filter(|t| t.fault.says_down()) {
            None => self.answered(),
            Some(trouble) => self.failed(trouble, now),
        }
    }

    fn answered(&mut self) -> Option<Change> {
        let (was, failures, since) = (self.state, self.failures, self.since);
        *self = Circuit::new(self.seed);
        match (was, since) {
            (State::Open { .. } | State::HalfOpen { .. }, Some(since)) => Some(Change::Closed { since, failures }),
            (State::Open { .. } | State::HalfOpen { .. }, None) | (State::Closed { .. }, _) => None,
        }
    }

    fn failed(&mut self, trouble: &Trouble, now: Time) -> Option<Change> {
        self.failures = self.failures.saturating_add(1);
        let (since, failures) = (*self.since.get_or_insert(now), self.failures);
        // Three at once may be a hiccup: the first probe follows as soon as a first retry does.
        let times = if failures < FAILURES_TO_OPEN { failures } else { failures - FAILURES_TO_OPEN + 1 };
        let until = now.plus_millis(millis(backoff(times, self.seed, Pace::Doubling, trouble.retry_after)));
        match self.state {
            State::Closed { .. } if failures < FAILURES_TO_OPEN => {
                // Nobody listens, or DCC named a time: that holds for every request, and the next can wait for it.
                if trouble.fault == Fault::NoConnection || trouble.retry_after.is_some() {
                    self.state = State::Closed { not_before: until };
                }
                None
            }
            State::Closed { .. } => {
                self.state = State::Open { until };
                Some(Change::Opened { since, failures, until })
            }
            State::HalfOpen { .. } => {
                self.state = State::Open { until };
                Some(Change::StayedOpen { since, failures, until })
            }
            // A post that was under way when it opened.
            State::Open { until: earlier } => {
                self.state = State::Open { until: earlier.max(until) };
                None
            }
        }
    }
}

fn is_over(until: Time, now: Time) -> bool {
    now >= until || until.0.saturating_sub(now.0) > WAIT_MAX_MILLIS
}

fn millis(wait: Duration) -> i64 {
    i64::try_from(wait.as_millis()).unwrap_or(WAIT_MAX_MILLIS)
}

#[cfg(test)]
mod tests;
