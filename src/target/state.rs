//! The states of one device in one campaign and the transition function. Pure.

use super::TargetState as S;
use Event as E;

crate::spelled! {
    /// Where a device stands in a campaign (contract.md, "Machine-readable results").
    TargetState, "a target state" {
        /// A member that waits: it is decided again by itself.
        Held = "held",
        /// Out; returns only by a top-up.
        Ineligible = "ineligible",
        /// To be sent.
        Queued = "queued",
        /// In a request that is committed: it has been posted, or may have been.
        Submitted = "submitted",
        /// DCC took the request.
        Accepted = "accepted",
        /// DCC said the update was requested of the device or the file reached it.
        Delivered = "delivered",
        /// The device runs the new firmware, says DCC.
        Activated = "activated",
        /// ... and a read of its version agreed.
        Verified = "verified",
        Failed = "failed",
        /// Silent past its deadline. A late success still wins.
        Expired = "expired",
        /// Never sent, or not again: its campaign was aborted, or a person took it out.
        Cancelled = "cancelled",
    }
}

impl TargetState {
    /// In a request, its end not known.
    pub fn is_in_flight(self) -> bool {
        matches!(self, S::Submitted | S::Accepted | S::Delivered)
    }

    /// Nothing more is expected of it (though DCC may still surprise us).
    pub fn is_final(self) -> bool {
        match self {
            S::Ineligible | S::Activated | S::Verified | S::Failed | S::Expired | S::Cancelled => true,
            S::Held | S::Queued | S::Submitted | S::Accepted | S::Delivered => false,
        }
    }
}

crate::spelled! {
    /// What can happen to a target. The first group is ours, the second is what DCC says.
    Event, "an event" {
        /// Decided again: passes.
        Released = "released",
        /// Decided again: must wait.
        HeldBack = "held-back",
        /// Decided again: out.
        RuledOut = "ruled-out",
        /// Taken into a campaign that had ruled it out.
        ToppedUp = "topped-up",
        /// Its request was committed.
        Sent = "sent",
        /// Its request was committed though its key is missing (retry.toml, `resubmit`).
        Resubmitted = "resubmitted",
        /// Its request certainly never left, or DCC refused it whole for a passing reason.
        Returned = "returned",
        /// DCC deleted its request in quarantine: it reached no device.
        Deleted = "deleted",
        /// As `returned`, of a resubmission: it waits for its key as before.
        Unsent = "unsent",
        /// As `deleted`, of a resubmission.
        Annulled = "annulled",
        /// Its campaign was aborted, or a person took it out.
        Cancelled = "cancelled",
        /// Its deadline passed.
        Silent = "silent",
        /// Its deadline passed, and a read says that it runs what it ran: it is sent again.
        Unchanged = "unchanged",
        /// An operator asked for another attempt.
        Retried = "retried",

        /// DCC took the request.
        Accepted = "accepted",
        /// DCC refused the request, dropped the device from it, or reported that it failed.
        Failed = "failed",
        /// DCC has no key for it: it waits, it has not failed.
        NeedsKeys = "needs-keys",
        Delivered = "delivered",
        Activated = "activated",
        /// Its version was read and is the image's.
        Verified = "verified",
    }
}

/// Our own code asked for what cannot be: a fault of the program, never of a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a target that is {from} cannot be {event}")]
pub struct IllegalTransition {
    pub from: TargetState,
    pub event: Event,
}

impl TargetState {
    /// The state after `event`. What DCC says is never illegal: it may come early, late or twice, and then changes nothing.
    pub fn on(self, event: Event) -> Result<TargetState, IllegalTransition> {
        Ok(match (self, event) {
            // The device's own truth.
            (_, E::Verified) => S::Verified,
            (S::Verified, E::Activated) => S::Verified,
            (_, E::Activated) => S::Activated,

            // What else DCC says: only what is in flight moves, and only forward.
            (S::Submitted, E::Accepted) => S::Accepted,
            (S::Submitted | S::Accepted, E::Delivered) => S::Delivered,
            (S::Submitted | S::Accepted | S::Delivered | S::Expired, E::Failed) => S::Failed,
            (S::Submitted | S::Accepted | S::Delivered | S::Expired, E::NeedsKeys) => S::Held,
            (state, E::Accepted | E::Delivered | E::Failed | E::NeedsKeys) => state,

            // What we do.
            (S::Held | S::Queued, E::Released) => S::Queued,
            (S::Held | S::Queued, E::HeldBack) => S::Held,
            (S::Held | S::Queued, E::RuledOut) => S::Ineligible,
            (S::Ineligible, E::ToppedUp) => S::Queued,
            (S::Held | S::Queued | S::Cancelled, E::Cancelled) => S::Cancelled,
            (S::Queued, E::Sent) => S::Submitted,
            (S::Held, E::Resubmitted) => S::Submitted,
            (S::Submitted, E::Returned) => S::Queued,
            (S::Submitted | S::Accepted, E::Deleted) => S::Queued,
            (S::Submitted, E::Unsent) => S::Held,
            (S::Submitted | S::Accepted, E::Annulled) => S::Held,
            (S::Submitted | S::Accepted | S::Delivered, E::Silent) => S::Expired,
            (S::Submitted | S::Accepted | S::Delivered, E::Unchanged) => S::Queued,
            (S::Failed | S::Expired, E::Retried) => S::Queued,
            (
                from,
                E::Released
                | E::HeldBack
                | E::RuledOut
                | E::ToppedUp
                | E::Cancelled
                | E::Sent
                | E::Resubmitted
                | E::Returned
                | E::Deleted
                | E::Unsent
                | E::Annulled
                | E::Silent
                | E::Unchanged
                | E::Retried,
            ) => {
                return Err(IllegalTransition { from, event });
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_state_against_every_event() {
        let mut grid = format!("{:12}", "");
        for event in Event::ALL {
            grid += &format!("{:12}", event.as_str());
        }
        for state in TargetState::ALL {
            grid += &format!("\n{:12}", state.as_str());
            for event in Event::ALL {
                let cell = match state.on(*event) {
                    Ok(next) if next == *state => ".".to_string(),
                    Ok(next) => next.to_string(),
                    Err(_) => "-".to_string(),
                };
                grid += &format!("{cell:12}");
            }
        }
        let lines: Vec<_> = grid.lines().map(str::trim_end).collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    fn dcc_says() -> impl Strategy<Value = Event> {
        prop::sample::select(vec![E::Accepted, E::Failed, E::NeedsKeys, E::Delivered, E::Activated, E::Verified])
    }

    proptest! {
        #[test]
        fn nothing_dcc_says_is_illegal(state in prop::sample::select(TargetState::ALL), event in dcc_says()) {
            prop_assert!(state.on(event).is_ok());
        }

        #[test]
        fn a_success_wins_whenever_it_comes(before in prop::collection::vec(dcc_says(), 0..6), after in prop::collection::vec(dcc_says(), 0..6), late: bool, sent: bool, ours in prop::sample::select(vec![E::Silent, E::Unchanged])) {
            let mut state = S::Submitted;
            for event in before { state = state.on(event).unwrap(); }
            if late && state.is_in_flight() { state = state.on(ours).unwrap(); }
            // Queued again it may have been sent again, or not yet.
            if sent && state == S::Queued { state = state.on(E::Sent).unwrap(); }
            state = state.on(E::Activated).unwrap();
            for event in after { state = state.on(event).unwrap(); }
            prop_assert!(matches!(state, S::Activated | S::Verified));
        }

        #[test]
        fn what_came_twice_changes_nothing(state in prop::sample::select(TargetState::ALL), event in dcc_says()) {
            let once = state.on(event).unwrap();
            prop_assert_eq!(once.on(event).unwrap(), once);
        }

        #[test]
        fn news_of_one_request_ends_the_same_in_any_order(order in Just(vec![E::Accepted, E::Delivered, E::Accepted, E::Activated]).prop_shuffle()) {
            let end = order.into_iter().fold(S::Submitted, |s, e| s.on(e).unwrap());
            prop_assert_eq!(end, S::Activated);
        }
    }
}
