//! A key case from the history of results. Pure.

use std::ops::Range;

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

/// A run of failures of one device, as its history tells it.
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

/// Where each episode of a device lies in its results since its last case ended, oldest first: from the failure that begins it to the success
/// that ends it. `open` is the last attempt of its open case, whose episode is the first: a success that is later than that ends it, and
/// what is heard of earlier ones belongs to it.
pub fn episodes(results: &[KeyResult], open: Option<Time>) -> Vec<Range<usize>> {
    let success = |r: &KeyResult| r.status == KeyStatus::Updated;
    let mut found = Vec::new();
    let mut from = 0;
    if let Some(last) = open {
        let came = results.iter().position(|r| success(r) && r.attempted_at > last);
        from = came.map_or(results.len(), |at| at + 1);
        found.push(0..from);
    }
    while let Some(begins) = results[from..].iter().position(|r| !success(r)).map(|at| from + at) {
        from = results[begins..].iter().position(success).map_or(results.len(), |at| begins + at + 1);
        found.push(begins..from);
    }
    found
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

    /// The same with the times its site was sent again without its key, oldest first, that are over: one that a result answers is that
    /// attempt, and one that none does (silence, a refusal) is an attempt of its own.
    pub fn with_resubmissions(mut self, history: &[KeyResult], sent: &[Time]) -> Episode {
        for (n, at) in sent.iter().enumerate() {
            let until = sent.get(n + 1).copied().unwrap_or(Time(i64::MAX));
            if history.iter().any(|r| *at < r.attempted_at && r.attempted_at <= until) {
                continue;
            }
            self.attempts += 1;
            // What has ended did so with its last result.
            if self.state.is_open() {
                self.last_attempt = self.last_attempt.max(*at);
            }
        }
        self
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

    #[test]
    fn a_resubmission_is_one_attempt_answered_or_not() {
        use KeyStatus::*;
        let failed = history(&[Failed, Failed, Failed]);
        let counted = |history: &[KeyResult], sent: &[i64]| {
            let sent: Vec<Time> = sent.iter().map(|at| Time(*at)).collect();
            let episode = Episode::latest(history).unwrap().with_resubmissions(history, &sent);
            (episode.attempts, episode.last_attempt.0)
        };
        assert_eq!(counted(&failed, &[]), (3, 20));
        assert_eq!(counted(&failed, &[5, 15]), (3, 20), "each was answered by the result after it");
        assert_eq!(counted(&failed, &[12, 15]), (4, 20), "the first was not");
        assert_eq!(counted(&failed, &[15, 25]), (4, 25));
        assert_eq!(counted(&failed, &[25, 35]), (5, 35));
        assert_eq!(counted(&failed, &[10]), (3, 20), "a result of the same moment was there before");
        let done = history(&[Failed, Updated]);
        assert_eq!(counted(&done, &[15]), (3, 10), "it ended when its key came");
    }

    /// Cases as files of results make them, one file after the other.
    fn cases_of(files: &[&[KeyResult]]) -> Vec<Episode> {
        let mut cases: Vec<Episode> = Vec::new();
        let mut heard: Vec<KeyResult> = Vec::new();
        for file in files {
            heard.extend_from_slice(file);
            let ended = cases.iter().rfind(|c| !c.state.is_open()).map(|c| c.last_attempt);
            let since: Vec<KeyResult> = heard.iter().filter(|r| ended.is_none_or(|at| r.attempted_at > at)).cloned().collect();
            let open = cases.pop_if(|c| c.state.is_open()).map(|c| c.last_attempt);
            cases.extend(episodes(&since, open).into_iter().filter_map(|these| Episode::latest(&since[these])));
        }
        cases
    }

    #[test]
    fn a_history_has_all_its_episodes() {
        use KeyStatus::*;
        let all = history(&[Updated, Failed, Updated, Updated, Failed, Failed]);
        assert_eq!(episodes(&all, None), [1..3, 4..6]);
        assert_eq!(episodes(&all, Some(Time(20))), [0..4, 4..6], "an earlier success leaves an open case open");
        assert!(episodes(&all[..1], None).is_empty());
        assert_eq!(episodes(&[], Some(Time(0))).len(), 1, "an open case is one, whatever is known of its results");
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_files_were_cut(
            statuses in prop::collection::vec(prop::sample::select(KeyStatus::ALL), 0..12),
            cuts in prop::collection::vec(any::<bool>(), 12),
        ) {
            let all = history(&statuses);
            let mut files: Vec<&[KeyResult]> = Vec::new();
            let mut from = 0;
            for at in 1..=all.len() {
                if cuts[at - 1] || at == all.len() {
                    files.push(&all[from..at]);
                    from = at;
                }
            }
            let cases = cases_of(&files);
            prop_assert_eq!(&cases, &cases_of(&[&all]));
            prop_assert_eq!(cases.last().cloned(), Episode::latest(&all));
            let starts = |w: &[KeyStatus]| w[0] == KeyStatus::Updated && w[1] != KeyStatus::Updated;
            let begun = statuses.windows(2).filter(|w| starts(w)).count() + usize::from(statuses.first().is_some_and(|s| *s != KeyStatus::Updated));
            prop_assert_eq!(cases.len(), begun);
        }

        #[test]
        fn a_case_is_open_exactly_when_the_last_result_is_a_failure(statuses in prop::collection::vec(prop::sample::select(KeyStatus::ALL), 0..12)) {
            let open = Episode::latest(&history(&statuses)).is_some_and(|e| e.state.is_open());
            prop_assert_eq!(open, statuses.last().is_some_and(|s| *s != KeyStatus::Updated));
        }
    }
}
