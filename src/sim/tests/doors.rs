//! Who gets in at the front door, and under which code the others are sent away.

use super::*;

const GAS: Eui = Eui(0x90B3_D51F_3002_0000);

/// A good request with one change, signed anew.
fn changed(lab: &Lab, counter: u64, from: &str, to: &str) -> Vec<u8> {
    let text = unsigned(&lab.request(counter, &devices(2)));
    assert!(text.contains(from), "{from} is not in {text}");
    sealed(&text.replacen(from, to, 1), &lab.supplier)
}

#[tokio::test]
async fn what_breaks_the_schema_is_refused_though_its_signature_is_good() {
    let lab = Lab::new("", vec![]).await;
    let same = changed(&lab, 1, "aW1hZ2U=", "aW1hZ2U=");
    assert_eq!(lab.post(same).await, "I99", "the signature made here is good");
    for (n, (from, to)) in [
        ("<sr:FirmwareVersion>00020200", "<sr:FirmwareVersion>000202001"),
        ("<sr:DeviceIDList>", "<sr:DeviceIDList> "),
        ("<sr:CommandVariant>8</sr:CommandVariant>", ""),
        ("<sr:Body>", "<sr:Body id=\"1\">"),
        ("aW1hZ2U=", "aW1hZ2V="),
        ("</sr:Header>", "</sr:Header><sr:Header></sr:Header>"),
        ("<sr:ServiceReference>11.1", "<sr:ServiceReference>11.9"),
        ("<sr:ServiceReference>11.1", "<sr:ServiceReference>11.4"),
        ("UpdateFirmware>", "UpdatePPMIDFirmware>"),
        ("schemaVersion=\"3.1\"", "schemaVersion=\"three\""),
    ]
    .into_iter()
    .enumerate()
    {
        let text = unsigned(&lab.request(2 + n as u64, &devices(2)));
        assert!(text.contains(from), "{from} is not in {text}");
        let both_tags = from == "UpdateFirmware>";
        let text = if both_tags { text.replace(from, to) } else { text.replacen(from, to, 1) };
        assert_eq!(lab.post(sealed(&text, &lab.supplier)).await, "E48", "{from} -> {to}");
    }
    assert_eq!(lab.simulator.stats().requests.refused, BTreeMap::from([("E48".into(), 10)]));
    assert_eq!(lab.simulator.stats().requests.accepted, 1);
}

#[tokio::test]
async fn versions_are_those_that_are_served_and_11_4_begins_with_5_0() {
    let lab = Lab::new("[population.smets2]\nshare = \"100%\"\n", vec![]).await;
    for (n, version) in ["4.0", "5.5", "2.1", "3", "10.0"].into_iter().enumerate() {
        let to = format!("schemaVersion=\"{version}\"");
        assert_eq!(lab.post(changed(&lab, 1 + n as u64, "schemaVersion=\"3.1\"", &to)).await, "E64", "{version}");
    }
    let text = unsigned(&lab.request(10, &devices(1)));
    let text = text.replace("UpdateFirmware>", "UpdatePPMIDFirmware>").replace(">11.1<", ">11.4<");
    assert_eq!(lab.post(sealed(&text, &lab.supplier)).await, "E64");
    let text = text.replace("schemaVersion=\"3.1\"", "schemaVersion=\"5.0\"");
    assert_eq!(lab.post(sealed(&text, &lab.supplier)).await, "I99");
}

#[tokio::test]
async fn a_request_goes_to_its_address_under_its_command_variant() {
    let lab = Lab::new("", vec![]).await;
    let build = |asks: Asks<'_>, counter, target| {
        let request = ServiceRequest {
            id: RequestId { originator: SUPPLIER, target, counter },
            duis_version: "5.4".parse().unwrap(),
            asks,
        };
        build_request(&request, &lab.supplier).unwrap().bytes
    };
    let read = build(Asks::ReadFirmwareVersion, 1, device(1));
    assert_eq!(lab.post_to("/api/v1/serviceD", read.clone()).await, "E13");
    assert_eq!(lab.post_to("/api/v1/serviceT", read).await, "E13");
    let inventory = build(Asks::ReadInventory { device: device(1) }, 2, DCC);
    assert_eq!(lab.post_to("/api/v1/serviceS", inventory).await, "E13");
    let elsewhere = build(Asks::ReadInventory { device: device(1) }, 3, device(1));
    assert_eq!(lab.post(elsewhere).await, "E19", "a Non-Device request is put to DCC");
    assert_eq!(lab.post(changed(&lab, 4, "<sr:CommandVariant>8", "<sr:CommandVariant>1")).await, "E12");
    // What is of the schema and not served here.
    let other = unsigned(&lab.request(5, &devices(1))).replace(">11.1<", ">12.1<");
    assert_eq!(lab.post(sealed(&other, &lab.supplier)).await, "E2");
    let by_number = unsigned(&build(Asks::ReadInventory { device: device(1) }, 6, DCC));
    let (from, to) = (by_number.find("<sr:DeviceID>").unwrap(), by_number.find("</sr:DeviceID>").unwrap() + 14);
    let by_number = format!("{}<sr:MPxN>2298132107763</sr:MPxN>{}", &by_number[..from], &by_number[to..]);
    assert_eq!(lab.post(sealed(&by_number, &lab.supplier)).await, "E2");
}

#[tokio::test]
async fn counters_rise_unless_the_scenario_says_otherwise() {
    for (rule, late) in [("rising", "E63"), ("unseen", "I99")] {
        let lab = Lab::new(&format!("[answers]\ncounters = \"{rule}\"\n"), vec![]).await;
        assert_eq!(lab.post(lab.request(10, &devices(1))).await, "I99");
        assert_eq!(lab.post(lab.request(9, &devices(2))).await, late);
        assert_eq!(lab.post(lab.request(10, &devices(2))).await, "E62");
        assert_eq!(lab.post(lab.request(11, &devices(2))).await, "I99");
    }
}

#[tokio::test]
async fn a_request_that_a_fault_kept_back_may_come_after_its_successors() {
    for seed in 0.. {
        let lab = Lab::new(&format!("seed = {seed}\n[faults]\ndropped = \"50%\"\n"), vec![]).await;
        let until_answered = async |bytes: Vec<u8>| loop {
            if let Some((_, reply)) = lab.post_raw("/api/v1/serviceD", bytes.clone()).await {
                return read_response(&reply, &lab.receiver.dcc, Clock::System.now()).unwrap().code;
            }
        };
        let first = lab.request(1, &[device(1)]);
        if lab.post_raw("/api/v1/serviceD", first.clone()).await.is_some() {
            continue;
        }
        assert_eq!(until_answered(lab.request(2, &[device(2)])).await, "I99");
        assert_eq!(until_answered(first).await, "I99", "seed {seed}");
        return;
    }
}

#[tokio::test]
async fn users_are_those_listed_in_the_role_that_they_have() {
    let users = format!(
        "[[users]]\nid = \"{SUPPLIER}\"\nrole = \"GS\"\n[[users]]\nid = \"{GAS}\"\nsuspended = true\n[roles]\nGS = [\"8.2\"]\nIS = [\"11.1\"]\n"
    );
    let lab = Lab::new(&users, vec![]).await;
    assert_eq!(lab.ask(1, DCC, Asks::UpdateFirmware(firmware(&devices(1)))).await.code, "E2", "L§6");
    assert_eq!(lab.ask(2, DCC, Asks::ReadInventory { device: device(1) }).await.code, "I0");
    assert_eq!(lab.ask(3, device(1), Asks::ReadFirmwareVersion).await.code, "E2");
    let nobody = Lab::new(&format!("[[users]]\nid = \"{GAS}\"\n"), vec![]).await;
    assert_eq!(nobody.ask(1, DCC, Asks::ReadInventory { device: device(1) }).await.code, "E1");
    let suspended = Lab::new(&format!("[[users]]\nid = \"{SUPPLIER}\"\nsuspended = true\n"), vec![]).await;
    assert_eq!(suspended.ask(1, DCC, Asks::ReadInventory { device: device(1) }).await.code, "E3");
}

#[tokio::test]
async fn a_device_that_is_anothers_today_refuses_the_request_or_is_listed() {
    let other = |n| {
        format!(
            "[[registrations.device]]\ndevice_id = \"{}\"\nsupplier_mpid = \"NEXT\"\neffective_from = \"2020-01-01\"\n",
            device(n)
        )
    };
    let own = format!(
        "[[registrations.device]]\ndevice_id = \"{}\"\nsupplier_mpid = \"EELC\"\neffective_from = \"2020-01-01\"\neffective_to = \"9999-01-01\"\n",
        device(1)
    );
    for (rule, code) in [("refuse", "E4"), ("list", "I99")] {
        let lab = Lab::new(&format!("[answers]\nlost_devices = \"{rule}\"\n{own}{}", other(2)), vec![]).await;
        assert_eq!(lab.ask(1, DCC, Asks::UpdateFirmware(firmware(&devices(1)))).await.code, "I99");
        assert_eq!(lab.ask(2, DCC, Asks::UpdateFirmware(firmware(&devices(3)))).await.code, code);
        assert_eq!(lab.ask(3, DCC, Asks::ReadInventory { device: device(2) }).await.code, "E4");
        assert_eq!(lab.ask(4, device(2), Asks::ReadFirmwareVersion).await.code, "E4");
        assert_eq!(lab.ask(5, device(3), Asks::ReadFirmwareVersion).await.code, "I99", "of no registration: ours");
        let listed = lab.deliveries().await.iter().any(
            |r| matches!(&r.body, Body::Message { content: Content::UpdateFirmwareWarning(w), .. } if w.invalid == [device(2)]),
        );
        assert_eq!(listed, rule == "list");
    }
}

#[tokio::test]
async fn a_warning_may_be_the_reply() {
    let lab = Lab::new("[answers]\nwarnings = \"at_once\"\n", vec![(device(1), Condition::Unknown)]).await;
    let reply = lab.ask(1, DCC, Asks::UpdateFirmware(firmware(&devices(2)))).await;
    assert_eq!((reply.code.as_str(), reply.kind()), ("W110101", "DSPUpdateFirmwareWarning"));
    assert_eq!(lab.deliveries().await.len(), 2, "the two alerts of the device that goes on");
    assert_eq!(lab.ask(2, DCC, Asks::UpdateFirmware(firmware(&[device(3)]))).await.code, "I99");
}
