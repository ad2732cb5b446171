//! `xs:dateTime` as the schema allows it: any fraction of a second, any zone, none at all, midnight as 24:00:00.
//! Only times that are written as they are read: from the year 1 to the end of 9999 (all but its last hours).

use crate::clock::{Day, Time};

const MINUTE_MILLIS: i64 = 60_000;
const DAY_MILLIS: i64 = 24 * 60 * MINUTE_MILLIS;
/// The widest zone (`+14:00`), in minutes.
const MAX_ZONE_MINUTES: i64 = 14 * 60;

/// 0001-01-01T00:00:00Z: the schema has no year 0, and earlier years have a sign.
const FIRST: Time = Time(-62_135_596_800_000);
/// 9999-12-30T21:59:59.999Z: the last moment that [`Time`] can write, whatever the zone it is shown in.
const LAST: Time = Time(253_402_207_199_999);

/// The moment that the text means, to the millisecond; without a zone it is UTC, as everything in DUIS.
pub(super) fn date_time(text: &str) -> Option<Time> {
    let (date, rest) = text.split_once('T')?;
    let day: Day = date.parse().ok()?;
    let (clock, zone_minutes) = match rest.find(['Z', '+', '-']) {
        None => (rest, 0),
        Some(at) => (&rest[..at], zone(&rest[at..])?),
    };
    let (clock, fraction) = match clock.split_once('.') {
        None => (clock, 0),
        Some((clock, digits)) => (clock, millis(digits)?),
    };
    let [hour, minute, second] = numbers(clock)?;
    let of_day = (hour * 60 + minute) * MINUTE_MILLIS + second * 1_000 + fraction;
    let is_time = minute < 60 && second < 60 && of_day <= DAY_MILLIS;
    let time = Time(day.0 * DAY_MILLIS + of_day - zone_minutes * MINUTE_MILLIS);
    (is_time && (FIRST..=LAST).contains(&time)).then_some(time)
}

/// `Z`, `+hh:mm` or `-hh:mm`, in minutes east of Greenwich.
fn zone(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let (sign, clock) = text.split_at_checked(1)?;
    let [hours, minutes] = numbers(clock)?;
    let east = hours * 60 + minutes;
    (minutes < 60 && east <= MAX_ZONE_MINUTES).then_some(if sign == "-" { -east } else { east })
}

/// Numbers of two digits each, colons between them.
fn numbers<const N: usize>(text: &str) -> Option<[i64; N]> {
    let mut parts = text.split(':');
    let mut read = [0; N];
    for number in &mut read {
        let digits = parts.next().filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_digit()))?;
        *number = digits.parse().ok()?;
    }
    parts.next().is_none().then_some(read)
}

/// A fraction of a second, cut off at the millisecond. 24:00:00 has none, so rounding would not do.
fn millis(digits: &str) -> Option<i64> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let padded = format!("{digits}00");
    padded[..3].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_the_schema_are_read() {
        for (text, same) in [
            ("2026-11-23T13:19:08.000Z", "2026-11-23T13:19:08Z"),
            ("2026-11-23T13:19:08", "2026-11-23T13:19:08Z"),
            ("2026-11-23T13:19:08.5", "2026-11-23T13:19:08.5Z"),
            ("2026-11-23T13:19:08.1234567890123Z", "2026-11-23T13:19:08.123Z"),
            ("2026-06-30T00:30:00+01:00", "2026-06-29T23:30:00Z"),
            ("2026-06-30T00:30:00.25-13:59", "2026-06-30T14:29:00.25Z"),
            ("2026-12-31T24:00:00Z", "2027-01-01T00:00:00Z"),
            ("2026-12-31T24:00:00.000+14:00", "2026-12-31T10:00:00Z"),
        ] {
            assert_eq!(
                date_time(text).unwrap_or_else(|| panic!("{text}")).to_string(),
                same.parse::<Time>().unwrap().to_string()
            );
        }
    }

    #[test]
    fn what_is_no_time_of_the_schema_is_refused() {
        for text in [
            "",
            "T",
            "2026-11-23",
            "2026-11-23 13:19:08Z",
            "2026-11-23t13:19:08z",
            "2026-11-23T13:19Z",
            "2026-11-23T13:19:08.Z",
            "2026-11-23T13:19:60Z",
            "2026-11-23T24:00:00.001Z",
            "2026-11-23T24:00:01Z",
            "2026-11-23T25:00:00Z",
            "2026-11-23T13:60:00Z",
            "2026-02-29T13:19:08Z",
            "2026-11-23T13:19:08+14:01",
            "2026-11-23T13:19:08+1:00",
            "2026-11-23T13:19:08+0100",
            "2026-11-23T13:19:08ZZ",
            "2026-11-23T13:19:08[Europe/London]",
            "2026-11-23T13:19:0é",
            "+2026-11-23T13:19:08Z",
            "0000-12-31T23:59:59Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T24:00:00Z",
        ] {
            assert!(date_time(text).is_none(), "{text}");
        }
    }

    #[test]
    fn the_first_and_the_last_moment_are_written_as_they_are_read() {
        for (time, text) in [(FIRST, "0001-01-01T00:00:00Z"), (LAST, "9999-12-30T21:59:59.999Z")] {
            assert_eq!((time.to_string().as_str(), date_time(text)), (text, Some(time)));
        }
    }

    proptest::proptest! {
        #[test]
        fn every_moment_is_read_as_it_is_written(millis in FIRST.0..=LAST.0) {
            proptest::prop_assert_eq!(date_time(&Time(millis).to_string()), Some(Time(millis)));
        }

        #[test]
        fn no_text_makes_it_panic(text: String, zone in "[-+Z0-9:.T]{0,12}") {
            let _ = (date_time(&text), date_time(&format!("2026-11-23T{zone}")));
        }
    }
}
