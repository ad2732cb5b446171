//! What the program tells about itself while it runs: tracing on stderr, and the last word when it finds a fault of its own.
//! Never on stdout, which belongs to the command's result. Promise: a panic is one `error:` line and a `help:` line, no backtrace.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::EnvFilter;

/// What is told without `-v`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quietness {
    /// A command at a terminal or in a script: only what somebody should know.
    Command,
    /// A daemon: its log is how people follow it.
    Daemon,
}

/// Starts tracing and the panic hook; to be called once. `RUST_LOG` overrides `verbose` (the count of `-v`).
pub fn start(quietness: Quietness, verbose: u8) {
    let from_environment = std::env::var("RUST_LOG").ok().filter(|s| !s.is_empty());
    let filter = match from_environment {
        Some(directives) => EnvFilter::builder().parse_lossy(directives),
        None => EnvFilter::new(directives(quietness, verbose)),
    };
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(colours)
        // A stderr that went away must not stop a daemon.
        .log_internal_errors(false);
    // A second start (a test's) keeps the first subscriber.
    let _ = match quietness {
        Quietness::Daemon => subscriber.try_init(),
        Quietness::Command => subscriber.without_time().try_init(),
    };
    std::panic::set_hook(Box::new(|panic| report_panic(&message_of(panic))));
}

fn directives(quietness: Quietness, verbose: u8) -> &'static str {
    match (verbose, quietness) {
        // A slow statement is told with its SQL, which is nobody's business at a terminal.
        (0, Quietness::Command) => "warn,sqlx=error",
        (0, Quietness::Daemon) => "warn,sqlx=error,ppmid_orchestrator=info",
        (1, _) => "warn,sqlx=error,ppmid_orchestrator=debug",
        (2.., _) => "debug,ppmid_orchestrator=trace",
    }
}

/// The panic's message and place, on one line.
fn message_of(panic: &std::panic::PanicHookInfo<'_>) -> String {
    let message = panic.payload_as_str().unwrap_or("no message");
    let place = panic.location().map_or(String::new(), |l| format!(" ({}:{})", l.file(), l.line()));
    format!("{message}{place}").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn report_panic(message: &str) {
    // `print!` to a reader that has gone (`ppmid ... | head`) is no fault: the reader has what it wanted.
    if message.starts_with("failed printing to stdout") && message.contains("Broken pipe") {
        std::process::exit(0);
    }
    let mut stderr = io::stderr().lock();
    let _ = writeln!(stderr, "error: {message}");
    let _ = writeln!(stderr, "help: this is a fault of the program, not of your input: please report it");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_v_never_tells_less() {
        for quietness in [Quietness::Command, Quietness::Daemon] {
            for verbose in 0..=3 {
                assert!(EnvFilter::try_new(directives(quietness, verbose)).is_ok());
            }
        }
        assert_eq!(directives(Quietness::Command, 0), "warn,sqlx=error");
        assert_eq!(directives(Quietness::Daemon, 9), "debug,ppmid_orchestrator=trace");
    }
}
