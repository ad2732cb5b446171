//! Sites that change hands after their request left. Nothing sent can be recalled: such a device is followed as before, and its
//! reason says that it left the portfolio, so that nobody counts it for or against the campaign. Not the sites still to be sent:
//! those are decided again before their batch. Also what DCC's own alert of a loss means.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{
    App,
    decide::{fact_of_loss, sites},
    import::whole_facts,
};
use crate::{
    campaign::{self, CampaignState, store::Followed},
    clock::{Day, Time},
    db::Tx,
    estate::{self, SiteRow, store::SupplyNotice},
    failure::Outcome,
    gateway::inbox::{Arrived, InboxState},
    ids::{DeviceId, Mpan},
    policy::Reason,
    target::store::{self as targets, Because, Cause, Change, Target},
};

/// Targets looked at in one step, and changed in one transaction.
const PAGE_TARGETS: usize = 5_000;

/// What changed hands among the devices that are out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SupplyChanges {
    pub lost: u64,
    /// Ours after all: a correction of the registrations.
    pub regained: u64,
}

impl App {
    /// Marks what is out, or silent, and no longer ours, and takes the mark off what is ours again, whatever it came to. For when
    /// registrations were imported and when a day begins.
    pub async fn mark_lost_supply(&self) -> Outcome<SupplyChanges> {
        let mut changes = SupplyChanges::default();
        let campaigns = campaign::store::list(&mut self.db.read().await?).await?;
        let finished: HashSet<i64> = campaigns.iter().filter(|c| c.state == CampaignState::Finished).map(|c| c.id).collect();
        let followed = campaign::store::followed(&mut self.db.read().await?).await?;
        for campaign in &followed {
            // Nothing that is lost after the end of a campaign was lost from it.
            let only_marked = finished.contains(&campaign.campaign_id);
            self.mark_in_campaign(campaign, only_marked, &mut changes).await?;
        }
        Ok(changes)
    }

    async fn mark_in_campaign(&self, campaign: &Followed, only_marked: bool, total: &mut SupplyChanges) -> Outcome {
        let mut after = None;
        loop {
            self.wait_for_import().await?;
            let mut look = self.db.read().await?;
            let facts = whole_facts(&mut look).await?;
            let page = targets::followed_supply(&mut look, campaign.plan_id, only_marked, after, PAGE_TARGETS).await?;
            let Some(last) = page.last().map(|t| t.device) else { return Ok(()) };
            let devices: Vec<DeviceId> = page.iter().map(|t| t.device).collect();
            let now = self.now();
            let rows = sites(&mut look, &devices, &self.settings.organisation.mpids, now).await?;
            drop(look);
            let day = now.london_day();
            let rows: HashMap<DeviceId, &SiteRow> = rows.iter().map(|r| (r.site.device_id, r)).collect();
            let changes: Vec<Change> = page.into_iter().filter_map(|t| change(rows.get(&t.device).copied(), day, t)).collect();
            if facts.is_none() || !self.save_marks(&changes, facts).await? {
                continue;
            }
            let lost = changes.iter().filter(|c| c.reason == Reason::SupplyLost).count() as u64;
            total.lost += lost;
            total.regained += changes.len() as u64 - lost;
            after = Some(last);
        }
    }

    /// `false`: the registrations, or one of the devices, changed since they were looked at, so nothing was written.
    async fn save_marks(&self, changes: &[Change], facts: Option<i64>) -> Outcome<bool> {
        if changes.is_empty() {
            return Ok(true);
        }
        let mut tx = self.db.begin().await?;
        if whole_facts(&mut tx).await? != facts || targets::apply(&mut tx, changes, self.now()).await? != changes.len() as u64 {
            return Ok(false);
        }
        tx.commit().await?;
        Ok(true)
    }
}

/// The state stays what DCC's messages make it.
fn change(row: Option<&SiteRow>, day: Day, target: Target) -> Option<Change> {
    let is_ours = row.is_some_and(|row| row.is_ours_on(day));
    let (reason, detail) = match (is_ours, target.reason == Reason::SupplyLost) {
        (false, false) => {
            let why = row.and_then(|row| fact_of_loss(row, day));
            let why = why.as_deref().unwrap_or("no registration of ours is known");
            (Reason::SupplyLost, format!("left the portfolio after it was sent, and cannot be recalled: {why}"))
        }
        (true, true) => (Reason::Eligible, "in the portfolio again: the registrations were corrected".to_string()),
        (true, false) | (false, true) => return None,
    };
    Some(Change {
        plan_id: target.plan_id,
        device: target.device,
        version: target.version,
        state: target.state,
        reason,
        answer_by: target.answer_by,
        detail: Some(detail),
        because: Because::of(Cause::Supply),
    })
}

/// What an alert says is lost: the supply number that it names, and that of the display, where it is known.
pub(super) async fn notices_of(
    tx: &mut Tx,
    message: Arrived,
    device: DeviceId,
    named: Option<Mpan>,
) -> Outcome<Vec<SupplyNotice>> {
    let of_display = estate::store::mpans_of(tx, &[device]).await?.get(&device).copied();
    let mpans: BTreeSet<Mpan> = named.into_iter().chain(of_display).collect();
    let (received_at, message) = (message.received_at, message.id);
    Ok(mpans.into_iter().map(|mpan| SupplyNotice { mpan, device, received_at, message }).collect())
}

/// How such an alert ends.
pub(super) fn settled(lost: &[SupplyNotice], at: Time) -> (InboxState, Option<String>) {
    match lost {
        [] => (InboxState::Unmatched, Some("it names neither an electricity supply number nor a display of a known site".into())),
        _ => {
            let day = at.london_day();
            let note = format!("the site counts as another supplier's from {day} on, until registrations say more");
            (InboxState::Settled, Some(note))
        }
    }
}
