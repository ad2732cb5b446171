//! Schedules as people keep them: added, looked at, paused, resumed, removed. Each change is audited. Running them is `run`, and what they
//! do is `act`.

mod act;
mod run;

use serde_json::json;

use super::{App, control::check_name, record};
use crate::{
    alarm::AlarmKind,
    clock::{Time, Zone},
    db::Tx,
    failure::{Failure, Outcome},
    schedule::{
        Action, Asked, Expression, Firing, Missed, Run, Schedule, ScheduleState,
        store::{self, NewSchedule},
    },
};

pub use run::{Claimed, Ran};

/// What `schedule add` asks for.
#[derive(Debug, Clone)]
pub struct NewScheduleRequest {
    /// `None`: made from what it does.
    pub name: Option<String>,
    pub cron: String,
    pub zone: String,
    /// As written, e.g. `top-up spring`.
    pub action: String,
    pub missed: Missed,
}

/// A schedule with what comes next and what came last.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ScheduleView {
    #[serde(flatten)]
    pub schedule: Schedule,
    /// Null while it is paused, and where it fires no more.
    pub next_at: Option<Time>,
    pub last_run: Option<Run>,
}

/// Names that are tried for a schedule that was given none.
const NAMES_TRIED: usize = 1_000;

impl App {
    /// Stores a schedule, which fires from now on. Gives its id.
    pub async fn add_schedule(&self, new: NewScheduleRequest, who: &str) -> Outcome<i64> {
        let now = self.now();
        if let Some(name) = &new.name {
            check_schedule_name(name)?;
        }
        let cron = Expression::parse(&new.cron)?;
        let zone: Zone = new.zone.parse().map_err(|e: crate::ids::IdError| {
            Failure::usage(e.to_string()).help("IANA names, as in Europe/London (which is also what applies without --tz) or UTC")
        })?;
        if crate::schedule::next_after(&cron, &zone, now).is_none() {
            return Err(Failure::usage(format!("the cron expression \"{cron}\" never fires after {now}"))
                .help("no day to come matches all of its fields: look at its day, month and year"));
        }
        let asked: Asked = new.action.parse()?;
        let mut tx = self.db.begin().await?;
        let campaign = match &asked.campaign {
            Some(campaign) => Some(super::find_campaign(&mut tx, campaign).await?),
            None => None,
        };
        let said = match &campaign {
            Some(campaign) => format!("{} {}", asked.verb, campaign.name),
            None => asked.verb.to_string(),
        };
        let action = Action::of(asked.verb, campaign.map(|c| c.id)).expect("a campaign was found for the verbs that take one");
        let name = match new.name {
            Some(name) => name.trim().to_string(),
            None => free_name(&mut tx, &said).await?,
        };
        let row =
            NewSchedule { name: &name, cron: &cron, zone: &zone, action, said: &said, missed: new.missed, created_by: who, now };
        let Some(id) = store::insert(&mut tx, &row).await? else {
            return Err(Failure::failed(format!("there is a schedule of this name already: {name}"))
                .help("choose another --name, or remove that one: ppmid schedule remove NAME"));
        };
        let detail = json!({"name": name, "cron": cron, "zone": zone, "action": said, "missed": new.missed});
        record(&mut tx, now, who, "schedule.add", format!("schedule {id}"), detail).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// A schedule by its id or its name.
    pub async fn schedule(&self, id_or_name: &str) -> Outcome<Schedule> {
        find(&mut self.db.read().await?, id_or_name).await
    }

    /// Every schedule, by its id.
    pub async fn schedules(&self) -> Outcome<Vec<ScheduleView>> {
        let now = self.now();
        let mut tx = self.db.read().await?;
        let mut all = Vec::new();
        for schedule in store::list(&mut tx).await? {
            let last_run = store::latest(&mut tx, schedule.id, 1).await?.pop();
            all.push(view(schedule, last_run, now));
        }
        Ok(all)
    }

    /// One schedule, and its latest runs, the latest first.
    pub async fn schedule_story(&self, id_or_name: &str, runs: u32) -> Outcome<(ScheduleView, Vec<Run>)> {
        let mut tx = self.db.read().await?;
        let schedule = find(&mut tx, id_or_name).await?;
        let runs = store::latest(&mut tx, schedule.id, runs.max(1)).await?;
        Ok((view(schedule, runs.first().cloned(), self.now()), runs))
    }

    /// The next firings of one schedule, or of all that are active, in the order of time.
    pub async fn next_firings(&self, id_or_name: Option<&str>, after: Time, count: usize) -> Outcome<Vec<(Schedule, Firing)>> {
        let mut tx = self.db.read().await?;
        let schedules = match id_or_name {
            Some(one) => vec![find(&mut tx, one).await?],
            None => store::list(&mut tx).await?.into_iter().filter(|s| s.state == ScheduleState::Active).collect(),
        };
        drop(tx);
        let mut firings: Vec<(Schedule, Firing)> = Vec::new();
        for schedule in &schedules {
            let next = crate::schedule::firings(&schedule.cron, &schedule.zone, after).take(count);
            firings.extend(next.map(|firing| (schedule.clone(), firing)));
        }
        firings.sort_by_key(|(schedule, firing)| (firing.at, schedule.id));
        firings.truncate(count);
        Ok(firings)
    }

    /// It fires no more; a run under way goes on.
    pub async fn pause_schedule(&self, id_or_name: &str, who: &str) -> Outcome<Schedule> {
        self.change_schedule(id_or_name, ScheduleState::Paused, who).await
    }

    /// It fires again from now on: what it would have fired meanwhile was not missed.
    pub async fn resume_schedule(&self, id_or_name: &str, who: &str) -> Outcome<Schedule> {
        self.change_schedule(id_or_name, ScheduleState::Active, who).await
    }

    /// It is gone, its runs are kept; a run under way goes on.
    pub async fn remove_schedule(&self, id_or_name: &str, who: &str) -> Outcome<Schedule> {
        self.change_schedule(id_or_name, ScheduleState::Removed, who).await
    }

    async fn change_schedule(&self, id_or_name: &str, to: ScheduleState, who: &str) -> Outcome<Schedule> {
        let now = self.now();
        let mut tx = self.db.begin().await?;
        let schedule = lock(&mut tx, id_or_name).await?;
        if schedule.state == to {
            return Ok(schedule);
        }
        store::set_state(&mut tx, schedule.id, to).await?;
        let verb = match to {
            ScheduleState::Active => {
                store::set_done(&mut tx, schedule.id, now).await?;
                "schedule.resume"
            }
            ScheduleState::Paused => "schedule.pause",
            ScheduleState::Removed => {
                self.end_alarm(&mut tx, AlarmKind::ScheduleFailed, &schedule.subject(), who, "the schedule was removed").await?;
                "schedule.remove"
            }
        };
        record(&mut tx, now, who, verb, schedule.subject(), json!({"name": schedule.name, "was": schedule.state})).await?;
        tx.commit().await?;
        Ok(Schedule { state: to, ..schedule })
    }
}

fn view(schedule: Schedule, last_run: Option<Run>, now: Time) -> ScheduleView {
    let is_active = schedule.state == ScheduleState::Active;
    // What is due and not begun yet comes next.
    let next_at = is_active.then(|| schedule.next_after(schedule.done_until.min(now))).flatten().map(|firing| firing.at);
    ScheduleView { schedule, next_at, last_run }
}

/// By id or name, within a transaction.
async fn find(tx: &mut Tx, id_or_name: &str) -> Outcome<Schedule> {
    let all = store::list(tx).await?;
    let by_id = id_or_name.parse::<i64>().ok().and_then(|id| all.iter().find(|s| s.id == id));
    by_id.or_else(|| all.iter().find(|s| s.name == id_or_name.trim())).cloned().ok_or_else(|| no_such(id_or_name))
}

/// The same, and nobody else changes it until the transaction ends.
async fn lock(tx: &mut Tx, id_or_name: &str) -> Outcome<Schedule> {
    let found = find(tx, id_or_name).await?;
    store::lock(tx, found.id).await?.ok_or_else(|| no_such(id_or_name))
}

fn no_such(id_or_name: &str) -> Failure {
    let shown: String = id_or_name.chars().take(super::TEXT_CHARS).collect();
    Failure::failed(format!("there is no schedule {shown:?}")).help("`ppmid schedule list` shows them")
}

/// A name that is a number would be taken for an id.
fn check_schedule_name(name: &str) -> Outcome {
    check_name(name)?;
    match name.trim().parse::<i64>() {
        Ok(_) => {
            Err(Failure::usage(format!("{name:?} would be taken for a schedule's id")).help("give it a name with a letter in it"))
        }
        Err(_) => Ok(()),
    }
}

/// `top-up spring`, or with a number behind it where that is taken.
async fn free_name(tx: &mut Tx, said: &str) -> Outcome<String> {
    let taken: Vec<String> = store::list(tx).await?.into_iter().map(|s| s.name).collect();
    let base: String = said.split_whitespace().collect::<Vec<_>>().join("-").chars().take(super::TEXT_CHARS - 10).collect();
    let numbered = (2..=NAMES_TRIED).map(|n| format!("{base}-{n}"));
    std::iter::once(base.clone()).chain(numbered).find(|name| !taken.contains(name)).ok_or_else(|| {
        Failure::failed(format!("there are {NAMES_TRIED} schedules named {base} already")).help("give it another --name")
    })
}
