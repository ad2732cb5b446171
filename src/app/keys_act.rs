//! What the incident team does to key cases: one case, a filter's or a file's, in one transaction, audited with who and why.
//! Promise: nothing happens to more than one case before somebody confirmed how many.

use serde_json::json;

use super::{App, TEXT_CHARS, keys_share::Look, notify::holders, record};
use crate::{
    clock::Time,
    db::Tx,
    estate::{self, KeyResult, KeyStatus, store::KeySource},
    failure::{Failure, Outcome},
    ids::DeviceId,
    keys::{
        self, CaseFilter, CaseVerb,
        store::{Picked, applicable},
    },
    policy::PolicySet,
};

/// Most cases one command touches: more than any supplier has, and still one short transaction.
const CASES_MAX: usize = 50_000;
/// Cases written by one statement, and named by one audit event.
const GROUP_CASES: usize = 1_000;
/// Incident references are free text of this length (domain.md).
const REFERENCE_CHARS: usize = 40;

/// A verb with what it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaseAction {
    Retry,
    Escalate {
        incident: String,
        team: String,
    },
    /// `None`: nobody's.
    Assign {
        assignee: Option<String>,
    },
    Note {
        text: String,
    },
    Resolve,
    /// One of closing_reasons in retry.toml.
    Close {
        reason: String,
    },
    Reopen,
}

impl CaseAction {
    pub fn verb(&self) -> CaseVerb {
        match self {
            CaseAction::Retry => CaseVerb::Retry,
            CaseAction::Escalate { .. } => CaseVerb::Escalate,
            CaseAction::Assign { .. } => CaseVerb::Assign,
            CaseAction::Note { .. } => CaseVerb::Note,
            CaseAction::Resolve => CaseVerb::Resolve,
            CaseAction::Close { .. } => CaseVerb::Close,
            CaseAction::Reopen => CaseVerb::Reopen,
        }
    }

    fn check(&self, policies: &PolicySet) -> Outcome {
        match self {
            CaseAction::Retry | CaseAction::Resolve | CaseAction::Reopen => Ok(()),
            CaseAction::Escalate { incident, team } => {
                short("an incident reference", incident, REFERENCE_CHARS)?;
                short("a team", team, REFERENCE_CHARS)
            }
            CaseAction::Assign { assignee } => assignee.as_deref().map_or(Ok(()), |a| short("an assignee", a, REFERENCE_CHARS)),
            CaseAction::Note { text } => short("a note", text, TEXT_CHARS),
            CaseAction::Close { reason } if policies.retry.closing_reasons.contains(reason) => Ok(()),
            CaseAction::Close { reason } => Err(Failure::usage(format!("{reason:?} is no reason to close a case"))
                .help(format!("retry.toml has: {}", policies.retry.closing_reasons.join(", ")))),
        }
    }

    /// What the event says beside who and when.
    fn text(&self, why: Option<&str>) -> String {
        let said = match self {
            CaseAction::Retry | CaseAction::Resolve | CaseAction::Reopen => String::new(),
            CaseAction::Escalate { incident, team } => format!("{incident} to {team}"),
            CaseAction::Assign { assignee } => assignee.clone().unwrap_or_else(|| "nobody".into()),
            CaseAction::Note { text } => text.clone(),
            CaseAction::Close { reason } => reason.clone(),
        };
        match (said.is_empty(), why) {
            (false, Some(why)) => format!("{said}: {why}"),
            (true, Some(why)) => why.to_string(),
            (_, None) => said,
        }
    }
}

fn short(what: &str, text: &str, most: usize) -> Outcome {
    if text.trim().is_empty() || text.chars().count() > most {
        return Err(Failure::usage(format!("{what} has 1 to {most} characters")).help("shorten it, or put the rest in a note"));
    }
    Ok(())
}

/// Whether it is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meant {
    DryRun,
    /// How many cases somebody confirmed; one needs no confirmation.
    Confirmed(Option<u64>),
}

/// What came of a verb.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acted {
    /// Cases it was done to; of a dry run those it would be.
    pub done: Vec<Picked>,
    /// Devices whose first case is opened by hand.
    pub new: Vec<DeviceId>,
    /// Cases it does not apply to, and devices named that have none, with why.
    pub left: Vec<(DeviceId, String)>,
    pub dry_run: bool,
    /// Members of campaigns that join the next batch.
    pub released: u64,
}

impl Acted {
    /// Everything it was done to.
    pub fn devices(&self) -> impl Iterator<Item = DeviceId> {
        self.done.iter().map(|c| c.device).chain(self.new.iter().copied())
    }

    pub fn count(&self) -> usize {
        self.done.len() + self.new.len()
    }
}

impl App {
    /// Does `action` to the latest case of each device that `filter` names.
    pub async fn act_on_cases(
        &self,
        filter: CaseFilter,
        action: &CaseAction,
        why: Option<&str>,
        meant: Meant,
        who: &str,
    ) -> Outcome<Acted> {
        let policies = self.policies()?;
        action.check(&policies)?;
        if let Some(why) = why {
            short("--reason", why, TEXT_CHARS)?;
        }
        let filter = CaseFilter { latest: true, ..filter };
        self.wait_for_import().await?;
        let mut tx = self.db.begin().await?;
        let day = self.now().london_day();
        let picked = keys::store::pick(&mut tx, &filter, day, CASES_MAX + 1).await?;
        if picked.len() > CASES_MAX {
            return Err(Failure::usage(format!("more than {CASES_MAX} cases")).help("narrow the filter"));
        }
        let (done, not) = applicable(&picked, action.verb());
        let mut acted = Acted { done, dry_run: meant == Meant::DryRun, ..Acted::default() };
        acted.left.extend(not.into_iter().map(|(case, why)| (case.device, why)));
        if *action == CaseAction::Retry {
            self.leave_not_ours(&mut tx, &mut acted).await?;
        }
        self.without_case(&mut tx, &filter, &picked, action, &mut acted).await?;
        let count = acted.count() as u64;
        match meant {
            Meant::Confirmed(confirmed) if count > 1 && confirmed != Some(count) => {
                return Err(unconfirmed(action, count, confirmed));
            }
            Meant::DryRun => return Ok(acted),
            Meant::Confirmed(_) if count == 0 => return Ok(acted),
            Meant::Confirmed(_) => {}
        }
        self.do_it(&mut tx, action, &mut acted, why, &policies, who).await?;
        self.audit(&mut tx, &filter, action, &acted, why, who).await?;
        tx.commit().await?;
        // What a person resolved may be what the alarm waited for.
        if *action == CaseAction::Resolve && !self.cohorts_with_share_alarm(&mut self.db.read().await?).await?.is_empty() {
            self.watch_key_share(Look::Again).await?;
        }
        Ok(acted)
    }

    /// A re-run is asked for only of sites that are ours: to make another's due would promise what never comes.
    async fn leave_not_ours(&self, tx: &mut Tx, acted: &mut Acted) -> Outcome {
        let mut done = Vec::with_capacity(acted.done.len());
        for group in acted.done.chunks(GROUP_CASES) {
            let devices: Vec<DeviceId> = group.iter().map(|case| case.device).collect();
            let ours = holders(tx, &devices, &self.settings.organisation.mpids, self.now()).await?;
            let (yes, no): (Vec<Picked>, Vec<Picked>) = group.iter().partition(|case| ours.contains_key(&case.device));
            done.extend(yes);
            let why = "its site is not ours today, or not loaded: no re-run of it can be asked for";
            acted.left.extend(no.into_iter().map(|case| (case.device, why.to_string())));
        }
        acted.done = done;
        Ok(())
    }

    /// Devices named that have no case: `reopen` opens their first by hand, if the site is known; nothing else applies.
    async fn without_case(
        &self,
        tx: &mut Tx,
        filter: &CaseFilter,
        picked: &[Picked],
        action: &CaseAction,
        acted: &mut Acted,
    ) -> Outcome {
        let with: std::collections::BTreeSet<DeviceId> = picked.iter().map(|p| p.device).collect();
        let only_devices = CaseFilter { devices: Vec::new(), ..filter.clone() }.is_all();
        for device in filter.devices.iter().filter(|d| !with.contains(d)) {
            if !only_devices {
                acted.left.push((*device, "the filter does not fit it".into()));
            } else if *action != CaseAction::Reopen {
                acted.left.push((*device, "it has no case".into()));
            } else if estate::store::find_site(tx, *device).await?.is_none() {
                acted.left.push((*device, "there is no such site".into()));
            } else {
                acted.new.push(*device);
            }
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "one call, in one place")]
    async fn do_it(
        &self,
        tx: &mut Tx,
        action: &CaseAction,
        acted: &mut Acted,
        why: Option<&str>,
        policies: &PolicySet,
        who: &str,
    ) -> Outcome {
        let now = self.now();
        let devices: Vec<DeviceId> = acted.devices().collect();
        if *action == CaseAction::Resolve {
            self.lock_where_held(tx, &devices).await?;
        }
        for group in acted.done.chunks(GROUP_CASES) {
            let ids: Vec<i64> = group.iter().map(|c| c.id).collect();
            keys::store::note(tx, &ids, action.verb(), &action.text(why), who, now).await?;
            match action {
                CaseAction::Retry => keys::store::retry(tx, &ids, now).await?,
                CaseAction::Escalate { incident, team } => {
                    keys::store::escalate(tx, &ids, Some(incident), Some(team), now).await?
                }
                CaseAction::Assign { assignee } => keys::store::assign(tx, &ids, assignee.as_deref(), now).await?,
                CaseAction::Close { reason } => keys::store::close(tx, &ids, reason, now).await?,
                CaseAction::Note { .. } | CaseAction::Resolve | CaseAction::Reopen => {}
            }
        }
        if let CaseAction::Escalate { incident, team } = action {
            self.tell_escalated(tx, &devices, incident, team).await?;
        }
        for group in devices.chunks(GROUP_CASES) {
            match action {
                CaseAction::Resolve => {
                    let said = self.say(tx, group, KeyStatus::Updated, why, now).await?;
                    let done = self.reconcile_devices(tx, group, policies).await?;
                    keys::store::said_by(tx, &said, who).await?;
                    acted.released += self.release_keyed(tx, &done.resolved).await?;
                }
                CaseAction::Reopen => {
                    let said = self.say(tx, group, KeyStatus::Failed, why, now).await?;
                    self.reconcile_devices(tx, group, policies).await?;
                    keys::store::said_by(tx, &said, who).await?;
                    keys::store::inherit(tx, group).await?;
                }
                _ => {}
            }
        }
        if !acted.new.is_empty() {
            // There was no case yet whose story could say who opened this one.
            let filter = CaseFilter { devices: acted.new.clone(), latest: true, ..CaseFilter::default() };
            let first = keys::store::pick(tx, &filter, now.london_day(), acted.new.len()).await?;
            let ids: Vec<i64> = first.iter().map(|case| case.id).collect();
            keys::store::note(tx, &ids, action.verb(), &action.text(why), who, now).await?;
        }
        Ok(())
    }

    /// A person says it of these devices: a result dated now, or just after the latest where that is not earlier. Gives when.
    async fn say(
        &self,
        tx: &mut Tx,
        devices: &[DeviceId],
        status: KeyStatus,
        why: Option<&str>,
        now: Time,
    ) -> Outcome<Vec<(DeviceId, Time)>> {
        let latest: std::collections::BTreeMap<DeviceId, Time> =
            keys::store::latest_said(tx, devices).await?.into_iter().collect();
        let result = |device: &DeviceId| KeyResult {
            device_id: *device,
            attempted_at: latest.get(device).map_or(now, |at| now.max(at.plus_millis(1))),
            status,
            detail: why.map(str::to_string),
        };
        let results: Vec<KeyResult> = devices.iter().map(result).collect();
        let source = if status == KeyStatus::Updated { KeySource::Resolved } else { KeySource::Hand };
        estate::store::add_key_results(tx, &results, source).await?;
        Ok(results.iter().map(|r| (r.device_id, r.attempted_at)).collect())
    }

    #[allow(clippy::too_many_arguments, reason = "one call, in one place")]
    async fn audit(
        &self,
        tx: &mut Tx,
        filter: &CaseFilter,
        action: &CaseAction,
        acted: &Acted,
        why: Option<&str>,
        who: &str,
    ) -> Outcome {
        let devices: Vec<DeviceId> = acted.devices().collect();
        let shown = CaseFilter { devices: Vec::new(), ..filter.clone() };
        for group in devices.chunks(GROUP_CASES) {
            let subject = match group {
                [one] => format!("device {one}"),
                _ => "key cases".into(),
            };
            let detail =
                json!({"what": action.text(None), "why": why, "filter": shown, "cases": devices.len(), "devices": group});
            record(tx, self.now(), who, &format!("keys.{}", action.verb()), subject, detail).await?;
        }
        Ok(())
    }
}

fn unconfirmed(action: &CaseAction, count: u64, confirmed: Option<u64>) -> Failure {
    let verb = action.verb();
    let message = match confirmed {
        None => format!("{verb} would be done to {count} cases, and nobody confirmed that"),
        Some(n) => format!("{verb} would be done to {count} cases, not {n}"),
    };
    Failure::usage(message).help(format!("to do it to all of them: --yes {count}")).help("to see which: --dry-run")
}
