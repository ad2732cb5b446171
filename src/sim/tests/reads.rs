//! 8.2 and 11.2: what the inventory says, what a device answers, and what comes where it does not.

use super::*;
use crate::duis::{InventoryDevice, Smets1Content, Smets1Response};

fn read_inventory(n: u64) -> Asks<'static> {
    Asks::ReadInventory { device: device(n) }
}

/// The PPMID of an inventory: `(status, version)`.
fn ppmid(content: &Content) -> (Option<&str>, Option<&str>) {
    let Content::Inventory(devices) = content else { panic!("{content:?}") };
    let one: Vec<&InventoryDevice> = devices.iter().filter(|d| d.device_type == "PPMID").collect();
    assert!(one.len() == 1 && devices.iter().any(|d| d.device_type == "CHF") && devices.iter().any(|d| d.device_type == "ESME"));
    (one[0].device_status.as_deref(), one[0].firmware_version.as_deref())
}

fn content(response: &Response) -> &Content {
    let Body::Message { content, .. } = &response.body else { panic!("{response:?}") };
    content
}

#[tokio::test]
async fn the_inventory_tells_the_truth_about_status_and_version_whatever_became_of_the_alerts() {
    let scenario = "[deliveries]\nlost = \"100%\"\n";
    let conditions = [Condition::Ready, Condition::Silent, Condition::Suspended, Condition::Decommissioned];
    let lab = Lab::new(scenario, (1..).map(device).zip(conditions).collect()).await;
    let mut before = Vec::new();
    for n in 1..=4 {
        let reply = lab.ask(n, DCC, read_inventory(n)).await;
        assert_eq!((reply.code.as_str(), reply.response_id), ("I0", None));
        let (status, version) = ppmid(content(&reply));
        before.push((status.unwrap().to_string(), version.unwrap().to_string()));
    }
    assert_eq!(
        before.iter().map(|(s, _)| s.as_str()).collect::<Vec<_>>(),
        ["Commissioned", "Commissioned", "Suspended", "Decommissioned"]
    );
    assert_eq!(lab.ask(5, DCC, Asks::UpdateFirmware(firmware(&devices(4)))).await.code, "I99");
    assert_eq!(ppmid(content(&lab.ask(6, DCC, read_inventory(2)).await)).1, Some(before[1].1.as_str()), "in progress");
    let deliveries = lab.deliveries().await;
    assert_eq!(deliveries.len(), 1, "the warning alone: {deliveries:?}");
    for (n, version) in [(1, VERSION), (2, &before[1].1), (3, &before[2].1)] {
        assert_eq!(ppmid(content(&lab.ask(6 + n, DCC, read_inventory(n)).await)).1, Some(version), "{n}");
    }
    // A second upgrade that fails leaves the version of the first.
    let other = Firmware { image: b"image", firmware_version: "00030000", devices: &devices(1) };
    assert_eq!(lab.ask(20, DCC, Asks::UpdateFirmware(other)).await.code, "I99");
    assert_eq!(ppmid(content(&lab.ask(21, DCC, read_inventory(1)).await)).1, Some(VERSION), "not activated yet");
    lab.simulator.until_idle().await;
    assert_eq!(ppmid(content(&lab.ask(22, DCC, read_inventory(1)).await)).1, Some("00030000"));
    assert_eq!(lab.simulator.stats().requests.accepted_by_kind, BTreeMap::from([("11.1".into(), 2), ("8.2".into(), 10)]));
}

#[tokio::test]
async fn an_inventory_may_come_later_and_leave_out_what_it_may() {
    let lab =
        Lab::new("[answers]\ninventory = \"later\"\n[inventory]\ndevice_status = \"0%\"\nfirmware_version = \"0%\"\n", vec![])
            .await;
    assert_eq!(lab.ask(1, DCC, read_inventory(1)).await.code, "I99");
    let [response] = &lab.deliveries().await[..] else { panic!("one message is wanted") };
    assert_eq!((response.code.as_str(), response.request_id.unwrap().counter, response.response_id), ("I0", 1, None));
    assert_eq!(ppmid(content(response)), (None, None));
}

#[tokio::test]
async fn a_site_may_be_asked_about_by_any_of_its_devices() {
    let folder = tempfile::tempdir().unwrap();
    let sites = "device_id,mpan,chf_device_id,gsme_device_id,firmware_version\n";
    std::fs::write(
        folder.path().join("sites.csv"),
        format!("{sites}{},2298132107763,{},{},OWN\n", device(1), device(71), device(72)),
    )
    .unwrap();
    std::fs::write(folder.path().join("registrations.csv"), "mpan,supplier_mpid,effective_from\n2298132107763,EELC,2020-01-01\n")
        .unwrap();
    let files = format!(
        "[population]\ndefault = \"unknown\"\ndevices_file = \"{0}/sites.csv\"\n[registrations]\nunlisted = \"nobody\"\nfile = \"{0}/registrations.csv\"\n",
        folder.path().display()
    );
    let lab = Lab::new(&files, vec![(device(2), Condition::Ready)]).await;
    let by_ppmid = lab.ask(1, DCC, read_inventory(1)).await;
    let Content::Inventory(devices) = content(&by_ppmid) else { panic!("{by_ppmid:?}") };
    assert_eq!(ppmid(content(&by_ppmid)).1, Some("OWN"));
    let ids: Vec<DeviceId> = devices.iter().map(|d| d.device_id).collect();
    assert!(ids.contains(&device(71)) && ids.contains(&device(72)) && ids.len() == 5, "{ids:?}");
    let mpans: Vec<&str> = devices.iter().filter(|d| d.device_type == "ESME").filter_map(|d| d.import_mpxn.as_deref()).collect();
    assert!(mpans.iter().all(|mpan| *mpan == "2298132107763"));
    for (n, other) in ids.iter().enumerate() {
        let reply = lab.ask(2 + n as u64, DCC, Asks::ReadInventory { device: *other }).await;
        assert_eq!(content(&reply), content(&by_ppmid), "{other}");
    }
    assert_eq!(lab.ask(20, DCC, read_inventory(2)).await.code, "E4", "of no registration: nobody's");
    assert_eq!(lab.ask(21, DCC, read_inventory(3)).await.code, "E19");
    let (_, said) = lab.own("GET", &format!("/sim/devices/{}", device(1)), "").await;
    assert_eq!(said, "{\"outcome\":null,\"device_status\":\"Commissioned\",\"firmware_version\":\"OWN\"}");
    assert_eq!(lab.own("GET", "/sim/devices/x", "").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_device_that_is_not_there_has_no_inventory() {
    let lab = Lab::new("[population]\ndefault = \"unknown\"\n", vec![(device(1), Condition::Ready)]).await;
    assert_eq!(lab.ask(1, DCC, read_inventory(1)).await.code, "I0");
    assert_eq!(lab.ask(2, DCC, read_inventory(2)).await.code, "E19");
    assert_eq!(lab.ask(3, device(2), Asks::ReadFirmwareVersion).await.code, "E19");
}

#[tokio::test]
async fn a_smets1_device_answers_with_the_version_it_runs() {
    let lab = Lab::new("", vec![]).await;
    assert_eq!(lab.ask(1, DCC, Asks::UpdateFirmware(firmware(&devices(1)))).await.code, "I99");
    lab.deliveries().await;
    assert_eq!(lab.ask(2, device(1), Asks::ReadFirmwareVersion).await.code, "I99");
    let [response] = &lab.deliveries().await[..] else { panic!("one answer is wanted") };
    assert!(response.code == "I0" && response.request_id.unwrap().target == device(1) && response.response_id.is_some());
    let Body::Smets1(Smets1Response { device: who, target, counter, content, .. }) = &response.body else {
        panic!("{response:?}")
    };
    assert_eq!((*who, *target, *counter), (device(1), SUPPLIER, 2));
    assert_eq!(*content, Smets1Content::FirmwareVersion { success: Some(true), firmware_version: Some(VERSION.into()) });
}

#[tokio::test]
async fn what_comes_where_a_device_does_not_answer() {
    let names = |n: u64| format!("{{ devices = [\"{}\"] }}", device(n));
    let reads = format!("unreachable = {}\nno_answer = {}\nsilent = {}\nfails = {}\n", names(1), names(2), names(3), names(4));
    let lab = Lab::new(&format!("[population]\nsmets2 = {}\n[reads]\n{reads}", names(5)), vec![]).await;
    for n in 1..=5 {
        assert_eq!(lab.ask(n, device(n), Asks::ReadFirmwareVersion).await.code, "I99", "{n}");
    }
    let said: BTreeMap<u64, Response> = lab.deliveries().await.into_iter().map(|r| (r.request_id.unwrap().counter, r)).collect();
    assert_eq!(said.keys().copied().collect::<Vec<_>>(), [1, 2, 4, 5]);
    assert_eq!((said[&1].code.as_str(), content(&said[&1])), ("E20", &Content::None));
    assert_eq!((said[&2].code.as_str(), content(&said[&2])), ("E21", &Content::None));
    let Body::Smets1(answer) = &said[&4].body else { panic!("{:?}", said[&4]) };
    assert_eq!(answer.content, Smets1Content::FirmwareVersion { success: Some(false), firmware_version: None });
    assert!(matches!(content(&said[&5]), Content::GbcsPayload(bytes) if !bytes.is_empty()), "{:?}", said[&5]);
}

#[tokio::test]
async fn a_suspended_device_is_read_only_in_a_later_version() {
    let conditions = [Condition::Suspended, Condition::NotCommissioned, Condition::Decommissioned];
    let lab = Lab::new("", (1..).map(device).zip(conditions).collect()).await;
    let ask =
        async |version: &str, counter: u64, n: u64| lab.ask_in(version, counter, device(n), Asks::ReadFirmwareVersion).await.code;
    assert_eq!(ask("3.1", 1, 1).await, "E5");
    assert_eq!(ask("5.0", 2, 1).await, "I99");
    assert_eq!(ask("5.4", 3, 2).await, "E5");
    assert_eq!(ask("5.4", 4, 3).await, "E5");
    assert_eq!(lab.deliveries().await.len(), 1);
}
