//! Top-up: a campaign takes in sites of its own filter that pass, or have to wait, and that its plan does not have or had ruled out.
//! Up to the count that the approved plan allows by itself; beyond it after a second person's yes. Decided by the same function as a
//! plan, and once more when each site's turn comes. Promise: whatever process dies in between, the next goes on; nothing is taken in twice.

use std::collections::BTreeMap;

use serde_json::json;

use super::{
    App,
    approval::{asserted, is_approved_under, person},
    decide::{NoDecision, sites},
    import::whole_facts,
    record,
};
use crate::{
    alarm::{AlarmKind, NewAlarm},
    campaign::{
        self, Campaign, CampaignState, Tally,
        top_up::{TopUp, TopUpState, store},
    },
    db::Tx,
    failure::{Failure, Outcome},
    ids::DeviceId,
    policy::{self, PolicySet, Preset, Reason, TopUps},
    target::{
        TargetState,
        store::{self as targets, Because, Cause, Decided},
    },
};

/// Sites taken in, in one transaction.
const PAGE_SITES: usize = 2_000;
/// Sites written down in one transaction.
const WRITE_SITES: usize = 50_000;
/// Who asks where the policy does.
const POLICY: Asker<'static> = Asker { who: "policy", asked_by: "policy", is_attended: false };

/// Who asks for a top-up.
pub(super) struct Asker<'a> {
    /// In the audit trail.
    pub who: &'a str,
    /// Who is not the one to approve it: a person's name, with more behind a comma.
    pub asked_by: &'a str,
    /// A person looks on. Where none does, what waits for one is an alarm.
    pub is_attended: bool,
}

/// What a top-up found, and what became of it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct ToppedUp {
    pub campaign: i64,
    /// Sites that may join.
    pub found: i64,
    pub by_reason: BTreeMap<Reason, i64>,
    /// Null where nothing was found, or nothing was asked for but a look.
    pub top_up: Option<TopUp>,
}

struct Found {
    devices: Vec<DeviceId>,
    tally: Tally,
}

fn may_top_up(campaign: &Campaign) -> Outcome<i64> {
    use CampaignState as S;
    let help = match campaign.state {
        S::Draft | S::Planned | S::Approved => {
            "plan it, have it approved and start it: a plan has every site that passes when it is made"
        }
        S::Aborted => "it has ended; create another campaign",
        S::Started | S::Paused | S::Halted | S::Finished => match campaign.plan_id {
            Some(plan) => return Ok(plan),
            None => "plan it first: ppmid campaign plan CAMPAIGN",
        },
    };
    Err(Failure::failed(format!("the campaign is {}, so it cannot be topped up now", campaign.state)).help(help))
}

fn preset<'a>(policies: &'a PolicySet, campaign: &Campaign) -> Outcome<&'a Preset> {
    policies.rollout.preset(&campaign.rollout).ok_or_else(|| {
        Failure::failed(format!("rollout.toml has no preset {:?} any more", campaign.rollout))
            .help("put it back, or create another campaign")
    })
}

impl App {
    /// Takes in what may join, as far as the approved plan allows; beyond that it proposes it to a second person. `dry_run` only looks.
    pub async fn top_up_campaign(&self, id_or_name: &str, who: &str, dry_run: bool) -> Outcome<ToppedUp> {
        self.top_up_for(id_or_name, &Asker { who, asked_by: who, is_attended: true }, dry_run).await
    }

    pub(super) async fn top_up_for(&self, id_or_name: &str, asker: &Asker<'_>, dry_run: bool) -> Outcome<ToppedUp> {
        let campaign = self.campaign(id_or_name).await?;
        may_top_up(&campaign)?;
        let policies = self.policies()?;
        if preset(&policies, &campaign)?.top_up == TopUps::Never {
            let message = format!("the campaign's rollout {:?} takes no sites in after its plan", campaign.rollout);
            return Err(Failure::refused("TOP_UP_NOT_ALLOWED", message)
                .help("another campaign takes them; or set top_up in rollout.toml and have the campaign approved again"));
        }
        if !dry_run {
            self.take_in_top_ups(Some(campaign.id)).await?;
        }
        self.top_up(&campaign, &policies, asker, dry_run).await
    }

    /// What policy says is topped up without anybody asking: for when facts changed. Gives how many sites joined.
    pub async fn top_up_by_policy(&self) -> Outcome<i64> {
        let policies = self.policies()?;
        let campaigns = campaign::store::list(&mut self.db.read().await?).await?;
        let mut taken = 0;
        for campaign in campaigns.iter().filter(|c| c.state == CampaignState::Started) {
            let by_itself = policies.rollout.preset(&campaign.rollout).is_some_and(|p| p.top_up == TopUps::ByItself);
            if by_itself && is_approved_under(campaign, &policies) {
                let done = self.top_up(campaign, &policies, &POLICY, false).await?;
                taken += done.top_up.filter(|t| t.state == TopUpState::Applied).map_or(0, |t| t.taken);
            }
        }
        Ok(taken)
    }

    async fn top_up(&self, campaign: &Campaign, policies: &PolicySet, asker: &Asker<'_>, dry_run: bool) -> Outcome<ToppedUp> {
        let found = self.find_top_up(campaign, asker.who, dry_run).await?;
        let mut done = ToppedUp {
            campaign: campaign.id,
            found: found.tally.sites(),
            by_reason: found.tally.by_reason.clone(),
            top_up: None,
        };
        if dry_run {
            return Ok(done);
        }
        let Some(id) = self.keep_top_up(campaign, &found, preset(policies, campaign)?, asker).await? else { return Ok(done) };
        self.take_in_top_ups(Some(campaign.id)).await?;
        done.top_up = store::get(&mut self.db.read().await?, id).await?;
        Ok(done)
    }

    /// Goes through the estate as a plan does, without holding the writer's turn.
    async fn find_top_up(&self, campaign: &Campaign, who: &str, dry_run: bool) -> Outcome<Found> {
        self.wait_for_import().await?;
        let plan = may_top_up(campaign)?;
        let mut tx = self.db.begin().await?;
        let decider = self.decider(&mut tx, campaign, self.now()).await?;
        self.refuse_void_approval(&mut tx, campaign, &decider.policies, who).await?;
        if dry_run {
            drop(tx);
        } else {
            tx.commit().await?;
        }
        let mut deciding = self.begin_deciding(campaign.filter.clone(), decider, None).await?;
        let mut found = Found { devices: Vec::new(), tally: Tally::default() };
        while let Some(page) = deciding.pages.recv().await {
            let page: Vec<Decided> = page?.into_iter().filter(may_join).collect();
            let (Some(first), Some(last)) = (page.first(), page.last()) else { continue };
            let members = targets::members_between(&mut self.db.read().await?, plan, first.device, last.device).await?;
            for d in page.iter().filter(|d| !members.contains(&d.device)) {
                found.tally.add(d.device, d.reason);
                found.devices.push(d.device);
            }
        }
        deciding.end().await?;
        Ok(found)
    }

    /// Writes down what was found: to be taken in at once, or to be approved. What was proposed before and is the same stands.
    async fn keep_top_up(&self, campaign: &Campaign, found: &Found, preset: &Preset, asker: &Asker<'_>) -> Outcome<Option<i64>> {
        let mut tx = self.db.begin().await?;
        let current = campaign::store::lock(&mut tx, campaign.id).await?;
        let plan = may_top_up(&current)?;
        let state = allowed(&mut tx, plan, found, preset).await?;
        let standing = store::in_state(&mut tx, Some(campaign.id), TopUpState::Proposed).await?;
        if let (TopUpState::Proposed, Some(same)) =
            (state, standing.iter().find(|t| t.candidates == found.tally.candidate_hash()))
        {
            return Ok(Some(same.id));
        }
        if found.devices.is_empty() {
            if store::void_open(&mut tx, campaign.id, 0, "nothing is left that may join", self.now()).await? > 0 {
                self.end_alarm(
                    &mut tx,
                    AlarmKind::TopUpProposed,
                    &campaign.subject(),
                    asker.who,
                    "nothing is left that may join",
                )
                .await?;
                tx.commit().await?;
            }
            return Ok(None);
        }
        let id = store::begin(&mut tx, campaign.id, plan, &found.tally, asker.asked_by, self.now()).await?;
        tx.commit().await?;
        for some in found.devices.chunks(WRITE_SITES) {
            let mut tx = self.db.begin().await?;
            store::add_sites(&mut tx, id, some).await?;
            tx.commit().await?;
        }
        self.propose(campaign, id, found, preset, asker).await?;
        Ok(Some(id))
    }

    async fn propose(&self, campaign: &Campaign, id: i64, found: &Found, preset: &Preset, asker: &Asker<'_>) -> Outcome {
        let now = self.now();
        let mut tx = self.db.begin().await?;
        let current = campaign::store::lock(&mut tx, campaign.id).await?;
        let state = allowed(&mut tx, may_top_up(&current)?, found, preset).await?;
        store::void_open(&mut tx, campaign.id, id, "another took its place", now).await?;
        if !store::propose(&mut tx, id, state).await? {
            return Err(Failure::failed("the campaign was topped up by somebody else in the meantime")
                .help("look at it with `ppmid campaign status`, and ask again"));
        }
        self.end_alarm(&mut tx, AlarmKind::TopUpProposed, &campaign.subject(), asker.who, "another top-up took its place")
            .await?;
        if state == TopUpState::Proposed && !asker.is_attended {
            self.raise_alarm(&mut tx, &proposed_alarm(campaign, found)).await?;
        }
        let detail =
            json!({"top_up": id, "state": state, "sites": found.tally.sites(), "candidates": found.tally.candidate_hash()});
        record(&mut tx, now, asker.who, "campaign.top-up", campaign.subject(), detail).await?;
        tx.commit().await?;
        Ok(())
    }

    /// A second person's yes to what is proposed, within the approval's transaction. Gives the top-up.
    pub(super) async fn approve_top_up(
        &self,
        tx: &mut Tx,
        campaign: &Campaign,
        approver: &str,
        asserted_by: &str,
    ) -> Outcome<Option<i64>> {
        if may_top_up(campaign).is_err() {
            return Ok(None);
        }
        let Some(proposed) = store::in_state(tx, Some(campaign.id), TopUpState::Proposed).await?.pop() else { return Ok(None) };
        // Who asked is kept with who asserted it, after a comma.
        let alone = |name: &str| person(name.split(',').next().unwrap_or_default());
        if alone(approver) == alone(&proposed.asked_by) {
            return Err(Failure::refused("SECOND_PERSON_REQUIRED", format!("{approver} asked for the top-up"))
                .help("somebody else must approve it: --by NAME"));
        }
        store::approve(tx, proposed.id, &asserted(approver, asserted_by), self.now()).await?;
        self.end_alarm(tx, AlarmKind::TopUpProposed, &campaign.subject(), asserted_by, "the top-up was approved").await?;
        Ok(Some(proposed.id))
    }

    /// Takes in the sites of top-ups that may be, of one campaign or of all; also what a dead process left. Gives how many joined.
    pub async fn take_in_top_ups(&self, campaign: Option<i64>) -> Outcome<u64> {
        let mut joined = 0;
        let open = store::in_state(&mut self.db.read().await?, campaign, TopUpState::Applying).await?;
        for top_up in open {
            while let Some(n) = self.take_in_some(&top_up).await? {
                joined += n;
            }
        }
        Ok(joined)
    }

    /// A page of them, each decided once more. `None`: nothing is left, or nothing may be decided now.
    async fn take_in_some(&self, top_up: &TopUp) -> Outcome<Option<u64>> {
        self.wait_for_import().await?;
        let now = self.now();
        let mut tx = self.db.begin().await?;
        let campaign = campaign::store::lock(&mut tx, top_up.campaign).await?;
        if may_top_up(&campaign).is_err() {
            store::give_up(&mut tx, top_up.id, "the campaign ended", now).await?;
            tx.commit().await?;
            return Ok(None);
        }
        let page = store::open_sites(&mut tx, top_up.id, PAGE_SITES).await?;
        if page.is_empty() {
            store::finish(&mut tx, top_up.id, now).await?;
            let done = store::get(&mut tx, top_up.id).await?.map_or(0, |t| t.taken);
            let detail = json!({"top_up": top_up.id, "found": top_up.found, "taken": done});
            record(&mut tx, now, "engine", "campaign.topped-up", campaign.subject(), detail).await?;
            tx.commit().await?;
            return Ok(None);
        }
        let facts = whole_facts(&mut tx).await?;
        if facts.is_none() {
            return Ok(Some(0));
        }
        let decider = match self.decider(&mut tx, &campaign, now).await {
            Ok(decider) if is_approved_under(&campaign, &decider.policies) && !campaign.is_approval_expired(now) => decider,
            // It goes on when the campaign may.
            Ok(_) | Err(NoDecision::Refused(_)) => return Ok(None),
            Err(NoDecision::Failed(failure)) => return Err(failure),
        };
        let rows = sites(&mut tx, &page, &self.settings.organisation.mpids, now).await?;
        let decided = decider.decide(&mut tx, &rows).await?;
        let mut reasons: BTreeMap<DeviceId, &str> = page.iter().map(|d| (*d, "unknown")).collect();
        reasons.extend(decided.iter().map(|d| (d.device, d.reason.as_str())));
        let members: Vec<Decided> = decided.into_iter().filter(may_join).collect();
        let because = Because::by(Cause::TopUp, top_up.id);
        let joined = targets::take_in(&mut tx, top_up.plan, &members, decider.policy_set, because, now).await?;
        if joined > 0 && campaign.state == CampaignState::Finished {
            self.open_again(&mut tx, &campaign, "sites joined by a top-up").await?;
        }
        store::decided(&mut tx, top_up.id, &reasons.into_iter().collect::<Vec<_>>()).await?;
        if whole_facts(&mut tx).await? != facts {
            return Ok(Some(0));
        }
        tx.commit().await?;
        Ok(Some(joined))
    }
}

/// Neither ruled out nor taken out by a person.
fn may_join(d: &Decided) -> bool {
    d.reason.outcome() != policy::Outcome::Ineligible && d.state != TargetState::Cancelled
}

/// Whether the approved plan allows these sites without another approval.
async fn allowed(tx: &mut Tx, plan: i64, found: &Found, preset: &Preset) -> Outcome<TopUpState> {
    let (_, unapproved) = store::taken(tx, plan).await?;
    let fits = found.tally.sites() + unapproved <= preset.top_up_sites;
    Ok(if fits { TopUpState::Applying } else { TopUpState::Proposed })
}

fn proposed_alarm(campaign: &Campaign, found: &Found) -> NewAlarm {
    NewAlarm {
        kind: AlarmKind::TopUpProposed,
        subject: campaign.subject(),
        campaign: Some(campaign.id),
        sentence: format!(
            "{} sites may join campaign {}, more than its approved plan allows by itself",
            found.tally.sites(),
            campaign.name
        ),
        remedy: format!(
            "look with `ppmid campaign top-up {0} --dry-run`; a second person lets them join: ppmid campaign approve {0} --by NAME",
            campaign.id
        ),
    }
}
