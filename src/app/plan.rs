//! Planning: streams the estate, decides about every site that the campaign's filter names, and stores one row a site. The
//! plan comes into force as a whole when the last row is written; until then nothing looks at it.

use std::time::Duration;

use serde_json::json;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{App, find_campaign, notify::waits_for_approval, record};
use crate::{
    campaign::{
        self, Campaign, CampaignState, Command, Groups, Plan, PlanReport, PlanState, Tally,
        waves::{self, Drawing, Drawn},
    },
    clock::Time,
    estate::{
        self, SiteFilter,
        store::{Kept, PackedPage, Reads, Scan},
    },
    failure::{Failure, Outcome},
    ids::DeviceId,
    target::store::{self as targets, Decided},
};

/// Sites read in one step: some 20 ms.
const PAGE_SITES: u32 = 6_000;
/// Pages read ahead of those who decide, while registrations are still being read: some 20 MB.
const PAGES_AHEAD: usize = 24;
/// Pages decided ahead of the writer: 2 MB.
const DECIDED_AHEAD: usize = 8;
/// Sites written in one transaction: well below half a second, so that a message that comes in does not wait, and few enough
/// commits that the disk is not what planning waits for.
const WRITE_SITES: usize = 30_000;
/// Sites written in the first transaction; each has twice those of the one before, so that the writer, which is the last to have
/// something to do, does not wait for a whole one.
const FIRST_SITES: usize = 12_000;
/// Rows of a superseded plan removed in one transaction.
const REMOVE_ROWS: usize = 20_000;
/// How long to wait before looking again whether an import is still being applied.
const IMPORT_WAIT: Duration = Duration::from_millis(50);

/// How often a plan is begun anew because a file took effect meanwhile. After that it stands: every member is decided again
/// before it is sent.
const REPLANS: usize = 3;

/// How far a plan has come.
#[derive(Debug, Clone, Copy)]
pub struct PlanProgress {
    pub sites: i64,
}

impl App {
    /// Makes a plan. With `as_of` it is a what-if: stored and shown, never approved.
    pub async fn plan_campaign(
        &self,
        id_or_name: &str,
        as_of: Option<Time>,
        who: &str,
        progress: &mut (dyn FnMut(PlanProgress) + Send),
    ) -> Outcome<Plan> {
        self.plan_once(id_or_name, as_of, who, REPLANS, progress).await
    }

    async fn plan_once(
        &self,
        id_or_name: &str,
        as_of: Option<Time>,
        who: &str,
        again: usize,
        progress: &mut (dyn FnMut(PlanProgress) + Send),
    ) -> Outcome<Plan> {
        self.wait_for_import().await?;
        let facts = facts_version(self).await?;
        let now = self.now();
        let at = as_of.unwrap_or(now);
        let mut tx = self.db.begin().await?;
        let campaign = find_campaign(&mut tx, id_or_name).await?;
        campaign.state.on(Command::Plan)?;
        let decider = self.decider(&mut tx, &campaign, at).await?;
        let policies = (decider.policy_set, decider.policies.hash());
        let waves = super::waves::wanted(&campaign, &decider.policies)?;
        let plan = campaign::store::begin_plan(&mut tx, campaign.id, at, &policies, who, now).await?;
        tx.commit().await?;

        let drawing = waves.map(|all| Drawing::new(waves::seed_of(campaign.id, plan, campaign.image_id), all));
        let (tally, (report, drawn)) = self.decide_all(&campaign, decider, plan, drawing, progress).await?;
        if facts != facts_version(self).await? && again > 0 {
            // A file took effect between two pages: the plan would be of neither estate.
            self.drop_plan(campaign.id, plan).await?;
            return Box::pin(self.plan_once(id_or_name, as_of, who, again - 1, progress)).await;
        }
        if let Some(drawn) = drawn {
            self.keep_waves(plan, drawn).await?;
        }
        let state = if as_of.is_some() { PlanState::WhatIf } else { PlanState::Ready };
        let stored = self.put_in_force(&campaign, plan, state, &tally, &report, who).await?;
        self.remove_superseded(campaign.id).await?;
        Ok(stored)
    }

    /// Reads pages on one connection, decides them on another thread and writes what was decided on a third, all at once.
    async fn decide_all(
        &self,
        campaign: &Campaign,
        decider: super::Decider,
        plan: i64,
        drawing: Option<Drawing>,
        progress: &mut (dyn FnMut(PlanProgress) + Send),
    ) -> Outcome<(Tally, Judged)> {
        let (now, policy_set) = (self.now(), decider.policy_set);
        let empty = || targets::Planned::new(plan, policy_set, now);
        let deciding = self.begin_deciding(campaign.filter.clone(), decider, drawing).await?;
        // One is filled while the other is written.
        let (filled, mut to_write) = mpsc::channel(1);
        let (written, to_fill) = mpsc::channel(2);
        for rows in [empty(), empty()] {
            written.try_send(rows).expect("there is room for both");
        }
        let gathering = tokio::spawn(gather(deciding, to_fill, filled));
        let mut sites = 0;
        while let Some(mut rows) = to_write.recv().await {
            sites += rows.len() as i64;
            let mut tx = self.db.begin().await?;
            rows.flush(&mut tx).await?;
            tx.commit().await?;
            progress(PlanProgress { sites });
            let _ = written.send(rows).await;
        }
        gathering.await.map_err(|_| Failure::failed("the estate could not be decided about to its end"))?
    }

    /// Decides about every site of a filter, on other threads; a drawing notes the members on the way.
    pub(super) async fn begin_deciding(
        &self,
        filter: SiteFilter,
        decider: super::Decider,
        drawing: Option<Drawing>,
    ) -> Outcome<Deciding> {
        let (pages, read) = mpsc::channel(PAGES_AHEAD);
        let (decisions, decided) = mpsc::channel(DECIDED_AHEAD);
        // A campaign that names its devices asks for few: what is kept would be most of the work.
        let keep = filter.devices.is_empty() && Kept::fits(&mut self.db.read().await?).await?;
        let reads = match (keep, drawing.is_some()) {
            (true, false) => Reads::SitesAndKeys,
            (true, true) => Reads::SitesRegionsAndKeys,
            (false, _) => Reads::Everything,
        };
        let reader = tokio::spawn(read_pages(self.clone(), filter, decider.at, reads, pages));
        let judge = tokio::spawn(decide_pages(self.clone(), decider, keep, read, decisions, drawing));
        Ok(Deciding { pages: decided, reader, judge })
    }

    async fn put_in_force(
        &self,
        campaign: &Campaign,
        plan: i64,
        state: PlanState,
        tally: &Tally,
        report: &PlanReport,
        who: &str,
    ) -> Outcome<Plan> {
        let mut tx = self.db.begin().await?;
        let mut current = campaign::store::lock(&mut tx, campaign.id).await?;
        let read_in = current.state;
        let next = read_in.on(Command::Plan)?;
        if !campaign::store::finish_plan(&mut tx, plan, state, tally, report).await? {
            return Err(Failure::failed("the campaign was planned by somebody else in the meantime")
                .help("look at that plan with `ppmid campaign status`, or plan again"));
        }
        if state == PlanState::Ready {
            current.state = next;
            current.plan_id = Some(plan);
            current.approved_at = None;
            current.approved_by = None;
            current.approved_hash = None;
            current.policy_set = None;
            current.policy_binding = None;
            current.approved_until = None;
            campaign::store::save(&mut tx, &current, read_in).await?;
            self.tell(&mut tx, &[waits_for_approval(&current, tally)]).await?;
        }
        campaign::store::supersede_plans(&mut tx, campaign.id, plan, state).await?;
        let detail = json!({"plan": plan, "state": state, "sites": tally.sites(), "candidates": tally.candidate_hash()});
        record(&mut tx, self.now(), who, "campaign.plan", campaign.subject(), detail).await?;
        let stored = campaign::store::plan(&mut tx, plan).await?;
        tx.commit().await?;
        stored.ok_or_else(|| Failure::failed("the plan is gone"))
    }

    /// Gives up a plan that is being built.
    async fn drop_plan(&self, campaign: i64, plan: i64) -> Outcome {
        let mut tx = self.db.begin().await?;
        campaign::store::give_up_plan(&mut tx, plan).await?;
        tx.commit().await?;
        self.remove_superseded(campaign).await
    }

    /// Removes the rows of plans that another took the place of, a slice at a time.
    pub async fn remove_superseded(&self, campaign: i64) -> Outcome {
        for plan in campaign::store::superseded_plans(&mut self.db.read().await?, campaign).await? {
            loop {
                let mut tx = self.db.begin().await?;
                let removed = targets::delete_some(&mut tx, plan, REMOVE_ROWS).await?;
                if removed == 0 {
                    campaign::store::delete_plan(&mut tx, plan).await?;
                }
                tx.commit().await?;
                if removed == 0 {
                    break;
                }
            }
        }
        Ok(())
    }

    /// A file takes effect as a whole: whoever decides waits while one is being applied.
    pub(super) async fn wait_for_import(&self) -> Outcome {
        while estate::store::applying(&mut self.db.read().await?).await? {
            tokio::time::sleep(IMPORT_WAIT).await;
        }
        Ok(())
    }

    /// The plan a status shows: the one in force, else the newest.
    pub async fn shown_plan(&self, campaign: &Campaign) -> Outcome<Option<Plan>> {
        let mut tx = self.db.read().await?;
        let newest = campaign::store::newest_plan(&mut tx, campaign.id).await?;
        Ok(match campaign.plan_id {
            Some(id) if campaign.state != CampaignState::Planned && campaign.state != CampaignState::Approved => {
                campaign::store::plan(&mut tx, id).await?
            }
            _ => newest,
        })
    }
}

/// What is to be said of all sites that were decided about, and the waves where there are any.
pub(super) type Judged = (PlanReport, Option<Drawn>);

/// An estate that is being decided about.
pub(super) struct Deciding {
    /// What was decided, in the order of Device IDs.
    pub pages: mpsc::Receiver<Outcome<Vec<Decided>>>,
    reader: JoinHandle<()>,
    judge: JoinHandle<Outcome<Judged>>,
}

impl Deciding {
    /// Called when there are no more pages: what is to be said of all of it.
    pub async fn end(self) -> Outcome<Judged> {
        // A task that died closed its channel too: its end was not the estate's.
        let judged = self.reader.await.and(self.judge.await);
        judged.map_err(|_| Failure::failed("the estate could not be read to its end"))?
    }
}

/// Counts what is decided and lays it out for the writer, a transaction's worth at a time.
async fn gather(
    mut deciding: Deciding,
    mut empty: mpsc::Receiver<targets::Planned>,
    filled: mpsc::Sender<targets::Planned>,
) -> Outcome<(Tally, Judged)> {
    let mut tally = Tally::default();
    let stopped = || Failure::failed("the plan's rows could not be written");
    let mut rows = empty.recv().await.ok_or_else(stopped)?;
    let mut wanted = FIRST_SITES;
    while let Some(page) = deciding.pages.recv().await {
        for d in page? {
            tally.add(d.device, d.reason);
            rows.push(&d);
        }
        if rows.len() >= wanted {
            wanted = WRITE_SITES.min(wanted * 2);
            filled.send(rows).await.map_err(|_| stopped())?;
            rows = empty.recv().await.ok_or_else(stopped)?;
        }
    }
    filled.send(rows).await.map_err(|_| stopped())?;
    Ok((tally, deciding.end().await?))
}

/// One page, or why there are no more.
type Sent<T> = mpsc::Sender<Outcome<T>>;

async fn read_pages(app: App, filter: SiteFilter, at: Time, reads: Reads, pages: Sent<PackedPage>) {
    let mut after: Option<DeviceId> = None;
    loop {
        let page = read_page(&app, &filter, at, reads, after).await;
        after = page.as_ref().ok().and_then(|page| page.next);
        if pages.send(page).await.is_err() || after.is_none() {
            return;
        }
    }
}

async fn read_page(app: &App, filter: &SiteFilter, at: Time, reads: Reads, after: Option<DeviceId>) -> Outcome<PackedPage> {
    let mut tx = app.db.read().await?;
    Ok(estate::store::scan_packed(&mut tx, after, PAGE_SITES, scan(app, filter, at), reads).await?)
}

fn scan<'a>(app: &'a App, filter: &'a SiteFilter, at: Time) -> Scan<'a> {
    Scan { filter, own_mpids: &app.settings.organisation.mpids, day: at.london_day(), at, past: at < app.now() }
}

async fn decide_pages(
    app: App,
    decider: super::Decider,
    keep: bool,
    mut pages: mpsc::Receiver<Outcome<PackedPage>>,
    decided: Sent<Vec<Decided>>,
    mut drawing: Option<Drawing>,
) -> Outcome<Judged> {
    let mut groups = Groups::default();
    let kept = match keep {
        true => Kept::load(&app.db, scan(&app, &SiteFilter::default(), decider.at)).await.map(Some),
        false => Ok(None),
    };
    let kept = match kept {
        Ok(kept) => kept,
        Err(e) => {
            let _ = decided.send(Err(e.into())).await;
            return Ok((PlanReport::default(), None));
        }
    };
    while let Some(page) = pages.recv().await {
        let page = match page {
            Ok(page) => decide_page(&app, &decider, kept.as_ref(), &page, &mut groups, drawing.as_mut()).await,
            Err(failure) => Err(failure),
        };
        if decided.send(page).await.is_err() {
            return Ok((PlanReport::default(), None));
        }
    }
    let report = app.plan_report(&mut app.db.read().await?, &decider, &groups).await?;
    Ok((report, drawing.map(Drawing::end)))
}

async fn decide_page(
    app: &App,
    decider: &super::Decider,
    kept: Option<&Kept>,
    page: &PackedPage,
    groups: &mut Groups,
    drawing: Option<&mut Drawing>,
) -> Outcome<Vec<Decided>> {
    let mut tx = app.db.read().await?;
    decider.decide_packed(&mut tx, page, kept, groups, drawing).await
}

/// Changes whenever a file takes effect.
async fn facts_version(app: &App) -> Outcome<i64> {
    Ok(estate::store::estate_version(&mut app.db.read().await?).await?)
}
