//! `ppmid demo`: the whole job on a synthetic portfolio, against the DCC simulator over real loopback HTTP. It does what an
//! operator would do, by the same verbs; only the portfolio, the certificates and the clock's pace are made up.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Context, serve::StopSignal};
use crate::{
    app::{App, Status},
    engine::Node,
    estate::import::{Input, Kind, Options},
    failure::{Failure, Outcome},
    sim::Stats,
    target::TargetState,
};

mod report;
mod setup;

/// The whole job on a synthetic portfolio, against the DCC simulator
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  ppmid demo\n  ppmid demo --sites 100000 --seed 7\n  ppmid demo --keep trial --output json")]
pub struct Args {
    /// How many sites the portfolio has
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(20..=5_000_000))]
    sites: u32,
    /// The same seed gives the same portfolio and the same DCC
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keep everything in this folder (which must be new or empty)
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Leave the daemon and the simulator running until Ctrl-C
    #[arg(long)]
    serve: bool,
}

/// How often the progress is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Looking takes longer the larger the demo is; it may take at most one part in this many of the time.
const LOOK_SHARE: u32 = 10;
/// A demo that has not come to its end by then never will: this long, and as much again for every 2,000 sites.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the demo found, for the report.
pub struct Result {
    pub folder: PathBuf,
    pub status: Status,
    pub sim: Stats,
    pub rerun: usize,
    pub elapsed: Duration,
    pub audit_events: i64,
}

pub async fn run(ctx: &Context, args: Args) -> Outcome {
    let mut stop = StopSignal::listen()?;
    let result = tokio::select! {
        biased;
        _ = stop.asked() => return Err(Failure::failed("the demo was interrupted").help("run it again: nothing of it is needed")),
        result = whole_job(ctx, &args) => result?,
    };
    let (result, trial, node) = result;
    report::print(ctx.output(), &result)?;
    if args.serve {
        eprintln!(
            "The daemon and the simulator go on until Ctrl-C.\n  in {}: ppmid campaign status spring",
            result.folder.display()
        );
        stop.asked().await;
    }
    node.stop().await;
    trial.sim.stop().await;
    trial.app.db.close().await;
    Ok(())
}

async fn whole_job(ctx: &Context, args: &Args) -> Outcome<(Result, setup::Trial, Node)> {
    let started = Instant::now();
    let progress = report::Progress::new();
    let trial = setup::Trial::make(ctx, args.sites as usize, args.seed, args.keep.as_deref(), &progress).await?;
    let app = &trial.app;

    for (kind, file) in [
        (Kind::Registrations, "registrations.csv"),
        (Kind::Sites, "sites.csv"),
        (Kind::Keys, "keys.csv"),
        (Kind::Cpl, "cpl.csv"),
        (Kind::Epcl, "epcl.csv"),
        (Kind::Exclusions, "exclusions.csv"),
    ] {
        let rows = import_file(app, kind, &trial.folder.join(file)).await?;
        progress.say(&format!("imported   {kind}: {rows} rows"));
    }

    let image = trial.add_image().await?;
    progress.say(&format!("image      {image} signed, checked, stored"));
    let campaign = trial.campaign(image, &progress).await?;

    let node = Node::start(app).await?;
    trial
        .sim
        .set_deliver_to(&format!("http://{}{}", node.receiver.local_addr(), app.settings.receiver.path))
        .map_err(setup::sim_failed)?;
    let patience = PATIENCE + Duration::from_secs(u64::from(args.sites) / 2_000);
    follow(&trial, &campaign, &progress, patience, |s| s.devices(|state| state == TargetState::Queued) == 0).await?;

    let rerun = trial.rerun_transitional_tool().await?;
    progress.say(&format!("tool       run again by DCC for {rerun} sites without keys; results imported"));
    let status = follow(&trial, &campaign, &progress, patience, |s| s.devices(is_open) == 0).await?;
    progress.finish();

    let events = crate::audit::verify(&mut app.db.read().await?, None).await?;
    let sim = trial.sim.stats();
    let status = Status {
        duplicate_submissions: sim.duplicate_submissions as u64,
        elapsed_ms: started.elapsed().as_millis() as i64,
        ..status
    };
    let result = Result {
        folder: trial.folder.clone(),
        status,
        sim,
        rerun,
        elapsed: started.elapsed(),
        audit_events: events.events as i64,
    };
    Ok((result, trial, node))
}

/// Imports a file as `ppmid import` does. Gives its rows.
pub async fn import_file(app: &App, kind: Kind, path: &Path) -> Outcome<u64> {
    let options = Options { strict: true, replace: false };
    let report = app.import_file(kind, Input::open(path)?, options, Arc::new(|_| {}), setup::OPERATOR).await?;
    Ok(report.read)
}

/// Waits until `done`, everything the simulator owes has been delivered and everything received has been settled.
async fn follow(
    trial: &setup::Trial,
    campaign: &str,
    progress: &report::Progress,
    patience: Duration,
    done: impl Fn(&Status) -> bool,
) -> Outcome<Status> {
    let end = Instant::now() + patience;
    loop {
        let looked = Instant::now();
        let idle_before = trial.sim.idle();
        let status = trial.app.campaign_status(campaign).await?;
        progress.show(&status);
        if let Some(code) = &status.stopped_code {
            let why = status.stopped_reason.clone().unwrap_or_default();
            return Err(Failure::refused(code, why).help(format!("everything lies in {}", trial.folder.display())));
        }
        if done(&status) && idle_before && trial.waiting_messages().await? == 0 {
            return trial.app.campaign_status(campaign).await;
        }
        if Instant::now() > end {
            return Err(Failure::failed("the demo did not come to its end in the time it should take")
                .help(format!("look at it: cd {} && ppmid campaign status spring", trial.folder.display())));
        }
        tokio::time::sleep(LOOK.max(looked.elapsed() * LOOK_SHARE)).await;
    }
}

/// It is out, or is to be sent.
fn is_open(state: TargetState) -> bool {
    state.is_in_flight() || state == TargetState::Queued
}
