//! Sites that a campaign takes in after it was started, and whose yes that needs. Not a new plan: the plan's figures stay. Pure but for
//! its [`store`].

pub mod store;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{clock::Time, policy::Reason};

crate::spelled! {
    TopUpState, "a state of a top-up" {
        /// Its sites are being written down; nothing looks at it.
        Finding = "finding",
        /// It waits for a second person.
        Proposed = "proposed",
        /// Its sites are being taken in.
        Applying = "applying",
        Applied = "applied",
        /// Another took its place, its sites no longer pass, or the campaign ended.
        Void = "void",
    }
}

/// A top-up as stored, without its sites.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TopUp {
    pub id: i64,
    pub campaign: i64,
    #[serde(skip)]
    pub plan: i64,
    pub state: TopUpState,
    pub asked_by: String,
    pub asked_at: Time,
    /// Sites that passed, or had to wait, when it was asked.
    pub found: i64,
    /// Over their Device IDs, in order.
    pub candidates: String,
    pub by_reason: BTreeMap<Reason, i64>,
    /// Null: the approved plan allowed it.
    pub approved_by: Option<String>,
    pub approved_at: Option<Time>,
    /// Sites taken in: those that still passed, or had to wait, when their turn came.
    pub taken: i64,
    pub ended_at: Option<Time>,
    pub note: Option<String>,
}
