//! Alerts that were ordered, over HTTP and by the scenario's timetable, and what they change.

use super::*;
use crate::duis::{ChangeOfSupplier, DeviceStatusChange};
use crate::sim::orders::tests::{full, outcome};

#[tokio::test]
async fn every_kind_of_alert_can_be_ordered() {
    let lab = Lab::new("", vec![]).await;
    for kind in Ordered::ALL {
        lab.simulator.order(&full(*kind, outcome(*kind))).unwrap();
    }
    let deliveries = lab.deliveries().await;
    let kinds: std::collections::BTreeSet<&str> = deliveries.iter().map(Response::kind).collect();
    assert_eq!(deliveries.len(), Ordered::ALL.len());
    assert_eq!(kinds.len(), Ordered::ALL.len(), "{kinds:?}");
}

#[tokio::test]
async fn an_order_over_http_is_taken_or_told_what_is_wrong() {
    let lab = Lab::new("", vec![]).await;
    let order = async |kind: &str, body: &str| lab.own("POST", &format!("/sim/alerts/{kind}"), body).await;
    let body = "{\"code\": \"S1XX\", \"throttled_alert_count\": 12, \"copies\": 2}";
    assert_eq!(order("S1SPAlertDSP", body).await, (StatusCode::ACCEPTED, "ordered\n".into()));
    let deliveries = lab.deliveries().await;
    assert_eq!(deliveries.len(), 2);
    assert_eq!(deliveries[0], deliveries[1], "one ResponseID");
    assert_eq!(deliveries[0].stands_for(), 12);
    let Body::Alert { alert: Alert::S1spAlert { device: None, request_id: None, .. }, .. } = &deliveries[0].body else {
        panic!("{:?}", deliveries[0])
    };
    for (kind, body, said) in [
        ("ChangeOfSupplier", "", "ChangeOfSupplier needs device_id\n"),
        ("Nothing", "{}", "\"Nothing\" is not an alert such as ChangeOfSupplier; GET /sim/alerts lists them\n"),
        ("ChangeOfSupplier", "{\"devise\": 1}", "the order cannot be read: unknown field `devise`"),
    ] {
        let (status, text) = order(kind, body).await;
        assert!(status == StatusCode::BAD_REQUEST && text.starts_with(said), "{text}");
    }
    assert!(lab.own("GET", "/sim/alerts", "").await.1.contains("\"PPMIDRemoval\""));
    assert!(
        lab.own("GET", "/sim/codes", "")
            .await
            .1
            .contains("{\"code\":\"E62\",\"meaning\":\"the RequestID was seen before\",\"known\":false}")
    );
    assert_eq!(lab.own("GET", "/sim/nothing", "").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_timetable_sends_by_the_clock() {
    let alerts = format!(
        "[[alerts]]\nalert = \"PPMIDAlert\"\nafter_ms = 30\ndevice_id = \"{0}\"\n[[alerts]]\nalert = \"ChangeOfSupplier\"\nafter_ms = 10\ndevice_id = \"{0}\"\n",
        device(1)
    );
    let lab = Lab::new(&alerts, vec![]).await;
    let deliveries = lab.deliveries().await;
    let kinds: Vec<&str> = deliveries.iter().map(Response::kind).collect();
    assert_eq!(kinds, ["ChangeOfSupplier", "PPMIDAlert"]);
}

#[tokio::test]
async fn what_an_alert_says_of_a_devices_standing_is_so() {
    let lab = Lab::new("", vec![]).await;
    let order = |kind: Ordered, word: Option<&str>| {
        let order = Order { device_id: Some(device(1)), request_id: None, ..full(kind, word) };
        lab.simulator.order(&order).unwrap();
    };
    let mut counter = 0;
    let mut read = async |n: u64| {
        counter += 1;
        lab.ask_in("3.1", counter, device(n), Asks::ReadFirmwareVersion).await.code
    };
    assert_eq!(read(1).await, "I99");
    order(Ordered::StatusChange, Some("DeviceSuspended"));
    assert_eq!(read(1).await, "E5");
    order(Ordered::StatusChange, Some("DeviceRestored"));
    assert_eq!(read(1).await, "I99");
    order(Ordered::ChangeOfSupplier, None);
    assert_eq!((read(1).await, read(2).await), ("E4".to_string(), "I99".to_string()));
}

#[tokio::test]
async fn chance_adds_alerts_and_they_are_true() {
    let shares = [
        "change_of_supplier",
        "suspended",
        "removed",
        "version_mismatch",
        "nameless_s1sp",
        "throttled",
        "unknown",
        "device_alert",
    ];
    let scenario = format!("seed = 3\n[other_alerts]\n{}", shares.map(|s| format!("{s} = \"20%\"\n")).concat());
    let lab = Lab::new(&scenario, vec![]).await;
    assert_eq!(lab.ask(1, DCC, Asks::UpdateFirmware(firmware(&devices(200)))).await.code, "I99");
    let deliveries = lab.deliveries().await;
    let count = |what: fn(&Body) -> bool| deliveries.iter().filter(|r| what(&r.body)).count();
    for (n, what) in [
        (|b: &Body| matches!(b, Body::Alert { alert: Alert::ChangeOfSupplier(ChangeOfSupplier::Device { .. }), .. }))
            as fn(&Body) -> bool,
        |b| matches!(b, Body::Alert { alert: Alert::DeviceStatusChange { change: DeviceStatusChange::DeviceSuspended, .. }, .. }),
        |b| matches!(b, Body::Alert { alert: Alert::PpmidRemoval { .. }, .. }),
        |b| matches!(b, Body::Alert { alert: Alert::FirmwareVersionMismatch { .. }, .. }),
        |b| matches!(b, Body::Alert { alert: Alert::S1spAlert { device: None, request_id: None, .. }, .. }),
        |b| matches!(b, Body::Alert { alert: Alert::S1spAlert { .. }, throttled, .. } if throttled.count.is_some()),
        |b| matches!(b, Body::Alert { alert: Alert::Other(_), .. }),
        |b| matches!(b, Body::DeviceAlert { .. }),
    ]
    .into_iter()
    .enumerate()
    {
        assert!((20..60).contains(&count(what)), "{}: {}", shares[n], count(what));
    }
    let lost = deliveries.iter().find_map(|r| match &r.body {
        Body::Alert { alert: Alert::ChangeOfSupplier(ChangeOfSupplier::Device { device, .. }), .. } => Some(*device),
        _ => None,
    });
    assert_eq!(lab.ask(2, lost.unwrap(), Asks::ReadFirmwareVersion).await.code, "E4");
}
