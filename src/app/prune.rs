//! The archive is kept as long as `archive.keep_months` says, and no longer. In slices: nobody waits long for the database's one
//! writer while a year's messages go.

use std::time::Duration;

use super::App;
use crate::{
    clock::Time,
    failure::Outcome,
    gateway::{inbox::store as inbox, outbox::store as outbox},
    notify::store as notify,
    schedule::store as schedules,
};

/// Between two slices: longer than a slice takes, so that whoever waits for the database gets it.
pub const SLICE_PAUSE: Duration = Duration::from_millis(100);
/// Messages deleted in one transaction: about what a group that is settled takes.
const SLICE_MESSAGES: u32 = 500;
/// Requests whose bytes are deleted in one transaction: each has megabytes.
const SLICE_REQUESTS: u32 = 10;

/// What was deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    pub messages: u64,
    pub requests: u64,
    /// Notifications and their deliveries.
    pub told: u64,
    /// Runs of schedules.
    pub runs: u64,
}

impl Pruned {
    pub fn add(&mut self, slice: Pruned) {
        self.messages += slice.messages;
        self.requests += slice.requests;
        self.told += slice.told;
        self.runs += slice.runs;
    }
}

impl App {
    /// The moment before which messages are no longer kept.
    pub fn kept_since(&self) -> Time {
        self.now().months_before(self.settings.archive_keep_months)
    }

    /// Deletes one slice of what was kept long enough: settled messages first, then the bytes of requests of campaigns that have
    /// ended. Nothing is left where nothing was deleted.
    pub async fn prune_some(&self) -> Outcome<Pruned> {
        let before = self.kept_since();
        let mut tx = self.db.begin().await?;
        let messages = inbox::prune(&mut tx, before, SLICE_MESSAGES).await?;
        let requests = match messages {
            0 => outbox::prune_postings(&mut tx, before, SLICE_REQUESTS).await?,
            _ => 0,
        };
        self.prune_ledger(&mut tx).await?;
        let told = notify::prune(&mut tx, before, SLICE_MESSAGES).await?;
        let runs = schedules::prune(&mut tx, before, SLICE_MESSAGES).await?;
        tx.commit().await?;
        Ok(Pruned { messages, requests, told, runs })
    }
}
