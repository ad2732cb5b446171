//! `notify.toml`: which of our own teams are told of what, and where. Whether a team's MPID is ours, its address allowed and its
//! secret readable is for whoever knows the settings (`app/teams.rs`).

use serde::{Serialize, Serializer};

use super::{
    Period,
    document::{Place, Read, Section, parsed, read_document, text},
    files::{Head, read_head},
};
use crate::ids::Mpid;

/// A team has one POST in flight at most, so this is also the most there are in flight at once.
pub const TEAMS_MAX: usize = 32;
const NAME_CHARS: usize = 40;
const TIMEOUT_MILLIS: std::ops::RangeInclusive<i64> = 100..=300_000;
const GIVE_UP_MILLIS: std::ops::RangeInclusive<i64> = 3_600_000..=30 * 86_400_000;

crate::spelled! {
    /// What a team can be told of.
    NotifyKind, "something to be told of: alarm, campaign-waits, case-opened, case-escalated, case-resolved or rerun-requested" {
        /// An alarm was raised.
        Alarm = "alarm",
        /// A campaign was planned and waits for its approval, or has come to its end.
        CampaignWaits = "campaign-waits",
        /// A site whose PPMID key is missing.
        CaseOpened = "case-opened",
        CaseEscalated = "case-escalated",
        CaseResolved = "case-resolved",
        /// Sites are on a re-run request to DCC's service desk.
        RerunRequested = "rerun-requested",
    }
}

/// A team of one of our own market participants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Team {
    pub name: String,
    pub mpid: Mpid,
    /// `http://` or `https://`.
    pub url: String,
    /// There if and only if the URL is https.
    pub ca: Option<FileNamed>,
    pub secret: FileNamed,
    pub events: Vec<NotifyKind>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notify {
    pub timeout: Period,
    pub give_up_after: Period,
    #[serde(rename = "team")]
    pub teams: Vec<Team>,
}

/// A file as the policy names it, without the `file:` before it: relative to the policies folder, or absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileNamed(pub String);

impl Serialize for FileNamed {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("file:{}", self.0))
    }
}

/// Reads the file. What it leaves out is what ships.
pub(super) fn read_notify(place: Place<'_>) -> Read<(Head, Notify)> {
    read_document(place, |file| {
        let head = read_head(file)?;
        let timeout = period(file, "timeout", "a length of time from 100ms to 5m", TIMEOUT_MILLIS, "10s")?;
        let give_up_after = period(file, "give_up_after", "a length of time from 1h to 30d", GIVE_UP_MILLIS, "72h")?;
        let mut teams: Vec<Team> = Vec::new();
        for mut table in file.tables("team", "tables [[team]], each with name, mpid, url, secret and events")? {
            let team = read_team(&mut table)?;
            if teams.iter().any(|t| t.name == team.name) {
                return Err(table.conflict("name", "another team has this name", "a name of its own"));
            }
            if teams.len() == TEAMS_MAX {
                return Err(table.conflict("name", "one team too many", &format!("at most {TEAMS_MAX} teams")));
            }
            table.finish()?;
            teams.push(team);
        }
        Ok((head, Notify { timeout, give_up_after, teams }))
    })
}

fn period(
    file: &mut Section<'_, '_>,
    key: &'static str,
    wanted: &str,
    millis: std::ops::RangeInclusive<i64>,
    shipped: &str,
) -> Read<Period> {
    file.or(shipped.parse().ok(), key, wanted, |v| parsed::<Period>(v).filter(|p| millis.contains(&p.millis())))
}

fn read_team(table: &mut Section<'_, '_>) -> Read<Team> {
    const EVENTS: &str = "alarm, campaign-waits, case-opened, case-escalated, case-resolved or rerun-requested";
    table.names_among(["name", "mpid", "url", "ca", "secret", "events"].into_iter())?;
    let name = table.required("name", "a name of letters, digits and hyphens, at most 40", |v| text(v).filter(|n| is_name(n)))?;
    let mpid = table.required("mpid", "one of our own market participant ids: four capital letters", parsed)?;
    let url = table.required("url", "an http:// or https:// address", |v| text(v).filter(|u| is_web(u)))?;
    let file = |v: &_| named(&text(v)?);
    let ca = table.optional("ca", "\"file:\" and a PEM file: who issued the receiver's certificate", file)?;
    // A secret that was written here by mistake is not repeated.
    const SECRET: &str = "\"file:\" and a file that holds the secret";
    let secret = table.required("secret", SECRET, text)?;
    let Some(secret) = named(&secret) else { return Err(table.conflict("secret", "it names no file", SECRET)) };
    let mut events: Vec<NotifyKind> = table.list("events", EVENTS, parsed)?.unwrap_or_default();
    events.sort();
    events.dedup();
    if events.is_empty() {
        return Err(table.conflict("events", "the team is told of nothing", &format!("a list of {EVENTS}")));
    }
    match (url.starts_with("https://"), &ca) {
        (true, None) => return Err(table.conflict("url", "it is https, and no ca says whom to trust", "ca = \"file:NAME.pem\"")),
        (false, Some(_)) => return Err(table.conflict("ca", "the address is plain http", "an https address, or no ca")),
        (true, Some(_)) | (false, None) => {}
    }
    Ok(Team { name, mpid, url, ca, secret, events })
}

fn named(text: &str) -> Option<FileNamed> {
    text.strip_prefix("file:").filter(|file| !file.trim().is_empty()).map(|file| FileNamed(file.to_string()))
}

fn is_name(name: &str) -> bool {
    name.len() <= NAME_CHARS && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn is_web(url: &str) -> bool {
    url.starts_with("http://") || url.starts_with("https://")
}
