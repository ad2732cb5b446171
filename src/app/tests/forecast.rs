//! How long the stages of a campaign took, and when it ends at the pace so far.

use super::*;
use crate::campaign::latency::{Percentiles, Stage};

const MINUTE: i64 = 60_000;

fn near(told: i64, minutes: i64) -> bool {
    (told - minutes * MINUTE).abs() <= minutes * MINUTE / 20
}

#[tokio::test]
async fn stages_are_counted_as_messages_come_and_tell_the_end() {
    for lab in labs(90).await {
        let campaign = lab.started("spring", 30).await;
        let status = async || lab.app.campaign_status("spring").await.unwrap();
        assert!(status().await.latencies.is_empty() && status().await.forecast.is_none(), "nothing was sent");
        let first = lab.post(campaign).await;
        lab.app.clock.advance(MINUTE);
        lab.reply(first, "I99").await;
        let requested = |n: u64| firmware(Some(first), n, n, FIRMWARE, Smets1FirmwareStatus::UpdateRequested);
        lab.app.clock.advance(10 * MINUTE);
        lab.hears(&requested(1)).await;
        lab.app.clock.advance(49 * MINUTE);
        for n in 1..=19 {
            lab.hears(&activated(Some(first), 100 + n, n)).await;
        }
        lab.hears(&activated(Some(first), 200, 1)).await;
        let told = status().await;
        assert!(told.forecast.is_none(), "nineteen say nothing of the rest");
        let of = |stage| *told.latencies.get(&stage).unwrap_or_else(|| panic!("{stage}"));
        let (accepted, delivered, took) = (of(Stage::Accepted), of(Stage::Delivered), of(Stage::Activated));
        assert_eq!((accepted.devices, delivered.devices, took.devices), (30, 1, 19), "what comes twice counts once");
        assert!(
            near(accepted.p50_ms, 1) && near(delivered.p50_ms, 10) && near(took.p99_ms, 60),
            "{accepted:?} {delivered:?} {took:?}"
        );
        // A second batch an hour after the first; thirty more wait for the third.
        lab.send(campaign).await;
        lab.hears(&activated(Some(first), 300, 20)).await;
        let told = status().await.forecast.expect("twenty do");
        assert_eq!(told.devices_left, 70);
        let in_minutes = |at: Time| (at.0 - lab.app.now().0) / MINUTE;
        assert_eq!(told.all_sent_by.map(in_minutes), Some(30), "sixty in an hour");
        assert!(told.most_by < told.end_about && in_minutes(told.most_by) >= 60, "{told:?}");
        lab.app.pause_campaign("spring", OPERATOR).await.unwrap();
        let paused = status().await;
        assert!(paused.forecast.is_none(), "nobody knows when it goes on");
        assert!(matches!(paused.latencies[&Stage::Activated], Percentiles { devices: 20, .. }));
    }
}
