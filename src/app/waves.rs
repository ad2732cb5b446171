//! Waves as they go: judged before each batch and by a loop, the next one begun, the campaign halted where too much fails, and a person's
//! word that one may go on. What is to be said of a wave is `campaign::health`'s, what follows `campaign::waves`'s. Counted on a reader;
//! under the campaign's lock it is counted once more before anything is written. Promise: of a wave that has not begun nothing leaves.

use std::collections::BTreeMap;

use serde_json::json;

use super::{
    App,
    approval::asserted,
    control::{check_name, check_reason},
    find_campaign, record,
};
use crate::{
    alarm::{AlarmKind, NewAlarm},
    campaign::{
        self, Campaign, CampaignState, Command,
        health::{Health, WaveCounts, cause_of},
        waves::{Drawn, Forgiven, LetGo, OpenWave, Progress, Verdict, Waves, health_now, no_such_wave, progress, store},
    },
    clock::Time,
    db::Tx,
    failure::{Failure, Outcome},
    notify::Notification,
    policy::{PolicySet, SILENT, Wave, windows::Closures},
    target::{
        TargetState,
        store::{
            self as targets, Within, silent,
            waves::{Alike, count_waves},
        },
    },
};

/// The code of a halt for a wave.
pub(super) const WAVE_FAILED: &str = "WAVE_FAILED";
/// How soon it is looked again whether a wave that is watched goes on: a count of it, and minutes are the unit there.
pub(super) const WAVE_LOOK_MILLIS: i64 = 2_000;

/// Members whose wave is written down in one transaction.
const WRITE_WAVES: usize = 20_000;

/// A plan's waves and where their devices are.
pub(super) struct Standing {
    pub waves: Waves,
    pub opened: Vec<OpenWave>,
    pub counts: BTreeMap<i64, WaveCounts>,
}

/// The waves that a plan of this campaign is to have. `None`: everything goes at once, and nothing is asked of it.
pub(super) fn wanted(campaign: &Campaign, policies: &PolicySet) -> Outcome<Option<Vec<Wave>>> {
    let preset = policies.rollout.preset(&campaign.rollout).ok_or_else(|| {
        Failure::failed(format!("rollout.toml has no preset {:?} any more", campaign.rollout))
            .help("put it back, or create another campaign")
    })?;
    let waves = preset.waves_with(&campaign.waves).map_err(do_not_fit)?;
    Ok((!preset.is_plain()).then_some(waves))
}

/// Sizes of waves that do not go together.
pub(super) fn do_not_fit((problem, wanted): (String, String)) -> Failure {
    Failure::usage(problem).help(format!("wanted: {wanted}")).help("`ppmid policy show rollout` shows the waves of each rollout")
}

/// The devices of each wave, from those that are alike.
pub(super) fn counts_of_waves(waves: &Waves, found: &[Alike]) -> BTreeMap<i64, WaveCounts> {
    let mut counts: BTreeMap<i64, WaveCounts> = BTreeMap::new();
    for alike in found {
        let of_wave = counts.entry(waves.of_target(alike.wave)).or_default();
        let place = match alike.state {
            TargetState::Held => &mut of_wave.held,
            TargetState::Queued => &mut of_wave.queued,
            TargetState::Ineligible | TargetState::Cancelled => &mut of_wave.out,
            _ if alike.left_out => &mut of_wave.left_out,
            TargetState::Submitted => {
                of_wave.leaving += alike.devices;
                &mut of_wave.in_flight
            }
            TargetState::Accepted | TargetState::Delivered => &mut of_wave.in_flight,
            TargetState::Activated | TargetState::Verified => &mut of_wave.succeeded,
            TargetState::Expired => of_wave.failed.entry(SILENT.into()).or_default(),
            TargetState::Failed => {
                of_wave.failed.entry(cause_of(alike.detail.as_deref().unwrap_or_default()).to_string()).or_default()
            }
        };
        *place += alike.devices;
    }
    counts
}

impl App {
    /// Writes down who is in which wave, of a plan that nobody looks at yet.
    pub(super) async fn keep_waves(&self, plan: i64, drawn: Drawn) -> Outcome {
        for some in drawn.members.chunks(WRITE_WAVES) {
            let mut tx = self.db.begin().await?;
            targets::waves::set_waves(&mut tx, plan, some).await?;
            tx.commit().await?;
        }
        let mut tx = self.db.begin().await?;
        store::keep(&mut tx, plan, &drawn.waves).await?;
        Ok(tx.commit().await?)
    }

    /// Judges the waves of every started campaign. Gives how many changed.
    pub async fn judge_started_waves(&self) -> Outcome<u64> {
        let campaigns = campaign::store::list(&mut self.db.read().await?).await?;
        let mut changed = 0;
        for campaign in campaigns.iter().filter(|c| c.state == CampaignState::Started) {
            changed += u64::from(self.judge_waves(campaign.id).await?.1);
        }
        Ok(changed)
    }

    /// Judges the waves of a campaign. Gives whether it has any, and whether something changed.
    pub(super) async fn judge_waves(&self, campaign: i64) -> Outcome<(bool, bool)> {
        let mut look = self.db.read().await?;
        let found = campaign::store::get(&mut look, campaign).await?;
        let Some((found, plan)) = found.and_then(|c| c.plan_id.map(|plan| (c, plan))) else { return Ok((false, false)) };
        let Some(standing) = standing(&mut look, plan).await? else { return Ok((false, false)) };
        if found.state != CampaignState::Started || standing.progress(self.now()).is_as(&standing.opened) {
            return Ok((true, false));
        }
        drop(look);
        let mut tx = self.db.begin().await?;
        let current = campaign::store::lock(&mut tx, campaign).await?;
        let changed = current.state == CampaignState::Started && self.judge_waves_in(&mut tx, &current).await?;
        tx.commit().await?;
        Ok((true, changed))
    }

    /// The same within a transaction that has the campaign, which is started, locked.
    pub(super) async fn judge_waves_in(&self, tx: &mut Tx, campaign: &Campaign) -> Outcome<bool> {
        let Some(plan) = campaign.plan_id else { return Ok(false) };
        let Some(standing) = standing(tx, plan).await? else { return Ok(false) };
        let now = self.now();
        let found = standing.progress(now);
        if found.is_as(&standing.opened) {
            return Ok(false);
        }
        let Progress { opened, changed, halts } = found;
        for wave in &opened {
            if standing.opened.iter().all(|w| w.number != wave.number) && store::open(tx, plan, wave).await? {
                let detail = json!({"wave": standing.name(wave.number), "number": wave.number});
                record(tx, now, "engine", "wave.begin", campaign.subject(), detail).await?;
            }
            if !standing.opened.contains(wave) {
                store::save(tx, plan, wave).await?;
            }
        }
        for (number, health) in &changed {
            store::keep_verdict(tx, plan, *number, health, now).await?;
            let detail = json!({"wave": standing.name(*number), "verdict": health.verdict, "because": health.because});
            record(tx, now, "engine", "wave.verdict", campaign.subject(), detail).await?;
        }
        if let Some((number, health)) = halts {
            self.halt_for_wave(tx, campaign, standing.name(number), &health).await?;
            return Ok(true);
        }
        match opened.last().filter(|wave| wave.verdict == Verdict::Hold) {
            Some(wave) => self.say_wave_held(tx, campaign, standing.name(wave.number), wave).await?,
            None => self.end_wave_alarm(tx, campaign, "engine", "the wave goes on").await?,
        }
        Ok(true)
    }

    async fn halt_for_wave(&self, tx: &mut Tx, campaign: &Campaign, wave: &str, health: &Health) -> Outcome {
        let message = format!("wave {wave}: {}", health.because);
        self.end_wave_alarm(tx, campaign, "engine", "the campaign was halted").await?;
        let remedy = how_to_go_on(campaign.id, wave);
        self.halt_with_remedy(tx, campaign, WAVE_FAILED, &message, remedy.clone()).await?;
        let sentence = format!("campaign {} was halted and waits for a person: {message}", campaign.name);
        let numbers = vec![
            ("campaign", campaign.id),
            ("answered", health.numbers.answered),
            ("succeeded", health.numbers.succeeded),
            ("failed", health.numbers.failed),
        ];
        self.tell(tx, &[Notification::of_campaign(campaign.id, sentence, remedy, numbers)]).await
    }

    async fn say_wave_held(&self, tx: &mut Tx, campaign: &Campaign, wave: &str, held: &OpenWave) -> Outcome {
        let sentence = format!("campaign {} waits for a person: wave {wave}: {}", campaign.name, held.because);
        let remedy = how_to_go_on(campaign.id, wave);
        let alarm = NewAlarm {
            kind: AlarmKind::WaveHeld,
            subject: campaign.subject(),
            campaign: Some(campaign.id),
            sentence: sentence.clone(),
            remedy: remedy.clone(),
        };
        if self.raise_alarm(tx, &alarm).await? {
            self.tell(tx, &[Notification::of_campaign(campaign.id, sentence, remedy, vec![("campaign", campaign.id)])]).await?;
        }
        Ok(())
    }

    pub(super) async fn end_wave_alarm(&self, tx: &mut Tx, campaign: &Campaign, who: &str, why: &str) -> Outcome {
        self.end_alarm(tx, AlarmKind::WaveHeld, &campaign.subject(), who, why).await
    }

    /// For a person who resumes: a campaign whose wave still fails would be halted again at once.
    pub(super) async fn refuse_failing_wave(&self, tx: &mut Tx, campaign: &Campaign, now: Time) -> Outcome {
        let Some(plan) = campaign.plan_id.filter(|_| campaign.state != CampaignState::Started) else { return Ok(()) };
        let Some(standing) = standing(tx, plan).await? else { return Ok(()) };
        match standing.progress(now).halts {
            None => Ok(()),
            Some((number, health)) => {
                let wave = standing.name(number);
                Err(Failure::refused(WAVE_FAILED, format!("wave {wave} still stops it: {}", health.because))
                    .help(how_to_go_on(campaign.id, wave)))
            }
        }
    }

    /// How far the waves have begun. `None`: nothing new may leave now. `Some(None)`: no wave keeps anybody back.
    pub(super) async fn begun_waves(&self, tx: &mut Tx, plan: i64) -> Outcome<Option<Option<i64>>> {
        let Some(waves) = store::of_plan(tx, plan).await? else { return Ok(Some(None)) };
        let opened = store::opened(tx, plan).await?;
        let stops = opened.iter().any(|w| matches!(w.verdict, Verdict::Hold | Verdict::Halt));
        let newest = opened.last().filter(|_| !stops);
        Ok(newest.map(|w| (w.number != waves.last()).then_some(w.number)))
    }

    /// The first wave that has begun and of which something is queued that windows let go. `None`: there is nothing.
    pub(super) async fn next_wave(
        &self,
        tx: &mut Tx,
        plan: i64,
        closures: &Closures,
        now: Time,
    ) -> Outcome<Option<(Option<i64>, Within)>> {
        let mut order = vec![(None, Within::Plan)];
        if let Some(waves) = store::of_plan(tx, plan).await? {
            let begun = self.begun_waves(tx, plan).await?;
            let up_to = begun.map_or(0, |begun| begun.unwrap_or(waves.last()));
            let within = |n| if n == waves.last() { Within::Last } else { Within::Wave(n) };
            order = (1..=up_to).map(|n| (Some(n), within(n))).collect();
        }
        for (number, within) in order {
            if !targets::queued_where_open(tx, plan, within, closures, now, None, 1).await?.is_empty() {
                return Ok(Some((number, within)));
            }
        }
        Ok(None)
    }

    /// A person lets a wave that is held, halted or watched go on. What is known by now is not held against it again. Doing it twice
    /// changes nothing. Gives whether it did.
    pub async fn let_wave_go_on(
        &self,
        id_or_name: &str,
        wave: &str,
        by: &str,
        reason: &str,
        asserted_by: &str,
    ) -> Outcome<(Campaign, bool)> {
        check_name(by)?;
        check_reason(reason)?;
        let now = self.now();
        let mut tx = self.db.begin().await?;
        let found = find_campaign(&mut tx, id_or_name).await?;
        let mut campaign = campaign::store::lock(&mut tx, found.id).await?;
        let read_in = campaign.state;
        let (plan, standing) = self.begun(&mut tx, &campaign).await?;
        let number = standing.waves.number_of(wave).ok_or_else(|| no_such_wave(wave, &standing.waves.names()))?;
        let Some(place) = standing.opened.iter().position(|w| w.number == number) else {
            return Err(Failure::failed(format!("wave {wave} has not begun")).help("let the wave before it go on, if it must"));
        };
        let is_newest = place + 1 == standing.opened.len();
        let mut open = standing.opened[place].clone();
        let health = health_now(&standing.waves, &open, is_newest, &standing.counts, now);
        let health = health.ok_or_else(|| Failure::failed("the wave is none of its plan's"))?;
        let was_stopped = matches!(open.verdict, Verdict::Hold | Verdict::Halt) || health.verdict == Verdict::Halt;
        let halted = read_in == CampaignState::Halted && campaign.stopped_code.as_deref() == Some(WAVE_FAILED);
        if halted && open.verdict != Verdict::Halt {
            let why = campaign.stopped_reason.as_deref().unwrap_or_default();
            return Err(Failure::refused(WAVE_FAILED, format!("the campaign was halted, and not for wave {wave}: {why}"))
                .help("name the wave that stopped it"));
        }
        if !was_stopped && (open.let_go.is_some() || !is_newest || open.passed_at.is_some()) {
            return Ok((campaign, false));
        }
        let by = asserted(by, asserted_by);
        open.let_go = Some(LetGo { at: now, by: by.clone(), reason: reason.to_string() });
        open.forgiven = Forgiven { answered: health.numbers.answered, failed: health.numbers.failed };
        store::save(&mut tx, plan, &open).await?;
        let detail =
            json!({"wave": wave, "reason": reason, "was": health.verdict, "because": health.because, "numbers": health.numbers});
        record(&mut tx, now, &by, "campaign.go-on", campaign.subject(), detail).await?;
        self.end_wave_alarm(&mut tx, &campaign, &by, reason).await?;
        if halted {
            let decider = self.decider(&mut tx, &campaign, now).await?;
            self.refuse_void_approval(&mut tx, &campaign, &decider.policies, &by).await?;
            campaign.state = read_in.on(Command::Resume)?;
            silent::begin_anew(&mut tx, plan, now).await?;
            self.end_halt_alarm(&mut tx, &campaign, &by, reason).await?;
            (campaign.stopped_code, campaign.stopped_reason) = (None, None);
            (campaign.stopped_at, campaign.stopped_by) = (None, None);
            campaign::store::save(&mut tx, &campaign, read_in).await?;
        }
        if campaign.state == CampaignState::Started {
            self.judge_waves_in(&mut tx, &campaign).await?;
        }
        let campaign = campaign::store::get(&mut tx, campaign.id).await?.unwrap_or(campaign);
        tx.commit().await?;
        Ok((campaign, true))
    }

    /// The waves of a campaign that has begun and has not ended.
    async fn begun(&self, tx: &mut Tx, campaign: &Campaign) -> Outcome<(i64, Standing)> {
        use CampaignState as S;
        match campaign.state {
            S::Started | S::Paused | S::Halted => {}
            S::Draft | S::Planned | S::Approved | S::Aborted | S::Finished => {
                return Err(Failure::failed(format!("the campaign is {}, so no wave of it waits", campaign.state))
                    .help("`ppmid campaign status` says how it stands"));
            }
        }
        let standing = match campaign.plan_id {
            Some(plan) => standing(tx, plan).await?.map(|standing| (plan, standing)),
            None => None,
        };
        standing.ok_or_else(|| {
            Failure::failed("the campaign goes in one wave of which nothing is asked").help("it needs nobody's word to go on")
        })
    }
}

impl Standing {
    fn progress(&self, now: Time) -> Progress {
        progress(&self.waves, &self.opened, &self.counts, now)
    }

    fn name(&self, number: i64) -> &str {
        self.waves.get(number).map_or("?", |w| &w.wave.name)
    }
}

/// The waves of a plan, and the devices of those that have begun. `None`: it has none.
pub(super) async fn standing(tx: &mut Tx, plan: i64) -> Outcome<Option<Standing>> {
    let Some(waves) = store::of_plan(tx, plan).await? else { return Ok(None) };
    let opened = store::opened(tx, plan).await?;
    let newest = opened.last().map_or(0, |w| w.number);
    let up_to = if newest == waves.last() { Within::Last } else { Within::Wave(newest) };
    let counts = counts_of_waves(&waves, &count_waves(tx, plan, up_to).await?);
    Ok(Some(Standing { waves, opened, counts }))
}

pub(super) fn how_to_go_on(campaign: i64, wave: &str) -> String {
    format!(
        "look at `ppmid campaign status {campaign}`; where it may go on all the same: `ppmid campaign go-on {campaign} --wave {wave} --by NAME \
         --reason TEXT`; else `ppmid campaign abort {campaign}`"
    )
}
