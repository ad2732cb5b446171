//! What is read of messages that this program would not write: elements nobody knows, fields in other places, lists of every size.

use super::{samples::*, *};

/// What is read of a Response with this body, which is signed as it stands.
fn read(body: &str) -> Result<Body, SignatureError> {
    let (signer, _) = signer("4711");
    let name = body[body.find(':').unwrap() + 1..].split(['>', ' ', '/']).next().unwrap();
    let scoped = body.replacen(&format!("<sr:{name}"), &format!("<sr:{name} xmlns:sr=\"{SR}\""), 1);
    let whole = Body::Other(UnknownElement { name: name.to_owned(), xml: scoped });
    let message = write_response(&Response { body: whole, ..acknowledgement("I0") }, &signer).unwrap();
    read_response(&message.bytes, &pinned(&signer), sample_time()).map(|r| r.body)
}

fn read_alert(alert: &str) -> (Alert, Vec<UnknownElement>) {
    let body = format!(
        "<sr:DCCAlertMessage><sr:DCCAlertCode>N99</sr:DCCAlertCode><sr:DCCAlert>{alert}</sr:DCCAlert></sr:DCCAlertMessage>"
    );
    match read(&body).unwrap() {
        Body::Alert { alert, unknown, .. } => (alert, unknown),
        other => panic!("an alert, not {other:?}"),
    }
}

fn names(unknown: &[UnknownElement]) -> Vec<&str> {
    unknown.iter().map(|u| u.name.as_str()).collect()
}

#[test]
fn an_unknown_alert_and_an_unknown_body_are_kept_whole() {
    let (alert, unknown) = read_alert("<sr:NewAlert><sr:DeviceID>x</sr:DeviceID></sr:NewAlert>");
    let xml = format!("<sr:NewAlert xmlns:sr=\"{SR}\"><sr:DeviceID>x</sr:DeviceID></sr:NewAlert>");
    assert_eq!((alert, unknown), (Alert::Other(UnknownElement { name: "NewAlert".into(), xml }), vec![]));
    let body = read("<sr:NewMessage><sr:A>1</sr:A></sr:NewMessage>").unwrap();
    assert!(matches!(body, Body::Other(unknown) if unknown.name == "NewMessage" && unknown.xml.contains("<sr:A>1</sr:A>")));
}

#[test]
fn unknown_elements_of_known_alerts_are_kept_wherever_they_are() {
    let device = "<sr:DeviceID> 00-db-12-34-56-78-90-a0 </sr:DeviceID>";
    let (alert, unknown) = read_alert(&format!(
        "<sr:PPMIDAlert><sr:New>1</sr:New>{device}<sr:DeviceAlertCode>8F72</sr:DeviceAlertCode><sr:PPMIDFirmwareUpgradeAlert>\
         <sr:FirmwareVersion>1</sr:FirmwareVersion><x xmlns=\"urn:x\"></x>\
         <sr:ActivateImageResultCode>ActivationFailure</sr:ActivateImageResultCode></sr:PPMIDFirmwareUpgradeAlert>\
         </sr:PPMIDAlert>"
    ));
    assert!(matches!(alert, Alert::PpmidFirmwareUpgrade { success: false, device: crate::ids::Eui(0x00DB1234567890A0), .. }));
    assert_eq!(names(&unknown), ["x", "New"]);
    assert_eq!((unknown[0].xml.as_str(), unknown[1].xml.ends_with(">1</sr:New>")), ("<x xmlns=\"urn:x\"></x>", true));

    let change = |change: &str| {
        read_alert(&format!(
            "<sr:DeviceStatusChangeEvent>{device}<sr:DeviceStatusChange>{change}</sr:DeviceStatusChange>\
             </sr:DeviceStatusChangeEvent>"
        ))
    };
    let (alert, unknown) = change("<sr:DeviceSuspended><sr:Why>lost</sr:Why></sr:DeviceSuspended>");
    assert!(matches!(alert, Alert::DeviceStatusChange { change: DeviceStatusChange::DeviceSuspended, .. }));
    assert_eq!(names(&unknown), ["Why"]);
    let (alert, unknown) = change("<sr:DeviceStolen><sr:Why>lost</sr:Why></sr:DeviceStolen>");
    let Alert::DeviceStatusChange { change: DeviceStatusChange::Other(whole), .. } = alert else { panic!("{alert:?}") };
    assert!(whole.name == "DeviceStolen" && whole.xml.contains(">lost<") && unknown.is_empty());
}

#[test]
fn fields_of_the_schema_that_have_no_place_here_are_kept_too() {
    let (alert, unknown) = read_alert(
        "<sr:CommandFailure><sr:CommandRequestID>90-B3-D5-1F-30-01-00-00:00-DB-12-34-56-78-90-A4:7</sr:CommandRequestID>\
         <sr:DSPScheduleID>12</sr:DSPScheduleID><sr:DeviceID>00-DB-12-34-56-78-90-A4</sr:DeviceID></sr:CommandFailure>",
    );
    assert!(matches!(alert, Alert::CommandFailure { request_id, .. } if request_id.counter == 7));
    assert_eq!(names(&unknown), ["DSPScheduleID"]);
}

#[test]
fn an_alert_that_lacks_what_its_kind_must_say_is_not_understood() {
    for alert in [
        "<sr:PPMIDRemoval><sr:CHFDeviceID>00-DB-12-34-56-78-90-A1</sr:CHFDeviceID></sr:PPMIDRemoval>",
        "<sr:QuarantinedRequest><sr:ADNewBreach></sr:ADNewBreach></sr:QuarantinedRequest>",
        "<sr:DUISVersionMismatch><sr:ServiceUserDUISVersion>3.1</sr:ServiceUserDUISVersion></sr:DUISVersionMismatch>",
        "<sr:FirmwareDistributionFailure><sr:MeterIDs></sr:MeterIDs></sr:FirmwareDistributionFailure>",
    ] {
        let body = format!(
            "<sr:DCCAlertMessage><sr:DCCAlertCode>N1</sr:DCCAlertCode><sr:DCCAlert>{alert}</sr:DCCAlert></sr:DCCAlertMessage>"
        );
        assert!(matches!(read(&body), Err(SignatureError::Content(_))), "{alert}");
    }
}

#[test]
fn throttled_counts_are_read_of_every_kind_of_alert() {
    let counts =
        "<sr:ThrottledAlertSequenceId>4</sr:ThrottledAlertSequenceId><sr:ThrottledAlertCount>17</sr:ThrottledAlertCount>";
    let removal = "<sr:DCCAlert><sr:PPMIDRemoval><sr:PPMIDDeviceID>00-DB-12-34-56-78-90-A0</sr:PPMIDDeviceID>\
                   <sr:CHFDeviceID>00-DB-12-34-56-78-90-A1</sr:CHFDeviceID></sr:PPMIDRemoval></sr:DCCAlert>";
    let smets1 = format!(
        "<sr:SMETS1SignedResponse schemaVersion=\"3.1\"><sr:SMETS1Response><sr:Header>\
         <ra:BusinessOriginatorID xmlns:ra=\"{RA}\">00-DB-12-34-56-78-90-A0</ra:BusinessOriginatorID>\
         <ra:BusinessTargetID xmlns:ra=\"{RA}\">90-B3-D5-1F-30-01-00-00</ra:BusinessTargetID>\
         <ra:OriginatorCounter xmlns:ra=\"{RA}\">9</ra:OriginatorCounter></sr:Header>\
         <sr:Body><sr:ResponseMessage></sr:ResponseMessage></sr:Body></sr:SMETS1Response></sr:SMETS1SignedResponse>"
    );
    for (message, rest) in [
        ("DCCAlertMessage", format!("<sr:DCCAlertCode>N1</sr:DCCAlertCode>{counts}{removal}")),
        ("DeviceAlertMessage", format!("<sr:AlertCode>8F72</sr:AlertCode>{counts}<sr:GBCSPayload>AA==</sr:GBCSPayload>")),
        ("SMETS1ResponseMessage", format!("{counts}{smets1}")),
    ] {
        let stands_for = |rest: &str| {
            let body = read(&format!("<sr:{message}>{rest}</sr:{message}>")).unwrap();
            Response { body, ..acknowledgement("I0") }.stands_for()
        };
        assert_eq!((stands_for(&rest), stands_for(&rest.replace(counts, ""))), (17, 1), "{message}");
        assert_eq!(stands_for(&rest.replace(">17<", ">0<")), 1, "an alert that came is one at least");
    }
    assert_eq!(acknowledgement("I0").stands_for(), 1);
}

#[test]
fn nothing_personal_is_shown_by_debug() {
    let secret = "2298132107763";
    let mpxns = || MeterMpxns {
        import_mpxn: secret.into(),
        secondary_import_mpan: Some(secret.into()),
        export_mpan: Some(secret.into()),
    };
    let device = InventoryDevice {
        import_mpxn: Some(secret.into()),
        secondary_import_mpan: Some(secret.into()),
        export_mpan: Some(secret.into()),
        uprn: Some(secret.into()),
        property_filter: Some(PropertyFilter { post_code: secret.into(), address_identifier: secret.into() }),
        ..random::inventory_device_of(crate::ids::Eui(1))
    };
    let change = DeviceStatusChange::MeterDecommissioningOrWithdrawal { mpxns: mpxns(), associated: vec![] };
    let of_device = ChangeOfSupplier::Device { device: crate::ids::Eui(1), device_type: "ESME".into(), mpxns: mpxns() };
    let shown = format!(
        "{:?} {:?} {:?} {:?}",
        Content::Inventory(vec![device.clone()]),
        device.property_filter,
        Alert::DeviceStatusChange { device: crate::ids::Eui(1), change },
        (Alert::ChangeOfSupplier(of_device), random::unknown("PowerOutageEvent", &format!("<sr:MPxN>{secret}</sr:MPxN>"))),
    );
    assert!(!shown.contains(secret) && shown.contains("PowerOutageEvent"), "{shown}");
}

/// The lists have no maximum length in the schema: 50,000 devices is what a request can name, and a message is what we take.
#[test]
fn warnings_of_every_size_are_read_of_both_kinds() {
    let (signer, _) = signer("4711");
    let most = (MAX_MESSAGE_BYTES - 4_096) / 24;
    for (reference, code) in [("11.1", "W110101"), ("11.4", "W110401")] {
        for count in [1, MAX_DEVICES_PER_REQUEST, most] {
            let devices: Vec<_> = (0..count as u64).map(crate::ids::Eui).collect();
            let all = UpdateFirmwareWarning { other_request_in_progress: devices.clone(), ..Default::default() };
            let fifth = |n: usize| devices.iter().copied().skip(n).step_by(5).collect();
            let spread = UpdateFirmwareWarning {
                invalid: fifth(0),
                not_commissioned: fifth(1),
                not_applicable_firmware: fifth(2),
                other_request_in_progress: fifth(3),
                invalid_gbcs_version: fifth(4),
            };
            for warning in [all, spread] {
                let body = Body::Message {
                    service_reference: reference.into(),
                    service_reference_variant: reference.into(),
                    content: Content::UpdateFirmwareWarning(warning),
                };
                let response = Response { body, code: code.into(), ..acknowledgement("I0") };
                let message = write_response(&response, &signer).unwrap().bytes;
                assert!(message.len() <= MAX_MESSAGE_BYTES && message.capacity() - message.len() < 8_192);
                assert!(read_response(&message, &pinned(&signer), sample_time()).unwrap() == response, "{code} {count}");
            }
        }
    }
}

#[test]
fn an_inventory_of_more_devices_than_the_schema_has_is_not_understood() {
    let device = "<sr:Device><sr:DeviceID>00-DB-12-34-56-78-90-A0</sr:DeviceID><sr:DeviceType>PPMID</sr:DeviceType>\
                  <sr:DeviceManufacturer>106C</sr:DeviceManufacturer><sr:DeviceModel>1</sr:DeviceModel></sr:Device>";
    let of = |count: usize| {
        read(&format!(
            "<sr:ResponseMessage><sr:ServiceReference>8.2</sr:ServiceReference>\
             <sr:ServiceReferenceVariant>8.2</sr:ServiceReferenceVariant><sr:DSPInventory>{}</sr:DSPInventory></sr:ResponseMessage>",
            device.repeat(count)
        ))
    };
    assert!(matches!(of(17), Ok(Body::Message { content: Content::Inventory(devices), .. }) if devices.len() == 17));
    assert!(matches!(of(18), Err(SignatureError::Content(_))));
    let devices = vec![random::inventory_device_of(crate::ids::Eui(1)); 18];
    let body = Body::Message {
        service_reference: "8.2".into(),
        service_reference_variant: "8.2".into(),
        content: Content::Inventory(devices),
    };
    let (signer, _) = signer("4711");
    assert!(matches!(write_response(&Response { body, ..acknowledgement("I0") }, &signer), Err(BuildError::Unwritable(_))));
}

#[test]
fn a_request_that_this_program_would_not_make_is_read_for_what_it_is() {
    let (signer, _) = signer("4711");
    let body = |kind, from: &str, to: &str| {
        let request = random::OwnedRequest { kind, ..random::OwnedRequest::update_firmware() };
        let text = String::from_utf8(build_request(&request.as_request(), &signer).unwrap().bytes).unwrap();
        let bare = format!("{}</sr:Request>", &text[..text.find("<ds:Signature ").unwrap()]).replacen(from, to, 1);
        let end = bare.rfind("</").unwrap();
        let mut sealed = bare[..end].to_owned();
        seal::push_signature(&mut sealed, verify::sha256(bare.as_bytes()), &signer).unwrap();
        sealed.push_str("</sr:Request>");
        read_request(sealed.as_bytes(), &pinned(&signer), sample_time()).map(|r| r.body)
    };
    let inventory = |to| body(RequestKind::ReadInventory, "<sr:DeviceID>00-00-00-00-00-00-00-01</sr:DeviceID>", to);
    let other = |name: &str| Ok(RequestBody::Other(name.into()));
    assert_eq!(inventory("<sr:UPRN>1</sr:UPRN>"), other("ReadInventory"));
    assert_eq!(
        inventory("<sr:DeviceID> 00-00-00-00-00-00-00-0a\n</sr:DeviceID>"),
        Ok(RequestBody::ReadInventory { device: crate::ids::Eui(10) })
    );
    let later = "<sr:ReadFirmwareVersion><sr:ExecutionDateTime>2026-11-24T12:00:00Z</sr:ExecutionDateTime>";
    assert_eq!(body(RequestKind::ReadFirmwareVersion, "<sr:ReadFirmwareVersion>", later), other("ReadFirmwareVersion"));
    let wrong = |from: &str, to: &str| matches!(body(RequestKind::UpdateFirmware, from, to), Err(SignatureError::Content(_)));
    assert!(wrong("<sr:FirmwareImage>", "<sr:FirmwareImage>*"));
    assert!(wrong("<sr:DeviceIDList>", "<sr:DeviceIDList>,"));
    assert!(wrong("<sr:FirmwareVersion>00000001</sr:FirmwareVersion>", ""));
}
