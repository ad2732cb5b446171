//! The three service addresses, and which request belongs to which.

use crate::duis::RequestKind;

/// The three addresses of the contract; which one a request goes to follows from its command variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// `/api/v1/serviceD`: Non-Device.
    NonDevice,
    /// `/api/v1/serviceS`: Send Command.
    SendCommand,
    /// `/api/v1/serviceT`: Transform.
    Transform,
}

impl Service {
    pub fn at(path: &str) -> Option<Service> {
        match path {
            "/api/v1/serviceD" => Some(Service::NonDevice),
            "/api/v1/serviceS" => Some(Service::SendCommand),
            "/api/v1/serviceT" => Some(Service::Transform),
            _ => None,
        }
    }

    /// Where a request of this variant belongs (domain.md, pipeline 3), and under which command variant; `None` of those that the
    /// simulator has no address for.
    pub fn of(service_reference_variant: &str) -> Option<(Service, u8)> {
        if service_reference_variant == "11.3" {
            return Some((Service::Transform, 4));
        }
        let kind = RequestKind::ALL.into_iter().find(|kind| kind.service_reference() == service_reference_variant)?;
        let service = match kind {
            RequestKind::ReadInventory | RequestKind::UpdateFirmware | RequestKind::UpdatePpmidFirmware => Service::NonDevice,
            RequestKind::ReadFirmwareVersion => Service::SendCommand,
        };
        Some((service, kind.command_variant()))
    }
}
