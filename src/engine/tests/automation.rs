//! Weeks of a rollout that nobody drives: an operator created a campaign for a signed image and wrote schedules, and then reads only what the
//! team is told, and does what that asks for. The program dies now and then.

use serde_json::Value;

use super::{
    HOUR, MINUTE, Whole,
    estate::{Ground, Plot},
    node::Turn,
    rules::{Rules, Staged, Threshold},
    seeds::{cleared, on_a_deep_stack},
    wall::Opening,
};
use crate::{
    app::{
        NewScheduleRequest,
        tests::{APPROVER, OPERATOR},
    },
    campaign::CampaignState,
    clock::Time,
    db::testing::databases,
    schedule::Missed,
};

const SITES: u64 = 120;
const DAY: i64 = 24 * HOUR;
const SOAK_DAYS: i64 = 14;
/// Nothing of it takes so long.
const MOST_DAYS: i64 = 90;

fn rules() -> Rules {
    let staged = Staged {
        soak_hours: SOAK_DAYS * 24,
        minimum_sample: 8,
        max_failures: 10,
        deadline_hours: 28 * 24,
        leaves_out_silence: false,
    };
    let mut rules = Rules {
        batch_size: 25,
        answer_hours: 72,
        staged: Some(staged),
        cap: Some(40),
        openings: vec![Opening::Window { days: (0..5).collect(), from: 20 * 60, to: 6 * 60, region: None }],
        threshold: Some(Threshold { in_devices: true, hours: 24, quarantine: 60 }),
        by_schedule: true,
        deaths: 10,
        ..Rules::well("2026-11-25T08:00:00Z", SITES)
    };
    (rules.weather.reply_lost, rules.weather.alert_twice, rules.weather.webhook_fails) = (5, 10, 10);
    rules
}

#[test]
fn weeks_of_waves_run_by_themselves_and_stop_where_a_person_is_needed() {
    on_a_deep_stack(async || {
        for db in databases().await {
            let engine = db.engine;
            let ground = Ground::of(db).await;
            for seed in 1..=2 {
                let Plot { mut whole, url, dir } = ground.begin(rules(), seed).await;
                let story = whole.runs_by_itself().await;
                story.is_right(engine);
                whole.calms_down().await;
                let counts = whole.end().await;
                assert!(counts.activated >= SITES - 25 && counts.go_ons >= 1, "{engine}, seed {seed}: {counts:?}");
                cleared(url, dir).await;
            }
        }
    });
}

/// What the team was told, and what a person did, in order.
#[derive(Default)]
struct Story {
    told: Vec<(Time, String, String)>,
    /// When each wave began.
    waves: Vec<Time>,
    approvals: u64,
    ended: Option<Time>,
}

impl Story {
    fn says(&self, kind: &str, piece: &str) -> usize {
        self.told.iter().filter(|(_, k, sentence)| k == kind && sentence.contains(piece)).count()
    }

    fn is_right(&self, engine: &str) {
        let all: String = self.told.iter().map(|(at, kind, sentence)| format!("{at} {kind}: {sentence}\n")).collect();
        assert!(self.approvals >= 1 && self.says("campaign-waits", "approv") > 0, "{engine}: who approves is asked:\n{all}");
        assert!(self.says("alarm", "WAVE_FAILED") >= 1, "{engine}: a wave that fails stops it:\n{all}");
        assert!(self.says("campaign-waits", "waits for a person") >= 1, "{engine}: and a person is asked:\n{all}");
        assert_eq!(self.says("campaign-waits", "finished"), 1, "{engine}:\n{all}");
        assert_eq!(self.waves.len(), 3, "{engine}:\n{all}");
        // A person's word let the canary go on before its time; the wide wave was watched for all of it.
        let watched = self.waves[2].0 - self.waves[1].0;
        assert!(watched >= SOAK_DAYS * DAY, "{engine}: the wide wave was watched for {} h: {:?}", watched / HOUR, self.waves);
        let weeks = (self.ended.expect("it ended").0 - self.waves[0].0) / (7 * DAY);
        assert!(weeks >= 2, "{engine}: {weeks} weeks");
    }
}

impl Whole {
    /// A plan on the morning after, a start on each working day, top-ups at night; then nobody calls a command unless the team is told so.
    pub(super) async fn is_scheduled(&mut self, name: &str, batch_size: i64) {
        self.is_created(name, batch_size).await;
        for (cron, action) in [
            ("0 0 6 26 11 * 2026", format!("plan {name}")),
            ("0 0 9 * * MON-FRI", format!("start {name}")),
            ("0 30 2 * * *", format!("top-up {name}")),
            ("0 15 3 * * *", "recheck-keys".to_string()),
        ] {
            let (cron, zone, missed) = (cron.to_string(), "Europe/London".to_string(), Missed::Coalesce);
            let new = NewScheduleRequest { name: None, cron, zone, action, missed };
            self.app().add_schedule(new, OPERATOR).await.unwrap();
        }
    }

    async fn runs_by_itself(&mut self) -> Story {
        let (mut story, mut read) = (Story::default(), 0);
        let until = self.now().plus_millis(MOST_DAYS * DAY);
        while self.campaign("spring").await.state != CampaignState::Finished {
            assert!(self.now() < until, "it does not end: {:#?}", story.told);
            self.tick().await;
            self.live(Turn::Schedules).await;
            self.live(Turn::Tell).await;
            for news in self.news_after(read) {
                read = news["notification"].as_i64().unwrap();
                let word = |key: &str| news[key].as_str().unwrap().to_string();
                story.told.push((self.now(), word("kind"), word("sentence")));
                self.does_what_is_asked(&news, &mut story).await;
            }
            self.waves_are_noted(&mut story).await;
        }
        story.ended = Some(self.now());
        // The last word is on its way.
        for _ in 0..20 {
            self.clock.advance(30 * MINUTE);
            self.live(Turn::Lease).await;
            self.live(Turn::Tell).await;
        }
        for news in self.news_after(read) {
            story.told.push((self.now(), news["kind"].as_str().unwrap().into(), news["sentence"].as_str().unwrap().into()));
        }
        story
    }

    /// What the team's receiver has taken, oldest first.
    fn news_after(&self, read: i64) -> Vec<Value> {
        let word = self.front.word();
        let all = word.told.values().map(|body| serde_json::from_str::<Value>(body).expect("JSON"));
        let mut new: Vec<Value> = all.filter(|news| news["notification"].as_i64().unwrap() > read).collect();
        new.sort_by_key(|news| news["notification"].as_i64());
        new
    }

    /// A person reads it, and does what it asks for.
    async fn does_what_is_asked(&mut self, news: &Value, story: &mut Story) {
        let campaign = self.campaign("spring").await;
        match (news["kind"].as_str().unwrap(), campaign.state) {
            ("campaign-waits", CampaignState::Planned) => {
                self.told(async |app| app.approve_campaign("spring", APPROVER, OPERATOR).await).await.unwrap();
                story.approvals += 1;
                // The canary is to find something.
                self.front.world().rules.fates.fail = 60;
                self.front.world().rules.fates.succeed = 40;
            }
            ("alarm", CampaignState::Halted) if campaign.stopped_code.as_deref() == Some("WAVE_FAILED") => {
                // The maker has mended what failed.
                self.front.world().rules.fates.fail = 0;
                self.front.world().rules.fates.succeed = 100;
                self.told(async |app| app.let_wave_go_on("spring", "canary", APPROVER, "mended by the maker", OPERATOR).await)
                    .await
                    .unwrap();
                self.front.world().counts.go_ons += 1;
            }
            // A run that failed or died is not made again by itself: of the plan a person must say so.
            ("alarm", CampaignState::Draft) if news["sentence"].as_str().unwrap().contains("schedule plan-spring") => {
                let run = async |app: &crate::app::App| {
                    let claimed = app.claim_by_hand("plan-spring", OPERATOR, "desk").await?;
                    app.run_claimed(&claimed).await
                };
                let _ = self.told(run).await;
            }
            _ => {}
        }
    }

    async fn waves_are_noted(&mut self, story: &mut Story) {
        let status = self.app().campaign_status("spring").await.unwrap();
        let begun = status.waves.iter().filter(|w| w.opened_at.is_some()).count();
        while story.waves.len() < begun {
            story.waves.push(status.waves[story.waves.len()].opened_at.unwrap());
        }
    }
}
