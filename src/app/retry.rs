//! What failed or expired is queued again, all of it or by its cause. Not what may still go on by itself, left the portfolio or was
//! taken out by a person: that is said. Promise: a page a transaction; whoever dies in between is completed by the same command.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;
use serde_json::json;

use super::{App, record};
use crate::{
    campaign::{self, Campaign, Command, store::excluded},
    db::Tx,
    failure::{Failure, Outcome},
    gateway::{outbox, quarantine},
    ids::DeviceId,
    policy::Reason,
    target::{
        Event, TargetState,
        store::{self as targets, Because, Cause, Moved, Target, Which},
    },
};

/// Targets looked at in one transaction.
const PAGE_TARGETS: usize = 5_000;
/// The cause of one that was silent past its deadline.
const SILENT: &str = "silent";
/// The cause of one of which nothing was said.
const UNSAID: &str = "unsaid";

/// Which of the failed and expired are meant. Empty: all.
#[derive(Debug, Clone, Default)]
pub struct RetryFilter {
    /// As [`cause_of`] names them, in either case.
    pub causes: Vec<String>,
    /// Failed, expired or both.
    pub states: Vec<TargetState>,
}

impl RetryFilter {
    fn takes(&self, target: &Target) -> bool {
        let cause = cause_of(target.state, target.detail.as_deref());
        (self.states.is_empty() || self.states.contains(&target.state))
            && (self.causes.is_empty() || self.causes.iter().any(|c| c.trim().eq_ignore_ascii_case(&cause)))
    }
}

crate::spelled! {
    /// Why one that is meant is not queued again.
    NotRetried, "why a device is not retried" {
        /// Its request is still open, or is in quarantine: it may yet go on by itself.
        RequestOpen = "request-open",
        /// Its site left the portfolio.
        SupplyLost = "supply-lost",
        /// A person took it out of the campaign.
        Excluded = "excluded",
    }
}

/// What a retry did, or would do.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Retried {
    pub campaign: i64,
    pub dry_run: bool,
    /// Failed and expired devices, by cause: what there is to choose from.
    pub by_cause: BTreeMap<String, i64>,
    /// Of those, the ones that are meant.
    pub meant: i64,
    pub queued: i64,
    pub not_retried: BTreeMap<NotRetried, i64>,
    /// Members that wait for what stands against them: no retry is needed, they go on by themselves.
    pub held: i64,
}

/// Why a device failed or expired, in a word: DCC's code where what it last said has one (`E11`, `S1SP21`), else the word for its
/// news (`ActivationFailure`), else `silent`.
pub fn cause_of(state: TargetState, detail: Option<&str>) -> String {
    let said = detail.unwrap_or_default();
    let words = || said.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty());
    let is_code = |w: &&str| {
        w.starts_with(|c: char| c.is_ascii_uppercase())
            && w.ends_with(|c: char| c.is_ascii_digit())
            && w.len() >= 2
            && w.len() <= 12
            && w.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
    };
    let code = words().find(is_code);
    let word = words().find(|w| w.ends_with("Failure") || w.ends_with("Failed"));
    match (code, word) {
        (Some(code), _) if state == TargetState::Failed => code.to_string(),
        (None, Some(word)) if state == TargetState::Failed => word.to_string(),
        _ if state == TargetState::Expired => SILENT.to_string(),
        _ => words().next_back().unwrap_or(UNSAID).to_string(),
    }
}

impl App {
    /// Queues again everything that failed or expired.
    pub async fn retry_campaign(&self, id_or_name: &str, who: &str) -> Outcome<(Campaign, u64)> {
        let done = self.retry_some(id_or_name, &RetryFilter::default(), who, false).await?;
        Ok((self.campaign(id_or_name).await?, done.queued as u64))
    }

    /// Queues again what failed or expired and is meant, or says what that would do.
    pub async fn retry_some(&self, id_or_name: &str, filter: &RetryFilter, who: &str, dry_run: bool) -> Outcome<Retried> {
        let campaign = self.campaign(id_or_name).await?;
        campaign.state.on(Command::Retry)?;
        let mut done = Retried { campaign: campaign.id, dry_run, ..Retried::default() };
        let Some(plan) = campaign.plan_id else { return Ok(done) };
        let mut look = self.db.read().await?;
        done.held = targets::count_by_state(&mut look, plan)
            .await?
            .into_iter()
            .find(|(state, _)| *state == TargetState::Held)
            .map_or(0, |(_, n)| n);
        drop(look);
        for state in [TargetState::Failed, TargetState::Expired] {
            let mut after = None;
            loop {
                let page = targets::in_state(&mut self.db.read().await?, plan, state, after, PAGE_TARGETS).await?;
                let Some(last) = page.last().copied() else { break };
                self.retry_page(&campaign, plan, &page, filter, who, &mut done).await?;
                after = Some(last);
            }
        }
        if let Some(unknown) = filter.causes.iter().find(|c| !done.by_cause.keys().any(|k| k.eq_ignore_ascii_case(c.trim()))) {
            let causes: Vec<&str> = done.by_cause.keys().map(String::as_str).collect();
            let there = if causes.is_empty() { "nothing failed or expired".to_string() } else { causes.join(", ") };
            return Err(Failure::failed(format!("no device failed for {unknown:?}, and {} were queued again", done.queued))
                .help(format!("the causes there are: {there}")));
        }
        Ok(done)
    }

    async fn retry_page(
        &self,
        campaign: &Campaign,
        plan: i64,
        page: &[DeviceId],
        filter: &RetryFilter,
        who: &str,
        done: &mut Retried,
    ) -> Outcome {
        if done.dry_run {
            let mut look = self.db.read().await?;
            done.queued += judge(&mut look, campaign.id, plan, page, filter, done).await?.len() as i64;
            return Ok(());
        }
        let now = self.now();
        let mut tx = self.db.begin().await?;
        let mut current = campaign::store::lock(&mut tx, campaign.id).await?;
        let read_in = current.state;
        current.state = read_in.on(Command::Retry)?;
        let chosen = judge(&mut tx, campaign.id, plan, page, filter, done).await?;
        if chosen.is_empty() {
            return Ok(());
        }
        let by_a_person = Moved::because(Because::of(Cause::Operator));
        let queued = targets::move_all(&mut tx, plan, Which::Among(&chosen), Event::Retried, by_a_person, now).await?;
        current.ended_at = None;
        campaign::store::save(&mut tx, &current, read_in).await?;
        let detail = json!({"queued": queued, "causes": filter.causes, "states": filter.states});
        record(&mut tx, now, who, "campaign.retry", current.subject(), detail).await?;
        tx.commit().await?;
        done.queued += queued as i64;
        Ok(())
    }
}

/// Counts a page by cause, and gives those that are meant and may be queued again.
async fn judge(
    tx: &mut Tx,
    campaign: i64,
    plan: i64,
    page: &[DeviceId],
    filter: &RetryFilter,
    done: &mut Retried,
) -> Outcome<Vec<DeviceId>> {
    let mut open: HashSet<i64> = outbox::open_batches(tx, campaign).await?.into_iter().collect();
    // DCC may yet go on with those.
    open.extend(quarantine::store::standing(tx).await?.iter().filter_map(|q| q.batch_id));
    let out = excluded::among(tx, campaign, page).await?;
    let mut chosen = Vec::new();
    for target in targets::find(tx, &[plan], page).await? {
        if !matches!(target.state, TargetState::Failed | TargetState::Expired) {
            continue;
        }
        *done.by_cause.entry(cause_of(target.state, target.detail.as_deref())).or_default() += 1;
        if !filter.takes(&target) {
            continue;
        }
        done.meant += 1;
        let against = if out.contains_key(&target.device) {
            Some(NotRetried::Excluded)
        } else if target.batch_id.is_some_and(|b| open.contains(&b)) {
            Some(NotRetried::RequestOpen)
        } else if target.reason == Reason::SupplyLost {
            Some(NotRetried::SupplyLost)
        } else {
            None
        };
        match against {
            Some(why) => *done.not_retried.entry(why).or_default() += 1,
            None => chosen.push(target.device),
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cause_is_a_word_of_what_dcc_said() {
        let failed = |said| cause_of(TargetState::Failed, Some(said));
        assert_eq!(failed("E11: dropped by DCC, NotEligible"), "E11");
        assert_eq!(failed("S1SPAlert: S1SP21 no room"), "S1SP21");
        assert_eq!(failed("PpmidFirmwareUpgrade: ActivationFailure"), "ActivationFailure");
        assert_eq!(failed("FirmwareDistributionFailure: listed"), "FirmwareDistributionFailure");
        assert_eq!(cause_of(TargetState::Failed, None), "unsaid");
        assert_eq!(cause_of(TargetState::Expired, Some("E11: was said before")), "silent");
    }

    proptest! {
        #[test]
        fn a_cause_is_one_word_whatever_was_said(said in ".{0,80}", failed: bool) {
            let state = if failed { TargetState::Failed } else { TargetState::Expired };
            let cause = cause_of(state, Some(&said));
            prop_assert!(!cause.is_empty() && cause.chars().all(|c| c.is_ascii_alphanumeric()), "{cause:?}");
        }
    }
}
