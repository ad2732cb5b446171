//! What is still out when a campaign is over: it ends as well, and nothing of it waits for what does not come.

use super::*;
use crate::{app::Due, campaign::CampaignState};

const HOUR: i64 = 3_600_000;

impl Lab {
    /// Requests that are due and may leave.
    async fn leaving(&self) -> Vec<RequestId> {
        let mut leaving = Vec::new();
        for id in self.app.due_requests(9).await.unwrap().batches {
            leaving.extend(self.app.begin_post(id, &self.dcc).await.unwrap().map(|ready| ready.id));
        }
        leaving
    }
}

#[tokio::test]
async fn a_request_that_nobody_answered_ends_with_its_campaign() {
    for aborted in [false, true] {
        for lab in labs(2).await {
            let campaign = lab.started("spring", 2).await;
            let id = lab.post(campaign).await;
            lab.no_reply(id).await;
            let wanted = if aborted {
                lab.app.abort_campaign("spring", OPERATOR).await.unwrap();
                CampaignState::Aborted
            } else {
                for n in 1..=2 {
                    lab.hears(&activated(Some(id), n, n)).await;
                }
                lab.app.finish_campaigns().await.unwrap();
                CampaignState::Finished
            };
            assert_eq!(lab.app.campaign("spring").await.unwrap().state, wanted);
            lab.app.clock.advance(HOUR);
            assert!(lab.leaving().await.is_empty());
            assert_eq!(lab.outbox_state(id).await, "held");
            lab.app.clock.advance(HOUR);
            assert_eq!(lab.app.due_requests(9).await.unwrap(), Due::default(), "nobody tries it for ever");
            let status = lab.app.campaign_status("spring").await.unwrap();
            assert!(status.held_batches.is_empty() && status.alarms.is_empty(), "nobody has anything to do: {status:?}");
            // An answer that comes after all is one.
            assert_eq!(lab.hears(&later(id, 50, "I99")).await, InboxState::Settled);
            lab.hears(&activated(Some(id), 51, 1)).await;
            assert_eq!(lab.state(campaign, 1).await, TargetState::Activated);
        }
    }
}

#[tokio::test]
async fn a_device_that_turns_out_to_lack_its_key_waits_for_none_where_its_campaign_was_aborted() {
    for lab in labs(2).await {
        let campaign = lab.started("spring", 2).await;
        let id = lab.send(campaign).await;
        lab.app.abort_campaign("spring", OPERATOR).await.unwrap();
        lab.hears(&no_key(Some(id), 1, 1)).await;
        assert_eq!(lab.state(campaign, 1).await, TargetState::Cancelled);
        lab.keys("2026-11-24T13:00:00Z", &[(1, "updated")]).await;
        lab.app.recheck_held().await.unwrap();
        assert_eq!(lab.state(campaign, 1).await, TargetState::Cancelled);
        // Device truth wins all the same.
        lab.hears(&activated(Some(id), 2, 1)).await;
        assert_eq!(lab.state(campaign, 1).await, TargetState::Activated);
    }
}
