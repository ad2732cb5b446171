//! What the incident team asks of a site is kept beside its case, and the sites that the tool handled are counted: after a file took effect,
//! and when a day begins. Until then the queries look it up themselves: slower, never wrong.

use super::App;
use crate::{
    clock::Time,
    failure::Outcome,
    keys::store::{self as cases, Copied},
};

/// Cases whose sites are looked up in one transaction.
const PAGE_CASES: usize = 1_000;

impl App {
    /// Brings the copies and the count up to date. Doing it twice changes nothing; while a file is half applied nothing is done.
    pub async fn copy_case_facts(&self) -> Outcome {
        let day = self.now().london_day();
        let mut tx = self.db.read().await?;
        let Some(imports) = cases::imports(&mut tx).await? else { return Ok(()) };
        let had = cases::copied(&mut tx).await?;
        let handled = match had.filter(|had| had.imports.keys == imports.keys) {
            Some(had) => had.handled,
            None => cases::tool_population(&mut tx, Time(i64::MAX)).await?,
        };
        drop(tx);
        let now = Copied { imports, day, handled };
        if had == Some(now) {
            return Ok(());
        }
        if had.is_none_or(|had| (had.imports.sites, had.day) != (imports.sites, day)) {
            let mut after = 0;
            loop {
                let mut tx = self.db.begin().await?;
                let page = cases::copy_page(&mut tx, after, PAGE_CASES, day).await?;
                tx.commit().await?;
                match page {
                    Some(last) => after = last,
                    None => break,
                }
            }
        }
        let mut tx = self.db.begin().await?;
        // What took effect meanwhile has an end of its own, which calls again.
        if cases::imports(&mut tx).await? == Some(imports) {
            cases::remember(&mut tx, &now).await?;
            tx.commit().await?;
        }
        Ok(())
    }
}
