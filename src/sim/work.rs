//! A request that was let in at the front door, as far as what it makes DCC do: the image is gone, the rest is kept until it is
//! done, at once or after a quarantine.

use crate::{
    duis::RequestKind,
    ids::{DeviceId, RequestId},
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    pub id: RequestId,
    pub schema_version: String,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    ReadInventory {
        device: DeviceId,
    },
    /// The device is the target of the RequestID.
    ReadFirmwareVersion,
    /// 11.1 or 11.4
    Update {
        kind: RequestKind,
        firmware_version: String,
        image_bytes: usize,
        devices: Vec<DeviceId>,
        /// Of them, those that are another supplier's today.
        not_theirs: Vec<DeviceId>,
    },
}

impl Work {
    pub fn kind(&self) -> RequestKind {
        match &self.what {
            What::ReadInventory { .. } => RequestKind::ReadInventory,
            What::ReadFirmwareVersion => RequestKind::ReadFirmwareVersion,
            What::Update { kind, .. } => *kind,
        }
    }

    /// How many devices it names.
    pub fn devices(&self) -> usize {
        match &self.what {
            What::ReadInventory { .. } | What::ReadFirmwareVersion => 1,
            What::Update { devices, .. } => devices.len(),
        }
    }
}
