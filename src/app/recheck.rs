//! Members that wait are decided again: when facts changed, when a day begins, and every so often. Those that pass join
//! the queue; those that are out for good leave it.

use super::App;
use crate::{
    campaign::{self, CampaignState},
    estate,
    failure::Outcome,
    target::{TargetState, store as targets},
};

/// Members decided again in one transaction.
const PAGE_MEMBERS: usize = 2_000;

/// What a recheck did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rechecked {
    pub members: u64,
    /// Rows whose state or reason changed.
    pub changed: u64,
    pub released: u64,
}

impl App {
    /// Decides again about every held member of every started campaign.
    pub async fn recheck_held(&self) -> Outcome<Rechecked> {
        let mut total = Rechecked::default();
        let campaigns = campaign::store::list(&mut self.db.read().await?).await?;
        for campaign in campaigns.iter().filter(|c| c.state == CampaignState::Started) {
            if let Some(plan) = campaign.plan_id {
                self.recheck_campaign(campaign.id, plan, &mut total).await?;
            }
        }
        Ok(total)
    }

    async fn recheck_campaign(&self, id: i64, plan: i64, total: &mut Rechecked) -> Outcome {
        let mut after = None;
        loop {
            self.wait_for_import().await?;
            let held = targets::in_state(&mut self.db.read().await?, plan, TargetState::Held, after, PAGE_MEMBERS).await?;
            let Some(last) = held.last().copied() else { return Ok(()) };
            after = Some(last);
            let mut tx = self.db.begin().await?;
            let campaign = campaign::store::lock(&mut tx, id).await?;
            if campaign.state != CampaignState::Started {
                return Ok(());
            }
            let Some(decider) = self.decider_or_halt(&mut tx, &campaign).await? else {
                tx.commit().await?;
                return Ok(());
            };
            let mpids = &self.settings.organisation.mpids;
            let rows = estate::store::sites(&mut tx, &held, mpids, decider.at.london_day(), decider.at).await?;
            let decided = decider.decide(&mut tx, &rows).await?;
            total.members += decided.len() as u64;
            total.released += decided.iter().filter(|d| d.state == TargetState::Queued).count() as u64;
            total.changed += targets::decide_again(&mut tx, plan, &decided, self.now()).await?;
            tx.commit().await?;
        }
    }
}
