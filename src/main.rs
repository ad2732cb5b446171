//! The `ppmid` program: parses the command line, starts telemetry, calls `cli`, and turns a failure into its exit code.

use std::{
    io::{self, Write},
    panic::AssertUnwindSafe,
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use ppmid_orchestrator::{
    cli::{self, Cli},
    failure::{Exit, Failure},
    telemetry,
};

/// What still runs when the result is known (a read of stdin, say) is not waited for longer than this. Whatever it was doing is
/// safe to cut: that is what a crash does.
const STRAGGLERS_SECONDS: u64 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    telemetry::start(cli.quietness(), cli.global.verbose);
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(None) => ExitCode::from(Exit::Failed.code()),
        Err(Some(failure)) => {
            // Not `eprintln!`: a stderr that went away must not become a panic.
            let mut stderr = io::stderr().lock();
            let _ = writeln!(stderr, "error: {failure}");
            for line in &failure.help {
                let _ = writeln!(stderr, "help: {line}");
            }
            ExitCode::from(failure.exit.code())
        }
    }
}

/// Runs the command; `None` is a panic, of which the panic hook has told.
fn run(cli: Cli) -> Result<(), Option<Failure>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| {
        let failure = Failure::failed(format!("the program's threads cannot be started: {e}"));
        failure.help("raise the limit on processes (ulimit -u)")
    })?;
    let result = std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(cli::run(cli))));
    runtime.shutdown_timeout(Duration::from_secs(STRAGGLERS_SECONDS));
    result.map_err(|_| None)?.map_err(Some)
}
