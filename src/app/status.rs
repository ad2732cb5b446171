//! How a campaign stands, in the words and keys of the contract ("Machine-readable results").

use std::collections::BTreeMap;

use serde::Serialize;

use super::{AdtStatus, App, InFlight, WaitsFor, WaveStatus};
use crate::{
    alarm::{self, Alarm},
    campaign::{
        self, Campaign, CampaignState, FirstImage,
        forecast::Forecast,
        latency::{Percentiles, Stage},
        top_up::{self, TopUp, TopUpState},
    },
    clock::Time,
    db::Tx,
    failure::Outcome,
    gateway::{
        link::{self, Link},
        outbox,
    },
    ids::DeviceId,
    keys::{self, KeyCaseState},
    policy::Reason,
    target::{
        ReadState, TargetState,
        store::{
            self as targets, reads,
            silent::{self, SilenceCounts},
        },
    },
};

/// Alarms shown with a campaign; `ppmid alarm list --campaign ID` has them all.
const ALARMS_SHOWN: u32 = 20;

/// Key cases by state; those of a campaign's members.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct KeyCaseCounts {
    pub retrying: i64,
    pub investigating: i64,
    pub resolved: i64,
    pub closed: i64,
}

/// Reads of devices after their upgrade (`policies/steps.toml`). Of devices: one is asked up to four times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ReadCounts {
    /// To be asked, for the first time or again.
    pub waiting: i64,
    /// Asked at least once.
    pub asked: i64,
    /// Asked, and the answer is to come.
    pub out: i64,
    /// A version was had that counts.
    pub answered: i64,
    /// Of those answered: it is not the image's.
    pub differs: i64,
    pub given_up: i64,
}

/// How much of what was sent succeeded. A site that left the portfolio counts neither way, nor does one that waits for its key or was
/// sent again without it and has not succeeded: these are left out above and below the line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Shares {
    /// Devices that were sent, less those left out.
    pub counted: i64,
    pub succeeded: i64,
    pub failed: i64,
    /// No news within the time allowed.
    pub silent: i64,
    /// Of those counted, 0 to 1; null where none is.
    pub success_share: Option<f64>,
    /// Failed and silent.
    pub failure_share: Option<f64>,
    pub left_out_supply_lost: i64,
    pub left_out_keys_missing: i64,
}

impl Shares {
    fn of(counts: &[(TargetState, i64)], supply_lost: i64, keys_missing: i64) -> Shares {
        let n = |of: &[TargetState]| counts.iter().filter(|(s, _)| of.contains(s)).map(|(_, n)| n).sum::<i64>();
        let counted: i64 = counts.iter().map(|(_, n)| n).sum();
        let (succeeded, failed, silent) =
            (n(&[TargetState::Activated, TargetState::Verified]), n(&[TargetState::Failed]), n(&[TargetState::Expired]));
        let share = |part: i64| (counted > 0).then(|| (part as f64 / counted as f64 * 1e4).round() / 1e4);
        Shares {
            counted,
            succeeded,
            failed,
            silent,
            success_share: share(succeeded),
            failure_share: share(failed + silent),
            left_out_supply_lost: supply_lost,
            left_out_keys_missing: keys_missing,
        }
    }
}

/// The object of `campaign status --output json` and `demo --output json`.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    pub campaign: i64,
    pub name: String,
    pub state: CampaignState,
    pub image: crate::ids::ImageId,
    /// Made with --as-of: not in force.
    pub what_if: bool,
    pub sites: i64,
    pub eligible: i64,
    pub held: i64,
    pub ineligible: i64,
    pub by_reason: BTreeMap<Reason, i64>,
    /// How many sites would need which image first, most sites first.
    pub pathways: Vec<FirstImage>,
    /// Sites whose version differs only by case or leading zeros from one that the image or the lists name.
    pub versions_spelt_differently: i64,
    /// In their order; one for everything where the rollout has no more.
    pub waves: Vec<WaveStatus>,
    /// Devices that are out, and how many may be; null where there is no cap.
    pub in_flight: Option<InFlight>,
    pub batches: i64,
    /// 11.1 RequestIDs posted at least once.
    pub requests_sent: u64,
    /// Now; states without targets are left out.
    pub by_state: BTreeMap<TargetState, i64>,
    pub key_cases: KeyCaseCounts,
    pub reads: ReadCounts,
    /// What follows from silence: who is asked, and who is sent again.
    pub silence: SilenceCounts,
    /// How long each stage took: devices, and the times that half, 90 and 99 in a hundred took. Stages without devices are left out.
    pub latencies: BTreeMap<Stage, Percentiles>,
    /// When it ends at the pace so far; null where too little is known, nothing is left, or it stands still.
    pub forecast: Option<Forecast>,
    /// Devices whose site left the portfolio after they were sent: followed, and counted neither way.
    pub supply_lost: i64,
    /// Of what was sent and still counts: how much succeeded, how much did not.
    pub shares: Shares,
    /// Sites that joined by top-ups; the plan's own figures above do not have them.
    pub topped_up: i64,
    /// A top-up that waits for a second person.
    pub top_up_proposed: Option<TopUp>,
    /// Devices named in more posted requests than they were queued for: always 0 unless this program is at fault.
    pub duplicate_submissions: u64,
    pub elapsed_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_reason: Option<String>,
    pub approved_by: Option<String>,
    /// From then on nothing new is sent until it is approved again; null where it is not approved.
    pub approved_until: Option<Time>,
    /// Devices that people took out of it.
    pub excluded: i64,
    pub created_by: String,
    pub started_at: Option<Time>,
    pub ended_at: Option<Time>,
    /// Queued devices that wait for a window or the end of a freeze, by cohort and region.
    pub waits_for: Vec<WaitsFor>,
    /// Batches that wait for a person, and why.
    pub held_batches: Vec<String>,
    /// How it stands to DCC's anomaly detection thresholds; null where there is none.
    pub adt: Option<AdtStatus>,
    /// Those about this campaign that stand, oldest first.
    pub alarms: Vec<Alarm>,
    /// How the way to DCC is, for every campaign alike; null where nobody has served on this database.
    pub dcc_link: Option<Link>,
}

impl App {
    pub async fn campaign_status(&self, id_or_name: &str) -> Outcome<Status> {
        let campaign = self.campaign(id_or_name).await?;
        let Some(plan) = self.shown_plan(&campaign).await? else {
            return Ok(Status { dcc_link: self.dcc_link().await?, ..Status::unplanned(campaign) });
        };
        let mut tx = self.db.read().await?;
        let by_state: BTreeMap<_, _> = targets::count_by_state(&mut tx, plan.id).await?.into_iter().collect();
        let queued = by_state.contains_key(&TargetState::Queued) && campaign.state == CampaignState::Started;
        let waits_for = if queued { self.waits_for(&mut tx, plan.id, self.now()).await? } else { Vec::new() };
        let batches = campaign::store::list_batches(&mut tx, campaign.id).await?;
        let held_batches = batches
            .iter()
            .filter(|(_, _, state, _)| state == "held")
            .map(|(number, size, _, note)| format!("batch {number} ({size} devices): {}", note.as_deref().unwrap_or("held")))
            .collect();
        let counts = keys::store::count_by_state(&mut tx, Some(plan.id)).await?;
        let queued = by_state.get(&TargetState::Queued).copied().unwrap_or(0) as u64;
        let end = campaign.ended_at.unwrap_or_else(|| self.now());
        let supply_lost = targets::count_lost(&mut tx, plan.id).await?;
        let keys_missing = targets::count_without_key(&mut tx, plan.id).await?;
        let timing = self.timing(&mut tx, &campaign, plan.id, &by_state).await?;
        Ok(Status {
            waves: self.wave_statuses(&mut tx, &plan, &by_state).await?,
            in_flight: self.in_flight(&mut tx, &campaign).await?,
            adt: self.adt_status(&mut tx, &campaign, queued).await?,
            shares: Shares::of(&targets::count_shares(&mut tx, plan.id).await?, supply_lost, keys_missing),
            topped_up: top_up::store::taken(&mut tx, plan.id).await?.0,
            top_up_proposed: top_up::store::in_state(&mut tx, Some(campaign.id), TopUpState::Proposed).await?.pop(),
            requests_sent: outbox::posted_in_campaign(&mut tx, campaign.id, "11.1").await?,
            duplicate_submissions: duplicate_submissions(&mut tx, &campaign, plan.id).await?,
            campaign: campaign.id,
            what_if: plan.state == campaign::PlanState::WhatIf,
            sites: plan.sites,
            eligible: plan.eligible,
            held: plan.held,
            ineligible: plan.ineligible,
            by_reason: plan.by_reason,
            pathways: plan.report.pathways,
            versions_spelt_differently: plan.report.versions_spelt_differently,
            batches: batches.len() as i64,
            by_state,
            key_cases: counts_of(&counts),
            reads: read_counts(&mut tx, plan.id).await?,
            silence: silent::counts(&mut tx, plan.id, self.now()).await?,
            latencies: timing.took,
            forecast: timing.forecast,
            supply_lost,
            elapsed_ms: campaign.started_at.map_or(0, |start| end.0 - start.0),
            name: campaign.name,
            state: campaign.state,
            image: campaign.image_id,
            stopped_code: campaign.stopped_code,
            stopped_reason: campaign.stopped_reason,
            approved_by: campaign.approved_by,
            approved_until: campaign.approved_until,
            excluded: campaign::store::excluded::count(&mut tx, campaign.id).await?,
            created_by: campaign.created_by,
            started_at: campaign.started_at,
            ended_at: campaign.ended_at,
            alarms: alarm::store::list(&mut tx, true, Some(campaign.id), 0, ALARMS_SHOWN).await?,
            waits_for,
            held_batches,
            dcc_link: link::store::get(&mut tx).await?,
        })
    }
}

impl Status {
    /// Devices in states of which this is so.
    pub fn devices(&self, of: impl Fn(TargetState) -> bool) -> i64 {
        self.by_state.iter().filter(|(state, _)| of(**state)).map(|(_, n)| n).sum()
    }

    /// All whom the campaign is for.
    pub fn members(&self) -> i64 {
        self.devices(|state| state != TargetState::Ineligible)
    }

    /// Members that have come to their end.
    pub fn ended(&self) -> i64 {
        self.devices(|state| state != TargetState::Ineligible && state.is_final())
    }

    /// Of a campaign that has no plan: nothing is decided, nothing is sent.
    fn unplanned(campaign: Campaign) -> Status {
        Status {
            campaign: campaign.id,
            name: campaign.name,
            state: campaign.state,
            image: campaign.image_id,
            what_if: false,
            sites: 0,
            eligible: 0,
            held: 0,
            ineligible: 0,
            by_reason: BTreeMap::new(),
            pathways: Vec::new(),
            versions_spelt_differently: 0,
            waves: Vec::new(),
            in_flight: None,
            batches: 0,
            requests_sent: 0,
            by_state: BTreeMap::new(),
            key_cases: KeyCaseCounts::default(),
            reads: ReadCounts::default(),
            silence: SilenceCounts::default(),
            latencies: BTreeMap::new(),
            forecast: None,
            supply_lost: 0,
            shares: Shares::default(),
            topped_up: 0,
            top_up_proposed: None,
            duplicate_submissions: 0,
            elapsed_ms: 0,
            stopped_code: campaign.stopped_code,
            stopped_reason: campaign.stopped_reason,
            approved_by: campaign.approved_by,
            approved_until: campaign.approved_until,
            excluded: 0,
            created_by: campaign.created_by,
            started_at: campaign.started_at,
            ended_at: campaign.ended_at,
            waits_for: Vec::new(),
            held_batches: Vec::new(),
            adt: None,
            alarms: Vec::new(),
            dcc_link: None,
        }
    }
}

/// Counts as the contract's object.
pub fn counts_of(counts: &BTreeMap<KeyCaseState, i64>) -> KeyCaseCounts {
    let n = |state| counts.get(&state).copied().unwrap_or(0);
    KeyCaseCounts {
        retrying: n(KeyCaseState::Retrying),
        investigating: n(KeyCaseState::Investigating),
        resolved: n(KeyCaseState::Resolved),
        closed: n(KeyCaseState::Closed),
    }
}

async fn read_counts(tx: &mut Tx, plan: i64) -> Outcome<ReadCounts> {
    let by_state = reads::count_by_state(tx, plan).await?;
    let n = |state| by_state.get(&state).copied().unwrap_or(0);
    let (agrees, differs) = (n(ReadState::Agrees), n(ReadState::Differs));
    Ok(ReadCounts {
        waiting: n(ReadState::Waiting),
        asked: reads::count_asked(tx, plan).await?,
        out: n(ReadState::Asked) + n(ReadState::Accepted),
        answered: agrees + differs,
        differs,
        given_up: n(ReadState::GivenUp),
    })
}

/// Devices that stand in more posted batches than their target was sent: counted from the members as posted.
async fn duplicate_submissions(tx: &mut Tx, campaign: &Campaign, plan: i64) -> Outcome<u64> {
    let mut all: Vec<DeviceId> = campaign::store::posted_members(tx, campaign.id).await?.into_iter().flatten().collect();
    all.sort_unstable();
    let repeated: Vec<(DeviceId, i64)> =
        all.chunk_by(|a, b| a == b).filter(|same| same.len() > 1).map(|same| (same[0], same.len() as i64)).collect();
    let mut duplicates = 0;
    for group in repeated.chunks(targets::GROUP_ROWS) {
        let devices: Vec<DeviceId> = group.iter().map(|(d, _)| *d).collect();
        let attempts: BTreeMap<DeviceId, i64> =
            targets::find(tx, &[plan], &devices).await?.into_iter().map(|t| (t.device, t.attempts)).collect();
        duplicates += group.iter().filter(|(d, n)| attempts.get(d).is_none_or(|a| a < n)).count() as u64;
    }
    Ok(duplicates)
}
