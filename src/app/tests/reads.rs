//! Devices are read after their upgrade, where the steps of their model say so: what an answer, none, another version, a lost reply and
//! a loss of the site come to.

use super::{
    asked::{inventory, runs},
    *,
};
use crate::{
    alarm::AlarmKind,
    app::Due,
    campaign::CampaignState,
    duis::Breach,
    gateway::Service,
    target::{ReadState, store::reads},
};

pub(super) const HEAD: &str = "version = 1\neffective_from = \"2020-11-24\"\nreads_per_minute = 6000\n";
const BY_INVENTORY: &str = "[[model]]\nmanufacturer = \"106C\"\nmodel = \"433100AC\"\nsteps = [\"update\", \"read-inventory\"]\n";
const BY_VERSION: &str = "[[model]]\nmanufacturer = \"106C\"\nmodel = \"433100AC\"\nsteps = [\"update\", \"read-version\"]\n";
const HOUR: i64 = 3_600_000;

impl Lab {
    pub(super) fn steps(&self, text: &str) {
        std::fs::write(self.folder.path().join("policies/steps.toml"), format!("{HEAD}{text}")).unwrap();
    }

    /// A campaign whose one batch was sent and whose `sites` DCC reported activated.
    async fn all_activated(&self, steps: &str, sites: u64) -> i64 {
        self.steps(steps);
        let campaign = self.started("spring", 10).await;
        let id = self.send(campaign).await;
        for n in 1..=sites {
            self.hears(&activated(Some(id), n, n)).await;
        }
        campaign
    }

    /// The requests of the reads that may leave now.
    async fn asking(&self) -> Vec<RequestId> {
        self.app.prepare_reads().await.unwrap()
    }

    /// One read leaves.
    async fn asks_one(&self) -> RequestId {
        let ids = self.asking().await;
        let [id] = ids[..] else { panic!("one read is due: {ids:?}") };
        self.begin(id).await;
        id
    }

    async fn read(&self, campaign: i64, n: u64) -> reads::Read {
        let plan = self.app.campaign(&campaign.to_string()).await.unwrap().plan_id.unwrap();
        let found = reads::find(&mut self.app.db.read().await.unwrap(), &[(plan, device(n))]).await.unwrap();
        found.into_iter().next().expect("it is to be read")
    }

    async fn read_state(&self, campaign: i64, n: u64) -> ReadState {
        self.read(campaign, n).await.standing.state
    }

    fn later(&self, millis: i64) {
        self.app.clock.advance(millis);
    }

    async fn is_finished(&self, campaign: i64) -> bool {
        self.app.finish_campaigns().await.unwrap();
        self.app.campaign(&campaign.to_string()).await.unwrap().state == CampaignState::Finished
    }

    async fn alarms(&self) -> Vec<AlarmKind> {
        self.app.alarms(true, None, 0, 10).await.unwrap().into_iter().map(|a| a.kind).collect()
    }
}

#[tokio::test]
async fn by_inventory_the_reply_itself_makes_a_device_verified() {
    for lab in labs(2).await {
        let campaign = lab.all_activated(BY_INVENTORY, 2).await;
        assert_eq!(lab.read_state(campaign, 1).await, ReadState::Waiting);
        assert!(!lab.is_finished(campaign).await, "two are to be read");
        let ids = lab.asking().await;
        assert_eq!(ids.len(), 2);
        assert!(lab.asking().await.is_empty(), "both are out");
        for id in &ids {
            assert_eq!(id.target, lab.app.settings.gateway.dcc_id);
            let ready = lab.app.begin_post(*id, &lab.dcc).await.unwrap().unwrap();
            assert_eq!((ready.service, ready.attempt), (Service::NonDevice, 1));
        }
        let reply = inventory(ids[0], &[(1, Some(FIRMWARE), Some("Commissioned")), (9, Some("X"), None)]);
        assert_eq!(lab.record(ids[0], PostOutcome::Answered(reply)).await, Posted::Settled);
        assert_eq!((lab.state(campaign, 1).await, lab.state(campaign, 2).await), (TargetState::Verified, TargetState::Activated));
        let read = lab.read(campaign, 1).await;
        assert_eq!((read.standing.state, read.answer_version.as_deref()), (ReadState::Agrees, Some(FIRMWARE)));
        assert_eq!((read.answer_status.as_deref(), lab.knows(1).await.0.as_str()), (Some("Commissioned"), FIRMWARE));
        assert_eq!(lab.outbox_state(ids[0]).await, "answered");
        // The other's comes later, as a message; and twice.
        assert_eq!(lab.reply(ids[1], "I99").await, Posted::Settled);
        assert!(!lab.is_finished(campaign).await);
        assert_eq!(lab.hears(&inventory(ids[1], &[(2, Some(FIRMWARE), None)])).await, InboxState::Settled);
        assert_eq!(lab.state(campaign, 2).await, TargetState::Verified);
        assert!(lab.is_finished(campaign).await);
        assert_eq!(lab.alarms().await, []);
    }
}

#[tokio::test]
async fn by_version_the_device_itself_is_asked_and_its_word_counts() {
    for lab in labs(2).await {
        let campaign = lab.all_activated(BY_VERSION, 2).await;
        let ids = lab.asking().await;
        assert_eq!(ids.iter().map(|id| id.target).collect::<Vec<_>>(), [device(1), device(2)]);
        for id in &ids {
            assert_eq!(lab.app.begin_post(*id, &lab.dcc).await.unwrap().unwrap().service, Service::SendCommand);
            assert_eq!(lab.reply(*id, "I99").await, Posted::Settled);
        }
        assert_eq!(lab.read_state(campaign, 1).await, ReadState::Accepted);
        assert_eq!(lab.hears(&runs(Some(ids[0]), 1, Some(true), Some(FIRMWARE))).await, InboxState::Settled);
        assert_eq!((lab.state(campaign, 1).await, lab.read_state(campaign, 1).await), (TargetState::Verified, ReadState::Agrees));
        // The other runs something else: its state is DCC's word, and a person must see.
        assert_eq!(lab.hears(&runs(Some(ids[1]), 2, Some(true), Some("00020100"))).await, InboxState::Settled);
        let target = lab.target(campaign, 2).await;
        assert_eq!(target.state, TargetState::Activated);
        assert_eq!(target.detail.unwrap(), "it was activated, but it runs 00020100, not 00020200");
        assert_eq!((lab.read_state(campaign, 2).await, lab.knows(2).await.0.as_str()), (ReadState::Differs, "00020100"));
        assert_eq!(lab.alarms().await, [AlarmKind::VersionDiffers]);
        assert!(lab.is_finished(campaign).await, "nothing more is asked");
        let counts = lab.app.campaign_status("spring").await.unwrap().reads;
        assert_eq!((counts.asked, counts.answered, counts.differs, counts.given_up), (2, 2, 1, 0));
        // Whoever asks later, and however late it is: a version that agrees wins.
        assert_eq!(lab.hears(&runs(None, 2, None, Some(FIRMWARE))).await, InboxState::Settled);
        assert_eq!(lab.state(campaign, 2).await, TargetState::Verified);
    }
}

#[tokio::test]
async fn a_model_without_a_read_ends_activated_and_nothing_is_asked() {
    for lab in labs(1).await {
        let campaign = lab.all_activated("[default.MDS]\nsteps = [\"update\", \"read-version\"]\n", 1).await;
        assert!(lab.asking().await.is_empty() && lab.is_finished(campaign).await);
        assert_eq!(lab.state(campaign, 1).await, TargetState::Activated);
    }
}

#[tokio::test]
async fn a_device_that_named_its_version_unasked_is_not_asked() {
    for lab in labs(1).await {
        let campaign = lab.all_activated(BY_VERSION, 1).await;
        lab.hears(&runs(None, 1, None, Some(FIRMWARE))).await;
        assert_eq!(lab.state(campaign, 1).await, TargetState::Verified);
        assert!(lab.asking().await.is_empty());
        assert_eq!((lab.read_state(campaign, 1).await, lab.is_finished(campaign).await), (ReadState::Agrees, true));
    }
}

#[tokio::test]
async fn an_answer_without_a_version_is_asked_for_again_four_times_at_most() {
    for lab in labs(1).await {
        let campaign = lab.all_activated(BY_INVENTORY, 1).await;
        for (n, wait) in [6, 12, 24, 0].into_iter().enumerate() {
            let id = lab.asks_one().await;
            // A list of DCC's that names an old version may lag behind: it is asked again like one that names none.
            let version = (n == 1).then_some("00020100");
            lab.record(id, PostOutcome::Answered(inventory(id, &[(1, version, Some("Commissioned"))]))).await;
            assert_eq!(lab.read(campaign, 1).await.standing.asks, n as i64 + 1);
            lab.later(wait * HOUR - 1);
            assert!(lab.asking().await.is_empty());
            lab.later(1);
        }
        assert_eq!(
            (lab.read_state(campaign, 1).await, lab.state(campaign, 1).await),
            (ReadState::GivenUp, TargetState::Activated)
        );
        assert!(lab.is_finished(campaign).await && lab.alarms().await.is_empty());
    }
}

#[tokio::test]
async fn a_list_that_keeps_to_another_version_is_believed_in_the_end() {
    for lab in labs(1).await {
        let campaign = lab.all_activated(BY_INVENTORY, 1).await;
        for wait in [6, 12, 24, 0] {
            let id = lab.asks_one().await;
            assert!(lab.alarms().await.is_empty());
            lab.record(id, PostOutcome::Answered(inventory(id, &[(1, Some("00020100"), None)]))).await;
            lab.later(wait * HOUR);
        }
        assert_eq!(
            (lab.read_state(campaign, 1).await, lab.alarms().await),
            (ReadState::Differs, vec![AlarmKind::VersionDiffers])
        );
    }
}

#[tokio::test]
async fn while_it_is_not_known_what_became_of_a_read_no_other_is_made() {
    for lab in labs(1).await {
        let campaign = lab.all_activated(BY_INVENTORY, 1).await;
        let id = lab.asks_one().await;
        lab.no_reply(id).await;
        lab.later(20 * HOUR);
        assert!(lab.asking().await.is_empty(), "the next question would be due");
        assert_eq!(lab.app.due_requests(9).await.unwrap().reads, [id]);
        // Another process takes it up: the same request, the same digest.
        let second = lab.second().await;
        assert_eq!(second.app.take_up_requests().await.unwrap(), 1);
        lab.begin(id).await;
        lab.no_reply(id).await;
        lab.later(HOUR);
        lab.begin(id).await;
        assert_eq!(lab.reply(id, "E20").await, Posted::Unknown, "it says nothing of the attempts before");
        lab.later(HOUR);
        lab.begin(id).await;
        assert_eq!(lab.reply(id, "E62").await, Posted::Settled, "seen already: DCC has it");
        assert_eq!(lab.read_state(campaign, 1).await, ReadState::Accepted);
        let again = lab.asks_one().await;
        assert!(again.counter > id.counter);
        // The answer to the first question comes all the same, and the second is still out.
        assert_eq!(lab.hears(&inventory(id, &[(1, None, None)])).await, InboxState::Settled);
        assert_eq!(
            lab.read_state(campaign, 1).await,
            ReadState::Asked,
            "an older answer says nothing of the question that is out"
        );
        lab.hears(&later_inventory(id)).await;
        assert_eq!((lab.state(campaign, 1).await, lab.read_state(campaign, 1).await), (TargetState::Verified, ReadState::Agrees));
        assert_eq!(lab.record(again, PostOutcome::Answered(inventory(again, &[(1, None, None)]))).await, Posted::Settled);
        assert_eq!(lab.state(campaign, 1).await, TargetState::Verified);
    }
}

/// As DCC sends it a second time, with a ResponseID of its own.
fn later_inventory(id: RequestId) -> Response {
    Response { response_id: Some(response_id(77)), ..inventory(id, &[(1, Some(FIRMWARE), None)]) }
}

#[tokio::test]
async fn a_read_that_never_left_is_asked_anew() {
    for lab in labs(1).await {
        let campaign = lab.all_activated(BY_VERSION, 1).await;
        // Committed, and the process died.
        let [first] = lab.asking().await[..] else { panic!("one is due") };
        assert_eq!(lab.read_state(campaign, 1).await, ReadState::Asked);
        assert!(lab.app.due_requests(9).await.unwrap() == Due::default());
        assert_eq!((lab.outbox_state(first).await.as_str(), lab.read(campaign, 1).await.standing.asks), ("abandoned", 0));
        // No connection.
        let second = lab.asks_one().await;
        lab.nothing_left(second).await;
        assert_eq!(
            (lab.outbox_state(second).await.as_str(), lab.read_state(campaign, 1).await),
            ("abandoned", ReadState::Waiting)
        );
        lab.later(60_000);
        assert!(lab.asks_one().await.counter > second.counter);
        let read = lab.read(campaign, 1).await;
        assert_eq!((read.standing.asks, read.standing.first_asked_at), (1, Some(lab.app.now())));
    }
}

#[tokio::test]
async fn nothing_is_asked_for_a_campaign_that_is_not_started() {
    for lab in labs(2).await {
        let campaign = lab.all_activated(BY_INVENTORY, 2).await;
        let ids = lab.asking().await;
        lab.begin(ids[0]).await;
        lab.no_reply(ids[0]).await;
        lab.app.pause_campaign("spring", OPERATOR).await.unwrap();
        lab.later(HOUR);
        assert!(lab.asking().await.is_empty());
        assert!(lab.app.begin_post(ids[0], &lab.dcc).await.unwrap().is_none(), "resends too");
        assert!(lab.app.begin_post(ids[1], &lab.dcc).await.unwrap().is_none());
        lab.app.resume_campaign("spring", OPERATOR).await.unwrap();
        lab.later(HOUR);
        lab.begin(ids[0]).await;
        lab.reply(ids[0], "I99").await;
        lab.app.abort_campaign("spring", OPERATOR).await.unwrap();
        assert_eq!(lab.app.end_reads().await.unwrap(), 2);
        assert_eq!(lab.read(campaign, 1).await.note.unwrap(), "the campaign has ended");
        // It was asked, and a late answer counts.
        lab.hears(&inventory(ids[0], &[(1, Some(FIRMWARE), None)])).await;
        assert_eq!((lab.state(campaign, 1).await, lab.read_state(campaign, 1).await), (TargetState::Verified, ReadState::Agrees));
    }
}

#[tokio::test]
async fn a_site_that_is_lost_is_not_read() {
    for lab in labs(3).await {
        let campaign = lab.all_activated(BY_VERSION, 3).await;
        let ids = lab.asking().await;
        lab.begin(ids[0]).await;
        lab.no_reply(ids[0]).await;
        lab.registered(&[1, 2], "2020-11-26").await;
        lab.later(HOUR);
        assert!(lab.app.begin_post(ids[0], &lab.dcc).await.unwrap().is_none(), "not even again");
        assert!(lab.app.begin_post(ids[1], &lab.dcc).await.unwrap().is_none());
        lab.begin(ids[2]).await;
        let read = lab.read(campaign, 1).await;
        assert_eq!((read.standing.state, read.note.as_deref()), (ReadState::GivenUp, Some("it is no longer ours")));
        assert_eq!((lab.outbox_state(ids[0]).await.as_str(), lab.outbox_state(ids[1]).await.as_str()), ("held", "abandoned"));
        assert_eq!(
            (lab.read_state(campaign, 2).await, lab.read_state(campaign, 3).await),
            (ReadState::GivenUp, ReadState::Asked)
        );
    }
}

#[tokio::test]
async fn a_no_is_followed_by_its_disposition() {
    for lab in labs(4).await {
        let campaign = lab.all_activated(BY_VERSION, 4).await;
        let ids = lab.asking().await;
        for id in &ids {
            lab.begin(*id).await;
        }
        assert_eq!(lab.reply(ids[0], "E20").await, Posted::Settled);
        assert_eq!(lab.reply(ids[1], "E4").await, Posted::Settled);
        assert_eq!(lab.reply(ids[2], "I99").await, Posted::Settled);
        assert_eq!(lab.hears(&later(ids[2], 50, "E21")).await, InboxState::Settled);
        for (n, wanted) in [(1, ReadState::Waiting), (2, ReadState::GivenUp), (3, ReadState::Waiting)] {
            assert_eq!(
                (lab.read_state(campaign, n).await, lab.state(campaign, n).await),
                (wanted, TargetState::Activated),
                "{n}"
            );
        }
        assert!(lab.read(campaign, 2).await.note.unwrap().starts_with("E4: "));
        // One that every read would meet: none is made until a person has ended the alarm.
        assert_eq!(lab.reply(ids[3], "E2").await, Posted::Settled);
        assert_eq!(lab.alarms().await, [AlarmKind::ReadsRefused]);
        assert_eq!(lab.app.campaign("spring").await.unwrap().state, CampaignState::Started);
        lab.later(12 * HOUR);
        assert!(lab.asking().await.is_empty());
        let alarm = lab.app.alarms(true, None, 0, 10).await.unwrap()[0].id;
        lab.app.dismiss_alarm(alarm, "our role was corrected", OPERATOR).await.unwrap();
        lab.later(HOUR);
        assert_eq!(lab.asking().await.len(), 3);
    }
}

#[tokio::test]
async fn what_dcc_did_not_sign_is_no_answer() {
    for lab in labs(2).await {
        let campaign = lab.all_activated(BY_INVENTORY, 2).await;
        let ids = lab.asking().await;
        lab.begin(ids[0]).await;
        lab.begin(ids[1]).await;
        let yes = PostOutcome::Refused(inventory(ids[0], &[(1, Some(FIRMWARE), None)]));
        assert_eq!(lab.record(ids[0], yes).await, Posted::Held);
        assert_eq!(
            (lab.state(campaign, 1).await, lab.read_state(campaign, 1).await),
            (TargetState::Activated, ReadState::GivenUp)
        );
        let no = PostOutcome::Rejected(Trouble::new(Fault::Rejected, "HTTP 400"));
        assert_eq!(lab.record(ids[1], no).await, Posted::Held);
        assert_eq!((lab.outbox_state(ids[1]).await.as_str(), lab.read_state(campaign, 2).await), ("held", ReadState::GivenUp));
    }
}

#[tokio::test]
async fn a_silent_read_ends_with_its_time_and_a_late_answer_wins() {
    for lab in labs(2).await {
        let campaign = lab.all_activated(&format!("{BY_VERSION}read_within = \"8h\"\n"), 2).await;
        let ids = lab.asking().await;
        lab.begin(ids[0]).await;
        lab.reply(ids[0], "I99").await;
        lab.begin(ids[1]).await;
        lab.no_reply(ids[1]).await;
        lab.later(8 * HOUR - 1);
        assert_eq!(lab.app.end_reads().await.unwrap(), 0);
        lab.later(1);
        assert!(lab.asking().await.is_empty(), "too late to ask again");
        lab.app.end_reads().await.unwrap();
        assert_eq!(
            (lab.read_state(campaign, 1).await, lab.read_state(campaign, 2).await),
            (ReadState::GivenUp, ReadState::GivenUp)
        );
        assert_eq!(lab.outbox_state(ids[1]).await, "held", "it does not leave again");
        assert!(lab.is_finished(campaign).await);
        for (n, id) in [(1, ids[0]), (2, ids[1])] {
            lab.hears(&runs(Some(id), n, Some(true), Some(FIRMWARE))).await;
            assert_eq!(
                (lab.state(campaign, n).await, lab.read_state(campaign, n).await),
                (TargetState::Verified, ReadState::Agrees)
            );
        }
    }
}

#[tokio::test]
async fn reads_keep_to_their_pace_and_number() {
    for lab in labs(9).await {
        let slow = "[default.IOC]\nsteps = [\"update\", \"read-version\"]\n";
        lab.all_activated(slow, 9).await;
        let keys = HEAD.replace("reads_per_minute = 6000", "reads_per_minute = 120\nreads_in_flight = 5");
        std::fs::write(lab.folder.path().join("policies/steps.toml"), format!("{keys}{slow}")).unwrap();
        assert_eq!(lab.asking().await.len(), 2, "two a second");
        assert_eq!(lab.asking().await.len(), 0);
        lab.later(1_000);
        assert_eq!(lab.asking().await.len(), 2);
        lab.later(1_000);
        let last = lab.asking().await;
        assert_eq!(last.len(), 1, "five are out");
        lab.later(60_000);
        assert_eq!(lab.asking().await.len(), 0);
        lab.begin(last[0]).await;
        lab.hears(&runs(Some(last[0]), 5, Some(true), Some(FIRMWARE))).await;
        assert_eq!(lab.asking().await.len(), 1);
    }
}

#[tokio::test]
async fn nothing_is_read_while_the_policies_are_not_those_that_were_approved() {
    for lab in labs(1).await {
        let campaign = lab.all_activated(BY_INVENTORY, 1).await;
        lab.steps(BY_VERSION);
        assert!(lab.asking().await.is_empty());
        assert_eq!(lab.alarms().await, [AlarmKind::ApprovalVoid]);
        lab.app.approve_campaign("spring", APPROVER, OPERATOR).await.unwrap();
        lab.later(60_000);
        let id = lab.asks_one().await;
        assert_eq!(id.target, lab.app.settings.gateway.dcc_id, "what was to follow its activation then");
        assert_eq!(lab.read_state(campaign, 1).await, ReadState::Asked);
    }
}

#[tokio::test]
async fn a_read_that_dcc_quarantines_stops_the_others() {
    for lab in labs(2).await {
        let campaign = lab.all_activated(BY_VERSION, 2).await;
        let ids = lab.asking().await;
        lab.begin(ids[0]).await;
        lab.reply(ids[0], "I99").await;
        let quarantined =
            Alert::QuarantinedRequest { request_id: ids[0], quarantine_event_ref: "Q-1".into(), breach: Breach::ALL[0] };
        assert_eq!(lab.hears(&alert(Some(ids[0]), 60, quarantined)).await, InboxState::Settled, "the alarm is a person's task");
        assert_eq!(lab.alarms().await, [AlarmKind::Quarantined], "nothing of its type leaves while this stands");
        assert_eq!(lab.read_state(campaign, 1).await, ReadState::Accepted);
        assert!(lab.app.begin_post(ids[1], &lab.dcc).await.unwrap().is_none());
        // It is processed: the answer comes.
        lab.hears(&runs(Some(ids[0]), 1, Some(true), Some(FIRMWARE))).await;
        assert_eq!(lab.state(campaign, 1).await, TargetState::Verified);
    }
}
