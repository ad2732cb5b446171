//! The response codes that the simulated DCC gives, in one place, each with what it stands for and whether that was read in a
//! source. Of the codes marked as guesses only the names are known (the schema's `ResponseCode`): nobody should learn DCC's
//! meaning from here.

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
    fn the_manual_lists_every_code_and_marks_the_guesses() {
        let manual = include_str!("../../docs/simulator.md");
        for code in Code::ALL {
            let known = if code.is_known() { "read" } else { "a guess" };
            let row = format!("| `{}` | {} | {known} |", code.text(), code.meaning());
            assert!(manual.contains(&row), "docs/simulator.md lacks the row\n{row}");
        }
    }
}
