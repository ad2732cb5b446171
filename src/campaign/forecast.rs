//! When a campaign ends, at the pace so far: from how long devices took from sent to activated, and how fast the rest is being sent. Pure.
//! Not a promise, and not the last straggler: a device that never answers ends at its deadline. Says nothing where too little is known.

use serde::Serialize;

use super::latency::Latencies;
use crate::clock::Time;

/// Fewer devices than these say nothing of the rest.
const LEAST_DEVICES: i64 = 20;
/// Nobody plans further ahead.
const LONGEST_MILLIS: i64 = 366 * 86_400_000;
/// What is called the end: beyond it are those that wait for their deadline.
const END_SHARE: f64 = 0.99;
const MOST_SHARE: f64 = 0.9;

/// How a started campaign stands.
#[derive(Debug, Clone)]
pub struct Standing<'a> {
    pub now: Time,
    /// From sent to activated.
    pub took: &'a Latencies,
    /// Devices that have ended, whatever way.
    pub ended: i64,
    /// Devices that are out, by the moment their batch was made.
    pub out: &'a [(Time, i64)],
    /// Devices that are still to be sent.
    pub queued: i64,
    /// Devices that were sent so far, and when the first and the last batch was made.
    pub sent: i64,
    pub sent_from: Option<Time>,
    pub sent_until: Option<Time>,
    /// How long a device may be silent.
    pub answer_within_millis: i64,
}

/// As `campaign status` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Forecast {
    /// Devices that are out or to be sent.
    pub devices_left: i64,
    /// When the last will be sent; null where nothing is left to send.
    pub all_sent_by: Option<Time>,
    /// When nine in ten of all that are sent will have ended.
    pub most_by: Time,
    /// When 99 in a hundred will have.
    pub end_about: Time,
}

/// At the pace so far; `None`: too little is known, or nothing is left.
pub fn forecast(of: &Standing<'_>) -> Option<Forecast> {
    let out: i64 = of.out.iter().map(|(_, n)| n).sum();
    let devices_left = out + of.queued;
    if devices_left == 0 || of.took.devices() < LEAST_DEVICES {
        return None;
    }
    let all_sent_by = match of.queued {
        0 => None,
        queued => Some(of.now.plus_millis(millis_to_send(of, queued)?)),
    };
    let all = (of.ended + devices_left) as f64;
    let when = |share: f64| {
        // The first moment at which so many have ended, found by halving: their number never falls.
        let reached = |after: i64| ended_after(of, all_sent_by, after) >= all * share - 1e-6;
        if !reached(LONGEST_MILLIS) {
            return None;
        }
        let (mut before, mut at) = (-1, LONGEST_MILLIS);
        while at - before > 1 {
            let between = before + (at - before) / 2;
            if reached(between) { at = between } else { before = between }
        }
        Some(of.now.plus_millis(at))
    };
    Some(Forecast { devices_left, all_sent_by, most_by: when(MOST_SHARE)?, end_about: when(END_SHARE)? })
}

/// How long the queue takes, at the pace from the first batch to now. One batch alone shows no pace.
fn millis_to_send(of: &Standing<'_>, queued: i64) -> Option<i64> {
    let (from, until) = (of.sent_from?, of.sent_until?);
    if until <= from || of.sent <= 0 {
        return None;
    }
    let millis = (of.now.0.max(until.0) - from.0) as f64 * queued as f64 / of.sent as f64;
    Some((millis.ceil() as i64).clamp(1, LONGEST_MILLIS))
}

/// How many are expected to have ended so many milliseconds from now.
fn ended_after(of: &Standing<'_>, all_sent_by: Option<Time>, after: i64) -> f64 {
    let devices = of.took.devices() as f64;
    let mut ended = of.ended as f64;
    for (sent, n) in of.out {
        let age = of.now.0 - sent.0;
        // Of those that took longer than these have been out already.
        let longer: i64 = of.took.each().filter(|(took, _)| *took > age).map(|(_, n)| n).sum();
        let by_then: i64 = of.took.each().filter(|(took, _)| *took > age && *took <= age + after).map(|(_, n)| n).sum();
        ended += match longer {
            // None ever took as long: their deadline ends them.
            0 if age + after >= of.answer_within_millis => *n as f64,
            0 => 0.0,
            longer => *n as f64 * by_then as f64 / longer as f64,
        };
    }
    if let Some(all_sent_by) = all_sent_by {
        let sending = (all_sent_by.0 - of.now.0).max(1) as f64;
        for (took, n) in of.took.each() {
            let sent_early_enough = ((after - took) as f64 / sending).clamp(0.0, 1.0);
            ended += of.queued as f64 * n as f64 / devices * sent_early_enough;
        }
    }
    ended
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::campaign::latency::bucket;

    const NOW: Time = Time(1_600_000_000_000);
    const HOUR: i64 = 3_600_000;

    fn took(times: &[(i64, i64)]) -> Latencies {
        let mut latencies = Latencies::default();
        times.iter().for_each(|(millis, devices)| latencies.add(bucket(*millis), *devices));
        latencies
    }

    fn standing<'a>(took: &'a Latencies, out: &'a [(Time, i64)], queued: i64) -> Standing<'a> {
        Standing {
            now: NOW,
            took,
            ended: took.devices(),
            out,
            queued,
            sent: took.devices() + out.iter().map(|o| o.1).sum::<i64>(),
            sent_from: Some(NOW.plus_millis(-10 * HOUR)),
            sent_until: Some(NOW),
            answer_within_millis: 72 * HOUR,
        }
    }

    fn hours(at: Time) -> f64 {
        ((at.0 - NOW.0) as f64 / HOUR as f64 * 10.0).round() / 10.0
    }

    #[test]
    fn the_rest_is_sent_at_the_pace_so_far_and_answers_as_the_others_did() {
        let took = took(&[(2 * HOUR, 900)]);
        let out = [(NOW, 100)];
        let told = forecast(&standing(&took, &out, 1_000)).unwrap();
        // A thousand in ten hours: the next thousand in ten more, the last answers two hours later.
        assert_eq!((told.devices_left, told.all_sent_by.map(hours)), (1_100, Some(10.0)));
        assert!((hours(told.most_by) - 10.0).abs() < 0.2, "{}", hours(told.most_by));
        assert!((hours(told.end_about) - 11.8).abs() < 0.2, "{}", hours(told.end_about));
    }

    #[test]
    fn what_was_out_longer_than_any_that_answered_ends_at_its_deadline() {
        let took = took(&[(HOUR, 80)]);
        let out = [(NOW.plus_millis(-2 * HOUR), 20)];
        let told = forecast(&standing(&took, &out, 0)).unwrap();
        assert_eq!((told.all_sent_by, hours(told.most_by), hours(told.end_about)), (None, 70.0, 70.0));
        let few = [(NOW.plus_millis(-2 * HOUR), 5)];
        assert_eq!(hours(forecast(&standing(&took, &few, 0)).unwrap().most_by), 0.0, "nine in ten have ended already");
    }

    #[test]
    fn too_little_is_no_forecast() {
        let few = took(&[(HOUR, 19)]);
        let enough = took(&[(HOUR, 20)]);
        let out = [(NOW, 5)];
        assert_eq!(forecast(&standing(&few, &out, 5)), None);
        assert!(forecast(&standing(&enough, &out, 5)).is_some());
        assert_eq!(forecast(&standing(&enough, &[], 0)), None, "nothing is left");
        let one_batch = Standing { sent_until: Some(NOW.plus_millis(-10 * HOUR)), ..standing(&enough, &out, 5) };
        assert_eq!(forecast(&one_batch), None, "one batch shows no pace");
        assert!(forecast(&Standing { queued: 0, ..one_batch }).is_some(), "and none is needed");
    }

    proptest! {
        #[test]
        fn nine_in_ten_come_before_the_end_and_more_to_send_ends_no_sooner(
            times in prop::collection::vec((1_000_i64..80 * HOUR, 1_i64..1_000), 1..12),
            out in prop::collection::vec((0..80 * HOUR, 1_i64..1_000), 0..4),
            queued in 0_i64..100_000,
            more in 1_i64..100_000,
        ) {
            let took = took(&times);
            let out: Vec<(Time, i64)> = out.into_iter().map(|(age, n)| (NOW.plus_millis(-age), n)).collect();
            let Some(told) = forecast(&standing(&took, &out, queued)) else { return Ok(()) };
            prop_assert!(NOW <= told.most_by && told.most_by <= told.end_about);
            if let Some(later) = forecast(&standing(&took, &out, queued + more)) {
                prop_assert!(later.all_sent_by >= told.all_sent_by && later.devices_left == told.devices_left + more);
            }
        }
    }
}
