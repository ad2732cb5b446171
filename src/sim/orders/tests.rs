//! An alert is made of what its order says, or the order is told what is missing.

use super::*;

const DEVICE: &str = "00-DB-12-00-00-00-00-01";
const REQUEST: &str = "90-B3-D5-1F-30-01-00-00:90-B3-D5-1F-30-00-00-02:1000";

/// Everything that any kind needs; the words of `outcome` differ.
pub fn full(kind: Ordered, outcome: Option<&str>) -> Order {
    let order = serde_json::json!({
        "device_id": DEVICE, "comms_hub_id": "00-DB-23-00-00-00-00-01", "devices": [DEVICE], "request_id": REQUEST,
        "firmware_version": "00020200", "inventory_version": "00010009", "code": "S1VE1", "information": "a <text>",
        "event_ref": 7, "duis_version": "3.1", "gbcs_payload": "AAEC", "outcome": outcome,
    });
    Order { alert: kind.as_str().to_string(), ..serde_json::from_value(order).unwrap() }
}

/// The first word that the schema has for the outcome of this kind, where it needs one.
pub fn outcome(kind: Ordered) -> Option<&'static str> {
    match kind {
        Ordered::Smets1Firmware => Some("UpdateRequested"),
        Ordered::Ppmid => Some("ActivationFailure"),
        Ordered::DeliveryStatus => Some("Failure"),
        Ordered::CommsHub => Some("HardwareVersionMismatch"),
        Ordered::StatusChange => Some("DeviceSuspended"),
        Ordered::Quarantined => Some("ADUserThresholdBreach"),
        Ordered::S1sp
        | Ordered::DistributionFailure
        | Ordered::VersionMismatch
        | Ordered::ChangeOfSupplier
        | Ordered::Removal
        | Ordered::DuisVersion
        | Ordered::DeviceAlert
        | Ordered::Smets1Response
        | Ordered::CommandFailure
        | Ordered::UpgradeRequested
        | Ordered::Unknown => None,
    }
}

#[test]
fn every_kind_can_be_ordered_and_is_what_it_is_called() {
    for kind in Ordered::ALL {
        let body = full(*kind, outcome(*kind)).body(Time(0), UserId::from_db(1)).unwrap();
        match &body {
            Body::Alert { alert, .. } => assert_eq!(alert.element(), kind.as_str()),
            Body::DeviceAlert { .. } => assert_eq!(*kind, Ordered::DeviceAlert),
            Body::Smets1(_) => assert_eq!(*kind, Ordered::Smets1Response),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let order = |json: &str, kind: &str| {
        let order: Order = serde_json::from_str(json).unwrap();
        Order { alert: kind.to_string(), ..order }.check().unwrap_err().to_string()
    };
    let said = [
        order("{}", "Nonsense"),
        order("{}", "ChangeOfSupplier"),
        order("{}", "FirmwareDistributionFailure"),
        order(&format!("{{\"device_id\": \"{DEVICE}\"}}"), "DeviceStatusChangeEvent"),
        order(&format!("{{\"device_id\": \"{DEVICE}\", \"outcome\": \"Lost\"}}"), "DeviceStatusChangeEvent"),
        order(&format!("{{\"device_id\": \"{DEVICE}\", \"firmware_version\": \"123456789\"}}"), "CommsHubFirmwareActivation"),
        order("{\"gbcs_payload\": \"?\"}", "DeviceAlertMessage"),
        order("{\"gbcs_payload\": \"\", \"alert_code\": \"8F1\"}", "DeviceAlertMessage"),
        order("{\"code\": \"\\u0000\"}", "S1SPAlertDSP"),
        order("{\"code\": \"S1VE1\", \"alert_code\": \"N32\"}", "S1SPAlertDSP"),
        order("{\"code\": \"S1VE1\", \"copies\": 0}", "S1SPAlertDSP"),
    ];
    insta::assert_snapshot!(said.join("\n"), @r#"
    "Nonsense" is not an alert such as ChangeOfSupplier; GET /sim/alerts lists them
    ChangeOfSupplier needs device_id
    FirmwareDistributionFailure needs request_id
    DeviceStatusChangeEvent needs outcome
    outcome is "Lost"; wanted: DeviceRemovedFromInventory, CHFDecommissioning, DeviceSuspended, DeviceRestored, RecoveryComplete
    firmware_version is "123456789"; wanted: 1 to 8 characters
    gbcs_payload is "?"; wanted: base64
    alert_code is "8F1"; wanted: pairs of hexadecimal digits
    code is "\0"; wanted: text without control characters
    alert_code is "N32"; wanted: one of the schema's: AD1, N1 to N65 without N32, N999
    copies is "0"; wanted: 1 to 1000
    "#);
    assert!(serde_json::from_str::<Order>("{\"device\": \"x\"}").is_err(), "an unknown key");
    assert!(serde_json::from_str::<Order>("{\"device_id\": \"x\"}").is_err(), "no Device ID");
}
