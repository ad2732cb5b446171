//! By what a message is known when it comes again. Pure. Promise: two different messages never share a key (that would lose
//! one); where that is in doubt, the key is finer, since a message settled twice changes nothing.
//!
//! The ResponseID is the key where there is one (signature profile, rule 8). Where there is none, it is the RequestID with
//! the kind of message; *kind* is taken to include what the message says: its code, and of an alert its device and content,
//! since one RequestID covers up to 50,000 devices whose alerts must not swallow each other. With neither id the time
//! DCC wrote into the message takes the RequestID's place. An alert of a kind that is not read (`Other`) and has no
//! ResponseID has nothing else to be known by than its bytes: a copy re-signed would be stored twice, for an operator to see.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::duis::{Alert, Body, Content, Response};

/// The key of a verified message, whose bytes are `bytes`: unique in the inbox.
pub fn dedupe_key(response: &Response, bytes: &[u8]) -> String {
    if let Some(id) = response.response_id {
        return format!("response {id}");
    }
    let known_by = match response.request_id {
        Some(id) => format!("request {id}"),
        None => format!("at {}", response.at.0),
    };
    let kind = response.kind();
    let says = match &response.body {
        Body::Message { service_reference_variant, content, .. } => {
            let warned = match content {
                Content::UpdateFirmwareWarning(warning) => digest(format!("{warning:?}").as_bytes()),
                Content::None | Content::Inventory(_) | Content::GbcsPayload(_) | Content::Other(_) => String::new(),
            };
            format!("{service_reference_variant} {warned}")
        }
        Body::Alert { alert: Alert::Other(_), .. } | Body::DeviceAlert { .. } | Body::Smets1(_) | Body::Other(_) => digest(bytes),
        Body::Alert { alert_code, alert, .. } => format!("{alert_code} {}", digest(format!("{alert:?}").as_bytes())),
    };
    format!("{known_by} {kind} {} {says}", response.code)
}

/// The key of a verified message that could not be read.
pub fn dedupe_key_of_unreadable(bytes: &[u8]) -> String {
    format!("unreadable {}", digest(bytes))
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a String takes any text");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Time,
        duis::{Smets1FirmwareStatus, Throttled},
        ids::{DeviceId, Eui, RequestId},
    };

    fn id(counter: u64) -> RequestId {
        RequestId { originator: Eui(1), target: Eui(2), counter }
    }

    fn alert(request: Option<u64>, response: Option<u64>, device: u64, status: Smets1FirmwareStatus) -> Response {
        Response {
            schema_version: "3.1".into(),
            request_id: request.map(id),
            response_id: response.map(id),
            code: "I0".into(),
            at: Time(1000),
            body: Body::Alert {
                alert_code: "N57".into(),
                throttled: Throttled::default(),
                alert: Alert::Smets1FirmwareNotification {
                    device: DeviceId::from_db(device as i64),
                    firmware_version: "9001".into(),
                    status,
                },
                unknown: Vec::new(),
            },
        }
    }

    #[test]
    fn the_response_id_alone_decides_where_there_is_one() {
        use Smets1FirmwareStatus::*;
        let first = dedupe_key(&alert(Some(1), Some(7), 1, UpdateRequested), b"a");
        assert_eq!(first, dedupe_key(&alert(None, Some(7), 2, ActivationSuccessful), b"b"));
        assert_ne!(first, dedupe_key(&alert(Some(1), Some(8), 1, UpdateRequested), b"a"));
    }

    #[test]
    fn alerts_of_one_request_do_not_swallow_each_other() {
        use Smets1FirmwareStatus::*;
        for request in [Some(1), None] {
            let key = |device, status, bytes: &[u8]| dedupe_key(&alert(request, None, device, status), bytes);
            assert_ne!(key(1, UpdateRequested, b""), key(2, UpdateRequested, b""));
            assert_ne!(key(1, UpdateRequested, b""), key(1, ActivationSuccessful, b""));
            assert_eq!(key(1, UpdateRequested, b"one signature"), key(1, UpdateRequested, b"another"));
        }
    }

    #[test]
    fn a_response_without_its_own_id_is_known_by_its_request_and_kind() {
        let response = |content, at| Response {
            schema_version: "3.1".into(),
            request_id: Some(id(5)),
            response_id: None,
            code: "I0".into(),
            at: Time(at),
            body: Body::Message { service_reference: "11.1".into(), service_reference_variant: "11.1".into(), content },
        };
        let plain = dedupe_key(&response(Content::None, 1), b"a");
        assert_eq!(plain, dedupe_key(&response(Content::None, 2), b"b"));
        assert_ne!(plain, dedupe_key(&response(Content::UpdateFirmwareWarning(Default::default()), 1), b"a"));
    }
}
