//! One device in two campaigns.

use super::*;
use crate::policy::Reason;

#[tokio::test]
async fn a_device_queued_in_two_campaigns_goes_once_and_neither_waits_for_ever() {
    for lab in labs(3).await {
        let (first, second) = (lab.planned("first", 10).await, lab.planned("second", 10).await);
        lab.start("first").await;
        lab.start("second").await;
        // What is queued in another started campaign waits, so the first to be asked yields ...
        assert_eq!(lab.app.prepare_batch(first).await.unwrap(), None);
        assert_eq!(lab.target(first, 1).await.reason, Reason::OtherCampaignInProgress);
        // ... and the other finds nobody in its way.
        let id = lab.send(second).await;
        assert_eq!((lab.state(first, 1).await, lab.state(second, 1).await), (TargetState::Held, TargetState::Accepted));
        lab.app.recheck_held().await.unwrap();
        assert_eq!(lab.app.prepare_batch(first).await.unwrap(), None, "it is out in the second");
        for site in 1..=2 {
            lab.hears(&activated(Some(id), site, site)).await;
        }
        lab.hears(&s1sp(Some(id), 9, Some(3), "S1VE2", testing::now())).await;
        assert_eq!(lab.state(second, 3).await, TargetState::Failed);
        lab.app.recheck_held().await.unwrap();
        assert_eq!(lab.state(first, 1).await, TargetState::Ineligible, "it runs the version now");
        assert_eq!(lab.state(first, 3).await, TargetState::Queued, "it is nobody else's now");
        lab.send(first).await;
    }
}

#[tokio::test]
async fn two_nodes_that_prepare_both_campaigns_at_once_send_each_device_once() {
    for lab in labs(40).await {
        let (first, second) = (lab.planned("first", 10).await, lab.planned("second", 10).await);
        lab.start("first").await;
        lab.start("second").await;
        let other = lab.second().await;
        for _ in 0..12 {
            let (a, b) = tokio::join!(lab.app.prepare_batch(first), other.app.prepare_batch(second));
            assert!(a.is_ok() && b.is_ok(), "{a:?} {b:?}");
            let (a, b) = tokio::join!(lab.app.recheck_held(), other.app.recheck_held());
            assert!(a.is_ok() && b.is_ok(), "{a:?} {b:?}");
        }
        for n in 1..=40 {
            let states = [lab.state(first, n).await, lab.state(second, n).await];
            let out = states.iter().filter(|s| s.is_in_flight()).count();
            assert_eq!(out, 1, "device {n}: {states:?}");
        }
    }
}

#[tokio::test]
async fn what_a_paused_or_aborted_campaign_has_sent_is_not_sent_by_another() {
    for lab in labs(2).await {
        let (first, second) = (lab.planned("first", 10).await, lab.planned("second", 10).await);
        lab.start("first").await;
        let id = lab.send(first).await;
        for stop in ["pause", "abort"] {
            match stop {
                "pause" => lab.app.pause_campaign("first", OPERATOR).await.unwrap(),
                _ => lab.app.abort_campaign("first", OPERATOR).await.unwrap(),
            };
            if stop == "pause" {
                lab.start("second").await;
            }
            assert_eq!(lab.app.prepare_batch(second).await.unwrap(), None, "{stop}: DCC has it from the first");
            assert_eq!(lab.target(second, 1).await.reason, Reason::OtherCampaignInProgress);
        }
        lab.hears(&s1sp(Some(id), 9, Some(2), "S1VE2", testing::now())).await;
        lab.app.recheck_held().await.unwrap();
        assert_eq!((lab.state(second, 1).await, lab.state(second, 2).await), (TargetState::Held, TargetState::Queued));
    }
}
