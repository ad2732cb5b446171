//! What people ask of a campaign, but for its approval: create, start, pause, resume, abort, retry, halt. Each is idempotent, audited,
//! and answers what it did and what it could not.

use serde_json::json;

use super::{
    App, TEXT_CHARS,
    approval::{approval_covers, is_approved_under},
    find_campaign, record,
};
use crate::{
    alarm::{AlarmKind, NewAlarm},
    campaign::{self, Campaign, CampaignState, Command, PlanState, store::NewCampaign},
    db::Tx,
    estate::SiteFilter,
    failure::{Failure, Outcome},
    ids::ImageId,
    image,
    policy::{Refusal, WaveSize},
    target::{
        Event, TargetState,
        store::{self as targets, Because, Cause, Moved, Which, silent},
    },
};

/// What `campaign create` asks for.
#[derive(Debug, Clone)]
pub struct NewCampaignRequest {
    pub name: String,
    pub image: ImageId,
    pub filter: SiteFilter,
    /// A preset of rollout.toml; `None` is its default.
    pub rollout: Option<String>,
    /// `None` is the policy's.
    pub batch_size: Option<i64>,
    /// Sizes of waves that take the place of the rollout's, by name.
    pub waves: Vec<(String, WaveSize)>,
}

/// The code of a halt by a person.
const OPERATOR: &str = "OPERATOR";
/// How often a guarded change is tried again when somebody else changed the campaign in between.
const STALE_RETRIES: usize = 20;
/// Members cancelled in one transaction.
const PAGE_MEMBERS: usize = 5_000;

/// A campaign made like another.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Cloned {
    pub id: i64,
    pub like: i64,
    pub name: String,
    pub image: ImageId,
    pub filter: SiteFilter,
    pub rollout: String,
    pub batch_size: i64,
}

impl App {
    pub async fn create_campaign(&self, new: NewCampaignRequest, who: &str) -> Outcome<i64> {
        let policies = self.policies()?;
        check_name(&new.name)?;
        let rollout = new.rollout.unwrap_or_else(|| policies.rollout.default.clone());
        let Some(preset) = policies.rollout.preset(&rollout) else {
            return Err(Failure::failed(format!("there is no rollout {rollout:?}"))
                .help(format!("rollout.toml has: {}", policies.rollout.names())));
        };
        preset.waves_with(&new.waves).map_err(super::waves::do_not_fit)?;
        let most = policies.eligibility.batch_size;
        let batch_size = new.batch_size.unwrap_or(most);
        if !(1..=most).contains(&batch_size) {
            return Err(Failure::usage(format!("a batch has 1 to {most} devices, not {batch_size}"))
                .help("the most is batch_size in eligibility.toml, at most 50000 (one 11.1 request)"));
        }
        let mut tx = self.db.begin().await?;
        if image::store::get(&mut tx, new.image).await?.is_none() {
            return Err(image::ImageRefusal::NotStored { id: new.image }.into());
        }
        if let Some(other) = campaign::store::named(&mut tx, &new.name).await? {
            return Err(Failure::failed(format!("there is a campaign of this name already: {}", other.id))
                .help("choose another name, or go on with that one"));
        }
        let row = NewCampaign {
            name: new.name,
            image_id: new.image,
            filter: new.filter,
            rollout,
            batch_size,
            waves: new.waves,
            created_by: who.to_string(),
        };
        let now = self.now();
        let id = campaign::store::insert(&mut tx, &row, now).await?;
        let mut detail = json!({"name": row.name, "image": row.image_id, "filter": row.filter, "rollout": row.rollout, "batch_size": batch_size});
        if !row.waves.is_empty() {
            detail["waves"] = json!(row.waves);
        }
        record(&mut tx, now, who, "campaign.create", format!("campaign {id}"), detail).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// A new draft with the settings of another: never its plan, its approval or what people took out of it.
    pub async fn clone_campaign(&self, id_or_name: &str, name: &str, image: Option<ImageId>, who: &str) -> Outcome<Cloned> {
        let like = self.campaign(id_or_name).await?;
        let image = image.unwrap_or(like.image_id);
        let (filter, rollout, batch_size, waves) = (like.filter, like.rollout, like.batch_size, like.waves);
        let new = NewCampaignRequest {
            name: name.to_string(),
            image,
            filter: filter.clone(),
            rollout: Some(rollout.clone()),
            batch_size: Some(batch_size),
            waves,
        };
        let id = self.create_campaign(new, who).await?;
        Ok(Cloned { id, like: like.id, name: name.to_string(), image, filter, rollout, batch_size })
    }

    /// Lets the engine send. The refusals are checked once more.
    pub async fn start_campaign(&self, id_or_name: &str, who: &str) -> Outcome<Campaign> {
        self.change(id_or_name, Command::Start, who, async |tx, campaign, now| {
            if campaign.state == CampaignState::Started {
                return Ok(json!(null));
            }
            let plan = plan_in_force(tx, campaign).await?;
            if !approval_covers(campaign, &plan) {
                return Err(Failure::refused("APPROVAL_VOID", "what was approved is not what is planned now")
                    .help("have the plan approved again: ppmid campaign approve CAMPAIGN --by NAME"));
            }
            self.refuse_expired_approval(campaign)?;
            let decider = self.decider(tx, campaign, now).await?;
            if !is_approved_under(campaign, &decider.policies) {
                return Err(Failure::refused("APPROVAL_VOID", "the policies are not those the plan was made and approved with")
                    .help(format!("`ppmid policy diff --campaign {}` says what changed", campaign.id))
                    .help("put the files back, or plan again and have that approved"));
            }
            campaign.started_at = Some(now);
            Ok(json!({"plan": plan.id}))
        })
        .await
    }

    pub async fn pause_campaign(&self, id_or_name: &str, who: &str) -> Outcome<Campaign> {
        self.change(id_or_name, Command::Pause, who, async |_, _, _| Ok(json!({}))).await
    }

    /// Goes on after a pause or a halt. What refused it must have been put right.
    pub async fn resume_campaign(&self, id_or_name: &str, who: &str) -> Outcome<Campaign> {
        self.change(id_or_name, Command::Resume, who, async |tx, campaign, now| {
            let decider = self.decider(tx, campaign, now).await?;
            if campaign.started_at.is_none() {
                return Err(Failure::failed("the campaign was halted before it was started")
                    .help("start it after planning and approving it again in a new campaign"));
            }
            self.refuse_void_approval(tx, campaign, &decider.policies, who).await?;
            self.refuse_failing_wave(tx, campaign, now).await?;
            let was = json!({"was": campaign.state, "code": campaign.stopped_code});
            if let Some(plan) = campaign.plan_id {
                silent::begin_anew(tx, plan, now).await?;
            }
            self.end_halt_alarm(tx, campaign, who, "the campaign goes on").await?;
            campaign.stopped_code = None;
            campaign.stopped_reason = None;
            campaign.stopped_at = None;
            campaign.stopped_by = None;
            Ok(was)
        })
        .await
    }

    /// Cancels for good what has not been sent. What was sent is beyond recall and goes on being followed. From the first commit on
    /// nothing of it is sent; the members are cancelled a page at a time, and the engine (or the same command) completes what a dead process
    /// began.
    pub async fn abort_campaign(&self, id_or_name: &str, who: &str) -> Outcome<Campaign> {
        let campaign = self
            .change(id_or_name, Command::Abort, who, async |tx, campaign, now| {
                if campaign.state == CampaignState::Aborted {
                    return Ok(json!(null));
                }
                self.dissolve_unposted(tx, Some(campaign.id), "the campaign was aborted").await?;
                campaign.ended_at = Some(now);
                self.end_halt_alarm(tx, campaign, who, "the campaign was aborted").await?;
                self.end_wave_alarm(tx, campaign, who, "the campaign was aborted").await?;
                self.end_void_alarm(tx, campaign, who, "the campaign was aborted").await?;
                Ok(json!({}))
            })
            .await?;
        self.cancel_unsent(&campaign, who).await?;
        Ok(campaign)
    }

    /// Cancels what aborted campaigns have not sent: whom a process that died had not come to.
    pub async fn complete_aborts(&self) -> Outcome<u64> {
        let aborted = campaign::store::aborted(&mut self.db.read().await?).await?;
        let mut cancelled = 0;
        for campaign in aborted {
            cancelled += self.cancel_unsent(&campaign, "engine").await?;
        }
        Ok(cancelled)
    }

    /// Cancels what an aborted campaign has not sent.
    async fn cancel_unsent(&self, campaign: &Campaign, who: &str) -> Outcome<u64> {
        let Some(plan) = campaign.plan_id else { return Ok(0) };
        let mut cancelled = 0;
        for waits in [TargetState::Queued, TargetState::Held] {
            let mut after = None;
            loop {
                let page = targets::in_state(&mut self.db.read().await?, plan, waits, after, PAGE_MEMBERS).await?;
                let Some(last) = page.last().copied() else { break };
                let (mut tx, now) = (self.db.begin().await?, self.now());
                let by_a_person = Moved::because(Because::of(Cause::Operator));
                let n = targets::move_all(&mut tx, plan, Which::Among(&page), Event::Cancelled, by_a_person, now).await?;
                if n > 0 {
                    record(&mut tx, now, who, "campaign.cancel", campaign.subject(), json!({"cancelled": n})).await?;
                }
                tx.commit().await?;
                crate::crash::point("abort-half-done");
                cancelled += n;
                after = Some(last);
            }
        }
        Ok(cancelled)
    }

    /// The emergency brake: one person, at once. Nothing leaves any more, resends included.
    pub async fn halt_campaign(&self, id_or_name: &str, reason: &str, who: &str) -> Outcome<Campaign> {
        check_reason(reason)?;
        self.change(id_or_name, Command::Halt, who, async |_, campaign, now| {
            let by_a_person = campaign.state == CampaignState::Halted && campaign.stopped_code.as_deref() == Some(OPERATOR);
            if by_a_person && campaign.stopped_reason.as_deref() == Some(reason) {
                return Ok(json!(null));
            }
            // A person's word stands over the engine's: what ends that one then does not end this.
            if !by_a_person {
                campaign.stopped_code = Some(OPERATOR.into());
                campaign.stopped_reason = Some(reason.to_string());
                campaign.stopped_at = Some(now);
                campaign.stopped_by = Some(who.to_string());
            }
            Ok(json!({"reason": reason}))
        })
        .await
    }

    /// Halts every campaign that could send. Gives those it halted, and why others were not: one that cannot be halted keeps none of the
    /// rest running.
    pub async fn halt_all(&self, reason: &str, who: &str) -> Outcome<(Vec<Campaign>, Vec<(Campaign, Failure)>)> {
        let campaigns = campaign::store::list(&mut self.db.read().await?).await?;
        let (mut halted, mut failed) = (Vec::new(), Vec::new());
        for campaign in campaigns {
            if campaign.state == CampaignState::Halted || campaign.state.on(Command::Halt).is_err() {
                continue;
            }
            match self.halt_campaign(&campaign.id.to_string(), reason, who).await {
                Ok(done) => halted.push(done),
                Err(why) => match self.campaign(&campaign.id.to_string()).await {
                    // It ended meanwhile by itself.
                    Ok(now) if now.state.on(Command::Halt).is_err() => {}
                    _ => failed.push((campaign, why)),
                },
            }
        }
        Ok((halted, failed))
    }

    /// Halts a running campaign with the contract's refusal code, within the caller's transaction.
    pub(super) async fn halt_refused(&self, tx: &mut Tx, campaign: &Campaign, refusal: &Refusal) -> Outcome {
        self.halt_with_code(tx, campaign, refusal.code.as_str(), &refusal.message).await
    }

    pub(super) async fn halt_with_code(&self, tx: &mut Tx, campaign: &Campaign, code: &str, message: &str) -> Outcome {
        let id = campaign.id;
        let remedy = format!("put right what stops it, then `ppmid campaign resume {id}`, or `ppmid campaign abort {id}`");
        self.halt_with_remedy(tx, campaign, code, message, remedy).await
    }

    /// The same, with what the alarm says is to be done.
    pub(super) async fn halt_with_remedy(
        &self,
        tx: &mut Tx,
        campaign: &Campaign,
        code: &str,
        message: &str,
        remedy: String,
    ) -> Outcome {
        let now = self.now();
        let Ok(state) = campaign.state.on(Command::Halt) else { return Ok(()) };
        let halted = Campaign {
            state,
            stopped_code: Some(code.to_string()),
            stopped_reason: Some(message.to_string()),
            stopped_at: Some(now),
            stopped_by: Some("engine".into()),
            ..campaign.clone()
        };
        if campaign::store::save(tx, &halted, campaign.state).await? {
            let alarm = halt_alarm(campaign, code, message, remedy);
            self.raise_alarm(tx, &alarm).await?;
            record(tx, now, "engine", "campaign.halt", alarm.subject, json!({"code": code, "reason": message})).await?;
        }
        Ok(())
    }

    pub(super) async fn end_halt_alarm(&self, tx: &mut Tx, campaign: &Campaign, who: &str, why: &str) -> Outcome {
        self.end_alarm(tx, AlarmKind::CampaignHalted, &campaign.subject(), who, why).await
    }

    /// One guarded change of a campaign: read, checked by its state, edited, saved from the state it was read in.
    pub(super) async fn change(
        &self,
        id_or_name: &str,
        command: Command,
        who: &str,
        mut edit: impl AsyncFnMut(&mut Tx, &mut Campaign, crate::clock::Time) -> Outcome<serde_json::Value>,
    ) -> Outcome<Campaign> {
        for _ in 0..STALE_RETRIES {
            let now = self.now();
            let mut tx = self.db.begin().await?;
            let found = find_campaign(&mut tx, id_or_name).await?;
            let mut campaign = campaign::store::lock(&mut tx, found.id).await?;
            let read_in = campaign.state;
            let next = read_in.on(command)?;
            let detail = edit(&mut tx, &mut campaign, now).await?;
            campaign.state = next;
            if !campaign::store::save(&mut tx, &campaign, read_in).await? {
                continue;
            }
            let again = matches!(command, Command::Approve | Command::Halt) && !detail.is_null();
            if next != read_in || again {
                record(&mut tx, now, who, &format!("campaign.{command}"), campaign.subject(), detail).await?;
            }
            tx.commit().await?;
            return Ok(campaign);
        }
        Err(Failure::failed("the campaign kept changing under this command")
            .help("look at it with `ppmid campaign status` and try again"))
    }
}

fn halt_alarm(campaign: &Campaign, code: &str, message: &str, remedy: String) -> NewAlarm {
    NewAlarm {
        kind: AlarmKind::CampaignHalted,
        subject: campaign.subject(),
        campaign: Some(campaign.id),
        sentence: format!("campaign {} was halted: {code}: {message}", campaign.name),
        remedy,
    }
}

pub(super) async fn plan_in_force(tx: &mut Tx, campaign: &Campaign) -> Outcome<campaign::Plan> {
    let plan = match campaign.plan_id {
        Some(id) => campaign::store::plan(tx, id).await?,
        None => None,
    };
    plan.filter(|p| p.state == PlanState::Ready)
        .ok_or_else(|| Failure::failed("the campaign has no plan").help("plan it first: ppmid campaign plan CAMPAIGN"))
}

pub(super) fn check_name(name: &str) -> Outcome {
    let fine = !name.trim().is_empty() && name.chars().count() <= TEXT_CHARS && !name.chars().any(char::is_control);
    if fine {
        Ok(())
    } else {
        Err(Failure::usage(format!("a name has 1 to {TEXT_CHARS} characters, none of them control characters"))
            .help("give one that people will recognise"))
    }
}

pub(super) fn check_reason(reason: &str) -> Outcome {
    check_name(reason).map_err(|_| {
        let failure = Failure::usage(format!("--reason wants 1 to {TEXT_CHARS} characters: it is what people will read"));
        failure.help("say in a few words why nothing more may leave")
    })
}
