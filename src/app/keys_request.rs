//! Re-run requests: what is due goes to DCC's service desk, within the budget, and once. The tool is DCC's; nothing is sent to it here.

use std::collections::BTreeMap;

use serde_json::json;

use super::{App, record};
use crate::{
    db::Tx,
    failure::{Failure, Outcome},
    ids::DeviceId,
    keys::{
        self, KeyCase,
        store::{KeyAttempt, KeyEvent, KeyRequest, RequestLine},
    },
    policy::PolicySet,
};

const HOUR_MILLIS: i64 = 3_600_000;

/// Gets the lines of a request before anything is kept.
pub type WriteLines<'w> = &'w mut (dyn FnMut(&[RequestLine]) -> Outcome + 'w);

/// A re-run request that was made, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RerunRequest {
    pub lines: Vec<RequestLine>,
    /// Whether more are due than the budget of this hour allows.
    pub more_due: bool,
    /// How many more are due that the engine sends again by itself (retry.toml, `resubmit`).
    pub left_to_the_engine: usize,
    /// How many more are due whose sites are not ours today, or not loaded: DCC is not asked for those.
    pub not_ours: i64,
}

/// An earlier re-run request, written out once more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RerunAgain {
    pub lines: Vec<RequestLine>,
    /// Lines left out, since their cases have ended meanwhile: mostly because the key came.
    pub ended: usize,
}

/// The whole story of a device's cases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseStory {
    /// Oldest first.
    pub cases: Vec<KeyCase>,
    pub attempts: Vec<KeyAttempt>,
    pub requests: Vec<KeyRequest>,
    pub events: Vec<KeyEvent>,
}

impl App {
    /// Puts every case that is due, as far as the budget goes, on one re-run request. `write` gets its lines before anything is
    /// kept: where it fails, nothing was asked for. `None`: a dry run.
    pub async fn request_reruns(&self, write: Option<WriteLines<'_>>, who: &str) -> Outcome<RerunRequest> {
        let policies = self.policies()?;
        let now = self.now();
        self.wait_for_import().await?;
        let mut tx = self.db.begin().await?;
        keys::store::lock_requests(&mut tx).await?;
        let budget = self.retries_left(&mut tx, &policies).await?;
        let not_these = self.left_to_the_engine(&mut tx, &policies, now).await?;
        let own = &self.settings.organisation.mpids;
        let mut due = keys::store::due_for_request(&mut tx, own, now.london_day(), now, &not_these, budget + 1).await?;
        let more_due = due.len() > budget;
        due.truncate(budget);
        due.sort_by_key(|case| case.id);
        let run = keys::store::next_run(&mut tx).await?;
        let lines = due.iter().map(|case| RequestLine::of(run, case)).collect();
        let not_ours = keys::store::due_elsewhere(&mut tx, own, now.london_day(), now).await?;
        let request = RerunRequest { lines, more_due, left_to_the_engine: not_these.len(), not_ours };
        let Some(write) = write else { return Ok(request) };
        if request.lines.is_empty() {
            return Ok(request);
        }
        let rule = |case: &KeyCase| policies.retry.rule(case.cohort, case.last_error.as_deref()).name.clone();
        let cases: Vec<(i64, DeviceId, String)> = due.iter().map(|case| (case.id, case.device_id, rule(case))).collect();
        keys::store::ask(&mut tx, run, &cases, who, now.plus_millis(policies.retry.answer_within.millis()), now).await?;
        let devices: Vec<DeviceId> = due.iter().map(|case| case.device_id).collect();
        self.reconcile_devices(&mut tx, &devices, &policies).await?;
        let detail = json!({"lines": devices.len(), "more_due": more_due, "devices": devices});
        record(&mut tx, now, who, "keys.request", format!("re-run request {run}"), detail).await?;
        self.tell_requested(&mut tx, run, &devices).await?;
        write(&request.lines)?;
        tx.commit().await?;
        Ok(request)
    }

    /// How many more attempts of ours this hour's budget allows, re-run requests and resubmissions together.
    pub(super) async fn retries_left(&self, tx: &mut Tx, policies: &PolicySet) -> Outcome<usize> {
        let made = keys::store::made_since(tx, self.now().plus_millis(-HOUR_MILLIS)).await?;
        Ok(usize::try_from(policies.retry.budget_per_hour - made).unwrap_or(0))
    }

    /// The lines of a request that was made, as its cases are now, but for those that have ended: for a file that was lost.
    pub async fn request_again(&self, run: i64) -> Outcome<RerunAgain> {
        let mut tx = self.db.read().await?;
        let cases = keys::store::cases_of(&mut tx, run).await?;
        if cases.is_empty() {
            return Err(Failure::failed(format!("there is no re-run request {run}"))
                .help("`ppmid keys show DEVICE_ID` names those of a site"));
        }
        let cases = keys::store::by_number(&mut tx, &cases, self.now().london_day()).await?;
        let (open, ended): (Vec<&KeyCase>, Vec<&KeyCase>) = cases.iter().partition(|case| case.state.is_open());
        Ok(RerunAgain { lines: open.into_iter().map(|case| RequestLine::of(run, case)).collect(), ended: ended.len() })
    }

    /// Every case of a device, with all that was tried and done.
    pub async fn key_case_story(&self, device: DeviceId) -> Outcome<CaseStory> {
        let mut tx = self.db.read().await?;
        let filter = keys::CaseFilter { devices: vec![device], ..keys::CaseFilter::default() };
        let day = self.now().london_day();
        let (cases, _) = keys::store::list(&mut tx, &filter, (keys::CaseOrder::Case, false), day, None, 1_000).await?;
        if cases.is_empty() {
            return Err(Failure::failed(format!("the device {device} has no key case")).help(
                "`ppmid site show DEVICE_ID` tells what is known of it; `ppmid keys reopen DEVICE_ID` opens a case by hand",
            ));
        }
        let by_id: BTreeMap<i64, &KeyCase> = cases.iter().map(|c| (c.id, c)).collect();
        let ids: Vec<i64> = by_id.keys().copied().collect();
        let attempts = keys::store::attempts(&mut tx, &ids).await?;
        let requests = keys::store::requests_of(&mut tx, &ids).await?;
        let events = keys::store::events(&mut tx, &ids).await?;
        Ok(CaseStory { cases, attempts, requests, events })
    }
}
