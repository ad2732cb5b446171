//! How long the update may stay silent, by device model.

use super::{reads::HEAD, *};
use crate::clock::Time;

const HOUR: i64 = 3_600_000;
const SHIPPED_HOURS: i64 = 72;

impl Lab {
    async fn hours_left(&self, campaign: i64, n: u64) -> i64 {
        let answer_by: Time = self.target(campaign, n).await.answer_by.expect("it is out");
        (answer_by.0 - self.app.now().0) / HOUR
    }
}

#[tokio::test]
async fn each_model_has_its_own_time_and_silence_counts_by_it() {
    for lab in labs(4).await {
        lab.sites(&[(1, "IOC"), (2, "IOC"), (3, "SECURE"), (4, "MDS")]).await;
        // Site 2 is of another hardware version.
        let site = format!(
            "device_id,mpan,cohort,manufacturer,model,hardware_version,firmware_version,device_status,dmc,migrated_on\n{},{},IOC,106C,433100AC,0102,00020100,Commissioned,DMC-1,2020-11-01\n",
            device(2),
            mpan(2)
        );
        lab.import(Kind::Sites, site).await;
        let lists = std::fs::read_to_string(lab.folder.path().join("cpl.csv")).unwrap();
        lab.import(
            Kind::Cpl,
            format!("{lists}{}", lists.lines().nth(1).unwrap().replace("CPL-1", "CPL-2").replace("0101", "0102")),
        )
        .await;
        let steps = "[default.SECURE]\nsteps = [\"update\"]\nanswer_within = \"5h\"\n\
            [default.IOC]\nsteps = [\"update\"]\nanswer_within = \"6h\"\n\
            [[model]]\nmanufacturer = \"106C\"\nmodel = \"433100AC\"\nhardware_version = \"0102\"\nsteps = [\"update\"]\nanswer_within = \"14d\"\n";
        std::fs::write(lab.folder.path().join("policies/steps.toml"), format!("{HEAD}{steps}")).unwrap();
        let campaign = lab.started("spring", 10).await;
        let id = lab.post(campaign).await;
        let all = async |lab: &Lab| {
            let mut hours = Vec::new();
            for n in 1..=4 {
                hours.push(lab.hours_left(campaign, n).await);
            }
            hours
        };
        assert_eq!(all(&lab).await, [6, 336, 5, SHIPPED_HOURS], "submitted");
        lab.app.clock.advance(HOUR);
        lab.reply(id, "I99").await;
        assert_eq!(all(&lab).await, [6, 336, 5, SHIPPED_HOURS], "accepted");
        lab.app.clock.advance(HOUR);
        for (n, site) in [(1, 2), (2, 3), (3, 4)] {
            lab.hears(&firmware(Some(id), n, site, FIRMWARE, Smets1FirmwareStatus::UpdateRequested)).await;
        }
        assert_eq!(all(&lab).await, [5, 336, 5, SHIPPED_HOURS], "delivered, but for the first");
        lab.app.clock.advance(5 * HOUR + 1);
        assert_eq!(lab.app.expire_silent().await.unwrap(), 2);
        for (n, state) in
            [(1, TargetState::Expired), (2, TargetState::Delivered), (3, TargetState::Expired), (4, TargetState::Delivered)]
        {
            assert_eq!(lab.state(campaign, n).await, state, "{n}");
        }
        lab.app.clock.advance(67 * HOUR);
        assert_eq!(lab.app.expire_silent().await.unwrap(), 1);
        lab.app.clock.advance(336 * HOUR);
        assert_eq!(lab.app.expire_silent().await.unwrap(), 1);
        lab.hears(&activated(Some(id), 9, 2)).await;
        assert_eq!(lab.state(campaign, 2).await, TargetState::Activated, "a late success wins");
    }
}
