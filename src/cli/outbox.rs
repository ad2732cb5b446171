//! `ppmid outbox`: what was sent to DCC, what came of it, letting a held request go, and what DCC holds in quarantine.

mod quarantine;
mod view;

use super::{
    Context, Output, inbox,
    table::{self, Listing},
    when::{since, until},
    who::os_user_at_host,
};
use crate::{
    app::RequestQuery,
    clock::Time,
    duis::RequestKind,
    failure::Outcome,
    gateway::outbox::OutboxState,
    ids::{DeviceId, IdError, RequestId},
};

/// Requests fetched in one step.
const PAGE_REQUESTS: u32 = 500;
/// Rows of a table unless --limit says otherwise.
const TABLE_ROWS: u64 = 100;

/// What was sent to DCC: find it, look at it, let a held request go
#[derive(clap::Subcommand)]
pub enum Command {
    List(ListArgs),
    Show(ShowArgs),
    Replay(ReplayArgs),
    #[command(subcommand)]
    Quarantine(quarantine::Command),
}

/// List requests, newest first
#[derive(clap::Args)]
#[command(
    after_help = "States: prepared (never left), posting, unknown (posted, no answer: it is sent again), answered, abandoned (never left and never will),\nheld (waits for a person), deleted (by DCC, in quarantine). A table shows the newest 100; json and csv every one, unless --limit says how many.\n\nExamples:\n  ppmid outbox list --state held\n  ppmid outbox list --campaign spring --output csv > requests.csv\n  ppmid outbox list --device 00-DB-12-34-56-78-90-A4"
)]
pub struct ListArgs {
    #[arg(long, value_name = "REQUEST_ID")]
    request: Option<RequestId>,
    /// Naming this device
    #[arg(long, value_name = "DEVICE_ID")]
    device: Option<DeviceId>,
    /// 8.2, 11.1, 11.2 or 11.4, or the name of its element
    #[arg(long, value_parser = kind)]
    kind: Option<RequestKind>,
    #[arg(long)]
    state: Option<OutboxState>,
    /// Id or name
    #[arg(long)]
    campaign: Option<String>,
    /// Made from this time on, or from the beginning of this date
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Time>,
    /// Made before this time, or until the end of this date
    #[arg(long, value_name = "TIME", value_parser = until)]
    until: Option<Time>,
    /// At most so many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Those with a lower counter than this one: the last one of the page before
    #[arg(long, value_name = "REQUEST_ID")]
    before: Option<RequestId>,
}

/// Show one request: every attempt, what came of it, and the messages about it
#[derive(clap::Args)]
#[command(
    after_help = "--raw prints the signed request as it was posted the last time, or by the attempt named; the audit trail says who asked for it.\n\nExamples:\n  ppmid outbox show REQUEST_ID --output json\n  ppmid outbox show REQUEST_ID --devices --output csv > devices.csv\n  ppmid outbox show REQUEST_ID --raw | ppmid duis show -"
)]
pub struct ShowArgs {
    #[arg(value_name = "REQUEST_ID")]
    id: RequestId,
    /// The devices it names
    #[arg(long, conflicts_with = "raw")]
    devices: bool,
    /// The signed request as it was posted, on stdout; recorded in the audit trail
    #[arg(long)]
    raw: bool,
    /// Which attempt [default: the last]
    #[arg(long, value_name = "N", requires = "raw")]
    attempt: Option<u32>,
}

/// Let a held request go on: the same request, due now
#[derive(clap::Args)]
#[command(
    after_help = "It leaves while its campaign is started and every device in it is still ours, and is held again otherwise. Refused for a request that is\nnot held, and where one of its devices waits for another request or is in one. Recorded in the audit trail.\n\nExample:\n  ppmid outbox replay REQUEST_ID --reason \"DCC's service desk says it was not processed, incident 42\""
)]
pub struct ReplayArgs {
    #[arg(value_name = "REQUEST_ID")]
    id: RequestId,
    /// Why it may go on
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub async fn run(ctx: &Context, command: Command) -> Outcome {
    match command {
        Command::List(args) => list(ctx, args).await,
        Command::Show(args) => show(ctx, args).await,
        Command::Replay(args) => replay(ctx, args).await,
        Command::Quarantine(command) => quarantine::run(ctx, command).await,
    }
}

/// A service reference or the name of its element.
fn kind(text: &str) -> Result<RequestKind, IdError> {
    let known = RequestKind::ALL.into_iter().find(|k| k.service_reference() == text || k.element() == text);
    known.ok_or_else(|| IdError::new(text, "8.2, 11.1, 11.2 or 11.4"))
}

async fn list(ctx: &Context, args: ListArgs) -> Outcome {
    let app = ctx.app().await?;
    let output = ctx.output();
    let ListArgs { request, device, kind, state, campaign, since, until, .. } = args;
    let filter = app.request_filter(&RequestQuery { request, device, kind, state, campaign, since, until }).await?;
    let mut listing = Listing::stdout(output, view::headers(output))?;
    let mut left = args.limit.unwrap_or(if output == Output::Table { TABLE_ROWS } else { u64::MAX });
    let mut before = args.before;
    while left > 0 {
        let page = app.requests(&filter, before.map(|id| id.counter), left.min(u64::from(PAGE_REQUESTS)) as u32).await?;
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        left -= page.len() as u64;
        for request in &page {
            listing.row(&view::cells(output, request), request)?;
        }
    }
    listing.finish()?;
    if output == Output::Table
        && left == 0
        && let Some(last) = before
    {
        eprintln!("there may be older ones: --before {last}");
    }
    Ok(())
}

async fn show(ctx: &Context, args: ShowArgs) -> Outcome {
    let app = ctx.app().await?;
    if args.raw {
        return inbox::raw(&app.raw_request(args.id, args.attempt, &os_user_at_host()).await?);
    }
    let (opened, devices) = app.open_request(args.id).await?;
    if args.devices && ctx.output() != Output::Json {
        let cells: Vec<Vec<String>> = devices.iter().map(|d| vec![d.to_string()]).collect();
        return table::print(ctx.output(), &["device_id"], &cells, &devices);
    }
    view::show(ctx.output(), &opened, args.devices.then_some(&devices))
}

async fn replay(ctx: &Context, args: ReplayArgs) -> Outcome {
    let app = ctx.app().await?;
    let released = app.release_request(args.id, &args.reason, &os_user_at_host()).await?;
    let campaign = app.open_request(args.id).await?.0.campaign;
    if ctx.output() == Output::Table {
        let state = match campaign {
            Some(id) => format!("`ppmid serve` posts it while campaign {id} is started"),
            None => "`ppmid serve` posts it".to_string(),
        };
        eprintln!("{} is due now; {state}", released.id);
    }
    Ok(())
}
