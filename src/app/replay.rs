//! Messages that were not settled are tried again, after what was wrong was put right: a policy file, a certificate, this program.
//! Promise: one that was refused when it came becomes new only if it verifies now, under the certificates pinned now.

use serde_json::json;

use super::{App, record};
use crate::{
    config::Settings,
    db::Tx,
    duis::CertificateSet,
    failure::{Failure, Outcome},
    gateway::{
        authenticate::authenticate,
        inbox::{InboxEntry, InboxMessage, InboxState, store as inbox},
    },
};

/// What became of messages that were to be tried again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replayed {
    /// New: they are settled by whoever serves.
    pub queued: Vec<i64>,
    /// The same message came again since and was taken then; which it is. The one that was refused is off the queue.
    pub known: Vec<(i64, i64)>,
    /// Refused again, or not to be tried again, and why.
    pub refused: Vec<(i64, String)>,
}

impl Replayed {
    pub fn add(&mut self, other: Replayed) {
        self.queued.extend(other.queued);
        self.known.extend(other.known);
        self.refused.extend(other.refused);
    }
}

impl App {
    /// The certificates that DCC may sign under, as they are pinned now.
    pub fn pinned_now(&self) -> Outcome<CertificateSet> {
        let Settings { gateway, .. } = &*self.settings;
        let ours = CertificateSet::from_pem_files(std::slice::from_ref(&gateway.signing_certificate))?;
        let ours = ours.0.first().ok_or_else(|| Failure::failed("gateway.signing_certificate holds no certificate"))?;
        Ok(CertificateSet::of_dcc(&gateway.dcc_certificates, gateway.dcc_id, ours)?)
    }

    /// Makes messages new again, in one transaction: as many as one page of a listing.
    pub async fn replay_messages(&self, ids: &[i64], pinned: &CertificateSet, who: &str) -> Outcome<Replayed> {
        let now = self.now();
        let mut replayed = Replayed::default();
        let mut tx = self.db.begin().await?;
        for id in ids {
            match inbox::show(&mut tx, *id).await? {
                None => replayed.refused.push((*id, "there is no such message".into())),
                Some((entry, message)) => self.replay_one(&mut tx, &entry, &message, pinned, &mut replayed).await?,
            }
        }
        let detail = json!({"queued": replayed.queued, "known": replayed.known, "refused": replayed.refused.len()});
        record(&mut tx, now, who, "message.replay", format!("{} messages", ids.len()), detail).await?;
        tx.commit().await?;
        Ok(replayed)
    }

    async fn replay_one(
        &self,
        tx: &mut Tx,
        entry: &InboxEntry,
        message: &InboxMessage,
        pinned: &CertificateSet,
        replayed: &mut Replayed,
    ) -> Outcome {
        let id = entry.id;
        if !entry.state.is_replayable() {
            let why = match entry.state {
                InboxState::New => "it has not been settled yet; `ppmid serve` does that",
                InboxState::Settled => "it is settled",
                InboxState::Forwarding | InboxState::Forwarded => "it is another adapter's (receiver.forward_to)",
                InboxState::Ignored
                | InboxState::Unmatched
                | InboxState::Failed
                | InboxState::Rejected
                | InboxState::Dismissed => unreachable!("these are tried again"),
            };
            replayed.refused.push((id, why.into()));
            return Ok(());
        }
        if entry.reason.is_none() {
            replayed.queued.extend(inbox::replay(tx, &[id]).await?);
            return Ok(());
        }
        let verified = match message.body() {
            // It counts if the certificate was valid when it came, or is now: the clock may be what was wrong.
            Ok(bytes) => authenticate(bytes, pinned, entry.received_at)
                .or_else(|again| authenticate(again.bytes, pinned, self.now()))
                .map_err(|refused| format!("{}: {}", refused.reason, refused.detail)),
            Err(e) => Err(e.to_string()),
        };
        match verified {
            Err(why) => replayed.refused.push((id, why)),
            Ok(verified) => match inbox::duplicate_of(tx, id, &verified.dedupe_key).await? {
                Some(other) => {
                    let note = format!("the same message came again and was taken as message {other}");
                    inbox::dismiss(tx, &[id], &note, self.now()).await?;
                    replayed.known.push((id, other));
                }
                None => {
                    inbox::verified_since(tx, id, &verified).await?;
                    replayed.queued.push(id);
                }
            },
        }
        Ok(())
    }
}
