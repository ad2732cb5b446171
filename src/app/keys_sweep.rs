//! What time alone does to key cases: retries end, and lines of a re-run request that nobody answered lapse. By the engine.

use serde_json::json;

use super::{App, record};
use crate::{
    alarm::{AlarmKind, NewAlarm},
    db::Tx,
    failure::Outcome,
    ids::DeviceId,
    keys::{self, CaseFilter, CaseVerb, GivenUp, KeyCaseState},
};

/// Cases given up in one transaction.
const PAGE_CASES: usize = 1_000;
/// The alarm's subject: there is one, however many cases.
const SUBJECT: &str = "missing keys";

/// What a sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Cases that are now under investigation.
    pub given_up: u64,
    /// Lines of re-run requests that nobody answered.
    pub lapsed: u64,
}

impl App {
    /// Gives up what has been retried long enough, lapses what nobody answered, and ends the alarm when somebody sees to every
    /// case. Doing it twice changes nothing.
    pub async fn sweep_key_cases(&self) -> Outcome<Swept> {
        let mut swept = Swept { lapsed: self.lapse_requests().await?, ..Swept::default() };
        loop {
            if keys::store::giving_up(&mut self.db.read().await?, self.now(), 1).await?.is_empty() {
                break;
            }
            let mut tx = self.db.begin().await?;
            swept.given_up += self.give_up_page(&mut tx).await?;
            tx.commit().await?;
        }
        self.end_given_up().await?;
        Ok(swept)
    }

    async fn give_up_page(&self, tx: &mut Tx) -> Outcome<u64> {
        let now = self.now();
        let cases = keys::store::giving_up(tx, now, PAGE_CASES).await?;
        for why in GivenUp::ALL {
            let these: Vec<(i64, DeviceId)> = cases.iter().filter(|c| c.2 == *why).map(|c| (c.0, c.1)).collect();
            if these.is_empty() {
                continue;
            }
            let ids: Vec<i64> = these.iter().map(|c| c.0).collect();
            keys::store::escalate(tx, &ids, None, None, now).await?;
            keys::store::note(tx, &ids, CaseVerb::GiveUp, why.as_str(), "engine", now).await?;
            let devices: Vec<DeviceId> = these.iter().map(|c| c.1).collect();
            let detail = json!({"why": why, "cases": ids.len(), "devices": devices});
            record(tx, now, "engine", "keys.give-up", "key cases".into(), detail).await?;
            self.tell_given_up(tx, &devices, *why).await?;
        }
        if !cases.is_empty() {
            self.raise_given_up(tx, cases.len() as u64).await?;
        }
        Ok(cases.len() as u64)
    }

    /// Lapses what nobody answered; each of the cases is due again when its timetable says.
    async fn lapse_requests(&self) -> Outcome<u64> {
        let now = self.now();
        let policies = self.policies()?;
        let asked_by = now.plus_millis(-policies.retry.answer_within.millis());
        let mut total = 0;
        loop {
            let page = keys::store::to_lapse(&mut self.db.read().await?, asked_by, PAGE_CASES).await?;
            if page.is_empty() {
                return Ok(total);
            }
            let (lines, devices): (Vec<i64>, Vec<DeviceId>) = page.into_iter().unzip();
            let mut tx = self.db.begin().await?;
            self.lock_where_held(&mut tx, &devices).await?;
            let lapsed = keys::store::lapse(&mut tx, &lines, now).await?;
            let done = self.reconcile_devices(&mut tx, &devices, &policies).await?;
            self.release_keyed(&mut tx, &done.resolved).await?;
            record(&mut tx, now, "engine", "keys.lapse", "re-run requests".into(), json!({"lines": lapsed})).await?;
            tx.commit().await?;
            total += lapsed;
        }
    }

    async fn raise_given_up(&self, tx: &mut Tx, cases: u64) -> Outcome {
        let alarm = NewAlarm {
            kind: AlarmKind::KeysGivenUp,
            subject: SUBJECT.into(),
            campaign: None,
            sentence: format!("retries ended for {cases} sites without a key, which nobody sees to yet"),
            remedy: "ppmid keys list --state investigating --assignee '' shows them; ppmid keys escalate or assign them".into(),
        };
        self.raise_alarm(tx, &alarm).await?;
        Ok(())
    }

    /// Ends the alarm once every case under investigation is somebody's.
    async fn end_given_up(&self) -> Outcome {
        let mut tx = self.db.read().await?;
        if !crate::alarm::store::stands(&mut tx, AlarmKind::KeysGivenUp, SUBJECT).await? {
            return Ok(());
        }
        let nobodys = CaseFilter {
            state: Some(KeyCaseState::Investigating),
            assignee: Some(String::new()),
            unescalated: true,
            ..CaseFilter::default()
        };
        if !keys::store::pick(&mut tx, &nobodys, self.now().london_day(), 1).await?.is_empty() {
            return Ok(());
        }
        drop(tx);
        let mut tx = self.db.begin().await?;
        self.end_alarm(&mut tx, AlarmKind::KeysGivenUp, SUBJECT, "engine", "somebody sees to every case").await?;
        tx.commit().await?;
        Ok(())
    }
}
