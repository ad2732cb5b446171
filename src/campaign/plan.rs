//! A plan: every site considered, with its outcome, counted and hashed while it is made. Pure.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::{PlanReport, waves::Waves};
use crate::{
    clock::Time,
    ids::{DeviceId, ImageId, hex},
    policy::{Outcome, Reason},
};

crate::spelled! {
    PlanState, "a plan state" {
        /// Being made; nothing looks at it.
        Building = "building",
        /// In force: it can be approved and sent.
        Ready = "ready",
        /// Made with --as-of: shown, never approved.
        WhatIf = "what_if",
        /// Another took its place; its rows are being removed.
        Superseded = "superseded",
    }
}

/// A plan as stored, without its rows.
#[derive(Debug, Clone)]
pub struct Plan {
    pub id: i64,
    pub campaign_id: i64,
    pub state: PlanState,
    /// The moment decided about.
    pub decided_at: Time,
    pub created_at: Time,
    pub created_by: String,
    pub policy_hash: String,
    /// The policies it was decided by, as kept (policy_sets.id).
    pub policy_set: Option<i64>,
    /// Over the eligible and held Device IDs, in order: what an approval is bound to.
    pub candidate_hash: Option<String>,
    pub sites: i64,
    pub eligible: i64,
    pub held: i64,
    pub ineligible: i64,
    pub by_reason: BTreeMap<Reason, i64>,
    pub report: PlanReport,
    /// `None`: everything goes at once, and nothing is asked of it.
    pub waves: Option<Waves>,
}

/// Counts and hashes the decisions of a plan, site by site, in the order of Device IDs.
pub struct Tally {
    pub by_reason: BTreeMap<Reason, i64>,
    candidates: Sha256,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally { by_reason: BTreeMap::new(), candidates: Sha256::new() }
    }
}

impl Tally {
    pub fn add(&mut self, device: DeviceId, reason: Reason) {
        *self.by_reason.entry(reason).or_default() += 1;
        if reason.outcome() != Outcome::Ineligible {
            self.candidates.update(device.0.to_be_bytes());
        }
    }

    pub fn count(&self, outcome: Outcome) -> i64 {
        self.by_reason.iter().filter(|(r, _)| r.outcome() == outcome).map(|(_, n)| n).sum()
    }

    pub fn sites(&self) -> i64 {
        self.by_reason.values().sum()
    }

    pub fn candidate_hash(&self) -> String {
        hex(&self.candidates.clone().finalize())
    }
}

impl Plan {
    /// What an approval of this plan is bound to: image, candidates, how it is cut, the waves with their thresholds where it has any, and
    /// what matters of the policies.
    pub fn approval_hash(&self, image: ImageId, rollout: &str, batch_size: i64, policy_binding: &str) -> String {
        let mut hash = Sha256::new();
        let candidates = self.candidate_hash.as_deref().unwrap_or_default();
        let waves = self.waves.as_ref().map(Waves::to_json);
        let (image, batch_size) = (image.to_string(), batch_size.to_string());
        let parts = [image.as_str(), candidates, rollout, batch_size.as_str(), policy_binding];
        for part in parts.into_iter().chain(waves.as_deref()) {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        hex(&hash.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Eui;

    #[test]
    fn the_candidate_hash_covers_the_held_and_not_the_ineligible() {
        let hash = |rows: &[(u64, Reason)]| {
            let mut tally = Tally::default();
            rows.iter().for_each(|(d, r)| tally.add(Eui(*d), *r));
            tally.candidate_hash()
        };
        let base = hash(&[(1, Reason::Eligible), (2, Reason::KeysMissing)]);
        assert_eq!(base, hash(&[(1, Reason::Eligible), (2, Reason::KeysMissing), (3, Reason::CohortNotLive)]));
        assert_eq!(base, hash(&[(1, Reason::Eligible), (2, Reason::Eligible)]), "a release is no edit");
        assert_ne!(base, hash(&[(1, Reason::Eligible)]));
    }

    #[test]
    fn counts_add_up() {
        let mut tally = Tally::default();
        for (i, reason) in Reason::ALL.iter().enumerate() {
            (0..=i).for_each(|n| tally.add(Eui(n as u64), *reason));
        }
        let sum: i64 = Outcome::ALL.iter().map(|o| tally.count(*o)).sum();
        assert_eq!(sum, tally.sites());
    }
}
