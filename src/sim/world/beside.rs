//! Alerts that chance adds to the plain course of an upgrade: what else a user's receiver must live with.

use super::{Letter, Millis, World, messages::Header};
use crate::{
    clock::Time,
    duis::{Alert, Body, ChangeOfSupplier, DeviceStatusChange, MeterMpxns, Throttled},
    ids::DeviceId,
    sim::{
        codes::{self, Code},
        dice::Share,
        inventory::{first_version, hub_of},
        scenario::OtherAlerts,
    },
};

/// For how many a throttled alert stands, at most.
const THROTTLED_AT_MOST: u64 = 500;

/// The alerts, each with its share and the word that chance is asked with.
#[derive(Debug, Clone, Copy)]
enum Beside {
    ChangeOfSupplier,
    Suspended,
    Removed,
    VersionMismatch,
    NamelessS1sp,
    Throttled,
    Unknown,
    DeviceAlert,
}

fn chances(shares: &OtherAlerts) -> [(Beside, Share, &'static str); 8] {
    [
        (Beside::ChangeOfSupplier, shares.change_of_supplier, "change of supplier"),
        (Beside::Suspended, shares.suspended, "suspended by chance"),
        (Beside::Removed, shares.removed, "removed by chance"),
        (Beside::VersionMismatch, shares.version_mismatch, "version mismatch"),
        (Beside::NamelessS1sp, shares.nameless_s1sp, "nameless"),
        (Beside::Throttled, shares.throttled, "throttled"),
        (Beside::Unknown, shares.unknown, "unknown alert"),
        (Beside::DeviceAlert, shares.device_alert, "device alert"),
    ]
}

impl World {
    /// The alerts that chance adds to a device that a request took.
    pub(super) fn alerts_beside(&mut self, device: DeviceId, index: u32, at: Millis) {
        let subject = self.subject(device, index);
        for (what, share, word) in chances(&self.scenario.other_alerts) {
            if self.dice.hits(share, word, subject) {
                let due = at + self.between(self.scenario.delays.other_alert_ms, word, subject);
                let body = self.said_beside(what, device, index);
                self.take_effect(&body);
                let request = self.request(index);
                let letter = Letter {
                    from: self.dcc_id,
                    to: request.id.originator,
                    header: Header::Response,
                    code: Code::Done,
                    schema_version: request.schema_version.clone(),
                    body,
                };
                self.post(letter, device, due, subject);
            }
        }
    }

    fn said_beside(&self, what: Beside, device: DeviceId, index: u32) -> Body {
        let subject = self.subject(device, index);
        let facts = self.population.facts(device);
        let version = &self.request(index).firmware_version;
        let (code, text) = codes::S1SP_OTHER;
        // The time of an S1SP alert is that of its message.
        let s1sp = |device| Alert::S1spAlert {
            request_id: None,
            device,
            code: code.to_string(),
            information: Some(text.to_string()),
            at: Time(0),
        };
        codes::alert_body(match what {
            Beside::ChangeOfSupplier => Alert::ChangeOfSupplier(ChangeOfSupplier::Device {
                device,
                device_type: "PPMID".to_string(),
                mpxns: MeterMpxns {
                    import_mpxn: self.site(device, 0).import_mpan().to_string(),
                    secondary_import_mpan: None,
                    export_mpan: None,
                },
            }),
            Beside::Suspended => Alert::DeviceStatusChange { device, change: DeviceStatusChange::DeviceSuspended },
            Beside::Removed => Alert::PpmidRemoval { device, comms_hub: hub_of(device, facts) },
            Beside::VersionMismatch => Alert::FirmwareVersionMismatch {
                device,
                device_type: "PPMID".to_string(),
                version_in_inventory: first_version(self.dice, device, facts),
                version_on_device: version.clone(),
            },
            Beside::NamelessS1sp => s1sp(None),
            Beside::Throttled => {
                let many = |word| u32::try_from(self.dice.between(2, THROTTLED_AT_MOST, word, subject)).ok();
                let throttled = Throttled { sequence_id: many("throttled as"), count: many("throttled count") };
                let alert_code = codes::alert_code("S1SPAlertDSP").to_string();
                return Body::Alert { alert_code, throttled, alert: s1sp(Some(device)), unknown: Vec::new() };
            }
            Beside::Unknown => codes::unknown_alert(hub_of(device, facts), version),
            Beside::DeviceAlert => {
                return Body::DeviceAlert {
                    alert_code: codes::DEVICE_ALERT_CODE.to_string(),
                    throttled: Throttled::default(),
                    gbcs_payload: self.gbcs_payload(subject),
                };
            }
        })
    }
}
