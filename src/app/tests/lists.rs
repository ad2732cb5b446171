//! Product lists in time: what waits to be sent is decided again at once, and one alarm says how many were taken out.

use super::*;
use crate::{alarm::AlarmKind, clock::Day, policy::Reason};

/// Sites 1 and 2 are hardware 0101, 3 and 4 are 0102, and the list has both; batches of one.
async fn two_hardware_versions(lab: &Lab) -> i64 {
    let mut text =
        "device_id,mpan,cohort,manufacturer,model,hardware_version,firmware_version,device_status,dmc,migrated_on\n".to_string();
    for n in 1..=4 {
        let hardware = if n < 3 { "0101" } else { "0102" };
        text +=
            &format!("{},{},IOC,106C,433100AC,{hardware},00020100,Commissioned,DMC-{hardware},2020-11-01\n", device(n), mpan(n));
    }
    lab.import(Kind::Sites, text).await;
    both_on_the_lists(lab, "Active").await;
    combinations(lab, "").await;
    lab.started("spring", 1).await
}

/// The CPL with the status of the entry for hardware 0102.
async fn both_on_the_lists(lab: &Lab, status: &str) {
    let list = std::fs::read_to_string(lab.folder.path().join("cpl.csv")).unwrap();
    let one: Vec<&str> = list.lines().take(2).collect();
    let other = one[1].replace("CPL-1", "CPL-2").replace(",0101,", ",0102,").replace("Active", status);
    lab.import(Kind::Cpl, format!("{}\n{}\n{other}\n", one[0], one[1])).await;
}

/// The EPCL with the day on which the combination of hardware 0102 is no longer on it.
async fn combinations(lab: &Lab, to: &str) {
    let head = "dmc,cohort,effective_from,effective_to";
    lab.import(Kind::Epcl, format!("{head}\nDMC-0101,IOC,2020-01-01,\nDMC-0102,IOC,2020-01-01,{to}\n")).await;
}

async fn reasons(lab: &Lab, campaign: i64) -> Vec<(TargetState, Reason)> {
    let mut all = Vec::new();
    for n in 1..=4 {
        let target = lab.target(campaign, n).await;
        all.push((target.state, target.reason));
    }
    all
}

async fn alarms(lab: &Lab, standing: bool) -> Vec<crate::alarm::Alarm> {
    let mut all = lab.app.alarms(standing, None, 0, 10).await.unwrap();
    all.retain(|a| a.kind == AlarmKind::ProductListsChanged);
    all
}

#[tokio::test]
async fn an_entry_withdrawn_for_one_hardware_takes_its_unsent_members_out_at_once_with_one_alarm() {
    use TargetState as S;
    for lab in labs(4).await {
        let campaign = two_hardware_versions(&lab).await;
        lab.send(campaign).await;
        lab.send(campaign).await;
        let sent = lab.send(campaign).await;
        let prepared = lab.app.prepare_batch(campaign).await.unwrap().expect("the fourth");
        assert_eq!(lab.app.recheck_unsent().await.unwrap(), 0, "nothing stands against it");
        assert_eq!(lab.outbox_state(prepared).await, "prepared", "a batch whose members pass stays");
        assert_eq!(alarms(&lab, false).await, []);

        both_on_the_lists(&lab, "Withdrawn").await;
        assert_eq!(lab.app.judge_started().await.unwrap(), 0, "the campaign as a whole goes on");
        assert_eq!(lab.app.recheck_unsent().await.unwrap(), 1);
        assert_eq!((lab.outbox_state(prepared).await, lab.outbox_state(sent).await), ("abandoned".into(), "answered".into()));
        let accepted = (S::Accepted, Reason::Eligible);
        let out = (S::Ineligible, Reason::ModelNotCovered);
        assert_eq!(reasons(&lab, campaign).await, [accepted, accepted, accepted, out], "what was sent is followed");
        assert_eq!(lab.app.recheck_unsent().await.unwrap(), 0);
        let standing = alarms(&lab, true).await;
        assert_eq!(standing.len(), 1, "once");
        assert!(standing[0].sentence.contains("1 devices were taken out"), "{}", standing[0].sentence);
        assert!(standing[0].sentence.ends_with("1 MODEL_NOT_COVERED"), "{}", standing[0].sentence);

        lab.app.dismiss_alarm(standing[0].id, "seen", OPERATOR).await.unwrap();
        assert_eq!(lab.app.recheck_unsent().await.unwrap(), 0);
        assert_eq!(alarms(&lab, true).await, [], "what was seen is not said again");
    }
}

#[tokio::test]
async fn what_the_check_before_a_batch_took_out_first_is_said_too() {
    for lab in labs(4).await {
        let campaign = two_hardware_versions(&lab).await;
        lab.send(campaign).await;
        lab.send(campaign).await;
        both_on_the_lists(&lab, "Cancelled").await;
        assert_eq!(lab.app.prepare_batch(campaign).await.unwrap(), None, "nobody passes");
        assert_eq!(lab.app.recheck_unsent().await.unwrap(), 0);
        assert!(alarms(&lab, true).await[0].sentence.ends_with("2 MODEL_NOT_COVERED"));
    }
}

#[tokio::test]
async fn a_row_of_the_epcl_that_ends_with_the_day_takes_out_what_waits_on_the_first_day_without_it() {
    use TargetState as S;
    for lab in labs(4).await {
        let campaign = two_hardware_versions(&lab).await;
        let today = lab.app.now().london_day();
        let last = Day(today.0 + 1);
        combinations(&lab, &last.to_string()).await;
        assert_eq!(lab.app.recheck_unsent().await.unwrap(), 0, "it is on the list today");
        lab.app.clock.advance(last.start().0 - 1 - lab.app.now().0);
        assert_eq!(lab.app.recheck_unsent().await.unwrap(), 0, "until the last millisecond");
        lab.app.clock.advance(1);
        assert_eq!(lab.app.recheck_unsent().await.unwrap(), 2);
        let queued = (S::Queued, Reason::Eligible);
        let out = (S::Ineligible, Reason::CombinationNotEligible);
        assert_eq!(reasons(&lab, campaign).await, [queued, queued, out, out]);
        assert_eq!(alarms(&lab, true).await.len(), 1);
    }
}

#[tokio::test]
async fn nobody_waiting_means_no_alarm_and_a_paused_campaign_is_left_alone() {
    for lab in labs(4).await {
        let campaign = two_hardware_versions(&lab).await;
        lab.app.pause_campaign("spring", OPERATOR).await.unwrap();
        both_on_the_lists(&lab, "Expired").await;
        assert_eq!(lab.app.recheck_unsent().await.unwrap(), 0);
        assert_eq!(lab.state(campaign, 3).await, TargetState::Queued, "the check before its batch decides");
        assert_eq!(alarms(&lab, false).await, []);
    }
}
