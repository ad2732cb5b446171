//! What the teams of our own market participants are told: kept in an outbox with what it tells, then delivered to each team once.
//! Not an alarm (that stands until it ends) and not the sending (that is `app` and `engine`). Promise: what is told names no MPAN,
//! a device only where a case is about it, and of a site nothing to anybody but the participant that holds it.

mod masks;
mod payload;
mod signature;
pub mod store;
#[cfg(test)]
mod tests;

use serde::Serialize;
use serde_json::Value;

use crate::{
    clock::Time,
    ids::{DeviceId, Mpid},
};

pub use crate::policy::{NotifyKind, Team};
pub use payload::{Payload, TEST_KIND, test_payload};
pub use signature::{SIGNATURE_HEADER, signature};

/// Numbers that go with a sentence, by name. Whole numbers alone, so that nothing about a person is among them.
pub type Numbers = Vec<(&'static str, i64)>;

/// What became of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaseNews {
    Opened,
    Escalated,
    Resolved,
}

/// To whom something is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Every team of ours that asked for it, but for one that cannot be told.
    Own { but_not: Option<String> },
    /// The teams of the own MPID that is registered for the site of this device.
    HolderOf(DeviceId),
    /// The teams of one own MPID.
    Of(Mpid),
}

/// Something to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    pub kind: NotifyKind,
    pub audience: Audience,
    /// e.g. `campaign 7`; of a case its device.
    pub subject: String,
    /// What happened.
    pub sentence: String,
    /// What to do about it; empty where nothing is.
    pub remedy: String,
    pub numbers: Numbers,
}

impl Notification {
    /// For the teams of whoever of us holds the site, and for nobody where none of us does.
    pub fn of_case(news: CaseNews, device: DeviceId, sentence: String, remedy: String, numbers: Numbers) -> Notification {
        let kind = match news {
            CaseNews::Opened => NotifyKind::CaseOpened,
            CaseNews::Escalated => NotifyKind::CaseEscalated,
            CaseNews::Resolved => NotifyKind::CaseResolved,
        };
        Notification { kind, audience: Audience::HolderOf(device), subject: device.to_string(), sentence, remedy, numbers }
    }

    /// For every own team.
    pub fn of_campaign(campaign: i64, sentence: String, remedy: String, numbers: Numbers) -> Notification {
        let audience = Audience::Own { but_not: None };
        let subject = format!("campaign {campaign}");
        Notification { kind: NotifyKind::CampaignWaits, audience, subject, sentence, remedy, numbers }
    }

    /// For the teams of an MPID whose sites are on a re-run request.
    pub fn of_rerun(run: i64, mpid: Mpid, sentence: String, remedy: String, numbers: Numbers) -> Notification {
        let (kind, audience) = (NotifyKind::RerunRequested, Audience::Of(mpid));
        Notification { kind, audience, subject: format!("re-run request {run}"), sentence, remedy, numbers }
    }

    /// For every own team but one that cannot be told.
    pub fn of_alarm(
        subject: String,
        sentence: String,
        remedy: String,
        numbers: Numbers,
        but_not: Option<String>,
    ) -> Notification {
        Notification { kind: NotifyKind::Alarm, audience: Audience::Own { but_not }, subject, sentence, remedy, numbers }
    }
}

/// A notification as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub id: i64,
    pub kind: NotifyKind,
    pub to: Whom,
    pub subject: String,
    pub sentence: String,
    pub remedy: String,
    pub numbers: Value,
    pub happened_at: Time,
}

/// To whom a stored notification goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    Own {
        but_not: Option<String>,
    },
    /// One MPID: of a site the one that held it when it happened, or was first known to; `None`: nobody of us as yet.
    Holder(Option<Mpid>),
}

impl Stored {
    /// Whether a team is told of it.
    pub fn is_for(&self, team: &Team) -> bool {
        team.events.contains(&self.kind)
            && match &self.to {
                Whom::Own { but_not } => but_not.as_ref() != Some(&team.name),
                Whom::Holder(mpid) => *mpid == Some(team.mpid),
            }
    }
}

crate::spelled! {
    /// Where a delivery stands.
    DeliveryState, "a delivery's state: pending, delivered or given_up" {
        Pending = "pending",
        /// The receiver answered 2xx.
        Delivered = "delivered",
        GivenUp = "given_up",
    }
}

/// Whether those behind a delivery wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aside {
    /// They do.
    No,
    /// The receiver failed at it often: the next is tried, to see whether it is this one's fault.
    PassedOver,
    /// The receiver says no to it.
    Refused,
}

impl Aside {
    const ALL: [Aside; 3] = [Aside::No, Aside::PassedOver, Aside::Refused];

    fn to_db(self) -> i64 {
        self as i64
    }
}

/// One notification on its way to one team.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Delivery {
    pub id: i64,
    pub notification: i64,
    pub kind: NotifyKind,
    pub subject: String,
    pub team: String,
    pub mpid: Mpid,
    /// The Idempotency-Key.
    pub key: String,
    /// What is posted, byte for byte.
    #[serde(skip)]
    pub body: String,
    pub state: DeliveryState,
    /// Made since it is pending.
    pub attempts: u32,
    /// Whether those behind it wait for it.
    pub aside: Aside,
    /// Null once it has ended.
    pub next_attempt: Option<Time>,
    pub last_error: Option<String>,
    pub pending_since: Time,
    pub ended_at: Option<Time>,
}
