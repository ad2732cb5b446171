//! Whether more keys of a cohort are missing than chance explains: an alarm that says by how much, and with `hold_campaign` a cohort that
//! waits. Promise: the alarm stands exactly while that is so, as far as the last look; one that a person ended is left so until another file.

use std::collections::BTreeMap;

use super::App;
use crate::{
    alarm::{self, AlarmKind, NewAlarm},
    db::Tx,
    estate::{self, Cohort},
    failure::Outcome,
    keys::{self, Unusual},
    policy::Retry,
};

fn share_subject(cohort: impl std::fmt::Display) -> String {
    format!("missing keys of {cohort}")
}

/// Why the share is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// A file took effect: what a person put aside before it counts no more.
    Anew,
    /// Something else may have changed.
    Again,
}

fn alarm_of(cohort: Cohort, found: &Unusual, retry: &Retry) -> NewAlarm {
    let what_waits = match retry.hold_campaign {
        false => "Nothing is held".to_string(),
        true => {
            format!("No {cohort} site is sent while this stands (retry.toml, hold_campaign): `ppmid alarm end` lets them go")
        }
    };
    NewAlarm {
        kind: AlarmKind::KeysShare,
        subject: share_subject(cohort),
        campaign: None,
        sentence: format!(
            "{} of {} {cohort} sites have no key, {:.2}%, where {} is expected; chance would do that once in {:.0}",
            found.failed,
            found.handled,
            found.failed as f64 * 100.0 / found.handled as f64,
            retry.expected_share,
            (1.0 / found.chance).min(1e12)
        ),
        remedy: format!("ppmid keys report names errors and suppliers; ask DCC what happened. {what_waits}"),
    }
}

impl App {
    /// Raises an alarm for each cohort of which more keys are missing than chance explains, keeps its numbers up to date, and ends it where
    /// that is over. Holds nothing, unless retry.toml says so: missing keys should not delay the rest (L§13). A cohort that needs no key from
    /// the tool has none that could be missing.
    pub async fn watch_key_share(&self, look: Look) -> Outcome {
        let policies = self.policies()?;
        let mut tx = self.db.read().await?;
        let shares: BTreeMap<String, (i64, i64)> =
            keys::store::tool_population_by_cohort(&mut tx).await?.into_iter().map(|(c, handled, n)| (c, (handled, n))).collect();
        let standing = alarm::store::standing_of(&mut tx, AlarmKind::KeysShare).await?;
        drop(tx);
        for cohort in Cohort::ALL.iter().copied() {
            let share = shares.get(cohort.as_str()).filter(|_| policies.eligibility.cohort(cohort).needs_tool_key);
            let unusual = share.and_then(|(handled, missing)| keys::unusual(&policies.retry, *handled, *missing));
            let subject = share_subject(cohort);
            let stands = standing.iter().find(|a| a.subject == subject);
            match unusual {
                None if stands.is_some() => {
                    let mut tx = self.db.begin().await?;
                    let why = "the share is as expected";
                    self.end_alarm(&mut tx, AlarmKind::KeysShare, &subject, "engine", why).await?;
                    tx.commit().await?;
                }
                None => {}
                Some(found) => {
                    let alarm = alarm_of(cohort, &found, &policies.retry);
                    if stands.is_some_and(|s| (&s.sentence, &s.remedy) == (&alarm.sentence, &alarm.remedy)) {
                        continue;
                    }
                    let mut tx = self.db.begin().await?;
                    if stands.is_some() {
                        alarm::store::reword(&mut tx, &alarm).await?;
                        tracing::warn!(subject = alarm.subject, "{}", alarm.sentence);
                    } else if look == Look::Anew || !put_aside(&mut tx, &alarm.subject).await? {
                        self.raise_alarm(&mut tx, &alarm).await?;
                    }
                    tx.commit().await?;
                }
            }
        }
        Ok(())
    }

    /// Cohorts of whose missing keys an alarm stands.
    pub(super) async fn cohorts_with_share_alarm(&self, tx: &mut Tx) -> Outcome<Vec<Cohort>> {
        let standing = crate::alarm::store::standing_of(tx, AlarmKind::KeysShare).await?;
        let about = |cohort: &Cohort| standing.iter().any(|alarm| alarm.subject == share_subject(*cohort));
        Ok(Cohort::ALL.iter().copied().filter(about).collect())
    }
}

/// Whether a person ended the alarm after the last file of keys or sites took effect.
async fn put_aside(tx: &mut Tx, subject: &str) -> Outcome<bool> {
    let Some(last) = alarm::store::last_ended(tx, AlarmKind::KeysShare, subject).await? else { return Ok(false) };
    let by_person = last.ended_by.as_deref().is_some_and(|by| by != "engine");
    let applied = estate::store::last_applied(tx).await?;
    Ok(by_person && last.ended_at >= applied)
}
