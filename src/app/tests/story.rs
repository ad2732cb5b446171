//! What is stored of a device: every decision with what it went by, and every move, in order.

use super::*;
use crate::{policy::Reason, target::store::Cause};

/// The words of a story.
fn words(story: &[super::super::Told]) -> Vec<(TargetState, Option<Cause>)> {
    story.iter().map(|t| (t.step.state, t.step.cause)).collect()
}

#[tokio::test]
async fn every_decision_and_every_move_is_told_with_what_it_went_by() {
    use TargetState as S;
    for lab in labs(2).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.send(campaign).await;
        lab.hears(&activated(Some(id), 1, 1)).await;
        let dossier = lab.app.site(device(1), lab.app.now()).await.unwrap();
        let (batch, first) = (dossier.targets[0].batch, &dossier.history[0]);
        let wanted = [
            (S::Queued, None),
            (S::Submitted, Some(Cause::Send)),
            (S::Accepted, Some(Cause::Answer)),
            (S::Activated, Some(Cause::Message)),
        ];
        assert_eq!(words(&dossier.history), wanted);
        assert_eq!(dossier.history[1].step.cause_ref, batch, "sent in this batch");
        assert!(dossier.history[3].step.cause_ref.is_some_and(|message| message > 0), "moved by this message");
        assert_eq!((first.who.as_str(), first.campaign), (OPERATOR, campaign));
        for decision in &dossier.history[..2] {
            assert!(decision.is_decision());
            assert_eq!(decision.policy_hash.as_deref(), Some(lab.app.policies().unwrap().hash().as_str()));
            let entry = decision.cpl_entry.as_ref().expect("the entry it went by");
            assert_eq!((entry["firmware_version"].as_str(), entry["status"].as_str()), (Some(FIRMWARE), Some("Active")));
            assert_eq!(decision.step.registration.map(|r| r.0.to_string()).as_deref(), Some("EELC"));
            assert_eq!(decision.step.key_result_at, Some("2020-11-10T08:00:00Z".parse().unwrap()));
        }
        let explained = lab.app.explain_site(device(1), Some("spring"), None, lab.app.now()).await.unwrap();
        assert_eq!(words(&explained.decisions), wanted[..2], "what DCC said is no decision of ours");
        let without = lab.app.explain_site(device(1), None, None, lab.app.now()).await.unwrap();
        assert!(without.decisions.is_empty());
    }
}

#[tokio::test]
async fn the_last_decision_before_sending_is_stored_with_its_own_facts() {
    for lab in labs(2).await {
        let campaign = lab.planned("spring", 10).await;
        lab.start("spring").await;
        // A newer result comes between the plan and the batch: the decision before sending went by that.
        lab.keys("2020-11-12T08:00:00Z", &[(1, "updated"), (2, "failed")]).await;
        lab.post(campaign).await;
        let sent = lab.app.site(device(1), lab.app.now()).await.unwrap().history;
        let at = |t: &str| Some(t.parse::<Time>().unwrap());
        assert_eq!(sent[0].step.key_result_at, at("2020-11-10T08:00:00Z"));
        assert_eq!(sent[1].step.key_result_at, at("2020-11-12T08:00:00Z"));
        let held = lab.app.site(device(2), lab.app.now()).await.unwrap().history;
        let last = held.last().expect("a story");
        assert_eq!((last.step.state, last.step.cause), (TargetState::Held, Some(Cause::Send)));
        assert_eq!(last.step.fact.as_deref(), Some("failed"));
    }
}

#[tokio::test]
async fn as_of_an_earlier_moment_what_dcc_said_later_is_not_known() {
    for lab in labs(1).await {
        let campaign = lab.started("spring", 10).await;
        let before = lab.app.now();
        let id = lab.send(campaign).await;
        lab.app.clock.advance(60_000);
        lab.hears(&activated(Some(id), 1, 1)).await;
        let verdict = async |at| lab.app.explain_site(device(1), None, Some(lab.image), at).await.unwrap().verdict.reason;
        let version = async |at| lab.app.site(device(1), at).await.unwrap().site.firmware_version;
        assert_eq!((verdict(before).await, version(before).await.as_str()), (Reason::Eligible, "00020100"));
        let now = lab.app.now();
        assert_eq!((verdict(now).await, version(now).await.as_str()), (Reason::AlreadyAtVersion, FIRMWARE));
        // A plan as of that moment reads thousands of sites at once, by another statement.
        let new = NewCampaignRequest {
            name: "then".into(),
            image: lab.image,
            filter: SiteFilter::default(),
            rollout: None,
            batch_size: Some(10),
            waves: Vec::new(),
        };
        lab.app.create_campaign(new, OPERATOR).await.unwrap();
        let plan = lab.app.plan_campaign("then", Some(before), OPERATOR, &mut |_| {}).await.unwrap();
        assert_eq!(plan.ineligible, 0, "{plan:?}");
        let plan = lab.app.plan_campaign("then", None, OPERATOR, &mut |_| {}).await.unwrap();
        assert_eq!(plan.ineligible, 1);
    }
}

#[tokio::test]
async fn a_gas_supplier_is_told_so_also_where_no_image_is_named() {
    for mut lab in labs(1).await {
        let mut settings = (*lab.app.settings).clone();
        settings.organisation.role = "GS".into();
        lab.app.settings = Arc::new(settings);
        let explained = lab.app.explain_site(device(1), None, None, lab.app.now()).await.unwrap();
        let refusal = explained.refusal.expect("no campaign of this organisation may run");
        assert!(refusal.message.contains("a Gas Supplier may not upgrade"), "{}", refusal.message);
    }
}
