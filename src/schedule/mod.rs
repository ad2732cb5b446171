//! What runs by the clock: an expression on wall-clock time in a zone ([`Expression`], [`next_after`]), what it does ([`Action`]), and its
//! runs. Decides when, never whether: each action obeys what a person's command obeys, which is `app`. Promise: of each firing there is
//! one row at most, whichever node finds it, and what was missed is said.

mod action;
mod expression;
mod firing;
#[cfg(test)]
mod properties;
pub mod store;
#[cfg(test)]
mod store_tests;
#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::clock::{Time, Zone};

pub use action::{Action, Asked, BadAction, Verb};
pub use expression::{BadExpression, EXPRESSION_CHARS, Expression};
pub use firing::{Due, Firing, MISSED_COUNTED, ON_TIME_MILLIS, Planned, due, firings, next_after};

crate::spelled! {
    /// What becomes of firings that nobody was there for.
    Missed, "a word for missed firings: coalesce or skip" {
        /// One run for all of them.
        Coalesce = "coalesce",
        /// None; a row says so.
        Skip = "skip",
    }
}

crate::spelled! {
    ScheduleState, "a state of a schedule" {
        Active = "active",
        /// It fires no more until it is resumed; what it would have fired meanwhile is not missed.
        Paused = "paused",
        /// Its runs are kept.
        Removed = "removed",
    }
}

crate::spelled! {
    RunState, "a state of a run" {
        Running = "running",
        Succeeded = "succeeded",
        Failed = "failed",
        /// Whoever ran it died or was stopped. Nobody runs it again by itself.
        Interrupted = "interrupted",
        /// Missed, and not made up for.
        Skipped = "skipped",
    }
}

crate::spelled! {
    /// Why there is a run.
    Origin, "an origin of a run" {
        Clock = "clock",
        /// Somebody asked for it.
        Hand = "hand",
    }
}

/// A schedule as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Schedule {
    pub id: i64,
    pub name: String,
    pub state: ScheduleState,
    pub cron: Expression,
    pub zone: Zone,
    /// As people read it.
    #[serde(rename = "action")]
    pub said: String,
    #[serde(skip)]
    pub action: Action,
    pub missed: Missed,
    /// Every firing up to this moment has been dealt with.
    pub done_until: Time,
    pub created_by: String,
    pub created_at: Time,
}

impl Schedule {
    /// As alarms and the audit trail name it.
    pub fn subject(&self) -> String {
        format!("schedule {}", self.id)
    }

    /// Who acts, in the audit trail.
    pub fn who(&self) -> String {
        format!("schedule {}", self.name)
    }

    pub fn next_after(&self, after: Time) -> Option<Firing> {
        next_after(&self.cron, &self.zone, after)
    }

    /// What it has to do now.
    pub fn due(&self, now: Time) -> Due {
        due(&self.cron, &self.zone, self.missed, self.done_until, now)
    }
}

/// A run as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Run {
    pub id: i64,
    pub schedule: i64,
    pub origin: Origin,
    /// Who asked for it, where somebody did.
    pub asked_by: Option<String>,
    pub state: RunState,
    pub planned_for: Time,
    /// Earlier firings that this row stands for as well, and the first of them.
    pub missed: i64,
    pub missed_from: Option<Time>,
    pub started_at: Option<Time>,
    pub ended_at: Option<Time>,
    /// What came of it, in a sentence.
    pub result: Option<String>,
    pub log: Vec<String>,
    /// Who runs it, and until when that is believed.
    #[serde(skip)]
    pub leased_by: Option<String>,
    #[serde(skip)]
    pub leased_until: Option<Time>,
}
