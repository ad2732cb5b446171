//! A key case as people meet it, and what may be done to it. Pure: [`KeyCaseState::on`] is the one place that says what a case in a
//! state becomes.

use serde::Serialize;

use super::KeyCaseState;
use crate::{
    clock::Time,
    estate::Cohort,
    ids::{DeviceId, Mpan, Mpid},
};

crate::spelled! {
    /// What a person, or the engine, does to a case.
    CaseVerb, "what is done to a case" {
        /// Is due now, whatever the timetable says.
        Retry = "retry",
        /// Becomes an incident.
        Escalate = "escalate",
        /// The engine: its attempts are used up, or it is too old.
        GiveUp = "give-up",
        Assign = "assign",
        Note = "note",
        /// The key is there: counts as a result `updated`.
        Resolve = "resolve",
        /// Ends without a key.
        Close = "close",
        /// The ending was wrong: counts as a result `failed`, which opens the next case.
        Reopen = "reopen",
    }
}

/// Why a verb does nothing to a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a case that is {from} cannot be told to {verb}")]
pub struct NotNow {
    pub from: KeyCaseState,
    pub verb: CaseVerb,
}

impl KeyCaseState {
    /// The state after a verb. (A case that is reopened stays as it ended: the next one begins as what this gives.)
    pub fn on(self, verb: CaseVerb) -> Result<KeyCaseState, NotNow> {
        use CaseVerb as V;
        use KeyCaseState as S;
        match (self, verb) {
            (state, V::Note) => Ok(state),
            (S::Retrying, V::Retry | V::Assign) => Ok(S::Retrying),
            (S::Investigating, V::Retry | V::Assign) => Ok(S::Investigating),
            (S::Retrying | S::Investigating, V::Escalate) | (S::Retrying, V::GiveUp) => Ok(S::Investigating),
            (S::Retrying | S::Investigating, V::Resolve) => Ok(S::Resolved),
            (S::Retrying | S::Investigating, V::Close) => Ok(S::Closed),
            (S::Resolved | S::Closed, V::Reopen) => Ok(S::Retrying),
            (from, verb) => Err(NotNow { from, verb }),
        }
    }
}

crate::spelled! {
    /// How an attempt came about.
    AttemptKind, "a kind of attempt" {
        /// A re-run was asked for.
        Requested = "requested",
        /// Its firmware was sent although its key is missing (retry.toml, `resubmit`).
        Resubmission = "resubmission",
        /// A result of the tool was imported.
        Result = "result",
        /// DCC said so in a message.
        Message = "message",
        /// A person said so.
        Hand = "hand",
    }
}

/// One case, with what is known of its site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyCase {
    #[serde(rename = "case")]
    pub id: i64,
    pub device_id: DeviceId,
    pub mpan: Option<Mpan>,
    pub cohort: Option<Cohort>,
    pub model: Option<String>,
    pub region: Option<String>,
    pub state: KeyCaseState,
    /// Results in this episode, and resubmissions that none answered.
    pub attempts: i64,
    pub first_seen: Time,
    pub last_attempt: Option<Time>,
    /// When it may go on a re-run request or be sent again; null: not before somebody decides.
    pub next_attempt: Option<Time>,
    pub last_error: Option<String>,
    pub incident: Option<String>,
    pub team: Option<String>,
    pub assignee: Option<String>,
    pub closed_reason: Option<String>,
    pub ended_at: Option<Time>,
    /// The device's case before this one.
    pub previous: Option<i64>,
}

crate::spelled! {
    /// The order of a list; equal ones by number of the case.
    CaseOrder, "an order: case, first_seen, last_attempt, next_attempt or attempts" {
        Case = "case",
        FirstSeen = "first_seen",
        LastAttempt = "last_attempt",
        NextAttempt = "next_attempt",
        Attempts = "attempts",
    }
}

/// Which cases; what is absent does not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CaseFilter {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<KeyCaseState>,
    /// Retrying or investigating.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub open: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cohort: Option<Cohort>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The supplier that holds the MPAN today.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mpid: Option<Mpid>,
    /// A piece of the last error, capitals or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// First seen not later than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_seen_by: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts_from: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_by: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
    /// Empty: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// Empty: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assignee: Option<String>,
    /// Members of this plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<i64>,
    /// A piece of the error, the incident, the closing reason or a note, capitals or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Without an incident reference.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unescalated: bool,
    /// Only each device's latest case.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub latest: bool,
}

impl CaseFilter {
    /// Whether it narrows nothing.
    pub fn is_all(&self) -> bool {
        *self == CaseFilter { latest: self.latest, ..CaseFilter::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every state against every verb: read at a glance.
    #[test]
    fn the_grid_of_states_and_verbs() {
        let mut grid = String::new();
        for state in KeyCaseState::ALL {
            for verb in CaseVerb::ALL {
                let after = state.on(*verb).map_or("-".to_string(), |s| s.to_string());
                grid += &format!("{state:<14}{verb:<10}{after}\n");
            }
        }
        insta::assert_snapshot!(grid);
    }
}
