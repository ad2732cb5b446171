//! What an approval is bound to.

use super::*;

#[tokio::test]
async fn a_plan_made_anew_voids_the_approval() {
    for lab in labs(2).await {
        lab.planned("spring", 10).await;
        lab.app.approve_campaign("spring", APPROVER, OPERATOR).await.unwrap();
        lab.app.plan_campaign("spring", None, OPERATOR, &mut |_| {}).await.unwrap();
        let campaign = lab.app.campaign("spring").await.unwrap();
        assert_eq!((campaign.approved_by, campaign.approved_hash), (None, None));
        lab.app.start_campaign("spring", OPERATOR).await.unwrap_err();
        lab.start("spring").await;
    }
}

#[tokio::test]
async fn a_what_if_cannot_be_approved() {
    for lab in labs(2).await {
        lab.planned("spring", 10).await;
        let tomorrow = lab.app.now().plus_millis(86_400_000);
        lab.app.plan_campaign("spring", Some(tomorrow), OPERATOR, &mut |_| {}).await.unwrap();
        let refused = lab.app.approve_campaign("spring", APPROVER, OPERATOR).await.unwrap_err();
        assert!(refused.message.starts_with("WHAT_IF_PLAN"), "{refused:?}");
        lab.app.plan_campaign("spring", None, OPERATOR, &mut |_| {}).await.unwrap();
        lab.start("spring").await;
    }
}

#[tokio::test]
async fn the_creator_does_not_approve_under_another_spelling() {
    for lab in labs(1).await {
        lab.planned("spring", 10).await;
        for by in ["ann", "Ann", "ann@desk", "ANN@DESK", " ann", "ann ", "ann@elsewhere"] {
            let refused = lab.app.approve_campaign("spring", by, OPERATOR).await.expect_err(by);
            assert!(refused.message.starts_with("SECOND_PERSON_REQUIRED"), "{by}: {refused:?}");
        }
        lab.start("spring").await;
    }
}

#[tokio::test]
async fn an_edited_policy_voids_the_approval() {
    for lab in labs(1).await {
        lab.planned("spring", 10).await;
        lab.app.approve_campaign("spring", APPROVER, OPERATOR).await.unwrap();
        let shipped = crate::policy::PolicyName::Eligibility.shipped();
        let edited = shipped.replace("guard_days = 5", "guard_days = 0");
        assert_ne!(shipped, edited);
        std::fs::write(lab.app.settings.policies_dir.join("eligibility.toml"), edited).unwrap();
        let refused = lab.app.start_campaign("spring", OPERATOR).await.unwrap_err();
        assert!(refused.message.starts_with("APPROVAL_VOID"), "{refused:?}");
        lab.app.plan_campaign("spring", None, OPERATOR, &mut |_| {}).await.unwrap();
        lab.start("spring").await;
    }
}
