//! Which stored image would go first: the images that may be used and the product list, fetched for `policy::pathway`.

use super::{App, Decider};
use crate::{
    campaign::{Groups, PlanReport},
    db::Tx,
    estate::{self, Site},
    failure::Outcome,
    image,
    policy::{
        ImageFacts,
        pathway::{Device, Pathways, Step},
    },
};

impl App {
    /// The images that go before the one a decider is for, in order; none where none helps, or none is needed.
    pub(super) async fn pathway(&self, tx: &mut Tx, decider: &Decider, site: &Site) -> Outcome<Vec<Step>> {
        Ok(self.pathways(tx, decider).await?.before(&device(site)).unwrap_or_default())
    }

    /// What a plan's report says of the sites that were counted.
    pub(super) async fn plan_report(&self, tx: &mut Tx, decider: &Decider, groups: &Groups) -> Outcome<PlanReport> {
        let pathways = match groups.any_without_path() {
            true => Some(self.pathways(tx, decider).await?),
            false => None,
        };
        Ok(groups.report(decider.decision(), pathways.as_ref()))
    }

    async fn pathways(&self, tx: &mut Tx, decider: &Decider) -> Outcome<Pathways> {
        let trust = image::trust::Trust::load(&self.settings.policies_dir)?;
        let stored = image::store::list(tx).await?;
        let usable = stored.iter().filter(|i| image::check_trusted(i, &trust, decider.at).is_ok());
        let images = usable.map(|i| (i.id, ImageFacts::from(&i.manifest))).collect();
        let cpl = estate::store::cpl_entries(tx).await?;
        Ok(Pathways::new(&decider.policies, decider.decision(), images, &cpl, decider.at))
    }
}

fn device(site: &Site) -> Device {
    Device {
        manufacturer: site.manufacturer.clone(),
        model: site.model.clone(),
        hardware_version: site.hardware_version,
        firmware_version: site.firmware_version.clone(),
    }
}
