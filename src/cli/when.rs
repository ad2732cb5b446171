//! A moment as a person gives it to `--since` and `--until`: RFC 3339, or a date in Europe/London, which counts whole.

use crate::{
    clock::{Day, Time},
    ids::IdError,
};

/// From this moment on, or from the first moment of this day.
pub fn since(text: &str) -> Result<Time, IdError> {
    text.parse().or_else(|_| text.parse::<Day>().map(Day::start)).map_err(|_| wanted(text))
}

/// Before this moment, or before the day after this one.
pub fn until(text: &str) -> Result<Time, IdError> {
    text.parse().or_else(|_| text.parse::<Day>().map(|day| day.end().plus_millis(1))).map_err(|_| wanted(text))
}

fn wanted(text: &str) -> IdError {
    IdError::new(text, "a time such as 2020-11-24T09:00:00Z or a date such as 2020-11-24")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_date_counts_whole() {
        let at = |text: &str| text.parse().unwrap();
        assert_eq!(super::since("2026-07-01"), Ok(at("2026-06-30T23:00:00Z")), "British summer time");
        assert_eq!(super::until("2026-07-01"), Ok(at("2026-07-01T23:00:00Z")));
        assert_eq!(super::until("2026-07-01T10:00:00Z"), Ok(at("2026-07-01T10:00:00Z")));
        assert!(super::since("yesterday").is_err());
    }
}
