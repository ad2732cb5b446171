//! Running what is due: a firing is claimed by its row, run under a lease that is renewed, and ended with what came of it. Promise: of each
//! firing there is one row at most, whichever nodes see it; the runs of a schedule do not overlap; a run whose process died is called
//! interrupted, raises an alarm, and is never run again by itself.

use std::time::Duration;

use serde_json::json;

use super::lock;
use crate::{
    alarm::{AlarmKind, NewAlarm},
    app::{App, record},
    clock::Time,
    db::Tx,
    failure::{Failure, Outcome},
    schedule::{
        ON_TIME_MILLIS, Origin, Planned, Run, RunState, Schedule, ScheduleState,
        store::{self, NewRun},
    },
};

/// A run whose process has not renewed for this long is taken to be dead: long enough for a database that is away for a moment.
const LEASE_MILLIS: i64 = 60_000;
const RENEW: Duration = Duration::from_secs(15);
/// A log is cut here: it is for people.
const LOG_CHARS: usize = 100_000;
/// Of a sentence that says what came of it.
const RESULT_CHARS: usize = 1_000;

/// A run that is this process's to do.
#[derive(Debug, Clone)]
pub struct Claimed {
    pub schedule: Schedule,
    pub run: i64,
    /// Who asked for it; `None`: the clock.
    pub asked_by: Option<String>,
    /// What is already in its log.
    log: Vec<String>,
}

/// A run that has ended, and why it failed if it did.
#[derive(Debug, Clone)]
pub struct Ran {
    pub run: Run,
    pub failure: Option<Failure>,
}

impl App {
    /// Schedules that have something to do, what is due longest first. Those that run now wait for their own end.
    pub async fn due_schedules(&self) -> Outcome<Vec<i64>> {
        let now = self.now();
        let mut tx = self.db.read().await?;
        let running: Vec<i64> = store::running(&mut tx).await?.into_iter().map(|run| run.schedule).collect();
        let mut due: Vec<(Time, i64)> = Vec::new();
        for schedule in store::list(&mut tx).await?.iter().filter(|s| s.state == ScheduleState::Active) {
            let next = schedule.next_after(schedule.done_until).filter(|firing| firing.at <= now);
            if let Some(firing) = next.filter(|_| !running.contains(&schedule.id)) {
                due.push((firing.at, schedule.id));
            }
        }
        due.sort_unstable();
        Ok(due.into_iter().map(|(_, id)| id).collect())
    }

    /// Takes what a schedule has to do now; `None` where another took it, or it is only to be told as missed.
    pub async fn claim_due(&self, schedule: i64, node: &str) -> Outcome<Option<Claimed>> {
        let now = self.now();
        let mut tx = self.db.begin().await?;
        let Some(schedule) = store::lock(&mut tx, schedule).await? else { return Ok(None) };
        if schedule.state != ScheduleState::Active || running_of(&mut tx, &schedule).await?.is_some() {
            return Ok(None);
        }
        let due = schedule.due(now);
        if let Some(skipped) = &due.skipped {
            let told = format!("{}, and not made up for: --missed skip", told(skipped));
            tracing::warn!(schedule = schedule.name, "{told}");
            store::skip(&mut tx, schedule.id, skipped, &told, now).await?;
        }
        let mut claimed = None;
        if let Some(planned) = due.run {
            let log = late(&planned, now);
            log.iter().for_each(|line| tracing::warn!(schedule = schedule.name, "{line}"));
            claimed = begin(&mut tx, &schedule, planned, (Origin::Clock, None), (log, node), now).await?;
        }
        store::set_done(&mut tx, schedule.id, now).await?;
        tx.commit().await?;
        if claimed.is_some() {
            crate::crash::point("after-schedule-claim");
        }
        Ok(claimed)
    }

    /// A person wants it run now, whether or not it is paused.
    pub async fn claim_by_hand(&self, id_or_name: &str, who: &str, node: &str) -> Outcome<Claimed> {
        let now = self.now();
        let mut tx = self.db.begin().await?;
        let schedule = lock(&mut tx, id_or_name).await?;
        if let Some(run) = running_of(&mut tx, &schedule).await? {
            let since = run.started_at.map(|at| format!(" since {at}")).unwrap_or_default();
            return Err(Failure::failed(format!("schedule {} is running{since}", schedule.name))
                .help(format!("`ppmid schedule show {}` says how it ended, once it has", schedule.id)));
        }
        let planned = Planned { at: now, missed: 0, missed_from: None, or_more: false };
        let claimed = begin(&mut tx, &schedule, planned, (Origin::Hand, Some(who)), (Vec::new(), node), now).await?;
        let Some(claimed) = claimed else {
            return Err(Failure::failed(format!("schedule {} has a run of this very moment", schedule.name)).help("ask again"));
        };
        record(&mut tx, now, who, "schedule.run", schedule.subject(), json!({"run": claimed.run, "action": schedule.said}))
            .await?;
        tx.commit().await?;
        Ok(claimed)
    }

    /// Does what was claimed, and writes down what came of it.
    pub async fn run_claimed(&self, claimed: &Claimed) -> Outcome<Ran> {
        let mut log = claimed.log.clone();
        let done = {
            let mut acting = std::pin::pin!(self.act(claimed, &mut log));
            loop {
                tokio::select! {
                    done = &mut acting => break done,
                    () = tokio::time::sleep(RENEW) => self.renew_run(claimed).await,
                }
            }
        };
        crate::crash::point("before-schedule-end");
        let (state, result) = match &done {
            Ok(result) => (RunState::Succeeded, result.clone()),
            Err(failure) => {
                log.extend(failure.help.iter().map(|line| format!("help: {line}")));
                (RunState::Failed, failure.message.clone())
            }
        };
        let run = self.end_run(claimed.schedule.id, claimed.run, state, &result, &cut(log)).await?;
        Ok(Ran { run, failure: done.err() })
    }

    /// This process gives a run up before its end.
    pub async fn interrupt_run(&self, claimed: &Claimed, why: &str) -> Outcome<Run> {
        self.end_run(claimed.schedule.id, claimed.run, RunState::Interrupted, why, &claimed.log).await
    }

    /// Ends the runs whose process has died: it is known to be gone, or has not renewed for too long. Gives how many.
    pub async fn interrupt_dead_runs(&self, is_gone: impl Fn(&str) -> bool) -> Outcome<u64> {
        let now = self.now();
        let mut ended = 0;
        for run in store::running(&mut self.db.read().await?).await? {
            let lapsed = run.leased_until.is_none_or(|until| until <= now);
            let gone = run.leased_by.as_deref().is_none_or(&is_gone);
            if !lapsed && !gone {
                continue;
            }
            let why = "the process that ran it died; what it had done stays done, and it is not run again by itself";
            self.end_run(run.schedule, run.id, RunState::Interrupted, why, &run.log).await?;
            ended += 1;
        }
        Ok(ended)
    }

    async fn renew_run(&self, claimed: &Claimed) {
        let renewed = async {
            let mut tx = self.db.begin().await?;
            let ours = store::renew(&mut tx, claimed.run, self.now().plus_millis(LEASE_MILLIS)).await?;
            tx.commit().await?;
            Ok::<bool, Failure>(ours)
        };
        match renewed.await {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!(schedule = claimed.schedule.name, run = claimed.run, "a run was taken for dead while it ran")
            }
            Err(e) => tracing::warn!(reason = %e, run = claimed.run, "a run could not say that it is still under way"),
        }
    }

    /// Ends a run in one transaction with the alarm that says how the schedule stands.
    async fn end_run(&self, schedule: i64, id: i64, state: RunState, result: &str, log: &[String]) -> Outcome<Run> {
        let now = self.now();
        let result: String = result.chars().take(RESULT_CHARS).collect();
        let mut tx = self.db.begin().await?;
        let schedule = store::lock(&mut tx, schedule).await?;
        let ended = store::end(&mut tx, id, state, &result, log, now).await?;
        let run = store::run(&mut tx, id).await?;
        let run = run.ok_or_else(|| Failure::failed(format!("the run {id} is gone")).help("it was deleted meanwhile"))?;
        if let Some(schedule) = schedule.filter(|_| ended) {
            match state {
                RunState::Succeeded => {
                    let why = format!("run {id} succeeded");
                    self.end_alarm(&mut tx, AlarmKind::ScheduleFailed, &schedule.subject(), &schedule.who(), &why).await?;
                }
                RunState::Failed | RunState::Interrupted => {
                    self.raise_alarm(&mut tx, &failed_alarm(&schedule, &run)).await?;
                }
                RunState::Running | RunState::Skipped => {}
            }
        }
        tx.commit().await?;
        Ok(run)
    }
}

async fn running_of(tx: &mut Tx, schedule: &Schedule) -> Outcome<Option<Run>> {
    Ok(store::running(tx).await?.into_iter().find(|run| run.schedule == schedule.id))
}

/// The row of a run that begins: `None` where its firing has one.
async fn begin(
    tx: &mut Tx,
    schedule: &Schedule,
    planned: Planned,
    (origin, asked_by): (Origin, Option<&str>),
    (log, node): (Vec<String>, &str),
    now: Time,
) -> Outcome<Option<Claimed>> {
    let new = NewRun {
        schedule: schedule.id,
        planned,
        origin,
        asked_by,
        log: &log.join("\n"),
        leased_by: node,
        leased_until: now.plus_millis(LEASE_MILLIS),
        now,
    };
    let run = store::begin(tx, &new).await?;
    Ok(run.map(|run| Claimed { schedule: schedule.clone(), run, asked_by: asked_by.map(str::to_string), log }))
}

/// How many firings were missed, and which.
fn told(planned: &Planned) -> String {
    let more = if planned.or_more { "more than " } else { "" };
    match planned.missed_from {
        Some(from) => format!("{more}{} firings were missed, from {from} to {}", planned.missed + 1, planned.at),
        None => format!("the firing of {} was missed", planned.at),
    }
}

/// What is to be said of a run that stands for more than its own firing, or begins long after it.
fn late(planned: &Planned, now: Time) -> Vec<String> {
    let is_late = planned.at < now.plus_millis(-ON_TIME_MILLIS);
    match planned.missed_from {
        Some(from) if is_late => {
            vec![format!("{}: this run makes up for all of them", told(&Planned { missed_from: Some(from), ..*planned }))]
        }
        Some(from) => {
            let more = if planned.or_more { "more than " } else { "" };
            let (n, firings) = (planned.missed, if planned.missed == 1 { "firing" } else { "firings" });
            vec![format!("{more}{n} {firings} before it, from {from} on, had no run: this one makes up for them")]
        }
        None if is_late => vec![format!("the firing of {} was missed: this run makes up for it", planned.at)],
        None => Vec::new(),
    }
}

fn cut(log: Vec<String>) -> Vec<String> {
    let mut chars = 0;
    let whole = log.len();
    let mut kept: Vec<String> = log
        .into_iter()
        .take_while(|line| {
            chars += line.chars().count() + 1;
            chars <= LOG_CHARS
        })
        .collect();
    if kept.len() < whole {
        kept.push(format!("{} more lines are not kept", whole - kept.len()));
    }
    kept
}

fn failed_alarm(schedule: &Schedule, run: &Run) -> NewAlarm {
    let what = if run.state == RunState::Interrupted { "was interrupted" } else { "failed" };
    let why = run.result.as_deref().unwrap_or_default();
    NewAlarm {
        kind: AlarmKind::ScheduleFailed,
        subject: schedule.subject(),
        campaign: schedule.action.campaign(),
        sentence: format!("run {} of schedule {} ({}) {what}: {why}", run.id, schedule.name, schedule.said),
        remedy: format!(
            "`ppmid schedule show {0}` has its log; put it right, then `ppmid schedule run {0}`. A run that succeeds ends this alarm",
            schedule.id
        ),
    }
}
