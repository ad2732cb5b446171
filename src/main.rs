//! The `ppmid` program: parses the command line, starts telemetry, calls `cli`.

use std::process::ExitCode;

use clap::Parser;
use ppmid_orchestrator::cli;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    match runtime.block_on(cli::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            failure.help.iter().for_each(|line| eprintln!("help: {line}"));
            ExitCode::from(failure.exit.code())
        }
    }
}
