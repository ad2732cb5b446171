//! `ppmid notify`: what teams of our own MPIDs are told, and whether it arrived.

use serde_json::json;

use super::{
    Context, Output,
    table::{self, Listing},
    who::os_user_at_host,
};
use crate::{
    failure::{Failure, Outcome},
    gateway::{Heard, http::HttpWebhooks},
    notify::{Delivery, DeliveryState},
};

/// Deliveries fetched in one step.
const PAGE_DELIVERIES: u32 = 500;

/// What the teams of notify.toml are told by webhook, and whether it arrived
#[derive(clap::Subcommand)]
pub enum Command {
    /// List deliveries, oldest first: one for each notification and team
    #[command(
        after_help = "Examples:\n  ppmid notify list --state pending\n  ppmid notify list --state given_up --team incident --output json"
    )]
    List(ListArgs),
    /// One delivery, with what is posted
    #[command(after_help = "Example:\n  ppmid notify show 12")]
    Show {
        /// Its number, as `ppmid notify list` shows it
        delivery: i64,
    },
    /// Post a test to a team now and say what came back; exit 1 unless it was taken
    #[command(after_help = "Example:\n  ppmid notify test incident")]
    Test {
        /// Its name in notify.toml
        team: String,
    },
    /// Try a delivery again, at once and for as long as a new one: the same key, the same bytes
    #[command(after_help = "Example:\n  ppmid notify retry 12")]
    Retry {
        /// Its number, as `ppmid notify list` shows it
        delivery: i64,
    },
}

#[derive(clap::Args)]
pub struct ListArgs {
    /// pending, delivered or given_up
    #[arg(long)]
    state: Option<DeliveryState>,
    /// Only of this team
    #[arg(long, value_name = "NAME")]
    team: Option<String>,
}

pub async fn run(ctx: &Context, command: Command) -> Outcome {
    match command {
        Command::List(args) => list(ctx, args).await,
        Command::Show { delivery } => show(ctx, delivery).await,
        Command::Test { team } => test(ctx, &team).await,
        Command::Retry { delivery } => {
            let pending = ctx.app().await?.retry_delivery(delivery, &os_user_at_host()).await?;
            match ctx.output() {
                Output::Table => table::line(format!("delivery {} to team {} is pending again", pending.id, pending.team)),
                output => table::object(output, &fields(&pending), &pending),
            }
        }
    }
}

async fn list(ctx: &Context, args: ListArgs) -> Outcome {
    let app = ctx.app().await?;
    let waiting = app.notifications_waiting().await?;
    if waiting > 0 {
        eprintln!("note: {waiting} notifications have no deliveries yet: `ppmid serve` makes them");
    }
    let mut listing = Listing::stdout(ctx.output(), &HEADERS)?;
    let mut after = 0;
    loop {
        let page = app.deliveries(args.state, args.team.as_deref(), after, PAGE_DELIVERIES).await?;
        let Some(last) = page.last() else { break };
        after = last.id;
        for delivery in &page {
            listing.row(&fields(delivery).map(|(_, value)| value), delivery)?;
        }
    }
    listing.finish()
}

const HEADERS: [&str; 13] = [
    "id",
    "notification",
    "kind",
    "subject",
    "team",
    "mpid",
    "state",
    "attempts",
    "next_attempt",
    "last_error",
    "pending_since",
    "ended_at",
    "key",
];

fn fields(d: &Delivery) -> [(&'static str, String); 13] {
    let values = [
        d.id.to_string(),
        d.notification.to_string(),
        d.kind.to_string(),
        d.subject.clone(),
        d.team.clone(),
        d.mpid.to_string(),
        d.state.to_string(),
        d.attempts.to_string(),
        d.next_attempt.map(|t| t.to_string()).unwrap_or_default(),
        d.last_error.clone().unwrap_or_default(),
        d.pending_since.to_string(),
        d.ended_at.map(|t| t.to_string()).unwrap_or_default(),
        d.key.clone(),
    ];
    let mut values = values.into_iter();
    HEADERS.map(|name| (name, values.next().unwrap_or_default()))
}

async fn show(ctx: &Context, id: i64) -> Outcome {
    let delivery = ctx.app().await?.delivery(id).await?;
    let body: serde_json::Value = serde_json::from_str(&delivery.body).unwrap_or_default();
    let mut json = serde_json::to_value(&delivery).unwrap_or_default();
    json["body"] = body;
    let mut all = fields(&delivery).to_vec();
    all.push(("body", delivery.body.clone()));
    table::object(ctx.output(), &all, &json)
}

async fn test(ctx: &Context, team: &str) -> Outcome {
    let app = ctx.app().await?;
    let tested = app.test_team(&HttpWebhooks::new(app.clock.clone())?, team, &os_user_at_host()).await?;
    let (taken, said) = match tested.heard {
        Heard::Taken => (true, "taken".to_string()),
        Heard::Gone { why } => (false, format!("{why}: a notification would be given up")),
        Heard::Refused { why } => (false, format!("{why}: the receiver does not take such a body")),
        Heard::NotNow { why, .. } => (false, why),
    };
    let millis = tested.took.as_millis() as u64;
    let fields =
        [("team", team.to_string()), ("key", tested.key.clone()), ("answer", said.clone()), ("took_ms", millis.to_string())];
    table::object(
        ctx.output(),
        &fields,
        &json!({"team": team, "key": tested.key, "taken": taken, "answer": said, "took_ms": millis}),
    )?;
    if taken {
        return Ok(());
    }
    Err(Failure::failed(format!("team {team} did not take the test: {said}"))
        .help("check its url, ca and secret in notify.toml, and its receiver"))
}
