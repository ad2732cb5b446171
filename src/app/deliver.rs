//! Deliveries to teams: each posted under its key until its receiver takes it, in order for a team. Promise: nothing is lost while a
//! receiver is down, within the time `notify.toml` allows; what may have arrived is sent again with the same key and the same bytes; and
//! what is given up is never silent.

use std::{collections::HashSet, time::Duration};

use serde_json::json;

use super::{
    App, record,
    teams::{ReadyTeam, may_tell},
};
use crate::{
    alarm::{AlarmKind, NewAlarm},
    clock::Time,
    db::Tx,
    failure::{Failure, Outcome},
    gateway::{Heard, WebhookPost, Webhooks, doubling},
    notify::{Aside, Delivery, DeliveryState, Payload, SIGNATURE_HEADER, signature, store, test_payload},
    policy::{ELECTRICITY_SUPPLIER_ROLE, Notify},
};

/// The first wait is one to two seconds, as towards DCC; then doubled up to an hour.
const FIRST_WAIT: Duration = Duration::from_secs(2);
const WAIT_CAP: Duration = Duration::from_secs(3_600);
/// However old: a receiver that was away for a moment just when this program came back has lost nothing. Takes 8 to 17 minutes.
const ATTEMPTS_LEAST: u32 = 10;
/// A receiver may fail this often at the oldest notification; then the next is tried once, to see which of the two is at fault.
const ATTEMPTS_AT_ONE: u32 = 10;

/// A delivery that is due, and what its team needs.
#[derive(Clone)]
pub struct DueDelivery {
    pub delivery: Delivery,
    pub team: ReadyTeam,
    notify: Notify,
}

/// What a test of a team's webhook came to.
#[derive(Debug, Clone)]
pub struct Tested {
    pub key: String,
    pub heard: Heard,
    pub took: Duration,
}

impl App {
    /// What is due, at most one for each team that is not among `busy`.
    pub async fn deliveries_due(&self, busy: &HashSet<String>) -> Outcome<Vec<DueDelivery>> {
        if !may_tell(&self.settings) || !store::any_open(&mut self.db.read().await?).await? {
            return Ok(Vec::new());
        }
        let notify = self.policies()?.notify;
        let teams = super::ready_teams(&self.settings, &notify)?;
        let mut tx = self.db.read().await?;
        let mut due = Vec::new();
        // Bounded by the file (TEAMS_MAX), and by an index.
        for team in teams.into_iter().filter(|t| !busy.contains(&t.team.name)) {
            let found = store::due(&mut tx, &team.team.name, team.team.mpid, self.now()).await?;
            due.extend(found.map(|delivery| DueDelivery { delivery, team, notify: notify.clone() }));
        }
        Ok(due)
    }

    /// Posts one delivery once, and notes what came of it.
    pub async fn deliver(&self, to: &dyn Webhooks, due: &DueDelivery) -> Outcome<Heard> {
        let payload = Payload { key: due.delivery.key.clone(), body: due.delivery.body.clone() };
        let heard = to.post(post(&due.team, &due.notify, payload, self.now())).await;
        crate::crash::point("after-notification");
        self.note_heard(due, &heard).await?;
        Ok(heard)
    }

    async fn note_heard(&self, due: &DueDelivery, heard: &Heard) -> Outcome {
        let (delivery, now) = (&due.delivery, self.now());
        let attempts = delivery.attempts + 1;
        let too_old = now.plus_millis(-due.notify.give_up_after.millis());
        let give_up = delivery.pending_since <= too_old && attempts >= ATTEMPTS_LEAST;
        let wait = doubling(attempts, delivery.id as u64, FIRST_WAIT, WAIT_CAP);
        let after = |wait: Duration| now.plus_millis(wait.as_millis() as i64);
        let mut tx = self.db.begin().await?;
        let moved = match heard {
            Heard::Taken => store::delivered(&mut tx, delivery, now).await?,
            Heard::Gone { why } => self.give_up(&mut tx, due, why, None).await?,
            Heard::Refused { why } if give_up => self.give_up(&mut tx, due, why, None).await?,
            Heard::Refused { why } => store::later(&mut tx, delivery, why, Aside::Refused, after(wait)).await?,
            Heard::NotNow { why, .. } if give_up => self.give_up(&mut tx, due, why, Some(too_old)).await?,
            Heard::NotNow { why, retry_after } => {
                let aside = if attempts >= ATTEMPTS_AT_ONE { Aside::PassedOver } else { delivery.aside };
                let wait = wait.max(retry_after.unwrap_or_default().min(WAIT_CAP));
                let moved = store::later(&mut tx, delivery, why, aside, after(wait)).await?;
                if moved && delivery.aside == Aside::No {
                    // It was not the fault of those before it.
                    store::take_back_before(&mut tx, delivery).await?;
                }
                moved
            }
        };
        // Otherwise another node was quicker, or a person was.
        if moved {
            tx.commit().await?;
        }
        Ok(())
    }

    /// Gives up one delivery, and with `since` what else of its team has been pending since before then. The other teams are told.
    async fn give_up(&self, tx: &mut Tx, due: &DueDelivery, why: &str, since: Option<Time>) -> Outcome<bool> {
        let (delivery, team, now) = (&due.delivery, &due.team.team, self.now());
        if !store::give_up(tx, delivery, why, now).await? {
            return Ok(false);
        }
        let mut given_up = 1;
        if let Some(since) = since {
            let behind = format!("given up with notification {} before it: {why}", delivery.notification);
            given_up += store::give_up_behind(tx, &team.name, since, &behind, now).await?;
            store::put_off_next(tx, &team.name, now.plus_millis(WAIT_CAP.as_millis() as i64)).await?;
        }
        let (name, mpid) = (&team.name, team.mpid);
        let alarm = NewAlarm {
            kind: AlarmKind::NotificationsGivenUp,
            subject: format!("team {name}"),
            campaign: None,
            sentence: format!("team {name} ({mpid}) was not told of {given_up} notifications, which are given up: {why}"),
            remedy: format!(
                "look at `ppmid notify list --state given_up --team {name}`, put its receiver or notify.toml right, check with \
                 `ppmid notify test {name}`, then `ppmid notify retry ID`, and end this alarm"
            ),
        };
        self.raise_alarm_but_to(tx, &alarm, Some(name)).await?;
        Ok(true)
    }

    /// A page of deliveries, oldest first.
    pub async fn deliveries(
        &self,
        state: Option<DeliveryState>,
        team: Option<&str>,
        after: i64,
        limit: u32,
    ) -> Outcome<Vec<Delivery>> {
        Ok(store::list(&mut self.db.read().await?, state, team, after, limit).await?)
    }

    /// How many notifications wait for the daemon to make their deliveries.
    pub async fn notifications_waiting(&self) -> Outcome<i64> {
        Ok(store::count_to_spread(&mut self.db.read().await?).await?)
    }

    pub async fn delivery(&self, id: i64) -> Outcome<Delivery> {
        store::get(&mut self.db.read().await?, id).await?.ok_or_else(|| no_delivery(id))
    }

    /// Has a delivery tried again at once, and for as long as a new one. What was delivered is not sent again.
    pub async fn retry_delivery(&self, id: i64, who: &str) -> Outcome<Delivery> {
        let mut tx = self.db.begin().await?;
        let found = store::get(&mut tx, id).await?.ok_or_else(|| no_delivery(id))?;
        if !store::retry(&mut tx, id, self.now()).await? {
            return Err(Failure::failed(format!("delivery {id} has been delivered"))
                .help("its receiver would drop it as one it has seen: nothing is to be done"));
        }
        let detail = json!({"team": found.team, "was": found.state, "attempts": found.attempts});
        record(&mut tx, self.now(), who, "notify.retry", format!("delivery {id}"), detail).await?;
        let pending = store::get(&mut tx, id).await?.unwrap_or(found);
        tx.commit().await?;
        Ok(pending)
    }

    /// Posts a test to a team now, once; what came of it is not kept.
    pub async fn test_team(&self, to: &dyn Webhooks, name: &str, who: &str) -> Outcome<Tested> {
        let role = &self.settings.organisation.role;
        if !may_tell(&self.settings) {
            return Err(Failure::refused(
                "ROLE_NOT_PERMITTED",
                format!("our role is {role}, and nothing is told but by {ELECTRICITY_SUPPLIER_ROLE}"),
            )
            .help("correct organisation.role if that is wrong"));
        }
        let notify = self.policies()?.notify;
        let teams = super::ready_teams(&self.settings, &notify)?;
        let names = teams.iter().map(|t| t.team.name.as_str()).collect::<Vec<_>>().join(", ");
        let Some(team) = teams.iter().find(|t| t.team.name == name) else {
            let known = if names.is_empty() { "it names no team".to_string() } else { format!("it names {names}") };
            return Err(
                Failure::failed(format!("notify.toml has no team {name:?}")).help(format!("{known}; docs/notifications.md"))
            );
        };
        let mut tx = self.db.begin().await?;
        let at = self.now();
        record(&mut tx, at, who, "notify.test", format!("team {name}"), json!({"mpid": team.team.mpid})).await?;
        tx.commit().await?;
        let payload = test_payload(&team.team, who, at);
        let key = payload.key.clone();
        let heard = to.post(post(team, &notify, payload, at)).await;
        let took = Duration::from_millis(u64::try_from(self.now().0 - at.0).unwrap_or(0));
        Ok(Tested { key, heard, took })
    }
}

fn no_delivery(id: i64) -> Failure {
    Failure::failed(format!("there is no delivery {id}")).help("`ppmid notify list` shows them")
}

fn post(team: &ReadyTeam, notify: &Notify, payload: Payload, at: Time) -> WebhookPost {
    let headers = vec![("Idempotency-Key", payload.key), (SIGNATURE_HEADER, signature(&team.secret, &payload.body, at))];
    WebhookPost {
        url: team.team.url.clone(),
        ca: team.ca.clone(),
        headers,
        body: payload.body,
        timeout: Duration::from_millis(notify.timeout.millis() as u64),
    }
}
