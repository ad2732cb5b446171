//! Silence: what is in flight past its deadline is asked which version it runs, where the steps of its model say so, and then sent again
//! or given up, as `target::silence` decides; where they say nothing it expires. The asking itself is `ask`'s, what an answer means
//! `heard`'s, and what is queued again leaves in a batch like any other. Promise: set-based, a page at a time; a device whose campaign
//! is paused or halted stays as it is where anybody may be asked; whichever process dies in between, the next goes on.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{App, ask::give_up, decide::sites, import::whole_facts};
use crate::{
    campaign::{self, Campaign, CampaignState, store::Followed},
    clock::Time,
    db::Tx,
    estate::SiteRow,
    failure::Outcome,
    gateway::{outbox, quarantine},
    ids::DeviceId,
    policy::{DeviceSteps, PolicySet, ReadStep, windows::Gate},
    target::{
        Event, TargetState,
        silence::{self, Because as Why, Follows, Pace, Silent},
        store::{
            self as targets, Because, Cause, Change, GROUP_ROWS, Moved, Target, Which,
            reads::{self, Read},
            silent::{self, NewAsk},
        },
    },
};

const NO_NEWS: &str = "no news from DCC within the time allowed";
/// Reads whose turn did not come that are ended in one transaction.
const ENDED_AT_ONCE: usize = 500;

/// What was done about the silent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Silenced {
    /// Put down to be asked.
    pub asked: u64,
    /// Queued, to be sent again.
    pub queued: u64,
    pub expired: u64,
}

/// What a page of silent devices comes to.
#[derive(Default)]
struct Page {
    expired: Vec<Change>,
    again: Vec<(Change, Time)>,
    asks: Vec<NewAsk>,
    /// Whose read says no more.
    closed: Vec<DeviceId>,
}

/// What is known of a page's sites.
struct Sites {
    rows: HashMap<DeviceId, SiteRow>,
    steps: HashMap<DeviceId, DeviceSteps>,
}

impl App {
    /// Follows everything that is silent past its deadline.
    pub async fn follow_silence(&self) -> Outcome<Silenced> {
        let policies = self.policies()?;
        let mut done = Silenced::default();
        let followed = campaign::store::followed(&mut self.db.read().await?).await?;
        for campaign in &followed {
            let mut look = self.db.read().await?;
            let Some(state) = campaign::store::get(&mut look, campaign.campaign_id).await?.map(|c| c.state) else { continue };
            let overdue = targets::any_overdue(&mut look, campaign.plan_id, self.now()).await?;
            let awaited = silent::any_awaited(&mut look, campaign.plan_id).await?;
            drop(look);
            let stands_still = matches!(state, CampaignState::Paused | CampaignState::Halted);
            if awaited && !stands_still {
                let mut tx = self.db.begin().await?;
                silent::drop_needless(&mut tx, campaign.plan_id).await?;
                tx.commit().await?;
                self.end_unreached(campaign, &policies).await?;
                self.conclude(campaign, &policies, &mut done).await?;
            }
            if overdue {
                match (policies.steps.asks_any(), state) {
                    (true, CampaignState::Started) => self.ask_overdue(campaign, &policies, &mut done).await?,
                    (true, CampaignState::Paused | CampaignState::Halted) => {}
                    _ => done.expired += self.expire_overdue(campaign.plan_id).await?,
                }
            }
        }
        Ok(done)
    }

    /// Without a question, in one statement.
    async fn expire_overdue(&self, plan: i64) -> Outcome<u64> {
        let mut tx = self.db.begin().await?;
        let moved = Moved { detail: Some(NO_NEWS), ..Moved::because(Because::of(Cause::Silence)) };
        let expired = targets::move_all(&mut tx, plan, Which::Overdue, Event::Silent, moved, self.now()).await?;
        tx.commit().await?;
        Ok(expired)
    }

    /// Puts down to be asked what is past its deadline; the rest of it expires.
    async fn ask_overdue(&self, of: &Followed, policies: &PolicySet, done: &mut Silenced) -> Outcome {
        let (now, plan) = (self.now(), of.plan_id);
        let last = silent::last_due(&mut self.db.read().await?).await?;
        let mut pace = Pace::new(policies.steps.reads_per_minute, last, now);
        let mut after = None;
        loop {
            let Some((mut tx, campaign)) = self.locked(of).await? else { return Ok(()) };
            let overdue = silent::overdue(&mut tx, plan, now, after, GROUP_ROWS).await?;
            let Some(last) = overdue.last() else { return Ok(()) };
            after = Some(last.device);
            let known = self.sites_of(&mut tx, overdue.iter().map(|t| t.device), policies).await?;
            let mut page = Page::default();
            for target in &overdue {
                let steps = known.steps.get(&target.device);
                let silent = steps.map(|steps| Silent {
                    steps,
                    asked: None,
                    retries: target.retries,
                    goes_on: goes_on(&campaign, known.rows.get(&target.device), now),
                    may_be_out: false,
                });
                let follows = silent.map_or(Follows::Expires(Why::NotAsked), |silent| silence::follows(&silent, now));
                let ask = match (follows, steps) {
                    (Follows::Ask(kind), Some(steps)) => new_ask(target, kind, steps, policies, &mut pace, now),
                    _ => None,
                };
                match ask {
                    Some(ask) => page.asks.push(ask),
                    None if matches!(follows, Follows::Ask(_)) => {
                        let why = format!("{NO_NEWS}; more were silent than could be asked in time");
                        page.expired.push(expires(target, why));
                    }
                    None => page.expired.push(expires(target, NO_NEWS.into())),
                }
            }
            if !self.save_page(tx, &campaign, page, done).await? {
                return Ok(());
            }
        }
    }

    /// What follows for the devices whose read has ended.
    async fn conclude(&self, of: &Followed, policies: &PolicySet, done: &mut Silenced) -> Outcome {
        let (now, plan) = (self.now(), of.plan_id);
        let last = silent::last_due(&mut self.db.read().await?).await?;
        let mut pace = Pace::new(policies.steps.reads_per_minute, last, now);
        loop {
            let Some((mut tx, campaign)) = self.locked(of).await? else { return Ok(()) };
            let ended = silent::ended(&mut tx, plan, GROUP_ROWS).await?;
            if ended.is_empty() {
                return Ok(());
            }
            let devices: Vec<DeviceId> = ended.iter().map(|r| r.device).collect();
            let found = targets::find(&mut tx, &[plan], &devices).await?;
            let found: BTreeMap<DeviceId, Target> = found.into_iter().map(|t| (t.device, t)).collect();
            let known = self.sites_of(&mut tx, devices.into_iter(), policies).await?;
            let open: HashSet<i64> = outbox::open_batches(&mut tx, campaign.id).await?.into_iter().collect();
            let quarantined: HashSet<i64> =
                quarantine::store::standing(&mut tx).await?.iter().filter_map(|q| q.batch_id).collect();
            let mut page = Page::default();
            for read in &ended {
                let target = found.get(&read.device).filter(|t| still_silent(t, read.open_for));
                let Some(target) = target else {
                    page.closed.push(read.device);
                    continue;
                };
                let Some(steps) = known.steps.get(&read.device) else {
                    // Without a site nothing can be asked, but it has to end.
                    page.expired.push(expires(target, NO_NEWS.into()));
                    page.closed.push(read.device);
                    continue;
                };
                if target.batch_id.is_some_and(|batch| quarantined.contains(&batch)) {
                    // Nobody is silent while DCC holds the request.
                    page.closed.push(read.device);
                    continue;
                }
                let silent = Silent {
                    steps,
                    asked: Some((read.kind, read.standing.state)),
                    retries: target.retries,
                    goes_on: goes_on(&campaign, known.rows.get(&read.device), now),
                    may_be_out: target.batch_id.is_some_and(|batch| open.contains(&batch)),
                };
                let follows = silence::follows(&silent, now);
                match follows {
                    Follows::Ask(kind) => match new_ask(target, kind, steps, policies, &mut pace, now) {
                        Some(ask) => {
                            page.asks.push(ask);
                            continue;
                        }
                        None => page.expired.push(expires(target, told(Why::NoVersion, read, of, target))),
                    },
                    Follows::Again { not_before } => {
                        let nth = target.retries + 1;
                        let detail = format!(
                            "{NO_NEWS}; asked, it runs {}, not {}: sent again, not before {not_before} (retry {nth} of {})",
                            runs(read),
                            of.firmware_version,
                            steps.retries
                        );
                        page.again.push((change(target, TargetState::Queued, detail), not_before));
                    }
                    Follows::Expires(why) => page.expired.push(expires(target, told(why, read, of, target))),
                    Follows::Nothing => {}
                }
                page.closed.push(read.device);
            }
            if !self.save_page(tx, &campaign, page, done).await? {
                return Ok(());
            }
        }
    }

    /// Ends the questions whose turn did not come in their time. Time in which a window is closed does not count.
    async fn end_unreached(&self, of: &Followed, policies: &PolicySet) -> Outcome {
        let (now, plan) = (self.now(), of.plan_id);
        loop {
            let Some((mut tx, campaign)) = self.locked(of).await? else { return Ok(()) };
            let mut unreached = silent::not_reached(&mut tx, plan, now, ENDED_AT_ONCE).await?;
            if unreached.is_empty() {
                return Ok(());
            }
            let known = self.sites_of(&mut tx, unreached.iter().map(|r| r.device), policies).await?;
            let mut closed: BTreeMap<Time, Vec<DeviceId>> = BTreeMap::new();
            unreached.retain(|read| {
                let row = known.rows.get(&read.device).filter(|row| goes_on(&campaign, Some(row), now));
                let gate = row.map(|row| policies.windows.open(now, row.site.cohort, row.site.region.as_deref()));
                if let Some(Gate::Closed(until)) = &gate {
                    closed.entry(until.until.unwrap_or(now).max(now)).or_default().push(read.device);
                }
                !matches!(gate, Some(Gate::Closed(_)))
            });
            for (opens, devices) in closed {
                silent::put_off(&mut tx, plan, &devices, opens).await?;
            }
            unreached.iter_mut().for_each(|read| give_up(read, "its turn did not come in the time there was"));
            if reads::save(&mut tx, &unreached).await? != unreached.len() as u64 {
                return Ok(());
            }
            tx.commit().await?;
        }
    }

    /// A transaction in which the campaign stays as it is. `None`: it stands still, or a file is half applied; the next look goes on.
    async fn locked(&self, of: &Followed) -> Outcome<Option<(Tx, Campaign)>> {
        let mut tx = self.db.begin().await?;
        let campaign = campaign::store::lock(&mut tx, of.campaign_id).await?;
        let stands_still = matches!(campaign.state, CampaignState::Paused | CampaignState::Halted);
        let may = !stands_still && campaign.plan_id == Some(of.plan_id) && whole_facts(&mut tx).await?.is_some();
        Ok(may.then_some((tx, campaign)))
    }

    async fn sites_of(&self, tx: &mut Tx, devices: impl Iterator<Item = DeviceId>, policies: &PolicySet) -> Outcome<Sites> {
        let devices: Vec<DeviceId> = devices.collect();
        let rows = sites(tx, &devices, &self.settings.organisation.mpids, self.now()).await?;
        let steps = rows.iter().map(|r| (r.site.device_id, policies.steps.of_site(&r.site))).collect();
        Ok(Sites { steps, rows: rows.into_iter().map(|r| (r.site.device_id, r)).collect() })
    }

    /// `false`, and nothing written: another loop moved one of them, so that the next look finds the rest.
    async fn save_page(&self, mut tx: Tx, campaign: &Campaign, page: Page, done: &mut Silenced) -> Outcome<bool> {
        let (now, Some(plan)) = (self.now(), campaign.plan_id) else { return Ok(false) };
        let expired = targets::apply(&mut tx, &page.expired, now).await?;
        let queued = silent::queue_again(&mut tx, &page.again, now).await?;
        if expired != page.expired.len() as u64 || queued != page.again.len() as u64 {
            return Ok(false);
        }
        crate::crash::point("silence-half-done");
        silent::ask(&mut tx, plan, campaign.id, &page.asks, now).await?;
        silent::close(&mut tx, plan, &page.closed).await?;
        tx.commit().await?;
        *done = Silenced {
            asked: done.asked + page.asks.len() as u64,
            queued: done.queued + queued,
            expired: done.expired + expired,
        };
        Ok(true)
    }
}

/// Whether a read that is waited for still decides about this target: nothing was heard of it since, and it is in the same request.
pub(super) fn still_silent(target: &Target, open_for: Option<i64>) -> bool {
    target.state.is_in_flight() && target.answer_by.is_none() && target.batch_id == open_for
}

fn goes_on(campaign: &Campaign, row: Option<&SiteRow>, now: Time) -> bool {
    campaign.state == CampaignState::Started && row.is_some_and(|row| row.is_ours_on(now.london_day()))
}

fn new_ask(
    target: &Target,
    kind: ReadStep,
    steps: &DeviceSteps,
    policies: &PolicySet,
    pace: &mut Pace,
    now: Time,
) -> Option<NewAsk> {
    let within_millis = steps.ask_within(policies.eligibility.answer_within).millis();
    let due_at = pace.take(now.plus_millis(within_millis))?;
    Some(NewAsk { device: target.device, version: target.version, batch_id: target.batch_id?, kind, due_at, within_millis })
}

fn change(target: &Target, state: TargetState, detail: String) -> Change {
    Change {
        plan_id: target.plan_id,
        device: target.device,
        version: target.version,
        state,
        reason: target.reason,
        answer_by: None,
        detail: Some(detail),
        because: Because::of(Cause::Silence),
    }
}

fn expires(target: &Target, detail: String) -> Change {
    change(target, target.state.on(Event::Silent).unwrap_or(TargetState::Expired), detail)
}

fn runs(read: &Read) -> &str {
    read.answer_version.as_deref().unwrap_or("another version")
}

/// Why it expires, for people.
fn told(why: Why, read: &Read, of: &Followed, target: &Target) -> String {
    let differs = || format!("{NO_NEWS}; asked, it runs {}, not {}", runs(read), of.firmware_version);
    match why {
        Why::NotAsked => NO_NEWS.into(),
        Why::NoVersion => {
            let note = read.note.as_deref().map(|note| format!(": {note}")).unwrap_or_default();
            format!("{NO_NEWS}; no version was had either{note}")
        }
        Why::Unchanged if target.retries == 0 => differs(),
        Why::Unchanged => format!("{}, after it was sent {} times", differs(), target.attempts),
        Why::MayBeOut => format!("{}; it is not sent again, since its request may still be out", differs()),
    }
}
