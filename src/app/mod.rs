//! The application: database, settings and clock in one hand, and the verbs people and loops ask for. Transactions that
//! touch two rooms live here; what may be done is decided in the rooms.

mod alarms;
mod answer;
mod approval;
mod ask;
mod control;
mod decide;
mod deliver;
mod evidence;
mod exchange;
mod exclude;
mod forecast;
mod forward;
mod heard;
mod import;
mod in_flight;
mod keys;
mod keys_act;
mod keys_facts;
mod keys_report;
mod keys_request;
mod keys_share;
mod keys_sweep;
mod keys_tell;
mod link;
mod messages;
mod news;
mod notify;
mod pathways;
mod plan;
mod prepare;
mod prune;
mod quarantine;
mod recheck;
mod replay;
mod requests;
mod resubmit;
mod retry;
mod schedules;
mod send;
mod settle;
mod silence;
mod site;
mod status;
mod steps;
mod story;
mod supply;
mod sweep;
mod teams;
mod thresholds;
mod top_up;
mod unsent;
mod watch;
mod waves;
mod waves_view;
mod windows;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use crate::{
    audit,
    campaign::{self, Campaign},
    clock::{Clock, Time},
    config::Settings,
    db::{Db, Tx},
    failure::{Failure, Outcome},
    image::{FolderVault, SharedVault},
    policy::{PolicyFolder, PolicySet},
};

pub use approval::asserted;
pub use control::{Cloned, NewCampaignRequest};
pub use decide::Decider;
pub use deliver::{DueDelivery, Tested};
pub use exclude::{Excluded, ExcludedAs};
pub use forward::ForwardPass;
pub use in_flight::InFlight;
pub use keys_act::{Acted, CaseAction, Meant};
pub use keys_report::{Ages, KeyStats};
pub use keys_request::{CaseStory, RerunAgain, RerunRequest};
pub use keys_share::Look;
pub use keys_sweep::Swept;
pub use messages::{MessageQuery, OpenedMessage};
pub use plan::PlanProgress;
pub use prepare::NextBatch;
pub use prune::{Pruned, SLICE_PAUSE};
pub use quarantine::Decided as QuarantineDecided;
pub use recheck::Rechecked;
pub use replay::Replayed;
pub use requests::{OpenedRequest, RequestQuery};
pub use retry::{NotRetried, Retried, RetryFilter};
pub use schedules::{Claimed, NewScheduleRequest, Ran, ScheduleView};
pub use send::{Due, Posted, ReadyToPost};
pub use silence::Silenced;
pub use site::{Dossier, Explanation, SiteTarget};
pub use status::{KeyCaseCounts, ReadCounts, Status, counts_of};
pub use story::Told;
pub use supply::SupplyChanges;
pub use teams::{ReadyTeam, ready_teams};
pub use thresholds::{AdtRoom, AdtStatus, AdtUse, AdtWait};
pub use top_up::ToppedUp;
pub use waves_view::{WaveOfSite, WaveState, WaveStatus};
pub use windows::WaitsFor;

/// Longest name or reason a person may give, in characters.
pub const TEXT_CHARS: usize = 200;

#[derive(Clone)]
pub struct App {
    pub db: Db,
    pub settings: Arc<Settings>,
    pub vault: SharedVault,
    pub clock: Clock,
    policy_folder: PolicyFolderRead,
}

/// The policies folder as it was read last: loops ask for policies many times a second, and files are edited now and then.
type PolicyFolderRead = Arc<Mutex<Option<Arc<PolicyFolder>>>>;

impl App {
    /// Opens the database, brings it up to date, and finishes an import that a dead process left half applied.
    pub async fn open(settings: Settings, clock: Clock) -> Outcome<App> {
        let db = Db::open(&settings.database_url).await?;
        crate::estate::import::recover(&db, &clock).await?;
        let vault = FolderVault::shared(settings.firmware_store.clone());
        let app = App { db, settings: Arc::new(settings), vault, clock, policy_folder: PolicyFolderRead::default() };
        app.audit_imports().await?;
        Ok(app)
    }

    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// The policies in the folder, as far as they are in force today.
    pub fn policies(&self) -> Outcome<PolicySet> {
        self.policies_at(self.now())
    }

    /// The same, as of a moment.
    pub fn policies_at(&self, at: Time) -> Outcome<PolicySet> {
        Ok(self.policy_folder()?.as_of(at.london_day()))
    }

    /// The policies folder as it is now; parsed again only where a file differs from what was read last.
    fn policy_folder(&self) -> Outcome<Arc<PolicyFolder>> {
        let dir = &self.settings.policies_dir;
        let mut last = self.policy_folder.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(read) = last.as_ref().filter(|read| read.is_current(dir)) {
            return Ok(read.clone());
        }
        let read = Arc::new(PolicyFolder::load(dir)?);
        *last = Some(read.clone());
        Ok(read)
    }

    /// A campaign by its id or its name.
    pub async fn campaign(&self, id_or_name: &str) -> Outcome<Campaign> {
        let mut tx = self.db.read().await?;
        find_campaign(&mut tx, id_or_name).await
    }
}

/// A campaign by its id or its name, within a transaction.
async fn find_campaign(tx: &mut Tx, id_or_name: &str) -> Outcome<Campaign> {
    let by_id = match id_or_name.parse::<i64>() {
        Ok(id) => campaign::store::get(tx, id).await?,
        Err(_) => None,
    };
    let found = match by_id {
        Some(campaign) => Some(campaign),
        None => campaign::store::named(tx, id_or_name).await?,
    };
    found.ok_or_else(|| {
        let shown: String = id_or_name.chars().take(TEXT_CHARS).collect();
        Failure::failed(format!("there is no campaign {shown:?}")).help("`ppmid campaign list` shows them")
    })
}

/// Appends to the audit trail.
async fn record(tx: &mut Tx, at: Time, who: &str, action: &str, subject: String, detail: serde_json::Value) -> Outcome {
    audit::append(tx, &audit::Event { at, who: who.to_string(), action: action.to_string(), subject, detail }).await?;
    Ok(())
}
