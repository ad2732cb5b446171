//! `ppmid schedule`: what runs by the clock.

use super::{Context, policy::as_of, table, who::os_user_at_host};
use crate::{
    app::NewScheduleRequest,
    clock::Time,
    engine,
    failure::{Failure, Outcome},
    ids::IdError,
    schedule::{Missed, Schedule, ScheduleState},
};

mod view;

const ADD_HELP: &str = "\
--cron has six fields, or seven: second, minute, hour, day of month, month, day of week, and the year if it matters. They are compared
with what clocks in --tz show. A time that the clocks skip in spring fires right after; one that they show twice in autumn fires
once, the first time. Where both a day of month and a day of week are given, both must match. Days of the week go by their names.

Actions, each doing what the command of that name does and refused where that is refused:
  plan CAMPAIGN       decide about every site; the plan waits for its approval, and replaces one that was approved
  start CAMPAIGN      let an approved campaign send
  top-up CAMPAIGN     take in sites that pass since the plan; beyond what the plan allows, a second person is waited for
  recheck-keys        bring key cases into line with the results, and decide again about every member that waits
  inventory-sweep     ask DCC's inventory (8.2) about devices of started campaigns that are silent past their deadline, up to an hour's
                      worth of reads_per_minute (steps.toml); they leave like every read, and only the image's version changes a device
  report              the report of missing keys, kept with the run
  prune               delete what is older than archive.keep_months

`ppmid serve` runs them, on one node; runs of one schedule never overlap.

Examples:
  ppmid schedule add --cron \"0 30 2 * * MON-FRI\" --do top-up spring
  ppmid schedule add --name monday-report --cron \"0 0 7 * * MON\" --tz Europe/London --do report
  ppmid schedule add --cron \"0 0 9 12 1 * 2027\" --do start spring --missed skip";

/// What runs by the clock: plans, starts, top-ups, key rechecks, sweeps, reports, pruning
#[derive(clap::Subcommand)]
pub enum Command {
    /// Add a schedule; prints its id
    #[command(after_help = ADD_HELP)]
    Add(AddArgs),
    /// List schedules, with what comes next and what came last
    #[command(after_help = "Example:\n  ppmid schedule list --output json")]
    List,
    /// One schedule and its latest runs; in CSV the runs
    #[command(after_help = "Examples:\n  ppmid schedule show nightly\n  ppmid schedule show nightly --runs 100 --output csv")]
    Show(ShowArgs),
    /// When it fires next, on the clocks of its zone and in UTC
    #[command(
        after_help = "Examples:\n  ppmid schedule next nightly --count 10\n  ppmid schedule next nightly --as-of 2027-03-26   (across the clocks' change)\n  ppmid schedule next   (every schedule that is not paused)"
    )]
    Next(NextArgs),
    /// Run it now, whether or not it is paused, and say what came of it
    #[command(after_help = "Example:\n  ppmid schedule run nightly")]
    Run(ScheduleArg),
    /// Let it fire no more for now; a run under way goes on
    #[command(after_help = "Example:\n  ppmid schedule pause nightly")]
    Pause(ScheduleArg),
    /// Let it fire again; what it would have fired meanwhile is not made up for
    #[command(after_help = "Example:\n  ppmid schedule resume nightly")]
    Resume(ScheduleArg),
    /// Take it away for good; a run under way goes on
    #[command(after_help = "Example:\n  ppmid schedule remove nightly")]
    Remove(ScheduleArg),
}

#[derive(clap::Args)]
pub struct ScheduleArg {
    /// Id or name
    schedule: String,
}

#[derive(clap::Args)]
pub struct AddArgs {
    /// When, e.g. "0 30 2 * * MON-FRI": half past two on working days
    #[arg(long, value_name = "EXPRESSION")]
    cron: String,
    /// Whose clocks count: an IANA name
    #[arg(long, value_name = "ZONE", default_value = "Europe/London")]
    tz: String,
    /// What: plan, start or top-up CAMPAIGN, recheck-keys, inventory-sweep, report or prune
    #[arg(long = "do", value_name = "ACTION", num_args = 1.., required = true)]
    action: Vec<String>,
    /// What people call it; made from the action where it is left out
    #[arg(long)]
    name: Option<String>,
    /// Firings that were missed, since nothing ran then: one run for all (coalesce), or none (skip)
    #[arg(long, value_name = "HOW", default_value = "coalesce", value_parser = missed)]
    missed: Missed,
}

#[derive(clap::Args)]
pub struct ShowArgs {
    /// Id or name
    schedule: String,
    /// How many of its latest runs
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    runs: u32,
}

#[derive(clap::Args)]
pub struct NextArgs {
    /// Id or name; all that are not paused where it is left out
    schedule: Option<String>,
    /// How many firings
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: u32,
    /// After this time, or the end of this day in London, rather than now
    #[arg(long, value_name = "TIME", value_parser = as_of)]
    as_of: Option<Time>,
}

fn missed(text: &str) -> Result<Missed, IdError> {
    text.parse()
}

pub async fn run(ctx: &Context, command: Command) -> Outcome {
    match command {
        Command::Add(args) => {
            let new = NewScheduleRequest {
                name: args.name,
                cron: args.cron,
                zone: args.tz,
                action: args.action.join(" "),
                missed: args.missed,
            };
            table::line(ctx.app().await?.add_schedule(new, &os_user_at_host()).await?)
        }
        Command::List => view::list(ctx.output(), &ctx.app().await?.schedules().await?),
        Command::Show(args) => {
            let (schedule, runs) = ctx.app().await?.schedule_story(&args.schedule, args.runs).await?;
            view::show(ctx.output(), &schedule, &runs)
        }
        Command::Next(args) => next(ctx, args).await,
        Command::Run(args) => run_now(ctx, &args.schedule).await,
        Command::Pause(args) => {
            let done = ctx.app().await?.pause_schedule(&args.schedule, &os_user_at_host()).await?;
            say(ctx, &done, "paused; it fires no more until it is resumed")
        }
        Command::Resume(args) => {
            let done = ctx.app().await?.resume_schedule(&args.schedule, &os_user_at_host()).await?;
            say(ctx, &done, "fires again from now on")
        }
        Command::Remove(args) => {
            let done = ctx.app().await?.remove_schedule(&args.schedule, &os_user_at_host()).await?;
            say(ctx, &done, "removed")
        }
    }
}

async fn next(ctx: &Context, args: NextArgs) -> Outcome {
    let app = ctx.app().await?;
    let after = args.as_of.unwrap_or_else(|| app.now());
    let firings = app.next_firings(args.schedule.as_deref(), after, args.count as usize).await?;
    if let Some(name) = &args.schedule {
        let schedule = app.schedule(name).await?;
        if schedule.state == ScheduleState::Paused {
            eprintln!("note: schedule {} is paused; it would fire so if it were resumed", schedule.name);
        }
        if firings.is_empty() {
            eprintln!("note: schedule {} never fires after {after}", schedule.name);
        }
    }
    view::next(ctx.output(), &firings)
}

async fn run_now(ctx: &Context, schedule: &str) -> Outcome {
    let app = ctx.app().await?;
    app.interrupt_dead_runs(engine::is_gone).await?;
    let claimed = app.claim_by_hand(schedule, &os_user_at_host(), &engine::holder(app.now())).await?;
    let ran = app.run_claimed(&claimed).await?;
    view::ran(ctx.output(), &claimed.schedule, &ran)?;
    match ran.failure {
        None => Ok(()),
        Some(failure) if failure.help.is_empty() => {
            Err(Failure { help: vec![format!("`ppmid schedule show {}` has its log", claimed.schedule.id)], ..failure })
        }
        Some(failure) => Err(failure),
    }
}

/// What a command did to a schedule: one line for people, the schedule for programs.
fn say(ctx: &Context, schedule: &Schedule, what: &str) -> Outcome {
    match ctx.output() {
        super::Output::Table => table::line(format!("schedule {} ({}): {what}", schedule.id, schedule.name)),
        output => {
            let fields =
                [("id", schedule.id.to_string()), ("name", schedule.name.clone()), ("state", schedule.state.to_string())];
            table::object(output, &fields, schedule)
        }
    }
}
