//! What comes late of a change of supplier: between a batch and its posting, after a device came to its end, after a correction, and of a
//! change between our own licences.

use super::{supply::change_of_supplier, *};
use crate::policy::Reason;

const DAY: i64 = 86_400_000;

impl Lab {
    async fn why(&self, campaign: i64, n: u64) -> (TargetState, Reason) {
        let target = self.target(campaign, n).await;
        (target.state, target.reason)
    }

    /// A batch that was made is about to leave; gives whether it does.
    async fn leaves(&self, id: RequestId) -> bool {
        self.app.begin_post(id, &self.dcc).await.unwrap().is_some()
    }
}

#[tokio::test]
async fn a_batch_does_not_leave_where_a_member_was_lost_since_it_was_made() {
    for lab in labs(3).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.app.prepare_batch(campaign).await.unwrap().unwrap();
        lab.registrations(&[(1, "OTHR", "2026-01-01", "")], false).await;
        assert!(!lab.leaves(id).await);
        assert_eq!(lab.outbox_state(id).await, "abandoned");
        lab.send(campaign).await;
        assert_eq!(lab.why(campaign, 1).await, (TargetState::Ineligible, Reason::NotResponsibleSupplier));
        assert_eq!((lab.state(campaign, 2).await, lab.state(campaign, 3).await), (TargetState::Accepted, TargetState::Accepted));
    }
}

#[tokio::test]
async fn nor_where_an_alert_or_midnight_came_in_between() {
    for lab in labs(2).await {
        let eligibility = include_str!("../../../policies/eligibility.toml").replace("guard_days = 5", "guard_days = 0");
        std::fs::write(lab.app.settings.policies_dir.join("eligibility.toml"), eligibility).unwrap();
        let tomorrow = lab.app.now().london_day().plus(1);
        lab.registrations(&[(2, "OTHR", &tomorrow.to_string(), "")], false).await;
        let campaign = lab.started("spring", 1).await;
        let first = lab.app.prepare_batch(campaign).await.unwrap().unwrap();
        assert_eq!(lab.hears(&change_of_supplier(1, 1, "0000000000")).await, InboxState::Settled);
        assert!(!lab.leaves(first).await, "the alert");
        let second = lab.app.prepare_batch(campaign).await.unwrap().unwrap();
        lab.app.clock.advance(DAY);
        assert!(!lab.leaves(second).await, "midnight");
        assert_eq!(lab.app.prepare_batch(campaign).await.unwrap(), None);
        for n in [1, 2] {
            assert_eq!(lab.why(campaign, n).await, (TargetState::Ineligible, Reason::NotResponsibleSupplier), "{n}");
        }
    }
}

#[tokio::test]
async fn a_batch_that_waits_is_decided_again_and_then_leaves() {
    for lab in labs(2).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.app.prepare_batch(campaign).await.unwrap().unwrap();
        lab.app.clock.advance(1_000);
        // Facts that change nothing for its members.
        lab.registrations(&[(9, "EELC", "2015-01-01", "")], false).await;
        assert!(lab.leaves(id).await);
        assert_eq!(lab.reply(id, "I99").await, Posted::Settled);
    }
}

#[tokio::test]
async fn what_left_the_portfolio_stays_marked_whatever_it_comes_to_until_that_is_corrected() {
    for lab in labs(3).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.send(campaign).await;
        let lost: Vec<_> = (1..=2).map(|n| (n, "OTHR", "2026-01-01", "")).collect();
        lab.registrations(&lost, false).await;
        assert_eq!(lab.app.mark_lost_supply().await.unwrap().lost, 2);
        let detail = lab.target(campaign, 1).await.detail.unwrap();
        assert!(detail.ends_with("cannot be recalled: supply ended on 2026-01-01"), "{detail}");
        let explained = lab.app.explain_site(device(1), Some("spring"), None, lab.app.now()).await.unwrap();
        assert_eq!(explained.decisions.last().unwrap().step.reason, Reason::SupplyLost, "explain tells it");
        // A missing key is none of ours; a late success is no success of the campaign.
        lab.hears(&no_key(Some(id), 1, 1)).await;
        assert_eq!(lab.why(campaign, 1).await, (TargetState::Accepted, Reason::SupplyLost));
        lab.hears(&activated(Some(id), 2, 1)).await;
        assert_eq!(lab.why(campaign, 1).await, (TargetState::Activated, Reason::SupplyLost));
        // One that is silent is lost all the same.
        lab.app.clock.advance(100 * DAY);
        lab.app.expire_silent().await.unwrap();
        assert_eq!(lab.why(campaign, 3).await, (TargetState::Expired, Reason::Eligible));
        lab.registrations(&[(3, "OTHR", "2026-11-30", "")], false).await;
        assert_eq!(lab.app.mark_lost_supply().await.unwrap().lost, 1);
        assert_eq!(lab.why(campaign, 3).await, (TargetState::Expired, Reason::SupplyLost));
        // The files were wrong.
        let ours: Vec<_> = (1..=3).map(|n| (n, "EELC", "2015-01-01", "")).collect();
        lab.registrations(&ours, true).await;
        assert_eq!(lab.app.mark_lost_supply().await.unwrap().regained, 3);
        assert_eq!(lab.why(campaign, 1).await, (TargetState::Activated, Reason::Eligible));
        assert_eq!(lab.why(campaign, 2).await, (TargetState::Expired, Reason::Eligible));
        assert_eq!(lab.why(campaign, 3).await, (TargetState::Expired, Reason::Eligible));
        assert_eq!(lab.app.mark_lost_supply().await.unwrap(), Default::default(), "once");
    }
}

#[tokio::test]
async fn an_alert_of_a_change_between_our_own_licences_takes_nothing() {
    for mut lab in labs(2).await {
        let mut settings = (*lab.app.settings).clone();
        settings.organisation.mpids.push("EELD".parse().unwrap());
        lab.app.settings = Arc::new(settings);
        let today = lab.app.now().london_day();
        lab.registrations(&[(1, "EELD", &today.to_string(), "")], false).await;
        let campaign = lab.started("spring", 1).await;
        lab.send(campaign).await;
        // The day after, and one of a site that really goes.
        lab.app.clock.advance(DAY);
        lab.hears(&change_of_supplier(1, 1, "0000000000")).await;
        lab.hears(&change_of_supplier(2, 2, "0000000000")).await;
        lab.app.mark_lost_supply().await.unwrap();
        assert_eq!(lab.why(campaign, 1).await, (TargetState::Accepted, Reason::Eligible));
        assert_eq!(lab.app.prepare_batch(campaign).await.unwrap(), None);
        assert_eq!(lab.why(campaign, 2).await, (TargetState::Ineligible, Reason::NotResponsibleSupplier));
        // A new plan reads the same, from memory.
        let other = lab.planned("other", 10).await;
        assert_eq!(lab.why(other, 2).await.1, Reason::NotResponsibleSupplier);
        assert_ne!(lab.why(other, 1).await.1, Reason::NotResponsibleSupplier);
    }
}

#[tokio::test]
async fn a_decision_keeps_the_end_that_its_registration_had() {
    for lab in labs(1).await {
        lab.registered(&[1], "2027-06-01").await;
        let campaign = lab.started("spring", 10).await;
        lab.registered(&[1], "").await;
        let story = lab.app.site(device(1), lab.app.now()).await.unwrap().history;
        let step = &story.iter().find(|t| t.campaign == campaign).unwrap().step;
        assert_eq!(step.registration_to, Some("2027-06-01".parse().unwrap()));
    }
}

#[tokio::test]
async fn an_import_that_a_dead_process_left_is_in_the_audit_trail_once_it_is_finished() {
    for lab in labs(1).await {
        let mut tx = lab.app.db.begin().await.unwrap();
        let id = crate::estate::store::tests_begin_applying(&mut tx, Some("ann@desk"), lab.app.now()).await.unwrap();
        tx.commit().await.unwrap();
        for _ in 0..2 {
            App::open((*lab.app.settings).clone(), lab.app.clock.clone()).await.unwrap();
        }
        let trail = crate::audit::list(&mut lab.app.db.read().await.unwrap(), 0, 999).await.unwrap();
        let subject = format!("import {id}");
        let told: Vec<_> = trail.iter().filter(|e| e.subject == subject).map(|e| (e.who.as_str(), e.action.as_str())).collect();
        assert_eq!(told, [("ann@desk", "import.registrations")]);
    }
}
