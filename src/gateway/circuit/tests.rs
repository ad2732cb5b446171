//! The circuit through a day of its life, and against random ones.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::gateway::remedy::FAULTS;

const START: Time = Time(1_000_000_000);

fn down() -> Trouble {
    Trouble::new(Fault::NoAnswer, "no answer in time")
}

/// A circuit that has just opened, and when its wait ends.
fn open(seed: u64) -> (Circuit, Time) {
    let mut circuit = Circuit::new(seed);
    for _ in 1..FAILURES_TO_OPEN {
        assert_eq!((circuit.ask(START), circuit.heard(Some(&down()), START)), (Permit::Go, None));
    }
    assert_eq!(circuit.ask(START), Permit::Go);
    match circuit.heard(Some(&down()), START) {
        Some(Change::Opened { since: START, failures: FAILURES_TO_OPEN, until }) => (circuit, until),
        other => panic!("{other:?}"),
    }
}

#[test]
fn it_opens_tries_once_at_a_time_and_closes_with_the_first_answer() {
    let (mut circuit, until) = open(7);
    assert_eq!(circuit.ask(START), Permit::Wait { until });
    assert_eq!(circuit.ask(Time(until.0 - 1)), Permit::Wait { until });
    assert_eq!(circuit.ask(until), Permit::Probe);
    assert_eq!(circuit.ask(until), Permit::Wait { until }, "one probe");
    circuit.unused();
    assert_eq!(circuit.ask(until), Permit::Probe, "nothing was there to probe with");
    let Some(Change::StayedOpen { since: START, failures, until: next }) = circuit.heard(Some(&down()), until) else {
        panic!("it should stay open");
    };
    assert_eq!(failures, FAILURES_TO_OPEN + 1);
    assert!(next > until);
    assert_eq!(circuit.ask(next), Permit::Probe);
    let refused = Trouble::new(Fault::Rejected, "HTTP 403");
    assert_eq!(circuit.heard(Some(&refused), next), Some(Change::Closed { since: START, failures }), "a no is an answer");
    assert_eq!((circuit.ask(next), circuit.heard(None, next)), (Permit::Go, None));
}

#[test]
fn a_wish_of_dcc_and_a_closed_door_hold_for_the_next_request_too() {
    let mut circuit = Circuit::new(0);
    let busy = Trouble { retry_after: Some(Duration::from_secs(20)), ..Trouble::new(Fault::Busy, "HTTP 503") };
    assert_eq!(circuit.heard(Some(&busy), START), None);
    assert_eq!(circuit.ask(START), Permit::Wait { until: START.plus_millis(20_000) });
    assert_eq!(circuit.ask(START.plus_millis(20_000)), Permit::Go);
    let mut circuit = Circuit::new(0);
    circuit.heard(Some(&Trouble::new(Fault::NoConnection, "refused")), START);
    assert!(matches!(circuit.ask(START), Permit::Wait { .. }));
    assert_eq!(circuit.ask(START.plus_millis(2_000)), Permit::Go, "the first retry within two seconds");
    let mut circuit = Circuit::new(0);
    circuit.heard(Some(&down()), START);
    assert_eq!(circuit.ask(START), Permit::Go, "one that times out says little about the others");
}

#[test]
fn a_clock_set_back_does_not_keep_it_waiting() {
    let (mut circuit, until) = open(1);
    assert_eq!(circuit.ask(Time(until.0 - 3_600_000)), Permit::Probe);
}

/// One thing that happens: time passes, something is posted if it may be, and this comes of it.
#[derive(Debug, Clone)]
struct Turn {
    millis: i64,
    outcome: Option<Trouble>,
    nothing_to_post: bool,
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let trouble = (0..FAULTS.len(), prop::option::of(0u64..10_000))
        .prop_map(|(f, after)| Trouble { retry_after: after.map(Duration::from_secs), ..Trouble::new(FAULTS[f], "why") });
    let turn = (0i64..90_000, prop::option::weighted(0.8, trouble), prop::bool::weighted(0.1));
    vec(turn.prop_map(|(millis, outcome, nothing_to_post)| Turn { millis, outcome, nothing_to_post }), 0..60)
}

proptest! {
    #[test]
    fn it_is_open_after_failures_in_a_row_and_only_then_and_never_for_long(turns in turns(), seed: u64) {
        let mut circuit = Circuit::new(seed);
        let mut now = START;
        let mut in_a_row = 0;
        for turn in turns {
            now = now.plus_millis(turn.millis);
            let closed = circuit.is_closed();
            prop_assert_eq!(closed, in_a_row < FAILURES_TO_OPEN);
            match circuit.ask(now) {
                Permit::Wait { until } => {
                    prop_assert!(until > now && until.0 - now.0 <= WAIT_MAX_MILLIS, "{:?}", until);
                    prop_assert_eq!(circuit.clone().ask(until), if closed { Permit::Go } else { Permit::Probe });
                    continue;
                }
                Permit::Go => prop_assert!(closed),
                Permit::Probe => {
                    prop_assert!(!closed);
                    let waits = matches!(circuit.ask(now), Permit::Wait { .. });
                    prop_assert!(waits, "one probe at a time");
                }
            }
            if turn.nothing_to_post {
                circuit.unused();
                continue;
            }
            let down = turn.outcome.as_ref().is_some_and(|t| t.fault.says_down());
            let change = circuit.heard(turn.outcome.as_ref(), now);
            in_a_row = if down { in_a_row + 1 } else { 0 };
            let right = match (closed, circuit.is_closed(), &change) {
                (true, false, Some(Change::Opened { failures, .. })) => *failures == FAILURES_TO_OPEN,
                (false, false, Some(Change::StayedOpen { failures, .. })) => *failures == in_a_row,
                (false, true, Some(Change::Closed { since, .. })) => *since <= now,
                (true, true, None) => true,
                _ => false,
            };
            prop_assert!(right, "{:?}", change);
            prop_assert_eq!(circuit.failures(), in_a_row);
        }
    }

    #[test]
    fn a_dcc_that_is_down_is_asked_ever_more_rarely_down_to_once_a_minute(seed: u64) {
        let mut circuit = Circuit::new(seed);
        let mut now = START;
        let mut posts = Vec::new();
        while now.0 < START.0 + 3_600_000 {
            match circuit.ask(now) {
                Permit::Wait { until } => now = until,
                Permit::Go | Permit::Probe => {
                    posts.push(now.0);
                    circuit.heard(Some(&Trouble::new(Fault::NoConnection, "refused")), now);
                }
            }
        }
        let waits: Vec<i64> = posts.windows(2).map(|w| w[1] - w[0]).collect();
        prop_assert!(waits[0] <= 2_000 && waits.iter().all(|w| (1_000..=60_000).contains(w)), "{:?}", waits);
        prop_assert!(waits[8..].iter().all(|w| *w >= 30_000) && posts.len() < 130, "{:?}", waits);
    }
}
