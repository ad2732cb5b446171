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
        device_id: crate::ids::Eui(1),
        device_type: "ESME".into(),
        device_status: None,
        manufacturer: "106C".into(),
        model: "433100AC".into(),
        smets_chts_version: None,
        firmware_version: None,
        firmware_version_status: None,
        cpl_status: None,
        date_commissioned: None,
        import_mpxn: Some(secret.into()),
        secondary_import_mpan: Some(secret.into()),
        export_mpan: Some(secret.into()),
        esme_variant: None,
        uprn: Some(secret.into()),
        property_filter: Some(PropertyFilter { post_code: secret.into(), address_identifier: secret.into() }),
        csp_region: None,
        gbcs_version: None,
        han_variant: None,
        s1sp: None,
        connectivity: None,
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
