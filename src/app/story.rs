//! The stored story of one device in a campaign: every decision and every move, with what it went by, as they were then. Nothing here
//! judges: what would be decided now is `explain`'s.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::App;
use crate::{
    campaign::{self, Campaign},
    db::Tx,
    estate,
    failure::Outcome,
    ids::DeviceId,
    policy,
    target::store::history::{self, Cause, Step},
};

/// One step of the story: how the device was from then on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Told {
    pub campaign: i64,
    /// Who made the plan; for every later step the engine, except what a person asked for: the audit trail names them.
    pub who: String,
    #[serde(flatten)]
    pub step: Step,
    /// Of the policies it was decided by.
    pub policy_hash: Option<String>,
    /// The entry of the Central Products List it went by, as it was then.
    pub cpl_entry: Option<Value>,
}

impl Told {
    /// It was decided about the site, and not only moved by what DCC or a person said.
    pub fn is_decision(&self) -> bool {
        decides(self.step.cause)
    }

    /// What was concluded of its silence: whether it was sent again.
    pub fn is_of_silence(&self) -> bool {
        self.step.cause == Some(Cause::Silence)
    }
}

/// Whether what moved a target was a decision about its site.
pub(super) fn decides(cause: Option<Cause>) -> bool {
    match cause {
        None | Some(Cause::Recheck | Cause::Send | Cause::Resubmit | Cause::TopUp) => true,
        Some(
            Cause::Returned | Cause::Answer | Cause::Message | Cause::Read | Cause::Silence | Cause::Supply | Cause::Operator,
        ) => false,
    }
}

/// Whose step it is.
pub(super) fn who(cause: Option<Cause>, planner: &str) -> &str {
    match cause {
        None => planner,
        Some(Cause::TopUp) => "a top-up (see the audit trail)",
        Some(Cause::Operator) => "a person (see the audit trail)",
        Some(_) => "engine",
    }
}

impl App {
    /// What is stored of a device in the plan in force, oldest first; nothing where the campaign did not consider it.
    pub(super) async fn story(&self, tx: &mut Tx, campaign: &Campaign, device: DeviceId) -> Outcome<Vec<Told>> {
        let Some(plan_id) = campaign.plan_id else { return Ok(Vec::new()) };
        let planner = campaign::store::plan(tx, plan_id).await?.map_or(String::new(), |plan| plan.created_by);
        let (mut hashes, mut entries) = (BTreeMap::new(), BTreeMap::new());
        let mut story = Vec::new();
        for step in history::of_device(tx, plan_id, device).await? {
            if let Some(id) = step.policy_set
                && !hashes.contains_key(&id)
            {
                hashes.insert(id, policy::store::hash_of(tx, id).await?);
            }
            if let Some(id) = step.cpl_fact
                && !entries.contains_key(&id)
            {
                entries.insert(id, estate::store::cpl_fact(tx, id).await?);
            }
            story.push(Told {
                campaign: campaign.id,
                who: who(step.cause, &planner).to_string(),
                policy_hash: step.policy_set.and_then(|id| hashes.get(&id).cloned().flatten()),
                cpl_entry: step.cpl_fact.and_then(|id| entries.get(&id).cloned().flatten()),
                step,
            });
        }
        Ok(story)
    }
}
