//! Endings: a campaign whose every target has come to its end is finished.

use serde_json::json;

use super::{App, notify::has_finished, record};
use crate::{
    campaign::{self, CampaignState, Command},
    db::Tx,
    failure::Outcome,
    target::store::{self as targets, reads},
};

impl App {
    /// Marks started campaigns finished when nothing in them waits, is to be sent, is out or is still to be read. Gives how many.
    pub async fn finish_campaigns(&self) -> Outcome<u64> {
        let mut finished = 0;
        let campaigns = campaign::store::list(&mut self.db.read().await?).await?;
        for campaign in campaigns.into_iter().filter(|c| c.state == CampaignState::Started) {
            let Some(plan) = campaign.plan_id else { continue };
            if !all_over(&mut self.db.read().await?, plan).await? {
                continue;
            }
            let now = self.now();
            let mut tx = self.db.begin().await?;
            let mut current = campaign::store::lock(&mut tx, campaign.id).await?;
            if current.state != CampaignState::Started || !all_over(&mut tx, plan).await? {
                continue;
            }
            // The last answers count too: what they stop waits for a person.
            if self.judge_waves_in(&mut tx, &current).await? && is_halted(&mut tx, campaign.id).await? {
                tx.commit().await?;
                continue;
            }
            current.state = current.state.on(Command::Finish)?;
            current.ended_at = Some(now);
            campaign::store::save(&mut tx, &current, CampaignState::Started).await?;
            self.end_void_alarm(&mut tx, &current, "engine", "the campaign has ended").await?;
            self.end_wave_alarm(&mut tx, &current, "engine", "the campaign has ended").await?;
            record(&mut tx, now, "engine", "campaign.finish", campaign.subject(), json!({})).await?;
            self.tell(&mut tx, &[has_finished(&current)]).await?;
            tx.commit().await?;
            finished += 1;
        }
        Ok(finished)
    }
}

async fn is_halted(tx: &mut Tx, campaign: i64) -> Outcome<bool> {
    Ok(campaign::store::get(tx, campaign).await?.is_some_and(|c| c.state == CampaignState::Halted))
}

/// Every target has come to its end, and no read of one is open.
async fn all_over(tx: &mut Tx, plan: i64) -> Outcome<bool> {
    Ok(!reads::any_open(tx, plan).await? && targets::all_final(tx, plan).await?)
}
