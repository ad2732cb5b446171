//! The `ppmid` program: parses the command line, starts telemetry, calls `cli`, and turns a failure into its exit code.

use std::{
    io::{self, Write},
    panic::AssertUnwindSafe,
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, error::ErrorKind};
use ppmid_orchestrator::{
    cli::{self, Cli, serve::StopSignal},
    failure::{Exit, Failure},
    telemetry,
};
use tokio::runtime::{Builder, Runtime};

/// What still runs when the result is known (a read of stdin, say) is not waited for longer than this. Whatever it was doing is
/// safe to cut: that is what a crash does.
const STRAGGLERS_SECONDS: u64 = 2;

fn main() -> ExitCode {
    // A daemon that is told to stop before it has even read its command line stops cleanly too.
    let early = runtime().and_then(|r| {
        let first_word = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).skip(1).find(|a| !a.starts_with('-'));
        let stop = first_word.is_some_and(|a| a == "serve").then(|| r.block_on(async { StopSignal::listen_as_daemon() }));
        Ok((r, stop.transpose()?))
    });
    let (runtime, stop) = match early {
        Ok(early) => early,
        Err(failure) => return tell(&failure),
    };
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) if e.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand || !e.use_stderr() => e.exit(),
        Err(e) => return tell(&wrong_usage(&e.to_string())),
    };
    telemetry::start(cli.quietness(), cli.global.verbose);
    match run(cli, runtime, stop) {
        Ok(()) => ExitCode::SUCCESS,
        Err(None) => ExitCode::from(Exit::Failed.code()),
        Err(Some(failure)) => tell(&failure),
    }
}

fn tell(failure: &Failure) -> ExitCode {
    // Not `eprintln!`: a stderr that went away must not become a panic.
    let mut stderr = io::stderr().lock();
    let _ = writeln!(stderr, "error: {failure}");
    for line in &failure.help {
        let _ = writeln!(stderr, "help: {line}");
    }
    if failure.help.is_empty() && failure.exit == Exit::Usage {
        let _ = writeln!(stderr, "help: for more information, try '--help'");
    }
    ExitCode::from(failure.exit.code())
}

/// The parser's message in the form of every other error: its first paragraph is the error, each further one a line of help.
fn wrong_usage(message: &str) -> Failure {
    let mut paragraphs = message.trim().split("\n\n").map(|p| p.split_whitespace().collect::<Vec<_>>().join(" "));
    let first = paragraphs.next().unwrap_or_default();
    let failure = Failure::usage(first.strip_prefix("error: ").unwrap_or(&first));
    paragraphs.filter(|p| !p.is_empty()).fold(failure, |f, p| f.help(p.strip_prefix("tip: ").unwrap_or(&p)))
}

fn runtime() -> Result<Runtime, Failure> {
    Builder::new_multi_thread().enable_all().build().map_err(|e| {
        let failure = Failure::failed(format!("the program's threads cannot be started: {e}"));
        failure.help("raise the limit on processes (ulimit -u)")
    })
}

/// Runs the command; `None` is a panic, of which the panic hook has told.
fn run(cli: Cli, runtime: Runtime, stop: Option<StopSignal>) -> Result<(), Option<Failure>> {
    let result = std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(cli::run(cli, stop))));
    runtime.shutdown_timeout(Duration::from_secs(STRAGGLERS_SECONDS));
    result.map_err(|_| None)?.map_err(Some)
}
