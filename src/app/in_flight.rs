//! The caps on devices that are out at once, of a campaign and of all (rollout.toml): asked in the transaction that prepares a batch, under
//! one turn, so that two nodes cannot both take the last place. What is out is counted without the write lock before; under it, only what
//! was made since is added. Promise: no batch is prepared for which a cap has no room.

use serde::Serialize;

use super::App;
use crate::{
    campaign::{self, Campaign, waves::store as waves},
    db::Tx,
    failure::Outcome,
    policy::PolicySet,
    target::store as targets,
};

/// A batch has at least this part of a cap, unless less waits: else, as devices end one by one, batches of one would follow.
const PART_OF_CAP: i64 = 4;

/// What is out, and what may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct InFlight {
    /// Of the campaign.
    pub now: i64,
    /// Null: no cap.
    pub cap: Option<i64>,
    /// Of all campaigns.
    pub in_all: i64,
    pub cap_in_all: Option<i64>,
}

/// A count of what is out, good for any transaction after it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    newest_batch: i64,
    /// Of the plan: batches of one campaign are made one after another, those of several are not.
    newest_of_plan: i64,
    found: InFlight,
}

impl InFlight {
    /// How many devices more may be out. `None`: no cap.
    pub fn room(&self) -> Option<i64> {
        let own = self.cap.map(|cap| cap - self.now);
        let all = self.cap_in_all.map(|cap| cap - self.in_all);
        own.into_iter().chain(all).min().map(|room| room.max(0))
    }

    /// How many devices a batch may have, of at most `size`, where `queued` (or `size`) wait. `None`: it waits for more room.
    pub fn batch(&self, size: i64, queued: i64) -> Option<i64> {
        let Some(room) = self.room() else { return Some(size) };
        let cap = self.cap.into_iter().chain(self.cap_in_all).min().unwrap_or(i64::MAX);
        let least = size.min(queued).min((cap / PART_OF_CAP).max(1));
        (room >= least.max(1)).then_some(room.min(size))
    }
}

impl App {
    /// What is out, where a cap asks; counted on a reader. `None`: there is no cap.
    pub(super) async fn look_in_flight(&self, tx: &mut Tx, campaign: &Campaign, policies: &PolicySet) -> Outcome<Option<Look>> {
        let cap = policies.rollout.preset(&campaign.rollout).and_then(|p| p.in_flight);
        let cap_in_all = policies.rollout.in_flight_in_all;
        let Some(plan) = campaign.plan_id.filter(|_| cap.is_some() || cap_in_all.is_some()) else { return Ok(None) };
        // Before the count: what is made in between is then counted twice rather than not at all.
        let (newest_batch, newest_of_plan) = waves::newest_batches(tx, plan).await?;
        let now = targets::waves::count_in_flight(tx, &[plan]).await?;
        let in_all = match cap_in_all {
            None => now,
            Some(_) => {
                let plans: Vec<i64> = campaign::store::followed(tx).await?.into_iter().map(|f| f.plan_id).collect();
                targets::waves::count_in_flight(tx, &plans).await?
            }
        };
        Ok(Some(Look { newest_batch, newest_of_plan, found: InFlight { now, cap, in_all, cap_in_all } }))
    }

    /// The same under the turn, in the transaction that will prepare a batch.
    pub(super) async fn take_in_flight_turn(&self, tx: &mut Tx, plan: i64, look: Option<Look>) -> Outcome<Option<InFlight>> {
        let Some(look) = look else { return Ok(None) };
        waves::take_turn(tx).await?;
        let (own, all) = waves::sent_since(tx, look.newest_batch, plan, look.newest_of_plan).await?;
        Ok(Some(InFlight { now: look.found.now + own, in_all: look.found.in_all + all, ..look.found }))
    }

    /// How many devices more a transaction that will prepare a batch may put out. `None`: no cap.
    pub(super) async fn room_in_flight(&self, tx: &mut Tx, campaign: &Campaign, policies: &PolicySet) -> Outcome<Option<i64>> {
        let Some(plan) = campaign.plan_id else { return Ok(None) };
        let look = self.look_in_flight(tx, campaign, policies).await?;
        Ok(self.take_in_flight_turn(tx, plan, look).await?.and_then(|in_flight| in_flight.room()))
    }

    /// For a status.
    pub(super) async fn in_flight(&self, tx: &mut Tx, campaign: &Campaign) -> Outcome<Option<InFlight>> {
        Ok(self.look_in_flight(tx, campaign, &self.policies()?).await?.map(|look| look.found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_fits_the_cap_and_is_no_crumb() {
        let out = |now, cap, in_all, cap_in_all| InFlight { now, cap, in_all, cap_in_all };
        assert_eq!(out(5, None, 9, None).batch(100, 100), Some(100));
        assert_eq!(out(0, Some(40), 0, None).batch(100, 100), Some(40));
        assert_eq!(out(31, Some(40), 31, None).batch(100, 100), None, "nine places, and a quarter of the cap is ten");
        assert_eq!(out(30, Some(40), 30, None).batch(100, 100), Some(10));
        assert_eq!(out(38, Some(40), 38, None).batch(100, 2), Some(2), "no more than these wait");
        assert_eq!(out(40, Some(40), 40, None).batch(100, 1), None);
        assert_eq!(out(50, Some(40), 50, None).batch(100, 1), None, "the cap was lowered");
        assert_eq!(out(0, Some(40), 95, Some(100)).batch(100, 100), None);
        assert_eq!(out(0, Some(40), 85, Some(100)).batch(100, 100), Some(15));
        assert_eq!(out(0, Some(1), 0, None).batch(100, 100), Some(1));
    }
}
