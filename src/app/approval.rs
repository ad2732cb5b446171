//! The second person's yes: what it is bound to, what voids it, and how it is given again. A campaign pins the policies it was
//! approved with; while those in force differ from them in what matters, nothing new is sent. What is out is followed, and a request
//! whose outcome is not known is sent again as it was: its members were decided under what was approved.

use serde_json::json;

use super::{
    App,
    control::{check_name, plan_in_force},
};
use crate::{
    alarm::{self, AlarmKind, NewAlarm},
    campaign::{self, Campaign, CampaignState, Command, Plan, PlanState},
    clock::Time,
    db::Tx,
    failure::{Failure, Outcome},
    policy::{self, Change, PolicySet},
};

/// An approval given again is a new one if it ends this much later.
const RENEWED_AFTER_MILLIS: i64 = 24 * 3_600_000;
/// Changes that an alarm names; the rest it counts.
const CHANGES_NAMED: usize = 3;

/// Who a name stands for, whichever way it is spelt: `Ann`, `ann@desk`.
pub(super) fn person(name: &str) -> String {
    name.split('@').next().unwrap_or_default().trim().to_lowercase()
}

/// A name that somebody gave, and who says so: nothing proves it.
pub fn asserted(name: &str, by: &str) -> String {
    format!("{}, asserted by {by}", name.trim())
}

/// Whether the approval was given to this plan.
pub(super) fn approval_covers(campaign: &Campaign, plan: &Plan) -> bool {
    let binding = campaign.policy_binding.as_deref().unwrap_or_default();
    let bound = plan.approval_hash(campaign.image_id, &campaign.rollout, campaign.batch_size, binding);
    campaign.approved_hash.as_deref() == Some(&bound)
}

/// Whether these policies are, in what matters, those it was approved with. A campaign that was started before policies were pinned
/// has nothing to compare.
pub(super) fn is_approved_under(campaign: &Campaign, policies: &PolicySet) -> bool {
    campaign.policy_binding.as_ref().is_none_or(|pinned| *pinned == policy::binding(policies, &campaign.rollout))
}

impl App {
    /// The second person's yes, bound to image, candidates, batch size, rollout and policies. Of a campaign that was started it
    /// is the yes to what has changed since, and to a top-up that is proposed; where nothing has, it changes nothing.
    pub async fn approve_campaign(&self, id_or_name: &str, approver: &str, asserted_by: &str) -> Outcome<Campaign> {
        check_name(approver)?;
        let approver = approver.trim();
        let campaign = self
.change(id_or_name, Command::Approve, asserted_by, async |tx, campaign, now| {
            if person(approver) == person(&campaign.created_by) {
                return Err(Failure::refused("SECOND_PERSON_REQUIRED", format!("{approver} created the campaign"))
                    .help("somebody else must approve it: --by NAME"));
            }
            let plan = plan_in_force(tx, campaign).await?;
            let pinned = match campaign.state {
                CampaignState::Planned | CampaignState::Approved => Some(self.policies_of_plan(tx, campaign, &plan).await?),
                _ => self.policies_to_approve_again(tx, campaign, asserted_by, now).await?,
            };
            let until = now.plus_millis(self.policies()?.rollout.approval_valid.millis());
            let top_up = self.approve_top_up(tx, campaign, approver, asserted_by).await?;
            let Some((set, binding)) = pinned else {
                return Ok(top_up.map_or(json!(null), |id| json!({"approver": approver, "asserted_by": asserted_by, "top_up": id})));
            };
            campaign.approved_by = Some(asserted(approver, asserted_by));
            campaign.approved_at = Some(now);
            campaign.approved_until = Some(until);
            let hash = plan.approval_hash(campaign.image_id, &campaign.rollout, campaign.batch_size, &binding);
            campaign.approved_hash = Some(hash.clone());
            campaign.policy_set = set;
            campaign.policy_binding = Some(binding);
            Ok(json!({"approver": approver, "asserted_by": asserted_by, "plan": plan.id, "policy_set": set, "bound_to": hash, "until": until, "top_up": top_up}))
        })
        .await?;
        self.take_in_top_ups(Some(campaign.id)).await?;
        self.campaign(&campaign.id.to_string()).await
    }

    /// The policies the plan was made with, and what matters of them: what a first approval is bound to.
    async fn policies_of_plan(&self, tx: &mut Tx, campaign: &Campaign, plan: &Plan) -> Outcome<(Option<i64>, String)> {
        let newest = campaign::store::newest_plan(tx, campaign.id).await?;
        if newest.is_some_and(|p| p.state == PlanState::WhatIf) {
            return Err(Failure::refused("WHAT_IF_PLAN", "the campaign's latest plan is a what-if (--as-of)")
                .help("plan it again without --as-of, look at it, and approve that"));
        }
        let planned_with = kept_policies(tx, plan.policy_set).await?;
        // A plan of before policies were kept is bound to a hash that none has: it has to be planned again.
        let binding = planned_with.map_or_else(|| plan.policy_hash.clone(), |set| policy::binding(&set, &campaign.rollout));
        Ok((plan.policy_set, binding))
    }

    /// The policies in force, where they are not those a started campaign was approved with.
    async fn policies_to_approve_again(
        &self,
        tx: &mut Tx,
        campaign: &Campaign,
        who: &str,
        now: Time,
    ) -> Outcome<Option<(Option<i64>, String)>> {
        let policies = self.policies()?;
        self.end_void_alarm(tx, campaign, who, "the policies were approved").await?;
        if is_approved_under(campaign, &policies) {
            let until = now.plus_millis(policies.rollout.approval_valid.millis());
            // Given again it holds for longer; the same yes twice on a day changes nothing.
            let longer = campaign.approved_until.is_some_and(|old| old <= now || until.0 - old.0 >= RENEWED_AFTER_MILLIS);
            let binding = || campaign.policy_binding.clone().unwrap_or_else(|| policy::binding(&policies, &campaign.rollout));
            return Ok(longer.then(|| (campaign.policy_set, binding())));
        }
        let set = policy::store::keep(tx, &policies, now).await?;
        Ok(Some((Some(set), policy::binding(&policies, &campaign.rollout))))
    }

    /// The policies a campaign was approved with; before its approval, those it was planned with.
    pub async fn pinned_policies(&self, campaign: &Campaign) -> Outcome<PolicySet> {
        let mut tx = self.db.read().await?;
        let plan = match campaign.plan_id {
            Some(id) => campaign::store::plan(&mut tx, id).await?,
            None => None,
        };
        let pinned = campaign.policy_set.or(plan.and_then(|p| p.policy_set));
        kept_policies(&mut tx, pinned).await?.ok_or_else(|| {
            Failure::failed("the campaign has no policies of its own yet")
                .help("they are kept when it is planned: ppmid campaign plan")
        })
    }

    /// Whether a started campaign may go on under these policies; where not, an alarm stands until it is approved again or the
    /// files are put back.
    pub(super) async fn approval_holds(&self, tx: &mut Tx, campaign: &Campaign, policies: &PolicySet) -> Outcome<bool> {
        if is_approved_under(campaign, policies) {
            let why = "the policies are again those it was approved with";
            self.end_alarm(tx, AlarmKind::ApprovalVoid, &campaign.subject(), "engine", why).await?;
            if campaign.is_approval_expired(self.now()) {
                self.raise_alarm(tx, &expired_alarm(campaign)).await?;
                return Ok(false);
            }
            return Ok(true);
        }
        let changes = match kept_policies(tx, campaign.policy_set).await? {
            Some(pinned) => policy::changes(&pinned, policies, Some(&campaign.rollout)),
            None => Vec::new(),
        };
        self.raise_alarm(tx, &void_alarm(campaign, &changes)).await?;
        Ok(false)
    }

    /// Whether a campaign waits for a new approval and an alarm says so already: then there is nothing to write.
    pub(super) async fn is_known_void(&self, tx: &mut Tx, campaign: &Campaign) -> Outcome<bool> {
        let subject = campaign.subject();
        if campaign.is_approval_expired(self.now()) && alarm::store::stands(tx, AlarmKind::ApprovalExpired, &subject).await? {
            return Ok(true);
        }
        Ok(alarm::store::stands(tx, AlarmKind::ApprovalVoid, &subject).await? && !is_approved_under(campaign, &self.policies()?))
    }

    /// For a person who wants to go on.
    pub(super) async fn refuse_void_approval(
        &self,
        tx: &mut Tx,
        campaign: &Campaign,
        policies: &PolicySet,
        who: &str,
    ) -> Outcome {
        if !is_approved_under(campaign, policies) {
            let message = "the policies are not those the campaign was approved with";
            return Err(Failure::refused("APPROVAL_VOID", message)
                .help(format!("`ppmid policy diff --campaign {}` says what changed", campaign.id))
                .help(format!(
                    "put the files back, or have it approved again: ppmid campaign approve {} --by NAME",
                    campaign.id
                )));
        }
        self.refuse_expired_approval(campaign)?;
        self.end_void_alarm(tx, campaign, who, "the policies are again those it was approved with").await
    }

    /// For a person who wants to begin, or go on.
    pub(super) fn refuse_expired_approval(&self, campaign: &Campaign) -> Outcome {
        match campaign.approved_until.filter(|_| campaign.is_approval_expired(self.now())) {
            None => Ok(()),
            Some(until) => Err(Failure::refused("APPROVAL_EXPIRED", format!("the approval ended at {until}"))
                .help(format!("have it approved again: ppmid campaign approve {} --by NAME", campaign.id))),
        }
    }

    /// Ends what is said of an approval that no longer holds.
    pub(super) async fn end_void_alarm(&self, tx: &mut Tx, campaign: &Campaign, who: &str, why: &str) -> Outcome {
        self.end_alarm(tx, AlarmKind::ApprovalExpired, &campaign.subject(), who, why).await?;
        self.end_alarm(tx, AlarmKind::ApprovalVoid, &campaign.subject(), who, why).await
    }
}

async fn kept_policies(tx: &mut Tx, set: Option<i64>) -> Outcome<Option<PolicySet>> {
    let Some(id) = set else { return Ok(None) };
    let Some(kept) = policy::store::get(tx, id).await? else { return Ok(None) };
    let files = kept.files.iter().map(|f| (f.name.as_str(), f.text.as_str(), f.origin.as_str()));
    Ok(Some(PolicySet::kept(files)?))
}

fn expired_alarm(campaign: &Campaign) -> NewAlarm {
    let until = campaign.approved_until.map(|t| t.to_string()).unwrap_or_default();
    NewAlarm {
        kind: AlarmKind::ApprovalExpired,
        subject: campaign.subject(),
        campaign: Some(campaign.id),
        sentence: format!("campaign {} sends nothing new: its approval ended at {until}; what is out is followed", campaign.name),
        remedy: format!("a second person lets it go on: ppmid campaign approve {} --by NAME", campaign.id),
    }
}

fn void_alarm(campaign: &Campaign, changes: &[Change]) -> NewAlarm {
    let value = |value: &Option<String>| value.clone().filter(|v| !v.is_empty()).unwrap_or_else(|| "(none)".to_string());
    let of_them = |c: &Change| format!("{} {}: {} -> {}", c.file, c.key, value(&c.before), value(&c.after));
    let matter: Vec<String> = changes.iter().filter(|c| c.matters).map(of_them).collect();
    let named = matter.iter().take(CHANGES_NAMED).cloned().collect::<Vec<_>>().join("; ");
    let more = match matter.len().saturating_sub(CHANGES_NAMED) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    NewAlarm {
        kind: AlarmKind::ApprovalVoid,
        subject: campaign.subject(),
        campaign: Some(campaign.id),
        sentence: format!(
            "campaign {} sends nothing new: the policies are not those it was approved with: {named}{more}",
            campaign.name
        ),
        remedy: format!(
            "look at `ppmid policy diff --campaign {0}`, then put the files back or have it approved again: ppmid campaign approve {0} --by NAME",
            campaign.id
        ),
    }
}
