//! A sweep of the silent: devices of started campaigns that are past their deadline are asked about, in DCC's inventory (8.2) and nowhere
//! else. They leave like every read, within its pace, windows and thresholds; what an answer means is in `heard`. Promise: a version that
//! agrees makes a device `verified`; nothing else moves it; one sweep asks for no more than an hour's pace can bear.

use super::{App, decide::sites};
use crate::{
    campaign::{self, Campaign, CampaignState},
    clock::Time,
    failure::Outcome,
    ids::DeviceId,
    policy::{ReadStep, Steps},
    target::{
        ReadCause,
        store::{
            GROUP_ROWS,
            reads::{self, NewRead},
            silent,
        },
    },
};

/// What one sweep may ask for is what leaves within this many minutes: other reads do not wait longer behind it.
const SWEEP_MINUTES: i64 = 60;

/// What a sweep found in one campaign.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Found {
    silent: i64,
    /// Being asked about already.
    under_way: i64,
    /// Put down to be asked about now.
    asked: i64,
    /// Not ours today.
    not_ours: i64,
}

impl Found {
    fn left(&self) -> i64 {
        (self.silent - self.under_way - self.asked - self.not_ours).max(0)
    }
}

impl App {
    /// Puts down devices that are silent past their deadline to be asked about. Gives what it did, and a line for each campaign.
    pub async fn sweep_silent(&self, log: &mut Vec<String>) -> Outcome<String> {
        self.follow_silence().await?;
        let (now, steps) = (self.now(), self.policies()?.steps);
        let mut look = self.db.read().await?;
        let mut budget = steps.reads_per_minute * SWEEP_MINUTES - silent::count_waiting(&mut look).await?;
        let campaigns = campaign::store::list(&mut look).await?;
        drop(look);
        let started: Vec<&Campaign> = campaigns.iter().filter(|c| c.state == CampaignState::Started).collect();
        let mut total = Found::default();
        for (n, campaign) in started.iter().enumerate() {
            let Some(plan) = campaign.plan_id else { continue };
            // None takes what the others need.
            let share = budget.max(0) / (started.len() - n) as i64;
            let found = self.sweep_plan(plan, share, &steps, now).await?;
            budget -= found.asked;
            if found.silent > 0 {
                log.push(format!("campaign {}: {}", campaign.name, told(&found)));
            }
            total.silent += found.silent;
            total.under_way += found.under_way;
            total.asked += found.asked;
            total.not_ours += found.not_ours;
        }
        Ok(told(&total))
    }

    /// A page at a time, so that nobody waits long for the writer's turn.
    async fn sweep_plan(&self, plan: i64, most: i64, steps: &Steps, now: Time) -> Outcome<Found> {
        let (all, under_way) = silent::count(&mut self.db.read().await?, plan).await?;
        let mut found = Found { silent: all, under_way, ..Found::default() };
        let mut after = (-1, 0);
        while found.asked < most {
            let mut tx = self.db.begin().await?;
            let page = silent::page(&mut tx, plan, after, (most - found.asked).min(GROUP_ROWS as i64)).await?;
            let Some(last) = page.last() else { break };
            after = last.0;
            let devices: Vec<DeviceId> = page.into_iter().map(|(_, device)| device).collect();
            let rows = sites(&mut tx, &devices, &self.settings.organisation.mpids, now).await?;
            let ours = rows.iter().filter(|row| row.is_ours_on(now.london_day()));
            let new: Vec<NewRead> = ours
                .map(|row| NewRead {
                    plan_id: plan,
                    device: row.site.device_id,
                    kind: ReadStep::ReadInventory,
                    cause: ReadCause::Silence,
                    within_millis: steps.of_site(&row.site).read_within.millis(),
                })
                .collect();
            found.not_ours += (devices.len() - new.len()) as i64;
            found.asked += i64::try_from(reads::plan_reads(&mut tx, &new, now).await?).unwrap_or(0);
            tx.commit().await?;
        }
        Ok(found)
    }
}

fn told(found: &Found) -> String {
    let devices = if found.silent == 1 { "device is" } else { "devices are" };
    let mut told = format!("{} {devices} silent past the deadline; {} to be asked about", found.silent, found.asked);
    for (n, what) in [
        (found.under_way, "being asked about already"),
        (found.not_ours, "not ours today"),
        (found.left(), "left for the next sweep"),
    ] {
        if n > 0 {
            told += &format!(", {n} {what}");
        }
    }
    told
}
