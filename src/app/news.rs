//! What an inbound message says, in our words: which device it is about and what happened to it. Pure.

use crate::{
    duis::{
        Alert, Body, Breach, ChangeOfSupplier, Content, DeviceStatusChange, FirmwareTransferResult, InventoryDevice, Response,
        Smets1Content, Smets1FirmwareStatus, Smets1Response,
    },
    ids::{DeviceId, Mpan, RequestId},
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

/// What is now known of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    pub device: DeviceId,
    pub version: Option<String>,
    /// The schema's `DeviceStatus`.
    pub status: Option<String>,
}

/// What a message says, once read.
pub enum News {
    /// An answer to a whole request.
    Answer,
    Devices(Vec<DeviceNews>),
    /// Something about a device that moves no target.
    Fact(Fact),
    /// DCC's inventory of a site, which it gives to whoever asked: facts, where the asker was us.
    Inventory(Vec<Fact>),
    /// A device is another supplier's from now on. Never that one is ours.
    Lost {
        device: DeviceId,
        /// The supply number that the alert names, where it is an electricity one.
        mpan: Option<Mpan>,
    },
    /// DCC's anomaly detection holds the request back (`QuarantineEventRef`).
    Quarantined {
        request: RequestId,
        event: String,
        breach: Breach,
    },
    /// Nothing this program acts on: an operator may look.
    Unmatched(String),
}

/// What a message says. Dispatch is on the body element; the alert code is evidence only.
pub fn news_of(response: &Response, policies: &PolicySet) -> News {
    let one = |device, event, version: Option<&String>, detail: String| {
        News::Devices(vec![DeviceNews { device, event, version: version.cloned(), detail }])
    };
    let alert = match &response.body {
        Body::Message { content: Content::Inventory(devices), .. } => return News::Inventory(devices.iter().map(fact).collect()),
        Body::Message { .. } => return News::Answer,
        Body::Smets1(said) => return smets1(response, said),
        Body::DeviceAlert { .. } | Body::Other(_) => {
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
            let shown = Mpan::masked_in(text);
            let detail = said(&format!("{code} {shown}"));
            let listed = policies.response_codes.s1sp_entry(code, text);
            let sentence = listed.map_or("response-codes.toml does not list this code.", |l| &l.entry.sentence);
            match (policies.response_codes.s1sp(code, text), device) {
                (_, None) => News::Unmatched(said(&format!("{code}, which names no device. {sentence} Its text: {shown}"))),
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
        Alert::CspFirmwareDeliveryStatus { device, firmware_version, success, .. } => {
            let (event, what) = if *success { (Event::Delivered, "Success") } else { (Event::Failed, "Failure") };
            one(*device, event, Some(firmware_version), said(what))
        }
        Alert::FirmwareDistributionFailure { devices, .. } => News::Devices(
            devices
                .iter()
                .map(|d| DeviceNews { device: *d, event: Event::Failed, version: None, detail: said("listed") })
                .collect(),
        ),
        Alert::FirmwareVersionMismatch { device, version_on_device, .. } => {
            News::Fact(Fact { device: *device, version: Some(version_on_device.clone()), status: None })
        }
        Alert::DeviceStatusChange { device, change } => match status_after(change) {
            Some(status) => News::Fact(Fact { device: *device, version: None, status: Some(status.into()) }),
            None => News::Unmatched(said(change.element())),
        },
        // The other form answers a request with which a supplier takes a site over: not ours to make.
        Alert::ChangeOfSupplier(ChangeOfSupplier::Device { device, mpxns, .. }) => {
            News::Lost { device: *device, mpan: mpxns.import_mpxn.parse().ok() }
        }
        Alert::QuarantinedRequest { request_id, quarantine_event_ref, breach } => {
            News::Quarantined { request: *request_id, event: quarantine_event_ref.clone(), breach: *breach }
        }
        Alert::DuisVersionMismatch { our_version, .. } => News::Unmatched(said(&format!(
            "DCC withheld a message: it takes us to be on DUIS {our_version}, which is too old for it"
        ))),
        Alert::Ppmid { .. }
        | Alert::CommsHub { .. }
        | Alert::ChangeOfSupplier(ChangeOfSupplier::Request { .. })
        | Alert::PpmidRemoval { .. }
        | Alert::CommandFailure { .. }
        | Alert::FirmwareUpgradeRequested { .. } => News::Unmatched(said("kept for an operator")),
        Alert::Other(unknown) => News::Unmatched(format!("{} is of no kind this program acts on", unknown.name)),
    }
}

fn fact(device: &InventoryDevice) -> Fact {
    Fact { device: device.device_id, version: device.firmware_version.clone(), status: device.device_status.clone() }
}

/// What a SMETS1 device says of itself: the version it runs is the truth, whatever others reported.
fn smets1(response: &Response, said: &Smets1Response) -> News {
    let kind = response.kind();
    // The answer to a command names the device that was asked; one that does not is somebody's mistake.
    if response.request_id.is_some_and(|id| id.target != said.device) {
        return News::Unmatched(format!("{kind} of the device {}, which is not the one that was asked", said.device));
    }
    match &said.content {
        Smets1Content::FirmwareVersion { success: None | Some(true), firmware_version: Some(version) } => {
            let detail = format!("{kind}: it runs {version}");
            News::Devices(vec![DeviceNews {
                device: said.device,
                event: Event::Verified,
                version: Some(version.clone()),
                detail,
            }])
        }
        Smets1Content::FirmwareVersion { .. } => News::Unmatched(format!("{kind}: the device {} gave no version", said.device)),
        Smets1Content::Other(what) => News::Unmatched(format!("{kind}: {} of the device {}", what.name, said.device)),
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
