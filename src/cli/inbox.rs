//! `ppmid inbox`: what came from DCC, what became of it, and what a person decides about it.

mod view;

use std::io::IsTerminal;

use super::{
    Context, Output, duis,
    table::{self, Listing},
    when::{since, until},
    who::os_user_at_host,
};
use crate::{
    app::{App, MessageQuery, Replayed},
    clock::Time,
    failure::{Exit, Failure, Outcome},
    gateway::inbox::{Filter, InboxState},
    ids::{DeviceId, RequestId},
};

/// Messages fetched in one step; no read is held open while a pager waits.
const PAGE_MESSAGES: u32 = 1_000;
/// Rows of a table unless --limit says otherwise: a few screens.
const TABLE_ROWS: u64 = 100;
/// Messages that are tried again in one transaction: a refused one may have two megabytes.
const REPLAY_PAGE: u32 = 200;

/// What DCC sent: find it, look at it, try it again
#[derive(clap::Subcommand)]
pub enum Command {
    List(ListArgs),
    Show(ShowArgs),
    /// How many messages of each kind are in each state, and for how many alerts they stand
    #[command(
        after_help = "An alert of a kind that is not known is counted under the name of its element. STANDS FOR counts what DCC throttled.\n\nExample:\n  ppmid inbox stats --output json"
    )]
    Stats,
    Replay(ReplayArgs),
    Dismiss(DismissArgs),
}

/// List messages, newest first
#[derive(clap::Args)]
#[command(
    after_help = "States: new, settled, ignored (answers no request of ours), unmatched (waits for a person), failed, rejected (not known to be DCC's),\ndismissed, forwarding, forwarded. A table shows the newest 100; json and csv every one, unless --limit says how many.\n\nExamples:\n  ppmid inbox list --state unmatched\n  ppmid inbox list --device 00-DB-12-34-56-78-90-A4 --since 2026-11-01\n  ppmid inbox list --request 90-B3-D5-1F-30-01-00-00:90-B3-D5-1F-30-00-00-02:1766940660265\n  ppmid inbox list --kind S1SPAlertDSP --output csv > alerts.csv\n  ppmid inbox list --before 4711            # the next page"
)]
pub struct ListArgs {
    /// About this request
    #[arg(long, value_name = "REQUEST_ID")]
    request: Option<RequestId>,
    /// Naming this device, alone or in a list
    #[arg(long, value_name = "DEVICE_ID")]
    device: Option<DeviceId>,
    /// The element that says what it is, such as S1SPAlertDSP, ResponseMessage or DSPInventory
    #[arg(long)]
    kind: Option<String>,
    #[arg(long)]
    state: Option<InboxState>,
    /// Why it was refused: unknown-certificate, certificate-not-valid, signature, digest, profile, unsigned, malformed, reply
    #[arg(long)]
    reason: Option<String>,
    /// Received from this time on, or from the beginning of this date
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Time>,
    /// Received before this time, or until the end of this date
    #[arg(long, value_name = "TIME", value_parser = until)]
    until: Option<Time>,
    /// At most so many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Those with a lower id: the last one of the page before
    #[arg(long, value_name = "ID")]
    before: Option<i64>,
}

/// Show what one message says and what became of it
#[derive(clap::Args)]
#[command(
    after_help = "Addresses are left out, supply numbers masked, payloads told by their size and hash. --raw prints the bytes as they were received:\nthe audit trail says who asked for them.\n\nExamples:\n  ppmid inbox show 4711 --output json\n  ppmid inbox show 4711 --raw > message.xml"
)]
pub struct ShowArgs {
    id: i64,
    /// The bytes as they were received, on stdout; recorded in the audit trail
    #[arg(long)]
    raw: bool,
}

/// Verify and settle messages again, after what was wrong was put right
#[derive(clap::Args)]
#[command(
    after_help = "One that was rejected is verified under the certificates pinned now, and refused again if it still does not hold. `ppmid serve` settles\nwhat passes. Exit 4 where none passed, 5 where some did not. Recorded in the audit trail.\n\nExamples:\n  ppmid inbox replay 4711 4712\n  ppmid inbox replay --state rejected --reason unknown-certificate    # a certificate was pinned\n  ppmid inbox replay --state unmatched --kind S1SPAlertDSP            # response-codes.toml was corrected"
)]
pub struct ReplayArgs {
    #[arg(value_name = "ID", required_unless_present = "state", conflicts_with_all = ["state", "kind", "reason"])]
    ids: Vec<i64>,
    /// Every message in this state: failed, rejected, unmatched or ignored
    #[arg(long)]
    state: Option<InboxState>,
    /// Of this kind only
    #[arg(long, requires = "state")]
    kind: Option<String>,
    /// Refused for this reason only
    #[arg(long, requires = "state")]
    reason: Option<String>,
}

/// Take messages off the operator's queue; they are kept
#[derive(clap::Args)]
#[command(
    after_help = "Of messages that are unmatched, failed or rejected; all that are named, or none. Recorded in the audit trail.\n\nExample:\n  ppmid inbox dismiss 4711 --reason \"spoke to the provider, incident 42\""
)]
pub struct DismissArgs {
    #[arg(value_name = "ID", required = true)]
    ids: Vec<i64>,
    /// Why nobody need look at them any more
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub async fn run(ctx: &Context, command: Command) -> Outcome {
    match command {
        Command::List(args) => list(ctx, args).await,
        Command::Show(args) => show(ctx, args).await,
        Command::Stats => stats(ctx).await,
        Command::Replay(args) => replay(ctx, args).await,
        Command::Dismiss(args) => dismiss(ctx, args).await,
    }
}

async fn list(ctx: &Context, args: ListArgs) -> Outcome {
    let app = ctx.app().await?;
    let output = ctx.output();
    let ListArgs { request, device, kind, state, reason, since, until, .. } = args;
    let query = MessageQuery { request, device, kind, state, reason, since, until };
    let mut listing = Listing::stdout(output, view::headers(output))?;
    let mut left = args.limit.unwrap_or(if output == Output::Table { TABLE_ROWS } else { u64::MAX });
    let mut before = args.before;
    if let Some(filter) = app.message_filter(&query).await? {
        while left > 0 {
            let page = app.messages(&filter, before, left.min(u64::from(PAGE_MESSAGES)) as u32).await?;
            let Some(last) = page.last() else { break };
            before = Some(last.id);
            left -= page.len() as u64;
            for entry in &page {
                listing.row(&view::cells(output, entry), entry)?;
            }
        }
    }
    listing.finish()?;
    if output == Output::Table {
        for line in view::footer(&app.waiting_messages().await?, before.filter(|_| left == 0)) {
            eprintln!("{line}");
        }
    }
    Ok(())
}

async fn show(ctx: &Context, args: ShowArgs) -> Outcome {
    let app = ctx.app().await?;
    if args.raw {
        return raw(&app.raw_message(args.id, &os_user_at_host()).await?);
    }
    let opened = app.open_message(args.id).await?;
    let shown = view::opened(&opened);
    table::object(ctx.output(), &duis::view::fields(&shown), &shown)
}

/// Bytes on stdout as they are. A terminal is spared what could move its cursor: anybody may have sent it.
pub(super) fn raw(bytes: &[u8]) -> Outcome {
    let hostile = |b: &u8| b.is_ascii_control() && !matches!(b, b'\t' | b'\n' | b'\r');
    if std::io::stdout().is_terminal() && bytes.iter().any(hostile) {
        return Err(Failure::failed("it has control characters, which a terminal might obey").help("send it to a file: > FILE"));
    }
    duis::write(None, bytes)
}

async fn stats(ctx: &Context) -> Outcome {
    let counts = ctx.app().await?.message_counts().await?;
    let cells: Vec<Vec<String>> = counts
        .iter()
        .map(|c| vec![c.kind.clone(), c.state.to_string(), c.messages.to_string(), c.stands_for.to_string()])
        .collect();
    table::print(ctx.output(), &["kind", "state", "messages", "stands_for"], &cells, &counts)
}

async fn replay(ctx: &Context, args: ReplayArgs) -> Outcome {
    let app = ctx.app().await?;
    let pinned = app.pinned_now()?;
    let who = os_user_at_host();
    let mut replayed = Replayed::default();
    match args.state {
        None => {
            for ids in args.ids.chunks(REPLAY_PAGE as usize) {
                replayed.add(app.replay_messages(ids, &pinned, &who).await?);
            }
        }
        Some(state) => {
            let filter = Filter { state: Some(replayable(state)?), kind: args.kind, reason: args.reason, ..Filter::default() };
            let mut before = None;
            loop {
                let page = app.messages(&filter, before, REPLAY_PAGE).await?;
                let Some(last) = page.last() else { break };
                before = Some(last.id);
                let ids: Vec<i64> = page.iter().map(|e| e.id).collect();
                replayed.add(app.replay_messages(&ids, &pinned, &who).await?);
            }
        }
    }
    view::replayed(ctx.output(), &replayed)?;
    verdict(&replayed)
}

fn replayable(state: InboxState) -> Outcome<InboxState> {
    match state {
        InboxState::Failed | InboxState::Rejected | InboxState::Unmatched | InboxState::Ignored => Ok(state),
        InboxState::New | InboxState::Settled | InboxState::Dismissed | InboxState::Forwarding | InboxState::Forwarded => {
            Err(Failure::usage(format!("messages that are {state} are not tried again all at once"))
                .help("--state takes failed, rejected, unmatched or ignored; a dismissed one is named by its id"))
        }
    }
}

fn verdict(replayed: &Replayed) -> Outcome {
    let Replayed { queued, known, refused } = replayed;
    let all = queued.len() + known.len() + refused.len();
    let exit = match refused.len() {
        0 => return Ok(()),
        n if n == all => Exit::Untrusted,
        _ => Exit::Partly,
    };
    Err(Failure::new(exit, format!("{} of {all} messages are not tried again", refused.len()))
        .help("the list says why for each; a certificate that is to count belongs into gateway.dcc_certificates"))
}

async fn dismiss(ctx: &Context, args: DismissArgs) -> Outcome {
    let app: App = ctx.app().await?;
    let n = app.dismiss_messages(&args.ids, &args.reason, &os_user_at_host()).await?;
    if ctx.output() == Output::Table {
        eprintln!("{n} messages are off the queue");
    }
    Ok(())
}
