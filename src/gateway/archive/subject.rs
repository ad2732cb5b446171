//! What a kept message is found by: the request and the device it is about, and for how many alerts it stands. Pure. Not its
//! meaning. Promise: a device that a message names is found with it, alone in its column or, where there are several, by [`names`].

use crate::{
    duis::{Alert, Body, Content, Response, Smets1Response},
    ids::{DeviceId, RequestId},
};

/// The kinds of message that may name several devices, and then have none in their column: they are few, and are opened.
pub const LISTS: [&str; 4] =
    ["DSPUpdateFirmwareWarning", "DSPUpdatePPMIDFirmwareWarning", "DSPInventory", "FirmwareDistributionFailure"];

/// The request a message is about: the one inside the alert, or the header's.
pub fn about(response: &Response) -> Option<RequestId> {
    let inside = match &response.body {
        Body::Alert { alert, .. } => match alert {
            Alert::S1spAlert { request_id, .. }
            | Alert::FirmwareTransfer { request_id, .. }
            | Alert::DuisVersionMismatch { request_id, .. } => *request_id,
            Alert::FirmwareDistributionFailure { request_id, .. }
            | Alert::CspFirmwareDeliveryStatus { request_id, .. }
            | Alert::QuarantinedRequest { request_id, .. } => Some(*request_id),
            Alert::Smets1FirmwareNotification { .. }
            | Alert::PpmidFirmwareUpgrade { .. }
            | Alert::Ppmid { .. }
            | Alert::FirmwareVersionMismatch { .. }
            | Alert::ChangeOfSupplier { .. }
            | Alert::DeviceStatusChange { .. }
            | Alert::PpmidRemoval { .. }
            | Alert::Other(_) => None,
        },
        Body::Message { .. } | Body::DeviceAlert { .. } | Body::Smets1(_) | Body::Other(_) => None,
    };
    inside.or(response.request_id)
}

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

/// Alerts that the message stands for.
pub fn stands_for(response: &Response) -> u32 {
    let throttled = match &response.body {
        Body::Alert { throttled_alert_count, .. } | Body::DeviceAlert { throttled_alert_count, .. } => *throttled_alert_count,
        Body::Smets1(said) => said.throttled_alert_count,
        Body::Message { .. } | Body::Other(_) => None,
    };
    throttled.unwrap_or(1).max(1)
}

fn devices(response: &Response) -> Box<dyn Iterator<Item = DeviceId> + '_> {
    match &response.body {
        Body::Alert { alert, .. } => in_alert(alert),
        // It is sent by the device itself, whose id its ResponseID begins with.
        Body::DeviceAlert { .. } => Box::new(response.response_id.map(|id| id.originator).into_iter()),
        Body::Smets1(Smets1Response { device, .. }) => Box::new(std::iter::once(*device)),
        Body::Message { content, .. } => match content {
            Content::UpdateFirmwareWarning(lists) => Box::new(
                [
                    &lists.invalid,
                    &lists.not_commissioned,
                    &lists.not_applicable_firmware,
                    &lists.other_request_in_progress,
                    &lists.invalid_gbcs_version,
                ]
                .into_iter()
                .flatten()
                .copied(),
            ),
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
        | Alert::Ppmid { device }
        | Alert::CspFirmwareDeliveryStatus { device, .. }
        | Alert::FirmwareTransfer { device, .. }
        | Alert::FirmwareVersionMismatch { device, .. }
        | Alert::DeviceStatusChange { device, .. }
        | Alert::PpmidRemoval { device, .. } => Box::new(std::iter::once(*device)),
        Alert::S1spAlert { device, .. } | Alert::ChangeOfSupplier { device } | Alert::DuisVersionMismatch { device, .. } => {
            Box::new(device.iter().copied())
        }
        Alert::FirmwareDistributionFailure { devices, .. } => Box::new(devices.iter().copied()),
        Alert::QuarantinedRequest { .. } | Alert::Other(_) => Box::new(std::iter::empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        duis::UpdateFirmwareWarning,
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
        assert_eq!((device(&single), about(&single), stands_for(&single)), (Some(Eui(5)), None, 1));
        let several =
            warning(UpdateFirmwareWarning { invalid: vec![Eui(1)], invalid_gbcs_version: vec![Eui(2)], ..Default::default() });
        assert_eq!((device(&several), about(&several)), (None, Some(id(7))));
        assert!(names(&several, Eui(2)) && !names(&several, Eui(3)));
        assert!(LISTS.contains(&several.kind()));
        let one = warning(UpdateFirmwareWarning { invalid: vec![Eui(1)], ..Default::default() });
        assert_eq!(device(&one), Some(Eui(1)));
    }

    #[test]
    fn a_throttled_alert_stands_for_as_many_as_it_says_and_never_for_none() {
        for (said, stands) in [(None, 1), (Some(0), 1), (Some(9), 9)] {
            let body = Body::DeviceAlert { alert_code: "8F0C".into(), throttled_alert_count: said, gbcs_payload: Vec::new() };
            let response = Response { response_id: Some(id(3)), ..with(body) };
            assert_eq!((stands_for(&response), device(&response)), (stands, Some(id(3).originator)));
        }
    }
}
