//! `ppmid keys`: missing-key cases, the incident team's queries and what they do.

mod act;
mod list;
mod pick;
mod report;
mod request;
mod show;
mod stats;

use super::Context;
use crate::failure::Outcome;

/// Sites whose PPMID keys are missing from DCC's systems
#[derive(clap::Subcommand)]
pub enum Command {
    /// List cases
    #[command(
        after_help = "Examples:\n  ppmid keys list --state investigating\n  ppmid keys list --open --region North --sort next_attempt\n  ppmid keys list --output csv > cases.csv\n  ppmid keys list --sort first_seen --limit 100            # names at its end where the next page begins\n  ppmid keys list --sort first_seen --limit 100 --after 1605168000000:42"
    )]
    List(list::Args),
    /// How many, in which state, how old, by cohort, and their share of the sites the tool handled
    #[command(after_help = "Example:\n  ppmid keys stats --output json")]
    Stats,
    /// The letter's paragraph as figures, as of a day, and what changed since another
    #[command(
        after_help = "Examples:\n  ppmid keys report\n  ppmid keys report --as-of 2027-03-31 --since 2026-12-31\n  ppmid keys report --output html > keys.html"
    )]
    Report(report::Args),
    /// The whole story of one site's cases: attempts, re-run requests, resubmissions, what people did
    #[command(after_help = "Example:\n  ppmid keys show 00-DB-12-34-56-78-90-A4")]
    Show(show::Args),
    /// Put what is due on a re-run request: a CSV for DCC's service desk
    #[command(
        after_help = "Examples:\n  ppmid keys request --dry-run\n  ppmid keys request --out rerun.csv\n  ppmid keys request --again 7 --out rerun-7.csv"
    )]
    Request(request::Args),
    /// Make cases due now, whatever the timetable says: for the next re-run request or, with `resubmit`, the next batch
    #[command(
        after_help = "Examples:\n  ppmid keys retry 00-DB-12-34-56-78-90-A4\n  ppmid keys retry --error 'no wan' --dry-run"
    )]
    Retry(act::RetryArgs),
    /// Make cases an incident: they are not retried any more
    #[command(after_help = "Example:\n  ppmid keys escalate --devices sites.txt --incident INC0012345 --to metering --yes 12")]
    Escalate(act::EscalateArgs),
    /// Say who sees to cases
    #[command(
        after_help = "Examples:\n  ppmid keys assign --incident INC0012345 --to jane --yes 12\n  ppmid keys assign 00-DB-12-34-56-78-90-A4 --to nobody"
    )]
    Assign(act::AssignArgs),
    /// Write something down
    #[command(after_help = "Example:\n  ppmid keys note 00-DB-12-34-56-78-90-A4 --note 'customer away until June'")]
    Note(act::NoteArgs),
    /// The key is there: counts as a result `updated`, dated now, and lets the site go
    #[command(after_help = "Example:\n  ppmid keys resolve 00-DB-12-34-56-78-90-A4 --reason 'DCC confirmed by telephone'")]
    Resolve(act::ResolveArgs),
    /// End cases without a key
    #[command(after_help = "Example:\n  ppmid keys close 00-DB-12-34-56-78-90-A4 --reason 'replaced device'")]
    Close(act::CloseArgs),
    /// Open a case again that has ended, or a site's first by hand
    #[command(after_help = "Example:\n  ppmid keys reopen 00-DB-12-34-56-78-90-A4 --reason 'the display still has no key'")]
    Reopen(act::ReopenArgs),
}

pub async fn run(ctx: &Context, command: Command) -> Outcome {
    match command {
        Command::List(args) => list::run(ctx, args).await,
        Command::Stats => stats::run(ctx).await,
        Command::Report(args) => report::run(ctx, args).await,
        Command::Show(args) => show::run(ctx, args).await,
        Command::Request(args) => request::run(ctx, args).await,
        Command::Retry(args) => act::retry(ctx, args).await,
        Command::Escalate(args) => act::escalate(ctx, args).await,
        Command::Assign(args) => act::assign(ctx, args).await,
        Command::Note(args) => act::note(ctx, args).await,
        Command::Resolve(args) => act::resolve(ctx, args).await,
        Command::Close(args) => act::close(ctx, args).await,
        Command::Reopen(args) => act::reopen(ctx, args).await,
    }
}
