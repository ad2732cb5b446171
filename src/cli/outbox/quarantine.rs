//! `ppmid outbox quarantine`: what DCC's anomaly detection holds back, and what a person told DCC to do with it.

use super::super::{
    Context, Output,
    table::{self, Listing},
    who::os_user_at_host,
};
use crate::{
    app::QuarantineDecided,
    failure::Outcome,
    gateway::quarantine::{Decision, Quarantined},
    ids::RequestId,
};

/// Events fetched in one step.
const PAGE_EVENTS: u32 = 500;

/// What DCC's anomaly detection holds back, and what DCC was told to do with it
#[derive(clap::Subcommand)]
pub enum Command {
    /// List quarantine events that wait for a decision, newest first
    #[command(after_help = "Examples:\n  ppmid outbox quarantine list\n  ppmid outbox quarantine list --all --output csv")]
    List(ListArgs),
    /// Record that DCC was told to process the request: its batch is followed again
    #[command(
        after_help = "Tell DCC first, by its own files: this command records it, and sends nothing to DCC.\n\nExample:\n  ppmid outbox quarantine process REQUEST_ID --by jane --reason \"threshold raised, DCC file 17\""
    )]
    Process(DecideArgs),
    /// Record that DCC was told to delete the request: its devices are queued again, for another request
    #[command(
        after_help = "Tell DCC first, by its own files: this command records it, and sends nothing to DCC. Refused where a device of it has news of the update.\nThe RequestID is never used again.\n\nExample:\n  ppmid outbox quarantine delete REQUEST_ID --by jane --reason \"sent by mistake, DCC file 18\""
    )]
    Delete(DecideArgs),
}

#[derive(clap::Args)]
pub struct ListArgs {
    /// Those that were decided about, and other systems', too
    #[arg(long)]
    all: bool,
}

#[derive(clap::Args)]
pub struct DecideArgs {
    #[arg(value_name = "REQUEST_ID")]
    id: RequestId,
    /// Who decided
    #[arg(long, value_name = "NAME")]
    by: String,
    /// Why; people will read it
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub async fn run(ctx: &Context, command: Command) -> Outcome {
    match command {
        Command::List(args) => list(ctx, args.all).await,
        Command::Process(args) => decide(ctx, Decision::Process, args).await,
        Command::Delete(args) => decide(ctx, Decision::Delete, args).await,
    }
}

async fn list(ctx: &Context, all: bool) -> Outcome {
    let app = ctx.app().await?;
    let headers = [
        "request_id",
        "event",
        "breach",
        "state",
        "kind",
        "batch_id",
        "message",
        "told_at",
        "decided_at",
        "decided_by",
        "reason",
    ];
    let mut listing = Listing::stdout(ctx.output(), &headers)?;
    let mut before = i64::MAX;
    loop {
        let page = app.quarantines(!all, before, PAGE_EVENTS).await?;
        let Some(last) = page.last() else { break };
        before = last.id;
        page.iter().try_for_each(|q| listing.row(&cells(q), q))?;
    }
    listing.finish()
}

fn cells(q: &Quarantined) -> [String; 11] {
    fn text<T: ToString>(value: &Option<T>) -> String {
        value.as_ref().map(T::to_string).unwrap_or_default()
    }
    [
        q.request_id.to_string(),
        q.event.clone(),
        q.breach.to_string(),
        q.state.to_string(),
        text(&q.service_reference),
        text(&q.batch_id),
        q.message.to_string(),
        q.told_at.to_string(),
        text(&q.decided_at),
        text(&q.decided_by),
        text(&q.reason),
    ]
}

async fn decide(ctx: &Context, decision: Decision, args: DecideArgs) -> Outcome {
    let app = ctx.app().await?;
    let done = app.decide_quarantine(args.id, decision, &args.by, &args.reason, &os_user_at_host()).await?;
    match ctx.output() {
        Output::Table => table::line(sentence(&done)),
        output => {
            let fields = [
                ("request_id", done.request_id.to_string()),
                ("state", done.state.to_string()),
                ("queued", done.queued.to_string()),
                ("elsewhere", done.elsewhere.to_string()),
            ];
            table::object(output, &fields, &done)
        }
    }?;
    if done.elsewhere > 0 {
        eprintln!("note: {} of its devices meanwhile wait for another request or are in one: they may get two", done.elsewhere);
    }
    Ok(())
}

fn sentence(done: &QuarantineDecided) -> String {
    let (id, state, by) = (done.request_id, done.state, &done.decided_by);
    let queued = match done.queued {
        0 => String::new(),
        n => format!("; {n} devices are queued again"),
    };
    if done.again { format!("{id} was {state} already, says {by}") } else { format!("{id} is recorded as {state}{queued}") }
}
