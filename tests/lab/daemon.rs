//! A running `ppmid serve` (or `dcc-sim`), its log, and its end.

use std::{
    fs::File,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use super::{PATIENCE, until};

/// The contract: SIGTERM ends `serve` within ten seconds.
const SIGTERM_WITHIN: Duration = Duration::from_secs(10);
/// SIGTERM is the fifteenth signal: its bit in the mask of those a process catches.
const SIGTERM_BIT: u64 = 1 << 14;

pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    pub fn start(command: &mut Command, log: PathBuf) -> Daemon {
        let file = File::create(&log).unwrap();
        let child = command.stderr(file.try_clone().unwrap()).stdout(Stdio::from(file)).spawn().unwrap();
        Daemon { child, log }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn until_it_says(&self, words: &str) {
        until(&format!("{words:?} in the daemon's log:\n{}", self.log()), PATIENCE, || {
            assert!(self.is_running(), "the daemon ended without saying {words:?}:\n{}", self.log());
            self.log().contains(words).then_some(())
        });
    }

    /// Waits for the end that the test expects.
    pub fn until_it_ends(&mut self) -> ExitStatus {
        let log = self.log.clone();
        until("the end of a daemon", PATIENCE, || self.child.try_wait().unwrap())
            .tap(|_| assert_no_panic(&std::fs::read_to_string(log).unwrap_or_default()))
    }

    pub fn is_running(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim().starts_with('Z'))
    }

    /// Waits until the process handles SIGTERM: before that it has done nothing that could be lost.
    pub fn until_it_listens_for_signals(&self) {
        until("a handler of SIGTERM", PATIENCE, || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
            let caught = status.lines().find_map(|l| l.strip_prefix("SigCgt:"))?;
            (u64::from_str_radix(caught.trim(), 16).ok()? & SIGTERM_BIT != 0).then_some(())
        });
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// SIGHUP: read the certificate files again.
    pub fn hang_up(&self) {
        self.signal("-HUP");
    }

    /// SIGTERM, and the contract's answer to it.
    pub fn terminate(mut self) {
        let asked = Instant::now();
        self.signal("-TERM");
        let status = self.until_it_ends();
        assert_eq!(status.code(), Some(0), "after SIGTERM:\n{}", self.log());
        assert!(asked.elapsed() < SIGTERM_WITHIN, "SIGTERM took {:?}", asked.elapsed());
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        assert_no_panic(&self.log());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), self.log());
        }
    }
}

fn assert_no_panic(log: &str) {
    for inside in ["panicked", "this is a fault of the program", "RUST_BACKTRACE"] {
        assert!(!log.contains(inside), "{inside}:\n{log}");
    }
}

trait Tap: Sized {
    fn tap(self, look: impl FnOnce(&Self)) -> Self {
        look(&self);
        self
    }
}
impl Tap for ExitStatus {}
