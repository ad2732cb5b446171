//! What a team is posted: JSON, versioned, made once and never changed, so that a doubled one is the same bytes under the same key.

use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    NotifyKind, Stored, Team,
    masks::{impersonal, without_mpans},
};
use crate::{
    clock::Time,
    ids::{Mpid, Sha256Hash},
};

/// Added to when a field is; raised when one changes its meaning.
const SCHEMA: i64 = 1;
/// Hex digits of the key: 128 bits.
const KEY_DIGITS: usize = 32;
/// The kind of what `ppmid notify test` sends.
pub const TEST_KIND: &str = "test";

/// The fields of the body, in their order, but for `id`.
#[derive(Serialize)]
struct Fields<'a> {
    schema: i64,
    kind: &'a str,
    /// The number of the notification in `ppmid notify list`; 0 for a test.
    notification: i64,
    at: Time,
    mpid: Mpid,
    team: &'a str,
    subject: String,
    sentence: String,
    remedy: String,
    numbers: &'a Value,
}

/// A body and the key that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    pub key: String,
    pub body: String,
}

impl Payload {
    /// Of a notification for one team. A case names its device; nothing else names one.
    pub fn of(stored: &Stored, team: &Team) -> Payload {
        let about_a_device = match stored.kind {
            NotifyKind::CaseOpened | NotifyKind::CaseEscalated | NotifyKind::CaseResolved => true,
            NotifyKind::Alarm | NotifyKind::CampaignWaits | NotifyKind::RerunRequested => false,
        };
        let clean = if about_a_device { without_mpans } else { impersonal };
        seal(&Fields {
            schema: SCHEMA,
            kind: stored.kind.as_str(),
            notification: stored.id,
            at: stored.happened_at,
            mpid: team.mpid,
            team: &team.name,
            subject: clean(&stored.subject),
            sentence: clean(&stored.sentence),
            remedy: clean(&stored.remedy),
            numbers: &stored.numbers,
        })
    }
}

/// What `ppmid notify test` sends.
pub fn test_payload(team: &Team, who: &str, at: Time) -> Payload {
    seal(&Fields {
        schema: SCHEMA,
        kind: TEST_KIND,
        notification: 0,
        at,
        mpid: team.mpid,
        team: &team.name,
        subject: "test".to_string(),
        sentence: format!("a test by {}", impersonal(who)),
        remedy: String::new(),
        numbers: &json!({}),
    })
}

/// The key is a digest of everything else, so that a database put back from a backup never gives an old key to other news.
fn seal(fields: &Fields<'_>) -> Payload {
    let mut value = serde_json::to_value(fields).unwrap_or_default();
    let digest = Sha256Hash { 0: Sha256::digest(value.to_string()).into() }.to_string();
    let key = digest[..KEY_DIGITS].to_string();
    value["id"] = key.clone().into();
    Payload { key, body: value.to_string() }
}
