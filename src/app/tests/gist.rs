//! Frequent messages are settled by what was read of them when they came; the others, and replayed ones, by their bytes. It makes no difference.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use super::*;
use crate::target::store::history;

/// Alerts about four sites, those of the campaign's first batch, a stranger's request or none, about the image's version and another,
/// each once or twice, in an order that the seed makes.
fn alerts(request: RequestId, seed: u64) -> Vec<Response> {
    let stranger = RequestId { counter: request.counter + 1, ..request };
    let mut alerts = Vec::new();
    for n in 1..=4 {
        for about in [Some(request), Some(stranger), None] {
            for version in [FIRMWARE, "00999999"] {
                for status in [Smets1FirmwareStatus::UpdateRequested, Smets1FirmwareStatus::ActivationSuccessful] {
                    alerts.push(firmware(about, alerts.len() as u64 + 1, n, version, status));
                }
            }
        }
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    for n in (1..alerts.len()).rev() {
        alerts.swap(n, (random.next_u64() % (n as u64 + 1)) as usize);
    }
    // As many as settle something, and as leave something unsettled.
    alerts.truncate(20);
    alerts
}

impl Lab {
    /// What the alerts came to: each target's story, and how each message ended.
    async fn outcome_of(&self, seed: u64, by_gist: bool) -> String {
        let campaign = self.started("spring", 3).await;
        let request = self.send(campaign).await;
        for alert in alerts(request, seed) {
            self.receives(testing::signed(&alert, &self.dcc)).await;
        }
        if !by_gist {
            let mut tx = self.app.db.begin().await.unwrap();
            inbox::store::forget_gists(&mut tx).await;
            tx.commit().await.unwrap();
        }
        assert_eq!(self.app.settle_some(&self.pinned.current()).await.unwrap(), 20);
        let plan = self.app.campaign("spring").await.unwrap().plan_id.unwrap();
        let mut tx = self.app.db.read().await.unwrap();
        let mut told = String::new();
        for n in 1..=4 {
            for step in history::of_device(&mut tx, plan, device(n)).await.unwrap() {
                told += &format!("{n}: {} {} {:?} {:?}\n", step.version, step.state, step.cause_ref, step.detail);
            }
            let site = crate::estate::store::find_site(&mut tx, device(n)).await.unwrap().unwrap();
            told += &format!("{n}: runs {}\n", site.firmware_version);
        }
        for entry in inbox::list(&mut tx, None, None, 99).await.unwrap() {
            told += &format!("{} {} {:?}\n", entry.id, entry.state, entry.note);
        }
        told
    }
}

#[tokio::test]
async fn settling_by_the_gist_is_settling_by_the_bytes() {
    for seed in 0..2 {
        let (by_gist, by_bytes) = (labs(4).await, labs(4).await);
        for (one, other) in by_gist.iter().zip(&by_bytes) {
            let (gist, bytes) = (one.outcome_of(seed, true).await, other.outcome_of(seed, false).await);
            assert_eq!(gist, bytes, "seed {seed}");
            assert!(gist.contains("activated") && gist.contains("ignored") && gist.contains("settled"), "{gist}");
        }
    }
}

#[tokio::test]
async fn what_is_settled_has_no_gist_and_is_replayed_by_its_bytes() {
    for lab in labs(1).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.send(campaign).await;
        let stranger = RequestId { counter: id.counter + 1, ..id };
        assert_eq!(lab.hears(&activated(Some(stranger), 1, 1)).await, InboxState::Ignored);
        let message = inbox::list(&mut lab.app.db.read().await.unwrap(), None, None, 1).await.unwrap()[0].id;
        let replayed = lab.app.replay_messages(&[message], &lab.pinned.current(), OPERATOR).await.unwrap();
        assert_eq!(replayed.queued, [message]);
        let mut tx = lab.app.db.read().await.unwrap();
        let new = inbox::fetch_new(&mut tx, 0, 9).await.unwrap();
        assert!(!new[0].has_gist() && new[0].message.is_signed);
        drop(tx);
        lab.app.settle_some(&lab.pinned.current()).await.unwrap();
        let entry = inbox::list(&mut lab.app.db.read().await.unwrap(), None, None, 1).await.unwrap().remove(0);
        assert_eq!((entry.id, entry.state), (message, InboxState::Ignored), "it says the same as before");
    }
}
