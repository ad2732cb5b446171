//! Scenarios that are told by name, of the same simulation with chosen rules: each ends as it must under deaths at random, with fixed seeds.

use super::{
    HOUR, Whole,
    estate::{Ground, Plot},
    rules::{Outage, Rules, Silent, Staged, Steps},
    seeds::{cleared, on_a_deep_stack, one},
    wall::Opening,
};
use crate::{campaign::CampaignState, db::testing::databases, target::TargetState};

const SITES: u64 = 60;

/// Under a few seeds on each engine.
async fn under_seeds(rules: impl Fn() -> Rules, right: impl Fn(&super::Counts, &str)) {
    for db in databases().await {
        let engine = db.engine;
        let ground = Ground::of(db).await;
        for seed in 1..=2 {
            right(&one(&ground, rules(), seed).await, engine);
        }
    }
}

#[test]
fn a_dcc_that_is_silent_for_two_days_and_then_storms_ends_with_every_device_right() {
    on_a_deep_stack(async || {
        for silent in [None, Some(Silent { asks: "\"read-inventory\"", retries: 1 })] {
            let rules = || {
                let mut rules =
                    Rules { silent: silent.clone(), steps: Steps::UpdateAlone, ..Rules::well("2026-11-25T08:00:00Z", SITES) };
                let from = rules.start.plus_millis(3 * HOUR);
                rules.weather.outages = vec![(from, from.plus_millis(48 * HOUR), Outage::Silent)];
                rules.weather.alert_twice = 30;
                rules
            };
            under_seeds(rules, |counts, engine| {
                assert_eq!(counts.activated + counts.verified, SITES, "{engine}: {counts:?}");
                assert!(counts.deaths > 0, "{counts:?}");
            })
            .await;
        }
    });
}

#[test]
fn in_both_weeks_in_which_clocks_change_everything_leaves_within_its_windows_and_ends() {
    on_a_deep_stack(async || {
        for (start, from, to) in
            [("2027-03-26T12:00:00Z", 90, 4 * 60), ("2027-10-29T12:00:00Z", 90, 4 * 60), ("2027-10-29T12:00:00Z", 20 * 60, 90)]
        {
            let rules = || Rules {
                openings: vec![Opening::Window { days: (0..7).collect(), from, to, region: None }],
                batch_size: 5,
                cap: Some(15),
                ..Rules::well(start, SITES)
            };
            under_seeds(rules, |counts, engine| assert_eq!(counts.activated, SITES, "{engine}, {start}: {counts:?}")).await;
        }
    });
}

#[test]
fn an_image_of_which_30_in_100_fail_is_stopped_in_its_canary_by_itself() {
    on_a_deep_stack(async || {
        for db in databases().await {
            let ground = Ground::of(db).await;
            for seed in 1..=3 {
                let staged = Staged {
                    soak_hours: 24,
                    minimum_sample: 10,
                    max_failures: 5,
                    deadline_hours: 120,
                    leaves_out_silence: false,
                };
                let mut rules = Rules { staged: Some(staged), ..Rules::well("2026-11-25T08:00:00Z", 200) };
                (rules.fates.succeed, rules.fates.fail) = (70, 30);
                rules.weather.reply_lost = 10;
                let Plot { mut whole, url, dir } = ground.begin(rules, seed).await;
                whole.is_busy().await;
                whole.is_stopped_in_its_canary().await;
                whole.app().db.close().await;
                cleared(url, dir).await;
            }
        }
    });
}

impl Whole {
    async fn is_stopped_in_its_canary(&self) {
        let campaign = self.campaign("spring").await;
        assert_eq!((campaign.state, campaign.stopped_code.as_deref()), (CampaignState::Halted, Some("WAVE_FAILED")));
        for (_, t) in self.all_targets().await {
            let was_sent = !matches!(t.state, TargetState::Queued | TargetState::Held);
            assert!(!was_sent || t.wave == Some(1), "one of wave {:?} was sent: {t:?}", t.wave);
        }
    }
}
