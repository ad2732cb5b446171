//! The evidence of a campaign, gathered into a pack. Reads only, a page at a time, each in a short transaction of its own: a snapshot
//! held over a million rows would keep SQLite's log from being folded back. What must be consistent is: the story of each device (its
//! pages follow its versions), and that whatever a story names is in the pack (it is read after the stories, and is never deleted
//! before them but by pruning, which the pack counts). The plan must stay in force to the end; evidence.json says when was read.
//! Promise: memory does not grow with what is gathered, but by eight bytes a message.

mod head;
mod papers;
mod stories;
mod table;
mod wire;

use std::path::Path;

use ed25519_dalek::{SigningKey, VerifyingKey};
use serde_json::json;

use self::{
    head::{Facts, README},
    table::unwritten,
};
use super::{App, control::plan_in_force, record};
use crate::{
    campaign::{Campaign, Plan},
    evidence::{HEAD, Pack, Packed, Written},
    failure::{Failure, Outcome},
    ids::DeviceId,
    image::KeyId,
};

impl App {
    /// Gathers everything about a campaign's plan in force. `folder` is where it may grow; `progress` is told how many sites are done.
    pub async fn gather_evidence(
        &self,
        id_or_name: &str,
        key: &VerifyingKey,
        folder: &Path,
        progress: &mut dyn FnMut(u64),
    ) -> Outcome<(Campaign, Pack)> {
        let read_from = self.now();
        let (asked, plan) = self.planned_campaign(id_or_name).await?;
        let mut pack = Pack::default();
        let mut named = stories::tell(self, &plan, &mut pack, folder, progress).await?;
        let messages = std::mem::take(&mut named.messages);
        let sent = wire::gather(self, asked.id, messages, &mut pack, folder).await?;
        // Its approval may have changed since: what it pins now is told and is in the pack.
        let campaign = self.campaign(&asked.id.to_string()).await?;
        if campaign.plan_id != asked.plan_id {
            return Err(Failure::failed("the campaign was planned anew while its evidence was gathered")
                .help("nothing was written: ask for the pack again"));
        }
        let policies = papers::policies(self, &named.policies, [plan.policy_set, campaign.policy_set], &mut pack, folder).await?;
        papers::product_list(self, &named.cpl, &mut pack, folder).await?;
        let has_manifest = papers::manifest(self, &asked, &mut pack, folder).await?;
        let trail = papers::trail(self, &asked, &sent.requests, &mut pack, folder).await?;
        let facts = Facts {
            campaign: &campaign,
            plan: &plan,
            organisation: &self.settings.organisation,
            named: &named,
            sent: &sent,
            policies: &policies,
            trail: &trail,
            has_manifest,
            keyid: KeyId::of(key).to_string(),
            read_from,
            read_until: self.now(),
        };
        let mut texts = vec![(HEAD, facts.json()), ("summary.html", facts.html()), ("README.txt", README.to_string())];
        if !campaign.filter.devices.is_empty() {
            texts.push(("devices.txt", campaign.filter.devices.iter().map(|d: &DeviceId| format!("{d}\n")).collect()));
        }
        for (name, text) in texts {
            pack.add(name, Packed::of(text.as_bytes(), folder).map_err(unwritten)?);
        }
        Ok((campaign, pack))
    }

    /// Writes a pack that was gathered, signed; who made it is recorded before anybody can have it.
    pub async fn write_evidence(
        &self,
        campaign: &Campaign,
        pack: Pack,
        out: impl std::io::Write,
        key: &SigningKey,
        who: &str,
    ) -> Outcome<Written> {
        let written = pack.write_to(out, key).map_err(unwritten)?;
        let detail = json!({"sha256": written.sha256, "entries": written.entries, "keyid": KeyId::of(&key.verifying_key())});
        let mut tx = self.db.begin().await?;
        record(&mut tx, self.now(), who, "campaign.evidence", campaign.subject(), detail).await?;
        tx.commit().await?;
        Ok(written)
    }

    async fn planned_campaign(&self, id_or_name: &str) -> Outcome<(Campaign, Plan)> {
        let mut tx = self.db.read().await?;
        let campaign = super::find_campaign(&mut tx, id_or_name).await?;
        let plan = plan_in_force(&mut tx, &campaign).await?;
        Ok((campaign, plan))
    }
}
