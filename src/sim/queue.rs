//! One message that DCC still owes, as small as can be: a million sites owe two million of them. What it says is worked
//! out (`world/messages.rs`), and signed, when it is due.

use super::world::Millis;
use crate::{duis::RequestKind, ids::DeviceId};

/// Which message; the order breaks ties between messages due at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    Warning,
    UpdateRequested,
    Activated,
    KeyMissing,
    ActivationFailed,
    /// 11.4 from here: `FirmwareDistributionFailure`.
    NotDistributed,
    /// `CSPFirmwareDeliveryStatus`.
    Delivered,
    DeliveryFailed,
    /// `CommsHubAlert/FirmwareTransferAlert`.
    Transferred,
    TransferFailed,
    /// `PPMIDAlert`.
    PpmidActivated,
    PpmidFailed,
    /// A message kept whole.
    Letter,
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Kind::Warning => "warning",
            Kind::UpdateRequested => "update requested",
            Kind::Activated => "activated",
            Kind::KeyMissing => "key missing",
            Kind::ActivationFailed => "activation failed",
            Kind::NotDistributed => "not distributed",
            Kind::Delivered => "delivered",
            Kind::DeliveryFailed => "delivery failed",
            Kind::Transferred => "transferred",
            Kind::TransferFailed => "transfer failed",
            Kind::PpmidActivated => "ppmid activated",
            Kind::PpmidFailed => "ppmid failed",
            Kind::Letter => "letter",
        }
    }

    /// A second word, so that loss and doubling are decided apart.
    pub fn element(self) -> &'static str {
        match self {
            Kind::Warning => "DSPUpdateFirmwareWarning",
            Kind::UpdateRequested => "SMETS1CHFirmwareNotification/UpdateRequested",
            Kind::Activated => "SMETS1CHFirmwareNotification/ActivationSuccessful",
            Kind::KeyMissing => "S1SPAlertDSP/key",
            Kind::ActivationFailed => "S1SPAlertDSP/activation",
            Kind::NotDistributed => "FirmwareDistributionFailure",
            Kind::Delivered | Kind::DeliveryFailed => "CSPFirmwareDeliveryStatus",
            Kind::Transferred | Kind::TransferFailed => "CommsHubAlert",
            Kind::PpmidActivated | Kind::PpmidFailed => "PPMIDAlert",
            Kind::Letter => "letter",
        }
    }

    /// What kind of message it is to a reader; `of` is the request it is about.
    pub fn element_of(self, of: RequestKind) -> &'static str {
        match (self, of) {
            (Kind::Warning, RequestKind::UpdatePpmidFirmware) => "DSPUpdatePPMIDFirmwareWarning",
            (kind, _) => kind.element().split('/').next().unwrap_or_default(),
        }
    }
}

/// A message to be sent. Ordered by when it is due, then by its serial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delivery {
    pub due: Millis,
    /// Says which ResponseID: the two copies of a doubled message share it.
    pub serial: u32,
    pub kind: Kind,
    pub attempts: u8,
    /// The user's DUIS version is too old for it: a `DUISVersionMismatch` goes in its place.
    pub withheld: bool,
    /// Index of the request it answers; of a letter, its own.
    pub request: u32,
    /// How long it was put off by deliveries that failed.
    pub waited_ms: u32,
    /// None (zero) where it is about several, or about none.
    pub device: DeviceId,
}

impl Delivery {
    /// Its serial is the queue's to give.
    pub fn new(kind: Kind, device: DeviceId, request: u32, due: Millis, withheld: bool) -> Delivery {
        Delivery { due, serial: 0, kind, attempts: 0, withheld, request, waited_ms: 0, device }
    }

    /// When DCC made it: the same at every attempt.
    pub fn made(&self) -> Millis {
        self.due - u64::from(self.waited_ms)
    }

    /// The same message, to be tried again after `wait_ms`.
    pub fn again(self, now: Millis, wait_ms: u32) -> Delivery {
        let due = now + u64::from(wait_ms);
        let waited_ms = u32::try_from(due - self.made()).unwrap_or(u32::MAX);
        Delivery { due, waited_ms, attempts: self.attempts.saturating_add(1), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_owed_takes_32_bytes() {
        assert_eq!(std::mem::size_of::<Delivery>(), 32);
    }

    #[test]
    fn a_message_put_off_keeps_the_moment_it_was_made() {
        let delivery = Delivery::new(Kind::Activated, DeviceId::from_db(1), 0, 1_000, false);
        let again = delivery.again(1_500, 100).again(9_000, 5_000);
        assert_eq!((again.due, again.made(), again.attempts), (14_000, 1_000, 2));
    }
}
