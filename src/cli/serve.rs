//! `ppmid serve`: the daemon. It ends cleanly on SIGTERM or SIGINT at any moment, start-up included; SIGHUP has it read its
//! certificate files again.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Context, table};
use crate::{
    app::App,
    engine::Node,
    failure::{Failure, Outcome},
};

/// Run the daemon: send what is approved, receive what DCC says, follow every device to its end
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  ppmid serve\n  ppmid serve --check --output json\n\nSIGTERM ends it with exit 0 within 10 seconds, at any moment; nothing is lost.\n\
SIGHUP has it read again the files of gateway.dcc_certificates, [gateway.tls] and [receiver.tls] at once; it sees by itself within\n\
a few seconds that they changed. Other settings need a restart."
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
        None => StopSignal::listen_as_daemon()?,
    };
    let (app, node) = tokio::select! {
        biased;
        _ = stop.asked() => return Ok(()),
        started = start(ctx) => started?,
    };
    while stop.next().await == Asked::Reload {
        node.reload();
    }
    tracing::info!("stopping");
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

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Stop,
    Reload,
}

/// SIGTERM or SIGINT; for a daemon also SIGHUP, which would otherwise end the process.
pub struct StopSignal {
    term: Signal,
    int: Signal,
    hup: Option<Signal>,
}

impl StopSignal {
    /// From here on neither SIGTERM nor SIGINT ends the process by itself.
    pub fn listen() -> Outcome<StopSignal> {
        Ok(StopSignal { term: caught(SignalKind::terminate())?, int: caught(SignalKind::interrupt())?, hup: None })
    }

    /// Nor does SIGHUP.
    pub fn listen_as_daemon() -> Outcome<StopSignal> {
        Ok(StopSignal { hup: Some(caught(SignalKind::hangup())?), ..StopSignal::listen()? })
    }

    /// Waits for the end to be asked for.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }

    async fn next(&mut self) -> Asked {
        let hup = async {
            match &mut self.hup {
                Some(hup) => hup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = self.term.recv() => Asked::Stop,
            _ = self.int.recv() => Asked::Stop,
            _ = hup => Asked::Reload,
        }
    }
}

fn caught(kind: SignalKind) -> Outcome<Signal> {
    signal(kind).map_err(|e| Failure::failed(format!("signals cannot be received: {e}")))
}
