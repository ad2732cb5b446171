//! `ppmid campaign reads`: the devices of a campaign that are read, after their upgrade or their silence, and what was heard.

use serde::Serialize;

use crate::{
    cli::{Context, table::Listing},
    clock::Time,
    failure::{Failure, Outcome},
    ids::DeviceId,
    policy::ReadStep,
    target::{
        ReadCause, ReadState,
        store::reads::{self, Read},
    },
};

/// Reads fetched in one step.
const PAGE_READS: usize = 5_000;
const STATES: &str = "one of: waiting, asked, accepted, agrees, differs, given-up";

/// One read, as it is printed.
#[derive(Debug, Serialize)]
pub struct ReadLine {
    pub device_id: DeviceId,
    pub campaign: i64,
    pub read: ReadStep,
    pub state: ReadState,
    /// Requests made.
    pub asks: i64,
    pub first_asked_at: Option<Time>,
    /// When it is asked, or asked again; null where it is not.
    pub due_at: Option<Time>,
    pub firmware_version: Option<String>,
    pub device_status: Option<String>,
    pub answered_at: Option<Time>,
    pub note: Option<String>,
    pub cause: ReadCause,
}

impl From<&Read> for ReadLine {
    fn from(read: &Read) -> ReadLine {
        let waits = matches!(read.standing.state, ReadState::Waiting | ReadState::Accepted);
        ReadLine {
            device_id: read.device,
            campaign: read.campaign_id,
            read: read.kind,
            state: read.standing.state,
            asks: read.standing.asks,
            first_asked_at: read.standing.first_asked_at,
            due_at: waits.then_some(read.standing.due_at),
            firmware_version: read.answer_version.clone(),
            device_status: read.answer_status.clone(),
            answered_at: read.answered_at,
            note: read.note.clone(),
            cause: read.cause,
        }
    }
}

/// A read on a line: of which campaign, how, where it stands, and what was last said.
pub fn told(read: &Read) -> String {
    let asked = read.standing.first_asked_at.map_or("not asked yet".to_string(), |at| {
        let times = if read.standing.asks == 1 { "once" } else { "times" };
        let n = if read.standing.asks == 1 { String::new() } else { format!("{} ", read.standing.asks) };
        format!("asked {n}{times} from {at} on")
    });
    let note = read.note.as_ref().map(|note| format!("; {note}")).unwrap_or_default();
    let after = if read.cause == ReadCause::Silence { " after its silence" } else { "" };
    format!("campaign {}: {}{after} {}, {asked}{note}", read.campaign_id, read.kind, read.standing.state)
}

/// One row for every device that is or was read, in the order of Device IDs, however many.
pub async fn list(ctx: &Context, campaign: &str, state: Option<&str>) -> Outcome {
    let wanted: Option<ReadState> =
        state.map(str::parse).transpose().map_err(|e: crate::ids::IdError| Failure::usage(e.to_string()).help(STATES))?;
    let app = ctx.app().await?;
    let campaign = app.campaign(campaign).await?;
    let headers = [
        "device_id",
        "read",
        "state",
        "asks",
        "first_asked_at",
        "due_at",
        "firmware_version",
        "device_status",
        "answered_at",
        "note",
        "cause",
    ];
    let mut listing = Listing::stdout(ctx.output(), &headers)?;
    let mut after = None;
    while let Some(plan) = campaign.plan_id {
        let page = reads::page(&mut app.db.read().await?, plan, after, PAGE_READS).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.device);
        for line in page.iter().map(ReadLine::from).filter(|line| wanted.is_none_or(|w| line.state == w)) {
            let time = |at: Option<Time>| at.map(|t| t.to_string()).unwrap_or_default();
            let cells = [
                line.device_id.to_string(),
                line.read.to_string(),
                line.state.to_string(),
                line.asks.to_string(),
                time(line.first_asked_at),
                time(line.due_at),
                line.firmware_version.clone().unwrap_or_default(),
                line.device_status.clone().unwrap_or_default(),
                time(line.answered_at),
                line.note.clone().unwrap_or_default(),
                line.cause.to_string(),
            ];
            listing.row(&cells, &line)?;
        }
    }
    listing.finish()
}
