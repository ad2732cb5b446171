//! The teams of our own MPIDs are told of key cases, in the transaction of what happened: opened, a person's, come good, asked for again.
//! Of a case only those of the MPID that holds the site, and each thing once.

use std::collections::BTreeMap;

use super::{App, notify::holders};
use crate::{
    db::Tx,
    failure::Outcome,
    ids::{DeviceId, Mpid},
    keys::{
        GivenUp, KeyCaseState,
        store::{Brief, Reconciled},
    },
    notify::{CaseNews, Notification},
};

/// Cases told of at once: so many sites are looked up for who holds them.
const GROUP_CASES: usize = 1_000;

impl App {
    pub(super) async fn tell_reconciled(&self, tx: &mut Tx, done: &Reconciled) -> Outcome {
        let mut news: Vec<Notification> = done.opened.iter().map(opened).collect();
        news.extend(done.investigated.iter().map(investigated));
        news.extend(done.resolved.iter().map(|device| resolved(*device, "a result says so")));
        self.tell_in_groups(tx, &news).await
    }

    pub(super) async fn tell_activated(&self, tx: &mut Tx, devices: &[DeviceId]) -> Outcome {
        let news: Vec<Notification> =
            devices.iter().map(|device| resolved(*device, "firmware was activated on the device")).collect();
        self.tell_in_groups(tx, &news).await
    }

    pub(super) async fn tell_given_up(&self, tx: &mut Tx, cases: &[DeviceId], why: GivenUp) -> Outcome {
        let of = |device: &DeviceId| {
            let sentence = format!("the PPMID key of {device} is still missing and it is not tried again: {why}");
            Notification::of_case(CaseNews::Escalated, *device, sentence, somebody(*device), Vec::new())
        };
        self.tell_in_groups(tx, &cases.iter().map(of).collect::<Vec<_>>()).await
    }

    pub(super) async fn tell_escalated(&self, tx: &mut Tx, cases: &[DeviceId], incident: &str, team: &str) -> Outcome {
        let of = |device: &DeviceId| {
            let sentence = format!("the missing PPMID key of {device} is incident {incident}, with {team}");
            Notification::of_case(CaseNews::Escalated, *device, sentence, story(*device), Vec::new())
        };
        self.tell_in_groups(tx, &cases.iter().map(of).collect::<Vec<_>>()).await
    }

    /// A re-run request was made: each MPID's teams hear of how many of its sites.
    pub(super) async fn tell_requested(&self, tx: &mut Tx, run: i64, devices: &[DeviceId]) -> Outcome {
        let mut lines: BTreeMap<Mpid, i64> = BTreeMap::new();
        for group in devices.chunks(GROUP_CASES) {
            for mpid in holders(tx, group, &self.settings.organisation.mpids, self.now()).await?.into_values() {
                *lines.entry(mpid).or_default() += 1;
            }
        }
        let of = |(mpid, lines): (Mpid, i64)| {
            let sentence = format!("re-run request {run} asks DCC to run its tool again for {lines} sites of {mpid}");
            let remedy =
                format!("send its file to DCC's service desk: `ppmid keys request --again {run} --out FILE` writes it anew");
            Notification::of_rerun(run, mpid, sentence, remedy, vec![("request", run), ("lines", lines)])
        };
        self.tell(tx, &lines.into_iter().map(of).collect::<Vec<_>>()).await
    }

    async fn tell_in_groups(&self, tx: &mut Tx, news: &[Notification]) -> Outcome {
        for group in news.chunks(GROUP_CASES) {
            self.tell(tx, group).await?;
        }
        Ok(())
    }
}

fn story(device: DeviceId) -> String {
    format!("`ppmid keys show {device}` tells its story")
}

/// How it becomes somebody's.
fn somebody(device: DeviceId) -> String {
    format!("`ppmid keys escalate {device} --incident REF --to TEAM`, or `ppmid keys assign`")
}

fn with_error(sentence: String, brief: &Brief) -> String {
    match &brief.last_error {
        Some(error) => format!("{sentence}: {error}"),
        None => sentence,
    }
}

fn opened(brief: &Brief) -> Notification {
    let device = brief.device;
    let what = match brief.state {
        KeyCaseState::Investigating => "it wants investigation",
        _ => "it is tried again by the timetable of retry.toml",
    };
    let sentence = with_error(format!("the PPMID key of {device} is missing, {what}"), brief);
    Notification::of_case(CaseNews::Opened, device, sentence, story(device), vec![("attempts", brief.attempts)])
}

fn investigated(brief: &Brief) -> Notification {
    let device = brief.device;
    let sentence = with_error(format!("the missing PPMID key of {device} wants investigation, DCC's tool says"), brief);
    Notification::of_case(CaseNews::Escalated, device, sentence, somebody(device), vec![("attempts", brief.attempts)])
}

fn resolved(device: DeviceId, how: &str) -> Notification {
    Notification::of_case(
        CaseNews::Resolved,
        device,
        format!("the PPMID key of {device} is there: {how}"),
        String::new(),
        Vec::new(),
    )
}
