//! Upgrade pathways: explain, the plan's report and the status name the stored image that would go first.

use super::*;
use crate::{campaign::FirstImage, clock::Day, policy::Reason};

/// Another image of the same display, trusted, and its line for the CPL.
async fn also_stored(lab: &Lab, version: &str, from: &str) -> (ImageId, String) {
    let spec = ota::OtaSpec {
        manufacturer_code: 0x12A7,
        image_type: 0x0084,
        file_version: 1,
        text: "an older display's firmware",
        hardware: None,
    };
    let file = ota::build(&spec, version.as_bytes());
    let hash = ota::parse(&file).unwrap().manufacturer_image_sha256();
    let signer = key::generate().unwrap();
    let path = lab.app.settings.policies_dir.join("trust.toml");
    let clause = image::key_clause(&signer.verifying_key(), image::Role::Manufacturer);
    std::fs::write(&path, format!("{}\n{clause}", std::fs::read_to_string(&path).unwrap())).unwrap();
    let now = lab.app.now();
    let stated = release::Release {
        manufacturer: "106C".into(),
        models: vec!["433100AC".into()],
        firmware_version: version.into(),
        hardware_min: Some(0x0100),
        hardware_max: Some(0x01FF),
        upgrade_from: UpgradePaths::Versions(vec![from.into()]),
        released_at: now,
        expires_at: now.plus_millis(30 * 86_400_000),
    };
    let manifest = release::describe(&file, stated).unwrap();
    let envelope = release::sign(&manifest, &[signer]).to_json();
    let trust = Trust::load(&lab.app.settings.policies_dir).unwrap();
    let id = image::add_image(&lab.app.db, &lab.app.vault, &trust, file, envelope.as_bytes(), now, OPERATOR).await.unwrap();
    (id, format!("CPL-{version},PPMID,106C,433100AC,0101,{version},{hash},Active,{from}\n"))
}

/// Site 1 may go directly, 2 and 3 run 00010000, 4 runs 20100 (a slip of 00020100), 5 runs a version nothing leads on from.
async fn old_versions(lab: &Lab) -> ImageId {
    let mut text =
        "device_id,mpan,cohort,manufacturer,model,hardware_version,firmware_version,device_status,dmc,migrated_on\n".to_string();
    for (n, version) in (1..).zip(["00020100", "00010000", "00010000", "20100", "00000001"]) {
        text += &format!("{},{},IOC,106C,433100AC,0101,{version},Commissioned,DMC-1,2020-11-01\n", device(n), mpan(n));
    }
    lab.import(Kind::Sites, text).await;
    let (first, entry) = also_stored(lab, "00020100", "00010000").await;
    let list = std::fs::read_to_string(lab.folder.path().join("cpl.csv")).unwrap();
    lab.import(Kind::Cpl, list + &entry).await;
    first
}

#[tokio::test]
async fn the_plan_says_how_many_sites_would_need_which_image_first_and_explain_says_it_of_one() {
    for lab in labs(5).await {
        let first = old_versions(&lab).await;
        lab.planned("spring", 10).await;
        let status = lab.app.campaign_status("spring").await.unwrap();
        assert_eq!(status.by_reason[&Reason::UpgradePathNotAllowed], 4);
        assert_eq!(status.pathways, [FirstImage { image: first, firmware_version: "00020100".into(), sites: 2 }]);
        assert_eq!(status.versions_spelt_differently, 1, "20100 is not 00020100, and looks like it");

        let explained = async |n| lab.app.explain_site(device(n), Some("spring"), None, lab.app.now()).await.unwrap();
        let steps = |e: &crate::app::Explanation| e.pathway.iter().map(|s| s.image).collect::<Vec<_>>();
        assert_eq!(steps(&explained(2).await), [first]);
        assert_eq!(steps(&explained(1).await), [], "the direct step is allowed");
        assert_eq!(steps(&explained(5).await), [], "nothing leads there");
        let slip = explained(4).await;
        assert_eq!((slip.verdict.reason, slip.pathway.len()), (Reason::UpgradePathNotAllowed, 0), "never treated as equal");
        assert!(slip.findings.iter().any(|f| f.what.contains("differs only by case or leading zeros")), "{:?}", slip.findings);
    }
}

#[tokio::test]
async fn an_image_that_may_not_be_used_goes_before_nobody() {
    for lab in labs(5).await {
        let first = old_versions(&lab).await;
        let later = Day(lab.app.now().london_day().0 + 40).start();
        lab.planned("spring", 10).await;
        lab.app.plan_campaign("spring", Some(later), OPERATOR, &mut |_| {}).await.unwrap();
        assert_eq!(lab.app.campaign_status("spring").await.unwrap().pathways, [], "its manifest has expired by then");
        image::revoke_image(&lab.app.db, first, lab.app.now(), OPERATOR, "smoke").await.unwrap();
        lab.app.plan_campaign("spring", None, OPERATOR, &mut |_| {}).await.unwrap();
        let status = lab.app.campaign_status("spring").await.unwrap();
        assert_eq!((status.by_reason[&Reason::UpgradePathNotAllowed], status.pathways), (4, vec![]));
    }
}
