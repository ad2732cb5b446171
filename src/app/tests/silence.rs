//! Devices that stay silent past their deadline are asked, sent again and given up, as the steps of their model say.

use super::{
    asked::{inventory, runs},
    *,
};
use crate::{
    app::Silenced,
    campaign::CampaignState,
    target::{
        ReadCause, ReadState,
        store::reads::{self, Read},
    },
};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const OLD: &str = "00020100";
const BY_LIST: &str = "silent = [\"read-inventory\"]\n";
const BY_BOTH: &str = "silent = [\"read-inventory\", \"read-version\"]\n";
const TWICE: &str = "silent = [\"read-inventory\"]\nretries = 2\nretry_after = \"4h\"\n";

impl Lab {
    /// One batch was sent, and nothing was heard of its `sites` until their five hours were over. Each question has an hour.
    async fn silent(&self, sites: i64, rest: &str) -> (i64, RequestId) {
        self.steps(&format!("[default.IOC]\nsteps = [\"update\"]\nanswer_within = \"5h\"\nask_within = \"1h\"\n{rest}"));
        let campaign = self.started("spring", sites).await;
        let id = self.send(campaign).await;
        self.pass(5 * HOUR + 1).await;
        (campaign, id)
    }

    async fn looks(&self) -> Silenced {
        self.app.end_reads().await.unwrap();
        self.app.follow_silence().await.unwrap()
    }

    /// Time passes, and silence is looked for.
    async fn pass(&self, millis: i64) -> Silenced {
        self.app.clock.advance(millis);
        self.looks().await
    }

    /// The questions that may leave now leave.
    async fn asking_now(&self) -> Vec<RequestId> {
        let ids = self.app.prepare_reads().await.unwrap();
        for id in &ids {
            self.begin(*id).await;
        }
        ids
    }

    async fn asks_one_now(&self) -> RequestId {
        let ids = self.asking_now().await;
        let [id] = ids[..] else { panic!("one is to be asked: {ids:?}") };
        id
    }

    /// DCC's list says this of a site that is asked about alone.
    async fn list_says(&self, n: u64, version: &str) {
        let id = self.asks_one_now().await;
        self.record(id, PostOutcome::Answered(inventory(id, &[(n, Some(version), None)]))).await;
        self.looks().await;
    }

    async fn asked_of(&self, campaign: i64, n: u64) -> Option<Read> {
        let plan = self.app.campaign(&campaign.to_string()).await.unwrap().plan_id.unwrap();
        reads::find(&mut self.app.db.read().await.unwrap(), &[(plan, device(n))]).await.unwrap().pop()
    }

    async fn said_of(&self, campaign: i64, n: u64) -> String {
        self.target(campaign, n).await.detail.unwrap_or_default()
    }

    async fn finishes(&self, campaign: i64) -> bool {
        self.app.finish_campaigns().await.unwrap();
        self.app.campaign(&campaign.to_string()).await.unwrap().state == CampaignState::Finished
    }
}

#[tokio::test]
async fn a_silent_device_that_runs_the_version_is_verified() {
    for lab in labs(2).await {
        let (campaign, _) = lab.silent(2, BY_LIST).await;
        assert_eq!(lab.state(campaign, 1).await, TargetState::Accepted, "it is asked first");
        assert_eq!(lab.looks().await, Silenced::default(), "once");
        let read = lab.asked_of(campaign, 1).await.unwrap();
        assert_eq!((read.cause, read.standing.state), (ReadCause::Deadline, ReadState::Waiting));
        let first = lab.asks_one_now().await;
        lab.app.clock.advance(10);
        let second = lab.asks_one_now().await;
        assert_eq!([first.target, second.target], [lab.app.settings.gateway.dcc_id; 2]);
        lab.record(first, PostOutcome::Answered(inventory(first, &[(1, Some(FIRMWARE), None)]))).await;
        assert_eq!(lab.state(campaign, 1).await, TargetState::Verified);
        assert_eq!(lab.app.campaign_status("spring").await.unwrap().silence.asking, 2, "until it is looked at");
        assert!(!lab.finishes(campaign).await);
        lab.record(second, PostOutcome::Answered(inventory(second, &[(2, Some(OLD), None)]))).await;
        assert_eq!(lab.looks().await, Silenced { expired: 1, ..Silenced::default() });
        assert_eq!(lab.state(campaign, 2).await, TargetState::Expired);
        assert_eq!(
            lab.said_of(campaign, 2).await,
            "no news from DCC within the time allowed; asked, it runs 00020100, not 00020200"
        );
        let status = lab.app.campaign_status("spring").await.unwrap();
        assert_eq!((status.silence.asking, status.silence.retries, status.reads.asked), (0, 0, 0));
        assert!(lab.finishes(campaign).await && lab.app.alarms(true, None, 0, 9).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn an_answer_that_was_asked_for_before_the_success_does_not_put_the_old_version_back() {
    for lab in labs(1).await {
        let (campaign, id) = lab.silent(1, "silent = [\"read-version\"]\n").await;
        let read = lab.asks_one_now().await;
        lab.reply(read, "I99").await;
        lab.app.clock.advance(10 * MINUTE);
        lab.hears(&activated(Some(id), 1, 1)).await;
        lab.app.clock.advance(10 * MINUTE);
        lab.hears(&runs(Some(read), 1, Some(true), Some(OLD))).await;
        assert_eq!((lab.state(campaign, 1).await, lab.knows(1).await.0.as_str()), (TargetState::Activated, FIRMWARE));
    }
}

#[tokio::test]
async fn silent_devices_are_asked_though_the_approval_has_ended() {
    for lab in labs(1).await {
        let text = crate::policy::PolicyName::Rollout.shipped().replace("approval_valid = \"90d\"", "approval_valid = \"2h\"");
        std::fs::write(lab.app.settings.policies_dir.join("rollout.toml"), text).unwrap();
        let (campaign, _) = lab.silent(1, BY_LIST).await;
        assert!(lab.app.campaign("spring").await.unwrap().is_approval_expired(lab.app.now()));
        lab.list_says(1, FIRMWARE).await;
        assert_eq!(lab.state(campaign, 1).await, TargetState::Verified);
    }
}

#[tokio::test]
async fn an_unchanged_device_is_sent_again_later_each_time_and_may_end_activated() {
    for lab in labs(1).await {
        let (campaign, first) = lab.silent(1, TWICE).await;
        lab.list_says(1, OLD).await;
        let target = lab.target(campaign, 1).await;
        assert_eq!((target.state, target.attempts, target.retries), (TargetState::Queued, 1, 1));
        let said = target.detail.unwrap();
        assert!(said.contains("asked, it runs 00020100, not 00020200: sent again, not before 2026-"), "{said}");
        assert!(said.ends_with("(retry 1 of 2)"), "{said}");
        let silence = lab.app.campaign_status("spring").await.unwrap().silence;
        assert_eq!((silence.asking, silence.waiting_to_retry, silence.retries), (0, 1, 1));
        lab.pass(4 * HOUR - MINUTE).await;
        assert!(lab.app.prepare_batch(campaign).await.unwrap().is_none(), "its wait is not over");
        assert!(!lab.finishes(campaign).await);
        lab.pass(31 * MINUTE).await;
        let second = lab.send(campaign).await;
        assert!(second.counter > first.counter);
        assert_eq!(lab.target(campaign, 1).await.attempts, 2);
        lab.pass(5 * HOUR + 1).await;
        lab.list_says(1, OLD).await;
        lab.pass(8 * HOUR - MINUTE).await;
        assert!(lab.app.prepare_batch(campaign).await.unwrap().is_none(), "twice as long");
        lab.pass(31 * MINUTE).await;
        let third = lab.send(campaign).await;
        assert_eq!(lab.hears(&activated(Some(third), 1, 1)).await, InboxState::Settled);
        let target = lab.target(campaign, 1).await;
        assert_eq!((target.state, target.attempts, target.retries), (TargetState::Activated, 3, 2));
        let status = lab.app.campaign_status("spring").await.unwrap();
        assert_eq!((status.duplicate_submissions, status.requests_sent, status.silence.retries), (0, 3, 2));
        let told = lab.app.explain_site(device(1), Some("spring"), None, lab.app.now()).await.unwrap().decisions;
        let queued: Vec<i64> = told
            .iter()
            .filter(|t| t.step.state == TargetState::Queued && t.step.detail.is_some())
            .map(|t| t.step.attempts)
            .collect();
        assert_eq!(queued, [1, 2], "its story tells of both");
        assert!(lab.finishes(campaign).await);
    }
}

#[tokio::test]
async fn an_unchanged_device_expires_after_its_last_retry_and_a_person_may_begin_anew() {
    for lab in labs(1).await {
        let (campaign, first) = lab.silent(1, TWICE).await;
        for wait in [4, 8] {
            lab.list_says(1, OLD).await;
            lab.pass(wait * HOUR + 30 * MINUTE).await;
            lab.send(campaign).await;
            lab.pass(5 * HOUR + 1).await;
        }
        lab.list_says(1, OLD).await;
        assert_eq!(lab.state(campaign, 1).await, TargetState::Expired);
        assert!(lab.said_of(campaign, 1).await.ends_with("it runs 00020100, not 00020200, after it was sent 3 times"));
        assert!(lab.finishes(campaign).await);
        lab.app.retry_campaign("spring", OPERATOR).await.unwrap();
        assert_eq!(lab.target(campaign, 1).await.retries, 0);
        lab.send(campaign).await;
        lab.pass(5 * HOUR + 1).await;
        lab.list_says(1, OLD).await;
        assert_eq!((lab.state(campaign, 1).await, lab.target(campaign, 1).await.retries), (TargetState::Queued, 1));
        // The oldest of its requests is answered after all.
        assert_eq!(lab.hears(&activated(Some(first), 1, 1)).await, InboxState::Settled);
        assert_eq!(lab.state(campaign, 1).await, TargetState::Activated, "out of the queue");
        lab.pass(9 * HOUR).await;
        assert!(lab.app.prepare_batch(campaign).await.unwrap().is_none() && lab.finishes(campaign).await);
    }
}

#[tokio::test]
async fn of_a_dcc_that_answers_nothing_all_expire_within_the_bound() {
    for lab in labs(3).await {
        let (campaign, id) = lab.silent(3, TWICE).await;
        // One question is taken and never answered, the reply to one is lost, one device is never reached.
        let first = lab.asks_one_now().await;
        assert_eq!(lab.reply(first, "I99").await, Posted::Settled);
        lab.app.clock.advance(10);
        let second = lab.asks_one_now().await;
        lab.no_reply(second).await;
        lab.pass(HOUR - 2_000).await;
        for n in 1..=3 {
            assert_eq!(lab.state(campaign, n).await, TargetState::Accepted);
        }
        assert_eq!(lab.pass(HOUR).await, Silenced { expired: 3, ..Silenced::default() }, "in two hours at the latest");
        assert!(lab.said_of(campaign, 1).await.contains("no version was had either: no version came within"));
        assert!(lab.said_of(campaign, 3).await.ends_with("its turn did not come in the time there was"));
        assert!(lab.finishes(campaign).await, "what is not known to be unchanged is not sent again");
        lab.hears(&inventory(second, &[(2, Some(FIRMWARE), None)])).await;
        lab.hears(&activated(Some(id), 3, 3)).await;
        let states = (lab.state(campaign, 2).await, lab.state(campaign, 3).await);
        assert_eq!(states, (TargetState::Verified, TargetState::Activated), "a late success wins");
        assert_eq!(lab.looks().await, Silenced::default());
    }
}

#[tokio::test]
async fn the_device_itself_is_asked_only_where_the_list_said_nothing() {
    for lab in labs(2).await {
        let (campaign, _) = lab.silent(2, BY_BOTH).await;
        let first = lab.asks_one_now().await;
        lab.app.clock.advance(10);
        let second = lab.asks_one_now().await;
        lab.record(first, PostOutcome::Answered(inventory(first, &[(1, Some(OLD), None)]))).await;
        lab.reply(second, "E19").await;
        assert_eq!(lab.looks().await, Silenced { asked: 1, expired: 1, ..Silenced::default() });
        assert_eq!((lab.state(campaign, 1).await, lab.state(campaign, 2).await), (TargetState::Expired, TargetState::Accepted));
        let third = lab.asks_one_now().await;
        assert_eq!(third.target, device(2));
        assert_eq!(lab.reply(third, "I99").await, Posted::Settled);
        assert_eq!(lab.hears(&runs(Some(third), 2, Some(true), Some(FIRMWARE))).await, InboxState::Settled);
        assert_eq!(lab.state(campaign, 2).await, TargetState::Verified);
        lab.looks().await;
        assert!(lab.finishes(campaign).await);
    }
}

#[tokio::test]
async fn a_campaign_that_stands_still_keeps_its_silent_as_they_are() {
    for lab in labs(2).await {
        lab.steps(&format!("[default.IOC]\nsteps = [\"update\"]\nanswer_within = \"5h\"\nask_within = \"1h\"\n{TWICE}"));
        let campaign = lab.started("spring", 2).await;
        lab.send(campaign).await;
        lab.app.pause_campaign("spring", OPERATOR).await.unwrap();
        assert_eq!(lab.pass(50 * HOUR).await, Silenced::default());
        assert_eq!(lab.state(campaign, 1).await, TargetState::Accepted);
        lab.app.resume_campaign("spring", OPERATOR).await.unwrap();
        assert_eq!(lab.looks().await, Silenced { asked: 2, ..Silenced::default() });
        // One was put down to be asked, and waits for hours: its hour begins with the next start.
        let first = lab.asks_one_now().await;
        lab.app.halt_campaign("spring", "smoke", OPERATOR).await.unwrap();
        lab.record(first, PostOutcome::Answered(inventory(first, &[(1, Some(OLD), None)]))).await;
        assert_eq!(lab.pass(50 * HOUR).await, Silenced::default());
        assert!(lab.asking_now().await.is_empty());
        assert_eq!((lab.state(campaign, 1).await, lab.state(campaign, 2).await), (TargetState::Accepted, TargetState::Accepted));
        lab.app.resume_campaign("spring", OPERATOR).await.unwrap();
        assert_eq!(lab.looks().await, Silenced { queued: 1, ..Silenced::default() });
        lab.list_says(2, FIRMWARE).await;
        assert_eq!((lab.state(campaign, 1).await, lab.state(campaign, 2).await), (TargetState::Queued, TargetState::Verified));
        // Queued again it is sent like anything else: not while the campaign is paused.
        lab.app.pause_campaign("spring", OPERATOR).await.unwrap();
        lab.pass(5 * HOUR).await;
        assert!(lab.app.prepare_batch(campaign).await.unwrap().is_none());
        lab.app.resume_campaign("spring", OPERATOR).await.unwrap();
        lab.send(campaign).await;
    }
}

#[tokio::test]
async fn a_question_that_is_out_while_the_campaign_stands_still_has_its_time_anew() {
    for lab in labs(2).await {
        let (campaign, _) = lab.silent(2, BY_LIST).await;
        let taken = lab.asks_one_now().await;
        assert_eq!(lab.reply(taken, "I99").await, Posted::Settled);
        lab.app.clock.advance(10);
        let lost = lab.asks_one_now().await;
        lab.no_reply(lost).await;
        lab.app.pause_campaign("spring", OPERATOR).await.unwrap();
        assert_eq!(lab.pass(50 * HOUR).await, Silenced::default());
        assert!(lab.app.begin_post(lost, &lab.dcc).await.unwrap().is_none());
        lab.app.resume_campaign("spring", OPERATOR).await.unwrap();
        assert_eq!(lab.looks().await, Silenced::default());
        // The one is asked again in its time, of the other the same request goes out again.
        lab.pass(8 * MINUTE).await;
        lab.begin(lost).await;
        lab.record(lost, PostOutcome::Answered(inventory(lost, &[(2, Some(FIRMWARE), None)]))).await;
        let again = lab.asks_one_now().await;
        assert!(again != taken && lab.asked_of(campaign, 1).await.unwrap().standing.asks == 2);
        lab.record(again, PostOutcome::Answered(inventory(again, &[(1, Some(FIRMWARE), None)]))).await;
        assert_eq!((lab.state(campaign, 1).await, lab.state(campaign, 2).await), (TargetState::Verified, TargetState::Verified));
    }
}

#[tokio::test]
async fn an_abort_asks_nothing_more_and_ends_what_is_silent() {
    for lab in labs(2).await {
        let (campaign, _) = lab.silent(2, TWICE).await;
        let first = lab.asks_one_now().await;
        lab.app.abort_campaign("spring", OPERATOR).await.unwrap();
        lab.record(first, PostOutcome::Answered(inventory(first, &[(1, Some(OLD), None)]))).await;
        assert_eq!(lab.looks().await, Silenced { expired: 2, ..Silenced::default() });
        assert_eq!((lab.state(campaign, 1).await, lab.state(campaign, 2).await), (TargetState::Expired, TargetState::Expired));
        assert!(lab.asking_now().await.is_empty());
    }
}

#[tokio::test]
async fn what_is_lost_meanwhile_is_neither_asked_nor_sent_again() {
    for lab in labs(3).await {
        let (campaign, _) = lab.silent(3, TWICE).await;
        let first = lab.asks_one_now().await;
        lab.record(first, PostOutcome::Answered(inventory(first, &[(1, Some(OLD), None)]))).await;
        lab.app.clock.advance(10);
        let second = lab.asks_one_now().await;
        lab.record(second, PostOutcome::Answered(inventory(second, &[(2, Some(OLD), None)]))).await;
        // The first is lost before it is looked at, the third before it is asked; the second once it is queued again.
        lab.registered(&[1, 3], "2026-11-20").await;
        lab.app.mark_lost_supply().await.unwrap();
        lab.app.clock.advance(10);
        assert!(lab.asking_now().await.is_empty());
        assert_eq!(lab.looks().await, Silenced { queued: 1, expired: 2, ..Silenced::default() });
        for n in [1, 3] {
            let target = lab.target(campaign, n).await;
            assert_eq!((target.state, target.reason.as_str()), (TargetState::Expired, "SUPPLY_LOST"), "{n}");
        }
        assert_eq!(lab.state(campaign, 2).await, TargetState::Queued);
        let head = "device_id,mpan,reason,effective_from,effective_to\n";
        lab.import(Kind::Exclusions, format!("{head}{},,a complaint,2026-11-01,\n", device(2))).await;
        lab.pass(5 * HOUR).await;
        assert!(lab.app.prepare_batch(campaign).await.unwrap().is_none(), "decided again, as before every batch");
        assert_eq!(lab.state(campaign, 2).await, TargetState::Held);
    }
}

#[tokio::test]
async fn no_second_request_is_made_while_the_first_may_be_out() {
    for lab in labs(1).await {
        lab.steps(&format!("[default.IOC]\nsteps = [\"update\"]\nanswer_within = \"5h\"\nask_within = \"1h\"\n{TWICE}"));
        let campaign = lab.started("spring", 1).await;
        let id = lab.post(campaign).await;
        lab.no_reply(id).await;
        lab.pass(5 * HOUR + 1).await;
        lab.list_says(1, OLD).await;
        assert_eq!(lab.state(campaign, 1).await, TargetState::Expired);
        assert!(lab.said_of(campaign, 1).await.ends_with("it is not sent again, since its request may still be out"));
    }
}

#[tokio::test]
async fn news_while_it_is_asked_ends_its_silence() {
    for lab in labs(2).await {
        let (campaign, id) = lab.silent(2, TWICE).await;
        let first = lab.asks_one_now().await;
        for n in [1, 2] {
            lab.hears(&firmware(Some(id), n, n, FIRMWARE, Smets1FirmwareStatus::UpdateRequested)).await;
        }
        assert_eq!(
            (lab.state(campaign, 1).await, lab.state(campaign, 2).await),
            (TargetState::Delivered, TargetState::Delivered)
        );
        assert_eq!(lab.looks().await, Silenced::default());
        lab.app.clock.advance(10);
        assert!(lab.asking_now().await.is_empty(), "the second need not be asked");
        lab.record(first, PostOutcome::Answered(inventory(first, &[(1, Some(OLD), None)]))).await;
        assert_eq!(lab.looks().await, Silenced::default());
        assert_eq!(lab.state(campaign, 1).await, TargetState::Delivered, "its next stage has its own time");
        assert_eq!(lab.pass(5 * HOUR + 1).await, Silenced { asked: 2, ..Silenced::default() });
        lab.list_says(1, OLD).await;
        assert_eq!(lab.state(campaign, 1).await, TargetState::Queued);
    }
}

#[tokio::test]
async fn more_than_can_be_asked_in_time_expire_at_once_and_windows_are_waited_for() {
    for lab in labs(4).await {
        let daily = "version = 1\neffective_from = \"2020-11-24\"\n[[window]]\nfrom = \"11:00\"\nto = \"13:00\"\n\
            days = [\"Mon\", \"Tue\", \"Wed\", \"Thu\", \"Fri\", \"Sat\", \"Sun\"]\n";
        std::fs::write(lab.folder.path().join("policies/windows.toml"), daily).unwrap();
        lab.steps(&format!("[default.IOC]\nsteps = [\"update\"]\nanswer_within = \"5h\"\nask_within = \"2m\"\n{TWICE}"));
        let file = lab.folder.path().join("policies/steps.toml");
        std::fs::write(&file, std::fs::read_to_string(&file).unwrap().replace("= 6000", "= 1")).unwrap();
        let campaign = lab.started("spring", 4).await;
        lab.send(campaign).await;
        assert_eq!(lab.pass(5 * HOUR + 1).await, Silenced { asked: 2, expired: 2, ..Silenced::default() });
        assert!(lab.said_of(campaign, 3).await.ends_with("more were silent than could be asked in time"));
        // The window is closed until eleven o'clock: from then on each has its two minutes.
        assert!(lab.asking_now().await.is_empty());
        assert_eq!(lab.pass(3 * MINUTE).await, Silenced::default());
        assert_eq!(lab.pass(18 * HOUR - 3 * MINUTE).await, Silenced::default());
        assert_eq!(lab.state(campaign, 1).await, TargetState::Accepted);
        lab.list_says(1, FIRMWARE).await;
        assert_eq!(lab.state(campaign, 1).await, TargetState::Verified);
        assert_eq!(lab.pass(3 * MINUTE).await, Silenced { expired: 1, ..Silenced::default() });
    }
}
