//! Devices that stayed silent past their deadline are asked about by a sweep: what the answers make of them, and that a late success takes
//! over from it.

use super::{asked::inventory, reads::HEAD, *};
use crate::{
    schedule::Missed,
    target::{
        ReadCause, ReadState,
        store::reads::{self, Read},
    },
};

const SIX_HOURS: i64 = 6 * 3_600_000;
const FIVE_HOURS: &str = "[default.IOC]\nsteps = [\"update\"]\nanswer_within = \"5h\"\n";

impl Lab {
    /// One sweep; its result.
    async fn sweep(&self) -> String {
        let mut log = Vec::new();
        let result = self.app.sweep_silent(&mut log).await.unwrap();
        assert!(log.len() <= 1, "{log:?}");
        result
    }

    /// Sent, and nothing heard of any of `sites` until their deadline passed. One more waits, so that the campaign goes on.
    async fn fell_silent(&self, sites: i64, steps: &str) -> (i64, RequestId) {
        std::fs::write(self.folder.path().join("policies/steps.toml"), steps).unwrap();
        let campaign = self.started("spring", sites).await;
        let id = self.send(campaign).await;
        self.app.clock.advance(SIX_HOURS);
        (campaign, id)
    }

    async fn asked_after(&self) -> Vec<RequestId> {
        let ids = self.app.prepare_reads().await.unwrap();
        for id in &ids {
            self.begin(*id).await;
        }
        ids
    }

    async fn read_of(&self, campaign: i64, n: u64) -> Option<Read> {
        let plan = self.app.campaign(&campaign.to_string()).await.unwrap().plan_id.unwrap();
        reads::find(&mut self.app.db.read().await.unwrap(), &[(plan, device(n))]).await.unwrap().pop()
    }

    /// To the end of what may be asked: what DCC's list says is believed when it says so four times.
    async fn lists_as(&self, campaign: i64, n: u64, version: &str) {
        while self.read_of(campaign, n).await.unwrap().standing.state.is_open() {
            for id in self.asked_after().await {
                self.record(id, PostOutcome::Answered(inventory(id, &[(n, Some(version), None)]))).await;
            }
            self.app.clock.advance(3_600_000);
        }
    }
}

#[tokio::test]
async fn the_silent_are_asked_about_and_only_the_version_of_the_image_moves_them() {
    for lab in labs(4).await {
        let (campaign, id) = lab.fell_silent(3, &format!("{HEAD}{FIVE_HOURS}")).await;
        lab.hears(&activated(Some(id), 1, 3)).await;
        assert_eq!(lab.sweep().await, "2 devices are silent past the deadline; 2 to be asked about");
        assert_eq!(lab.state(campaign, 1).await, TargetState::Expired);
        assert!(lab.read_of(campaign, 3).await.is_none() && lab.read_of(campaign, 4).await.is_none());
        assert_eq!(lab.sweep().await, "2 devices are silent past the deadline; 0 to be asked about, 2 being asked about already");
        let ids = lab.asked_after().await;
        assert_eq!(ids.iter().map(|id| id.target).collect::<Vec<_>>(), [lab.app.settings.gateway.dcc_id; 2]);
        let reply = inventory(ids[0], &[(1, Some(FIRMWARE), Some("Commissioned"))]);
        assert_eq!(lab.record(ids[0], PostOutcome::Answered(reply)).await, Posted::Settled);
        assert_eq!((lab.state(campaign, 1).await, lab.knows(1).await.0.as_str()), (TargetState::Verified, FIRMWARE));
        let reply = inventory(ids[1], &[(2, Some("00020100"), None)]);
        assert_eq!(lab.record(ids[1], PostOutcome::Answered(reply)).await, Posted::Settled);
        lab.lists_as(campaign, 2, "00020100").await;
        let (target, read) = (lab.target(campaign, 2).await, lab.read_of(campaign, 2).await.unwrap());
        assert_eq!(
            (target.state, read.standing.state, read.cause),
            (TargetState::Expired, ReadState::Differs, ReadCause::Silence)
        );
        assert_eq!(target.detail.as_deref(), Some("asked after its silence, it runs 00020100, not 00020200"));
        assert!(lab.app.alarms(true, None, 0, 9).await.unwrap().is_empty(), "that is what silence let expect");
        let counts = lab.app.campaign_status("spring").await.unwrap().reads;
        assert_eq!((counts.asked, counts.differs), (0, 0), "counted are the reads after an activation");
        // The next sweep asks again, and now it has come.
        assert_eq!(lab.sweep().await, "1 device is silent past the deadline; 1 to be asked about");
        let ids = lab.asked_after().await;
        lab.record(ids[0], PostOutcome::Answered(inventory(ids[0], &[(2, Some(FIRMWARE), None)]))).await;
        assert_eq!(lab.state(campaign, 2).await, TargetState::Verified);
        assert_eq!(lab.sweep().await, "0 devices are silent past the deadline; 0 to be asked about");
    }
}

#[tokio::test]
async fn a_late_success_takes_the_read_over() {
    for lab in labs(4).await {
        let model = "[[model]]\nmanufacturer = \"106C\"\nmodel = \"433100AC\"\nsteps = [\"update\", \"read-version\"]\n";
        let (campaign, id) = lab.fell_silent(3, &format!("{HEAD}{FIVE_HOURS}{model}")).await;
        lab.sweep().await;
        // One is out, one only waits, one came to nothing.
        let out = lab.app.prepare_one_read().await.unwrap().unwrap();
        lab.begin(out).await;
        lab.hears(&activated(Some(id), 1, 1)).await;
        lab.hears(&activated(Some(id), 2, 2)).await;
        let one = lab.read_of(campaign, 1).await.unwrap();
        assert_eq!(
            (one.cause, one.standing.state, one.kind.as_str()),
            (ReadCause::Activation, ReadState::Asked, "read-inventory")
        );
        let two = lab.read_of(campaign, 2).await.unwrap();
        assert_eq!(
            (two.cause, two.standing.state, two.kind.as_str()),
            (ReadCause::Activation, ReadState::Waiting, "read-version")
        );
        lab.record(out, PostOutcome::Answered(inventory(out, &[(1, Some(FIRMWARE), None)]))).await;
        assert_eq!(lab.state(campaign, 1).await, TargetState::Verified);
        let ids = lab.app.prepare_reads().await.unwrap();
        assert_eq!(ids.iter().map(|id| id.target).collect::<Vec<_>>(), [device(2), lab.app.settings.gateway.dcc_id]);
        lab.begin(ids[1]).await;
        let refused = Response { code: "E19".into(), ..answer(ids[1], "E19") };
        lab.record(ids[1], PostOutcome::Answered(refused)).await;
        assert_eq!(lab.read_of(campaign, 3).await.unwrap().standing.state, ReadState::GivenUp);
        lab.hears(&activated(Some(id), 3, 3)).await;
        let three = lab.read_of(campaign, 3).await.unwrap();
        assert_eq!((three.cause, three.standing.state, three.standing.asks), (ReadCause::Activation, ReadState::Waiting, 0));
    }
}

#[tokio::test]
async fn a_sweep_stays_within_an_hours_pace_and_leaves_out_what_is_not_ours() {
    for lab in labs(70).await {
        let (campaign, _) = lab.fell_silent(69, &format!("{HEAD}{FIVE_HOURS}").replace("6000", "1")).await;
        lab.registered(&[1], "2026-11-24").await;
        let first = "69 devices are silent past the deadline; 60 to be asked about, 1 not ours today, 8 left for the next sweep";
        assert_eq!(lab.sweep().await, first);
        assert_eq!(lab.asked_after().await.len(), 1, "a minute's");
        // What waits still counts against the next.
        let next = "69 devices are silent past the deadline; 1 to be asked about, 60 being asked about already, 1 not ours today, 7 left for the next sweep";
        assert_eq!(lab.sweep().await, next);
        assert!(lab.read_of(campaign, 1).await.is_none(), "it is another supplier's");
        // By its schedule it is the same.
        lab.add("0 0 * * * *", "inventory sweep", Missed::Skip).await;
        let claimed = lab.app.claim_by_hand("inventory-sweep", OPERATOR, "a:1:1").await.unwrap();
        let ran = lab.app.run_claimed(&claimed).await.unwrap();
        let told = "campaign spring: 69 devices are silent past the deadline; 0 to be asked about, 61 being asked about already, 8 left for the next sweep";
        assert_eq!(ran.run.log, [told]);
    }
}
