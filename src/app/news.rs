//! What an inbound message says, in our words: which device it is about and what happened to it. Pure.

use crate::{
    duis::{Alert, Body, DeviceStatusChange, FirmwareTransferResult, Response, Smets1FirmwareStatus, Withheld},
    ids::{DeviceId, RequestId},
    policy::{Disposition, PolicySet},
    target::Event,
};

/// One device's news.
#[derive(Debug, Clone)]
pub struct DeviceNews {
    pub device: DeviceId,
    pub event: Event,
    /// The firmware version it speaks of, where it names one.
    pub version: Option<String>,
    pub detail: String,
}

/// What a message says, once read.
pub enum News {
    /// An answer to a whole request.
    Answer,
    Devices(Vec<DeviceNews>),
    /// Something about a device that moves no target.
    Fact {
        device: DeviceId,
        version: Option<String>,
        status: Option<String>,
    },
    /// DCC's anomaly detection holds the request back (`QuarantineEventRef`).
    Quarantined {
        event: String,
    },
    /// Nothing this program acts on: an operator may look.
    Unmatched(String),
}

/// The request a message is about: the header's, or the one inside the alert.
pub fn about(response: &Response) -> Option<RequestId> {
    let inside = match &response.body {
        Body::Alert { alert, .. } => match alert {
            Alert::S1spAlert { request_id, .. }
            | Alert::FirmwareTransfer { request_id, .. }
            | Alert::DuisVersionMismatch { withheld: Withheld::Alert { request_id, .. }, .. } => *request_id,
            Alert::FirmwareDistributionFailure { request_id, .. }
            | Alert::CspFirmwareDeliveryStatus { request_id, .. }
            | Alert::QuarantinedRequest { request_id, .. }
            | Alert::CommandFailure { request_id, .. }
            | Alert::DuisVersionMismatch { withheld: Withheld::Response { request_id, .. }, .. } => Some(*request_id),
            Alert::Smets1FirmwareNotification { .. }
            | Alert::PpmidFirmwareUpgrade { .. }
            | Alert::Ppmid { .. }
            | Alert::CommsHub { .. }
            | Alert::FirmwareVersionMismatch { .. }
            | Alert::ChangeOfSupplier(_)
            | Alert::DeviceStatusChange { .. }
            | Alert::PpmidRemoval { .. }
            | Alert::FirmwareUpgradeRequested { .. }
            | Alert::Other(_) => None,
        },
        _ => None,
    };
    inside.or(response.request_id)
}

/// What a message says. Dispatch is on the body element; the alert code is evidence only.
pub fn news_of(response: &Response, policies: &PolicySet) -> News {
    let one = |device, event, version: Option<&String>, detail: String| {
        News::Devices(vec![DeviceNews { device, event, version: version.cloned(), detail }])
    };
    let alert = match &response.body {
        Body::Message { .. } => return News::Answer,
        Body::DeviceAlert { .. } | Body::Smets1(_) | Body::Other(_) => {
            return News::Unmatched(format!("{} is of no kind this program acts on", response.kind()));
        }
        Body::Alert { alert, .. } => alert,
    };
    let said = |what: &str| format!("{}: {what}", alert.element());
    match alert {
        Alert::Smets1FirmwareNotification { device, firmware_version, status } => {
            let (event, what) = match status {
                Smets1FirmwareStatus::UpdateRequested => (Event::Delivered, "UpdateRequested"),
                Smets1FirmwareStatus::ActivationSuccessful => (Event::Activated, "ActivationSuccessful"),
            };
            one(*device, event, Some(firmware_version), said(what))
        }
        Alert::S1spAlert { device, code, information, .. } => {
            let text = information.as_deref().unwrap_or_default();
            let detail = said(&format!("{code} {text}"));
            match (policies.response_codes.s1sp(code, text), device) {
                (_, None) => News::Unmatched(format!("{detail} (it names no device)")),
                (Disposition::NeedsKeys, Some(device)) => one(*device, Event::NeedsKeys, None, detail),
                (Disposition::DropDevice | Disposition::RefuseBatch, Some(device)) => one(*device, Event::Failed, None, detail),
                (_, Some(device)) => {
                    News::Unmatched(format!("{detail} (device {device}; response-codes.toml does not say what follows)"))
                }
            }
        }
        Alert::PpmidFirmwareUpgrade { device, firmware_version, success, .. } => {
            let (event, what) =
                if *success { (Event::Activated, "ActivationSuccess") } else { (Event::Failed, "ActivationFailure") };
            one(*device, event, Some(firmware_version), said(what))
        }
        Alert::FirmwareTransfer { device, firmware_version, result, .. } => {
            let event = if *result == FirmwareTransferResult::FileTransferSuccess { Event::Delivered } else { Event::Failed };
            one(*device, event, Some(firmware_version), said(&format!("{result:?}")))
        }
        Alert::FirmwareDistributionFailure { devices, .. } => News::Devices(
            devices
                .iter()
                .map(|d| DeviceNews { device: *d, event: Event::Failed, version: None, detail: said("listed") })
                .collect(),
        ),
        Alert::FirmwareVersionMismatch { device, version_on_device, .. } => {
            News::Fact { device: *device, version: Some(version_on_device.clone()), status: None }
        }
        Alert::DeviceStatusChange { device, change } => match status_after(change) {
            Some(status) => News::Fact { device: *device, version: None, status: Some(status.into()) },
            None => News::Unmatched(said(change.element())),
        },
        Alert::QuarantinedRequest { quarantine_event_ref, .. } => News::Quarantined { event: quarantine_event_ref.clone() },
        Alert::CspFirmwareDeliveryStatus { success, .. } => News::Unmatched(said(if *success { "Success" } else { "Failure" })),
        Alert::DuisVersionMismatch { .. } => {
            News::Unmatched(said("DCC withheld a message because duis_version is too old for it"))
        }
        Alert::Ppmid { .. }
        | Alert::CommsHub { .. }
        | Alert::ChangeOfSupplier(_)
        | Alert::PpmidRemoval { .. }
        | Alert::CommandFailure { .. }
        | Alert::FirmwareUpgradeRequested { .. } => News::Unmatched(said("kept for an operator")),
        Alert::Other(unknown) => News::Unmatched(format!("{} is of no kind this program acts on", unknown.name)),
    }
}

/// The `DeviceStatus` of a device after a change, where the change says one.
fn status_after(change: &DeviceStatusChange) -> Option<&'static str> {
    use DeviceStatusChange as C;
    match change {
        C::DeviceSuspended => Some("Suspended"),
        C::DeviceRestored => Some("Commissioned"),
        C::MeterDecommissioningOrWithdrawal { .. } | C::ChfDecommissioning | C::DeviceRemovedFromInventory => {
            Some("Decommissioned")
        }
        C::MeterIdentity { .. } | C::RecoveryCompleteAcbCredentials { .. } | C::RecoveryComplete | C::Other(_) => None,
    }
}
