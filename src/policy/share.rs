//! A share as policy files write it: `2.5%`, with two decimals at most. A parsed type, so that a threshold that is no number does not
//! load. Compared in whole numbers: nothing is rounded.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::IdError;

/// Hundredths of a percent in the whole.
const WHOLE: i64 = 10_000;

/// 0% to 100%, in hundredths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(i64);

impl Share {
    /// What a good one looks like, for messages.
    pub const WANTED: &'static str = "a share such as \"2.5%\", from 0% to 100%, with two decimals at most";

    pub const ALL: Share = Share(WHOLE);

    /// Hundredths of a percent.
    pub fn hundredths(self) -> i64 {
        self.0
    }

    /// So many whole percent.
    pub const fn percent(percent: i64) -> Share {
        assert!(percent >= 0 && percent <= 100);
        Share(percent * 100)
    }

    /// So much of `whole`, rounded up.
    pub fn of_rounded_up(self, whole: u64) -> u64 {
        (u128::from(whole) * self.0 as u128).div_ceil(WHOLE as u128) as u64
    }

    /// So much of `whole`, rounded to the nearest, a half upwards.
    pub fn of(self, whole: i64) -> i64 {
        ((i128::from(whole) * i128::from(self.0) + i128::from(WHOLE / 2)) / i128::from(WHOLE)) as i64
    }

    /// Whether `part` of `whole` is strictly more than this. Of nothing, nothing is.
    pub fn is_exceeded_by(self, part: i64, whole: i64) -> bool {
        i128::from(part) * i128::from(WHOLE) > i128::from(self.0) * i128::from(whole)
    }

    /// Whether `part` of `whole` is as much as this, or more.
    pub fn is_reached_by(self, part: i64, whole: i64) -> bool {
        i128::from(part) * i128::from(WHOLE) >= i128::from(self.0) * i128::from(whole)
    }
}

impl FromStr for Share {
    type Err = IdError;

    fn from_str(s: &str) -> Result<Share, IdError> {
        let wrong = || IdError::new(s, Self::WANTED);
        let number = s.strip_suffix('%').ok_or_else(wrong)?;
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str, most: usize| (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole, 3) || !digits(decimals, 2) {
            return Err(wrong());
        }
        let parts = |text: &str| text.parse::<i64>().map_err(|_| wrong());
        let hundredths = parts(whole)? * 100 + parts(decimals)? * if decimals.len() == 1 { 10 } else { 1 };
        if hundredths > WHOLE {
            return Err(wrong());
        }
        Ok(Share(hundredths))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole}%"),
            (whole, part) if part % 10 == 0 => write!(f, "{whole}.{}%", part / 10),
            (whole, part) => write!(f, "{whole}.{part:02}%"),
        }
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Share, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_as_they_are_written() {
        let good = [("0%", 0), ("0.1%", 10), ("0.05%", 5), ("2.5%", 250), ("10%", 1_000), ("99.99%", 9_999), ("100%", 10_000)];
        for (text, hundredths) in good {
            assert_eq!(text.parse::<Share>().unwrap(), Share(hundredths), "{text}");
        }
        for bad in [
            "", "%", "5", "5 %", "-1%", "+1%", "1.%", ".5%", "1.005%", "100.01%", "1e1%", "1,5%", "0x1%", "٥%", "1000%", "80",
            "80 %", "0.8",
        ] {
            assert!(bad.parse::<Share>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_part_is_rounded_as_asked() {
        let (small, third) = (Share(1), Share(3_333));
        assert_eq!(
            (small.of_rounded_up(1_000), third.of_rounded_up(1_000), Share::percent(80).of_rounded_up(1_000)),
            (1, 334, 800)
        );
        assert_eq!((small.of(1_000), third.of(1_000), Share(50).of(100), Share(49).of(100)), (0, 333, 1, 0));
    }

    #[test]
    fn a_threshold_is_exceeded_by_strictly_more() {
        let five = Share(500);
        assert!(!five.is_exceeded_by(5, 100) && five.is_exceeded_by(6, 100) && five.is_exceeded_by(51, 1_000));
        assert!(!five.is_exceeded_by(0, 0) && five.is_reached_by(5, 100) && !five.is_reached_by(4, 100));
        assert!(Share(0).is_exceeded_by(1, 1_000_000) && !Share::ALL.is_exceeded_by(7, 7));
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_reads_back(hundredths in 0..=WHOLE) {
            let share = Share(hundredths);
            proptest::prop_assert_eq!(share.to_string().parse::<Share>().unwrap(), share);
        }

        #[test]
        fn a_part_is_never_more_than_the_whole(hundredths in 0..=WHOLE, whole in 0_i64..10_000_000) {
            let part = Share(hundredths).of(whole);
            proptest::prop_assert!((0..=whole).contains(&part));
        }

        #[test]
        fn no_text_panics(s: String) {
            let _ = s.parse::<Share>();
        }
    }
}
