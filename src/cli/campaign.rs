//! `ppmid campaign` and `ppmid halt`: rollouts, from creation to the brake.

use std::path::PathBuf;

use super::{
    Context, Output,
    policy::as_of,
    table,
    who::{in_the_name_of, os_user_at_host},
};
use crate::{
    app::NewCampaignRequest,
    campaign::Campaign,
    clock::Time,
    estate::{Cohort, SiteFilter},
    failure::{Failure, Outcome},
    ids::{DeviceId, ImageId},
};

mod control;
mod evidence;
pub(super) mod reads;
mod view;
mod watch;
mod waves;

/// Rollouts: create, plan, approve, start, follow, stop
#[derive(clap::Subcommand)]
pub enum Command {
    /// Create a campaign; prints its id
    #[command(
        after_help = "Examples:\n  ppmid campaign create --name spring --image 3f9c...\n  ppmid campaign create --name pilot --image 3f9c... --cohort IOC --region North --batch-size 500\n  ppmid campaign create --name spring --image 3f9c... --rollout staged --wave canary=500"
    )]
    Create(CreateArgs),
    /// List campaigns
    #[command(after_help = "Example:\n  ppmid campaign list --output json")]
    List,
    /// Decide about every site the campaign considers, and store why
    #[command(
        after_help = "Examples:\n  ppmid campaign plan spring\n  ppmid campaign plan spring --as-of 2027-01-15   (what if: shown, never approved)"
    )]
    Plan(PlanArgs),
    /// Approve the plan; never by the person who created the campaign
    #[command(after_help = "Example:\n  ppmid campaign approve spring --by jane.doe")]
    Approve(ApproveArgs),
    /// Let `ppmid serve` send what was approved
    #[command(after_help = "Example:\n  ppmid campaign start spring && ppmid serve")]
    Start(CampaignArg),
    /// How it stands
    #[command(after_help = "Examples:\n  ppmid campaign status spring\n  ppmid campaign status spring --output json")]
    Status(CampaignArg),
    /// A live view, until the campaign has ended; away from a terminal a line for each change
    #[command(
        after_help = "Examples:\n  ppmid campaign watch spring\n  ppmid campaign watch spring --every 60 >> spring.log\n  ppmid campaign watch spring --output json   (the status, a line for each change)"
    )]
    Watch(watch::WatchArgs),
    /// Send nothing more for now; what is out is followed
    #[command(after_help = "Example:\n  ppmid campaign pause spring")]
    Pause(CampaignArg),
    /// Go on after a pause or a halt
    #[command(after_help = "Example:\n  ppmid campaign resume spring")]
    Resume(CampaignArg),
    GoOn(waves::GoOnArgs),
    /// Cancel for good what has not been sent; what was sent is beyond recall and is followed
    #[command(after_help = "Example:\n  ppmid campaign abort spring")]
    Abort(CampaignArg),
    /// Take in sites that pass, or have to wait, only since the plan was made
    #[command(
        after_help = "Examples:\n  ppmid campaign top-up spring --dry-run   (how many, and why; changes nothing)\n  ppmid campaign top-up spring --by jane.doe && ppmid campaign approve spring --by john.roe"
    )]
    TopUp(TopUpArgs),
    /// Queue again what failed or expired, all of it or by its cause
    #[command(
        after_help = "Examples:\n  ppmid campaign retry spring --dry-run   (how many, by which causes)\n  ppmid campaign retry spring --cause ActivationFailure\n  ppmid campaign retry spring --state expired"
    )]
    Retry(control::RetryArgs),
    /// Take devices out of the campaign for good; what was sent is beyond recall and is followed
    #[command(
        after_help = "Examples:\n  ppmid campaign exclude spring --devices complaints.txt --reason \"open complaints\" --dry-run\n  ppmid campaign exclude spring --device 00-0B-6B-00-00-00-00-01 --reason \"customer asked\" --by jane.doe"
    )]
    Exclude(control::ExcludeArgs),
    /// Create a campaign with another's settings, never its plan or approval; prints its id
    #[command(after_help = "Example:\n  ppmid campaign clone spring --name summer --image 9d2e...")]
    Clone(control::CloneArgs),
    /// One row for every site considered
    #[command(after_help = "Example:\n  ppmid campaign targets spring --output csv > targets.csv")]
    Targets(TargetsArgs),
    Evidence(evidence::EvidenceArgs),
    /// The devices whose version is read, after their upgrade (steps.toml) or their silence, and what was heard
    #[command(
        after_help = "Examples:\n  ppmid campaign reads spring\n  ppmid campaign reads spring --state differs --output csv"
    )]
    Reads(ReadsArgs),
}

#[derive(clap::Args)]
pub struct CampaignArg {
    /// Id or name
    campaign: String,
}

#[derive(clap::Args)]
pub struct CreateArgs {
    /// What people call it; no other campaign's name
    #[arg(long)]
    name: String,
    /// Image id, as `ppmid image add` printed it
    #[arg(long, value_name = "IMAGE_ID")]
    image: String,
    /// Only these cohorts (IOC, MDS, SECURE, FOC); repeatable or comma separated
    #[arg(long, value_delimiter = ',')]
    cohort: Vec<String>,
    /// Only these device models
    #[arg(long, value_delimiter = ',')]
    model: Vec<String>,
    /// Only these regions
    #[arg(long, value_delimiter = ',')]
    region: Vec<String>,
    /// Only the devices in this file: one Device ID a line (- is stdin)
    #[arg(long, value_name = "FILE")]
    devices: Option<PathBuf>,
    /// A preset of rollout.toml
    #[arg(long, value_name = "NAME")]
    rollout: Option<String>,
    /// Most devices in one request
    #[arg(long, value_name = "N")]
    batch_size: Option<i64>,
    /// Another size for a wave of the rollout: a share (canary=0.5%), a number of sites (canary=500) or rest; repeatable
    #[arg(long, value_name = "NAME=SIZE")]
    wave: Vec<String>,
}

#[derive(clap::Args)]
pub struct PlanArgs {
    /// Id or name
    campaign: String,
    /// Decide as of this time or day: a what-if
    #[arg(long, value_name = "TIME", value_parser = as_of)]
    as_of: Option<Time>,
}

#[derive(clap::Args)]
pub struct ApproveArgs {
    /// Id or name
    campaign: String,
    /// Who approves: not who created it
    #[arg(long, value_name = "NAME")]
    by: String,
}

#[derive(clap::Args)]
pub struct TopUpArgs {
    /// Id or name
    campaign: String,
    /// Who asks for it; who approves it is another
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Only look
    #[arg(long)]
    dry_run: bool,
}

#[derive(clap::Args)]
pub struct TargetsArgs {
    /// Id or name
    campaign: String,
    /// Only targets in this state
    #[arg(long)]
    state: Option<String>,
    /// Only targets with this reason, e.g. SUPPLY_LOST
    #[arg(long)]
    reason: Option<String>,
    /// Only targets in this wave, by its name
    #[arg(long, value_name = "NAME")]
    wave: Option<String>,
}

#[derive(clap::Args)]
pub struct ReadsArgs {
    /// Id or name
    campaign: String,
    /// Only reads in this state: waiting, asked, accepted, agrees, differs or given-up
    #[arg(long)]
    state: Option<String>,
}

/// The emergency brake: one person, at once, nothing leaves any more, resends included
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  ppmid halt spring --reason \"displays go dark in Leeds\"\n  ppmid halt --all --reason \"wrong image\""
)]
pub struct HaltArgs {
    /// Id or name
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    campaign: Option<String>,
    /// Every campaign that could send
    #[arg(long)]
    all: bool,
    /// Why, in a few words; people will read it
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub async fn run(ctx: &Context, command: Command) -> Outcome {
    match command {
        Command::Create(args) => create(ctx, args).await,
        Command::List => list(ctx).await,
        Command::Plan(args) => plan(ctx, args).await,
        Command::Approve(args) => {
            let app = ctx.app().await?;
            let done = app.approve_campaign(&args.campaign, &args.by, &os_user_at_host()).await?;
            say(ctx, &done, &format!("approved by {} (asserted by {})", args.by, os_user_at_host()))
        }
        Command::Start(args) => {
            let done = ctx.app().await?.start_campaign(&args.campaign, &os_user_at_host()).await?;
            say(ctx, &done, "started; `ppmid serve` sends it")
        }
        Command::Status(args) => {
            let status = ctx.app().await?.campaign_status(&args.campaign).await?;
            view::status(ctx.output(), &status)
        }
        Command::Watch(args) => watch::run(ctx, &args).await,
        Command::Pause(args) => {
            let done = ctx.app().await?.pause_campaign(&args.campaign, &os_user_at_host()).await?;
            let left = left(ctx, &done).await?;
            say(ctx, &done, &format!("paused; nothing more is sent: {left}"))
        }
        Command::Resume(args) => {
            let done = ctx.app().await?.resume_campaign(&args.campaign, &os_user_at_host()).await?;
            say(ctx, &done, "goes on")
        }
        Command::GoOn(args) => waves::go_on(ctx, &args).await,
        Command::Abort(args) => {
            let done = ctx.app().await?.abort_campaign(&args.campaign, &os_user_at_host()).await?;
            let left = left(ctx, &done).await?;
            say(ctx, &done, &format!("aborted; nothing more is sent: {left}"))
        }
        Command::TopUp(args) => {
            let who = in_the_name_of(args.by.as_deref());
            let done = ctx.app().await?.top_up_campaign(&args.campaign, &who, args.dry_run).await?;
            view::top_up(ctx.output(), &done)
        }
        Command::Retry(args) => control::retry(ctx, args).await,
        Command::Exclude(args) => control::exclude(ctx, args).await,
        Command::Clone(args) => control::clone(ctx, args).await,
        Command::Evidence(args) => evidence::run(ctx, args).await,
        Command::Targets(args) => {
            let wanted =
                view::Wanted { state: args.state.as_deref(), reason: args.reason.as_deref(), wave: args.wave.as_deref() };
            view::targets(ctx, &args.campaign, wanted).await
        }
        Command::Reads(args) => reads::list(ctx, &args.campaign, args.state.as_deref()).await,
    }
}

pub async fn halt(ctx: &Context, args: HaltArgs) -> Outcome {
    let app = ctx.app().await?;
    let who = os_user_at_host();
    let (halted, not_halted) = match &args.campaign {
        Some(campaign) => (vec![app.halt_campaign(campaign, &args.reason, &who).await?], Vec::new()),
        None => app.halt_all(&args.reason, &who).await?,
    };
    let rows: Vec<Vec<String>> =
        halted.iter().map(|c| vec![c.id.to_string(), c.name.clone(), c.state.to_string(), args.reason.clone()]).collect();
    table::print(ctx.output(), &["id", "name", "state", "reason"], &rows, &halted)?;
    let Some((first, why)) = not_halted.first() else { return Ok(()) };
    let names: Vec<&str> = not_halted.iter().map(|(campaign, _)| campaign.name.as_str()).collect();
    Err(Failure::failed(format!(
        "{} campaigns were not halted: {}; of {}: {}",
        names.len(),
        names.join(", "),
        first.name,
        why.message
    ))
    .help("give the same command again"))
}

async fn create(ctx: &Context, args: CreateArgs) -> Outcome {
    let usage = |e: crate::ids::IdError| Failure::usage(e.to_string()).help("`ppmid campaign create --help` says what it takes");
    let filter = SiteFilter {
        cohorts: args.cohort.iter().map(|c| c.parse::<Cohort>()).collect::<Result<_, _>>().map_err(usage)?,
        models: args.model,
        regions: args.region,
        devices: match args.devices {
            Some(file) => read_devices(&file)?,
            None => Vec::new(),
        },
    };
    let image: ImageId = args.image.trim().parse().map_err(|e: crate::ids::IdError| {
        Failure::usage(format!("--image: {e}")).help("`ppmid image list` shows the image ids")
    })?;
    let app = ctx.app().await?;
    let waves = waves::sizes(&args.wave)?;
    let new = NewCampaignRequest { name: args.name, image, filter, rollout: args.rollout, batch_size: args.batch_size, waves };
    let id = app.create_campaign(new, &os_user_at_host()).await?;
    table::line(id)
}

/// One Device ID a line; blank lines and a header `device_id` are skipped.
pub(super) fn read_devices(file: &PathBuf) -> Outcome<Vec<DeviceId>> {
    let unreadable = |e: std::io::Error| {
        Failure::failed(format!("{} cannot be read: {e}", file.display())).help("check the name and that you may read it")
    };
    let text = match file.as_os_str() == "-" {
        true => std::io::read_to_string(std::io::stdin()).map_err(unreadable)?,
        false => std::fs::read_to_string(file).map_err(unreadable)?,
    };
    let mut devices = Vec::new();
    for (i, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim().trim_matches('"');
        if line.is_empty() || (i == 0 && line.eq_ignore_ascii_case("device_id")) {
            continue;
        }
        let wrong = |e| Failure::failed(format!("{}, line {}: {e}", file.display(), i + 1)).help("one Device ID a line");
        devices.push(line.parse::<DeviceId>().map_err(wrong)?);
    }
    devices.sort_unstable();
    devices.dedup();
    if devices.is_empty() {
        return Err(Failure::failed(format!("{} names no device", file.display())).help("one Device ID a line"));
    }
    Ok(devices)
}

async fn list(ctx: &Context) -> Outcome {
    let app = ctx.app().await?;
    let campaigns = crate::campaign::store::list(&mut app.db.read().await?).await?;
    let rows: Vec<Vec<String>> = campaigns
        .iter()
        .map(|c| {
            let why = c.stopped_code.clone().unwrap_or_default();
            vec![
                c.id.to_string(),
                c.name.clone(),
                c.state.to_string(),
                why,
                c.image_id.to_string(),
                c.created_by.clone(),
                c.created_at.to_string(),
            ]
        })
        .collect();
    table::print(
        ctx.output(),
        &["id", "name", "state", "stopped_by_code", "image", "created_by", "created_at"],
        &rows,
        &campaigns,
    )
}

async fn plan(ctx: &Context, args: PlanArgs) -> Outcome {
    let app = ctx.app().await?;
    let bar = view::spinner("sites decided");
    let plan = app.plan_campaign(&args.campaign, args.as_of, &os_user_at_host(), &mut |p| bar.set_position(p.sites as u64)).await;
    bar.finish_and_clear();
    view::plan(ctx.output(), &plan?)
}

async fn left(ctx: &Context, campaign: &Campaign) -> Outcome<String> {
    Ok(control::left(&ctx.app().await?.campaign_status(&campaign.id.to_string()).await?))
}

/// What a command did to a campaign: one line for people, the campaign for programs.
fn say(ctx: &Context, campaign: &Campaign, what: &str) -> Outcome {
    match ctx.output() {
        Output::Table => table::line(format!("campaign {} ({}): {what}", campaign.id, campaign.name)),
        output => table::object(
            output,
            &[("id", campaign.id.to_string()), ("name", campaign.name.clone()), ("state", campaign.state.to_string())],
            campaign,
        ),
    }
}
