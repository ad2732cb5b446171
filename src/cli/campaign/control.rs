//! `ppmid campaign exclude|clone|retry`, and what pausing and aborting left out: what a person did to a campaign, and could not.

use std::path::PathBuf;

use super::{read_devices, table};
use crate::{
    app::{Excluded, ExcludedAs, Retried, RetryFilter, Status},
    campaign::Campaign,
    cli::{
        Context, Output,
        who::{in_the_name_of, os_user_at_host},
    },
    failure::{Failure, Outcome},
    ids::{DeviceId, ImageId},
    target::TargetState,
};

/// Devices named in the table; JSON and CSV have all.
const NAMED: usize = 20;

#[derive(clap::Args)]
pub struct ExcludeArgs {
    /// Id or name
    campaign: String,
    /// The devices in this file: one Device ID a line (- is stdin)
    #[arg(long, value_name = "FILE", required_unless_present = "device", conflicts_with = "device")]
    devices: Option<PathBuf>,
    /// This device; repeatable or comma separated
    #[arg(long, value_name = "DEVICE_ID", value_delimiter = ',')]
    device: Vec<String>,
    /// Why, in a few words; people will read it
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who asks for it
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Only look
    #[arg(long)]
    dry_run: bool,
}

#[derive(clap::Args)]
pub struct CloneArgs {
    /// Id or name of the campaign it is to be like
    campaign: String,
    /// What people call the new one; no other campaign's name
    #[arg(long)]
    name: String,
    /// Another image than that campaign's
    #[arg(long, value_name = "IMAGE_ID")]
    image: Option<String>,
}

#[derive(clap::Args)]
pub struct RetryArgs {
    /// Id or name
    campaign: String,
    /// Only devices that failed for this, e.g. E11 or ActivationFailure; repeatable or comma separated
    #[arg(long, value_name = "CAUSE", value_delimiter = ',')]
    cause: Vec<String>,
    /// Only failed, or only expired
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    state: Vec<String>,
    /// Only this wave's, by its name; repeatable or comma separated
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    wave: Vec<String>,
    /// Only look: which causes there are, and how many would be queued
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn exclude(ctx: &Context, args: ExcludeArgs) -> Outcome {
    let devices: Vec<DeviceId> = match &args.devices {
        Some(file) => read_devices(file)?,
        None => {
            let wrong = |e: crate::ids::IdError| Failure::usage(format!("--device: {e}")).help("such as 00-0B-6B-00-00-00-00-01");
            args.device.iter().map(|d| d.trim().parse()).collect::<Result<_, _>>().map_err(wrong)?
        }
    };
    let who = in_the_name_of(args.by.as_deref());
    let done = ctx.app().await?.exclude_devices(&args.campaign, &devices, &args.reason, &who, args.dry_run).await?;
    match ctx.output() {
        Output::Table => excluded(&done),
        Output::Json => table::object(Output::Json, &[], &done),
        Output::Csv => {
            let rows: Vec<Vec<String>> =
                done.devices.iter().map(|(device, what)| vec![device.to_string(), what.to_string()]).collect();
            table::print(Output::Csv, &["device_id", "result"], &rows, &rows)
        }
    }
}

fn excluded(done: &Excluded) -> Outcome {
    let n = |of| done.count(of);
    let would = if done.dry_run { "would be taken out" } else { "taken out for good" };
    table::line(format!("campaign {}: {} of {} devices {would}", done.campaign, n(ExcludedAs::TakenOut), done.devices.len()))?;
    let say = [
        (ExcludedAs::Already, "were taken out before"),
        (ExcludedAs::ShutOut, "are no members, and will not join"),
        (ExcludedAs::Ended, "have come to their end; no retry sends them again"),
        (ExcludedAs::BeyondRecall, "were sent: beyond recall, followed, not sent again"),
        (ExcludedAs::Unknown, "are known to nobody: no site has this Device ID"),
    ];
    for (what, text) in say.into_iter().filter(|(what, _)| n(*what) > 0) {
        table::line(format!("  {:>9}  {text}", n(what)))?;
        if matches!(what, ExcludedAs::BeyondRecall | ExcludedAs::Unknown) {
            for device in done.named(what).take(NAMED) {
                table::line(format!("             {device}"))?;
            }
            if n(what) > NAMED as i64 {
                table::line(format!("             and {} more: --output csv names all", n(what) - NAMED as i64))?;
            }
        }
    }
    if done.batches_dissolved > 0 {
        table::line(format!("  {} batches that had not left are made anew without them", done.batches_dissolved))?;
    }
    Ok(())
}

pub(super) async fn clone(ctx: &Context, args: CloneArgs) -> Outcome {
    let image: Option<ImageId> = args.image.map(|i| i.trim().parse()).transpose().map_err(|e: crate::ids::IdError| {
        Failure::usage(format!("--image: {e}")).help("`ppmid image list` shows the image ids")
    })?;
    let done = ctx.app().await?.clone_campaign(&args.campaign, &args.name, image, &os_user_at_host()).await?;
    // A command that creates prints the new id alone on stdout.
    let filter = serde_json::to_string(&done.filter).unwrap_or_default();
    eprintln!(
        "like campaign {}: image {}, rollout {}, at most {} devices a request, sites {filter}; a draft, to be planned and approved",
        done.like, done.image, done.rollout, done.batch_size
    );
    match ctx.output() {
        Output::Json => table::object(Output::Json, &[], &done),
        _ => table::line(done.id),
    }
}

pub(super) async fn retry(ctx: &Context, args: RetryArgs) -> Outcome {
    let mut states = Vec::new();
    for state in &args.state {
        match state.trim().parse() {
            Ok(state @ (TargetState::Failed | TargetState::Expired)) => states.push(state),
            _ => {
                return Err(
                    Failure::usage(format!("--state {state}: only failed and expired are retried")).help("--state failed")
                );
            }
        }
    }
    let filter = RetryFilter { causes: args.cause, states, waves: args.wave };
    let app = ctx.app().await?;
    let done = app.retry_some(&args.campaign, &filter, &os_user_at_host(), args.dry_run).await?;
    match ctx.output() {
        Output::Table => retried(&done),
        output => {
            let fields = [
                ("campaign", done.campaign.to_string()),
                ("meant", done.meant.to_string()),
                ("queued", done.queued.to_string()),
                ("held", done.held.to_string()),
            ];
            table::object(output, &fields, &RetriedCampaign { campaign: &app.campaign(&args.campaign).await?, done: &done })
        }
    }
}

/// The campaign after a retry, and what that did.
#[derive(serde::Serialize)]
struct RetriedCampaign<'a> {
    #[serde(flatten)]
    campaign: &'a Campaign,
    #[serde(flatten)]
    done: &'a Retried,
}

fn retried(done: &Retried) -> Outcome {
    let what = if done.dry_run { "devices would be queued again" } else { "devices queued again" };
    table::line(format!("campaign {}: {} {what}", done.campaign, done.queued))?;
    for (cause, n) in &done.by_cause {
        table::line(format!("  {n:>9}  {cause}"))?;
    }
    for cause in &done.unknown_causes {
        table::line(format!("  {:>9}  {cause}: nothing failed for it, or it was queued again before", 0))?;
    }
    for (why, n) in &done.not_retried {
        table::line(format!("  {n:>9}  not retried: {why}"))?;
    }
    if done.held > 0 {
        table::line(format!("  {:>9}  held: they go on by themselves when what stands against them has gone", done.held))?;
    }
    Ok(())
}

/// What is out, and what waits, in words: after a pause or an abort.
pub(super) fn left(status: &Status) -> String {
    let n = |of: &[TargetState]| of.iter().filter_map(|s| status.by_state.get(s)).sum::<i64>();
    let out = n(&[TargetState::Submitted, TargetState::Accepted, TargetState::Delivered]);
    let waits = n(&[TargetState::Queued, TargetState::Held]);
    match n(&[TargetState::Cancelled]) {
        0 => format!("{waits} devices wait, {out} are out and followed"),
        cancelled => format!("{cancelled} devices cancelled, {waits} wait, {out} are out: beyond recall and followed"),
    }
}
