//! DCC's anomaly detection, and messages that a user's DUIS version is too old for.

use super::*;
use crate::duis::{Breach, Withheld};

fn quarantined(deliveries: &[Response]) -> Vec<(u64, String, Breach)> {
    let one = |r: &Response| match &r.body {
        Body::Alert { alert_code, alert: Alert::QuarantinedRequest { request_id, quarantine_event_ref, breach }, .. } => {
            assert_eq!((alert_code.as_str(), r.request_id), ("AD1", Some(*request_id)));
            Some((request_id.counter, quarantine_event_ref.clone(), *breach))
        }
        _ => None,
    };
    let mut told: Vec<_> = deliveries.iter().filter_map(one).collect();
    told.sort_by_key(|(counter, ..)| *counter);
    told
}

#[tokio::test]
async fn what_is_too_much_reaches_no_device_until_somebody_says_so() {
    let scenario = "[[thresholds]]\nrequest = \"11.1\"\nat_most = 1\nperiod_ms = 3600000\n";
    let lab = Lab::new(scenario, vec![]).await;
    for counter in 1..=3 {
        assert_eq!(lab.ask(counter, DCC, Asks::UpdateFirmware(firmware(&[device(counter)]))).await.code, "I99");
    }
    let first = lab.deliveries().await;
    assert_eq!(quarantined(&first), [(2, "1".into(), Breach::UserThreshold), (3, "2".into(), Breach::UserThreshold)]);
    let stats = lab.simulator.stats();
    assert_eq!((stats.requests.quarantined, stats.quarantine_held, stats.devices_submitted), (2, 2, 1));
    assert_eq!(lab.post(lab.request(3, &devices(3))).await, "E62", "it was seen all the same");
    let (_, listed) = lab.own("GET", "/sim/quarantine", "").await;
    assert!(
        listed.contains("\"event\":1,\"breach\":\"ADUserThresholdBreach\",\"state\":\"held\",\"request\":\"11.1\""),
        "{listed}"
    );
    assert_eq!(lab.own("POST", "/sim/quarantine/1/process", "").await.0, StatusCode::OK);
    assert_eq!(lab.own("POST", "/sim/quarantine/2/delete", "").await.0, StatusCode::OK);
    for (path, status) in
        [("2/process", StatusCode::CONFLICT), ("9/delete", StatusCode::NOT_FOUND), ("x/delete", StatusCode::NOT_FOUND)]
    {
        assert_eq!(lab.own("POST", &format!("/sim/quarantine/{path}"), "").await.0, status, "{path}");
    }
    assert_eq!(lab.deliveries().await.len(), 2, "the two alerts of the request that was processed");
    assert_eq!((lab.simulator.outcome(device(2)), lab.simulator.outcome(device(3))), (Some(Outcome::Activated), None));
    assert_eq!(lab.simulator.stats().quarantine_held, 0);
}

#[tokio::test]
async fn an_inventory_that_was_held_back_comes_later() {
    let lab = Lab::new("[[thresholds]]\nrequest = \"8.2\"\nat_most = 0\nperiod_ms = 1000\nset_by = \"dcc\"\n", vec![]).await;
    assert_eq!(lab.ask(1, DCC, Asks::ReadInventory { device: device(1) }).await.code, "I99");
    assert_eq!(quarantined(&lab.deliveries().await), [(1, "1".into(), Breach::DccThreshold)]);
    lab.simulator.end_quarantine(1, true).unwrap();
    assert_eq!(lab.deliveries().await[0].kind(), "DSPInventory");
}

#[tokio::test]
async fn a_data_value_out_of_bounds_is_deleted_for_smets1() {
    let lab = Lab::new("[data_values]\ndevices_at_most = 2\n[population.smets2]\nshare = \"100%\"\n", vec![]).await;
    assert_eq!(lab.ask(1, DCC, Asks::UpdateFirmware(firmware(&devices(3)))).await.code, "I99");
    assert_eq!(lab.ask(2, DCC, Asks::UpdatePpmidFirmware(firmware(&devices(3)))).await.code, "I99");
    let told = quarantined(&lab.deliveries().await);
    assert_eq!(told, [(1, "1".into(), Breach::AttributeLimits), (2, "2".into(), Breach::AttributeLimits)]);
    assert!(lab.simulator.end_quarantine(1, true).is_err(), "it was deleted");
    lab.simulator.end_quarantine(2, true).unwrap();
    lab.simulator.until_idle().await;
    assert_eq!(lab.simulator.stats().devices_submitted, 3);
}

#[tokio::test]
async fn messages_that_a_user_is_too_old_for_are_withheld_and_named() {
    let scenario = format!(
        "[needs_version]\nReadFirmwareVersionRsp = \"5.0\"\nS1SPAlertDSP = \"3.2\"\nSMETS1CHFirmwareNotification = \"3.1\"\nDSPInventory = \"5.1\"\n\
         [[users]]\nid = \"{SUPPLIER}\"\nduis_version = \"3.1\"\n"
    );
    let conditions = vec![(device(1), Condition::Ready), (device(2), Condition::ActivationFails)];
    let lab = Lab::new(&scenario, conditions).await;
    let mismatches = |deliveries: &[Response]| -> Vec<(Option<u64>, Withheld, String)> {
        let one = |r: &Response| match &r.body {
            Body::Alert { alert: Alert::DuisVersionMismatch { withheld, our_version }, .. } => {
                assert!(r.response_id.is_some() && r.schema_version == "3.1");
                Some((r.request_id.map(|id| id.counter), withheld.clone(), our_version.clone()))
            }
            _ => None,
        };
        deliveries.iter().filter_map(one).collect()
    };
    assert_eq!(lab.ask_in("3.1", 1, DCC, Asks::UpdateFirmware(firmware(&devices(2)))).await.code, "I99");
    let deliveries = lab.deliveries().await;
    let id = |target, counter| RequestId { originator: SUPPLIER, target, counter };
    let alert = Withheld::Alert { alert_code: "N55".into(), device: Some(device(2)), request_id: Some(id(DCC, 1)) };
    assert_eq!(mismatches(&deliveries), [(Some(1), alert, "3.1".to_string())]);
    assert_eq!(deliveries.len(), 4, "the notifications are as they were");
    // An answer on the connection cannot be replaced by an alert: it comes as one that comes later would.
    assert_eq!(lab.ask_in("3.1", 2, DCC, Asks::ReadInventory { device: device(1) }).await.code, "I99");
    assert_eq!(lab.ask_in("3.1", 3, device(1), Asks::ReadFirmwareVersion).await.code, "I99");
    let mut answers = mismatches(&lab.deliveries().await);
    answers.sort_by_key(|(counter, ..)| *counter);
    let answer = |request_id: RequestId, reference: &str| Withheld::Response {
        request_id,
        service_reference: reference.into(),
        service_reference_variant: reference.into(),
        request_version: "3.1".into(),
    };
    let wanted = [(Some(2), answer(id(DCC, 2), "8.2"), "3.1".into()), (Some(3), answer(id(device(1), 3), "11.2"), "3.1".into())];
    assert_eq!(answers, wanted);
    assert_eq!(lab.simulator.stats().deliveries.withheld, 3);
}
