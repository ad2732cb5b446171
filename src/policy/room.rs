//! What room the thresholds leave: how much more of a type of request may be sent now, when there is room again, how a batch is cut,
//! and when a queue will have gone. Pure. Promise: who sends no more than the room in it never has more than a threshold's `ours`
//! within its period at DCC, whenever between posting and `Sent::by` DCC looked at each.

use super::thresholds::{Counts, Threshold, Thresholds};
use crate::clock::Time;

/// With `counts = "devices"` a batch is cut to the room there is, but to no less than this part of what could go at once: twenty
/// crumbs tell DCC and people no more than two batches, and each is a request of megabytes.
const SMALLEST_PART: u64 = 10;

/// What was sent at one moment, or in one short stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// By then DCC had it, if it has it at all.
    pub by: Time,
    pub requests: u64,
    pub devices: u64,
}

/// How much of one threshold is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    pub threshold: Threshold,
    pub used: u64,
    /// When the first of it leaves the period.
    pub next_leaves: Option<Time>,
}

impl Use {
    pub fn left(&self) -> u64 {
        self.threshold.ours().saturating_sub(self.used)
    }
}

/// What there is room for at a moment, for one type of request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    pub at: Time,
    pub counts: Counts,
    /// One a threshold; none: there is no limit.
    pub uses: Vec<Use>,
    /// What was sent and counts, oldest first.
    sent: Vec<(Time, u64)>,
    margin_millis: i64,
}

/// How many devices a batch may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    UpTo(u64),
    /// There is no room, or less than the smallest batch worth sending.
    Wait {
        until: Time,
    },
}

impl Thresholds {
    /// The room for `request` at `at`, with what was sent of it so far.
    pub fn room(&self, request: &str, sent: &[Sent], at: Time) -> Room {
        let amount = |s: &Sent| match self.counts {
            Counts::Requests => s.requests,
            Counts::Devices => s.devices,
        };
        let mut sent: Vec<(Time, u64)> = sent.iter().map(|s| (s.by, amount(s))).collect();
        sent.sort_unstable();
        let mut room = Room { at, counts: self.counts, uses: Vec::new(), sent, margin_millis: self.margin.millis() };
        room.uses = self.of(request).map(|threshold| room.used_of(threshold)).collect();
        room
    }
}

impl Room {
    /// What was sent by `by` counts until then.
    fn leaves(&self, by: Time, threshold: &Threshold) -> Time {
        by.plus_millis(threshold.period.millis()).plus_millis(self.margin_millis)
    }

    fn used_of(&self, threshold: &Threshold) -> Use {
        let counted = self.sent.iter().filter(|(by, _)| self.leaves(*by, threshold) > self.at);
        let used = counted.clone().map(|(_, amount)| amount).sum();
        let next_leaves = counted.map(|(by, _)| self.leaves(*by, threshold)).next();
        Use { threshold: threshold.clone(), used, next_leaves }
    }

    pub fn is_limited(&self) -> bool {
        !self.uses.is_empty()
    }

    /// How much more may go now; `None`: there is no limit.
    pub fn left(&self) -> Option<u64> {
        self.uses.iter().map(Use::left).min()
    }

    /// The most that could ever go at once; `None`: there is no limit.
    pub fn most(&self) -> Option<u64> {
        self.uses.iter().map(|u| u.threshold.ours()).min()
    }

    /// The threshold that leaves least: what a person is told about.
    pub fn tightest(&self) -> Option<&Use> {
        self.uses.iter().min_by_key(|u| (u.left(), u.threshold.period))
    }

    /// When the last of these will have gone, each as soon as there is room and none before `at`; `None`: one of them never can, or
    /// there is none.
    pub fn forecast(&self, amounts: impl IntoIterator<Item = u64>) -> Option<Time> {
        let mut sent = self.sent.clone();
        // Of each threshold: what counts, and the first entry that does.
        let mut windows: Vec<(&Threshold, u64, usize)> = self.uses.iter().map(|u| (&u.threshold, 0, 0)).collect();
        for (threshold, sum, first) in &mut windows {
            *first = sent.partition_point(|(by, _)| self.leaves(*by, threshold) <= self.at);
            *sum = sent[*first..].iter().map(|(_, amount)| amount).sum();
        }
        let mut goes = None;
        for amount in amounts {
            let mut at = goes.unwrap_or(self.at);
            for (threshold, sum, first) in &mut windows {
                if amount > threshold.ours() {
                    return None;
                }
                while *sum + amount > threshold.ours() {
                    let (by, leaving) = sent[*first];
                    at = at.max(self.leaves(by, threshold));
                    *sum -= leaving;
                    *first += 1;
                }
            }
            // What the clock says was sent later than now (it was set back) stays behind what goes now.
            sent.push((at.max(sent.last().map_or(at, |(by, _)| *by)), amount));
            windows.iter_mut().for_each(|(_, sum, _)| *sum += amount);
            goes = Some(at);
        }
        goes
    }

    /// When there is room for this much; `None`: never.
    pub fn free_at(&self, amount: u64) -> Option<Time> {
        self.forecast([amount])
    }

    /// How many devices a batch may have now, of `queued` that wait (as far as anybody looked, at least up to `size`), where at most
    /// `size` go into one. What could never go at once is cut to what could; what could go whole but has less room waits until a
    /// tenth of that, or all that waits, has room.
    pub fn cut(&self, size: u64, queued: u64) -> Cut {
        let (Some(left), Some(most)) = (self.left(), self.most()) else { return Cut::UpTo(size) };
        let (go, smallest) = match self.counts {
            Counts::Requests => (size, 1),
            Counts::Devices => {
                let at_once = size.min(most);
                (size.min(left), at_once.div_ceil(SMALLEST_PART).min(queued).max(1))
            }
        };
        if left >= smallest {
            return Cut::UpTo(go);
        }
        Cut::Wait { until: self.free_at(smallest).unwrap_or(self.at) }
    }

    /// What so many queued devices count, request by request.
    pub fn amounts(&self, queued: u64, size: u64) -> impl Iterator<Item = u64> + use<> {
        let piece = match self.counts {
            Counts::Requests => size,
            Counts::Devices => size.min(self.most().unwrap_or(size)),
        }
        .max(1);
        let counts = self.counts;
        (0..queued.div_ceil(piece)).map(move |n| match counts {
            Counts::Requests => 1,
            Counts::Devices => piece.min(queued - n * piece),
        })
    }
}
