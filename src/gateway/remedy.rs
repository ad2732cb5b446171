//! What failed when a request was posted, and what follows from it: for the program (how soon again, whether DCC is down) and
//! for a person (a sentence). Pure. Promise: each fault has one remedy, and what may have left is never called unsent here;
//! that is [`PostOutcome`](super::PostOutcome)'s to say.

use std::{fmt, time::Duration};

/// Why a post brought no answer that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Refused, no route, no such name, or not made in time.
    NoConnection,
    /// One side's certificate is not accepted by the other, or there is no TLS where some was wanted.
    Tls,
    /// The connection ended before the answer did.
    BrokeOff,
    /// Connected, and no answer in time.
    NoAnswer,
    /// HTTP 408, 425, 429 or 503: not now.
    Busy,
    /// Any other HTTP 5xx.
    ServerError,
    /// A redirect, or something that is not HTTP.
    WrongAddress,
    /// An answer that is not signed under a pinned certificate.
    Unsigned,
    /// An answer, but not to this request, or not one that can be read.
    Unusable,
    /// HTTP 4xx without a readable Response.
    Rejected,
}

/// All of them, for tests and tables.
#[cfg(test)]
pub const FAULTS: [Fault; 10] = [
    Fault::NoConnection,
    Fault::Tls,
    Fault::BrokeOff,
    Fault::NoAnswer,
    Fault::Busy,
    Fault::ServerError,
    Fault::WrongAddress,
    Fault::Unsigned,
    Fault::Unusable,
    Fault::Rejected,
];

/// What is to be done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing: it passes, and is tried again by itself.
    RetryLater,
    /// It may have been done: the same RequestID asks DCC again, and no new one is made.
    AskBeforeRetrying,
    /// It does not pass by itself: what a person must put right.
    FixAndResubmit(&'static str),
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Remedy::RetryLater => "it is tried again by itself",
            Remedy::AskBeforeRetrying => "DCC may have the request: it is posted again under the same RequestID, never a new one",
            Remedy::FixAndResubmit(what) => what,
        })
    }
}

/// How waits between attempts grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// What passes by itself: doubled each time.
    Doubling,
    /// What waits for a person: soon as seldom as allowed.
    Steep,
}

impl Fault {
    pub fn remedy(self) -> Remedy {
        match self {
            Fault::NoConnection | Fault::Busy => Remedy::RetryLater,
            Fault::BrokeOff | Fault::NoAnswer | Fault::ServerError | Fault::Unusable => Remedy::AskBeforeRetrying,
            Fault::Tls => Remedy::FixAndResubmit(
                "correct [gateway.tls] or gateway.base_url, or have DCC correct its side; it is tried again meanwhile",
            ),
            Fault::WrongAddress => {
                Remedy::FixAndResubmit("correct gateway.base_url: it must be DCC's own address; it is tried again meanwhile")
            }
            Fault::Unsigned => Remedy::FixAndResubmit(
                "if DCC signs with a new certificate, add it to gateway.dcc_certificates; otherwise gateway.base_url is not DCC's; it is tried again meanwhile",
            ),
            Fault::Rejected => Remedy::FixAndResubmit(
                "put right what DCC says; when the devices have expired, `ppmid campaign retry` sends them in a new request",
            ),
        }
    }

    /// Whether so many of them in a row mean that DCC is down, and not that one request is amiss.
    pub fn says_down(self) -> bool {
        match self {
            Fault::NoConnection
            | Fault::Tls
            | Fault::BrokeOff
            | Fault::NoAnswer
            | Fault::Busy
            | Fault::ServerError
            | Fault::WrongAddress
            | Fault::Unsigned => true,
            // Somebody who can read requests is there.
            Fault::Unusable | Fault::Rejected => false,
        }
    }

    pub fn pace(self) -> Pace {
        match self {
            Fault::NoConnection | Fault::BrokeOff | Fault::NoAnswer | Fault::Busy | Fault::ServerError => Pace::Doubling,
            Fault::Tls | Fault::WrongAddress | Fault::Unsigned | Fault::Unusable | Fault::Rejected => Pace::Steep,
        }
    }
}

/// One failed post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub fault: Fault,
    /// What happened, in words.
    pub why: String,
    /// DCC's own wish, if it named one.
    pub retry_after: Option<Duration>,
}

impl Trouble {
    pub fn new(fault: Fault, why: impl Into<String>) -> Trouble {
        Trouble { fault, why: why.into(), retry_after: None }
    }
}

/// What happened and what follows, as it is logged and kept for whoever reads it.
impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.why, self.fault.remedy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_remedy_in_words() {
        let table: Vec<String> = FAULTS
            .iter()
            .map(|f| format!("{f:?}: down {}, {:?}; {}", f.says_down(), f.pace(), Trouble::new(*f, "why")))
            .collect();
        insta::assert_snapshot!(table.join("\n"));
    }
}
