//! `ppmid keys list`: cases, filtered and sorted, page by page.

use super::pick::{Devices, Filters, People, filter};
use crate::{
    cli::{Context, table::Listing},
    failure::{Failure, Outcome},
    keys::{
        CaseOrder, KeyCase,
        store::{self, After},
    },
};

/// Cases fetched in one step.
const PAGE_CASES: usize = 2_000;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    devices: Devices,
    #[command(flatten)]
    filters: Filters,
    #[command(flatten)]
    people: People,
    /// case, first_seen, last_attempt, next_attempt or attempts
    #[arg(long, default_value = "case", value_name = "COLUMN")]
    sort: String,
    /// The greatest first
    #[arg(long)]
    descending: bool,
    /// At most so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Go on where a page before ended, with the same filters and order: what it named at its end
    #[arg(long, value_name = "VALUE:CASE", allow_hyphen_values = true)]
    after: Option<After>,
}

/// The contract's columns.
pub const HEADERS: [&str; 10] =
    ["device_id", "mpan", "cohort", "state", "attempts", "first_seen", "last_attempt", "next_attempt", "last_error", "incident"];

pub fn cells(case: &KeyCase) -> [String; 10] {
    let text = |v: Option<String>| v.unwrap_or_default();
    [
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
    ]
}

pub async fn run(ctx: &Context, args: Args) -> Outcome {
    let order: CaseOrder = args
        .sort
        .parse()
        .map_err(|e: crate::ids::IdError| Failure::usage(e.to_string()).help("ppmid keys list --sort next_attempt"))?;
    let app = ctx.app().await?;
    let filter = filter(&app, &args.filters, &args.people, &args.devices).await?;
    let mut listing = Listing::stdout(ctx.output(), &HEADERS)?;
    let (mut after, mut left) = (args.after, args.limit.unwrap_or(usize::MAX));
    let day = app.now().london_day();
    while left > 0 {
        let page = left.min(PAGE_CASES);
        let (cases, next) = store::list(&mut app.db.read().await?, &filter, (order, args.descending), day, after, page).await?;
        left -= cases.len();
        for case in cases {
            listing.row(&cells(&case), &case)?;
        }
        after = next;
        if after.is_none() {
            break;
        }
    }
    listing.finish()?;
    // Only a limit ends a list before its end.
    if let (Some(after), Some(_)) = (after, args.limit.filter(|n| *n > 0)) {
        eprintln!("there may be more: --after {after}");
    }
    Ok(())
}
