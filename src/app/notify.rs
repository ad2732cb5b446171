//! Something is told: kept in the transaction of what it tells ([`App::tell`], the one door), and later made into a delivery for each
//! team that asked for it. Whom a change of `notify.toml` concerns is decided when deliveries are made, so nothing that happens waits
//! for that file to be right.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{App, decide::sites, teams::may_tell};
use crate::{
    campaign::{Campaign, batch::Batch},
    clock::Time,
    db::Tx,
    failure::Outcome,
    ids::{DeviceId, Mpid, RequestId},
    notify::{
        Audience, Notification, Payload, Team, Whom,
        store::{self, New},
    },
};

/// Notifications made into deliveries in one transaction.
const PAGE_NOTIFICATIONS: u32 = 500;
/// How long a case waits for its site to be loaded, and to be ours, until nobody is told of it: files of sites come at least monthly.
const HOLDER_WAIT_MILLIS: i64 = 31 * 86_400_000;

impl App {
    /// Tells the teams of our own MPIDs, within the caller's transaction: if that is not committed, nobody is told.
    ///
    /// ```ignore
    /// let news = Notification::of_case(CaseNews::Opened, device, sentence, remedy, vec![("attempts", 3)]);
    /// self.tell(&mut tx, &[news]).await?;      // as many at once as there are
    /// ```
    ///
    /// Of a case only the teams of the MPID that holds the site today are told. Call it once for each thing that happened: it does not
    /// know whether this was told before.
    pub(super) async fn tell(&self, tx: &mut Tx, all: &[Notification]) -> Outcome {
        let now = self.now();
        let own = &self.settings.organisation.mpids;
        let about: Vec<DeviceId> = all
            .iter()
            .filter_map(|n| match n.audience {
                Audience::HolderOf(device) => Some(device),
                Audience::Own { .. } | Audience::Of(_) => None,
            })
            .collect();
        let holders = if about.is_empty() { HashMap::new() } else { holders(tx, &about, own, now).await? };
        keep(tx, all, &holders, now).await
    }

    /// Makes deliveries of what was told, for the teams in force now. Gives how many.
    pub async fn spread_notifications(&self) -> Outcome<u64> {
        if !store::any_open(&mut self.db.read().await?).await? {
            return Ok(0);
        }
        let ready = if may_tell(&self.settings) { self.teams()? } else { Vec::new() };
        let teams: Vec<Team> = ready.into_iter().map(|r| r.team).collect();
        self.give_up_strangers(&teams).await?;
        let mut made = 0;
        loop {
            let mut tx = self.db.begin().await?;
            let page = store::to_spread(&mut tx, PAGE_NOTIFICATIONS).await?;
            if page.is_empty() {
                return Ok(made);
            }
            let mut deliveries = Vec::new();
            for told in &page {
                let for_it = teams.iter().filter(|team| told.is_for(team));
                deliveries.extend(for_it.map(|team| (told.id, team, Payload::of(told, team))));
            }
            let ids: Vec<i64> = page.iter().map(|told| told.id).collect();
            made += store::spread(&mut tx, &ids, &deliveries, self.now()).await?;
            tx.commit().await?;
        }
    }

    /// Of cases that were told while nobody of us held their sites, as far as anybody knew: finds those that somebody of us holds now, and tells
    /// nobody what waited too long. Sites and registrations that changed call for it, and a day that begins.
    pub async fn find_holders(&self) -> Outcome {
        let (now, mut after) = (self.now(), 0);
        loop {
            let mut tx = self.db.read().await?;
            let page = store::without_holder(&mut tx, after, PAGE_NOTIFICATIONS).await?;
            let Some((last, ..)) = page.last() else { return Ok(()) };
            after = *last;
            let about = page.iter().filter_map(|(_, subject, _)| subject.parse().ok()).collect::<Vec<DeviceId>>();
            let holders = holders(&mut tx, &about, &self.settings.organisation.mpids, now).await?;
            drop(tx);
            let holder = |subject: &str| holders.get(&subject.parse::<DeviceId>().ok()?).copied();
            let (mut found, mut nobodys) = (Vec::new(), Vec::new());
            for (id, subject, happened_at) in &page {
                match holder(subject) {
                    Some(mpid) => found.push((*id, mpid)),
                    None if happened_at.plus_millis(HOLDER_WAIT_MILLIS) <= now => nobodys.push(*id),
                    None => {}
                }
            }
            if !(found.is_empty() && nobodys.is_empty()) {
                let mut tx = self.db.begin().await?;
                store::held_by(&mut tx, &found).await?;
                store::spread(&mut tx, &nobodys, &[], now).await?;
                tx.commit().await?;
            }
        }
    }

    /// What waits for a team that is in the file no more is given up: whoever took it out meant that.
    async fn give_up_strangers(&self, teams: &[Team]) -> Outcome {
        if !may_tell(&self.settings) || !store::any_strangers(&mut self.db.read().await?, teams).await? {
            return Ok(());
        }
        let mut tx = self.db.begin().await?;
        let why = "notify.toml has no such team of this MPID any more";
        let by_team = store::give_up_strangers(&mut tx, teams, why, self.now()).await?;
        tx.commit().await?;
        for (team, deliveries) in by_team {
            tracing::warn!(team, deliveries, "notifications are given up: {why}");
        }
        Ok(())
    }
}

/// The own MPID that is registered today for the site of each device; none for a site that is not ours, or not known.
pub(super) async fn holders(tx: &mut Tx, devices: &[DeviceId], own: &[Mpid], now: Time) -> Outcome<HashMap<DeviceId, Mpid>> {
    let day = now.london_day();
    let rows = sites(tx, devices, own, now).await?;
    let holder = |row: crate::estate::SiteRow| {
        let covering = row.own_registrations.iter().find(|r| r.covers(day))?.supplier_mpid;
        Some((row.site.device_id, covering))
    };
    Ok(rows.into_iter().filter_map(holder).collect())
}

async fn keep(tx: &mut Tx, all: &[Notification], holders: &HashMap<DeviceId, Mpid>, now: Time) -> Outcome {
    let new = |n| new(n, holders);
    store::insert(tx, &all.iter().map(new).collect::<Vec<_>>(), now).await?;
    Ok(())
}

fn new<'a>(n: &'a Notification, holders: &HashMap<DeviceId, Mpid>) -> New<'a> {
    let to = match &n.audience {
        Audience::Own { but_not } => Whom::Own { but_not: but_not.clone() },
        Audience::HolderOf(device) => Whom::Holder(holders.get(device).copied()),
        Audience::Of(mpid) => Whom::Holder(Some(*mpid)),
    };
    let numbers: Map<String, Value> = n.numbers.iter().map(|(name, number)| (name.to_string(), (*number).into())).collect();
    New { kind: n.kind, to, subject: &n.subject, sentence: &n.sentence, remedy: &n.remedy, numbers: numbers.into() }
}

/// A batch waits for a person: told where it is held, which no `App` is at hand for.
pub(super) async fn tell_held(tx: &mut Tx, request: RequestId, batch: &Batch, why: &str, now: Time) -> Outcome {
    let sentence = format!("batch {} of campaign {} waits for a person: {why}", batch.number, batch.campaign_id);
    let remedy = format!(
        "`ppmid outbox show {request}` tells what was posted and answered; `ppmid outbox replay {request}` lets it go on once what \
         stands against it is put right. Its devices are followed meanwhile"
    );
    let numbers = vec![("campaign", batch.campaign_id), ("batch", batch.number), ("devices", batch.members.len() as i64)];
    keep(tx, &[Notification::of_campaign(batch.campaign_id, sentence, remedy, numbers)], &HashMap::new(), now).await
}

/// A campaign was planned, and waits for the second person.
pub(super) fn waits_for_approval(campaign: &Campaign, tally: &crate::campaign::Tally) -> Notification {
    use crate::policy::Outcome as O;
    let count = |outcome| tally.count(outcome);
    let (eligible, held) = (count(O::Eligible), count(O::Held));
    let sentence =
        format!("campaign {} is planned and waits for its approval: {eligible} sites eligible, {held} held", campaign.name);
    let remedy = format!("look at `ppmid campaign status {0}`, then `ppmid campaign approve {0} --by NAME`", campaign.id);
    let numbers = vec![
        ("campaign", campaign.id),
        ("sites", tally.sites()),
        ("eligible", eligible),
        ("held", held),
        ("ineligible", count(O::Ineligible)),
    ];
    Notification::of_campaign(campaign.id, sentence, remedy, numbers)
}

/// A campaign has come to its end.
pub(super) fn has_finished(campaign: &Campaign) -> Notification {
    let sentence = format!("campaign {} has finished: every device has come to its end", campaign.name);
    let remedy = format!("look at `ppmid campaign status {0}`; `ppmid campaign retry {0}` queues again what failed", campaign.id);
    Notification::of_campaign(campaign.id, sentence, remedy, vec![("campaign", campaign.id)])
}
