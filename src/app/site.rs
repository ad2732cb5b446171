//! One site: what is known of it, where it stands in each campaign, and every rule that decides about it.

use serde::Serialize;

use super::{App, Told, decide::sites, find_campaign};
use crate::{
    campaign::{self, Campaign},
    clock::Time,
    db::Tx,
    estate::{self, Exclusion, KeyResult, Registration, Site, store::StoredNotice},
    failure::{Failure, Outcome},
    ids::{DeviceId, ImageId},
    policy::{self, DeviceSteps, Finding, Period, Reason, Refusal, Verdict, pathway::Step, windows::Closed},
    target::{
        TargetState,
        store::{
            Cause,
            reads::{self, Read},
        },
    },
};

/// What is known of one site as of a moment.
pub struct Dossier {
    pub site: Site,
    /// Of its MPAN, every supplier's, by `effective_from`.
    pub registrations: Vec<Registration>,
    /// Not later than the moment, newest first.
    pub key_results: Vec<KeyResult>,
    /// What alerts said of a change of supplier, oldest first; not later than the moment.
    pub supply_notices: Vec<StoredNotice>,
    /// By device or by MPAN, any dates.
    pub exclusions: Vec<Exclusion>,
    /// Where it stood at the moment, campaign by campaign.
    pub targets: Vec<SiteTarget>,
    /// How its version was read after an upgrade, oldest first.
    pub reads: Vec<Read>,
    /// What became of it in each of them until then, and why, oldest first.
    pub history: Vec<Told>,
}

/// A site's place in one campaign.
#[derive(Debug, Clone, Serialize)]
pub struct SiteTarget {
    pub campaign: i64,
    pub name: String,
    pub state: TargetState,
    pub reason: Reason,
    pub batch: Option<i64>,
    pub attempts: i64,
    pub detail: Option<String>,
    pub updated_at: Time,
}

/// The answer to `explain`.
pub struct Explanation {
    pub device_id: DeviceId,
    pub at: Time,
    pub image: Option<ImageId>,
    pub policy_hash: String,
    /// What stands against a campaign with this image as a whole.
    pub refusal: Option<Refusal>,
    pub verdict: Verdict,
    pub findings: Vec<Finding>,
    /// Where the direct step is not allowed: the images that would go first, in order.
    pub pathway: Vec<Step>,
    /// The window, or the end of a freeze, that a request for it would wait for.
    pub waits_for: Option<Closed>,
    /// What its upgrade takes, by its model.
    pub steps: DeviceSteps,
    /// How long the update may stay silent, by those or else by eligibility.toml.
    pub answer_within: Period,
    /// The wave it goes in; none where the campaign has no waves or not this site.
    pub wave: Option<super::WaveOfSite>,
    /// Alerts that stand and say that the site was lost: what they end of own registrations is ended in the findings.
    pub supply_notices: Vec<StoredNotice>,
    /// What was decided about it in the campaign, and concluded of its silence, as it is stored, oldest first.
    pub decisions: Vec<Told>,
}

impl Explanation {
    /// How long a silent device may be asked, with each kind of question.
    pub fn ask_within(&self) -> Period {
        self.steps.ask_within(self.answer_within)
    }
}

impl App {
    pub async fn site(&self, device: DeviceId, at: Time) -> Outcome<Dossier> {
        let mut tx = self.db.read().await?;
        let site = estate::store::find_site_at(&mut tx, device, at).await?.ok_or_else(|| unknown(device))?;
        let registrations = estate::store::registrations_of(&mut tx, site.mpan).await?;
        let history = estate::store::key_history(&mut tx, device).await?;
        let key_results = history.into_iter().rev().map(|k| k.result).filter(|k| k.attempted_at <= at).collect();
        let exclusions = estate::store::exclusions_of(&mut tx, device, site.mpan).await?;
        let mut supply_notices = estate::store::supply_notices_of(&mut tx, site.mpan).await?;
        supply_notices.retain(|n| n.received_at <= at);
        let (mut places, mut history) = (Vec::new(), Vec::new());
        for campaign in campaign::store::list(&mut tx).await? {
            let mut story = self.story(&mut tx, &campaign, device).await?;
            story.retain(|told| told.step.at <= at);
            places.extend(story.last().map(|told| place(&campaign, told)));
            history.extend(story);
        }
        let mut reads = reads::of_device(&mut tx, device).await?;
        reads.retain(|r| r.created_at <= at);
        Ok(Dossier { site, registrations, key_results, supply_notices, exclusions, targets: places, reads, history })
    }

    /// Every rule, pass or fail, for one site: as a campaign would decide, for an image, or for no image in particular.
    pub async fn explain_site(
        &self,
        device: DeviceId,
        campaign: Option<&str>,
        image: Option<ImageId>,
        at: Time,
    ) -> Outcome<Explanation> {
        self.wait_for_import().await?;
        let mut tx = self.db.read().await?;
        known_site(&mut tx, device).await?;
        let campaign = match campaign {
            Some(name) => Some(find_campaign(&mut tx, name).await?),
            None => None,
        };
        let image = campaign.as_ref().map(|c| c.image_id).or(image);
        let (refusal, decider) = match (&campaign, image) {
            (Some(campaign), _) => self.judge_campaign(&mut tx, campaign, at).await?,
            (None, Some(image)) => self.judge_image(&mut tx, image, at).await?,
            (None, None) => {
                let (role, version) = (&self.settings.organisation.role, self.settings.gateway.duis_version.to_string());
                let decider = self.decider_without_image(&mut tx, at).await?;
                (policy::own_refusal(&decider.policies, role, &version), decider)
            }
        };
        let rows = sites(&mut tx, &[device], &self.settings.organisation.mpids, at).await?;
        let row = rows.first().ok_or_else(|| unknown(device))?;
        let (verdict, findings) = decider.explain(&mut tx, row).await?;
        let direct_step_fails = findings.iter().any(|f| f.reason == Reason::UpgradePathNotAllowed && f.judged && f.applies);
        let pathway = match direct_step_fails {
            true => self.pathway(&mut tx, &decider, &row.site).await?,
            false => Vec::new(),
        };
        let mut decisions = match &campaign {
            Some(c) => self.story(&mut tx, c, device).await?,
            None => Vec::new(),
        };
        let of_supply = |told: &super::Told| told.step.cause == Some(Cause::Supply);
        decisions.retain(|told| (told.is_decision() || told.is_of_silence() || of_supply(told)) && told.step.at <= at);
        let mut supply_notices = estate::store::supply_notices_of(&mut tx, row.site.mpan).await?;
        supply_notices.retain(|n| n.received_at <= at && n.answered_by_import.is_none());
        let policy_hash = decider.policies.hash();
        let wave = match &campaign {
            Some(campaign) => self.wave_of_site(&mut tx, campaign, device).await?,
            None => None,
        };
        let waits_for = self.site_waits_for(&mut tx, row, at).await?;
        let steps = decider.policies.steps.of_site(&row.site);
        let answer_within = steps.answer_within.unwrap_or(decider.policies.eligibility.answer_within);
        Ok(Explanation {
            device_id: device,
            at,
            image,
            policy_hash,
            refusal,
            verdict,
            findings,
            pathway,
            waits_for,
            steps,
            answer_within,
            wave,
            supply_notices,
            decisions,
        })
    }
}

fn place(campaign: &Campaign, told: &Told) -> SiteTarget {
    SiteTarget {
        campaign: campaign.id,
        name: campaign.name.clone(),
        state: told.step.state,
        reason: told.step.reason,
        batch: told.step.batch,
        attempts: told.step.attempts,
        detail: told.step.detail.clone(),
        updated_at: told.step.at,
    }
}

async fn known_site(tx: &mut Tx, device: DeviceId) -> Outcome<Site> {
    estate::store::find_site(tx, device).await?.ok_or_else(|| unknown(device))
}

fn unknown(device: DeviceId) -> Failure {
    Failure::failed(format!("there is no site with the device {device}")).help("load it: ppmid import sites FILE")
}
