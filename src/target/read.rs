//! A read of a device's version after its upgrade: where it stands, and what an answer makes of it. Pure. Not the state of the device,
//! which only a version that agrees moves. Promise: while what became of a request is not known no other is made; a version that
//! agrees wins whenever it comes; every read ends.

use crate::clock::Time;

crate::spelled! {
    /// Where a read stands.
    ReadState, "a state of a read" {
        /// To be asked when it is due.
        Waiting = "waiting",
        /// Its request is committed: it has been posted, or may have been.
        Asked = "asked",
        /// DCC has the request; the answer is to come.
        Accepted = "accepted",
        /// The device runs the image's version.
        Agrees = "agrees",
        /// It runs another: an operator must see, but where it was silent all the while.
        Differs = "differs",
        /// No version was had. The device stays as it was.
        GivenUp = "given-up",
    }
}

crate::spelled! {
    /// Why a device is read.
    ReadCause, "a cause of a read" {
        /// DCC reported it activated, and its steps say so.
        Activation = "activation",
        /// It was silent past its deadline, and a sweep asks.
        Silence = "silence",
        /// Its deadline passed: what it runs decides whether it is sent again or given up.
        Deadline = "deadline",
    }
}

impl ReadState {
    /// An answer is still hoped for.
    pub fn is_open(self) -> bool {
        matches!(self, ReadState::Waiting | ReadState::Asked | ReadState::Accepted)
    }
}

/// What DCC or the device said to a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard<'a> {
    /// DCC has the request.
    Accepted,
    Runs(&'a str),
    /// An answer without a version, or a no that passes.
    Nothing,
    /// A no for good.
    Refused,
}

/// What an answer is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Against<'a> {
    /// The version that the campaign's image brings.
    pub version: &'a str,
    /// It answers the request that was made last, not one before.
    pub to_the_last: bool,
    /// It is what a list of DCC's says, which may lag behind the device.
    pub second_hand: bool,
}

/// Where a read stands, as far as an answer to it is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub state: ReadState,
    /// When it is to be asked (again).
    pub due_at: Time,
    pub first_asked_at: Option<Time>,
    /// Requests made.
    pub asks: i64,
    pub within_millis: i64,
}

impl Standing {
    /// When it is given up, once it was asked.
    pub fn give_up_at(&self) -> Option<Time> {
        self.first_asked_at.map(|first| first.plus_millis(self.within_millis))
    }

    /// When it may be asked again: an eighth, three eighths and seven eighths of its time after the first question, so that a read is
    /// four questions at most however long it may take. `None`: it was asked often enough.
    pub fn again_at(&self) -> Option<Time> {
        let eighths = match self.asks {
            ..=0 => 0,
            1 => 1,
            2 => 3,
            3 => 7,
            _ => return None,
        };
        self.first_asked_at.map(|first| first.plus_millis(self.within_millis / 8 * eighths))
    }

    /// Its request was committed.
    pub fn asked(self, now: Time) -> Standing {
        let first_asked_at = self.first_asked_at.or(Some(now));
        let asked = Standing { state: ReadState::Asked, first_asked_at, asks: self.asks + 1, ..self };
        Standing { due_at: asked.give_up_at().unwrap_or(now), ..asked }
    }

    /// Its request certainly never left.
    pub fn never_asked(self, due_at: Time) -> Standing {
        match self.state {
            ReadState::Asked => {
                let first_asked_at = self.first_asked_at.filter(|_| self.asks > 1);
                Standing { state: ReadState::Waiting, due_at, asks: self.asks - 1, first_asked_at, ..self }
            }
            _ => self,
        }
    }

    /// After an answer. One to an earlier request than the last counts where it names a version that agrees: what else it says is
    /// older than the question that is out.
    pub fn after(self, heard: Heard<'_>, against: Against<'_>, now: Time) -> Standing {
        use ReadState as S;
        match (self.state, heard) {
            (S::Agrees, _) => self,
            (_, Heard::Runs(version)) if version == against.version => Standing { state: S::Agrees, ..self },
            (S::Differs, _) => self,
            _ if !against.to_the_last => self,
            (S::Asked | S::Accepted, Heard::Accepted) => {
                // The give-up follows where it may not be asked again.
                let due_at = self.again_at().or(self.give_up_at()).unwrap_or(now);
                Standing { state: S::Accepted, due_at: due_at.max(now), ..self }
            }
            (S::Waiting | S::GivenUp, Heard::Accepted) => self,
            (S::Asked | S::Accepted, Heard::Runs(_)) if against.second_hand => match self.asked_again(now) {
                Standing { state: S::GivenUp, .. } => Standing { state: S::Differs, ..self },
                again => again,
            },
            (S::Waiting, Heard::Runs(_)) if against.second_hand => self,
            (_, Heard::Runs(_)) => Standing { state: S::Differs, ..self },
            (S::Asked | S::Accepted, Heard::Nothing) => self.asked_again(now),
            (S::Asked | S::Accepted, Heard::Refused) => Standing { state: S::GivenUp, ..self },
            (S::Waiting | S::GivenUp, Heard::Nothing | Heard::Refused) => self,
        }
    }

    fn asked_again(self, now: Time) -> Standing {
        match self.again_at() {
            Some(at) => Standing { state: ReadState::Waiting, due_at: at.max(now), ..self },
            None => Standing { state: ReadState::GivenUp, ..self },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: i64 = 3_600_000;
    const START: Time = Time(1_600_000_000_000);

    fn fresh() -> Standing {
        Standing { state: ReadState::Waiting, due_at: START, first_asked_at: None, asks: 0, within_millis: 48 * HOUR }
    }

    fn against(to_the_last: bool, second_hand: bool) -> Against<'static> {
        Against { version: "NEW", to_the_last, second_hand }
    }

    #[test]
    fn a_read_is_asked_after_an_eighth_three_and_seven_and_then_no_more() {
        let mut read = fresh();
        let mut hours = Vec::new();
        let mut now = START;
        while read.state == ReadState::Waiting {
            now = now.max(read.due_at);
            hours.push((now.0 - START.0) / HOUR);
            read = read.asked(now).after(Heard::Nothing, against(true, true), now);
        }
        assert_eq!((hours, read.state), (vec![0, 6, 18, 42], ReadState::GivenUp));
    }

    #[test]
    fn another_version_counts_at_once_from_the_device_and_in_the_end_from_a_list() {
        let asked = fresh().asked(START);
        assert_eq!(asked.after(Heard::Runs("OLD"), against(true, false), START).state, ReadState::Differs);
        let mut read = asked;
        for _ in 0..3 {
            read = read.after(Heard::Runs("OLD"), against(true, true), START);
            assert_eq!(read.state, ReadState::Waiting);
            read = read.asked(read.due_at);
        }
        assert_eq!(read.after(Heard::Runs("OLD"), against(true, true), START).state, ReadState::Differs);
    }

    #[test]
    fn what_never_left_was_not_asked() {
        let later = START.plus_millis(5);
        assert_eq!(fresh().asked(START).never_asked(later), Standing { due_at: later, ..fresh() });
        let twice = fresh().asked(START).after(Heard::Nothing, against(true, true), START).asked(later).never_asked(later);
        assert_eq!((twice.asks, twice.first_asked_at, twice.state), (1, Some(START), ReadState::Waiting));
    }

    #[test]
    fn every_state_against_everything_heard() {
        let heard = [Heard::Accepted, Heard::Runs("NEW"), Heard::Runs("OLD"), Heard::Nothing, Heard::Refused];
        let mut grid = String::new();
        for (to_the_last, second_hand) in [(true, false), (true, true), (false, false)] {
            grid += &format!("to the last: {to_the_last}, second hand: {second_hand}\n");
            for state in ReadState::ALL {
                let standing = Standing { state: *state, ..fresh().asked(START) };
                let cells = heard.map(|h| {
                    let next = standing.after(h, against(to_the_last, second_hand), START).state;
                    format!("{:10}", if next == *state { "." } else { next.as_str() })
                });
                grid += &format!("  {:10}{}\n", state.as_str(), cells.concat());
            }
        }
        let lines: Vec<&str> = grid.lines().map(str::trim_end).collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    fn anything() -> impl Strategy<Value = (Heard<'static>, bool, bool)> {
        let heard = vec![Heard::Accepted, Heard::Runs("NEW"), Heard::Runs("OLD"), Heard::Nothing, Heard::Refused];
        (prop::sample::select(heard), any::<bool>(), any::<bool>())
    }

    proptest! {
        /// However the answers come, it is asked four times at most, never while a request is open, and not after its time.
        #[test]
        fn every_read_ends_within_four_questions(story in prop::collection::vec((anything(), 0..HOUR * 20), 0..40), within in 8..HOUR * 100) {
            let mut read = Standing { within_millis: within, ..fresh() };
            let mut now = START;
            let mut asked = 0;
            for ((heard, last, list), pause) in story {
                now = now.plus_millis(pause);
                if read.give_up_at().is_some_and(|end| end <= now) && read.state.is_open() { break }
                if matches!(read.state, ReadState::Waiting | ReadState::Accepted) && read.due_at <= now && read.again_at().is_none_or(|at| at <= now)
                    && (read.asks == 0 || read.again_at().is_some())
                {
                    read = read.asked(now);
                    asked += 1;
                }
                read = read.after(heard, against(last, list), now);
                prop_assert!(read.asks <= 4 && asked <= 4);
                prop_assert!(read.state != ReadState::Waiting || read.asks == 0 || read.again_at().is_some());
            }
        }

        #[test]
        fn a_version_that_agrees_wins_whenever_it_comes(before in prop::collection::vec(anything(), 0..8), after in prop::collection::vec(anything(), 0..8), last: bool) {
            let mut read = fresh().asked(START);
            for (heard, last, list) in before { read = read.after(heard, against(last, list), START); }
            read = read.after(Heard::Runs("NEW"), against(last, true), START);
            for (heard, last, list) in after { read = read.after(heard, against(last, list), START); }
            prop_assert_eq!(read.state, ReadState::Agrees);
        }

        #[test]
        fn what_comes_twice_changes_nothing((heard, last, list) in anything()) {
            let once = fresh().asked(START).after(heard, against(last, list), START);
            prop_assert_eq!(once.after(heard, against(last, list), START), once);
        }
    }
}
