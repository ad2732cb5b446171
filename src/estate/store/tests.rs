//! The estate's reads on both engines, on an estate that came in by files.

use std::sync::Arc;

use super::*;
use crate::{
    clock::{Clock, Day, Time},
    db::testing::{TestDb, databases},
    estate::{
        Cohort, KeyResult, KeyStatus, Registration, UpgradeFrom,
        import::{Input, Kind, Options, import},
    },
    ids::{DeviceId, Eui, Mpan, Mpid},
};

async fn load(test: &TestDb, kind: Kind, csv: String) {
    let folder = tempfile::tempdir().unwrap();
    let input = Input::from_reader("a.csv".into(), folder.path().join("r.csv"), Box::new(std::io::Cursor::new(csv)));
    let clock = Clock::manual("2030-01-01T00:00:00Z".parse().unwrap());
    let report = import(&test.db, &clock, kind, input, Options::default(), Arc::new(|_| {})).await.unwrap();
    assert_eq!(report.rejected, 0, "{kind}");
}

fn day(text: &str) -> Day {
    text.parse().unwrap()
}

fn time(text: &str) -> Time {
    text.parse().unwrap()
}

fn mpan(n: u64) -> Mpan {
    Mpan::from_first_twelve(200_000_000_000 + n)
}

/// A Device ID that is negative in the database, and one that is not.
fn device(n: u64) -> DeviceId {
    Eui(if n.is_multiple_of(2) { n } else { 0xF000_0000_0000_0000 + n })
}

const SITES: u64 = 40;

/// 40 sites; who supplies them, whose key failed and who is excluded depends on their number.
async fn estate(test: &TestDb) {
    let mut sites = String::from(
        "device_id,mpan,cohort,manufacturer,model,hardware_version,firmware_version,device_status,dmc,region,gsme_device_id,migrated_on,as_at\n",
    );
    let mut registrations = String::from("mpan,supplier_mpid,effective_from,effective_to\n");
    let mut keys = String::from("device_id,status,attempted_at,detail\n");
    let mut exclusions = String::from("device_id,mpan,reason,effective_from,effective_to\n");
    for n in 0..SITES {
        let (cohort, model) = (["IOC", "MDS", "SECURE", "FOC"][n as usize % 4], ["A/1", "B;2", "C 3"][n as usize % 3]);
        let region = if n % 5 == 0 { "" } else { "\"North, \"\"upper\"\"\"" };
        let extra = if n % 7 == 0 { format!("{},2020-01-31,2020-11-01", Eui(9)) } else { ",,".into() };
        sites += &format!("{},{},{cohort},M,{model},00ff,1,Commissioned,D,{region},{extra}\n", device(n), mpan(n));
        if n % 3 == 0 {
            registrations += &format!("{},EELC,2021-01-01,\n{},OTHR,2020-01-01,2021-01-01\n", mpan(n), mpan(n));
        } else if n % 3 == 1 {
            registrations += &format!("{},EELD,2020-06-01,\n{},EELC,2020-01-01,2020-06-01\n", mpan(n), mpan(n));
        }
        if n % 4 == 0 {
            let d = device(n);
            keys += &format!("{d},failed,2020-10-01T00:00:00Z,\"no, WAN\"\n{d},updated,2020-11-01T00:00:00Z,\n");
        }
        if n % 6 == 0 {
            exclusions += &format!("{},,visit,2020-11-01,2020-11-03\n", device(n));
        }
        if n % 9 == 0 {
            exclusions += &format!(",{},vulnerable,2020-01-01,\n,{},complaint,2020-01-01,\n", mpan(n), mpan(n));
        }
    }
    for (kind, csv) in
        [(Kind::Exclusions, exclusions), (Kind::Keys, keys), (Kind::Registrations, registrations), (Kind::Sites, sites)]
    {
        load(test, kind, csv).await;
    }
}

/// What the scan should say of a device, by the single reads.
async fn one(tx: &mut Tx, device: DeviceId, own: &[Mpid], day: Day, at: Time) -> SiteRow {
    let site = find_site(tx, device).await.unwrap().unwrap();
    let mut own_registrations = registrations_of(tx, site.mpan).await.unwrap();
    own_registrations.retain(|r| own.contains(&r.supplier_mpid));
    let latest = latest_key(tx, device, at).await.unwrap();
    let (key, key_at) = (latest.as_ref().map(|k| k.status), latest.as_ref().map(|k| k.attempted_at));
    let exclusion = exclusion_covering(tx, device, site.mpan, day).await.unwrap();
    SiteRow { site, own_registrations, key, key_at, exclusion, noticed: None }
}

#[tokio::test]
async fn the_scan_says_what_the_single_reads_say_whatever_the_page() {
    let own: Vec<Mpid> = vec!["EELC".parse().unwrap(), "EELD".parse().unwrap()];
    for test in databases().await {
        estate(&test).await;
        let mut tx = test.db.read().await.unwrap();
        assert_eq!(count_sites(&mut tx).await.unwrap(), SITES);
        let mut devices: Vec<DeviceId> = (0..SITES).map(device).collect();
        devices.sort_by_key(|d| d.to_db());
        for (own, day, at) in [
            (&own[..], day("2020-11-02"), time("2020-10-15T00:00:00Z")),
            (&own[..1], day("2020-11-03"), time("2020-12-01T00:00:00Z")),
            (&[][..], day("2019-01-01"), time("2019-01-01T00:00:00Z")),
        ] {
            let mut wanted = Vec::new();
            for device in &devices {
                wanted.push(one(&mut tx, *device, own, day, at).await);
            }
            for limit in [1, 7, 40, 1000] {
                let filter = SiteFilter::default();
                let all = scan_all(&mut tx, limit, Scan { filter: &filter, own_mpids: own, day, at, past: false }).await;
                assert_eq!(all, wanted, "{} by {limit}", test.engine);
            }
            assert_eq!(scan_devices(&mut tx, &devices, own, day, at).await.unwrap(), wanted);
        }
    }
}

async fn scan_all(tx: &mut Tx, limit: u32, scan: Scan<'_>) -> Vec<SiteRow> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = scan_sites(tx, after, limit, scan).await.unwrap();
        all.extend(page.sites);
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

#[tokio::test]
async fn filters_keep_what_they_name() {
    for test in databases().await {
        estate(&test).await;
        let mut tx = test.db.read().await.unwrap();
        let text = |s: &str| vec![s.to_string()];
        let listed: Vec<DeviceId> = [3, 8, 21, 3, 99].map(device).to_vec();
        let filters = [
            SiteFilter { cohorts: vec![Cohort::Ioc, Cohort::Foc], ..SiteFilter::default() },
            SiteFilter { models: text("B;2"), ..SiteFilter::default() },
            SiteFilter { regions: text("North, \"upper\""), models: text("A/1"), ..SiteFilter::default() },
            SiteFilter { devices: listed.clone(), ..SiteFilter::default() },
            SiteFilter { devices: listed, cohorts: vec![Cohort::Ioc], ..SiteFilter::default() },
            SiteFilter { regions: text("nowhere"), ..SiteFilter::default() },
        ];
        for (filter, wanted) in filters.into_iter().zip([20, 13, 11, 3, 1, 0]) {
            let again: SiteFilter = serde_json::from_str(&serde_json::to_string(&filter).unwrap()).unwrap();
            assert_eq!(again, filter);
            let keep = |row: &SiteRow| {
                (filter.cohorts.is_empty() || filter.cohorts.contains(&row.site.cohort))
                    && (filter.models.is_empty() || filter.models.contains(&row.site.model))
                    && (filter.regions.is_empty() || row.site.region.as_ref().is_some_and(|r| filter.regions.contains(r)))
                    && (filter.devices.is_empty() || filter.devices.contains(&row.site.device_id))
            };
            for limit in [1, 2, 1000] {
                let scan = Scan { filter: &filter, own_mpids: &[], day: Day(0), at: Time(0), past: false };
                let all = scan_all(&mut tx, limit, scan).await;
                assert_eq!(all.len(), wanted, "{filter:?} on {}", test.engine);
                assert!(all.iter().all(keep), "{filter:?}");
            }
        }
        assert!(serde_json::from_str::<SiteFilter>(r#"{"cohorts":["MOC"]}"#).is_err());
        assert!(serde_json::from_str::<SiteFilter>(r#"{"colour":[]}"#).is_err());
    }
}

#[tokio::test]
async fn single_reads_give_every_column_in_order() {
    for test in databases().await {
        estate(&test).await;
        let hash = "ab".repeat(32);
        load(&test, Kind::Cpl, format!(
            "cpl_entry_id,device_type,manufacturer,model,hardware_version,firmware_version,manufacturer_image_hash,status,upgrade_from\n\
             2,PPMID,M,X,0A00,9,{hash},Active,1;2\n1,PPMID,M,X,0A00,9,{hash},Withdrawn,N/A\n"
        ))
        .await;
        load(
            &test,
            Kind::Epcl,
            "dmc,cohort,effective_from,effective_to\nB,x,2020-01-01,\nA,x,2021-01-01,2021-02-01\nA,x,2020-01-01,\n".into(),
        )
        .await;
        let mut tx = test.db.begin().await.unwrap();
        let cpl = cpl_entries(&mut tx).await.unwrap();
        assert_eq!(cpl.iter().map(|e| e.cpl_entry_id.as_str()).collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!((&cpl[0].upgrade_from, cpl[1].hardware_version), (&UpgradeFrom::None, 0x0a00));
        assert_eq!(cpl[1].upgrade_from, UpgradeFrom::Versions(vec!["1".into(), "2".into()]));
        assert_eq!(cpl[1].manufacturer_image_hash.to_string(), hash);
        let lists: Vec<String> = epcl(&mut tx).await.unwrap().iter().map(|e| format!("{} {}", e.dmc, e.effective_from)).collect();
        assert_eq!(lists, ["A 2020-01-01", "A 2021-01-01", "B 2020-01-01"]);
        let rows = registrations_of(&mut tx, mpan(1)).await.unwrap();
        let row = |supplier: &str, from, to: Option<&str>| Registration {
            mpan: mpan(1),
            supplier_mpid: supplier.parse().unwrap(),
            effective_from: day(from),
            effective_to: to.map(day),
        };
        assert_eq!(rows, [row("EELC", "2020-01-01", Some("2020-06-01")), row("EELD", "2020-06-01", None)]);
        assert!(registrations_of(&mut tx, mpan(2)).await.unwrap().is_empty());
        assert!(find_site(&mut tx, Eui(77)).await.unwrap().is_none());
        let exclusion = exclusion_covering(&mut tx, device(18), mpan(18), day("2020-11-01")).await.unwrap();
        assert_eq!(exclusion.as_deref(), Some("visit"));
        let exclusion = exclusion_covering(&mut tx, device(18), mpan(18), day("2020-11-03")).await.unwrap();
        assert_eq!(exclusion.as_deref(), Some("complaint"));
    }
}

#[tokio::test]
async fn key_results_of_all_sources_make_one_history() {
    for test in databases().await {
        estate(&test).await;
        let mut tx = test.db.begin().await.unwrap();
        let result = |at: &str, status| KeyResult { device_id: device(4), attempted_at: time(at), status, detail: None };
        let failed = result("2020-12-01T00:00:00Z", KeyStatus::Failed);
        add_key_result(&mut tx, &failed, KeySource::Message).await.unwrap();
        add_key_result(&mut tx, &failed, KeySource::Message).await.unwrap();
        add_key_result(&mut tx, &result("2020-12-02T00:00:00Z", KeyStatus::Updated), KeySource::Resolved).await.unwrap();
        let history: Vec<String> = key_history(&mut tx, device(4))
            .await
            .unwrap()
            .iter()
            .map(|k| format!("{} {} {}", k.result.attempted_at, k.result.status, k.source))
            .collect();
        assert_eq!(
            history,
            [
                "2020-10-01T00:00:00Z failed import",
                "2020-11-01T00:00:00Z updated import",
                "2020-12-01T00:00:00Z failed message",
                "2020-12-02T00:00:00Z updated resolved"
            ]
        );
        let latest = latest_key(&mut tx, device(4), time("2020-12-01T00:00:00Z")).await.unwrap();
        assert_eq!(latest, Some(failed));
        assert_eq!(latest_key(&mut tx, device(4), time("2020-01-01T00:00:00Z")).await.unwrap(), None);
    }
}
