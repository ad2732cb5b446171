//! Runs the `ppmid` program as a person does: in a folder of its own, with no configuration from outside.

use std::{
    path::Path,
    process::{Command, Stdio},
};

/// A folder that goes away with the test.
pub struct Folder {
    dir: tempfile::TempDir,
}

/// What a command answered.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Folder {
    pub fn new() -> Folder {
        Folder { dir: tempfile::tempdir().expect("a temporary folder") }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path().join(name), text).expect("a file is written");
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ppmid"));
        command.args(args).current_dir(self.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PPMID_") || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        ran(&mut self.command(args))
    }

    /// The stdout of a command that must succeed.
    pub fn done(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "ppmid {}: {}", args.join(" "), ran.err);
        ran.out
    }
}

pub fn ran(command: &mut Command) -> Ran {
    let output = command.output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("the program prints UTF-8");
    Ran { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

/// The program's manners when something is wrong: `error:` first, then `help:` lines, and no trace of its insides.
pub fn assert_polite(ran: &Ran) {
    let mut lines = ran.err.lines().skip_while(|l| !l.starts_with("error: "));
    assert!(lines.next().is_some(), "no error line: {ran:?}");
    let help: Vec<&str> = lines.collect();
    assert!(!help.is_empty() && help.iter().all(|l| l.starts_with("help: ")), "what to do is not said: {ran:?}");
    for inside in ["panicked", "backtrace", "SqliteError", "PgDatabaseError", "RUST_BACKTRACE"] {
        assert!(!ran.err.contains(inside), "{inside}: {ran:?}");
    }
}
