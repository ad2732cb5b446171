//! What DCC and devices answer when they are asked: 8.2 and 11.2, and what becomes of alerts about single devices of a batch.

use super::*;
use crate::{
    duis::{InventoryDevice, Smets1Content, Smets1Response, random},
    estate,
    gateway::outbox::NewRequest,
};

impl Lab {
    /// A request without a batch, as it is after it was posted.
    async fn asks(&self, service_reference: &str, target: Eui) -> RequestId {
        let mut tx = self.app.db.begin().await.unwrap();
        let now = self.app.now();
        let counter = outbox::next_counter(&mut tx, testing::us(), now).await.unwrap();
        let id = RequestId { originator: testing::us(), target, counter };
        let new =
            NewRequest { id, service_reference, batch_id: None, duis_version: testing::version(), body_digest: self.image, now };
        outbox::prepare(&mut tx, &new).await.unwrap();
        outbox::mark_posting(&mut tx, id, now, now.plus_millis(1_000)).await.unwrap();
        tx.commit().await.unwrap();
        id
    }

    /// Version and status of a site as the estate has them.
    pub(super) async fn knows(&self, n: u64) -> (String, String) {
        let site = estate::store::find_site(&mut self.app.db.read().await.unwrap(), device(n)).await.unwrap().unwrap();
        (site.firmware_version, site.device_status)
    }
}

pub(crate) fn inventory(id: RequestId, devices: &[(u64, Option<&str>, Option<&str>)]) -> Response {
    let device = |(n, version, status): &(u64, Option<&str>, Option<&str>)| InventoryDevice {
        firmware_version: version.map(str::to_owned),
        device_status: status.map(str::to_owned),
        ..random::inventory_device_of(device(*n))
    };
    let body = Body::Message {
        service_reference: "8.2".into(),
        service_reference_variant: "8.2".into(),
        content: Content::Inventory(devices.iter().map(device).collect()),
    };
    Response { body, ..answer(id, "I0") }
}

pub(crate) fn runs(id: Option<RequestId>, n: u64, success: Option<bool>, version: Option<&str>) -> Response {
    let body = Body::Smets1(Smets1Response {
        service_reference: Some("11.2".into()),
        service_reference_variant: Some("11.2".into()),
        throttled: Throttled::default(),
        device: device(n),
        target: testing::us(),
        counter: 1,
        content: Smets1Content::FirmwareVersion { success, firmware_version: version.map(str::to_owned) },
    });
    Response { request_id: id, body, ..testing::acknowledgement(1, "I0") }
}

#[tokio::test]
async fn an_inventory_of_ours_says_what_devices_run_and_moves_none() {
    for lab in labs(3).await {
        let campaign = lab.started("spring", 10).await;
        lab.send(campaign).await;
        let id = lab.asks("8.2", lab.app.settings.gateway.dcc_id).await;
        let devices =
            [(1, Some("00020150"), Some("Suspended")), (2, None, Some("Commissioned")), (3, None, None), (99, None, None)];
        assert_eq!(lab.hears(&inventory(id, &devices)).await, InboxState::Settled);
        assert_eq!(lab.knows(1).await, ("00020150".into(), "Suspended".into()));
        assert_eq!(lab.knows(2).await, ("00020100".into(), "Commissioned".into()));
        assert_eq!(lab.knows(3).await, ("00020100".into(), "Commissioned".into()));
        assert_eq!((lab.state(campaign, 1).await, lab.outbox_state(id).await.as_str()), (TargetState::Accepted, "answered"));
        let other = RequestId { counter: id.counter + 7, ..id };
        assert_eq!(lab.hears(&inventory(other, &[(2, Some("00020199"), None)])).await, InboxState::Ignored);
        let nobodys = Response { request_id: None, ..inventory(id, &[(2, Some("00020199"), None)]) };
        assert_eq!(lab.hears(&nobodys).await, InboxState::Unmatched);
        assert_eq!(lab.knows(2).await.0, "00020100");
    }
}

#[tokio::test]
async fn a_device_that_says_it_runs_the_images_version_is_verified() {
    for lab in labs(3).await {
        let campaign = lab.started("spring", 10).await;
        lab.send(campaign).await;
        let (first, second) = (lab.asks("11.2", device(1)).await, lab.asks("11.2", device(2)).await);
        assert_eq!(lab.hears(&runs(Some(first), 1, Some(true), Some(FIRMWARE))).await, InboxState::Settled);
        assert_eq!((lab.state(campaign, 1).await, lab.knows(1).await.0.as_str()), (TargetState::Verified, FIRMWARE));
        assert_eq!(lab.outbox_state(first).await, "answered");
        assert_eq!(lab.hears(&runs(Some(second), 2, None, Some("00020100"))).await, InboxState::Settled);
        assert_eq!((lab.state(campaign, 2).await, lab.knows(2).await.0.as_str()), (TargetState::Accepted, "00020100"));
        // Somebody else's question, an answer of another device than the one asked, and one that says nothing.
        let other = RequestId { counter: first.counter + 7, ..first };
        assert_eq!(lab.hears(&runs(Some(other), 1, None, Some("00020199"))).await, InboxState::Ignored);
        let third = lab.asks("11.2", device(1)).await;
        assert_eq!(lab.hears(&runs(Some(third), 3, None, Some(FIRMWARE))).await, InboxState::Unmatched);
        let fourth = lab.asks("11.2", device(3)).await;
        assert_eq!(lab.hears(&runs(Some(fourth), 3, Some(false), Some(FIRMWARE))).await, InboxState::Unmatched);
        let fifth = lab.asks("11.2", device(3)).await;
        assert_eq!(lab.hears(&runs(Some(fifth), 3, Some(true), None)).await, InboxState::Unmatched);
        assert_eq!((lab.state(campaign, 3).await, lab.knows(3).await.0.as_str()), (TargetState::Accepted, "00020100"));
        // Nobody asked, and the device says it all the same.
        assert_eq!(lab.hears(&runs(None, 3, None, Some(FIRMWARE))).await, InboxState::Settled);
        assert_eq!(lab.state(campaign, 3).await, TargetState::Verified);
    }
}

#[tokio::test]
async fn a_refused_question_is_answered_and_settles_nothing() {
    for lab in labs(1).await {
        let campaign = lab.started("spring", 10).await;
        lab.send(campaign).await;
        let id = lab.asks("11.2", device(1)).await;
        assert_eq!(lab.hears(&later(id, 1, "E21")).await, InboxState::Settled);
        assert_eq!((lab.state(campaign, 1).await, lab.outbox_state(id).await.as_str()), (TargetState::Accepted, "answered"));
    }
}

#[tokio::test]
async fn a_delivery_to_a_hub_is_news_of_the_device_it_is_for() {
    for lab in labs(3).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.send(campaign).await;
        let status = |n: u64, site: u64, success| {
            let said = Alert::CspFirmwareDeliveryStatus {
                request_id: id,
                comms_hub: Eui(7),
                device: device(site),
                firmware_version: FIRMWARE.into(),
                at: testing::now(),
                success,
            };
            alert(None, n, said)
        };
        assert_eq!(lab.hears(&status(1, 1, true)).await, InboxState::Settled);
        assert_eq!(lab.hears(&status(2, 2, false)).await, InboxState::Settled);
        assert_eq!(lab.hears(&status(3, 99, false)).await, InboxState::Unmatched, "not a device of that request");
        assert_eq!((lab.state(campaign, 1).await, lab.state(campaign, 2).await), (TargetState::Delivered, TargetState::Failed));
        lab.hears(&activated(Some(id), 4, 2)).await;
        assert_eq!(lab.state(campaign, 2).await, TargetState::Activated, "a late success wins");
        assert_eq!(lab.state(campaign, 3).await, TargetState::Accepted);
    }
}

#[tokio::test]
async fn the_warning_to_an_11_4_is_the_warning_to_an_11_1() {
    for lab in labs(2).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.send(campaign).await;
        let lists = UpdateFirmwareWarning { not_applicable_firmware: vec![device(1)], ..Default::default() };
        let mut response = Response { code: "W110401".into(), ..warning(id, 1, lists) };
        if let Body::Message { service_reference, .. } = &mut response.body {
            *service_reference = "11.4".into();
        }
        assert_eq!((response.kind(), lab.hears(&response).await), ("DSPUpdatePPMIDFirmwareWarning", InboxState::Settled));
        let dropped = lab.target(campaign, 1).await;
        assert_eq!((dropped.state, lab.state(campaign, 2).await), (TargetState::Failed, TargetState::Accepted));
        assert_eq!(dropped.detail.unwrap(), "W110401: dropped by DCC, NotApplicableFirmwareDeviceIDList");
    }
}

#[tokio::test]
async fn an_alert_that_nobody_knows_is_kept_for_an_operator_under_its_name() {
    for lab in labs(1).await {
        let campaign = lab.started("spring", 10).await;
        lab.send(campaign).await;
        let new = alert(None, 1, Alert::Other(random::unknown("NewAlert", "<sr:DeviceID>x</sr:DeviceID>")));
        assert_eq!(lab.hears(&new).await, InboxState::Unmatched);
        let listed = inbox::list(&mut lab.app.db.read().await.unwrap(), Some(InboxState::Unmatched), None, 5).await.unwrap();
        assert_eq!((listed.len(), listed[0].kind.as_str()), (1, "NewAlert"));
    }
}
