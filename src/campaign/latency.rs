//! How long the stages of an upgrade took: devices counted in buckets, from which percentiles are read. Pure. Promise: whatever the number of
//! devices it stays small; a percentile is within 5% of what the devices took, and never falls as the share rises.

use std::collections::BTreeMap;

use serde::Serialize;

crate::spelled! {
    /// A stage of an upgrade.
    Stage, "a stage: accepted, delivered or activated" {
        /// From sent until DCC took the request.
        Accepted = "accepted",
        /// From there until the device had the file, or was asked to load it.
        Delivered = "delivered",
        /// The whole way, from sent until the device ran it.
        Activated = "activated",
    }
}

/// Buckets to each doubling: each is 9% wide.
const TO_A_DOUBLING: f64 = 8.0;

/// Devices by how long they took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latencies(BTreeMap<i64, i64>);

/// As `campaign status` shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    pub devices: i64,
    pub p50_ms: i64,
    pub p90_ms: i64,
    pub p99_ms: i64,
}

/// The bucket of a time; less than a millisecond counts as one.
pub fn bucket(millis: i64) -> i64 {
    ((millis.max(1) as f64).log2() * TO_A_DOUBLING).floor() as i64
}

/// What stands for the times of a bucket.
fn middle(bucket: i64) -> i64 {
    2_f64.powf((bucket as f64 + 0.5) / TO_A_DOUBLING).round() as i64
}

impl Latencies {
    pub fn add(&mut self, bucket: i64, devices: i64) {
        *self.0.entry(bucket).or_default() += devices;
    }

    pub fn devices(&self) -> i64 {
        self.0.values().sum()
    }

    /// Each bucket's time in milliseconds and its devices, shortest first.
    pub fn each(&self) -> impl Iterator<Item = (i64, i64)> {
        self.0.iter().map(|(bucket, devices)| (middle(*bucket), *devices))
    }

    pub fn percentiles(&self) -> Option<Percentiles> {
        let devices = self.devices();
        let of = |percent: i64| {
            let mut seen = 0;
            let reached = |(_, n): &(i64, i64)| {
                seen += n;
                seen * 100 >= devices * percent
            };
            self.each().find(reached).map(|(millis, _)| millis)
        };
        Some(Percentiles { devices, p50_ms: of(50)?, p90_ms: of(90)?, p99_ms: of(99)? }).filter(|p| p.devices > 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_day_of_any_unit_is_near_its_bucket() {
        for millis in [1, 2, 3, 17, 999, 60_000, 86_400_000, 31 * 86_400_000] {
            let off = (middle(bucket(millis)) - millis).abs() as f64;
            assert!(off <= (millis as f64 * 0.05).max(1.0), "{millis}: {}", middle(bucket(millis)));
        }
        assert_eq!((bucket(0), bucket(-5), Latencies::default().percentiles()), (0, 0, None));
    }

    proptest! {
        #[test]
        fn percentiles_are_those_of_the_sorted_times(mut times in prop::collection::vec(20_i64..100_000_000, 1..300)) {
            let mut latencies = Latencies::default();
            times.iter().for_each(|t| latencies.add(bucket(*t), 1));
            times.sort_unstable();
            let told = latencies.percentiles().unwrap();
            for (percent, told) in [(50, told.p50_ms), (90, told.p90_ms), (99, told.p99_ms)] {
                let is = times[(times.len() * percent).div_ceil(100) - 1] as f64;
                prop_assert!((told as f64 - is).abs() <= is * 0.05 + 1.0, "p{}: {} is {}", percent, told, is);
            }
            prop_assert!(told.p50_ms <= told.p90_ms && told.p90_ms <= told.p99_ms);
        }
    }
}
