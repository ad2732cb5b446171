//! What each message says when it is due: the plain course of an upgrade is worked out here, letters are as they were kept, and
//! what the user's DUIS version is too old for is told in its place.

use super::{AcceptedRequest, Letter, World};
use crate::{
    clock::Time,
    duis::{Alert, Body, Content, FirmwareTransferResult, RequestKind, Response, Smets1Content, Smets1FirmwareStatus, Withheld},
    ids::{DeviceId, RequestId},
    sim::{
        codes::{self, Code},
        inventory::hub_of,
        queue::{Delivery, Kind},
    },
};

/// Every message of the simulator that may need a version: what [`Response::kind`] says of it.
pub const KINDS: [&str; 22] = [
    "CSPFirmwareDeliveryStatus",
    "ChangeOfSupplier",
    "CommsHubAlert",
    "CommsHubFirmwareActivation",
    "DSPInventory",
    "DSPUpdateFirmwareWarning",
    "DSPUpdatePPMIDFirmwareWarning",
    "DeviceAlertMessage",
    "DeviceStatusChangeEvent",
    "FirmwareDistributionFailure",
    "FirmwareVersionMismatch",
    "GBCSPayload",
    "PPMIDAlert",
    "PPMIDRemoval",
    "QuarantinedRequest",
    "ReadFirmwareVersionRsp",
    "ResponseMessage",
    "S1SPAlertDSP",
    "SMETS1CHFirmwareNotification",
    "SMETS1ResponseMessage",
    "CommandFailure",
    "FirmwareUpgradeRequested",
];

/// When a message was made, and where its ResponseID counts from.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub first_counter: u64,
    pub at: Time,
}

/// Which ids a message's header has (as in the samples).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    Request(RequestId),
    Response,
    Both(RequestId),
}

impl Header {
    fn request_id(self) -> Option<RequestId> {
        match self {
            Header::Request(id) | Header::Both(id) => Some(id),
            Header::Response => None,
        }
    }
}

/// The code of a warning to this request.
pub(super) fn warning_code(kind: RequestKind) -> Code {
    match kind {
        RequestKind::UpdatePpmidFirmware => Code::WarningSmets2,
        RequestKind::UpdateFirmware | RequestKind::ReadInventory | RequestKind::ReadFirmwareVersion => Code::WarningSmets1,
    }
}

/// What [`Response::kind`] says of a message with this body.
pub(super) fn kind_of(body: &Body) -> &str {
    match body {
        Body::Message { content: Content::Inventory(_), .. } => "DSPInventory",
        Body::Message { content: Content::GbcsPayload(_), .. } => "GBCSPayload",
        Body::Message { .. } => "ResponseMessage",
        Body::Alert { alert, .. } => alert.element(),
        Body::DeviceAlert { .. } => "DeviceAlertMessage",
        Body::Smets1(smets1) => match &smets1.content {
            Smets1Content::FirmwareVersion { .. } => "ReadFirmwareVersionRsp",
            Smets1Content::Other(_) => "SMETS1ResponseMessage",
        },
        Body::Other(unknown) => &unknown.name,
    }
}

impl World {
    /// The message as it goes on the wire, but for its signature.
    pub fn message(&self, delivery: &Delivery, moment: Moment) -> Response {
        let mut letter = match delivery.kind {
            Kind::Letter => self.letter(delivery.request).clone(),
            Kind::Warning
            | Kind::UpdateRequested
            | Kind::Activated
            | Kind::KeyMissing
            | Kind::ActivationFailed
            | Kind::NotDistributed
            | Kind::Delivered
            | Kind::DeliveryFailed
            | Kind::Transferred
            | Kind::TransferFailed
            | Kind::PpmidActivated
            | Kind::PpmidFailed => self.of_the_upgrade(delivery, moment.at),
        };
        if delivery.withheld {
            letter = self.in_place_of(letter, delivery.device);
        }
        if let Body::Alert { alert: Alert::S1spAlert { at, .. }, .. } = &mut letter.body {
            *at = moment.at;
        }
        let dcc = letter.from;
        let counter = moment.first_counter + u64::from(delivery.serial);
        let response_id = match letter.header {
            Header::Request(_) => None,
            Header::Response | Header::Both(_) => Some(RequestId { originator: dcc, target: letter.to, counter }),
        };
        Response {
            schema_version: letter.schema_version,
            request_id: letter.header.request_id(),
            response_id,
            code: letter.code.text().to_string(),
            at: moment.at,
            body: letter.body,
        }
    }

    /// A message of the plain course of an 11.1 or 11.4. Only an S1SP alert names the request in its header (as in the
    /// samples); a warning has no ResponseID.
    fn of_the_upgrade(&self, delivery: &Delivery, at: Time) -> Letter {
        let request = self.request(delivery.request);
        let letter = |header, code, body| Letter {
            from: self.dcc_id,
            to: request.id.originator,
            header,
            code,
            schema_version: request.schema_version.clone(),
            body,
        };
        if delivery.kind == Kind::Warning {
            let reference = request.kind.service_reference().to_string();
            let content = Content::UpdateFirmwareWarning(request.warning.clone());
            let body = Body::Message { service_reference: reference.clone(), service_reference_variant: reference, content };
            return letter(Header::Request(request.id), warning_code(request.kind), body);
        }
        let alert = self.alert_of_the_upgrade(delivery, request, at);
        let header = match &alert {
            Alert::S1spAlert { .. } => Header::Both(request.id),
            _ => Header::Response,
        };
        letter(header, Code::Done, codes::alert_body(alert))
    }

    fn alert_of_the_upgrade(&self, delivery: &Delivery, request: &AcceptedRequest, at: Time) -> Alert {
        let device = delivery.device;
        let firmware_version = || request.firmware_version.clone();
        let comms_hub = hub_of(device, self.population.facts(device));
        let notification = |status| Alert::Smets1FirmwareNotification { device, firmware_version: firmware_version(), status };
        let s1sp = |(code, text): (&str, &str)| Alert::S1spAlert {
            request_id: Some(request.id),
            device: Some(device),
            code: code.to_string(),
            information: Some(text.to_string()),
            at,
        };
        let delivered = |success| Alert::CspFirmwareDeliveryStatus {
            request_id: request.id,
            comms_hub,
            device,
            firmware_version: firmware_version(),
            at,
            success,
        };
        let transferred = |result| Alert::FirmwareTransfer {
            comms_hub,
            alert_code: codes::DEVICE_ALERT_CODE.to_string(),
            at: Some(at),
            request_id: Some(request.id),
            device,
            firmware_version: firmware_version(),
            result,
        };
        let ppmid = |success| Alert::PpmidFirmwareUpgrade {
            device,
            device_alert_code: codes::DEVICE_ALERT_CODE.to_string(),
            firmware_version: firmware_version(),
            success,
            at: Some(at),
        };
        match delivery.kind {
            Kind::UpdateRequested => notification(Smets1FirmwareStatus::UpdateRequested),
            Kind::Activated => notification(Smets1FirmwareStatus::ActivationSuccessful),
            Kind::KeyMissing => s1sp(codes::S1SP_KEY_MISSING),
            Kind::ActivationFailed => s1sp(codes::S1SP_ACTIVATION_FAILED),
            Kind::NotDistributed => {
                Alert::FirmwareDistributionFailure { request_id: request.id, devices: request.not_distributed.clone() }
            }
            Kind::Delivered => delivered(true),
            Kind::DeliveryFailed => delivered(false),
            Kind::Transferred => transferred(FirmwareTransferResult::FileTransferSuccess),
            Kind::TransferFailed => transferred(self.transfer_failure(device, delivery.request)),
            Kind::PpmidActivated => ppmid(true),
            Kind::PpmidFailed => ppmid(false),
            Kind::Warning | Kind::Letter => unreachable!("these are no alerts of an upgrade"),
        }
    }

    fn transfer_failure(&self, device: DeviceId, request: u32) -> FirmwareTransferResult {
        use FirmwareTransferResult as R;
        let results = [R::FirmwareImageDiscarded, R::HardwareVersionMismatch, R::FileTransferFailure];
        results[(self.dice.bits("why the transfer fails", self.subject(device, request)) % 3) as usize]
    }

    /// What is said where a message is withheld: a `DUISVersionMismatch`, in the form that its kind has.
    fn in_place_of(&self, letter: Letter, device: DeviceId) -> Letter {
        let request_id = letter.header.request_id();
        let device = (device != DeviceId::from_db(0)).then_some(device);
        let answer = |service_reference: &str| {
            request_id.map(|request_id| Withheld::Response {
                request_id,
                service_reference: service_reference.to_string(),
                service_reference_variant: service_reference.to_string(),
                request_version: letter.schema_version.clone(),
            })
        };
        let alert = |alert_code: &str| Withheld::Alert { alert_code: alert_code.to_string(), device, request_id };
        let withheld = match &letter.body {
            Body::Message { service_reference, .. } => answer(service_reference),
            Body::Smets1(smets1) => answer(smets1.service_reference.as_deref().unwrap_or("11.2")),
            Body::Alert { alert_code, .. } | Body::DeviceAlert { alert_code, .. } => Some(alert(alert_code)),
            Body::Other(_) => None,
        };
        let withheld = withheld.unwrap_or_else(|| alert(codes::alert_code("DUISVersionMismatch")));
        let our_version = self.spoken_to(letter.to);
        let header = request_id.map_or(Header::Response, Header::Both);
        let schema_version = our_version.clone();
        let body = codes::alert_body(Alert::DuisVersionMismatch { withheld, our_version });
        Letter { header, code: Code::Done, schema_version, body, ..letter }
    }
}
