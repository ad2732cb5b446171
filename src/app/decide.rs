//! Everything a decision needs, fetched: policies, image, product lists, then site by site the facts. The decision itself is
//! `policy::evaluate`; planning, the check before sending and the recheck of the held all come through here.

use std::{borrow::Cow, collections::BTreeMap};

use crate::{
    app::App,
    campaign::{self, Campaign, Groups, waves::Drawing},
    clock::{Day, Time},
    db::Tx,
    estate::{
        self, SiteRow,
        store::{Kept, PackedPage},
    },
    failure::{Failure, Outcome},
    ids::{DeviceId, ImageId, Mpid},
    image,
    policy::{self, Decision, PolicySet, Reason, Refusal, SiteFacts},
    target::{self, TargetState, store::Decided},
};

/// What is kept beside a key that is missing, of a site that is sent without it.
pub(super) const SENT_ALL_THE_SAME: &str = "sent all the same: resubmit = true in retry.toml";

/// Decides about sites for one campaign at one moment.
#[derive(Clone)]
pub struct Decider {
    pub at: Time,
    pub policies: PolicySet,
    decision: Decision,
    /// The version the image brings.
    pub firmware_version: String,
    /// The policies as they are kept (policy_sets.id); 0 where nothing is stored.
    pub policy_set: i64,
    /// The entries of the product list as they are kept, in the order of the decision's; empty where nothing is stored.
    cpl_facts: Vec<i64>,
    /// Plans of other started campaigns.
    others: Vec<i64>,
    /// The campaign, where people took devices out of it.
    excluding: Option<i64>,
}

/// What kept a decider from being made.
pub enum NoDecision {
    /// The campaign as a whole is refused (contract.md, "Who is eligible").
    Refused(Refusal),
    Failed(Failure),
}

impl From<Failure> for NoDecision {
    fn from(e: Failure) -> NoDecision {
        NoDecision::Failed(e)
    }
}

impl From<crate::db::DbError> for NoDecision {
    fn from(e: crate::db::DbError) -> NoDecision {
        NoDecision::Failed(e.into())
    }
}

impl From<NoDecision> for Failure {
    fn from(e: NoDecision) -> Failure {
        match e {
            NoDecision::Refused(refusal) => refusal.into(),
            NoDecision::Failed(failure) => failure,
        }
    }
}

impl App {
    /// Checks what refuses a campaign outright and gathers what is the same for all its sites; policies and product list are kept
    /// as they are, for the record. `at` is the moment decided about: now, or a what-if.
    pub async fn decider(&self, tx: &mut Tx, campaign: &Campaign, at: Time) -> Result<Decider, NoDecision> {
        let mut decider = self.decider_for_image(tx, campaign.image_id, at).await?;
        decider.policy_set = policy::store::keep(tx, &decider.policies, self.now()).await?;
        decider.cpl_facts = estate::store::keep_cpl_facts(tx, decider.decision.cpl_entries(), self.now()).await?;
        self.beside_and_without(tx, campaign, decider).await.map_err(NoDecision::Failed)
    }

    /// The same beside other campaigns, and without what people took out of this one.
    async fn beside_and_without(&self, tx: &mut Tx, campaign: &Campaign, decider: Decider) -> Outcome<Decider> {
        let excluding = campaign::store::excluded::any(tx, campaign.id).await?.then_some(campaign.id);
        let others = campaign::store::other_started_plans(tx, campaign.id).await?;
        Ok(Decider { excluding, ..decider.beside(others) })
    }

    /// As [`App::decider`], for an image without a campaign: no other campaign is looked at.
    pub async fn decider_for_image(&self, tx: &mut Tx, image: ImageId, at: Time) -> Result<Decider, NoDecision> {
        match self.judge_image(tx, image, at).await? {
            (Some(refusal), _) => Err(NoDecision::Refused(refusal)),
            (None, decider) => Ok(decider),
        }
    }

    /// What refuses every campaign with this image, and a decider all the same: by the image if it is trusted, else by the
    /// rules that need none.
    pub(super) async fn judge_image(&self, tx: &mut Tx, image: ImageId, at: Time) -> Outcome<(Option<Refusal>, Decider)> {
        let policies = self.policies_at(at)?;
        let cpl = estate::store::cpl_entries(tx).await?;
        let trust = image::trust::Trust::load(&self.settings.policies_dir)?;
        let checked = image::check_stored(tx, &trust, image, at).await?;
        let facts = checked.map(|c| policy::ImageFacts::from(&c.image.manifest)).map_err(|why| why.to_string());
        let version = self.settings.gateway.duis_version.to_string();
        let role = &self.settings.organisation.role;
        let refusal = policy::campaign_refusal(&policies, role, &version, facts.as_ref().map_err(String::as_str), &cpl);
        let Ok(facts) = facts else { return Ok((refusal, self.decider_without_image(tx, at).await?)) };
        let epcl = estate::store::epcl(tx).await?;
        let firmware_version = facts.firmware_version.clone();
        let decision = Decision::new(&policies, facts, &cpl, &epcl, at);
        let (policy_set, cpl_facts, others) = (0, Vec::new(), Vec::new());
        Ok((refusal, Decider { at, policies, decision, firmware_version, policy_set, cpl_facts, others, excluding: None }))
    }

    /// The same beside the other campaigns, for a look at one that stores nothing.
    pub(super) async fn judge_campaign(&self, tx: &mut Tx, campaign: &Campaign, at: Time) -> Outcome<(Option<Refusal>, Decider)> {
        let (refusal, decider) = self.judge_image(tx, campaign.image_id, at).await?;
        Ok((refusal, self.beside_and_without(tx, campaign, decider).await?))
    }

    /// As [`App::decider`], for no image in particular: the rules about products do not judge.
    pub async fn decider_without_image(&self, tx: &mut Tx, at: Time) -> Outcome<Decider> {
        let policies = self.policies_at(at)?;
        let epcl = estate::store::epcl(tx).await?;
        let decision = Decision::without_image(&policies, &epcl, at);
        let (firmware_version, policy_set, cpl_facts, others) = (String::new(), 0, Vec::new(), Vec::new());
        Ok(Decider { at, policies, decision, firmware_version, policy_set, cpl_facts, others, excluding: None })
    }

    /// The same for a campaign that runs: a refusal halts it with its code.
    pub async fn decider_or_halt(&self, tx: &mut Tx, campaign: &Campaign) -> Outcome<Option<Decider>> {
        match self.decider(tx, campaign, self.now()).await {
            Ok(decider) => Ok(Some(decider)),
            Err(NoDecision::Failed(failure)) => Err(failure),
            Err(NoDecision::Refused(refusal)) => {
                self.halt_refused(tx, campaign, &refusal).await?;
                Ok(None)
            }
        }
    }

    /// As [`App::decider_or_halt`], for what only an approval allows: policies it was not approved with let the campaign wait.
    /// `None`: nothing may be decided for it now; what says so is written in this transaction.
    pub async fn decider_or_stop(&self, tx: &mut Tx, campaign: &Campaign) -> Outcome<Option<Decider>> {
        let Some(decider) = self.decider_or_halt(tx, campaign).await? else { return Ok(None) };
        Ok(self.approval_holds(tx, campaign, &decider.policies).await?.then_some(decider))
    }
}

impl Decider {
    /// The same beside these plans of other started campaigns.
    pub(super) fn beside(self, others: Vec<i64>) -> Decider {
        Decider { others, ..self }
    }

    /// Decides about sites whose facts were fetched.
    pub async fn decide(&self, tx: &mut Tx, rows: &[SiteRow]) -> Outcome<Vec<Decided>> {
        let devices: Vec<_> = if self.others.is_empty() { Vec::new() } else { rows.iter().map(|r| r.site.device_id).collect() };
        let elsewhere = target::store::in_progress(tx, &self.others, &devices).await?;
        let mut decided =
            rows.iter().map(|row| self.decide_one(row, elsewhere.contains(&row.site.device_id))).collect::<Vec<_>>();
        self.leave_out(tx, &mut decided).await?;
        Ok(decided)
    }

    /// Who was taken out by a person goes nowhere, whatever the rules say of the site; what they rule out stays so.
    async fn leave_out(&self, tx: &mut Tx, decided: &mut [Decided]) -> Outcome {
        let devices: Vec<DeviceId> = decided.iter().map(|d| d.device).collect();
        let excluded = self.excluded(tx, &devices).await?;
        for d in decided {
            leave_out(d, &excluded);
        }
        Ok(())
    }

    /// Those of some devices that people took out of the campaign, and why.
    async fn excluded(&self, tx: &mut Tx, devices: &[DeviceId]) -> Outcome<BTreeMap<DeviceId, String>> {
        match self.excluding {
            Some(campaign) => Ok(campaign::store::excluded::among(tx, campaign, devices).await?),
            None => Ok(BTreeMap::new()),
        }
    }

    pub(super) fn decision(&self) -> &Decision {
        &self.decision
    }

    /// Decides about the sites of a packed page, to which `kept` adds what it knows, counts them, and notes the members for the waves.
    pub async fn decide_packed(
        &self,
        tx: &mut Tx,
        page: &PackedPage,
        kept: Option<&Kept>,
        groups: &mut Groups,
        mut drawing: Option<&mut Drawing>,
    ) -> Outcome<Vec<Decided>> {
        let mut devices = Vec::new();
        if !self.others.is_empty() || self.excluding.is_some() {
            page.for_each(|row| devices.push(row.site.device_id))?;
        }
        let elsewhere = target::store::in_progress(tx, &self.others, &devices).await?;
        let excluded = self.excluded(tx, &devices).await?;
        let mut decided = Vec::new();
        let mut decide = |row: &SiteRow| {
            let mut one = self.decide_one(row, elsewhere.contains(&row.site.device_id));
            let taken_out = leave_out(&mut one, &excluded);
            groups.add(&row.site, one.reason);
            if let Some(drawing) = drawing.as_mut().filter(|_| !taken_out) {
                drawing.add(&row.site, one.reason);
            }
            decided.push(one);
        };
        match kept {
            Some(kept) => kept.for_each(page, decide)?,
            None => page.for_each(|row| decide(row))?,
        }
        Ok(decided)
    }

    fn decide_one(&self, row: &SiteRow, in_other_campaign: bool) -> Decided {
        let facts = facts(row, in_other_campaign);
        let verdict = policy::evaluate(&self.decision, &facts);
        // What is sent although its key is missing stays a site whose key is missing.
        let left_out = policy::left_out(&self.decision, &facts).filter(|_| verdict.reason == Reason::Eligible);
        let reason = left_out.unwrap_or(verdict.reason);
        let mut fact = fact(row, &facts, self.decision.day(), reason);
        if left_out.is_some() {
            fact = fact.map(|fact| format!("{fact}; {SENT_ALL_THE_SAME}").into());
        }
        Decided {
            device: row.site.device_id,
            state: state_of(verdict.reason),
            reason,
            registration: verdict.registration,
            registration_to: verdict.registration.and_then(|(mpid, from)| end_of(row, mpid, from)),
            cpl_fact: verdict.cpl_entry.and_then(|place| self.cpl_facts.get(place).copied()),
            key_result_at: row.key_at,
            fact,
        }
    }

    /// The same, of whether sites may be sent again though their keys are missing: it leaves out the rules about keys, and no other.
    pub(super) fn resubmitting(self) -> Decider {
        Decider { decision: self.decision.resubmitting(), ..self }
    }

    /// As [`Decider::resubmitting`] where the members of a batch are such sites.
    pub(super) fn of_batch(&self, resubmission: bool) -> Cow<'_, Decider> {
        match resubmission {
            false => Cow::Borrowed(self),
            true => Cow::Owned(self.clone().resubmitting()),
        }
    }

    /// The verdict about one site, and every rule, pass or fail.
    pub async fn explain(&self, tx: &mut Tx, row: &SiteRow) -> Outcome<(policy::Verdict, Vec<policy::Finding>)> {
        let elsewhere = target::store::in_progress(tx, &self.others, &[row.site.device_id]).await?;
        let facts = facts(row, !elsewhere.is_empty());
        let (mut verdict, mut findings) = (policy::evaluate(&self.decision, &facts), policy::explain(&self.decision, &facts));
        let excluded = match self.excluding {
            Some(campaign) => campaign::store::excluded::among(tx, campaign, &[row.site.device_id]).await?.pop_first(),
            None => None,
        };
        if let Some((_, why)) = excluded {
            for finding in findings.iter_mut().filter(|f| f.reason == Reason::ExcludedByOperator) {
                finding.applies = true;
                finding.what = format!("taken out of this campaign for good: {why}");
            }
            if verdict.reason.outcome() != policy::Outcome::Ineligible {
                verdict.reason = Reason::ExcludedByOperator;
            }
        }
        Ok((verdict, findings))
    }
}

/// Takes a member out that people took out. Gives whether it was one.
fn leave_out(decided: &mut Decided, excluded: &BTreeMap<DeviceId, String>) -> bool {
    let Some(why) = excluded.get(&decided.device).filter(|_| decided.reason.outcome() != policy::Outcome::Ineligible) else {
        return false;
    };
    decided.state = TargetState::Cancelled;
    decided.reason = Reason::ExcludedByOperator;
    decided.fact = Some(why.as_str().into());
    true
}

/// Where an own registration ends.
fn end_of(row: &SiteRow, supplier: Mpid, from: Day) -> Option<Day> {
    row.own_registrations.iter().find(|r| r.supplier_mpid == supplier && r.effective_from == from)?.effective_to
}

fn facts(row: &SiteRow, in_other_campaign: bool) -> SiteFacts<'_> {
    SiteFacts {
        site: &row.site,
        own_registrations: &row.own_registrations,
        key: row.key,
        exclusion: row.exclusion.as_deref(),
        in_other_campaign,
    }
}

/// What says that a site is not ours on a day.
pub(super) fn fact_of_loss(row: &SiteRow, day: Day) -> Option<Box<str>> {
    fact(row, &facts(row, false), day, Reason::NotResponsibleSupplier)
}

/// What stands against the site, and whether it is known from an alert.
fn fact(row: &SiteRow, facts: &SiteFacts<'_>, day: Day, reason: Reason) -> Option<Box<str>> {
    let mut fact = policy::fact_against(facts, day, reason)?;
    if row.noticed.is_some() && matches!(reason, Reason::NotResponsibleSupplier | Reason::SupplyChangePending) {
        fact += ", as a ChangeOfSupplier alert says";
    }
    Some(fact.into_boxed_str())
}

/// The facts of these devices, in the order of Device IDs.
pub(super) async fn sites(tx: &mut Tx, devices: &[DeviceId], own: &[Mpid], at: Time) -> Outcome<Vec<SiteRow>> {
    Ok(estate::store::scan_devices(tx, devices, own, at.london_day(), at).await?)
}

/// The state a site enters a plan in.
pub fn state_of(reason: Reason) -> TargetState {
    match reason.outcome() {
        policy::Outcome::Eligible => TargetState::Queued,
        policy::Outcome::Held => TargetState::Held,
        policy::Outcome::Ineligible => TargetState::Ineligible,
    }
}
