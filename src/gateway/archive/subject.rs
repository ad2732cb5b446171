//! What a kept message is found by: the request and the device it is about. Pure. Not its meaning. Promise: a device that a message names is found with it, alone in its column or, where there are several, by [`names`].

use crate::{
    duis::{Alert, Body, ChangeOfSupplier, Content, DeviceStatusChange, Response, Smets1Response, Withheld},
    ids::DeviceId,
};

/// The kinds of message that may name several devices, and then have none in their column: they are few, and are opened.
pub const LISTS: [&str; 6] = [
    "DSPUpdateFirmwareWarning",
    "DSPUpdatePPMIDFirmwareWarning",
    "DSPInventory",
    "FirmwareDistributionFailure",
    "FirmwareUpgradeRequested",
    "DeviceStatusChangeEvent",
];

/// The device a message is about, where it is one.
pub fn device(response: &Response) -> Option<DeviceId> {
    let mut all = devices(response);
    let first = all.next();
    first.filter(|_| all.next().is_none())
}

/// Whether a message names the device, in a list or alone.
pub fn names(response: &Response, device: DeviceId) -> bool {
    devices(response).any(|d| d == device)
}

fn devices(response: &Response) -> Box<dyn Iterator<Item = DeviceId> + '_> {
    match &response.body {
        Body::Alert { alert, .. } => in_alert(alert),
        // It is sent by the device itself, whose id its ResponseID begins with.
        Body::DeviceAlert { .. } => Box::new(response.response_id.map(|id| id.originator).into_iter()),
        Body::Smets1(Smets1Response { device, .. }) => Box::new(std::iter::once(*device)),
        Body::Message { content, .. } => match content {
            Content::UpdateFirmwareWarning(warning) => {
                Box::new(warning.lists().into_iter().flat_map(|(_, devices)| devices.iter().copied()))
            }
            Content::Inventory(found) => Box::new(found.iter().map(|d| d.device_id)),
            // The answer of the device that was asked.
            Content::GbcsPayload(_) => Box::new(response.request_id.map(|id| id.target).into_iter()),
            Content::None | Content::Other(_) => Box::new(std::iter::empty()),
        },
        Body::Other(_) => Box::new(std::iter::empty()),
    }
}

fn in_alert(alert: &Alert) -> Box<dyn Iterator<Item = DeviceId> + '_> {
    match alert {
        Alert::Smets1FirmwareNotification { device, .. }
        | Alert::PpmidFirmwareUpgrade { device, .. }
        | Alert::Ppmid { device, .. }
        | Alert::CspFirmwareDeliveryStatus { device, .. }
        | Alert::FirmwareTransfer { device, .. }
        | Alert::FirmwareVersionMismatch { device, .. }
        | Alert::ChangeOfSupplier(ChangeOfSupplier::Device { device, .. })
        | Alert::PpmidRemoval { device, .. }
        | Alert::CommandFailure { device, .. }
        | Alert::CommsHub { comms_hub: device, .. } => Box::new(std::iter::once(*device)),
        Alert::DeviceStatusChange { device, change } => match change {
            DeviceStatusChange::MeterDecommissioningOrWithdrawal { associated, .. } => {
                Box::new(std::iter::once(*device).chain(associated.iter().map(|(device, _)| *device)))
            }
            DeviceStatusChange::MeterIdentity { .. }
            | DeviceStatusChange::DeviceRemovedFromInventory
            | DeviceStatusChange::ChfDecommissioning
            | DeviceStatusChange::DeviceSuspended
            | DeviceStatusChange::DeviceRestored
            | DeviceStatusChange::RecoveryCompleteAcbCredentials { .. }
            | DeviceStatusChange::RecoveryComplete
            | DeviceStatusChange::Other(_) => Box::new(std::iter::once(*device)),
        },
        Alert::S1spAlert { device, .. } | Alert::DuisVersionMismatch { withheld: Withheld::Alert { device, .. }, .. } => {
            Box::new(device.iter().copied())
        }
        Alert::FirmwareDistributionFailure { devices, .. } | Alert::FirmwareUpgradeRequested { devices, .. } => {
            Box::new(devices.iter().copied())
        }
        Alert::QuarantinedRequest { .. }
        | Alert::ChangeOfSupplier(ChangeOfSupplier::Request { .. })
        | Alert::DuisVersionMismatch { withheld: Withheld::Response { .. }, .. }
        | Alert::Other(_) => Box::new(std::iter::empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        duis::{Throttled, UpdateFirmwareWarning},
        gateway::testing::{acknowledgement, alert, id},
        ids::Eui,
    };

    fn with(body: Body) -> Response {
        Response { body, ..acknowledgement(7, "I0") }
    }

    fn warning(lists: UpdateFirmwareWarning) -> Response {
        with(Body::Message {
            service_reference: "11.1".into(),
            service_reference_variant: "11.1".into(),
            content: Content::UpdateFirmwareWarning(lists),
        })
    }

    #[test]
    fn one_device_has_a_column_and_several_are_looked_for() {
        let single = alert(5);
        assert_eq!((device(&single), single.about()), (Some(Eui(5)), None));
        let several =
            warning(UpdateFirmwareWarning { invalid: vec![Eui(1)], invalid_gbcs_version: vec![Eui(2)], ..Default::default() });
        assert_eq!((device(&several), several.about()), (None, Some(id(7))));
        assert!(names(&several, Eui(2)) && !names(&several, Eui(3)));
        assert!(LISTS.contains(&several.kind()));
        let one = warning(UpdateFirmwareWarning { invalid: vec![Eui(1)], ..Default::default() });
        assert_eq!(device(&one), Some(Eui(1)));
    }

    #[test]
    fn a_devices_own_alert_names_it_in_its_response_id() {
        let body = Body::DeviceAlert { alert_code: "8F0C".into(), throttled: Throttled::default(), gbcs_payload: Vec::new() };
        let response = Response { response_id: Some(id(3)), ..with(body) };
        assert_eq!(device(&response), Some(id(3).originator));
    }

    #[test]
    fn every_kind_that_can_name_several_devices_is_among_those_that_are_opened() {
        let several = [
            Alert::FirmwareDistributionFailure { request_id: id(1), devices: vec![Eui(1), Eui(2)] },
            Alert::FirmwareUpgradeRequested {
                device_type: "PPMID".into(),
                firmware_version: "9001".into(),
                devices: vec![Eui(1), Eui(2)],
            },
        ];
        for alert in several {
            assert!(LISTS.contains(&alert.element()), "{}", alert.element());
            let body = Body::Alert { alert_code: "N1".into(), throttled: Throttled::default(), alert, unknown: Vec::new() };
            let response = with(body);
            assert!(device(&response).is_none() && names(&response, Eui(2)));
        }
    }
}
