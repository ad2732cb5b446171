//! Silence and endings: what is past its deadline expires, and a campaign whose every target has come to its end is finished.

use serde_json::json;

use super::{App, record};
use crate::{
    campaign::{self, CampaignState, Command},
    failure::Outcome,
    target::{
        Event,
        store::{self as targets, Because, Cause, Moved, Which},
    },
};

impl App {
    /// Expires what has been silent past its deadline. Gives how many targets.
    pub async fn expire_silent(&self) -> Outcome<u64> {
        let now = self.now();
        let mut expired = 0;
        let followed = campaign::store::followed(&mut self.db.read().await?).await?;
        for campaign in followed {
            if !targets::any_overdue(&mut self.db.read().await?, campaign.plan_id, now).await? {
                continue;
            }
            let mut tx = self.db.begin().await?;
            let detail = Some("no news from DCC within the time allowed");
            let moved = Moved { detail, ..Moved::because(Because::of(Cause::Silence)) };
            expired += targets::move_all(&mut tx, campaign.plan_id, Which::Overdue, Event::Silent, moved, now).await?;
            tx.commit().await?;
        }
        Ok(expired)
    }

    /// Marks started campaigns finished when nothing in them waits, is to be sent or is out. Gives how many.
    pub async fn finish_campaigns(&self) -> Outcome<u64> {
        let mut finished = 0;
        let campaigns = campaign::store::list(&mut self.db.read().await?).await?;
        for campaign in campaigns.into_iter().filter(|c| c.state == CampaignState::Started) {
            let Some(plan) = campaign.plan_id else { continue };
            if !targets::all_final(&mut self.db.read().await?, plan).await? {
                continue;
            }
            let now = self.now();
            let mut tx = self.db.begin().await?;
            let mut current = campaign::store::lock(&mut tx, campaign.id).await?;
            if current.state != CampaignState::Started || !targets::all_final(&mut tx, plan).await? {
                continue;
            }
            current.state = current.state.on(Command::Finish)?;
            current.ended_at = Some(now);
            campaign::store::save(&mut tx, &current, CampaignState::Started).await?;
            self.end_void_alarm(&mut tx, &current, "engine", "the campaign has ended").await?;
            record(&mut tx, now, "engine", "campaign.finish", format!("campaign {}", campaign.id), json!({})).await?;
            tx.commit().await?;
            finished += 1;
        }
        Ok(finished)
    }
}
