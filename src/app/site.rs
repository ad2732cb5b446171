//! One site: what is known of it, where it stands in each campaign, and every rule that decides about it.

use serde::Serialize;

use super::{App, decide::sites, find_campaign};
use crate::{
    campaign,
    clock::Time,
    db::Tx,
    estate::{self, Registration, Site, store::StoredKeyResult},
    failure::{Failure, Outcome},
    ids::{DeviceId, ImageId},
    policy::{Finding, Verdict},
    target::store::{self as targets, Target},
};

/// What `site show` prints.
pub struct SiteView {
    pub site: Site,
    /// Every supplier's, by date.
    pub registrations: Vec<Registration>,
    /// Oldest first.
    pub keys: Vec<StoredKeyResult>,
    /// Where it stands, campaign by campaign.
    pub targets: Vec<SiteTarget>,
}

/// A site's place in one campaign.
#[derive(Debug, Clone, Serialize)]
pub struct SiteTarget {
    pub campaign: i64,
    pub name: String,
    pub state: String,
    pub reason: String,
    pub batch: Option<i64>,
    pub attempts: i64,
    pub detail: Option<String>,
    pub updated_at: Time,
}

/// What `site explain` prints.
pub struct Explanation {
    pub verdict: Verdict,
    pub findings: Vec<Finding>,
    /// The image decided about, if any.
    pub image: Option<ImageId>,
}

impl App {
    pub async fn site(&self, device: DeviceId) -> Outcome<SiteView> {
        let mut tx = self.db.read().await?;
        let site = known_site(&mut tx, device).await?;
        let registrations = estate::store::registrations_of(&mut tx, site.mpan).await?;
        let keys = estate::store::key_history(&mut tx, device).await?;
        let mut places = Vec::new();
        for campaign in campaign::store::list(&mut tx).await? {
            let Some(plan) = campaign.plan_id else { continue };
            let found: Vec<Target> = targets::find(&mut tx, &[plan], &[device]).await?;
            places.extend(found.into_iter().map(|t| SiteTarget {
                campaign: campaign.id,
                name: campaign.name.clone(),
                state: t.state.to_string(),
                reason: t.reason.to_string(),
                batch: t.batch_id,
                attempts: t.attempts,
                detail: t.detail,
                updated_at: t.updated_at,
            }));
        }
        Ok(SiteView { site, registrations, keys, targets: places })
    }

    /// Every rule, pass or fail, for one site: as a campaign would decide, for an image, or for no image in particular.
    pub async fn explain_site(
        &self,
        device: DeviceId,
        campaign: Option<&str>,
        image: Option<ImageId>,
        as_of: Option<Time>,
    ) -> Outcome<Explanation> {
        self.wait_for_import().await?;
        let at = as_of.unwrap_or_else(|| self.now());
        let mut tx = self.db.read().await?;
        known_site(&mut tx, device).await?;
        let (decider, image) = match (campaign, image) {
            (Some(campaign), _) => {
                let campaign = find_campaign(&mut tx, campaign).await?;
                (self.decider(&mut tx, &campaign, at).await?, Some(campaign.image_id))
            }
            (None, Some(image)) => (self.decider_for_image(&mut tx, image, at).await?, Some(image)),
            (None, None) => (self.decider_without_image(&mut tx, at).await?, None),
        };
        let rows = sites(&mut tx, &[device], &self.settings.organisation.mpids, at).await?;
        let row = rows.first().ok_or_else(|| unknown(device))?;
        let (verdict, findings) = decider.explain(&mut tx, row).await?;
        Ok(Explanation { verdict, findings, image })
    }
}

async fn known_site(tx: &mut Tx, device: DeviceId) -> Outcome<Site> {
    estate::store::find_site(tx, device).await?.ok_or_else(|| unknown(device))
}

fn unknown(device: DeviceId) -> Failure {
    Failure::failed(format!("there is no site with the device {device}")).help("load it: ppmid import sites FILE")
}
