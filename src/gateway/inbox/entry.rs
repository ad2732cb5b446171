//! What the inbox keeps of a message beside its bytes, and what is asked of it. Types only.

use crate::{
    clock::Time,
    ids::{DeviceId, RequestId},
};

crate::spelled! {
    InboxState, "a state of a message: new, settled, ignored, unmatched, failed, rejected, dismissed, forwarding or forwarded" {
        New = "new",
        Settled = "settled",
        /// Answers no request of ours.
        Ignored = "ignored",
        /// Waits for an operator.
        Unmatched = "unmatched",
        /// Could not be settled; the note says why.
        Failed = "failed",
        /// Refused when it came: not known to be DCC's. Kept within bounds (see `refused`).
        Rejected = "rejected",
        /// Taken off the operator's queue by a person.
        Dismissed = "dismissed",
        /// Answers no request of ours, and is to go on to another adapter.
        Forwarding = "forwarding",
        Forwarded = "forwarded",
    }
}

impl InboxState {
    /// Whether a person may have it verified and settled again.
    pub fn is_replayable(self) -> bool {
        match self {
            InboxState::Ignored | InboxState::Unmatched | InboxState::Failed | InboxState::Rejected | InboxState::Dismissed => {
                true
            }
            InboxState::New | InboxState::Settled | InboxState::Forwarding | InboxState::Forwarded => false,
        }
    }

    /// Whether a person may take it off the queue.
    pub fn waits_for_a_person(self) -> bool {
        match self {
            InboxState::Unmatched | InboxState::Failed | InboxState::Rejected => true,
            InboxState::New
            | InboxState::Settled
            | InboxState::Ignored
            | InboxState::Dismissed
            | InboxState::Forwarding
            | InboxState::Forwarded => false,
        }
    }
}

crate::spelled! {
    /// How a message came.
    Source, "a source: post or reply" {
        /// Posted to our receiver.
        Post = "post",
        /// The answer to a POST of ours.
        Reply = "reply",
    }
}

/// A message as it is listed: without its body.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct InboxEntry {
    pub id: i64,
    pub received_at: Time,
    pub source: Source,
    /// [`crate::duis::Response::kind`]; of one that was refused, empty.
    pub kind: String,
    pub response_code: String,
    /// The request it is about.
    pub request_id: Option<RequestId>,
    /// The device it is about, where it is one.
    pub device_id: Option<DeviceId>,
    /// Alerts it stands for.
    pub stands_for: u64,
    /// Bytes, as received.
    pub size: u64,
    pub state: InboxState,
    /// Of one that was refused: the word it is counted under.
    pub reason: Option<String>,
    pub note: Option<String>,
    pub settled_at: Option<Time>,
}

/// Which messages; what is `None` is not asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub request: Option<RequestId>,
    pub kind: Option<String>,
    pub state: Option<InboxState>,
    pub reason: Option<String>,
    /// From this moment on.
    pub since: Option<Time>,
    /// Before this moment.
    pub until: Option<Time>,
    /// None but these: what somebody found by other means, such as a device.
    pub among: Option<Vec<i64>>,
    /// The ids between which `since` and `until` lie, so that a page is found without an eye on the time: `store::narrow` says.
    pub window: Option<(i64, i64)>,
}

/// How many messages of a kind are in a state, and for how many alerts they stand.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct KindCount {
    pub kind: String,
    pub state: InboxState,
    pub messages: u64,
    pub stands_for: u64,
}
