//! The way to DCC, as people learn of it: how it is, noted by the node that posts; and which certificates came into force.

use super::{App, record};
use crate::{
    failure::Outcome,
    gateway::link::{self, Link},
};

impl App {
    pub async fn note_link(&self, link: &Link) -> Outcome {
        let mut tx = self.db.begin().await?;
        link::store::put(&mut tx, link).await?;
        tx.commit().await?;
        Ok(())
    }

    /// `None` where nobody has ever served on this database.
    pub async fn dcc_link(&self) -> Outcome<Option<Link>> {
        Ok(link::store::get(&mut self.db.read().await?).await?)
    }

    /// Another set of certificates is about to count on this node. `setting` names it.
    pub async fn note_certificates(&self, setting: &str, detail: serde_json::Value) -> Outcome {
        let mut tx = self.db.begin().await?;
        record(&mut tx, self.now(), "engine", "certificates.reload", setting.to_string(), detail).await?;
        tx.commit().await?;
        Ok(())
    }
}
