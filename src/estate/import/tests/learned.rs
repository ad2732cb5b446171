//! What DCC said and what a file says of the same site.

use super::*;
use crate::{
    estate::store::{find_site, learn_firmware, learn_status},
    ids::Eui,
};

fn row(version: &str, status: &str, region: &str, as_at: &str) -> String {
    format!("{SITES}00-00-00-00-00-00-00-01,2298132107763,IOC,M,X,0100,{version},{status},D,,,{region},,{as_at}\n")
}

#[tokio::test]
async fn a_version_learned_from_dcc_yields_only_to_a_later_row() {
    for desk in desks().await {
        let now = async |what: &str| {
            let mut tx = desk.test.db.read().await.unwrap();
            let site = find_site(&mut tx, Eui(1)).await.unwrap().unwrap();
            let found = format!("{} {} {}", site.firmware_version, site.device_status, site.region.unwrap_or_default());
            assert_eq!(found, what, "{}", desk.test.engine);
        };
        desk.import(Kind::Sites, row("1", "Pending", "a", "")).await.counts();
        let at: Time = "2020-12-01T12:00:00Z".parse().unwrap();
        let mut tx = desk.test.db.begin().await.unwrap();
        let early = Time(at.0 - 1);
        let news = [(Eui(1), "2".to_string(), at), (Eui(1), "old".to_string(), early), (Eui(7), "2".to_string(), at)];
        assert_eq!(learn_firmware(&mut tx, &news).await.unwrap(), 1);
        assert_eq!(learn_firmware(&mut tx, &news[1..2]).await.unwrap(), 0);
        assert_eq!(learn_firmware(&mut tx, &[]).await.unwrap(), 0);
        tx.commit().await.unwrap();
        now("2 Pending a").await;
        // A row without a time, or of the same moment, changes everything else.
        for (as_at, region) in [("", "b"), ("2020-12-01T12:00:00Z", "c")] {
            let said = desk.import(Kind::Sites, row("1", "Commissioned", region, as_at)).await;
            assert_eq!(said.counts(), [1, 0, 1, 0, 0, 0, 0]);
            now(&format!("2 Commissioned {region}")).await;
            assert_eq!(desk.import(Kind::Sites, row("1", "Commissioned", region, as_at)).await.counts(), [1, 0, 0, 1, 0, 0, 0]);
        }
        let mut tx = desk.test.db.begin().await.unwrap();
        assert_eq!(learn_status(&mut tx, &[(Eui(1), "Suspended".into(), at)]).await.unwrap(), 1);
        tx.commit().await.unwrap();
        // A later row is the newer truth, and no longer DCC's.
        let later = "2020-12-01T12:00:00.001Z";
        assert_eq!(desk.import(Kind::Sites, row("3", "Recovery", "c", later)).await.counts(), [1, 0, 1, 0, 0, 0, 0]);
        now("3 Recovery c").await;
        assert_eq!(desk.table("firmware_learned_at, status_learned_at", "sites").await, ["- -"]);
        assert_eq!(desk.import(Kind::Sites, row("3", "Recovery", "c", later)).await.counts(), [1, 0, 0, 1, 0, 0, 0]);
        // A message older than the row teaches nothing.
        let mut tx = desk.test.db.begin().await.unwrap();
        assert_eq!(learn_firmware(&mut tx, &[(Eui(1), "2".into(), at)]).await.unwrap(), 0);
    }
}
