//! What went wrong, told to a person: one line, then what to do about it, and the exit code it deserves.
//! Every room has its own error type; each converts into this one, which only `cli` and `http` render.

use std::fmt;

/// The exit codes of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 1: failed; the message says what to do.
    Failed,
    /// 2: wrong usage.
    Usage,
    /// 3: refused by policy; the reason code is on stderr.
    Refused,
    /// 4: a signature, hash or audit check failed.
    Untrusted,
    /// 5: done in part (rows rejected).
    Partly,
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Refused => 3,
            Exit::Untrusted => 4,
            Exit::Partly => 5,
        }
    }
}

/// An error as a user meets it: `error: message`, then `help: ...` lines.
#[derive(Debug, Clone)]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
    pub help: Vec<String>,
}

pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, message: message.into(), help: Vec::new() }
    }

    /// Exit 1.
    pub fn failed(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Failed, message)
    }

    /// Exit 2.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, message)
    }

    /// Exit 3: `code` is the contract's reason, e.g. `IMAGE_NOT_ON_CPL`.
    pub fn refused(code: &str, message: impl fmt::Display) -> Failure {
        Failure::new(Exit::Refused, format!("{code}: {message}"))
    }

    /// Exit 4.
    pub fn untrusted(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Untrusted, message)
    }

    /// Adds a line that says what to do next.
    pub fn help(mut self, line: impl Into<String>) -> Failure {
        self.help.push(line.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
