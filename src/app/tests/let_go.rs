//! A held batch is let go: the same request, once a person says so, and never where a device would get a second one.

use super::*;
use crate::failure::Failure;

async fn held(lab: &Lab, campaign: i64) -> RequestId {
    let id = lab.post(campaign).await;
    let rejected = PostOutcome::Rejected(Trouble::new(Fault::Rejected, "HTTP 400: no"));
    assert_eq!(lab.record(id, rejected).await, Posted::Held);
    id
}

async fn refused(lab: &Lab, id: RequestId) -> Failure {
    lab.app.release_request(id, "DCC says it is fine now", OPERATOR).await.unwrap_err()
}

#[tokio::test]
async fn a_held_request_that_is_let_go_is_the_same_request() {
    for lab in labs(2).await {
        let campaign = lab.started("spring", 10).await;
        let id = held(&lab, campaign).await;
        assert!(lab.app.due_requests(9).await.unwrap().batches.is_empty());
        assert!(lab.app.release_request(id, " ", OPERATOR).await.is_err(), "a reason is wanted");
        let released = lab.app.release_request(id, "DCC says it is fine now", OPERATOR).await.unwrap();
        assert_eq!((released.id, released.state.as_str(), lab.batch(campaign).await.as_str()), (id, "unknown", "unknown"));
        assert_eq!(lab.app.due_requests(9).await.unwrap().batches, [id]);
        lab.begin(id).await;
        assert_eq!(lab.reply(id, "E62").await, Posted::Settled, "DCC has it from the first time");
        assert_eq!((lab.state(campaign, 1).await, lab.batch(campaign).await.as_str()), (TargetState::Accepted, "accepted"));
        let status = lab.app.campaign_status("spring").await.unwrap();
        assert_eq!((status.requests_sent, status.duplicate_submissions, status.held_batches.len()), (1, 0, 0));
        let trail = crate::audit::list(&mut lab.app.db.read().await.unwrap(), 0, 999).await.unwrap();
        let event = trail.iter().find(|e| e.action == "request.release").unwrap();
        assert_eq!((event.who.as_str(), &event.detail["reason"]), (OPERATOR, &"DCC says it is fine now".into()));
    }
}

#[tokio::test]
async fn what_is_let_go_waits_while_its_campaign_is_not_started() {
    for lab in labs(2).await {
        let campaign = lab.started("spring", 10).await;
        let id = held(&lab, campaign).await;
        lab.app.halt_campaign("spring", "smoke", OPERATOR).await.unwrap();
        lab.app.release_request(id, "it may go when we resume", OPERATOR).await.unwrap();
        assert!(lab.app.begin_post(id, &lab.dcc).await.unwrap().is_none());
        lab.app.resume_campaign("spring", OPERATOR).await.unwrap();
        lab.app.clock.advance(60_000);
        lab.begin(id).await;
    }
}

#[tokio::test]
async fn what_is_let_go_and_is_no_longer_ours_is_held_again() {
    for lab in labs(2).await {
        let campaign = lab.started("spring", 10).await;
        let id = held(&lab, campaign).await;
        lab.registered(&[1], "2020-01-01").await;
        lab.app.release_request(id, "I did not see the switch", OPERATOR).await.unwrap();
        assert!(lab.app.begin_post(id, &lab.dcc).await.unwrap().is_none());
        assert_eq!((lab.outbox_state(id).await.as_str(), lab.batch(campaign).await.as_str()), ("held", "held"));
    }
}

#[tokio::test]
async fn a_request_whose_devices_wait_for_another_is_not_let_go() {
    for lab in labs(2).await {
        let campaign = lab.started("spring", 10).await;
        let id = held(&lab, campaign).await;
        lab.app.clock.advance(80 * 3_600_000);
        assert_eq!(lab.app.expire_silent().await.unwrap(), 2);
        lab.app.retry_campaign("spring", OPERATOR).await.unwrap();
        assert!(refused(&lab, id).await.message.contains("2 of its devices wait for another request"));
        let second = lab.post(campaign).await;
        assert!(refused(&lab, id).await.message.contains("2 of its devices"));
        assert_eq!((lab.outbox_state(id).await.as_str(), lab.outbox_state(second).await.as_str()), ("held", "posting"));
        assert_eq!(lab.app.campaign_status("spring").await.unwrap().duplicate_submissions, 0);
    }
}

#[tokio::test]
async fn what_is_not_held_is_not_let_go_and_why_is_said() {
    for lab in labs(4).await {
        let campaign = lab.started("spring", 1).await;
        let answered = lab.send(campaign).await;
        assert!(refused(&lab, answered).await.message.contains("DCC answered it with I99"));
        let posting = lab.post(campaign).await;
        assert!(refused(&lab, posting).await.message.contains("on its way by itself"));
        let gone = lab.post(campaign).await;
        lab.nothing_left(gone).await;
        assert!(refused(&lab, gone).await.message.contains("never left and was given up"));
        let nobody = RequestId { counter: 1, ..gone };
        assert!(refused(&lab, nobody).await.message.contains("there is no request"));
        let last = held(&lab, campaign).await;
        lab.app.abort_campaign("spring", OPERATOR).await.unwrap();
        assert!(refused(&lab, last).await.message.contains("nothing of it leaves any more"));
        for failure in [refused(&lab, answered).await, refused(&lab, last).await] {
            assert!(!failure.help.is_empty(), "{failure:?}");
        }
    }
}
