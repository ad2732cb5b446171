//! What a reader meets first: `evidence.json` for programs, `summary.html` for people, `README.txt` for whoever has to check it. All
//! three say only what the other entries say too.

use serde_json::{Value, json};

use super::{
    papers::{Trail, told},
    stories::Named,
    table::cell,
    wire::{Sent, first_and_last_post},
};
use crate::{
    campaign::{Campaign, Plan},
    clock::Time,
    config::Organisation,
    evidence::summary::{Page, Table},
    gateway::outbox::OutboxRequest,
    policy::store::KeptSet,
};

/// Rows of a table of the summary; the CSV files have them all.
const SUMMARY_ROWS: usize = 200;

/// How to read and check a pack, for somebody who has never heard of this program.
pub(super) const README: &str = include_str!("README.txt");

/// Everything that the head tells.
pub(super) struct Facts<'a> {
    pub campaign: &'a Campaign,
    pub plan: &'a Plan,
    pub organisation: &'a Organisation,
    pub named: &'a Named,
    pub sent: &'a Sent,
    pub policies: &'a [KeptSet],
    pub trail: &'a Trail,
    /// Whether the image is still stored.
    pub has_manifest: bool,
    pub keyid: String,
    /// Between these moments the database was read.
    pub read_from: Time,
    pub read_until: Time,
}

impl Facts<'_> {
    pub fn json(&self) -> String {
        let head = json!({
            "schema": 1,
            "made_by": concat!("ppmid ", env!("CARGO_PKG_VERSION")),
            "made_at": self.read_until,
            "read_from": self.read_from,
            "read_until": self.read_until,
            "signed_by": self.keyid,
            "organisation": {
                "mpids": self.organisation.mpids,
                "role": self.organisation.role,
                "user_id": self.organisation.user_id,
            },
            "campaign": campaign(self.campaign, self.pinned()),
            "plan": plan(self.plan),
            "image_manifest": self.has_manifest.then(|| format!("images/{}.dsse.json", self.campaign.image_id)),
            "policies": self.policies.iter().map(|p| &p.hash).collect::<Vec<_>>(),
            "targets": self.named.targets,
            "by_state": self.named.by_state,
            "by_reason": self.named.by_reason,
            "rows": {
                "history": self.named.earlier_steps,
                "registrations": self.named.registrations,
                "keys": self.named.key_results,
                "cpl": self.named.cpl.len(),
                "batches": self.sent.batches.len(),
                "requests": self.sent.requests.len(),
                "postings": self.sent.postings,
                "messages": self.sent.messages,
                "messages_no_longer_kept": self.sent.messages_gone,
                "audit_events": self.trail.written,
            },
            "audit_head": self.trail.head.as_ref().map(|(seq, hash)| json!({"seq": seq, "hash": hash})),
        });
        serde_json::to_string_pretty(&head).expect("plain data is always JSON") + "\n"
    }

    pub fn html(&self) -> String {
        let c = self.campaign;
        let (first, last) = first_and_last_post(&self.sent.requests);
        let by_whom = |by: &Option<String>, at: Option<Time>| match by {
            Some(by) => format!("{by}, {}", cell(at)),
            None => "nobody".to_string(),
        };
        let stopped = match &c.stopped_code {
            Some(code) => format!("{code}: {} ({})", cell(c.stopped_reason.as_ref()), by_whom(&c.stopped_by, c.stopped_at)),
            None => "no".to_string(),
        };
        let span = match (first, last) {
            (Some(first), Some(last)) => format!("{first} to {last}"),
            _ => "nothing".to_string(),
        };
        let facts = vec![
            ("campaign", format!("{} ({})", c.name, c.id)),
            ("state", c.state.to_string()),
            ("image", c.image_id.to_string()),
            ("supplier", self.organisation.mpids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
            ("created", by_whom(&Some(c.created_by.clone()), Some(c.created_at))),
            ("planned", format!("{}, {} (decided about {})", self.plan.created_by, self.plan.created_at, self.plan.decided_at)),
            ("approved", by_whom(&c.approved_by, c.approved_at)),
            ("what was approved", cell(c.approved_hash.as_ref())),
            ("started", cell(c.started_at)),
            ("stopped", stopped),
            ("ended", cell(c.ended_at)),
            ("requests posted", span),
            ("sites considered", self.named.targets.to_string()),
            ("read", format!("{} to {}", self.read_from, self.read_until)),
            ("signed by the key", self.keyid.clone()),
        ];
        let tables = vec![self.states(), self.reasons(), self.requests(), self.policies(), self.events()];
        Page { title: format!("Evidence of campaign {}", c.name), facts, tables }.html()
    }

    /// The hash of the policies that the campaign was approved with.
    fn pinned(&self) -> Option<&str> {
        self.policies.iter().find(|set| Some(set.id) == self.campaign.policy_set).map(|set| set.hash.as_str())
    }

    fn states(&self) -> Table {
        let rows = self.named.by_state.iter().map(|(s, n)| vec![s.to_string(), n.to_string()]).collect();
        Table { title: "Sites by state", headers: vec!["state", "sites"], rows, ..Table::default() }
    }

    fn reasons(&self) -> Table {
        let row = |(r, n): (&crate::policy::Reason, &u64)| vec![r.to_string(), r.outcome().to_string(), n.to_string()];
        let rows = self.named.by_reason.iter().map(row).collect();
        let note = "The first rule that applied to each site, or ELIGIBLE; decisions.csv has it site by site.".to_string();
        Table { title: "Sites by reason", note, headers: vec!["reason", "outcome", "sites"], rows }
    }

    fn requests(&self) -> Table {
        let devices = |r: &OutboxRequest| self.sent.batches.iter().find(|b| Some(b.id) == r.batch_id).map(|b| b.size);
        let row = |r: &OutboxRequest| {
            vec![
                r.id.to_string(),
                r.service_reference.clone(),
                cell(devices(r)),
                cell(r.first_posted_at),
                r.posts.to_string(),
                r.state.to_string(),
                cell(r.response_code.as_ref()),
                r.body_digest.to_string(),
            ]
        };
        let headers = vec!["RequestID", "service", "devices", "first posted", "posts", "state", "answer", "digest"];
        let requests = &self.sent.requests;
        let rows = requests.iter().take(SUMMARY_ROWS).map(row).collect();
        Table { title: "What was sent", note: shown(requests.len(), "requests.csv"), headers, rows }
    }

    fn policies(&self) -> Table {
        let files = |set: &KeptSet| set.files.iter().map(|f| f.name.as_str()).collect::<Vec<_>>().join(", ");
        let row = |set: &KeptSet| vec![set.hash.clone(), set.first_used.to_string(), files(set)];
        let rows = self.policies.iter().map(row).collect();
        let approved = self.pinned().map_or(String::new(), |hash| format!(" It was approved with {hash}."));
        let note = format!("The plan was made by {}.{approved}", self.plan.policy_hash);
        Table { title: "Policies that decided", note, headers: vec!["hash", "first used", "files"], rows }
    }

    fn events(&self) -> Table {
        let events = &self.trail.events;
        let row = |e: &crate::audit::Link| vec![e.seq.to_string(), e.at.to_string(), e.who.clone(), e.action.clone(), told(e)];
        let rows = events.iter().take(SUMMARY_ROWS).map(row).collect();
        let headers = vec!["event", "at", "who", "what", "detail"];
        Table { title: "Who did what", note: shown(events.len(), "audit.jsonl"), headers, rows }
    }
}

/// What the summary leaves out, if it leaves out anything.
fn shown(rows: usize, file: &str) -> String {
    match rows > SUMMARY_ROWS {
        true => format!("The first {SUMMARY_ROWS} of {rows}; {file} has them all."),
        false => String::new(),
    }
}

fn campaign(c: &Campaign, policies: Option<&str>) -> Value {
    json!({
        "id": c.id,
        "name": c.name,
        "image": c.image_id,
        "state": c.state,
        "filter": {
            "cohorts": c.filter.cohorts.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "models": c.filter.models,
            "regions": c.filter.regions,
            "devices_named": c.filter.devices.len(),
        },
        "rollout": c.rollout,
        "batch_size": c.batch_size,
        "created_at": c.created_at,
        "created_by": c.created_by,
        "approved_at": c.approved_at,
        "approved_by": c.approved_by,
        "approved_hash": c.approved_hash,
        "approved_policies": policies,
        "approved_policy_values": c.policy_binding,
        "started_at": c.started_at,
        "stopped_code": c.stopped_code,
        "stopped_reason": c.stopped_reason,
        "stopped_at": c.stopped_at,
        "stopped_by": c.stopped_by,
        "ended_at": c.ended_at,
    })
}

fn plan(p: &Plan) -> Value {
    json!({
        "id": p.id,
        "decided_at": p.decided_at,
        "created_at": p.created_at,
        "created_by": p.created_by,
        "policies": p.policy_hash,
        "candidates": p.candidate_hash,
        "sites": p.sites,
        "eligible": p.eligible,
        "held": p.held,
        "ineligible": p.ineligible,
        "by_reason": p.by_reason,
        "waves": p.waves,
    })
}
