//! A key case from the history of results. Pure.

use crate::{
    clock::Time,
    estate::{KeyResult, KeyStatus},
};

crate::spelled! {
    /// Where a case stands.
    KeyCaseState, "a key-case state" {
        /// Goes on being re-tried.
        Retrying = "retrying",
        /// Confirmed as needing investigation, case by case (L§13).
        Investigating = "investigating",
        /// The key came.
        Resolved = "resolved",
        /// Ended without a key, with a reason.
        Closed = "closed",
    }
}

impl KeyCaseState {
    pub fn is_open(self) -> bool {
        matches!(self, KeyCaseState::Retrying | KeyCaseState::Investigating)
    }
}

/// The latest run of failures of one device, as its history tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Episode {
    pub state: KeyCaseState,
    /// The first failure since the last success.
    pub first_seen: Time,
    pub last_attempt: Time,
    /// Results of this episode, the success that ended it included.
    pub attempts: i64,
    pub last_error: Option<String>,
}

impl Episode {
    /// The last episode in a device's results, oldest first; `None` where it never failed.
    pub fn latest(history: &[KeyResult]) -> Option<Episode> {
        let mut episode: Option<Episode> = None;
        for result in history {
            episode = match (result.status, episode) {
                (KeyStatus::Updated, None) => None,
                (KeyStatus::Updated, Some(e)) if e.state.is_open() => Some(Episode {
                    state: KeyCaseState::Resolved,
                    last_attempt: result.attempted_at,
                    attempts: e.attempts + 1,
                    ..e
                }),
                (KeyStatus::Updated, ended) => ended,
                (status, Some(e)) if e.state.is_open() => Some(Episode {
                    state: if status == KeyStatus::Investigating { KeyCaseState::Investigating } else { e.state },
                    last_attempt: result.attempted_at,
                    attempts: e.attempts + 1,
                    last_error: result.detail.clone().or(e.last_error),
                    first_seen: e.first_seen,
                }),
                (status, _) => Some(Episode {
                    state: if status == KeyStatus::Investigating { KeyCaseState::Investigating } else { KeyCaseState::Retrying },
                    first_seen: result.attempted_at,
                    last_attempt: result.attempted_at,
                    attempts: 1,
                    last_error: result.detail.clone(),
                }),
            };
        }
        episode
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::Eui;

    fn history(statuses: &[KeyStatus]) -> Vec<KeyResult> {
        let result = |(i, s): (usize, &KeyStatus)| KeyResult {
            device_id: Eui(1),
            attempted_at: Time(i as i64 * 10),
            status: *s,
            detail: Some(format!("no {i}")),
        };
        statuses.iter().enumerate().map(result).collect()
    }

    #[test]
    fn a_case_opens_goes_to_investigation_and_ends_with_the_key() {
        use KeyStatus::*;
        assert_eq!(Episode::latest(&history(&[Updated, Updated])), None);
        let open = Episode::latest(&history(&[Failed, Failed])).unwrap();
        assert_eq!(
            (open.state, open.attempts, open.first_seen, open.last_error.as_deref()),
            (KeyCaseState::Retrying, 2, Time(0), Some("no 1"))
        );
        let case = Episode::latest(&history(&[Failed, Investigating, Failed])).unwrap();
        assert_eq!(
            (case.state, case.attempts),
            (KeyCaseState::Investigating, 3),
            "a failed re-run does not end an investigation"
        );
        let done = Episode::latest(&history(&[Failed, Updated])).unwrap();
        assert_eq!((done.state, done.attempts, done.last_attempt), (KeyCaseState::Resolved, 2, Time(10)));
    }

    #[test]
    fn a_relapse_is_a_new_episode() {
        use KeyStatus::*;
        let relapse = Episode::latest(&history(&[Failed, Updated, Failed])).unwrap();
        assert_eq!((relapse.state, relapse.attempts, relapse.first_seen), (KeyCaseState::Retrying, 1, Time(20)));
    }

    proptest! {
        #[test]
        fn a_case_is_open_exactly_when_the_last_result_is_a_failure(statuses in prop::collection::vec(prop::sample::select(KeyStatus::ALL), 0..12)) {
            let open = Episode::latest(&history(&statuses)).is_some_and(|e| e.state.is_open());
            prop_assert_eq!(open, statuses.last().is_some_and(|s| *s != KeyStatus::Updated));
        }
    }
}
