//! A batch: the members of one 11.1 request, in their order.

use crate::{clock::Time, ids::DeviceId};

crate::spelled! {
    BatchState, "a batch state" {
        /// Committed, not yet posted: nothing has left.
        Prepared = "prepared",
        /// Posted, and no answer we may believe: it is resent under the same RequestID.
        Unknown = "unknown",
        Accepted = "accepted",
        /// DCC said no for good.
        Refused = "refused",
        /// Waits for a person; its members are followed as if sent.
        Held = "held",
        /// Nothing left, or DCC refused it for a passing reason: its members are queued again.
        Dissolved = "dissolved",
    }
}

#[derive(Debug, Clone)]
pub struct Batch {
    pub id: i64,
    pub campaign_id: i64,
    pub plan_id: i64,
    /// 1, 2, 3 ... within the campaign.
    pub number: i64,
    pub members: Vec<DeviceId>,
    /// Its members were sent though their keys are missing (retry.toml, `resubmit`).
    pub resubmission: bool,
    pub state: BatchState,
    pub note: Option<String>,
    pub updated_at: Time,
}

/// Members as a column: 8 bytes each, big-endian, in the order of the request.
pub fn encode_members(devices: &[DeviceId]) -> Vec<u8> {
    devices.iter().flat_map(|d| d.0.to_be_bytes()).collect()
}

/// `None` where the column is damaged.
pub fn decode_members(bytes: &[u8]) -> Option<Vec<DeviceId>> {
    let (ids, rest) = bytes.as_chunks::<8>();
    rest.is_empty().then(|| ids.iter().map(|id| crate::ids::Eui(u64::from_be_bytes(*id))).collect())
}

#[cfg(test)]
mod tests {
    proptest::proptest! {
        #[test]
        fn members_survive_the_column(ids: Vec<u64>) {
            let devices: Vec<_> = ids.into_iter().map(crate::ids::Eui).collect();
            proptest::prop_assert_eq!(super::decode_members(&super::encode_members(&devices)), Some(devices));
        }
    }
}
