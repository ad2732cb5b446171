//! A campaign takes in sites that were gained after its plan: asked for, proposed and approved, or by policy.

use super::*;
use crate::{
    alarm::AlarmKind,
    campaign::{CampaignState, top_up::TopUpState},
    policy::Reason,
    target::store::Cause,
};

const FIRST: [u64; 2] = [1, 2];

impl Lab {
    /// `top_up` and `top_up_sites` of the only preset.
    fn top_ups(&self, how: &str, sites: u64) {
        let text = format!(
            "version = 1\neffective_from = \"2020-11-24\"\ndefault = \"direct\"\n[preset.direct]\ntop_up = \"{how}\"\ntop_up_sites = {sites}\n"
        );
        std::fs::write(self.folder.path().join("policies/rollout.toml"), text).unwrap();
    }

    /// Sites 3 and 4 pass now, 5 has to wait, 6 is not ours.
    async fn gain(&self) {
        self.sites(&[(4, "IOC"), (5, "IOC"), (6, "IOC")]).await;
        self.registered(&[3, 4, 5], "").await;
        self.keys("2020-11-10T08:00:00Z", &[(3, "updated"), (4, "updated"), (5, "failed"), (6, "updated")]).await;
    }

    async fn places(&self, campaign: i64) -> Vec<(TargetState, Reason)> {
        let plan = self.app.campaign(&campaign.to_string()).await.unwrap().plan_id.unwrap();
        let all = targets::page(&mut self.app.db.read().await.unwrap(), plan, None, 99).await.unwrap();
        all.into_iter().map(|t| (t.state, t.reason)).collect()
    }

    async fn alarms_that_stand(&self) -> usize {
        let all = self.app.alarms(true, None, 0, 99).await.unwrap();
        all.iter().filter(|a| a.kind == AlarmKind::TopUpProposed).count()
    }
}

/// Sites 1 and 2 are ours and 3 is not; the campaign is started and has sent.
async fn begun(how: &str, sites: u64) -> Vec<(Lab, i64)> {
    let mut begun = Vec::new();
    for lab in labs(0).await {
        lab.top_ups(how, sites);
        lab.sites(&[(1, "IOC"), (2, "IOC"), (3, "IOC")]).await;
        lab.registered(&FIRST, "").await;
        lab.keys("2020-11-10T08:00:00Z", &[(1, "updated"), (2, "updated")]).await;
        let campaign = lab.started("spring", 10).await;
        lab.send(campaign).await;
        begun.push((lab, campaign));
    }
    begun
}

#[tokio::test]
async fn what_the_plan_allows_joins_at_once_and_once() {
    for (lab, campaign) in begun("asked", 3).await {
        lab.gain().await;
        let before = lab.app.campaign_status("spring").await.unwrap();
        let look = lab.app.top_up_campaign("spring", OPERATOR, true).await.unwrap();
        assert_eq!((look.found, look.top_up), (3, None));
        assert_eq!(lab.places(campaign).await.len(), 3, "a look changes nothing");
        let done = lab.app.top_up_campaign("spring", OPERATOR, false).await.unwrap();
        let top_up = done.top_up.unwrap();
        assert_eq!((top_up.state, top_up.found, top_up.taken), (TopUpState::Applied, 3, 3));
        let wanted = [
            (TargetState::Accepted, Reason::Eligible),
            (TargetState::Accepted, Reason::Eligible),
            (TargetState::Queued, Reason::Eligible),
            (TargetState::Queued, Reason::Eligible),
            (TargetState::Held, Reason::KeysMissing),
        ];
        assert_eq!(lab.places(campaign).await, wanted);
        assert_eq!(lab.app.top_up_campaign("spring", OPERATOR, false).await.unwrap().found, 0, "once");
        let after = lab.app.campaign_status("spring").await.unwrap();
        assert_eq!((after.sites, after.eligible, after.held, after.ineligible), (3, 2, 0, 1), "the plan's figures stay");
        assert_eq!((before.sites, before.by_reason), (after.sites, after.by_reason));
        assert_eq!(after.topped_up, 3);
        let story = lab.app.site(device(3), lab.app.now()).await.unwrap().history;
        let steps: Vec<_> = story.iter().map(|t| (t.step.state, t.step.cause, t.step.cause_ref)).collect();
        let returned = (TargetState::Queued, Some(Cause::TopUp), Some(top_up.id));
        assert_eq!(steps, [(TargetState::Ineligible, None, None), returned]);
        assert!(story[1].is_decision() && story[1].policy_hash.is_some() && story[1].step.registration.is_some());
        let new = lab.app.site(device(4), lab.app.now()).await.unwrap().history;
        assert_eq!((new.len(), new[0].step.cause), (1, Some(Cause::TopUp)));
        lab.send(campaign).await;
        assert_eq!(lab.state(campaign, 3).await, TargetState::Accepted);
        let trail = crate::audit::list(&mut lab.app.db.read().await.unwrap(), 0, 999).await.unwrap();
        assert!(trail.iter().any(|e| e.action == "campaign.top-up" && e.who == OPERATOR));
        assert!(trail.iter().any(|e| e.action == "campaign.topped-up" && e.detail["taken"] == 3));
        // What is left of the plan's count does not do for another site.
        lab.registered(&[6], "").await;
        let more = lab.app.top_up_campaign("spring", OPERATOR, false).await.unwrap();
        assert_eq!(more.top_up.unwrap().state, TopUpState::Proposed);
    }
}

#[tokio::test]
async fn beyond_that_a_second_person_lets_them_join() {
    for (lab, campaign) in begun("asked", 2).await {
        lab.gain().await;
        let first = lab.app.top_up_campaign("spring", "bob, asserted by ann@desk", false).await.unwrap().top_up.unwrap();
        assert_eq!((first.state, first.found), (TopUpState::Proposed, 3));
        let again = lab.app.top_up_campaign("spring", "bob", false).await.unwrap().top_up.unwrap();
        assert_eq!(again.id, first.id, "the same proposal stands");
        assert_eq!(lab.places(campaign).await.len(), 3, "nothing joins yet");
        let refused = lab.app.approve_campaign("spring", "bob", OPERATOR).await.unwrap_err();
        assert!(refused.message.contains("asked for the top-up"), "{}", refused.message);
        // One of them is lost again before the yes: it does not join.
        lab.registered(&[4], "2026-11-01").await;
        lab.app.pause_campaign("spring", OPERATOR).await.unwrap();
        assert!(lab.app.campaign_status("spring").await.unwrap().top_up_proposed.is_some());
        let approved = lab.app.approve_campaign("spring", APPROVER, OPERATOR).await.unwrap();
        assert_eq!(approved.state, CampaignState::Paused);
        let status = lab.app.campaign_status("spring").await.unwrap();
        assert_eq!((status.topped_up, status.top_up_proposed), (2, None));
        let places = lab.places(campaign).await;
        assert_eq!(places[2..], [(TargetState::Queued, Reason::Eligible), (TargetState::Held, Reason::KeysMissing)]);
        // An approval that has nothing to say yes to changes nothing.
        lab.app.approve_campaign("spring", APPROVER, OPERATOR).await.unwrap();
        assert_eq!(lab.places(campaign).await, places);
    }
}

#[tokio::test]
async fn by_policy_they_join_without_anybody_asking_up_to_the_count() {
    for (lab, campaign) in begun("by-itself", 3).await {
        assert_eq!(lab.app.top_up_by_policy().await.unwrap(), 0);
        lab.gain().await;
        assert_eq!(lab.app.top_up_by_policy().await.unwrap(), 3);
        assert_eq!(lab.state(campaign, 4).await, TargetState::Queued);
        lab.registered(&[6], "").await;
        for _ in 0..2 {
            assert_eq!(lab.app.top_up_by_policy().await.unwrap(), 0);
            assert_eq!(lab.alarms_that_stand().await, 1, "one alarm says that a person is wanted");
        }
        lab.app.approve_campaign("spring", APPROVER, OPERATOR).await.unwrap();
        assert_eq!((lab.state(campaign, 6).await, lab.alarms_that_stand().await), (TargetState::Queued, 0));
        // What was proposed and passes no longer is void.
        lab.sites(&[(7, "IOC")]).await;
        lab.registered(&[7], "").await;
        lab.app.top_up_by_policy().await.unwrap();
        assert_eq!(lab.alarms_that_stand().await, 1);
        lab.registered(&[7], "2026-11-01").await;
        lab.app.top_up_by_policy().await.unwrap();
        assert_eq!(lab.alarms_that_stand().await, 0);
        assert!(lab.app.campaign_status("spring").await.unwrap().top_up_proposed.is_none());
    }
}

#[tokio::test]
async fn a_campaign_that_has_ended_goes_on_with_what_joins_and_others_are_refused() {
    for (lab, campaign) in begun("asked", 9).await {
        for site in FIRST {
            lab.hears(&activated(None, site, site)).await;
        }
        assert_eq!(lab.app.finish_campaigns().await.unwrap(), 1);
        lab.gain().await;
        lab.app.top_up_campaign("spring", OPERATOR, false).await.unwrap();
        assert_eq!(lab.app.campaign("spring").await.unwrap().state, CampaignState::Started);
        lab.send(campaign).await;
        lab.app.abort_campaign("spring", OPERATOR).await.unwrap();
        lab.planned("summer", 10).await;
        for (name, why) in [("spring", "aborted"), ("summer", "planned")] {
            let refused = lab.app.top_up_campaign(name, OPERATOR, false).await.unwrap_err();
            assert!(refused.message.contains(why) && !refused.help.is_empty(), "{}", refused.message);
        }
    }
    for (lab, _) in begun("never", 9).await {
        let refused = lab.app.top_up_campaign("spring", OPERATOR, false).await.unwrap_err();
        assert!(refused.message.contains("takes no sites in"), "{}", refused.message);
    }
}

#[tokio::test]
async fn shares_leave_out_what_left_the_portfolio_and_what_waits_for_a_key() {
    for lab in labs(6).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.send(campaign).await;
        lab.hears(&activated(Some(id), 1, 1)).await;
        lab.hears(&s1sp(Some(id), 2, Some(2), "S1VE2", testing::now())).await;
        lab.hears(&activated(Some(id), 3, 3)).await;
        lab.hears(&s1sp(Some(id), 4, Some(4), "S1VE2", testing::now())).await;
        lab.hears(&no_key(Some(id), 5, 5)).await;
        lab.registered(&[6], "2026-11-20").await;
        lab.app.mark_lost_supply().await.unwrap();
        let shares = lab.app.campaign_status("spring").await.unwrap().shares;
        assert_eq!((shares.counted, shares.succeeded, shares.failed, shares.silent), (4, 2, 2, 0));
        assert_eq!((shares.success_share, shares.failure_share), (Some(0.5), Some(0.5)));
        assert_eq!((shares.left_out_supply_lost, shares.left_out_keys_missing), (1, 1));
        assert_eq!(lab.state(campaign, 5).await, TargetState::Held);
    }
}
