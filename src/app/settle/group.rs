//! A group of messages, read before it is settled: what each says, the devices they name and, while the group before is written, those
//! devices' targets. Not what becomes of it.

use std::{collections::BTreeSet, sync::Arc};

use super::{Ahead, GROUP_MESSAGES, Mark};
use crate::{
    app::news::{News, news_of},
    db::Db,
    duis::{CertificateSet, Response},
    failure::Outcome,
    gateway::inbox::{self, Arrived, Fetched, InboxState},
    ids::DeviceId,
    policy::PolicySet,
};

/// A message whose sender is known again and whose meaning is read.
pub struct Read {
    pub message: Arrived,
    pub response: Response,
    pub news: News,
}

/// Messages that are settled in one transaction.
#[derive(Default)]
pub struct Group {
    pub reads: Vec<Read>,
    /// Of those that cannot be read.
    pub failed: Vec<Mark>,
    /// The devices that its messages name.
    pub devices: BTreeSet<DeviceId>,
    pub ahead: Ahead,
    /// Its last message.
    last: i64,
}

impl Group {
    pub fn len(&self) -> usize {
        self.reads.len() + self.failed.len()
    }
}

/// Reads groups by one set of policies.
pub struct Reader {
    pub db: Db,
    pub pinned: CertificateSet,
    pub policies: PolicySet,
}

impl Reader {
    /// What each message says.
    pub fn read(&self, new: Vec<Fetched>) -> Group {
        let mut group = Group { reads: Vec::with_capacity(new.len()), ..Group::default() };
        for fetched in new {
            let message = fetched.message;
            group.last = message.id;
            match fetched.read(&self.pinned) {
                Ok(response) => {
                    let news = news_of(&response, &self.policies);
                    if let News::Devices(news) = &news {
                        group.devices.extend(news.iter().map(|n| n.device));
                    }
                    group.reads.push(Read { message, response, news });
                }
                Err(e) => group.failed.push((message.id, InboxState::Failed, Some(e.to_string()))),
            }
        }
        group
    }

    /// The group after the one that is being settled, and the targets that only it speaks of.
    pub async fn next(self: Arc<Self>, current: Arc<Group>) -> Outcome<Group> {
        let new = inbox::fetch_new(&mut self.db.read().await?, current.last, GROUP_MESSAGES).await?;
        let mut group = self.read(new);
        if group.len() > 0 {
            let devices: Vec<DeviceId> = group.devices.difference(&current.devices).copied().collect();
            group.ahead = Ahead::fetch(&mut self.db.read().await?, devices).await?;
        }
        Ok(group)
    }
}
