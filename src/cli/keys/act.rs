//! `ppmid keys retry|escalate|assign|note|resolve|close|reopen`: one verb each, on devices, a filter or a file.

use serde_json::json;

use super::pick::{Devices, Filters, People, filter};
use crate::{
    app::{Acted, CaseAction, Meant},
    cli::{Context, Output, table, who::os_user_at_host},
    failure::{Exit, Failure, Outcome},
};

/// Devices that are told one by one to a person; the rest are counted.
const TOLD: usize = 20;

/// What every verb has.
#[derive(clap::Args)]
pub struct Common {
    #[command(flatten)]
    devices: Devices,
    #[command(flatten)]
    filters: Filters,
    /// Every case it can be done to
    #[arg(long)]
    all: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// How many cases you mean, where it is more than one
    #[arg(long, value_name = "COUNT")]
    yes: Option<u64>,
}

#[derive(clap::Args)]
pub struct RetryArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    people: People,
    /// Why, in a few words
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(clap::Args)]
pub struct EscalateArgs {
    #[command(flatten)]
    common: Common,
    /// The incident's reference, up to 40 characters
    #[arg(long, value_name = "REF")]
    incident: String,
    /// The team that sees to it
    #[arg(long, value_name = "TEAM")]
    to: String,
    /// Only those assigned to this person; '' for nobody
    #[arg(long, value_name = "NAME")]
    assignee: Option<String>,
    /// Only those of this team; '' for none
    #[arg(long, value_name = "TEAM")]
    team: Option<String>,
    /// Why, in a few words
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(clap::Args)]
pub struct AssignArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    people: People,
    /// Who sees to it; `nobody` takes it off somebody
    #[arg(long, value_name = "NAME")]
    to: String,
}

#[derive(clap::Args)]
pub struct NoteArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    people: People,
    /// What to write down
    #[arg(long, value_name = "TEXT")]
    note: String,
}

#[derive(clap::Args)]
pub struct ResolveArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    people: People,
    /// How it is known that the key is there
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(clap::Args)]
pub struct CloseArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    people: People,
    /// One of closing_reasons in retry.toml
    #[arg(long, value_name = "REASON")]
    reason: String,
}

#[derive(clap::Args)]
pub struct ReopenArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    people: People,
    /// What says that the key is still missing
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub async fn retry(ctx: &Context, args: RetryArgs) -> Outcome {
    act(ctx, args.common, args.people, CaseAction::Retry, args.reason.as_deref()).await
}

pub async fn escalate(ctx: &Context, args: EscalateArgs) -> Outcome {
    let action = CaseAction::Escalate { incident: args.incident, team: args.to };
    let people = People { assignee: args.assignee, team: args.team, incident: None };
    act(ctx, args.common, people, action, args.reason.as_deref()).await
}

pub async fn assign(ctx: &Context, args: AssignArgs) -> Outcome {
    let assignee = (args.to != "nobody").then_some(args.to);
    act(ctx, args.common, args.people, CaseAction::Assign { assignee }, None).await
}

pub async fn note(ctx: &Context, args: NoteArgs) -> Outcome {
    act(ctx, args.common, args.people, CaseAction::Note { text: args.note }, None).await
}

pub async fn resolve(ctx: &Context, args: ResolveArgs) -> Outcome {
    act(ctx, args.common, args.people, CaseAction::Resolve, Some(&args.reason)).await
}

pub async fn close(ctx: &Context, args: CloseArgs) -> Outcome {
    act(ctx, args.common, args.people, CaseAction::Close { reason: args.reason }, None).await
}

pub async fn reopen(ctx: &Context, args: ReopenArgs) -> Outcome {
    act(ctx, args.common, args.people, CaseAction::Reopen, Some(&args.reason)).await
}

async fn act(ctx: &Context, common: Common, people: People, action: CaseAction, why: Option<&str>) -> Outcome {
    let app = ctx.app().await?;
    let filter = filter(&app, &common.filters, &people, &common.devices).await?;
    if filter.is_all() && !common.all {
        return Err(Failure::usage("no case was named").help("name Device IDs, a file (--devices FILE), a filter, or --all"));
    }
    let meant = if common.dry_run { Meant::DryRun } else { Meant::Confirmed(common.yes) };
    let named = filter.devices.len();
    let acted = app.act_on_cases(filter, &action, why, meant, &os_user_at_host()).await?;
    say(ctx, &action, &acted)?;
    // Of a filter it is no surprise that some do not fit; of devices that were named it is.
    match (named, acted.count(), acted.left.first()) {
        (0, 0, _) => Err(Failure::failed("no case fits").help("the same filter with `ppmid keys list` shows what there is")),
        (0, ..) | (_, _, None) => Ok(()),
        (_, 0, Some((device, why))) => {
            Err(Failure::failed(format!("nothing was done: {device}: {why}")).help("ppmid keys show DEVICE_ID"))
        }
        (_, _, Some((device, why))) => {
            let message =
                format!("done in part: {} of those named were left as they were, such as {device}: {why}", acted.left.len());
            Err(Failure::new(Exit::Partly, message).help("--output json names each"))
        }
    }
}

fn say(ctx: &Context, action: &CaseAction, acted: &Acted) -> Outcome {
    let verb = action.verb();
    let devices: Vec<String> = acted.devices().map(|d| d.to_string()).collect();
    if ctx.output() != Output::Table {
        let left: Vec<_> = acted.left.iter().map(|(d, why)| json!({"device_id": d, "why": why})).collect();
        let json = json!({"verb": verb, "dry_run": acted.dry_run, "cases": devices.len(), "devices": devices, "left": left, "released": acted.released});
        let fields = [
            ("verb", verb.to_string()),
            ("dry_run", acted.dry_run.to_string()),
            ("cases", devices.len().to_string()),
            ("left", acted.left.len().to_string()),
            ("released", acted.released.to_string()),
        ];
        return table::object(ctx.output(), &fields, &json);
    }
    let would = if acted.dry_run { "would be done" } else { "done" };
    table::line(format!("{verb}: {would} to {}", cases(devices.len())))?;
    for device in devices.iter().take(TOLD).filter(|_| acted.dry_run) {
        table::line(format!("  {device}"))?;
    }
    if acted.dry_run && devices.len() > TOLD {
        table::line(format!("  and {} more: --output json names each", devices.len() - TOLD))?;
    }
    match acted.released {
        0 => Ok(()),
        n => table::line(format!("  {n} join the next batch of a campaign")),
    }
}

fn cases(n: usize) -> String {
    if n == 1 { "1 case".into() } else { format!("{n} cases") }
}
