//! Waves: a bad image is stopped in the canary by itself, a good one goes through all waves by itself, and a DCC that says nothing is
//! waited for. Who is in which wave is fixed with the plan; a person's word is asked where it must be.

use super::*;
use crate::{
    alarm::AlarmKind,
    campaign::{CampaignState, waves::Verdict},
    failure::Failure,
};

const HOUR: i64 = 3_600_000;

/// As `staged`, for a few sites.
const ROLLOUT: &str = "version = 1\neffective_from = \"2020-11-24\"\ndefault = \"direct\"\n[preset.direct]\nwaves = [\"100%\"]\n\
    [preset.careful]\nsoak = \"48h\"\nminimum_sample = 10\nmax_failures = \"5%\"\nleast_success = \"90%\"\ndeadline = \"14d\"\n\
    [[preset.careful.wave]]\nname = \"canary\"\nsize = \"10%\"\n[[preset.careful.wave]]\nname = \"wide\"\nsize = \"30%\"\n\
    [[preset.careful.wave]]\nname = \"rest\"\nsize = \"rest\"\n";

impl Lab {
    fn rollout(&self, text: &str) {
        std::fs::write(self.folder.path().join("policies/rollout.toml"), text).unwrap();
    }

    /// Created and planned with this rollout.
    async fn cut(&self, name: &str, rollout: &str, sizes: &[(&str, &str)], batch_size: i64) -> i64 {
        let new = NewCampaignRequest {
            name: name.into(),
            image: self.image,
            filter: SiteFilter::default(),
            rollout: Some(rollout.into()),
            batch_size: Some(batch_size),
            waves: sizes.iter().map(|(name, size)| (name.to_string(), size.parse().unwrap())).collect(),
        };
        let id = self.app.create_campaign(new, OPERATOR).await.unwrap();
        self.app.plan_campaign(name, None, OPERATOR, &mut |_| {}).await.unwrap();
        id
    }

    /// The sites of one wave, by number; `None` is the last wave.
    async fn in_wave(&self, campaign: i64, sites: u64, wave: Option<i64>) -> Vec<u64> {
        let mut found = Vec::new();
        for n in 1..=sites {
            if self.target(campaign, n).await.wave == wave {
                found.push(n);
            }
        }
        found
    }

    /// Sends the next batch and gives the sites in it.
    async fn sends(&self, campaign: i64, sites: u64) -> (RequestId, Vec<u64>) {
        let mut before = Vec::new();
        for n in 1..=sites {
            before.push(self.state(campaign, n).await);
        }
        let id = self.send(campaign).await;
        let mut sent = Vec::new();
        for n in 1..=sites {
            if before[n as usize - 1] == TargetState::Queued && self.state(campaign, n).await == TargetState::Accepted {
                sent.push(n);
            }
        }
        (id, sent)
    }

    async fn succeed(&self, id: RequestId, sites: &[u64]) {
        for n in sites {
            self.hears(&activated(Some(id), 1_000 + n, *n)).await;
        }
    }

    async fn fail(&self, id: RequestId, sites: &[u64]) {
        for n in sites {
            self.hears(&s1sp(Some(id), 2_000 + n, Some(*n), "S1VE2", testing::now())).await;
        }
    }

    async fn sends_nothing(&self, campaign: i64) {
        assert_eq!(self.app.prepare_batch(campaign).await.unwrap(), None);
    }

    async fn campaign_state(&self, campaign: i64) -> (CampaignState, Option<String>) {
        let found = self.app.campaign(&campaign.to_string()).await.unwrap();
        (found.state, found.stopped_code)
    }

    async fn alarm_kinds(&self) -> Vec<AlarmKind> {
        self.app.alarms(true, None, 0, 99).await.unwrap().into_iter().map(|a| a.kind).collect()
    }

    /// `canary passed go-on`, of each wave.
    async fn waves(&self, campaign: i64) -> Vec<String> {
        let status = self.app.campaign_status(&campaign.to_string()).await.unwrap();
        let shown = |w: &super::super::WaveStatus| {
            format!("{} {} {}", w.name, w.state, w.verdict.map_or("-".to_string(), |v| v.to_string()))
        };
        status.waves.iter().map(shown).collect()
    }

    async fn goes_on(&self, campaign: i64, wave: &str) -> Result<bool, Failure> {
        let id = campaign.to_string();
        self.app.let_wave_go_on(&id, wave, "jane.doe", "a known fault", OPERATOR).await.map(|(_, changed)| changed)
    }
}

#[tokio::test]
async fn a_bad_image_is_stopped_in_the_canary_by_itself_and_nothing_is_sent_after_it() {
    for lab in labs(200).await {
        lab.rollout(ROLLOUT);
        let campaign = lab.cut("spring", "careful", &[], 15).await;
        lab.start("spring").await;
        let canary = lab.in_wave(campaign, 200, Some(1)).await;
        assert_eq!((canary.len(), lab.in_wave(campaign, 200, Some(2)).await.len()), (20, 60));
        let (id, sent) = lab.sends(campaign, 200).await;
        assert!(sent.len() == 15 && sent.iter().all(|n| canary.contains(n)), "a batch stays inside its wave: {sent:?}");
        // The other five of the canary are committed, and not yet posted.
        let unposted = lab.app.prepare_batch(campaign).await.unwrap().unwrap();
        lab.succeed(id, &sent[..6]).await;
        lab.fail(id, &sent[6..9]).await;
        lab.app.judge_started_waves().await.unwrap();
        assert_eq!(lab.campaign_state(campaign).await.0, CampaignState::Started, "nine of ten answers say nothing");
        assert_eq!(lab.waves(campaign).await, ["canary open wait", "wide waiting -", "rest waiting -"]);
        lab.succeed(id, &sent[9..10]).await;
        assert_eq!(lab.app.judge_started_waves().await.unwrap(), 1);
        assert_eq!(lab.campaign_state(campaign).await, (CampaignState::Halted, Some("WAVE_FAILED".into())));
        assert_eq!(lab.alarm_kinds().await, [AlarmKind::CampaignHalted]);
        let alarm = lab.app.alarms(true, None, 0, 9).await.unwrap().remove(0);
        assert!(
            alarm.sentence.contains("wave canary: 3 of 10 that answered failed: 30.00%, more than 5% (3 S1VE2)"),
            "{alarm:?}"
        );
        assert!(alarm.remedy.contains("go-on") && alarm.remedy.contains("--wave canary"), "{alarm:?}");
        assert!(lab.app.begin_post(unposted, &lab.dcc).await.unwrap().is_none(), "what was not posted stays");
        for _ in 0..20 {
            lab.app.clock.advance(24 * HOUR);
            lab.sends_nothing(campaign).await;
            lab.app.judge_started_waves().await.unwrap();
        }
        assert_eq!(lab.alarm_kinds().await, [AlarmKind::CampaignHalted], "said once");
        let refused = lab.app.resume_campaign("spring", OPERATOR).await.unwrap_err();
        assert!(refused.message.starts_with("WAVE_FAILED"), "{refused:?}");
        let status = lab.app.campaign_status("spring").await.unwrap();
        let kept: Vec<Verdict> = status.waves[0].verdicts.iter().map(|v| v.verdict).collect();
        assert_eq!(kept, [Verdict::Wait, Verdict::Halt], "each change is kept");
        assert_eq!(status.waves[0].verdicts[1].numbers["failure_share"], 0.3);
        assert_eq!(status.waves[0].numbers.as_ref().unwrap().by_cause["S1VE2"], 3);
        // A person pulls the brake as well: whoever lets the wave go on does not take that back.
        lab.app.halt_campaign("spring", "smoke in Leeds", OPERATOR).await.unwrap();
        lab.app.halt_campaign("spring", "smoke in Leeds", OPERATOR).await.unwrap();
        assert_eq!(lab.events("campaign.halt").await, 2);
        lab.goes_on(campaign, "canary").await.unwrap();
        assert_eq!(lab.campaign_state(campaign).await, (CampaignState::Halted, Some("OPERATOR".into())));
        lab.sends_nothing(campaign).await;
        lab.app.resume_campaign("spring", OPERATOR).await.unwrap();
        assert_eq!(lab.campaign_state(campaign).await.0, CampaignState::Started);
    }
}

#[tokio::test]
async fn a_halt_tells_the_teams_and_a_persons_word_lets_the_wave_go_on_once() {
    for lab in labs(100).await {
        lab.rollout(ROLLOUT);
        let campaign = lab.cut("spring", "careful", &[], 50).await;
        lab.start("spring").await;
        let early = lab.goes_on(campaign, "wide").await.unwrap_err();
        assert!(early.message.contains("has not begun") || early.message.contains("no wave"), "{early:?}");
        let (id, canary) = lab.sends(campaign, 100).await;
        lab.fail(id, &canary[..2]).await;
        lab.succeed(id, &canary[2..]).await;
        lab.app.judge_started_waves().await.unwrap();
        assert_eq!(lab.campaign_state(campaign).await.0, CampaignState::Halted);
        let told: Vec<String> = notifications(&lab).await;
        assert!(told.iter().any(|t| t.starts_with("alarm: campaign spring was halted: WAVE_FAILED")), "{told:?}");
        assert!(
            told.iter().any(|t| t.starts_with("campaign-waits: campaign spring was halted and waits for a person")),
            "{told:?}"
        );
        assert!(lab.goes_on(campaign, "rest").await.is_err() && lab.goes_on(campaign, "nonsense").await.is_err());
        assert!(lab.goes_on(campaign, "canary").await.unwrap());
        assert_eq!(lab.campaign_state(campaign).await, (CampaignState::Started, None));
        assert!(lab.alarm_kinds().await.is_empty());
        assert!(!lab.goes_on(campaign, "canary").await.unwrap(), "twice is once");
        assert_eq!(lab.events("campaign.go-on").await, 1);
        assert_eq!(lab.waves(campaign).await, ["canary passed go-on", "wide open wait", "rest waiting -"]);
        let (id, wide) = lab.sends(campaign, 100).await;
        assert_eq!((wide.len(), lab.in_wave(campaign, 100, Some(2)).await), (30, wide.clone()), "the next wave, at once");
        // What comes after is judged anew.
        lab.fail(id, &wide[..10]).await;
        lab.app.judge_started_waves().await.unwrap();
        assert_eq!(lab.campaign_state(campaign).await, (CampaignState::Halted, Some("WAVE_FAILED".into())));
        // Late successes win, so a person may simply resume.
        lab.succeed(id, &wide).await;
        lab.app.resume_campaign("spring", OPERATOR).await.unwrap();
        lab.app.judge_started_waves().await.unwrap();
        assert_eq!(lab.waves(campaign).await, ["canary passed go-on", "wide open wait", "rest waiting -"], "it soaks");
    }
}

/// `kind: sentence` of all that was told.
async fn notifications(lab: &Lab) -> Vec<String> {
    let mut tx = lab.app.db.read().await.unwrap();
    let told = crate::notify::store::to_spread(&mut tx, 1_000).await.unwrap();
    told.iter().map(|t| format!("{}: {}", t.kind, t.sentence)).collect()
}

#[tokio::test]
async fn a_good_image_goes_through_all_waves_by_itself() {
    for lab in labs(100).await {
        lab.rollout(ROLLOUT);
        let campaign = lab.cut("spring", "careful", &[("canary", "12")], 20).await;
        lab.start("spring").await;
        let waves = [
            lab.in_wave(campaign, 100, Some(1)).await,
            lab.in_wave(campaign, 100, Some(2)).await,
            lab.in_wave(campaign, 100, None).await,
        ];
        assert_eq!(waves.each_ref().map(Vec::len), [12, 30, 58], "the campaign's own size for the canary");
        let mut batches = Vec::new();
        // The loops of a node, every six hours; another node after each step, as if this one had died.
        for hour in 0..40 {
            let node = lab.second().await;
            node.app.judge_started_waves().await.unwrap();
            while let Some(id) = node.app.prepare_batch(campaign).await.unwrap() {
                node.begin(id).await;
                node.reply(id, "I99").await;
                let mut sent = Vec::new();
                for n in 1..=100 {
                    if lab.state(campaign, n).await == TargetState::Accepted {
                        sent.push(n);
                    }
                }
                lab.succeed(id, &sent).await;
                let wave = waves.iter().position(|w| w.contains(&sent[0])).unwrap();
                assert!(sent.iter().all(|n| waves[wave].contains(n)), "a batch is of one wave: {sent:?}");
                batches.push((hour, wave, sent.len()));
            }
            node.app.finish_campaigns().await.unwrap();
            lab.app.clock.advance(6 * HOUR);
        }
        // The canary soaks 48 hours, eight steps, and so does the wide wave; nothing follows the rest.
        assert_eq!(batches, [(0, 0, 12), (8, 1, 20), (8, 1, 10), (16, 2, 20), (16, 2, 20), (16, 2, 18)]);
        assert_eq!(lab.campaign_state(campaign).await.0, CampaignState::Finished);
        assert_eq!(lab.waves(campaign).await, ["canary passed go-on", "wide passed go-on", "rest passed go-on"]);
        assert!(lab.alarm_kinds().await.is_empty());
    }
}

#[tokio::test]
async fn a_silent_dcc_in_the_canary_is_waited_for_and_never_gone_on_from() {
    for lab in labs(100).await {
        let patient = ROLLOUT.replace("soak = \"48h\"", "soak = \"4h\"\nexclude = [\"silent\"]").replace("14d", "60h");
        lab.rollout(&patient);
        let campaign = lab.cut("spring", "careful", &[], 50).await;
        lab.start("spring").await;
        let (id, canary) = lab.sends(campaign, 100).await;
        lab.succeed(id, &canary[..5]).await;
        for _ in 0..9 {
            lab.app.clock.advance(6 * HOUR);
            lab.app.judge_started_waves().await.unwrap();
            lab.sends_nothing(campaign).await;
            assert_eq!(lab.waves(campaign).await[0], "canary open wait", "five of ten, long after its soak");
        }
        assert!(lab.alarm_kinds().await.is_empty(), "nobody is needed yet");
        lab.app.clock.advance(6 * HOUR);
        lab.app.judge_started_waves().await.unwrap();
        assert_eq!(
            (lab.waves(campaign).await[0].as_str(), lab.alarm_kinds().await),
            ("canary open hold", vec![AlarmKind::WaveHeld])
        );
        lab.app.judge_started_waves().await.unwrap();
        let told: Vec<String> = notifications(&lab).await.into_iter().filter(|t| t.contains("wave canary")).collect();
        assert_eq!(told.len(), 2, "an alarm and a campaign that waits, once each: {told:?}");
        lab.sends_nothing(campaign).await;
        // Answers that come after all are as good as any.
        lab.succeed(id, &canary).await;
        lab.app.judge_started_waves().await.unwrap();
        assert!(lab.alarm_kinds().await.is_empty());
        assert_eq!(lab.waves(campaign).await, ["canary passed go-on", "wide open wait", "rest waiting -"]);
    }
}

#[tokio::test]
async fn devices_silent_past_their_deadline_are_failures_unless_the_rollout_says_otherwise() {
    for (exclude, wanted) in [("", CampaignState::Halted), ("\nexclude = [\"silent\"]", CampaignState::Started)] {
        for lab in labs(100).await {
            lab.rollout(&ROLLOUT.replace("soak = \"48h\"", &format!("soak = \"48h\"{exclude}")));
            let campaign = lab.cut("spring", "careful", &[], 50).await;
            lab.start("spring").await;
            lab.sends(campaign, 100).await;
            lab.app.clock.advance(100 * HOUR);
            assert_eq!(lab.app.expire_silent().await.unwrap(), 10);
            lab.app.judge_started_waves().await.unwrap();
            assert_eq!(lab.campaign_state(campaign).await.0, wanted);
            lab.sends_nothing(campaign).await;
            let held = lab.alarm_kinds().await;
            let alarm = if wanted == CampaignState::Halted { AlarmKind::CampaignHalted } else { AlarmKind::WaveHeld };
            assert_eq!(held, [alarm], "too few answers are no go-on, and no more are to come");
        }
    }
}

#[tokio::test]
async fn missing_keys_and_lost_sites_never_count() {
    for lab in labs(100).await {
        lab.rollout(ROLLOUT);
        let campaign = lab.cut("spring", "careful", &[("canary", "20")], 50).await;
        lab.start("spring").await;
        let (id, canary) = lab.sends(campaign, 100).await;
        for n in &canary[..8] {
            lab.hears(&no_key(Some(id), 3_000 + n, *n)).await;
        }
        lab.succeed(id, &canary[8..]).await;
        lab.app.judge_started_waves().await.unwrap();
        let status = lab.app.campaign_status("spring").await.unwrap();
        let numbers = status.waves[0].numbers.clone().unwrap();
        assert_eq!((numbers.counted, numbers.succeeded, numbers.failed), (12, 12, 0), "{numbers:?}");
        lab.app.clock.advance(48 * HOUR);
        lab.app.judge_started_waves().await.unwrap();
        assert_eq!(lab.waves(campaign).await[..2], ["canary passed go-on", "wide open wait"]);
    }
}

#[tokio::test]
async fn the_held_have_a_wave_too_and_join_late_in_a_batch_of_their_own() {
    for lab in labs(80).await {
        lab.rollout(ROLLOUT);
        lab.keys("2020-11-20T08:00:00Z", &(41..=80).map(|n| (n, "failed")).collect::<Vec<_>>()).await;
        let campaign = lab.cut("spring", "careful", &[("canary", "10")], 50).await;
        let canary = lab.in_wave(campaign, 80, Some(1)).await;
        let held: Vec<u64> = canary.iter().copied().filter(|n| *n > 40).collect();
        assert_eq!((canary.len(), held.len()), (20, 10), "ten that can go, and as many that may join");
        lab.start("spring").await;
        let (id, sent) = lab.sends(campaign, 80).await;
        assert_eq!(sent.len(), 10);
        lab.succeed(id, &sent).await;
        lab.app.judge_started_waves().await.unwrap();
        lab.app.clock.advance(48 * HOUR);
        lab.app.judge_started_waves().await.unwrap();
        assert_eq!(lab.waves(campaign).await[..2], ["canary passed go-on", "wide open wait"]);
        lab.keys("2020-11-21T08:00:00Z", &[(held[0], "updated")]).await;
        lab.app.recheck_held().await.unwrap();
        let (_, late) = lab.sends(campaign, 80).await;
        assert_eq!(late, [held[0]], "its wave is over, so it goes with the one that is open, before it and by itself");
        let (_, wide) = lab.sends(campaign, 80).await;
        assert_eq!(wide.len(), 12, "30% of forty");
    }
}

#[tokio::test]
async fn what_joins_by_a_top_up_is_in_the_last_wave() {
    for lab in labs(40).await {
        lab.rollout(&ROLLOUT.replace("[preset.careful]", "[preset.careful]\ntop_up_sites = 10"));
        lab.sites(&[(41, "IOC"), (42, "IOC")]).await;
        lab.keys("2020-11-10T08:00:00Z", &[(41, "updated"), (42, "updated")]).await;
        let campaign = lab.cut("spring", "careful", &[], 50).await;
        lab.start("spring").await;
        lab.registered(&[41, 42], "").await;
        assert_eq!(lab.app.top_up_campaign("spring", OPERATOR, false).await.unwrap().found, 2);
        assert_eq!(lab.target(campaign, 41).await.wave, None);
        let (_, sent) = lab.sends(campaign, 42).await;
        assert_eq!(sent.len(), 4, "the canary is as it was planned");
        lab.sends_nothing(campaign).await;
        let explained = lab.app.explain_site(device(41), Some("spring"), None, lab.app.now()).await.unwrap();
        let wave = explained.wave.unwrap();
        assert_eq!((wave.name.as_str(), wave.number, wave.of, wave.state.as_str()), ("rest", 3, 3, "waiting"));
    }
}

#[tokio::test]
async fn an_approval_is_bound_to_the_waves_and_their_thresholds() {
    for lab in labs(40).await {
        lab.rollout(ROLLOUT);
        lab.cut("spring", "careful", &[], 50).await;
        let with = |size: &'static str| {
            let lab = &lab;
            async move {
                let id = lab.cut(size, "careful", &[("canary", size)], 50).await;
                lab.app.approve_campaign(size, APPROVER, OPERATOR).await.unwrap();
                lab.app.campaign(&id.to_string()).await.unwrap().approved_hash
            }
        };
        assert_ne!(with("4").await, with("5").await);
        lab.app.approve_campaign("spring", APPROVER, OPERATOR).await.unwrap();
        lab.rollout(&ROLLOUT.replace("max_failures = \"5%\"", "max_failures = \"50%\""));
        let void = lab.app.start_campaign("spring", OPERATOR).await.unwrap_err();
        assert!(void.message.starts_with("APPROVAL_VOID"), "{void:?}");
        lab.rollout(ROLLOUT);
        lab.app.start_campaign("spring", OPERATOR).await.unwrap();
        for (sizes, wanted) in
            [(vec![("early", "5")], "no wave"), (vec![("canary", "rest")], "rest"), (vec![("rest", "5")], "left")]
        {
            let sizes: Vec<_> = sizes.into_iter().map(|(n, s): (&str, &str)| (n.to_string(), s.parse().unwrap())).collect();
            let new = NewCampaignRequest {
                name: "other".into(),
                image: lab.image,
                filter: SiteFilter::default(),
                rollout: Some("careful".into()),
                batch_size: None,
                waves: sizes,
            };
            let refused = lab.app.create_campaign(new, OPERATOR).await.unwrap_err();
            assert!(refused.message.contains(wanted), "{refused:?}");
        }
    }
}

#[tokio::test]
async fn caps_on_devices_in_flight_hold_for_a_campaign_and_for_two_nodes_at_once() {
    for lab in labs(120).await {
        let capped = ROLLOUT.replace("waves = [\"100%\"]", "waves = [\"100%\"]\nin_flight = 20");
        lab.rollout(&capped.replace("default = \"direct\"", "default = \"direct\"\nin_flight_in_all = 30"));
        let half = |name: &'static str, from: u64| {
            let lab = &lab;
            async move {
                let new = NewCampaignRequest {
                    name: name.into(),
                    image: lab.image,
                    filter: SiteFilter { devices: (from..from + 60).map(device).collect(), ..SiteFilter::default() },
                    rollout: None,
                    batch_size: Some(10),
                    waves: Vec::new(),
                };
                let id = lab.app.create_campaign(new, OPERATOR).await.unwrap();
                lab.app.plan_campaign(name, None, OPERATOR, &mut |_| {}).await.unwrap();
                lab.start(name).await;
                id
            }
        };
        let (first, second) = (half("first", 1).await, half("second", 61).await);
        let other = lab.second().await;
        let mut prepared = Vec::new();
        for _ in 0..4 {
            let (a, b) = tokio::join!(lab.app.prepare_batch(first), other.app.prepare_batch(second));
            prepared.extend([a.unwrap(), b.unwrap()].into_iter().flatten());
        }
        assert_eq!(prepared.len(), 3, "thirty in all, whoever asks");
        for campaign in ["first", "second"] {
            let out = lab.app.campaign_status(campaign).await.unwrap().in_flight.unwrap();
            assert!(out.now <= 20 && out.in_all == 30, "{out:?}");
        }
        // A batch is no crumb: it waits until a quarter of the cap is free.
        for id in &prepared {
            lab.begin(*id).await;
            lab.reply(*id, "I99").await;
        }
        let mut out = Vec::new();
        for n in 1..=60 {
            if lab.state(first, n).await == TargetState::Accepted {
                out.push(n);
            }
        }
        lab.succeed(prepared[0], &out[..4]).await;
        lab.sends_nothing(first).await;
        lab.sends_nothing(second).await;
        lab.succeed(prepared[0], &out[..9]).await;
        let more = [lab.app.prepare_batch(first).await.unwrap(), lab.app.prepare_batch(second).await.unwrap()];
        assert_eq!(more.iter().flatten().count(), 1, "nine places, in one batch");
    }
}

#[tokio::test]
async fn as_shipped_nothing_is_asked_and_nothing_is_kept() {
    for lab in labs(4).await {
        let campaign = lab.started("spring", 10).await;
        lab.send(campaign).await;
        let status = lab.app.campaign_status("spring").await.unwrap();
        assert_eq!((status.waves.len(), status.waves[0].name.as_str(), status.waves[0].eligible), (1, "all", 4));
        assert!(status.waves[0].verdict.is_none() && status.in_flight.is_none());
        assert_eq!((lab.target(campaign, 1).await.wave, lab.app.judge_started_waves().await.unwrap()), (None, 0));
        let nothing = lab.goes_on(campaign, "all").await.unwrap_err();
        assert!(nothing.message.contains("one wave"), "{nothing:?}");
    }
}

#[tokio::test]
async fn what_is_sent_without_its_key_waits_for_its_wave_too() {
    for lab in labs(80).await {
        lab.rollout(ROLLOUT);
        let shipped = include_str!("../../../policies/retry.toml").replace("resubmit = false", "resubmit = true");
        std::fs::write(lab.folder.path().join("policies/retry.toml"), shipped).unwrap();
        lab.keys("2020-11-20T08:00:00Z", &(41..=80).map(|n| (n, "failed")).collect::<Vec<_>>()).await;
        let campaign = lab.cut("spring", "careful", &[("canary", "10")], 50).await;
        lab.start("spring").await;
        lab.app.clock.advance(72 * HOUR);
        assert_eq!(lab.app.next_resubmission(campaign).await.unwrap(), None, "no wave has begun");
        lab.send(campaign).await;
        assert!(lab.app.next_resubmission(campaign).await.unwrap().is_some());
        assert_eq!(lab.app.next_resubmission(campaign).await.unwrap(), None);
        let canary = lab.in_wave(campaign, 80, Some(1)).await;
        for n in 41..=80 {
            let wanted = if canary.contains(&n) { TargetState::Submitted } else { TargetState::Held };
            assert_eq!(lab.state(campaign, n).await, wanted, "{n}");
        }
    }
}

#[tokio::test]
async fn late_failures_of_a_wave_that_is_over_stop_the_campaign_until_that_wave_is_let_go() {
    for lab in labs(100).await {
        lab.rollout(ROLLOUT);
        let campaign = lab.cut("spring", "careful", &[("canary", "20")], 50).await;
        lab.start("spring").await;
        let (id, canary) = lab.sends(campaign, 100).await;
        lab.succeed(id, &canary[..18]).await;
        lab.app.judge_started_waves().await.unwrap();
        lab.app.clock.advance(48 * HOUR);
        lab.app.judge_started_waves().await.unwrap();
        assert_eq!(lab.waves(campaign).await[..2], ["canary passed go-on", "wide open wait"]);
        lab.fail(id, &canary[18..]).await;
        lab.sends_nothing(campaign).await;
        assert_eq!(lab.campaign_state(campaign).await, (CampaignState::Halted, Some("WAVE_FAILED".into())));
        assert_eq!(lab.waves(campaign).await[..2], ["canary passed halt", "wide open wait"]);
        // The word for another wave does not mend this one.
        assert!(lab.goes_on(campaign, "wide").await.unwrap_err().message.starts_with("WAVE_FAILED"));
        assert_eq!(lab.campaign_state(campaign).await.0, CampaignState::Halted);
        assert_eq!(lab.alarm_kinds().await, [AlarmKind::CampaignHalted]);
        assert!(lab.goes_on(campaign, "canary").await.unwrap());
        assert_eq!(lab.campaign_state(campaign).await.0, CampaignState::Started);
        assert_eq!(lab.sends(campaign, 100).await.1.len(), 30);
    }
}

#[tokio::test]
async fn a_canary_is_of_each_region_in_proportion() {
    for lab in labs(200).await {
        lab.rollout(ROLLOUT);
        let mut tx = lab.app.db.begin().await.unwrap();
        // Not by turns: a draw that sees no regions would be even by chance.
        let text = "update sites set region = case when device_id % 200 < 50 then 'North' else 'South' end";
        crate::sql!(&mut tx, c => sqlx::query(text).execute(c).await.map(|_| ())).unwrap();
        tx.commit().await.unwrap();
        let mut north = Vec::new();
        for seed in 0..6 {
            let campaign = lab.cut(&format!("spring {seed}"), "careful", &[], 50).await;
            let canary = lab.in_wave(campaign, 200, Some(1)).await;
            let devices: Vec<DeviceId> = canary.iter().map(|n| device(*n)).collect();
            let mut tx = lab.app.db.read().await.unwrap();
            let at = lab.app.now();
            let rows = crate::estate::store::scan_devices(&mut tx, &devices, &[], at.london_day(), at).await.unwrap();
            assert_eq!(rows.len(), 20);
            north.push(rows.iter().filter(|row| row.site.region.as_deref() == Some("North")).count());
        }
        assert_eq!(north, [5; 6]);
    }
}

#[tokio::test]
async fn who_was_taken_out_before_the_plan_is_in_no_wave_and_in_one_set_of_figures() {
    for lab in labs(40).await {
        lab.rollout(ROLLOUT);
        let campaign = lab.cut("spring", "careful", &[("canary", "20")], 50).await;
        let out: Vec<DeviceId> = (1..=12).map(device).collect();
        lab.app.exclude_devices("spring", &out, "open complaints", OPERATOR, false).await.unwrap();
        let plan = lab.app.plan_campaign("spring", None, OPERATOR, &mut |_| {}).await.unwrap();
        assert_eq!(plan.eligible, 28);
        let waves = &plan.waves.as_ref().unwrap().waves;
        assert_eq!((waves[0].eligible, waves.iter().map(|w| w.eligible).sum::<i64>()), (20, 28));
        for n in lab.in_wave(campaign, 40, Some(1)).await {
            assert!(n > 12, "{n} was taken out, and is in the canary");
        }
    }
}
