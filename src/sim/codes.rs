//! The response codes that the simulated DCC gives, in one place, each with what it stands for and whether that was read in a
//! source. Of the codes marked as guesses only the names are known (the schema's `ResponseCode`): nobody should learn DCC's
//! meaning from here.

use crate::{
    duis::{Alert, Body, Throttled, UnknownElement},
    ids::DeviceId,
};

/// What the simulator answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    Done,
    Accepted,
    UserNotValid,
    RoleNotPermitted,
    UserSuspended,
    NotTheUsersDevice,
    DeviceStatus,
    CommandVariantWrong,
    WrongService,
    DeviceUnknown,
    NoCommunication,
    NoAnswer,
    RequestIdSeen,
    CounterNotRising,
    AgainstSchema,
    SchemaVersion,
    NotAuthentic,
    WarningSmets1,
    WarningSmets2,
}

impl Code {
    pub const ALL: [Code; 19] = [
        Code::Done,
        Code::Accepted,
        Code::UserNotValid,
        Code::RoleNotPermitted,
        Code::UserSuspended,
        Code::NotTheUsersDevice,
        Code::DeviceStatus,
        Code::CommandVariantWrong,
        Code::WrongService,
        Code::DeviceUnknown,
        Code::NoCommunication,
        Code::NoAnswer,
        Code::RequestIdSeen,
        Code::CounterNotRising,
        Code::AgainstSchema,
        Code::SchemaVersion,
        Code::NotAuthentic,
        Code::WarningSmets1,
        Code::WarningSmets2,
    ];

    pub fn text(self) -> &'static str {
        match self {
            Code::Done => "I0",
            Code::Accepted => "I99",
            Code::UserNotValid => "E1",
            Code::RoleNotPermitted => "E2",
            Code::UserSuspended => "E3",
            Code::NotTheUsersDevice => "E4",
            Code::DeviceStatus => "E5",
            Code::CommandVariantWrong => "E12",
            Code::WrongService => "E13",
            Code::DeviceUnknown => "E19",
            Code::NoCommunication => "E20",
            Code::NoAnswer => "E21",
            Code::RequestIdSeen => "E62",
            Code::CounterNotRising => "E63",
            Code::AgainstSchema => "E48",
            Code::SchemaVersion => "E64",
            Code::NotAuthentic => "E100",
            Code::WarningSmets1 => "W110101",
            Code::WarningSmets2 => "W110401",
        }
    }

    /// Whether the meaning was read in a source (`domain.md`, response codes); the rest are guesses.
    pub fn is_known(self) -> bool {
        match self {
            Code::RequestIdSeen | Code::CounterNotRising | Code::AgainstSchema | Code::SchemaVersion | Code::NotAuthentic => {
                false
            }
            Code::Done
            | Code::Accepted
            | Code::UserNotValid
            | Code::RoleNotPermitted
            | Code::UserSuspended
            | Code::NotTheUsersDevice
            | Code::DeviceStatus
            | Code::CommandVariantWrong
            | Code::WrongService
            | Code::DeviceUnknown
            | Code::NoCommunication
            | Code::NoAnswer
            | Code::WarningSmets1
            | Code::WarningSmets2 => true,
        }
    }

    /// When the simulator gives it.
    pub fn meaning(self) -> &'static str {
        match self {
            Code::Done => "done",
            Code::Accepted => "accepted; more follows where there is more to say",
            Code::UserNotValid => "no user of this certificate, or none that the scenario lists",
            Code::RoleNotPermitted => "the user's role may not make this request, or nobody may: the simulator does not serve it",
            Code::UserSuspended => "the user's status does not permit it",
            Code::NotTheUsersDevice => "a device of the request is not the user's on this day",
            Code::DeviceStatus => "the device's status does not allow it",
            Code::CommandVariantWrong => "the command variant is not that of the request",
            Code::WrongService => "the request belongs to another service address",
            Code::DeviceUnknown => "there is no such device, or the target of a Non-Device request is not DCC",
            Code::NoCommunication => "no communication with the device can be established (comes later)",
            Code::NoAnswer => "the device did not answer (comes later)",
            Code::RequestIdSeen => "the RequestID was seen before",
            Code::CounterNotRising => "the RequestID's counter is not above one accepted before",
            Code::AgainstSchema => "the request breaks the schema",
            Code::SchemaVersion => "the schemaVersion is not served, or too low for the request",
            Code::NotAuthentic => "the signature is false, or it is no DUIS request",
            Code::WarningSmets1 => "11.1: accepted, some devices were dropped (comes later)",
            Code::WarningSmets2 => "11.4: accepted, some devices were dropped (comes later)",
        }
    }

    pub fn is_refusal(self) -> bool {
        self.text().starts_with('E')
    }
}

/// What the simulator writes as the `AlertCode` of a device alert. A guess.
pub const DEVICE_ALERT_CODE: &str = "8F1D";
/// Code and text of an S1SP alert about a missing key. The code is not public; this one is a setting of the product
/// (`policies/response-codes.toml`).
pub const S1SP_KEY_MISSING: (&str, &str) = (S1SP_CODE_KEY_MISSING, "PPMID key not held");
pub const S1SP_CODE_KEY_MISSING: &str = "S1VE1";
/// A guess like the one above.
pub const S1SP_ACTIVATION_FAILED: (&str, &str) = (S1SP_CODE_ACTIVATION_FAILED, "activation failed");
pub const S1SP_CODE_ACTIVATION_FAILED: &str = "S1VE2";
/// Of S1SP alerts that are not about an upgrade: made up, so that nobody has an entry for it.
pub const S1SP_OTHER: (&str, &str) = ("S1ZZ9", "made up by the simulator");

/// The `DCCAlertCode` under which an alert is sent. The schema binds no code to an element; those of S1SP alerts and SMETS1
/// firmware notifications are as in the samples, AD1 is the schema's only code that is not a number, and the rest are guesses.
pub fn alert_code(element: &str) -> &'static str {
    match element {
        "S1SPAlertDSP" => "N55",
        "SMETS1CHFirmwareNotification" => "N57",
        "QuarantinedRequest" => "AD1",
        "DUISVersionMismatch" => "N999",
        "ChangeOfSupplier" => "N27",
        "DeviceStatusChangeEvent" => "N16",
        "PPMIDRemoval" => "N31",
        "PPMIDAlert" => "N39",
        "FirmwareDistributionFailure" => "N18",
        "CSPFirmwareDeliveryStatus" => "N59",
        "CommsHubAlert" => "N60",
        "FirmwareVersionMismatch" => "N49",
        _ => "N61",
    }
}

/// A DCC alert under its code.
pub fn alert_body(alert: Alert) -> Body {
    let alert_code = alert_code(alert.element()).to_string();
    Body::Alert { alert_code, throttled: Throttled::default(), alert, unknown: Vec::new() }
}

/// Whether the schema lists this `DCCAlertCode`.
pub fn is_alert_code(code: &str) -> bool {
    let number = code.strip_prefix('N').filter(|n| !n.starts_with('0')).and_then(|n| n.parse::<u32>().ok());
    code == "AD1" || number.is_some_and(|n| (1..=65).contains(&n) && n != 32 || n == 999)
}

/// An alert of the schema that is not about firmware images for PPMIDs.
pub fn unknown_alert(device: DeviceId, firmware_version: &str) -> Alert {
    let name = "CommsHubFirmwareActivation".to_string();
    let text = firmware_version.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let xml = format!(
        "<sr:{name} xmlns:sr=\"{}\"><sr:DeviceID>{device}</sr:DeviceID><sr:FirmwareVersion>{text}</sr:FirmwareVersion></sr:{name}>",
        super::schema::SR
    );
    Alert::Other(UnknownElement { name, xml })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_the_schemas_and_used_once() {
        let texts: std::collections::BTreeSet<&str> = Code::ALL.iter().map(|c| c.text()).collect();
        assert_eq!(texts.len(), Code::ALL.len());
        let Some(folder) = crate::duis::samples::shared("schema") else { return };
        let schema = std::fs::read_to_string(folder.join("duis.xsd")).unwrap();
        for text in texts {
            assert!(schema.contains(&format!("<xs:enumeration value=\"{text}\"/>")), "{text}");
        }
    }

    #[test]
    fn alert_codes_are_the_schemas() {
        let Some(folder) = crate::duis::samples::shared("schema") else { return };
        let schema = std::fs::read_to_string(folder.join("duis.xsd")).unwrap();
        let from = schema.find("<xs:element name=\"DCCAlertCode\">").unwrap();
        let list = &schema[from..from + schema[from..].find("</xs:simpleType>").unwrap()];
        for n in 0..1_100 {
            let code = format!("N{n}");
            assert_eq!(is_alert_code(&code), list.contains(&format!("\"{code}\"")), "{code}");
        }
        assert!(is_alert_code("AD1") && !is_alert_code("AD2") && !is_alert_code("N01") && !is_alert_code(""));
        assert!(super::super::world::KINDS.iter().all(|kind| is_alert_code(alert_code(kind))));
    }

    #[test]
    fn the_manual_lists_every_code_and_marks_the_guesses() {
        let manual = include_str!("../../docs/simulator.md");
        for code in Code::ALL {
            let known = if code.is_known() { "read" } else { "a guess" };
            let row = format!("| `{}` | {} | {known} |", code.text(), code.meaning());
            assert!(manual.contains(&row), "docs/simulator.md lacks the row\n{row}");
        }
    }
}
