//! Requests found by kind, state, time and batch, newest first, a page at a time.

use super::super::{OutboxRequest, OutboxState, select};
use crate::{clock::Time, db::Tx, duis::RequestKind, gateway::GatewayError, ids::RequestId};

/// Which requests; what is `None` is not asked.
#[derive(Debug, Clone, Default)]
pub struct OutboxFilter {
    pub request: Option<RequestId>,
    pub kind: Option<RequestKind>,
    pub state: Option<OutboxState>,
    /// Made from this moment on.
    pub since: Option<Time>,
    /// Made before this moment.
    pub until: Option<Time>,
    pub campaign: Option<i64>,
    /// Those that carry one of these batches.
    pub batches: Option<Vec<i64>>,
}

/// Requests that the filter lets through with a counter below `before`, newest first, at most `limit`.
pub async fn search(
    tx: &mut Tx,
    filter: &OutboxFilter,
    before: Option<u64>,
    limit: u32,
) -> Result<Vec<OutboxRequest>, GatewayError> {
    let mut numbers = vec![before.and_then(|b| i64::try_from(b).ok()).unwrap_or(i64::MAX), i64::from(limit)];
    let mut text = String::from("where counter < $1");
    let mut ask = |condition: &str, number: i64| {
        numbers.push(number);
        text += &format!(" and {condition} ${}", numbers.len());
    };
    if let Some(id) = filter.request {
        // No counter of ours is as large as what does not fit.
        ask("counter =", i64::try_from(id.counter).unwrap_or(-1));
        ask("originator =", id.originator.to_db());
        ask("target =", id.target.to_db());
    }
    if let Some(since) = filter.since {
        ask("created_at >=", since.0);
    }
    if let Some(until) = filter.until {
        ask("created_at <", until.0);
    }
    if let Some(campaign) = filter.campaign {
        ask("batch_id in (select id from batches where campaign_id =", campaign);
        text += ")";
    }
    if let Some(state) = filter.state {
        text += &format!(" and state = '{}'", state.as_str());
    }
    if let Some(kind) = filter.kind {
        text += &format!(" and service_reference = '{}'", kind.service_reference());
    }
    if let Some(batches) = &filter.batches {
        let listed: Vec<String> = batches.iter().map(i64::to_string).collect();
        text += &format!(" and batch_id in ({})", if listed.is_empty() { "null".to_string() } else { listed.join(", ") });
    }
    Ok(select(tx, &format!("{text} order by counter desc, originator limit $2"), &numbers).await?)
}
