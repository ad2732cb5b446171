//! The waves of a campaign as a status shows them, and the wave of one site. Looks and changes nothing.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{App, waves::counts_of_waves};
use crate::{
    campaign::{
        self, Campaign, Plan,
        health::Numbers,
        waves::{LetGo, OpenWave, Verdict, health_now, store},
    },
    clock::Time,
    db::Tx,
    failure::Outcome,
    ids::DeviceId,
    policy::{ONLY_WAVE, Share, Watch, WaveSize},
    target::{
        TargetState,
        store::{self as targets, Within, waves::count_waves},
    },
};

crate::spelled! {
    /// Where a wave stands.
    WaveState, "a wave's state: waiting, open or passed" {
        /// It has not begun.
        Waiting = "waiting",
        Open = "open",
        /// The next has begun, or might.
        Passed = "passed",
    }
}

impl WaveState {
    fn of(wave: Option<&OpenWave>) -> WaveState {
        match wave {
            None => WaveState::Waiting,
            Some(wave) if wave.passed_at.is_none() => WaveState::Open,
            Some(_) => WaveState::Passed,
        }
    }
}

/// A wave of a campaign.
#[derive(Debug, Clone, Serialize)]
pub struct WaveStatus {
    /// 1, 2, ...
    pub number: i64,
    pub name: String,
    /// As the rollout or the campaign has it.
    pub size: WaveSize,
    /// When the plan was made.
    pub eligible: i64,
    pub held: i64,
    pub state: WaveState,
    pub opened_at: Option<Time>,
    pub all_sent_at: Option<Time>,
    pub passed_at: Option<Time>,
    /// Now; states without devices are left out, and those that were ruled out.
    pub by_state: BTreeMap<TargetState, i64>,
    /// Null before it begins, and where nothing is asked of it.
    pub verdict: Option<Verdict>,
    pub because: Option<String>,
    /// What the verdict goes by, as it is now.
    pub numbers: Option<Numbers>,
    /// Who let it go on, and why.
    pub let_go: Option<LetGo>,
    /// What is asked of it; left out where nothing is.
    #[serde(flatten)]
    pub watch: Option<Watch>,
    /// Every change of its verdict, oldest first.
    pub verdicts: Vec<store::KeptVerdict>,
}

/// The wave of one site.
#[derive(Debug, Clone, Serialize)]
pub struct WaveOfSite {
    pub number: i64,
    pub name: String,
    /// How many waves there are.
    pub of: i64,
    pub state: WaveState,
}

impl App {
    pub(super) async fn wave_statuses(
        &self,
        tx: &mut Tx,
        plan: &Plan,
        by_state: &BTreeMap<TargetState, i64>,
    ) -> Outcome<Vec<WaveStatus>> {
        let Some(waves) = &plan.waves else { return Ok(vec![only_wave(plan, by_state)]) };
        let found = count_waves(tx, plan.id, Within::Plan).await?;
        let counts = counts_of_waves(waves, &found);
        let opened = store::opened(tx, plan.id).await?;
        let verdicts = store::verdicts(tx, plan.id).await?;
        let now = self.now();
        let shown = |(n, planned): (usize, &campaign::waves::PlannedWave)| {
            let number = n as i64 + 1;
            let open = opened.iter().find(|w| w.number == number);
            let is_newest = opened.last().is_some_and(|w| w.number == number);
            let health = open.and_then(|open| health_now(waves, open, is_newest, &counts, now));
            let mut by_state = BTreeMap::new();
            let members = found.iter().filter(|a| waves.of_target(a.wave) == number && a.state != TargetState::Ineligible);
            members.for_each(|a| *by_state.entry(a.state).or_default() += a.devices);
            WaveStatus {
                number,
                name: planned.wave.name.clone(),
                size: planned.wave.size,
                eligible: planned.eligible,
                held: planned.held,
                state: WaveState::of(open),
                opened_at: open.map(|w| w.opened_at),
                all_sent_at: open.and_then(|w| w.all_sent_at),
                passed_at: open.and_then(|w| w.passed_at),
                by_state,
                verdict: health.as_ref().map(|h| h.verdict),
                because: health.as_ref().map(|h| h.because.clone()),
                numbers: health.map(|h| h.numbers),
                let_go: open.and_then(|w| w.let_go.clone()),
                watch: Some(planned.wave.watch.clone()),
                verdicts: verdicts.iter().filter(|(of, _)| *of == number).map(|(_, kept)| kept.clone()).collect(),
            }
        };
        Ok(waves.waves.iter().enumerate().map(shown).collect())
    }

    /// The wave of a site in the plan that a campaign shows; `None`: the plan has no waves, or not this site among its members.
    pub(super) async fn wave_of_site(&self, tx: &mut Tx, campaign: &Campaign, device: DeviceId) -> Outcome<Option<WaveOfSite>> {
        let Some(plan) = campaign.plan_id else { return Ok(None) };
        let Some(waves) = store::of_plan(tx, plan).await? else { return Ok(None) };
        let Some(target) = targets::find(tx, &[plan], &[device]).await?.pop() else { return Ok(None) };
        if target.state == TargetState::Ineligible {
            return Ok(None);
        }
        let number = waves.of_target(target.wave);
        let opened = store::opened(tx, plan).await?;
        let state = WaveState::of(opened.iter().find(|w| w.number == number));
        let name = waves.get(number).map_or_else(String::new, |w| w.wave.name.clone());
        Ok(Some(WaveOfSite { number, name, of: waves.last(), state }))
    }
}

/// Of a plan without waves: everything, of which nothing is asked.
fn only_wave(plan: &Plan, by_state: &BTreeMap<TargetState, i64>) -> WaveStatus {
    let mut by_state = by_state.clone();
    by_state.remove(&TargetState::Ineligible);
    let begun = by_state.keys().any(|s| !matches!(s, TargetState::Held | TargetState::Queued | TargetState::Cancelled));
    WaveStatus {
        number: 1,
        name: ONLY_WAVE.into(),
        size: WaveSize::Share(Share::ALL),
        eligible: plan.eligible,
        held: plan.held,
        state: if begun { WaveState::Open } else { WaveState::Waiting },
        opened_at: None,
        all_sent_at: None,
        passed_at: None,
        by_state,
        verdict: None,
        because: None,
        numbers: None,
        let_go: None,
        watch: None,
        verdicts: Vec::new(),
    }
}
