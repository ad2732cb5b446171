//! What follows when a device that was sent stays silent past its deadline: it is asked, sent again or given up. Pure. Not the asking
//! itself, which is a read like every other. Promise: each kind of question is put once, in order; the update is sent again a counted
//! number of times, later each time; whatever is heard or not, it ends.

use super::ReadState;
use crate::{
    clock::Time,
    policy::{DeviceSteps, ReadStep},
};

/// However often it was tried: a device is sent again within this time, or not at all.
pub const RETRY_AFTER_MAX_MILLIS: i64 = 14 * 86_400_000;
/// Retries of devices that answered at different moments leave together, this many times within the first wait: each batch carries the
/// whole image.
const RETRY_SLOTS: i64 = 8;

/// A device past its deadline, and what was asked of it since.
#[derive(Debug, Clone, Copy)]
pub struct Silent<'a> {
    pub steps: &'a DeviceSteps,
    /// The last question and what came of it; `None`: nothing was asked yet.
    pub asked: Option<(ReadStep, ReadState)>,
    /// How often it was sent again for this already.
    pub retries: i64,
    /// Whether it may be asked, and sent again: its campaign goes on, and its site is ours.
    pub goes_on: bool,
    /// The request it is in may still be out: another would be a second.
    pub may_be_out: bool,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    Ask(ReadStep),
    /// To the queue, not to be sent before.
    Again {
        not_before: Time,
    },
    Expires(Because),
    /// An answer is to come, or has moved the device already.
    Nothing,
}

/// Why a silent device is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// Nothing was asked.
    NotAsked,
    /// No version was had.
    NoVersion,
    /// It runs another, and was sent often enough.
    Unchanged,
    /// It runs another, but its request may still be out.
    MayBeOut,
}

/// Decides.
pub fn follows(silent: &Silent<'_>, now: Time) -> Follows {
    let steps = silent.steps;
    match silent.asked {
        None => match steps.silent.first() {
            Some(first) if silent.goes_on => Follows::Ask(*first),
            _ => Follows::Expires(Because::NotAsked),
        },
        Some((_, ReadState::Waiting | ReadState::Asked | ReadState::Accepted | ReadState::Agrees)) => Follows::Nothing,
        Some((kind, ReadState::GivenUp)) => {
            // What follows in the order of the file, whatever it was when the device was asked.
            let next = steps.silent.iter().find(|step| **step > kind);
            match next {
                Some(next) if silent.goes_on => Follows::Ask(*next),
                _ => Follows::Expires(Because::NoVersion),
            }
        }
        Some((_, ReadState::Differs)) if silent.may_be_out => Follows::Expires(Because::MayBeOut),
        Some((_, ReadState::Differs)) if silent.goes_on && silent.retries < steps.retries => {
            Follows::Again { not_before: retry_at(steps.retry_after.millis(), silent.retries, now) }
        }
        Some((_, ReadState::Differs)) => Follows::Expires(Because::Unchanged),
    }
}

/// When it is sent again, after `retries` times: twice as long each time, up to a bound, and on the next of a few moments that it shares
/// with others.
fn retry_at(first_millis: i64, retries: i64, now: Time) -> Time {
    let doubled = first_millis.saturating_mul(1_i64 << retries.clamp(0, 32));
    let at = now.0 + doubled.min(RETRY_AFTER_MAX_MILLIS.max(first_millis));
    let slot = (first_millis / RETRY_SLOTS).max(1);
    Time((at + slot - 1).div_euclid(slot) * slot)
}

/// The moments at which questions to silent devices come up, at the pace of reads, so that what else is to be read takes its turn
/// between them.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    next: Time,
    apart_millis: i64,
}

impl Pace {
    /// `last`: when the last that waits comes up.
    pub fn new(reads_per_minute: i64, last: Option<Time>, now: Time) -> Pace {
        let apart_millis = (60_000 / reads_per_minute.max(1)).max(1);
        Pace { next: last.map_or(now, |last| last.plus_millis(apart_millis).max(now)), apart_millis }
    }

    /// The next moment, if it is before `until`: nobody is put down for a question that cannot be asked in its time.
    pub fn take(&mut self, until: Time) -> Option<Time> {
        (self.next < until).then(|| {
            let at = self.next;
            self.next = at.plus_millis(self.apart_millis);
            at
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{estate::Cohort, policy::PolicySet};

    const HOUR: i64 = 3_600_000;
    const START: Time = Time(1_600_000_000_000);

    fn steps(silent: &[ReadStep], retries: i64) -> DeviceSteps {
        let shipped = PolicySet::compiled().steps.steps_of(Cohort::Ioc, "106C", "433100AC", 0x0101);
        DeviceSteps { silent: silent.to_vec(), retries, retry_after: "4h".parse().unwrap(), ..shipped }
    }

    fn silent(steps: &DeviceSteps, asked: Option<(ReadStep, ReadState)>, retries: i64) -> Silent<'_> {
        Silent { steps, asked, retries, goes_on: true, may_be_out: false }
    }

    #[test]
    fn every_question_against_every_end_of_it() {
        use ReadStep::{ReadInventory, ReadVersion};
        let mut grid = String::new();
        for asks in [&[][..], &[ReadInventory], &[ReadVersion], &[ReadInventory, ReadVersion]] {
            let steps = steps(asks, 1);
            let names: Vec<&str> = asks.iter().map(|a| a.as_str()).collect();
            grid += &format!("silent = [{}], retries = 1\n", names.join(", "));
            let mut line = |what: String, silent: Silent<'_>| grid += &format!("  {what}: {:?}\n", follows(&silent, Time(0)));
            line("nothing asked".into(), silent(&steps, None, 0));
            for kind in [ReadInventory, ReadVersion] {
                for state in [ReadState::Waiting, ReadState::Agrees, ReadState::GivenUp, ReadState::Differs] {
                    line(format!("{kind} {state}"), silent(&steps, Some((kind, state)), 0));
                }
            }
            let differs = Some((ReadInventory, ReadState::Differs));
            line("sent again already, differs".into(), silent(&steps, differs, 1));
            line("its request may be out, differs".into(), Silent { may_be_out: true, ..silent(&steps, differs, 0) });
            line("not ours, nothing asked".into(), Silent { goes_on: false, ..silent(&steps, None, 0) });
            line("not ours, differs".into(), Silent { goes_on: false, ..silent(&steps, differs, 0) });
        }
        insta::assert_snapshot!(grid.trim_end());
    }

    #[test]
    fn a_wait_doubles_up_to_its_bound_and_ends_where_others_do() {
        let hours = |retries| (retry_at(4 * HOUR, retries, START).0 - START.0) as f64 / HOUR as f64;
        assert!((0..4).all(|n| (hours(n) - f64::from(4 << n)).abs() <= 0.5), "{} {} {}", hours(0), hours(1), hours(2));
        assert!((hours(40) - 336.0).abs() <= 0.5);
        let all: std::collections::BTreeSet<Time> =
            (0..1_000).map(|n| retry_at(4 * HOUR, 0, START.plus_millis(n * HOUR / 500))).collect();
        assert!(all.len() <= 5, "a thousand that answered within two hours leave in a few batches: {all:?}");
    }

    #[test]
    fn questions_come_up_at_the_pace_of_reads_and_none_after_its_time() {
        let mut pace = Pace::new(60, None, START);
        let until = START.plus_millis(2_500);
        assert_eq!([pace.take(until), pace.take(until)], [Some(START), Some(START.plus_millis(1_000))]);
        assert_eq!([pace.take(until), pace.take(until)], [Some(START.plus_millis(2_000)), None]);
        assert!(pace.take(START.plus_millis(9_000)).is_some(), "another may have longer");
        let mut behind = Pace::new(6_000, Some(START.plus_millis(50)), START);
        assert_eq!(behind.take(until), Some(START.plus_millis(60)));
    }

    fn asks() -> impl Strategy<Value = Vec<ReadStep>> {
        use ReadStep::{ReadInventory, ReadVersion};
        prop::sample::select(vec![vec![], vec![ReadInventory], vec![ReadVersion], vec![ReadInventory, ReadVersion]])
    }

    proptest! {
        /// However its questions end: it is asked each once a time, sent again as often as the file says, and then it is over.
        #[test]
        fn whatever_is_heard_it_ends(asks in asks(), retries in 0..6_i64, ends in prop::collection::vec(prop::sample::select(vec![ReadState::Differs, ReadState::GivenUp]), 20)) {
            let steps = steps(&asks, retries);
            let (mut sent_again, mut asked, mut now, mut ends) = (0, 0, START, ends.into_iter());
            let (mut last, mut wait) = (None, 0);
            loop {
                match follows(&silent(&steps, last, sent_again), now) {
                    Follows::Ask(kind) => {
                        prop_assert!(last.is_none_or(|(before, _)| before < kind));
                        asked += 1;
                        let Some(end) = ends.next() else { break };
                        last = Some((kind, end));
                    }
                    Follows::Again { not_before } => {
                        prop_assert!(not_before.0 - now.0 + HOUR / 2 >= wait, "each wait is as long as the one before");
                        wait = not_before.0 - now.0;
                        (sent_again, last, now) = (sent_again + 1, None, not_before);
                    }
                    Follows::Expires(_) => break,
                    Follows::Nothing => prop_assert!(false, "its question has ended"),
                }
                prop_assert!(sent_again <= retries && asked <= asks.len() as i64 * (retries + 1));
            }
        }
    }
}
