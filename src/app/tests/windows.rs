//! Windows and freezes: only what is open leaves, a resend waits for its window, and the status says what waits for what.

use super::*;
use crate::app::NextBatch;

const HEAD: &str = "version = 1\neffective_from = \"2020-11-24\"\n";

fn write(lab: &Lab, text: &str) {
    std::fs::write(lab.app.settings.policies_dir.join("windows.toml"), format!("{HEAD}{text}")).unwrap();
}

fn move_to(lab: &Lab, at: &str) {
    let at: Time = at.parse().unwrap();
    assert!(at >= lab.app.now(), "clocks go forward");
    lab.app.clock.advance(at.0 - lab.app.now().0);
}

/// Sites 1 and 2 are IOC in the North, 3 is IOC elsewhere, 4 is SECURE in the North, 5 is SECURE without a region.
async fn regions(lab: &Lab) -> i64 {
    let mut text =
        "device_id,mpan,cohort,manufacturer,model,hardware_version,firmware_version,device_status,dmc,region\n".to_string();
    let sites = [("IOC", "North"), ("IOC", "North"), ("IOC", "South"), ("SECURE", "North"), ("SECURE", "")];
    for (n, (cohort, region)) in (1..).zip(sites) {
        text += &format!("{},{},{cohort},106C,433100AC,0101,00020100,Commissioned,DMC-1,{region}\n", device(n), mpan(n));
    }
    lab.import(Kind::Sites, text).await;
    lab.started("spring", 10).await
}

async fn states(lab: &Lab, campaign: i64) -> String {
    let mut all = String::new();
    for n in 1..=5 {
        all.push(if lab.state(campaign, n).await == TargetState::Queued { 'q' } else { 's' });
    }
    all
}

/// A Tuesday in winter: the windows of this file are closed at noon.
const NIGHTS: &str = "[[window]]\ndays = [\"Tue\", \"Thu\"]\nfrom = \"22:00\"\nto = \"06:00\"\n";
const TUESDAY: &str = "2026-11-24";

async fn on_tuesday(sites: u64) -> Vec<Lab> {
    let labs = labs(sites).await;
    labs.iter().for_each(|lab| move_to(lab, &format!("{TUESDAY}T12:00:00Z")));
    labs
}

#[tokio::test]
async fn only_members_whose_cohort_and_region_are_open_are_sent() {
    for lab in on_tuesday(5).await {
        write(
            &lab,
            &format!(
                "{NIGHTS}regions = [\"North\"]\n\n[[freeze]]\nfrom = \"{TUESDAY}\"\nto = \"2026-11-25\"\nreason = \"works\"\ncohorts = [\"SECURE\"]\n"
            ),
        );
        let campaign = regions(&lab).await;
        lab.send(campaign).await;
        assert_eq!(states(&lab, campaign).await, "qqsqq", "the South has no window, SECURE is frozen");
        let again = lab.app.next_batch(campaign).await.unwrap();
        assert_eq!(
            again,
            NextBatch::Closed { look_again: lab.app.now().plus_millis(15_000) },
            "the queue is not read all the time"
        );
        assert_eq!(lab.app.prepare_batch(campaign).await.unwrap(), None);

        let status = lab.app.campaign_status("spring").await.unwrap();
        let waits: Vec<String> = status
            .waits_for
            .iter()
            .map(|w| format!("{} {:?} {}: {}, {}", w.cohort, w.region.as_deref(), w.sites, w.why, w.until.unwrap()))
            .collect();
        assert_eq!(
            waits,
            [
                "IOC Some(\"North\") 2: the window of Tue 22:00 (windows.toml), 2026-11-24T22:00:00Z",
                "SECURE Some(\"North\") 1: the end of the freeze on 2026-11-25: works (windows.toml), 2026-11-25T00:00:00Z",
                "SECURE None 1: the end of the freeze on 2026-11-25: works (windows.toml), 2026-11-25T00:00:00Z",
            ]
        );
        let site = lab.app.explain_site(device(1), Some("spring"), None, lab.app.now()).await.unwrap();
        assert_eq!(site.waits_for.unwrap().to_string(), "the window of Tue 22:00 (windows.toml)");

        move_to(&lab, "2026-11-24T21:59:59Z");
        assert_eq!(lab.app.prepare_batch(campaign).await.unwrap(), None);
        move_to(&lab, "2026-11-24T22:00:00Z");
        lab.send(campaign).await;
        assert_eq!(states(&lab, campaign).await, "sssqq");
        move_to(&lab, "2026-11-25T00:00:00Z");
        lab.send(campaign).await;
        assert_eq!(states(&lab, campaign).await, "sssss", "the freeze is over, and the window of the North is still open");
        assert_eq!(lab.app.campaign_status("spring").await.unwrap().waits_for, []);
    }
}

#[tokio::test]
async fn while_everything_is_closed_nothing_is_read_until_it_opens_or_the_file_is_edited() {
    for lab in on_tuesday(1).await {
        write(&lab, NIGHTS);
        let campaign = lab.started("spring", 10).await;
        move_to(&lab, "2026-11-24T21:59:59Z");
        let opens: Time = "2026-11-24T22:00:00Z".parse().unwrap();
        assert_eq!(lab.app.next_batch(campaign).await.unwrap(), NextBatch::Closed { look_again: opens });
        lab.app.clock.advance(-3_600_000);
        let soon = lab.app.now().plus_millis(2_000);
        assert_eq!(lab.app.next_batch(campaign).await.unwrap(), NextBatch::Closed { look_again: soon });
        write(&lab, "");
        assert_eq!(lab.app.next_batch(campaign).await.unwrap(), NextBatch::Nothing, "it was approved with windows");
        lab.app.approve_campaign("spring", "third.person", OPERATOR).await.unwrap();
        assert!(matches!(lab.app.next_batch(campaign).await.unwrap(), NextBatch::Prepared(_)), "no window: always open");
    }
}

#[tokio::test]
async fn what_was_prepared_when_its_window_closed_is_dissolved_and_goes_in_the_next_one() {
    for lab in on_tuesday(1).await {
        write(&lab, NIGHTS);
        let campaign = lab.started("spring", 10).await;
        move_to(&lab, "2026-11-25T05:59:59Z");
        let id = lab.app.prepare_batch(campaign).await.unwrap().expect("a second before it closes");
        lab.app.clock.advance(1_000);
        assert!(lab.app.begin_post(id, &lab.dcc).await.unwrap().is_none());
        assert_eq!((lab.outbox_state(id).await.as_str(), lab.state(campaign, 1).await), ("abandoned", TargetState::Queued));
        move_to(&lab, "2026-11-26T22:00:00Z");
        let next = lab.send(campaign).await;
        assert_ne!(next, id, "a request that never left is not sent: its members have a new one");
    }
}

#[tokio::test]
async fn a_resend_waits_for_its_window_and_for_no_person() {
    for lab in on_tuesday(2).await {
        write(&lab, NIGHTS);
        let campaign = lab.started("spring", 10).await;
        move_to(&lab, "2026-11-24T23:00:00Z");
        let id = lab.post(campaign).await;
        lab.no_reply(id).await;
        move_to(&lab, "2026-11-25T06:00:00Z");
        assert_eq!(lab.app.due_requests(10).await.unwrap().batches, vec![id]);
        assert!(lab.app.begin_post(id, &lab.dcc).await.unwrap().is_none(), "it closed at this moment");
        assert_eq!(lab.outbox_state(id).await, "unknown");
        let mut tx = lab.app.db.read().await.unwrap();
        let waiting = outbox::find_by_request_id(&mut tx, id).await.unwrap().unwrap();
        drop(tx);
        assert_eq!(waiting.last_error.as_deref(), Some("waits for the window of Thu 22:00 (windows.toml)"));
        assert_eq!(lab.app.due_requests(10).await.unwrap().batches, vec![], "and is looked at again only later");
        move_to(&lab, "2026-11-26T22:00:00Z");
        assert_eq!(lab.app.due_requests(10).await.unwrap().batches, vec![id]);
        lab.begin(id).await;
        assert_eq!(lab.reply(id, "I99").await, Posted::Settled);
        assert_eq!(lab.state(campaign, 2).await, TargetState::Accepted);
    }
}

#[tokio::test]
async fn a_resend_whose_devices_are_never_open_together_goes_to_a_person() {
    for lab in on_tuesday(5).await {
        let campaign = regions(&lab).await;
        let id = lab.post(campaign).await;
        lab.no_reply(id).await;
        let mornings = NIGHTS.replace("22:00", "08:00").replace("06:00", "10:00");
        write(&lab, &format!("{NIGHTS}cohorts = [\"IOC\"]\n{mornings}cohorts = [\"SECURE\"]\n"));
        lab.app.clock.advance(60_000);
        assert!(lab.app.begin_post(id, &lab.dcc).await.unwrap().is_none());
        assert_eq!((lab.outbox_state(id).await.as_str(), lab.batch(campaign).await.as_str()), ("held", "held"));
    }
}
