//! Which requests were seen: a RequestID counts once, and each originator's counter rises. No I/O.

use std::collections::{BTreeMap, HashSet};

use super::scenario::Counters;
use crate::ids::{RequestId, UserId};

/// The highest counter accepted from each originator at one moment.
pub type Heights = BTreeMap<UserId, u64>;

/// What the ledger says of a RequestID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    New,
    Seen,
    /// A higher one was accepted before this one came.
    NotRising,
}

#[derive(Debug, Default)]
pub struct Ledger {
    accepted: HashSet<RequestId>,
    heights: Heights,
    /// RequestIDs that came once and that a fault of the scenario kept from being looked at: they may come again, late.
    kept_back: HashSet<RequestId>,
}

impl Ledger {
    pub fn heights(&self) -> Heights {
        self.heights.clone()
    }

    /// A fault of the scenario struck before the request was looked at.
    pub fn keep_back(&mut self, id: RequestId) {
        self.kept_back.insert(id);
    }

    /// `before` are the heights when the first byte of the request came: two that were under way at once may overtake.
    pub fn judge(&self, id: &RequestId, before: &Heights, rule: Counters) -> Verdict {
        if self.accepted.contains(id) {
            return Verdict::Seen;
        }
        let overtaken = before.get(&id.originator).is_some_and(|height| id.counter <= *height);
        match rule {
            Counters::Rising if overtaken && !self.kept_back.contains(id) => Verdict::NotRising,
            Counters::Rising | Counters::Unseen => Verdict::New,
        }
    }

    /// Writes down a request that is accepted.
    pub fn accept(&mut self, id: RequestId) {
        assert!(self.accepted.insert(id), "a RequestID is accepted once");
        self.kept_back.remove(&id);
        let height = self.heights.entry(id.originator).or_default();
        *height = (*height).max(id.counter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Eui;

    fn id(originator: u64, counter: u64) -> RequestId {
        RequestId { originator: Eui(originator), target: Eui(9), counter }
    }

    #[test]
    fn counters_rise_for_each_originator_by_itself() {
        let mut ledger = Ledger::default();
        ledger.accept(id(1, 10));
        let now = ledger.heights();
        let judge = |id: RequestId| ledger.judge(&id, &now, Counters::Rising);
        assert_eq!(
            [judge(id(1, 10)), judge(id(1, 9)), judge(id(1, 11)), judge(id(2, 3))],
            [Verdict::Seen, Verdict::NotRising, Verdict::New, Verdict::New]
        );
        let other_target = RequestId { target: Eui(8), ..id(1, 10) };
        assert_eq!(judge(other_target), Verdict::NotRising);
        assert_eq!(ledger.judge(&id(1, 9), &now, Counters::Unseen), Verdict::New);
    }

    #[test]
    fn what_was_under_way_at_once_or_kept_back_may_come_late() {
        let mut ledger = Ledger::default();
        let before = ledger.heights();
        ledger.keep_back(id(1, 5));
        ledger.accept(id(1, 10));
        assert_eq!(ledger.judge(&id(1, 7), &before, Counters::Rising), Verdict::New);
        assert_eq!(ledger.judge(&id(1, 7), &ledger.heights(), Counters::Rising), Verdict::NotRising);
        assert_eq!(ledger.judge(&id(1, 5), &ledger.heights(), Counters::Rising), Verdict::New);
        ledger.accept(id(1, 5));
        assert_eq!(ledger.heights()[&Eui(1)], 10);
        assert_eq!(ledger.judge(&id(1, 5), &ledger.heights(), Counters::Rising), Verdict::Seen);
    }
}
