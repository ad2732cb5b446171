//! What keeps a resubmission back, takes it apart or undoes it: everything that does so with any batch, and then its case is as it was.

use super::*;

#[tokio::test]
async fn a_paused_a_halted_and_an_unapproved_campaign_send_none() {
    for lab in labs(1).await {
        lab.result_now(1, "failed").await;
        let campaign = lab.started("spring", 10).await;
        lab.app.clock.advance(3 * DAY);
        lab.resubmitting(&[]);
        lab.app.judge_started().await.unwrap();
        assert_eq!(lab.resubmit(campaign).await, None, "turning it on wants a second person");
        let alarm = lab.app.alarms(true, None, 0, 10).await.unwrap().remove(0);
        assert_eq!(alarm.kind.as_str(), "approval-void");
        assert!(alarm.sentence.ends_with("retry.toml resubmit: false -> true"), "{}", alarm.sentence);
        assert_eq!(lab.ask().await, [device(1)], "so it is asked for as ever");
        lab.app.clock.advance(DAY);
        lab.result_now(1, "failed").await;
        lab.app.approve_campaign("spring", APPROVER, OPERATOR).await.unwrap();
        lab.app.clock.advance(5 * DAY);
        lab.app.pause_campaign("spring", OPERATOR).await.unwrap();
        assert_eq!(lab.resubmit(campaign).await, None);
        assert_eq!(lab.app.request_reruns(None, OPERATOR).await.unwrap().lines.len(), 1, "a paused campaign is not started");
        lab.app.resume_campaign("spring", OPERATOR).await.unwrap();
        lab.app.halt_campaign("spring", "stop", OPERATOR).await.unwrap();
        assert_eq!(lab.resubmit(campaign).await, None);
        lab.app.resume_campaign("spring", OPERATOR).await.unwrap();
        lab.resubmit(campaign).await.unwrap();
        // What was prepared does not leave either.
        let id = outbox::list(&mut lab.app.db.read().await.unwrap(), None, None, 1).await.unwrap()[0].id;
        lab.app.pause_campaign("spring", OPERATOR).await.unwrap();
        assert!(lab.app.begin_post(id, &lab.dcc).await.unwrap().is_none());
        assert_eq!(lab.app.abort_campaign("spring", OPERATOR).await.unwrap().state.as_str(), "aborted");
        assert_eq!(lab.state(campaign, 1).await, TargetState::Cancelled);
        assert_eq!(lab.tried(1).await.last().unwrap(), "result failed", "it was never tried");
        assert_eq!(lab.ask().await, [device(1)]);
    }
}

#[tokio::test]
async fn what_reached_no_device_was_no_attempt() {
    for lab in labs(1).await {
        let campaign = due(&lab, &[("most_attempts = 8", "most_attempts = 1")]).await;
        lab.app.sweep_key_cases().await.unwrap();
        lab.act(&[1], CaseAction::Retry, ONE).await;
        let before = lab.case(1).await;
        assert_eq!((before.state, before.next_attempt), (KeyCaseState::Investigating, Some(lab.app.now())));
        let as_before = async |lab: &Lab| {
            let target = lab.target(campaign, 1).await;
            assert_eq!(
                (target.state, target.reason, target.attempts, target.batch_id),
                (TargetState::Held, Reason::KeysMissing, 0, None)
            );
            assert_eq!((lab.case(1).await, lab.tried(1).await.len(), lab.came_to(1).await.len()), (before.clone(), 1, 0));
        };
        // No connection.
        let id = lab.resubmit(campaign).await.unwrap();
        lab.begin(id).await;
        lab.nothing_left(id).await;
        as_before(&lab).await;
        // A process that died before it posted: another takes up what it left.
        let id = lab.resubmit(campaign).await.unwrap();
        let other = lab.second().await;
        assert!(other.app.due_requests(10).await.unwrap().batches.is_empty());
        assert_eq!(lab.outbox_state(id).await, "abandoned");
        as_before(&lab).await;
        // DCC takes no requests now.
        let id = lab.resubmit(campaign).await.unwrap();
        lab.begin(id).await;
        assert_eq!(lab.reply(id, "E20").await, Posted::NotSent);
        as_before(&lab).await;
        let status = lab.app.campaign_status("spring").await.unwrap();
        assert_eq!((status.batches, status.duplicate_submissions), (0, 0));
        lab.sent_again(campaign).await;
    }
}

#[tokio::test]
async fn a_resubmission_that_dcc_quarantined_and_deleted_waits_for_its_key_again() {
    use crate::{duis::Breach, gateway::quarantine::Decision};
    for lab in labs(1).await {
        let campaign = due(&lab, &[]).await;
        let id = lab.sent_again(campaign).await;
        let held = Alert::QuarantinedRequest { request_id: id, quarantine_event_ref: "1".into(), breach: Breach::UserThreshold };
        lab.hears(&alert(Some(id), 1, held)).await;
        lab.app.clock.advance(10 * DAY);
        assert_eq!((lab.app.expire_silent().await.unwrap(), lab.app.end_resubmissions().await.unwrap()), (0, 0));
        let done = lab.app.decide_quarantine(id, Decision::Delete, "jane", "DCC file 17", OPERATOR).await.unwrap();
        assert_eq!(done.queued, 1);
        lab.is_held_without_key(campaign, 1).await;
        assert_eq!((lab.tried(1).await, lab.case(1).await.attempts), (vec!["result failed".to_string()], 1));
        lab.sent_again(campaign).await;
    }
}

#[tokio::test]
async fn supply_that_is_lost_before_it_leaves_takes_it_apart_and_a_missing_key_does_not() {
    for lab in labs(1).await {
        let campaign = due(&lab, &[]).await;
        let id = lab.resubmit(campaign).await.unwrap();
        lab.app.recheck_unsent().await.unwrap();
        assert_eq!(lab.outbox_state(id).await, "prepared", "decided by the same rules as when it was made");
        let today = lab.app.now().london_day().to_string();
        lab.registered(&[1], &today).await;
        lab.app.recheck_unsent().await.unwrap();
        assert_eq!(lab.outbox_state(id).await, "abandoned");
        assert_eq!(lab.state(campaign, 1).await, TargetState::Held);
        assert_eq!(lab.resubmit(campaign).await, None);
        lab.app.recheck_held().await.unwrap();
        let target = lab.target(campaign, 1).await;
        assert_eq!((target.state, target.reason), (TargetState::Ineligible, Reason::NotResponsibleSupplier));
    }
}

#[tokio::test]
async fn a_resend_of_a_lost_site_goes_to_a_person_as_ever() {
    for lab in labs(1).await {
        let campaign = due(&lab, &[]).await;
        let id = lab.resubmit(campaign).await.unwrap();
        lab.begin(id).await;
        lab.no_reply(id).await;
        assert_eq!(lab.resubmit(campaign).await, None, "never a second request beside one whose outcome is not known");
        lab.begin(id).await;
        lab.no_reply(id).await;
        lab.registered(&[1], &lab.app.now().london_day().to_string()).await;
        assert!(lab.app.begin_post(id, &lab.dcc).await.unwrap().is_none());
        assert_eq!((lab.batch(campaign).await.as_str(), lab.state(campaign, 1).await), ("held", TargetState::Submitted));
    }
}

/// No rule asks for a key of a MOC-Secure site, so DCC's word alone holds it: it must not slip into the queue.
#[tokio::test]
async fn a_site_that_dcc_alone_says_lacks_its_key_is_sent_again_and_comes_back() {
    for lab in labs(1).await {
        lab.sites(&[(1, "SECURE")]).await;
        lab.resubmitting(&[]);
        let campaign = lab.started("spring", 10).await;
        let first = lab.send(campaign).await;
        lab.app.clock.advance(HOUR);
        lab.hears(&no_key(Some(first), 1, 1)).await;
        lab.app.clock.advance(3 * DAY);
        let id = lab.resubmit(campaign).await.unwrap();
        assert_eq!(
            lab.decisions(1).await.last().unwrap().step.fact.as_deref().unwrap(),
            "DCC said so; sent all the same: resubmit = true in retry.toml"
        );
        lab.begin(id).await;
        lab.nothing_left(id).await;
        assert_eq!(lab.app.recheck_held().await.unwrap().released, 0);
        lab.is_held_without_key(campaign, 1).await;
        let again = lab.sent_again(campaign).await;
        lab.app.clock.advance(HOUR);
        lab.hears(&no_key(Some(again), 2, 1)).await;
        assert_eq!(lab.app.recheck_held().await.unwrap().released, 0);
        lab.is_held_without_key(campaign, 1).await;
        assert_eq!((lab.case(1).await.attempts, lab.target(campaign, 1).await.attempts), (2, 2));
        lab.app.clock.advance(HOUR);
        lab.act(&[1], CaseAction::Resolve, ONE).await;
        assert_eq!(lab.state(campaign, 1).await, TargetState::Queued, "its key came");
        assert_eq!(lab.resubmit(campaign).await, None, "exactly one decides");
    }
}

#[tokio::test]
async fn a_key_that_comes_meanwhile_answers_it() {
    for lab in labs(1).await {
        let campaign = due(&lab, &[]).await;
        lab.sent_again(campaign).await;
        lab.app.clock.advance(HOUR);
        lab.result_now(1, "updated").await;
        assert_eq!((lab.case(1).await.state, lab.came_to(1).await), (KeyCaseState::Resolved, vec![Some("updated".to_string())]));
        assert_eq!(lab.state(campaign, 1).await, TargetState::Accepted, "what is out is out");
        assert_eq!(lab.app.end_resubmissions().await.unwrap(), 0);
    }
}

const HEAD: &str = "version = 1\neffective_from = \"2020-11-24\"\n";

#[tokio::test]
async fn it_waits_for_its_window_like_every_batch() {
    for lab in labs(2).await {
        let days = "days = [\"Mon\", \"Tue\", \"Wed\", \"Thu\", \"Fri\", \"Sat\", \"Sun\"]\nfrom = \"22:00\"\nto = \"06:00\"\n";
        let window = format!("{HEAD}[[window]]\ncohorts = [\"IOC\"]\n{days}");
        std::fs::write(lab.app.settings.policies_dir.join("windows.toml"), window).unwrap();
        let campaign = due(&lab, &[]).await;
        assert_eq!(lab.resubmit(campaign).await, None, "its cohort is closed at noon");
        assert_eq!(lab.app.request_reruns(None, OPERATOR).await.unwrap().left_to_the_engine, 1, "and the engine waits for it");
        lab.app.clock.advance(11 * HOUR);
        let id = lab.resubmit(campaign).await.expect("open at eleven");
        lab.app.clock.advance(13 * HOUR);
        assert!(lab.app.begin_post(id, &lab.dcc).await.unwrap().is_none(), "and closed again");
        lab.is_held_without_key(campaign, 1).await;
        lab.app.clock.advance(11 * HOUR);
        lab.sent_again(campaign).await;
    }
}

#[tokio::test]
async fn while_a_rollout_waits_for_a_threshold_no_resubmission_takes_its_room() {
    for lab in labs(25).await {
        let threshold =
            "counts = \"devices\"\nmargin = \"0s\"\n[[threshold]]\nrequest = \"11.1\"\nperiod = \"24h\"\nquarantine = 21\n";
        std::fs::write(lab.app.settings.policies_dir.join("thresholds.toml"), format!("{HEAD}{threshold}")).unwrap();
        lab.resubmitting(&[]);
        lab.result_now(1, "failed").await;
        let campaign = lab.started("spring", 20).await;
        lab.app.clock.advance(3 * DAY);
        lab.send(campaign).await;
        assert_eq!(lab.app.prepare_batch(campaign).await.unwrap(), None, "four wait, and there is room for one");
        assert_eq!(lab.resubmit(campaign).await, None, "which is not this one's");
        lab.app.clock.advance(25 * HOUR);
        lab.send(campaign).await;
        lab.sent_again(campaign).await;
    }
}

#[tokio::test]
async fn it_counts_towards_the_thresholds_and_waits_for_their_room() {
    for lab in labs(2).await {
        let threshold =
            "counts = \"requests\"\nmargin = \"0s\"\n[[threshold]]\nrequest = \"11.1\"\nperiod = \"24h\"\nquarantine = 1\n";
        std::fs::write(lab.app.settings.policies_dir.join("thresholds.toml"), format!("{HEAD}{threshold}")).unwrap();
        let campaign = due(&lab, &[]).await;
        lab.send(campaign).await;
        assert_eq!(lab.resubmit(campaign).await, None, "the one request there is room for has gone");
        lab.app.clock.advance(25 * HOUR);
        lab.sent_again(campaign).await;
        let used = lab.app.campaign_status("spring").await.unwrap().adt.unwrap().thresholds[0].used;
        assert_eq!(used, 1, "and it counts");
    }
}

#[tokio::test]
async fn two_nodes_at_once_send_it_once() {
    for lab in labs(1).await {
        let campaign = due(&lab, &[]).await;
        let other = Lab { folder: tempfile::tempdir().unwrap(), ..lab.second().await };
        let (a, b, asked) = tokio::join!(lab.resubmit(campaign), other.resubmit(campaign), lab.ask());
        assert_eq!(usize::from(a.is_some()) + usize::from(b.is_some()), 1, "{asked:?}");
        assert!(asked.is_empty());
        assert_eq!(lab.tried(1).await, ["result failed", "resubmission sent"]);
    }
}
