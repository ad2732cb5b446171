//! The alerts that a firmware upgrade can meet (domain.md, pipeline 5), with every field of the schema that can say something
//! here. No XML. Promise: supply numbers are in no `Debug`.

use std::fmt;

use super::UnknownElement;
use crate::{
    clock::Time,
    ids::{DeviceId, RequestId},
    spelled,
};

/// The child of a `DCCAlert`. Elements of the schema that have no field here are kept beside it, in `Body::Alert::unknown`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Alert {
    Smets1FirmwareNotification {
        device: DeviceId,
        firmware_version: String,
        status: Smets1FirmwareStatus,
    },
    /// `S1SPAlertDSP/S1SPAlert`: a SMETS1 service provider's own code and text.
    S1spAlert {
        request_id: Option<RequestId>,
        device: Option<DeviceId>,
        code: String,
        information: Option<String>,
        at: Time,
    },
    /// `PPMIDAlert` with a `PPMIDFirmwareUpgradeAlert`.
    PpmidFirmwareUpgrade {
        device: DeviceId,
        /// `DeviceAlertCode`: hexadecimal, as written.
        device_alert_code: String,
        firmware_version: String,
        success: bool,
        at: Option<Time>,
    },
    /// `PPMIDAlert` without one.
    Ppmid {
        device: DeviceId,
        device_alert_code: String,
        at: Option<Time>,
    },
    FirmwareDistributionFailure {
        request_id: RequestId,
        /// `MeterIDs`.
        devices: Vec<DeviceId>,
    },
    CspFirmwareDeliveryStatus {
        request_id: RequestId,
        comms_hub: DeviceId,
        /// `TargetDeviceID`: the device the image is for.
        device: DeviceId,
        firmware_version: String,
        at: Time,
        success: bool,
    },
    /// `CommsHubAlert` without a `FirmwareTransferAlert`.
    CommsHub {
        comms_hub: DeviceId,
        /// `AlertCode`: hexadecimal, as written.
        alert_code: String,
        at: Option<Time>,
    },
    /// `CommsHubAlert/FirmwareTransferAlert`.
    FirmwareTransfer {
        comms_hub: DeviceId,
        alert_code: String,
        at: Option<Time>,
        request_id: Option<RequestId>,
        /// `OtherDeviceID`: the device the image is for.
        device: DeviceId,
        firmware_version: String,
        result: FirmwareTransferResult,
    },
    FirmwareVersionMismatch {
        device: DeviceId,
        device_type: String,
        version_in_inventory: String,
        version_on_device: String,
    },
    ChangeOfSupplier(ChangeOfSupplier),
    /// `DeviceStatusChangeEvent`.
    DeviceStatusChange {
        device: DeviceId,
        change: DeviceStatusChange,
    },
    PpmidRemoval {
        device: DeviceId,
        comms_hub: DeviceId,
    },
    /// `QuarantinedRequest`: held back by DCC's anomaly detection.
    QuarantinedRequest {
        request_id: RequestId,
        quarantine_event_ref: String,
        breach: Breach,
    },
    /// A message was withheld because our DUIS version (`ServiceUserDUISVersion`) is too old for it.
    DuisVersionMismatch {
        withheld: Withheld,
        our_version: String,
    },
    /// `CommandFailure`: a command of ours to a device came to nothing.
    CommandFailure {
        request_id: RequestId,
        device: DeviceId,
    },
    FirmwareUpgradeRequested {
        device_type: String,
        firmware_version: String,
        devices: Vec<DeviceId>,
    },
    /// Any other, kept whole.
    Other(UnknownElement),
}

spelled!(
    /// Schema: `SMETS1CHFirmwareNotification/FirmwareVersionUpdateStatus`. It has no failure value.
    Smets1FirmwareStatus, "a FirmwareVersionUpdateStatus: UpdateRequested or ActivationSuccessful" {
        UpdateRequested = "UpdateRequested",
        ActivationSuccessful = "ActivationSuccessful",
    }
);

spelled!(
    /// Schema: `FirmwareTransferAlert/TransferResponseCode`.
    FirmwareTransferResult, "a TransferResponseCode of the schema" {
        FileTransferSuccess = "FileTransferSuccess",
        FirmwareImageDiscarded = "FirmwareImageDiscarded",
        HardwareVersionMismatch = "HardwareVersionMismatch",
        FileTransferFailure = "FileTransferFailure",
    }
);

spelled!(
    /// The child of a `QuarantinedRequest`: which threshold was crossed.
    Breach, "a breach of an anomaly detection threshold, as the schema names it" {
        UserThreshold = "ADUserThresholdBreach",
        DccThreshold = "ADDCCThresholdBreach",
        AttributeLimits = "ADAttributeLimitsBreach",
    }
);

/// The child of a `DeviceStatusChange`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DeviceStatusChange {
    MeterIdentity {
        mpxns: MeterMpxns,
        esme_variant: Option<String>,
    },
    /// `AssociatedType1Device`: Device ID and type of up to seven devices of the meter's site.
    MeterDecommissioningOrWithdrawal {
        mpxns: MeterMpxns,
        associated: Vec<(DeviceId, String)>,
    },
    DeviceRemovedFromInventory,
    ChfDecommissioning,
    DeviceSuspended,
    DeviceRestored,
    /// The certificates that were put back, as the schema names their types.
    RecoveryCompleteAcbCredentials {
        supplier: Vec<String>,
        network_operator: Vec<String>,
    },
    RecoveryComplete,
    Other(UnknownElement),
}

/// Schema `MeterMPxNs`: supply numbers, which are personal data and are not shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct MeterMpxns {
    pub import_mpxn: String,
    pub secondary_import_mpan: Option<String>,
    pub export_mpan: Option<String>,
}

impl fmt::Debug for MeterMpxns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MeterMpxns(..)")
    }
}

/// The two forms of a `ChangeOfSupplier`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ChangeOfSupplier {
    /// `ChangeOfSupplierServiceRequestID`: what came of the request with which a supplier takes a site over.
    Request { request_id: RequestId, ecos_error_code: Option<String> },
    /// `DeviceChangeOfSupplier`: a device is another supplier's from now on.
    Device { device: DeviceId, device_type: String, mpxns: MeterMpxns },
}

/// What a `DUISVersionMismatch` says was withheld.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Withheld {
    /// `DCCAlertVersionMismatch`.
    Alert { alert_code: String, device: Option<DeviceId>, request_id: Option<RequestId> },
    /// `ServiceResponseVersionMismatch`.
    Response {
        request_id: RequestId,
        service_reference: String,
        service_reference_variant: String,
        /// `ServiceRequestDUISVersion`.
        request_version: String,
    },
}

impl Alert {
    /// The child of `DCCAlert` that carries it.
    pub fn element(&self) -> &str {
        match self {
            Alert::Smets1FirmwareNotification { .. } => "SMETS1CHFirmwareNotification",
            Alert::S1spAlert { .. } => "S1SPAlertDSP",
            Alert::PpmidFirmwareUpgrade { .. } | Alert::Ppmid { .. } => "PPMIDAlert",
            Alert::FirmwareDistributionFailure { .. } => "FirmwareDistributionFailure",
            Alert::CspFirmwareDeliveryStatus { .. } => "CSPFirmwareDeliveryStatus",
            Alert::CommsHub { .. } | Alert::FirmwareTransfer { .. } => "CommsHubAlert",
            Alert::FirmwareVersionMismatch { .. } => "FirmwareVersionMismatch",
            Alert::ChangeOfSupplier(_) => "ChangeOfSupplier",
            Alert::DeviceStatusChange { .. } => "DeviceStatusChangeEvent",
            Alert::PpmidRemoval { .. } => "PPMIDRemoval",
            Alert::QuarantinedRequest { .. } => "QuarantinedRequest",
            Alert::DuisVersionMismatch { .. } => "DUISVersionMismatch",
            Alert::CommandFailure { .. } => "CommandFailure",
            Alert::FirmwareUpgradeRequested { .. } => "FirmwareUpgradeRequested",
            Alert::Other(unknown) => &unknown.name,
        }
    }
}

impl Alert {
    /// The request that it names inside.
    pub fn request_id(&self) -> Option<RequestId> {
        match self {
            Alert::S1spAlert { request_id, .. }
            | Alert::FirmwareTransfer { request_id, .. }
            | Alert::DuisVersionMismatch { withheld: Withheld::Alert { request_id, .. }, .. } => *request_id,
            Alert::FirmwareDistributionFailure { request_id, .. }
            | Alert::CspFirmwareDeliveryStatus { request_id, .. }
            | Alert::QuarantinedRequest { request_id, .. }
            | Alert::CommandFailure { request_id, .. }
            | Alert::ChangeOfSupplier(ChangeOfSupplier::Request { request_id, .. })
            | Alert::DuisVersionMismatch { withheld: Withheld::Response { request_id, .. }, .. } => Some(*request_id),
            Alert::Smets1FirmwareNotification { .. }
            | Alert::PpmidFirmwareUpgrade { .. }
            | Alert::Ppmid { .. }
            | Alert::CommsHub { .. }
            | Alert::FirmwareVersionMismatch { .. }
            | Alert::ChangeOfSupplier(ChangeOfSupplier::Device { .. })
            | Alert::DeviceStatusChange { .. }
            | Alert::PpmidRemoval { .. }
            | Alert::FirmwareUpgradeRequested { .. }
            | Alert::Other(_) => None,
        }
    }
}

impl DeviceStatusChange {
    /// The child of `DeviceStatusChange` that carries it.
    pub fn element(&self) -> &str {
        match self {
            DeviceStatusChange::MeterIdentity { .. } => "MeterIdentity",
            DeviceStatusChange::MeterDecommissioningOrWithdrawal { .. } => "MeterDecommissioningOrWithdrawal",
            DeviceStatusChange::DeviceRemovedFromInventory => "DeviceRemovedFromInventory",
            DeviceStatusChange::ChfDecommissioning => "CHFDecommissioning",
            DeviceStatusChange::DeviceSuspended => "DeviceSuspended",
            DeviceStatusChange::DeviceRestored => "DeviceRestored",
            DeviceStatusChange::RecoveryCompleteAcbCredentials { .. } => "RecoveryCompleteACBCredentials",
            DeviceStatusChange::RecoveryComplete => "RecoveryComplete",
            DeviceStatusChange::Other(unknown) => &unknown.name,
        }
    }
}
