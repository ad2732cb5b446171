//! Thresholds and quarantine: nothing leaves that would be too much, also across resends, crashes and nodes; what DCC holds back fails
//! nobody, stops the rest, and ends as a person says.

use super::*;
use crate::{
    alarm::AlarmKind,
    duis::Breach,
    failure::Failure,
    gateway::quarantine::{Decision, QuarantineState},
};

const HOUR: i64 = 3_600_000;

impl Lab {
    fn thresholds(&self, counts: &str, quarantine: u64, more: &str) {
        let text = format!(
            "version = 1\neffective_from = \"2020-11-24\"\ncounts = \"{counts}\"\nmargin = \"0s\"\n{more}\n\
             [[threshold]]\nrequest = \"11.1\"\nperiod = \"24h\"\nquarantine = {quarantine}\n"
        );
        std::fs::write(self.app.settings.policies_dir.join("thresholds.toml"), text).unwrap();
    }

    async fn standing_alarms(&self) -> Vec<AlarmKind> {
        self.app.watch_thresholds().await.unwrap();
        self.app.alarms(true, None, 0, 99).await.unwrap().iter().map(|a| a.kind).collect()
    }

    async fn decide(&self, id: RequestId, decision: Decision) -> Result<super::super::QuarantineDecided, Failure> {
        self.app.decide_quarantine(id, decision, "jane", "DCC file 17", OPERATOR).await
    }

    async fn nothing_goes(&self, campaign: i64) {
        assert_eq!(self.app.prepare_batch(campaign).await.unwrap(), None);
    }
}

fn quarantined(id: RequestId, n: u64, event: &str) -> Response {
    let breach = Breach::UserThreshold;
    alert(Some(id), n, Alert::QuarantinedRequest { request_id: id, quarantine_event_ref: event.into(), breach })
}

#[tokio::test]
async fn what_there_is_no_room_for_waits_and_why_and_until_when_is_said() {
    for lab in labs(6).await {
        let campaign = lab.started("spring", 1).await;
        lab.thresholds("requests", 5, "");
        for _ in 0..4 {
            lab.send(campaign).await;
            lab.app.clock.advance(HOUR);
        }
        assert_eq!(lab.standing_alarms().await, [AlarmKind::ThresholdNear], "at 80%");
        lab.send(campaign).await;
        lab.nothing_goes(campaign).await;
        let all = [AlarmKind::ThresholdNear, AlarmKind::ThresholdReached];
        assert_eq!((lab.standing_alarms().await, lab.standing_alarms().await), (all.to_vec(), all.to_vec()));
        let adt = lab.app.campaign_status("spring").await.unwrap().adt.unwrap();
        let room_again = testing::now().plus_millis(24 * HOUR);
        // What was sent is gathered in stretches of a thousandth of the period.
        let late = adt.next_at.unwrap().0 - room_again.0;
        assert!((0..=86_400).contains(&late), "{adt:?}");
        assert_eq!((adt.waits.as_deref(), adt.forecast), (Some("5 of 5 requests 11.1 in 24h are used"), adt.next_at));
        assert!(
            adt.sentence.starts_with("waits: 5 of 5 requests 11.1 in 24h are used; the next may go at 2026-11-25T12:"),
            "{adt:?}"
        );
        lab.app.clock.advance(adt.next_at.unwrap().0 - lab.app.now().0 - 1);
        lab.nothing_goes(campaign).await;
        lab.app.clock.advance(1);
        lab.send(campaign).await;
        lab.app.clock.advance(25 * HOUR);
        assert_eq!(lab.standing_alarms().await, [], "they end by themselves");
        let status = lab.app.campaign_status("spring").await.unwrap();
        assert_eq!((status.requests_sent, status.adt.unwrap().thresholds[0].used), (6, 0));
        let trail = crate::audit::list(&mut lab.app.db.read().await.unwrap(), 0, 999).await.unwrap();
        assert_eq!(trail.iter().filter(|e| e.action == "alarm.raise").count(), 2, "each once");
    }
}

#[tokio::test]
async fn every_posting_counts_unless_it_never_left_or_a_request_counts_once() {
    for lab in labs(3).await {
        let campaign = lab.started("spring", 1).await;
        lab.thresholds("requests", 2, "");
        let gone = lab.post(campaign).await;
        lab.nothing_left(gone).await;
        let id = lab.post(campaign).await;
        lab.no_reply(id).await;
        lab.app.clock.advance(60_000);
        assert_eq!(lab.app.due_requests(9).await.unwrap().batches, [id]);
        lab.begin(id).await;
        lab.no_reply(id).await;
        lab.app.clock.advance(60_000);
        assert!(lab.app.begin_post(id, &lab.dcc).await.unwrap().is_none(), "a third posting is one too many");
        let held_back = outbox::find_by_request_id(&mut lab.app.db.read().await.unwrap(), id).await.unwrap().unwrap();
        assert_eq!(held_back.last_error.as_deref(), Some("2 of 2 requests 11.1 in 24h are used"));
        assert_eq!((held_back.state.as_str(), held_back.posts), ("unknown", 2), "it waits as it was");
        lab.nothing_goes(campaign).await;
        lab.thresholds("requests", 2, "resends = \"once\"");
        lab.app.clock.advance(10_000);
        lab.begin(id).await;
        assert_eq!(lab.reply(id, "E62").await, Posted::Settled);
        lab.send(campaign).await;
        lab.nothing_goes(campaign).await;
    }
}

#[tokio::test]
async fn batches_are_cut_to_the_room_there_is_but_not_to_crumbs() {
    for lab in labs(30).await {
        let campaign = lab.started("spring", 25).await;
        lab.thresholds("devices", 20, "");
        let sizes = async || {
            let all = crate::campaign::store::list_batches(&mut lab.app.db.read().await.unwrap(), campaign).await.unwrap();
            all.iter().map(|b| b.1).collect::<Vec<_>>()
        };
        lab.send(campaign).await;
        assert_eq!(sizes().await, [20], "never more than could go at once");
        lab.nothing_goes(campaign).await;
        lab.thresholds("devices", 21, "");
        lab.nothing_goes(campaign).await;
        lab.thresholds("devices", 24, "");
        lab.send(campaign).await;
        assert_eq!(sizes().await, [20, 4]);
        lab.app.clock.advance(25 * HOUR);
        lab.send(campaign).await;
        assert_eq!(sizes().await, [20, 4, 6]);
    }
}

/// One after another, since each counts under the turn of its type: two programs on one database never send more than one may.
#[tokio::test]
async fn two_nodes_share_the_room() {
    for lab in labs(4).await {
        let campaign = lab.started("spring", 1).await;
        lab.thresholds("requests", 1, "");
        let other = lab.second().await;
        let (a, b) = tokio::join!(lab.app.prepare_batch(campaign), other.app.prepare_batch(campaign));
        let (a, b) = (a.unwrap().unwrap(), b.unwrap().unwrap());
        assert_ne!(a, b, "both are prepared: neither has left");
        let (a, b) = tokio::join!(lab.app.begin_post(a, &lab.dcc), other.app.begin_post(b, &other.dcc));
        assert_eq!([a.unwrap().is_some(), b.unwrap().is_some()].iter().filter(|left| **left).count(), 1);
        let counts = outbox::counts(&mut lab.app.db.read().await.unwrap()).await.unwrap();
        assert_eq!(counts.get(&outbox::OutboxState::Abandoned), Some(&1), "the other's devices are queued again");
        assert_eq!(lab.app.campaign_status("spring").await.unwrap().by_state[&TargetState::Queued], 3);
    }
}

#[tokio::test]
async fn a_quarantined_batch_fails_nobody_stops_the_rest_and_is_processed() {
    for lab in labs(4).await {
        let campaign = lab.started("spring", 2).await;
        let id = lab.send(campaign).await;
        assert_eq!(lab.hears(&quarantined(id, 1, "Q1")).await, InboxState::Settled);
        assert_eq!(lab.hears(&quarantined(id, 2, "Q1")).await, InboxState::Settled, "told of twice");
        assert_eq!((lab.batch(campaign).await.as_str(), lab.state(campaign, 1).await), ("held", TargetState::Accepted));
        lab.nothing_goes(campaign).await;
        assert_eq!(lab.standing_alarms().await, [AlarmKind::Quarantined]);
        let status = lab.app.campaign_status("spring").await.unwrap();
        assert!(status.adt.as_ref().unwrap().sentence.contains("event Q1"), "{:?}", status.adt);
        lab.app.clock.advance(100 * HOUR);
        assert_eq!(lab.app.expire_silent().await.unwrap(), 0, "nobody is silent while DCC holds it");
        assert!(lab.app.release_request(id, "go", OPERATOR).await.unwrap_err().message.contains("in quarantine"));
        assert!(lab.app.decide_quarantine(id, Decision::Process, "jane", " ", OPERATOR).await.is_err(), "a reason is wanted");
        let done = lab.decide(id, Decision::Process).await.unwrap();
        assert_eq!(
            (done.state, done.again, done.events.as_slice()),
            (QuarantineState::Processed, false, &["Q1".to_string()][..])
        );
        assert!(lab.decide(id, Decision::Process).await.unwrap().again);
        let refused = lab.decide(id, Decision::Delete).await.unwrap_err();
        assert!(refused.message.contains("recorded as processed by jane, asserted by ann@desk"), "{refused}");
        assert_eq!((lab.batch(campaign).await.as_str(), lab.standing_alarms().await), ("accepted", vec![]));
        lab.send(campaign).await;
        lab.hears(&activated(Some(id), 3, 1)).await;
        lab.app.clock.advance(100 * HOUR);
        lab.app.expire_silent().await.unwrap();
        assert_eq!((lab.state(campaign, 1).await, lab.state(campaign, 2).await), (TargetState::Activated, TargetState::Expired));
        let trail = crate::audit::list(&mut lab.app.db.read().await.unwrap(), 0, 999).await.unwrap();
        let events: Vec<_> = trail.iter().filter(|e| e.action.starts_with("quarantine.")).collect();
        assert_eq!(events.iter().map(|e| e.action.as_str()).collect::<Vec<_>>(), ["quarantine.told", "quarantine.process"]);
        assert_eq!(
            (&events[1].who, &events[1].detail["reason"]),
            (&"jane, asserted by ann@desk".to_string(), &"DCC file 17".into())
        );
    }
}

#[tokio::test]
async fn what_was_deleted_is_sent_again_under_another_request_id() {
    for lab in labs(2).await {
        let campaign = lab.started("spring", 2).await;
        let id = lab.send(campaign).await;
        lab.hears(&quarantined(id, 1, "Q1")).await;
        let done = lab.decide(id, Decision::Delete).await.unwrap();
        assert_eq!((done.queued, lab.outbox_state(id).await.as_str()), (2, "deleted"));
        assert_eq!(lab.decide(id, Decision::Delete).await.unwrap().queued, 0);
        assert!(lab.decide(id, Decision::Process).await.unwrap_err().message.contains("recorded as deleted"));
        let again = lab.send(campaign).await;
        assert!(again.counter > id.counter);
        // Whatever still comes of the old one moves nothing that is in the new one.
        lab.hears(&later(id, 2, "E20")).await;
        lab.hears(&quarantined(id, 3, "Q1")).await;
        assert_eq!((lab.state(campaign, 1).await, lab.batch(campaign).await.as_str()), (TargetState::Accepted, "accepted"));
        for n in [1, 2] {
            lab.hears(&activated(None, 3 + n, n)).await;
        }
        let status = lab.app.campaign_status("spring").await.unwrap();
        assert_eq!((status.by_state[&TargetState::Activated], status.duplicate_submissions), (2, 0));
        assert_eq!(lab.app.finish_campaigns().await.unwrap(), 1);
    }
}

#[tokio::test]
async fn an_alert_before_the_reply_holds_the_batch_all_the_same() {
    for lab in labs(2).await {
        let campaign = lab.started("spring", 2).await;
        let id = lab.post(campaign).await;
        lab.hears(&quarantined(id, 1, "Q1")).await;
        lab.reply(id, "I99").await;
        assert_eq!((lab.batch(campaign).await.as_str(), lab.target(campaign, 1).await.answer_by), ("held", None));
        lab.hears(&later(id, 2, "I0")).await;
        assert_eq!(lab.batch(campaign).await, "held", "a person decides");
        lab.decide(id, Decision::Process).await.unwrap();
        assert_eq!(lab.batch(campaign).await, "accepted");
        assert!(lab.target(campaign, 1).await.answer_by.is_some());
    }
}

#[tokio::test]
async fn without_a_reply_what_was_processed_is_followed_as_unknown() {
    for lab in labs(2).await {
        let campaign = lab.started("spring", 2).await;
        let id = lab.post(campaign).await;
        lab.no_reply(id).await;
        lab.hears(&quarantined(id, 1, "Q1")).await;
        lab.app.clock.advance(60_000);
        assert!(lab.app.due_requests(9).await.unwrap().batches.is_empty(), "held: not sent again");
        lab.decide(id, Decision::Process).await.unwrap();
        assert_eq!((lab.batch(campaign).await.as_str(), lab.app.due_requests(9).await.unwrap().batches), ("unknown", vec![id]));
        lab.begin(id).await;
        assert_eq!(lab.reply(id, "E62").await, Posted::Settled);
        assert_eq!((lab.batch(campaign).await.as_str(), lab.state(campaign, 1).await), ("accepted", TargetState::Accepted));
    }
}

#[tokio::test]
async fn what_has_gone_on_was_not_deleted_and_what_was_aborted_is_not_queued() {
    for lab in labs(2).await {
        let campaign = lab.started("spring", 2).await;
        let id = lab.send(campaign).await;
        lab.hears(&quarantined(id, 1, "Q1")).await;
        lab.hears(&firmware(Some(id), 2, 1, FIRMWARE, Smets1FirmwareStatus::UpdateRequested)).await;
        let refused = lab.decide(id, Decision::Delete).await.unwrap_err();
        assert!(refused.message.contains("1 of its devices have news") && !refused.help.is_empty(), "{refused}");
        assert_eq!(lab.batch(campaign).await, "held", "nothing was written");
        lab.decide(id, Decision::Process).await.unwrap();
    }
    for lab in labs(2).await {
        let campaign = lab.started("spring", 2).await;
        let id = lab.send(campaign).await;
        lab.hears(&quarantined(id, 1, "Q1")).await;
        lab.app.abort_campaign("spring", OPERATOR).await.unwrap();
        lab.decide(id, Decision::Delete).await.unwrap();
        assert_eq!(lab.state(campaign, 1).await, TargetState::Cancelled);
    }
}

#[tokio::test]
async fn another_systems_quarantine_is_listed_and_says_that_the_reserve_is_small() {
    for lab in labs(2).await {
        let campaign = lab.started("spring", 2).await;
        let theirs = RequestId { originator: testing::us(), target: lab.app.settings.gateway.dcc_id, counter: 77 };
        assert_eq!(lab.hears(&quarantined(theirs, 1, "Q9")).await, InboxState::Ignored);
        lab.hears(&quarantined(theirs, 2, "Q9")).await;
        let nobodys = RequestId { originator: Eui(5), ..theirs };
        assert_eq!(lab.hears(&quarantined(nobodys, 3, "Q9")).await, InboxState::Ignored);
        let listed = lab.app.quarantines(false, i64::MAX, 9).await.unwrap();
        assert_eq!((listed.len(), listed[0].state, listed[0].request_id), (1, QuarantineState::Foreign, theirs));
        assert_eq!(
            (lab.standing_alarms().await, lab.app.quarantines(true, i64::MAX, 9).await.unwrap()),
            (vec![AlarmKind::QuarantinedElsewhere], vec![])
        );
        assert!(lab.decide(theirs, Decision::Delete).await.unwrap_err().message.contains("another system's"));
        assert!(lab.decide(nobodys, Decision::Delete).await.unwrap_err().message.contains("told of no quarantine"));
        lab.send(campaign).await;
    }
}

#[tokio::test]
async fn what_dcc_processed_has_the_time_that_its_steps_give() {
    for lab in labs(1).await {
        let steps = "version = 1\neffective_from = \"2020-11-24\"\n[default.IOC]\nsteps = [\"update\"]\nanswer_within = \"6h\"\n";
        std::fs::write(lab.folder.path().join("policies/steps.toml"), steps).unwrap();
        let campaign = lab.started("spring", 2).await;
        let id = lab.send(campaign).await;
        lab.hears(&quarantined(id, 1, "Q1")).await;
        lab.app.clock.advance(100 * HOUR);
        lab.decide(id, Decision::Process).await.unwrap();
        assert_eq!(lab.target(campaign, 1).await.answer_by, Some(lab.app.now().plus_millis(6 * HOUR)));
    }
}
