//! The command line: one file a noun. Parses, calls one verb, prints. Exit codes and error lines are the contract's.

use std::{cell::Cell, path::PathBuf};

use clap::{Parser, Subcommand, ValueEnum};

use crate::{
    app::App,
    clock::Clock,
    config::{self, Settings, Shape},
    failure::{Failure, Outcome},
    telemetry::Quietness,
};

pub mod alarm;
pub mod audit;
pub mod campaign;
pub mod database;
pub mod dcc_sim;
pub mod demo;
pub mod duis;
pub mod image;
pub mod import;
pub mod inbox;
pub mod keys;
pub mod notify;
pub mod outbox;
pub mod policy;
pub mod schedule;
pub mod serve;
pub mod site;
pub mod table;
pub mod when;
pub mod who;

#[derive(Parser)]
#[command(name = "ppmid", version, about = "Upgrades the firmware of SMETS1 in-home prepayment displays over the DCC network")]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(clap::Args)]
pub struct Global {
    /// Configuration file; absent is fine, every key has a default
    #[arg(long, global = true, default_value = "ppmid.toml", value_name = "FILE")]
    pub config: PathBuf,
    /// sqlite://FILE or postgres://USER@HOST/DATABASE
    #[arg(long, global = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// With json or csv, stdout holds that and nothing else
    #[arg(long, global = true, value_enum, default_value_t = OutputFlag::Table)]
    pub output: OutputFlag,
    /// More on stderr about what is being done
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Table,
    Json,
    Csv,
}

/// As written: `html` is a page for people, and only `keys report` makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFlag {
    Table,
    Json,
    Csv,
    Html,
}

#[derive(Subcommand)]
pub enum Command {
    Demo(demo::Args),
    Serve(serve::Args),
    DccSim(dcc_sim::Args),
    Import(import::Args),
    #[command(subcommand)]
    Image(image::Command),
    #[command(subcommand)]
    Campaign(campaign::Command),
    Halt(campaign::HaltArgs),
    #[command(subcommand)]
    Site(site::Command),
    #[command(subcommand)]
    Keys(keys::Command),
    #[command(subcommand)]
    Policy(policy::Command),
    #[command(subcommand)]
    Duis(duis::Command),
    #[command(subcommand)]
    Inbox(inbox::Command),
    #[command(subcommand)]
    Outbox(outbox::Command),
    #[command(subcommand)]
    Alarm(alarm::Command),
    #[command(subcommand)]
    Notify(notify::Command),
    #[command(subcommand)]
    Schedule(schedule::Command),
    #[command(subcommand)]
    Audit(audit::Command),
    #[command(subcommand)]
    Db(database::Command),
    Completions(database::CompletionsArgs),
}

impl Cli {
    /// A daemon tells what it does on stderr; a command is quiet.
    pub fn quietness(&self) -> Quietness {
        match &self.command {
            Command::Serve(_) | Command::DccSim(_) => Quietness::Daemon,
            _ => Quietness::Command,
        }
    }
}

/// The form that `serve --check` prints the settings in.
impl From<Output> for Shape {
    fn from(output: Output) -> Shape {
        match output {
            Output::Table => Shape::Toml,
            Output::Json => Shape::Json,
            Output::Csv => Shape::Csv,
        }
    }
}

/// What every command gets.
pub struct Context {
    pub global: Global,
    pub clock: Clock,
    /// What `serve` listens to for its end, if that began before the command line was read.
    pub early_stop: Cell<Option<serve::StopSignal>>,
}

impl Context {
    pub fn settings(&self) -> Outcome<Settings> {
        config::load(&self.global.config, self.global.database_url.as_deref())
    }

    /// The application with its database open and up to date.
    pub async fn app(&self) -> Outcome<App> {
        App::open(self.settings()?, self.clock.clone()).await
    }

    pub fn output(&self) -> Output {
        match self.global.output {
            OutputFlag::Table | OutputFlag::Html => Output::Table,
            OutputFlag::Json => Output::Json,
            OutputFlag::Csv => Output::Csv,
        }
    }

    /// Whether a page for people is wanted in place of a table.
    pub fn wants_html(&self) -> bool {
        self.global.output == OutputFlag::Html
    }
}

/// Runs one command.
pub async fn run(cli: Cli, early_stop: Option<serve::StopSignal>) -> Outcome {
    let ctx = Context { global: cli.global, clock: Clock::System, early_stop: Cell::new(early_stop) };
    if ctx.wants_html() && !matches!(cli.command, Command::Keys(keys::Command::Report(_))) {
        return Err(Failure::usage("only `ppmid keys report` makes HTML").help("--output table, json or csv"));
    }
    match cli.command {
        Command::Demo(args) => demo::run(&ctx, args).await,
        Command::Serve(args) => serve::run(&ctx, args).await,
        Command::DccSim(args) => dcc_sim::run(&ctx, args).await,
        Command::Import(args) => import::run(&ctx, args).await,
        Command::Image(command) => image::run(&ctx, command).await,
        Command::Campaign(command) => campaign::run(&ctx, command).await,
        Command::Halt(args) => campaign::halt(&ctx, args).await,
        Command::Site(command) => site::run(&ctx, command).await,
        Command::Keys(command) => keys::run(&ctx, command).await,
        Command::Policy(command) => policy::run(&ctx, command).await,
        Command::Duis(command) => duis::run(&ctx, command).await,
        Command::Inbox(command) => inbox::run(&ctx, command).await,
        Command::Outbox(command) => outbox::run(&ctx, command).await,
        Command::Alarm(command) => alarm::run(&ctx, command).await,
        Command::Notify(command) => notify::run(&ctx, command).await,
        Command::Schedule(command) => schedule::run(&ctx, command).await,
        Command::Audit(command) => audit::run(&ctx, command).await,
        Command::Db(command) => database::run(&ctx, command).await,
        Command::Completions(args) => database::completions(args),
    }
}
