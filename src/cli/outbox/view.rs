//! How requests are printed.

use serde_json::{Value, json};

use super::super::{
    Output,
    table::{self, Listing},
};
use crate::{
    app::OpenedRequest,
    failure::Outcome,
    gateway::{
        inbox::InboxEntry,
        outbox::{OutboxRequest, store::Posting},
    },
    ids::DeviceId,
};

const TABLE: &[&str] = &["request_id", "kind", "state", "posts", "created_at", "last_posted_at", "code", "last_error"];
const CSV: &[&str] = &[
    "request_id",
    "service_reference",
    "batch_id",
    "duis_version",
    "body_digest",
    "state",
    "attempts",
    "posts",
    "created_at",
    "first_posted_at",
    "last_posted_at",
    "answered_at",
    "response_code",
    "last_error",
];
const ATTEMPTS: &[&str] = &["attempt", "posted_at", "bytes", "outcome", "reply", "note"];
const MESSAGES: &[&str] = &["id", "received_at", "source", "kind", "code", "state"];

pub fn headers(output: Output) -> &'static [&'static str] {
    match output {
        Output::Table | Output::Json => TABLE,
        Output::Csv => CSV,
    }
}

fn text<T: ToString>(value: Option<T>) -> String {
    value.map(|v| v.to_string()).unwrap_or_default()
}

pub fn cells(output: Output, r: &OutboxRequest) -> Vec<String> {
    let (id, kind, state) = (r.id.to_string(), r.service_reference.clone(), r.state.to_string());
    let (code, error) = (text(r.response_code.as_ref()), text(r.last_error.as_ref()));
    match output {
        Output::Table | Output::Json => {
            let (created, posted) = (r.created_at.to_string(), text(r.last_posted_at));
            vec![id, kind, state, r.posts.to_string(), created, posted, code, error]
        }
        Output::Csv => vec![
            id,
            kind,
            text(r.batch_id),
            r.duis_version.to_string(),
            r.body_digest.to_string(),
            state,
            r.attempts.to_string(),
            r.posts.to_string(),
            r.created_at.to_string(),
            text(r.first_posted_at),
            text(r.last_posted_at),
            text(r.answered_at),
            code,
            error,
        ],
    }
}

/// One request; in a table its attempts and messages follow as tables of their own.
pub fn show(output: Output, opened: &OpenedRequest, devices: Option<&Vec<DeviceId>>) -> Outcome {
    table::object(output, &fields(opened), &json(opened, devices))?;
    if output != Output::Table {
        return Ok(());
    }
    table::line("")?;
    let mut attempts = Listing::stdout(output, ATTEMPTS)?;
    opened.postings.iter().try_for_each(|p| attempts.row(&attempt(p), p))?;
    attempts.finish()?;
    table::line("")?;
    let mut messages = Listing::stdout(output, MESSAGES)?;
    opened.messages.iter().try_for_each(|m| messages.row(&message(m), m))?;
    messages.finish()
}

pub(super) fn fields(opened: &OpenedRequest) -> Vec<(&'static str, String)> {
    let r = &opened.request;
    vec![
        ("request_id", r.id.to_string()),
        ("service_reference", r.service_reference.clone()),
        ("duis_version", r.duis_version.to_string()),
        ("body_digest", r.body_digest.to_string()),
        ("campaign", text(opened.campaign)),
        ("batch", text(opened.batch_number)),
        ("batch_state", text(opened.batch_state)),
        ("devices", opened.devices.to_string()),
        ("state", r.state.to_string()),
        ("attempts", r.attempts.to_string()),
        ("posts", r.posts.to_string()),
        ("created_at", r.created_at.to_string()),
        ("first_posted_at", text(r.first_posted_at)),
        ("last_posted_at", text(r.last_posted_at)),
        ("next_attempt_at", r.next_attempt_at.to_string()),
        ("answered_at", text(r.answered_at)),
        ("response_code", text(r.response_code.as_ref())),
        ("last_error", text(r.last_error.as_ref())),
    ]
}

fn json(opened: &OpenedRequest, devices: Option<&Vec<DeviceId>>) -> Value {
    let mut object = json!(opened);
    if let Some(devices) = devices {
        object["device_ids"] = json!(devices);
    }
    object
}

fn attempt(p: &Posting) -> Vec<String> {
    let outcome = p.outcome.map_or("no outcome known".to_string(), |o| o.to_string());
    let reply = p.reply.map_or(String::new(), |id| format!("message {id}"));
    vec![p.attempt.to_string(), p.posted_at.to_string(), p.size.to_string(), outcome, reply, text(p.note.as_ref())]
}

fn message(m: &InboxEntry) -> Vec<String> {
    let (source, kind) = (m.source.to_string(), m.kind.clone());
    vec![m.id.to_string(), m.received_at.to_string(), source, kind, m.response_code.clone(), m.state.to_string()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        app::OpenedRequest,
        campaign::batch::BatchState,
        gateway::{
            inbox::{InboxState, Source},
            outbox::{OutboxState, store::PostingOutcome},
        },
        ids::{ImageId, RequestId},
    };

    fn opened() -> OpenedRequest {
        let id: RequestId = "90-B3-D5-1F-30-01-00-00:90-B3-D5-1F-30-00-00-02:1766940660265".parse().unwrap();
        let at = |text: &str| text.parse().unwrap();
        let request = OutboxRequest {
            id,
            service_reference: "11.1".into(),
            batch_id: Some(7),
            duis_version: "3.1".parse().unwrap(),
            body_digest: ImageId([0xAB; 32]),
            state: OutboxState::Held,
            attempts: 2,
            posts: 2,
            created_at: at("2026-11-24T12:00:00Z"),
            first_posted_at: Some(at("2026-11-24T12:00:01Z")),
            last_posted_at: Some(at("2026-11-24T12:00:40Z")),
            next_attempt_at: at("2026-11-24T12:01:15Z"),
            answered_at: None,
            response_code: None,
            last_error: Some("HTTP 400: the reply is empty".into()),
        };
        let posting = |attempt, outcome, note: Option<&str>, reply| Posting {
            attempt,
            posted_at: request.last_posted_at.unwrap(),
            size: 2_224_000,
            outcome,
            note: note.map(str::to_owned),
            ended_at: request.last_posted_at,
            reply,
        };
        let postings = vec![
            posting(1, None, None, None),
            posting(2, Some(PostingOutcome::Rejected), Some("HTTP 400: the reply is empty"), Some(4712)),
        ];
        let message = InboxEntry {
            id: 4712,
            received_at: at("2026-11-24T12:00:40Z"),
            source: Source::Reply,
            kind: String::new(),
            response_code: String::new(),
            request_id: Some(id),
            device_id: None,
            stands_for: 1,
            size: 0,
            state: InboxState::Rejected,
            reason: Some("reply".into()),
            note: Some("HTTP 400: the reply is empty".into()),
            settled_at: None,
        };
        OpenedRequest {
            request,
            campaign: Some(3),
            batch_number: Some(1),
            batch_state: Some(BatchState::Held),
            devices: 50_000,
            postings,
            messages: vec![message],
        }
    }

    #[test]
    fn a_request_for_people_and_for_programs() {
        let opened = opened();
        let mut out = Vec::new();
        for output in [Output::Table, Output::Csv] {
            let mut listing = Listing::new(&mut out, output, headers(output)).unwrap();
            listing.row(&cells(output, &opened.request), &()).unwrap();
            listing.finish().unwrap();
            out.push(b'\n');
        }
        let mut text = String::from_utf8(out).unwrap();
        for (name, value) in fields(&opened) {
            text += &format!("{name}: {value}\n");
        }
        for row in opened.postings.iter().map(attempt).chain(opened.messages.iter().map(message)) {
            text += &format!("{}\n", row.join(" | "));
        }
        insta::assert_snapshot!(text);
        let json = json(&opened, Some(&vec![opened.request.id.target]));
        assert_eq!(
            (&json["state"], &json["postings"][1]["outcome"], &json["devices"]),
            (&"held".into(), &"rejected".into(), &50_000.into())
        );
        assert_eq!(json["device_ids"][0], "90-B3-D5-1F-30-00-00-02");
    }
}
