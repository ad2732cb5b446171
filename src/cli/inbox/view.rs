//! How messages are printed. Not what may be seen of them: addresses and supply numbers are the matter of `duis::view`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::{Output, duis, table::Listing};
use crate::{
    app::{OpenedMessage, Replayed},
    failure::Outcome,
    gateway::inbox::{InboxEntry, InboxState},
};

const TABLE: &[&str] = &["id", "received_at", "kind", "code", "state", "device_id", "request_id", "note"];
const CSV: &[&str] = &[
    "id",
    "received_at",
    "source",
    "kind",
    "response_code",
    "request_id",
    "device_id",
    "stands_for",
    "size",
    "state",
    "reason",
    "note",
    "settled_at",
];

/// A table has what a person looks for; CSV everything.
pub fn headers(output: Output) -> &'static [&'static str] {
    match output {
        Output::Table | Output::Json => TABLE,
        Output::Csv => CSV,
    }
}

pub fn cells(output: Output, entry: &InboxEntry) -> Vec<String> {
    let text = |v: Option<String>| v.unwrap_or_default();
    let (id, received_at) = (entry.id.to_string(), entry.received_at.to_string());
    let request = text(entry.request_id.map(|r| r.to_string()));
    let device = text(entry.device_id.map(|d| d.to_string()));
    let (kind, code, state) = (entry.kind.clone(), entry.response_code.clone(), entry.state.to_string());
    match output {
        Output::Table | Output::Json => {
            let counted = if entry.stands_for > 1 { format!("{kind} x{}", entry.stands_for) } else { kind };
            let why = match &entry.reason {
                Some(reason) => format!("{reason}: {}", entry.note.as_deref().unwrap_or_default()),
                None => text(entry.note.clone()),
            };
            vec![id, received_at, counted, code, state, device, request, why]
        }
        Output::Csv => vec![
            id,
            received_at,
            entry.source.to_string(),
            kind,
            code,
            request,
            device,
            entry.stands_for.to_string(),
            entry.size.to_string(),
            state,
            text(entry.reason.clone()),
            text(entry.note.clone()),
            text(entry.settled_at.map(|t| t.to_string())),
        ],
    }
}

/// What a person should know beside the rows: how many wait, and where the next page begins.
pub fn footer(waiting: &BTreeMap<InboxState, u64>, next: Option<i64>) -> Vec<String> {
    let n = |state| waiting.get(&state).copied().unwrap_or(0);
    let mut lines = Vec::new();
    if let Some(next) = next {
        lines.push(format!("there may be older ones: --before {next}"));
    }
    let (unmatched, failed) = (n(InboxState::Unmatched), n(InboxState::Failed));
    if unmatched + failed > 0 {
        let both = format!("{unmatched} unmatched, {failed} failed");
        lines.push(format!("{} wait for a person: {both} (ppmid inbox replay, ppmid inbox dismiss)", unmatched + failed));
    }
    if n(InboxState::Rejected) > 0 {
        lines.push(format!("{} were not known to be DCC's and are kept (--state rejected)", n(InboxState::Rejected)));
    }
    if n(InboxState::Forwarding) > 0 {
        lines.push(format!("{} are still to go to receiver.forward_to (--state forwarding)", n(InboxState::Forwarding)));
    }
    lines
}

/// One message: what is known of it, then what it says.
pub fn opened(opened: &OpenedMessage) -> Map<String, Value> {
    let InboxEntry { id, received_at, source, size, state, reason, note, stands_for, settled_at, .. } = &opened.entry;
    let signed_by = opened.signer.as_ref().map(|(issuer, serial)| json!({"issuer": issuer, "serial": serial}));
    let mut shown = object(json!({
        "id": id,
        "received_at": received_at,
        "source": source,
        "state": state,
        "note": note,
        "reason": reason,
        "settled_at": settled_at,
        "verified": opened.verified,
        "signed_by": signed_by,
        "stands_for": stands_for,
        "size": size,
    }));
    match &opened.says {
        Ok(claimed) => shown.extend(duis::view::message(claimed)),
        Err(why) => {
            shown.insert("unreadable".into(), why.as_str().into());
        }
    }
    shown
}

/// What became of each message that was to be tried again.
pub fn replayed(output: Output, replayed: &Replayed) -> Outcome {
    let mut listing = Listing::stdout(output, &["id", "outcome", "detail"])?;
    let mut row = |id: i64, outcome: &str, detail: String| {
        let json = json!({"id": id, "outcome": outcome, "detail": detail});
        listing.row(&[id.to_string(), outcome.to_string(), detail], &json)
    };
    for id in &replayed.queued {
        row(*id, "queued", "`ppmid serve` settles it".into())?;
    }
    for (id, other) in &replayed.known {
        row(*id, "known", format!("the same message came again and was taken as message {other}"))?;
    }
    for (id, why) in &replayed.refused {
        row(*id, "refused", why.clone())?;
    }
    listing.finish()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        other => unreachable!("written as an object above: {other}"),
    }
}

#[cfg(test)]
mod tests;
