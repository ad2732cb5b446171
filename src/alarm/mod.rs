//! What a person must know or do, raised once while it stands and shown until somebody, or the facts, end it. Not a log of faults
//! (that is telemetry) and not a record of who did what (that is `audit`). Promise: however often a loop meets the same trouble,
//! one alarm of a kind and subject stands.

pub mod store;

use serde::Serialize;

use crate::clock::Time;

crate::spelled! {
    /// What an alarm is about.
    AlarmKind, "a kind of alarm" {
        /// The program itself halted a campaign: a refusal of contract.md came to apply, or DCC's answer stops it.
        CampaignHalted = "campaign-halted",
        /// Policies changed in what matters to a campaign that was approved with others: it sends nothing new.
        ApprovalVoid = "approval-void",
        /// The time for which a campaign was approved is over: it sends nothing new.
        ApprovalExpired = "approval-expired",
        /// Members that waited were ruled out by the product lists.
        ProductListsChanged = "product-lists-changed",
        /// So much of an anomaly detection threshold is used that DCC may warn.
        ThresholdNear = "threshold-near",
        /// All of it that is ours is used: nothing more of this type is sent for now.
        ThresholdReached = "threshold-reached",
        /// DCC holds a request of ours in quarantine: a person must say what became of it.
        Quarantined = "quarantined",
        /// DCC holds a request of another system under our User ID in quarantine.
        QuarantinedElsewhere = "quarantined-elsewhere",
        /// A device was reported activated, and a read of its version names another.
        VersionDiffers = "version-differs",
        /// DCC refuses reads, whichever device they are about: none is made for the campaign while this stands.
        ReadsRefused = "reads-refused",
        /// Sites may join a campaign by a top-up that its approved plan does not allow by itself.
        TopUpProposed = "top-up-proposed",
        /// A team's receiver was away for longer than notify.toml waits for it.
        NotificationsGivenUp = "notifications-given-up",
        /// Retries of missing keys ended without a key, and nobody sees to those cases yet.
        KeysGivenUp = "keys-given-up",
        /// More keys of a cohort are missing than chance explains.
        KeysShare = "keys-share",
        /// A wave of a campaign does not go on by itself, and nothing new of the campaign leaves.
        WaveHeld = "wave-held",
        /// A schedule's run failed, or died with its process; a run that succeeds ends this.
        ScheduleFailed = "schedule-failed",
    }
}

/// An alarm to be raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAlarm {
    pub kind: AlarmKind,
    /// What it is about, e.g. `campaign 7`: while an alarm of this kind and subject stands, it is not raised again.
    pub subject: String,
    pub campaign: Option<i64>,
    /// What happened, with its numbers.
    pub sentence: String,
    /// What to do about it.
    pub remedy: String,
}

/// An alarm as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alarm {
    pub id: i64,
    pub kind: AlarmKind,
    pub subject: String,
    pub campaign: Option<i64>,
    pub sentence: String,
    pub remedy: String,
    pub raised_at: Time,
    /// Null while it stands.
    pub ended_at: Option<Time>,
    pub ended_by: Option<String>,
    pub ended_reason: Option<String>,
}
