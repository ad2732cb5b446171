//! `ppmid keys`: missing-key cases, the incident team's queries.

use serde_json::json;

use super::{
    Context, Output,
    table::{self, Listing},
};
use crate::{
    app::counts_of,
    failure::{Failure, Outcome},
    keys::{KeyCaseState, store},
};

/// Cases fetched in one step.
const PAGE_CASES: usize = 2_000;

const STATES: &str = "one of: retrying, investigating, resolved, closed";

/// Sites whose PPMID keys are missing from DCC's systems
#[derive(clap::Subcommand)]
pub enum Command {
    /// List cases, oldest first
    #[command(after_help = "Examples:\n  ppmid keys list --state investigating\n  ppmid keys list --output csv > cases.csv")]
    List(ListArgs),
    /// How many, in which state, by cohort, and their share of the sites the tool handled
    #[command(after_help = "Example:\n  ppmid keys stats --output json")]
    Stats,
}

#[derive(clap::Args)]
pub struct ListArgs {
    /// retrying, investigating, resolved or closed
    #[arg(long)]
    state: Option<String>,
}

pub async fn run(ctx: &Context, command: Command) -> Outcome {
    match command {
        Command::List(args) => list(ctx, args).await,
        Command::Stats => stats(ctx).await,
    }
}

async fn list(ctx: &Context, args: ListArgs) -> Outcome {
    let state: Option<KeyCaseState> = args
        .state
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|e: crate::ids::IdError| Failure::usage(e.to_string()).help(STATES))?;
    let app = ctx.app().await?;
    let headers = [
        "device_id",
        "mpan",
        "cohort",
        "state",
        "attempts",
        "first_seen",
        "last_attempt",
        "next_attempt",
        "last_error",
        "incident",
    ];
    let mut listing = Listing::stdout(ctx.output(), &headers)?;
    let mut after = Some(0);
    while let Some(from) = after {
        let (page, next) = store::list(&mut app.db.read().await?, state, from, PAGE_CASES).await?;
        after = next;
        for case in page {
            let text = |v: Option<String>| v.unwrap_or_default();
            let cells = [
                case.device_id.to_string(),
                text(case.mpan.map(|m| m.to_string())),
                text(case.cohort.map(|c| c.to_string())),
                case.state.to_string(),
                case.attempts.to_string(),
                case.first_seen.to_string(),
                text(case.last_attempt.map(|t| t.to_string())),
                text(case.next_attempt.map(|t| t.to_string())),
                text(case.last_error.clone()),
                text(case.incident.clone()),
            ];
            listing.row(&cells, &case)?;
        }
    }
    listing.finish()
}

async fn stats(ctx: &Context) -> Outcome {
    let app = ctx.app().await?;
    let mut tx = app.db.read().await?;
    let counts = counts_of(&store::count_by_state(&mut tx, None).await?);
    let by_cohort = store::count_by_cohort(&mut tx).await?;
    let handled = store::tool_population(&mut tx).await?;
    let ever = counts.retrying + counts.investigating + counts.resolved + counts.closed;
    let share = if handled > 0 { ever as f64 * 100.0 / handled as f64 } else { 0.0 };
    let cohorts: Vec<_> =
        by_cohort.iter().map(|(cohort, state, n)| json!({"cohort": cohort, "state": state, "cases": n})).collect();
    let open = counts.retrying + counts.investigating;
    let json = json!({"handled_by_the_tool": handled, "cases": counts, "share_percent": (share * 100.0).round() / 100.0, "open": open, "by_cohort": cohorts});
    if ctx.output() != Output::Table {
        let fields = [
            ("handled_by_the_tool", handled.to_string()),
            ("retrying", counts.retrying.to_string()),
            ("investigating", counts.investigating.to_string()),
            ("resolved", counts.resolved.to_string()),
            ("closed", counts.closed.to_string()),
        ];
        return table::object(ctx.output(), &fields, &json);
    }
    table::line(format!("{handled} sites handled by the transitional tool; {ever} key cases ({share:.2}%)"))?;
    table::line(format!(
        "  {} retrying, {} investigating, {} resolved, {} closed",
        counts.retrying, counts.investigating, counts.resolved, counts.closed
    ))?;
    for (cohort, state, n) in by_cohort {
        table::line(format!("  {n:>9}  {:<8} {state}", cohort.as_deref().unwrap_or("unknown")))?;
    }
    Ok(())
}
