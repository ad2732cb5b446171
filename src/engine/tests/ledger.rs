//! What the world keeps of each request that was posted: what became of its attempts as far as anybody but DCC can know, and whether it may
//! still do something to a device.

use std::collections::BTreeSet;

use super::{HOUR, world::World};
use crate::{
    clock::Time,
    ids::{RequestId, Sha256Hash},
};

/// What became of one attempt to post a request, as far as anybody but DCC can know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// It left, or may have left, and no "no" came: DCC may have it.
    MayBeThere,
    /// No connection.
    NotSent,
    /// DCC said no, and the program wrote that down.
    Refused,
    /// DCC said no; whether that was written down shows.
    Refusing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quarantine {
    None,
    /// The alert is on its way.
    Untold,
    Standing,
    Processed,
    Deleted,
}

#[derive(Debug, Clone)]
pub struct Sent {
    pub campaign: i64,
    pub sites: Vec<u64>,
    pub is_read: bool,
    pub body: Sha256Hash,
    pub posted_at: Time,
    /// From when on its devices have their time.
    pub first_at: Time,
    pub attempts: Vec<Attempt>,
    /// DCC has it.
    pub taken: bool,
    pub quarantine: Quarantine,
    /// Devices of which the program was told that they failed, or need their key.
    pub ended: BTreeSet<u64>,
}

impl Sent {
    fn may_be_there(&self) -> bool {
        self.attempts.iter().any(|a| matches!(a, Attempt::MayBeThere | Attempt::Refusing))
    }
}

impl World {
    /// Replies under way were written down: a no is a no.
    pub fn recorded(&mut self, id: RequestId, is_written: bool) {
        let sent = self.requests.get_mut(&id).expect("it is posted");
        for attempt in &mut sent.attempts {
            if *attempt == Attempt::Refusing {
                *attempt = if is_written { Attempt::Refused } else { Attempt::MayBeThere };
            }
        }
    }

    /// Requests whose refusal may not have been written down.
    pub fn refusing(&self) -> Vec<RequestId> {
        self.requests.iter().filter(|(_, s)| s.attempts.contains(&Attempt::Refusing)).map(|(id, _)| *id).collect()
    }

    /// Another request that names this site and may still do something, though the program has no reason to think that it is over:
    /// it was told no end of it, and its time is not over.
    pub fn still_open(&self, n: u64, but: RequestId, now: Time) -> Option<RequestId> {
        let answer_within = self.rules.answer_hours * HOUR;
        let open = |(id, sent): &(&RequestId, &Sent)| {
            let in_time = now.0 - sent.first_at.0 < answer_within;
            let held_back = matches!(sent.quarantine, Quarantine::Standing);
            !sent.is_read
                && **id != but
                && sent.sites.contains(&n)
                && sent.may_be_there()
                && sent.quarantine != Quarantine::Deleted
                && !sent.ended.contains(&n)
                && (in_time || held_back)
        };
        self.requests.iter().find(open).map(|(id, _)| *id)
    }
}
