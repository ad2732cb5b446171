//! `ppmid audit`: who did what and when, and whether anybody changed the record.

use super::{
    Context,
    table::{self, Listing},
};
use crate::{audit, failure::Outcome, ids::Sha256Hash};

/// Events read at a time: a listing of any length in little memory, and no read held open while a pager waits.
const PAGE_EVENTS: i64 = 1_000;

/// Who did what and when, and whether anybody changed the record
#[derive(clap::Subcommand)]
pub enum Command {
    /// Print every event, oldest first
    #[command(after_help = "Example:\n  ppmid audit list --output csv > trail.csv")]
    List,
    /// Check the chain of hashes from its first event; exit 4 where it is broken
    #[command(after_help = "Example:\n  ppmid audit verify --output json")]
    Verify {
        /// A head printed by an earlier `verify`, which must still be in the chain
        #[arg(long, value_name = "HASH")]
        head: Option<Sha256Hash>,
    },
}

pub async fn run(ctx: &Context, command: Command) -> Outcome {
    match command {
        Command::List => list(ctx).await,
        Command::Verify { head } => verify(ctx, head).await,
    }
}

async fn list(ctx: &Context) -> Outcome {
    let app = ctx.app().await?;
    let mut listing = Listing::stdout(ctx.output(), &["seq", "at", "who", "action", "subject", "detail", "hash"])?;
    let mut after = 0;
    loop {
        let mut tx = app.db.read().await?;
        let events = audit::list(&mut tx, after, PAGE_EVENTS).await?;
        drop(tx);
        let Some(last) = events.last() else { break };
        after = last.seq;
        for e in &events {
            let (seq, at, detail) = (e.seq.to_string(), e.at.to_string(), e.detail.to_string());
            let cells = [seq, at, e.who.clone(), e.action.clone(), e.subject.clone(), detail, e.hash.clone()];
            listing.row(&cells, e)?;
        }
    }
    listing.finish()
}

async fn verify(ctx: &Context, head: Option<Sha256Hash>) -> Outcome {
    let app = ctx.app().await?;
    let mut tx = app.db.read().await?;
    let whole = audit::verify(&mut tx, head).await?;
    table::object(ctx.output(), &[("events", whole.events.to_string()), ("head", whole.head.clone())], &whole)
}
