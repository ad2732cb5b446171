//! What people ask of the inbox: which messages there are, what one says, its bytes as they came, and that nobody need look at it
//! any more. Promise: bytes as they came are given out only after the audit trail says who asked for them.

use std::collections::BTreeMap;

use serde_json::json;

use super::{App, control::check_reason, record};
use crate::{
    clock::Time,
    duis::{self, CertificateSet, Claimed},
    failure::{Failure, Outcome},
    gateway::{
        archive::subject,
        inbox::{Filter, InboxEntry, InboxMessage, InboxState, KindCount, store as inbox},
    },
    ids::{DeviceId, RequestId},
};

/// Messages that name several devices, opened in one step: a list of 50,000 has 1.2 MB.
const PAGE_LISTS: u32 = 20;

/// Which messages somebody asks for.
#[derive(Debug, Clone, Default)]
pub struct MessageQuery {
    pub request: Option<RequestId>,
    pub device: Option<DeviceId>,
    pub kind: Option<String>,
    pub state: Option<InboxState>,
    pub reason: Option<String>,
    /// From this moment on.
    pub since: Option<Time>,
    /// Before this moment.
    pub until: Option<Time>,
}

/// One message, opened.
pub struct OpenedMessage {
    pub entry: InboxEntry,
    /// What it says, or why that cannot be read.
    pub says: Result<Claimed, String>,
    /// Whether its signature was verified when it came, or when it was replayed.
    pub verified: bool,
    /// Issuer and serial of the certificate that it names.
    pub signer: Option<(String, String)>,
}

impl App {
    /// The filter for [`App::messages`]; `None` where no message can pass it.
    pub async fn message_filter(&self, query: &MessageQuery) -> Outcome<Option<Filter>> {
        let MessageQuery { request, kind, state, reason, since, until, .. } = query.clone();
        let mut filter = Filter { request, kind, state, reason, since, until, among: None, window: None };
        if !inbox::narrow(&mut self.db.read().await?, &mut filter).await? {
            return Ok(None);
        }
        if let Some(device) = query.device {
            filter.among = Some(self.messages_naming(device, &filter).await?);
        }
        Ok(Some(filter))
    }

    /// A page of messages, newest first.
    pub async fn messages(&self, filter: &Filter, before: Option<i64>, limit: u32) -> Outcome<Vec<InboxEntry>> {
        Ok(inbox::search(&mut self.db.read().await?, filter, before, limit).await?)
    }

    /// Those about this one device are found by an index; those that may name several are opened.
    async fn messages_naming(&self, device: DeviceId, filter: &Filter) -> Outcome<Vec<i64>> {
        let mut ids = inbox::of_device(&mut self.db.read().await?, device).await?;
        let mut after = 0;
        loop {
            let page = inbox::lists(&mut self.db.read().await?, filter, after, PAGE_LISTS).await?;
            let Some(last) = page.last() else { return Ok(ids) };
            after = last.id;
            ids.extend(page.iter().filter(|m| names(m, device)).map(|m| m.id));
        }
    }

    /// How many messages wait for a person or the forwarder.
    pub async fn waiting_messages(&self) -> Outcome<BTreeMap<InboxState, u64>> {
        Ok(inbox::waiting(&mut self.db.read().await?).await?)
    }

    pub async fn message_counts(&self) -> Outcome<Vec<KindCount>> {
        Ok(inbox::counts_by_kind(&mut self.db.read().await?).await?)
    }

    /// One message and what it says.
    pub async fn open_message(&self, id: i64) -> Outcome<OpenedMessage> {
        let (entry, message) = self.stored_message(id).await?;
        let signer = message.body().ok().and_then(|bytes| duis::named_signer(&bytes));
        let verified = entry.reason.is_none() && message.is_signed();
        Ok(OpenedMessage { says: claimed(&message), verified, signer, entry })
    }

    /// The bytes of a message as they came; who asked for them is recorded first.
    pub async fn raw_message(&self, id: i64, who: &str) -> Outcome<Vec<u8>> {
        let (entry, message) = self.stored_message(id).await?;
        let bytes = message.body().map_err(|e| Failure::failed(format!("message {id} cannot be unpacked: {e}")).help(DAMAGED))?;
        let mut tx = self.db.begin().await?;
        let detail = json!({"kind": entry.kind, "bytes": bytes.len()});
        record(&mut tx, self.now(), who, "message.read-raw", format!("message {id}"), detail).await?;
        tx.commit().await?;
        Ok(bytes)
    }

    pub(super) async fn stored_message(&self, id: i64) -> Outcome<(InboxEntry, InboxMessage)> {
        inbox::show(&mut self.db.read().await?, id).await?.ok_or_else(|| no_message(id))
    }

    /// Takes messages off the operator's queue; they are kept. All of them or none.
    pub async fn dismiss_messages(&self, ids: &[i64], reason: &str, who: &str) -> Outcome<u64> {
        check_reason(reason)?;
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        let now = self.now();
        let mut tx = self.db.begin().await?;
        let done = inbox::dismiss(&mut tx, &ids, &format!("dismissed by {who}: {reason}"), now).await?;
        if let Some(id) = ids.iter().find(|id| !done.contains(id)) {
            let found = inbox::show(&mut tx, *id).await?.ok_or_else(|| no_message(*id))?;
            return Err(Failure::failed(format!("message {id} is {}: it waits for nobody", found.0.state))
                .help("nothing was dismissed; `ppmid inbox list --state unmatched` shows what waits"));
        }
        let detail = json!({"messages": ids, "reason": reason});
        record(&mut tx, now, who, "message.dismiss", format!("{} messages", ids.len()), detail).await?;
        tx.commit().await?;
        Ok(done.len() as u64)
    }
}

const DAMAGED: &str = "the database was changed past this program: compare it with a backup";

/// What a kept message says. One that is not known to be DCC's, and one of the first schema, is read as it claims to be: for people
/// to look at, and for nothing else.
fn claimed(message: &InboxMessage) -> Result<Claimed, String> {
    if message.digest.is_some() {
        return message.read(&CertificateSet::default()).map(Claimed::Response).map_err(|e| e.to_string());
    }
    let bytes = message.body().map_err(|e| e.to_string())?;
    duis::read_unverified(&bytes).map_err(|e| e.to_string())
}

fn names(message: &InboxMessage, device: DeviceId) -> bool {
    match claimed(message) {
        Ok(Claimed::Response(response)) => subject::names(&response, device),
        Ok(Claimed::Request(_)) | Err(_) => false,
    }
}

fn no_message(id: i64) -> Failure {
    Failure::failed(format!("there is no message {id}"))
        .help("`ppmid inbox list` shows them; it may have been deleted after archive.keep_months")
}
