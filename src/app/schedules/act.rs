//! What each action does: the verb that a person's command calls, under the schedule's name, so that it obeys what a person obeys. Gives
//! what came of it in a sentence; what more there is to say goes to the run's log.

use super::Claimed;
use crate::{
    app::{App, Pruned, SLICE_PAUSE, top_up::Asker},
    campaign::{CampaignState, top_up::TopUpState},
    failure::{Failure, Outcome},
    schedule::Action,
};

impl App {
    pub(super) async fn act(&self, claimed: &Claimed, log: &mut Vec<String>) -> Outcome<String> {
        if let Some(over) = self.is_over(&claimed.schedule.action).await? {
            return Ok(format!("nothing to do any more: {over}; ppmid schedule remove {}", claimed.schedule.name));
        }
        match claimed.schedule.action {
            Action::Plan(campaign) => self.act_plan(claimed, campaign, log).await,
            Action::Start(campaign) => self.act_start(claimed, campaign).await,
            Action::TopUp(campaign) => self.act_top_up(claimed, campaign, log).await,
            Action::RecheckKeys => self.act_recheck(log).await,
            Action::InventorySweep => self.sweep_silent(log).await,
            Action::Report => {
                let text = self.key_report(self.now(), None).await?.text();
                log.extend(text.lines().map(str::to_string));
                Ok(text.lines().next().unwrap_or_default().to_string())
            }
            Action::Prune => self.act_prune().await,
        }
    }

    /// That the campaign a schedule is about has come to its end: weeks of firings after it are no failures.
    async fn is_over(&self, action: &Action) -> Outcome<Option<String>> {
        let (Action::Plan(id) | Action::Start(id) | Action::TopUp(id)) = action else { return Ok(None) };
        let campaign = self.campaign(&id.to_string()).await?;
        let over = matches!(campaign.state, CampaignState::Finished | CampaignState::Aborted);
        Ok(over.then(|| format!("campaign {} is {}", campaign.name, campaign.state)))
    }

    async fn act_plan(&self, claimed: &Claimed, campaign: i64, log: &mut Vec<String>) -> Outcome<String> {
        let plan = self.plan_campaign(&campaign.to_string(), None, &claimed.schedule.who(), &mut |_| {}).await?;
        log.extend(plan.by_reason.iter().map(|(reason, n)| format!("{reason}: {n}")));
        Ok(format!(
            "plan {}: {} sites, {} eligible, {} held, {} ineligible; it waits for its approval",
            plan.id, plan.sites, plan.eligible, plan.held, plan.ineligible
        ))
    }

    async fn act_start(&self, claimed: &Claimed, campaign: i64) -> Outcome<String> {
        let id = campaign.to_string();
        let before = self.campaign(&id).await?;
        // On a thread of its own: the compiler cannot tell that a guarded change may move between threads.
        let (app, who, here) = (self.clone(), claimed.schedule.who(), tokio::runtime::Handle::current());
        let started = tokio::task::spawn_blocking(move || here.block_on(app.start_campaign(&id, &who))).await;
        started.map_err(|_| Failure::failed("the start of the campaign was broken off"))??;
        Ok(match before.state {
            CampaignState::Started => format!("campaign {} was started before", before.name),
            _ => format!("campaign {} is started", before.name),
        })
    }

    async fn act_top_up(&self, claimed: &Claimed, campaign: i64, log: &mut Vec<String>) -> Outcome<String> {
        let schedule = &claimed.schedule;
        // Whoever wrote the schedule, or ran it by hand, asks for these sites: another person approves them.
        let person = claimed.asked_by.as_ref().unwrap_or(&schedule.created_by);
        let asked_by = format!("{person}, by schedule {}", schedule.name);
        let asker = Asker { who: &schedule.who(), asked_by: &asked_by, is_attended: false };
        let done = self.top_up_for(&campaign.to_string(), &asker, false).await?;
        log.extend(done.by_reason.iter().map(|(reason, n)| format!("{reason}: {n}")));
        let found = done.found;
        Ok(match done.top_up {
            None => "no site may join".to_string(),
            Some(top_up) => match top_up.state {
                TopUpState::Applied => format!("{found} sites may join, {} joined", top_up.taken),
                TopUpState::Proposed => format!(
                    "{found} sites may join, more than the plan allows by itself: a second person lets them (ppmid campaign approve {campaign} --by NAME)"
                ),
                TopUpState::Finding | TopUpState::Applying => format!("{found} sites may join, {} have so far", top_up.taken),
                TopUpState::Void => format!("{found} sites could join: {}", top_up.note.unwrap_or_default()),
            },
        })
    }

    async fn act_recheck(&self, log: &mut Vec<String>) -> Outcome<String> {
        let cases = self.reconcile_key_cases().await?;
        let swept = self.sweep_key_cases().await?;
        let held = self.recheck_held().await?;
        log.push(format!(
            "key cases: {} opened, {} resolved, {} updated",
            cases.opened.len(),
            cases.resolved.len(),
            cases.updated
        ));
        log.push(format!("{} cases given up, {} lines of re-run requests lapsed", swept.given_up, swept.lapsed));
        Ok(format!("{} members that wait were decided again, {} released", held.members, held.released))
    }

    async fn act_prune(&self) -> Outcome<String> {
        let mut all = Pruned::default();
        loop {
            let slice = self.prune_some().await?;
            if slice == Pruned::default() {
                break;
            }
            all.add(slice);
            tokio::time::sleep(SLICE_PAUSE).await;
        }
        let Pruned { messages, requests, told, runs } = all;
        let before = self.kept_since();
        Ok(format!(
            "of what is older than {before}: {messages} messages, bytes of {requests} requests, {told} notifications and {runs} runs deleted"
        ))
    }
}
