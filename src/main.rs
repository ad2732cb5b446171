//! The `ppmid` program: parses the command line, starts telemetry, calls `cli`, and turns a failure into its exit code.

use std::{
    io::{self, Write},
    panic::AssertUnwindSafe,
    process::ExitCode,
};

use clap::Parser;
use ppmid_orchestrator::{
    cli::{self, Cli},
    failure::{Exit, Failure, Outcome},
    telemetry,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    telemetry::start(cli.quietness(), cli.global.verbose);
    // The panic hook has told what happened; what is left is the exit code.
    let Ok(result) = std::panic::catch_unwind(AssertUnwindSafe(|| run(cli))) else {
        return ExitCode::from(Exit::Failed.code());
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
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

fn run(cli: Cli) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| {
        Failure::failed(format!("the program's threads cannot be started: {e}")).help("raise the limit on processes (ulimit -u)")
    })?;
    runtime.block_on(cli::run(cli))
}
