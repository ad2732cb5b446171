//! `ppmid serve`: the daemon. It ends cleanly on SIGTERM or SIGINT at any moment, start-up included.

use super::{Context, table};
use crate::{
    app::App,
    engine::Node,
    failure::{Failure, Outcome},
};

/// Run the daemon: send what is approved, receive what DCC says, follow every device to its end
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  ppmid serve\n  ppmid serve --check --output json\n\nSIGTERM ends it with exit 0 within 10 seconds, at any moment; nothing is lost."
)]
pub struct Args {
    /// Print the effective settings, secrets masked, and exit
    #[arg(long)]
    check: bool,
}

pub async fn run(ctx: &Context, args: Args) -> Outcome {
    if args.check {
        let settings = ctx.settings()?;
        settings.check_exposure()?;
        return table::line(settings.render(ctx.output().into()).trim_end());
    }
    let mut stop = match ctx.early_stop.take() {
        Some(stop) => stop,
        None => StopSignal::listen()?,
    };
    let node = tokio::select! {
        biased;
        _ = stop.asked() => return Ok(()),
        started = start(ctx) => started?,
    };
    stop.asked().await;
    tracing::info!("stopping");
    let (app, node) = node;
    node.stop().await;
    app.db.close().await;
    Ok(())
}

async fn start(ctx: &Context) -> Outcome<(App, Node)> {
    let settings = ctx.settings()?;
    settings.check_exposure()?;
    let app = App::open(settings, ctx.clock.clone()).await?;
    let node = Node::start(&app).await?;
    let receiver = node.receiver.local_addr();
    tracing::info!(receiver = %receiver, dcc = %app.settings.gateway.base_url, "serving");
    Ok((app, node))
}

/// SIGTERM or SIGINT.
pub struct StopSignal {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
}

impl StopSignal {
    /// From here on neither signal ends the process by itself.
    pub fn listen() -> Outcome<StopSignal> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).map_err(|e| Failure::failed(format!("signals cannot be received: {e}")));
        Ok(StopSignal { term: listen(SignalKind::terminate())?, int: listen(SignalKind::interrupt())? })
    }

    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}
