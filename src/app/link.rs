//! How the way to DCC is: noted by the node that posts, read by whoever asks.

use super::App;
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
}
