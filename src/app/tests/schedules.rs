//! Schedules told with a clock that the test moves: what fires when, once, and by whom; what is missed; what fails, and what dies.

use super::*;
use crate::{
    alarm::AlarmKind,
    app::{Claimed, NewScheduleRequest, Ran},
    audit,
    campaign::CampaignState,
    failure::Exit,
    schedule::{Missed, Origin, Run, RunState},
};

const NODE: &str = "machine:7:1";
const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;

fn asked(cron: &str, action: &str, missed: Missed) -> NewScheduleRequest {
    let (cron, zone, action) = (cron.to_string(), "Europe/London".to_string(), action.to_string());
    NewScheduleRequest { name: None, cron, zone, action, missed }
}

impl Lab {
    pub(super) async fn add(&self, cron: &str, action: &str, missed: Missed) -> i64 {
        self.app.add_schedule(asked(cron, action, missed), OPERATOR).await.unwrap()
    }

    fn until(&self, time: &str) {
        let time: Time = time.parse().unwrap();
        self.app.clock.advance(time.0 - self.app.now().0);
    }

    async fn claimed(&self) -> Vec<Claimed> {
        let mut claimed = Vec::new();
        for id in self.app.due_schedules().await.unwrap() {
            claimed.extend(self.app.claim_due(id, NODE).await.unwrap());
        }
        claimed
    }

    /// What the loop does when it looks.
    async fn fires(&self) -> Vec<Ran> {
        let mut ran = Vec::new();
        for claimed in self.claimed().await {
            ran.push(self.app.run_claimed(&claimed).await.unwrap());
        }
        ran
    }

    async fn by_hand(&self, schedule: &str) -> Ran {
        self.app.clock.advance(1);
        let claimed = self.app.claim_by_hand(schedule, "joe@desk", NODE).await.unwrap();
        self.app.run_claimed(&claimed).await.unwrap()
    }

    /// Of a schedule, oldest first.
    async fn runs(&self, schedule: i64) -> Vec<Run> {
        let mut runs = self.app.schedule_story(&schedule.to_string(), 1_000).await.unwrap().1;
        runs.reverse();
        runs
    }

    async fn planned_for(&self, schedule: i64) -> Vec<String> {
        self.runs(schedule).await.iter().map(|run| run.planned_for.to_string()).collect()
    }

    async fn schedule_alarms(&self) -> Vec<String> {
        let all = self.app.alarms(true, None, 0, 99).await.unwrap();
        all.into_iter().filter(|a| a.kind == AlarmKind::ScheduleFailed).map(|a| a.sentence).collect()
    }

    /// `who action`, oldest first.
    async fn trail(&self) -> Vec<String> {
        let all = audit::list(&mut self.app.db.read().await.unwrap(), 0, 10_000).await.unwrap();
        all.into_iter().map(|e| format!("{} {}", e.who, e.action)).collect()
    }
}

#[tokio::test]
async fn two_nodes_on_one_database_fire_once() {
    for lab in labs(0).await {
        let id = lab.add("0 0 13 * * *", "report", Missed::Coalesce).await;
        assert!(lab.fires().await.is_empty(), "it is noon");
        let other = lab.second().await;
        lab.until("2026-11-24T13:00:00.250Z");
        assert_eq!((lab.app.due_schedules().await.unwrap(), other.app.due_schedules().await.unwrap()), (vec![id], vec![id]));
        let (one, two) = tokio::join!(lab.app.claim_due(id, "a:1:1"), other.app.claim_due(id, "b:1:1"));
        let claimed: Vec<Claimed> = [one.unwrap(), two.unwrap()].into_iter().flatten().collect();
        assert_eq!(claimed.len(), 1, "one of them has it");
        assert!(lab.app.due_schedules().await.unwrap().is_empty(), "it runs");
        let ran = lab.app.run_claimed(&claimed[0]).await.unwrap();
        let text = "Missing PPMID keys as of 2026-11-24T13:00:00.25Z";
        assert_eq!((ran.run.state, ran.run.origin, ran.run.result.as_deref()), (RunState::Succeeded, Origin::Clock, Some(text)));
        assert!(ran.run.log.len() > 3 && ran.run.log[0] == text, "the report is its log: {:?}", ran.run.log);
        assert_eq!(lab.planned_for(id).await, ["2026-11-24T13:00:00Z"]);
        assert!(lab.fires().await.is_empty() && other.fires().await.is_empty());
        lab.app.clock.advance(DAY);
        assert_eq!(lab.fires().await.len() + other.fires().await.len(), 1, "and the next day once more");
    }
}

#[tokio::test]
async fn a_daily_run_comes_once_a_day_through_both_changes_of_the_clocks() {
    for lab in labs(0).await {
        for (from, until, days) in [
            (
                "2027-03-26T12:00:00Z",
                "2027-03-30T12:00:00Z",
                ["03-27T01:30:00", "03-28T01:00:00", "03-29T00:30:00", "03-30T00:30:00"],
            ),
            (
                "2027-10-29T12:00:00Z",
                "2027-11-02T12:00:00Z",
                ["10-30T00:30:00", "10-31T00:30:00", "11-01T01:30:00", "11-02T01:30:00"],
            ),
        ] {
            lab.until(from);
            let id = lab.add("0 30 1 * * *", "report", Missed::Coalesce).await;
            while lab.app.now() < until.parse().unwrap() {
                assert!(lab.fires().await.iter().all(|ran| ran.run.missed == 0));
                lab.app.clock.advance(10 * MINUTE);
            }
            assert_eq!(lab.planned_for(id).await, days.map(|day| format!("2027-{day}Z")), "{from}");
            let next = lab.app.next_firings(Some(&id.to_string()), from.parse().unwrap(), 4).await.unwrap();
            let told: Vec<String> = next.iter().map(|(s, f)| s.zone.local(f.at)).collect();
            assert!(told[0].ends_with("+00:00") != told[3].ends_with("+00:00"), "{told:?}");
            lab.app.remove_schedule(&id.to_string(), OPERATOR).await.unwrap();
        }
    }
}

#[tokio::test]
async fn two_days_away_are_one_run_or_none_and_said_either_way() {
    for lab in labs(0).await {
        let one = lab.add("0 30 2 * * *", "report", Missed::Coalesce).await;
        let none = lab.add("0 30 3 * * *", "report", Missed::Skip).await;
        lab.until("2026-11-26T12:00:00Z");
        let ran = lab.fires().await;
        assert_eq!(ran.iter().map(|r| r.run.schedule).collect::<Vec<_>>(), [one], "the other is told as missed");
        let run = &ran[0].run;
        assert_eq!((run.planned_for.to_string().as_str(), run.missed), ("2026-11-26T02:30:00Z", 1));
        assert_eq!(
            run.log[0],
            "2 firings were missed, from 2026-11-25T02:30:00Z to 2026-11-26T02:30:00Z: this run makes up for all of them"
        );
        let skipped = lab.runs(none).await;
        assert_eq!((skipped.len(), skipped[0].state, skipped[0].missed, skipped[0].started_at), (1, RunState::Skipped, 1, None));
        assert!(
            skipped[0].result.as_deref().unwrap().starts_with("2 firings were missed, from 2026-11-25T03:30:00Z"),
            "{skipped:?}"
        );
        assert!(lab.fires().await.is_empty() && lab.schedule_alarms().await.is_empty());
        // Back on time.
        lab.until("2026-11-27T03:30:20Z");
        let ran = lab.fires().await;
        assert_eq!(ran.iter().map(|r| (r.run.schedule, r.run.missed)).collect::<Vec<_>>(), [(one, 0), (none, 0)]);
        assert_eq!(ran[0].run.log[0], "the firing of 2026-11-27T02:30:00Z was missed: this run makes up for it", "an hour late");
    }
}

#[tokio::test]
async fn a_start_needs_its_approval_and_what_fails_raises_one_alarm_until_it_succeeds() {
    for lab in labs(2).await {
        lab.planned("spring", 10).await;
        let id = lab.add("0 0 * * * *", "start spring", Missed::Coalesce).await;
        for hour in 13..15 {
            lab.until(&format!("2026-11-24T{hour}:00:00Z"));
            let ran = lab.fires().await;
            assert_eq!((ran[0].run.state, ran[0].failure.is_some()), (RunState::Failed, true));
            assert!(ran[0].run.log.iter().any(|line| line.starts_with("help: ")), "{:?}", ran[0].run);
        }
        assert_eq!(lab.app.campaign("spring").await.unwrap().state, CampaignState::Planned);
        let alarms = lab.schedule_alarms().await;
        assert_eq!(alarms.len(), 1, "{alarms:?}");
        assert!(alarms[0].contains("schedule start-spring (start spring) failed"), "{alarms:?}");
        lab.app.approve_campaign("spring", APPROVER, OPERATOR).await.unwrap();
        let ran = lab.by_hand("start-spring").await;
        assert_eq!(
            (ran.run.state, ran.run.origin, ran.run.asked_by.as_deref()),
            (RunState::Succeeded, Origin::Hand, Some("joe@desk"))
        );
        assert_eq!(lab.app.campaign("spring").await.unwrap().state, CampaignState::Started);
        assert!(lab.schedule_alarms().await.is_empty());
        let trail = lab.trail().await;
        let ours: Vec<&String> = trail.iter().filter(|t| t.contains("schedule")).collect();
        assert_eq!(
            ours,
            [
                "ann@desk schedule.add",
                "joe@desk schedule.run",
                "schedule start-spring campaign.start",
                "schedule start-spring alarm.end"
            ]
        );
        // Under policies that nobody approved it is refused, as a person is: the reason code says so.
        lab.app.pause_campaign("spring", OPERATOR).await.unwrap();
        let ran = lab.by_hand(&id.to_string()).await;
        assert_eq!(ran.run.state, RunState::Failed, "a paused campaign is resumed, not started: {:?}", ran.run.result);
    }
}

#[tokio::test]
async fn a_run_whose_process_died_is_found_said_and_not_run_again() {
    for lab in labs(0).await {
        let id = lab.add("0 0 * * * *", "recheck keys", Missed::Coalesce).await;
        lab.until("2026-11-24T13:00:00Z");
        assert_eq!(lab.claimed().await.len(), 1, "and its process dies");
        lab.until("2026-11-24T13:00:59Z");
        assert_eq!(lab.app.interrupt_dead_runs(|_| false).await.unwrap(), 0, "it may still be there");
        assert!(lab.app.claim_by_hand("recheck-keys", OPERATOR, NODE).await.unwrap_err().message.contains("is running since"));
        lab.until("2026-11-24T13:01:00Z");
        assert_eq!(lab.app.interrupt_dead_runs(|_| false).await.unwrap(), 1);
        assert_eq!(lab.app.interrupt_dead_runs(|_| true).await.unwrap(), 0, "once");
        assert_eq!(lab.runs(id).await[0].state, RunState::Interrupted);
        assert!(lab.schedule_alarms().await[0].contains("was interrupted"));
        assert!(lab.fires().await.is_empty(), "it is not run again by itself");
        // One whose process can be seen to be gone is not waited for.
        lab.until("2026-11-24T14:00:00Z");
        assert_eq!(lab.claimed().await.len(), 1);
        assert_eq!(lab.app.interrupt_dead_runs(|node| node == NODE).await.unwrap(), 1);
        lab.until("2026-11-24T15:00:00Z");
        assert_eq!(lab.fires().await[0].run.state, RunState::Succeeded);
        assert!(lab.schedule_alarms().await.is_empty());
    }
}

#[tokio::test]
async fn runs_do_not_overlap_and_what_fired_meanwhile_is_made_up_for_once() {
    for lab in labs(0).await {
        let id = lab.add("0 * * * * *", "report", Missed::Coalesce).await;
        lab.until("2026-11-24T12:01:00Z");
        let long = lab.claimed().await.pop().unwrap();
        lab.until("2026-11-24T12:01:50Z");
        for minute in 2..5 {
            lab.until(&format!("2026-11-24T12:0{minute}:10Z"));
            assert!(lab.claimed().await.is_empty(), "the first is under way");
        }
        // The other node gave it up as dead; what it did all the same ends nothing a second time.
        assert_eq!(lab.app.interrupt_dead_runs(|_| false).await.unwrap(), 1);
        let ran = lab.app.run_claimed(&long).await.unwrap();
        assert_eq!(ran.run.state, RunState::Interrupted);
        let next = lab.fires().await;
        assert_eq!(
            (next.len(), next[0].run.missed, next[0].run.missed_from),
            (1, 2, Some("2026-11-24T12:02:00Z".parse().unwrap()))
        );
        assert_eq!(
            next[0].run.log[0],
            "2 firings before it, from 2026-11-24T12:02:00Z on, had no run: this one makes up for them"
        );
        assert_eq!(lab.runs(id).await.len(), 2);
    }
}

#[tokio::test]
async fn one_that_is_paused_leaves_the_rest_and_makes_up_for_nothing() {
    for lab in labs(0).await {
        let paused = lab.add("0 0 * * * *", "report", Missed::Coalesce).await;
        let other = lab.add("0 0 * * * *", "report", Missed::Coalesce).await;
        lab.app.pause_schedule("report", OPERATOR).await.unwrap();
        lab.app.pause_schedule("report", OPERATOR).await.unwrap();
        lab.until("2026-11-24T15:30:00Z");
        let ran = lab.fires().await;
        assert_eq!((ran.len(), ran[0].run.schedule, ran[0].run.missed), (1, other, 2));
        let views = lab.app.schedules().await.unwrap();
        assert_eq!((views[0].next_at, views[1].next_at), (None, Some("2026-11-24T16:00:00Z".parse().unwrap())));
        let all = lab.app.next_firings(None, lab.app.now(), 2).await.unwrap();
        assert!(all.iter().all(|(s, _)| s.id == other), "of those that are not paused");
        assert_eq!(lab.by_hand("report").await.run.state, RunState::Succeeded, "a person may");
        lab.app.resume_schedule("report", OPERATOR).await.unwrap();
        assert!(lab.fires().await.is_empty());
        lab.until("2026-11-24T16:00:00Z");
        assert_eq!(lab.fires().await.len(), 2);
        lab.app.remove_schedule("report-2", OPERATOR).await.unwrap();
        lab.until("2026-11-24T17:00:00Z");
        let ran = lab.fires().await;
        assert_eq!((ran.len(), ran[0].run.schedule), (1, paused));
        let gone = lab.app.schedule("report-2").await.unwrap_err();
        assert_eq!(gone.message, "there is no schedule \"report-2\"");
        let trail = lab.trail().await;
        let told: Vec<&str> = trail.iter().filter(|t| t.contains(" schedule.")).map(|t| t.split_once('.').unwrap().1).collect();
        assert_eq!(told, ["add", "add", "pause", "run", "resume", "remove"], "pausing twice is pausing once");
    }
}

#[tokio::test]
async fn what_cannot_be_is_refused_when_it_is_added() {
    for lab in labs(1).await {
        lab.planned("spring", 10).await;
        let refused = async |request| lab.app.add_schedule(request, OPERATOR).await.unwrap_err();
        let fine = || asked("0 30 2 * * *", "plan spring", Missed::Skip);
        for (request, exit, says) in [
            (asked("0 0 0 30 2 *", "report", Missed::Skip), Exit::Usage, "never fires after 2026-11-24T12:00:00Z"),
            (asked("0 0 0 1 1 * 2020", "report", Missed::Skip), Exit::Usage, "never fires"),
            (asked("soon", "report", Missed::Skip), Exit::Usage, "has 1 fields"),
            (NewScheduleRequest { zone: "Europe/Londn".into(), ..fine() }, Exit::Usage, "is not the name of a time zone"),
            (asked("0 30 2 * * *", "plan summer", Missed::Skip), Exit::Failed, "there is no campaign \"summer\""),
            (asked("0 30 2 * * *", "halt spring", Missed::Skip), Exit::Usage, "nothing a schedule can do"),
            (NewScheduleRequest { name: Some("7".into()), ..fine() }, Exit::Usage, "taken for a schedule's id"),
            (NewScheduleRequest { name: Some("a\nb".into()), ..fine() }, Exit::Usage, "control characters"),
        ] {
            let failure = refused(request).await;
            assert_eq!(failure.exit, exit, "{says}");
            assert!(failure.message.contains(says) && !failure.help.is_empty(), "{failure:?}");
        }
        assert!(lab.app.schedules().await.unwrap().is_empty(), "nothing is kept");
        let id = lab.app.add_schedule(NewScheduleRequest { name: Some("nightly".into()), ..fine() }, OPERATOR).await.unwrap();
        let taken = refused(NewScheduleRequest { name: Some("nightly".into()), ..fine() }).await;
        assert!(taken.message.contains("of this name already"), "{taken:?}");
        assert_eq!(lab.app.schedule("nightly").await.unwrap().said, "plan spring");
        assert_eq!(lab.app.schedule(&id.to_string()).await.unwrap().name, "nightly");
    }
}

#[tokio::test]
async fn plans_rechecks_and_pruning_do_what_they_say() {
    for lab in labs(3).await {
        lab.keys("2026-11-20T08:00:00Z", &[(3, "failed")]).await;
        let campaign = lab.planned("spring", 10).await;
        lab.add("0 0 13 * * *", "plan spring", Missed::Skip).await;
        lab.until("2026-11-24T13:00:00Z");
        let ran = lab.fires().await;
        let result = ran[0].run.result.clone().unwrap();
        assert!(result.ends_with(": 3 sites, 2 eligible, 1 held, 0 ineligible; it waits for its approval"), "{result}");
        assert_eq!(ran[0].run.log, ["ELIGIBLE: 2", "KEYS_MISSING: 1"]);
        let plan = lab.app.campaign("spring").await.unwrap().plan_id.unwrap();
        let plan = crate::campaign::store::plan(&mut lab.app.db.read().await.unwrap(), plan).await.unwrap().unwrap();
        assert_eq!(plan.created_by, "schedule plan-spring");
        lab.start("spring").await;
        let refused = lab.by_hand("plan-spring").await;
        assert_eq!(refused.run.state, RunState::Failed, "a campaign that runs is not planned again");

        let recheck = lab.add("0 0 14 * * *", "recheck-keys", Missed::Skip).await;
        lab.app.clock.advance(DAY);
        assert_eq!(lab.state(campaign, 3).await, TargetState::Held);
        lab.app.resume_schedule("plan-spring", OPERATOR).await.unwrap();
        // A result that no import brought into line: as a process leaves it that dies between the two.
        let mut tx = lab.app.db.begin().await.unwrap();
        let came = crate::estate::KeyResult {
            device_id: device(3),
            attempted_at: lab.app.now(),
            status: crate::estate::KeyStatus::Updated,
            detail: None,
        };
        crate::estate::store::add_key_result(&mut tx, &came, crate::estate::store::KeySource::Message).await.unwrap();
        tx.commit().await.unwrap();
        let ran = lab.by_hand(&recheck.to_string()).await;
        assert_eq!(ran.run.state, RunState::Succeeded, "{:?}", ran.run);
        assert_eq!(ran.run.log[0], "key cases: 0 opened, 1 resolved, 0 updated");
        assert_eq!(lab.state(campaign, 3).await, TargetState::Queued);

        lab.add("0 0 15 * * *", "prune", Missed::Skip).await;
        let before = lab.runs(recheck).await.len();
        lab.app.clock.advance(2 * 366 * DAY);
        let ran = lab.by_hand("prune").await;
        let result = ran.run.result.unwrap();
        assert!(result.contains(" and 3 runs deleted"), "{result}");
        assert_eq!((before, lab.runs(recheck).await.len()), (1, 0));
    }
}

#[tokio::test]
async fn whoever_wrote_the_schedule_does_not_approve_the_sites_it_asks_for() {
    for lab in labs(0).await {
        lab.sites(&[(1, "IOC"), (2, "IOC")]).await;
        lab.registered(&[1], "").await;
        lab.keys("2020-11-10T08:00:00Z", &[(1, "updated"), (2, "updated")]).await;
        let rollout = "version = 1\neffective_from = \"2020-11-24\"\ndefault = \"direct\"\n[preset.direct]\ntop_up = \"asked\"\ntop_up_sites = 0\n";
        std::fs::write(lab.folder.path().join("policies/rollout.toml"), rollout).unwrap();
        let campaign = lab.started("spring", 10).await;
        lab.add("0 0 13 * * *", "top-up spring", Missed::Coalesce).await;
        let nothing = lab.by_hand("top-up-spring").await;
        assert_eq!(nothing.run.result.as_deref(), Some("no site may join"));
        lab.registered(&[2], "").await;
        lab.until("2026-11-24T13:00:00Z");
        let ran = lab.fires().await;
        assert_eq!(ran[0].run.state, RunState::Succeeded, "{:?}", ran[0]);
        assert!(ran[0].run.result.as_deref().unwrap().starts_with("1 sites may join, more than the plan allows by itself"));
        let kinds: Vec<AlarmKind> = lab.app.alarms(true, None, 0, 9).await.unwrap().into_iter().map(|a| a.kind).collect();
        assert_eq!(kinds, [AlarmKind::TopUpProposed], "nobody looked on, so it is said");
        let same = lab.app.approve_campaign("spring", "Ann", OPERATOR).await.unwrap_err();
        assert!(same.message.starts_with("SECOND_PERSON_REQUIRED"), "{same:?}");
        lab.app.approve_campaign("spring", APPROVER, OPERATOR).await.unwrap();
        assert_eq!(lab.state(campaign, 2).await, TargetState::Queued);
        assert!(lab.trail().await.contains(&"schedule top-up-spring campaign.top-up".to_string()));
    }
}

#[tokio::test]
async fn firings_after_a_campaign_has_ended_are_no_failures() {
    for lab in labs(1).await {
        lab.planned("spring", 1).await;
        let daily = lab.add("0 0 9 * * *", "start spring", Missed::Skip).await;
        lab.app.abort_campaign("spring", OPERATOR).await.unwrap();
        let ran = lab.by_hand(&daily.to_string()).await;
        assert_eq!(ran.run.state, RunState::Succeeded, "{ran:?}");
        let said = lab.runs(daily).await.pop().unwrap().result.unwrap();
        assert_eq!(said, "nothing to do any more: campaign spring is aborted; ppmid schedule remove start-spring");
        assert!(lab.schedule_alarms().await.is_empty());
    }
}
