//! `ppmid alarm`: what a person must know or do.

use super::{
    Context, Output,
    table::{self, Listing},
    who::os_user_at_host,
};
use crate::failure::Outcome;

/// Alarms fetched in one step.
const PAGE_ALARMS: u32 = 500;

/// What a person must know or do: raised by the daemon, once while it stands
#[derive(clap::Subcommand)]
pub enum Command {
    /// List the alarms that stand, oldest first
    #[command(after_help = "Examples:\n  ppmid alarm list\n  ppmid alarm list --all --campaign spring --output json")]
    List(ListArgs),
    /// End an alarm: somebody has seen to it
    #[command(after_help = "Example:\n  ppmid alarm end 3 --reason \"CPL entry confirmed with the manufacturer\"")]
    End(EndArgs),
}

#[derive(clap::Args)]
pub struct ListArgs {
    /// Those that have ended too
    #[arg(long)]
    all: bool,
    /// Only of this campaign (its id or name)
    #[arg(long)]
    campaign: Option<String>,
}

#[derive(clap::Args)]
pub struct EndArgs {
    /// Its number, as `ppmid alarm list` shows it
    alarm: i64,
    /// Why, in a few words; people will read it
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub async fn run(ctx: &Context, command: Command) -> Outcome {
    match command {
        Command::List(args) => list(ctx, args).await,
        Command::End(args) => {
            let ended = ctx.app().await?.dismiss_alarm(args.alarm, &args.reason, &os_user_at_host()).await?;
            match ctx.output() {
                Output::Table => table::line(format!("alarm {} ({}, {}) has ended", ended.id, ended.kind, ended.subject)),
                output => {
                    let fields =
                        [("id", ended.id.to_string()), ("kind", ended.kind.to_string()), ("subject", ended.subject.clone())];
                    table::object(output, &fields, &ended)
                }
            }
        }
    }
}

async fn list(ctx: &Context, args: ListArgs) -> Outcome {
    let app = ctx.app().await?;
    let campaign = match &args.campaign {
        Some(name) => Some(app.campaign(name).await?.id),
        None => None,
    };
    let headers = ["id", "raised_at", "kind", "subject", "sentence", "remedy", "ended_at", "ended_by", "ended_reason"];
    let mut listing = Listing::stdout(ctx.output(), &headers)?;
    let mut after = 0;
    loop {
        let page = app.alarms(!args.all, campaign, after, PAGE_ALARMS).await?;
        let Some(last) = page.last() else { break };
        after = last.id;
        for a in &page {
            let text = |v: &Option<String>| v.clone().unwrap_or_default();
            let cells = [
                a.id.to_string(),
                a.raised_at.to_string(),
                a.kind.to_string(),
                a.subject.clone(),
                a.sentence.clone(),
                a.remedy.clone(),
                a.ended_at.map(|t| t.to_string()).unwrap_or_default(),
                text(&a.ended_by),
                text(&a.ended_reason),
            ];
            listing.row(&cells, a)?;
        }
    }
    listing.finish()
}
