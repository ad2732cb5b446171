//! Alarms: raised by whoever meets the trouble, ended by the facts or by a person. Each is in the audit trail.

use serde_json::json;

use super::{App, control::check_reason, record};
use crate::{
    alarm::{self, Alarm, AlarmKind, NewAlarm},
    db::Tx,
    failure::{Failure, Outcome},
    notify::Notification,
};

impl App {
    /// Raises an alarm within the caller's transaction, once while it stands, and tells the teams. Gives whether it is new.
    pub(super) async fn raise_alarm(&self, tx: &mut Tx, new: &NewAlarm) -> Outcome<bool> {
        self.raise_alarm_but_to(tx, new, None).await
    }

    /// The same, without telling one of the teams: that it cannot be told is what the alarm says.
    pub(super) async fn raise_alarm_but_to(&self, tx: &mut Tx, new: &NewAlarm, but_not: Option<&str>) -> Outcome<bool> {
        let now = self.now();
        let Some(id) = alarm::store::raise(tx, new, now).await? else { return Ok(false) };
        tracing::error!(alarm = id, kind = %new.kind, subject = new.subject, remedy = new.remedy, "{}", new.sentence);
        let detail = json!({"alarm": id, "kind": new.kind, "sentence": new.sentence});
        record(tx, now, "engine", "alarm.raise", new.subject.clone(), detail).await?;
        let numbers = [("alarm", Some(id)), ("campaign", new.campaign)].into_iter().filter_map(|(name, n)| Some((name, n?)));
        let (sentence, remedy) = (new.sentence.clone(), new.remedy.clone());
        let told = Notification::of_alarm(new.subject.clone(), sentence, remedy, numbers.collect(), but_not.map(str::to_string));
        self.tell(tx, &[told]).await?;
        Ok(true)
    }

    /// The trouble is over: ends the alarm, if one stands.
    pub(super) async fn end_alarm(&self, tx: &mut Tx, kind: AlarmKind, subject: &str, who: &str, why: &str) -> Outcome {
        let now = self.now();
        let Some(id) = alarm::store::end(tx, kind, subject, who, why, now).await? else { return Ok(()) };
        record(tx, now, who, "alarm.end", subject.to_string(), json!({"alarm": id, "kind": kind, "why": why})).await
    }

    /// A person ends an alarm.
    pub async fn dismiss_alarm(&self, id: i64, reason: &str, who: &str) -> Outcome<Alarm> {
        check_reason(reason)?;
        let now = self.now();
        let mut tx = self.db.begin().await?;
        let Some(found) = alarm::store::get(&mut tx, id).await? else {
            return Err(Failure::failed(format!("there is no alarm {id}")).help("`ppmid alarm list` shows those that stand"));
        };
        if alarm::store::end_one(&mut tx, id, who, reason, now).await? {
            let detail = json!({"alarm": id, "kind": found.kind, "why": reason});
            record(&mut tx, now, who, "alarm.end", found.subject.clone(), detail).await?;
        }
        let ended = alarm::store::get(&mut tx, id).await?.unwrap_or(found);
        tx.commit().await?;
        Ok(ended)
    }

    /// A page of alarms, oldest first.
    pub async fn alarms(&self, standing: bool, campaign: Option<i64>, after: i64, limit: u32) -> Outcome<Vec<Alarm>> {
        Ok(alarm::store::list(&mut self.db.read().await?, standing, campaign, after, limit).await?)
    }
}
