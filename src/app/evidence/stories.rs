//! The stories of a plan's targets as rows: what was decided of each and by what, what it was before, and the facts on file. Read a page
//! at a time, each in a short transaction of its own. Promise: the story of each device has no gap and ends with the row in force when
//! its last page was read; a device that moves while others are read is told as it was at its turn.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    path::Path,
};

use super::{
    super::{
        App,
        story::{decides, who},
    },
    table::{Table, cell},
};
use crate::{
    campaign::Plan,
    db::Tx,
    evidence::Pack,
    failure::Outcome,
    ids::DeviceId,
    policy::{self, Reason},
    target::{
        TargetState,
        store::{
            history::{self, Cause, Step},
            proof,
        },
    },
};

/// Steps read in one transaction: some 50 ms. In tests so few that stories lie across pages.
const PAGE_STEPS: i64 = if cfg!(test) { 3 } else { 5_000 };

const DECISIONS: [&str; 22] = [
    "device_id",
    "version",
    "state",
    "reason",
    "since",
    "moved_by",
    "moved_by_ref",
    "batch",
    "attempts",
    "detail",
    "decided_state",
    "rule",
    "decided_at",
    "decided_by",
    "who",
    "registration_supplier",
    "registration_from",
    "cpl_fact",
    "key_result_at",
    "policies",
    "fact",
    "registration_to",
];
const HISTORY: [&str; 18] = [
    "device_id",
    "version",
    "state",
    "reason",
    "since",
    "moved_by",
    "moved_by_ref",
    "batch",
    "attempts",
    "detail",
    "who",
    "registration_supplier",
    "registration_from",
    "cpl_fact",
    "key_result_at",
    "policies",
    "fact",
    "registration_to",
];
const REGISTRATIONS: [&str; 6] = ["device_id", "mpan", "supplier_mpid", "effective_from", "effective_to", "on_file"];
const KEYS: [&str; 5] = ["device_id", "attempted_at", "status", "detail", "source"];

/// What the stories named: what else belongs into the pack.
#[derive(Default)]
pub(super) struct Named {
    pub by_state: BTreeMap<TargetState, u64>,
    pub by_reason: BTreeMap<Reason, u64>,
    /// `policy_sets.id` and the set's hash.
    pub policies: BTreeMap<i64, String>,
    /// `cpl_facts.id`.
    pub cpl: BTreeSet<i64>,
    /// `inbox.id`, with repeats.
    pub messages: Vec<i64>,
    pub targets: u64,
    pub earlier_steps: u64,
    pub registrations: u64,
    pub key_results: u64,
}

/// A device whose story is being read: the last step so far, and the last decision where that was an earlier one.
struct Open {
    now: Step,
    decision: Option<Step>,
}

struct Stories<'a> {
    planner: &'a str,
    decisions: Table,
    history: Table,
    registrations: Table,
    keys: Table,
    named: Named,
    open: Option<Open>,
    /// The last device whose story is whole, and the last whose facts were looked up.
    told: Option<DeviceId>,
    looked_up: Option<DeviceId>,
}

/// Reads every story of the plan into the pack. `progress` is told how many devices are told.
pub(super) async fn tell(
    app: &App,
    plan: &Plan,
    pack: &mut Pack,
    folder: &Path,
    progress: &mut dyn FnMut(u64),
) -> Outcome<Named> {
    let mut stories = Stories {
        planner: &plan.created_by,
        decisions: Table::new(folder, &DECISIONS)?,
        history: Table::new(folder, &HISTORY)?,
        registrations: Table::new(folder, &REGISTRATIONS)?,
        keys: Table::new(folder, &KEYS)?,
        named: Named::default(),
        open: None,
        told: None,
        looked_up: None,
    };
    let mut after = None;
    loop {
        let mut tx = app.db.read().await?;
        let page = history::page(&mut tx, plan.id, after, None, PAGE_STEPS).await?;
        let ended = (page.len() as i64) < PAGE_STEPS;
        after = page.last().map(|s| (s.device, s.version));
        stories.learn_policies(&mut tx, &page).await?;
        for step in page {
            stories.take(step)?;
        }
        if ended {
            stories.close()?;
        }
        stories.look_up(&mut tx, plan.id).await?;
        progress(stories.named.targets);
        if ended {
            return stories.finish(pack);
        }
    }
}

impl Stories<'_> {
    async fn learn_policies(&mut self, tx: &mut Tx, page: &[Step]) -> Outcome {
        for id in page.iter().filter_map(|s| s.policy_set) {
            if let Entry::Vacant(new) = self.named.policies.entry(id) {
                new.insert(policy::store::hash_of(tx, id).await?.unwrap_or_default());
            }
        }
        Ok(())
    }

    fn take(&mut self, step: Step) -> Outcome {
        self.named.cpl.extend(step.cpl_fact);
        if step.cause == Some(Cause::Message) {
            self.named.messages.extend(step.cause_ref);
        }
        match self.open.take_if(|open| open.now.device == step.device) {
            None => {
                self.close()?;
                self.open = Some(Open { now: step, decision: None });
            }
            Some(Open { now: before, decision }) => {
                self.earlier(&before)?;
                let decision = match (decides(step.cause), decision) {
                    (true, _) => None,
                    (false, Some(earlier)) => Some(earlier),
                    (false, None) => Some(before),
                };
                self.open = Some(Open { now: step, decision });
            }
        }
        Ok(())
    }

    /// Writes the row of the device that was read last.
    fn close(&mut self) -> Outcome {
        let Some(Open { now, decision }) = self.open.take() else { return Ok(()) };
        let decided = decision.as_ref().unwrap_or(&now);
        let rule = [decided.state.as_str(), decided.reason.as_str(), &decided.at.to_string(), moved_by(decided.cause)]
            .map(str::to_string);
        let basis = self.basis(decided);
        self.decisions.cells(standing(&now).iter().chain(&rule).chain(&basis).map(String::as_str))?;
        *self.named.by_state.entry(now.state).or_default() += 1;
        *self.named.by_reason.entry(now.reason).or_default() += 1;
        self.named.targets += 1;
        self.told = Some(now.device);
        Ok(())
    }

    /// Writes a row for a step that another followed.
    fn earlier(&mut self, step: &Step) -> Outcome {
        let basis = self.basis(step);
        self.history.cells(standing(step).iter().chain(&basis).map(String::as_str))
    }

    /// What a step went by: who, supplier, its first day, product list entry, key result, policies, the fact, and the last of it, the registration's end.
    fn basis(&self, step: &Step) -> [String; 8] {
        let (supplier, from) = step.registration.unzip();
        let policies = step.policy_set.and_then(|id| self.named.policies.get(&id).cloned());
        [
            who(step.cause, self.planner).to_string(),
            cell(supplier),
            cell(from),
            cell(step.cpl_fact),
            cell(step.key_result_at),
            policies.unwrap_or_default(),
            step.fact.clone().unwrap_or_default(),
            cell(step.registration_to),
        ]
    }

    /// The facts on file of the devices whose stories became whole since the last time.
    async fn look_up(&mut self, tx: &mut Tx, plan: i64) -> Outcome {
        let Some(up_to) = self.told.filter(|told| self.looked_up != Some(*told)) else { return Ok(()) };
        for r in proof::used_registrations(tx, plan, self.looked_up, up_to).await? {
            let on_file = if r.on_file { "yes" } else { "no" };
            let (device, mpan, supplier) = (r.device.to_string(), cell(r.mpan), r.supplier.to_string());
            self.registrations.row([&device, &mpan, &supplier, &r.from.to_string(), &cell(r.to), on_file])?;
        }
        for k in proof::used_key_results(tx, plan, self.looked_up, up_to).await? {
            let (device, at) = (k.device.to_string(), k.attempted_at.to_string());
            self.keys.row([&device, &at, &cell(k.status), &cell(k.detail), &cell(k.source)])?;
        }
        self.looked_up = Some(up_to);
        Ok(())
    }

    fn finish(self, pack: &mut Pack) -> Outcome<Named> {
        let mut named = self.named;
        named.earlier_steps = self.history.rows;
        named.registrations = self.registrations.rows;
        named.key_results = self.keys.rows;
        pack.add("decisions.csv", self.decisions.finish()?);
        pack.add("history.csv", self.history.finish()?);
        pack.add("registrations.csv", self.registrations.finish()?);
        pack.add("keys.csv", self.keys.finish()?);
        Ok(named)
    }
}

/// How a device stood after a step, and what moved it there: device to detail.
fn standing(step: &Step) -> [String; 10] {
    [
        step.device.to_string(),
        step.version.to_string(),
        step.state.to_string(),
        step.reason.to_string(),
        step.at.to_string(),
        moved_by(step.cause).to_string(),
        cell(step.cause_ref),
        cell(step.batch),
        step.attempts.to_string(),
        step.detail.clone().unwrap_or_default(),
    ]
}

fn moved_by(cause: Option<Cause>) -> &'static str {
    cause.map_or("plan", Cause::as_str)
}
