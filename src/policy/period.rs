//! A length of time as policy files write it: `72h`, `30m`, `8s`, `500ms`, `2d`. A day is 24 hours here.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::IdError;

/// More than this is a slip of the pen: no wait of this field is longer than a year.
const PERIOD_MAX_MILLIS: i64 = 366 * 86_400_000;

/// Each unit and its milliseconds, longest first.
const UNITS: [(&str, i64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Milliseconds, 0 to a year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(i64);

impl Period {
    /// What a good one looks like, for messages.
    pub const WANTED: &'static str = "a length of time such as 72h, 30m, 8s or 500ms, at most 366d";

    pub const ZERO: Period = Period(0);

    /// As long as this; nothing where it is less, a year where it is more.
    pub fn from_millis(millis: i64) -> Period {
        Period(millis.clamp(0, PERIOD_MAX_MILLIS))
    }

    pub fn millis(self) -> i64 {
        self.0
    }
}

impl FromStr for Period {
    type Err = IdError;

    fn from_str(s: &str) -> Result<Period, IdError> {
        let wrong = || IdError::new(s, Self::WANTED);
        let (number, unit) = s.split_at(s.bytes().take_while(u8::is_ascii_digit).count());
        let (_, unit_millis) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let number: i64 = number.parse().map_err(|_| wrong())?;
        let millis = number.checked_mul(*unit_millis).filter(|m| *m <= PERIOD_MAX_MILLIS).ok_or_else(wrong)?;
        Ok(Period(millis))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Hours are the unit of the field (72h, not 3d), so days are never written; nothing at all is `0s`.
        let fits = |(_, unit_millis): &&(&str, i64)| self.0 >= *unit_millis && self.0 % unit_millis == 0;
        let (name, unit_millis) = UNITS.iter().skip(1).find(fits).unwrap_or(&UNITS[3]);
        write!(f, "{}{name}", self.0 / unit_millis)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Period, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_read_and_written() {
        for (text, millis, written) in [
            ("72h", 259_200_000, "72h"),
            ("30m", 1_800_000, "30m"),
            ("8s", 8_000, "8s"),
            ("500ms", 500, "500ms"),
            ("2d", 172_800_000, "48h"),
            ("0s", 0, "0s"),
            ("366d", PERIOD_MAX_MILLIS, "8784h"),
        ] {
            let period: Period = text.parse().unwrap();
            assert_eq!((period.millis(), period.to_string()), (millis, written.to_string()));
        }
        for bad in ["", "72", "h", "-1s", "1.5h", "1 h", "72H", "367d", "99999999999999999999s", "1w", "٣s"] {
            assert!(bad.parse::<Period>().is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_reads_back(millis in 0..=PERIOD_MAX_MILLIS) {
            let period = Period(millis);
            proptest::prop_assert_eq!(period.to_string().parse::<Period>().unwrap(), period);
        }

        #[test]
        fn no_text_panics(s: String) {
            let _ = s.parse::<Period>();
        }
    }
}
